"""What Tab offers: names and ids out of the project, notebooks out of the folder.

The same functions serve the shell's completion and that of the magics. Without a project they offer nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from mlinfra_lab.cli.base import Session

if TYPE_CHECKING:
    from mlinfra_lab.project import Project

Items = list[CompletionItem[str]]
Completer = Callable[[click.Context, click.Parameter, str], Items]

_RECENT = 30
_SKIPPED = {"__pycache__", "node_modules"}


def _from(names: Callable[[Project], Iterable[tuple[str, str]]]) -> Completer:
    def complete(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
        from mlinfra_lab.errors import MLInfraError

        session = ctx.find_object(Session)
        if session is None:
            return []
        try:
            found = list(names(session.project))
        except MLInfraError:
            # Half a command line in a place without a project is no error yet; running it will say so.
            return []
        return [CompletionItem(name, help=help) for name, help in found if name.startswith(incomplete)]

    return complete


def _dataset_refs(project: Project) -> Iterable[tuple[str, str]]:
    for one in project.data.list():
        yield one.name, f"version {one.latest.version}"
        for number in range(one.versions, 0, -1):
            yield f"{one.name}@{number}", ""


def _model_refs(project: Project) -> Iterable[tuple[str, str]]:
    for one in project.models.list():
        for alias, number in one.aliases.items():
            yield f"{one.name}@{alias}", f"version {number}"
        for version in one.versions:
            yield version.ref, ", ".join(version.aliases)


def _traceable(project: Project) -> Iterable[tuple[str, str]]:
    for endpoint in project.endpoints.list():
        for prediction in project.endpoints.predictions(endpoint.name, 10):
            yield prediction.id, "prediction"
    yield from _dataset_refs(project)
    yield from _model_refs(project)
    yield from _runs(project)
    yield from _jobs(project)


def _runs(project: Project) -> Iterable[tuple[str, str]]:
    return [(run.id, run.name) for run in project.runs.list(_RECENT)]


def _jobs(project: Project) -> Iterable[tuple[str, str]]:
    return [(job.id, f"{Path(job.notebook).stem}, {job.state}") for job in project.jobs.list(_RECENT)]


dataset_names = _from(lambda project: [(one.name, one.path) for one in project.data.list()])
dataset_refs = _from(_dataset_refs)
clusters = _from(lambda project: [(one.name, one.state) for one in project.clusters.list()])
jobs = _from(_jobs)
runs = _from(_runs)
model_names = _from(lambda project: [(one.name, "") for one in project.models.list()])
model_refs = _from(_model_refs)
alerts = _from(
    lambda project: [(str(one.number), one.message) for one in project.monitoring.alerts()[:_RECENT]]
)
endpoints = _from(lambda project: [(one.name, one.state) for one in project.endpoints.list()])
traceable = _from(_traceable)


def notebooks(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Notebooks and folders that begin like this; folders end with a slash to go on from."""
    folder, _, name = incomplete.rpartition("/")
    prefix = f"{folder}/" if "/" in incomplete else ""
    try:
        entries = sorted(Path(prefix or ".").expanduser().iterdir())
    except OSError:
        return []
    found: Items = []
    for entry in entries:
        if not entry.name.startswith(name) or entry.name in _SKIPPED:
            continue
        if entry.name.startswith(".") and not name.startswith("."):
            continue
        if entry.is_dir():
            found.append(CompletionItem(f"{prefix}{entry.name}/"))
        elif entry.suffix == ".ipynb":
            found.append(CompletionItem(prefix + entry.name))
    return found


def parameters(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Parameters of the notebook that stands earlier on the line."""
    from mlinfra_lab.errors import MLInfraError

    session = ctx.find_object(Session)
    # An option that still lacks its values ends click's parsing before it comes to the arguments.
    notebook = ctx.params.get("notebook") or next(
        (word for word in ctx.args if word.endswith(".ipynb")), None
    )
    if session is None or notebook is None:
        return []
    try:
        found = session.project.jobs.parameters(notebook)
    except MLInfraError:
        return []
    return [
        CompletionItem(one.name, help=one.help or one.default)
        for one in found
        if one.name.startswith(incomplete)
    ]
