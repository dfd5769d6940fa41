"""Rows of processes: a launch is committed before the process is made, and claimed by it.

The protocol (ARCHITECTURE, idea 3): `commit` the token; spawn; the child `claim`s by compare-and-set and
says who it is; it writes its own outcome with `finish`. Whoever looks later can tell a process that
lives (`alive`) from one that is gone, also when its pid was given to somebody else since.
"""

from __future__ import annotations

import datetime as dt
import functools
import os
import secrets
import socket
import uuid
from collections.abc import Iterable
from pathlib import Path

import psutil
import sqlalchemy as sa

from mlinfra_lab.schema.common import JSON, now
from mlinfra_lab.schema.control import Launch
from mlinfra_lab.storage.database import Storage
from mlinfra_lab.storage.rows import from_row
from mlinfra_lab.storage.tables import launches
from mlinfra_lab.storage.unit import Unit

OPEN = ("launching", "running")
# Start times come from the kernel's clock ticks; the same process reads the same to well under this.
_SAME_START = 1.0


@functools.cache
def host() -> str:
    """Name of this machine."""
    return socket.gethostname()


@functools.cache
def boot() -> str:
    """What tells one run of this machine from the next: Linux's boot id, else the boot time."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{host()}-{round(psutil.boot_time())}"))


def process_alive(pid: int, started: float) -> bool:
    """Whether this very process lives on this machine; a zombie does not."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < _SAME_START
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def is_zombie(pid: int) -> bool:
    """Whether the process has ended and only waits for its parent to notice."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def alive(launch: Launch) -> bool | None:
    """Whether the launch's process lives; ``None`` when only another machine could tell."""
    if launch.host is not None and launch.host != host():
        return None
    if launch.boot is not None and launch.boot != boot():
        return False
    if launch.pid is None or launch.started is None:
        return None
    return process_alive(launch.pid, launch.started)


def commit(unit: Unit, kind: str, owner: str) -> str:
    """Write down that a process is about to be made; returns the token it claims with."""
    token = secrets.token_hex(8)
    unit.connection.execute(
        launches.insert().values(
            token=token, kind=kind, owner=owner, state="launching", created=now(), info={}, host=host()
        )
    )
    return token


def claim(storage: Storage, token: str) -> Launch | None:
    """Take the launch for this process.

    Returns
    -------
    Launch or None
        ``None`` when the launch was given up or somebody else has it: then this process must end
        without having done anything.
    """
    me = psutil.Process()
    with storage.unit() as unit:
        taken = unit.connection.execute(
            launches.update()
            .where(launches.c.token == token, launches.c.state == "launching")
            .values(
                state="running", host=host(), boot=boot(), pid=me.pid, started=me.create_time(), claimed=now()
            )
        )
        if taken.rowcount != 1:
            return None
        row = unit.connection.execute(sa.select(launches).where(launches.c.token == token)).one()
        unit.changed("launch", token, "updated")
    return from_row(row, Launch)


def inform(storage: Storage, token: str, info: JSON) -> None:
    """Publish what the running process says of itself (replaces what it said before)."""
    with storage.unit() as unit:
        unit.connection.execute(launches.update().where(launches.c.token == token).values(info=info))
        unit.changed("launch", token, "updated")


def finish(unit: Unit, token: str, outcome: JSON | None) -> bool:
    """Write the process's own outcome; false when it was declared lost before."""
    done = unit.connection.execute(
        launches.update()
        .where(launches.c.token == token, launches.c.state == "running")
        .values(state="exited", outcome=outcome or {}, ended=now())
    )
    unit.changed("launch", token, "updated")
    return done.rowcount == 1


def give_up(unit: Unit, token: str, seen: str) -> bool:
    """End a launch whose process is gone: ``launching`` becomes ``void``, ``running`` becomes ``lost``.

    Parameters
    ----------
    seen
        The state it was seen in; nothing happens when it has moved on since.
    """
    done = unit.connection.execute(
        launches.update()
        .where(launches.c.token == token, launches.c.state == seen)
        .values(state="void" if seen == "launching" else "lost", ended=now())
    )
    if done.rowcount:
        unit.changed("launch", token, "updated")
    return done.rowcount == 1


def opened(connection: sa.Connection, kinds: Iterable[str] | None = None) -> list[Launch]:
    """Launches that are not over, oldest first."""
    query = sa.select(launches).where(launches.c.state.in_(OPEN)).order_by(launches.c.created)
    if kinds is not None:
        query = query.where(launches.c.kind.in_(list(kinds)))
    return [from_row(row, Launch) for row in connection.execute(query)]


def latest(connection: sa.Connection, kind: str, owner: str) -> Launch | None:
    """The newest launch of one thing, whatever became of it."""
    query = (
        sa.select(launches)
        .where(launches.c.kind == kind, launches.c.owner == owner)
        .order_by(launches.c.created.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return None if row is None else from_row(row, Launch)


def get(connection: sa.Connection, token: str) -> Launch | None:
    """One launch by its token."""
    row = connection.execute(sa.select(launches).where(launches.c.token == token)).first()
    return None if row is None else from_row(row, Launch)


def forget_all(unit: Unit) -> None:
    """Declare every open launch void: this folder is a copy, and they belong to the original."""
    unit.connection.execute(
        launches.update().where(launches.c.state.in_(OPEN)).values(state="void", ended=now())
    )


def count(connection: sa.Connection, kind: str, owner: str) -> int:
    """How often one thing was started."""
    query = sa.select(sa.func.count()).where(launches.c.kind == kind, launches.c.owner == owner)
    return connection.execute(query).scalar_one()


def prune(unit: Unit, before: dt.datetime) -> None:
    """Drop the launches that ended before a moment."""
    unit.connection.execute(launches.delete().where(launches.c.state.not_in(OPEN), launches.c.ended < before))


def environment(extra: JSON | None = None) -> dict[str, str]:
    """The environment a launched process gets: an allow-list, then ``extra``.

    A face may be a shell full of credentials; what a job needs of those is named when it is
    submitted and travels in a file of its own.
    """
    keep = (
        "HOME", "PATH", "LANG", "LANGUAGE", "TZ", "USER", "LOGNAME", "SHELL", "TMPDIR", "TERM",
        "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV",
        "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "JUPYTER_PATH",
        "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR",
        "XDG_RUNTIME_DIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "PGPASSFILE", "PGSERVICEFILE",
        "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "MLINFRA_DATABASE", "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_NOSYSTEM", "COVERAGE_PROCESS_START",
    )  # fmt: skip
    kept = {name: os.environ[name] for name in keep if name in os.environ}
    kept |= {name: value for name, value in os.environ.items() if name.startswith("LC_")}
    quiet = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "DVC_NO_ANALYTICS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    return kept | quiet | {name: str(value) for name, value in (extra or {}).items()}
