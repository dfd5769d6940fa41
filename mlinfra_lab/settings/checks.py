"""What is wrong with a table of ``mlinfra.toml``: the key, its line, and what is valid there."""

from __future__ import annotations

import difflib
import math
import re
import types
from collections.abc import Iterator
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from mlinfra_lab.errors import InvalidSettings
from mlinfra_lab.settings.parts import NAME, EndpointSettings, Settings, parse_size, parse_span

FILE = "mlinfra.toml"
S = TypeVar("S", bound=msgspec.Struct)


def convert(table: dict[str, Any], kind: type[S], where: tuple[str, ...], text: str) -> S:
    """The table as a Struct."""
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        reason, _, at = str(error).partition(" - at `$.")
        keys = (*where, *re.sub(r"\[.*?\]", "", at.rstrip("`")).split("."))
        raise mistake(keys, text, f"“{'.'.join(keys)}” is wrong: {_in_words(reason)}", _how(keys)) from error


def endpoints(declared: Any, text: str) -> dict[str, EndpointSettings]:
    """Each ``[endpoints.NAME]``, checked; the names themselves are the person's own."""
    if not isinstance(declared, dict):
        hint = "Write [endpoints.NAME] for each one."
        raise mistake(("endpoints",), text, "“endpoints” is no table", hint)
    found = {}
    for name, table in declared.items():
        where = ("endpoints", name)
        if not NAME.match(name):
            raise mistake(where, text, f"“{name}” is no name for an endpoint", "Use a-z, 0-9 and “-”.")
        if not isinstance(table, dict):
            raise mistake(where, text, f"“endpoints.{name}” is no table", f"Write [endpoints.{name}].")
        check_keys(table, EndpointSettings, where, text)
        found[name] = convert(table, EndpointSettings, where, text)
    return found


def _check_endpoint(name: str, endpoint: EndpointSettings) -> Iterator[tuple[str, str, str]]:
    """Key, mistake and hint of what is wrong in one ``[endpoints.NAME]``."""
    window, spans = endpoint.window, "Write it like “7d” or “12h”, or as a number of rows."
    if isinstance(window, int):
        if window < 1:
            yield "window", f"{window} rows are no window", spans
    else:
        try:
            if parse_span(window) % 3600:
                yield "window", f"“{window}” is not in whole hours", spans
        except InvalidSettings as error:
            yield "window", error.message.rstrip("."), spans
    try:
        parse_span(endpoint.cooldown)
    except InvalidSettings as error:
        yield "cooldown", error.message.rstrip("."), str(error.hint)
    steps = endpoint.steps
    rising = all(before < after for before, after in zip((0.0, *steps), steps, strict=False))
    if not (rising and steps and steps[-1] == 1):
        shown = ", ".join(f"{step:g}" for step in steps)
        yield "steps", f"[{shown}] are no steps that rise to 1", "Write them like [0.2, 0.5, 1.0]."
    for key, value in msgspec.structs.asdict(endpoint).items():
        if isinstance(value, float) and not math.isfinite(value):
            yield key, f"{value} is no limit", "Write a number."


def check_values(settings: Settings, text: str) -> None:
    """What the types do not say."""
    for endpoint, table in settings.endpoints.items():
        for key, what, hint in _check_endpoint(endpoint, table):
            where = ("endpoints", endpoint, key)
            raise mistake(where, text, f"“{'.'.join(where)}” is wrong: {what}", hint)
    for part in ("tasks", "jobs", "controller", "pages"):
        for key, value in msgspec.structs.asdict(getattr(settings, part)).items():
            if isinstance(value, float) and not math.isfinite(value):
                what = f"“{part}.{key}” is wrong: {value} is no number of seconds"
                raise mistake((part, key), text, what, _how((part, key)))
    name = settings.project.name
    if name is not None and not (name.strip() and name.isprintable()):
        what = "the project's name is " + ("empty" if not name.strip() else f"no plain text: {name!r}")
        raise mistake(("project", "name"), text, what, "Write a name on one line, or leave it out.")
    body = settings.serving.max_body
    try:
        wrong = None if parse_size(body) > 0 else f"“serving.max_body” is wrong: {body} lets nothing in"
    except InvalidSettings as error:
        wrong = f"“serving.max_body” is wrong: {error.message.rstrip('.')}"
    if wrong:
        raise mistake(("serving", "max_body"), text, wrong, "Write it like “2 GiB” or “500 MB”.")


