"""What a cluster is, told from its row and its processes; the one place that decides it."""

from __future__ import annotations

import datetime as dt

import msgspec

from mlinfra_lab.clusters.store import SCHEDULER, Owner, Processes
from mlinfra_lab.schema.clusters import Cluster
from mlinfra_lab.schema.common import JSON, now
from mlinfra_lab.schema.control import Launch
from mlinfra_lab.schema.tasks import Failure
from mlinfra_lab.settings import ClusterSettings

# Something that ends by itself so often in a row, each time so soon, will not get better by being
# started again.
ENDS_TOO_OFTEN = 4
SOON = dt.timedelta(seconds=60)
# What may be otherwise the next time; any other error is for a person to mend.
PASSING = frozenset({"internal", "unavailable"})


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
    published = processes.published
    workers = row.workers or int(published.get("workers", 0))
    row = replace(
        row,
        workers=workers,
        address=published.get("address"),
        dashboard=published.get("dashboard"),
        connected=0,
    )
    was_up = row.state in ("up", "degraded")
    if not processes.scheduler_up:
        lost = "the scheduler was lost and is being started again" if was_up else _last_end(processes)
        return replace(row, state="degraded" if was_up else "starting", reason=lost)
    connected = int(published.get("connected", 0))
    row = replace(row, connected=connected)
    if workers and connected >= workers:
        return replace(row, state="up", reason=None)
    missing = f"{connected} of {workers} workers connected"
    if last := _last_end(processes):
        missing = f"{missing}; {last}"
    return replace(row, state="degraded" if was_up else "starting", reason=missing)


def beside(name: str, row: Cluster | None, spec: ClusterSettings | None) -> Cluster:
    """A cluster as it is (if it was ever asked for), held against how it is declared (if it is).

    At least one of ``row`` and ``spec`` is there.
    """
    replace = msgspec.structs.replace
    if row is None or (spec is not None and row.state == "stopped"):
        assert spec is not None
        known = row or Cluster(name=name, backend=spec.backend, config=spec.config)
        return replace(known, backend=spec.backend, config=spec.config, workers=0)
    if spec is None:
        return replace(row, reason=row.reason or "no longer in mlinfra.toml")
    if row.state == "up" and (row.backend, row.config) != (spec.backend, spec.config):
        return replace(row, reason="changed in mlinfra.toml; restart to apply")
    return row


def answered(row: Cluster, found: JSON | None, failure: Failure | None) -> Cluster:
    """A cluster that is not ours to start, after its backend's `check`."""
    if failure is not None:
        return msgspec.structs.replace(row, state="failed", reason=said(failure.message, failure.hint))
    found = found or {}
    connected = int(found.get("connected", 0))
    return msgspec.structs.replace(
        row,
        state="up",
        reason=None,
        address=found.get("address"),
        dashboard=found.get("dashboard"),
        workers=connected,
        connected=connected,
    )


def said(message: str, hint: str | None) -> str:
    """A reason in one line."""
    return f"{message} {hint}" if hint else message


def hopeless(processes: Processes) -> str | None:
    """Why starting again makes no sense, if it does not."""
    for mine in processes.by_owner().values():
        last = mine[0]
        failure = _failure(last)
        if failure is not None and failure.code not in PASSING:
            return said(failure.message, failure.hint)
        if len(mine) >= ENDS_TOO_OFTEN and all(_badly(one) and _soon(one) for one in mine[:ENDS_TOO_OFTEN]):
            return (
                f"{_who(last)} ended {ENDS_TOO_OFTEN} times in a row, last: {_how(last)}. "
                f"Its log is logs/{last.kind}-{last.owner}.log in the state folder."
            )
    return None


def _last_end(processes: Processes) -> str | None:
    for launch in processes.launches:
        if _badly(launch) and launch.ended is not None and now() - launch.ended < SOON:
            return f"{_who(launch)} ended ({_how(launch)}) and is started again"
    return None


def _soon(launch: Launch) -> bool:
    return launch.ended is not None and launch.ended - (launch.claimed or launch.created) < SOON


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
