"""Values in vars: any type, any change, tracked, sent, undone, stored."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import pickle
from decimal import Decimal
from typing import Any, ClassVar

import attrs
import jsonpatch
import msgspec
import pytest
from clients import NoDoor
from hypothesis import given, settings, strategies as st
from values import Defined, Frozen, Item, Kind, at, changes, containers, kinds

from actorstate import ImmutableStateError, State
from actorstate.state.commit import Commit
from actorstate.state.holders import hold, release
from actorstate.state.patch import Operation, apply
from actorstate.state.schema import Schema
from actorstate.state.shapes import shape_of
from actorstate.state.snapshot import Snapshot
from actorstate.state.tracked import TrackedDict, TrackedList, TrackedSet
from actorstate.state.tree import StateTree
from actorstate.state.turn import Turn
from actorstate.stores.journal import Draft

_names = itertools.count()


def make_state(vars_: dict[str, tuple[Kind, Any]]) -> type[State]:
    """Make a root state with vars of given kinds and defaults."""
    body = {name: default for name, (_, default) in vars_.items()}
    body["__annotations__"] = {name: kind.declared for name, (kind, _) in vars_.items()}
    body["__module__"] = __name__
    return type(State)(f"Generated{next(_names)}", (State,), body, root=True)


def make_tree(cls: type[State]) -> StateTree:
    return StateTree(Schema.of(cls), "token", NoDoor())


def is_turned(commit: Commit) -> bool:
    """Tell whether a commit takes items out of a list, and puts others in."""
    return {"add", "remove"} <= {operation.op for operation in commit.operations}


class World:
    """A tree beside plain values that get the same changes, a client, and a store."""

    def __init__(self, vars_: dict[str, tuple[Kind, Any]]) -> None:
        self.kinds = {name: kind for name, (kind, _) in vars_.items()}
        self.cls = make_state(vars_)
        self.tree = make_tree(self.cls)
        self.model = {name: copy.deepcopy(value) for name, (_, value) in vars_.items()}
        self.store = Draft()
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
            self.store.take(commit)
            operations = msgspec.to_builtins(commit.operations)
            self.client = jsonpatch.apply_patch(json.loads(before), wire(operations))
        turn.note_stored(commit)
        if not goes_on:
            release(turn)
        self.check()
        assert as_json(self.client) == as_json(self.tree.public())
        assert (self.tree.version > versions) == (commit is not None)
        if not any(name.startswith("_") for name in self.kinds):
            is_changed = as_json(self.client) != before
            assert commit is not None or not is_changed
            # Told in vain is no more than that equal items of a list have changed places: to know
            # that would be to compare all of the list.
            assert commit is None or is_changed or is_turned(commit)

    def reload(self) -> None:
        """What the store has makes the same state."""
        snapshot = self.store.snapshot()
        tree = make_tree(self.cls)
        tree.restore(Snapshot(snapshot.version, wire(snapshot.values)))
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
        before = copy.deepcopy(world.model), json.dumps(world.tree.public())
        for _ in range(data.draw(st.integers(0, 5), "changes")):
            world.step(data)
            if data.draw(st.integers(0, 5)) == 0:
                world.commit(turn, goes_on=True)
                before = copy.deepcopy(world.model), json.dumps(world.tree.public())
        if data.draw(st.integers(0, 3), "undo") == 0:
            turn.roll_back()
            release(turn)
            world.model = before[0]
            world.check()
            assert json.dumps(world.tree.public()) == before[1]  # the order of keys, too
        else:
            world.commit(turn)
    world.reload()


# ---- the built-ins' methods, all of them --------------------------------------------------------

READERS = {
    list: set(dir(tuple)) | {"copy", "__reversed__"},
    set: set(dir(frozenset)),
    dict: {
        *dir(object), "get", "items", "keys", "values", "copy", "fromkeys", "__contains__",
        "__getitem__", "__iter__", "__len__", "__or__", "__ror__", "__reversed__",
        "__class_getitem__",
    },
}  # fmt: skip
TRACKED = {list: TrackedList, dict: TrackedDict, set: TrackedSet}


@pytest.mark.parametrize("kind", [list, dict, set])
def test_no_mutator_of_the_built_ins_is_forgotten(kind: type) -> None:
    mutators = set(dir(kind)) - READERS[kind] | {"__init__"}
    assert mutators - set(vars(TRACKED[kind])) == set()


class Everything(State, root=True):
    numbers: list[int] = [3, 1, 2]
    table: dict[str, int] = {"a": 1, "b": 2}
    chosen: set[int] = {1, 2}
    items: list[Item] = [Item("a"), Item("b")]
    frozen: Frozen = Frozen("x", [1])
    pair: tuple[int, list[int]] = (1, [2])
    defined: Defined = Defined(1, {"k": 1})
    text: str = ""

    def change(self) -> None:
        self.text += "x"
        self.numbers += [1]


MUTATIONS: list[Any] = [
    lambda s: s.numbers.append(1),
    lambda s: s.numbers.extend([1]),
    lambda s: s.numbers.insert(0, 1),
    lambda s: s.numbers.pop(),
    lambda s: s.numbers.pop(0),
    lambda s: s.numbers.remove(3),
    lambda s: s.numbers.clear(),
    lambda s: s.numbers.sort(),
    lambda s: s.numbers.reverse(),
    lambda s: s.numbers.__setitem__(0, 9),
    lambda s: s.numbers.__setitem__(slice(0, 1), [9]),
    lambda s: s.numbers.__setitem__(slice(None, None, 2), [8, 9]),
    lambda s: s.numbers.__delitem__(0),
    lambda s: s.numbers.__delitem__(slice(0, 2)),
    lambda s: s.numbers.__delitem__(slice(None, None, 2)),
    lambda s: s.numbers.__iadd__([1]),
    lambda s: s.numbers.__imul__(2),
    lambda s: s.numbers.__imul__(0),
    lambda s: s.numbers.__init__([1]),
    lambda s: s.table.__setitem__("c", 1),
    lambda s: s.table.__setitem__("a", 7),
    lambda s: s.table.__delitem__("a"),
    lambda s: s.table.pop("a"),
    lambda s: s.table.popitem(),
    lambda s: s.table.setdefault("c", 1),
    lambda s: s.table.update(a=5),
    lambda s: s.table.update({"c": 5}),
    lambda s: s.table.clear(),
    lambda s: s.table.__ior__({"c": 1}),
    lambda s: s.table.__init__({"c": 1}),
    lambda s: s.chosen.add(5),
    lambda s: s.chosen.discard(1),
    lambda s: s.chosen.remove(1),
    lambda s: s.chosen.pop(),
    lambda s: s.chosen.clear(),
    lambda s: s.chosen.update({5}),
    lambda s: s.chosen.difference_update({1}),
    lambda s: s.chosen.intersection_update({1}),
    lambda s: s.chosen.symmetric_difference_update({1}),
    lambda s: s.chosen.__ior__({5}),
    lambda s: s.chosen.__iand__({1}),
    lambda s: s.chosen.__isub__({1}),
    lambda s: s.chosen.__ixor__({1}),
    lambda s: s.chosen.__init__({5}),
    lambda s: setattr(s.items[0], "name", "z"),
    lambda s: s.items[1].tags.append("t"),
    lambda s: [setattr(item, "count", 5) for item in s.items],
    lambda s: s.frozen.many.append(1),
    lambda s: s.pair[1].append(1),
    lambda s: setattr(s.defined, "_private", 5),
    lambda s: s.defined.table.update(k=2),
    lambda s: setattr(s, "text", "x"),
    lambda s: s.__setattr__("numbers", [1]),
    lambda s: s.change(),
    lambda s: s.reset(),
]


def values_of(state: Any) -> str:
    return repr([getattr(state, name) for name in Everything.definition().vars])


@pytest.mark.parametrize("number", range(len(MUTATIONS)))
def test_what_changes_in_a_turn_is_refused_outside_of_it_and_undone_with_it(number: int) -> None:
    mutate = MUTATIONS[number]
    tree = make_tree(Everything)
    state: Any = tree.root
    before, shown = values_of(state), tree.public()
    with pytest.raises(ImmutableStateError, match="Everything.* was not changed: it can be"):
        mutate(state)
    assert values_of(state) == before

    turn = tree.open_turn("test")
    with pytest.raises(ImmutableStateError):
        mutate(state)  # somebody else's turn
    hold(turn)
    mutate(state)
    release(turn)
    changed = values_of(state) != before
    assert changed == (mutate is not MUTATIONS[-1])  # a reset changes nothing here
    turn.roll_back()
    assert values_of(state) == before
    assert tree.public() == shown
    with pytest.raises(ImmutableStateError):
        mutate(state)


def test_a_reference_from_an_earlier_turn_is_refused_as_well() -> None:
    tree = make_tree(Everything)
    state: Any = tree.root
    turn = tree.open_turn("test")
    hold(turn)
    kept = [state.numbers, state.items[0], state.items[0].tags, *state.items, state.table]
    orphan = state.items[1]
    del state.items[1]
    state.numbers = [1]
    release(turn)
    turn.note_stored(turn.commit())
    attempts: list[Any] = [
        lambda: kept[0].append(1),
        lambda: setattr(kept[1], "name", "z"),
        lambda: kept[2].append("t"),
        lambda: setattr(orphan, "name", "z"),
        lambda: kept[-1].update(a=2),
    ]
    for attempt in attempts:
        with pytest.raises(ImmutableStateError):
            attempt()
    assert (orphan.name, kept[0]) == ("b", [3, 1, 2])


def test_what_was_taken_out_changes_nothing_of_the_state_and_is_undone_too() -> None:
    tree = make_tree(Everything)
    state: Any = tree.root
    turn = tree.open_turn("test")
    hold(turn)
    taken = state.items[0]
    popped = state.items.pop(0)
    taken.name = "changed"
    popped.name = "mine"
    assert [item.name for item in state.items] == ["b"]
    release(turn)
    popped.name = "free"  # what leaves the state is the caller's
    turn.roll_back()
    assert [item.name for item in state.items] == ["a", "b"]


def test_a_value_is_in_one_place_only() -> None:
    tree = make_tree(Everything)
    state: Any = tree.root
    turn = tree.open_turn("test")
    hold(turn)
    mine = Item("mine")
    state.items.append(mine)
    state.items.append(state.items[-1])
    mine.name = "later"
    state.items[-1].name = "second"
    state.items[0], state.items[1] = state.items[1], state.items[0]
    state.items[0].count = 7
    assert [item.name for item in state.items] == ["b", "a", "mine", "second"]
    assert [item.count for item in state.items] == [7, 0, 0, 0]
    release(turn)
    turn.roll_back()


# ---- like the plain types -----------------------------------------------------------------------


def test_tracked_values_behave_as_the_plain_ones() -> None:
    state: Any = make_tree(Everything).root
    plain = {
        "numbers": [3, 1, 2], "table": {"a": 1, "b": 2}, "chosen": {1, 2},
        "items": [Item("a"), Item("b")], "defined": Defined(1, {"k": 1}),
    }  # fmt: skip
    for name, value in plain.items():
        tracked = getattr(state, name)
        assert isinstance(tracked, type(value))
        assert tracked == value
        assert value == tracked
        assert repr(tracked) == repr(value)
        for copied in (copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v)), copy.copy):  # noqa: S301
            again = copied(tracked)
            assert again == value
            assert type(again) is type(value)
    assert json.dumps([state.numbers, state.table]) == '[[3, 1, 2], {"a": 1, "b": 2}]'
    numbers = state.numbers
    for made in (numbers[:2], numbers + [1], [1] + numbers, numbers * 2, sorted(numbers),  # noqa: RUF005
                 numbers.copy(), type(numbers)([1])):  # fmt: skip
        assert type(made) is list
    for made in (state.table | {}, {} | state.table, state.table.copy(), dict(state.table)):
        assert type(made) is dict
    for made in (state.chosen | {5}, state.chosen & {1}, state.chosen - {1}, state.chosen ^ {1},
                 state.chosen.copy(), state.chosen.union([7])):  # fmt: skip
        assert type(made) is set
    assert len(state.items) == 2
    assert copy.deepcopy(state.items)[0].tags.append("free") is None


def test_instances_behave_as_those_of_their_class() -> None:
    state: Any = make_tree(Everything).root
    item, defined = state.items[0], state.defined
    assert dataclasses.asdict(item) == {"name": "a", "count": 0, "tags": []}
    assert type(dataclasses.replace(item, name="z")) is Item
    assert type(attrs.evolve(defined, private=2)) is Defined
    assert attrs.asdict(defined) == {"_private": 1, "table": {"k": 1}}
    assert (item.__class__, isinstance(item, Item)) == (Item, True)
    with pytest.raises(AttributeError, match=r"Item has no field 'nmae' \(it has: name, count"):
        item.nmae = "x"


# ---- patches of the size of the change ----------------------------------------------------------


class Large(State, root=True):
    numbers: list[int] = list(range(100_000))
    items: list[Item] = [Item(str(number)) for number in range(10_000)]
    chosen: set[int] = set(range(1_000))
    table: dict[str, Item] = {str(number): Item() for number in range(1_000)}


def operations(tree: StateTree, change: Any) -> list[tuple[Any, ...]]:
    turn = tree.open_turn("test")
    hold(turn)
    change(tree.root)
    release(turn)
    commit = turn.commit()
    turn.note_stored(commit)
    told = () if commit is None else msgspec.to_builtins(commit.operations)
    return [tuple(operation.values()) for operation in told]


def test_a_list_that_is_turned_by_equal_items_reads_as_before_and_tells_nothing() -> None:
    class Turned(State, root=True):
        sets: list[set[int]] = [{1}, {1}]

    def turn(state: Any) -> None:
        state.sets.append(set())
        state.sets.pop(0)
        state.sets[1].add(1)

    assert operations(make_tree(Turned), turn) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s.numbers.append(7), [("add", "/large/numbers/100000", 7)]),
        (lambda s: s.numbers.insert(0, 7), [("add", "/large/numbers/0", 7)]),
        (lambda s: s.numbers.pop(0), [("remove", "/large/numbers/0")]),
        (lambda s: s.numbers.__setitem__(50_000, 7), [("replace", "/large/numbers/50000", 7)]),
        (lambda s: s.numbers.clear(), [("replace", "/large/numbers", [])]),
        (lambda s: setattr(s.items[5_000], "count", 7),
         [("replace", "/large/items/5000/count", 7)]),
        (lambda s: s.items[5_000].tags.append("t"), [("add", "/large/items/5000/tags/0", "t")]),
        (lambda s: s.chosen.add(5_000), [("add", "/large/chosen/1000", 5_000)]),
        (lambda s: s.chosen.discard(10), [("remove", "/large/chosen/10")]),
        (lambda s: setattr(s.table["7"], "name", "x"), [("replace", "/large/table/7/name", "x")]),
        (lambda s: s.table.pop("7"), [("remove", "/large/table/7")]),
        (lambda s: [s.numbers.append(1) or s.numbers.pop() for _ in range(9)], []),
        (lambda s: [setattr(s.items[3], "count", n) for n in (1, 2, 0)], []),
        (lambda s: [s.chosen.add(-1), s.chosen.discard(-1)], []),
        (lambda s: setattr(s, "table", dict(s.table)), []),
        (lambda s: [s.numbers.append(1), s.numbers.__setitem__(-1, 2)],
         [("add", "/large/numbers/100000", 2)]),
        (lambda s: [s.items.append(Item()), setattr(s.items[-1], "count", 3)],
         [("add", "/large/items/10000", {"name": "", "count": 3, "tags": []})]),
        (lambda s: [s.items.pop(0), setattr(s.items[0], "count", 3)],
         [("remove", "/large/items/0"), ("replace", "/large/items/0/count", 3)]),
        (lambda s: [setattr(s.items[9], "count", 3), s.items.pop(9)],
         [("remove", "/large/items/9")]),
    ],
)  # fmt: skip
def test_a_patch_has_the_size_of_the_change(change: Any, expected: list[Any]) -> None:
    tree = make_tree(Large)
    assert operations(tree, change) == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda s: [s.numbers.append(n) for n in range(10_000)],
        lambda s: [s.numbers.pop(0) for _ in range(10_000)],
        lambda s: [s.numbers.__setitem__(n * 7, -n) for n in range(10_000)],
        lambda s: [s.numbers.insert(n * 5, -n) for n in range(3_000)],
        lambda s: [s.items.insert(0, Item()) or setattr(s.items[-1 - n], "count", 1)
                   for n in range(1_000)],
        lambda s: s.numbers.__delitem__(slice(None, None, 2)),
    ],
)  # fmt: skip
def test_many_changes_in_one_turn_fold_in_time(change: Any) -> None:
    tree = make_tree(Large)
    before = copy.deepcopy(tree.public())
    turn = tree.open_turn("test")
    hold(turn)
    change(tree.root)
    release(turn)
    commit = turn.commit()
    turn.note_stored(commit)
    assert commit is not None
    document: Any = before
    apply(document, commit.operations)
    assert document == tree.public()


# ---- what a review found ------------------------------------------------------------------------


@dataclasses.dataclass
class Priced:
    price: int = 1

    def __post_init__(self) -> None:
        self.price *= 100

    def raised(self) -> Priced:
        return type(self)(self.price)

    @classmethod
    def free(cls) -> Priced:
        return cls(0)


@dataclasses.dataclass
class Versioned:
    name: str = ""
    version: int = 0

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "name" and hasattr(self, "version"):
            super().__setattr__("version", self.version + 1)


@attrs.define
class Split:
    tags: list[str] = attrs.field(converter=lambda text: text.split(","), default="")  # pyright: ignore
    size: int = attrs.field(validator=attrs.validators.ge(0), default=0)


@dataclasses.dataclass(frozen=True)
class WithClassVar:
    EMPTY: ClassVar[WithClassVar]
    items: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Nested:
    inside: frozenset[Nested] = frozenset()


class Reviewed(State, root=True):
    untyped: Any = {"a": [1]}
    any_list: list[Any] = [1, [2]]
    numbers: list[int] = [1, 2, 3]
    by_number: dict[int, str] = {1: "a", 2: "b"}
    by_decimal: dict[Decimal, str] = {Decimal(1): "a"}
    chosen: set[int] = {1, 2}
    priced: Priced = Priced()
    versioned: Versioned = Versioned()
    split: Split = Split("a,b")
    with_class_var: list[WithClassVar] = [WithClassVar([1])]
    nested: Nested = Nested(frozenset({Nested()}))


def review(change: Any) -> tuple[StateTree, list[tuple[Any, ...]]]:
    """Make a change in a turn; the patch has to be right, and the turn could be undone."""
    tree = make_tree(Reviewed)
    shown, read = wire(tree.public()), repr(tree.root)
    turn = tree.open_turn("test")
    hold(turn)
    change(tree.root)
    turn.roll_back()
    release(turn)
    assert (repr(tree.root), tree.public()) == (read, shown)
    made = operations(tree, change)
    apply(shown, [Operation(*one) for one in made])
    assert shown == tree.public()
    return tree, made


REVIEWED: list[Any] = [
    lambda s: [s.untyped["a"].append(2), s.untyped.update(a=list(s.untyped["a"]))],
    lambda s: [s.any_list.reverse(), s.any_list.reverse(), s.any_list[1].append(3)],
    lambda s: s.numbers.extend(s.numbers.pop(0) for _ in range(2)),
    lambda s: s.numbers.__setitem__(slice(0, 1), (s.numbers.pop() for _ in range(2))),
    lambda s: s.by_number.pop(True),
    lambda s: s.by_number.__delitem__(1.0),
    lambda s: s.by_decimal.__setitem__(Decimal("1.0"), "z"),
    lambda s: s.by_decimal.pop(Decimal("1.00")),
    lambda s: s.chosen.discard(True),
    lambda s: s.chosen.difference_update({1.0}),
    lambda s: setattr(s, "priced", s.priced.raised()),
    lambda s: setattr(s, "priced", type(s.priced).free()),
    lambda s: setattr(s.versioned, "name", "x"),
    lambda s: setattr(s.split, "tags", "c,d,e"),
    lambda s: s.with_class_var.__setitem__(0, WithClassVar([2])),
    lambda s: s.with_class_var[0].items.append(5),
]


@pytest.mark.parametrize("number", range(len(REVIEWED)))
def test_what_a_review_found(number: int) -> None:
    _, made = review(REVIEWED[number])
    assert made


def test_a_key_or_element_that_is_equal_is_the_one_that_is_there() -> None:
    tree, made = review(lambda s: s.by_decimal.__setitem__(Decimal("1.0"), "z"))
    assert made == [("replace", "/reviewed/by_decimal/1", "z")]
    assert str(tree.root.by_decimal) == "{Decimal('1'): 'z'}"  # pyright: ignore


def test_an_instance_comes_back_from_the_snapshot_as_it_was() -> None:
    tree, _ = review(lambda s: setattr(s, "priced", s.priced.raised()))
    again = make_tree(Reviewed)
    shown = tree.public()["reviewed"]
    values = {name: wire(shown[name]) for name in ("priced", "split", "nested")}
    again.restore(Snapshot(1, {"reviewed": values}))
    before, after = tree.root, again.root
    assert after.priced == before.priced == Priced(100)  # pyright: ignore
    assert (after.split, after.nested) == (before.split, before.nested)  # pyright: ignore


def test_what_is_handed_over_does_not_change_any_more() -> None:
    tree = make_tree(Reviewed)
    turn = tree.open_turn("test")
    hold(turn)
    root: Any = tree.root
    root.untyped = [1]
    commit = turn.checkpoint()
    shown = tree.public()["reviewed"]["untyped"]
    root.untyped.append(2)
    assert commit is not None
    assert commit.operations[0].value == shown == [1]
    release(turn)
    turn.roll_back()


def test_a_validator_refuses_before_anything_is_changed() -> None:
    tree = make_tree(Reviewed)
    turn = tree.open_turn("test")
    hold(turn)
    root: Any = tree.root
    with pytest.raises(ValueError, match="'size' must be >= 0"):
        root.split.size = -1
    assert root.split.size == 0
    with pytest.raises(TypeError, match=r"Reviewed.numbers\[2\] takes int, got 'q'"):
        root.numbers[::2] = [9, "q"]
    with pytest.raises(TypeError, match=r"Reviewed.numbers\[4\] takes int, got 'q'"):
        root.numbers.extend([1, "q"])
    release(turn)
    assert turn.commit() is None


def test_deleting_from_the_front_of_a_dict_keeps_the_order_when_it_is_undone() -> None:
    tree = make_tree(Large)
    root: Any = tree.root
    before = list(root.table)
    turn = tree.open_turn("test")
    hold(turn)
    for key in before[:500]:
        del root.table[key]
    root.table["new"] = Item()
    root.table.popitem()
    del root.table[before[700]]
    root.table.popitem()
    release(turn)
    turn.roll_back()
    assert list(root.table) == before
