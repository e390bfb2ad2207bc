"""The turn, without an event loop: its table, its rollback, its patches."""

from __future__ import annotations

import copy
import itertools
import json
from typing import Any

import jsonpatch
import pytest
from clients import NoDoor, as_json
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actorstate import ImmutableStateError, State
from actorstate.actors.messages import Patch
from actorstate.state.commit import Commit
from actorstate.state.holders import hold, release
from actorstate.state.patch import Operation
from actorstate.state.schema import Schema
from actorstate.state.tree import StateTree
from actorstate.state.turn import Turn, TurnState, TurnStep
from actorstate.stores.journal import Draft


class Root(State, root=True):
    number: int = 0
    text: str = ""


class Left(Root):
    ratio: float = 0.0
    flag: bool = False
    many: list[dict[str, int]] = []
    _secret: int = 0


class Right(Root):
    table: dict[str, list[str]] = {}
    maybe: int | None = None


class Below(Left):
    number_below: int = 0


def make_tree() -> StateTree:
    return StateTree(Schema.of(Root), "token", NoDoor())


# ---- the table ----------------------------------------------------------------------------------

STEPS = {
    "open": {
        "checkpoint": "checkpointing", "commit": "committing", "roll back": "rolled back",
    },
    "checkpointing": {"keep": "open", "roll back": "rolled back"},
    "committing": {"stored": "committed", "roll back": "rolled back"},
    "committed": {},
    "rolled back": {},
}  # fmt: skip


@pytest.mark.parametrize(("state", "step"), list(itertools.product(TurnState, TurnStep)))
def test_the_table_allows_the_life_of_a_turn_and_nothing_else(
    state: TurnState, step: TurnStep
) -> None:
    turn = make_tree().open_turn("test")
    turn._state = state
    if step in STEPS[state]:
        turn._step(step)
        assert turn._state == STEPS[state][step]
    else:
        with pytest.raises(KeyError):
            turn._step(step)


def test_a_turn_that_is_revoked_can_be_undone_and_nothing_else() -> None:
    tree = make_tree()
    turn = tree.open_turn("a thread")
    turn.revoke()
    assert not turn.is_writable
    assert not turn.has_ended
    turn.roll_back()
    turn.revoke()  # too late, as another thread may come
    assert turn.has_ended
    assert tree.turn is None


def test_a_value_during_whose_copying_the_turn_is_taken_is_not_assigned() -> None:
    tree = make_tree()
    turn = tree.open_turn("a thread")
    hold(turn)

    class Long(dict[str, list[str]]):
        def items(self) -> Any:
            turn.revoke()
            return super().items()

    with pytest.raises(ImmutableStateError, match="the turn was taken from a thread"):
        tree.state(Right).table = Long(key=["value"])
    assert tree.state(Right).table == {}
    release(turn)
    turn.roll_back()


def test_one_turn_at_a_time() -> None:
    tree = make_tree()
    tree.open_turn("first")
    with pytest.raises(AssertionError, match="first: open"):
        tree.open_turn("second")


# ---- single laws --------------------------------------------------------------------------------


def test_a_turn_that_changed_nothing_makes_no_commit() -> None:
    tree = make_tree()
    turn = tree.open_turn("test")
    hold(turn)
    tree.state(Root).number = 5
    tree.state(Root).number = 0
    release(turn)
    assert turn.commit() is None
    turn.note_stored(None)
    assert tree.version == 0


def test_many_changes_to_one_var_fold_into_one_operation() -> None:
    tree = make_tree()
    turn = tree.open_turn("test")
    hold(turn)
    for number in range(10):
        tree.state(Root).number = number
    release(turn)
    commit = turn.commit()
    assert commit is not None
    [operation] = commit.operations
    assert (operation.op, operation.path, operation.value) == ("replace", "/root/number", 9)


def test_a_change_that_python_calls_equal_is_a_change_all_the_same() -> None:
    tree = make_tree()
    turn = tree.open_turn("test")
    hold(turn)
    tree.state(Left).ratio = -0.0
    release(turn)
    commit = turn.commit()
    assert commit is not None
    assert str(commit.operations[0].value) == "-0.0"


def test_backend_vars_are_in_the_commit_and_in_no_operation() -> None:
    tree = make_tree()
    turn = tree.open_turn("test")
    hold(turn)
    tree.state(Left)._secret = 5
    release(turn)
    commit = turn.commit()
    stored = (
        Operation("add", "/root.left", {}),
        Operation("add", "/root.left/_secret", 5),
    )
    assert commit == Commit(1, stored, ())


def test_the_right_to_write_ends_with_the_turn_for_all_who_inherited_it() -> None:
    tree = make_tree()
    turn = tree.open_turn("test")
    hold(turn)
    turn.commit()
    with pytest.raises(ImmutableStateError):
        tree.state(Root).number = 1
    turn.note_stored(None)
    tree.open_turn("somebody else")
    with pytest.raises(ImmutableStateError):
        tree.state(Root).number = 1
    release(turn)


def test_a_checkpoint_that_the_store_refuses_takes_later_changes_with_it() -> None:
    tree = make_tree()
    turn = tree.open_turn("test")
    hold(turn)
    tree.state(Root).number = 1
    turn.checkpoint()
    tree.state(Root).number = 2
    tree.state(Root).text = "later"
    turn.roll_back()
    release(turn)
    assert (tree.state(Root).number, tree.state(Root).text) == (0, "")


# ---- all laws together, under any program -------------------------------------------------------

