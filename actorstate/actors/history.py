"""The last patches of one token, for a page that comes back and still shows a late version.

It costs a token that nobody looks on nothing: there is none before a page has come. From then on a
turn adds one entry, and what its operations weigh is estimated; no value is copied or encoded.
"""

from __future__ import annotations

import secrets
from typing import Final, final

from actorstate.actors.messages import Origin, Patch, Shown
from actorstate.state.commit import Commit
from actorstate.state.patch import Operation, weight
from actorstate.state.record import Record

_MOST_PATCHES: Final = 256
_LEAST_WEIGHT: Final = 512
_MOST_WEIGHT: Final = 64 * 1024
"""In bytes of JSON, as `weight` estimates them."""


@final
class _Entry(Record, frozen=True, gc=False):
    """One commit."""

    version: int
    operations: tuple[Operation, ...]
    origin: Origin
    """Whose event was done with it, if one was."""
    weight: int


@final
class History:
    """What has led to the version of now, back to some version, without a gap.

    Its name is new for each: versions of a token may begin anew where it has another owner, and
    the same number is then another state.
    """

    __slots__ = ("_entries", "_most", "_weight", "name")

    def __init__(self) -> None:
        self.name: Final = secrets.token_urlsafe(12)
        self._most = _MOST_WEIGHT
        self._entries: Final[list[_Entry]] = []
        self._weight = 0

    def suit(self, size: int) -> None:
        """Hold no more than is worth it, for a state of such a size (bytes).

        Patches that outweigh the state spare nobody anything: the whole state is less. What there
        is by now is let go with the next commit.
        """
        self._most = min(max(size, _LEAST_WEIGHT), _MOST_WEIGHT)

    def add(self, commit: Commit, origin: Origin) -> None:
        """Take in a commit, the next after the last; let go of the oldest if it gets too much."""
        entry = _Entry(commit.version, commit.operations, origin, weight(commit.operations))
        self._entries.append(entry)
        self._weight += entry.weight
        while self._weight > self._most or len(self._entries) > _MOST_PATCHES:
            self._weight -= self._entries.pop(0).weight

    def leads_on(self, shown: Shown, version: int) -> bool:
        """Tell whether a page that shows a version can be brought to that of now."""
        if shown.history != self.name or shown.version > version:
            return False
        return shown.version == version or self._begins_at(shown.version)

    def _begins_at(self, version: int) -> bool:
        return bool(self._entries) and self._entries[0].version <= version + 1

    def since(self, version: int, ack: int) -> Patch | None:
        """Give what has changed since a version, as one patch; None for nothing.

        Args:
            version: one from which it `leads_on`.
            ack: the highest event number of its page load that is done now.
        """
        after = [entry for entry in self._entries if entry.version > version]
        if not after:
            return None
        operations = tuple(one for entry in after for one in entry.operations)
        return Patch(after[-1].version, ack, operations, version)

    def ack_at(self, version: int, instance: str, ack: int) -> int:
        """Give the highest event number of a page load that was done at a version.

        What was done with later patches is not yet: it must not be acknowledged to a page that
        does not show it. The events of a page load are done in the order of their numbers, so the
        first of these is enough.

        Args:
            version: one from which it `leads_on`.
            instance: the page load.
            ack: what is done now.
        """
        for entry in self._entries:
            seq = entry.origin.seq
            if entry.version > version and seq is not None and entry.origin.instance == instance:
                return seq - 1
        return ack
