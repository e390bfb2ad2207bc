"""The laws of actors on trio."""

from __future__ import annotations

import concurrent.futures
import contextvars
import threading
from functools import partial
from typing import Any, cast

import pykka
import pytest
import trio
from hypothesis import given, strategies as st
from trio.testing import Sequencer, wait_all_tasks_blocked

from actorstate.actors.runtime import (
    Bell,
    Envelope,
    Mailbox,
    Scope,
    TrioActor,
    TrioActorRef,
    TrioFuture,
)
from actorstate.exceptions import ActorDeadError, MailboxFullError


class Recorder(TrioActor):
    """Keeps what it receives, and does what the message says."""

    def __init__(self, scope: Scope, log: list[Any] | None = None, **kwargs: Any) -> None:
        super().__init__(scope, **kwargs)
        self.log = log if log is not None else []

    async def on_start(self) -> None:
        self.log.append("started")

    async def on_stop(self) -> None:
        await trio.lowlevel.checkpoint()
        self.log.append("stopped")

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        self.log.append(("failed", exception_value))

    def on_ended(self, left: Any) -> None:
        self.log.append("ended")

    async def on_receive(self, message: Any) -> Any:
        self.log.append(message)
        return await cast("Any", message)() if callable(message) else message


async def fail() -> None:
    raise ValueError("as told")


async def wait_for(event: trio.Event) -> str:
    await event.wait()
    return "waited"


@pytest.fixture
async def scope(nursery: trio.Nursery) -> Scope:
    return Scope(nursery)


# ---- asking and telling -------------------------------------------------------------------------


async def test_asking_gives_what_on_receive_returned(scope: Scope) -> None:
    ref = Recorder.start(scope)
    assert await ref.ask("hello", block=False) == "hello"


async def test_on_receive_may_be_a_plain_function(scope: Scope) -> None:
    class Plain(TrioActor):
        def on_receive(self, message: int) -> int:
            return message + 1

    assert await Plain.start(scope).ask(1, block=False) == 2


async def test_messages_are_taken_in_the_order_in_which_they_were_put(scope: Scope) -> None:
    log: list[Any] = []
    ref = Recorder.start(scope, log)
    for number in range(100):
        ref.tell(number)
    await ref.ask("last", block=False)
    assert log == ["started", *range(100), "last"]


async def test_an_exception_in_on_receive_reaches_the_asker_and_the_actor_goes_on(
    scope: Scope,
) -> None:
    ref = Recorder.start(scope)
    with pytest.raises(ValueError, match="as told"):
        await ref.ask(fail, block=False)
    assert await ref.ask("still here", block=False) == "still here"


async def test_an_exception_that_nobody_asked_for_ends_that_actor_alone(
    scope: Scope, caplog: pytest.LogCaptureFixture
) -> None:
    log: list[Any] = []
    other, ref = Recorder.start(scope), Recorder.start(scope, log)
    ref.tell(fail)
    pending = ref.ask("too late", block=False)
    with pytest.raises(ActorDeadError):
        await pending
    assert log[1] is fail
    assert isinstance(log[2][1], ValueError)
    assert log[3:] == ["ended"]
    assert "failed and has stopped" in caplog.text
    assert await other.ask("fine", block=False) == "fine"


async def test_asking_a_stopped_actor_raises_actor_dead_error(scope: Scope) -> None:
    ref = Recorder.start(scope)
    assert await ref.stop(block=False)
    with pytest.raises(ActorDeadError):
        await ref.ask("anyone?", block=False)
    with pytest.raises(ActorDeadError):
        ref.tell("anyone?")
    assert not await ref.stop(block=False)