_KINDS = {
    "int": "a whole number", "float": "a number", "str": "text", "bool": "true or false",
    "object": "a table", "array": "a list", "null": "nothing",
}  # fmt: skip
_EXAMPLES = {
    "int": "Write a whole number without quotes, like {key} = {value}.",
    "float": "Write a number without quotes, like {key} = {value}.",
    "str": 'Write text in quotes, like {key} = "{value}".',
}


def _in_words(reason: str) -> str:
    """Say ``Expected `int | null`, got `str``` as a person does."""

    def kinds(found: re.Match[str]) -> str:
        names = [name for name in found[1].split(" | ") if name != "null"]
        return " or ".join(_KINDS.get(name, name) for name in names)

    words = re.sub(r"`([a-z |]+)`", kinds, reason)
    words = re.sub(r" >= (\S+)", r" of at least \1", re.sub(r" <= (\S+)", r" of at most \1", words))
    words = re.sub(r" > (\S+)", r" of more than \1", words)
    return (words[:1].lower() + words[1:]).removesuffix(".0")


def _how(keys: tuple[str, ...]) -> str:
    """What is valid for a key, with its default for an example."""
    kind: Any = Settings
    default: Any = None
    for key in keys:
        if get_origin(kind) is dict:  # the key is a name
            kind = get_args(kind)[1]
            continue
        table = _struct(kind)
        if table is None:
            break
        default = next((one.default for one in msgspec.structs.fields(table) if one.name == key), None)
        kind = get_type_hints(table).get(key)
    if get_origin(kind) is Literal:
        return f"One of {', '.join(f'“{one}”' for one in get_args(kind))}."
    if kind is bool:
        return f"Write {keys[-1]} = true or {keys[-1]} = false."
    if isinstance(default, tuple):
        return f"Write {keys[-1]} = {list(default) or ['…']}."
    if _struct(kind) is not None or kind is None:
        return f"Write its keys under [{'.'.join(keys)}]."
    plain = next(name for name in ("str", "int", "float") if name in str(kind) or name == "float")
    value = default if isinstance(default, int | float | str) else {"str": "…", "int": 8080}.get(plain, 600)
    return _EXAMPLES[plain].format(key=keys[-1], value=value)


def check_keys(raw: Any, kind: Any, where: tuple[str, ...], text: str) -> None:
    """Complain about a key that a table does not have, naming the nearest one."""
    table = _struct(kind)
    if table is None or not isinstance(raw, dict):
        return
    hints = get_type_hints(table)
    for key, value in raw.items():
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1, cutoff=0.5)
            place = f" in [{'.'.join(where)}]" if where else ""
            hint = f"Did you mean “{near[0]}”?" if near else f"Valid here: {', '.join(sorted(hints))}."
            raise mistake((*where, key), text, f"unknown key “{key}”{place}", hint)
        check_keys(value, hints[key], (*where, key), text)


def _struct(kind: Any) -> type[msgspec.Struct] | None:
    if get_origin(kind) in (Union, types.UnionType):
        kind = next((arg for arg in get_args(kind) if arg is not type(None)), None)
    return kind if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else None


def mistake(keys: tuple[str, ...], text: str, what: str, hint: str) -> InvalidSettings:
    """The error for what stands at a key."""
    line = line_of(text, keys)
    place = f"{FILE}, line {line}" if line else FILE
    return InvalidSettings(f"{place}: {what}.", hint, {"key": ".".join(keys), "line": line})


def line_of(text: str, keys: tuple[str, ...]) -> int | None:
    """Line (from 1) of a key in a TOML text; the table's header when the key is a table."""
    prefix: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if header := re.match(r"\[+\s*([^\]#]+?)\s*\]", stripped):
            prefix = tuple(part.strip(" \"'") for part in header[1].split("."))
            if prefix[: len(keys)] == keys:
                return number
        elif entry := re.match(r"([\w\"'. -]+?)\s*=", stripped):
            name = (*prefix, *(part.strip(" \"'") for part in entry[1].split(".")))
            if name == keys or (name == keys[:-1] and len(keys) > 1 and "{" in stripped):
                return number
    return None
