"""Times, sizes and figures in the form a person reads; every face uses these.

Nothing here imports more than the standard library's light half, so that a table costs nothing.
"""

from __future__ import annotations

import datetime as dt
import math
import unicodedata

__all__ = [
    "ago", "clock", "count", "cut", "duration", "exact", "middle", "number", "plural", "share", "short",
    "size", "stamp", "width",
]  # fmt: skip

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def ago(moment: dt.datetime, now: dt.datetime | None = None) -> str:
    """How long ago a moment was: ``12 min ago``, ``2 h ago``, ``3 days ago``, later its date.

    Parameters
    ----------
    moment
        An aware datetime; one in the future gives ``in 5 min``.
    now
        The present, for tests.
    """
    now = now or dt.datetime.now(dt.UTC)
    seconds = (now - moment).total_seconds()
    distance = abs(seconds)
    if distance < 5:
        return "just now"
    if distance < 60:
        text = f"{distance:.0f} s"
    elif distance < 3600:
        text = f"{distance // 60:.0f} min"
    elif distance < 86400:
        text = f"{distance // 3600:.0f} h"
    elif distance < 7 * 86400:
        text = plural(int(distance // 86400), "day")
    else:
        local = moment.astimezone()
        date = f"{local.day} {local:%B}"
        return date if local.year == now.astimezone().year else f"{date} {local.year}"
    return f"{text} ago" if seconds > 0 else f"in {text}"


def exact(moment: dt.datetime) -> str:
    """A moment in the person's own zone, to the second: ``2 July 2026, 16:02:11 CEST``."""
    local = moment.astimezone()
    return f"{local.day} {local:%B %Y, %H:%M:%S %Z}"


def stamp(moment: dt.datetime, now: dt.datetime | None = None) -> str:
    """A moment in few words that stay true: ``2 July, 16:02``, with the year when it is another one."""
    local = moment.astimezone()
    year = "" if local.year == (now or dt.datetime.now(dt.UTC)).astimezone().year else f" {local.year}"
    return f"{local.day} {local:%B}{year}, {local:%H:%M}"


def size(octets: int) -> str:
    """Bytes as ``512 B``, ``812 KiB``, ``4.6 MiB``."""
    if abs(octets) < 1024:
        return f"{octets} B"
    value, power = octets / 1024, 0
    # 1023.7 would be rounded to 1024, which is one of the next unit.
    while abs(value) >= 1023.5 and power < len(_UNITS) - 1:
        value, power = value / 1024, power + 1
    return f"{value:.1f} {_UNITS[power]}" if abs(value) < 9.95 else f"{value:.0f} {_UNITS[power]}"


def count(number: int) -> str:
    """A count with its thousands set apart: ``336,776``."""
    return f"{number:,}"


def number(value: float) -> str:
    """A measured figure to four significant digits: ``0.5153``, ``1,234``, ``1.2e-07``."""
    if not math.isfinite(value):
        return str(value)
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}"
    if abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.4g}"
    return f"{value:.4g}"


def share(part: float) -> str:
    """A fraction of one in per cent: ``20 %``, ``0.4 %``."""
    per_cent = 100 * part
    return f"{per_cent:.0f} %" if per_cent == 0 or per_cent >= 9.95 else f"{per_cent:.1f} %"


def duration(seconds: float) -> str:
    """A stretch of time in words: ``1.9 ms``, ``4.2 s``, ``14 s``, ``1 min 12 s``, ``2 h 5 min``."""
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if seconds == 0:
        return "0 s"
    if seconds < 0.0009995:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.9995:
        milliseconds = seconds * 1e3
        return f"{milliseconds:.1f} ms" if milliseconds < 9.95 else f"{milliseconds:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def clock(seconds: float) -> str:
    """A stretch of time as a clock shows it, for columns: ``0:14``, ``1:12``, ``2:05:00``."""
    whole = round(max(seconds, 0))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def plural(number: int, noun: str, many: str | None = None) -> str:
    """``1 version``, ``3 versions``."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def short(id: str) -> str:
    """The part of a long hexadecimal id that a person copies; other ids as they are."""
    return id[:8] if len(id) >= 32 and all(c in "0123456789abcdef" for c in id) else id


def width(text: str) -> int:
    """Columns that a text takes in a terminal (CJK characters take two, combining ones none)."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def cut(text: str, room: int) -> str:
    """Cut a text at its end so that it takes at most ``room`` columns."""
    if width(text) <= room:
        return text
    kept = text[: max(room - 1, 0)]
    while width(kept) > room - 1 and kept:
        kept = kept[:-1]
    return kept.rstrip() + "…"


def middle(text: str, room: int) -> str:
    """Cut a text in its middle so that it takes at most ``room`` columns: beginnings and ends tell apart."""
    if width(text) <= room:
        return text
    if room <= 1:
        return "…"[:room]
    head: list[str] = []
    tail: list[str] = []
    left = room - 1
    front, back = 0, len(text) - 1
    while front <= back:
        at_front = len(head) <= len(tail)
        letter = text[front] if at_front else text[back]
        left -= width(letter)
        if left < 0:
            break
        if at_front:
            head.append(letter)
            front += 1
        else:
            tail.append(letter)
            back -= 1
    return "".join(head) + "…" + "".join(reversed(tail))
