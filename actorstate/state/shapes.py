"""Shapes: what the declared type of a var says about the values in it.

A shape checks a value that the program assigns, and makes the state's own copy of it: plain where
nothing in it can be changed, else of the classes in `tracked`. Its JSON form is the converter's.

There is one shape for one declared type, made when a class is defined. A type without a JSON form
is refused then.
"""

# Values of any type go through here; the declared type is known at run time alone.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

import bisect
import dataclasses
import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set as AbstractSet
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, ClassVar, Final, Literal, cast, final, get_args, get_origin, is_typeddict
from uuid import UUID

import attrs

from actorstate.state.convert import make_converter, rebuild
from actorstate.state.json_types import (
    MOST_BITS,
    PATHS,
    NoJsonFormError,
    bare,
    encodable_int,
    encodable_text,
    field_types,
    finite_decimal,
    finite_float,
    is_enum,
    is_namedtuple,
    is_record,
    is_union,
    json_kinds,
    key_hooks,
    members_by_kind,
    required_keys,
    seconds_of,
    short,
    sort_key,
    type_name,
)
from actorstate.state.nodes import Node, Parent, Place, Wrapper, chain
from actorstate.state.patch import Operation, pointer
from actorstate.state.tracked import TrackedDict, TrackedList, TrackedSet, tracked_class

converter: Final = make_converter(restores=True)
"""The JSON form of vars."""


class Unfit(Exception):  # noqa: N818 - never leaves this module: `fitted` makes a TypeError of it
    """A value is not of the declared type."""

    def __init__(self, shape: Shape, value: object, advice: str = "") -> None:
        super().__init__(shape, value)
        self.shape = shape
        self.value = value
        self.advice = advice
        self.steps: list[str] = []
        """The way down to the culprit as the program would write it, the last step first."""


def fitted(place: Place, make: Callable[[], Any], node: Node | None = None) -> Any:
    """Make the state's own copy of something.

    Args:
        place: the var that it is for.
        make: makes the copy.
        node: what in the var it is for; None for the var itself.

    Raises:
        TypeError: it is not of the declared type. The message names the var.
    """
    try:
        return make()
    except Unfit as unfit:
        way = _steps_to(node) if node is not None else []
        where = place.label + "".join([*way, *reversed(unfit.steps)])
        expected, advice = type_name(unfit.shape.declared), unfit.advice and f"; {unfit.advice}"
        message = f"{where} takes {expected}, got {short(unfit.value)}{advice}"
        raise TypeError(message) from None
    except RecursionError:
        message = f"{place.label} cannot hold a value that is nested so deep, or contains itself"
        raise TypeError(message) from None


class Shape(ABC):
    """What a declared type says about the values of a var, or of a part of it."""

    makes_nodes: ClassVar[bool] = False
    """Whether its values can be changed in place."""

    exact_type: type | None = None
    """The class whose instances are all right, and are kept as they are; None if there is none."""

    def __init__(self, declared: Any) -> None:
        self.declared = declared

    @functools.cached_property
    def holds_nodes(self) -> bool:
        """Whether there may be something in a value that can be changed in place."""
        seen: set[Shape] = set()
        waiting: list[Shape] = [self]
        while waiting:  # a type may contain itself
            shape = waiting.pop()
            if shape.makes_nodes:
                return True
            if shape not in seen:
                seen.add(shape)
                waiting.extend(shape.inside())
        return False

    def inside(self) -> Iterable[Shape]:
        """Give the shapes of what may be in a value."""
        return ()

    @functools.cached_property
    def to_plain(self) -> Callable[[Any], Any]:
        """Gives the JSON form of a value."""
        return converter.get_unstructure_hook(self.declared)

    @functools.cached_property
    def from_plain(self) -> Callable[[Any], Any]:
        """Gives the value of a JSON form. Raises what is in `UNFIT`."""
        structure = converter.get_structure_hook(self.declared)
        return lambda plain: structure(plain, self.declared)

    @abstractmethod
    def own(self, value: Any, place: Place, parent: Parent, key: Any) -> Any:
        """Check a value, and give the state's own copy of it.

        Args:
            value: whatever the program has.
            place: the var that the copy is for.
            parent: what the copy will be in.
            key: where in it.

        Raises:
            Unfit: it is not of the declared type.
        """

    def at(self, key: Any) -> Shape:
        """Give the shape of what is at a key of a value."""
        raise NotImplementedError(key)

    def key_text(self, key: Any) -> str:
        """Give a key as a part of a JSON Pointer."""
        return str(key)

    def step(self, key: Any) -> str:
        """Give a key as the program would write it after the name of a value."""
        return f"[{key!r}]"

    def compile(self) -> None:  # noqa: B027 - most have nothing inside
        """Look into the types inside. Apart from making the shape, since a type may contain itself.

        Raises:
            NoJsonFormError: one of them has no JSON form.
        """

    def check(self) -> None:  # noqa: B027 - likewise
        """Look at the types inside once all of them are compiled.

        Raises:
            NoJsonFormError: they cannot be where they are.
        """


