"""The environment record: what a kernel's environment was, named by its hash."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import subprocess
import sys
from importlib import metadata

from mlinfra_lab.lineage import store
from mlinfra_lab.schema.common import now
from mlinfra_lab.schema.lineage import Environment
from mlinfra_lab.storage import Storage

# Run by the other interpreter, which need not have anything of ours installed.
_ASK = """
import json, platform, re
from importlib import metadata
names = {}
for one in metadata.distributions():
    name = one.metadata["Name"]
    if name:
        names.setdefault(re.sub(r"[-_.]+", "-", name).lower(), one.version)
packages = sorted(name + "==" + version for name, version in names.items())
print(json.dumps([platform.python_version(), platform.platform(), packages]))
"""


def record(storage: Storage, kernel: str) -> str | None:
    """Write down the environment of a kernel, once, and return its hash.

    Parameters
    ----------
    kernel
        Name of the kernelspec; its interpreter is asked, unless it is this very one.

    Returns
    -------
    str or None
        ``None`` for a kernel that is not Python, or that cannot be found.
    """
    environment = look(kernel)
    if environment is None:
        return None
    store.add_environment(storage, environment)
    return environment.hash


def look(kernel: str) -> Environment | None:
    """The environment of a kernel as it is now, see `record`; nothing is written."""
    interpreter = interpreter_of(kernel)
    if interpreter is None:
        return None
    if interpreter == sys.executable:
        python, system, packages = platform.python_version(), platform.platform(), installed()
    else:
        answer = subprocess.run(
            [interpreter, "-c", _ASK], capture_output=True, text=True, timeout=60, check=False
        )
        if answer.returncode != 0:
            return None
        python, system, packages = json.loads(answer.stdout)
    text = "\n".join([python, system, *packages])
    return Environment(
        hash=hashlib.sha256(text.encode()).hexdigest()[:16],
        python=python,
        platform=system,
        packages=tuple(packages),
        created=now(),
    )


def installed() -> list[str]:
    """``name==version`` of every distribution of this interpreter, sorted, names normalised."""
    found: dict[str, str] = {}
    for one in metadata.distributions():
        name = one.metadata["Name"]
        if name:
            # The first one found is the one that is imported.
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), one.version)
    return sorted(f"{name}=={version}" for name, version in found.items())


def interpreter_of(kernel: str) -> str | None:
    """Path of the Python a kernelspec starts; ``None`` for another language or an unknown kernel."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        spec = KernelSpecManager().get_kernel_spec(kernel)
    except NoSuchKernel:
        return None
    if spec.language.lower() != "python" or not spec.argv:
        return None
    first: str = spec.argv[0]
    return sys.executable if first in ("python", "python3") else first
