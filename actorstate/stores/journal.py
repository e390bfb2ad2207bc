"""A snapshot as bytes: the whole of it, and the commits since.

A store that keeps bytes keeps for each token the last whole snapshot and the patches after it. So
a commit costs what it changed, and not what the state weighs; and reading costs at most twice what
the state weighs, because patches are never left to outweigh the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, final

import attrs
import msgspec

from actorstate.exceptions import SnapshotError
from actorstate.state.commit import Commit
from actorstate.state.patch import NO_VALUE, Operation, apply, copy_plain
from actorstate.state.snapshot import CallRecord, Snapshot, TaskRecord

# So many bytes of patches lie behind a snapshot that is smaller than that: to write a few hundred
# bytes anew with every other commit would save nobody anything.
_LEAST: Final = 4096

REMEMBERED_PAGE_LOADS: Final = 32
"""Of how many page loads a snapshot knows the last event that is done. A tab has one, and those
that it was loaded as before; each may come back, and send again what was not acknowledged."""


@final
class Draft:
    """A snapshot that commits change in place.

    Args:
        snapshot: how it begins; what is in it is copied.
    """

    __slots__ = (
        "_calls", "_connected", "_done", "_last", "_schema", "_tasks", "_values", "_version",
    )  # fmt: skip

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        begin = snapshot if snapshot is not None else Snapshot(0, {})
        self._version = begin.version
        self._values: Final[dict[str, Any]] = copy_plain(begin.values)
        self._tasks = begin.tasks
        self._done: Final = dict(begin.done)
        self._calls: Final = {call.id: call for call in begin.calls}
        self._schema = begin.schema
        self._connected = begin.connected
        self._last: str | None = None

    def take(self, commit: Commit) -> None:
        """Let it be as it is with a commit.

        Raises:
            LookupError: the commit is not one that follows.
        """
        apply(self._values, commit.changes)
        self._version = commit.version
        for instance, seq in commit.done:
            if instance != self._last:
                self._put_last(instance)
            self._done[instance] = seq
        if commit.tasks is not None:
            self._tasks = commit.tasks
        if commit.schema is not None:
            self._schema = commit.schema
        if commit.connected is not None:
            self._connected = commit.connected
        if commit.ran or commit.calls:
            self._take_calls(commit)

    def _take_calls(self, commit: Commit) -> None:
        for one in commit.ran:
            self._calls.pop(one, None)
        for call in commit.calls:
            self._calls[call.id] = call

    def _put_last(self, instance: str) -> None:
        """Let a page load be the one that is forgotten last."""
        self._done[instance] = self._done.pop(instance, 0)
        self._last = instance
        while len(self._done) > REMEMBERED_PAGE_LOADS:
            del self._done[next(iter(self._done))]

    def snapshot(self) -> Snapshot:
        """Give it as it is now; what is changed afterwards is not seen there."""
        values = copy_plain(self._values)
        return self._with(values, dict(self._done))

    def encode(self) -> bytes:
        """Give it as bytes, as `encode_snapshot` does."""
        return encode_snapshot(self._with(self._values, self._done))

    def _with(self, values: Mapping[str, Any], done: Mapping[str, int]) -> Snapshot:
        calls = tuple(self._calls.values())
        return Snapshot(
            self._version, values, self._tasks, done, calls, self._schema, self._connected
        )


# ---- bytes -------------------------------------------------------------------------------------


class _Whole(msgspec.Struct, omit_defaults=True):
    """A snapshot in JSON."""

    version: int
    values: Mapping[str, Mapping[str, Any]]
    tasks: list[TaskRecord] = []
    done: dict[str, int] = {}
    calls: list[CallRecord] = []
    schema: str = ""
    connected: tuple[str, ...] | None = None


class _Patch(msgspec.Struct, omit_defaults=True):
    """A commit in JSON. Its names are short: it may be all names."""

    v: int
    ops: list[list[Any]] = []
    tasks: list[TaskRecord] | None = None
    done: list[tuple[str, int]] = []
    calls: list[CallRecord] = []
    ran: list[str] = []
    schema: str | None = None
    connected: tuple[str, ...] | None = None


_encode: Final = msgspec.json.Encoder().encode  # in the order of dicts, which is part of a value
_decode_whole: Final = msgspec.json.Decoder(_Whole).decode
_decode_patch: Final = msgspec.json.Decoder(_Patch).decode


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Give a snapshot as JSON."""
    return _encode(
        _Whole(
            snapshot.version,
            snapshot.values,
            list(snapshot.tasks),
            dict(snapshot.done),
            list(snapshot.calls),
            snapshot.schema,
            snapshot.connected,
        )
    )


