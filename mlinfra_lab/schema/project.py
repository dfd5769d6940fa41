"""What becomes of a folder that is made a project."""

from __future__ import annotations

from mlinfra_lab.schema.common import Wire


class InitReport(Wire, frozen=True, kw_only=True):
    """What ``mlinfra init`` did.

    Attributes
    ----------
    made
        What was not there and was added, one phrase each.
    taken
        What was there and is used as it is.
    notes
        What one should know or do besides.
    commit
        The commit that holds what was added; HEAD when nothing was.
    """

    root: str
    made: tuple[str, ...]
    taken: tuple[str, ...]
    notes: tuple[str, ...] = ()
    commit: str | None = None
