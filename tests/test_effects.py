"""Effects: what they may be, when they leave, and to whom they go."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

import pytest
import trio
from clients import Client
from stores import WrappedStore
from trio.testing import wait_all_tasks_blocked

from actorstate import (
    App,
    Effect,
    State,
    background,
    console_log,
    copy_to_clipboard,
    current_app,
    download,
    redirect,
    scroll_to,
    set_focus,
    set_value,
)
from actorstate.actors.messages import Ack, Attach, Detach, Event, Failure, Patch, Welcome
from actorstate.actors.runtime import TrioActorRef
from actorstate.actors.token_actor import TokenActor
from actorstate.state.commit import Commit
from actorstate.state.handlers import as_invocation
from actorstate.stores.journal import REMEMBERED_PAGE_LOADS
from actorstate.web.protocol import encode

TOKEN = "tab"  # noqa: S105 - a name, to the library


class Root(State, root=True):
    pass


class Asking(Root):
    gate: ClassVar[trio.Event]
    count: int = 0
    log: list[str] = []

    def say(self, text: str) -> Any:
        return console_log(text)

    def count_and_say(self, text: str) -> Any:
        self.count += 1
        return [console_log(text), Asking.chain(text), [set_focus("name"), redirect("/next")]]  # pyright: ignore

    def chain(self, text: str) -> Any:
        self.log = [*self.log, text]
        return console_log(f"{text}, chained")

    def say_and_fail(self) -> Any:
        self.count = 1
        yield console_log("before")
        self.count = 2
        yield [console_log("between"), 3]

    def write_nonsense(self) -> Any:
        return [console_log("no"), Asking.chain(3)]  # pyright: ignore

    async def say_by_steps(self) -> AsyncIterator[Any]:
        self.count = 1
        yield console_log("one")
        yield [console_log("two"), Asking.chain("two")]  # pyright: ignore
        await self.gate.wait()
        self.count = 2
        yield
        yield console_log("three")

    @background
    async def say_in_background(self) -> AsyncIterator[Any]:
        yield [console_log("outside"), Asking.chain("first"), console_log("outside again")]  # pyright: ignore
        async with self:
            self.count += 1
            yield console_log("inside")
            self.count += 1
        await self.gate.wait()
        yield console_log("late")

    @background
    async def say_at_the_end(self) -> Any:
        async with self:
            self.count += 1
        return console_log("returned")

    @background
    async def say_and_fail_in_background(self) -> AsyncIterator[Any]:
        async with self:
            self.count = 1
            yield console_log("committed")
            self.count = 2
            yield object()

    @background
    async def say_for_another(self) -> AsyncIterator[Any]:
        async with current_app().modify_state(self.get_token()):
            yield console_log("under modify_state")

    def start(self) -> Any:
        return Asking.say_at_the_end


SAY: Any = Asking.say
COUNT_AND_SAY: Any = Asking.count_and_say


@pytest.fixture
async def app() -> AsyncIterator[App]:
    Asking.gate = trio.Event()
    async with App(root=Root) as app:
        yield app


@pytest.fixture
def ref(app: App) -> TrioActorRef[TokenActor]:
    return app.directory.ref(TOKEN)


Join = Callable[[str], Client]


@pytest.fixture
def join(ref: TrioActorRef[TokenActor]) -> Join:
    def join(instance: str) -> Client:
        client = Client(instance)
        ref.tell(Attach(client))
        return client

    return join


async def fire(ref: TrioActorRef[TokenActor], handler: Any, seq: int = 1, at: str = "page") -> None:
    invocation = as_invocation(handler)
    event = Event(invocation.name, list(invocation.args), seq, at)
    await ref.ask(event, block=False)
    await wait_all_tasks_blocked()


def said(client: Client) -> list[Any]:
    return [effect.args["value"] for effect in client.effects if effect.name == "console_log"]


# ---- what they may be ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "name", "args"),
    [
        (redirect("/x"), "redirect", {"to": "/x", "new_tab": False}),
        (redirect("https://a.b/?c#d", new_tab=True), "redirect",
         {"to": "https://a.b/?c#d", "new_tab": True}),
        (redirect("/data:x"), "redirect", {"to": "/data:x", "new_tab": False}),
        (download("a.csv", url="/a"), "download", {"filename": "a.csv", "url": "/a"}),
        (download("ä.txt", data="ä"), "download",
         {"filename": "ä.txt", "data": base64.b64encode("ä".encode()).decode(),
          "media_type": "text/plain;charset=utf-8"}),
        (download("a", data=b"\0\xff"), "download",
         {"filename": "a", "data": "AP8=", "media_type": "application/octet-stream"}),
        (download("a", data="", media_type="text/csv; charset=utf-8"), "download",
         {"filename": "a", "data": "", "media_type": "text/csv; charset=utf-8"}),
        (set_focus("name"), "set_focus", {"id": "name"}),
        (set_value("name", None), "set_value", {"id": "name", "value": None}),
        (set_value("on", True), "set_value", {"id": "on", "value": True}),
        (console_log({"a": [1, 2.5]}), "console_log", {"value": {"a": [1, 2.5]}}),
        (copy_to_clipboard(""), "copy_to_clipboard", {"text": ""}),
        (scroll_to("end"), "scroll_to", {"id": "end"}),
    ],
)  # fmt: skip
def test_an_effect_is_a_name_and_arguments_and_goes_out_as_documented(
    effect: Effect, name: str, args: dict[str, Any]
) -> None:
    assert (effect.name, effect.args) == (name, args)
    frame = {"t": "effect", "name": name, "args": args}
    assert json.loads(encode(effect, "session")) == frame


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: redirect("javascript:alert(1)"), ValueError, "cannot be a javascript: URL"),
        (lambda: redirect(" JAVA\nscript:alert(1)"), ValueError, "javascript: URL, got ' JAVA"),
        (lambda: redirect("data:text/html,x"), ValueError, "redirect.to. cannot be a data: URL"),
        (lambda: redirect(" "), ValueError, "takes a path such as '/orders' or a URL, got ' '"),
        (lambda: redirect(5), TypeError, "redirect.to. takes text, got 5"),  # pyright: ignore
        (lambda: redirect("\ud800"), TypeError, "redirect.to. takes text, got"),
        (lambda: redirect("/", new_tab="no"), TypeError, "new_tab=. takes a bool, got 'no'"),  # pyright: ignore
        (lambda: redirect(Asking.count), TypeError, "only the browser can compute.*self.name for"),  # pyright: ignore
        (lambda: download("a"), TypeError, "either url= or data=, one of the two"),
        (lambda: download("a", url="/", data=""), TypeError, "either url= or data="),
        (lambda: download("a/b", url="/"), ValueError, "a name such as 'report.csv', got 'a/b'"),
        (lambda: download("..", url="/"), ValueError, "a name such as"),
        (lambda: download("a\n", url="/"), ValueError, "a name such as"),
        (lambda: download("", url="/"), ValueError, "a name such as"),
        (lambda: download(None, url="/"), TypeError, "download.filename. takes text, got None"),  # pyright: ignore
        (lambda: download("a", url="javascript:1"), ValueError, "download.url=. cannot be"),
        (lambda: download("a", data=5), TypeError, "download.data=., if it is not bytes, takes te"),  # pyright: ignore
        (
            lambda: download("a", url="/", media_type="a/b"),
            TypeError,
            "media_type=. describes data",
        ),
        (lambda: download("a", data="", media_type="x"), ValueError, "such as 'text/csv', got 'x'"),
        (lambda: download("a", data="", media_type="a/b\n"), ValueError, "such as 'text/csv'"),
        (lambda: set_focus("a b"), ValueError, "set_focus.id. takes the id .*without blanks, got"),
        (lambda: set_focus(""), ValueError, "set_focus.id. takes the id of an element"),
        (lambda: scroll_to(3), TypeError, "scroll_to.id. takes text, got 3"),  # pyright: ignore
        (lambda: set_value("", 1), ValueError, "set_value.id. takes the id"),
        (lambda: set_value("a", object()), TypeError, "set_value.value. takes what JSON can carry"),
        (lambda: set_value("a", Asking.count), TypeError, "set_value takes a value, got <StateVar"),
        (lambda: console_log({1: 2}), TypeError, "console_log.value. takes what JSON can carry"),
        (lambda: console_log(float("nan")), TypeError, "what JSON can carry, got nan"),
        (lambda: console_log([10**5000]), TypeError, "got .an int of 16610 bits"),
        (lambda: copy_to_clipboard(b"x"), TypeError, "copy_to_clipboard.text. takes text, got b"),  # pyright: ignore
    ],
)
def test_an_effect_that_cannot_be_is_refused_where_it_is_made(
    make: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make()


def test_an_effect_carries_the_value_as_it_was() -> None:
    value = [{"a": [1]}]
    effect = console_log(value)
    value[0]["a"].append(2)
    assert effect == console_log([{"a": [1]}])
    with pytest.raises(TypeError):
        effect.args["value"] = 3  # pyright: ignore


# ---- when they leave ----------------------------------------------------------------------------


async def test_effects_come_after_the_patch_of_their_turn_in_order(
    ref: TrioActorRef[TokenActor], join: Join
) -> None:
    page = join("page")
    await fire(ref, COUNT_AND_SAY("hello"))
    kinds = [type(notice) for notice in page.notices]
    assert kinds == [Welcome, Patch, Effect, Effect, Effect, Patch, Effect]
    assert [effect.name for effect in page.effects] == [
        "console_log", "set_focus", "redirect", "console_log",
    ]  # fmt: skip
    assert said(page) == ["hello", "hello, chained"]


async def test_effects_of_a_turn_that_changes_nothing_come_after_the_acknowledgement(
    ref: TrioActorRef[TokenActor], join: Join
) -> None:
    page = join("page")
    await fire(ref, SAY("hello"))
    assert [type(notice) for notice in page.notices] == [Welcome, Ack, Effect]


async def test_a_turn_that_fails_asks_for_nothing_but_what_it_committed(
    ref: TrioActorRef[TokenActor], join: Join
) -> None:
    page = join("page")
    await fire(ref, Asking.say_and_fail)
    assert said(page) == ["before"]
    assert [type(notice) for notice in page.notices] == [Welcome, Patch, Effect, Failure, Ack]
    await fire(ref, Asking.write_nonsense, 2)
    assert said(page) == ["before"]
    assert page.state["root.asking"] == {"count": 1, "log": []}


async def test_what_a_handler_yields_leaves_at_the_yield(
    ref: TrioActorRef[TokenActor], join: Join
) -> None:
    page = join("page")
    ref.tell(Event("root.asking.say_by_steps", [], 1, "page"))
    await wait_all_tasks_blocked()
    assert said(page) == ["one", "two"]
    assert page.ack == 0
    Asking.gate.set()
    await wait_all_tasks_blocked()
    assert said(page) == ["one", "two", "three", "two, chained"]
    assert page.ack == 1


class GatedStore(WrappedStore):
    """A memory store that takes its time, and may refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = trio.Event()
        self.error: Exception | None = None

    async def commit(self, lease: Any, commit: Commit) -> None:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        await super().commit(lease, commit)


