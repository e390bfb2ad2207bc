"""The search for races: it finds what is planted, says it in words, and says the same again."""

from __future__ import annotations

import ast
import functools
import random
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any, ClassVar

import attrs
import pytest
import races
import trio
from hypothesis import given, settings, strategies as st
from stores import WrappedStore

from actorstate import App, State, TurnTimeoutError, background, computed, current_app, event
from actorstate.stores.base import Loaded
from actorstate.testing import (
    InterleavingError,
    ScheduleError,
    Search,
    check_interleavings,
    replay,
)
from actorstate.testing.interleavings import _play
from actorstate.testing.play import Budget, Choice
from actorstate.testing.rehearsal import rehearse

# ---- planted races, and their mended twins ------------------------------------------------------


@attrs.frozen
class Planted:
    """A state with a race, its twin without, what is looked at, and the schedule that shows it."""

    race: type[State]
    mended: type[State]
    invariant: Callable[[Any], object] | None
    finally_: Callable[[Any], object] | None
    schedule: tuple[str, ...]
    bounds: dict[str, Any] = attrs.field(factory=dict[str, Any])
    apps: dict[type[State], Callable[[], App]] = attrs.field(factory=dict)

    def looked_at(self, state: type[State]) -> dict[str, Any]:
        laws = {"invariant": self.invariant, "finally_": self.finally_}
        return {**laws, "make_app": self.apps.get(state)}


PLANTED = {
    "a lost guard": Planted(
        races.Guardless,
        races.Guarded,
        races.one_climbs,
        None,
        (
            "fire Guardless.toggle()",
            "Guardless.climb() starts",
            "Guardless.climb enters its 1st block",
            "fire Guardless.toggle()",
            "fire Guardless.toggle()",
            "Guardless.climb() starts",
            "Guardless.climb #2 enters its 1st block",
        ),
        {"events": ["toggle"]},
    ),
    "check outside the block, act inside": Planted(
        races.Hasty,
        races.Patient,
        races.no_seat_is_booked_twice,
        None,
        (
            "fire Hasty.book()",
            "fire Hasty.book()",
            "Hasty.book #2 enters its 1st block",
            "Hasty.book enters its 1st block",
        ),
    ),
    "a stale read, written back": Planted(
        races.Stale,
        races.Fresh,
        None,
        races.no_vote_is_lost,
        (
            "fire Stale.vote()",
            "Stale.vote enters its 1st block",
            "fire Stale.vote()",
            "Stale.vote #2 enters its 1st block",
            "0.1 s pass",
            "Stale.vote #2 enters its 2nd block",
            "Stale.vote enters its 2nd block",
        ),
    ),
    "two that both think they are first": Planted(
        races.Firsts,
        races.First,
        races.one_leads,
        None,
        (
            "fire Firsts.join()",
            "Firsts.join enters its 1st block",
            "fire Firsts.join()",
            "Firsts.join #2 enters its 1st block",
            "Firsts.join #2 enters its 2nd block",
            "Firsts.join enters its 2nd block",
        ),
    ),
    "an event between two blocks": Planted(
        races.Torn,
        races.Whole,
        None,
        None,
        (
            "fire Torn.mark_last()",
            "Torn.mark_last enters its 1st block",
            "fire Torn.remove()",
            "0.2 s pass",
            "Torn.mark_last enters its 2nd block",
        ),
    ),
    "a cancellation between two blocks": Planted(
        races.Stuck,
        races.Tidy,
        None,
        races.nothing_is_busy,
        (
            "fire Stuck.start()",
            "Stuck.work() starts",
            "Stuck.work enters its 1st block",
            "fire Stuck.stop()",
            "Stuck.work.cancel() follows",
            "the end of Stuck.work is noted",
        ),
        {"events": ["start", "stop"]},
    ),
    "a reconnect in the middle": Planted(
        races.Leftovers,
        races.Tidied,
        races.one_follows,
        None,
        (
            "Leftovers.follow() starts",
            "Leftovers.follow enters its 1st block",
            "the tab loses its connection",
            "5 s pass",
            "the tab counts as gone",
            "the tab connects again",
            "Leftovers.follow() starts",
            "Leftovers.follow #2 enters its 1st block",
        ),
        {"events": [], "reconnects": 1},
    ),
    "the page is loaded again in the middle": Planted(
        races.Halfway,
        races.Anew,
        None,
        races.nothing_is_found_that_nobody_asked_for,
        (
            "fire Halfway.ask()",
            "Halfway.search() starts",
            "Halfway.search enters its 1st block",
            "0.3 s pass",
            "the page is loaded again",
            "Halfway.search enters its 2nd block",
        ),
        {"events": ["ask"], "reconnects": 1},
        {races.Halfway: races.halfway_app, races.Anew: races.anew_app},
    ),
    "the order of chained events": Planted(
        races.Unordered,
        races.Ordered,
        races.nothing_is_shown_when_closed,
        None,
        (
            "fire Unordered.open()",
            "fire Unordered.close()",
            "Unordered.load() follows",
        ),
        {"events": ["open", "close"]},
    ),
}

