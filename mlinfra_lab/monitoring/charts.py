"""Traffic and quality over time, and quality by slice."""

from __future__ import annotations

import math
from typing import NamedTuple

from mlinfra_lab.monitoring import loss, store, windows
from mlinfra_lab.monitoring.seen import Seen, moment
from mlinfra_lab.monitoring.truths import METRICS
from mlinfra_lab.monitoring.windows import Window
from mlinfra_lab.schema.monitoring import Chart, Range, Series, Slice, Tone

_MOST = 2000
"""Spans that the traffic is shown in at most, the newest."""
_SLICES = 12
"""Values of a slicing column that are shown, those with most truths."""


def tones(seen: Seen) -> dict[int, Tone]:
    """How each revision is drawn: the one that answers now, what was rolled back, and the older ones."""
    found: dict[int, Tone] = {}
    for entry in seen.history:
        if entry.kind == "rolled_back" and entry.revision is not None:
            found[entry.revision] = "failed"
        elif entry.kind == "promoted" and entry.revision is not None:
            found.pop(entry.revision, None)
    if seen.rollout is not None and seen.rollout.state == "running":
        found[seen.rollout.candidate] = "now"
    elif seen.endpoint.serving is not None:
        found[seen.endpoint.serving] = "now"
    return found


def traffic(seen: Seen, range: Range) -> Chart:
    """Answered rows by version: each day, or each hour where buckets are hours or one day is looked at."""
    if range == "day" and seen.clocked:
        return _by_hour(seen)
    if seen.cut.rows:
        return _by_count(seen)
    step = seen.cut.bucket_seconds
    since = seen.since or -math.inf
    held = {
        name
        for buckets in seen.buckets.values()
        for name, one in buckets.items()
        if seen.cut.holds(name) and one.last >= since
    }
    starts = {name: windows.start_of(name) for name in held}
    if step == windows.DAY:
        starts = {name: start // windows.DAY * windows.DAY for name, start in starts.items()}
    if not starts:
        return Chart(times=(), step=step, series=(), unit="predictions")
    # A row with a wild event time must not make a page of a million empty days.
    last = max(starts.values())
    times = _grid(max(min(starts.values()), last - (_MOST - 1) * step), last, step)
    place = {at: index for index, at in enumerate(times)}
    series = []
    for number, buckets in seen.buckets.items():
        rows = [0] * len(times)
        for name, one in buckets.items():
            if starts.get(name) in place:
                rows[place[starts[name]]] += one.rows
        series.append((number, rows))
    return _bars(seen, times, step, series)


def _by_hour(seen: Seen) -> Chart:
    end = seen.clock // windows.HOUR * windows.HOUR
    times = _grid(end - 23 * windows.HOUR, end, windows.HOUR)
    rows: dict[int, list[int]] = {}
    for (number, minute), one in seen.minutes.items():
        index = int((minute.timestamp() - times[0]) // windows.HOUR)
        if 0 <= index < len(times):
            rows.setdefault(number, [0] * len(times))[index] += one.rows
    return _bars(seen, times, windows.HOUR, sorted(rows.items()))


def _by_count(seen: Seen) -> Chart:
    found = sorted(
        (one.first, one.last, number, one.rows)
        for number, buckets in seen.buckets.items()
        for name, one in buckets.items()
        if seen.cut.holds(name)
    )
    times = [first for first, _, _, _ in found]
    lengths = sorted(last - first for first, last, _, _ in found)
    step = lengths[len(lengths) // 2] if lengths else 0.0
    series: dict[int, list[int]] = {}
    for index, (_, _, number, count) in enumerate(found):
        series.setdefault(number, [0] * len(times))[index] = count
    return _bars(seen, times, step, sorted(series.items()))


def _grid(first: float, last: float, step: float) -> list[float]:
    return [first + index * step for index in range(int((last - first) // step) + 1)]


def _bars(seen: Seen, times: list[float], step: float, rows: list[tuple[int, list[int]]]) -> Chart:
    tone = tones(seen)
    return Chart(
        times=tuple(moment(at) for at in times),
        step=step,
        unit="predictions",
        series=tuple(
            Series(
                revision=number,
                label=seen.label(number),
                tone=tone.get(number, "older"),
                values=tuple(float(count) for count in counts),
                rows=tuple(counts),
            )
            for number, counts in rows
        ),
    )


class Point(NamedTuple):
    """A version's quality in a window."""

    value: float | None
    estimated: bool
    truths: int


def quality(seen: Seen) -> tuple[Chart, str]:
    """Quality by version over the windows, and the metric's name.

    While too few truths are known of a window its quality is estimated from the scores.
    """
    found: dict[int, dict[float, Point]] = {}
    starts: set[float] = set()
    name = "log_loss"
    for number in seen.buckets:
        baseline = seen.baselines.get(number)
        if baseline is None:
            continue
        if number == (seen.endpoint.serving or number):
            name = loss.metric(baseline)
        for window in seen.windows_of(number):
            point = _point(seen, number, window)
            found.setdefault(number, {})[window.start] = point
            starts.add(window.start)
    times = sorted(starts)
    tone = tones(seen)
    series = []
    for number, points in found.items():
        line = [points.get(at, Point(None, False, 0)) for at in times]
        series.append(
            Series(
                revision=number,
                label=seen.label(number),
                tone=tone.get(number, "older"),
                values=tuple(point.value for point in line),
                estimated=tuple(point.estimated for point in line),
                rows=tuple(point.truths for point in line),
            )
        )
    serving = seen.baselines.get(seen.endpoint.serving or 0)
    held_out = None if serving is None else loss.held_out(serving)
    chart = Chart(
        times=tuple(moment(at) for at in times),
        step=float(seen.cut.seconds),
        series=tuple(series),
        unit=METRICS[name],
        better="lower",
        limit=None if held_out is None else held_out * seen.settings.quality,
        held_out=held_out,
    )
    return chart, METRICS[name]


def _point(seen: Seen, number: int, window: Window) -> Point:
    baseline = seen.baselines[number]
    sums = seen.sums(number, window.buckets)
    truths = int(sums.get("n", 0))
    if truths >= seen.settings.least:
        return Point(sums["loss"] / truths, False, truths)
    held = seen.held(number, window)
    if held is None or held.rows < seen.settings.least:
        return Point(None, False, truths)
    guess = loss.estimate(baseline, held.predicted).get(loss.metric(baseline))
    return Point(guess, guess is not None, truths)


def slices(seen: Seen) -> tuple[Slice, ...]:
    """Quality of the slicing columns' values, over all that is looked at."""
    sums: dict[tuple[str, str], dict[int, store.Sums]] = {}
    for (number, bucket, column, value), more in seen.quality.items():
        if column in ("", store.BESIDE) or bucket not in seen.buckets.get(number, {}):
            continue
        by_revision = sums.setdefault((column, value), {})
        by_revision[number] = store.plus(by_revision.get(number, {}), more)
    found = [
        Slice(
            column=column,
            value=value,
            truths=sum(int(one.get("n", 0)) for one in by_revision.values()),
            values={
                seen.label(number): one["loss"] / one["n"] if one.get("n") else None
                for number, one in sorted(by_revision.items())
            },
        )
        for (column, value), by_revision in sums.items()
    ]
    order = {column: place for place, column in enumerate(seen.settings.slices)}
    found = [one for one in found if one.column in order and one.truths]
    found.sort(key=lambda one: (order[one.column], -one.truths, one.value))
    kept: list[Slice] = []
    for one in found:
        if sum(1 for other in kept if other.column == one.column) < _SLICES:
            kept.append(one)
    return tuple(kept)
