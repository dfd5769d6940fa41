"""Aliases that somebody moves in MLflow: seen, and never followed blindly.

What an endpoint was published by, ``champion`` say, is looked at every few seconds. Where it was last seen is
written down, so that each move is dealt with once, also when nobody looked for a while.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from mlinfra_lab.endpoints import alias_store, rollout_store, store
from mlinfra_lab.errors import MLInfraError
from mlinfra_lab.schema.endpoints import Revision
from mlinfra_lab.storage import Storage, Unit

__all__ = ["Aliases", "FindAlias"]

log = logging.getLogger(__name__)
LOOK_SECONDS = 3.0
FindAlias = Callable[[str, str], int | None]


class Aliases:
    """The aliases that endpoints were published by.

    Parameters
    ----------
    find
        The version an alias of a model points to, at once or not at all.
    """

    def __init__(self, storage: Storage, find: FindAlias) -> None:
        self._storage = storage
        self._find = find
        self._looked = 0.0
        self._troubles: dict[str, str] = {}

    def moved(self) -> list[tuple[str, str, str, int]]:
        """Endpoints whose alias somebody has moved, with its model and version; looks every few seconds."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return []
        self._looked = time.monotonic()
        seen = store.view(self._storage)
        found: list[tuple[str, str, str, int]] = []
        for name, row in seen.endpoints.items():
            serving = seen.revisions.get(store.owner(name, row.serving)) if row.serving else None
            settled = row.desired and row.wanted == row.serving and name not in seen.rollouts
            if serving is None or serving.alias is None or not settled:
                continue
            at = self._new(name, serving, serving.alias)
            if at is not None:
                found.append((name, serving.model, serving.alias, at))
        return found

    def _new(self, name: str, serving: Revision, alias: str) -> int | None:
        """The version an alias points to, when it is another one and has not been dealt with."""
        with self._storage.read() as connection:
            # Asked before MLflow is: a task that ends in between is seen by what it did.
            if alias_store.waiting(connection, serving.model, alias):
                return None  # a task is about to move it
            known = alias_store.seen(connection, name, serving.model, alias)
        at = self._find(serving.model, alias)
        if known == str(at) or (at is None and known in (None, alias_store.GONE)):
            return None
        with self._storage.unit() as unit:
            self._keep(unit, name, serving.model, alias, at)
        return at if at != serving.version else None

    def of(self, unit: Unit, serving: Revision) -> str | None:
        """The alias that a revision was published by, unless it was removed."""
        gone = alias_store.gone(unit.connection).get(serving.endpoint)
        return None if gone == f"{serving.model}@{serving.alias}" else serving.alias

    def note(self, unit: Unit, name: str, model: str, alias: str) -> int | None:
        """Where an alias points, once the tasks that wait have moved it, is where it is left."""
        at = self._find(model, alias)
        for task in alias_store.waiting(unit.connection, model, alias):
            if task.get("only_if", at) == at:
                at = int(task["version"])
        self._keep(unit, name, model, alias, at)
        return at

    @staticmethod
    def _keep(unit: Unit, name: str, model: str, alias: str, at: int | None) -> None:
        """Write down where an alias is; that it is gone only where it was seen before, and once."""
        if at is None:
            if alias_store.seen(unit.connection, name, model, alias) in (None, alias_store.GONE):
                return
            text = f"The alias “{alias}” of {model} was removed: it is followed again when it is back."
            rollout_store.note(unit, name, "alias", text)
        alias_store.keep(unit, name, model, alias, at)

    def trouble(self, name: str, error: MLInfraError) -> None:
        """Note, once, why a moved alias began nothing."""
        if self._troubles.get(name) != error.message:
            self._troubles[name] = error.message
            log.warning("%s: the alias was moved, but no rollout begins: %s", name, error.message)
