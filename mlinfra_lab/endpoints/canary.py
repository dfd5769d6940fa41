"""A rollout as the front carries it out: who gets which request, and when the candidate gets none.

The controller decides how large the candidate's share is. The front splits exactly, judges errors and
latency itself and at once, and gives the candidate nothing when nobody looks after it any more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from mlinfra_lab.counters import Counts, Sides
from mlinfra_lab.endpoints import gates
from mlinfra_lab.endpoints.shadow import Shadow
from mlinfra_lab.schema.endpoints import GateResult, Rollout

__all__ = ["UNATTENDED_SECONDS", "Canary", "Split"]

UNATTENDED_SECONDS = float(os.environ.get("MLINFRA_UNATTENDED_SECONDS") or 30.0)
"""How long a candidate gets requests without anybody having evaluated its gates."""
_PARTS = 1000
# Prime to the parts, and of all such the most even: no stretch of requests, however long, holds more than
# three too many or too few for any usual share. Unlike every fifth it falls in with no period of theirs.
_STRIDE = 633


class Split:
    """Says of each request whether it is one of the share's: exactly so of each 1,000, evenly between."""

    def __init__(self) -> None:
        self._at = 0

    def next(self, share: float) -> bool:
        """Whether the next request is the candidate's."""
        mine = self._at < round(share * _PARTS)
        self._at = (self._at + _STRIDE) % _PARTS
        return mine


class Canary:
    """One rollout.

    Parameters
    ----------
    rollout
        As it was when this front first saw it.
    stable, candidate
        The front's counters of both revisions.
    shadow
        Has the stable version answer what the candidate has answered.
    clock
        Monotonic seconds.

    Attributes
    ----------
    broken
        The gate that does not hold; from then on the candidate gets nothing.
    suspect
        Why the candidate's process is not to be trusted any more.
    """

    def __init__(
        self,
        rollout: Rollout,
        stable: Counts,
        candidate: Counts,
        shadow: Shadow,
        clock: Callable[[], float] = time.monotonic,
        unattended: float = UNATTENDED_SECONDS,
    ) -> None:
        self.rollout = rollout
        self.shadow = shadow
        self.broken: GateResult | None = None
        self.suspect: str | None = None
        self._counts = (stable, candidate)
        self._before = Sides(candidate + Counts(), stable + Counts())
        self._split = Split()
        self._clock = clock
        self._unattended = unattended
        # Not evaluated before this front's own eyes: whoever did may be gone since.
        self._attended: float | None = None

    def follow(self, rollout: Rollout) -> None:
        """Take what the rows say now."""
        if rollout.evaluated != self.rollout.evaluated:
            self._attended = self._clock()
        self.rollout = rollout

    @property
    def sides(self) -> Sides:
        """What both sides were asked since this front has the rollout."""
        stable, candidate = self._counts
        return Sides(candidate, stable) - self._before

    @property
    def attended(self) -> bool:
        """Whether somebody has looked at the gates lately."""
        return self._attended is not None and self._clock() - self._attended < self._unattended

    def takes(self) -> bool:
        """Whether the next request is the candidate's."""
        rollout = self.rollout
        if rollout.state != "running" or self.broken is not None or self.suspect is not None:
            return False
        return self.attended and self._split.next(rollout.share)

    def failed(self) -> None:
        """The candidate failed at a request: see whether it was one too many."""
        result = gates.errors(self.rollout.gates, self.sides.candidate, self.rollout.step)
        if result.held is False and self.broken is None:
            self.broken = result

    def look(self) -> None:
        """See whether the candidate is too slow."""
        if self.broken is None and self.rollout.state == "running":
            result = gates.latency(self.rollout.gates, self.sides, self.rollout.step)
            if result.held is False:
                self.broken = result

    @property
    def reason(self) -> str | None:
        """Why it has to be rolled back; ``None`` while it has not."""
        if self.suspect is not None:
            return self.suspect
        return None if self.broken is None else f"{self.broken.text}."
