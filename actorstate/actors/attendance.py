"""What follows from a tab's coming and going: hooks, and the end of tasks that go with the pages.

An app *counts* a tab as connected from when a page of it comes until nobody has been there for the
grace. The snapshot has the apps that count it (see ``presence``), and the program is told when the
first does and when none does any more. What is decided, whenever a page comes or a time is over::

    a page is here           this app counts it; on_connect, if none did
    nobody is here, and
      the token is held
        another app ended    its pages may come here: counted for another grace
        counted here         counted here no more; if nowhere else, on_disconnect is run and the
                             tasks that go with the pages end
        counted elsewhere    looked at again, as an app may end without a word
      the token is elsewhere
        counted here         the token is taken up, and then as above
        not counted, but     the snapshot is looked at; if no app that is there counts it, the
        such tasks run       token is taken up, and they end

That the program is to be told is one commit with the change that it is told of: a call for each
hook, which is run once, whatever becomes of it (see ``calls``). If that cannot be stored, nothing
has changed, and it is tried again after a while.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, final

from actorstate.actors.ledger import Ledger
from actorstate.actors.mailbox import Mailbox
from actorstate.actors.messages import NOBODY, Call, Origin, Reconsider, StillAway
from actorstate.actors.services import Services
from actorstate.state.handlers import Invocation
from actorstate.state.hooks import HookName
from actorstate.state.labels import token_label

logger: Final = logging.getLogger("actorstate.actors")


@final
class Attendance:
    """Decides whether the tab of one token is connected, and tells the program.

    Args:
        token: whose tab it is.
        ledger: has what the token actor knows of its pages and tasks.
        services: what it shares with the others.
        mailbox: the token actor's.
        run: runs a call, in its turn.
    """

    __slots__ = ("_ledger", "_mailbox", "_pages", "_presence", "_run", "_services", "_token")

    def __init__(
        self,
        token: str,
        ledger: Ledger,
        services: Services,
        mailbox: Mailbox,
        *,
        run: Callable[[Call], Awaitable[None]],
    ) -> None:
        self._token: Final = token
        self._ledger: Final = ledger
        self._presence: Final = ledger.presence
        self._pages: Final = ledger.pages
        self._services: Final = services
        self._mailbox: Final = mailbox
        self._run: Final = run

    @property
    def may_be_seen(self) -> bool:
        """Whether what is shown may reach somebody: the tab is not gone."""
        return self._pages.is_anyone_here or not self._presence.is_gone

    @property
    def needs_actor(self) -> bool:
        """Whether the actor has to stay, to decide whether the tab is connected, and store it."""
        presence = self._presence
        return presence.is_counted or presence.is_timed or not presence.is_saved

    def begin_absence(self) -> None:
        """Look when the grace is over, unless somebody has come by then."""
        self._presence.begin_absence()

    def look_later(self) -> None:
        """Look again after a while: the token could not be had."""
        self._presence.look_later()

    async def greet(self, origin: Origin) -> None:
        """Let the tab count as connected here. The token is held, and a page is there.

        Args:
            origin: for whom the program is told, if it is.
        """
        if self._presence.arrive():
            calls = await self._plan("on_connect", origin)
            if calls is not None:
                await self._call(calls)
        await self._save()

    async def look(self, message: StillAway) -> None:
        """See what is to be done when nobody has come for a while. The token may be elsewhere."""
        presence = self._presence
        if not presence.is_over(message.absence) or self._services.is_leaving():
            return  # nobody can come any more: that is no absence
        presence.end_absence()
        if not presence.is_minded:
            if not self._pages.is_anyone_here:
                presence.depart()
        elif self._ledger.tenure.is_held:
            await self.reconsider()
        elif presence.is_counted or self._pages.is_anyone_here or not presence.is_saved:
            self._mailbox.post_always(Reconsider())
        elif self._ledger.tasks.has_any_of_pages:  # which whoever has the token cannot end
            if await self._may_be_connected():
                presence.look_later()
            else:
                self._mailbox.post_always(Reconsider())

    async def _may_be_connected(self) -> bool:
        """Tell whether the tab is not gone, by the snapshot that another owner has written."""
        try:
            snapshot = await self._services.store.peek(self._token)
            apps = snapshot.connected if snapshot is not None else None
            return apps is None or bool(await self._services.alive_of(apps))
        except Exception:
            logger.exception("nobody can say at the moment whether %s is connected", self._label)
            return True

    async def reconsider(self) -> None:
        """Decide whether the tab is connected. The token is held."""
        if self._pages.is_anyone_here:
            await self.greet(NOBODY)
        elif not self._presence.is_timed:
            await self._miss()

    @property
    def _label(self) -> str:
        return f"token {token_label(self._token)}"

    async def _miss(self) -> None:
        """Take the tab for gone from here; and from everywhere, if it is nowhere else."""
        presence = self._presence
        try:
            are_others_lost = presence.lose_all_but(
                await self._services.alive_of(presence.elsewhere)
            )
        except Exception:
            logger.exception("nobody can say at the moment whether %s is connected", self._label)
            presence.look_later()
            return
        if are_others_lost:
            presence.begin_absence()
        elif presence.depart():
            await self._tell_gone()
        elif presence.is_gone:
            self._ledger.tasks.cancel_all_of_pages(self._services.schema.tasks_of_pages)
        elif presence.record():
            presence.look_later()  # another app may end without a word
        await self._save()

    async def _tell_gone(self) -> None:
        """Tell the program, and end the tasks that go with the pages, once that is stored."""
        tasks, names = self._ledger.tasks, self._services.schema.tasks_of_pages
        take_back = tasks.forget_all_of_pages(names)
        calls = await self._plan("on_disconnect", NOBODY)
        if calls is None:
            take_back()
            return
        tasks.cancel_all_of_pages(names)
        await self._call(calls)

    async def _save(self) -> None:
        await self._ledger.save_or_later()
        if not self._presence.is_saved:
            self._presence.look_later()

    async def _plan(self, name: HookName, origin: Origin) -> list[Call] | None:
        """Store that hooks are to be run, with what they are about; else take that back."""
        invocations = [Invocation(hook, ()) for hook in self._services.schema.hooks(name)]
        try:
            return await self._ledger.plan_calls(invocations, origin)
        except Exception:
            logger.exception("%s of %s is run later", name, self._label)
            self._presence.take_back()
            self._presence.look_later()
            return None

    async def _call(self, calls: Sequence[Call]) -> None:
        """Run hooks; behind those that were to be run before, if there are any left."""
        ids = {call.origin.call for call in calls}
        are_others_due = any(
            record.name in self._services.schema.hooks_of_presence and record.id not in ids
            for record in self._ledger.calls.records()
        )
        for call in calls:
            if not self._ledger.tenure.is_held:
                return  # it comes with the token, when that is back
            if are_others_due and call.origin.call is not None:
                self._ledger.calls.note_queued(call.origin.call)
                self._mailbox.post_always(call)
            else:
                await self._run(call)
