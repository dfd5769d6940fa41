"""Jobs."""

from __future__ import annotations

from pathlib import Path, PurePath

from mlinfra_lab import humane
from mlinfra_lab.cli import view as v
from mlinfra_lab.cli.base import Listing
from mlinfra_lab.schema.jobs import JOB_ENDED, Job, JobDetail, JobProgress, Parameter


def title(job: Job) -> str:
    """What a person calls a job: its notebook without folder and ending."""
    return PurePath(job.notebook).stem


def exit_code(job: Job) -> int | None:
    """What ``--wait`` ends with: the job's own code, 1 for one that ended without (cancelled, lost)."""
    if job.exit_code is not None or job.state not in JOB_ENDED:
        return job.exit_code
    return 0 if job.state == "succeeded" else 1


def jobs(found: Listing[Job], _root: Path | None = None) -> v.Table:
    """A row for each job, newest first."""
    return v.Table(
        (v.Column("Job"), v.Column("State"), v.Column("Notebook"), v.Column("Parameters", optional=True),
         v.Column("Took", right=True), v.Column("Asked for")),
        [(v.text(job.id), v.state(job.state), v.Cell(title(job), job.notebook, strong=True),
          v.Cell(v.pairs(job.parameters, 48), v.value(job.parameters).exact, dim=True), _took(job),
          v.when(job.created)) for job in found],
        empty=found.empty,
    )  # fmt: skip


def job(one: Job, _root: Path | None = None) -> v.Card:
    """A job without its progress."""
    return v.Card(
        "Job", title(one), v.state(one.state), id=one.id, facts=tuple(_facts(one)), parts=tuple(_error(one))
    )


def jobdetail(detail: JobDetail, _root: Path | None = None) -> v.Card:
    """A job with progress, metrics, the failed cell and the end of its log."""
    one = detail.job
    parts: list[v.Table | v.Code | v.Problem | v.Bar | v.Graph] = []
    if detail.progress is not None and one.state not in ("queued", "succeeded"):
        parts.append(bar(detail.progress))
    parts += _error(one)
    if detail.metrics:
        rows = [(v.text(name), v.number(value)) for name, value in sorted(detail.metrics.items())]
        parts.append(v.Table((v.Column("Metric"), v.Column("Value", right=True)), rows))
    cell = (one.error.detail or {}) if one.error is not None else {}
    if cell.get("source"):
        parts.append(v.Code(str(cell["source"]), title="The cell that failed"))
        parts.append(v.Code("\n".join(cell.get("traceback") or ()), title="Its traceback"))
    elif detail.log.strip() and one.state != "succeeded":
        parts.append(v.Code(_tail(detail.log, 20), title="The end of its log"))
    facts = _facts(one)
    if detail.progress is not None and one.state == "succeeded":
        facts.insert(1, ("Cells", v.count(detail.progress.done)))
    return v.Card("Job", title(one), v.state(one.state), id=one.id, facts=tuple(facts), parts=tuple(parts))


def bar(progress: JobProgress) -> v.Bar:
    """``cell 3 of 9`` with its share."""
    cells = max(progress.cells, 1)
    at = progress.done if progress.current is None else progress.current + 1
    return v.Bar(progress.done / cells, f"cell {min(max(at, 1), cells)} of {progress.cells}")


def parameters(found: Listing[Parameter], _root: Path | None = None) -> v.Table:
    """What a notebook may be given."""
    return v.Table(
        (v.Column("Parameter"), v.Column("Type"), v.Column("Default"), v.Column("Help", optional=True)),
        [(v.text(one.name, strong=True), v.text(one.type), v.text(one.default), v.text(one.help))
         for one in found],
        empty=found.empty,
    )  # fmt: skip


def _took(job: Job) -> v.Cell:
    return v.took(job.started, job.ended, running=job.state == "running")


def _facts(job: Job) -> list[tuple[str, v.Cell]]:
    facts = []
    if job.parameters:
        facts.append(("Parameters", v.Cell(v.pairs(job.parameters), v.value(job.parameters).exact)))
    if job.started is not None:
        took = _took(job)
        facts.append(("Took" if job.state in JOB_ENDED else "Runs for", took))
    facts += [("Notebook", v.text(job.notebook)), ("Output", v.text(job.output))]
    if job.runs:
        ids = " ".join(job.runs)
        shorts = ", ".join(humane.short(run) for run in job.runs)
        facts.append(("Runs" if len(job.runs) > 1 else "Run", v.Cell(shorts, ids)))
    if job.commit:
        state = ", with changes" if job.dirty else ""
        facts.append(("Commit", v.Cell(job.commit[:7] + state, job.commit)))
    code = exit_code(job)
    if code is not None:
        facts.append(("Exit code", v.text(code)))
    facts += [("Asked for", v.when(job.created)), ("By", v.text(job.cause or job.created_by))]
    return facts


def _error(job: Job) -> list[v.Problem]:
    return [] if job.error is None else [v.Problem(job.error.message, job.error.hint)]


def _tail(log: str, lines: int) -> str:
    kept = log.rstrip().splitlines()
    return "\n".join(kept[-lines:])
