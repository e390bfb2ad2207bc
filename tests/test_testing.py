"""The tab in memory: a client like any other, over the real protocol and the real connection."""

from __future__ import annotations

import subprocess
import sys
import time
from enum import Enum
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from stores import WrappedStore
from trio.testing import MockClock, wait_all_tasks_blocked

from actorstate import (
    App,
    BackgroundTask,
    ErrorContext,
    State,
    background,
    computed,
    download,
    redirect,
)
from actorstate.actors.mailbox import Envelope, Mailbox
from actorstate.actors.messages import Event
from actorstate.testing import (
    Cancel,
    Disconnect,
    EventFailedError,
    Fire,
    Pass,
    Program,
    ProtocolError,
    Reconnect,
    Reload,
    Tab,
    open_tab,
    programs,
    run_program,
)


class Root(State, root=True):
    pass


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


@attrs.define
class Item:
    name: str
    price: float = 0.0


class Shop(Root):
    items: list[Item] = []
    tags: set[str] = set()
    count: int = 0
    size: Size = Size.SMALL
    _hidden: str = "kept"
    _connects: int = 0
    _loads: int = 0

    @computed
    def doubled(self) -> int:
        return self.count * 2

    def add(self, name: str, price: float = 1.0):
        self.items.append(Item(name, price))

    def add_item(self, item: Item):
        self.items.append(item)

    def tag(self, tags: set[str]):
        self.tags |= tags

    def increase(self, by: int = 1):
        self.count += by

    def resize(self, size: Size):
        self.size = size

    def fail(self):
        self.count = 99
        raise LookupError("not today")

    def leave(self):
        return redirect("/elsewhere")

    def where(self):
        router = self.router
        self.tags = {router.path, *router.query.values(), router.headers.get("user-agent", "")}

    def twice(self):
        self.count += 1
        yield
        self.count += 1

    async def wait(self):
        await trio.sleep(3)
        self.count += 1

    def on_connect(self):
        self._connects += 1

    def loaded(self):
        self._loads += 1

    @background
    async def climb(self):
        while True:
            await trio.sleep(0.5)
            async with self:
                self.count += 1

    @background
    async def stumble(self):
        await trio.sleep(0.5)
        raise LookupError("fell")


class Basket(Shop):
    label: str = "basket"


ADD_TEA: Any = Shop.add("tea")  # pyright: ignore


def shop() -> App:
    app = App(root=Root)
    app.add_page("Shop", on_load=Shop.loaded)
    return app


# ---- what it shows ------------------------------------------------------------------------------


async def test_an_event_is_done_and_shown_when_fire_returns() -> None:
    async with open_tab(shop()) as tab:
        await tab.fire(Shop.increase, 3)
        assert tab.state[Shop].count == 3
        await tab.fire(Shop.increase)
        assert tab.state[Shop].count == 4
        assert tab.version == 4  # with what was done as the page was loaded


async def test_arguments_go_over_in_their_json_form() -> None:
    async with open_tab(shop()) as tab:
        await tab.fire(Shop.add, "tea", 2.5)
        await tab.fire(ADD_TEA)
        await tab.fire(Shop.add_item, Item("milk"))
        await tab.fire(Shop.tag, {"a", "b"})
        await tab.fire(Shop.resize, Size.LARGE)
        await tab.fire("root.shop.increase", 5)
        assert tab.state[Shop].items == [Item("tea", 2.5), Item("tea", 1.0), Item("milk")]
        assert tab.state[Shop].tags == {"a", "b"}
        assert tab.state[Shop].size is Size.LARGE
        assert tab.state["root.shop"] == {
            "items": [{"name": "tea", "price": 2.5}, {"name": "tea", "price": 1.0},
                      {"name": "milk", "price": 0.0}],
            "tags": ["a", "b"],
            "count": 5,
            "size": "l",
            "doubled": 10,
        }  # fmt: skip


async def test_a_setter_is_fired_as_any_other_handler() -> None:
    async with open_tab(shop()) as tab:
        await tab.fire(Basket.set_label, "mine")  # pyright: ignore
        assert tab.state[Basket].label == "mine"
        assert tab.state[Basket].count == 0  # of the state above it
        assert repr(tab.state[Basket]) == "Basket(label='mine')"


