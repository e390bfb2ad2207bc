"""What can go wrong, each with a class of its own.

A class says whose fault it is and derives from the builtin that callers already catch. The
messages are built where the facts are; they say what happened, to what, and what to do.
"""

from __future__ import annotations

from pykka import ActorDeadError

__all__ = [
    "ActivationError",
    "ActorDeadError",
    "BadArgumentsError",
    "ComputedVarError",
    "DeadlockError",
    "ImmutableStateError",
    "LeaseLostError",
    "MailboxFullError",
    "PageError",
    "SnapshotError",
    "StateDefinitionError",
    "StoreError",
    "StoreUnavailableError",
    "TooManyTasksError",
    "TurnTimeoutError",
    "UnknownHandlerError",
]


class StateDefinitionError(TypeError):
    """A State class is written in a way that cannot work. Raised while it is being defined."""


class PageError(ValueError):
    """A page cannot be added to the app: its route is malformed, or taken."""


class ImmutableStateError(AttributeError):
    """Somebody who does not hold the token's open turn tried to change its state.

    Nothing was changed. In a background task, change state inside ``async with self``; elsewhere
    inside ``async with app.modify_state(token) as state``. Also raised where a turn is asked for
    from inside the open turn of the same token, which would wait for itself.
    """


class DeadlockError(RuntimeError):
    """Waiting for this turn would close a circle of turns that wait for each other.

    The message names the circle. Nothing was waited for; the turns that the caller holds are as
    they were, and are undone if the error leaves their blocks. Take the turns of several tokens
    in one order everywhere, or one after the other.
    """


class TurnTimeoutError(TimeoutError):
    """A turn was held longer than the app's ``turn_timeout``. What it changed was undone."""


class ActivationError(ActorDeadError):
    """A token's actor could not be started, not even by trying again.

    Its cause is what the last try raised. After a pause the next message for the token tries anew.
    """


class TooManyTasksError(RuntimeError):
    """A token has as many background tasks as it may. Another one was not started."""


class ComputedVarError(RuntimeError):
    """A computed var has no value: it reads itself in a circle, or has raised each time."""


class MailboxFullError(RuntimeError):
    """An actor's mailbox holds as many messages as it may. The message was not taken.

    Also raised where a turn is asked for, and as many wait for the token's turn as may.
    """


class UnknownHandlerError(LookupError):
    """No handler of that name can be reached from a browser."""


class BadArgumentsError(ValueError):
    """The arguments of an event do not fit its handler. The handler was not called."""

    def __init__(self, message: str, where: str) -> None:
        super().__init__(message)
        self.where = where
        """Path to the culprit in the event frame, as in ``$.args[0]``."""


class SnapshotError(ValueError):
    """A stored snapshot does not fit the declared vars. It was left as it is."""


class StoreError(OSError):
    """A store did not do what it was asked for. A turn that it did not take was undone."""


class LeaseLostError(StoreError):
    """The token was taken over by another owner, which has waited for this one in vain.

    Nothing was stored, and the turn was undone. The next one begins with what the other has left.
    """


class StoreUnavailableError(StoreError):
    """A store was not reached in time. Whether it has the turn will be seen when it is back.

    The turn was undone here, and the next one begins with what the store has then.
    """
