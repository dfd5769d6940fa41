"""Reproducing: look what stands in the way, do each job again once, compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

from mlinfra_lab.errors import Invalid, NotFound, from_failure
from mlinfra_lab.jobs import conditions, options
from mlinfra_lab.reproduce import compare, plan
from mlinfra_lab.schema.jobs import JOB_ENDED, Conditions, Job, JobProgress
from mlinfra_lab.schema.lineage import Compared, ReproduceReport, Reproduction, Verdict
from mlinfra_lab.schema.models import ModelVersion
from mlinfra_lab.schema.runs import LoggedModel, Run
from mlinfra_lab.storage.unit import new_id

if TYPE_CHECKING:
    from mlinfra_lab.project import Project

WORK = "mlinfra_lab.reproduce.work:answers"
_WORST: tuple[Verdict, ...] = ("different", "nothing", "planned", "equal", "identical")


class Tell(Protocol):
    """Is told how far it is; ``line`` is one finished step."""

    def __call__(self, label: str, done: float = 0, total: float | None = None, line: str = "") -> None:
        """Say it."""


class Question(msgspec.Struct, kw_only=True):
    """What a reproduced model is asked in a task worker.

    Attributes
    ----------
    model
        The original, ``name/version``.
    logged
        Id of the model that the reproduction logged.
    predictions
        Whose captured rows it is asked; without any it is asked its input example.
    """

    model: str
    logged: str
    predictions: list[str] = []


@dataclass
class _Training:
    target: plan.Target
    report: Reproduction
    conditions: Conditions


def reproduce(
    project: Project,
    ids: Sequence[str],
    *,
    again: bool = False,
    dry_run: bool = False,
    within: float = 1e-9,
    env: Mapping[str, str] | None = None,
    effects: bool = False,
    tell: Tell | None = None,
) -> ReproduceReport:
    """Do again what led to some things; see `Project.reproduce`."""
    say: Tell = tell or (lambda label, done=0, total=None, line="": None)
    if not ids:
        raise Invalid("Nothing was named that could be reproduced.", "Name a prediction or a model version.")
    if not 0 <= within < 1:
        raise Invalid(f"Numbers cannot be equal within {within!r}.", "Give a small number, like 1e-9, or 0.")
    given = options.variables(env)
    say("looking up what led to it")
    trainings = [
        _Training(target, *plan.describe(project, target, given, effects))
        for target in plan.targets(project, ids)
    ]
    if not again:
        for one in trainings:
            one.report = _with_reused(project, one)
    if dry_run:
        return _whole(ids, [one.report for one in trainings])
    _refuse(trainings)
    for one in trainings:
        _check_out(project, one, say)
    for one in trainings:
        _submit(project, one, given, say)
    return _whole(ids, [_finish(project, one, within, say) for one in trainings])


def _with_reused(project: Project, one: _Training) -> Reproduction:
    """Name a reproduction that was made in the same environment, or that is on its way."""
    report = one.report
    for job in project.jobs.caused(conditions.CAUSE + report.job):
        made = job.state == one.target.job.state and job.environment == report.present
        if job.state not in JOB_ENDED or made:
            # What stood in the way of doing it does not any more, for it is done.
            text = "was done again already" if job.state in JOB_ENDED else "is being done again"
            return msgspec.structs.replace(report, reproduction=job.id, reused=True, problems=(), text=text)
    return report


def _refuse(trainings: Sequence[_Training]) -> None:
    problems = [problem for one in trainings for problem in one.report.problems]
    if not problems:
        return
    error = from_failure(problems[0])
    more = len(problems) - 1
    hint = f"{error.hint or ''} {more} more: --dry-run lists all." if more else error.hint
    raise type(error)(error.message, hint, {"problems": [msgspec.to_builtins(one) for one in problems]})


def _check_out(project: Project, one: _Training, say: Tell) -> None:
    if one.report.reused:
        return
    for ref in one.report.data:
        say(f"checking out {ref}")
        opened = project.data.checkout(ref)
        say(f"checked out {ref}", line=f"{ref}: {len(opened.files)} files at {opened.path}")


def _submit(project: Project, one: _Training, env: Mapping[str, str], say: Tell) -> None:
    report = one.report
    if report.reproduction is None:
        ref = project.jobs.repeat(
            report.job, cause=conditions.CAUSE + report.job, env=env, conditions=one.conditions
        )
        one.report = msgspec.structs.replace(report, reproduction=ref.id)
        say(f"job {ref.id}", line=f"job {report.job} ({report.notebook}) runs again as {ref.id}")
    else:
        say(f"job {report.reproduction}", line=f"job {report.job} {report.text} as {report.reproduction}")


def _finish(project: Project, one: _Training, within: float, say: Tell) -> Reproduction:
    report = one.report
    assert report.reproduction is not None

    def progress(job: Job, cells: JobProgress | None) -> None:
        if cells is None or not cells.times:
            say(f"{job.id}: {'waiting for its turn' if job.state == 'queued' else 'starting'}")
        else:
            say(f"{job.id}: cell {cells.times[-1].index + 1} of {cells.cells}", cells.done, cells.cells)

    now = project.jobs.wait(report.reproduction, on_progress=progress)
    say(f"job {now.id} {now.state}", line=f"job {now.id} {now.state}")
    compared = _compare(project, one, now, say)
    verdict, apart, first, text = compare.verdict(compared, within)
    with project.storage.unit(project.actor) as unit:
        detail = {"verdict": verdict, "text": text, "within": apart}
        unit.link("job", report.job, "job", now.id, "reproduces", detail)
        unit.changed("job", report.job, "updated")
        asked = list(report.predictions or report.models)
        unit.audit("reproduce", "job", report.job, detail | {"job": now.id, "for": asked})
    if report.reused:
        text += " (reproduced before)"
    say(text, line=f"job {report.job}: {text}")
    return msgspec.structs.replace(
        report, verdict=verdict, within=apart, first=first, compared=tuple(compared), text=text
    )


# -- comparing ----------------------------------------------------------------------------------------


def _compare(project: Project, one: _Training, now: Job, say: Tell) -> list[Compared]:
    then = one.target.job
    found = []
    ended = compare.value("job", "", _ending(then), _ending(now))
    if not ended.same or then.state != "succeeded":
        found.append(ended)
    if not ended.same:
        return found
    read = plan.reads(project.lineage.into("job", now.id))
    if read or one.report.data:
        found.append(compare.value("data", "", list(one.report.data), read))
    if len(then.runs) != len(now.runs):
        found.append(compare.value("runs", "", len(then.runs), len(now.runs)))
    for old, new in zip(then.runs, now.runs, strict=False):
        found += _compare_runs(project, old, new, several=len(then.runs) > 1)
    questions, unlogged = _questions(project, one, now)
    found += unlogged
    if questions:
        say("asking the reproduced models")
        task = project.tasks.submit(
            WORK,
            new_id("reproduce:"),
            {"job": now.id, "questions": msgspec.to_builtins(questions)},
            list[Compared],
        )
        found += task.wait(report=lambda progress: say(progress.label, progress.done, progress.total))
    return found


def _ending(job: Job) -> str:
    return f"{job.state}: {job.error.message}" if job.error is not None else job.state


def _compare_runs(project: Project, old: str, new: str, several: bool) -> list[Compared]:
    then, now = _run(project, old), _run(project, new)
    if then is None or now is None:
        # Somebody deleted it: its metrics are not known any more.
        there = [None if run is None else "there" for run in (then, now)]
        return [compare.value("runs", old, *there, counts=False)]
    found = [
        *compare.parameters(then.params, now.params),
        *compare.metrics(then.metrics, now.metrics),
    ]
    if not several:
        return found
    return [msgspec.structs.replace(one, name=f"{then.name}: {one.name}") for one in found]


def _run(project: Project, id: str) -> Run | None:
    try:
        return project.runs.get(id)
    except NotFound:
        return None


def _questions(project: Project, one: _Training, now: Job) -> tuple[list[Question], list[Compared]]:
    """Which reproduced model stands for which version; and those that were not logged this time."""
    questions, unlogged = [], []
    for ref, version in one.target.models.items():
        name, logged = _counterpart(project, one.target.job, now, version)
        if logged is None:
            unlogged.append(compare.value("model", ref, f"logged as {name}", None))
        else:
            asked = one.target.predictions.get(ref, [])
            questions.append(Question(model=ref, logged=logged.id, predictions=asked))
    return questions, unlogged


def _counterpart(
    project: Project, then: Job, now: Job, version: ModelVersion
) -> tuple[str, LoggedModel | None]:
    run = project.models.logged_by(version)
    if run not in then.runs:
        return version.source, None
    place = then.runs.index(run)
    before = project.runs.logged_models(run)
    source = next(
        (one for one in before if one.uri == version.source or version.source.endswith(f"/{one.name}")), None
    )
    if source is None or place >= len(now.runs):
        return source.name if source else version.source, None
    same = [one.id for one in before if one.name == source.name].index(source.id)
    after = [one for one in project.runs.logged_models(now.runs[place]) if one.name == source.name]
    return source.name, after[same] if same < len(after) else None


def _whole(ids: Sequence[str], trainings: Sequence[Reproduction]) -> ReproduceReport:
    worst = min((one.verdict for one in trainings), key=_WORST.index)
    apart = [one.within for one in trainings if one.within is not None]
    telling = next(one for one in trainings if one.verdict == worst)
    text = telling.text
    if worst == "equal":
        text = f"equal within {max(apart):.1e}"
    elif worst == "identical":
        text = "identical"
    return ReproduceReport(
        asked=tuple(ids),
        trainings=tuple(trainings),
        verdict=worst,
        within=max(apart) if apart and worst in ("equal", "identical") else None,
        text=text,
    )
