"""An endpoint and its revisions as the front holds them."""

from __future__ import annotations

from mlinfra_lab.counters import Counts
from mlinfra_lab.endpoints.backend import Backend
from mlinfra_lab.endpoints.canary import Canary
from mlinfra_lab.endpoints.capture import Writer
from mlinfra_lab.endpoints.signature import Signature
from mlinfra_lab.endpoints.truth import Known, TruthWriter
from mlinfra_lab.schema.endpoints import Revision

__all__ = ["Served", "Target"]


class Target:
    """A revision as the front uses it.

    Attributes
    ----------
    counts
        What it was asked and how it answered.
    users
        Requests that are under way; the target is given back when there are none.
    """

    def __init__(
        self, revision: Revision, signature: Signature, backend: Backend, writer: Writer, counts: Counts
    ) -> None:
        self.revision = revision
        self.signature = signature
        self.backend = backend
        self.writer = writer
        self.counts = counts
        self.users = 0


class Served:
    """An endpoint as the front answers for it.

    Attributes
    ----------
    token
        What requests must bring; ``None`` when its file is gone, and then nobody is let in.
    active
        Gets the requests; ``None`` until the first revision is up.
    candidate, canary
        Gets some of them while a rollout runs, and what says which.
    targets
        All its revisions that the front has anything to do with, by number.
    truths, known
        The log of what came true, and which rows were captured.
    """

    def __init__(self, name: str, truths: TruthWriter, known: Known) -> None:
        self.name = name
        self.token: bytes | None = None
        self.active: Target | None = None
        self.candidate: Target | None = None
        self.canary: Canary | None = None
        self.targets: dict[int, Target] = {}
        self.truths = truths
        self.known = known
