"""Types of vars, with values of them, and changes of such values: for laws about any state.

A `Kind` is a declared type with a strategy of its values. What may be done to a value is a list
of functions that do the same to a plain value as to a tracked one, so that the plain one is the
model of the other.
"""

from __future__ import annotations

import copy
import dataclasses
import enum
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar
from uuid import UUID

import attrs
from hypothesis import strategies as st

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    BLUE = 2


class Flags(enum.Flag):
    A = 1
    B = 2


class Mode(enum.StrEnum):
    ON = "on"
    OFF = "off"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 9


@dataclasses.dataclass
class Item:
    name: str = ""
    count: int = 0
    tags: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class Slotted:
    x: int
    inner: Item


@dataclasses.dataclass(frozen=True)
class Frozen:
    label: str
    many: list[int]


@dataclasses.dataclass
class Box(Generic[T]):
    value: T
    more: list[T]


@dataclasses.dataclass
class Node:
    name: str
    children: list[Node] = dataclasses.field(default_factory=list)
    by_number: dict[int, Node] = dataclasses.field(default_factory=dict)
    other: Node | None = None


@attrs.define
class Defined:
    _private: int
    table: dict[str, int]


@attrs.frozen
class AttrsFrozen:
    when: date
    parts: tuple[Item, ...]


class Pair(NamedTuple):
    left: int
    right: list[int]


class Options(TypedDict):
    size: int
    deep: NotRequired[list[int]]


@dataclasses.dataclass
class Circle:
    kind: Literal["circle"] = "circle"
    size: int = 0


@dataclasses.dataclass
class Square:
    kind: Literal["square"] = "square"
    size: int = 0


@dataclasses.dataclass(frozen=True)
class Kind:
    """A declared type, values of it, and the kinds of what is in them."""

    declared: Any
    values: st.SearchStrategy[Any]
    inner: Callable[[Any], Kind] | None = None
    """The kind of what is at a key of a value."""

    def __repr__(self) -> str:
        return f"Kind({self.declared})"


def scalar(declared: Any, values: st.SearchStrategy[Any]) -> Kind:
    return Kind(declared, values)


texts = st.text(st.characters(codec="utf-8"), max_size=3)
numbers = st.integers(-5, 5) | st.integers()
floats = st.floats(allow_nan=False, allow_infinity=False)
offsets = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone)

