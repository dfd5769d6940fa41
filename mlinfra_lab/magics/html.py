"""Views as HTML for a notebook, in JupyterLab's own colours; static, for it is kept in the notebook."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from mlinfra_lab.cli.facts import at_length, kind, title
from mlinfra_lab.cli.tree import as_text
from mlinfra_lab.cli.view import Bar, Card, Cell, Code, Graph, Mark, Problem, Table, View, block, one_line
from mlinfra_lab.magics.picture import BRAND, DIM, FONT, LINE, TEXT, WARN, svg

_GREEN = "var(--jp-success-color1, #388e3c)"
_RED = "var(--jp-error-color1, #d32f2f)"
_TRACK = "var(--jp-layout-color2, color-mix(in srgb, currentColor 12%, transparent))"
_FIELD = f"background:var(--jp-cell-editor-background, {_TRACK});border:1px solid {LINE}"
_MONO = "font-family:var(--jp-code-font-family, monospace)"
_TABULAR = "font-variant-numeric:tabular-nums"
# Said in full, for JupyterLab has rules of its own for tables in outputs.
_TABLE = "border-collapse:collapse;table-layout:auto;font-size:13px;color:inherit;border:none;text-align:left"

# Shape and colour, so that neither alone has to tell.
_MARKS: dict[Mark, str] = {
    "queued": f'<circle cx="7" cy="7" r="4.5" style="fill:none;stroke:{DIM};stroke-width:1.6"/>',
    "running": f'<circle cx="7" cy="7" r="4.5" style="fill:none;stroke:{LINE};stroke-width:2"/>'
    f'<path d="M7 2.5 A4.5 4.5 0 0 1 11.5 7" style="fill:none;stroke:{BRAND};stroke-width:2"/>'
    f'<circle cx="7" cy="7" r="1.8" style="fill:{BRAND}"/>',
    "succeeded": f'<path d="M2.5 7.5 L5.6 10.5 L11.5 3.8" style="fill:none;stroke:{_GREEN};stroke-width:2"/>',
    "failed": f'<path d="M3 3 L11 11 M11 3 L3 11" style="fill:none;stroke:{_RED};stroke-width:2"/>',
    "cancelled": f'<path d="M2.5 7 L11.5 7" style="fill:none;stroke:{DIM};stroke-width:2"/>',
    "up": f'<circle cx="7" cy="7" r="4.5" style="fill:{_GREEN}"/>',
    "warning": f'<path d="M7 2 L12.6 12 L1.4 12 z" style="fill:{WARN}"/>',
}


def page(view: View) -> str:
    """A view as one self-contained piece of HTML."""
    style = f"color:{TEXT};{FONT};font-size:13px;line-height:1.5;margin:2px 0"
    return _block("div", style, _view(view))


def line(sign: Mark, title: str, beside: str) -> str:
    """One line of progress: sign, title, and HTML beside it."""
    style = f"color:{TEXT};{FONT};font-size:13px;display:flex;align-items:center;gap:10px;{_TABULAR}"
    return _tag("div", style, _tag("span", "", mark(sign) + escape(title)) + beside)


def mark(name: Mark) -> str:
    """A state's sign; the word beside it is what a screen reader says."""
    return (
        '<svg width="14" height="14" viewBox="0 0 14 14" aria-hidden="true" '
        f'style="vertical-align:-2px;margin-right:6px">{_MARKS[name]}</svg>'
    )


def bar(part: Bar) -> str:
    """A thin bar with its words beside it."""
    share = 100 * min(max(part.share, 0.0), 1.0)
    done = _tag("div", f"width:{share:.1f}%;height:4px;background:{BRAND}", "")
    now = {
        "role": "progressbar",
        "aria-valuenow": f"{share:.0f}",
        "aria-valuemin": "0",
        "aria-valuemax": "100",
    }
    track = _tag("div", f"flex:0 0 240px;height:4px;background:{_TRACK}", done, now)
    words = _tag("span", f"color:{DIM};white-space:nowrap;{_TABULAR}", escape(part.text))
    return _tag("div", "display:flex;align-items:center;gap:10px", track + words)


def _tag(name: str, style: str, inner: str, attributes: dict[str, str] | None = None) -> str:
    """An element; ``inner`` is HTML, attributes are text."""
    said = "".join(f' {key}="{escape(value)}"' for key, value in (attributes or {}).items())
    styled = f' style="{style}"' if style else ""
    return f"<{name}{said}{styled}>{inner}</{name}>"


def _block(name: str, style: str, lines: Iterable[str]) -> str:
    return _tag(name, style, "\n" + "\n".join(lines) + "\n")


def _view(view: View) -> Iterator[str]:
    if isinstance(view, Table):
        yield from _table(view)
    elif isinstance(view, Graph):
        yield from _graph(view)
    else:
        yield _block(
            "div", f"border:1px solid {LINE};border-radius:2px;padding:10px 14px;max-width:980px", _card(view)
        )


