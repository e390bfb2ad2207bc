"""Laws of the options of background tasks, and of their records, under random programs."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import attrs
import pytest
from hypothesis import event, example, given, settings, strategies as st
from programs import NEVER, Planned, in_virtual_time
from programs_tasks import (
    OVERLAPS,
    TOKEN,
    Cancel,
    Player,
    Program,
    Trigger,
    World,
    programs,
)

from actorstate.exceptions import TooManyTasksError

TWICE = {
    overlap: Program((Trigger(0, overlap, 2, cleanup=1), Trigger(1, overlap, 2)))
    for overlap in OVERLAPS
}
TOO_MANY = Program((Trigger(0, "allow", 2), Trigger(0, "queue", 2), Trigger(1, "skip", 2)), 2)
PROGRESS = ("begin", "step", "block", "written", "done")


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)  # programs fail on purpose, often


def examples(times: float) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return settings(max_examples=int(times * settings().max_examples))


def play(program: Program) -> Player:
    player = Player(program)
    in_virtual_time(player.play)
    assert {type(error) for error in player.errors} <= {Planned, TooManyTasksError}
    return player


def _spared(world: World, *overlaps: str) -> list[int]:
    """Give the triggers that nobody told to end, and that were not refused."""
    told = world.cancelled.keys() | world.stopped
    return [index for index in world.triggers(*overlaps) if index not in told]


# ---- overlap ------------------------------------------------------------------------------------


@examples(2)
@given(programs(), st.random_module())
@example(TWICE["skip"], None)
@example(TWICE["replace"], None)
@example(TWICE["queue"], None)
def test_law_with_skip_replace_and_queue_there_are_never_two_at_once(
    program: Program, schedule: object
) -> None:
    world = play(program).world
    for overlap in ("skip", "replace", "queue"):
        running: int | None = None
        for entry in world.entries:
            if world.program.moves[entry.index].overlap != overlap:
                continue
            if entry.what == "begin":
                assert running is None
                running = entry.index
            elif entry.what == "end":
                assert running == entry.index
                running = None


@examples(2)
@given(programs(), st.random_module())
@example(TWICE["queue"], None)
def test_law_with_allow_and_queue_each_one_runs_to_its_end_and_those_that_queue_in_order(
    program: Program, schedule: object
) -> None:
    world = play(program).world
    for index in _spared(world, "allow", "queue"):
        assert world.happened(index, "done")
    begun = [entry.index for entry in world.entries if entry.what == "begin"]
    assert max(Counter(begun).values(), default=1) == 1
    triggered = world.triggers("queue")
    queued = [index for index in begun if index in triggered]
    assert queued == [index for index in triggered if index in queued]


@examples(2)
@given(programs(), st.random_module())
@example(TWICE["skip"], None)
def test_law_with_skip_one_begins_at_once_or_never_because_another_one_runs(
    program: Program, schedule: object
) -> None:
    world = play(program).world
    skips = world.triggers("skip")
    runs = [
        (world.known(index, "begin"), world.known(index, "end"))
        for index in skips
        if world.happened(index, "begin")
    ]
    for index in _spared(world, "skip"):
        sent, asked = world.known(index, "sent"), world.known(index, "asked")
        if world.happened(index, "begin"):  # it begins at once, and goes on alone
            assert world.moment(index, "begin") == asked
            assert world.happened(index, "done")
        else:
            event("skipped")
            assert any(begin <= asked and sent <= end for begin, end in runs)


@examples(2)
@given(programs(), st.random_module())
@example(TWICE["replace"], None)
def test_law_with_replace_the_last_one_runs_to_its_end_and_those_before_it_go_no_further(
    program: Program, schedule: object
) -> None:
    world = play(program).world
    replaces = world.triggers("replace")
    for before, after in pairwise(replaces):
        # The one before goes no further, whether it has begun or not.
        for entry in world.entries:
            if entry.index == before and entry.what in PROGRESS:
                assert entry.time <= world.known(after, "asked")
        if not world.happened(before, "done"):
            event("replaced")
    for last in _spared(world, "replace"):
        if last == replaces[-1]:
            assert world.happened(last, "done")


@examples(2)
@given(programs(), st.random_module())
def test_law_what_is_cancelled_goes_no_further_and_what_is_stopped_ends_its_block(
    program: Program, schedule: object
) -> None:
    world = play(program).world
    for index, moment in world.cancelled.items():
        for entry in world.entries:
            if entry.index == index and entry.what in PROGRESS:
                assert entry.time <= moment
                event("cancelled")
    for index in world.stopped - world.cancelled.keys():
        has_begun = world.happened(index, "block")
        # One that replaces it is not that patient.
        if world.trigger(index).overlap != "replace" and has_begun:
            assert world.happened(index, "written")
            event("stopped in or after a block")


@examples(4)
@given(programs(), st.random_module())
@example(TOO_MANY, None)
def test_law_no_more_tasks_run_than_may_and_those_beyond_are_refused(
    program: Program, schedule: object
) -> None:
    player = play(program)
    world, running = player.world, 0
    for entry in world.entries:
        running += {"begin": 1, "end": -1}.get(entry.what, 0)
        assert running <= program.max_tasks
    for index in world.refused:
        event("refused")
        assert not world.happened(index, "begin")
        assert _may_be_there(world, index) >= program.max_tasks
    # Their page is told of each; and of which event, if that was for the task itself.
    assert {failure.code for failure in player.page.failures} <= {"too_many_tasks"}
    numbers = [failure.seq for failure in player.page.failures]
    by_event = [index for index in world.refused if not world.trigger(index).is_chained]
    assert sorted(seq - 1 for seq in numbers if seq is not None) == sorted(by_event)
    assert numbers.count(None) == len(world.refused) - len(by_event)


def _may_be_there(world: World, index: int) -> int:
    """Count the tasks that may have been there when one was refused.

    Ties are counted in, and so is what the actor had not come to when the event was sent.
    """
    sent, asked = world.known(index, "sent"), world.known(index, "asked")
    return sum(
        world.known(other, "asked") <= asked
        and (not world.happened(other, "end") or sent <= world.known(other, "end"))
        for other in world.triggers(*OVERLAPS)
        if other != index
    )


# ---- records ------------------------------------------------------------------------------------

LEFT = Program(
    (Trigger(0, "allow", 2), Trigger(0, "queue", 2), Trigger(0, "queue", 2, is_chained=True))
)


@examples(5)
@given(
    programs(max_tasks=100, ties=False),
    st.integers(0, 8),
    st.sampled_from([0, NEVER]),
    st.random_module(),
)
@example(LEFT, 1, NEVER, None)
@example(LEFT, 1, 0, None)
def test_law_the_snapshot_has_the_tasks_that_were_asked_for_and_have_not_ended(
    program: Program, moment: int, shutdown_timeout: float, schedule: object
) -> None:
    player = Player(program, shutdown_timeout=shutdown_timeout)
    in_virtual_time(player.play_until, moment + 0.5)  # between two moves, so there are no ties
    snapshot = in_virtual_time(player.store.peek, TOKEN)
    recorded: list[Any] = [record.args[0] for record in snapshot.tasks] if snapshot else []
    expected = _unfinished(player.world)
    assert sorted(recorded) == sorted(expected)
    event(f"{min(len(recorded), 3)} records")
    # In another app they run again, as if they had just been asked for.
    entries = in_virtual_time(player.play_on)
    begun = [entry.index for entry in entries if entry.what == "begin"]
    assert sorted(begun) == sorted(expected)
    assert all(player.world.happened(index, "done") for index in expected)
    snapshot = in_virtual_time(player.store.peek, TOKEN)
    assert snapshot is None or snapshot.tasks == ()


def _unfinished(world: World) -> list[int]:
    ended = world.cancelled.keys() | world.stopped
    unfinished = [
        index
        for index in world.triggers(*OVERLAPS)
        if not world.happened(index, "done") and index not in ended
    ]
    replaces = world.triggers("replace")
    return [
        index
        for index in unfinished
        if (world.trigger(index).overlap != "skip" or world.happened(index, "begin"))
        and (index not in replaces or index == replaces[-1])
    ]


# ---- what the laws are about does happen --------------------------------------------------------


def test_each_overlap_goes_its_own_way() -> None:
    ways = {overlap: play(program).world for overlap, program in TWICE.items()}
    begins = {word: [way.moment(0, "begin"), way.moment(1, "begin")] for word, way in ways.items()}
    assert begins == {"allow": [0, 1], "skip": [0, None], "replace": [0, 2], "queue": [0, 3]}
    assert not ways["replace"].happened(0, "done")


def test_a_program_has_too_many_tasks() -> None:
    assert play(TOO_MANY).world.refused == {2}


def test_a_program_leaves_records() -> None:
    player = Player(LEFT)
    in_virtual_time(player.play_until, 0.5)
    snapshot = in_virtual_time(player.store.peek, TOKEN)
    assert snapshot is not None
    assert [record.args for record in snapshot.tasks] == [(0,), (1,), (2,)]


def test_a_program_cancels_what_waits() -> None:
    cancelled = attrs.evolve(LEFT, moves=(*LEFT.moves, Cancel(1, "queue", "event")))
    world = play(cancelled).world
    assert [world.happened(index, "done") for index in range(3)] == [True, False, False]