async def test_what_lies_in_the_mailbox_behind_the_stop_is_answered_with_actor_dead_error(
    scope: Scope,
) -> None:
    log: list[Any] = []
    ref = Recorder.start(scope, log)
    before = ref.ask("before", block=False)
    stopped = ref.stop(block=False)
    after = ref.ask("after", block=False)
    again = ref.stop(block=False)
    assert await before == "before"
    assert await stopped
    with pytest.raises(ActorDeadError):
        await after
    assert await again
    assert log == ["started", "before", "stopped", "ended"]


async def test_cancelling_a_waiting_asker_harms_nobody(scope: Scope) -> None:
    ref = Recorder.start(scope)
    gate = trio.Event()
    with trio.move_on_after(0) as cancelled:
        await ref.ask(partial(wait_for, gate), block=False)
    assert cancelled.cancelled_caught
    gate.set()
    assert await ref.ask("next", block=False) == "next"


async def test_an_actor_may_answer_before_it_has_done_with_a_message(scope: Scope) -> None:
    gate, log = trio.Event(), []

    class Early(TrioActor):
        async def on_receive(self, message: Any) -> str:
            if message == "early":
                log.append(self.reply("answer"))
                await gate.wait()
                log.append("done")
            return "late"

    ref = Early.start(scope)
    assert await ref.ask("early", block=False) == "answer"
    behind = ref.ask("behind", block=False)
    await wait_all_tasks_blocked()
    assert not behind.is_done
    gate.set()
    assert await behind == "late"
    assert log == [True, "done"]


async def test_a_failure_after_an_early_answer_ends_the_actor(
    scope: Scope, caplog: pytest.LogCaptureFixture
) -> None:
    class Early(TrioActor):
        async def on_receive(self, message: Any) -> None:
            self.reply("answer")
            raise ValueError(message)

    ref = Early.start(scope)
    assert await ref.ask("late failure", block=False) == "answer"
    with pytest.raises(ActorDeadError):
        await ref.ask("next", block=False)
    assert "late failure" in caplog.text


async def test_an_early_answer_to_a_tell_or_to_an_abandoned_question_is_refused(
    scope: Scope,
) -> None:
    log: list[bool] = []

    class Early(TrioActor):
        async def on_receive(self, message: Any) -> None:
            log.append(self.reply(message))

    ref = Early.start(scope)
    ref.tell("nobody waits")
    assert ref.ask("nobody waits any more", block=False).abandon()
    assert await ref.ask("somebody waits", block=False) == "somebody waits"
    assert log == [False, False, True]


# ---- threads ------------------------------------------------------------------------------------


async def test_tell_and_ask_work_from_plain_threads(scope: Scope) -> None:
    log: list[Any] = []
    ref = Recorder.start(scope, log)

    def in_thread() -> Any:
        ref.tell("told")
        return ref.ask("asked", block=False).get(timeout=5)

    assert await trio.to_thread.run_sync(in_thread) == "asked"
    assert log == ["started", "told", "asked"]


async def test_blocking_ask_and_stop_work_from_plain_threads(scope: Scope) -> None:
    ref = Recorder.start(scope)
    assert await trio.to_thread.run_sync(lambda: ref.ask("asked", timeout=5)) == "asked"
    assert await trio.to_thread.run_sync(lambda: ref.stop(timeout=5)) is True
    with pytest.raises(ActorDeadError):
        await trio.to_thread.run_sync(lambda: ref.ask("asked", timeout=5))


async def test_get_raises_timeout_when_the_answer_does_not_come(scope: Scope) -> None:
    gate = trio.Event()
    future = Recorder.start(scope).ask(partial(wait_for, gate), block=False)
    with pytest.raises(pykka.Timeout, match="0.01 seconds"):
        await trio.to_thread.run_sync(lambda: future.get(timeout=0.01))
    gate.set()
    assert await future == "waited"


async def test_get_in_the_trio_thread_refuses_to_block_it(scope: Scope) -> None:
    future = Recorder.start(scope).ask("hello", block=False)
    with pytest.raises(RuntimeError, match="await ref.ask"):
        future.get()
    assert await future == "hello"
    assert future.get() == "hello"


