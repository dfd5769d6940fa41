"""What became of the flights: ids that are kept, and the truth that is sent for them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner
from demo_support import Peer, peer

from mlinfra_lab.cli.base import Session
from mlinfra_lab.cli.demo import demo
from mlinfra_lab.demo import asked, flights, traffic, truth
from mlinfra_lab.errors import Failed, NotFound

__all__ = ["peer"]


def test_the_truth_follows_the_traffic(peer: Callable[..., Peer], tmp_path: Path) -> None:
    there = peer()
    file = tmp_path / "demo" / "delay.asked"
    days = {"since": dt.date(2013, 3, 1), "until": dt.date(2013, 3, 4)}
    first = traffic.send(there.url, "secret", **days, limit=1500, file=file)
    second = traffic.send(there.url, "secret", [3], since=dt.date(2013, 3, 8), limit=700, file=file)
    assert len(there.rows) == first.rows + second.rows == 2200
    ids = asked.read(file)
    assert sum(map(len, ids.values())) == 2200
    assert file.stat().st_mode & 0o777 == 0o600

    told: list[tuple[int, int]] = []
    there.unknown = {first.first}
    sent = truth.send(there.url, "secret", file, **days, batch=600, report=lambda *at: told.append(at))
    happened = flights.truth(**days)
    expected = [(id, late) for flight, late in happened.items() for id in ids.get(flight, ())]
    assert there.truths == [one for one in expected if one[0] != first.first]
    assert sent.answers == 1500
    assert (sent.accepted, sent.unknown) == (len(expected) - 1, 1)
    assert sent.never_arrived == 1500 - len(expected) > 0
    assert sent.late == pytest.approx(sum(late for _, late in expected) / len(expected))
    assert there.sizes == [600, 600, len(expected) - 1200]
    assert told[-1] == (len(expected), len(expected))
    # Truths are the classes as the template trains on them: numbers, not booleans.
    assert {type(late) for _, late in there.truths} == {int}


def test_a_flight_that_was_asked_twice_has_one_truth_for_both(
    peer: Callable[..., Peer], tmp_path: Path
) -> None:
    there = peer()
    for _ in range(2):
        traffic.send(there.url, "t", [3], limit=40, file=tmp_path / "ids")
    assert truth.send(there.url, "t", tmp_path / "ids", [3]).answers == 80
    assert len(there.truths) == len({id for id, _ in there.truths})


def test_truth_without_traffic(peer: Callable[..., Peer], tmp_path: Path) -> None:
    there = peer()
    file = tmp_path / "demo" / "delay.asked"
    with pytest.raises(NotFound, match=r"delay\.asked is missing") as caught:
        truth.send(there.url, "t", file, [3])
    assert "demo traffic" in (caught.value.hint or "")
    traffic.send(there.url, "t", [3], limit=10, file=file)
    with pytest.raises(NotFound, match="None of these flights was asked"):
        truth.send(there.url, "t", file, [4])
    file.write_text("")
    with pytest.raises(NotFound, match="is empty"):
        truth.send(there.url, "t", file, [3])
    assert there.truths == []


def test_an_endpoint_that_takes_no_truth(peer: Callable[..., Peer], tmp_path: Path) -> None:
    missing = (404, {"code": "not_found", "message": "There is nothing at /delay/ground-truth."})
    there = peer([(200, None), missing])
    traffic.send(there.url, "t", [3], limit=1, file=tmp_path / "ids")
    with pytest.raises(NotFound, match="takes no truth"):
        truth.send(there.url, "t", tmp_path / "ids", [3])


def test_truth_that_cannot_be_kept(peer: Callable[..., Peer], tmp_path: Path) -> None:
    full = (507, {"code": "not_captured", "message": "The disk is full.", "hint": "Make room."})
    there = peer([(200, None), full])
    traffic.send(there.url, "t", [3], limit=1, file=tmp_path / "ids")
    with pytest.raises(Failed, match="disk is full"):
        truth.send(there.url, "t", tmp_path / "ids", [3])


def test_a_request_that_was_torn_by_a_kill_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "ids"
    writer = asked.Asked(file)
    writer.add([7, 8], ["delay.1.1.0", "delay.1.1.1"])
    writer.close()
    whole = file.read_bytes()
    file.write_bytes(whole + b'[[9],["del')
    assert asked.read(file) == {7: ["delay.1.1.0"], 8: ["delay.1.1.1"]}
    again = asked.Asked(file)
    again.add([9], ["delay.1.1.2"])
    again.close()
    assert asked.read(file) == {7: ["delay.1.1.0"], 8: ["delay.1.1.1"], 9: ["delay.1.1.2"]}
    file.write_bytes(b"x" * 200_000)
    again = asked.Asked(file)
    again.add([9], ["delay.1.1.2"])
    again.close()
    assert asked.read(file) == {9: ["delay.1.1.2"]}


def test_somebody_else_s_file_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "ids"
    for text in ("hello\n", "[[1],[2]]\n", '[[1,2],["a"]]\n'):
        file.write_text('[[1],["delay.1.1.0"]]\n' + text)
        with pytest.raises(Failed, match="line 2"):
            asked.read(file)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("truth", "Say which flights"),
        ("traffic --from 07-01", "Say which flights"),
        ("traffic --from 04-31 --until 05-01", "'04-31' is no day"),
        ("truth --from 2014-01-01 --until 05-01", "not in 2013"),
        ("truth --from 2013-05-02 --until 05-01", "is after"),
    ],
)
def test_days_that_are_none(words: str, said: str) -> None:
    done = CliRunner().invoke(demo, words.split(), obj=Session(cast(Any, None)))
    assert done.exit_code == 2
    assert said in done.output
