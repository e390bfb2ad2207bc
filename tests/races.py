"""States with a race planted in each, and beside each its twin in which it is mended.

Each has a root of its own: the laws are of one state, and the runs shall not carry the others.
"""

from __future__ import annotations

import trio

from actorstate import App, State, background

# ---- a lost guard ------------------------------------------------------------------------------


class GuardlessRoot(State, root=True):
    pass


class Guardless(GuardlessRoot):
    """Its task is meant to run once, and nobody makes sure of it."""

    number: int = 0
    running: bool = False
    _climbers: int = 0

    def toggle(self):
        self.running = not self.running
        return Guardless.climb if self.running else None

    @background
    async def climb(self):
        async with self:
            self._climbers += 1
        while True:
            async with self:
                if not self.running:
                    self._climbers -= 1
                    return
                self.number += 1
            await trio.sleep(0.5)


class GuardedRoot(State, root=True):
    pass


class Guarded(GuardedRoot):
    number: int = 0
    running: bool = False
    _climbers: int = 0

    def toggle(self):
        self.running = not self.running
        return Guarded.climb if self.running else None

    @background
    async def climb(self):
        async with self:
            if self._climbers:
                return
            self._climbers += 1
        while True:
            async with self:
                if not self.running:
                    self._climbers -= 1
                    return
                self.number += 1
            await trio.sleep(0.5)


def one_climbs(state: Guardless | Guarded) -> bool:
    return state._climbers <= 1


# ---- check outside the block, act inside -------------------------------------------------------


class HastyRoot(State, root=True):
    pass


class Hasty(HastyRoot):
    """It looks before it has the turn; what it saw may not be so any more."""

    seats: int = 1

    @background
    async def book(self):
        if self.seats > 0:
            async with self:
                self.seats -= 1


class PatientRoot(State, root=True):
    pass


class Patient(PatientRoot):
    seats: int = 1

    @background
    async def book(self):
        async with self:
            if self.seats > 0:
                self.seats -= 1


def no_seat_is_booked_twice(state: Hasty | Patient) -> bool:
    return state.seats >= 0


# ---- a stale read, written back ----------------------------------------------------------------


class StaleRoot(State, root=True):
    pass


class Stale(StaleRoot):
    """It writes back what it read one block ago, and so undoes what came between."""

    votes: int = 0
    _cast: int = 0

    @background
    async def vote(self):
        async with self:
            self._cast += 1
            votes = self.votes
        await trio.sleep(0.1)
        async with self:
            self.votes = votes + 1


class FreshRoot(State, root=True):
    pass


class Fresh(FreshRoot):
    votes: int = 0
    _cast: int = 0

    @background
    async def vote(self):
        async with self:
            self._cast += 1
        await trio.sleep(0.1)
        async with self:
            self.votes += 1


def no_vote_is_lost(state: Stale | Fresh) -> None:
    assert state.votes == state._cast, f"{state._cast} cast, {state.votes} counted"


# ---- two that both think they are first --------------------------------------------------------


class FirstsRoot(State, root=True):
    pass


class Firsts(FirstsRoot):
    """Between looking whether it is first and saying so it lets go of the turn."""

    leaders: list[str] = []

    @background
    async def join(self):
        async with self:
            is_first = not self.leaders
        async with self:
            if is_first:
                self.leaders.append("me")


class FirstRoot(State, root=True):
    pass


class First(FirstRoot):
    leaders: list[str] = []

    @background
    async def join(self):
        async with self:
            if not self.leaders:
                self.leaders.append("me")


def one_leads(state: Firsts | First) -> bool:
    return len(state.leaders) <= 1


# ---- an event between two blocks ---------------------------------------------------------------


class TornRoot(State, root=True):
    pass


class Torn(TornRoot):
    """It keeps an index over the time in which it does not hold the turn."""

    rows: list[str] = ["a", "b"]

    def remove(self):
        if self.rows:
            self.rows.pop()

    @background
    async def mark_last(self):
        async with self:
            last = len(self.rows) - 1
        if last < 0:
            return
        await trio.sleep(0.2)
        async with self:
            self.rows[last] = f"{self.rows[last]}!"


class WholeRoot(State, root=True):
    pass


class Whole(WholeRoot):
    rows: list[str] = ["a", "b"]

    def remove(self):
        if self.rows:
            self.rows.pop()

    @background
    async def mark_last(self):
        await trio.sleep(0.2)
        async with self:
            if self.rows:
                self.rows[-1] = f"{self.rows[-1]}!"


