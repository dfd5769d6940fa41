"""Charts as plain SVG, for what is kept without a script."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from html import escape
from math import log2

from mlinfra_lab.schema.monitoring import DriftMap, DriftRow, Tone
from mlinfra_lab.widgets.paint import COLOURS, DIM, LINE, SOFT, TEXT, mixed

Drawn = Sequence[tuple[str, Tone, Sequence[float | None]]]
_WIDE, _TALL, _LEFT, _RIGHT = 760, 110, 72, 110
_STEPS = (0.1, 0.25, 1.0, 3.0)
_BLUES = (0.05, 0.14, 0.34, 0.63, 0.95)
_AMBERS = (0.46, 0.66, 0.85, 1.0)


def bars(n: int, series: Drawn, limit: float | None = None) -> str:
    """Stacked bars."""
    totals = [sum(values[index] or 0 for _, _, values in series) for index in range(n)]
    most = max([*totals, limit or 0]) or 1
    step = (_WIDE - _LEFT - _RIGHT) / max(n, 1)
    base = [0.0] * n
    shapes = []
    for _, tone, values in series:
        for index, value in enumerate(values):
            if value:
                tall = value / most * _TALL
                y = 8 + _TALL - base[index] / most * _TALL - tall
                shapes.append(
                    _rect(
                        _LEFT + index * step,
                        y,
                        max(step - 1, 0.75),
                        tall,
                        f"fill:{COLOURS[tone]};fill-opacity:.7",
                    )
                )
                base[index] += value
    return _svg(_TALL + 16, [*_scale(0, most), *shapes, *_names(series, most=most, low=0)], "Bars")


def polylines(n: int, series: Drawn, limit: float | None = None) -> str:
    """Lines; a missing figure is a gap."""
    known = [value for _, _, values in series for value in values if value is not None]
    if not known:
        return ""
    low, most = min([*known, *([limit] if limit is not None else [])]), max([*known, limit or known[0]])
    pad = (most - low or abs(most) or 1) * 0.08
    low, most = low - pad, most + pad
    shapes = []
    if limit is not None:
        y = _y(limit, low, most)
        style = f"stroke:{COLOURS['alarm']};stroke-dasharray:1 3"
        shapes.append(f'<line x1="{_LEFT}" x2="{_WIDE - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" style="{style}"/>')
    for _, tone, values in series:
        path, pen = "", "M"
        for index, value in enumerate(values):
            if value is None:
                pen = "M"
                continue
            x = _LEFT + (index + 0.5) * (_WIDE - _LEFT - _RIGHT) / n
            path += f"{pen}{x:.1f} {_y(value, low, most):.1f}"
            shapes.append(
                f'<circle cx="{x:.1f}" cy="{_y(value, low, most):.1f}" r="2" style="fill:{COLOURS[tone]}"/>'
            )
            pen = "L"
        shapes.append(f'<path d="{path}" style="fill:none;stroke:{COLOURS[tone]};stroke-width:1.5"/>')
    return _svg(_TALL + 16, [*_scale(low, most), *shapes, *_names(series, most=most, low=low)], "Lines")


def heat(drift: DriftMap, rows: Sequence[DriftRow], days: Sequence[str]) -> str:
    """The map: the prediction amber, features blue."""
    wide = (_WIDE - _LEFT - _RIGHT) / max(len(drift.windows), 1)
    shapes = []
    drawn = ([(drift.prediction, 20)] if drift.prediction else []) + [(row, 16) for row in rows]
    y = 4.0
    for row, tall in drawn:
        top = row is drift.prediction
        weight = ";font-weight:600" if top else ""
        shapes.append(_text(_LEFT - 8, y + tall / 2 + 4, row.name, f"fill:{TEXT}{weight}", "end"))
        for index, value in enumerate(row.values):
            fill = "none" if value is None else _amber(value, drift.limit) if top else _blue(value)
            words = f"{row.name}, from {days[index]}: {'not known' if value is None else f'{value:.2f}'}"
            x = _LEFT + index * wide
            shapes.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(wide - 1, 1):.1f}" height="{tall - 1}" '
                f'style="fill:{fill};stroke:{LINE if value is None else "none"}">'
                f"<title>{escape(words)}</title></rect>"
            )
            if top and value is not None and wide > 24:
                shapes.append(_text(x + wide / 2, y + tall / 2 + 4, f"{value:.2f}", "fill:#000", "middle"))
        y += tall + (8 if top else 0)
    return _svg(round(y) + 4, shapes, "Heat map of drift")


def steps(base: Sequence[float], now: Sequence[float], labels: Sequence[str]) -> str:
    """The baseline's outline over what is now, a cell each."""
    n, most = max(len(base), 1), max([*base, *now]) or 1
    wide = (_WIDE - _LEFT - _RIGHT) / n

    def outline(parts: Sequence[float]) -> str:
        path = f"M{_LEFT} {8 + _TALL}"
        for index, part in enumerate(parts):
            path += f"V{8 + _TALL - part / most * _TALL:.1f}H{_LEFT + (index + 1) * wide:.1f}"
        return f"{path}V{8 + _TALL}"

    blue = COLOURS["now"]
    shapes = [
        f'<path d="{outline(now)}" style="fill:{blue};fill-opacity:.18;stroke:{blue}"/>',
        f'<path d="{outline(base)}" style="fill:none;stroke:{COLOURS["older"]};stroke-width:1.5"/>',
    ]
    if labels:
        y = 8 + _TALL + 14
        shapes.append(_text(_LEFT, y, labels[0], f"fill:{DIM}", "start"))
        shapes.append(_text(_WIDE - _RIGHT, y, labels[-1], f"fill:{DIM}", "end"))
    return _svg(_TALL + 30, shapes, "Baseline and now")


