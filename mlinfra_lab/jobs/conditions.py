"""What else decides a job's results: how many threads libraries use, how texts are hashed, which CPU."""

from __future__ import annotations

import os
import platform
import random
from collections.abc import Iterable, MutableMapping
from pathlib import Path

import psutil

from mlinfra_lab.schema.jobs import Conditions

CAUSE = "reproduce:"
"""Begins the cause of a job that does another one again."""
HASH_SEED = "PYTHONHASHSEED"
KEPT = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
    "OMP_DYNAMIC",
    "MKL_DYNAMIC",
    "OPENBLAS_CORETYPE",
    "CUBLAS_WORKSPACE_CONFIG",
    HASH_SEED,
)
"""Variables whose values are kept with a job: they change a sum's last digits, or an order, and no more."""
_MOST_SEED = 4294967295


def take(environ: MutableMapping[str, str], given: Iterable[str], wanted: Conditions | None) -> Conditions:
    """Put a kernel's environment right, and say under which conditions the job then runs.

    Every job hashes texts by a seed of its own, as Python does by itself; here it is known afterwards, so
    that a loop over a set can be gone through in the same order again.

    Parameters
    ----------
    environ
        What the kernel will inherit; changed in place.
    given
        Names of the variables that were handed on to the job; their values are kept for none but `KEPT`.
    wanted
        The conditions of the job that is done again.
    """
    cpus = _cpus()
    if wanted is not None:
        for name in KEPT:
            environ.pop(name, None)
        environ.update(wanted.variables)
        if wanted.cpus != cpus:
            # Left to themselves, libraries would take as many threads as there are CPUs now.
            for name, number in _defaults(wanted).items():
                environ.setdefault(name, str(number))
    environ.setdefault(HASH_SEED, str(random.SystemRandom().randrange(1, _MOST_SEED)))
    return Conditions(
        cpus=cpus,
        cores=psutil.cpu_count(logical=False),
        cpu=_cpu(),
        variables={name: environ[name] for name in KEPT if name in environ},
        given=tuple(sorted(set(given) - set(KEPT))),
        data=wanted.data if wanted is not None else (),
    )


def repeats(cause: str | None) -> str | None:
    """Id of the job that one with this cause does again."""
    return cause.removeprefix(CAUSE) if cause is not None and cause.startswith(CAUSE) else None


def here() -> Conditions:
    """What this machine would give a job, without changing anything."""
    return Conditions(cpus=_cpus(), cores=psutil.cpu_count(logical=False), cpu=_cpu())


def _defaults(wanted: Conditions) -> dict[str, int]:
    # OpenBLAS counts the CPUs that it may use; MKL and what is built on OpenMP by scikit-learn and torch
    # take a thread for each physical core.
    cores = min(wanted.cpus, wanted.cores or wanted.cpus)
    return {"OPENBLAS_NUM_THREADS": wanted.cpus, "MKL_NUM_THREADS": cores, "OMP_NUM_THREADS": cores}


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu() -> str:
    """The CPU's name: another one has other instructions, and libraries choose their code by them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
