"""The memory store, where it is its own: what rests, for how long, and how much of it."""

from __future__ import annotations

import logging
from typing import Any, Final

import pytest
import trio
from trio.testing import MockClock

from actorstate import App, MemoryStore, State
from actorstate.state.commit import Commit
from actorstate.state.patch import Operation

TOKEN: Final = "tab"  # noqa: S105 - a name, to a store


class Root(State, root=True):
    rows: list[str] = []


async def put(store: MemoryStore, token: str, size: int = 1) -> None:
    loaded = await store.load(token, lambda: None)
    version = loaded.snapshot.version + 1 if loaded.snapshot else 1
    commit = Commit(version, (Operation("add", "/root", {"text": "x" * size}),), ())
    await store.commit(loaded.lease, commit)  # pyright: ignore
    await store.release(loaded.lease)  # pyright: ignore


async def test_a_token_that_rests_is_kept_as_bytes() -> None:
    store = MemoryStore()
    async with App(root=Root, store=store) as app:
        async with app.modify_state(TOKEN) as state:
            state.rows = ["x" * 10] * 1000  # pyright: ignore
        assert not store._resting
    [(token, resting)] = store._resting.items()
    assert (token, store._drafts) == (TOKEN, {})
    assert len(resting.data) < 14_000
    snapshot = await store.peek(TOKEN)
    assert snapshot is not None
    assert snapshot.values["root"]["rows"] == ["x" * 10] * 1000


async def test_what_rests_longer_than_its_time_is_forgotten(autojump_clock: MockClock) -> None:
    store = MemoryStore(token_ttl=100, clock=trio.current_time)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run, "app")
        await put(store, "one")
        await trio.sleep(60)
        await put(store, "two")
        await put(store, "used")
        await trio.sleep(60)
        assert await store.peek("one") is None
        assert (await store.load("one", lambda: None)).snapshot is None
        used: Any = (await store.load("used", lambda: None)).lease
        await trio.sleep(1000)
        assert set(store._resting) == set()  # the round has been made
        assert [token async for token in store.tokens()] == ["used"]
        await store.release(used)
        nursery.cancel_scope.cancel()


async def test_the_least_recently_used_make_room(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore(max_bytes=3000)
    for token in ("a", "b", "c"):
        await put(store, token, 900)
    await put(store, "a", 900)
    assert caplog.records == []
    with caplog.at_level(logging.WARNING):
        await put(store, "d", 900)
    assert [token async for token in store.tokens()] == ["c", "a", "d"]
    assert "the tokens that rest take more than max_bytes=3000; token b was forgotten" in (
        caplog.text
    )
    await put(store, "huge", 5000)
    assert [token async for token in store.tokens()] == []
    assert store._bytes == 0