async def test_nothing_is_lost_when_many_threads_put_into_a_bounded_mailbox(scope: Scope) -> None:
    log: list[Any] = []
    ref = Recorder.start(scope, log, capacity=8)
    threads, each = 4, 200

    def put_all(thread: int) -> None:
        for number in range(each):
            while True:
                try:
                    ref.tell((thread, number))
                except MailboxFullError:
                    continue
                break

    async with trio.open_nursery() as putting:
        for thread in range(threads):
            putting.start_soon(trio.to_thread.run_sync, put_all, thread)
    await ref.mailbox.post_when_room("end")
    while log[-1] != "end":
        await trio.lowlevel.checkpoint()
    for thread in range(threads):
        assert [m for m in log if m[0] == thread] == [(thread, n) for n in range(each)]


# ---- lifetimes ----------------------------------------------------------------------------------


async def test_nothing_registers_in_pykkas_global_registry(scope: Scope) -> None:
    ref = Recorder.start(scope)
    await ref.ask("hello", block=False)
    assert pykka.ActorRegistry.get_all() == []
    await ref.stop(block=False)


async def test_stopping_a_parent_ends_its_children(scope: Scope) -> None:
    log: list[Any] = []

    class Parent(TrioActor):
        async def on_receive(self, message: Any) -> TrioActorRef[Recorder]:
            return Recorder.start(self.children, log)

    parent = Parent.start(scope)
    child = await parent.ask("have a child", block=False)
    await child.ask("hello", block=False)
    await parent.stop(block=False)
    await wait_all_tasks_blocked()
    assert log == ["started", "hello", "ended"]
    assert not child.is_alive()


async def test_a_failing_child_does_not_reach_its_parent(
    scope: Scope, caplog: pytest.LogCaptureFixture
) -> None:
    class Parent(TrioActor):
        async def on_receive(self, message: Any) -> Any:
            return Recorder.start(self.children) if message == "child" else message

    parent = Parent.start(scope)
    child = await parent.ask("child", block=False)
    child.tell(fail)
    await wait_all_tasks_blocked()
    assert not child.is_alive()
    assert await parent.ask("fine", block=False) == "fine"


async def test_cancelling_the_scope_ends_actors_and_frees_who_waits() -> None:
    log: list[Any] = []
    async with trio.open_nursery() as outer:
        async with trio.open_nursery() as inner:
            ref = Recorder.start(Scope(inner), log)
            busy = ref.ask(trio.sleep_forever, block=False)
            waiting = ref.ask("behind it", block=False)
            await wait_all_tasks_blocked()
            inner.cancel_scope.cancel()
        for future in (busy, waiting):
            with pytest.raises(ActorDeadError):
                await future
        outer.cancel_scope.cancel()
    assert log == ["started", trio.sleep_forever, "ended"]


async def test_an_error_that_a_cancellation_met_halfway_does_not_reach_the_parent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail_when_cancelled() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("in the cleanup")

    async with trio.open_nursery() as nursery:
        ref = Recorder.start(Scope(nursery))
        ref.tell(fail_when_cancelled)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert "in the cleanup" in caplog.text


async def test_an_actor_inherits_nothing_from_who_starts_it(scope: Scope) -> None:
    seen = contextvars.ContextVar("seen", default="nothing")

    class Looker(TrioActor):
        def on_receive(self, message: Any) -> str:
            return seen.get()

    seen.set("something")
    assert await Looker.start(scope).ask("look", block=False) == "nothing"


async def test_a_failing_start_ends_the_actor_and_answers_who_asked(
    scope: Scope, caplog: pytest.LogCaptureFixture
) -> None:
    class Unborn(Recorder):
        async def on_start(self) -> None:
            raise OSError("no store")

    ref = Unborn.start(scope)
    with pytest.raises(ActorDeadError):
        await ref.ask("hello", block=False)
    assert "no store" in caplog.text


