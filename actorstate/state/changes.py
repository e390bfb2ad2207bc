"""What a turn changed: one log, read backwards to undo it and forwards to tell others of it.

Every entry knows how to undo itself and gives the entry that would undo that, so a log can be
played back and forth. To undo costs what was changed.

To tell others, the entries are folded: of many changes to one place counts the value before the
first and the value now. What comes out is RFC 6902 operations:

1. Entries are gathered by what they changed: a state, a dict, an instance, a list, a set.
2. Of those that are still in the state, the ones higher up come first, so that the paths of those
   below are those of the end.
3. What lies inside a value that an operation carries whole needs none of its own.

Where a value with others inside was replaced, whether that made a difference can be told only
from how the old one read *before the turn*; so the log is played back, the old values are read,
and it is played forth again.
"""

# Values of any type go through here; the declared type is known at run time alone.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast, final

import attrs
import msgspec

from actorstate.state.convert import same_json
from actorstate.state.nodes import Node, adopt, adopt_one, chain, is_node, orphan
from actorstate.state.patch import Operation, pointer
from actorstate.state.record import Record

if TYPE_CHECKING:
    from actorstate.state.places import VarPlace
    from actorstate.state.shapes import Shape
    from actorstate.state.tracked import TrackedDict, TrackedList, TrackedSet

MISSING: Final = object()
"""Stands for the value of a key that is not there."""

# Splices are folded one by one as long as that takes so many steps, and as many more for each
# item of the list; then by comparing the list before with the list after.
_FOLDING_STEPS: Final = 20_000


class Entry(Protocol):
    """One change."""

    @property
    def target(self) -> Any:
        """What was changed."""
        ...

    def undo(self) -> Entry:
        """Make it not to have been, and give what would undo this."""
        ...


# ---- entries -----------------------------------------------------------------------------------


@final
class VarSet(Record, frozen=True, eq=False):
    """A var of a state was given another value."""

    target: VarPlace
    old: Any

    def undo(self) -> VarSet:
        """Give it the old one."""
        current = self.target.value()
        self.target.put(self.old)
        if self.target.var.shape.holds_nodes:
            orphan((current,))
            adopt_one(self.target, None, self.old)
        return VarSet(self.target, current)


@final
@attrs.frozen(eq=False)
class KeySet:
    """A key of a dict or a field of an instance was set, or taken out."""

    target: Any
    key: Any
    old: Any
    """The value before; MISSING if there was none."""
    order: tuple[Any, ...] | None = None
    """The keys in their order, if the key was taken from among them."""

    def undo(self) -> KeySet:
        """Set it to the old value, or take it out."""
        target: Any = self.target
        current = _current(target, self.key)
        orphan((current,))
        if not isinstance(target, dict):
            object.__setattr__(target, self.key, self.old)
        elif self.old is MISSING:
            dict.__delitem__(target, self.key)
        else:
            self._put_back(target)
        adopt_one(self.target, self.key, self.old)
        return KeySet(self.target, self.key, current)

    def _put_back(self, table: dict[Any, Any]) -> None:
        dict.__setitem__(table, self.key, self.old)
        if self.order is not None:
            items = [(key, table[key]) for key in self.order]
            dict.clear(table)
            dict.update(table, items)


@final
@attrs.frozen(eq=False)
class Cleared:
    """A dict lost all it had."""

    target: TrackedDict
    old: Mapping[Any, Any]

    def undo(self) -> Cleared:
        """Fill it again."""
        current = dict(self.target)
        orphan(current.values())
        dict.clear(self.target)
        dict.update(self.target, self.old)
        for key, value in self.old.items():
            adopt_one(cast("Node", self.target), key, value)
        return Cleared(self.target, current)


