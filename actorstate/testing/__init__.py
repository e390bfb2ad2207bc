"""For tests of your own states: a tab in memory, and a search for races.

- `open_tab` gives a browser tab without a browser and without a network. With a
  `trio.testing.MockClock` hours pass in milliseconds.

Nothing here is for production, and nothing else of the library knows of it.
"""

from __future__ import annotations

from actorstate.testing.tab import (
    EventFailedError as EventFailedError,
    ProtocolError as ProtocolError,
    Tab as Tab,
    open_tab as open_tab,
)
from actorstate.testing.view import TabState as TabState
