"""Widgets for a notebook: an endpoint's monitoring page in parts, and charts of anything.

Each part is usable alone; parts of one `Monitor` share its view, the range of time and the chosen cell.
Nothing is asked of any other host, and a saved notebook keeps a picture of each.

Examples
--------
>>> from mlinfra_lab.widgets import Drift, Histogram, Monitor  # doctest: +SKIP
>>> m = Monitor(name="delay")  # doctest: +SKIP
>>> Drift(m)  # doctest: +SKIP
>>> m.select("temp", "2013-04-09")  # doctest: +SKIP
>>> Histogram(m)  # doctest: +SKIP
"""

from mlinfra_lab.widgets.charts import Chart, Heatmap
from mlinfra_lab.widgets.layout import Columns, Stack
from mlinfra_lab.widgets.monitor import Monitor, open_endpoint
from mlinfra_lab.widgets.parts import (
    Alerts,
    Drift,
    Explains,
    Header,
    Histogram,
    Predictions,
    Quality,
    Slices,
    Tiles,
    Traffic,
)

__all__ = [
    "Alerts",
    "Chart",
    "Columns",
    "Drift",
    "Explains",
    "Header",
    "Heatmap",
    "Histogram",
    "Monitor",
    "Predictions",
    "Quality",
    "Slices",
    "Stack",
    "Tiles",
    "Traffic",
    "open_endpoint",
]
