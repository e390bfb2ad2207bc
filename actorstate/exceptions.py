"""What can go wrong, each with a class of its own.

A class says whose fault it is and derives from the builtin that callers already catch. The
messages are built where the facts are; they say what happened, to what, and what to do.
"""

from __future__ import annotations

from pykka import ActorDeadError

__all__ = [
    "ActorDeadError",
    "BadArgumentsError",
    "ComputedVarError",
    "ImmutableStateError",
    "MailboxFullError",
    "PageError",
    "SnapshotError",
    "StateDefinitionError",
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


class ComputedVarError(RuntimeError):
    """A computed var has no value: it reads itself in a circle, or has raised each time."""


class MailboxFullError(RuntimeError):
    """An actor's mailbox holds as many messages as it may. The message was not taken."""


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
