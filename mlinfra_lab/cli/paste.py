"""Command lines that work when they are pasted into a fresh shell."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlinfra_lab.schema.endpoints import Revision

# A value of each of MLflow's types, for a model that was logged without an example.
_PLACEHOLDERS: dict[str, Any] = {
    "boolean": False, "integer": 0, "long": 0, "float": 0.0, "double": 0.0, "string": "", "binary": "",
    "datetime": "2026-01-01T00:00:00",
}  # fmt: skip


def near(path: Path, folder: Path | None = None) -> str:
    """A path as it is said from ``folder`` (the working directory): relative below it, else absolute."""
    folder = folder or Path.cwd()
    try:
        below = path.relative_to(folder)
    except ValueError:
        return str(path)
    # A bare name would be looked up on PATH.
    return str(below) if len(below.parts) > 1 else f"./{below}"


def program() -> str:
    """How to call ``mlinfra`` from here, quoted for a shell: its name where PATH has this very one."""
    # Not resolved: a virtual environment's python is a link out of it.
    mine = Path(sys.executable).with_name("mlinfra")
    if not mine.exists():
        return f"{shlex.quote(near(Path(sys.executable)))} -m mlinfra_lab"
    found = shutil.which("mlinfra")
    if found is not None and mine.samefile(found):
        return "mlinfra"
    return shlex.quote(near(mine))


def command(root: Path, *words: str) -> str:
    """A line that runs ``mlinfra`` on the project in ``root``."""
    named = [] if Path.cwd() == root else ["--project", near(root)]
    return " ".join([program(), *(shlex.quote(word) for word in (*named, *words))])


def curl(url: str, endpoint: str, root: Path, revision: Revision | None) -> str:
    """A request of one row that the endpoint answers."""
    body = json.dumps(one_row(revision), ensure_ascii=False, default=str)
    token = command(root, "endpoint", "token", endpoint)
    return (
        f'curl -sS {shlex.quote(url)} -H "Authorization: Bearer $({token})"'
        f" -H 'Content-Type: application/json' -d {shlex.quote(body)}"
    )


def one_row(revision: Revision | None) -> dict[str, Any]:
    """The body of a request of one row: the model's own example cut to one, else made from its columns."""
    example = revision.example if revision is not None else None
    if not example:
        columns = revision.columns if revision is not None else ()
        return {"dataframe_records": [{one.name: _PLACEHOLDERS.get(one.type) for one in columns}]}
    if "dataframe_split" in example:
        return {"dataframe_split": _first_of_split(example["dataframe_split"])}
    if "columns" in example and "data" in example:
        return {"dataframe_split": _first_of_split(example)}
    for name in ("dataframe_records", "instances"):
        if name in example:
            return {name: example[name][:1]}
    if "inputs" in example:
        inputs = example["inputs"]
        if isinstance(inputs, dict):
            return {
                "inputs": {key: part[:1] if isinstance(part, list) else part for key, part in inputs.items()}
            }
        return {"inputs": inputs[:1] if isinstance(inputs, list) else inputs}
    return {"dataframe_records": [example]}


def _first_of_split(split: dict[str, Any]) -> dict[str, Any]:
    return {"columns": split["columns"], "data": split["data"][:1]}