def _blue(value: float) -> str:
    return mixed(COLOURS["now"], _BLUES[bisect_left(_STEPS, value)])


def _amber(value: float, limit: float) -> str:
    if value <= limit:
        return SOFT
    return mixed(COLOURS["alarm"], _AMBERS[min(int(log2(value / limit)), 3)])


def _y(value: float, low: float, most: float) -> float:
    return 8 + _TALL - (value - low) / (most - low or 1) * _TALL


def _scale(low: float, most: float) -> list[str]:
    shapes = []
    for value in (low, (low + most) / 2, most):
        y = _y(value, low, most)
        shapes.append(
            f'<line x1="{_LEFT}" x2="{_WIDE - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" style="stroke:{LINE}"/>'
        )
        text = f"{value:,.0f}" if abs(most) >= 20 else f"{value:.2f}"
        shapes.append(_text(_LEFT - 8, y + 4, text, f"fill:{DIM}", "end"))
    return shapes


def _names(series: Drawn, most: float, low: float) -> list[str]:
    """Each label beside its line's end, none over another."""
    ends = []
    for label, tone, values in series:
        last = next((value for value in reversed(values) if value is not None), None)
        if last is not None:
            ends.append((_y(min(max(last, low), most), low, most), label, tone))
    shapes, before = [], -100.0
    for wanted, label, tone in sorted(ends):
        before = max(wanted, before + 13)
        shapes.append(
            _text(_WIDE - _RIGHT + 8, before + 4, label, f"fill:{COLOURS[tone]};font-weight:600", "start")
        )
    return shapes


def _rect(x: float, y: float, wide: float, tall: float, style: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall:.1f}" style="{style}"/>'


def _text(x: float, y: float, text: str, style: str, anchor: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} style="{style};font-size:11px">{escape(text)}</text>'


def _svg(tall: int, shapes: Sequence[str], name: str) -> str:
    size = f'viewBox="0 0 {_WIDE} {tall}" width="{_WIDE}" height="{tall}"'
    said = f'role="img" aria-label="{name}" style="max-width:100%;height:auto"'
    return f"<svg {size} {said}>{''.join(shapes)}</svg>"
