"""Whether a candidate holds: errors and latency from the front's counters, quality on the same truths.

Front and controller judge with the same functions. A gate is broken when chance does not explain what was
seen, it holds when enough was seen and the figure is within its limit, and in between it waits.
"""

from __future__ import annotations

import math
from typing import Literal

from mlinfra_lab import humane
from mlinfra_lab.counters import Counts, Sides, above, quantile
from mlinfra_lab.schema.endpoints import GateResult, Gates, Paired

__all__ = ["broken", "errors", "held", "judge", "latency", "quality", "said"]

CHANCE = 0.001
"""How rarely a candidate that is as good as its limit may be taken for a bad one, each time it is judged."""
LEAST_SECONDS = 0.01
"""A latency below this breaks no gate: so short, a ratio says more about the machine than about the model."""
_SPREAD = 2.0
_P95 = 0.95


def errors(gates: Gates, counts: Counts, step: int = 0) -> GateResult:
    """The share of the candidate's requests that failed."""
    needed = gates.requests * (step + 1)
    n, failed = counts.requests - counts.refused, counts.failed
    share = failed / n if n else None
    if share is None:
        verdict = None
    elif share > gates.errors and tail(n, failed, gates.errors) < CHANCE:
        verdict = False
    else:
        verdict = True if share <= gates.errors and n >= needed else None
    text = f"{failed} of {_requests(n)} failed"
    if share is not None and share > gates.errors:
        text += f" ({humane.share(share)}; at most {humane.share(gates.errors)} may)"
    return _result("errors", verdict, share, gates.errors, n, needed, text)


def latency(gates: Gates, sides: Sides, step: int = 0) -> GateResult:
    """The candidate's 95th percentile beside that of the stable version."""
    needed = gates.requests * (step + 1)
    cells = sides.candidate.latency
    n, mine = sum(cells), quantile(cells, _P95)
    theirs = quantile(sides.stable.latency, _P95)
    if mine is None:
        return _result("latency", None, None, None, 0, needed, "it has answered nothing yet")
    if theirs is None:
        text = f"95 % within {humane.duration(mine)}; the stable version has answered nothing to compare with"
        return _result("latency", True if n >= needed else None, mine, None, n, needed, text)
    limit = max(theirs * gates.latency, LEAST_SECONDS)
    over = above(cells, limit)
    verdict: bool | None = None
    if mine > limit and n >= gates.requests and tail(n, over, 1 - _P95) < CHANCE:
        verdict = False
    elif mine <= limit and n >= needed:
        verdict = True
    text = f"95 % of {_requests(n)} within {humane.duration(mine)}"
    text += f", the stable version's {humane.duration(theirs)}"
    return _result("latency", verdict, mine, limit, n, needed, text)


def quality(gates: Gates, paired: Paired | None, step: int = 0) -> GateResult:
    """The candidate's loss beside that of the stable version on the same truths."""
    needed = gates.truths * (step + 1)
    if paired is None or not paired.n or paired.candidate is None or paired.stable is None:
        verdict = True if not needed else None
        return _result("quality", verdict, None, None, 0, needed, "no truth is known yet")
    limit = paired.stable * gates.quality
    over = paired.candidate - limit
    verdict = None
    if over > 0 and paired.n >= gates.truths and (paired.error is None or over > _SPREAD * paired.error):
        verdict = False
    elif over <= 0 and paired.n >= needed:
        verdict = True
    text = (
        f"{paired.metric} {paired.candidate:.4g} on {humane.count(paired.n)} truths, "
        f"the stable version's {paired.stable:.4g}"
    )
    return _result("quality", verdict, paired.candidate, limit, paired.n, needed, text)


def judge(gates: Gates, sides: Sides, paired: Paired | None, step: int) -> tuple[GateResult, ...]:
    """All gates at a step; what must have been seen grows with each."""
    return (
        errors(gates, sides.candidate, step),
        latency(gates, sides, step),
        quality(gates, paired, step),
    )


def broken(results: tuple[GateResult, ...]) -> GateResult | None:
    """The first gate that does not hold."""
    return next((one for one in results if one.held is False), None)


def held(results: tuple[GateResult, ...]) -> bool:
    """Whether all hold."""
    return all(one.held for one in results)


def said(results: tuple[GateResult, ...]) -> str:
    """What was seen, in one sentence."""
    text = "; ".join(one.text for one in results)
    return f"{text[:1].upper()}{text[1:]}."


def tail(n: int, seen: int, share: float) -> float:
    """Probability of at least ``seen`` of ``n`` when each happens with the probability ``share``."""
    if seen <= 0:
        return 1.0
    if share <= 0:
        return 0.0
    if share >= 1:
        return 1.0
    if seen <= n * share:
        return 1.0  # not in the upper tail: what it is exactly does not matter
    log = math.lgamma(n + 1) - math.lgamma(seen + 1) - math.lgamma(n - seen + 1)
    term = math.exp(log + seen * math.log(share) + (n - seen) * math.log1p(-share))
    total, k = term, seen
    # Beyond the mean the terms shrink, at least as fast as a geometric series.
    while k < n and term > total * 1e-12:
        term *= (n - k) / (k + 1) * share / (1 - share)
        total += term
        k += 1
    return min(total, 1.0)


def _requests(n: int) -> str:
    return f"{humane.count(n)} request{'' if n == 1 else 's'}"


def _result(
    gate: Literal["errors", "latency", "quality"],
    verdict: bool | None,
    value: float | None,
    limit: float | None,
    seen: int,
    needed: int,
    text: str,
) -> GateResult:
    if verdict is None and seen < needed:
        what = "truths" if gate == "quality" else "requests"
        text += f"; waiting for {humane.count(needed)} {what}"
    elif verdict is None:
        text += "; waiting for more, it may be chance"
    return GateResult(
        gate=gate,
        held=verdict,
        value=value,
        limit=limit,
        seen=seen,
        needed=needed,
        text=text,
    )