every_race = pytest.mark.parametrize("name", PLANTED)


def look(planted: Planted, state: type[State], **more: Any) -> Search:
    bounds = dict(planted.bounds)
    if "events" in bounds:
        bounds["events"] = [getattr(state, name) for name in bounds["events"]]
    return check_interleavings(state, **planted.looked_at(state), **bounds, **more)


@functools.cache  # a search is repeatable, as is shown below; so it is done once for all tests
def found(name: str) -> tuple[InterleavingError, float]:
    """Search a planted race; give what was found, and how long it took (seconds)."""
    start = time.perf_counter()
    with pytest.raises(InterleavingError) as caught:
        look(PLANTED[name], PLANTED[name].race)
    return caught.value, time.perf_counter() - start


@every_race
def test_a_planted_race_is_found_within_ten_seconds_and_told_in_words(name: str) -> None:
    error, seconds = found(name)
    schedule = PLANTED[name].schedule
    assert seconds < 10
    assert error.schedule == schedule
    printed = "\n".join(f"{number:3}. {step}" for number, step in enumerate(schedule, 1))
    assert f"after this schedule:\n\n{printed}\n\n" in str(error)


@every_race
def test_none_is_found_in_the_mended_twin(name: str) -> None:
    search = look(PLANTED[name], PLANTED[name].mended)
    assert search.runs > 50
    assert search.depth >= 4


@every_race
def test_the_schedule_replays_to_the_same_failure(name: str) -> None:
    planted = PLANTED[name]
    for _ in range(5):
        with pytest.raises(InterleavingError) as caught:
            replay(planted.race, planted.schedule, **planted.looked_at(planted.race))
        assert caught.value.schedule == planted.schedule
        told, _, _ = str(found(name)[0]).partition("\n\nNo shorter")
        assert str(caught.value).startswith(told)


@every_race
def test_what_is_printed_can_be_pasted(name: str) -> None:
    _, _, literal = str(found(name)[0]).partition("\nschedule = ")
    assert ast.literal_eval(literal) == PLANTED[name].schedule


@every_race
def test_one_step_less_breaks_nothing(name: str) -> None:
    planted = PLANTED[name]
    replay(planted.race, planted.schedule[:-1], **planted.looked_at(planted.race))


# ---- nothing is left to chance ------------------------------------------------------------------


def watch(planted: Planted, state: type[State], seed: int) -> tuple[list[Any], Any]:
    """Run a schedule at random; give what could happen at each step, and how it went."""
    dice, seen = random.Random(seed), []  # noqa: S311 - to be the same each time

    def choose(choices: Sequence[Choice]) -> Choice:
        seen.append([choice.label for choice in choices])
        return dice.choice(choices)

    laws = planted.looked_at(state)
    play = _play(state, None, None, None, laws["make_app"], (Exception,), "/")
    result = rehearse(play, Budget(15, 3, 1, 1), choose)
    return seen, result.steps


