"""What was stored under another schema, on its way into the vars of today."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from actorstate.exceptions import SnapshotError
from actorstate.state.convert import same_json
from actorstate.state.definition import is_mixin

if TYPE_CHECKING:
    from actorstate.state.state import State

Values = TypeVar("Values")

Migrate = Callable[[dict[str, Any], Exception | None], Mapping[str, Any]]


def migrated(
    cls: type[State],
    stored: Mapping[str, Any],
    read: Callable[[Mapping[str, Any]], Values],
    *,
    is_older: bool,
) -> tuple[Values, bool]:
    """Read the stored vars of one state, by way of its ``migrate`` where that is called for.

    That is when another schema has stored them, and when one of them cannot be read.

    Args:
        cls: the state.
        stored: its vars in JSON form.
        read: makes values of them, or raises `SnapshotError`.
        is_older: whether another schema has stored them.

    Returns:
        The values, and whether they are not what was stored.

    Raises:
        SnapshotError: they cannot be read, not even migrated.
    """
    migrate = _migrate_of(cls)
    current = _apply(cls, migrate, stored, None) if migrate is not None and is_older else stored
    try:
        values = read(current)
    except SnapshotError as error:
        if migrate is None:
            raise
        current = _apply(cls, migrate, current, error)
        values = read(current)
    return values, current is not stored and not same_json(dict(current), dict(stored))


def _migrate_of(cls: type[State]) -> Migrate | None:
    """Give the ``migrate`` of a state: its own, or of a mixin; a parent's is for the parent."""
    for base in cls.__mro__:
        if base is not cls and hasattr(base, "definition") and not is_mixin(base):
            break
        if "migrate" in vars(base):
            return cast("Any", cls).migrate
    return None


def _apply(
    cls: type[State], migrate: Migrate, stored: Mapping[str, Any], error: Exception | None
) -> Mapping[str, Any]:
    try:
        return migrate(copy.deepcopy(dict(stored)), error)
    except Exception as failure:
        message = f"{cls.__name__}.migrate failed ({failure!r}); the snapshot was left as it is"
        raise SnapshotError(message) from failure
