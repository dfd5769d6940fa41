"""A trace as a tree of text."""

from __future__ import annotations

from cli_samples import NASTY, edge, node, prediction_trace

from mlinfra_lab.cli.term import Terminal, plain
from mlinfra_lab.cli.tree import as_text
from mlinfra_lab.cli.view import Graph
from mlinfra_lab.schema.lineage import Trace


def test_the_answer_stands_on_top_and_each_step_beneath_it():
    lines = as_text(prediction_trace()).split("\n")
    assert lines[0].startswith("Prediction  delay.7.2.11  prediction [0.62, 0.38]")
    assert lines[1].startswith("└─ Endpoint  delay, revision 7")
    assert lines[2].startswith("   └─ Model version  flights-delay/2  aliases champion")
    assert lines[3].startswith(
        "      └─ Run  logreg-jan-feb  experiment flights · auc 0.7012 · log_loss 0.5153"
    )


def test_every_node_is_told_once_and_then_only_named():
    text = as_text(prediction_trace())
    assert text.count("Job  jabcdefgh") == 2
    assert text.count("months [1, 2], C 0.1") == 1
    assert text.count("Job  jabcdefgh  (see above)") == 1


def test_facts_are_in_words_and_what_is_gone_says_so():
    text = as_text(prediction_trace())
    assert "rows 51,955 · size 1.1 MiB" in text
    assert "There is no commit 0000." in text


def test_long_facts_follow_the_tree():
    shown = Terminal(colour=False, columns=80).draw(Graph(prediction_trace()))
    tree, _, rest = shown.partition("\n\n")
    assert all(len(line) <= 80 for line in tree.split("\n"))
    assert "The cell that made it: cell 8 of nb/train.ipynb\n  log_model(m)" in rest
    assert "What was asked\n  carrier  UA\n  hour     16" in rest


def test_control_characters_of_others_do_not_reach_the_terminal():
    assert NASTY in str(prediction_trace().nodes[0].facts["request"]["note"])
    assert "\x1b" not in plain(Graph(prediction_trace()))
    assert "\x1b" not in Terminal(colour=False).draw(Graph(prediction_trace()))


def test_circles_and_strangers_are_drawn_all_the_same():
    nodes = (node("job", "ja"), node("dataset", "d@1"), node("cluster", "alone"))
    edges = (
        edge(("dataset", "d@1"), ("job", "ja")),
        edge(("job", "ja"), ("dataset", "d@1")),
        edge(("run", "unknown"), ("job", "ja")),
    )
    assert as_text(Trace(nodes=nodes, edges=edges)).split("\n") == [
        "Job  ja",
        "└─ Dataset version  d@1",
        "   └─ Job  ja  (see above)",
        "Cluster  alone",
    ]
