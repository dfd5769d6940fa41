"""Baselines, drift, quality, and the monitoring page's view of an endpoint."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

from mlinfra_lab.schema.common import JSON, Wire

ColumnKind = Literal["number", "category"]
Problem = Literal["binary", "multiclass", "regression"]
Range = Literal["day", "week", "month", "all"]
Tone = Literal["plain", "now", "older", "alarm", "failed", "well"]
RANGES: tuple[Range, ...] = ("day", "week", "month", "all")


class Cells(Wire, frozen=True, kw_only=True):
    """Into which cells a column's values are counted; made once, from the baseline.

    Attributes
    ----------
    edges
        Of a number: ``k`` ascending edges make ``k + 1`` cells; cell ``i`` holds
        ``edges[i-1] <= x < edges[i]``, the first and the last are open.
    categories
        Of a category: one cell each, and one more, the last, for any other.
    """

    name: str
    kind: ColumnKind
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many cells there are, the one for missing values not among them."""
        return (len(self.edges) if self.kind == "number" else len(self.categories)) + 1


class Counts(Wire, frozen=True, kw_only=True):
    """One column's values counted; two are merged by adding.

    Attributes
    ----------
    cells
        Rows by cell.
    missing
        Rows without a value.
    sums
        Of a number: the sum of the values in each cell.
    """

    cells: tuple[int, ...]
    missing: int = 0
    sums: tuple[float, ...] = ()


class Baseline(Wire, frozen=True, kw_only=True):
    """What a model version was trained on, and how it answered what it had not seen.

    Attributes
    ----------
    columns, counts
        The training data's columns, in the order of the signature, and their counts.
    effects
        By column: mean prediction on the baseline's rows by cell, the cell for missing values last;
        ``None`` where a cell is empty.
    prediction, predicted
        Cells and counts of the score on held-out rows: the probability of the positive class, or the
        predicted number.
    truths
        By cell of the score: held-out rows with the positive truth (binary), to estimate quality.
    quality
        On the held-out rows: ``log_loss``, ``accuracy``, … or ``mae``, ``rmse``.
    positive
        The class whose probability the score is; ``score`` is its place in a prediction that is a list.
    probabilities
        Whether the model says probabilities; a classifier that only names classes does not.
    source
        Where it came from: ``run:ID``, or ``first rows`` when the model brought none.
    first, last
        Times of the earliest and the latest training row, where the rows have one.
    """

    problem: Problem
    columns: tuple[Cells, ...]
    counts: tuple[Counts, ...]
    effects: tuple[tuple[float | None, ...], ...]
    prediction: Cells
    predicted: Counts
    truths: tuple[int, ...] = ()
    quality: dict[str, float] = {}
    classes: tuple[Any, ...] = ()
    positive: Any = None
    score: int | None = None
    probabilities: bool = False
    rows: int
    held_out: int = 0
    source: str = ""
    first: dt.datetime | None = None
    last: dt.datetime | None = None


class Alert(Wire, frozen=True, kw_only=True):
    """A rule that was broken.

    Attributes
    ----------
    state
        ``open``; ``acknowledged`` by a person; ``acting`` while its action's job runs; ``answered``
        when that gave a new model version; ``closed`` when the rule holds again.
    rule
        ``prediction_drift`` or ``quality``.
    since, until
        Start of the first window over the limit, and end of the last; event time.
    value, limit
        The rule's figure in the newest window, and what it may be at most.
    message, explains
        What a person reads; the features that explain it with their shares, largest first.
    job, model
        The action's job, and the model version that came of it.
    """

    number: int
    endpoint: str
    revision: int
    rule: str
    state: Literal["open", "acknowledged", "acting", "answered", "closed"]
    since: dt.datetime
    until: dt.datetime | None = None
    raised: dt.datetime
    value: float
    limit: float
    message: str
    explains: tuple[tuple[str, float], ...] = ()
    detail: JSON = {}
    acknowledged_by: str | None = None
    job: str | None = None
    model: str | None = None
    error: str | None = None
    acted: dt.datetime | None = None
    closed: dt.datetime | None = None


class Link(Wire, frozen=True, kw_only=True):
    """A link that opens an endpoint's page in a browser, once, until it expires.

    Attributes
    ----------
    page
        Where the page is for a browser that has been let in before.
    """

    endpoint: str
    url: str
    page: str
    expires: dt.datetime


# -- the page -------------------------------------------------------------------------------------