# ---- a cancellation between two blocks ---------------------------------------------------------


class StuckRoot(State, root=True):
    pass


class Stuck(StuckRoot):
    """It is cancelled while it waits, and says for ever that it is busy."""

    busy: bool = False

    def start(self):
        return None if self.busy else Stuck.work

    def stop(self):
        return Stuck.work.cancel

    @background(overlap="skip")
    async def work(self):
        async with self:
            self.busy = True
        await trio.sleep(1)
        async with self:
            self.busy = False


class TidyRoot(State, root=True):
    pass


class Tidy(TidyRoot):
    busy: bool = False

    def start(self):
        return None if self.busy else Tidy.work

    def stop(self):
        return Tidy.work.cancel

    @background(overlap="skip")
    async def work(self):
        try:
            async with self:
                self.busy = True
            await trio.sleep(1)
        finally:
            with trio.CancelScope(shield=True):
                async with self:
                    self.busy = False


def nothing_is_busy(state: Stuck | Tidy) -> bool:
    return not state.busy


# ---- a reconnect in the middle -----------------------------------------------------------------


class LeftoversRoot(State, root=True):
    pass


class Leftovers(LeftoversRoot):
    """Each connect starts a task, and the one of the last connect may be there still."""

    ticks: int = 0
    _followers: int = 0

    def on_connect(self):
        return Leftovers.follow

    @background
    async def follow(self):
        async with self:
            self._followers += 1
        while True:
            await trio.sleep(60)
            async with self:
                self.ticks += 1


class TidiedRoot(State, root=True):
    pass


class Tidied(TidiedRoot):
    ticks: int = 0
    _followers: int = 0

    def on_connect(self):
        return Tidied.follow

    @background(on_disconnect="cancel", overlap="replace")
    async def follow(self):
        try:
            async with self:
                self._followers += 1
            while True:
                await trio.sleep(60)
                async with self:
                    self.ticks += 1
        finally:
            with trio.CancelScope(shield=True):
                async with self:
                    self._followers = 0


def one_follows(state: Leftovers | Tidied) -> bool:
    return state._followers <= 1


# ---- the page is loaded again in the middle ----------------------------------------------------


class HalfwayRoot(State, root=True):
    pass


class Halfway(HalfwayRoot):
    """A new page begins anew, and what the old one began goes on into it."""

    query: str = ""
    found: str = ""

    def begin(self):
        self.query = self.found = ""

    def ask(self):
        self.query = "cats"
        return Halfway.search

    @background
    async def search(self):
        async with self:
            query = self.query
        await trio.sleep(0.3)
        async with self:
            self.found = f"all about {query}"


class AnewRoot(State, root=True):
    pass


class Anew(AnewRoot):
    query: str = ""
    found: str = ""

    def begin(self):
        self.query = self.found = ""

    def ask(self):
        self.query = "cats"
        return Anew.search

    @background
    async def search(self):
        async with self:
            query = self.query
        if not query:
            return
        await trio.sleep(0.3)
        async with self:
            if self.query == query:
                self.found = f"all about {query}"


def halfway_app() -> App:
    app = App(root=HalfwayRoot)
    app.add_page("Search", on_load=Halfway.begin)
    return app


def anew_app() -> App:
    app = App(root=AnewRoot)
    app.add_page("Search", on_load=Anew.begin)
    return app


def nothing_is_found_that_nobody_asked_for(state: Halfway | Anew) -> bool:
    return bool(state.query) or not state.found


# ---- the order of chained events ---------------------------------------------------------------


class UnorderedRoot(State, root=True):
    pass


class Unordered(UnorderedRoot):
    """What a handler returns comes later, and others may be before it."""

    is_open: bool = False
    rows: list[str] = []

    def open(self):
        self.is_open = True
        return Unordered.load

    def load(self):
        self.rows = ["secret"]

    def close(self):
        self.is_open = False
        self.rows = []


class OrderedRoot(State, root=True):
    pass


class Ordered(OrderedRoot):
    is_open: bool = False
    rows: list[str] = []

    def open(self):
        self.is_open = True
        return Ordered.load

    def load(self):
        if self.is_open:
            self.rows = ["secret"]

    def close(self):
        self.is_open = False
        self.rows = []


def nothing_is_shown_when_closed(state: Unordered | Ordered) -> bool:
    return state.is_open or not state.rows