@final
@attrs.define(eq=False)
class Spliced:
    """A stretch of a list was replaced by another."""

    target: TrackedList
    start: int
    removed: list[Any]
    added: int

    def undo(self) -> Spliced:
        """Replace it back."""
        stretch = slice(self.start, self.start + self.added)
        current = self.target[stretch]
        list.__setitem__(self.target, stretch, self.removed)
        if self.target.actorstate_shape.item.holds_nodes:
            orphan(current)
            adopt(cast("Node", self.target), self.start, self.removed)
        return Spliced(self.target, self.start, current, len(self.removed))

    def absorb(self, later: Spliced) -> bool:
        """Take the next splice in, if it makes one with this, as in a loop of appends."""
        follows = later.target is self.target and later.start == self.start + self.added
        if not follows or later.removed:
            return False
        self.added += later.added
        return True


@final
@attrs.frozen(eq=False)
class Members:
    """A set got elements, and lost elements."""

    target: TrackedSet
    added: frozenset[Any]
    removed: frozenset[Any]

    def undo(self) -> Members:
        """Take the ones, and put back the others."""
        set.difference_update(self.target, self.added)
        set.update(self.target, self.removed)
        return Members(self.target, self.removed, self.added)


def _current(container: Any, key: Any) -> Any:
    if isinstance(container, dict):
        return cast("dict[Any, Any]", container).get(key, MISSING)
    return getattr(container, key)


@final
class Log(msgspec.Struct, eq=False):
    """The changes of one stretch of a turn, in order."""

    entries: list[Entry] = []
    absorbed: int = 0
    """How many changes became part of the entry before them."""
    _ordered: set[int] | None = None

    def add(self, entry: Entry) -> None:
        """Note a change that was made."""
        self.entries.append(entry)

    def spliced(self, entry: Spliced) -> None:
        """Note a change of a list, as one with the change before it if it can be."""
        last = self.entries[-1] if self.entries else None
        if isinstance(last, Spliced) and last.absorb(entry):
            self.absorbed += 1
        else:
            self.entries.append(entry)

    def order_of(self, table: TrackedDict) -> tuple[Any, ...] | None:
        """Give the keys of a dict, for putting one back where it was; None from the second time on.

        Once is enough: whatever is undone before that entry, after it all keys are there again,
        and are put in their order.
        """
        if self._ordered is None:  # few logs need one
            self._ordered = set()
        if id(table) in self._ordered:
            return None
        self._ordered.add(id(table))
        return tuple(table)

    def undo(self) -> Log:
        """Undo all, the last first; give the log that would undo this."""
        inverse = Log()
        inverse.entries = [entry.undo() for entry in reversed(self.entries)]
        for entry in self.entries:
            if isinstance(entry, Members):
                entry.target.actorstate_order = None
        return inverse


# ---- folding -----------------------------------------------------------------------------------


@final
@attrs.define(eq=False)
class Gap:
    """A stretch of a list as it is now, and the items that were in its place before the turn."""

    start: int
    added: int
    removed: list[Any]

    @property
    def stop(self) -> int:
        """Where it ends, in the list as it is now."""
        return self.start + self.added


def fold_splices(items: Sequence[Any], splices: Sequence[Spliced]) -> list[Gap]:
    """Give what splices did to a list, in sum, from left to right.

    Args:
        items: the list as it is now.
        splices: what was done to it, in order.
    """
    gaps: list[Gap] = []
    steps_left = _FOLDING_STEPS + len(items)
    for splice in splices:
        steps_left -= len(gaps)
        if steps_left < 0:
            return _compare(items, splices)
        gaps = _splice_into(gaps, splice)
    return gaps


def _splice_into(gaps: list[Gap], splice: Spliced) -> list[Gap]:
    start, stop = splice.start, splice.start + len(splice.removed)
    before = [gap for gap in gaps if gap.stop < start]
    after = [gap for gap in gaps if gap.start > stop]
    touched = gaps[len(before) : len(gaps) - len(after)]
    merged = Gap(min([start, *(gap.start for gap in touched)]), 0, [])
    end = max([stop, *(gap.stop for gap in touched)])
    here = start  # items of the splice before this were accounted for
    for gap in touched:
        # Between the gaps lie items from before the turn, which the splice takes out.
        merged.removed += splice.removed[max(here, start) - start : max(gap.start - start, 0)]
        merged.removed += gap.removed
        here = gap.stop
    merged.removed += splice.removed[max(here, start) - start :]
    shift = splice.added - len(splice.removed)
    merged.added = end - merged.start + shift
    for gap in after:
        gap.start += shift
    return [*before, merged, *after]