@pytest.mark.parametrize("error", [None, OSError("disk full")])
async def test_no_effect_leaves_before_the_store_has_the_commit(error: Exception | None) -> None:
    store = GatedStore()
    async with App(root=Root, store=store) as app:
        page, ref = Client(), app.directory.ref(TOKEN)
        ref.tell(Attach(page))
        ref.tell(Event("root.asking.count_and_say", ["hello"], 1, "page"))
        ref.tell(Event("root.asking.say_and_fail_in_background", [], 2, "page"))
        await wait_all_tasks_blocked()
        assert page.effects == []
        store.error = error
        store.gate.set()
        await wait_all_tasks_blocked()
        expected = ["hello", "hello, chained", "committed"] if error is None else []
        assert sorted(said(page)) == sorted(expected)


async def test_a_turn_that_is_cancelled_asks_for_nothing() -> None:
    store = GatedStore()
    async with App(root=Root, store=store, shutdown_timeout=0) as app:
        page, ref = Client(), app.directory.ref(TOKEN)
        ref.tell(Attach(page))
        ref.tell(Event("root.asking.count_and_say", ["hello"], 1, "page"))
        await wait_all_tasks_blocked()
    assert page.effects == []


async def test_a_background_task_asks_inside_a_block_with_its_commit_and_outside_at_once(
    ref: TrioActorRef[TokenActor], join: Join
) -> None:
    page = join("page")
    await fire(ref, Asking.say_in_background)
    shown = [notice for notice in page.notices if isinstance(notice, Patch | Effect)]
    assert [type(notice) for notice in shown] == [
        Effect, Patch, Effect, Effect, Patch, Effect, Patch,
    ]  # fmt: skip
    assert said(page) == ["outside", "first, chained", "outside again", "inside"]
    Asking.gate.set()
    await wait_all_tasks_blocked()
    assert said(page)[-1] == "late"