# ---- scalars -----------------------------------------------------------------------------------


@final
class ScalarShape(Shape):
    """A type whose values cannot be changed and have nothing in them."""

    def __init__(self, declared: Any, normal: Callable[[Any], Any] | None) -> None:
        super().__init__(declared)
        # Where an int is kept as it is, its length is looked at: see `encodable_int`.
        self.exact_type: type | None = declared if normal is None or declared is int else None
        self.normal = normal
        """Gives the form in which a value is kept; None if every value is kept as it is."""

    def own(self, value: Any, place: Place, parent: Parent, key: Any) -> Any:  # noqa: ARG002
        if self.normal is None:
            if type(value) is self.declared:
                return value
            raise Unfit(self, value)
        try:
            return self.normal(value)
        except (ValueError, TypeError, ArithmeticError) as error:
            raise Unfit(self, value, str(error).partition("; ")[2]) from None


def _of(kind: type, normal: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) is not kind:
            message = f"expected {kind.__name__}"
            raise ValueError(message)
        return normal(value)

    return check


def _at_a_fixed_offset(value: datetime) -> datetime:
    # As it will come back from the snapshot: JSON has the offset and not the name of the zone.
    if value.tzinfo is not None and type(value.tzinfo) is not timezone:
        offset = value.utcoffset()
        assert offset is not None, "an aware datetime has an offset"
        value = value.replace(tzinfo=timezone(offset))
    return value.replace(fold=0)


def _time_of_day(value: time) -> time:
    if value.tzinfo is not None:
        message = "expected a time without a zone, which without a date has no offset"
        raise ValueError(message)
    return value.replace(fold=0)


def _duration(value: timedelta) -> timedelta:
    seconds_of(value)
    return value


def _path_of(kind: Any) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) is not type(kind()) or "\0" in encodable_text(str(value)):
            message = f"expected {kind.__name__}"
            raise ValueError(message)
        return value

    return check


def _float(value: Any) -> float:
    return value if type(value) is float and math.isfinite(value) else finite_float(value)


def _int(value: Any) -> int:
    if type(value) is not int:
        message = f"expected int, got {short(value)}"
        raise ValueError(message)
    return encodable_int(value)


_SCALARS: Final[dict[Any, Callable[[Any], Any] | None]] = {
    bool: None,
    int: _int,
    type(None): None,
    bytes: None,
    date: None,
    UUID: None,
    str: _of(str, encodable_text),
    float: _float,
    datetime: _of(datetime, _at_a_fixed_offset),
    time: _of(time, _time_of_day),
    timedelta: _of(timedelta, _duration),
    Decimal: _of(Decimal, finite_decimal),
    **{kind: _path_of(kind) for kind in PATHS},
}


def _member_of(declared: Any) -> Callable[[Any], Any]:
    json_kinds(declared)
    if is_enum(declared):
        return _of(declared, lambda member: member)
    known = {(type(one), one) for one in get_args(declared)}

    def check(value: Any) -> Any:
        if (type(value), value) not in known:
            message = f"expected {type_name(declared)}"
            raise ValueError(message)
        return value

    return check


# ---- containers --------------------------------------------------------------------------------


class _Container(Shape):
    """A type whose values have others in them."""

    def _own_at(self, shape: Shape, value: Any, place: Place, parent: Parent, key: Any) -> Any:
        try:
            return shape.own(value, place, parent, key)
        except Unfit as unfit:
            unfit.steps.append(self.step(key))
            raise


def _hang(node: Any, shape: Shape, place: Place, parent: Parent, key: Any) -> Any:
    node.actorstate_shape = shape
    node.actorstate_place = place
    node.actorstate_parent = parent
    node.actorstate_key = key
    return node