@settings(max_examples=40)
@given(st.sampled_from(sorted(PLANTED)), st.booleans(), st.integers(0, 2**32))
def test_the_same_choices_lead_to_the_same_choices(name: str, is_mended: bool, seed: int) -> None:
    planted = PLANTED[name]
    state = planted.mended if is_mended else planted.race
    first = watch(planted, state, seed)
    random.seed(seed + 1)  # of what trio takes tasks in another order by, under Hypothesis
    assert watch(planted, state, seed) == first
    assert watch(planted, state, seed) == first


@every_race
def test_so_they_do_when_trio_shuffles_as_it_likes(name: str) -> None:
    planted = PLANTED[name]
    # Outside of @given nobody seeds trio, which takes the tasks that are ready in any order.
    for seed in range(5):
        first = watch(planted, planted.race, seed)
        assert all(watch(planted, planted.race, seed) == first for _ in range(5))


def test_the_same_search_gives_the_same() -> None:
    planted = PLANTED["a reconnect in the middle"]  # which is found at random
    with pytest.raises(InterleavingError) as caught:
        look(planted, planted.race)
    assert str(caught.value) == str(found("a reconnect in the middle")[0])


def test_another_seed_finds_it_too() -> None:
    planted = PLANTED["a reconnect in the middle"]
    with pytest.raises(InterleavingError) as caught:
        look(planted, planted.race, seed=7)
    assert len(caught.value.schedule) == len(planted.schedule)


class ErraticRoot(State, root=True):
    pass


class Erratic(ErraticRoot):
    value: int = 0
    _calls: ClassVar[list[int]] = []

    def roll(self):
        self._calls.append(1)
        self.value = len(self._calls)


def test_what_something_else_decides_is_not_called_a_race() -> None:
    Erratic._calls.clear()
    with pytest.raises(RuntimeError, match="something beside it decides") as caught:
        check_interleavings(Erratic, lambda state: state.value != 3)
    assert "1. fire Erratic.roll()" in str(caught.value)


# ---- what is searched ---------------------------------------------------------------------------


def test_when_there_is_no_more_to_look_at_it_says_so() -> None:
    search = check_interleavings(races.First, races.one_leads, fires=1)
    assert search.is_complete
    assert search.runs < 20
    assert search.depth == 3  # the event, its block, and a look at whether there is more


def test_the_shortest_is_known_to_be_the_shortest() -> None:
    assert found("a lost guard")[0].is_shortest
    text = str(found("a lost guard")[0])
    assert "No shorter schedule breaks it." in text


def test_where_not_all_shorter_ones_were_looked_at_it_does_not_say_that_none_is() -> None:
    planted = PLANTED["a lost guard"]
    with pytest.raises(InterleavingError) as caught:
        look(planted, planted.race, runs=100)
    assert not caught.value.is_shortest
    assert "No shorter one was found; not all were looked at." in str(caught.value)


def test_a_law_for_when_all_is_quiet_needs_a_run_that_becomes_so() -> None:
    with pytest.raises(ValueError, match="no run of Leftovers became quiet within 9 steps"):
        check_interleavings(
            races.Leftovers, finally_=lambda _: True, events=[], max_steps=9, runs=20
        )


class NeedyRoot(State, root=True):
    pass


class Needy(NeedyRoot):
    total: int = 0

    def add(self, amount: int):
        self.total += amount


ADD_1, ADD_3, ADD_5 = (Needy.add(amount) for amount in (1, 3, 5))  # pyright: ignore


def test_there_has_to_be_something_to_fire() -> None:
    with pytest.raises(ValueError, match=r"events=\[Needy.add\(3\)\]"):
        check_interleavings(Needy, lambda _: True)