TEXT = scalar(str, texts)
INTEGER = scalar(int, numbers)
SCALARS = [
    TEXT,
    INTEGER,
    scalar(bool, st.booleans()),
    scalar(float, floats),
    scalar(type(None), st.none()),
    scalar(bytes, st.binary(max_size=3)),
    scalar(date, st.dates()),
    scalar(datetime, st.datetimes(timezones=st.none() | st.just(UTC) | offsets)),
    scalar(time, st.times()),
    scalar(timedelta, st.timedeltas(timedelta(days=-90_000), timedelta(days=90_000))),
    scalar(UUID, st.uuids()),
    scalar(Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    scalar(Path, st.sampled_from([Path("/tmp/x"), Path("a/b"), Path()])),  # noqa: S108
    scalar(Color, st.sampled_from(Color)),
    scalar(Level, st.sampled_from(Level)),
    scalar(Mode, st.sampled_from(Mode)),
    scalar(Flags, st.sampled_from([Flags.A, Flags.A | Flags.B, Flags(0)])),
    scalar(Literal["a", 1] | None, st.sampled_from(["a", 1, None])),
    scalar(int | str, st.one_of(numbers, texts)),
    scalar(float | None, st.none() | floats),
    scalar(int | float | bool, st.one_of(numbers, floats, st.booleans())),
]
HASHABLE = [kind for kind in SCALARS if kind.declared != int | float | bool]
KEYS = [
    kind for kind in HASHABLE
    if kind.declared in (str, int, bool, float, date, UUID, Color, Level, Mode, Decimal, bytes)
]  # fmt: skip


def list_of(item: Kind) -> Kind:
    return Kind(list[item.declared], st.lists(item.values, max_size=4), lambda _: item)


def dict_of(key: Kind, value: Kind) -> Kind:
    declared = dict[key.declared, value.declared]
    return Kind(declared, st.dictionaries(key.values, value.values, max_size=3), lambda _: value)


def set_of(element: Kind) -> Kind:
    return Kind(set[element.declared], st.sets(element.values, max_size=4))


def frozenset_of(element: Kind) -> Kind:
    return Kind(frozenset[element.declared], st.frozensets(element.values, max_size=3))


def tuple_of(items: list[Kind]) -> Kind:
    declared = tuple[tuple(item.declared for item in items)]
    return Kind(declared, st.tuples(*(item.values for item in items)), lambda key: items[key])


def long_tuple_of(item: Kind) -> Kind:
    values = st.lists(item.values, max_size=3).map(tuple)
    return Kind(tuple[item.declared, ...], values, lambda _: item)


def record(declared: Any, **fields: Kind) -> Kind:
    values = st.builds(declared, **{name: kind.values for name, kind in fields.items()})
    return Kind(declared, values, lambda key: fields[key.lstrip("_")])


def box_of(item: Kind) -> Kind:
    values = st.builds(Box, value=item.values, more=st.lists(item.values, max_size=2))
    inner = {"value": item, "more": list_of(item)}
    return Kind(Box[item.declared], values, inner.__getitem__)


ITEM = record(Item, name=TEXT, count=INTEGER, tags=list_of(TEXT))
SLOTTED = record(Slotted, x=INTEGER, inner=ITEM)
FROZEN = record(Frozen, label=TEXT, many=list_of(INTEGER))
DEFINED = record(Defined, private=INTEGER, table=dict_of(TEXT, INTEGER))
ATTRS_FROZEN = record(AttrsFrozen, when=scalar(date, st.dates()), parts=long_tuple_of(ITEM))
PAIR = Kind(
    Pair,
    st.builds(Pair, numbers, st.lists(numbers, max_size=2)),
    lambda key: [INTEGER, list_of(INTEGER)][key],
)
OPTIONS = Kind(
    Options,
    st.fixed_dictionaries({"size": numbers}, optional={"deep": st.lists(numbers, max_size=2)}),
    lambda key: {"size": INTEGER, "deep": list_of(INTEGER)}[key],
)
NODE_VALUES: st.SearchStrategy[Node] = st.recursive(
    st.builds(Node, texts),
    lambda inner: st.builds(
        Node,
        texts,
        st.lists(inner, max_size=2),
        st.dictionaries(st.integers(0, 3), inner, max_size=1),
        st.none() | inner,
    ),
    max_leaves=3,
)


def _node_field(key: str) -> Kind:
    return {
        "name": TEXT,
        "children": list_of(NODE),
        "by_number": dict_of(scalar(int, st.integers(0, 3)), NODE),
        "other": OPTIONAL_NODE,
    }[key]


NODE = Kind(Node, NODE_VALUES, _node_field)
OPTIONAL_NODE = Kind(Node | None, st.none() | NODE_VALUES, _node_field)
CIRCLE = record(Circle, size=INTEGER)
SQUARE = record(Square, size=INTEGER)
FIGURE = Kind(Circle | Square, CIRCLE.values | SQUARE.values, lambda _: INTEGER)
UNTYPED_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | numbers | floats | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
UNTYPED = Kind(Any, UNTYPED_VALUES, lambda _: UNTYPED)
LISTS_OR_DICTS = Kind(
    list[int] | dict[str, list[int]] | None,
    st.none() | st.lists(numbers, max_size=3) | dict_of(TEXT, list_of(INTEGER)).values,
    lambda key: list_of(INTEGER) if isinstance(key, str) else INTEGER,
)
RECORDS = [
    ITEM, SLOTTED, FROZEN, DEFINED, ATTRS_FROZEN, PAIR, OPTIONS, NODE, OPTIONAL_NODE, FIGURE,
    UNTYPED, LISTS_OR_DICTS,
]  # fmt: skip


def kinds() -> st.SearchStrategy[Kind]:
    """Any type that a var may have, to some depth."""
    hashable = st.sampled_from(HASHABLE)
    flat = st.sampled_from(SCALARS + RECORDS)
    flat |= st.builds(set_of, hashable | st.builds(tuple_of, st.lists(hashable, max_size=2)))
    flat |= st.builds(frozenset_of, hashable)
    return st.recursive(
        flat,
        lambda inner: st.one_of(
            st.builds(list_of, inner),
            st.builds(dict_of, st.sampled_from(KEYS), inner),
            st.builds(tuple_of, st.lists(inner, max_size=3)),
            st.builds(long_tuple_of, inner),
            st.builds(box_of, inner),
        ),
        max_leaves=3,
    )


# ---- changes ------------------------------------------------------------------------------------


def containers(kind: Kind, value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Kind, Any]]:
    """Give what can be changed in a value: its kind, and the way to it."""
    if isinstance(value, list | dict | set) or is_open_record(value):
        yield kind, way
    for key, item in entries(value):
        assert kind.inner is not None
        yield from containers(kind.inner(key), item, (*way, key))


def entries(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if isinstance(value, dict):
        return sorted(value.items(), key=repr)
    return [(name, getattr(value, name)) for name in field_names(value)]


def field_names(value: Any) -> list[str]:
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value)]
    return [field.name for field in getattr(value, "__attrs_attrs__", ())]


def is_open_record(value: Any) -> bool:
    return bool(field_names(value)) and not isinstance(value, Frozen | AttrsFrozen)


def at(value: Any, way: tuple[Any, ...]) -> Any:
    for key in way:
        is_record = not isinstance(value, list | dict | tuple)
        value = getattr(value, key) if is_record else value[key]
    return value


