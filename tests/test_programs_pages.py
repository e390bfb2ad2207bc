"""Laws of pages that come and go: hooks, ``on_load``, and tasks that end with the pages."""

from __future__ import annotations

import logging

import pytest
from hypothesis import event, example, given, settings, strategies as st
from programs import NEVER, in_virtual_time
from programs_pages import Model, Move, Player, Program, programs

COME, GO, START = Move(0, "come"), Move(1, "go"), Move(0, "start")
AWAY = Program((COME, Move(0, "start"), GO, Move(2, "come"), GO, Move(1, "come")), 1.5)
LATE = Program((COME, Move(0, "start"), GO, Move(0, "hold", 3), Move(1, "come")), 1.5)


BRIEF = Program((COME, GO, Move(0, "hold", 3), Move(0, "come"), GO), 1.5)
"""A page comes and goes while the turn is held, and the end of its first absence is noticed."""


RESTART = Move(1, "restart")
RESTARTED = Program((COME, RESTART, Move(1, "come"), Move(0, "start"), RESTART, START), 1.5)
"""A page comes back after a restart, which it does not notice; and does not, after another."""

UNFINISHED = Program(
    (COME, GO, RESTART, Move(2, "come"), GO, Move(2, "start"), RESTART, START), 1.5
)
"""The app is left in an absence, which begins anew; and when the tab is gone, which it stays."""


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


def play(program: Program) -> Player:
    player = Player(program)
    in_virtual_time(player.play)
    return player


@settings(max_examples=5 * settings().max_examples)
@given(programs(), st.random_module())
@example(AWAY, None)
@example(LATE, None)
@example(BRIEF, None)
@example(RESTARTED, None)
@example(UNFINISHED, None)
def test_law_a_tab_is_gone_when_nobody_was_here_for_the_whole_grace_and_its_tasks_with_it(
    program: Program, schedule: object
) -> None:
    player, model = play(program), Model(program)
    hooks = [what for _, what in player.log if not what.startswith("load")]
    # It comes first, and then it goes and comes, and never twice.
    assert hooks == ["connect", "disconnect"] * (len(hooks) // 2) + ["connect"] * (len(hooks) % 2)
    # Each page is loaded once, however often it comes back.
    loads = [what for _, what in player.log if what.startswith("load")]
    assert sorted(set(loads)) == sorted(loads)
    # All of it is when and what the model says.
    assert player.log == model.log
    assert sorted(player.ends) == sorted(model.ends)  # those of one moment begin in any order
    event(f"{min(2, sum(move.kind == 'restart' for move in program.moves))} restarts")
    assert player.staying == model.starts
    # Whoever is here has seen it.
    for client in player.here.values():
        assert client.state["page_root.paging"]["log"] == [list(one) for one in player.log]
    event(f"{min(hooks.count('disconnect'), 2)} disconnects")
    if any(end < NEVER for end in player.ends):
        event("a task went with the pages")


def test_pages_come_back_in_time_and_too_late() -> None:
    log = [(0, "connect"), (0, "load 0"), (2.5, "disconnect"), (3, "connect")]
    assert play(AWAY).log == Model(AWAY).log == log
    assert play(AWAY).ends == [2.5]
    assert play(LATE).log == Model(LATE).log == log[:2]  # it came while the turn was held
    assert play(LATE).ends == [NEVER]


def test_an_absence_counts_from_when_it_began_and_not_from_the_one_before() -> None:
    assert (
        play(BRIEF).log == Model(BRIEF).log == [(0, "connect"), (0, "load 0"), (5.29, "disconnect")]
    )


def test_a_restart_is_no_absence_and_ends_none() -> None:
    loaded = [(0, "connect"), (0, "load 0")]
    assert play(RESTARTED).log == Model(RESTARTED).log == [*loaded, (4.5, "disconnect")]
    assert play(RESTARTED).ends == [3, 4.5]
    log = [*loaded, (6.5, "disconnect")]
    assert play(UNFINISHED).log == Model(UNFINISHED).log == log
    assert play(UNFINISHED).ends == []