# ---- futures ------------------------------------------------------------------------------------


async def test_any_number_of_tasks_and_threads_may_wait_for_one_future() -> None:
    future = TrioFuture[str]()
    results: list[str] = []

    async def wait_in_task() -> None:
        results.append(await future)

    async def wait_in_thread() -> None:
        results.append(await trio.to_thread.run_sync(lambda: future.get(timeout=5)))

    async with trio.open_nursery() as nursery:
        for wait in (wait_in_task, wait_in_thread) * 3:
            nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        future.set("value")
    assert results == ["value"] * 6


async def test_a_future_set_in_a_thread_wakes_the_task_that_awaits_it() -> None:
    future = TrioFuture[int]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, future.set, 3)
        assert await future == 3


def test_a_thread_that_brings_a_value_when_the_trio_run_is_over_hears_nothing_of_that() -> None:
    """It may have looked who waits before, and ring after."""

    async def make() -> Bell:
        await trio.lowlevel.checkpoint()
        return Bell()

    with concurrent.futures.ThreadPoolExecutor() as pool:
        assert pool.submit(trio.run(make).ring).result() is None


async def test_a_cancelled_waiter_is_forgotten_and_the_others_are_not() -> None:
    future = TrioFuture[int]()
    with trio.move_on_after(0):
        await future
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_expect, future, 7)
        await wait_all_tasks_blocked()
        future.set(7)


async def _expect(future: TrioFuture[int], value: int) -> None:
    assert await future == value


async def test_setting_a_future_twice_is_an_error() -> None:
    future = TrioFuture[int]()
    future.set(1)
    with pytest.raises(RuntimeError, match="already"):
        future.set(2)
    assert await future == 1


async def test_an_exception_in_a_future_is_raised_to_each_who_waits() -> None:
    future = TrioFuture[int]()
    future.set_exception((ValueError, ValueError("each"), None))
    for _ in range(2):
        with pytest.raises(ValueError, match="each"):
            await future


async def test_an_abandoned_future_gives_the_value_back_to_who_offers_it() -> None:
    future = TrioFuture[str]()
    assert future.abandon()
    assert not future.offer("yours")
    answered = TrioFuture[str]()
    assert answered.offer("mine")
    assert not answered.abandon()


async def test_pykkas_derived_futures_can_be_awaited(scope: Scope) -> None:
    future = Recorder.start(scope).ask(20, block=False)
    assert await future.map(lambda number: number + 1) == 21


async def test_dropping_a_callback_leaves_the_others(autojump_clock: trio.abc.Clock) -> None:
    future = TrioFuture[int]()
    seen: list[str] = []
    future.when_done(lambda: seen.append("first"))
    with trio.move_on_after(1):
        await future
    future.set(1)
    future.when_done(lambda: seen.append("at once"))
    assert seen == ["first", "at once"]


async def taken(mailbox: Mailbox) -> Any:
    envelope = await mailbox.get()
    assert envelope is not None
    return envelope


# ---- mailboxes ----------------------------------------------------------------------------------


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


async def test_cancelling_the_getter_takes_nothing() -> None:
    mailbox = Mailbox()
    with trio.move_on_after(0):
        await mailbox.get()
    mailbox.post_always("kept")
    assert (await taken(mailbox)).message == "kept"


async def test_a_closed_mailbox_answers_what_is_in_it_and_frees_who_waits_for_room(
    scope: Scope,
) -> None:
    ref = Recorder.start(scope, capacity=1)
    ref.tell(trio.sleep_forever)
    await wait_all_tasks_blocked()
    waiting = ref.ask("fills it", block=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_expect_dead, ref)
        await wait_all_tasks_blocked()
        ref.mailbox.close("closed by the test")
    with pytest.raises(ActorDeadError, match="closed by the test"):
        await waiting


