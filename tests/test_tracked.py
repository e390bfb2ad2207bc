"""Values in vars: any type, any change, tracked, sent, undone, stored."""

from __future__ import annotations

import copy
import itertools
import json
from typing import Any

import jsonpatch
import trio
from clients import NoDoor
from hypothesis import given, settings, strategies as st
from values import Kind, at, changes, containers, kinds

from actorstate import MemoryStore, State
from actorstate.state.shapes import shape_of
from actorstate.state.tree import Schema, StateTree
from actorstate.state.turn import Turn, hold, release

_names = itertools.count()


def make_state(vars_: dict[str, tuple[Kind, Any]]) -> type[State]:
    """Make a root state with vars of given kinds and defaults."""
    body = {name: default for name, (_, default) in vars_.items()}
    body["__annotations__"] = {name: kind.declared for name, (kind, _) in vars_.items()}
    body["__module__"] = __name__
    return type(State)(f"Generated{next(_names)}", (State,), body, root=True)


def make_tree(cls: type[State]) -> StateTree:
    return StateTree(Schema.of(cls), "token", NoDoor())


class World:
    """A tree beside plain values that get the same changes, a client, and a store."""

    def __init__(self, vars_: dict[str, tuple[Kind, Any]]) -> None:
        self.kinds = {name: kind for name, (kind, _) in vars_.items()}
        self.cls = make_state(vars_)
        self.tree = make_tree(self.cls)
        self.model = {name: copy.deepcopy(value) for name, (_, value) in vars_.items()}
        self.store = MemoryStore()
        self.client: Any = copy.deepcopy(self.tree.public())
        self.check()

    @property
    def state(self) -> State:
        return self.tree.root

    def open(self) -> Turn:
        turn = self.tree.open_turn("law")
        hold(turn)
        return turn

    def plain(self) -> dict[str, Any]:
        return {
            name: shape_of(kind.declared).to_plain(self.model[name])
            for name, kind in self.kinds.items()
        }

    def check(self) -> None:
        """The state reads as the model, in Python and in JSON."""
        for name in self.kinds:
            assert getattr(self.state, name) == self.model[name]
        shown = self.tree.public()[self.cls.get_full_name()]
        assert as_json(shown) == as_json(
            {name: plain for name, plain in self.plain().items() if not name.startswith("_")}
        )

    def step(self, data: st.DataObject) -> None:
        """Change the state and the model alike."""
        name = data.draw(st.sampled_from(sorted(self.kinds)))
        kind = self.kinds[name]
        places = list(containers(kind, self.model[name]))
        if not places or data.draw(st.integers(0, 4)) == 0:
            value = data.draw(kind.values)
            setattr(self.state, name, value)
            self.model[name] = copy.deepcopy(value)
            return
        inner, way = data.draw(st.sampled_from(places))
        change = data.draw(changes(inner, at(self.model[name], way)))
        expected = outcome(change, at(self.model[name], way))
        assert outcome(change, at(getattr(self.state, name), way)) == expected
        # A plain list may now have one object in two places, where a state has two.
        shape = shape_of(kind.declared)
        self.model[name] = shape.from_plain(shape.to_plain(self.model[name]))

    def commit(self, turn: Turn, *, goes_on: bool = False) -> None:
        before, versions = as_json(self.client), self.tree.version
        commit = turn.checkpoint() if goes_on else turn.commit()
        if commit is not None:
            trio.run(self.store.commit, "token", commit)
            operations = [operation.to_json() for operation in commit.operations]
            self.client = jsonpatch.apply_patch(json.loads(before), wire(operations))
        turn.stored(commit)
        if not goes_on:
            release(turn)
        self.check()
        assert as_json(self.client) == as_json(self.tree.public())
        assert (self.tree.version > versions) == (commit is not None)
        if not any(name.startswith("_") for name in self.kinds):
            assert (commit is not None) == (as_json(self.client) != before)

    def reload(self) -> None:
        """What the store has makes the same state."""
        snapshot = trio.run(self.store.load, "token")
        tree = make_tree(self.cls)
        if snapshot is not None:
            tree.restore(snapshot.version, wire(snapshot.values))
        for name in self.kinds:
            assert getattr(tree.root, name) == self.model[name]
        assert as_json(tree.public()) == as_json(self.tree.public())


def outcome(change: Any, value: Any) -> tuple[Any, Any]:
    try:
        return copy.deepcopy(change(value)), None
    except (ValueError, IndexError, KeyError, TypeError) as error:
        return None, (type(error), str(error))


def wire(value: Any) -> Any:
    return json.loads(json.dumps(value))


def as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    names = draw(st.lists(st.sampled_from(["a", "b", "_c"]), min_size=1, unique=True))
    drawn = {name: draw(kinds()) for name in names}
    return World({name: (kind, draw(kind.values)) for name, kind in drawn.items()})


@settings(max_examples=settings().max_examples * 7)
@given(worlds(), st.data())
def test_law_a_patch_takes_the_state_before_to_the_state_after(
    world: World, data: st.DataObject
) -> None:
    """Three turns each, every turn of several changes; some checkpoint, some are undone."""
    for _ in range(3):
        turn = world.open()
        before = copy.deepcopy(world.model), as_json(world.tree.public())
        for _ in range(data.draw(st.integers(0, 5), "changes")):
            world.step(data)
            if data.draw(st.integers(0, 5)) == 0:
                world.commit(turn, goes_on=True)
                before = copy.deepcopy(world.model), as_json(world.tree.public())
        if data.draw(st.integers(0, 3), "undo") == 0:
            turn.roll_back()
            release(turn)
            world.model = before[0]
            world.check()
            assert as_json(world.tree.public()) == before[1]
        else:
            world.commit(turn)
    world.reload()
