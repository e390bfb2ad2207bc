"""Laws of turns under random interleavings of events, background tasks and others."""

from __future__ import annotations

import logging
from typing import Any

import attrs
import pytest
import trio
from clients import Client
from hypothesis import example, given, settings, strategies as st
from programs import SECRET, Block, Outcome, Player, Program, Script, Step, Visit, programs
from trio.testing import MockClock

from actorstate import Effect
from actorstate.actors.messages import Failure, Welcome
from actorstate.stores.base import Snapshot

ONE_YIELD = Program((Script("task", 0, (Block(0, (Step("apply", 1), Step("yield"))),)),), ())
LONG = 10_000  # seconds of virtual time: more than any program takes


def run(program: Program) -> Outcome:
    async def main() -> Outcome:
        with trio.fail_after(LONG):
            return await Player(program).play()

    return trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)  # programs fail on purpose, often


@settings(max_examples=10 * settings().max_examples)
@given(programs(), st.random_module())
def test_law_every_interleaving_equals_a_serial_order_and_all_clients_see_it(
    program: Program, schedule: object
) -> None:
    outcome = run(program)
    # A stretch that ended is in the history once; one that raised or was cancelled is not.
    assert sorted(outcome.history) == sorted(outcome.world.ended)
    # What all of them did together is what they do one after the other, in that order.
    assert outcome.value == outcome.world.replay(outcome.history)
    # Each is one version, and nothing else is.
    assert outcome.version == len(outcome.history)
    for client in outcome.clients:
        assert client.state == outcome.public
        assert client.version == outcome.version
    for client in outcome.clients + outcome.left:
        assert str(SECRET) not in repr(client.notices)
        assert "_secret" not in repr(client.notices)
        assert sum(isinstance(notice, Welcome) for notice in client.notices) == 1
    # Every event is acknowledged; those that raised are reported, to their sender alone.
    page, *others = outcome.clients
    assert page.ack == outcome.events
    raising = sum(_raises(script) for script in program.scripts if script.kind == "event")
    failures = [failure.code for page in outcome.pages for failure in page.failures]
    assert set(failures) <= {"handler_failed"}
    # (One that comes while the page is away is not kept for it.)
    assert len(failures) == raising or (program.absence and len(failures) < raising)
    assert not any(isinstance(n, Failure) for client in others for n in client.notices)


@settings(max_examples=10 * settings().max_examples)
@given(programs(), st.random_module())
@example(ONE_YIELD, None)
@example(attrs.evolve(ONE_YIELD, absence=Visit(0, 1)), None)
def test_law_effects_come_once_in_order_after_their_patch_to_the_page_that_began_it(
    program: Program, schedule: object
) -> None:
    outcome = run(program)
    committed = [stretch for stretch in outcome.history if stretch in outcome.world.asked]
    # Wherever the page was meanwhile, it is asked once for what was committed, and no more.
    assert [stretch for page in outcome.pages for stretch in _asked_of(page)] == committed
    for client in outcome.clients + outcome.left:
        assert client in outcome.pages or client.effects == []


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


@settings(max_examples=10 * settings().max_examples)
@given(programs(), st.integers(0, 6), st.random_module())
@example(ONE_YIELD, 0, None)
def test_law_leaving_the_app_at_any_moment_ends_everything_and_keeps_what_was_stored(
    program: Program, moment: int, schedule: object
) -> None:
    player = Player(program)

    async def main() -> Snapshot | None:
        with trio.fail_after(LONG):
            return await player.play_until(moment)

    snapshot = trio.run(main, clock=MockClock(autojump_threshold=0))
    assert player.app.background_tasks == set()
    stored: Any = snapshot.values["play_root.playing"] if snapshot else {}
    history = stored.get("history", [])
    # What is stored is a serial run of stretches that ended; others may have ended in vain.
    assert set(history) <= player.world.ended
    assert len(set(history)) == len(history)
    assert stored.get("value", 0) == player.world.replay(history)
    assert (snapshot.version if snapshot else 0) == len(history)
    # Nobody was ever shown more than what is stored.
    for client in player.clients + player.left:
        if client.state:
            shown = client.state["play_root.playing"]["history"]
            assert shown == history[: client.version]
        assert set(_asked_of(client)) <= set(history)


def _raises(script: Script) -> bool:
    return any(step.kind == "raise" for block in script.blocks for step in block.steps)
