"""Types of vars: what is refused when a class is defined, and what when a value is given."""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from collections.abc import Sequence
from datetime import date, datetime, timedelta, timezone
from typing import Any, Generic, Literal, TypeVar
from zoneinfo import ZoneInfo

import msgspec
import pytest
from clients import NoDoor
from hypothesis import given, settings, strategies as st
from values import (
    Box,
    Color,
    Flags,
    Frozen,
    Item,
    Kind,
    Node,
    Options,
    Pair,
    kinds,
)

from actorstate import State, StateDefinitionError
from actorstate.state.convert import UNFIT, error_details
from actorstate.state.holders import hold, release
from actorstate.state.schema import Schema
from actorstate.state.shapes import converter, shape_of
from actorstate.state.snapshot import Snapshot
from actorstate.state.tree import StateTree

T = TypeVar("T")


def define(declared: Any, default: Any) -> type[State]:
    body = {"__annotations__": {"value": declared}, "value": default, "__module__": __name__}
    return type(State)("Holder", (State,), body, root=True)


# ---- when a class is defined --------------------------------------------------------------------


@dataclasses.dataclass
class OneInt:
    value: int = 0


@dataclasses.dataclass
class OneText:
    value: str = ""


@dataclasses.dataclass
class WithInitVar:
    given: dataclasses.InitVar[int]
    kept: int = 0


@dataclasses.dataclass
class Holds(Generic[T]):
    item: T


@pytest.mark.parametrize(
    ("declared", "default", "reason"),
    [
        (complex, 1j, "complex is not known"),
        (list[complex], [], "complex is not known"),
        (dict[str, list[object]] | complex, {}, "complex is not known"),
        (Sequence[int], [], "is not known"),
        (deque[int], deque[int](), "is not known"),
        (date | str, "", "cannot tell date and str apart in JSON: each is text"),
        (list[int] | set[int], [], "apart in JSON: each is an array"),
        (OneInt | OneText, OneInt(), "give each a field such as .kind: Literal"),
        (OneInt | dict[str, int], {}, "apart in JSON: each is an object"),
        (dict[tuple[int, int], int], {}, "cannot be the key of a dict"),
        (dict[int | str, int], {}, "cannot be the key of a dict"),
        (set[list[int]], set[Any](), r"has elements that can be changed: list\[int\]"),
        (frozenset[Item], frozenset[Any](), "has elements that can be changed: Item"),
        (WithInitVar, WithInitVar(1), "has an InitVar, which no instance keeps"),
        (Holds, Holds(1), r"does not say what ~T is; write Holds\[int\]"),
        (tuple, (), r"does not say what is in it; write tuple\[int, ...\]"),
        (type, int, "is not known"),
    ],
)
def test_a_type_without_a_way_to_a_snapshot_and_back_is_refused_with_its_class(
    declared: Any, default: Any, reason: str
) -> None:
    with pytest.raises(StateDefinitionError, match=f"Holder.value: type .* JSON form.*{reason}"):
        define(declared, default)


def test_a_default_of_another_type_is_refused_with_its_class() -> None:
    with pytest.raises(StateDefinitionError, match=r"Holder.value\[1\] takes int, got 'x'"):
        define(list[int], [1, "x"])


# ---- when a value is given ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "default", "value", "message"),
    [
        (list[int], [], (1,), r"Holder.value takes list\[int\], got \(1,\)"),
        (list[list[int]], [], [[1], [True]], r"Holder.value\[1\]\[0\] takes int, got True"),
        (dict[int, str], {}, {"1": "a"}, "takes int, got '1'"),
        (dict[str, Item], {}, {"a": Item(count="1")}, r"value\['a'\].count takes int, got '1'"),  # pyright: ignore
        (Item, Item(), OneInt(), r"takes Item, got OneInt\(value=0\)"),
        (Box[int], Box(1, []), Box("a", []), r"Holder.value.value takes int, got 'a'"),
        (Pair, Pair(1, []), (1, []), r"takes Pair, got \(1, \[\]\)"),
        (Pair, Pair(1, []), Pair(1, ["x"]), r"value.right\[0\] takes int, got 'x'"),  # pyright: ignore
        (Options, {"size": 1}, {"deep": []}, "takes Options.*it has no 'size'"),
        (Options, {"size": 1}, {"size": 1, "more": 2}, "no key 'more', only size, deep"),
        (tuple[int, str], (1, ""), (1, "", 2), r"takes tuple\[int, str\]"),
        (Color, Color.RED, "red", "takes Color, got 'red'"),
        (Literal[1, "a"], 1, True, "got True"),
        (int | None, None, 1.0, r"takes int \| None, got 1.0"),
        (int | str, 1, True, r"takes int \| str, got True"),
        (date, date(2020, 1, 1), datetime(2020, 1, 1), "takes date, got datetime"),  # noqa: DTZ001
        (bytes, b"", "x", "takes bytes, got 'x'"),
        (Any, None, {1: 2}, "takes str, got 1"),
        (Any, None, object(), "only what JSON has can be in it"),
        (list[Any], [], [{"a": {1}}], r"\[0\]\['a'\].*only what JSON has"),
    ],
)
def test_a_value_of_another_type_is_a_type_error_that_says_where(
    declared: Any, default: Any, value: Any, message: str
) -> None:
    tree = StateTree(Schema.of(define(declared, default)), "token", NoDoor())
    before = tree.root.value  # pyright: ignore
    turn = tree.open_turn("test")
    hold(turn)
    with pytest.raises(TypeError, match=message):
        tree.root.value = value  # pyright: ignore
    release(turn)
    assert tree.root.value is before  # pyright: ignore
    assert turn.commit() is None


