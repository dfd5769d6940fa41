"""Figures of monitoring in the words a person uses."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

__all__ = ["compared", "day", "listed", "most_of"]

_PARTS = (
    (0.05, "a twentieth"), (0.1, "a tenth"), (0.2, "a fifth"), (0.25, "a quarter"), (1 / 3, "a third"),
    (0.5, "half"), (2 / 3, "two thirds"), (0.75, "three quarters"),
)  # fmt: skip
_MOST = 3


def day(at: dt.datetime) -> str:
    """A day, in UTC as windows are: ``9 April``; with its hour where windows begin within a day."""
    at = at.astimezone(dt.UTC)
    clock = f", {at:%H:%M}" if at.hour or at.minute else ""
    return f"{at.day} {at:%B}{clock}"


def compared(ratio: float) -> str:
    """A loss beside the one it is held against: ``a fifth worse``, ``twice as high``, ``no worse``.

    Parameters
    ----------
    ratio
        The one divided by the other.
    """
    more = ratio - 1
    if more < 0.025:
        return "no worse"
    if more < 0.875:
        _, part = min((abs(more - size), part) for size, part in _PARTS)
        return f"{part} worse"
    return "twice as high" if ratio < 2.25 else f"{ratio:.1f} times as high"


def listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def most_of(shares: Sequence[tuple[str, float]]) -> str:
    """Which features explain a move, given with their shares, largest first; empty when none does."""
    chosen: list[str] = []
    total = 0.0
    for name, share in shares[:_MOST]:
        chosen.append(name)
        total += share
        if total >= 0.5:
            break
    if not chosen:
        return ""
    verb = "explains" if len(chosen) == 1 else "explain"
    return f"{listed(chosen)} {verb} {'most' if total >= 0.5 else f'{100 * total:.0f} %'} of it"
