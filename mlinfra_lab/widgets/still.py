"""What a saved notebook keeps of a widget: its figures as HTML without a script, and as a line of text."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

from mlinfra_lab import humane
from mlinfra_lab.schema.monitoring import Chart, DriftRow, Span, Tone, View
from mlinfra_lab.widgets.drawn import bars, heat, polylines, steps
from mlinfra_lab.widgets.paint import COLOURS, DIM, FONT, LINE, TEXT, shorten, tag

__all__ = ["lines", "page", "part"]

Still = tuple[str, str]
Selection = tuple[str | None, Span] | None
_RECENT = 12


def page(view: View) -> Still:
    """All parts, one below the other."""
    order = (
        "header",
        "tiles",
        "alerts",
        "traffic",
        "drift",
        "quality",
        "histogram",
        "explains",
        "slices",
        "predictions",
    )
    found = [part(kind, view, None) for kind in order]
    return "\n".join(html for html, _ in found), "\n".join(text for _, text in found if text)


def part(kind: str, view: View, selection: Selection) -> Still:
    """One part by its name."""
    chosen = selection or _chosen(view)
    draw: dict[str, Callable[[], Still]] = {
        "header": lambda: _header(view),
        "tiles": lambda: _tiles(view),
        "traffic": lambda: _chart(
            "Traffic", "predictions by version", view.traffic, bars, view.empty.get("traffic")
        ),
        "drift": lambda: _drift(view),
        "quality": lambda: _chart("Quality", view.metric, view.quality, polylines, view.empty.get("quality")),
        "alerts": lambda: _alerts(view),
        "histogram": lambda: _histogram(view, chosen),
        "explains": lambda: _explains(view, chosen),
        "slices": lambda: _slices(view),
        "predictions": lambda: _predictions(view),
    }
    html, text = draw[kind]()
    return _block(html), text


def lines(data: dict[str, Any]) -> Still:
    """A chart of anything."""
    x, series = data["x"], data["series"]
    drawn: list[tuple[str, Tone, list[float | None]]] = [
        (one["label"], one["tone"] or "now", one["values"]) for one in series
    ]
    text = [f"{label}: {_ends(values)}" for label, _, values in drawn]
    name = data["title"] or "Chart"
    html = _title(name, data["note"] or "") + polylines(len(x), drawn, data["limit"])
    return _block(html), f"{name}\n" + "\n".join(text)


# -- parts ----------------------------------------------------------------------------------------


def _header(view: View) -> Still:
    about = " · ".join(filter(None, (view.model, view.title)))
    answers = ", ".join(f"{one.label} {humane.share(one.share)}" for one in view.answers if one.share)
    period = _period(view.start, view.end)
    html = tag("div", "font-size:18px;font-weight:600", escape(view.endpoint)) + _dim(about)
    facts = " · ".join(filter(None, (view.state, f"answers: {answers or 'nobody'}", period)))
    seen = f"as of {humane.exact(view.made)}"
    return html + _dim(f"{facts} · {seen}"), f"{view.endpoint} ({about}): {facts}, {seen}"


def _tiles(view: View) -> Still:
    cells, text = [], []
    for one in view.tiles:
        value = "–" if one.value is None else f"{_figure(one.value)} {one.unit}".strip()
        edge = COLOURS["alarm"] if one.broken else LINE
        rule = f"rule: {one.rule}{', broken' if one.broken else ''}" if one.rule else ""
        inner = (
            _dim(one.title)
            + tag("div", "font-size:20px;font-weight:600", escape(value))
            + _dim(one.note)
            + _dim(rule)
        )
        cells.append(tag("div", f"flex:1 1 160px;border:1px solid {edge};padding:6px 12px", inner))
        text.append(f"{one.title} {value}{f' ({rule})' if rule else ''}")
    return tag("div", "display:flex;flex-wrap:wrap;gap:12px", "".join(cells)), "; ".join(text)


def _chart(
    title: str,
    note: str,
    chart: Chart,
    draw: Callable[[int, Sequence[tuple[str, Tone, Sequence[float | None]]], float | None], str],
    empty: str | None,
) -> Still:
    drawn = [(one.label, one.tone, one.values) for one in chart.series]
    if not any(value is not None for _, _, values in drawn for value in values):
        words = empty or "Nothing to show yet."
        return _title(title, note) + _dim(words), f"{title}: {words}"
    ends = _between(chart.times[0], chart.times[-1])
    text = "; ".join(f"{label} {_ends(values)}" for label, _, values in drawn)
    return _title(title, f"{note}, {ends}") + draw(
        len(chart.times), drawn, chart.limit
    ), f"{title}, {ends}: {text}"


def _drift(view: View) -> Still:
    shown = view.drift
    if not shown.windows:
        words = view.empty.get("drift") or "Nothing to show yet."
        return _title("Drift", "") + _dim(words), f"Drift: {words}"
    rows = [row for row in shown.features if not row.calm]
    calm = [row.name for row in shown.features if row.calm]
    known = [value for value in (shown.prediction.values if shown.prediction else ()) if value is not None]
    said = f"prediction {_figure(known[-1])} (limit {shown.limit:g})" if known else "prediction not known"
    strongest = ", ".join(f"{row.name} {_last(row)}" for row in rows[:4])
    note = f"{_period(shown.windows[0].start, shown.windows[-1].end)}, alarm above {shown.limit:g}"
    html = _title("Drift", note) + heat(shown, rows, [_day(span.start) for span in shown.windows])
    html += _dim(f"calm all along: {', '.join(calm)}") if calm else ""
    return html, f"Drift: {said}{f'; {strongest}' if strongest else ''}"


def _alerts(view: View) -> Still:
    if not view.alerts:
        return _title("Alerts", "") + _dim("No rule was broken."), "Alerts: none"
    items = []
    for one in view.alerts:
        colour = COLOURS["alarm"] if one.state in ("open", "acknowledged", "acting") else DIM
        state = tag("span", f"color:{colour};font-weight:600", escape(one.state))
        items.append(tag("div", "", f"{state} {escape(one.message.replace('`', ''))}"))
    texts = [f"{one.state}: {one.message.replace('`', '')}" for one in view.alerts]
    return _title("Alerts", "") + "".join(items), "Alerts: " + " | ".join(texts)


def _histogram(view: View, chosen: Selection) -> Still:
    found = _cell(view, chosen)
    if found is None:
        return _title("Baseline and now", "") + _dim(
            "Nothing to compare yet."
        ), "Baseline and now: nothing yet"
    row, index, span = found
    counts, base = row.counts[index] if row.counts else (), row.baseline.get(str(span.revision), ())
    title = f"{row.name}, {_period(span.start, span.end)}"
    value = row.values[index]
    figure = "" if value is None else f"{_metric(row)} {_figure(value)}"
    if not counts or len(base) != len(counts):
        return _title(title, figure) + _dim("No counts are kept for this window."), f"{title}: {figure}"
    now = [one / max(sum(counts), 1) for one in counts]
    labels = [str(one) for one in row.labels.get(str(span.revision), ())]
    html = _title(title, f"{figure}; baseline grey, now blue") + steps(base[:-1], now[:-1], labels)
    return html, f"{title}: {figure}"


def _explains(view: View, chosen: Selection) -> Still:
    index = next((at for at, one in enumerate(view.drift.windows) if chosen and one == chosen[1]), None)
    if index is None:
        return "", ""
    found = [(row.name, row.shares[index] or 0.0) for row in view.drift.features if index < len(row.shares)]
    found = sorted((one for one in found if one[1] >= 0.03), key=lambda one: -one[1])[:5]
    rows = [[escape(name), _bar(part), humane.share(part)] for name, part in found]
    title = "What explains the prediction’s move"
    text = ", ".join(f"{name} {humane.share(part)}" for name, part in found) or "no feature by itself"
    return _title(title, "") + _table([], rows), f"{title}: {text}"


def _slices(view: View) -> Still:
    if not view.slices:
        return "", ""
    labels = sorted({label for one in view.slices for label in one.values})
    rows = [
        [_cut(one.column), _cut(one.value), f"{one.truths:,}"]
        + ["–" if (value := one.values.get(label)) is None else _figure(value) for label in labels]
        for one in view.slices
    ]
    text = "; ".join(
        f"{shorten(one.column)} {shorten(one.value)} {row[-1]}"
        for one, row in zip(view.slices, rows, strict=True)
    )
    html = _title("Quality by slice", view.metric) + _table(["column", "value", "truths", *labels], rows)
    return html, f"Quality by slice ({view.metric}): {text}"


def _predictions(view: View) -> Still:
    words = f"{view.captured:,} captured, {view.missed:,} missed"
    rows = []
    for one in view.recent[:_RECENT]:
        score = one.prediction if one.score is None else _figure(one.score)
        truth = "on its way" if one.truth is None else one.truth
        cells = [
            humane.stamp(one.at),
            one.id,
            *(one.row.get(name) for name in view.columns),
            score,
            one.label,
            truth,
        ]
        rows.append([_cut("–" if cell is None else str(cell)) for cell in cells])
    names = ["time", "id", *view.columns, "prediction", "version", "truth"]
    body = _table(names, rows) if rows else _dim(view.empty.get("predictions") or "No prediction yet.")
    return _title("Recent predictions", words) + body, f"Recent predictions: {words}"


# -- pieces ---------------------------------------------------------------------------------------


def _chosen(view: View) -> Selection:
    """What the page shows first: what explains the newest alert, else the newest window."""
    windows = view.drift.windows
    if not windows:
        return None
    newest = max(view.alerts, key=lambda one: one.number, default=None)
    span = next((one for one in windows if newest and one.end > newest.since), windows[-1])
    names = {row.name for row in view.drift.features}
    named = next((name for name, _ in newest.explains if name in names), None) if newest else None
    return named or (view.drift.features[0].name if view.drift.features else None), span


def _cell(view: View, chosen: Selection) -> tuple[DriftRow, int, Span] | None:
    if chosen is None or chosen[1] not in view.drift.windows:
        return None
    rows = (
        [view.drift.prediction]
        if chosen[0] is None
        else [one for one in view.drift.features if one.name == chosen[0]]
    )
    row = next((one for one in rows if one is not None), None)
    return None if row is None else (row, view.drift.windows.index(chosen[1]), chosen[1])


def _block(html: str) -> str:
    style = f"color:{TEXT};{FONT};font-size:13px;line-height:1.5;max-width:980px;margin:4px 0"
    return tag("div", style, html) if html else ""


def _title(title: str, note: str) -> str:
    small = tag("span", f"font-weight:400;font-size:11px;color:{DIM};margin-left:8px", escape(note))
    return tag("div", "font-weight:600", escape(title) + (small if note else ""))


def _dim(text: str) -> str:
    return tag("div", f"color:{DIM};font-size:11px", escape(text)) if text else ""


def _bar(part: float) -> str:
    return tag("div", f"width:{max(200 * min(part, 1), 1):.0f}px;height:8px;background:{COLOURS['now']}", "")


def _table(heads: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    cell = "text-align:left;padding:2px 14px 2px 0;border:none;white-space:nowrap"
    head = "".join(
        tag("th", f"{cell};font-weight:400;color:{DIM};font-size:11px", _cut(one)) for one in heads
    )
    body = "".join(tag("tr", "background:none", "".join(tag("td", cell, one) for one in row)) for row in rows)
    table = tag(
        "table",
        "border-collapse:collapse;border:none;color:inherit;margin:0;font-size:13px",
        tag("tr", "background:none", head) + body,
    )
    return tag("div", "overflow-x:auto", table)


def _cut(text: str) -> str:
    """A cell's text; what is long is cut, and whole in its tooltip."""
    short = shorten(text)
    return escape(text) if short == text else f'<span title="{escape(text)}">{escape(short)}</span>'


def _metric(row: DriftRow) -> str:
    return row.metric.upper() if len(row.metric) <= 3 else row.metric


def _last(row: DriftRow) -> str:
    known = [value for value in row.values if value is not None]
    return _figure(known[-1]) if known else "–"


def _ends(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{_figure(known[0])} to {_figure(known[-1])}" if known else "no figures"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def _day(at: dt.datetime) -> str:
    at = at.astimezone(dt.UTC)
    return f"{at.day} {at:%B}"


def _period(start: dt.datetime | None, end: dt.datetime | None) -> str:
    if start is None or end is None:
        return ""
    return _between(start, max(end - dt.timedelta(microseconds=1), start))


def _between(start: dt.datetime, end: dt.datetime) -> str:
    """Two days; each says its year when they are of two."""
    years = [f" {at.astimezone(dt.UTC).year}" for at in (start, end)]
    first, last = years if years[0] != years[1] else ("", "")
    return f"{_day(start)}{first} to {_day(end)}{last}"
