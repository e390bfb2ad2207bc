"""Laws of turns under random interleavings of events, background tasks and others."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import attrs
import jsonpatch
import pytest
from clients import Client
from hypothesis import event, example, given, settings, strategies as st
from programs import (
    EXPECTED,
    LONG,
    NEVER,
    SECRET,
    TOKENS,
    Block,
    DrawnStore,
    Outcome,
    Planned,
    Player,
    Program,
    Script,
    Step,
    Visit,
    in_one_order,
    in_virtual_time,
    programs,
    stored_values,
)

from actorstate import ActorDeadError, Effect, ImmutableStateError, TurnTimeoutError
from actorstate.actors.messages import Failure, Welcome
from actorstate.stores.base import immediate_commit
from actorstate.web.protocol import encode

ONE_YIELD = Program((Script("task", 0, (Block(0, (Step("apply", 1), Step("yield"))),)),))
CROSSING = Program(
    tuple(
        Script("coroutine", 0, (Block(0, (Step("apply", 1), Step("sleep", 1), Step("enter", b))),),
               token=a)
        for a, b in ((0, 1), (1, 2), (2, 0))
    )
)  # fmt: skip
OVERDUE = Program(
    (
        Script("task", 0, (Block(0, (Step("yield"), Step("apply", 1), Step("sleep", 8))),)),
        Script("event", 1, (Block(0, (Step("apply", 2),)),)),
    ),
    turn_timeout=5,
)
DOWN_MEANWHILE = Program(
    (Script("task", 0, (Block(0, (Step("child", 0), Step("apply", 1), Step("yield"))),)),),
    store=(-2,),
)
OVERDUE_BESIDE_A_CHILD = Program(
    (
        Script(
            "task",
            0,
            (Block(0, (Step("sleep", 3), Step("child", 0), Step("sleep", 3))),),
        ),
    ),
    turn_timeout=5,
    flavor="mixed",
)
DOWN_FOR_WHAT_IS_OWED = Program((Script("event", 0, (Block(0, (Step("yield"),)),)),), store=(0, -2))
LEFT_WHILE_IT_IS_SLOW = Program(
    (
        Script("event", 0, (Block(0, ()),), token=2),
        Script("event", 0, (Block(0, ()), Block(0, (Step("enter", 2),)))),
    ),
    store=(2,),
)
DOWN = attrs.evolve(ONE_YIELD, store=(0, -1))


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)  # programs fail on purpose, often


def examples(times: float) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return settings(max_examples=int(times * settings().max_examples))


def _check_serial(player: Player, outcome: Outcome) -> None:
    world, history = player.world, outcome.history
    # A stretch that ended is in the history once; one that raised, was cancelled, took too long or
    # was not stored is not.
    assert sorted(history) == sorted(world.ended[outcome.token] - player.store.failed)
    # What all of them did together is what they do one after the other, in that order.
    assert outcome.value == world.replay(history)
    # Each is one version, and nothing else is.
    assert outcome.version == len(history)
    for client in player.clients[outcome.token]:
        assert client.state == outcome.public
        assert client.version == outcome.version


def _check(player: Player, outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        _check_serial(player, outcome)
    committed = {stretch for outcome in outcomes for stretch in outcome.history}
    assert player.world.concluded <= committed
    assert player.world.faults == []
    # What a committed stretch asked to follow ran once; nothing else did.
    assert sorted(player.world.followed) == sorted(player.world.asked & committed)
    assert player.kinds_of_errors <= set(EXPECTED)
    for client in player.all_clients:
        _check_frames(client)
        assert sum(isinstance(notice, Welcome) for notice in client.notices) == 1
    for kind in player.kinds_of_errors:
        event(kind.__name__)


def _check_frames(client: Client) -> None:
    """Check what goes over the wire: what a browser makes of it, and what it must not see."""
    state: Any = None
    for notice in client.notices:
        frame = encode(notice, "session")
        assert str(SECRET) not in frame
        assert "_secret" not in frame
        read = json.loads(frame)
        if read["t"] == "welcome":
            state = read["state"]
        elif read["t"] == "patch":
            state = jsonpatch.apply_patch(state, read["ops"])
    assert state == client.state or not client.notices


@examples(8)
@given(programs(), st.random_module())
@example(CROSSING, None)
def test_law_every_interleaving_equals_a_serial_order_and_all_clients_see_it(
    program: Program, schedule: object
) -> None:
    player = Player(program)
    _check(player, in_virtual_time(player.play))
    # Every event is acknowledged; those that raised are reported, to their sender alone.
    assert [page.ack for page in player.pages] == player.events
    raised = [context for _, context in player.errors if context.during == "handler"]
    for token in TOKENS:
        failures = [one for page in _pages_of(player, token) for one in page.failures]
        assert {one.code for one in failures} <= {"handler_failed"}
        of_events = sum(one.token == token for one in raised)
        # (One that comes while the page is away is not kept for it.)
        away = token == TOKENS[0] and program.absence is not None
        assert len(failures) == of_events or (away and len(failures) < of_events)
    for client in player.all_clients:
        if client.instance != "page":
            assert not any(isinstance(notice, Failure) for notice in client.notices)


@examples(4)
@given(programs(longest=8, stores=True, timeouts=True), st.random_module())
@example(OVERDUE, None)
@example(DOWN_FOR_WHAT_IS_OWED, None)
@example(OVERDUE_BESIDE_A_CHILD, None)
@example(DOWN, None)
@example(DOWN_MEANWHILE, None)
def test_law_what_took_too_long_or_was_not_stored_leaves_nothing(
    program: Program, schedule: object
) -> None:
    player = Player(program)
    _check(player, in_virtual_time(player.play))
    if program.store == (0,):
        assert player.world.longest <= program.turn_timeout


@examples(2)
@given(programs(), st.random_module())
def test_law_whoever_takes_turns_in_one_order_is_never_refused_for_a_circle(
    program: Program, schedule: object
) -> None:
    player = Player(in_one_order(program))
    _check(player, in_virtual_time(player.play))
    assert player.kinds_of_errors <= {Planned}


@examples(3)
@given(programs(), st.random_module())
@example(ONE_YIELD, None)
@example(attrs.evolve(ONE_YIELD, absence=Visit(0, 1)), None)
def test_law_effects_come_once_in_order_after_their_patch_to_the_page_that_began_it(
    program: Program, schedule: object
) -> None:
    player = Player(program)
    for outcome in in_virtual_time(player.play):
        asked = [stretch for stretch in outcome.history if stretch in player.world.asked]
        pages = _pages_of(player, outcome.token)
        # Wherever the page was meanwhile, it is asked once for what was committed, and no more.
        assert [stretch for page in pages for stretch in _asked_of(page)] == asked
    for client in player.all_clients:
        assert client.instance == "page" or client.effects == []


def _pages_of(player: Player, token: str) -> list[Client]:
    """Give the connections of the page that sends the events to a token, oldest first."""
    before = [client for client in player.left if token == TOKENS[0] and client.instance == "page"]
    return [*before, player.clients[token][0]]


def _asked_of(client: Client) -> list[str]:
    """Give the stretches that a client heard of; each when it had seen what they did."""
    asked: list[str] = []
    replayed = Client()
    for notice in client.notices:
        replayed.send(notice)
        if isinstance(notice, Effect):
            asked.append(str(notice.args["value"]))
            assert asked[-1] in replayed.state["play_root.playing"]["history"]
    return asked


# ---- leaving the app ----------------------------------------------------------------------------


def _check_left(player: Player) -> dict[str, list[str]]:
    """Check what holds however the app is left; give the stored histories."""
    world, histories = player.world, {}
    assert player.app.background_tasks == set()
    assert world.faults == []
    for token in TOKENS:
        snapshot = in_virtual_time(player.store.peek, token)
        value, history = stored_values(snapshot)
        # What is stored is a serial run of stretches that ended; others may have ended in vain.
        assert set(history) <= world.ended[token] - player.store.failed
        assert len(set(history)) == len(history)
        assert value == world.replay(history)
        assert (snapshot.version if snapshot else 0) == len(history)
        # Nobody was ever shown more than what is stored.
        here = player.clients[token] + (player.left if token == TOKENS[0] else [])
        for client in here:
            _check_frames(client)
            if client.state:
                shown = client.state["play_root.playing"]["history"]
                assert shown == history[: client.version]
            assert set(_asked_of(client)) <= set(history)
        histories[token] = history
    committed = {stretch for history in histories.values() for stretch in history}
    assert world.concluded <= committed
    assert set(world.followed) <= world.asked & committed
    # (By force, the actor of a token may end under a block that a handler of another one is in.)
    assert player.kinds_of_errors <= {*EXPECTED, ActorDeadError}
    return histories


@examples(5)
@given(programs(stores=True), st.integers(0, 6), st.sampled_from([0, 1, NEVER]), st.random_module())
@example(ONE_YIELD, 0, 0, None)
@example(LEFT_WHILE_IT_IS_SLOW, 1, NEVER, None)
def test_law_leaving_the_app_at_any_moment_ends_everything_in_time_and_keeps_what_was_stored(
    program: Program, moment: int, shutdown_timeout: float, schedule: object
) -> None:
    player = Player(program, shutdown_timeout=shutdown_timeout)
    seconds = in_virtual_time(player.play_until, moment)
    _check_left(player)
    # At a `yield` the store is waited for, whatever happens; and as a token is given up.
    assert seconds <= shutdown_timeout + 2 * max(map(abs, program.store))


@examples(4)
@given(programs(may_cancel=False), st.integers(0, 6), st.random_module())
@example(ONE_YIELD, 0, None)
def test_law_leaving_the_app_with_time_enough_finishes_whatever_has_begun(
    program: Program, moment: int, schedule: object
) -> None:
    player = Player(program, shutdown_timeout=NEVER)
    seconds = in_virtual_time(player.play_until, moment)
    histories = _check_left(player)
    committed = {stretch for history in histories.values() for stretch in history}
    assert player.kinds_of_errors <= set(EXPECTED)
    assert seconds < LONG
    # Every event that was taken was answered, and what followed was done.
    assert player.answered == sum(player.events)
    assert sorted(player.world.followed) == sorted(player.world.asked & committed)
    for token, history in histories.items():
        assert set(history) == player.world.ended[token]
    # No block was torn, unless by what went wrong in it.
    if not player.errors:
        assert player.world.torn == set()
    event(f"{len(player.errors)} errors")


def _yields(script: Script) -> int:
    steps = sum(step.kind == "yield" for block in script.blocks for step in block.steps)
    return steps + len(script.blocks)


# ---- what the laws are about does happen --------------------------------------------------------


def test_a_circle_of_three_programs_is_undone_in_one() -> None:
    player = Player(CROSSING)
    outcomes = in_virtual_time(player.play)
    assert "DeadlockError" in {kind.__name__ for kind in player.kinds_of_errors}
    assert sum(len(outcome.history) for outcome in outcomes) == 4


def test_a_turn_of_a_program_is_overdue() -> None:
    player = Player(OVERDUE)
    outcome = in_virtual_time(player.play)[0]
    assert player.kinds_of_errors == {TurnTimeoutError}
    assert sorted(outcome.history) == ["0.0/0", "0.0/0!/0", "1.0/0"]


@pytest.mark.parametrize("never_waits", [False, True])
def test_a_store_of_a_program_is_down(never_waits: bool) -> None:
    player = Player(attrs.evolve(DOWN, never_waits=never_waits))
    assert (immediate_commit(player.store) is not None) == never_waits
    in_virtual_time(player.play)
    assert isinstance(player.store, DrawnStore)
    assert player.store.failed
    assert ImmutableStateError not in player.kinds_of_errors