async def _expect_dead(ref: TrioActorRef[Recorder]) -> None:
    with pytest.raises(ActorDeadError, match="closed by the test"):
        await ref.mailbox.post_when_room("late")


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


# ---- at once ------------------------------------------------------------------------------------


class Doing(TrioActor):
    """Does a plain message in one step; awaits the end of one that can be called."""

    def __init__(self, scope: Scope, log: list[Any], **kwargs: Any) -> None:
        super().__init__(scope, **kwargs)
        self.log = log

    def on_receive(self, message: Any) -> Any:
        self.log.append(message)
        if isinstance(message, BaseException):
            raise message
        return self.finish(message) if callable(message) else None

    async def finish(self, message: Any) -> None:
        await message(self)
        self.log.append("finished")

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        self.log.append(("failed", exception_value))


@pytest.fixture
async def doing(scope: Scope) -> tuple[TrioActorRef[Doing], list[Any]]:
    log: list[Any] = []
    ref = Doing.start(scope, log)
    await wait_all_tasks_blocked()
    return ref, log


Idle = tuple[TrioActorRef[Doing], list[Any]]


async def test_an_idle_actor_does_a_message_in_the_step_of_who_brings_it(doing: Idle) -> None:
    ref, log = doing
    assert ref.tell_at_once("now")
    assert log == ["now"]


async def take_a_step(_: Doing) -> None:
    await trio.lowlevel.checkpoint()


async def test_what_is_to_be_awaited_comes_before_all_that_comes_meanwhile(doing: Idle) -> None:
    ref, log = doing

    async def leave_word(actor: Doing) -> None:
        actor.log.append("on it")
        await trio.lowlevel.checkpoint()

    assert ref.tell_at_once(leave_word)
    assert log == [leave_word]
    ref.tell("later")
    assert not ref.tell_at_once("too early")
    await ref.ask("last", block=False)
    assert log == [leave_word, "on it", "finished", "later", "last"]


async def test_a_message_that_a_thread_puts_while_one_is_begun_comes_after_it(scope: Scope) -> None:
    log: list[Any] = []

    class Overtaken(Doing):
        def on_receive(self, message: Any) -> Any:
            if callable(message):
                thread = threading.Thread(target=self.actor_ref.tell, args=["from a thread"])
                thread.start()
                thread.join()
                self.actor_ref.tell("from itself")
            return super().on_receive(message)

    ref = Overtaken.start(scope, log)
    await wait_all_tasks_blocked()
    assert ref.tell_at_once(take_a_step)
    await ref.ask("last", block=False)
    assert log == [take_a_step, "finished", "from a thread", "from itself", "last"]


async def test_a_message_that_an_actor_sends_itself_at_once_is_refused(scope: Scope) -> None:
    refused: list[bool] = []

    class Nested(TrioActor):
        def on_receive(self, message: Any) -> None:
            refused.append(self.handle_at_once("another"))

    ref = Nested.start(scope)
    await wait_all_tasks_blocked()
    assert ref.tell_at_once("one")
    assert refused == [False]


@pytest.mark.parametrize("how", ["starts", "is busy", "has messages", "is paused", "is stopping"])
async def test_an_actor_that_has_something_else_to_do_takes_nothing_at_once(
    scope: Scope, how: str
) -> None:
    log: list[Any] = []
    ref = Doing.start(scope, log)
    if how != "starts":
        await wait_all_tasks_blocked()
    match how:
        case "is busy":
            ref.tell(wait_for_ever)
            await wait_all_tasks_blocked()
        case "has messages":
            ref.tell("before")
        case "is paused":
            ref.mailbox.pause()
        case "is stopping":
            ref.stop(block=False)
        case _:
            pass
    assert not ref.tell_at_once("too early")
    await wait_all_tasks_blocked()
    assert "too early" not in log


async def wait_for_ever(_: Doing) -> None:
    await trio.sleep_forever()