def test_events_may_have_arguments() -> None:
    with pytest.raises(InterleavingError) as caught:
        check_interleavings(Needy, lambda s: s.total < 8, events=[ADD_3, ADD_5])
    assert caught.value.schedule == ("fire Needy.add(3)", "fire Needy.add(5)")


def test_a_law_may_raise() -> None:
    def is_small(state: Needy) -> None:
        assert state.total < 5, "too much"

    with pytest.raises(InterleavingError, match="is_small does not hold") as caught:
        check_interleavings(Needy, is_small, events=[ADD_5])
    assert str(caught.value.__cause__).startswith("too much")


def test_what_does_not_even_hold_at_the_beginning_needs_no_step() -> None:
    with pytest.raises(InterleavingError) as caught:
        check_interleavings(Needy, lambda s: s.total, events=[ADD_1])
    assert caught.value.schedule == ()


# ---- what cannot be replayed --------------------------------------------------------------------


def test_a_step_that_cannot_happen_is_named_with_those_that_can() -> None:
    with pytest.raises(ScheduleError, match="step 2, 'Stale.vote enters its 2nd block'") as caught:
        replay(races.Stale, ["fire Stale.vote()", "Stale.vote enters its 2nd block"])
    assert "what can: Stale.vote enters its 1st block; Stale.vote is cancelled; " in str(
        caught.value
    )


def test_another_time_than_the_one_that_passes_is_refused() -> None:
    schedule = ["fire Stale.vote()", "Stale.vote enters its 1st block", "0.5 s pass"]
    with pytest.raises(ScheduleError, match=r"step 3 should be '0.5 s pass', and was '0.1 s pass'"):
        replay(races.Stale, schedule)


def test_time_that_nobody_waits_for_cannot_pass() -> None:
    with pytest.raises(ScheduleError, match="step 1, '1 s pass'"):
        replay(races.Unordered, ["1 s pass"])


# ---- what can happen ----------------------------------------------------------------------------


class WorldRoot(State, root=True):
    pass


class World(WorldRoot):
    """All that handlers and tasks may do, to see what it is called."""

    log: list[str] = []
    pings: int = 0
    _released: ClassVar[trio.Event]

    def two(self):
        self.log.append("two")
        return [World.first, World.second("x")]  # pyright: ignore

    def first(self):
        self.log.append("first")
        return World.third

    def second(self, text: str):
        self.log.append(f"second {text}")

    def third(self):
        self.log.append("third")

    async def hold(self):
        self.log.append("held")
        await trio.sleep(2)
        self.log.append("let go")

    async def hold_for_ever(self):
        await trio.sleep_forever()

    @event(thread=True)
    def block(self):
        time.sleep(0.01)
        self.log.append("blocked")

    def fail(self):
        raise LookupError("no such thing")

    def chain_failure(self):
        return World.fail

    @background
    async def family(self):
        async with trio.open_nursery() as nursery:
            for name in ("a", "b"):
                nursery.start_soon(self._child, name)
            nursery.start_soon(self._other)

    async def _child(self, name: str):
        async with self:
            self.log.append(name)

    async def _other(self):
        async with self:
            self.log.append("other")

    @background
    async def elsewhere(self):
        for name in ("a", "b"):
            trio.lowlevel.spawn_system_task(self._child, name, context=copy_context())
        await trio.sleep(1)

    @background
    async def ask_bob(self):
        async with current_app().modify_state("bob") as bob:
            bob.get_substate(World).pings += 1
        async with self:
            self.pings += 1

    async def tell_bob(self):
        async with current_app().modify_state("bob") as bob:
            bob.get_substate(World).pings += 1
        self.pings += 1
        self.log.append("told")

    def start_own(self):
        for _ in range(2):
            current_app().start_soon(self._own, self.get_token())

    async def _own(self, token: str):
        await trio.sleep(1)
        async with current_app().modify_state(token) as state:
            state.get_substate(World).log.append("own")

    @background
    async def yielding(self):
        async with self:
            self.log.append("before")
            yield World.third
            self.log.append("after")
        yield World.third
        async with self:
            self.log.append("last")

    @background
    async def sleeper(self):
        for _ in range(3):
            await trio.sleep(0.25)
        async with self:
            self.log.append("awake")

    @background(overlap="skip")
    async def failing(self):
        await trio.lowlevel.checkpoint()
        raise LookupError("no such thing")

    def on_background_error(self, error: Exception):
        self.log.append(f"told of {error!r}")


