"""What is in a store, for people to read."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any, Final

import attrs

from actorstate.exceptions import SnapshotError
from actorstate.state.json_types import encode_json
from actorstate.state.snapshot import CallRecord, Snapshot, TaskRecord
from actorstate.stores.base import Store

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_PERIOD: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")


def seconds_of(period: str) -> float:
    """Read a period of time, such as ``90``, ``15m``, ``24h`` or ``30d``.

    >>> seconds_of("90"), seconds_of("1.5h"), seconds_of("30d")
    (90.0, 5400.0, 2592000.0)

    Raises:
        ValueError: it is none.
    """
    match = _PERIOD.fullmatch(period)
    if match is None:
        message = f"{period!r} is no period; write seconds, or a number with s, m, h or d behind it"
        raise ValueError(message)
    return float(match[1]) * _SECONDS[match[2] or "s"]


async def lines(store: Store) -> AsyncIterator[str]:
    """Give a line for each token in a store."""
    async for token in store.tokens():
        try:
            snapshot = await store.peek(token)
        except SnapshotError as error:
            yield f"{token}  cannot be read: {error}"
            continue
        if snapshot is not None:  # it may have gone meanwhile
            yield f"{token}  {_summary(snapshot)}"


def _summary(snapshot: Snapshot) -> str:
    parts = [f"version {snapshot.version}", f"{len(encode_json(snapshot.values))} bytes"]
    if snapshot.tasks:
        parts.append(f"tasks: {', '.join(task.name for task in snapshot.tasks)}")
    if snapshot.calls:
        parts.append(f"to be called: {', '.join(call.name for call in snapshot.calls)}")
    return ", ".join(parts)


def as_text(snapshot: Snapshot) -> str:
    """Give a snapshot as JSON with lines and indents."""
    return json.dumps(attrs.asdict(snapshot, value_serializer=_serialized), indent=2)


def _serialized(_instance: object, _field: object, value: Any) -> Any:
    if isinstance(value, TaskRecord):
        return {"name": value.name, "args": value.args, "asked": value.asked, "at": value.at}
    if isinstance(value, CallRecord):
        return {"name": value.name, "args": value.args, "instance": value.instance, "id": value.id}
    return value
