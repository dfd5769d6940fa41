"""Views of an endpoint as the monitor makes them: the flights of the pictures, drawn from seeds."""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

from monitoring_pieces import (
    FEATURES,
    FIRST,
    NOW,
    PREDICTION,
    at,
    feature,
    prediction,
    quality,
    recent,
    tiles,
    traffic,
    windows,
)

from mlinfra_lab.schema.monitoring import Alert, Answering, Chart, DriftMap, Mark, Slice, Tile, View

__all__ = ["FIRST", "NOW", "PREDICTION", "alert", "april", "empty", "july"]


def alert(state: str) -> Alert:
    over = state == "answered"
    return Alert(
        number=1,
        endpoint="delay",
        revision=1,
        rule="prediction_drift",
        state=state,  # type: ignore[arg-type]
        since=at(4, 9),
        until=at(7, 9) if over else None,
        raised=NOW - dt.timedelta(minutes=4),
        value=0.57,
        limit=0.25,
        message="Predictions moved since 9 April; `temp` and `dewp` explain most of it; "
        "log loss is a quarter worse. Late in truth 0.30, predicted 0.17.",
        explains=(("temp", 0.52), ("dewp", 0.23)),
        job="42" if state in ("acting", "answered") else None,
        model="v2" if over else None,
        closed=at(7, 9) if over else None,
    )


def july(**changes: Any) -> View:
    """The end of the story: alarm in April, v2 promoted in July, v3 rolled back."""
    rng = random.Random(7)
    spans = windows(at(7, 28), promoted=at(7, 9))
    marks = (
        Mark(at=at(4, 9), until=at(7, 9), kind="alert", text="9 April · predictions moved", tone="alarm"),
        Mark(at=at(7, 2), until=at(7, 9), kind="rollout", text="v2 gets 20 % on 2 July, promoted 9 July"),
        Mark(
            at=at(7, 23),
            kind="rollback",
            text="v3 rolled back by its gate, 23 July",
            tone="failed",
            detail="Its gate failed: log loss 1.00 against 0.60 of v2 on the same 212 truths. "
            "Back to v2 in 0.4 s, the alias too.",
        ),
    )
    slices = [("EWR", 10_126, 0.71, 0.55), ("JFK", 9_757, 0.85, 0.58), ("LGA", 8_410, 0.78, 0.55)]
    said: dict[str, Any] = {
        "endpoint": "delay",
        "model": "flights-delay",
        "title": "will this flight arrive more than 15 minutes late?",
        "state": "up",
        "number": 4711,
        "made": NOW,
        "range": "all",
        "start": FIRST,
        "end": at(7, 29),
        "window": "7d",
        "answers": (
            Answering(
                revision=2,
                label="v2",
                share=1.0,
                alias="champion",
                trained="trained on January to June",
                tone="now",
            ),
            Answering(revision=1, label="v1", share=0.0, trained="trained on January, February"),
        ),
        "warm": "v1 kept warm, rollback in under 1 s",
        "tiles": tiles(True, rng),
        "marks": marks,
        "traffic": traffic(at(7, 29), True, rng),
        "drift": DriftMap(
            windows=tuple(spans),
            prediction=prediction(spans),
            features=tuple(feature(name, spans, rng) for name in FEATURES),
            limit=0.25,
            running=2,
        ),
        "quality": quality(spans, True),
        "metric": "log loss",
        "slices": tuple(
            Slice(column="origin", value=value, truths=truths, values={"v1": one, "v2": two})
            for value, truths, one, two in slices
        ),
        "alerts": (alert("answered"),),
        "recent": recent("v2"),
        "columns": ("carrier", "origin", "dest", "sched", "temp"),
        "captured": 140_112,
    }
    return View(**{**said, **changes})


def april(**changes: Any) -> View:
    """18 April: the alert is open."""
    rng = random.Random(7)
    spans = windows(at(4, 18))
    said: dict[str, Any] = {
        "start": FIRST,
        "end": at(4, 19),
        "answers": (
            Answering(
                revision=1, label="v1", share=1.0, alias="champion", trained="trained on January and February"
            ),
        ),
        "warm": None,
        "tiles": tiles(False, rng),
        "marks": (Mark(at=at(4, 9), kind="alert", text="9 April · predictions moved", tone="alarm"),),
        "traffic": traffic(at(4, 19), False, rng),
        "drift": DriftMap(
            windows=tuple(spans),
            prediction=prediction(spans),
            features=tuple(feature(name, spans, rng) for name in FEATURES),
            limit=0.25,
            running=2,
        ),
        "quality": quality(spans, False),
        "slices": (),
        "alerts": (alert("open"),),
        "recent": recent("v1"),
        "captured": 44_911,
    }
    return july(**{**said, **changes})


def empty() -> View:
    """Published a moment ago: nobody has asked yet."""
    nothing = Chart(times=(), step=86_400, series=())
    return july(
        start=None,
        end=None,
        marks=(),
        traffic=nothing,
        quality=nothing,
        slices=(),
        alerts=(),
        recent=(),
        captured=0,
        drift=DriftMap(windows=(), prediction=None, features=(), limit=0.25, running=2),
        tiles=tuple(
            Tile(id=one.id, title=one.title, value=None, unit=one.unit, rule=one.rule) for one in july().tiles
        ),
        empty={
            "traffic": "No request yet: send one with the curl line of `mlinfra endpoint show delay`.",
            "drift": "Drift is seen once 200 rows were answered.",
            "quality": "No truth yet: send it to /delay/ground-truth.",
            "predictions": "No prediction yet.",
        },
    )