def log_after(*schedule: str, **more: Any) -> list[str]:
    """Replay a schedule; give the log of the state after its last step."""
    logs: list[list[str]] = []
    replay(World, schedule, lambda state: logs.append(list(state.log)), **more)
    return logs[-1]


@pytest.mark.parametrize(
    ("schedule", "log"),
    [
        # What follows has its order, and events come in between at any place.
        (
            ("fire World.two()", "World.first() follows", "World.second('x') follows",
             "World.third() follows"),
            ["two", "first", "second x", "third"],
        ),
        (
            ("fire World.two()", "fire World.third()", "World.first() follows"),
            ["two", "third", "first"],
        ),
        # A handler that awaits keeps its turn while time passes.
        (("fire World.hold()", "2 s pass"), ["held", "let go"]),
        # A thread is waited for.
        (("fire World.block()", "fire World.third()"), ["blocked", "third"]),
        # Children of one task, in either order.
        (
            ("fire World.family()", "World.family > _child enters its 1st block",
             "World.family > _child #2 enters its 1st block",
             "World.family > _other enters its 1st block"),
            ["a", "b", "other"],
        ),
        (
            ("fire World.family()", "World.family > _other enters its 1st block",
             "World.family > _child #2 enters its 1st block",
             "World.family > _child enters its 1st block"),
            ["other", "b", "a"],
        ),
        # What it begins in no nursery of its own, as the library does for code of asyncio.
        (
            ("fire World.elsewhere()", "World.elsewhere > elsewhere enters its 2nd block",
             "World.elsewhere > elsewhere enters its 1st block"),
            ["b", "a"],
        ),
        # What a task triggers comes before what it asks for afterwards.
        (
            ("fire World.yielding()", "World.yielding enters its 1st block",
             "World.third() follows", "World.third() follows",
             "World.yielding enters its 2nd block"),
            ["before", "after", "third", "third", "last"],
        ),
        # Time stops at each moment at which code of the program wakes.
        (
            ("fire World.sleeper()", "0.25 s pass", "0.25 s pass", "fire World.third()",
             "0.25 s pass", "World.sleeper enters its 1st block"),
            ["third", "awake"],
        ),
        # A task may be late, and others may not wait for it.
        (
            ("fire World.sleeper()", "fire World.sleeper()", "0.25 s pass", "0.25 s pass",
             "0.25 s pass", "World.sleeper #2 enters its 1st block", "fire World.third()",
             "World.sleeper enters its 1st block"),
            ["awake", "third", "awake"],
        ),
        # A cancelled request is gone.
        (
            ("fire World.sleeper()", "0.25 s pass", "World.sleeper is cancelled",
             "fire World.third()"),
            ["third"],
        ),
        # A handler that asks for another turn keeps its own meanwhile.
        (("fire World.tell_bob()", "World.tell_bob enters its 1st block"), ["told"]),
        # Tasks of the app's own have names without addresses, and time for them.
        (
            ("fire World.start_own()", "1 s pass", "_own #2 enters its 1st block",
             "_own enters its 1st block"),
            ["own", "own"],
        ),
        # Turns of other tokens are steps, too.
        (
            ("fire World.ask_bob()",
             "World.ask_bob enters its 1st block", "World.ask_bob enters its 2nd block"),
            [],
        ),
    ],
)  # fmt: skip
def test_what_may_happen(schedule: tuple[str, ...], log: list[str]) -> None:
    events = [World.two, World.third, World.hold, World.block, World.family, World.yielding,
              World.sleeper, World.ask_bob, World.tell_bob, World.start_own,
              World.elsewhere]  # fmt: skip
    assert log_after(*schedule, events=events) == log