class Answering(Wire, frozen=True, kw_only=True):
    """A revision's share of the requests."""

    revision: int
    label: str
    share: float
    alias: str | None = None
    trained: str | None = None
    tone: Tone = "older"


class Tile(Wire, frozen=True, kw_only=True):
    """One figure with its sparkline; ``broken`` only when its rule is."""

    id: Literal["requests", "latency", "errors", "drift"]
    title: str
    value: float | None
    unit: str
    rule: str | None = None
    broken: bool = False
    note: str = ""
    spark: tuple[float | None, ...] = ()
    limit: float | None = None


class Mark(Wire, frozen=True, kw_only=True):
    """Something that happened, as a hairline through all charts; with ``until``, a span.

    ``text`` stands beside the line and names the day; ``detail`` is a sentence for the list of alerts,
    where what was rolled back (tone ``failed``) stands too.
    """

    at: dt.datetime
    until: dt.datetime | None = None
    kind: str
    text: str
    tone: Tone = "plain"
    detail: str = ""


class Series(Wire, frozen=True, kw_only=True):
    """A version's numbers, one for each of the chart's times."""

    revision: int
    label: str
    tone: Tone
    values: tuple[float | None, ...]
    estimated: tuple[bool, ...] = ()
    rows: tuple[int, ...] = ()


class Chart(Wire, frozen=True, kw_only=True):
    """Series over shared times; ``times`` are the starts of the spans, ``step`` their length in seconds."""

    times: tuple[dt.datetime, ...]
    step: float
    series: tuple[Series, ...]
    unit: str = ""
    better: Literal["lower", "higher"] | None = None
    limit: float | None = None
    held_out: float | None = None


class Span(Wire, frozen=True, kw_only=True):
    """A window of the drift map: event times, rows, and whose baseline it is held against."""

    start: dt.datetime
    end: dt.datetime
    rows: int
    revision: int


class DriftRow(Wire, frozen=True, kw_only=True):
    """One row of the drift map.

    Attributes
    ----------
    values
        The metric by window; ``None`` where nothing can be said.
    drifted
        By window: whether it is more than chance, corrected for the number of features.
    labels
        Of the cells, for the histograms: edges of a number, names of categories.
    baseline, counts
        Share of the baseline's rows by cell, by revision; rows by window and cell. Missing values last.
    shares
        By window: how much of the prediction's move this feature explains, 0 to 1.
    """

    name: str
    kind: ColumnKind
    metric: str
    values: tuple[float | None, ...]
    drifted: tuple[bool, ...]
    calm: bool = False
    labels: dict[str, tuple[Any, ...]] = {}
    baseline: dict[str, tuple[float, ...]] = {}
    counts: tuple[tuple[int, ...], ...] = ()
    shares: tuple[float | None, ...] = ()


class DriftMap(Wire, frozen=True, kw_only=True):
    """The heat map: the prediction, which alarms, and the features, which explain."""

    windows: tuple[Span, ...]
    prediction: DriftRow | None
    features: tuple[DriftRow, ...]
    limit: float
    running: int


class Slice(Wire, frozen=True, kw_only=True):
    """Quality of one value of a slicing column; ``values`` by version label."""

    column: str
    value: str
    truths: int
    values: dict[str, float | None]


class Recent(Wire, frozen=True, kw_only=True):
    """A recent prediction; ``row`` has the columns that are shown."""

    id: str
    at: dt.datetime
    event_time: dt.datetime | None
    row: JSON
    prediction: Any
    score: float | None
    label: str
    truth: Any = None
    latency: float


class View(Wire, frozen=True, kw_only=True):
    """Everything the monitoring page shows, drawn from stored aggregates.

    Attributes
    ----------
    number
        Revision of the change feed it was read at.
    empty
        Why there is nothing to show in a part, by the part's name (``traffic``, ``drift``, ``quality``,
        ``predictions``), in one sentence that says what to do.
    """

    endpoint: str
    model: str
    title: str | None
    state: str
    reason: str | None = None
    number: int
    made: dt.datetime
    range: Range
    start: dt.datetime | None
    end: dt.datetime | None
    window: str
    answers: tuple[Answering, ...]
    warm: str | None = None
    tiles: tuple[Tile, ...]
    marks: tuple[Mark, ...] = ()
    traffic: Chart
    drift: DriftMap
    quality: Chart
    metric: str = ""
    slices: tuple[Slice, ...] = ()
    alerts: tuple[Alert, ...] = ()
    recent: tuple[Recent, ...] = ()
    columns: tuple[str, ...] = ()
    captured: int = 0
    missed: int = 0
    empty: dict[str, str] = {}
