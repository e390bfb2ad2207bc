"""The laws of futures."""

from __future__ import annotations

import concurrent.futures

import pytest
import trio
from recorder import Recorder
from trio.testing import wait_all_tasks_blocked

from actorstate.actors.futures import Bell, TrioFuture
from actorstate.actors.runtime import Scope


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
