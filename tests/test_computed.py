"""Computed vars: found by what they read, computed only when that has changed."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Generator
from contextvars import copy_context
from typing import Any, ClassVar, Self

import pytest
from clients import NoDoor
from hypothesis import given, strategies as st

from actorstate import ComputedVarError, ImmutableStateError, State, StateDefinitionError, computed
from actorstate.state.commit import Commit
from actorstate.state.holders import hold, release
from actorstate.state.schema import Schema
from actorstate.state.tree import StateTree
from actorstate.state.turn import Turn


class Root(State, root=True):
    rate: int = 2
    evaluated: ClassVar[list[str]] = []

    @computed
    def double_rate(self) -> int:
        self.evaluated.append("double_rate")
        return self.rate * 2


class Cart(Root):
    prices: list[int] = [1, 2]
    by_name: bool = False
    first: str = "a"
    second: str = "b"
    _hidden: int = 1

    @computed
    def total(self) -> int:
        self.evaluated.append("total")
        return sum(self.prices)

    @computed
    def taxed(self) -> int:
        self.evaluated.append("taxed")
        return self.total * self.double_rate

    @computed
    def is_dear(self) -> bool:
        self.evaluated.append("is_dear")
        return self.total > 10

    @computed
    def verdict(self) -> str:
        self.evaluated.append("verdict")
        return "dear" if self.is_dear else "cheap"

    @computed
    def shown(self) -> str:
        self.evaluated.append("shown")
        return self.first if self.by_name else self.second

    @computed
    def _secret(self) -> int:
        return self._hidden + 1

    @computed
    def where(self) -> str:
        self.evaluated.append("where")
        return self.router.path

    @computed
    def of_another(self) -> int:
        self.evaluated.append("of_another")
        return self.get_substate(Other).count

    @computed
    def by_helper(self) -> list[int]:
        self.evaluated.append("by_helper")
        return self._positive()

    def _positive(self) -> list[int]:
        return [price for price in self.prices if price > 0]


class Other(Root):
    count: int = 0


@pytest.fixture
def tree() -> StateTree:
    Root.evaluated.clear()
    return StateTree(Schema.of(Root), "token", NoDoor())


def shown(tree: StateTree) -> dict[str, Any]:
    return dict(tree.public()["root.cart"])


class Change:
    """A turn as a block; gives what it committed."""

    def __init__(self, tree: StateTree) -> None:
        self.tree = tree
        self.commit: Commit | None = None

    def __enter__(self) -> Self:
        self.turn = self.tree.open_turn("test")
        hold(self.turn)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        release(self.turn)
        if error is not None:
            self.turn.roll_back()
            return
        self.commit = self.turn.commit()
        self.turn.note_stored(self.commit)

    def operations(self) -> dict[str, Any]:
        assert self.commit is not None
        return {operation.path: operation.value for operation in self.commit.operations}


def test_it_is_computed_when_it_is_first_asked_for_and_then_kept(tree: StateTree) -> None:
    cart = tree.state(Cart)
    assert Root.evaluated == []
    assert (cart.total, cart.total, cart.taxed) == (3, 3, 12)
    assert sorted(Root.evaluated) == ["double_rate", "taxed", "total"]


def test_it_is_computed_again_only_when_what_it_read_has_changed(tree: StateTree) -> None:
    cart = tree.state(Cart)
    shown(tree)
    Root.evaluated.clear()
    with Change(tree) as change:
        cart.first = "c"
    assert Root.evaluated == []
    assert change.operations() == {"/root.cart/first": "c"}
    with Change(tree) as change:
        cart.prices.append(4)
    assert sorted(Root.evaluated) == ["by_helper", "is_dear", "taxed", "total"]
    assert change.operations() == {
        "/root.cart/prices/2": 4,
        "/root.cart/total": 7,
        "/root.cart/taxed": 28,
        "/root.cart/by_helper": [1, 2, 4],
    }
    assert "verdict" not in Root.evaluated  # it read `is_dear`, whose value is what it was


def test_what_it_reads_may_differ_from_one_time_to_the_next(tree: StateTree) -> None:
    cart = tree.state(Cart)
    assert shown(tree)["shown"] == "b"
    for changed, read, again in [
        ({"first": "x"}, "b", False), ({"second": "y"}, "y", True), ({"by_name": True}, "x", True),
        ({"second": "z"}, "x", False), ({"first": "w"}, "w", True),
    ]:  # fmt: skip
        Root.evaluated.clear()
        with Change(tree):
            for name, value in changed.items():
                setattr(cart, name, value)
        assert shown(tree)["shown"] == read
        assert ("shown" in Root.evaluated) == again


def test_it_reads_parents_and_other_states_through_itself_and_helpers(tree: StateTree) -> None:
    shown(tree)
    with Change(tree) as change:
        tree.state(Root).rate = 5
    assert change.operations() == {
        "/root/rate": 5, "/root/double_rate": 10, "/root.cart/taxed": 30,
    }  # fmt: skip
    with Change(tree) as change:
        tree.state(Other).count = 3
    assert change.operations()["/root.cart/of_another"] == 3


def test_within_a_turn_it_follows_at_once(tree: StateTree) -> None:
    cart = tree.state(Cart)
    with Change(tree):
        assert cart.total == 3
        cart.prices.append(1)
        assert cart.total == 4
        for _ in range(3):
            cart.prices.append(1)
            cart.prices.append(1)
        assert cart.total == 10
        cart.prices[0] = 100
        assert cart.total == 109


def test_undoing_a_turn_undoes_it_too(tree: StateTree) -> None:
    cart = tree.state(Cart)
    before = shown(tree)
    turn = tree.open_turn("test")
    hold(turn)
    cart.prices.append(100)
    assert (cart.total, cart.verdict) == (103, "dear")
    release(turn)
    turn.roll_back()
    assert (cart.total, cart.verdict) == (3, "cheap")
    assert shown(tree) == before
    with Change(tree) as change:
        cart.first = "z"
    assert change.operations() == {"/root.cart/first": "z"}


def test_what_the_store_refused_is_sent_with_the_next_commit(tree: StateTree) -> None:
    cart = tree.state(Cart)
    shown(tree)
    turn = tree.open_turn("test")
    hold(turn)
    cart.prices.append(4)
    assert turn.checkpoint() is not None
    turn.roll_back()
    release(turn)
    assert cart.total == 3
    with Change(tree) as change:
        cart.prices.append(5)
    assert change.operations()["/root.cart/total"] == 8


def test_a_backend_one_stays_here(tree: StateTree) -> None:
    cart = tree.state(Cart)
    assert cart._secret == 2
    with Change(tree) as change:
        cart._hidden = 5
    assert cart._secret == 6
    assert change.commit is not None
    assert change.commit.operations == ()
    assert "_secret" not in shown(tree)
    with pytest.raises(AttributeError, match="Cart._secret is a backend var"):
        _ = Cart._secret


def test_it_follows_the_router(tree: StateTree) -> None:
    import attrs  # noqa: PLC0415

    assert shown(tree)["where"] == ""
    turn = tree.open_turn("attach")
    tree.serve(attrs.evolve(tree.router, path="/orders"))
    commit = turn.commit()
    assert commit is not None
    assert commit.changes == ()
    assert [(o.path, o.value) for o in commit.operations] == [("/root.cart/where", "/orders")]
    turn.note_stored(commit)
    assert shown(tree)["where"] == "/orders"


def test_on_the_class_it_is_an_expression_and_on_the_instance_it_cannot_be_set(
    tree: StateTree,
) -> None:
    assert Cart.total.to_json() == ["var", "root.cart", "total"]  # pyright: ignore
    with pytest.raises(AttributeError, match="Cart.total is computed; change what it is"):
        tree.state(Cart).total = 5  # pyright: ignore
    with pytest.raises(ImmutableStateError, match="Cart.total on the class"):
        Cart.total = 5  # pyright: ignore
    with pytest.raises(AttributeError, match="no var or handler 'set_total'"):
        _ = Cart.set_total  # pyright: ignore


def test_its_value_cannot_be_changed(tree: StateTree) -> None:
    with Change(tree), pytest.raises(ImmutableStateError, match="by_helper was not changed: it is"):
        tree.state(Cart).by_helper.append(3)


def test_it_changes_nothing(tree: StateTree) -> None:
    class Broken(State, root=True):
        count: int = 0
        items: list[int] = []

        @computed
        def assigns(self) -> int:
            self.count += 1
            return 1

        @computed
        def mutates(self) -> int:
            self.items.append(1)
            return 1

        @computed
        def enters(self) -> int:
            self.__aenter__()
            return 1

    tree = StateTree(Schema.of(Broken), "token", NoDoor())
    state = tree.state(Broken)
    for name in ("assigns", "mutates", "enters"):
        with Change(tree), pytest.raises(ComputedVarError, match=f"Broken.{name} has no value"):
            getattr(state, name)
    assert (state.count, state.items, tree.version) == (0, [], 0)


class Failing(State, root=True):
    divisor: int = 1
    other: int = 0

    @computed
    def quotient(self) -> int:
        return 10 // self.divisor

    @computed
    def text(self) -> str:
        return f"{self.quotient}"

    @computed
    def wrong(self) -> int:
        return "no number"  # pyright: ignore


def test_one_that_raises_is_logged_keeps_its_value_and_fails_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tree = StateTree(Schema.of(Failing), "token", NoDoor())
    state = tree.state(Failing)
    assert tree.public()["failing"]["quotient"] == 10
    caplog.clear()
    with Change(tree) as change:
        state.divisor = 0
    assert change.operations() == {"/failing/divisor": 0}
    assert (state.quotient, state.text) == (10, "10")
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert "Failing.quotient failed; it keeps its last value" in record.getMessage()
    caplog.clear()
    with Change(tree):
        state.other = 1
    assert not caplog.records  # it is not tried again until what it read has changed
    with Change(tree) as change:
        state.divisor = 5
    assert change.operations() == {
        "/failing/divisor": 5, "/failing/quotient": 2, "/failing/text": "2",
    }  # fmt: skip


class Fragile(State, root=True):
    divisor: int = 1
    broken: ClassVar[list[str]] = []

    @computed
    def quotient(self) -> int:
        if Fragile.broken:
            raise OSError(Fragile.broken[0])
        return 10 // self.divisor


@pytest.mark.parametrize("undone_turns", [1, 2, 3])
def test_one_that_fails_after_turns_were_undone_has_the_value_of_the_last_that_was_not(
    undone_turns: int,
) -> None:
    Fragile.broken.clear()
    tree = StateTree(Schema.of(Fragile), "token", NoDoor())
    state = tree.state(Fragile)
    assert state.quotient == 10
    for divisor in range(2, 2 + undone_turns):
        turn = tree.open_turn("undone")
        hold(turn)
        state.divisor = divisor
        assert state.quotient == 10 // divisor
        turn.roll_back()
        release(turn)
    Fragile.broken.append("no longer")
    assert state.quotient == 10


def test_one_that_never_had_a_value_says_so_and_shows_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tree = StateTree(Schema.of(Failing), "token", NoDoor())
    assert tree.public()["failing"]["wrong"] is None
    assert "Failing.wrong takes int, got 'no number'" in str(caplog.records[0].exc_info)
    with pytest.raises(ComputedVarError, match="Failing.wrong has no value: it has raised"):
        _ = tree.state(Failing).wrong


class Circle(State, root=True):
    start: int = 0

    @computed
    def a(self) -> int:
        return self.b + self.start

    @computed
    def b(self) -> int:
        return self.c

    @computed
    def c(self) -> int:
        return self.a


def test_a_circle_is_an_error_that_names_it(caplog: pytest.LogCaptureFixture) -> None:
    tree = StateTree(Schema.of(Circle), "token", NoDoor())
    with pytest.raises(ComputedVarError, match=r"Circle.a -> Circle.b -> Circle.c -> Circle.a"):
        _ = tree.state(Circle).a
    assert tree.public()["circle"] == {"start": 0, "a": None, "b": None, "c": None}
    assert "Circle.c -> Circle.a -> Circle.b -> Circle.c" in str(caplog.records[-1].exc_info)
    with Change(tree) as change:
        tree.state(Circle).start = 1
    assert change.operations() == {"/circle/start": 1}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def total(self): return 1", "does not say what it gives; write `def total"),
        ("def total(self) -> complex: return 1j", "type complex has no JSON form"),
        ("def total(self) -> Nowhere: return 1", "its annotation cannot be resolved"),
    ],
)
def test_a_badly_written_one_is_refused_with_its_class(body: str, message: str) -> None:
    namespace: dict[str, Any] = {"State": State, "computed": computed}
    source = f"class Bad(State, root=True):\n    @computed\n    {body}\n"
    with pytest.raises(StateDefinitionError, match=f"Bad.total.*{message}|Bad.total: {message}"):
        exec(f"from __future__ import annotations\n{source}", namespace)  # noqa: S102


def test_it_goes_on_a_method_without_arguments() -> None:
    with pytest.raises(TypeError, match="takes nothing but self"):

        @computed  # pyright: ignore
        def f(self: Any, more: int) -> int:
            return more

    with pytest.raises(TypeError, match="@computed goes on a method that returns its value"):
        computed(3)  # pyright: ignore


# ---- async ones ---------------------------------------------------------------------------------


class Later(State, root=True):
    word: str = "a"
    log: ClassVar[list[str]] = []

    @computed
    async def slow(self) -> str:
        word = self.word
        self.log.append(f"begin {word}")
        await Pause()
        self.log.append(f"end {word}")
        return word + "!"

    @computed
    async def slower(self) -> str:
        return await self.slow + "?"

    @computed
    async def me(self) -> str:
        return await self.me


class Pause:
    """Something that takes a while: it yields once."""

    def __await__(self) -> Generator[str, Any, None]:
        yield "pausing"


def drive(awaitable: Awaitable[Any], between: Any = lambda: None) -> Any:
    """Await without an event loop."""
    steps = awaitable.__await__()
    try:
        while True:
            assert next(steps) == "pausing"
            between()
    except StopIteration as stop:
        return stop.value


@pytest.fixture
def later() -> StateTree:
    Later.log.clear()
    return StateTree(Schema.of(Later), "token", NoDoor())


def settle(tree: StateTree, *, welcome: bool = False) -> None:
    for var in tree.computed.awaited(welcome=welcome):
        drive(tree.computed.refresh_shown(var))


def test_an_async_one_is_awaited_and_kept(later: StateTree) -> None:
    state = later.state(Later)
    assert drive(state.slower) == "a!?"
    assert drive(state.slow) == "a!"
    assert Later.log == ["begin a", "end a"]


def test_pages_are_told_of_an_async_one_that_was_settled(later: StateTree) -> None:
    settle(later, welcome=True)
    assert later.public()["later"] == {"word": "a", "slow": "a!", "slower": "a!?", "me": None}
    turn = later.open_turn("test")
    hold(turn)
    later.state(Later).word = "b"
    assert [var.name for var in later.computed.awaited()] == ["slow", "slower"]
    settle(later)
    assert later.computed.awaited() == []
    release(turn)
    commit = turn.commit()
    turn.note_stored(commit)
    assert commit is not None
    assert {operation.path: operation.value for operation in commit.operations} == {
        "/later/word": "b", "/later/slow": "b!", "/later/slower": "b!?",
    }  # fmt: skip


def test_a_change_while_it_awaits_makes_it_begin_again(later: StateTree) -> None:
    settle(later, welcome=True)
    later.public()
    turn = later.open_turn("test")
    hold(turn)
    state = later.state(Later)
    state.word = "b"
    [slow, _] = later.computed.awaited()

    def write() -> None:
        release_reading = later.turn
        assert release_reading is turn
        turn.log.entries  # noqa: B018
        later.place(state, Later.definition().vars["word"]).put("c")
        later.computed.touch(Later.definition().vars["word"])

    drive(later.computed.refresh_shown(slow), write)
    assert slow in later.computed.awaited()
    settle(later)
    assert drive(state.slow) == "c!"
    release(turn)
    turn.roll_back()


def test_an_async_circle_is_named(later: StateTree, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ComputedVarError, match="Later.me -> Later.me"):
        drive(later.state(Later).me)


# ---- the law ------------------------------------------------------------------------------------


class Law(State, root=True):
    a: int = 0
    b: int = 0
    items: list[int] = []

    @computed
    def one(self) -> int:
        return self.a if self.b % 2 else len(self.items)

    @computed
    def two(self) -> int:
        return self.one // 2 + self.b

    @computed
    def three(self) -> list[int]:
        return [self.two, *self.items] if self.one else []

    @computed
    def four(self) -> int:
        return 1 // self.a  # raises while a is 0


def expected(state: Law) -> dict[str, Any]:
    one = state.a if state.b % 2 else len(state.items)
    two = one // 2 + state.b
    return {"one": one, "two": two, "three": [two, *state.items] if one else []}


@given(
    st.lists(
        st.tuples(
            st.lists(
                st.sampled_from(["a", "b", "append", "pop", "read one", "read three"]), max_size=4
            ),
            st.sampled_from(["commit", "commit", "roll back", "refuse"]),
        ),
        max_size=6,
    ),
    st.booleans(),
)
def test_law_pages_show_what_python_would_compute(
    turns: list[tuple[list[str], str]], begins_shown: bool
) -> None:
    tree = StateTree(Schema.of(Law), "token", NoDoor())
    state = tree.state(Law)
    client = dict(tree.public()["law"]) if begins_shown else None
    for steps, end in turns:
        turn = tree.open_turn("law")
        hold(turn)
        for step in steps:
            apply_step(state, step)
        finish(tree, turn, end, client)
        if client is not None:
            assert {name: client[name] for name in ("one", "two", "three")} == expected(state)
            assert client == tree.public()["law"]
    values = expected(state)
    assert {name: getattr(state, name) for name in values} == values


def apply_step(state: Law, step: str) -> None:
    if step == "append":
        state.items.append(len(state.items))
    elif step == "pop":
        del state.items[-1:]
    elif step.startswith("read"):
        name = step.split()[1]
        assert getattr(state, name) == expected(state)[name]
    else:
        setattr(state, step, (getattr(state, step) + 1) % 3)


def finish(tree: StateTree, turn: Turn, end: str, client: dict[str, Any] | None) -> None:
    release(turn)
    if end == "roll back":
        turn.roll_back()
        return
    commit = turn.commit()
    if end == "refuse":
        turn.roll_back()
        return
    turn.note_stored(commit)
    if commit is not None and client is not None:
        for operation in commit.operations:
            if operation.path.count("/") == 2:
                client[operation.path.split("/")[2]] = operation.value
            else:
                client["items"] = list(tree.state(Law).items)


# ---- changes of others while an async one awaits ------------------------------------------------


@pytest.mark.parametrize("begins_known", [False, True])
@pytest.mark.parametrize("end", ["commit", "roll back"])
def test_a_turn_that_ends_while_an_async_one_awaits_is_not_missed(
    later: StateTree, begins_known: bool, end: str
) -> None:
    """A task reads outside of its block, so turns of others come and go meanwhile."""
    state = later.state(Later)
    if begins_known:
        drive(state.slow)
    turn = later.open_turn("before")
    hold(turn)
    state.word = "b"  # in doubt, and so computed by who reads it next
    task, reading = copy_context(), state.slow.__await__()
    assert task.run(next, reading) == "pausing"  # it has read b
    if end == "commit":
        state.word = "c"
        turn.note_stored(turn.commit())
    else:
        turn.roll_back()
    release(turn)
    with pytest.raises(StopIteration):
        task.run(next, reading)
    assert drive(state.slow) == ("c!" if end == "commit" else "a!")


def test_one_that_read_another_that_came_too_late_is_in_doubt_as_that_is(later: StateTree) -> None:
    state = later.state(Later)
    task, reading = copy_context(), state.slower.__await__()
    assert task.run(next, reading) == "pausing"  # in the one below, which has read a
    with Change(later):
        state.word = "b"
    with pytest.raises(StopIteration) as stopped:
        task.run(next, reading)
    assert stopped.value.value == "a!?"
    assert drive(state.slower) == "b!?"


def test_of_two_that_compute_it_at_once_the_later_state_counts(later: StateTree) -> None:
    state = later.state(Later)
    task, first = copy_context(), state.slow.__await__()
    assert task.run(next, first) == "pausing"
    with Change(later):
        state.word = "b"
    assert drive(state.slow) == "b!"
    with pytest.raises(StopIteration) as stopped:
        task.run(next, first)
    assert stopped.value.value == "b!"
    assert drive(state.slow) == "b!"
    assert Later.log.count("begin b") == 1


def undone(tree: StateTree, write: Any) -> None:
    turn = tree.open_turn("undone")
    hold(turn)
    write()
    release(turn)
    turn.roll_back()


def test_one_that_raises_keeps_its_last_value_whatever_was_undone_before_that() -> None:
    tree = StateTree(Schema.of(Failing), "token", NoDoor())
    state = tree.state(Failing)

    def divide_by(divisor: int) -> int:
        state.divisor = divisor
        return state.quotient

    assert state.quotient == 10
    undone(tree, lambda: divide_by(5))
    with Change(tree):
        assert divide_by(2) == 5
    undone(tree, lambda: divide_by(1))
    with Change(tree):
        assert divide_by(0) == 5


def test_one_that_was_first_computed_in_a_turn_that_was_undone_keeps_what_was_seen_since() -> None:
    tree = StateTree(Schema.of(Failing), "token", NoDoor())
    state = tree.state(Failing)
    undone(tree, lambda: state.quotient)
    assert state.quotient == 10
    with Change(tree):
        state.divisor = 0
        assert state.quotient == 10


def test_a_page_is_first_told_of_one_as_it_is_by_then(tree: StateTree) -> None:
    assert tree.state(Cart).total == 3
    with Change(tree):
        tree.state(Cart).prices.append(4)
    assert shown(tree)["total"] == 7


def test_a_checkpoint_has_what_follows_from_what_was_done(tree: StateTree) -> None:
    assert shown(tree)["total"] == 3
    turn = tree.open_turn("test")
    hold(turn)
    tree.state(Cart).prices.append(4)
    commit = turn.checkpoint()
    assert commit is not None
    assert {one.path: one.value for one in commit.operations}["/root.cart/total"] == 7
    turn.note_stored(commit)
    release(turn)
    turn.roll_back()


def test_an_async_one_that_reads_an_async_one_in_doubt_awaits_it(later: StateTree) -> None:
    state = later.state(Later)
    assert drive(state.slower) == "a!?"
    with Change(later):
        state.word = "b"
    assert drive(state.slower) == "b!?"
