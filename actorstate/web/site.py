"""What an app has for those who connect, whichever server they come by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import attrs

from actorstate.actors.directory import Directory
from actorstate.state.handlers import Invocation
from actorstate.web.admission import Admission
from actorstate.web.limits import ConnectionLimits
from actorstate.web.tokens import Mint


@final
@attrs.frozen(eq=False)
class Site:
    """What is served."""

    pages: Mapping[str, bytes]
    """By route."""
    directory: Directory
    """The actors of their tabs."""
    on_load: Mapping[str, tuple[Invocation, ...]]
    """What is run each time a browser loads a page, by route."""
    limits: ConnectionLimits
    """What is bounded for those who connect."""
    mint: Mint
    """Makes their tokens."""
    admission: Admission
    """Lets them in."""

    def has_room_for(self, token: str) -> bool:
        """Tell whether a tab may be let in. One that is awake takes up nothing more.

        Tabs that were left may rest at once, else who opens some and leaves would keep out others
        for as long as tabs stay in memory.
        """
        if not self._is_full or self.directory.is_awake(token):
            return True
        self.directory.make_room()
        if self._is_full:
            self.admission.log.warning(
                "there are max_tokens=%s tabs in memory; others are refused", self.limits.max_tokens
            )
        return not self._is_full

    @property
    def _is_full(self) -> bool:
        return len(self.directory) >= self.limits.max_tokens