def rank(value: Any) -> str:
    """Give text to sort by: equal for equal values, which the repr of a set is not."""
    if isinstance(value, set | frozenset):
        return f"{{{sorted(map(rank, value))}}}"
    inner = entries(value)
    return str([rank(item) for _, item in inner]) if inner else repr(value)


Change = Callable[[Any], Any]
"""Does something to a container, and gives what that gives."""


@st.composite
def changes(draw: st.DrawFn, kind: Kind, value: Any) -> Change:
    """A change of a container: of the built-in's own mutators, with fitting values."""
    if isinstance(value, list):
        return draw(list_changes(kind, len(value)))
    if isinstance(value, dict):
        return draw(dict_changes(kind, value))
    if isinstance(value, set):
        return draw(set_changes(kind))
    assert kind.inner is not None
    name = draw(st.sampled_from(field_names(value)))
    new = draw(kind.inner(name).values)
    if isinstance(value, Circle | Square) and name == "kind":
        return lambda one: None
    return lambda one: setattr(one, name, copy.deepcopy(new))


@st.composite
def list_changes(draw: st.DrawFn, kind: Kind, size: int) -> Change:
    assert kind.inner is not None
    item = kind.inner(0)
    index = draw(st.integers(-size - 1, size + 1))
    step = draw(st.sampled_from([None, 1, 2, -1, -2]))
    where = slice(draw(st.none() | st.integers(-3, 3)), draw(st.none() | st.integers(-3, 3)), step)
    one, many = draw(item.values), draw(st.lists(item.values, max_size=3))

    def fresh(value: Any) -> Any:
        return copy.deepcopy(value)

    return draw(
        st.sampled_from(
            [
                lambda v: v.append(fresh(one)),
                lambda v: v.append(fresh(one)),
                lambda v: v.extend(fresh(many)),
                lambda v: v.insert(index, fresh(one)),
                lambda v: v.pop(),
                lambda v: v.pop(index),
                lambda v: v.remove(v[index]),
                lambda v: v.clear(),
                lambda v: v.sort(key=rank),
                lambda v: v.sort(key=rank, reverse=True),
                lambda v: v.reverse(),
                lambda v: v.__setitem__(index, fresh(one)),
                lambda v: v.__setitem__(where, fresh(many)),
                lambda v: v.__delitem__(index),
                lambda v: v.__delitem__(where),
                lambda v: v.__iadd__(fresh(many)) and None,
                lambda v: v.__imul__(index % 3) and None,
                lambda v: v.__init__(fresh(many)),
                lambda v: v.__setitem__(0, v[-1]),
                lambda v: v.extend(v[:2]),
            ]
        )
    )


@st.composite
def dict_changes(draw: st.DrawFn, kind: Kind, value: dict[Any, Any]) -> Change:
    assert kind.inner is not None
    if kind is OPTIONS:
        key = draw(st.sampled_from(["size", "deep"]))
        one, others = draw(kind.inner(key).values), draw(OPTIONS.values)
        changing = [
            lambda v: v.__setitem__(key, copy.deepcopy(one)),
            lambda v: v.pop("deep", None),
            lambda v: v.update(copy.deepcopy(others)),
        ]
        return draw(st.sampled_from(changing))
    others = draw(kind.values.filter(lambda v: isinstance(v, dict)))
    keys = [*value, *others]
    if not keys:
        return lambda v: v.clear()
    key = draw(st.sampled_from(keys))
    one = draw(kind.inner(key).values)
    return draw(
        st.sampled_from(
            [
                lambda v: v.__setitem__(key, copy.deepcopy(one)),
                lambda v: v.__setitem__(key, copy.deepcopy(one)),
                lambda v: v.__delitem__(key),
                lambda v: v.pop(key),
                lambda v: v.pop(key, None),
                lambda v: v.popitem(),
                lambda v: v.setdefault(key, copy.deepcopy(one)),
                lambda v: v.update(copy.deepcopy(others)),
                lambda v: v.__ior__(copy.deepcopy(others)) and None,
                lambda v: v.clear(),
                lambda v: v.__init__(copy.deepcopy(others)),
            ]
        )
    )


@st.composite
def set_changes(draw: st.DrawFn, kind: Kind) -> Change:
    others = draw(kind.values.filter(lambda v: isinstance(v, set)))
    more = draw(kind.values.filter(lambda v: isinstance(v, set)))
    return draw(
        st.sampled_from(
            [
                lambda v: [v.add(element) for element in others] and None,
                lambda v: [v.discard(element) for element in others] and None,
                lambda v: [v.remove(element) for element in sorted(others, key=repr)] and None,
                lambda v: v.clear(),
                lambda v: v.update(others, more),
                lambda v: v.difference_update(others, more),
                lambda v: v.intersection_update(others),
                lambda v: v.symmetric_difference_update(others),
                lambda v: v.__ior__(others) and None,
                lambda v: v.__iand__(others) and None,
                lambda v: v.__isub__(others) and None,
                lambda v: v.__ixor__(others) and None,
                lambda v: v.__init__(others),
            ]
        )
    )