@final
class ListShape(_Container):
    """A list of items of one type."""

    makes_nodes = True
    item: Shape

    def compile(self) -> None:
        self.item = shape_of((get_args(self.declared) or (Any,))[0])

    def inside(self) -> Iterable[Shape]:
        return (self.item,)

    def at(self, key: Any) -> Shape:  # noqa: ARG002 - all are of one type
        return self.item

    def own(self, value: Any, place: Place, parent: Parent, key: Any) -> Any:
        if not isinstance(value, list):
            raise Unfit(self, value)
        node = _hang(list.__new__(TrackedList), self, place, parent, key)
        node.actorstate_shift = 0
        list.extend(node, self._own_all(cast("list[Any]", value), node, 0))
        return node

    def own_items(self, values: Sequence[Any], node: TrackedList, start: int) -> list[Any]:
        """Give the list's own copies of items that are to stand from ``start`` on.

        Raises:
            TypeError: one is not of the declared type.
        """
        return own_inside(node, lambda: self._own_all(values, node, start))

    def _own_all(self, values: Sequence[Any], node: Any, start: int) -> list[Any]:
        item, place = self.item, node.actorstate_place
        exact = item.exact_type
        is_quick = exact is not None and set(map(type, values)) <= {exact}
        if is_quick and (
            exact is not int or max(map(int.bit_length, values), default=0) <= MOST_BITS
        ):
            return list(values)
        return [
            self._own_at(item, value, place, node, index)
            for index, value in enumerate(values, start)
        ]


def own_inside(node: Any, make: Callable[[], Any]) -> Any:
    """Make the copies of values that go into a node; see `fitted`."""
    return fitted(node.actorstate_place, make, node)


def _steps_to(node: Node) -> list[str]:
    return [
        cast("Node", parent).actorstate_shape.step(key) for parent, key in (chain(node) or [])[1:]
    ]


@final
class DictShape(_Container):
    """A dict with keys of one type and values of another; or a TypedDict."""

    makes_nodes = True
    fields: Mapping[str, Shape] | None
    """The shape of each key's value, for a TypedDict."""
    required: AbstractSet[str]
    key: Shape
    value: Shape
    exact_key: type
    """The class of keys that are the same if they are equal."""

    def compile(self) -> None:
        self.fields, self.required, self.exact_key = None, frozenset(), str
        if is_typeddict(self.declared):
            self.fields = {
                name: shape_of(kind) for name, kind in field_types(self.declared).items()
            }
            self.required = required_keys(self.declared)
            return
        key, value = get_args(self.declared) or (str, Any)
        key = str if key is Any else key
        self.key, self.value = shape_of(key), shape_of(value)
        self.exact_key = key if is_enum(key) else self.key.exact_type or str
        self._key_text, _ = key_hooks(key, converter)

    def at(self, key: Any) -> Shape:
        return self.value if self.fields is None else self.fields[key]

    def key_text(self, key: Any) -> str:
        return key if self.fields is not None else self._key_text(key)

    def own(self, value: Any, place: Place, parent: Parent, key: Any) -> Any:
        if not isinstance(value, dict):
            raise Unfit(self, value)
        given = cast("dict[Any, Any]", value)
        missing = self.required - given.keys()
        if missing:
            raise Unfit(self, given, f"it has no {min(missing)!r}")
        node = _hang(dict.__new__(TrackedDict), self, place, parent, key)
        dict.update(node, self._own_all(given, node))
        return node

    def own_entries(self, entries: Mapping[Any, Any], node: TrackedDict) -> dict[Any, Any]:
        """Give the dict's own copies of keys and values.

        Raises:
            TypeError: one is not of the declared type.
        """
        return own_inside(node, lambda: self._own_all(entries, node))

    def _own_all(self, entries: Mapping[Any, Any], node: Any) -> dict[Any, Any]:
        place, owned = node.actorstate_place, dict[Any, Any]()
        unknown = [key for key in entries if self.fields is not None and key not in self.fields]
        if unknown:
            names = ", ".join(self.fields or ())
            raise Unfit(self, entries, f"it has no key {unknown[0]!r}, only {names}")
        for key, value in entries.items():
            mine = self._own_key(key, place)
            owned[mine] = self._own_at(self.at(mine), value, place, node, mine)
        return owned

    def _own_key(self, key: Any, place: Place) -> Any:
        if self.fields is not None:
            return key
        try:
            return self.key.own(key, place, place, None)
        except Unfit as unfit:
            unfit.steps.append(" as a key")
            raise

    def check_removal(self, key: Any, node: TrackedDict) -> None:
        """Make sure that a value is still of the type without a key.

        Raises:
            TypeError: a TypedDict requires it.
        """
        if key in self.required:
            message = (
                f"{node.actorstate_place.label}: the key {key!r} of {type_name(self.declared)} is "
                f"required and cannot be taken out"
            )
            raise TypeError(message)


