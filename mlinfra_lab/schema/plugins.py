"""What can be chosen by name behind the doors of `mlinfra_lab.plugins`."""

from __future__ import annotations

from mlinfra_lab.schema.common import JSON, Wire


class Plugin(Wire, frozen=True, kw_only=True):
    """One choice behind a door.

    Attributes
    ----------
    door
        The entry-point group.
    id
        The name it is chosen by.
    label
        What people call it; the id while the plugin is broken.
    package
        ``name version`` of the package that brings it.
    config
        JSON schema (draft 2020-12) of its keys; ``None`` while the plugin is broken.
    error
        Why it cannot be used.
    """

    door: str
    id: str
    label: str
    package: str
    config: JSON | None = None
    error: str | None = None
