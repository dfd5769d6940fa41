"""What a cluster backend is: the class behind the door ``mlinfra_lab.cluster_backends``."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from mlinfra_lab.schema.common import JSON

if TYPE_CHECKING:
    from distributed.security import Security

Role = Literal["scheduler", "worker"]


@dataclass(frozen=True, kw_only=True)
class Node:
    """What a process of a cluster is told, and its ways of answering.

    Attributes
    ----------
    cluster, generation
        Which start of which cluster it belongs to.
    index
        Number of the worker, from 0; 0 for the scheduler.
    root, state
        The project's folder and its state folder.
    before
        What an earlier process of the same role and generation published last (a scheduler takes its
        address again, so that its workers and clients find it).
    stop
        Set when the process is asked to end (SIGTERM).
    publish
        Says something of oneself. A scheduler publishes ``address``, ``dashboard``, ``connected``
        (workers) and, when only it can know, ``workers`` (how many there should be) and ``most`` (how
        many there can be).
    scheduler
        What the cluster's scheduler has published; empty while there is none.
    wanted
        Whether this start of the cluster is still asked for.
    """

    cluster: str
    generation: int
    role: Role
    index: int
    root: Path
    state: Path
    before: JSON
    stop: threading.Event
    publish: Callable[[JSON], None]
    scheduler: Callable[[], JSON]
    wanted: Callable[[], bool]

    @property
    def scratch(self) -> Path:
        """Where workers put what does not fit into memory."""
        return self.state / "run" / "dask" / self.cluster


class Backend(ABC):
    """A way in which Dask clusters come to be.

    The module that defines one must be light to import: heavy libraries belong into `check`, `run` and
    `security`, which are called in task workers, in the cluster's own processes and where a client is
    made, never in the shell.

    Parameters
    ----------
    config
        An instance of the class's own ``Config``.
    root, state
        The project's folder and its state folder.

    Attributes
    ----------
    id, label
        The name it is chosen by, and what people call it.
    Config
        The keys it understands in ``[clusters.NAME]``.
    starts
        Whether it has processes for the controller to start. If not, `check` is all there is to do.
    """

    id: ClassVar[str]
    label: ClassVar[str]
    Config: ClassVar[type[msgspec.Struct]]
    starts: ClassVar[bool] = True

    def __init__(self, config: Any, root: Path, state: Path) -> None:
        self.config = config
        self.root = root
        self.state = state

    def most(self) -> int | None:
        """How many workers it can be scaled to; ``None`` when only its scheduler knows."""
        return None

    @abstractmethod
    def workers(self) -> int | None:
        """Worker processes at the start; ``None`` when only the scheduler's process can find out."""

    def environment(self) -> dict[str, str]:
        """Environment variables for the processes, besides the controller's own few."""
        return {}

    @abstractmethod
    def security(self) -> Security | None:
        """What a client needs to be let in; ``None`` for a scheduler that asks for nothing."""

    def check(self) -> JSON:
        """Look whether the cluster is there; for a backend that starts nothing.

        Returns
        -------
        dict
            ``address``, ``connected``, and ``dashboard`` where there is one.

        Raises
        ------
        MLInfraError
            Saying plainly why it is not.
        """
        raise NotImplementedError(f"{type(self).__name__} starts its own processes")

    def run(self, node: Node) -> JSON | None:
        """Be the scheduler or a worker until `Node.stop`; what it returns is the process's outcome.

        Raises
        ------
        MLInfraError
            When it makes no sense to try again: the cluster has failed, with this as the reason.
        """
        raise NotImplementedError(f"{type(self).__name__} starts nothing")
