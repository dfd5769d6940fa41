"""The parts of the monitoring page, each usable alone."""

from __future__ import annotations

from typing import Any, ClassVar

from mlinfra_lab.schema.monitoring import View
from mlinfra_lab.widgets import still
from mlinfra_lab.widgets.base import Widget
from mlinfra_lab.widgets.monitor import Monitor

__all__ = [
    "Alerts", "Drift", "Explains", "Header", "Histogram", "Part", "Predictions", "Quality", "Slices", "Tiles",
    "Traffic",
]  # fmt: skip


class Part(Widget):
    """One part of an endpoint's page.

    Parameters
    ----------
    monitor
        What it shows; a `View` stands for a monitor that does not change.
    """

    shows: ClassVar[str]

    def __init__(self, monitor: Monitor | View, **options: Any) -> None:
        self.monitor = Monitor.of(monitor) if isinstance(monitor, View) else monitor
        super().__init__(self.shows, source=f"IPY_MODEL_{self.monitor.model_id}", options=options)

    def still(self) -> tuple[str, str]:
        """The part without a script."""
        return still.part(self.shows, self.monitor.latest, self.monitor.selection)


class OverTime(Part):
    """A chart on the axis of time: the pointer's hairline and a stretch dragged out go through all of them.

    Parameters
    ----------
    axis
        Whether the axis of time stands below.
    marks
        Whether the words of what happened stand above; the lines are drawn in any case.
    """

    def __init__(self, monitor: Monitor | View, *, axis: bool = True, marks: bool = True) -> None:
        super().__init__(monitor, axis=axis, markText=marks)


class Header(Part):
    """Name, state, who answers, and buttons for the range of time."""

    shows = "header"


class Tiles(Part):
    """Requests a second, latency, errors and the prediction's drift, with their rules."""

    shows = "tiles"


class Traffic(OverTime):
    """Predictions by version, stacked."""

    shows = "traffic"


class Drift(OverTime):
    """The heat map. Arrows walk its cells, a click chooses one: `Histogram` and `Explains` follow."""

    shows = "drift"


class Quality(OverTime):
    """Loss by version; dashed where it is estimated because the truth is on its way."""

    shows = "quality"


class Alerts(Part):
    """Alerts, with the buttons that answer them."""

    shows = "alerts"


class Histogram(Part):
    """The chosen cell: the baseline against now."""

    shows = "histogram"


class Explains(Part):
    """Which features explain how the prediction moved in the chosen window."""

    shows = "explains"


class Slices(Part):
    """Quality by the values of the slicing columns."""

    shows = "slices"


class Predictions(Part):
    """Recent predictions, with a filter."""

    shows = "predictions"