@final
class SetShape(_Container):
    """A set, whose elements cannot be changed."""

    makes_nodes = True
    element: Shape

    def compile(self) -> None:
        declared = (get_args(self.declared) or (Any,))[0]
        self.element = shape_of(declared)
        self._sort_key = sort_key(declared)

    def check(self) -> None:
        _check_unchangeable(self.element, self.declared)

    def own(self, value: Any, place: Place, parent: Parent, key: Any) -> Any:
        if not isinstance(value, set):
            raise Unfit(self, value)
        node = _hang(set.__new__(TrackedSet), self, place, parent, key)
        node.actorstate_order = None
        set.update(node, _own_elements(self, cast("set[Any]", value), place))
        return node

    def own_elements(self, values: AbstractSet[Any], node: TrackedSet) -> set[Any]:
        """Give the set's own copies of elements.

        Raises:
            TypeError: one is not of the declared type.
        """
        place = node.actorstate_place
        return own_inside(node, lambda: _own_elements(self, values, place))

    def order_operations(
        self, node: TrackedSet, path: tuple[str, ...], added: AbstractSet[Any], removed: Any
    ) -> Iterator[Operation]:
        """Give the operations that keep the array of a set sorted, as elements come and go.

        The order is kept beside the set from its first change on, so that finding the place of an
        element takes no sorting.
        """
        if node.actorstate_order is None:
            before = (node - added) | removed
            node.actorstate_order = sorted(map(self.element.to_plain, before), key=self._sort_key)
        order = node.actorstate_order
        for element in removed:
            index = self._position(order, self.element.to_plain(element))
            del order[index]
            yield Operation("remove", pointer(*path, str(index)))
        for element in added:
            plain = self.element.to_plain(element)
            index = self._position(order, plain)
            order.insert(index, plain)
            yield Operation("add", pointer(*path, str(index)), plain)

    def _position(self, order: list[Any], plain: Any) -> int:
        return bisect.bisect_left(order, self._sort_key(plain), key=self._sort_key)


def _own_elements(
    shape: SetShape | FrozenSetShape, values: Iterable[Any], place: Place
) -> set[Any]:
    return {shape.element.own(value, place, place, None) for value in values}


def _check_unchangeable(element: Shape, declared: Any) -> None:
    if element.holds_nodes:
        name = type_name(element.declared)
        raise NoJsonFormError(declared, f"has elements that can be changed: {name}")


@final
class FrozenSetShape(_Container):
    """A frozenset."""

    element: Shape

    def compile(self) -> None:
        declared = (get_args(self.declared) or (Any,))[0]
        self.element = shape_of(declared)

    def check(self) -> None:
        _check_unchangeable(self.element, self.declared)

    def inside(self) -> Iterable[Shape]:
        return (self.element,)

    def own(self, value: Any, place: Place, parent: Parent, key: Any) -> Any:  # noqa: ARG002
        if not isinstance(value, frozenset):
            raise Unfit(self, value)
        return frozenset(_own_elements(self, cast("frozenset[Any]", value), place))


class _Frozen(_Container):
    """A type whose values cannot be changed, but may have others in them that can."""

    def own(self, value: Any, place: Place, parent: Parent, key: Any) -> Any:
        self._check(value)
        if not self.holds_nodes:
            return self._make(value, place, parent)
        wrapper = Wrapper(self, place, parent, key)
        wrapper.value = self._make(value, place, wrapper)
        return wrapper.value

    @abstractmethod
    def _check(self, value: Any) -> None: ...

    @abstractmethod
    def _make(self, value: Any, place: Place, parent: Parent) -> Any: ...


