"""Two values side by side: the same to the bit, how far apart, and the verdict over all of them."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from mlinfra_lab.schema.lineage import Compared, Verdict

# Words in the name of a metric that measures the machine, not the model.
_TIMES = {"duration", "elapsed", "latency", "ms", "second", "seconds", "sec", "time", "throughput"}
_ORDER = ("job", "data", "runs", "parameter", "metric", "model", "prediction")


def value(kind: str, name: str, then: Any, now: Any, *, counts: bool = True) -> Compared:
    """Hold one value against another; both may be lists or objects of values.

    Numbers are the same when they are so to the bit; NaN is like any other value.
    """
    apart = _apart(then, now)
    same = _same(then, now)
    return Compared(
        kind=kind,
        name=name,
        then=then,
        now=now,
        same=same,
        apart=0.0 if same and apart is not None else apart,
        counts=counts,
    )


def metrics(then: Mapping[str, float], now: Mapping[str, float]) -> list[Compared]:
    """The metrics of two runs, by name; those that measure time or the machine do not count."""
    return [
        value("metric", name, then.get(name), now.get(name), counts=not _measures_machine(name))
        for name in sorted({*then, *now})
    ]


def parameters(then: Mapping[str, str], now: Mapping[str, str]) -> list[Compared]:
    """Parameters that two runs noted and that differ; they say why, they decide nothing."""
    return [
        value("parameter", name, then.get(name), now.get(name), counts=False)
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    ]


def verdict(
    compared: Sequence[Compared], within: float
) -> tuple[Verdict, float | None, Compared | None, str]:
    """The verdict, how far apart things are at most, the first that differs, and all that in words.

    Parameters
    ----------
    within
        What numbers may be apart and still be equal, as `Compared.apart` counts it.
    """
    counting = [one for one in compared if one.counts]
    if not any(one.kind in ("metric", "model", "prediction") for one in counting) and all(
        one.same for one in counting
    ):
        return "nothing", None, None, "It ran to its end, and made nothing that could be compared."
    if all(one.same for one in counting):
        return "identical", 0.0, None, "identical"
    beyond = [one for one in counting if not one.same and (one.apart is None or one.apart > within)]
    if not beyond:
        most = max(one.apart or 0.0 for one in counting)
        return "equal", most, None, f"equal within {most:.1e}"
    # A noted parameter that differs comes first where something that counts differs after it.
    differing = beyond + [one for one in compared if one.kind == "parameter" and not one.same]
    first = min(differing, key=lambda one: _ORDER.index(one.kind))
    return "different", None, first, words(first)


def words(one: Compared) -> str:
    """What differs, with both values: ``metric auc: 0.71 then, 0.72 now``."""
    path, then, now = _first(one.then, one.now)
    name = f"{one.name}{path}" if one.name else path
    what = f"{one.kind} {name}".strip()
    said = f"{what}: {_written(then)} then, {_written(now)} now"
    said = " ".join(said.split())
    return said if not one.apart else f"{said} ({one.apart:.1e} apart)"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, float) and isinstance(other, float):
        return _bits(one) == _bits(other) or (math.isnan(one) and math.isnan(other))
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return bool(one == other)


def _apart(one: Any, other: Any) -> float | None:
    """The largest distance between numbers in the same places; ``None`` where something is no number."""
    if _number(one) and _number(other):
        a, b = float(one), float(other)
        if math.isnan(a) and math.isnan(b):
            return 0.0
        if not (math.isfinite(a) and math.isfinite(b)):
            return 0.0 if a == b else None
        return abs(a - b) / max(1.0, abs(a), abs(b))
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        return _most([_apart(a, b) for a, b in zip(one, other, strict=True)])
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return _most([_apart(one[key], other[key]) for key in one])
    return 0.0 if _same(one, other) and one is not None else None


def _most(distances: Sequence[float | None]) -> float | None:
    known = [one for one in distances if one is not None]
    return max(known, default=0.0) if len(known) == len(distances) else None


def _first(then: Any, now: Any) -> tuple[str, Any, Any]:
    """Where two values differ first, and the two that do."""
    if isinstance(then, (list, tuple)) and isinstance(now, (list, tuple)) and len(then) == len(now):
        pairs = [(f"[{place}]", a, b) for place, (a, b) in enumerate(zip(then, now, strict=True))]
    elif isinstance(then, dict) and isinstance(now, dict) and then.keys() == now.keys():
        pairs = [(f".{key}", then[key], now[key]) for key in then]
    else:
        return "", then, now
    for path, a, b in pairs:
        if not _same(a, b):
            further, inner, other = _first(a, b)
            return path + further, inner, other
    return "", then, now


def _number(thing: Any) -> bool:
    return isinstance(thing, (int, float)) and not isinstance(thing, bool)


def _bits(number: float) -> bytes:
    # 0.0 and -0.0 are equal, and are told apart: a sum was added up in another order.
    return struct.pack("<d", number)


def _written(thing: Any) -> str:
    if thing is None:
        return "nothing"
    return repr(thing) if isinstance(thing, float) else str(thing)


def _measures_machine(name: str) -> bool:
    words = re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    return name.startswith("system/") or not _TIMES.isdisjoint(words)
