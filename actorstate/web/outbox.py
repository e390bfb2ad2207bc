"""What one connection has not been sent yet. No IO.

A client may be slow, or read nothing at all, and a program changes the state as often as it likes.
So what waits must not grow with what happens: of patches there is one, in which later ones are
merged, and of acknowledgements the last. Where the one patch gets too large as well, it is let go,
and the outbox is *stale*: from then on it wants a `Welcome`, with the state as it is by then, and
takes no patch before it has one. Effects and errors cannot be merged; they are counted.

What waits comes out in this order, whatever the order in which it came:

1. a ping;
2. errors, so that none is overtaken by the acknowledgement that settles its event;
3. a welcome (the first of all comes before the errors, too);
4. effects whose patch is out: else a client that is always late would see patches only;
5. the patch, with the acknowledgements that came after it;
6. the acknowledgement, if no patch has it;
7. effects, each after the patch of its turn; what later turns changed may be in that as well.

While it is stale, what is in the last three places waits for the welcome: no acknowledgement may
come before the state of which it speaks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, final

import attrs

from actorstate.actors.messages import Ack, Failure, Notice, Patch, Welcome
from actorstate.state.effects import Effect
from actorstate.state.patch import Operation, var_of, weight
from actorstate.web.protocol import PING, Ping

_MOST_NOTICES: Final = 1000
"""How many effects, and how many errors, may wait."""
_MOST_OPERATIONS: Final = 1000
_MOST_WEIGHT: Final = 128 * 1024
"""Of several patches that were merged, in bytes as `weight` estimates them; one may be heavier."""


@final
class Outbox:
    """The notices for one connection, in the order in which they go out."""

    __slots__ = (
        "_ack", "_effects", "_errors", "_first_ack", "_has_asked", "_is_welcomed", "_patch",
        "_pings", "_ready", "_welcome", "is_stale",
    )  # fmt: skip

    def __init__(self) -> None:
        self._errors: Final[list[Failure]] = []
        self._effects: Final[list[Effect]] = []
        self._ready = 0
        self._welcome: Welcome | None = None
        self._first_ack: int | None = None
        self._is_welcomed = False
        self._patch: Patch | _Merged | None = None
        self._ack: Ack | None = None
        self.is_stale: bool = False
        """Whether patches were let go, and no welcome has come since."""
        self._has_asked = False
        self._pings = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits, nor is wanted."""
        return not (
            self.is_stale
            or self._errors
            or self._effects
            or self._welcome
            or self._patch
            or self._ack
            or self._pings
        )

    def put(self, notice: Notice) -> bool:
        """Take a notice.

        Returns:
            False if there is no room for it. Then the client has missed something, and nothing
            but a new connection sets that right.
        """
        match notice:
            case Patch():
                self._put_patch(notice)
            case Ack():
                self._put_ack(notice)
            case Welcome():
                self._put_welcome(notice)
            case Failure():
                self._errors.append(notice)
            case Effect():
                self._effects.append(notice)
        return len(self._errors) <= _MOST_NOTICES and len(self._effects) <= _MOST_NOTICES

    def _put_welcome(self, welcome: Welcome) -> None:
        self._let_go()
        self.is_stale = False
        if self._first_ack is None:
            self._first_ack = welcome.ack
        elif not self._is_welcomed and welcome.ack > self._first_ack:
            # The first of all goes before the errors that have come since.
            self._ack = Ack(welcome.ack)
            welcome = attrs.evolve(welcome, ack=self._first_ack)
        self._welcome = welcome

    def _put_patch(self, patch: Patch) -> None:
        if self.is_stale:
            return
        self._ack = None  # it is in the patch
        if self._patch is None:
            self._patch = patch
            return
        if not isinstance(self._patch, _Merged):
            self._patch = _Merged(self._patch)
        self._patch.add(patch)
        if self._patch.is_too_large:
            self._let_go()
            self.is_stale, self._has_asked = True, False

    def _put_ack(self, ack: Ack) -> None:
        if self.is_stale:
            return
        match self._patch:
            case None:
                self._ack = ack
            case Patch(version, _, ops, base):
                self._patch = Patch(version, ack.ack, ops, base)
            case merged:
                merged.ack = ack.ack

    def _let_go(self) -> None:
        """Forget what shows the state, or speaks of it; a welcome brings all that."""
        self._welcome = self._patch = self._ack = None

    def ping(self) -> None:
        """Let the client be asked for a sign."""
        self._pings = True

    def claim_welcome(self) -> bool:
        """Tell whether the caller is to ask for a welcome: once for each time it got stale."""
        is_due, self._has_asked = self.is_stale and not self._has_asked, True
        return is_due

    def take(self) -> Notice | Ping | None:  # noqa: PLR0911 - one for each place in the order
        """Give what is to be sent next; None for nothing."""
        if self._pings:
            self._pings = False
            return PING
        if self._errors and (self._is_welcomed or self._first_ack is None):
            return self._errors.pop(0)
        if self._welcome is not None:
            welcome, self._welcome = self._welcome, None
            self._is_welcomed = True
            return welcome
        if self._ready:
            self._ready -= 1
            return self._effects.pop(0)
        if self.is_stale:
            return None
        if self._patch is not None:
            patch, self._patch = self._patch, None
            self._ready = len(self._effects)
            return patch.as_patch() if isinstance(patch, _Merged) else patch
        if self._ack is not None:
            ack, self._ack = self._ack, None
            return ack
        return self._effects.pop(0) if self._effects else None


@final
class _Merged:
    """Several patches as one.

    Operations on different vars do not touch each other, so they are kept by var. One that
    replaces a whole var makes all before it on that var superfluous; so a number that is counted
    up a million times is one operation.
    """

    __slots__ = ("_base", "_by_var", "_count", "_most", "_version", "_weight", "ack")

    def __init__(self, first: Patch) -> None:
        self._base: Final = first.version - 1 if first.base is None else first.base
        self._by_var: Final[dict[str, list[Operation]]] = {}
        self._count = self._weight = 0
        self._most = _MOST_WEIGHT
        self.add(first)

    def add(self, patch: Patch) -> None:
        """Take in the next one."""
        self._version, self.ack = patch.version, patch.ack
        for operation in patch.ops:
            self._add(operation)
        # One that is large by itself may lie here, as it may without others.
        self._most = max(self._most, weight(patch.ops))

    def _add(self, operation: Operation) -> None:
        var = var_of(operation.path)
        of_var = self._by_var.setdefault(var, [])
        if operation.path == var and of_var:
            self._count -= len(of_var)
            self._weight -= weight(of_var)
            of_var.clear()
        of_var.append(operation)
        self._count += 1
        self._weight += weight((operation,))

    @property
    def is_too_large(self) -> bool:
        """Whether the whole state may well be less."""
        return self._count > _MOST_OPERATIONS or self._weight > self._most

    def _operations(self) -> Iterator[Operation]:
        for of_var in self._by_var.values():
            yield from of_var

    def as_patch(self) -> Patch:
        """Give the one that does what all of them do."""
        return Patch(self._version, self.ack, tuple(self._operations()), self._base)