def encode_commit(commit: Commit) -> bytes:
    """Give as JSON what a commit does to the snapshot; not what it shows to anyone."""
    return _encode(
        _Patch(
            commit.version,
            [_as_list(operation) for operation in commit.changes],
            None if commit.tasks is None else list(commit.tasks),
            list(commit.done),
            list(commit.calls),
            list(commit.ran),
            commit.schema,
            commit.connected,
        )
    )


def _as_list(operation: Operation) -> list[Any]:
    if operation.value is NO_VALUE:
        return [operation.op, operation.path]
    return [operation.op, operation.path, operation.value]


def read_draft(whole: bytes | None, patches: Iterable[bytes] = ()) -> Draft:
    """Give what was written as a whole snapshot, or never yet, with the patches since.

    Raises:
        SnapshotError: this is not what was written.
    """
    try:
        draft = Draft(None if whole is None else _read_whole(whole))
        for patch in patches:
            draft.take(_read_patch(patch))
    except (msgspec.MsgspecError, LookupError, TypeError, ValueError) as error:
        message = f"the stored snapshot cannot be read ({error}); it was left as it is"
        raise SnapshotError(message) from error
    return draft


def decode_snapshot(whole: bytes | None, patches: Iterable[bytes] = ()) -> Snapshot:
    """Give the snapshot of a whole and its patches; see `read_draft`.

    Raises:
        SnapshotError: this is not what was written.
    """
    return read_draft(whole, patches).snapshot()


def _read_whole(data: bytes) -> Snapshot:
    read = _decode_whole(data)
    tasks, calls = tuple(read.tasks), tuple(read.calls)
    return Snapshot(read.version, read.values, tasks, read.done, calls, read.schema, read.connected)


def _read_patch(data: bytes) -> Commit:
    read = _decode_patch(data)
    tasks = None if read.tasks is None else tuple(read.tasks)
    changes = tuple(Operation(*parts) for parts in read.ops)
    done, calls, ran = tuple(read.done), tuple(read.calls), tuple(read.ran)
    return Commit(read.v, changes, (), tasks, done, calls, ran, read.schema, read.connected)


# ---- which of the two --------------------------------------------------------------------------


@final
@attrs.frozen
class Entry:
    """What is to be written for one commit."""

    is_whole: bool
    """Whether it takes the place of all that was written before; else it comes after that."""
    data: bytes


@final
class Journal:
    """What one token weighs in its store, and so what is to be written for its next commit.

    Args:
        whole: the bytes of the last whole snapshot; 0 for none.
        patches: the bytes of the patches since.
    """

    def __init__(self, whole: int = 0, patches: int = 0) -> None:
        self._whole = whole
        self._patches = patches

    def entry(self, commit: Commit) -> Entry:
        """Choose between the patch and the whole. Call it before anything is awaited."""
        patch = encode_commit(commit)
        if commit.whole is None or self._patches + len(patch) <= max(self._whole, _LEAST):
            return Entry(is_whole=False, data=patch)
        return Entry(is_whole=True, data=encode_snapshot(commit.whole()))

    def written(self, entry: Entry) -> None:
        """Note that the store has it."""
        if entry.is_whole:
            self._whole, self._patches = len(entry.data), 0
        else:
            self._patches += len(entry.data)
