"""The laws of mailboxes."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
import trio
from hypothesis import given, strategies as st
from recorder import Recorder
from trio.testing import Sequencer, wait_all_tasks_blocked

from actorstate.actors.futures import TrioFuture
from actorstate.actors.mailbox import Envelope, Mailbox
from actorstate.actors.runtime import Scope, TrioActor
from actorstate.exceptions import ActorDeadError, MailboxFullError


async def taken(mailbox: Mailbox) -> Any:
    envelope = await mailbox.get()
    assert envelope is not None
    return envelope


async def test_a_full_mailbox_refuses_and_makes_those_wait_who_would_rather() -> None:
    mailbox = Mailbox(capacity=2)
    mailbox.post_always(1)
    mailbox.post_always(2)
    with pytest.raises(MailboxFullError, match="2 messages"):
        mailbox.put(await _envelope())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.post_when_room, 3)
        await wait_all_tasks_blocked()
        assert len(mailbox) == 2
        assert (await taken(mailbox)).message == 1
    assert [(await taken(mailbox)).message for _ in range(2)] == [2, 3]


async def _envelope() -> Any:
    mailbox = Mailbox()
    mailbox.post_always("refused")
    return await mailbox.get()


@pytest.mark.parametrize("before", range(28, 36))
async def test_an_actor_that_stops_ends_when_the_last_message_is_taken_back(
    scope: Scope, before: int
) -> None:
    """As it lets others run, too: it looks once more before it sleeps."""
    for _ in range(8):  # who comes first is drawn
        ref = Emptying.start(scope)
        await wait_all_tasks_blocked()
        for _ in range(before):
            ref.tell("message")
        stopped, answer = ref.stop(block=False), ref.ask_always("taken back")
        await trio.lowlevel.checkpoint()
        ref.mailbox.withdraw(answer)
        with trio.fail_after(5):
            assert await stopped


class Emptying(TrioActor):
    """Ends when its mailbox is empty, as a token actor does."""

    def on_receive(self, message: object) -> None:
        pass

    @property
    def may_end(self) -> bool:
        return self.mailbox.empty()


async def test_a_paused_mailbox_takes_messages_and_gives_none_out_until_it_goes_on(
    scope: Scope,
) -> None:
    ref = Recorder.start(scope)
    assert await ref.ask("first", block=False) == "first"
    ref.mailbox.pause()
    answers = [ref.ask(text, block=False) for text in ("second", "third")]
    await trio.to_thread.run_sync(ref.tell, "from a thread")
    await wait_all_tasks_blocked()
    assert len(ref.mailbox) == 3
    assert not any(answer.is_done for answer in answers)
    ref.mailbox.go_on()
    assert [await answer for answer in answers] == ["second", "third"]


async def test_an_actor_with_a_paused_mailbox_ends_with_its_scope_and_not_by_being_idle() -> None:
    log: list[Any] = []
    async with trio.open_nursery() as nursery:
        actor = Recorder(Scope(nursery), log)
        nursery.start_soon(actor._live)
        await wait_all_tasks_blocked()
        actor.mailbox.pause()
        assert not actor.end_if_idle()
        answer = actor.actor_ref.ask("never", block=False)
        nursery.cancel_scope.cancel()
    assert log == ["started", "ended"]
    with pytest.raises(ActorDeadError):
        await answer


async def test_a_message_that_is_taken_back_makes_room() -> None:
    mailbox, answer = Mailbox(capacity=1), TrioFuture[Any]()
    mailbox.put(Envelope("taken back", reply_to=answer))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.post_when_room, "next")
        await wait_all_tasks_blocked()
        mailbox.withdraw(answer)
    assert len(mailbox) == 1


async def test_who_is_cancelled_while_waiting_for_room_has_put_nothing() -> None:
    mailbox = Mailbox(capacity=1)
    mailbox.post_always(1)
    with trio.move_on_after(0):
        await mailbox.post_when_room(2)
    assert (await taken(mailbox)).message == 1
    assert mailbox.empty()


async def test_those_who_wait_for_room_come_in_the_order_in_which_they_asked() -> None:
    mailbox = Mailbox(capacity=1)
    mailbox.post_always(0)
    sequence = Sequencer()

    async def post(number: int) -> None:
        async with sequence(number - 1):
            pass
        await mailbox.post_when_room(number)

    order: list[int] = []
    async with trio.open_nursery() as nursery:
        for number in (1, 2, 3):
            nursery.start_soon(post, number)
        await wait_all_tasks_blocked()
        for _ in range(4):
            order.append((await taken(mailbox)).message)
            await wait_all_tasks_blocked()
    assert order == [0, 1, 2, 3]


async def test_who_waits_for_room_keeps_its_place_when_a_message_is_taken_back_in_vain() -> None:
    """There are still as many as there may be, since one was put in any case."""
    mailbox, answer = Mailbox(capacity=1), TrioFuture[Any]()
    mailbox.put(Envelope("taken back", reply_to=answer))
    mailbox.post_always("in any case")
    async with trio.open_nursery() as nursery:
        for message in ("first", "second"):
            nursery.start_soon(mailbox.post_when_room, message)
            await wait_all_tasks_blocked()
        mailbox.withdraw(answer)
        await wait_all_tasks_blocked()
        order: list[str] = []
        for _ in range(3):
            order.append((await taken(mailbox)).message)
            await wait_all_tasks_blocked()
    assert order == ["in any case", "first", "second"]


async def test_who_finds_room_that_a_thread_is_faster_to_take_waits_for_the_next() -> None:
    mailbox: Any = Mailbox(capacity=1)
    mailbox._lock = _after_another(mailbox, "faster")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.post_when_room, "slower")
        await wait_all_tasks_blocked()
        assert mailbox.waiting() == ["faster"]
        assert (await taken(mailbox)).message == "faster"
    assert mailbox.waiting() == ["slower"]


@contextmanager
def _after_another(mailbox: Any, message: str) -> Generator[None]:
    """A lock that another thread gets first, to put a message."""
    mailbox._lock = lock = threading.Lock()
    mailbox.put(Envelope(message))
    with lock:
        yield


async def test_a_message_that_is_taken_without_waiting_makes_room_as_well() -> None:
    mailbox = Mailbox(capacity=1)
    mailbox.post_always("first")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.post_when_room, "second")
        await wait_all_tasks_blocked()
        envelope = mailbox.take()
        assert envelope is not None
        assert envelope.message == "first"
        await wait_all_tasks_blocked()
        assert mailbox.waiting() == ["second"]
        nursery.cancel_scope.cancel()


async def test_a_message_that_was_chosen_makes_room_as_well() -> None:
    mailbox = Mailbox(capacity=2)
    mailbox.order = LastFirst()
    mailbox.post_always("first")
    mailbox.post_always("second")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.post_when_room, "third")
        await wait_all_tasks_blocked()
        assert (await taken(mailbox)).message == "second"
        await wait_all_tasks_blocked()
        assert mailbox.waiting() == ["first", "third"]
        nursery.cancel_scope.cancel()


class LastFirst:
    """Takes of the messages that lie there the last."""

    def arrived(self, mailbox: Mailbox, message: Any) -> None:
        pass

    async def choose(self, mailbox: Mailbox) -> int | None:
        await trio.lowlevel.checkpoint()
        return len(mailbox) - 1

    def closed(self, mailbox: Mailbox) -> None:
        pass


async def test_cancelling_the_getter_takes_nothing() -> None:
    mailbox = Mailbox()
    with trio.move_on_after(0):
        await mailbox.get()
    mailbox.post_always("kept")
    assert (await taken(mailbox)).message == "kept"


async def test_a_closed_mailbox_gives_what_is_in_it_and_frees_who_waits_for_room() -> None:
    mailbox = Mailbox(capacity=1)
    mailbox.post_always("fills it")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_expect_dead, mailbox)
        await wait_all_tasks_blocked()
        left = mailbox.close("closed by the test")
    assert [envelope.message for envelope in left] == ["fills it"]
    assert mailbox.empty()


async def _expect_dead(mailbox: Mailbox) -> None:
    with pytest.raises(ActorDeadError, match="closed by the test"):
        await mailbox.post_when_room("late")


async def test_an_actor_that_is_never_idle_lets_others_run(scope: Scope) -> None:
    ref = Recorder.start(scope)
    for _ in range(1000):
        ref.tell("busy")
    turns = 0
    while not ref.mailbox.empty():
        await trio.lowlevel.checkpoint()
        turns += 1
    assert turns > 20


@given(st.lists(st.sampled_from(["put", "get", "cancelled get"]), max_size=30))
def test_law_a_mailbox_is_a_fifo_queue(steps: list[str]) -> None:
    async def main() -> None:
        mailbox, model, number = Mailbox(), [], 0
        for step in steps:
            if step == "put":
                mailbox.post_always(number)
                model.append(number)
                number += 1
            elif step == "get" and model:
                assert (await taken(mailbox)).message == model.pop(0)
            elif not model:
                with trio.move_on_after(0) as scope:
                    await mailbox.get()
                assert scope.cancelled_caught
            assert len(mailbox) == len(model)

    trio.run(main)
