"""What follows from a tab's coming and going: hooks, and the end of tasks that go with the pages.

That the program is to be told is one commit with the change that it is told of: a call for each
hook, which is run once, whatever becomes of it (see ``calls``). If that cannot be stored, nothing
has changed, and it is tried again after another grace.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
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
    def is_connected(self) -> bool:
        """Whether the tab counts as connected at this app."""
        return self._presence.is_connected

    @property
    def may_be_seen(self) -> bool:
        """Whether what is shown may reach somebody: the tab is not gone."""
        return self._pages.is_anyone_here or not self._presence.is_gone

    def look_later(self) -> None:
        """Look when the grace is over, unless somebody has come by then."""
        self._presence.begin_absence()

    async def greet(self, origin: Origin) -> None:
        """Let the tab count as connected here. The token is held, and a page is there.

        Args:
            origin: for whom the program is told, if it is.
        """
        if self._presence.arrive():
            await self._tell("on_connect", origin)
        await self._save()

    async def look(self, message: StillAway) -> None:
        """See what is to be done when nobody has come for a while. The token may be elsewhere."""
        presence = self._presence
        if not presence.is_over(message.absence):
            return
        presence.end_absence()
        if not presence.is_minded:
            if not self._pages.is_anyone_here:
                presence.depart()
        elif self._ledger.tenure.is_held:
            await self.reconsider()
        elif presence.is_connected or self._pages.is_anyone_here or not presence.is_saved:
            self._mailbox.post_always(Reconsider())
        elif self._ledger.tasks.has_unseen:  # whoever has the token cannot end those that run here
            if await self._may_be_connected():
                presence.begin_absence()
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
        elif not self._presence.is_expected:
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
            presence.begin_absence()
            return
        is_told = False if are_others_lost else presence.depart()
        if presence.is_gone:
            self._ledger.tasks.cancel_unseen(self._services.schema.tasks_of_pages)
        elif self._presence.record():
            presence.begin_absence()  # another app may end without a word
        if is_told:
            await self._tell("on_disconnect", NOBODY)
        await self._save()

    async def _save(self) -> None:
        await self._ledger.save_or_later()
        if not self._presence.is_saved:
            self._presence.begin_absence()  # and then see again

    async def _tell(self, name: HookName, origin: Origin) -> None:
        """Tell the program; if that is stored nowhere, take back what it is about."""
        invocations = [Invocation(hook, ()) for hook in self._services.schema.hooks(name)]
        try:
            calls = await self._ledger.plan_calls(invocations, origin)
        except Exception:
            logger.exception("%s of %s is run later", name, self._label)
            self._presence.take_back()
            self._presence.begin_absence()
            return
        for call in calls:
            if not self._ledger.tenure.is_held:
                return  # it comes with the token, when that is back
            await self._run(call)
