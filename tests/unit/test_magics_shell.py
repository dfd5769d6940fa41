"""The magics in a real IPython: results, errors, completion, documentation."""

from __future__ import annotations

import contextlib

import pytest
from cli_samples import ONES
from IPython.core.completer import provisionalcompleter, rectify_completions
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from mlinfra_lab import errors, load_ipython_extension
from mlinfra_lab.cli.base import Listing, Session
from mlinfra_lab.cli.shell import Root
from mlinfra_lab.magics.completion import split
from mlinfra_lab.magics.face import Notebook
from mlinfra_lab.magics.register import _TYPES, NAMES


@pytest.fixture
def shell(project, monkeypatch, tmp_path):
    """An IPython with the magics, in a project."""
    monkeypatch.setenv("MLINFRA_PROJECT", str(project.root))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    shell = InteractiveShell()
    load_ipython_extension(shell)
    yield shell
    shell.history_manager.end_session()


def run(shell, cell):
    """Run a cell; its result, or the exception it ended with."""
    done = shell.run_cell(cell)
    if done.error_in_exec is not None:
        raise done.error_in_exec
    return done.result


def test_the_types_that_are_shown_are_those_that_exist():
    import importlib

    for module, names in _TYPES.items():
        for name in names:
            assert getattr(importlib.import_module(module), name).__module__ == module


def test_a_line_gives_the_value_and_an_assignment_does_too(shell):
    found = run(shell, "%cluster list")
    assert isinstance(found, list) and found[0].name == "local"
    run(shell, "mine = %cluster show local")
    assert shell.user_ns["mine"] == found[0]


def test_variables_and_expressions_stand_in_the_line(shell):
    shell.user_ns["name"] = "local"
    assert run(shell, "%cluster show $name").name == "local"
    assert run(shell, "%cluster show {name.lower()}").name == "local"
    assert run(shell, "%cluster show 'local'").name == "local"


def test_a_bare_line_is_displayed_once(shell):
    with capture_output() as seen:
        run(shell, "%cluster list")
    assert seen.stdout.count("local") >= 1
    assert seen.stdout.count("Backend") == 1


def test_results_have_html_and_text_and_are_plain_inside_of_others(shell):
    for name, value in ONES.items():
        data, _ = shell.display_formatter.format(value)
        if name in ("Parameter", "InitReport", "Written"):
            continue
        assert data["text/html"].startswith("<div"), name
        assert data["text/plain"], name
    data, _ = shell.display_formatter.format(Listing([ONES["Job"]], "Job", ""))
    assert "<table" in data["text/html"]
    nested, _ = shell.display_formatter.format([ONES["Job"]])
    assert "text/html" not in nested and nested["text/plain"].startswith("[Job(id=")


def test_errors_are_message_and_hint_and_can_be_caught_by_class(shell):
    with capture_output() as seen, pytest.raises(errors.NotFound):
        run(shell, "%job show jnope")
    assert "There is no job jnope." in seen.stdout and "hint: See `mlinfra job list`." in seen.stdout
    assert "Traceback" not in seen.stdout and "register.py" not in seen.stdout
    assert len(seen.stdout.strip().splitlines()) == 2


@pytest.mark.parametrize(
    "line",
    ["%job run", "%job nope", "%job list --nope", "%job run 'a", "%runs compare one", "%cluster scale a x"],
)  # fmt: skip
def test_wrong_usage_fails_the_cell_and_says_where_to_read(shell, line):
    with capture_output() as seen, pytest.raises(errors.Invalid):
        run(shell, line)
    assert "Traceback" not in seen.stdout
    assert "hint: " in seen.stdout


def test_the_cell_stops_at_the_error(shell):
    with capture_output(), contextlib.suppress(errors.MLInfraError):
        run(shell, "%job show jnope\nafter = 1")
    assert "after" not in shell.user_ns


@pytest.mark.parametrize("line", ["%job", "%job run --help"])
def test_help_is_printed_in_the_notebooks_words(shell, line):
    with capture_output() as seen:
        assert run(shell, line) is None
    assert "Usage: %job" in seen.stdout
    assert "  %job run train.ipynb" in seen.stdout


@pytest.mark.parametrize("name", NAMES)
def test_question_mark_shows_commands_and_examples(shell, name):
    docs = shell.find_line_magic(name).__doc__
    assert f"Commands:\n  %{name} " in docs and f"Examples:\n  %{name} " in docs
    assert f"result = %{name} " in docs
    assert "\n    " not in docs.partition("Commands:")[0]


def test_json_gives_plain_data(shell):
    found = run(shell, "%cluster list --json")
    assert found[0]["name"] == "local" and type(found) is list


def test_another_project_can_be_named(shell, tmp_path):
    with capture_output(), pytest.raises(errors.NoProject):
        run(shell, f"%cluster list --project {tmp_path}")


def test_stopping_something_where_nobody_can_answer_is_refused(shell, project, monkeypatch):
    project.clusters.start("local")

    def nobody(*_):
        raise EOFError

    monkeypatch.setattr("builtins.input", nobody)
    with capture_output(), pytest.raises(errors.Conflict) as error:
        run(shell, "%cluster stop local")
    assert "--yes" in (error.value.hint or "")
    assert run(shell, "%cluster stop local --yes").desired is False


def offered(shell, line):
    """What Tab offers: the last words of the line as it would be, the way a kernel asks for them."""
    with provisionalcompleter():
        found = [*rectify_completions(line, shell.Completer.completions(line, len(line)))]
    return [(line[: one.start] + one.text).split(" ")[-1] for one in found]


def test_tab_offers_commands_options_and_names(shell, project):
    (project.root / "nb").mkdir()
    assert offered(shell, "%job r") == ["run"]
    assert offered(shell, "%cluster show l") == ["local"]
    assert offered(shell, "mine = %cluster show l") == ["local"]
    assert offered(shell, "%job run x.ipynb --outp") == ["--output"]
    assert offered(shell, "%cluster show local --j") == ["--json"]
    assert set(offered(shell, "%model ")) == {"register", "list", "show", "promote"}


def test_tab_offers_notebooks_and_their_parameters(shell, project, monkeypatch):
    from support import write_notebook

    path = write_notebook(project.root / "nb" / "train.ipynb", ["1"], "alpha = 1\nbeta = 2")
    (project.root / "nb" / "data.csv").write_text("")
    assert offered(shell, f"%job run {path.parent}/") == [str(path)]
    assert offered(shell, f"%job run {path} -p ") == ["alpha", "beta"]
    assert offered(shell, f"%job run {path} -p b") == ["beta"]


def test_tab_elsewhere_is_ipythons_own(shell):
    shell.user_ns["somewhere"] = 1
    assert "somewhere" in offered(shell, "somew")
    assert "%cluster" in offered(shell, "%clust")


def test_loading_twice_changes_nothing(shell):
    before = len(shell.Completer.custom_matchers)
    load_ipython_extension(shell)
    assert len(shell.Completer.custom_matchers) == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ([], "")), ("run ", (["run"], "")), ("run nb/a", (["run"], "nb/a")),
        ("run 'my note", (["run", "'my"], "note")), ("run 'a b' ", (["run", "a b"], "")),
    ],
)  # fmt: skip
def test_a_line_is_split_where_it_is_being_typed(text, words):
    assert split(text) == words


def test_every_magic_is_a_command_group(shell):
    for name in NAMES:
        assert name in Root.table


def test_a_project_is_opened_once_for_each_place(shell, project):
    face = Notebook(shell)
    assert Session(face).project is Session(face).project
    assert face.root == project.root
