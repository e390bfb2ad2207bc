"""Messages that are done in the step of who brings them."""

from __future__ import annotations

import contextvars
import threading
from typing import Any, ClassVar

import pytest
import trio
from hypothesis import given, strategies as st
from trio.testing import wait_all_tasks_blocked

from actorstate import App, State, console_log
from actorstate.actors.door import TokenDoor
from actorstate.actors.messages import Event
from actorstate.actors.runtime import Scope, TrioActor, TrioActorRef
from actorstate.exceptions import ActorDeadError


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


async def test_what_was_begun_is_taken_up_also_if_the_message_itself_cancels_the_actor() -> None:
    log: list[Any] = []
    async with trio.open_nursery() as nursery:

        class Cancelling(Doing):
            def on_receive(self, message: Any) -> Any:
                nursery.cancel_scope.cancel()
                return self.finish(message)

        async def begin(actor: Doing) -> None:
            actor.log.append("begun")
            await trio.lowlevel.checkpoint()
            actor.log.append("never")

        ref = Cancelling.start(Scope(nursery), log)
        await wait_all_tasks_blocked()
        assert ref.tell_at_once(begin)
    assert log == ["begun"]


async def test_an_actor_that_a_message_cancels_ends_though_nothing_else_comes() -> None:
    log: list[Any] = []
    async with trio.open_nursery() as nursery:

        class Cancelling(Doing):
            def on_receive(self, message: Any) -> None:
                self.log.append(message)
                nursery.cancel_scope.cancel()

        ref = Cancelling.start(Scope(nursery), log)
        await wait_all_tasks_blocked()
        assert ref.tell_at_once("last")
    assert log == ["last"]
    with pytest.raises(ActorDeadError):
        ref.tell("too late")


async def test_what_a_message_raises_is_not_lost_if_it_cancels_the_actor_as_well(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log: list[Any] = []
    async with trio.open_nursery() as nursery:

        class Cancelling(Doing):
            def on_receive(self, message: Any) -> Any:
                nursery.cancel_scope.cancel()
                raise ValueError(message)

        ref = Cancelling.start(Scope(nursery), log)
        await wait_all_tasks_blocked()
        assert ref.tell_at_once("mine")
    assert [(what, str(error)) for what, error in log] == [("failed", "mine")]
    assert "failed and has stopped" in caplog.text


class Stopping(State, root=True):
    count: int = 0
    scope: ClassVar[trio.CancelScope]

    def stop(self) -> Any:
        self.count += 1
        self.scope.cancel()
        return console_log("bye")


@pytest.mark.parametrize("is_at_once", [False, True])
async def test_no_turn_is_left_open_by_a_handler_that_cancels_the_app(is_at_once: bool) -> None:
    doors: list[TokenDoor] = []
    with trio.CancelScope() as Stopping.scope:
        async with App(root=Stopping) as app:
            door = app.directory.door("tab")
            doors.append(door)
            await wait_all_tasks_blocked()
            event = Event("stopping.stop", [], 1, "page")
            if is_at_once:
                assert door.ref.tell_at_once(event)
            else:
                door.ref.tell(event)
            await trio.sleep_forever()
    assert [(door.tree.turn, door.tree.version) for door in doors] == [(None, 1)]
