"""Values as they are typed on a command line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

from mlinfra_lab.errors import InvalidParameter

_WORDS = {"True": True, "False": False, "None": None}


def parse(text: str) -> Any:
    """A parameter's value, by the rules of papermill's own command.

    ``True``, ``False`` and ``None`` are Python's, then comes what `int` takes, then what `float` takes;
    besides papermill, a JSON list or object is one. Anything else is a string.

    Examples
    --------
    >>> [parse(text) for text in ("1", "1.5", "True", "None", "[1, 2]", "winter")]
    [1, 1.5, True, None, [1, 2], 'winter']
    """
    if text in _WORDS:
        return _WORDS[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    if text[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def parameters(typed: Iterable[tuple[str, str]], raw: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """``-p NAME VALUE`` and ``-r NAME VALUE`` together; the latter are strings whatever they look like.

    Raises
    ------
    InvalidParameter
        When one option gives the same name twice.
    """
    typed, raw = list(typed), list(raw)
    for option, pairs in (("-p", typed), ("-r", raw)):
        names = [name for name, _ in pairs]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            given = " and ".join(value for name, value in pairs if name == twice)
            raise InvalidParameter(
                f"The parameter {twice} was given twice: {given}.", f"Say {option} {twice} once."
            )
    return {name: parse(text) for name, text in typed} | dict(raw)


def environment(names: Iterable[str]) -> dict[str, str]:
    """The caller's values of the named environment variables.

    Raises
    ------
    InvalidParameter
        When one is not set, or a value was typed: it would stand in the shell's history.
    """
    values = {}
    for name in names:
        if "=" in name:
            bare = name.partition("=")[0]
            raise InvalidParameter(
                "--env takes a variable's name and not its value.", f"export {bare}, then say --env {bare}"
            )
        if name not in os.environ:
            raise InvalidParameter(
                f"The environment variable {name} is not set here.", f"export {name}=… and try again"
            )
        values[name] = os.environ[name]
    return values


def months(text: str) -> list[int]:
    """``1,2`` and ``1-6`` as numbers; whether there are such months is the reader's business."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            found += range(int(first), int(last if dash else first) + 1)
        except ValueError:
            raise InvalidParameter(f"{text!r} are no months.", "Say --months 1,2 or --months 1-6") from None
    return found
