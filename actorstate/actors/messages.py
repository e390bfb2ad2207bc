"""The records that actors and connections send each other. Frozen, all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol, final

import attrs
from attrs.converters import optional

from actorstate.state.commit import Commit
from actorstate.state.effects import Effect
from actorstate.state.handlers import FollowUp, Invocation
from actorstate.state.json_types import Plain
from actorstate.state.patch import Operation
from actorstate.state.record import Record
from actorstate.state.router import Router

# ---- to a token actor ----------------------------------------------------------------------


@final
class Origin(Record, frozen=True, gc=False):
    """Who began what is being done, and what is done with it.

    A handler that another one triggered was begun by the same, and nothing else is done with it.
    """

    instance: str = ""
    """The page load, where one did; its effects are for it."""
    seq: int | None = None
    """The number of its event that is acknowledged with this; None where nobody waits."""
    call: str | None = None
    """The call that is done with this, as the snapshot has it; None for none."""

    def without_event(self) -> Origin:
        """Give the origin of what follows, with which nothing is done yet."""
        return Origin(self.instance)


NOBODY: Final = Origin()
"""The origin of what the program does on its own."""


@final
class Event(Record, frozen=True, gc=False):
    """A request from outside to run a handler, its arguments still in their JSON form."""

    name: str
    """The handler's name on the wire."""
    args: Any = ()
    """A list, or an object by parameter name; whatever came, for the handler to judge."""
    seq: int | None = None
    """Its number among the events of `instance`; None where nobody waits for it."""
    instance: str = ""
    """The page load that sent it, where one did."""

    @property
    def origin(self) -> Origin:
        """Who sent it, and waits for it."""
        return Origin(self.instance, self.seq)


@final
class Call(Record, frozen=True):
    """A request from inside to run a handler: what another handler returned or yielded."""

    invocation: Invocation
    origin: Origin = NOBODY
    job: int | None = None
    """The number under which a background task is noted in the snapshot already."""
    follows: bool = False
    """Whether it follows from a turn, which could not wait until there was room for it."""


@final
class EffectRequest(Record, frozen=True):
    """A request from a background task, outside its blocks, for an effect."""

    effect: Effect
    origin: Origin


@final
class TurnRequest(Record, frozen=True, gc=False):
    """Asks for the turn. The answer is the grant (see ``turns``)."""

    holder: str
    """Who asks, for logs."""
    origin: Origin = NOBODY
    """For whom."""


@final
class TurnEnd(Record, frozen=True):
    """Ends a granted turn, or one stretch of it. Answered once the store has it."""

    commit: Commit | None = None
    """What was changed; None for nothing, and for a turn that was rolled back."""
    follow_ups: tuple[FollowUp, ...] = ()
    """The handlers to queue after it, and the effects to ask for."""
    origin: Origin = NOBODY
    """For whom these are."""
    goes_on: bool = False
    """Whether the holder keeps the turn: a ``yield`` inside the block."""


@final
@attrs.frozen
class Shown:
    """What a page shows that comes back."""

    history: str
    """The name of the history in which its version stands."""
    version: int


@final
@attrs.frozen
class Attach:
    """A connection wants to see this token from now on. It is sent a `Welcome` first.

    It takes the place of an older one of its page load, of which it knows better that it is gone.
    """

    connection: Connection
    on_load: tuple[Invocation, ...] = ()
    """What is run after the welcome of a page load that was not here before."""
    shown: Shown | None = None
    """What its page shows already; None for nothing."""
    nth: int | None = None
    """Which of the connections of its page load it is; None if its client does not say."""
    instead_of: tuple[Connection, ...] | None = None
    """Those of other page loads that are known to be gone. If there are any others, the connection
    is not attached, and told of them (`Connection.contest`). None: attach it, whoever is here."""


@final
@attrs.frozen
class Detach:
    """A connection is gone."""

    connection: Connection


@final
@attrs.frozen
class Refresh:
    """A connection has let go of patches that it had no room for, and wants a new `Welcome`."""

    connection: Connection


@final
@attrs.frozen
class Wanted:
    """Somebody else waits for the token."""


@final
@attrs.frozen
class Return:
    """The token that was given up is to be taken up again: somebody looks on here."""


@final
@attrs.frozen
class StillAway:
    """No connection has come for as long as a tab may be away and count as connected."""

    absence: object
    """The absence that it is about; there may have been another one since."""


@final
@attrs.frozen
class Reconsider:
    """Whether the tab is connected is to be decided, once its token is held."""


# ---- to a connection -----------------------------------------------------------------------


@final
@attrs.frozen
class Welcome:
    """The whole public state: to who has just attached, or has lost track, or had another owner."""

    token: str
    version: int
    ack: int
    """The highest event number of this page load that is done; 0 for none."""
    state: Mapping[str, Mapping[str, Plain]] | None
    """None for a page that shows this version already."""
    history: str = ""
    """The name of the history in which the version stands."""


@final
class Patch(Record, frozen=True, gc=False):
    """What one commit changed, or several in a row."""

    version: int
    """That of the last of them."""
    ack: int
    ops: tuple[Operation, ...]
    """Empty if only backend vars changed."""
    base: int | None = None
    """The version that it applies to; None for the one before, as is that of one commit."""


@final
class Ack(Record, frozen=True, gc=False):
    """Events up to this number are done."""

    ack: int


_MOST_TOLD: Final = 500  # characters


def _cut(text: str) -> str:
    """Cut what names a part of a frame: that may be as long as a frame, and many may wait."""
    return text if len(text) <= _MOST_TOLD else f"{text[: _MOST_TOLD - 1]}…"


@final
@attrs.frozen
class Failure:
    """An event, or a frame, came to nothing. Carries no more than its sender may know."""

    code: str
    message: str = attrs.field(converter=_cut)
    seq: int | None = None
    where: str | None = attrs.field(default=None, converter=optional(_cut))
    """Path to the culprit in the frame."""


Notice = Welcome | Patch | Ack | Failure | Effect


class Connection(Protocol):
    """What the token actor knows of a connection."""

    @property
    def instance(self) -> str:
        """The page load behind it."""
        ...

    @property
    def router(self) -> Router:
        """Where that page load is."""
        ...

    def send(self, notice: Notice) -> None:
        """Put a notice into the outbox. Neither waits nor raises."""
        ...

    def close(self) -> None:
        """End it: the token actor has stopped. Neither waits nor raises."""
        ...

    def replace(self) -> None:
        """End it: another one has come in its place. Neither waits nor raises."""
        ...

    def contest(self, rivals: tuple[Connection, ...], *, was_here: bool) -> None:
        """Note that it was not attached. Neither waits nor raises.

        Args:
            rivals: those of other page loads, that are attached to the token.
            was_here: whether its page load was attached before.
        """
        ...

    async def gives_sign(self, within: float) -> bool:
        """Ask the page load for a sign, and tell whether there is one in time (seconds)."""
        ...
