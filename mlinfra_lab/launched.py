"""What every process the controller launches does first and last.

It opens the project, claims its launch by compare-and-set, does its work, and writes its own outcome.
A process whose launch was given up meanwhile ends at once, having done nothing.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from mlinfra_lab import faults
from mlinfra_lab.errors import to_failure
from mlinfra_lab.project import Project
from mlinfra_lab.schema.common import JSON
from mlinfra_lab.storage import Unit, launches

NOT_MINE = 3
"""Exit code of a process whose launch was given up before it could claim it."""

log = logging.getLogger(__name__)


class Claim:
    """The launch this process has taken.

    Attributes
    ----------
    token, owner
        As in `schema.control.Launch`.
    """

    def __init__(self, project: Project, token: str, owner: str) -> None:
        self.token = token
        self.owner = owner
        self._project = project
        self._ended = False

    def info(self, info: JSON) -> None:
        """Publish addresses and the like; replaces what was published before."""
        launches.inform(self._project.storage, self.token, info)

    def end(self, actor: str | None = None) -> AbstractContextManager[Unit]:
        """A unit that writes the outcome ``{}`` together with whatever else is written in it."""
        return self._end({}, actor)

    def outcome(self, outcome: JSON) -> None:
        """Write the outcome, unless it was written already."""
        if not self._ended:
            with self._end(outcome, None):
                pass

    @contextmanager
    def _end(self, outcome: JSON, actor: str | None) -> Iterator[Unit]:
        with self._project.storage.unit(actor) as unit:
            launches.finish(unit, self.token, outcome)
            yield unit
        self._ended = True


def run(main: Callable[[Project, Claim], JSON | None], arguments: list[str] | None = None) -> None:
    """Run ``main`` as a launched process and exit.

    Parameters
    ----------
    main
        Gets the project and the claim; what it returns is the outcome. An exception becomes the
        outcome ``{"error": …}`` and exit code 1.
    arguments
        The command line, ``--project DIR --launch TOKEN``.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--project", required=True)
    parser.add_argument("--launch", required=True)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    faults.point("child.before-claim")
    project = Project(options.project)
    launch = launches.claim(project.storage, options.launch)
    if launch is None:
        log.info("launch %s was given up; nothing done", options.launch)
        sys.exit(NOT_MINE)
    faults.point("child.claimed")
    claim = Claim(project, launch.token, launch.owner)
    code = 0
    try:
        outcome = main(project, claim) or {}
    except Exception as problem:
        log.exception("%s %s failed", launch.kind, launch.owner)
        outcome, code = {"error": to_failure(problem)}, 1
    claim.outcome(outcome)
    project.close()
    sys.exit(code)