async def test_what_the_tab_shows_are_copies() -> None:
    async with open_tab(shop()) as tab:
        await tab.fire(ADD_TEA)
        tab.state[Shop].items.clear()
        tab.state["root.shop"]["items"].clear()
        tab.state.as_json()["root.shop"]["items"].clear()
        assert len(tab.state[Shop].items) == 1


async def test_what_no_browser_sees_is_not_there_and_said_where_it_is() -> None:
    async with open_tab(shop()) as tab:
        with pytest.raises(AttributeError, match=r"tab\.server_state\(Shop\)\._hidden"):
            _ = tab.state[Shop]._hidden
        with pytest.raises(AttributeError, match="no public var 'price'"):
            _ = tab.state[Shop].price  # pyright: ignore
        with pytest.raises(AttributeError, match="fire a handler to change it"):
            tab.state[Shop].count = 3
        with pytest.raises(KeyError, match="State is not a state of this app"):
            _ = tab.state[State]
        assert tab.server_state(Shop)._hidden == "kept"


async def test_effects_are_kept_in_order() -> None:
    async with open_tab(shop()) as tab:
        await tab.fire(Shop.leave)
        assert tab.effects == [redirect("/elsewhere")]
        assert tab.effects != [download("x", data=b"")]


async def test_handlers_see_the_page_that_the_tab_is_at() -> None:
    async with open_tab(shop(), "/x?y=1", headers={"user-agent": "test"}) as tab:
        await tab.fire(Shop.where)
        assert tab.state[Shop].tags == {"/x", "1", "test"}
        await tab.reload("/z")
        await tab.fire(Shop.where)
        assert tab.state[Shop].tags == {"/z", "test"}


# ---- what fails ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "args", "code", "where"),
    [
        (Shop.fail, (), "handler_failed", None),
        ("root.shop.increase", ("many",), "bad_arguments", "$.args[0]"),
        ("root.shop._hidden", (), "unknown_handler", "$.name"),
    ],
)
async def test_an_event_that_fails_raises_what_the_error_frame_says(
    event: Any, args: Any, code: str, where: str | None
) -> None:
    async with open_tab(shop()) as tab:
        with pytest.raises(EventFailedError, match=code) as caught:
            await tab.fire(event, *args)
        assert (caught.value.code, caught.value.where) == (code, where)
        assert caught.value.message in str(caught.value)
        assert tab.errors == [caught.value]
        assert tab.state[Shop].count == 0
        await tab.fire(Shop.increase)  # the tab goes on


async def test_what_no_handler_takes_is_refused_before_it_is_sent() -> None:
    async with open_tab(shop()) as tab:
        with pytest.raises(TypeError, match=r"Shop\.increase: by: expected int, got 'many'"):
            await tab.fire(Shop.increase, "many")
        with pytest.raises(TypeError, match="expected a handler"):
            await tab.fire(3)
        with pytest.raises(TypeError, match="free to take nothing more"):
            await tab.fire(Shop.leave, 3)


async def test_what_does_not_come_is_told_with_the_state(autojump_clock: MockClock) -> None:
    async with open_tab(shop()) as tab:
        with pytest.raises(TimeoutError, match=r'within 5 s; the tab shows .*"count": 0'):
            await tab.wait_for(lambda state: state[Shop].count == 1)
        with pytest.raises(TimeoutError, match=r"within 60 s"):
            await tab.wait_for(lambda state: state[Shop].count == 1, timeout=60)
        assert trio.current_time() == 65
    async with open_tab(shop(), timeout=2) as tab:
        with pytest.raises(TimeoutError, match=r"Shop\.wait\(\) was not done within 2 s"):
            await tab.fire(Shop.wait)
        await tab.wait_for(lambda state: state[Shop].count == 1)


async def test_the_exception_of_the_block_leaves_as_it_came() -> None:
    with pytest.raises(LookupError, match="mine"):
        async with open_tab(shop()):
            raise LookupError("mine")


async def test_a_cancelled_block_is_cancelled() -> None:
    with trio.move_on_after(0.01) as scope:
        async with open_tab(shop()) as tab:
            await tab.wait_for(lambda _: False)
    assert scope.cancelled_caught


