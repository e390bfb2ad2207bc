"""The seam to where state trees rest, and its contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, cast, final

import attrs

from actorstate.state.json_types import Plain
from actorstate.state.turn import Commit, TaskRecord


@final
@attrs.frozen
class Snapshot:
    """A state tree at rest."""

    version: int
    """The version of the last commit in it."""
    values: Mapping[str, Mapping[str, Plain]]
    """The JSON form of the vars that were ever changed, backend vars included, by state."""
    tasks: tuple[TaskRecord, ...] = ()
    """The background tasks that ran, and are to be resumed."""


class Store(Protocol):
    """Keeps the snapshot of each token.

    The token actor calls it between messages, so there is one call at a time for a token, and
    any number for different tokens. What a commit changed is told to nobody before `commit`
    returns; so a store that returns has the commit, and one that raises has nothing of it.
    """

    async def load(self, token: str) -> Snapshot | None:
        """Give the last committed snapshot, or None for a token that never committed."""
        ...

    async def commit(self, token: str, commit: Commit) -> None:
        """Take what one turn changed. All or nothing, also when cancelled.

        One that has `Commit.tasks` replaces those of the snapshot, and may change nothing else;
        its version is that of the snapshot then.
        """
        ...

    async def delete(self, token: str) -> None:
        """Forget a token. Without effect if it is not there."""
        ...

    async def aclose(self) -> None:
        """Let go of what the store holds open."""
        ...


class ImmediateStore(Store, Protocol):
    """A store that never waits: its commits need no step of their own.

    Then the end of a turn is concluded in the step of its holder, which need not wait for it; that
    halves what a turn of a background task costs.
    """

    def commit_now(self, token: str, commit: Commit) -> None:
        """Do what `commit` does, at once."""
        ...


def immediate_commit(store: Store) -> Callable[[str, Commit], None] | None:
    """Give the ``commit_now`` of an `ImmediateStore`; None for one that may wait.

    Such as a subclass of one that has a ``commit`` of its own: that is what it wants to be called.
    """
    for cls in type(store).__mro__:
        if "commit_now" in vars(cls):
            return cast("ImmediateStore", store).commit_now
        if "commit" in vars(cls):
            return None
    return None
