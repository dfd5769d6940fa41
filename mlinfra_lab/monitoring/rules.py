"""When an endpoint's windows are bad: the prediction's drift, and quality.

Features that drifted are no rule: weather is alike within a week, so some of them drift every week of the
year. They explain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from mlinfra_lab.monitoring import drift, explain, loss
from mlinfra_lab.monitoring.seen import Seen, together
from mlinfra_lab.monitoring.store import Bucket
from mlinfra_lab.monitoring.windows import Window
from mlinfra_lab.schema.monitoring import Baseline

Rule = Literal["prediction_drift", "quality"]
RULES: tuple[Rule, ...] = ("prediction_drift", "quality")


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A window that had enough in it to be judged."""

    window: Window
    value: float
    bad: bool


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule says of a revision.

    Attributes
    ----------
    judged
        Its whole windows that had enough in them, oldest first.
    run
        The bad ones that go on until the newest.
    """

    rule: Rule
    limit: float
    judged: tuple[Judged, ...]
    run: tuple[Judged, ...]
    needed: int

    @property
    def broken(self) -> bool:
        """Whether as many windows running are bad as the rule wants."""
        return len(self.run) >= self.needed

    @property
    def holds(self) -> bool:
        """Whether as many windows running are good."""
        good = 0
        for one in reversed(self.judged):
            if one.bad:
                break
            good += 1
        return good >= self.needed


def drift_of(baseline: Baseline, held: Bucket, least: int) -> drift.Drift | None:
    """How far a window's predictions are from the held-out ones; ``None`` with too few rows."""
    return drift.drift(baseline.prediction, baseline.predicted, held.predicted, least=least)


def verdicts(seen: Seen, number: int) -> list[Verdict]:
    """What the rules say of one revision; none of one whose baseline is not known."""
    baseline = seen.baselines.get(number)
    if baseline is None:
        return []
    settings = seen.settings
    whole: list[tuple[Window, Bucket]] = []
    for window in seen.windows_of(number):
        held = seen.held(number, window)
        if held is not None and seen.is_whole(window, held.rows):
            whole.append((window, held))

    def moved(window: Window, held: Bucket) -> float | None:
        found = drift_of(baseline, held, settings.least)
        return None if found is None else found.value

    found = [_verdict("prediction_drift", settings.prediction_drift, whole, moved, settings.running)]
    held_out = loss.held_out(baseline)
    if held_out is not None:

        def worse(window: Window, held: Bucket) -> float | None:
            return loss_of(seen, number, window)

        limit = settings.quality * held_out
        found.append(_verdict("quality", limit, whole, worse, settings.running))
    return found


def loss_of(seen: Seen, number: int, window: Window) -> float | None:
    """Mean loss of a revision in a window; ``None`` with too few truths."""
    sums = seen.sums(number, window.buckets)
    n = sums.get("n", 0)
    return sums["loss"] / n if n >= seen.settings.least else None


def _verdict(
    rule: Rule,
    limit: float,
    whole: list[tuple[Window, Bucket]],
    figure: Callable[[Window, Bucket], float | None],
    needed: int,
) -> Verdict:
    judged = []
    for window, held in whole:
        value = figure(window, held)
        if value is not None:
            judged.append(Judged(window=window, value=value, bad=value > limit))
    run: list[Judged] = []
    for one in reversed(judged):
        if not one.bad:
            break
        run.insert(0, one)
    return Verdict(rule=rule, limit=limit, judged=tuple(judged), run=tuple(run), needed=needed)


def explained(seen: Seen, number: int, windows: list[Window], most: int = 5) -> tuple[tuple[str, float], ...]:
    """The features that explain most of what happened in some windows, with their shares."""
    held = [one for window in windows if (one := seen.held(number, window)) is not None]
    baseline = seen.baselines.get(number)
    if baseline is None or not held:
        return ()
    return tuple(explain.top(baseline, together(held).columns, most))