async def test_what_a_predicate_raises_comes_out() -> None:
    async with open_tab(shop()) as tab:
        with pytest.raises(ZeroDivisionError):
            await tab.wait_for(lambda _: 1 // 0)


async def test_a_server_that_leaves_a_patch_out_is_found_out() -> None:
    async with open_tab(shop()) as tab:
        await tab.fire(Shop.increase)
        tab.version -= 1
        with pytest.raises(ProtocolError, match="a patch of version 3 does not fit on version 2"):
            await tab.fire(Shop.increase)
        with pytest.raises(ProtocolError):  # from now on
            await tab.wait_for(lambda _: True)
        tab._breach = None


async def test_what_nobody_waited_for_is_found_out_at_the_end() -> None:
    opened = open_tab(shop())
    tab = await opened.__aenter__()
    tab.version -= 1
    tab.fire_nowait(Shop.increase)
    await wait_all_tasks_blocked()
    with pytest.raises(ProtocolError):
        await opened.__aexit__(None, None, None)


async def test_an_operation_that_does_not_apply_is_found_out() -> None:
    async with open_tab(shop()) as tab:
        tab._shown.clear()
        with pytest.raises(ProtocolError, match="KeyError"):
            await tab.fire(Shop.increase)
        tab._breach = None


# ---- coming and going ---------------------------------------------------------------------------


async def test_an_app_that_runs_goes_on_and_one_that_does_not_is_left() -> None:
    app = shop()
    async with open_tab(app):
        assert app.is_running
    assert not app.is_running
    async with app:
        async with open_tab(app) as one, open_tab(app) as two:
            await one.fire(Shop.increase)
            assert two.state[Shop].count == 0
            assert one.token != two.token
        assert app.is_running


async def test_a_tab_that_connects_again_is_the_same_page_load() -> None:
    async with open_tab(shop()) as tab:
        token, instance = tab.token, tab.instance
        await tab.fire(Shop.increase)
        await tab.disconnect()
        assert not tab.is_connected
        assert tab.close_code == 1006
        await tab.reconnect()
        assert (tab.token, tab.instance) == (token, instance)
        assert tab.state[Shop].count == 1
        assert tab.server_state(Shop)._loads == 1
        await tab.reload()
        assert tab.token == token
        assert tab.instance != instance
        assert tab.server_state(Shop)._loads == 2
        assert tab.server_state(Shop)._connects == 1  # it was away for no time


async def test_an_absence_is_as_long_as_the_clock_says(autojump_clock: MockClock) -> None:
    async with open_tab(shop()) as tab:
        await tab.disconnect()
        await trio.sleep(6)
        await tab.reconnect()
        await tab.wait_for(lambda _: tab.server_state(Shop)._connects == 2)


async def test_events_of_a_tab_without_a_connection_are_sent_later_and_run_once() -> None:
    async with open_tab(shop()) as tab:
        tab.fire_nowait(Shop.increase)
        tab.cut()  # on its way, or not: nobody knows
        tab.fire_nowait(Shop.increase, 10)
        with pytest.raises(ConnectionError, match="reconnect it, or use fire_nowait"):
            await tab.fire(Shop.increase)
        await tab.reconnect()
        await tab.wait_for(lambda state: state[Shop].count == 11)
        await tab.fire(Shop.increase, 100)
        assert tab.state[Shop].count == 111


async def test_who_waits_is_told_when_the_connection_ends(autojump_clock: MockClock) -> None:
    async with open_tab(shop()) as tab, trio.open_nursery() as nursery:
        nursery.start_soon(tab.disconnect)
        with pytest.raises(ConnectionError, match=r"the connection has ended \(code 1006\)"):
            await tab.fire(Shop.wait)


async def test_a_tab_whose_state_cannot_be_loaded_says_why(autojump_clock: MockClock) -> None:
    async def load(*_: object) -> None:
        raise OSError("the disk is gone")

    store = WrappedStore()
    store.load = load  # pyright: ignore
    app = App(root=Root, store=store)
    with pytest.raises(ConnectionError, match=r"the tab was not welcomed.*1001"):
        async with open_tab(app):
            raise AssertionError
    assert not app.is_running


async def test_a_tab_that_was_never_there_has_no_state_on_the_server() -> None:
    async with shop() as app, trio.open_nursery() as nursery:
        tab = Tab(await app.open_site(), nursery, "/", {}, 1)
        with pytest.raises(LookupError, match="never connected"):
            tab.server_state(Shop)
        await tab.disconnect()  # without effect


async def test_what_a_yield_shows_comes_before_the_end() -> None:
    async with open_tab(shop()) as tab:
        seen: list[int] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tab.wait_for, lambda s: seen.append(s[Shop].count) or len(seen) > 2)
            await tab.fire(Shop.twice)
        assert seen == [0, 1, 2]


