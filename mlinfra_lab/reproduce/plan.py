"""What would be done again: from ids to jobs, what stands in the way, what differs from then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlinfra_lab import git
from mlinfra_lab.errors import Conflict, Invalid, MLInfraError, NotFound, to_failure
from mlinfra_lab.jobs import conditions, options
from mlinfra_lab.jobs import notebook as reading
from mlinfra_lab.reproduce import cells
from mlinfra_lab.schema.jobs import JOB_ENDED, Conditions, Job
from mlinfra_lab.schema.lineage import CellChange, Change, Edge, Environment, Reproduction
from mlinfra_lab.schema.models import ModelVersion
from mlinfra_lab.schema.tasks import Failure

if TYPE_CHECKING:
    from mlinfra_lab.project import Project

_MOST_FILES = 20


@dataclass
class Target:
    """A job that is to be done again, and what of it was asked for.

    Attributes
    ----------
    models
        By ``name/version``.
    predictions
        By the version that answered.
    """

    job: Job
    models: dict[str, ModelVersion] = field(default_factory=dict)
    predictions: dict[str, list[str]] = field(default_factory=dict)


def targets(project: Project, ids: Iterable[str]) -> list[Target]:
    """The jobs behind what was asked for, each once.

    Raises
    ------
    NotFound, Invalid
        Naming the id that is unknown, or that nothing of ours made.
    """
    found: dict[str, Target] = {}

    def add(job: str) -> Target:
        row = project.jobs.get(job)
        # Asked for a reproduction, one means what it reproduced.
        row = project.jobs.get(conditions.repeats(row.cause) or row.id)
        return found.setdefault(row.id, Target(row))

    for asked in dict.fromkeys(ids):
        kind, id = project.lineage.named(asked)
        if kind == "job":
            add(id)
        elif kind == "run":
            add(_maker(project, project.runs.get(id).id, f"Run {id}"))
        elif kind == "model":
            _add_model(project, add, project.models.get(id))
        elif kind in ("prediction", "revision"):
            prediction = project.endpoints.prediction(id) if kind == "prediction" else None
            name, number = id.split(".")[:2]
            revision = project.endpoints.revision(name, int(number))
            version = project.models.get(f"{revision.model}/{revision.version}")
            target = _add_model(project, add, version)
            if prediction is not None:
                target.predictions.setdefault(version.ref, []).append(prediction.id)
        else:
            raise Invalid(
                f"“{asked}” is a {kind}: it was not trained.",
                "A prediction, a model version, a run or a job can be reproduced.",
            )
    return list(found.values())


def _add_model(project: Project, add: Callable[[str], Target], version: ModelVersion) -> Target:
    run = project.models.logged_by(version)
    if run is None:
        raise NotFound(
            f"Nobody knows which run made the model version {version.ref}.", _ONLY_JOBS.format(version.name)
        )
    target = add(_maker(project, run, f"Model version {version.ref} is of run {run}, which"))
    target.models[version.ref] = version
    return target


_ONLY_JOBS = "Only what a job made can be made again: train it with `mlinfra job run NOTEBOOK`, register {}."


def _maker(project: Project, run: str, what: str) -> str:
    job = project.jobs.maker(run)
    if job is None:
        raise NotFound(f"{what} was made by no job of this project.", _ONLY_JOBS.format("that"))
    return job


def describe(
    project: Project, target: Target, env: Mapping[str, str], effects: bool
) -> tuple[Reproduction, Conditions]:
    """What would be done for one job, what stands in the way, and what is not as it was.

    Parameters
    ----------
    env
        Variables that are handed on again.
    effects
        Whether the notebook may do again what it does besides training.

    Returns
    -------
    conditions
        Under which it is to run.
    """
    job = target.job
    into = project.lineage.into("job", job.id)
    read = reads(into)
    present = project.lineage.look(job.kernel)
    then = _record(project, job)
    problems, notes = _problems(project, job, read, env), _notes(project, job, read, then)
    changed, does = _cells(project, job)
    if does and not effects:
        listed = ", ".join(f"cell {number} ({word})" for number, word in does)
        problems.append(
            to_failure(
                Conflict(
                    f"{job.notebook} does more than train: {listed}. Run again, it would do that again.",
                    "Say --with-effects (effects=True) to let it.",
                )
            )
        )
    here = conditions.here()
    differs = [
        *_environment(then, present),
        *_machine(job.conditions, here),
        *_clusters(project, into),
        *_code(project, job),
    ]
    wanted = job.conditions or here
    plan = Reproduction(
        job=job.id,
        notebook=job.notebook,
        parameters=job.parameters,
        models=tuple(target.models),
        predictions=tuple(one for ids in target.predictions.values() for one in ids),
        data=tuple(read),
        environment=job.environment,
        present=present.hash if present is not None else None,
        differs=tuple(differs),
        cells=tuple(changed),
        notes=tuple(notes),
        problems=tuple(problems),
        text="would be done again",
    )
    return plan, Conditions(
        cpus=wanted.cpus,
        cores=wanted.cores,
        cpu=wanted.cpu,
        variables=wanted.variables,
        data=tuple(_pins(read)),
    )


def reads(into: Iterable[Edge]) -> list[str]:
    """Dataset versions that a job read, sorted."""
    return sorted(edge.source for edge in into if edge.source_kind == "dataset" and edge.relation == "read")


def _pins(read: Sequence[str]) -> list[str]:
    # Opened by name alone it was the newest then, so of several versions that were read the newest.
    newest: dict[str, int] = {}
    for ref in read:
        name, _, number = ref.rpartition("@")
        newest[name] = max(newest.get(name, 0), int(number))
    return [f"{name}@{number}" for name, number in sorted(newest.items())]


def _record(project: Project, job: Job) -> Environment | None:
    if job.environment is None:
        return None
    try:
        return project.lineage.environment(job.environment)
    except NotFound:
        return None


# -- what stands in the way ---------------------------------------------------------------------------


def _problems(project: Project, job: Job, read: Sequence[str], env: Mapping[str, str]) -> list[Failure]:
    found: list[Failure] = []

    def attempt(what: Callable[[], object]) -> None:
        try:
            what()
        except MLInfraError as error:
            found.append(to_failure(error))

    attempt(lambda: _check_ended(job))
    attempt(lambda: _check_source(project, job))
    attempt(lambda: options.check_kernel(job.kernel))
    attempt(lambda: _check_given(job, env))
    for ref in read:
        attempt(lambda ref=ref: project.data.get(ref))  # type: ignore[misc]
    for edge in project.lineage.into("job", job.id):
        if edge.source_kind == "cluster":
            attempt(lambda edge=edge: _check_cluster(project, edge.source))  # type: ignore[misc]
    return found


def _check_ended(job: Job) -> None:
    if job.state not in JOB_ENDED:
        raise Conflict(f"Job {job.id} has not ended: it is {job.state}.", "Wait for it, then ask again.")


def _check_source(project: Project, job: Job) -> None:
    source, path = project.jobs.kept(job.id), project.jobs.path_of(job.notebook)
    reading.check(reading.read(source), job.parameters, path)
    if not path.parent.is_dir():
        raise NotFound(
            f"The folder {path.parent}, in which job {job.id} ran, is gone.",
            "Make it again, with what the notebook reads in it; `git checkout` may have it.",
        )


def _check_given(job: Job, env: Mapping[str, str]) -> None:
    missing = [name for name in (job.conditions.given if job.conditions else ()) if name not in env]
    if missing:
        named = " ".join(f"--env {name}" for name in missing)
        raise Conflict(
            f"Job {job.id} was given {', '.join(missing)}; values are not kept, for they may be secrets.",
            f"Hand them on again: {named} (env={{…}}).",
        )


def _check_cluster(project: Project, name: str) -> None:
    cluster = project.clusters.get(name)
    if cluster.state not in ("up", "degraded"):
        raise Conflict(
            f"The job computed on cluster “{name}”, which is {cluster.state}.",
            f"mlinfra cluster start {name}",
        )


# -- what is not as it was ----------------------------------------------------------------------------


def _environment(then: Environment | None, now: Environment | None) -> list[Change]:
    if then is None or now is None or then.hash == now.hash:
        return []
    found = []
    for kind, old, new in (
        ("python", then.python, now.python),
        ("platform", then.platform, now.platform),
    ):
        if old != new:
            found.append(Change(kind=kind, name=kind, then=old, now=new))
    before = dict(one.split("==", 1) for one in then.packages)
    after = dict(one.split("==", 1) for one in now.packages)
    found += [
        Change(kind="package", name=name, then=before.get(name), now=after.get(name))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    return found


def _machine(then: Conditions | None, now: Conditions) -> list[Change]:
    if then is None:
        return []
    found = []
    if then.cpu != now.cpu:
        found.append(Change(kind="cpu", name="cpu", then=then.cpu, now=now.cpu))
    if then.cpus != now.cpus:
        found.append(Change(kind="cpus", name="cpus", then=str(then.cpus), now=str(now.cpus)))
    return found


def _clusters(project: Project, into: Iterable[Edge]) -> list[Change]:
    found = []
    for edge in into:
        if edge.source_kind != "cluster" or "workers" not in edge.detail:
            continue
        try:
            connected = project.clusters.get(edge.source).connected
        except MLInfraError:
            continue  # said as a problem
        then, now = f"{edge.detail['workers']} workers", f"{connected} workers"
        if then != now:
            found.append(Change(kind="cluster", name=edge.source, then=then, now=now))
    return found


def _code(project: Project, job: Job) -> list[Change]:
    """Files beside the notebook that are not those of the job's commit."""
    if job.commit is None:
        return []
    files = git.differing(project.root, job.commit, ".py", ".sql", ".R", ".jl")
    return [
        Change(
            kind="code", name=file.relative_to(project.root).as_posix(), then=job.commit[:10],
            now="changed" if file.exists() else None,
        )
        for file in files
        if file.is_relative_to(project.root)
    ][:_MOST_FILES]  # fmt: skip


