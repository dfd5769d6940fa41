"""`make bench`: the figures of the closing notes, each beside what it is compared with, in one run.

Never part of the tests: a busy machine makes a slow figure, not a wrong program. It works on a project
that has been through the demo (`make demo` leaves one in ``.demo/flights``).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nbformat

from mlinfra_lab.project import Project

MLINFRA = str(Path(sys.executable).with_name("mlinfra"))


def seconds(action: Callable[[], object], times: int = 7) -> float:
    """Median wall seconds of an action, after one that does not count."""
    action()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def command(*words: str) -> Callable[[], object]:
    """A command run to its end, its output thrown away."""
    return lambda: subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


def say(name: str, value: float, target: float | None = None, beside: str = "") -> None:
    """One line of the table, in milliseconds."""
    held = (
        ""
        if target is None
        else f"  (target {target * 1000:,.0f} ms: {'held' if value < target else 'MISSED'})"
    )
    print(f"{name:<46} {value * 1000:>9,.1f} ms{held}  {beside}", flush=True)


def shell(project: Path, prediction: str | None) -> None:
    """What a person waits for in the shell."""
    bare = seconds(command(sys.executable, "-c", "pass"), 15)
    ours = seconds(command(sys.executable, "-c", "import mlinfra_lab"), 15)
    say("bare Python", bare)
    say("import mlinfra_lab, over bare Python", ours - bare, 0.030)
    say("mlinfra --help", seconds(command(MLINFRA, "--help")), 0.200, f"bare Python {bare * 1000:.0f} ms")
    say("mlinfra status", seconds(command(MLINFRA, "--project", str(project), "status")), 0.600)
    if prediction:
        show = command(MLINFRA, "--project", str(project), "lineage", "show", prediction)
        say("mlinfra lineage show", seconds(show), 0.600)
        opened = Project(project)
        say("project.lineage.show, inside", seconds(lambda: opened.lineage.show(prediction)), 0.100)
        opened.close()


def jobs(folder: Path, project: Project) -> None:
    """Submit to first cell and to done, beside papermill's own command on the same notebook."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("1 + 1")],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    path = folder / "trivial.ipynb"
    nbformat.write(notebook, path)
    first: list[float] = []

    def submit() -> None:
        start = time.time()
        detail = project.jobs.submit(path).wait(120)
        assert detail.progress is not None
        first.append(detail.progress.times[0].started.timestamp() - start)

    done = seconds(submit, 5)
    theirs = seconds(
        command(sys.executable, "-m", "papermill", str(path), str(folder / "out.ipynb"), "--no-progress-bar"),
        5,
    )
    say("job: submit to first cell", statistics.median(first[1:]))
    say("job: submit to done", done, None, f"papermill's command {theirs:.2f} s, ratio {done / theirs:.2f}")


def serving(project: Project) -> None:
    """Publish to first answer, for the model the demo registered."""
    name = "bench"

    def publish() -> None:
        project.endpoints.publish("flights-delay@champion", name).wait(120)

    say("endpoint: publish to first answer", seconds(publish, 3))
    project.endpoints.stop(name)


def main() -> None:
    """Measure everything there is a project for."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--project", type=Path, default=Path(".demo/flights"))
    options = parser.parse_args()
    if not (options.project / "mlinfra.toml").is_file():
        sys.exit(f"There is no project in {options.project}: run `make demo` first.")
    project = Project(options.project)
    newest = project.endpoints.predictions("delay", 1)
    shell(options.project.resolve(), newest[0].id if newest else None)
    with tempfile.TemporaryDirectory() as folder:
        jobs(Path(folder), project)
    serving(project)


if __name__ == "__main__":
    main()