# ---- virtual time -------------------------------------------------------------------------------


async def test_hours_pass_in_milliseconds(autojump_clock: MockClock) -> None:
    start = time.perf_counter()
    async with open_tab(shop()) as tab:
        await tab.fire(Shop.climb)
        await trio.sleep(3600.25)
        assert tab.state[Shop].count == 7200
        await tab.fire(Shop.climb.cancel)
        await trio.sleep(3600)
        assert tab.state[Shop].count == 7200
    assert time.perf_counter() - start < 60


async def test_waiting_is_woken_by_frames_and_does_not_poll(mock_clock: MockClock) -> None:
    asked: list[float] = []
    async with open_tab(shop()) as tab, trio.open_nursery() as nursery:
        await tab.fire(Shop.climb)
        nursery.start_soon(
            tab.wait_for, lambda s: asked.append(trio.current_time()) or s[Shop].count == 2
        )
        await wait_all_tasks_blocked()
        for _ in range(10):
            mock_clock.jump(0.25)
            await wait_all_tasks_blocked()
    assert asked == [0, 0.5, 1.0]


# ---- programs -----------------------------------------------------------------------------------


@settings(max_examples=50)
@given(programs(Shop))
def test_a_tab_shows_what_the_server_has_after_any_program(program: Program) -> None:
    outcome = run_program(program)
    on_server = outcome.server_state(Shop)
    assert outcome.state[Shop].items == on_server.items
    assert outcome.state[Shop].tags == on_server.tags
    assert outcome.state[Shop].count == on_server.count
    assert {type(error) for error in outcome.failures} <= {LookupError}
    assert {error.code for error in outcome.errors} <= {"handler_failed"}


@settings(max_examples=50)
@given(programs(Shop, events=[Shop.increase, ADD_TEA], lines=False))
def test_a_program_fires_what_it_may_fire_and_each_event_runs_once(program: Program) -> None:
    fired = [move.event for move in program.moves if isinstance(move, Fire)]
    assert not any(isinstance(move, Disconnect | Reconnect | Reload) for move in program.moves)
    outcome = run_program(program)
    added = [one for one in fired if one.handler is ADD_TEA.handler]
    assert len(outcome.state[Shop].items) == len(added)
    increased: list[Any] = [one.args[0] for one in fired if one.handler is not ADD_TEA.handler]
    assert outcome.state[Shop].count == sum(increased)


def run(*moves: Any, **more: Any) -> Any:
    return run_program(Program(Shop, moves), **more)


def test_the_outcome_of_a_program_says_all_that_came_of_it() -> None:
    outcome = run(Fire(Shop.climb), Fire(Shop.leave), Fire(Shop.stumble), Pass(1), Fire(Shop.fail))
    assert outcome.effects == (redirect("/elsewhere"),)
    assert [str(error) for error in outcome.failures] == ["fell", "not today"]
    assert [error.code for error in outcome.errors] == ["handler_failed"]
    assert outcome.running == ("Shop.climb",)
    assert outcome.state[Shop].count == 122  # in 61 seconds, what is due in the last moment too
    assert outcome.server_state(Shop)._hidden == "kept"


def test_a_program_cancels_reloads_and_comes_back() -> None:
    outcome = run(
        Cancel(0), Fire(Shop.climb), Fire(Shop.climb), Pass(1.2), Cancel(2), Pass(1), Disconnect(),
        Fire(Shop.increase), Disconnect(), Reload(), Pass(1), Disconnect(), Pass(6),
        afterwards=0, make_app=shop,
    )  # fmt: skip
    assert outcome.running == ("Shop.climb",)
    assert outcome.state[Shop].count == 4 + 2 + 2 + 12
    assert outcome.server_state(Shop)._loads == 2
    assert outcome.server_state(Shop)._connects == 2


def test_a_program_prints_as_it_could_be_written() -> None:
    program = Program(Shop, (Fire(ADD_TEA), Pass(1.5)))
    assert "moves=(Fire(event=Shop.add('tea')), Pass(seconds=1.5))" in repr(program)