async def test_an_actor_that_has_stopped_takes_nothing_at_once(doing: Idle) -> None:
    ref, log = doing
    await ref.stop(block=False)
    assert not ref.tell_at_once("too late")
    assert log == []


@pytest.mark.parametrize("error", [ValueError("as told"), KeyboardInterrupt()])
async def test_what_a_message_raises_is_the_actors_and_not_of_who_brings_it(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    log: list[Any] = []
    try:
        async with trio.open_nursery() as nursery:
            ref = Doing.start(Scope(nursery), log)
            await wait_all_tasks_blocked()
            assert ref.tell_at_once(error)
            pending = ref.ask("behind it", block=False)
            with pytest.raises(ActorDeadError):
                await pending
    except* KeyboardInterrupt:  # which is nobody's: it goes on to who runs the actor
        assert isinstance(error, KeyboardInterrupt)
    else:
        assert log == [error, ("failed", error)]
        assert "failed and has stopped" in caplog.text


async def test_a_message_is_done_in_the_context_of_the_actor(scope: Scope) -> None:
    seen = contextvars.ContextVar("seen", default="nothing")
    log: list[str] = []

    class Seeing(TrioActor):
        def on_receive(self, message: str) -> None:
            log.append(seen.get())
            seen.set(message)

    ref = Seeing.start(scope)
    await wait_all_tasks_blocked()
    seen.set("what the bringer sees")
    assert ref.tell_at_once("first")
    assert await ref.ask("second", block=False) is None
    assert ref.tell_at_once("third")
    assert log == ["nothing", "first", "second"]
    assert seen.get() == "what the bringer sees"


@pytest.mark.parametrize("steps", range(6))
async def test_what_was_begun_is_taken_up_also_by_an_actor_that_is_cancelled_in_between(
    steps: int,
) -> None:
    log: list[Any] = []

    async def clean_up(actor: Doing) -> None:
        try:
            await trio.sleep(1)
        finally:
            actor.log.append("cleaned up")

    async with trio.open_nursery() as nursery:
        ref = Doing.start(Scope(nursery), log)
        await wait_all_tasks_blocked()
        assert ref.tell_at_once(clean_up)
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert log == [clean_up, "cleaned up"]


@given(
    st.lists(st.tuples(st.sampled_from(["bring", "tell", "go on"]), st.integers(0, 3)), max_size=20)
)
def test_law_messages_are_done_one_at_a_time_in_the_order_in_which_they_are_brought(
    steps: list[tuple[str, int]],
) -> None:
    async def main() -> list[str]:
        log, brought = list[Any](), list[str]()
        async with trio.open_nursery() as nursery:
            ref = Doing.start(Scope(nursery), log)
            for number, (step, length) in enumerate(steps):
                if step == "go on":
                    for _ in range(length):
                        await trio.lowlevel.checkpoint()
                    continue
                message = Lasting(number, length)
                brought += message.parts
                if not (step == "bring" and ref.tell_at_once(message)):
                    ref.tell(message)
            await ref.stop(block=False)
            nursery.cancel_scope.cancel()
        done = [part for part in log if isinstance(part, str) and part != "finished"]
        assert done == brought
        return done

    trio.run(main)


class Lasting:
    """A message that takes so many steps, and notes each."""

    def __init__(self, number: int, length: int) -> None:
        self.parts = [f"{number}.{part}" for part in range(length)]

    async def __call__(self, actor: Doing) -> None:
        for part in self.parts:
            actor.log.append(part)
            await trio.lowlevel.checkpoint()


def test_actors_run_in_the_trio_thread_alone() -> None:
    threads: set[int] = set()

    class Where(TrioActor):
        def on_receive(self, message: Any) -> None:
            threads.add(threading.get_ident())

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            ref = Where.start(Scope(nursery))
            await trio.to_thread.run_sync(lambda: ref.ask("where?", timeout=5))
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert threads == {threading.get_ident()}
