"""The monitoring page's view of an endpoint, drawn from stored sums: no kernel, and no captured row but the
newest few, is needed for it.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from mlinfra_lab.monitoring import charts, heat, tiles, words
from mlinfra_lab.monitoring import recent as recents
from mlinfra_lab.monitoring.baselines import FIRST
from mlinfra_lab.monitoring.seen import Seen, moment
from mlinfra_lab.schema.endpoints import Endpoint, HistoryEntry, Prediction
from mlinfra_lab.schema.monitoring import Alert, Answering, Baseline, Chart, DriftMap, Mark, Range, Tone, View

_TONES: dict[str, Tone] = {"promoted": "well", "rolled_back": "failed"}
_WHAT = {"rollout": "tried", "rolled_back": "rolled back"}
_MARKED = {"published", "rollout", "step", "promoted", "rolled_back", "stopped"}
_ALERTS = 20


def view_of(
    seen: Seen, endpoint: Endpoint, predictions: Sequence[Prediction], captures: Path, range: Range
) -> View:
    """Put the page together.

    Parameters
    ----------
    seen
        The endpoint's sums.
    endpoint
        As it truly is, see `EndpointsService.get`.
    predictions
        The newest ones.
    """
    windows = heat.columns_of(seen)
    drift = heat.drift_map(seen, windows)
    quality, metric = charts.quality(seen)
    traffic = charts.traffic(seen, range)
    shown = recents.columns_shown(seen, predictions, windows)
    truths = recents.truths_of(captures, seen.name, {one.id for one in predictions})
    recent = recents.recent(seen, predictions, truths, shown)
    revision = seen.revisions.get(endpoint.serving or endpoint.wanted)
    since = seen.since or -math.inf
    inside = [one for held in seen.buckets.values() for one in held.values() if one.last >= since]
    return View(
        endpoint=seen.name,
        model=revision.model if revision else "",
        title=seen.settings.title,
        state=endpoint.state,
        reason=endpoint.reason,
        number=seen.number,
        made=moment(seen.clock),
        range=range,
        start=moment(min(one.first for one in inside)) if inside else None,
        end=None if seen.newest is None else moment(seen.newest),
        window=seen.cut.text,
        answers=_answers(seen, endpoint),
        warm=_warm(seen, endpoint),
        tiles=tiles.tiles(seen, windows),
        marks=tuple(_marks(seen)),
        traffic=traffic,
        drift=drift,
        quality=quality,
        metric=metric,
        slices=charts.slices(seen),
        alerts=tuple(seen.alerts[:_ALERTS]),
        recent=recent,
        columns=shown,
        captured=_captured(seen, predictions),
        missed=sum(one.uncaptured for one in seen.traffic.values()),
        empty=_empty(seen, endpoint, drift, quality, predictions),
    )


def _answers(seen: Seen, endpoint: Endpoint) -> tuple[Answering, ...]:
    rollout = seen.rollout
    if rollout is not None and rollout.state == "running":
        shares = [(rollout.stable, 1 - rollout.share), (rollout.candidate, rollout.share)]
    elif endpoint.serving is not None:
        shares = [(endpoint.serving, 1.0)]
    else:
        shares = []
    tone = charts.tones(seen)
    found = []
    for number, share in shares:
        revision = seen.revisions.get(number)
        found.append(
            Answering(
                revision=number,
                label=seen.label(number),
                share=share,
                alias=revision.alias if revision else None,
                trained=_trained(seen.baselines.get(number)),
                tone=tone.get(number, "older"),
            )
        )
    return tuple(found)


def _trained(baseline: Baseline | None) -> str | None:
    """Over what time a model's training rows are spread: ``January and February``, ``January to June``."""
    if baseline is None or baseline.first is None or baseline.last is None:
        return None
    first, last = baseline.first, baseline.last
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day} to {last.day} {last:%B %Y}" if first.day != last.day else words.day(last)
    months = 12 * (last.year - first.year) + last.month - first.month
    if first.year != last.year:
        return f"{first:%B %Y} to {last:%B %Y}"
    return f"{first:%B} {'and' if months == 1 else 'to'} {last:%B}"


