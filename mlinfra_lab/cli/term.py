"""Views drawn for a terminal, and as plain columns for a pipe.

Drawn by hand and not by rich, whose import alone costs more than a table may: rich draws the bars of long
work, where its import is hidden by the waiting.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from typing import TextIO

from mlinfra_lab.cli.facts import at_length
from mlinfra_lab.cli.tree import draw as draw_tree
from mlinfra_lab.cli.view import (
    Bar,
    Card,
    Cell,
    Code,
    Column,
    Graph,
    Mark,
    Problem,
    Table,
    View,
    block,
    one_line,
)
from mlinfra_lab.humane import cut, middle, width

_SIGNS: dict[Mark, tuple[str, str]] = {
    "queued": ("○", "2"), "running": ("◐", "34"), "succeeded": ("✓", "32"), "failed": ("✗", "31"),
    "cancelled": ("–", "2"), "up": ("●", "32"), "warning": ("▲", "33"),
}  # fmt: skip
_GAP = "  "
_NARROWEST = 8


def colours(stream: TextIO) -> bool:
    """Whether a stream takes colours: https://no-color.org, and FORCE_COLOR for pagers and CI."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


class Terminal:
    """Draws views.

    Parameters
    ----------
    colour
        Whether to use colours and faint text.
    columns
        Width to keep to; the terminal's by default.
    """

    def __init__(self, colour: bool, columns: int | None = None) -> None:
        self._colour = colour
        self._columns = columns or shutil.get_terminal_size((100, 40)).columns

    def draw(self, view: View) -> str:
        """A view as lines, without the last line break."""
        return "\n".join(self._view(view))

    def _view(self, view: View) -> Iterator[str]:
        if isinstance(view, Table):
            yield from self._table(view)
        elif isinstance(view, Graph):
            yield from self._graph(view)
        else:
            yield from self._card(view)

    def paint(self, text: str, code: str) -> str:
        """Text in a colour, where there are colours."""
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and text else text

    def _cell(self, cell: Cell, room: int, right: bool) -> str:
        sign = f"{_SIGNS[cell.mark][0]} " if cell.mark else ""
        # The end of a name tells as much as its beginning; of anything else the beginning is enough.
        text = (middle if cell.strong else cut)(sign + cell.text, room)
        pad = " " * (room - width(text))
        code = _SIGNS[cell.mark][1] if cell.mark else "1" if cell.strong else "2" if cell.dim else ""
        painted = self.paint(text, code) if code else text
        return pad + painted if right else painted + pad

    def _table(self, table: Table) -> Iterator[str]:
        if table.title:
            yield self.paint(table.title, "1")
        if not table.rows:
            yield table.empty
        else:
            table = table.shown()
            rooms = self._rooms(table.columns, table.rows)
            heads = [Cell(column.title, dim=True) for column in table.columns]
            for row in (heads, *table.rows):
                cells = [
                    self._cell(cell, room, column.right)
                    for cell, room, column in zip(row, rooms, table.columns, strict=True)
                ]
                yield _GAP.join(cells).rstrip()
        for note in table.notes:
            yield self.paint(note, "2")

    def _rooms(self, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> list[int]:
        """Widths of the columns; the widest ones give first when the screen is narrow."""
        rooms = [width(column.title) for column in columns]
        for row in rows:
            for index, cell in enumerate(row):
                rooms[index] = max(rooms[index], width(cell.text) + (2 if cell.mark else 0))
        over = sum(rooms) + len(_GAP) * (len(rooms) - 1) - self._columns
        while over > 0:
            widest = max(range(len(rooms)), key=lambda i: rooms[i])
            if rooms[widest] <= _NARROWEST:
                break
            rooms[widest] -= 1
            over -= 1
        return rooms

    def _card(self, card: Card) -> Iterator[str]:
        mark = f"{self._mark(card.state)} " if card.state and card.state.mark else ""
        head = f"{mark}{self.paint(card.kind, '2')} {self.paint(one_line(card.name), '1')}"
        if card.state:
            head += f"  {card.state.text}"
        yield "  ".join(
            [head, *(self.paint(one_line(words), "2") for words in (card.id, card.note) if words)]
        )
        room = max((width(name) for name, _ in card.facts), default=0)
        for name, cell in card.facts:
            label = self.paint(name, "2") + " " * (room - width(name))
            value = self._cell(cell, width(cell.text) + (2 if cell.mark else 0), right=False)
            beside = f"  {self.paint(f'({cell.tip})', '2')}" if cell.tip else ""
            yield f"  {label}  {value}{beside}"
        for part in card.parts:
            yield from self._part(part)

    def _mark(self, cell: Cell) -> str:
        assert cell.mark is not None
        return self.paint(*_SIGNS[cell.mark])

    def _part(self, part: Table | Code | Problem | Bar | Graph) -> Iterator[str]:
        if isinstance(part, Problem):
            word, code = ("warning:", "1;33") if part.warning else ("error:", "1;31")
            first, *rest = block(part.message)
            yield f"  {self.paint(word, code)} {first}"
            yield from (f"  {line}" for line in rest)
            if part.hint:
                yield f"  {self.paint('hint:', '2')} {one_line(part.hint)}"
        elif isinstance(part, Bar):
            done = round(24 * min(max(part.share, 0.0), 1.0))
            yield f"  {self.paint('━' * done, '34')}{self.paint('━' * (24 - done), '2')} {part.text}"
        elif isinstance(part, Code):
            yield ""
            if part.title:
                yield self.paint(part.title, "2")
            yield from block(part.text)
        else:
            yield ""
            yield from self._view(part)

    def _graph(self, graph: Graph) -> Iterator[str]:
        for line in draw_tree(graph.trace):
            kind, title = self.paint(line.kind, "2"), self.paint(line.title, "1")
            taken = width(line.prefix + line.kind + line.title) + 4
            facts = self.paint(cut(line.facts, max(self._columns - taken, _NARROWEST)), "2")
            words = [line.prefix + kind, title, facts, self.paint(line.missing, "33")]
            yield "  ".join(word for word in words if word)
        for title, part in at_length(graph.trace):
            yield ""
            yield self.paint(title, "1")
            if isinstance(part, Code):
                yield from (f"  {line}" for line in block(part.text))
            else:
                yield from self._upright(part)

    def _upright(self, table: Table) -> Iterator[str]:
        """A table of one row, turned: a wide row does not fit into a terminal."""
        room = max((width(column.title) for column in table.columns), default=0)
        for column, cell in zip(table.columns, table.rows[0], strict=True):
            yield f"  {self.paint(column.title, '2')}{' ' * (room - width(column.title))}  {cell.text}"


def plain(view: View) -> str:
    """A view as tab-separated columns: a header of one line, then exact values, one row a line."""
    if isinstance(view, Table):
        rows = ["\t".join(column.title.lower() for column in view.columns)] if view.rows else []
        return "\n".join(rows + ["\t".join(cell.plain for cell in row) for row in view.rows])
    if isinstance(view, Graph):
        return Terminal(colour=False, columns=10_000).draw(view)
    lines = [f"{view.kind.lower()}\t{one_line(view.name)}"]
    if view.id:
        lines.append(f"id\t{one_line(view.id)}")
    if view.state:
        lines.append(f"state\t{view.state.plain}")
    if view.note:
        lines.append(f"note\t{one_line(view.note)}")
    lines += [f"{name.lower()}\t{cell.plain}" for name, cell in view.facts]
    for part in view.parts:
        if isinstance(part, Problem):
            lines.append(f"{'warning' if part.warning else 'error'}\t{one_line(part.message)}")
        elif isinstance(part, Bar):
            lines.append(f"progress\t{part.text}")
        elif isinstance(part, Code):
            lines += ["", *block(part.text)]
        elif not (isinstance(part, Table) and not part.rows):
            lines += ["", plain(part)]
    return "\n".join(lines)