@final
class TupleShape(_Frozen):
    """A tuple, of any length or of one type for each position; or a NamedTuple."""

    items: list[Shape]
    names: tuple[str, ...] | None

    def compile(self) -> None:
        self.names = None
        declared: list[Any] = list(get_args(self.declared))
        self.is_long: bool = declared[-1:] == [...]
        if is_namedtuple(self.declared):
            fields = field_types(self.declared)
            self.names, declared = tuple(fields), list(fields.values())
        elif not declared and self.declared is tuple:
            raise NoJsonFormError(
                self.declared, "does not say what is in it; write tuple[int, ...]"
            )
        self.items = [shape_of(kind) for kind in declared if kind is not ...]

    def inside(self) -> Iterable[Shape]:
        return self.items

    def at(self, key: Any) -> Shape:
        return self.items[0] if self.is_long else self.items[key]

    def key_text(self, key: Any) -> str:
        return self.names[key] if self.names is not None else str(key)

    def step(self, key: Any) -> str:
        return f".{self.names[key]}" if self.names is not None else f"[{key}]"

    def _check(self, value: Any) -> None:
        kind = self.declared if self.names is not None else tuple
        if type(value) is not kind or not (self.is_long or len(value) == len(self.items)):
            raise Unfit(self, value)

    def _make(self, value: Any, place: Place, parent: Parent) -> Any:
        owned = [
            self._own_at(self.at(index), item, place, parent, index)
            for index, item in enumerate(value)
        ]
        return tuple(owned) if self.names is None else self.declared._make(owned)


@final
class FrozenRecordShape(_Frozen):
    """A frozen dataclass or attrs class."""

    def compile(self) -> None:
        self.kind: type = get_origin(self.declared) or self.declared
        self.fields: dict[str, Shape] = _field_shapes(self.declared)

    def inside(self) -> Iterable[Shape]:
        return self.fields.values()

    def at(self, key: Any) -> Shape:
        return self.fields[key]

    def step(self, key: Any) -> str:
        return f".{key}"

    def _check(self, value: Any) -> None:
        if type(value) is not self.kind:
            raise Unfit(self, value)

    def _make(self, value: Any, place: Place, parent: Parent) -> Any:
        return rebuild(self.kind, _own_fields(self, value, place, parent))


@final
class RecordShape(_Container):
    """A dataclass or attrs class whose fields may be set."""

    makes_nodes = True

    def compile(self) -> None:
        self.kind: type = get_origin(self.declared) or self.declared
        self.fields: dict[str, Shape] = _field_shapes(self.declared)
        try:
            self.tracked_kind: type = tracked_class(self)
            object.__new__(self.tracked_kind)
        except TypeError as error:
            reason = f"has no subclass that could note its changes ({error})"
            raise NoJsonFormError(self.declared, reason) from error

    def at(self, key: Any) -> Shape:
        return self.fields[key]

    def step(self, key: Any) -> str:
        return f".{key}"

    def own(self, value: Any, place: Place, parent: Parent, key: Any) -> Any:
        if value.__class__ is not self.kind:
            raise Unfit(self, value)
        node = object.__new__(self.tracked_kind)
        hang = object.__setattr__
        hang(node, "actorstate_place", place)
        hang(node, "actorstate_parent", parent)
        hang(node, "actorstate_key", key)
        for name, owned in _own_fields(self, value, place, cast("Node", node)).items():
            hang(node, name, owned)
        return node

    def own_field(self, name: str, value: Any, node: Any) -> Any:
        """Give the instance's own copy of a field's value.

        Raises:
            TypeError: it is not of the declared type.
        """
        place = node.actorstate_place
        return own_inside(node, lambda: self._own_at(self.fields[name], value, place, node, name))


def _field_shapes(declared: Any) -> dict[str, Shape]:
    kind = get_origin(declared) or declared
    if any(_is_init_var(field) for field in getattr(kind, "__dataclass_fields__", {}).values()):
        raise NoJsonFormError(declared, "has an InitVar, which no instance keeps")
    return {name: shape_of(field) for name, field in field_types(declared).items()}


def _is_init_var(field: Any) -> bool:
    return isinstance(field.type, dataclasses.InitVar) or "InitVar" in str(field.type)


