"""What happens around a command: laziness, exit codes, errors, pipes, completion."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import write_notebook

from mlinfra_lab.cli.base import Entry, Group, load
from mlinfra_lab.cli.shell import Root, run
from mlinfra_lab.cli.term import colours

MLINFRA = [sys.executable, "-m", "mlinfra_lab"]
HEAVY = ("distributed", "dvc", "IPython", "mlflow", "pandas", "papermill", "rich", "sklearn", "torch")


def commands():
    for name in Root.table:
        command = load(Root.table[name].target)
        if isinstance(command, Group):
            yield from ((f"{name} {one}", child) for one, child in command.commands.items())
        else:
            yield name, command


def imported(*arguments, cwd=None):
    """The modules that are there after a command has run in a process of its own."""
    code = """
import sys
from mlinfra_lab.cli.shell import run
run(sys.argv[1:])
print(*sys.modules, file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, capture_output=True, text=True, check=True
    )
    return set(done.stderr.split()), done.stdout


def test_help_imports_no_command_and_nothing_heavy():
    modules, out = imported("--help")
    assert not modules & {"sqlalchemy", "msgspec", "mlinfra_lab.project", *HEAVY}
    assert not [name for name in modules if name.startswith("mlinfra_lab.cli.") and name.count(".") == 2
                and name not in ("mlinfra_lab.cli.base", "mlinfra_lab.cli.shell")]  # fmt: skip
    for name, entry in Root.table.items():
        assert f"  {name} " in out and entry.help in out


def test_help_answers_at_once():
    def once():
        begun = time.perf_counter()
        subprocess.run([*MLINFRA, "--help"], capture_output=True, check=True)
        return time.perf_counter() - begun

    # The figure is held in tests/bench; here is only told that nobody made it slow by a whole library.
    assert min(once() for _ in range(3)) < 1.0


def test_a_table_costs_no_heavy_import(project):
    modules, _ = imported("status", "--project", str(project.root))
    assert not modules & set(HEAVY)


@pytest.mark.parametrize(("path", "command"), [*commands()])
def test_every_command_says_how_it_is_used(path, command, capsys):
    assert run([*path.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert "--json" in out and "--project DIR" in out
    assert command.help
    assert f"Examples:\n  mlinfra {'' if path == 'deploy' else path}" in out


@pytest.mark.parametrize(("path", "command"), [*commands()])
def test_every_example_can_be_parsed(path, command):
    for example in command.examples:
        name, *words = shlex.split(example)
        found = load(Root.table[name].target)
        context = found.make_context(name, words, resilient_parsing=False)
        if isinstance(found, Group):
            name, child, words = found.resolve_command(context, [*context._protected_args, *context.args])
            child.make_context(name, words, parent=context)


def test_deploy_is_publish():
    assert load(Root.table["deploy"].target) is load("mlinfra_lab.cli.endpoint:publish")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0), (["--version"], 0), (["job", "list"], 0),
        (["jbo"], 2), (["job", "run"], 2), (["job", "list", "--nope"], 2), (["job"], 2),
        (["job", "show", "jnope"], 3), (["data", "show", "nope"], 3),
        (["lineage", "show", "what is this"], 4), (["job", "run", "nb.ipynb", "--env", "A=b"], 4),
        (["runs", "compare", "one"], 2),
    ],
)  # fmt: skip
def test_exit_codes(project, arguments, code, capsys):
    before = [] if arguments[0].startswith("-") else ["--project", str(project.root)]
    assert run([*before, *arguments]) == code
    said = capsys.readouterr()
    assert (code != 0) == bool(said.err)
    assert "Traceback" not in said.err


def test_errors_name_the_thing_and_what_to_do(project, capsys):
    run(["--project", str(project.root), "job", "show", "jnope"])
    assert capsys.readouterr().err == "error: There is no job jnope.\nhint: See `mlinfra job list`.\n"
    run(["jbo"])
    assert "error: There is no command 'jbo'. Did you mean job?" in capsys.readouterr().err