class Muted(State, root=True):
    value: int = 0


def test_there_has_to_be_something_to_fire() -> None:
    with pytest.raises(ValueError, match="Muted has no public handler"):
        programs(Muted)


# ---- Hypothesis is optional ---------------------------------------------------------------------

_WITHOUT_HYPOTHESIS = """
import sys
sys.modules["hypothesis"] = None  # as if it were not installed
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "hypothesis" else found(name, *more)

import actorstate, actorstate.testing, trio
from actorstate import App, State

class Tally(State):
    count: int = 0
    def add(self):
        self.count += 1

async def main():
    async with actorstate.testing.open_tab(App()) as tab:
        await tab.fire(Tally.add)
        assert tab.state[Tally].count == 1

trio.run(main)
actorstate.testing.check_interleavings(Tally, lambda s: s.count < 9, runs=5)
try:
    actorstate.testing.programs(Tally)
except ModuleNotFoundError as error:
    print(error)
"""


def test_the_tab_and_the_search_do_without_hypothesis_and_programs_name_the_extra() -> None:
    command = [sys.executable, "-W", "error", "-c", _WITHOUT_HYPOTHESIS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert done.stdout == (
        "programs() needs Hypothesis; install it with the extra: actorstate[testing]\n"
    )


def test_the_library_itself_does_not_import_what_is_for_tests() -> None:
    code = "import sys, actorstate; print('actorstate.testing' in sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"


# ---- the seams that it stands on ----------------------------------------------------------------


class LastFirst:
    """A conductor that takes the message that came last, and hears all that it is told."""

    def __init__(self) -> None:
        self.arrivals: list[str] = []
        self.tasks: list[str] = []
        self.failures: list[str] = []
        self.may_go: trio.Event = trio.Event()

    def arrived(self, mailbox: Mailbox, message: Any) -> None:
        self.arrivals.append(type(message).__name__)

    async def choose(self, mailbox: Mailbox) -> int | None:
        await self.may_go.wait()
        if mailbox.empty():
            await trio.sleep(0.01)
            return None  # to be asked again
        return len(mailbox) - 1

    def closed(self, mailbox: Mailbox) -> None:
        self.arrivals.append("closed")

    def started(self, task: BackgroundTask) -> None:
        self.tasks.append(task.name)

    def failed(self, error: BaseException, context: ErrorContext) -> None:
        self.failures.append(context.name)


async def test_a_conductor_decides_which_message_is_next(autojump_clock: MockClock) -> None:
    conductor, app = LastFirst(), shop()
    app.use_conductor(conductor)
    async with app:
        ref = app.directory.ref("tab")
        for name in ("a", "b", "c"):
            ref.mailbox.put(Envelope(Event("root.shop.add", [name])))
        ref.mailbox.put(Envelope(Event("root.shop.fail")))
        ref.mailbox.put(Envelope(Event("root.shop.climb")))
        assert [message.name for message in ref.mailbox.waiting()][-1] == "root.shop.climb"
        conductor.may_go.set()
        await trio.sleep(0.1)
        items = app.directory.door("tab").tree.state(Shop).items
        assert [item.name for item in items] == ["c", "b", "a"]
    assert conductor.arrivals[:5] == ["Event"] * 5
    assert conductor.tasks == ["Shop.climb"]
    assert conductor.failures == ["Shop.fail"]


async def test_a_running_app_takes_no_conductor() -> None:
    async with shop() as app:
        assert app.is_running
        with pytest.raises(RuntimeError, match="messages come in their order"):
            app.use_conductor(LastFirst())
    assert not app.is_running


async def test_an_app_knows_whether_it_has_tasks_of_its_own() -> None:
    async with shop() as app:
        assert not app.has_own_tasks
        app.start_soon(trio.sleep, 0)
        assert app.has_own_tasks
        await wait_all_tasks_blocked()
        assert not app.has_own_tasks


async def test_a_site_is_what_the_app_has_now() -> None:
    async with shop() as app:
        assert list((await app.open_site()).pages) == ["/"]
        app.add_page("More", "/more")
        site = await app.open_site()
        assert list(site.pages) == ["/", "/more"]
        assert site.directory is app.directory
