"""Tickets open a page once, for a minute, and for nobody else."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

from mlinfra_lab.monitoring.pages import Tickets


def test_a_ticket_is_good_once(tmp_path: Path) -> None:
    tickets = Tickets(tmp_path)
    ticket = tickets.make("delay")
    assert tickets.take(ticket) == "delay"
    assert tickets.take(ticket) is None


def test_a_ticket_is_good_for_its_time_only(tmp_path: Path) -> None:
    tickets = Tickets(tmp_path)
    assert tickets.take(tickets.make("delay", seconds=0)) is None


def test_what_is_no_ticket_is_none(tmp_path: Path) -> None:
    tickets = Tickets(tmp_path)
    made = tickets.make("delay")
    for wrong in ("", "x", made[:-1], made + "x", "../" + made, "\0", "é"):
        assert tickets.take(wrong) is None
    assert tickets.take(made) == "delay"


def test_only_the_owner_can_read_it_and_its_name_is_not_it(tmp_path: Path) -> None:
    ticket = Tickets(tmp_path).make("delay")
    (file,) = (tmp_path / "run" / "tickets").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert ticket not in file.name
    assert ticket.encode() not in file.read_bytes()


def test_of_many_at_the_same_moment_one_gets_in(tmp_path: Path) -> None:
    tickets = Tickets(tmp_path)
    for _ in range(20):
        ticket, together, found = tickets.make("delay"), threading.Barrier(8), list[str | None]()

        def take(ticket: str = ticket, together: threading.Barrier = together, found: list = found) -> None:
            together.wait()
            found.append(tickets.take(ticket))

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found, key=str) == [None] * 7 + ["delay"]


def test_old_tickets_are_thrown_away(tmp_path: Path) -> None:
    tickets = Tickets(tmp_path)
    old = tickets.make("delay")
    (file,) = (tmp_path / "run" / "tickets").iterdir()
    os.utime(file, (0, 0))
    tickets.make("delay")
    assert not file.exists()
    assert tickets.take(old) is None