def test_what_a_task_triggered_is_not_overtaken_by_what_it_asks_for_later() -> None:
    schedule = (
        "fire World.yielding()",
        "World.yielding enters its 1st block",
        "World.yielding enters its 2nd block",
    )
    with pytest.raises(ScheduleError, match="step 3"):
        replay(World, schedule)


def test_time_does_not_pass_while_a_message_lies_there_that_cannot_be_late() -> None:
    schedule = ("fire World.sleeper()", "fire World.two()", "0.25 s pass")
    with pytest.raises(ScheduleError, match="step 3"):
        replay(World, schedule)


@pytest.mark.parametrize(
    "schedule",
    [
        ("fire World.fail()",),
        ("fire World.chain_failure()", "World.fail() follows"),
        ("fire World.failing()",),
    ],
)
def test_what_fails_is_found_and_named(schedule: tuple[str, ...]) -> None:
    with pytest.raises(InterleavingError, match=r"World\.fail(ing)? failed") as caught:
        replay(World, schedule)
    assert isinstance(caught.value.__cause__, LookupError)


def test_what_may_fail_is_noted_where_somebody_is_told() -> None:
    schedule = (
        "fire World.failing()",
        "fire World.third()",
        "the failure of World.failing is noted",
    )
    log = log_after(*schedule, may_fail=(LookupError,))
    assert log == ["third", "told of LookupError('no such thing')"]


def test_a_turn_that_is_held_for_ever_is_found() -> None:
    with pytest.raises(InterleavingError, match=r"World\.hold_for_ever failed") as caught:
        replay(World, ["fire World.hold_for_ever()", "60 s pass"])
    assert isinstance(caught.value.__cause__, TurnTimeoutError)


def test_a_search_leaves_no_trace_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    _ = check_interleavings(World, events=[World.fail], may_fail=(LookupError,), runs=5)
    assert caplog.records == []


def test_a_search_within_a_search_is_no_concern_of_the_outer_event_loop() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="Attempted to call run"):
            check_interleavings(Needy, lambda _: True, events=[ADD_1])

    trio.run(main)


class LazyRoot(State, root=True):
    pass


class Lazy(LazyRoot):
    value: int = 0

    @computed
    async def slow(self) -> int:
        await trio.sleep(1)
        return self.value

    def change(self):
        self.value += 1


def test_a_tab_whose_state_takes_time_to_compute_is_waited_for() -> None:
    with pytest.raises(InterleavingError) as caught:
        check_interleavings(Lazy, lambda state: not state.value)
    assert caught.value.schedule == ("fire Lazy.change()", "1 s pass")


def test_an_app_that_cannot_load_a_tab_begins_no_run() -> None:
    class Away(WrappedStore):
        async def load(self, token: str, on_wanted: Callable[[], None]) -> Loaded:
            raise OSError("the disk is gone")

    with pytest.raises(RuntimeError, match=r"no run can begin: .*the disk is gone"):
        check_interleavings(Lazy, make_app=lambda: App(root=LazyRoot, store=Away()))


def test_tasks_are_cancelled_where_that_is_asked_for() -> None:
    with pytest.raises(InterleavingError) as caught:
        check_interleavings(races.Stuck, finally_=races.nothing_is_busy, cancels=1,
                            events=[races.Stuck.start])  # fmt: skip
    assert caught.value.schedule[-2:] == (
        "Stuck.work is cancelled",
        "the end of Stuck.work is noted",
    )
    assert check_interleavings(
        races.Stuck, finally_=races.nothing_is_busy, events=[races.Stuck.start], runs=200
    )
