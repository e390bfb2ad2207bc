"""Patches: what one turn changed, as RFC 6902 operations on the state in its JSON form."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, Final, cast, final

import msgspec

from actorstate.state.record import Record

NO_VALUE: Final = msgspec.UNSET
"""Stands for the value of an operation that has none. It is not written."""


@final
class Operation(Record, frozen=True, gc=False):
    """One operation of a patch (RFC 6902, section 4). msgspec writes it as the RFC wants it."""

    op: str
    """``add``, ``replace`` or ``remove``; the others of the RFC are not needed."""
    path: str
    """JSON Pointer (RFC 6901) into the state: state, var, and on into its value."""
    value: Any = NO_VALUE
    """The new value in its JSON form; `NO_VALUE` for ``remove``."""


def pointer(*parts: str) -> str:
    """Join parts to a JSON Pointer (RFC 6901, section 3).

    >>> pointer("state.my_state", "a/b~c")
    '/state.my_state/a~1b~0c'
    """
    return "".join(["/" + part.replace("~", "~0").replace("/", "~1") for part in parts])


@functools.lru_cache
def _way_to(path: str) -> tuple[tuple[str, ...], str]:
    """Split a JSON Pointer into the way to a container, and the key in that.

    >>> _way_to("/state.my_state/a~1b~0c")
    (('state.my_state',), 'a/b~c')
    """
    *way, key = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]
    return tuple(way), key


def var_of(path: str) -> str:
    """Give the part of a JSON Pointer that names state and var.

    >>> var_of("/state.my_state/rows/5/name")
    '/state.my_state/rows'
    """
    return "/".join(path.split("/", 3)[:3])


def weight(operations: Iterable[Operation]) -> int:
    """Estimate how many bytes operations take as JSON. To bound memory, it need not be exact.

    >>> weight([Operation("add", "/s/rows/0", {"name": "x"}), Operation("remove", "/s/rows/1")])
    83
    """
    total = 0
    for one in operations:
        total += _LIGHT + len(one.path)
        if one.value is not NO_VALUE:
            total += weight_of(one.value)
    return total


_LIGHT: Final = 20  # a number, or what is around an operation: in memory no less than in JSON


def weight_of(plain: Any) -> int:
    """Estimate how many bytes a value takes as JSON; for bounds, and so not exactly."""
    kind = type(plain)  # pyright: ignore[reportUnknownVariableType] - of whatever JSON has
    if kind is str:
        return len(plain)
    if kind is list:
        return _LIGHT + sum(map(weight_of, plain))
    if kind is dict:
        return _LIGHT + sum(len(key) + weight_of(value) for key, value in plain.items())
    return _LIGHT


def copy_plain(plain: Any) -> Any:
    """Copy what JSON has; `copy.deepcopy` looks for much more, and takes three times as long."""
    kind = type(plain)  # pyright: ignore[reportUnknownVariableType] - of whatever JSON has
    if kind is dict:
        return {key: copy_plain(value) for key, value in plain.items()}
    if kind is list:
        return [copy_plain(value) for value in plain]
    return plain


def apply(document: Any, operations: Iterable[Operation]) -> None:
    """Apply operations to a document, in place. What they carry is copied.

    Raises:
        LookupError: an operation names a place that the document does not have. What came before
            it was applied.
    """
    for operation in operations:
        way, last = _way_to(operation.path)
        target: Any = document
        for part in way:
            target = target[int(part) if isinstance(target, list) else part]
        if isinstance(target, list):
            _apply_to_items(cast("list[Any]", target), int(last), operation)
        elif operation.op == "remove":
            del target[last]
        else:
            target[last] = copy_plain(operation.value)


def _apply_to_items(items: list[Any], index: int, operation: Operation) -> None:
    if operation.op == "remove":
        del items[index]
    elif operation.op == "add":
        items.insert(index, copy_plain(operation.value))
    else:
        items[index] = copy_plain(operation.value)