async def test_a_block_that_fails_asks_for_nothing_but_what_it_committed(
    ref: TrioActorRef[TokenActor], join: Join
) -> None:
    page = join("page")
    await fire(ref, Asking.say_and_fail_in_background)
    assert said(page) == ["committed"]
    assert page.state["root.asking"]["count"] == 1


# ---- to whom they go ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (SAY("x"), ["x"]),
        (COUNT_AND_SAY("x"), ["x", "x, chained"]),
        (Asking.start, ["returned"]),
        (Asking.say_at_the_end, ["returned"]),
        (Asking.say_for_another, ["under modify_state"]),
    ],
)
async def test_effects_go_to_the_page_load_whose_event_began_it(
    ref: TrioActorRef[TokenActor], join: Join, handler: Any, expected: list[str]
) -> None:
    others, page = [join("other"), join("another")], join("page")
    await fire(ref, handler)
    assert said(page) == expected
    assert [other.effects for other in others] == [[], []]


@pytest.mark.parametrize("instance", ["", "never seen"])
async def test_effects_that_are_for_nobody_known_go_to_every_page_load_once(
    ref: TrioActorRef[TokenActor], join: Join, instance: str
) -> None:
    pages = [join("page"), join("page"), join("other")]
    await ref.ask(Event("root.asking.say", ["all"], instance=instance), block=False)
    assert [said(page) for page in pages] == [[], ["all"], ["all"]]