def _warm(seen: Seen, endpoint: Endpoint) -> str | None:
    previous = endpoint.previous
    if previous is None or previous == endpoint.serving or not seen.settings.keep_warm:
        return None
    return seen.label(previous) if previous in seen.revisions else None


def _marks(seen: Seen) -> Iterator[Mark]:
    for entry in seen.history:
        at = _place(seen, entry)
        if entry.kind in _MARKED and at is not None:
            yield Mark(
                at=at,
                kind=entry.kind,
                text=_happened(seen, entry, at),
                tone=_TONES.get(entry.kind, "plain"),
                detail=entry.message,
            )
    for alert in reversed(seen.alerts):
        yield Mark(at=alert.since, until=_end(alert), kind="alert", text=_what(alert), tone="alarm")


def _happened(seen: Seen, entry: HistoryEntry, at: dt.datetime) -> str:
    """Few words, for they stand beside a line: ``v2 promoted, 9 July``."""
    who = "" if entry.revision is None else f"{seen.label(entry.revision)} "
    return f"{who}{_WHAT.get(entry.kind, entry.kind)}, {words.day(at)}"


def _place(seen: Seen, entry: HistoryEntry) -> dt.datetime | None:
    if entry.event_time is not None:
        return entry.event_time
    # Before the first row nothing is on the axis; where rows follow the clock, its time is theirs.
    return entry.at if seen.clocked else None


def _end(alert: Alert) -> dt.datetime | None:
    said = alert.detail.get("closed_event")
    if alert.state != "closed":
        return None
    return dt.datetime.fromisoformat(said) if isinstance(said, str) else alert.until


def _what(alert: Alert) -> str:
    what = "predictions moved" if alert.rule == "prediction_drift" else "quality fell"
    return f"{words.day(alert.since)} · {what}"


def _captured(seen: Seen, predictions: Sequence[Prediction]) -> int:
    """Rows that were kept, counted into buckets or not yet; never fewer than those that are listed."""
    numbers = {*seen.traffic, *(one.revision for one in predictions)} - {*seen.buckets}
    return seen.rows + sum(_waiting(seen, number, predictions) for number in numbers)


def _waiting(seen: Seen, number: int | None, predictions: Sequence[Prediction]) -> int:
    """Rows of a revision that were kept while nothing of it is counted, for want of a baseline."""
    listed = sum(1 for one in predictions if one.revision == number)
    front = seen.traffic.get(number or 0)
    return listed if front is None else max(front.rows - front.uncaptured, listed)


def _empty(
    seen: Seen, endpoint: Endpoint, drift: DriftMap, quality: Chart, predictions: Sequence[Prediction]
) -> dict[str, str]:
    found: dict[str, str] = {}
    name, least, answered = seen.name, seen.settings.least, bool(predictions)
    if not seen.rows and not seen.traffic:
        found["traffic"] = f"No requests yet. `mlinfra endpoint show {name}` has a line that sends one."
    if not answered:
        found["predictions"] = "Nothing was answered yet."
    if not drift.windows and not (answered and endpoint.serving in seen.baselines):
        found["drift"] = (
            f"The model brought no baseline. Its first {FIRST:,} rows become the one that later rows are "
            f"held against; {_waiting(seen, endpoint.serving, predictions):,} came so far. "
            "Or log one in its notebook with `project.monitoring.profile(…)`."
            if answered
            else "Drift is shown once there are predictions."
        )
    elif not any(value is not None for value in (drift.prediction.values if drift.prediction else ())):
        found["drift"] = (
            f"Drift is shown once a window has {least:,} predictions; there are {seen.rows:,} in all."
        )
    if not any(series.rows and any(series.rows) for series in quality.series):
        found["quality"] = f"No truth yet. Send what came true to POST /{name}/ground-truth."
    return found