numbers = st.integers(-3, 3)
assignments = st.one_of(
    st.tuples(st.just(Root), st.just("number"), numbers),
    st.tuples(st.just(Root), st.just("text"), st.text(max_size=3)),
    st.tuples(st.just(Left), st.just("ratio"), st.floats(-2, 2)),
    st.tuples(st.just(Left), st.just("flag"), st.booleans()),
    st.tuples(
        st.just(Left),
        st.just("many"),
        st.lists(st.dictionaries(st.sampled_from("a~/"), numbers, max_size=2), max_size=2),
    ),
    st.tuples(st.just(Left), st.just("_secret"), numbers),
    st.tuples(
        st.just(Right),
        st.just("table"),
        st.dictionaries(st.text(max_size=2), st.lists(st.text(max_size=2)), max_size=2),
    ),
    st.tuples(st.just(Right), st.just("maybe"), st.none() | numbers),
    st.tuples(st.just(Below), st.just("number_below"), numbers),
    st.tuples(st.just(Below), st.just("flag"), st.booleans()),  # of its parent
)


class TurnMachine(RuleBasedStateMachine):
    """Random turns beside a plain dict, a client that applies every patch, and a store."""

    def __init__(self) -> None:
        super().__init__()
        self.tree = make_tree()
        self.store = Draft()
        self.model = self.values()
        self.client: dict[str, Any] = copy.deepcopy(dict(self.tree.public()))
        self.turn: Turn | None = None
        self.draft: dict[tuple[type[State], str], Any] = {}
        self.versions = 0

    def values(self) -> dict[tuple[type[State], str], Any]:
        return {
            (cls, name): copy.deepcopy(getattr(self.tree.state(cls), name))
            for cls in self.tree.schema.states.values()
            for name in cls.definition().vars
        }

    @precondition(lambda self: self.turn is None)
    @rule()
    def grant(self) -> None:
        self.turn = self.tree.open_turn("machine")
        self.draft = dict(self.model)
        hold(self.turn)

    @precondition(lambda self: self.turn is not None)
    @rule(assignment=assignments)
    def assign(self, assignment: tuple[type[State], str, Any]) -> None:
        cls, name, value = assignment
        setattr(self.tree.state(cls), name, value)
        owner = cls.definition().all_vars[name].owner
        self.draft[owner, name] = copy.deepcopy(value)

    @precondition(lambda self: self.turn is not None)
    @rule(assignment=assignments)
    def assign_a_wrong_type(self, assignment: tuple[type[State], str, Any]) -> None:
        cls, name, _ = assignment
        with pytest.raises(TypeError):
            setattr(self.tree.state(cls), name, object())

    @precondition(lambda self: self.turn is None)
    @rule(assignment=assignments)
    def assign_without_a_turn(self, assignment: tuple[type[State], str, Any]) -> None:
        cls, name, value = assignment
        with pytest.raises(ImmutableStateError):
            setattr(self.tree.state(cls), name, value)

    @precondition(lambda self: self.turn is not None)
    @rule(stored=st.booleans())
    def commit(self, stored: bool) -> None:
        assert self.turn is not None
        release(self.turn)
        self.hand_over(self.turn.commit(), stored)
        self.turn = None

    @precondition(lambda self: self.turn is not None)
    @rule(stored=st.booleans(), meanwhile=st.none() | assignments)
    def checkpoint(self, stored: bool, meanwhile: tuple[type[State], str, Any] | None) -> None:
        assert self.turn is not None
        commit = self.turn.checkpoint()
        before = dict(self.draft)
        if meanwhile is not None:
            self.assign(meanwhile)
        later, self.draft = self.draft, before
        self.hand_over(commit, stored)
        if stored:
            self.draft = later
        else:
            release(self.turn)
            self.turn = None

    @precondition(lambda self: self.turn is not None)
    @rule()
    def raise_or_be_cancelled(self) -> None:
        assert self.turn is not None
        release(self.turn)
        self.turn.roll_back()
        self.turn.roll_back()  # a second time changes nothing
        self.turn = None

    def hand_over(self, commit: Commit | None, stored: bool) -> None:
        assert self.turn is not None
        if not stored:
            self.turn.roll_back()
            return
        if commit is not None:
            self.store.take(commit)
            self.client = jsonpatch.apply_patch(
                self.client, as_json(Patch(commit.version, 0, commit.operations))
            )
        changed = as_text(self.draft) != as_text(self.model)
        assert (commit is not None) == changed
        self.versions += changed
        self.turn.note_stored(commit)
        self.model = dict(self.draft)

    @invariant()
    def the_tree_holds_what_the_model_holds(self) -> None:
        expected = self.draft if self.turn is not None else self.model
        assert self.values() == expected
        assert self.tree.version == self.versions

    @invariant()
    def a_client_holds_the_committed_public_state(self) -> None:
        for (cls, name), value in self.model.items():
            shown = self.client[cls.get_full_name()]
            if name.startswith("_"):
                assert name not in shown
            else:
                assert shown[name] == value
        if self.turn is None:
            assert self.client == self.tree.public()

    @invariant()
    def the_store_brings_the_committed_state_back(self) -> None:
        snapshot = self.store.snapshot()
        restored = make_tree()
        restored.restore(snapshot)
        for (cls, name), value in self.model.items():
            assert getattr(restored.state(cls), name) == value
        assert restored.version == self.versions

    def teardown(self) -> None:
        if self.turn is not None:
            release(self.turn)


def as_text(model: dict[tuple[type[State], str], Any]) -> str:
    return json.dumps(
        {f"{cls.__name__}.{name}": value for (cls, name), value in model.items()}, sort_keys=True
    )


TestTurnMachine = TurnMachine.TestCase
TestTurnMachine.settings = settings(
    max_examples=settings().max_examples // 2, stateful_step_count=30
)
