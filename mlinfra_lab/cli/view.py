"""What a result looks like before anybody has chosen a screen: tables and cards of cells.

One description serves the terminal, plain columns and a notebook's HTML. A cell carries the text for a
person and the exact value for a program or a tooltip.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from mlinfra_lab import humane

if TYPE_CHECKING:
    from mlinfra_lab.schema.lineage import Trace

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_NOTHING = "–"

Mark = Literal["queued", "running", "succeeded", "failed", "cancelled", "up", "warning"]

_MARKS: dict[str, Mark] = {
    "queued": "queued", "SCHEDULED": "queued", "preparing": "running", "starting": "running",
    "stopping": "running", "running": "running", "RUNNING": "running", "launching": "running",
    "succeeded": "succeeded", "FINISHED": "succeeded", "failed": "failed", "FAILED": "failed",
    "timed_out": "failed", "lost": "failed", "interrupted": "failed", "void": "cancelled",
    "cancelled": "cancelled", "KILLED": "cancelled", "stopped": "cancelled", "retired": "cancelled",
    "down": "cancelled", "exited": "cancelled", "up": "up", "degraded": "warning", "stale": "warning",
    "promoted": "succeeded", "rolled_back": "failed",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One value.

    Attributes
    ----------
    text
        For a person.
    exact
        For a program; the text itself where nothing is lost in it.
    still
        The text for a page that is kept, where "2 min ago" would not stay true.
    tip
        The exact value for a person: a tooltip, or beside the text where there is room.
    mark
        The state's shape and colour.
    dim
        Less important than its neighbours.
    strong
        What the eye should land on.
    link
        An address to open.
    """

    text: str
    exact: str | None = None
    tip: str | None = None
    still: str | None = None
    mark: Mark | None = None
    dim: bool = False
    strong: bool = False
    link: str | None = None

    @property
    def plain(self) -> str:
        """The exact value on one line."""
        return one_line(self.text if self.exact is None else self.exact)


@dataclass(frozen=True)
class Column:
    """A column's title and the side its cells stand on.

    Attributes
    ----------
    optional
        A person is spared it when no row has anything in it; a program always gets it.
    """

    title: str
    right: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells.

    Attributes
    ----------
    empty
        What to say in place of a table without rows.
    notes
        Lines under the table.
    """

    columns: tuple[Column, ...]
    rows: Sequence[Sequence[Cell]]
    title: str | None = None
    empty: str = "Nothing here."
    notes: tuple[str, ...] = ()

    def shown(self) -> Table:
        """The table without optional columns that have nothing in them."""
        kept = [
            place
            for place, column in enumerate(self.columns)
            if not column.optional or any(row[place].text not in ("", _NOTHING) for row in self.rows)
        ]
        rows = [[row[place] for place in kept] for row in self.rows]
        return replace(self, columns=tuple(self.columns[place] for place in kept), rows=rows)


@dataclass(frozen=True)
class Code:
    """Text to copy or to read in a fixed-width font.

    Attributes
    ----------
    paste
        It is meant for a shell: a terminal must not break or cut it.
    """

    text: str
    title: str | None = None
    paste: bool = False


@dataclass(frozen=True)
class Problem:
    """What went wrong and what to do."""

    message: str
    hint: str | None = None
    warning: bool = False


@dataclass(frozen=True)
class Bar:
    """How far something is, from 0 to 1, with its words."""

    share: float
    text: str


@dataclass(frozen=True)
class Graph:
    """A trace, drawn as a tree in a terminal and as a picture in a notebook."""

    trace: Trace


@dataclass(frozen=True)
class Card:
    """One thing: its kind and name, its state, facts and whatever follows.

    Attributes
    ----------
    id
        What commands call it, where its name is another.
    """

    kind: str
    name: str
    state: Cell | None = None
    id: str = ""
    note: str = ""
    facts: tuple[tuple[str, Cell], ...] = ()
    parts: tuple[Table | Code | Problem | Bar | Graph, ...] = ()


View = Card | Table | Graph


def one_line(text: str) -> str:
    """A text without line breaks, tabs and control characters, which would tear a table apart."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " for c in text)


def block(text: str) -> list[str]:
    """The lines of a longer text, without colours and whatever else could write over the screen."""
    lines = _ANSI.sub("", text).rstrip().split("\n")
    return [one_line(line.expandtabs(4)) for line in lines]


def text(value: object, *, dim: bool = False, strong: bool = False) -> Cell:
    """Any value as it is; ``None`` is a dash."""
    if value is None or value == "":
        return Cell(_NOTHING, "", dim=True)
    return Cell(one_line(str(value)), dim=dim, strong=strong)


def when(moment: dt.datetime | None) -> Cell:
    """A moment: how long ago, exactly underneath."""
    if moment is None:
        return text(None)
    utc = moment.astimezone(dt.UTC).isoformat(timespec="seconds")
    return Cell(humane.ago(moment), utc, humane.exact(moment), humane.stamp(moment), dim=True)


def count(value: int | None) -> Cell:
    """A count with thousands set apart."""
    return text(None) if value is None else Cell(humane.count(value), str(value))


def size(octets: int | None) -> Cell:
    """Bytes in KiB, MiB, GiB."""
    if octets is None:
        return text(None)
    tip = f"{humane.count(octets)} bytes" if octets >= 1024 else None
    return Cell(humane.size(octets), str(octets), tip)


def number(value: float | None) -> Cell:
    """A measured figure."""
    return text(None) if value is None else Cell(humane.number(value), repr(value))


def took(start: dt.datetime | None, end: dt.datetime | None, running: bool = False) -> Cell:
    """A stretch of time as a clock shows it; one that goes on counts to now."""
    if start is None or (end is None and not running):
        return text(None)
    seconds = ((end or dt.datetime.now(dt.UTC)) - start).total_seconds()
    return Cell(humane.clock(seconds), f"{seconds:.3f}")


def state(name: str) -> Cell:
    """A state with its mark; unknown words have none."""
    return Cell(name.lower().replace("_", " "), name, mark=_MARKS.get(name))


def mark_of(name: str) -> Mark | None:
    """The mark that goes with a state's name."""
    return _MARKS.get(name)


def value(thing: Any) -> Cell:
    """A JSON value as a person writes it; figures are not grouped, for 2002 may be a year."""
    if isinstance(thing, str):
        return Cell(one_line(thing))
    if thing is None or isinstance(thing, bool | int):
        return Cell(str(thing))
    import json

    return Cell(_written(thing), json.dumps(thing, ensure_ascii=False, default=str))


def _written(thing: Any) -> str:
    if isinstance(thing, float):
        return f"{thing:.6g}"
    if isinstance(thing, list | tuple):
        return f"[{', '.join(_written(part) for part in thing)}]"
    if isinstance(thing, dict):
        return f"{{{', '.join(f'{one_line(str(key))}: {_written(part)}' for key, part in thing.items())}}}"
    return one_line(str(thing))


def pairs(things: dict[str, Any], room: int | None = None) -> str:
    """``months 1–2 · seed 1``: names and values on one line, cut where it gets long."""
    line = " · ".join(f"{one_line(name)} {value(thing).text}" for name, thing in things.items())
    return line if room is None else humane.cut(line, room)