def _cells(project: Project, job: Job) -> tuple[list[CellChange], list[tuple[int, str]]]:
    try:
        kept = reading.read(project.jobs.kept(job.id))
    except MLInfraError:
        return [], []  # said as a problem
    does = cells.effects(kept)
    try:
        present = reading.read(project.jobs.path_of(job.notebook))
    except MLInfraError:
        return [], does  # said as a note
    return cells.changes(kept, present), does


def _notes(project: Project, job: Job, read: Sequence[str], then: Environment | None) -> list[str]:
    notes = []
    try:
        reading.read(project.jobs.path_of(job.notebook))
    except MLInfraError as error:
        notes.append(f"{error.message} Its kept source is run.")
    if job.state != "succeeded":
        notes.append(f"The job itself {_ENDED.get(job.state, job.state)}.")
    if job.dirty:
        notes.append("The project had changes that were not committed when the job ran; those are not kept.")
    if then is None:
        notes.append("The job has no environment record: whether packages are the same is not known.")
    if job.conditions is None:
        notes.append("The job's numbers of threads were not recorded: they cannot be set again.")
    if not read:
        notes.append("The job opened no dataset version: files that it read are read as they are now.")
    for ref in read:
        try:
            lost = project.data.lost(ref)
        except MLInfraError:
            continue  # said as a problem
        if lost:
            more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
            notes.append(f"DVC's cache has lost {lost[0]}{more} of {ref}: a remote must give them back.")
    return notes


_ENDED = {
    "failed": "failed",
    "cancelled": "was cancelled",
    "timed_out": "ran out of time",
    "lost": "was lost",
}
