"""What a notebook's source says: which cells changed since, and what else it does besides training."""

from __future__ import annotations

import difflib
import re
from typing import Any

from mlinfra_lab.jobs.notebook import source_of
from mlinfra_lab.schema.lineage import CellChange

_LINES = 12
_EFFECTS = re.compile(
    r"\b(register_model|set_registered_model_alias|registered_model_name|models\.(?:register|promote)"
    r"|endpoints\.(?:publish|rollout|rollback)|data\.snapshot|jobs\.submit)(?=\s*[(=])"
    r"|^\s*[%!]\s*(?:mlinfra\s+)?((?:data snapshot|job run|model register|model promote|endpoint \w+)\b)",
    re.MULTILINE,
)

Cells = list[tuple[int, str | None, str]]


def changes(kept: dict[str, Any], present: dict[str, Any]) -> list[CellChange]:
    """The code cells in which the notebook differs from the kept one.

    Cells are matched by their ids, else by their order.
    """
    before, after = _code(kept), _code(present)
    known = {id for _, id, _ in before if id} & {id for _, id, _ in after if id}
    found: list[CellChange] = []
    if known:
        new = {id: source for _, id, source in after}
        for number, id, source in before:
            if id not in known:
                found.append(_change(number, "removed", source, ""))
            elif new[id] != source:
                found.append(_change(number, "changed", source, new[id]))
        found += [_change(number, "added", "", source) for number, id, source in after if id not in known]
        return found
    matcher = difflib.SequenceMatcher(None, [one[2] for one in before], [one[2] for one in after], False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            continue
        pairs = min(b - a, d - c)
        for place in range(pairs):
            found.append(_change(before[a + place][0], "changed", before[a + place][2], after[c + place][2]))
        found += [_change(number, "removed", source, "") for number, _, source in before[a + pairs : b]]
        found += [_change(number, "added", "", source) for number, _, source in after[c + pairs : d]]
    return found


def effects(notebook: dict[str, Any]) -> list[tuple[int, str]]:
    """Cells that do more than train, with the words that say so: run again, they would do it again."""
    found = []
    for number, _, source in _code(notebook):
        bare = "\n".join(line for line in source.splitlines() if not line.lstrip().startswith("#"))
        match = _EFFECTS.search(bare)
        if match:
            found.append((number, next(word for word in match.groups() if word)))
    return found


def _code(notebook: dict[str, Any]) -> Cells:
    return [
        (number, cell.get("id"), source_of(cell))
        for number, cell in enumerate(notebook["cells"], start=1)
        if cell["cell_type"] == "code"
    ]


def _change(number: int, change: Any, before: str, after: str) -> CellChange:
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=1))[2:]
    if len(lines) > _LINES:
        lines = [*lines[:_LINES], f"… and {len(lines) - _LINES} lines more"]
    return CellChange(cell=number, change=change, diff="\n".join(lines))
