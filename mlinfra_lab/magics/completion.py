"""Tab in a magic's line: the shell's own completion, asked in the same words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem, ShellComplete
from IPython.core.completer import (
    CompletionContext,
    SimpleCompletion,
    SimpleMatcherResult,
    context_matcher,
)

from mlinfra_lab.cli.base import Session, load
from mlinfra_lab.cli.shell import Root

if TYPE_CHECKING:
    from mlinfra_lab.magics.face import Notebook

_LINE = re.compile(
    r"^\s*(?:[^=%#'\"]+=\s*)?%(data|cluster|job|runs|model|endpoint|alert|lineage|demo)\s(.*)$", re.DOTALL
)
_NOTHING: SimpleMatcherResult = {"completions": []}


IDENTIFIER = "mlinfra"


def matcher(face: Notebook) -> Callable[[CompletionContext], SimpleMatcherResult]:
    """One of IPython's matchers, in place of its own guesses on our lines.

    Parameters
    ----------
    face
        Opens the project.
    """

    @context_matcher(identifier=IDENTIFIER)  # type: ignore[untyped-decorator]
    def match(context: CompletionContext) -> SimpleMatcherResult:
        found = _LINE.match(context.text_until_cursor)
        if found is None:
            return _NOTHING
        words, incomplete = split(found[2])
        items = complete(found[1], words, incomplete, face)
        return {
            "completions": [SimpleCompletion(text=item.value, type="magic") for item in items],
            "matched_fragment": incomplete,
            "suppress": True,
            "ordered": True,
        }

    return match  # type: ignore[no-any-return]


def split(text: str) -> tuple[list[str], str]:
    """The whole words of a line, and the one that is being typed (empty after a space)."""
    try:
        words = shlex.split(text)
    except ValueError:
        # An open quote: what is being typed begins there.
        words = text.split()
    if not words or text[-1:].isspace():
        return words, ""
    return words[:-1], words[-1]


def complete(name: str, words: list[str], incomplete: str, face: Notebook) -> list[CompletionItem[str]]:
    """What click offers for a line of the group ``name``."""
    group = load(Root.table[name].target)
    asked = ShellComplete(group, {"obj": Session(face)}, f"%{name}", "_MLINFRA_COMPLETE")
    items: list[CompletionItem[str]] = []
    for item in asked.get_completions(words, incomplete):
        items += _paths(incomplete, item.type == "dir") if item.type in ("file", "dir") else [item]
    return items


def _paths(incomplete: str, only_folders: bool) -> list[CompletionItem[str]]:
    """Files as a shell would complete them."""
    folder, slash, name = incomplete.rpartition("/")
    try:
        entries = sorted(Path(folder + slash or ".").expanduser().iterdir())
    except OSError:
        return []
    return [
        CompletionItem(f"{folder}{slash}{entry.name}{'/' if entry.is_dir() else ''}")
        for entry in entries
        if entry.name.startswith(name)
        and entry.name.startswith(".") == name.startswith(".")
        and (entry.is_dir() or not only_folders)
    ]
