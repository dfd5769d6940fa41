"""A trace as a picture: inline SVG in JupyterLab's own colours.

Everything is static, so that the picture is still there in a saved notebook. Colours are the theme's CSS
variables; where there are none they fall back on the text's own colour, which fits light and dark pages.
Every style stands on its element: a style sheet would reach into the rest of the page, and JupyterLab
takes it out of notebooks that are not trusted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from html import escape
from typing import Any

from mlinfra_lab import humane
from mlinfra_lab.cli.facts import inline, kind, plain, title
from mlinfra_lab.cli.view import one_line
from mlinfra_lab.magics.layout import Arrow, Box, Layout, layout
from mlinfra_lab.schema.lineage import Node, Trace

_WIDE, _HIGH = 172, 62
_GAP_X, _GAP_Y = 36, 16
_EDGE, _TOP = 2, 28
# Average advance of a letter, in px; text is cut by it, for there is nothing here to measure with.
_BOLD_LETTER, _SMALL_LETTER = 7.4, 6.1

FAINT = "color-mix(in srgb, currentColor 62%, transparent)"
TEXT = "var(--jp-ui-font-color1, currentColor)"
DIM = f"var(--jp-ui-font-color2, {FAINT})"
LINE = "var(--jp-border-color1, color-mix(in srgb, currentColor 30%, transparent))"
BRAND = "var(--jp-brand-color1, #1976d2)"
GROUND = "var(--jp-layout-color1, transparent)"
WARN = "var(--jp-warn-color1, #b26a00)"
FONT = "font-family:var(--jp-ui-font-family, system-ui, sans-serif)"


def svg(trace: Trace) -> str:
    """The picture.

    Parameters
    ----------
    trace
        Its first node is what is asked about; it stands right, everything it was made from left of it.

    Returns
    -------
    str
        An ``<svg>`` element with a title and a description for screen readers.
    """
    placed = layout(trace)
    width = 2 * _EDGE + placed.columns * _WIDE + (placed.columns - 1) * _GAP_X
    height = _TOP + _EDGE + placed.rows * _HIGH + (placed.rows - 1) * _GAP_Y
    # Ids are global to the page, and the same trace may be on it twice.
    name = "mlinfra-" + hashlib.sha256(repr(trace).encode()).hexdigest()[:10]
    root = trace.nodes[0]
    # One element a line, so that the words stay apart where a page shows only the text of the picture.
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="{name}-t {name}-d" '
        f'viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'style="max-width:100%;height:auto;display:block;{FONT}">',
        f'<title id="{name}-t">{escape(f"Lineage of {kind(root).lower()} {title(root)}")}</title>',
        f'<desc id="{name}-d">{escape(describe(trace))}</desc>',
        *_arrowheads(name),
        *_headings(placed, root, width),
        *_arrows(placed, name),
        *(line for box in placed.boxes.values() for line in _box(box, box.node is root)),
        "</svg>",
    ]
    return "\n".join(lines)


def describe(trace: Trace) -> str:
    """The picture in sentences, for those who do not see it."""
    names = {(node.kind, node.id): f"{kind(node)} {title(node)}" for node in trace.nodes}
    made: dict[str, list[str]] = {}
    for edge in trace.edges:
        source = names.get((edge.source_kind, edge.source))
        target = names.get((edge.target_kind, edge.target))
        if source and target:
            made.setdefault(target, []).append(source)
    return " ".join(f"{target} was made from {', '.join(sources)}." for target, sources in made.items())


def _arrowheads(name: str) -> Iterator[str]:
    box = 'viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse"'
    for suffix, colour in (("a", LINE), ("s", BRAND)):
        shape = f'<path d="M0 0.5 L8 4 L0 7.5 z" style="fill:{colour}"/>'
        yield f'<marker id="{name}-{suffix}" {box} orient="auto">{shape}</marker>'


def _headings(placed: Layout, root: Node, width: int) -> Iterator[str]:
    style = f'style="fill:{DIM};font-size:12px"'
    if placed.columns > 1:
        yield f'<text x="{_EDGE}" y="14" {style}>What it was made from</text>'
        last = "What answered" if root.kind == "prediction" else kind(root)
        yield f'<text x="{width - _EDGE}" y="14" text-anchor="end" {style}>{escape(last)}</text>'


def _corner(box: Box) -> tuple[int, int]:
    return _EDGE + box.column * (_WIDE + _GAP_X), _TOP + box.row * (_HIGH + _GAP_Y)


def _arrows(placed: Layout, name: str) -> Iterator[str]:
    # The spine last, so that nothing is drawn over it.
    for arrow in sorted(placed.arrows, key=lambda one: one.spine):
        source, target = placed.boxes[arrow.source], placed.boxes[arrow.target]
        colour, wide, head = (BRAND, 1.8, "s") if arrow.spine else (LINE, 1.2, "a")
        yield (
            f'<path d="{_path(placed, arrow, source, target)}" marker-end="url(#{name}-{head})" '
            f'style="fill:none;stroke:{colour};stroke-width:{wide}"/>'
        )


def _path(placed: Layout, arrow: Arrow, source: Box, target: Box) -> str:
    x1, y1 = _corner(source)
    x2, y2 = _corner(target)
    if source.column == target.column:
        middle = x1 + _WIDE // 2
        down = y2 > y1
        return f"M{middle} {y1 + _HIGH if down else y1} L{middle} {y2 - 1 if down else y2 + _HIGH + 1}"
    start, end = y1 + _HIGH / 2, y2 + _port(placed, arrow, target)
    x1, x2 = x1 + _WIDE, x2 - 1
    if start == end:
        return f"M{x1} {start:g} L{x2} {end:g}"
    # The bend lies in the gap before the target, so that a long way runs between boxes where it can.
    bend = x2 - _GAP_X + 6
    reach = _GAP_X * 0.62
    return f"M{x1} {start:g} H{bend:g} C{bend + reach:g} {start:g} {x2 - reach:g} {end:g} {x2} {end:g}"


def _port(placed: Layout, arrow: Arrow, target: Box) -> float:
    """Where an arrow meets its target: one below the other, in the order of where they come from."""
    entering = [one for one in placed.arrows if one.target == arrow.target]
    entering = [one for one in entering if placed.boxes[one.source].column != target.column]
    entering.sort(key=lambda one: (placed.boxes[one.source].row, one.source))
    spine = [place for place, one in enumerate(entering) if one.spine]
    step = min(11.0, (_HIGH - 12) / max(len(entering), 1))
    anchor = spine[0] if spine else (len(entering) - 1) / 2
    place = entering.index(arrow)
    return min(max(_HIGH / 2 + (place - anchor) * step, 6), _HIGH - 6)


def _box(box: Box, is_root: bool) -> Iterator[str]:
    node, (x, y) = box.node, _corner(box)
    colour, wide = (BRAND, 2.4 if is_root else 1.4) if box.spine else (LINE, 1.2)
    dashes = ";stroke-dasharray:4 3" if node.missing else ""
    label, name, below = words(box)
    yield "<g>"
    yield f"<title>{escape(_whole(box))}</title>"
    yield (
        f'<rect x="{x}" y="{y}" width="{_WIDE}" height="{_HIGH}" rx="2" '
        f'style="fill:{GROUND};stroke:{colour};stroke-width:{wide}{dashes}"/>'
    )
    yield _text(x, y + 18, label, f"fill:{DIM};font-size:11px", _SMALL_LETTER)
    yield _text(x, y + 36, name, f"fill:{TEXT};font-size:13px;font-weight:600", _BOLD_LETTER, middle=True)
    third = WARN if node.missing else DIM
    yield _text(x, y + 52, below, f"fill:{third};font-size:11px", _SMALL_LETTER)
    yield "</g>"


def _text(x: int, y: int, text: str, style: str, letter: float, middle: bool = False) -> str:
    room = int((_WIDE - 18) / letter)
    shown = humane.middle(text, room) if middle else humane.cut(text, room)
    return (
        f'<text x="{x + 11}" y="{y}" style="{style};font-variant-numeric:tabular-nums">{escape(shown)}</text>'
    )


def _whole(box: Box) -> str:
    """What the pointer shows over a box: everything that is known of it."""
    parts = [f"{kind(box.node)} {title(box.node)}", *inline(box.node)]
    parts += [one_line(node.missing) for node in (box.node, *box.within) if node.missing]
    parts += [f"{kind(node)} {title(node)}" for node in box.within]
    return "\n".join(parts)


def words(box: Box) -> tuple[str, str, str]:
    """The three lines of a box: its kind, its name, and what one wants to know next."""
    node = box.node
    label, name = kind(node), title(node)
    if node.missing:
        return label, name, "gone"
    facts: dict[str, Any] = dict(node.facts)
    if node.kind == "job":
        label, name = _job_label(label, box), _notebook_of(box) or name
    if node.kind == "prediction" and "prediction" in facts:
        name = plain(facts["prediction"])
    if node.kind == "environment":
        name = f"lock {node.id[:8]}"
    return label, name, _brief(node, facts)


def _job_label(label: str, box: Box) -> str:
    cells = [node for node in box.within if node.kind == "cell"]
    return f"{label} · cell {title(cells[0])}" if len(cells) == 1 else label


def _notebook_of(box: Box) -> str | None:
    notebooks = [node for node in box.within if node.kind == "notebook"]
    return notebooks[0].id.rpartition("/")[2].removesuffix(".ipynb") if notebooks else None


def _brief(node: Node, facts: dict[str, Any]) -> str:
    if node.kind == "dataset":
        parts = [
            f"{humane.count(facts['rows'])} rows" if isinstance(facts.get("rows"), int) else "",
            humane.size(facts["size"]) if isinstance(facts.get("size"), int) else "",
        ]
        return " · ".join(part for part in parts if part)
    if node.kind == "environment":
        return f"Python {facts.get('python', '')}".strip()
    if node.kind == "job":
        return " · ".join(
            f"{name} {plain(value)}" for name, value in dict(facts.get("parameters") or {}).items()
        )
    if node.kind == "run":
        figures = [f"{name} {plain(value)}" for name, value in facts.items() if isinstance(value, float)]
        return " · ".join(figures) or plain(facts.get("experiment", ""))
    wanted = {
        "model": "aliases", "revision": "published", "prediction": "at", "commit": "subject",
        "cluster": "backend", "alert": "state",
    }.get(node.kind)  # fmt: skip
    value = facts.get(wanted) if wanted else None
    if value is None:
        return next(iter(inline(node)), "")
    return plain(value)
