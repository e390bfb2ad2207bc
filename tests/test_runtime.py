"""The laws of actors on trio."""

from __future__ import annotations

import contextvars
import threading
from functools import partial
from typing import Any

import pykka
import pytest
import trio
from recorder import Recorder
from trio.testing import wait_all_tasks_blocked

from actorstate.actors.runtime import Scope, TrioActor, TrioActorRef
from actorstate.exceptions import ActorDeadError, MailboxFullError


async def fail() -> None:
    raise ValueError("as told")


async def wait_for(event: trio.Event) -> str:
    await event.wait()
    return "waited"


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


async def test_an_actor_that_is_cancelled_while_it_starts_takes_no_message() -> None:
    log: list[Any] = []
    async with trio.open_nursery() as nursery:
        ref = Recorder.start(Scope(nursery), log)
        ref.tell("message")
        nursery.cancel_scope.cancel()
    assert log == ["started", "ended"]


async def test_a_failure_after_an_early_answer_is_told_as_it_is(scope: Scope) -> None:
    class Early(Recorder):
        async def on_receive(self, message: Any) -> None:
            self.reply("answer")
            raise message

    log: list[Any] = []
    error = ValueError("late failure")
    assert await Early.start(scope, log).ask(error, block=False) == "answer"
    await wait_all_tasks_blocked()
    assert ("failed", error) in log