def _own_fields(
    shape: RecordShape | FrozenRecordShape, value: Any, place: Place, parent: Parent
) -> dict[str, Any]:
    owned: dict[str, Any] = {}
    for name, field in shape.fields.items():
        try:
            owned[name] = field.own(getattr(value, name), place, parent, name)
        except Unfit as unfit:
            unfit.steps.append(f".{name}")
            raise
        except AttributeError:
            raise Unfit(shape, value, f"its field {name!r} was never set") from None
    return owned


def _is_frozen(kind: Any) -> bool:
    if attrs.has(kind):
        return kind.__setattr__ is not object.__setattr__ and _is_attrs_frozen(kind)
    return bool(kind.__dataclass_params__.frozen)


def _is_attrs_frozen(kind: Any) -> bool:
    return kind.__setattr__.__name__ == "_frozen_setattrs"


# ---- unions and untyped ------------------------------------------------------------------------


@final
class UnionShape(Shape):
    """One of several types."""

    def compile(self) -> None:
        members_by_kind(self.declared)
        members = [shape_of(member) for member in get_args(self.declared)]
        # A whole number is a float only where no int is declared.
        self.members: list[Shape] = sorted(members, key=lambda member: member.declared is float)

    def inside(self) -> Iterable[Shape]:
        return self.members

    def own(self, value: Any, place: Place, parent: Parent, key: Any) -> Any:
        closest: Unfit | None = None
        for member in self.members:
            try:
                return member.own(value, place, parent, key)
            except Unfit as unfit:
                closest = unfit if unfit.steps else closest
        raise closest or Unfit(self, value)


@final
class UntypedShape(Shape):
    """Any JSON value."""

    makes_nodes = True

    def own(self, value: Any, place: Place, parent: Parent, key: Any) -> Any:
        if isinstance(value, list):
            return shape_of(list[Any]).own(value, place, parent, key)
        if isinstance(value, dict):
            return shape_of(dict[str, Any]).own(value, place, parent, key)
        for kind in (bool, int, str, float, type(None)):
            if type(value) is kind:
                return shape_of(kind).own(value, place, parent, key)
        raise Unfit(self, value, "only what JSON has can be in it")


# ---- from a declared type to its shape ---------------------------------------------------------

_CONTAINERS: Final[dict[Any, Callable[[Any], Shape]]] = {
    list: ListShape, dict: DictShape, set: SetShape, frozenset: FrozenSetShape, tuple: TupleShape,
}  # fmt: skip

_made: Final[dict[Any, Shape]] = {}
_unchecked: Final[list[Shape]] = []
"""The shapes that are being made, from the outermost in."""


def shape_of(declared: Any) -> Shape:
    """Give the shape of a declared type.

    Raises:
        NoJsonFormError: it has no JSON form; the error names the part that has none.
    """
    declared = bare(declared)
    declared = type(None) if declared is None else declared
    known = _made.get(declared)
    if known is not None:
        return known
    shape = _made[declared] = _new_shape(declared)
    _unchecked.append(shape)
    is_outermost = len(_unchecked) == 1
    try:
        json_kinds(declared)
        shape.compile()
        for one in _unchecked if is_outermost else ():
            one.check()
    except BaseException:
        # All of it, since the types inside may refer back to the one that is refused.
        for one in _unchecked if is_outermost else ():
            _made.pop(one.declared, None)
        raise
    finally:
        if is_outermost:
            _unchecked.clear()
    return shape


def _new_shape(declared: Any) -> Shape:
    kind = get_origin(declared) or declared
    if declared in _SCALARS:
        return ScalarShape(declared, _SCALARS[declared])
    if is_enum(declared) or kind is Literal:
        return ScalarShape(declared, _member_of(declared))
    for applies, make in _KINDS_OF_SHAPES:
        if applies(declared):
            return make(declared)
    if kind not in _CONTAINERS:
        raise NoJsonFormError(declared, "is not known")
    return _CONTAINERS[kind](declared)


def _new_record_shape(declared: Any) -> Shape:
    kind = get_origin(declared) or declared
    return FrozenRecordShape(declared) if _is_frozen(kind) else RecordShape(declared)


_KINDS_OF_SHAPES: Final[list[tuple[Callable[[Any], bool], Callable[[Any], Shape]]]] = [
    (lambda declared: declared is Any or declared is object, UntypedShape),
    (is_union, UnionShape),
    (is_record, _new_record_shape),
    (is_typeddict, DictShape),
    (is_namedtuple, TupleShape),
]