def _cell(cell: Cell) -> str:
    text = escape(cell.text if cell.still is None else cell.still)
    if cell.link and cell.link.startswith(("http://", "https://")):
        to = {"href": cell.link, "target": "_blank", "rel": "noopener"}
        text = _tag("a", f"color:var(--jp-content-link-color, {BRAND})", text, to)
    style = "font-weight:600" if cell.strong else f"color:{DIM}" if cell.dim else ""
    tip = cell.tip or cell.exact
    if style or (tip and tip != cell.text):
        text = _tag("span", style, text, {"title": tip} if tip and tip != cell.text else None)
    return (mark(cell.mark) if cell.mark else "") + text


def _table(table: Table) -> Iterator[str]:
    if table.title:
        yield _tag("div", "font-weight:600;margin:8px 0 2px", escape(table.title))
    if not table.rows:
        yield _tag("div", f"color:{DIM}", escape(table.empty))
        return
    table = table.shown()
    sides = [
        f"text-align:{'right' if column.right else 'left'};white-space:nowrap" for column in table.columns
    ]
    head = f"padding:2px 16px 4px 0;font-weight:400;color:{DIM};border:none;border-bottom:1px solid {LINE}"
    heads = [
        _tag("th", f"{side};{head}", escape(column.title), {"scope": "col"})
        for side, column in zip(sides, table.columns, strict=True)
    ]
    rows = []
    for row in table.rows:
        cells = [
            _tag("td", f"{side};padding:3px 16px 3px 0;border:none;{_TABULAR}", _cell(cell))
            for side, cell in zip(sides, row, strict=True)
        ]
        rows.append(_block("tr", "background:none", cells))
    parts = [_tag("thead", "", _block("tr", "", heads)), _block("tbody", "", rows)]
    # Wide tables scroll in themselves and leave the page alone.
    yield _tag("div", "overflow-x:auto", _block("table", f"{_TABLE};margin:0;width:max-content", parts))
    for note in table.notes:
        yield _tag("div", f"color:{DIM};margin-top:4px", escape(note))


def _card(card: Card) -> Iterator[str]:
    state = card.state
    yield _tag(
        "div",
        "",
        (mark(state.mark) if state and state.mark else "")
        + _tag("span", f"color:{DIM}", escape(card.kind))
        + " "
        + _tag("span", "font-weight:600", escape(one_line(card.name)))
        + (_tag("span", "margin-left:8px", escape(state.text)) if state else "")
        + "".join(
            _tag("span", f"color:{DIM};margin-left:8px", escape(one_line(words)))
            for words in (card.id, card.note)
            if words
        ),
    )
    if card.facts:
        name_style = f"text-align:left;font-weight:400;color:{DIM};padding:1px 16px 1px 0;border:none"
        value_style = f"text-align:left;padding:1px 0;border:none;{_TABULAR};overflow-wrap:anywhere"
        rows = [
            _tag(
                "tr",
                "background:none",
                _tag(
                    "th",
                    f"{name_style};vertical-align:top;white-space:nowrap",
                    escape(name),
                    {"scope": "row"},
                )
                + _tag("td", value_style, _cell(cell)),
            )
            for name, cell in card.facts
        ]
        yield _tag("table", f"{_TABLE};margin:6px 0 0", _block("tbody", "", rows))
    for part in card.parts:
        yield _block("div", "margin-top:8px", _part(part))


def _part(part: Table | Code | Problem | Bar | Graph) -> Iterator[str]:
    if isinstance(part, Problem):
        sign = mark("warning" if part.warning else "failed")
        yield _tag("div", "white-space:pre-wrap", sign + escape("\n".join(block(part.message))))
        if part.hint:
            yield _tag("div", f"color:{DIM};margin-left:20px", escape(one_line(part.hint)))
    elif isinstance(part, Bar):
        yield bar(part)
    elif isinstance(part, Code):
        if part.title:
            yield _tag("div", f"color:{DIM}", escape(part.title))
        # One click takes all of what is to be pasted; what is to be read scrolls when it is long.
        paste = "white-space:pre-wrap;overflow-wrap:anywhere;user-select:all"
        ways = paste if part.paste else "max-height:320px"
        style = f"{_MONO};font-size:12px;margin:2px 0 0;padding:6px 8px;overflow:auto;color:inherit"
        yield _tag("pre", f"{style};{_FIELD};{ways}", escape("\n".join(block(part.text))), {"tabindex": "0"})
    else:
        yield from _view(part)


def _graph(graph: Graph) -> Iterator[str]:
    root = graph.trace.nodes[0]
    name = _tag("span", f"{_MONO};font-size:14px", escape(title(root)))
    yield _tag("div", "font-size:15px;margin:2px 0 8px", _tag("b", "", escape(kind(root))) + " " + name)
    yield svg(graph.trace)
    for heading, part in at_length(graph.trace):
        yield _tag("div", "font-weight:600;margin:12px 0 2px", escape(heading))
        yield from _part(part)
    tree = _tag(
        "pre",
        f"{_MONO};font-size:12px;color:inherit;background:none;overflow-x:auto;margin:4px 0",
        escape(as_text(graph.trace)),
    )
    summary = _tag("summary", f"color:{DIM};cursor:pointer", "As text")
    yield _tag("details", "margin-top:10px", summary + tree)