def _compare(items: Sequence[Any], splices: Sequence[Spliced]) -> list[Gap]:
    old = list(items)
    for splice in reversed(splices):
        old[splice.start : splice.start + splice.added] = splice.removed
    if len(old) == len(items):
        return [Gap(start, stop - start, old[start:stop]) for start, stop in _runs(old, items)]
    shortest = min(len(old), len(items))
    start = next((i for i in range(shortest) if old[i] is not items[i]), shortest)
    most = shortest - start
    rest = next((i for i in range(most) if old[-1 - i] is not items[-1 - i]), most)
    return [Gap(start, len(items) - rest - start, old[start : len(old) - rest])]


def _runs(old: Sequence[Any], new: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """Give the stretches in which two lists of one length differ."""
    start = 0
    pairs = zip(old, new, strict=True)
    for differs, run in itertools.groupby(pairs, key=lambda pair: pair[0] is not pair[1]):
        stop = start + sum(1 for _ in run)
        if differs:
            yield start, stop
        start = stop


OldPlain: TypeAlias = Callable[["Shape", Any], Any]
"""Gives the JSON form that a replaced value had before the turn."""

Path: TypeAlias = tuple[str, ...]


class Net(Protocol):
    """What was done to one container, in sum."""

    def covers(self, key: Any) -> bool:
        """Tell whether its operations carry, whole, what is at a key now."""
        ...

    def replaced(self) -> Iterator[tuple[Shape, Any]]:
        """Give the values from before the turn that something is compared with."""
        ...

    def operations(self, path: Path, old_plain: OldPlain) -> Iterator[Operation]:
        """Give the operations that do it to the container at a path."""
        ...


def _difference(
    shape: Shape, path: Path, old: Any, new: Any, old_plain: OldPlain
) -> Iterator[Operation]:
    """Give the operation for a key that had one value, and has another now."""
    where = pointer(*path)
    if new is MISSING:
        if old is not MISSING:
            yield Operation("remove", where)
        return
    plain = shape.to_plain(new)
    if old is MISSING:
        yield Operation("add", where, plain)
    elif not same_json(old_plain(shape, old), plain):
        yield Operation("replace", where, plain)


@final
@attrs.define(eq=False)
class VarNet:
    """A var was given other values."""

    place: VarPlace
    old: Any

    @classmethod
    def of(cls, entries: Sequence[VarSet]) -> VarNet:
        """Fold the entries of one var."""
        return cls(entries[0].target, entries[0].old)

    def covers(self, key: Any) -> bool:  # noqa: ARG002 - there is one value
        return True

    def replaced(self) -> Iterator[tuple[Shape, Any]]:
        yield self.place.var.shape, self.old

    def operations(self, path: Path, old_plain: OldPlain) -> Iterator[Operation]:
        var = self.place.var
        return _difference(var.shape, path, self.old, self.place.value(), old_plain)


@final
@attrs.define(eq=False)
class KeysNet:
    """Keys of a dict or fields of an instance were set or taken out."""

    node: Any
    old: dict[Any, Any]

    @classmethod
    def of(cls, entries: Sequence[KeySet | Cleared]) -> KeysNet:
        """Fold the entries of one dict or instance."""
        old: dict[Any, Any] = {}
        for entry in entries:
            if isinstance(entry, KeySet):
                old.setdefault(entry.key, entry.old)
            else:
                for key, value in entry.old.items():
                    old.setdefault(key, value)
        return cls(entries[0].target, old)

    def covers(self, key: Any) -> bool:
        return key in self.old

    def replaced(self) -> Iterator[tuple[Shape, Any]]:
        for key, old in self.old.items():
            if old is not MISSING and _current(self.node, key) is not MISSING:
                yield self.node.actorstate_shape.at(key), old

    def operations(self, path: Path, old_plain: OldPlain) -> Iterator[Operation]:
        if len(self.old) > 1 and isinstance(self.node, dict) and not len(self.node):
            # All keys are gone: one operation, unless there were none before, either.
            if any(old is not MISSING for old in self.old.values()):
                yield Operation("replace", pointer(*path), {})
            return
        node: Any = self.node
        shape: Shape = node.actorstate_shape
        for key, old in self.old.items():
            new = _current(self.node, key)
            yield from _difference(shape.at(key), (*path, shape.key_text(key)), old, new, old_plain)


@final
@attrs.define(eq=False)
class ListNet:
    """Stretches of a list were replaced."""

    node: TrackedList
    gaps: list[Gap]

    @classmethod
    def of(cls, entries: Sequence[Spliced]) -> ListNet:
        """Fold the entries of one list."""
        node = entries[0].target
        return cls(node, fold_splices(node, entries))

    @property
    def is_whole(self) -> bool:
        """Whether to send the list as a whole is shorter than to send what became of its items."""
        count = sum(max(gap.added, len(gap.removed)) for gap in self.gaps)
        return count > 1 and count >= len(self.node)

    def covers(self, key: int) -> bool:
        return self.is_whole or any(gap.start <= key < gap.stop for gap in self.gaps)

    @property
    def is_as_long(self) -> bool:
        """Whether the list has as many items as before."""
        return sum(gap.added - len(gap.removed) for gap in self.gaps) == 0

    def replaced(self) -> Iterator[tuple[Shape, Any]]:
        if self.is_whole:  # of another length it cannot read as before
            if self.is_as_long:
                yield self.node.actorstate_shape, self.node
            return
        for gap in self.gaps:
            for old in gap.removed[: gap.added]:
                yield self.node.actorstate_shape.item, old

    def operations(self, path: Path, old_plain: OldPlain) -> Iterator[Operation]:
        if not self.is_whole:
            yield from self._each_item(path, old_plain)
            return
        shape = self.node.actorstate_shape
        plain = shape.to_plain(self.node)
        # It may read as before, as when it is sorted twice, or turned by items that are equal.
        if not (self.is_as_long and same_json(old_plain(shape, self.node), plain)):
            yield Operation("replace", pointer(*path), plain)

    def _each_item(self, path: Path, old_plain: OldPlain) -> Iterator[Operation]:
        shape = self.node.actorstate_shape.item
        for gap in self.gaps:
            both = min(gap.added, len(gap.removed))
            for index, old in enumerate(gap.removed[:both], gap.start):
                where = (*path, str(index))
                yield from _difference(shape, where, old, self.node[index], old_plain)
            gone = pointer(*path, str(gap.start + both))
            yield from [Operation("remove", gone)] * (len(gap.removed) - both)
            for index in range(gap.start + both, gap.stop):
                plain = shape.to_plain(self.node[index])
                yield Operation("add", pointer(*path, str(index)), plain)


@final
@attrs.define(eq=False)
class SetNet:
    """A set got elements, and lost elements."""

    node: TrackedSet
    added: set[Any]
    removed: set[Any]

    @classmethod
    def of(cls, entries: Sequence[Members]) -> SetNet:
        """Fold the entries of one set."""
        added: set[Any] = set()
        removed: set[Any] = set()
        for entry in entries:
            come_and_gone, gone_and_come = entry.removed & added, entry.added & removed
            added -= come_and_gone
            removed -= gone_and_come
            added |= entry.added - gone_and_come
            removed |= entry.removed - come_and_gone
        return cls(entries[0].target, added, removed)

    def covers(self, key: Any) -> bool:  # noqa: ARG002 - nothing in a set can be changed
        return True

    def replaced(self) -> Iterator[tuple[Shape, Any]]:
        return iter(())

    def operations(self, path: Path, old_plain: OldPlain) -> Iterator[Operation]:  # noqa: ARG002
        shape = self.node.actorstate_shape
        yield from shape.order_operations(self.node, path, self.added, self.removed)


AnyNet: TypeAlias = VarNet | KeysNet | ListNet | SetNet

_FOLDS: Final[dict[type[Entry], Callable[[Any], AnyNet]]] = {
    VarSet: VarNet.of, KeySet: KeysNet.of, Cleared: KeysNet.of, Spliced: ListNet.of,
    Members: SetNet.of,
}  # fmt: skip


@final
class VarChange(Record, frozen=True, eq=False):
    """What became of one var: the operations, as they have to be applied."""

    place: VarPlace
    operations: tuple[Operation, ...]


def scalar_set(log: Log) -> VarSet | None:
    """Give the one change of a turn that has assigned a scalar and no more; None for other turns.

    Most do no more. Such a change needs not be folded: it says all there is.
    """
    entries = log.entries
    if len(entries) == 1:
        [entry] = entries
        if type(entry) is VarSet and entry.target.var.is_plain:
            return entry
    return None


def fold(log: Log) -> list[VarChange]:
    """Give what a log did to each var, in sum; nothing for vars that read as before."""
    simple = _fold_scalars(log.entries)
    if simple is not None:
        return simple
    nets = _gather(log.entries)
    old_plain = _reader_of_old_values(log, nets.values())
    changes: dict[VarPlace, list[Operation]] = {}
    for place, path, net in _in_order(nets):
        changes.setdefault(place, []).extend(net.operations(path, old_plain))
    return [VarChange(place, tuple(made)) for place, made in changes.items() if made]


def _fold_scalars(entries: Iterable[Entry]) -> list[VarChange] | None:
    """Fold the log of a turn that only assigned scalars, in half the time of the general way."""
    before: dict[VarPlace, Any] = {}
    for entry in entries:
        if type(entry) is not VarSet or entry.target.var.holds_nodes:
            return None
        before.setdefault(entry.target, entry.old)
    changes: list[VarChange] = []
    for place, old in before.items():
        var = place.var
        was, plain = old, getattr(place.state, var.name)
        if not var.is_plain:
            was, plain = var.plain(old), var.plain(plain)
        if not same_json(was, plain):
            changes.append(VarChange(place, (Operation("replace", var.pointer, plain),)))
    return changes


def _gather(entries: Iterable[Entry]) -> dict[int, AnyNet]:
    """Fold the entries of each container. By identity: a container's content is no name for it."""
    gathered: dict[int, list[Any]] = {}
    for entry in entries:
        gathered.setdefault(id(entry.target), []).append(entry)
    return {key: _FOLDS[type(found[0])](found) for key, found in gathered.items()}


def _in_order(nets: Mapping[int, AnyNet]) -> list[tuple[VarPlace, Path, AnyNet]]:
    """Give what needs operations of its own, with its path; the higher up, the earlier."""
    found: list[tuple[VarPlace, Path, AnyNet]] = []
    for net in nets.values():
        if isinstance(net, VarNet):
            found.append((net.place, net.place.path, net))
            continue
        path = _path_to(net.node, nets)
        if path is not None:
            found.append((cast("VarPlace", net.node.actorstate_place), path, net))
        elif isinstance(net, SetNet):
            net.node.actorstate_order = None
    found.sort(key=lambda one: len(one[1]))
    return found


def _path_to(node: Any, nets: Mapping[int, AnyNet]) -> Path | None:
    """Give the path of a container; None if it is not in the state, or if it is sent with more."""
    links = chain(node)
    if links is None:
        return None
    path: Path = ()
    for parent, key in links:
        net = nets.get(id(parent))
        if net is not None and net.covers(key):
            return None
        path = (*path, *parent.path) if not path else (*path, parent.actorstate_shape.key_text(key))
    return path


def _plain_now(shape: Shape, old: Any) -> Any:
    return shape.to_plain(old)


def _reader_of_old_values(log: Log, nets: Iterable[AnyNet]) -> OldPlain:
    compared = [(shape, old) for net in nets for shape, old in net.replaced() if _has_nodes(old)]
    if not compared:
        return _plain_now
    forth = log.undo()
    try:
        plain = {id(old): shape.to_plain(old) for shape, old in compared}
    finally:
        forth.undo()
    return lambda shape, old: plain[id(old)] if id(old) in plain else shape.to_plain(old)


def _has_nodes(value: Any) -> bool:
    return is_node(value) or not isinstance(value, (int, float, str, type(None)))
