"""For tests of your own states: a tab in memory, programs drawn at random, a search for races.

- `open_tab` gives a browser tab without a browser and without a network. With a
  `trio.testing.MockClock` hours pass in milliseconds.
- `programs` draws what somebody may do with a page, by Hypothesis; `run_program` does it.
- `check_interleavings` runs handlers and background tasks in many orders, and tells the shortest
  one that breaks a law; `replay` runs one of them again.

Nothing here is for production, and nothing else of the library knows of it. A map::

    interleavings   the search for races as it is called, and what it tells
    search          which schedules are run, and how one is made shorter
    rehearsal       one run under a schedule, step by step
    play            what a run is told, and what it tells
    names           what happens, in words
    strategies      programs, drawn by Hypothesis
    program         what a program is, and what comes of it
    opening         how a tab is opened and left
    tab             the tab
    view            what it shows
    link            its connection, without a network
"""

from __future__ import annotations

from actorstate.testing.interleavings import (
    InterleavingError as InterleavingError,
    Search as Search,
    check_interleavings as check_interleavings,
    replay as replay,
)
from actorstate.testing.opening import open_tab as open_tab
from actorstate.testing.program import (
    Cancel as Cancel,
    Disconnect as Disconnect,
    Fire as Fire,
    Move as Move,
    Outcome as Outcome,
    Pass as Pass,
    Program as Program,
    Reconnect as Reconnect,
    Reload as Reload,
    run_program as run_program,
)
from actorstate.testing.search import Schedule as Schedule, ScheduleError as ScheduleError
from actorstate.testing.strategies import programs as programs
from actorstate.testing.tab import (
    EventFailedError as EventFailedError,
    ProtocolError as ProtocolError,
    Tab as Tab,
)
from actorstate.testing.view import TabState as TabState
