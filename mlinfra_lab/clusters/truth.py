"""What a cluster is, told from its row and its processes; the one place that decides it."""

from __future__ import annotations

import datetime as dt

import msgspec

from mlinfra_lab.clusters.store import SCHEDULER, Owner, Processes
from mlinfra_lab.schema.clusters import Cluster
from mlinfra_lab.schema.common import now
from mlinfra_lab.schema.control import Launch
from mlinfra_lab.schema.tasks import Failure

# Something that ends by itself this often in this time will not get better by being started again.
ENDS_TOO_OFTEN = 4
WITHIN = dt.timedelta(seconds=60)


def derive(row: Cluster, processes: Processes) -> Cluster:
    """The cluster as it is now.

    Parameters
    ----------
    row
        As it was last written: what is desired, and whether this start was up before.
    """
    replace = msgspec.structs.replace
    if not row.desired:
        gone = replace(row, connected=0, address=None, dashboard=None, reason=None)
        return replace(gone, state="stopping" if processes.any_open else "stopped")
    if row.state == "failed":
        return row
    if trouble := hopeless(processes):
        return replace(row, state="failed", reason=trouble, connected=0)
    said = processes.published
    workers = row.workers or int(said.get("workers", 0))
    row = replace(
        row, workers=workers, address=said.get("address"), dashboard=said.get("dashboard"), connected=0
    )
    was_up = row.state in ("up", "degraded")
    if not processes.scheduler_up:
        lost = "the scheduler was lost and is being started again" if was_up else _last_end(processes)
        return replace(row, state="degraded" if was_up else "starting", reason=lost)
    connected = int(said.get("connected", 0))
    row = replace(row, connected=connected)
    if workers and connected >= workers:
        return replace(row, state="up", reason=None)
    missing = f"{connected} of {workers} workers connected"
    if last := _last_end(processes):
        missing = f"{missing}; {last}"
    return replace(row, state="degraded" if was_up else "starting", reason=missing)


def hopeless(processes: Processes) -> str | None:
    """Why starting again makes no sense, if it does not."""
    recent: dict[tuple[str, str], int] = {}
    for launch in processes.ended:
        failure = _failure(launch)
        if failure is not None and failure.code != "internal":
            return f"{failure.message} {failure.hint or ''}".strip()
        if launch.ended is not None and now() - launch.ended < WITHIN and _badly(launch):
            key = (launch.kind, launch.owner)
            recent[key] = recent.get(key, 0) + 1
            if recent[key] == ENDS_TOO_OFTEN:
                return (
                    f"{_who(launch)} ended {ENDS_TOO_OFTEN} times in {WITHIN.seconds} s, last: "
                    f"{_how(launch)}. Its log is logs/{launch.kind}-{launch.owner}.log in the state folder."
                )
    return None


def _last_end(processes: Processes) -> str | None:
    for launch in processes.ended:
        if _badly(launch) and launch.ended is not None and now() - launch.ended < WITHIN:
            return f"{_who(launch)} ended ({_how(launch)}) and is started again"
    return None


def _badly(launch: Launch) -> bool:
    return launch.state in ("lost", "void") or _failure(launch) is not None


def _failure(launch: Launch) -> Failure | None:
    error = (launch.outcome or {}).get("error")
    return None if error is None else msgspec.convert(error, Failure)


def _who(launch: Launch) -> str:
    if launch.kind == SCHEDULER:
        return "the scheduler"
    return f"worker {Owner.parse(launch.owner).index}"


def _how(launch: Launch) -> str:
    failure = _failure(launch)
    if failure is not None:
        return failure.message.rstrip(".")
    return "killed, or out of memory" if launch.state == "lost" else "before it was up"
