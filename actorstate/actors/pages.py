"""The pages of one token: who looks on, what they are told, and what is kept for those away."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final, final

import attrs

from actorstate.actors.history import History
from actorstate.actors.messages import (
    Ack,
    Attach,
    Connection,
    Failure,
    Notice,
    Origin,
    Patch,
    Shown,
    Welcome,
)
from actorstate.state.commit import Commit
from actorstate.state.effects import Effect
from actorstate.state.labels import token_label
from actorstate.state.router import Router
from actorstate.state.tree import StateTree
from actorstate.state.untouched import size_of
from actorstate.stores.journal import REMEMBERED_PAGE_LOADS

logger: Final = logging.getLogger("actorstate.actors")

_KEPT_EFFECTS: Final = 100


@final
@attrs.define(eq=False)
class PageLoad:
    """What is known of one load of the page, connected or not."""

    router: Router | None = None
    """Where it is; None for one that never was connected."""
    done: int = 0
    """The number of its last event that is done."""
    is_known: bool = False
    """Whether it was here before, perhaps with another owner of the token."""
    nth: int = 0
    """The number of its latest connection; 0 as long as none has one."""
    missed: list[Effect] = attrs.field(factory=list[Effect])
    """The effects for it that came while it was not connected."""


@final
@attrs.frozen(eq=False)
class _Cut:
    """That a page load was sent away."""

    seq: int
    """The event that it is to come back with."""
    connections: list[Connection]
    """Those that were closed, and from which more may come until they are detached."""


@final
class Pages:
    """The page loads of one token, and the connections of those that are here.

    Args:
        tree: what they show.
    """

    def __init__(self, tree: StateTree) -> None:
        self._tree: Final = tree
        self._history: History | None = None
        self._connections: Final[list[Connection]] = []
        self.loads: Final[dict[str, PageLoad]] = {}
        """What is known of them, by instance; under "" of what no page load has begun."""
        self.owes: Final[dict[str, int]] = {}
        """The events that are done, and that the snapshot does not know of, by page load."""
        self.cut_off: Final[dict[str, _Cut]] = {}
        """Page loads that were sent away, and are to come back."""

    def restore(self, done: Mapping[str, int]) -> None:
        """Take over which events are done, as the snapshot has it."""
        for instance, seq in done.items():
            page_load = self.loads.setdefault(instance, PageLoad())
            page_load.done = max(page_load.done, seq)
            page_load.is_known = True

    @property
    def is_anyone_here(self) -> bool:
        """Whether there is a connection."""
        return bool(self._connections)

    # ---- coming and going ------------------------------------------------------------------

    def refuse_outdated(self, attach: Attach) -> bool:
        """End a connection if a later one of its page load was here; tell whether it was.

        A network may hold back what was sent long ago, or send it once more. Nobody listens there,
        and the page itself is on the later one.
        """
        page_load = self.loads.get(attach.connection.instance)
        if attach.nth is None or page_load is None or attach.nth > page_load.nth:
            return False
        attach.connection.replace()
        return True

    def refuse_contested(self, attach: Attach) -> bool:
        """Tell a connection if other page loads are here that may be alive, and its caller, too."""
        if attach.instead_of is None:
            return False
        instance = attach.connection.instance
        rivals = tuple(
            one
            for one in self._connections
            if one.instance != instance and one not in attach.instead_of
        )
        if rivals:
            page_load = self.loads.get(instance)
            was_here = page_load is not None and page_load.is_known
            attach.connection.contest(rivals, was_here=was_here)
        return bool(rivals)

    def attach(self, attach: Attach) -> bool:
        """Let a connection see everything from now on, in the place of those that are gone.

        Args:
            attach: what the connection wants.

        Returns:
            Whether its page load was not here before.
        """
        connection = attach.connection
        self._make_way(connection, attach.instead_of or ())
        self._connections.append(connection)
        page_load = self.loads.pop(connection.instance, None) or PageLoad()
        self.loads[connection.instance] = page_load  # in again, and so the last
        self._forget_old()
        is_new = not page_load.is_known
        page_load.is_known = True
        page_load.router = connection.router
        page_load.nth = attach.nth or page_load.nth
        self._greet(connection, attach.shown)
        while page_load.missed:
            connection.send(page_load.missed.pop(0))
        return is_new

    def _make_way(self, connection: Connection, gone: tuple[Connection, ...]) -> None:
        """End those that are dead, and do not know it yet.

        What they have sent may still come, and is told from what is sent again by its number.
        """
        for one in list(self._connections):
            if one.instance == connection.instance or one in gone:
                self._connections.remove(one)
                one.replace()

    def renew(self) -> None:
        """Let all that are here begin anew, with what another owner of the token has left."""
        self._history = None
        for connection in self._connections:
            self._greet(connection, None)

    def has(self, connection: Connection) -> bool:
        """Tell whether a connection is here, and not gone meanwhile."""
        return connection in self._connections

    def refresh(self, connection: Connection) -> None:
        """Let a connection that has let go of patches begin anew, if it is here."""
        if self.has(connection):
            self._greet(connection, None)

    def _greet(self, connection: Connection, shown: Shown | None) -> None:
        """Tell a page how everything is; or only what it does not show yet, if that is known."""
        history = self._history = self._history or History()
        done, version = self.loads[connection.instance].done, self._tree.version
        if shown is None or not history.leads_on(shown, version):
            state = self._tree.public()
            history.suit(size_of(state))
            connection.send(Welcome(self._tree.token, version, done, state, history.name))
            return
        ack = history.ack_at(shown.version, connection.instance, done)
        connection.send(Welcome(self._tree.token, shown.version, ack, None, history.name))
        patch = history.since(shown.version, done)
        if patch is not None:
            connection.send(patch)

    def detach(self, connection: Connection) -> bool:
        """Forget a connection; tell whether it was here."""
        if self.cut_off:
            self._detach_cut(connection)
        was_here = connection in self._connections
        if was_here:
            self._connections.remove(connection)
        return was_here

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            connection.close()

    def _forget_old(self) -> None:
        """Keep what is known of those that are here, and of the last that were."""
        here = {connection.instance for connection in self._connections}
        gone = [instance for instance in self.loads if instance not in here]
        for instance in gone[: max(0, len(gone) - REMEMBERED_PAGE_LOADS)]:
            del self.loads[instance]

    # ---- telling ---------------------------------------------------------------------------

    def show(self, commit: Commit, origin: Origin) -> None:
        """Tell everyone what was committed, and who sent the event for it that it is done."""
        if origin.seq is not None:
            self.mark_done(origin)
        if self._history is not None:
            self._history.add(commit, origin)
        for connection in self._connections:
            ack = self.loads[connection.instance].done
            connection.send(Patch(commit.version, ack, commit.operations))

    def ask_for(self, effect: Effect, origin: Origin) -> None:
        """Send an effect to the page load that it is for, or keep it until that is back.

        One that is for nobody in particular, or for a page load that is forgotten, goes to all
        that are here.
        """
        here = {connection.instance: connection for connection in self._connections}
        page_load = self.loads.get(origin.instance)
        if page_load is None or page_load.router is None:
            for connection in here.values():
                connection.send(effect)
        elif origin.instance in here:
            here[origin.instance].send(effect)
        else:
            self._keep(effect, page_load.missed)

    def _keep(self, effect: Effect, missed: list[Effect]) -> None:
        if len(missed) == _KEPT_EFFECTS:
            label, dropped = token_label(self._tree.token), missed.pop(0)
            logger.warning(
                "a page load of token %s is away and misses %d effects; %s was dropped",
                label, _KEPT_EFFECTS, dropped.name,
            )  # fmt: skip
        missed.append(effect)

    def cut(self, origin: Origin) -> None:
        """Send away the page whose event nobody knows to be done or not: it comes back with it.

        What it has sent after that event comes to nothing meanwhile. Were it done first, the event
        would count as done, too: events are acknowledged by the highest number.
        """
        if origin.seq is None:
            return
        text = "the state of this tab cannot be stored at the moment"
        self._send(origin, Failure("unavailable", text))
        its_own = [one for one in self._connections if one.instance == origin.instance]
        for connection in its_own:
            connection.close()
        self.cut_off.setdefault(origin.instance, _Cut(origin.seq, its_own))

    def _detach_cut(self, connection: Connection) -> None:
        """Note that nothing more comes from a connection that was sent away."""
        cut = self.cut_off.get(connection.instance)
        if cut is not None and connection in cut.connections:
            cut.connections.remove(connection)
            if not cut.connections:
                del self.cut_off[connection.instance]

    def refuse_cut(self, origin: Origin) -> bool:
        """Tell whether an event comes to nothing, since one before it is still to come again.

        When that one comes, the page load is no longer sent away.
        """
        instance = origin.instance
        if origin.seq is None or instance not in self.cut_off:
            return False
        page_load = self.loads.get(instance)
        done = page_load.done if page_load is not None else 0
        if origin.seq > max(self.cut_off[instance].seq, done + 1):
            return True
        del self.cut_off[instance]
        return False

    def reject(self, origin: Origin, code: str, message: str, where: str | None = None) -> None:
        """Tell the page that sent an event what is wrong with it. That settles the event."""
        if origin.seq is not None:
            self._send(origin, Failure(code, message, origin.seq, where))
            self.acknowledge(origin)

    def warn(self, origin: Origin, code: str, message: str) -> None:
        """Tell a page what did not follow from an event of its, which may be settled already."""
        if origin.seq is not None:
            self.reject(origin, code, message)
        else:
            self._send(origin, Failure(code, message))

    def acknowledge(self, origin: Origin, *, is_saved: bool = False) -> None:
        """Tell the page that sent an event that it is done, where no patch says so.

        Args:
            origin: the event.
            is_saved: whether the snapshot knows it.
        """
        if origin.seq is not None:
            self.mark_done(origin)
            done = self.loads[origin.instance].done
            if not is_saved:
                self.owes[origin.instance] = done
            self._send(origin, Ack(done))

    def _send(self, origin: Origin, notice: Notice) -> None:
        for connection in self._connections:
            if connection.instance == origin.instance:
                connection.send(notice)

    def serve(self, origin: Origin) -> None:
        """Let who holds the next turn see where the page load is that it is for."""
        page_load = self.loads.get(origin.instance)
        router = page_load.router if page_load is not None else None
        if router is not None and router is not self._tree.router:
            self._tree.serve(router)

    # ---- event numbers ---------------------------------------------------------------------

    def is_done(self, origin: Origin) -> bool:
        """Tell whether an event was done before."""
        if origin.seq is None:
            return False
        page_load = self.loads.get(origin.instance)
        return page_load is not None and origin.seq <= page_load.done

    def mark_done(self, origin: Origin) -> None:
        """Note that an event is done."""
        if origin.seq is None:
            return
        page_load = self.loads.get(origin.instance)
        if page_load is None:
            page_load = self.loads[origin.instance] = PageLoad()
            self._forget_old()
        page_load.done = max(page_load.done, origin.seq)

    def owed(self, origin: Origin) -> tuple[tuple[str, int], ...]:
        """Give which events are done that the snapshot does not know of, with one that is now."""
        if not self.owes:  # the common case
            return () if origin.seq is None else ((origin.instance, origin.seq),)
        if origin.seq is None:
            return tuple(self.owes.items())
        instance = origin.instance
        latest = max(self.owes.get(instance, 0), origin.seq)
        return tuple({**self.owes, instance: latest}.items())

    def note_saved(self) -> None:
        """Note that the snapshot knows what `owed` gave."""
        self.owes.clear()

    def owe(self, instance: str) -> None:
        """Let the snapshot know that a page load was here, with its next commit."""
        self.owes.setdefault(instance, self.loads[instance].done)

    def done_events(self) -> dict[str, int]:
        """Give which events are done, for a snapshot."""
        return {name: load.done for name, load in self.loads.items() if load.is_known or load.done}