async def test_effects_for_a_page_load_that_is_away_wait_for_its_welcome(
    ref: TrioActorRef[TokenActor], join: Join
) -> None:
    page, other = join("page"), join("other")
    await fire(ref, Asking.say_in_background)
    ref.tell(Detach(page))
    Asking.gate.set()
    await wait_all_tasks_blocked()
    await fire(ref, SAY("as well"), 2)
    assert said(page)[-1] == "inside"
    assert other.effects == []
    back = join("page")
    await wait_all_tasks_blocked()
    assert [type(notice) for notice in back.notices] == [Welcome, Effect, Effect]
    assert said(back) == ["late", "as well"]
    ref.tell(Detach(back))
    again = join("page")
    await wait_all_tasks_blocked()
    assert again.effects == []  # each once


async def test_of_two_connections_of_a_page_load_the_newer_gets_the_effects(
    ref: TrioActorRef[TokenActor], join: Join
) -> None:
    older, newer = join("page"), join("page")
    await fire(ref, SAY("once"))
    assert (said(older), said(newer)) == ([], ["once"])
    assert (older.closed, newer.closed) == (True, False)
    ref.tell(Detach(newer))
    await fire(ref, SAY("again"), 2)
    assert said(older) == []


async def test_a_page_load_that_stays_away_keeps_the_last_hundred(
    ref: TrioActorRef[TokenActor], join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    ref.tell(Detach(join("page")))
    for number in range(102):
        await ref.ask(Event("root.asking.say", [str(number)], number + 1, "page"), block=False)
    back = join("page")
    await wait_all_tasks_blocked()
    assert said(back) == [str(number) for number in range(2, 102)]
    assert caplog.text.count("of token tab is away and misses 100 effects; console_log was") == 2


async def test_effects_of_a_page_load_that_is_forgotten_are_gone(
    ref: TrioActorRef[TokenActor], join: Join
) -> None:
    ref.tell(Detach(join("page")))
    await fire(ref, SAY("missed"))
    for number in range(REMEMBERED_PAGE_LOADS + 1):
        ref.tell(Detach(join(f"visitor {number}")))
    stays = join("stays")
    await fire(ref, SAY("to all"), 2)
    back = join("page")
    await wait_all_tasks_blocked()
    assert back.effects == []
    assert said(stays) == ["to all"]


async def test_effects_for_nobody_at_all_come_to_nothing(
    ref: TrioActorRef[TokenActor], join: Join
) -> None:
    await ref.ask(Event("root.asking.say", ["x"]), block=False)
    page = join("page")
    await wait_all_tasks_blocked()
    assert page.effects == []
