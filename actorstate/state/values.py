"""The state's own copies of containers.

A var holds a value, not a reference to somebody's object: what is assigned is copied, and the
copy belongs to the state. A change made *inside* such a copy would be in no patch and in no undo
log, so the copies refuse to be changed in place; a change is a new value, assigned whole. Real
subclasses of the built-ins, so ``isinstance``, ``json.dumps``, slicing and iteration work.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Never, cast

from actorstate.exceptions import ImmutableStateError

_ADVICE: Final = {
    list: "self.items = [*self.items, item]",
    dict: "self.table = {**self.table, key: value}",
    set: "self.chosen = {*self.chosen, item}",
}


def _refuse(self: object, *_args: object, **_kwargs: object) -> Never:
    kind = type(self).__bases__[0]
    message = (
        f"this {kind.__name__} belongs to a state and cannot be changed in place; assign a new "
        f"{kind.__name__} to the var instead, as in {_ADVICE[kind]}"
    )
    raise ImmutableStateError(message)


def _refusing(names: Iterable[str]) -> dict[str, Any]:
    return dict.fromkeys(names, _refuse)


def _owned(kind: type[Any], mutators: str) -> type[Any]:
    def reduce(self: Any, _protocol: object) -> tuple[type[Any], tuple[Any]]:
        return kind, (kind(self),)

    # copy, deepcopy and pickle give the plain built-in, which its owner may change.
    body = _refusing(mutators.split()) | {"__reduce_ex__": reduce, "__slots__": ()}
    return type(f"Owned{kind.__name__.title()}", (kind,), body)


LIST_MUTATORS: Final = (
    "append clear extend insert pop remove reverse sort __delitem__ __iadd__ __imul__ __setitem__"
)
DICT_MUTATORS: Final = "clear pop popitem setdefault update __delitem__ __ior__ __setitem__"
SET_MUTATORS: Final = (
    "add clear discard pop remove update difference_update intersection_update "
    "symmetric_difference_update __iand__ __ior__ __isub__ __ixor__"
)

OwnedList: Final = _owned(list, LIST_MUTATORS)
OwnedDict: Final = _owned(dict, DICT_MUTATORS)
OwnedSet: Final = _owned(set, SET_MUTATORS)


def owned(value: Any) -> Any:
    """Give the state's form of a fresh value that nobody else refers to.

    >>> numbers = owned([1, [2]])
    >>> numbers == [1, [2]], isinstance(numbers[1], list)
    (True, True)
    >>> numbers[1].append(3)
    Traceback (most recent call last):
    ...
    actorstate.ImmutableStateError: this list belongs to a state and cannot be ...
    """
    if type(value) is list:
        return OwnedList(owned(item) for item in cast("list[Any]", value))
    if type(value) is dict:
        items = cast("dict[Any, Any]", value).items()
        return OwnedDict((key, owned(item)) for key, item in items)
    if type(value) is set:
        return OwnedSet(cast("set[Any]", value))
    if type(value) is tuple:
        return tuple(owned(item) for item in cast("tuple[Any, ...]", value))
    return value