def test_a_value_that_contains_itself_is_a_type_error() -> None:
    tree = StateTree(Schema.of(define(list[Any], [])), "token", NoDoor())
    circle: list[Any] = []
    circle.append(circle)
    turn = tree.open_turn("test")
    hold(turn)
    with pytest.raises(TypeError, match="Holder.value cannot hold a value that .* contains itself"):
        tree.root.value = circle  # pyright: ignore
    release(turn)


# ---- from JSON ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "sent"),
    [
        (list[str], "abc"), (set[str], "abc"), (tuple[str, ...], "abc"), (frozenset[str], "abc"),
        (list[str], {"a": 1}), (list[Any], "abc"), (list, {"a": 1}), (tuple[int, str], "1a"),
        (tuple[int, str], [1]), (tuple[int, str], [1, "a", 2]), (dict[int, int], {"01": 1}),
        (dict[int, int], {"x": 1}), (dict[str, int], [["a", 1]]), (bool, "false"), (int, 1.9),
        (int, True), (int, "1"), (str, None), (float, "1"), (Options, {"size": 1, "x": 2}),
        (Options, {}), (Pair, {"left": 1, "right": [], "x": 1}), (Pair, [1, []]), (Item, {"x": 1}),
        (Color, True), (Color, "green"), (Literal[1], True), (int | None, "1"), (date, "tomorrow"),
        (timedelta, "1"), (timedelta, True), (bytes, "?"), (Frozen, {"label": "a"}), (Flags, "1"),
    ],
)  # fmt: skip
def test_json_of_another_type_is_refused(declared: Any, sent: Any) -> None:
    with pytest.raises(UNFIT) as caught:
        converter.structure(sent, declared)
    assert error_details(caught.value, "$")


def test_an_aware_datetime_is_kept_as_it_will_come_back() -> None:
    tree = StateTree(
        Schema.of(define(datetime, datetime(2020, 1, 1))),  # noqa: DTZ001
        "token",
        NoDoor(),
    )
    turn = tree.open_turn("test")
    hold(turn)
    summer = datetime(2020, 7, 1, tzinfo=ZoneInfo("Europe/Berlin"))
    tree.root.value = summer  # pyright: ignore
    release(turn)
    kept: datetime = tree.root.value  # pyright: ignore
    assert kept == summer
    assert kept.tzinfo == timezone(timedelta(hours=2))


@pytest.mark.parametrize("microseconds", [1, -1, 999_999, -999_999, 1_000_001, 0])
def test_an_offset_of_less_than_a_second_comes_back(microseconds: int) -> None:
    """A law has found it: Python 3.11 reads such an offset as none."""
    moment = datetime(2000, 1, 1, tzinfo=timezone(timedelta(microseconds=microseconds)))
    shape = shape_of(datetime)
    back = shape.from_plain(shape.to_plain(moment))
    assert (back, back.utcoffset()) == (moment, moment.utcoffset())


@settings(max_examples=settings().max_examples * 5)
@given(kinds().flatmap(lambda kind: st.tuples(st.just(kind), kind.values)))
def test_law_every_value_comes_back_from_the_snapshot_and_from_the_wire(
    drawn: tuple[Kind, Any],
) -> None:
    kind, value = drawn
    cls = define(kind.declared, value)
    tree = StateTree(Schema.of(cls), "token", NoDoor())
    shown = tree.public()["holder"]["value"]
    shape = shape_of(kind.declared)
    for back in (json.loads(json.dumps(shown)), msgspec.json.decode(msgspec.json.encode(shown))):
        assert same(shape.from_plain(back), value)
        again = StateTree(Schema.of(cls), "token", NoDoor())
        again.restore(Snapshot(1, {"holder": {"value": back}}))
        assert same(again.root.value, value)  # pyright: ignore
        assert again.public()["holder"]["value"] == shown


def same(one: Any, other: Any) -> bool:
    return one == other and repr(type(one).__name__) in {
        repr(type(other).__name__),
        repr(f"Tracked{type(other).__name__.title()}"),
    }


def test_a_record_may_contain_itself() -> None:
    tree = StateTree(Schema.of(define(Node, Node("root"))), "token", NoDoor())
    turn = tree.open_turn("test")
    hold(turn)
    root: Node = tree.root.value  # pyright: ignore
    root.children.append(Node("child", by_number={7: Node("seven")}))
    root.children[0].by_number[7].name = "eight"
    root.children[0].by_number[7].other = root
    release(turn)
    commit = turn.commit()
    assert commit is not None
    assert [operation.path for operation in commit.operations] == ["/holder/value/children/0"]
    assert root.children[0].by_number[7].other is not root
