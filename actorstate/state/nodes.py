"""Where a tracked value hangs: its place in the state tree, its parent, its key.

Lists, dicts, sets and instances that can be changed are *nodes*. A node belongs to one var of one
tree for its whole life (values are copied on their way in, so it is in one place only), and knows
its parent, or None from when it is taken out. Whoever holds an old reference finds out by this
that a change there is no change of the state any more; it is still undone with the turn, since
undoing may put the node back.

Tuples and frozen instances cannot be changed and stay what they are, but there may be nodes in
them. Such a value has a `Wrapper` beside it, which stands for it as a parent.

The key of an item of a list is a hint: it is right when the item is put there, and moving items
along does not touch those that are moved. `key_in_parent` looks from the hint outwards, or from
where the hint of the item before was off: neighbours move together, so the second is found at
once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast, final

if TYPE_CHECKING:
    from actorstate.state.changes import Log
    from actorstate.state.shapes import Shape
    from actorstate.state.tracked import TrackedList

SLOTS: Final = ("actorstate_key", "actorstate_parent", "actorstate_place")
"""What a node carries. Long names: instances of the program's own classes are nodes, too."""


class Place(Protocol):
    """The top of a node's chain of parents: a var of a tree, or what nobody may change."""

    @property
    def label(self) -> str:
        """Its name for people: ``Cart.items``."""
        ...

    def writable_log(self) -> Log:
        """Give where to note a change.

        Raises:
            ImmutableStateError: the running code does not hold the open turn of the tree.
        """
        ...

    def check_writable(self) -> None:
        """Raise what `writable_log` would."""
        ...


class Node(Protocol):
    """A value that can be changed in place."""

    actorstate_shape: Shape
    actorstate_place: Place
    actorstate_parent: Parent | None
    actorstate_key: Any


@final
class Wrapper:
    """Stands as the parent of the nodes in a tuple or a frozen instance."""

    __slots__ = ("actorstate_shape", "value", *SLOTS)

    def __init__(self, shape: Shape, place: Place, parent: Parent, key: Any) -> None:
        self.actorstate_shape = shape
        self.actorstate_place = place
        self.actorstate_parent: Parent | None = parent
        self.actorstate_key = key
        self.value: Any = None


Parent: TypeAlias = Node | Wrapper | Place


_set: Final = object.__setattr__  # an instance's own one would note a change


def is_node(value: object) -> bool:
    """Tell whether a value is one that can be changed in place."""
    return hasattr(type(value), "actorstate_place")


def node_of(value: Any) -> Node | Wrapper | None:
    """Give what stands for a value as a parent: itself, its wrapper, or nothing."""
    if is_node(value):
        return cast("Node", value)
    for item in _items(value):
        node = node_of(item)
        if node is not None:
            return cast("Wrapper", node.actorstate_parent)
    return None


_SCALARS: Final = (int, float, str, bytes, type(None))


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, tuple):
        return cast("tuple[Any, ...]", value)
    if isinstance(value, _SCALARS):
        return ()
    if dataclasses.is_dataclass(value):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return [getattr(value, field.name) for field in getattr(value, "__attrs_attrs__", ())]


def orphan(values: Iterable[Any]) -> None:
    """Note that values are in the state no longer."""
    for value in values:
        node = node_of(value)
        if node is not None:
            _set(node, "actorstate_parent", None)


def adopt(parent: Node, start: int, values: Iterable[Any]) -> None:
    """Note that values are the items of a list, from ``start`` on."""
    for key, value in enumerate(values, start):
        adopt_one(parent, key, value)


def adopt_one(parent: Parent, key: Any, value: Any) -> None:
    """Note that a value hangs at a key of a parent."""
    node = node_of(value)
    if node is not None:
        _set(node, "actorstate_parent", parent)
        _set(node, "actorstate_key", key)


def chain(node: Node | Wrapper) -> list[tuple[Any, Any]] | None:
    """Give the way from the var down to a node, as (parent, key in it); None if it is taken out."""
    links: list[tuple[Any, Any]] = []
    here: Any = node
    while isinstance(here, Wrapper) or is_node(here):
        parent = here.actorstate_parent
        if parent is None:
            return None
        links.append((parent, key_in_parent(cast("Parent", parent), here)))
        here = parent
    links.reverse()
    return links


def key_in_parent(parent: Parent, node: Node | Wrapper) -> Any:
    """Give the key under which a parent has a node."""
    hint = node.actorstate_key
    if isinstance(parent, list):
        value = node.value if isinstance(node, Wrapper) else node
        items = cast("TrackedList", parent)
        index = _index_near(items, value, hint + items.actorstate_shift)
        items.actorstate_shift = index - hint
        return index
    return hint


def _index_near(items: list[Any], value: Any, hint: int) -> int:
    for distance in range(max(abs(hint), abs(len(items) - hint)) + 1):
        for index in (hint - distance, hint + distance):
            if 0 <= index < len(items) and items[index] is value:
                return index
    message = "a tracked value is not where its parent should have it"
    raise AssertionError(message)
