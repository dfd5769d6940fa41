"""Charts of anything, in the same look."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

from mlinfra_lab.errors import Invalid
from mlinfra_lab.schema.common import now
from mlinfra_lab.schema.monitoring import Chart as Lines
from mlinfra_lab.schema.monitoring import DriftMap, DriftRow, Span, Tone, View
from mlinfra_lab.widgets import still
from mlinfra_lab.widgets.base import Widget
from mlinfra_lab.widgets.parts import Drift

__all__ = ["Chart", "Heatmap"]

Numbers = Sequence[float | None]


class Chart(Widget):
    """Lines or bars over numbers or times, with labels at their ends; dragging selects a stretch.

    Parameters
    ----------
    x
        Numbers, or moments.
    series
        Figures by label, as many as ``x`` has; ``None`` is a gap.
    title, note
        Above it; the note dimmed.
    kind
        ``line`` or ``bar``.
    unit
        Of the figures, behind them on the axis.
    limit
        A dotted line.
    tones
        By label: ``now`` (blue), ``older`` (grey), ``alarm``, ``failed``, ``well``.
    height
        In pixels.

    Examples
    --------
    >>> Chart([1, 2, 3], {"loss": [0.61, 0.55, 0.52]}, title="Training")  # doctest: +SKIP
    """

    def __init__(
        self,
        x: Sequence[Any],
        series: Mapping[str, Numbers],
        *,
        title: str | None = None,
        note: str | None = None,
        kind: Literal["line", "bar"] = "line",
        unit: str | None = None,
        limit: float | None = None,
        tones: Mapping[str, Tone] | None = None,
        height: int = 180,
    ) -> None:
        self._said = {
            "title": title, "note": note, "kind": kind, "unit": unit, "limit": limit, "height": height,
        }  # fmt: skip
        self._tones = dict(tones or {})
        super().__init__("chart", data=self._made(x, series))

    def update(self, x: Sequence[Any], series: Mapping[str, Numbers]) -> None:
        """Show other figures; a stretch that was selected stays."""
        self.data = self._made(x, series)

    def _made(self, x: Sequence[Any], series: Mapping[str, Numbers]) -> dict[str, Any]:
        places = [_place(one) for one in x]
        lines = []
        for label, values in series.items():
            figures = [_known(value) for value in values]
            if len(figures) != len(places):
                raise Invalid(
                    f"“{label}” has {len(figures)} figures, x has {len(places)}.",
                    "Give one for each; None is a gap.",
                )
            lines.append({"label": label, "values": figures, "tone": self._tones.get(label)})
        return {**self._said, "x": places, "series": lines}

    def still(self) -> tuple[str, str]:
        """The chart without a script."""
        return still.lines(self.data)


class Heatmap(Drift):
    """A heat map of anything that is measured in windows of time.

    Parameters
    ----------
    windows
        Starts of the windows, and the end of the last: one more than each row has figures.
    features
        Figures by row's name, drawn blue: from 0.1, 0.25, 1 and 3 on stronger.
    prediction
        The row on top, with its figures written, amber above ``limit``.
    limit
        See above.
    metric
        What the figures are.

    Examples
    --------
    >>> Heatmap([day1, day2, day3], {"temp": [0.1, 2.5]}, prediction=[0.01, 0.4])  # doctest: +SKIP
    """

    def __init__(
        self,
        windows: Sequence[dt.datetime],
        features: Mapping[str, Numbers],
        prediction: Numbers | None = None,
        *,
        limit: float = 0.25,
        metric: str = "PSI",
    ) -> None:
        starts = [one if one.tzinfo else one.replace(tzinfo=dt.UTC) for one in windows]
        spans = tuple(Span(start=a, end=b, rows=0, revision=1) for a, b in pairwise(starts))
        for name, values in {
            **features,
            **({} if prediction is None else {"prediction": prediction}),
        }.items():
            if len(values) != len(spans):
                raise Invalid(
                    f"“{name}” has {len(values)} figures for {len(spans)} windows.",
                    "Give the windows' starts and the end of the last.",
                )
        lasts = {span.end - span.start for span in spans}
        days = next(iter(lasts)).days if len(lasts) == 1 else 0
        nothing = Lines(times=(), step=0, series=())
        view = View(
            endpoint="",
            model="",
            title=None,
            state="up",
            number=0,
            made=now(),
            range="all",
            start=starts[0] if spans else None,
            end=starts[-1] if spans else None,
            window=f"{days}d" if days else "",
            answers=(),
            tiles=(),
            traffic=nothing,
            quality=nothing,
            drift=DriftMap(
                windows=spans,
                prediction=None if prediction is None else _row("prediction", prediction, metric),
                features=tuple(_row(name, values, metric) for name, values in features.items()),
                limit=limit,
                running=1,
            ),
        )
        super().__init__(view)


def _row(name: str, values: Numbers, metric: str) -> DriftRow:
    figures = tuple(_known(value) for value in values)
    return DriftRow(
        name=name, kind="number", metric=metric, values=figures, drifted=tuple(False for _ in figures)
    )


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _place(one: Any) -> float | str:
    if isinstance(one, dt.datetime):
        return (one if one.tzinfo else one.replace(tzinfo=dt.UTC)).isoformat()
    if isinstance(one, dt.date):
        return f"{one.isoformat()}T00:00:00+00:00"
    return float(one)
