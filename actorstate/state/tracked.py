"""The state's own lists, dicts, sets and instances, which note every change.

Real subclasses of the plain types, and the plain type's own code for all that only reads, so that
they are read at its speed. What changes them is written here: it asks for the log of the open
turn, which is refused to whoever does not hold it; makes the state's own copy of what comes in;
changes; and notes what it takes to undo that.

What leaves is the caller's: slices, copies and pickles are plain, and ``pop`` gives a plain copy.
"""

# Values of any type go through here; the declared type is known at run time alone.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence, Set as AbstractSet
from typing import TYPE_CHECKING, Any, Final, Never, Self, SupportsIndex, cast, final

from actorstate.state.changes import MISSING, Cleared, KeySet, Members, Spliced
from actorstate.state.convert import rebuild
from actorstate.state.nodes import SLOTS, Node, Parent, Place, adopt, adopt_one, orphan

if TYPE_CHECKING:
    from actorstate.state.shapes import DictShape, ListShape, RecordShape, SetShape, Shape


def _leaving(shape: Shape, value: Any) -> Any:
    return copy.deepcopy(value) if shape.holds_nodes else value


# ---- lists -------------------------------------------------------------------------------------


@final
class TrackedList(list[Any]):
    """A list in a var."""

    __slots__ = ("actorstate_shape", "actorstate_shift", *SLOTS)
    actorstate_shape: ListShape
    actorstate_shift: int
    """How far the last item that was looked for had moved from where it was put."""
    actorstate_place: Place
    actorstate_parent: Parent | None
    actorstate_key: Any

    def __new__(cls, *args: Any) -> Any:
        """Give a plain list: nobody but a shape makes tracked ones."""
        return list(*args)

    def __init__(self, iterable: Iterable[Any] = (), /) -> None:  # pyright: ignore[reportInconsistentConstructor]
        self[:] = iterable

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return list, (list(self),)

    def _splice(self, start: int, stop: int, values: Sequence[Any]) -> None:
        self.actorstate_place.check_writable()
        self._put(start, stop, self.actorstate_shape.own_items(values, self, start))

    def _put(self, start: int, stop: int, items: list[Any]) -> None:
        log = self.actorstate_place.writable_log()  # once more: copying may take a thread long
        removed = self[start:stop]
        list.__setitem__(self, slice(start, stop), items)
        if self.actorstate_shape.item.holds_nodes:
            orphan(removed)
            adopt(cast("Node", self), start, items)
        log.spliced(Spliced(self, start, removed, len(items)))

    def _rearrange(self, change: Callable[[list[Any]], object]) -> None:
        """Let a plain list say what becomes of the items, as of an extended slice."""
        self.actorstate_place.check_writable()
        items = list(self)
        change(items)
        self._put(0, len(self), items)

    def _index(self, index: SupportsIndex, fault: str) -> int:
        position = operator.index(index)
        position += len(self) if position < 0 else 0
        if not 0 <= position < len(self):
            raise IndexError(fault)
        return position

    def append(self, item: Any, /) -> None:
        self._splice(len(self), len(self), (item,))

    def extend(self, iterable: Iterable[Any], /) -> None:
        self.actorstate_place.check_writable()
        values = list(iterable)  # first, since it may look at this list, or even change it
        self._splice(len(self), len(self), values)

    def __iadd__(self, iterable: Iterable[Any]) -> Self:
        self.extend(iterable)
        return self

    def __imul__(self, times: SupportsIndex) -> Self:
        count = operator.index(times)
        if count > 0:
            self.extend(list(self) * (count - 1))
        else:
            self.clear()
        return self

    def insert(self, index: SupportsIndex, item: Any, /) -> None:
        start, _, _ = slice(operator.index(index), None).indices(len(self))
        self._splice(start, start, (item,))

    def pop(self, index: SupportsIndex = -1, /) -> Any:
        self.actorstate_place.check_writable()
        fault = "pop index out of range" if self else "pop from empty list"
        position = self._index(index, fault)
        value = self[position]
        self._put(position, position + 1, [])
        return _leaving(self.actorstate_shape.item, value)

    def remove(self, value: Any, /) -> None:
        self.actorstate_place.check_writable()
        if value not in self:
            message = "list.remove(x): x not in list"
            raise ValueError(message)
        position = self.index(value)
        self._put(position, position + 1, [])

    def clear(self) -> None:
        self._splice(0, len(self), ())

    def sort(self, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None:
        self._rearrange(lambda items: items.sort(key=key, reverse=reverse))

    def reverse(self) -> None:
        self._rearrange(list.reverse)

    def __setitem__(self, index: SupportsIndex | slice, value: Any) -> None:
        if isinstance(index, slice):
            self._set_slice(index, value)
            return
        self.actorstate_place.check_writable()
        position = self._index(index, "list assignment index out of range")
        if self[position] is not value:  # it is after `items[0] += ...`, which has changed it
            self._splice(position, position + 1, (value,))

    def _set_slice(self, index: slice, iterable: Iterable[Any]) -> None:
        self.actorstate_place.check_writable()
        values = list(iterable)  # first, since it may look at this list, or even change it
        start, stop, step = index.indices(len(self))
        if step == 1:
            if iterable is not self or (start, stop) != (0, len(self)):  # as after `x[:] += ...`
                self._splice(start, max(start, stop), values)
            return
        places = range(start, stop, step)
        if len(places) != len(values):
            list(self)[index] = values  # the plain list says what is wrong with it
        own = self.actorstate_shape.own_items
        owned = [own((value,), self, at)[0] for at, value in zip(places, values, strict=True)]
        self._rearrange(lambda items: items.__setitem__(index, owned))

    def __delitem__(self, index: SupportsIndex | slice) -> None:
        self.actorstate_place.check_writable()
        if not isinstance(index, slice):
            position = self._index(index, "list assignment index out of range")
            self._put(position, position + 1, [])
            return
        start, stop, step = index.indices(len(self))
        if step == 1:
            self._put(start, max(start, stop), [])
        else:
            self._rearrange(lambda items: items.__delitem__(index))


# ---- dicts -------------------------------------------------------------------------------------


@final
class TrackedDict(dict[Any, Any]):
    """A dict in a var, a TypedDict too."""

    __slots__ = ("actorstate_shape", *SLOTS)
    actorstate_shape: DictShape
    actorstate_place: Place
    actorstate_parent: Parent | None
    actorstate_key: Any

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Give a plain dict: nobody but a shape makes tracked ones."""
        return dict(*args, **kwargs)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.update(*args, **kwargs)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return dict, (dict(self),)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.actorstate_place.check_writable()
        if key not in self or self[key] is not value:  # it is after `table[key] += ...`
            self._put_all(self.actorstate_shape.own_entries({key: value}, self))

    def _put_all(self, entries: Mapping[Any, Any]) -> None:
        log = self.actorstate_place.writable_log()
        for given, value in entries.items():
            key = self._stored(given)
            old = self.get(key, MISSING)
            dict.__setitem__(self, key, value)
            if self.actorstate_shape.holds_nodes:
                orphan((old,))
                adopt_one(cast("Node", self), key, value)
            log.add(KeySet(self, key, old))

    def __delitem__(self, key: Any) -> None:
        self.actorstate_place.check_writable()
        if key not in self:
            raise KeyError(key)
        self._take(key)

    def _stored(self, key: Any) -> Any:
        """Give the key that is in the dict, for one that is equal to it, as 1.0 is to 1."""
        if key not in self or type(key) is self.actorstate_shape.exact_key:
            return key
        return next(stored for stored in self if stored == key)

    def _take(self, given: Any) -> Any:
        key = self._stored(given)
        self.actorstate_shape.check_removal(key, self)
        log = self.actorstate_place.writable_log()
        order = None if next(reversed(self)) == key else log.order_of(self)
        old = dict.pop(self, key)
        if self.actorstate_shape.holds_nodes:
            orphan((old,))
        log.add(KeySet(self, key, old, order))
        return old

    def pop(self, key: Any, /, *default: Any) -> Any:
        self.actorstate_place.check_writable()
        if key not in self:
            return {}.pop(key, *default)
        return _leaving(self.actorstate_shape.at(key), self._take(key))

    def popitem(self) -> tuple[Any, Any]:
        self.actorstate_place.check_writable()
        if not self:
            message = "popitem(): dictionary is empty"
            raise KeyError(message)
        key = next(reversed(self))
        return key, _leaving(self.actorstate_shape.at(key), self._take(key))

    def setdefault(self, key: Any, default: Any = None, /) -> Any:
        self.actorstate_place.check_writable()
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *args: Any, **kwargs: Any) -> None:
        self.actorstate_place.check_writable()
        given = dict(*args, **kwargs)
        changed = {
            key: value for key, value in given.items() if key not in self or self[key] is not value
        }
        self._put_all(self.actorstate_shape.own_entries(changed, self))

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self

    def clear(self) -> None:
        self.actorstate_place.check_writable()
        for key in self:
            self.actorstate_shape.check_removal(key, self)
        log = self.actorstate_place.writable_log()
        old = dict(self)
        dict.clear(self)
        if self.actorstate_shape.holds_nodes:
            orphan(old.values())
        log.add(Cleared(self, old))


# ---- sets --------------------------------------------------------------------------------------


@final
class TrackedSet(set[Any]):
    """A set in a var."""

    __slots__ = ("actorstate_order", "actorstate_shape", *SLOTS)
    actorstate_shape: SetShape
    actorstate_place: Place
    actorstate_parent: Parent | None
    actorstate_key: Any
    actorstate_order: list[Any] | None
    """The plain elements in the order that the last commit gave them; None if not known."""

    def __new__(cls, *args: Any) -> Any:
        """Give a plain set: nobody but a shape makes tracked ones."""
        return set(*args)

    def __init__(self, iterable: Iterable[Any] = (), /) -> None:  # pyright: ignore[reportInconsistentConstructor]
        wanted = set(iterable)
        self._change(wanted - self, self - wanted)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return set, (set(self),)

    def __repr__(self) -> str:
        return repr(set(self))

    def copy(self) -> set[Any]:
        return set(self)

    def _change(self, added: AbstractSet[Any], removed: AbstractSet[Any]) -> None:
        self.actorstate_place.check_writable()
        mine = frozenset(self.actorstate_shape.own_elements(added, self)) - self
        gone = self._stored(removed)
        log = self.actorstate_place.writable_log()
        if mine or gone:
            set.difference_update(self, gone)
            set.update(self, mine)
            log.add(Members(self, mine, gone))

    def _stored(self, elements: AbstractSet[Any]) -> frozenset[Any]:
        """Give the elements that are in the set, for those equal to them, as 1.0 is to 1."""
        exact = self.actorstate_shape.element.exact_type
        if all(type(element) is exact for element in elements):
            return frozenset(elements) & self
        return frozenset(element for element in self if element in elements)

    def add(self, element: Any, /) -> None:
        self._change({element} - self, frozenset())

    def discard(self, element: Any, /) -> None:
        self._change(frozenset(), self & {element})

    def remove(self, element: Any, /) -> None:
        self.actorstate_place.check_writable()
        if element not in self:
            raise KeyError(element)
        self.discard(element)

    def pop(self) -> Any:
        self.actorstate_place.check_writable()
        for element in self:
            self.discard(element)
            return element
        message = "pop from an empty set"
        raise KeyError(message)

    def clear(self) -> None:
        self._change(frozenset(), frozenset(self))

    def update(self, *others: Iterable[Any]) -> None:
        given: set[Any] = set()
        self._change(given.union(*others) - self, frozenset())

    def difference_update(self, *others: Iterable[Any]) -> None:
        given: set[Any] = set()
        self._change(frozenset(), self & given.union(*others))

    def intersection_update(self, *others: Iterable[Any]) -> None:
        self._change(frozenset(), self - self.intersection(*others))

    def symmetric_difference_update(self, other: Iterable[Any], /) -> None:
        given = set(other)
        self._change(given - self, given & self)

    def __ior__(self, other: Any) -> Self:
        return self._combine(other, self.update)

    def __iand__(self, other: Any) -> Self:
        return self._combine(other, self.intersection_update)

    def __isub__(self, other: Any) -> Self:
        return self._combine(other, self.difference_update)

    def __ixor__(self, other: Any) -> Self:
        return self._combine(other, self.symmetric_difference_update)

    def _combine(self, other: Any, change: Callable[[Any], None]) -> Self:
        # The operators, unlike the methods, take sets alone; so do the built-in's.
        if not isinstance(other, set | frozenset):
            return NotImplemented
        change(other)
        return self


# ---- instances ---------------------------------------------------------------------------------


class _TrackedRecord:
    """The methods that make a subclass of a dataclass or attrs class note its changes."""

    actorstate_shape: RecordShape
    actorstate_place: Place

    def __setattr__(self, name: str, value: Any) -> None:
        shape = self.actorstate_shape
        if name not in shape.fields:
            if hasattr(getattr(shape.kind, name, None), "__set__"):  # a property with a setter
                object.__setattr__(self, name, value)
                return
            fields = ", ".join(shape.fields)
            message = f"{shape.kind.__name__} has no field {name!r} (it has: {fields})"
            raise AttributeError(message)
        self.actorstate_place.check_writable()
        if getattr(self, name) is value:  # it is after `item.tags += ...`
            return
        changed = _as_the_class_would(self, name, value)
        owned = {one: shape.own_field(one, new, self) for one, new in changed.items()}
        log = self.actorstate_place.writable_log()
        for one, new in owned.items():
            old = getattr(self, one)
            object.__setattr__(self, one, new)
            if shape.fields[one].holds_nodes:
                orphan((old,))
                adopt_one(cast("Node", self), one, new)
            log.add(KeySet(self, one, old))

    def __delattr__(self, name: str) -> Never:
        self.actorstate_place.check_writable()
        message = f"{self.actorstate_shape.kind.__name__}.{name} cannot be deleted: it is a field"
        raise AttributeError(message)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        shape = self.actorstate_shape
        return rebuild, (shape.kind, {name: getattr(self, name) for name in shape.fields})


def _as_the_class_would(record: _TrackedRecord, name: str, value: Any) -> dict[str, Any]:
    """Give what the class's own ``__setattr__`` makes of an assignment, by field.

    That of attrs converts and validates; one that is written by hand may set other fields, too.
    """
    own_setattr: Any = record.actorstate_shape.kind.__setattr__
    if own_setattr is object.__setattr__:
        return {name: value}
    before = {one: getattr(record, one) for one in record.actorstate_shape.fields}
    try:
        own_setattr(record, name, value)
        after = {one: getattr(record, one) for one in before}
    finally:
        for one, old in before.items():
            object.__setattr__(record, one, old)
    return {one: new for one, new in after.items() if new is not before[one]}


def _make_plain(cls: type, *args: Any, **kwargs: Any) -> Any:
    """Give an instance of the class itself, as for ``type(self)(...)`` in its methods."""
    return cls.actorstate_shape.kind(*args, **kwargs)


_METHODS: Final = ("__setattr__", "__delattr__", "__reduce_ex__")


def tracked_class(shape: RecordShape) -> type:
    """Make the subclass of a dataclass or attrs class whose instances note their changes.

    Its instances say that they are of the class itself: generated ``__eq__`` methods compare
    classes, and nobody else should see the difference either.
    """
    kind = shape.kind
    body: dict[str, Any] = {name: vars(_TrackedRecord)[name] for name in _METHODS}
    body |= {
        "__slots__": SLOTS,
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
        "__class__": property(lambda _: kind),
        "__new__": _make_plain,
        "actorstate_shape": shape,
    }
    return type(kind)(kind.__name__, (kind,), body)
