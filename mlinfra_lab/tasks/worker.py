"""The process that does tasks: ``python -m mlinfra_lab.tasks.worker``.

It takes one task after the other and is kept, so that the second task of a kind finds its libraries
imported. It leaves when it was idle for ``tasks.idle`` seconds or is told to.
"""

from __future__ import annotations

import importlib
import logging
import re
import signal
import time
from collections.abc import Callable
from typing import Any

from mlinfra_lab import launched
from mlinfra_lab.errors import Invalid, to_failure
from mlinfra_lab.project import Project
from mlinfra_lab.schema.common import JSON
from mlinfra_lab.schema.tasks import Task
from mlinfra_lab.storage.watch import wait
from mlinfra_lab.tasks import store
from mlinfra_lab.tasks.report import Cancelled, Report

log = logging.getLogger(__name__)
_WORK = re.compile(r"mlinfra_lab\.[a-z_.]*work:[a-z_]+\Z")
Work = Callable[[Project, JSON, Report], Any]


def resolve(work: str) -> Work:
    """The function a task names; only functions of our own ``work`` modules can be named.

    Raises
    ------
    Invalid
        For any other name: a row must not be able to call whatever it likes.
    """
    if not _WORK.match(work):
        raise Invalid(f"“{work}” is no work function of mlinfra_lab.")
    module, _, name = work.partition(":")
    function: Work = getattr(importlib.import_module(module), name)
    return function


def perform(project: Project, task: Task, token: str) -> None:
    """Do one task and write its end."""
    path = project.tasks.progress_file(task.id)

    def cancelled() -> bool:
        return project.tasks.get(task.id).cancel_requested

    state, result, error = "succeeded", None, None
    try:
        result = resolve(task.work)(project, task.args, Report(path, cancelled))
    except Cancelled:
        state = "cancelled"
    except Exception as problem:
        log.exception("task %s on %s failed", task.id, task.key)
        state, error = "failed", to_failure(problem)
    with project.storage.unit(task.created_by) as unit:
        store.end(unit, task.id, token, state, result, error)
    path.unlink(missing_ok=True)


def _silent(project: Project) -> Report:
    """A report nobody reads, for work that is done as part of other work."""
    return Report(project.tasks.progress_file("inner"), lambda: False)


def main(project: Project, claim: launched.Claim) -> JSON:
    """Take tasks until told to leave or idle for too long."""
    leaving = False

    def leave(*_: object) -> None:
        nonlocal leaving
        leaving = True

    signal.signal(signal.SIGTERM, leave)
    project.tasks.perform = lambda work, args: resolve(work)(project, args, _silent(project))
    watcher = project.storage.watcher()
    done, idle_since = 0, time.monotonic()
    while not leaving and time.monotonic() - idle_since < project.settings.tasks.idle:
        task = store.take(project.storage, claim.token)
        if task is None:
            wait(watcher, 1.0)
            continue
        perform(project, task, claim.token)
        done, idle_since = done + 1, time.monotonic()
    return {"done": done}


if __name__ == "__main__":
    launched.run(main)