def test_errors_are_json_when_json_was_asked_for(project, capsys):
    assert run(["job", "show", "jnope", "--json", "--project", str(project.root)]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert json.loads(said.err) == {
        "code": "not_found", "message": "There is no job jnope.", "hint": "See `mlinfra job list`.",
        "detail": None,
    }  # fmt: skip
    assert run(["job", "--json"]) == 2


def test_usage_errors_are_json_too(capsys):
    assert run(["job", "run", "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["code"] == "usage"


def test_the_project_may_be_named_anywhere_on_the_line(project, tmp_path, monkeypatch, capsys):
    root = str(project.root)
    for arguments in (["--project", root, "job", "list"], ["job", "--project", root, "list"],
                      ["job", "list", "--project", root]):  # fmt: skip
        assert run([*arguments, "--json"]) == 0
    assert run(["job", "list", "--project", str(tmp_path)]) == 3
    monkeypatch.setenv("MLINFRA_PROJECT", root)
    assert run(["job", "list"]) == 0


def test_the_unexpected_is_one_line_and_a_log(project, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(Root.table, "broken", Entry("cli_samples:broken", "", ""))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run(["broken"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(
        "error: internal: RuntimeError: of a kind that nobody expected\nhint: The traceback is in "
    )
    (log,) = tmp_path.glob("mlinfra-*.log")
    assert str(log) in said
    assert "Traceback" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0


def test_with_a_project_the_log_is_the_projects_own(project, capsys):
    from mlinfra_lab.cli.base import Session
    from mlinfra_lab.cli.report import report
    from mlinfra_lab.cli.shell import Terminal

    session = Session(Terminal(), project.root)
    assert session.project.root == project.root
    assert report(ValueError("nobody expected this"), session) == 1
    session.project.close()
    log = project.state / "logs" / "cli.log"
    assert str(log) in capsys.readouterr().err
    assert "nobody expected this" in log.read_text()


@pytest.mark.parametrize("arguments", [["--help"], ["job", "list", "--json"]])
def test_a_reader_who_has_gone_is_no_error(project, arguments):
    read, write = os.pipe()
    os.close(read)
    env = os.environ | {"MLINFRA_PROJECT": str(project.root)}
    done = subprocess.run([*MLINFRA, *arguments], stdout=write, stderr=subprocess.PIPE, env=env, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_what_stops_things_asks_and_refuses_where_nobody_can_answer(project, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    (project.root / "mlinfra.toml").open("a").close()
    project.clusters.start("local")
    assert run(["down", "--project", str(project.root)]) == 4
    said = capsys.readouterr().err
    assert "cluster local" in said and str(project.root) in said and project.actor in said
    assert "--yes" in said
    assert run(["cluster", "stop", "local", "--project", str(project.root)]) == 4
    assert run(["cluster", "stop", "local", "--yes", "--project", str(project.root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["desired"] is False


@pytest.mark.parametrize(("line", "offered"), [("mlinfra jo", {"job"}), ("mlinfra job ca", {"cancel"})])
def test_completion(line, offered):
    env = os.environ | {
        "_MLINFRA_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1),
    }  # fmt: skip
    done = subprocess.run(MLINFRA, env=env, capture_output=True, text=True, check=True)
    assert {one.split(",")[1] for one in done.stdout.split()} == offered


def test_completion_knows_names_out_of_the_project_and_is_quiet_without_one(project, tmp_path):
    words = "mlinfra cluster show "
    env = os.environ | {"_MLINFRA_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "3"}
    for place, offered in ((project.root, "plain,local"), (tmp_path, "")):
        done = subprocess.run(
            MLINFRA, env=env | {"MLINFRA_PROJECT": str(place)}, capture_output=True, text=True, check=True
        )
        assert (done.stdout.strip(), done.stderr) == (offered, "")


def test_colours_only_where_they_are_wanted(monkeypatch):
    class Screen(io.StringIO):
        def isatty(self):
            return True

    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    assert colours(Screen()) and not colours(io.StringIO())
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert colours(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colours(Screen())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.delenv("FORCE_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not colours(Screen())


@pytest.mark.parametrize("path", ["job run", "cluster start", "endpoint publish"])
@pytest.mark.parametrize("seconds", ["nan", "inf", "0", "-1", "soon"])
def test_a_timeout_is_a_number_of_seconds(path, seconds, capsys):
    words = ["a"] if path != "endpoint publish" else ["a", "--name", "a"]
    assert run([*path.split(), *words, "--timeout", seconds]) == 2
    assert "--timeout" in capsys.readouterr().err


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(project, closed):
    line = f"{shlex.join([*MLINFRA, 'job', 'list', '--project', str(project.root)])} {closed}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [["--help"], ["status", "--json"], ["status"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_said_plainly(project, arguments, unbuffered):
    env = os.environ | {"MLINFRA_PROJECT": str(project.root), "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*MLINFRA, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, env=env, check=False
        )
    assert done.returncode == 1
    assert "tandard output cannot be written: No space left on device." in done.stderr
    assert "internal" not in done.stderr


@pytest.mark.parametrize("more", [[], ["--json"]])
@pytest.mark.parametrize("name", ["sp ace ü.ipynb", "not there ü.ipynb"])
def test_a_name_that_the_locale_cannot_read_is_a_plain_error(project, name, more):
    write_notebook(project.root / "sp ace ü.ipynb", ["1"])
    env = os.environ | {
        "MLINFRA_PROJECT": str(project.root), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0",
    }  # fmt: skip
    command = [*MLINFRA, "job", "run", str(project.root / name), *more]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == (3 if name.startswith("not") else 4), done.stderr
    assert "ace" in done.stderr or "there" in done.stderr
    assert "Traceback" not in done.stderr and "internal" not in done.stderr


def test_a_damaged_database_or_identity_is_named(project, capsys):
    project.close()
    (project.state / "mlinfra.db").write_bytes(b"garbage" * 1000)
    for beside in project.state.glob("mlinfra.db-*"):
        beside.unlink()
    assert run(["status", "--project", str(project.root)]) == 5
    said = capsys.readouterr().err
    assert str(project.state / "mlinfra.db") in said and "hint:" in said and "internal" not in said
    (project.state / "mlinfra.db").unlink()
    (project.state / "identity.json").write_text("{")
    assert run(["status", "--project", str(project.root)]) == 5
    said = capsys.readouterr().err
    assert str(project.state / "identity.json") in said and "hint:" in said and "internal" not in said
    (project.state / "identity.json").unlink()
    assert run(["status", "--project", str(project.root)]) == 0


def test_a_cluster_that_cannot_be_started_is_told_before_somebody_tries(project, capsys):
    with (project.root / "mlinfra.toml").open("a") as file:
        file.write('\n[clusters.odd]\nbackend = "locl"\n')
    assert run(["status", "--project", str(project.root)]) == 0
    assert "locl" in capsys.readouterr().out
    assert run(["cluster", "list", "--project", str(project.root)]) == 0
    said = capsys.readouterr()
    assert "locl" in said.err and "Did you mean “local”?" in said.err
    assert said.out.count("\n") == 3
