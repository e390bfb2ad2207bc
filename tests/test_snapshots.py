"""Snapshots across versions of the program: what is added, dropped, renamed, of another type."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Final

import attrs
import pytest
from hypothesis import given, strategies as st

from actorstate import ActivationError, App, MemoryStore, SnapshotError, State, StateDefinitionError
from actorstate.exceptions import StoreError
from actorstate.state.commit import Commit
from actorstate.state.patch import NO_VALUE, Operation
from actorstate.state.schema import Schema
from actorstate.state.snapshot import CallRecord, Snapshot, TaskRecord
from actorstate.stores.journal import (
    Draft,
    Journal,
    decode_snapshot,
    encode_commit,
    encode_snapshot,
    read_draft,
)
from actorstate.stores.sqlite import SQLiteStore

TOKEN: Final = "tab"  # noqa: S105 - a name, to a store


@attrs.define
class Item:
    name: str = ""


def old() -> type[State]:
    class Root(State, root=True):
        pass

    class Cart(Root):
        count: int = 0
        dropped: str = ""
        price: str = ""
        items: list[Item] = []

    return Root


def new() -> type[State]:
    class Root(State, root=True):
        pass

    class Cart(Root):
        count: int = 0
        added: list[int] = [1]
        items: list[Item] = []

        def touch(self) -> None:
            self.count += 1

    return Root


def retyped() -> type[State]:
    class Root(State, root=True):
        pass

    class Cart(Root):
        count: int = 0
        price: float = 0.0

    return Root


def migrating() -> type[State]:
    class Root(State, root=True):
        pass

    class Cart(Root):
        number: int = 0
        price: float = 0.0
        asked: ClassVar[list[str]] = []

        @classmethod
        def migrate(cls, stored: dict[str, Any], error: Exception | None) -> dict[str, Any]:
            cls.asked.append(type(error).__name__)
            if "count" in stored:
                stored["number"] = stored.pop("count")
            if isinstance(stored.get("price"), str):
                stored["price"] = float(stored["price"].removesuffix(" EUR"))
            return stored

    return Root


def cart(root: type[State]) -> Any:
    return root.definition().substates["cart"]


async def fill(store: Any) -> None:
    root = old()
    async with App(root=root, store=store) as app, app.modify_state(TOKEN) as state:
        filled: Any = state.get_substate(cart(root))
        filled.count, filled.dropped, filled.price = 3, "gone", "2.50 EUR"
        filled.items = [Item("pen")]


async def look(root: type[State], store: Any) -> Any:
    async with App(root=root, store=store) as app, app.modify_state(TOKEN) as state:
        return {
            name: getattr(state.get_substate(cart(root)), name)
            for name in cart(root).definition().vars
        }


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    made: Any = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "state.db")
    await fill(made)
    yield made
    await made.aclose()


async def test_a_var_that_is_new_has_its_default_and_one_that_is_gone_is_dropped(
    store: Any,
) -> None:
    assert await look(new(), store) == {"count": 3, "added": [1], "items": [Item("pen")]}


async def test_a_snapshot_is_written_anew_only_when_something_is_changed(store: Any) -> None:
    before = await store.peek(TOKEN)
    await look(new(), store)
    assert await store.peek(TOKEN) == before
    root = new()
    async with App(root=root, store=store) as app, app.modify_state(TOKEN) as state:
        state.get_substate(cart(root)).count += 1
    after = await store.peek(TOKEN)
    assert after.values["root.cart"]["count"] == 4
    assert after.schema == Schema.of(root).fingerprint != before.schema


async def test_a_value_that_does_not_fit_any_more_is_an_error_that_names_the_var(
    store: Any, monkeypatch: pytest.MonkeyPatch, autojump_clock: Any
) -> None:
    before = await store.peek(TOKEN)
    with pytest.raises(ActivationError) as caught:
        await look(retyped(), store)
    assert isinstance(caught.value.__cause__, SnapshotError)
    assert "Cart.price: the stored value is not a float" in str(caught.value.__cause__)
    assert "the snapshot was left as it is" in str(caught.value.__cause__)
    assert await store.peek(TOKEN) == before
    assert (await look(old(), store))["price"] == "2.50 EUR"  # nobody holds on to it


async def test_a_state_migrates_what_was_stored_under_another_schema(store: Any) -> None:
    root = migrating()
    assert await look(root, store) == {"number": 3, "price": 2.5}
    assert cart(root).asked == ["NoneType"]
    snapshot = await store.peek(TOKEN)
    assert snapshot.values == {"root.cart": {"number": 3, "price": 2.5}}
    assert (snapshot.version, snapshot.schema) == (2, Schema.of(root).fingerprint)
    assert await look(root, store) == {"number": 3, "price": 2.5}
    assert cart(root).asked == ["NoneType"]  # it is of this schema now
    async with App(root=root, store=store) as app, app.modify_state(TOKEN) as state:
        state.get_substate(cart(root)).number += 1
    assert (await look(root, store))["number"] == 4


async def test_a_migration_is_told_of_what_cannot_be_read(store: Any) -> None:
    class Root(State, root=True):
        pass

    class Cart(Root):
        count: int = 0
        price: float = 0.0
        asked: ClassVar[list[str]] = []

        @classmethod
        def migrate(cls, stored: dict[str, Any], error: Exception | None) -> dict[str, Any]:
            if error is not None:
                cls.asked.append(str(error))
                stored["price"] = 1.0
            return stored

    assert (await look(Root, store))["price"] == 1.0
    assert "Cart.price: the stored value is not a float" in Cart.asked[0]


@pytest.mark.parametrize("wrong", [{"price": "free"}, None])
async def test_a_migration_that_fails_leaves_the_snapshot_as_it_was(
    store: Any, wrong: Any, autojump_clock: Any
) -> None:
    class Root(State, root=True):
        pass

    class Cart(Root):
        price: float = 0.0

        @classmethod
        def migrate(cls, stored: dict[str, Any], error: Exception | None) -> dict[str, Any]:
            if wrong is None:
                raise LookupError("I forgot")
            return wrong

    before = await store.peek(TOKEN)
    with pytest.raises(ActivationError) as caught:
        await look(Root, store)
    assert isinstance(caught.value.__cause__, SnapshotError)
    assert ("Cart.migrate failed" if wrong is None else "Cart.price") in str(caught.value.__cause__)
    assert await store.peek(TOKEN) == before


async def test_the_migration_of_a_parent_is_for_the_parent_alone() -> None:
    class Root(State, root=True):
        count: int = 0

        @classmethod
        def migrate(cls, stored: dict[str, Any], error: Exception | None) -> dict[str, Any]:
            return {"count": 5}

    class Below(Root):
        count_below: int = 0

    store = MemoryStore()
    lease = (await store.load(TOKEN, lambda: None)).lease
    values = (Operation("add", "/root", {}), Operation("add", "/root.below", {"count_below": 1}))
    await store.commit(lease, Commit(1, values, (), schema="before"))  # pyright: ignore
    await store.release(lease)  # pyright: ignore
    async with App(root=Root, store=store) as app, app.modify_state(TOKEN) as state:
        assert (state.count, state.get_substate(Below).count_below) == (5, 1)  # pyright: ignore


def test_a_migrate_that_a_browser_could_call_is_refused() -> None:
    with pytest.raises(StateDefinitionError, match="'migrate' is a name of State itself"):

        class Wrong(State, root=True):
            def migrate(self, stored: dict[str, Any]) -> dict[str, Any]:
                return stored


# ---- the fingerprint ---------------------------------------------------------------------------


def test_the_fingerprint_is_that_of_names_and_types() -> None:
    schemas = [Schema.of(make()).fingerprint for make in (old, new, retyped, migrating)]
    assert len(set(schemas)) == 4
    assert Schema.of(old()).fingerprint == schemas[0]


def test_the_fingerprint_sees_into_records() -> None:
    def make(declared: Any) -> str:
        record = attrs.make_class("Record", {"field": attrs.field(type=declared, default=None)})
        body = {"__annotations__": {"rows": list[record]}, "rows": [], "__module__": __name__}
        root: Any = type(State)("Root", (State,), body, root=True)
        return Schema.of(root).fingerprint

    assert make(int | None) == make(int | None) != make(str | None)


def test_the_fingerprint_of_what_contains_itself_ends() -> None:
    assert len(Schema.of(Recursive).fingerprint) == 16


@attrs.define
class Node:
    below: list[Node] = attrs.field(factory=list)
    name: str = ""


class Recursive(State, root=True):
    tree: list[Node] = []


# ---- bytes -------------------------------------------------------------------------------------

PLAIN: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner,
                                                                max_size=4),
    max_leaves=12,
)  # fmt: skip
NAMES: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
TASKS: Final = st.builds(
    TaskRecord, NAMES, st.lists(PLAIN, max_size=3).map(tuple), NAMES, NAMES
)  # fmt: skip
CALLS: Final = st.builds(
    CallRecord, NAMES, NAMES, st.lists(PLAIN, max_size=3).map(tuple), st.none() | NAMES
)
KEYS: Final = st.sampled_from(["a", "b/c", "~d"])


def without_surrogates(value: Any) -> bool:
    return "\\ud" not in ascii(value)


def commits() -> Iterator[Any]:
    changes = st.builds(
        lambda key, value: Operation("add", "/root/" + key.replace("~", "~0").replace("/", "~1"),
                                     value),
        KEYS, PLAIN.filter(without_surrogates),
    )  # fmt: skip
    yield st.builds(
        Commit,
        version=st.integers(0, 2**40),
        changes=st.lists(changes, max_size=4).map(tuple),
        operations=st.just(()),
        tasks=st.none() | st.lists(TASKS, max_size=2).map(tuple),
        done=st.lists(st.tuples(NAMES, st.integers(0, 2**53)), max_size=3).map(tuple),
        calls=st.lists(CALLS, max_size=2, unique_by=lambda call: call.id).map(tuple),
        ran=st.lists(NAMES, max_size=2).map(tuple),
        schema=st.none() | NAMES,
        connected=st.none() | st.lists(NAMES, max_size=2).map(tuple),
    )


[COMMITS] = commits()


@given(st.lists(COMMITS, max_size=6), st.integers(0, 6))
def test_law_a_snapshot_and_patches_read_as_the_commits_made_it(
    all_commits: list[Commit], cut: int
) -> None:
    draft = Draft(Snapshot(0, {"root": {}}))
    for commit in all_commits[:cut]:
        draft.take(commit)
    whole = draft.encode()
    assert whole == encode_snapshot(draft.snapshot())
    for commit in all_commits[cut:]:
        draft.take(commit)
    patches = [encode_commit(commit) for commit in all_commits[cut:]]
    read = decode_snapshot(whole, patches)
    assert repr(read) == repr(draft.snapshot())  # 1 and 1.0 and True are not the same here


def test_an_operation_without_a_value_is_not_one_with_null() -> None:
    changes = (Operation("add", "/a", None), Operation("remove", "/a"))
    draft = read_draft(None, [encode_commit(Commit(1, changes, ()))])
    assert draft.snapshot().values == {}
    assert changes[1].value is NO_VALUE


@pytest.mark.parametrize(
    ("whole", "patches"),
    [
        (b"once upon a time", []),
        (b'{"version": "1", "values": {}}', []),
        (b'{"version": 1, "values": {"a": 1}}', []),
        (None, [b'{"v": 1, "ops": [["remove", "/gone"]]}']),
        (None, [b'{"v": 1, "ops": [["add"]]}']),
        (b'{"version": 1, "values": {}}', [b"\xff"]),
    ],
)
def test_what_is_no_snapshot_is_an_error(whole: bytes | None, patches: list[bytes]) -> None:
    with pytest.raises(SnapshotError, match="it was left as it is"):
        decode_snapshot(whole, patches)
    assert not issubclass(SnapshotError, StoreError)


def test_a_snapshot_remembers_as_many_page_loads_as_may_come_back() -> None:
    draft = Draft()
    for number in range(100):
        draft.take(Commit(number, (), (), done=((f"page {number}", 1), ("stays", number))))
    done = draft.snapshot().done
    assert len(done) == 32
    assert done["stays"] == 99
    assert done["page 99"] == 1
    assert "page 68" not in done


@given(st.lists(st.integers(1, 3000), max_size=60), st.integers(10, 20_000))
def test_law_what_is_written_stays_within_twice_what_was_changed(
    changes: list[int], size: int
) -> None:
    """Amortised, beside one whole and the least that is worth the writing."""
    journal, written, changed = Journal(), 0, 0
    whole = Snapshot(1, {"root": {"text": "x" * size}})
    for version, amount in enumerate(changes, 1):
        operation = Operation("replace", "/root/other", "y" * amount)
        commit = Commit(version, (operation,), (), whole=lambda: whole)
        entry = journal.entry(commit)
        journal.written(entry)
        written += len(entry.data)
        changed += len(encode_commit(commit))
    assert written <= 2 * changed + size + 5000
