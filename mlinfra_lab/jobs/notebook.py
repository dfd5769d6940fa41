"""Reading a notebook before it runs: is it one, what are its parameters, do the given ones fit.

Light on purpose (no papermill, no nbformat): a shell checks a submission with this. For a notebook in
another language than Python names and types are left to papermill and the kernel.
"""

from __future__ import annotations

import ast
import difflib
import io
import json
import math
import tokenize
from pathlib import Path
from typing import Any

from mlinfra_lab.errors import InvalidNotebook, InvalidParameter, NotFound
from mlinfra_lab.schema.jobs import Parameter

_ACCEPTS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "list": (list, tuple),
    "tuple": (list, tuple),
    "dict": (dict,),
}


def read(path: Path) -> dict[str, Any]:
    """The notebook as JSON.

    Raises
    ------
    NotFound, InvalidNotebook
        Naming the file and what is wrong with it.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        siblings = [one.name for one in path.parent.glob("*.ipynb")] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, siblings, n=1)
        hint = f"Did you mean {path.parent / near[0]}?" if near else "Give the path of an .ipynb file."
        raise NotFound(f"There is no notebook {path}.", hint) from None
    except (IsADirectoryError, PermissionError) as error:
        raise InvalidNotebook(
            f"{path} cannot be read: {error.strerror}.", "Give the path of an .ipynb file."
        ) from error
    try:
        notebook = json.loads(raw)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InvalidNotebook(
            f"{path} is no notebook: {error}.", "Open it in JupyterLab, or restore it from git."
        ) from error
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise InvalidNotebook(
            f"{path} is no notebook: it has no list of cells.", "Give the path of an .ipynb file."
        )
    if notebook.get("nbformat", 0) < 4:
        raise InvalidNotebook(
            f"{path} has notebook format {notebook.get('nbformat')}.", "Save it with a current Jupyter."
        )
    for index, cell in enumerate(notebook["cells"]):
        if not isinstance(cell, dict) or "cell_type" not in cell or "source" not in cell:
            raise InvalidNotebook(f"{path} is no notebook: cell {index} has no type or no source.")
    return notebook


def kernel_of(notebook: dict[str, Any]) -> str | None:
    """Name of the kernel the notebook asks for."""
    name = notebook.get("metadata", {}).get("kernelspec", {}).get("name")
    return str(name) if name else None


def language_of(notebook: dict[str, Any]) -> str:
    """The notebook's language; Python where it does not say."""
    metadata = notebook.get("metadata", {})
    found = metadata.get("kernelspec", {}).get("language") or metadata.get("language_info", {}).get("name")
    return str(found or "python").lower()


def source_of(cell: dict[str, Any]) -> str:
    """A cell's source, which the format also allows as a list of lines."""
    source = cell["source"]
    return "".join(source) if isinstance(source, list) else str(source)


def parameters_of(notebook: dict[str, Any]) -> list[Parameter] | None:
    """What the cell tagged ``parameters`` assigns; ``None`` when it cannot be told.

    That is so without such a cell and for languages other than Python.
    """
    if language_of(notebook) != "python":
        return None
    for cell in notebook["cells"]:
        tags = cell.get("metadata", {}).get("tags", [])
        if cell["cell_type"] == "code" and "parameters" in tags:
            return _parse(source_of(cell))
    return None


def _parse(source: str) -> list[Parameter]:
    try:
        tree = ast.parse(source)
        comments = _comments(source)
    except (SyntaxError, tokenize.TokenError) as error:
        raise InvalidNotebook(f"The parameters cell does not parse: {error}.") from error
    found: dict[str, Parameter] = {}
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                kind = _kind(value)
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value) if value:
                kind = ast.unparse(annotation)
            case _:
                continue
        text = ast.get_source_segment(source, value) or ""
        help = comments.get(statement.end_lineno or 0, "")
        found[name] = Parameter(name=name, type=kind, default=text, help=help)
    return list(found.values())


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokens
        if token.type == tokenize.COMMENT
    }


def _kind(value: ast.expr) -> str | None:
    try:
        literal = ast.literal_eval(value)
    except ValueError:
        return None
    return None if literal is None else type(literal).__name__


def plain(given: dict[str, Any], path: Path) -> dict[str, Any]:
    """The parameters as plain JSON values: tuples as lists, numpy's numbers as Python's.

    Raises
    ------
    InvalidParameter
        For a value that JSON cannot hold, naming the parameter.
    """
    for name in given:
        if not isinstance(name, str):
            raise InvalidParameter(f"A parameter's name is a text, not {name!r}.")
    return {name: _plain(name, value, path) for name, value in given.items()}


def _plain(name: str, value: Any, path: Path) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, (list, tuple)):
        return [_plain(name, one, path) for one in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(name, one, path) for key, one in value.items()}
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return _plain(name, value.item(), path)
    raise InvalidParameter(
        f"Parameter “{name}” of {path.name} cannot be {value!r}.",
        "A parameter is a text, a finite number, true or false, nothing, or lists and dictionaries of these.",
    )


def check(notebook: dict[str, Any], given: dict[str, Any], path: Path) -> None:
    """Hold the given parameters against the notebook's.

    Raises
    ------
    InvalidParameter
        Naming the parameter, and the nearest valid name or the type that was expected.
    """
    known = parameters_of(notebook)
    if known is None:
        if given and language_of(notebook) == "python":
            raise InvalidParameter(
                f"{path.name} takes no parameters: it has no cell tagged “parameters”.",
                "Tag the cell with the defaults as “parameters” (property inspector in JupyterLab).",
            )
        return
    by_name = {parameter.name: parameter for parameter in known}
    for name, value in given.items():
        parameter = by_name.get(name)
        if parameter is None:
            near = difflib.get_close_matches(name, by_name, n=1, cutoff=0.5)
            hint = f"Did you mean “{near[0]}”?" if near else f"It takes: {', '.join(by_name) or 'none'}."
            raise InvalidParameter(f"{path.name} has no parameter “{name}”.", hint)
        _check_type(parameter, value, path)


def _check_type(parameter: Parameter, value: Any, path: Path) -> None:
    kind = (parameter.type or "").split("[")[0].lower()
    accepted = _ACCEPTS.get(kind)
    if accepted is None or (value is None and parameter.default == "None"):
        return
    wrong_bool = isinstance(value, bool) and bool not in accepted
    if wrong_bool or not isinstance(value, accepted):
        raise InvalidParameter(
            f"Parameter “{parameter.name}” of {path.name} should be of type {kind}, not {value!r}.",
            f"Its default is {parameter.default}.",
        )
