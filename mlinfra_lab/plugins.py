"""The doors for others: choose one by name.

A door is an entry-point group. Each entry point names a class with

- ``id``, the entry point's own name,
- ``label``, what people call it,
- ``Config``, a `msgspec.Struct` of the keys it understands, whose JSON schema a panel renders as a form,
- the methods the door asks for.

Names are read from the packages' metadata, so that listing them imports nothing. A class is imported
when it is chosen, or when all of them are described. One that is broken is described with its error
and stops nothing else. The built-in choices come in through the same doors.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import Any

import msgspec

from mlinfra_lab.errors import InvalidSettings, Unavailable
from mlinfra_lab.schema.plugins import Plugin

OURS = "mlinfra-lab"


class Door:
    """One entry-point group.

    Parameters
    ----------
    group
        Name of the entry-point group.
    thing
        What is chosen, for messages: ``"cluster backend"``.
    methods
        What a class must have besides ``id``, ``label`` and ``Config``.
    entry_points
        Taken instead of those of the installed packages.
    """

    def __init__(
        self,
        group: str,
        thing: str,
        methods: Sequence[str] = (),
        entry_points: Iterable[metadata.EntryPoint] | None = None,
    ) -> None:
        self.group = group
        self.thing = thing
        self._methods = tuple(methods)
        self._given = None if entry_points is None else list(entry_points)
        self._loaded: dict[str, type[Any]] = {}

    @functools.cached_property
    def _found(self) -> list[metadata.EntryPoint]:
        points = metadata.entry_points(group=self.group) if self._given is None else self._given
        # Ours first: no other package can take a built-in's name. The rest by name, so that which of
        # two packages wins does not depend on the order of the file system.
        unique = {(_package(point), point.name, point.value): point for point in points}
        return sorted(unique.values(), key=lambda point: (not _is_ours(point), point.name, _package(point)))

    @functools.cached_property
    def _chosen(self) -> dict[str, metadata.EntryPoint]:
        chosen: dict[str, metadata.EntryPoint] = {}
        for point in self._found:
            chosen.setdefault(point.name, point)
        return chosen

    def names(self) -> list[str]:
        """What can be chosen; imports none of it."""
        return sorted(self._chosen)

    def describe(self) -> list[Plugin]:
        """Every choice; a broken one with its error. Imports them all."""
        return [self._describe(point) for point in self._found]

    def _describe(self, point: metadata.EntryPoint) -> Plugin:
        plain = Plugin(door=self.group, id=point.name, label=point.name, package=_package(point))
        winner = self._chosen[point.name]
        if winner is not point:
            taken = f"The name “{point.name}” is taken by {_package(winner)}."
            return msgspec.structs.replace(plain, error=taken)
        try:
            cls = self._load(point)
            schema = msgspec.json.schema(cls.Config)
        # Somebody else's module may fail in any way when it is imported.
        except Exception as error:
            return msgspec.structs.replace(plain, error=_reason(error))
        return msgspec.structs.replace(plain, label=cls.label, config=schema)

    def get(self, name: str, where: Sequence[str] = ()) -> type[Any]:
        """The class chosen by ``name``.

        Parameters
        ----------
        where
            Keys that lead to the name in ``mlinfra.toml``, for the message.

        Raises
        ------
        InvalidSettings
            When there is no such choice.
        Unavailable
            When there is, but it is broken.
        """
        if name not in self._chosen:
            near = difflib.get_close_matches(name, self.names(), n=1, cutoff=0.5)
            hint = f"Did you mean “{near[0]}”?" if near else f"There are: {', '.join(self.names())}."
            place = f" in {_table(where[:-1])}" if where else ""
            raise InvalidSettings(f"no {self.thing} “{name}”{place}.", hint, {"key": ".".join(where)})
        point = self._chosen[name]
        try:
            return self._load(point)
        # Somebody else's module may fail in any way when it is imported.
        except Exception as error:
            raise Unavailable(
                f"The {self.thing} “{name}” of {_package(point)} is broken: {_reason(error)}",
                "Mend or uninstall that package, or choose another.",
            ) from error

    def config(self, name: str, values: dict[str, Any], where: Sequence[str] = ()) -> msgspec.Struct:
        """Check what somebody wrote for the choice ``name``.

        Parameters
        ----------
        values
            Keys and values as they stand in ``mlinfra.toml``.
        where
            Keys of the table they stand in, for the message: ``("clusters", "lab")``.

        Returns
        -------
        msgspec.Struct
            The class's ``Config``.

        Raises
        ------
        InvalidSettings
            Naming the key, and the nearest valid one where it is unknown.
        """
        kind: type[msgspec.Struct] = self.get(name, (*where, name)).Config
        valid = [field.encode_name for field in msgspec.structs.fields(kind)]
        for key in values:
            if key not in valid:
                near = difflib.get_close_matches(key, valid, n=1, cutoff=0.5)
                hint = f"Did you mean “{near[0]}”?" if near else f"Valid here: {', '.join(sorted(valid))}."
                raise InvalidSettings(
                    f"unknown key “{key}” in {_table(where)}.", hint, {"key": ".".join((*where, key))}
                )
        try:
            return msgspec.convert(values, kind)
        except msgspec.ValidationError as error:
            raise _wrong(error, where, f"{self.thing} “{name}”") from error

    def _load(self, point: metadata.EntryPoint) -> type[Any]:
        if point.name not in self._loaded:
            cls = point.load()
            self._check(cls, point.name)
            self._loaded[point.name] = cls
        return self._loaded[point.name]

    def _check(self, cls: Any, name: str) -> None:
        if not isinstance(cls, type):
            raise TypeError(f"it is no class but {cls!r}")
        if getattr(cls, "id", None) != name:
            raise TypeError(f"its id is {getattr(cls, 'id', None)!r}, its entry point's name “{name}”")
        if not isinstance(getattr(cls, "label", None), str):
            raise TypeError(f"{cls.__name__} has no label")
        config = getattr(cls, "Config", None)
        if not (isinstance(config, type) and issubclass(config, msgspec.Struct)):
            raise TypeError(f"{cls.__name__}.Config is no msgspec.Struct")
        missing = [method for method in self._methods if not callable(getattr(cls, method, None))]
        if missing:
            raise TypeError(f"{cls.__name__} lacks {', '.join(missing)}")


class Plugins:
    """The doors there are.

    Attributes
    ----------
    cluster_backends
        How Dask clusters come to be; see `mlinfra_lab.clusters.backend.Backend`.
    """

    def __init__(self) -> None:
        self.cluster_backends = Door(
            "mlinfra_lab.cluster_backends",
            "cluster backend",
            ("workers", "environment", "security", "check", "run"),
        )

    def doors(self) -> list[Door]:
        """All doors."""
        return [self.cluster_backends]

    def describe(self) -> list[Plugin]:
        """Every choice behind every door."""
        return [plugin for door in self.doors() for plugin in door.describe()]


def _package(point: metadata.EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "(unknown package)"


def _is_ours(point: metadata.EntryPoint) -> bool:
    return point.dist is not None and point.dist.name.replace("_", "-").lower() == OURS


def _reason(error: Exception) -> str:
    text = str(error).strip().rstrip(".")
    return f"{type(error).__name__}: {text}." if text else f"{type(error).__name__}."


def _table(where: Sequence[str]) -> str:
    return f"[{'.'.join(where)}]" if where else "the settings"


def _wrong(error: msgspec.ValidationError, where: Sequence[str], choice: str) -> InvalidSettings:
    reason, _, at = str(error).partition(" - at `$")
    reason = reason.replace("`", "")
    path = at.rstrip("`").lstrip(".")
    if reason.startswith("Object missing required field "):
        key = reason.rsplit(" ", 1)[1]
        message, hint = f"{_table(where)} lacks “{key}”.", f"The {choice} cannot do without it."
    elif path:
        key = path
        message = f"“{path}” in {_table(where)} is wrong: {reason[:1].lower()}{reason[1:]}."
        hint = f"Correct “{path}”."
    else:
        key = ""
        message, hint = f"{_table(where)} is wrong: {reason}.", "Correct it."
    return InvalidSettings(message, hint, {"key": ".".join((*where, key)) if key else ".".join(where)})
