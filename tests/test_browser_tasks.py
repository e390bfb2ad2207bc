"""Background tasks as a person sees them: a real browser, a real server process.

How a task is cancelled, replaced, started with its page and ended after it; what a page shows of
one that fails; and what becomes of a turn that takes too long, or is open when the server is asked
to stop.
"""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from browser import (
    DEMO,
    PATIENCE,
    Line,
    Server,
    Visitor,
    assert_content,
    eventually,
    mark,
    pending,
    press,
    record,
    toasts,
    token_of,
)
from playwright.sync_api import Locator, Page, WebSocket, expect
from search import HERBS

GRACE: Final = 2.0  # seconds; a reload on a busy machine has to be quicker

LAB: Final = f"""
from collections import defaultdict

import trio

from actorstate import App, State, background, button, current_app, heading, input, text, vstack


class Climber(State):
    height: int = 0
    status: str = "at rest"

    def clear(self):
        self.height = 0

    @background
    async def climb(self):
        async with self:
            self.status = "climbing"
        try:
            while True:
                async with self:
                    self.height += 1
                await trio.sleep(0.02)
        finally:
            with trio.CancelScope(shield=True):
                async with self:
                    self.status = "back again"


revealed = defaultdict(trio.Event)


class Oracle(State):
    answer: str = "…"

    @background(overlap="replace")
    async def ask(self, question: str):
        await revealed[self.get_token()].wait()
        async with self:
            self.answer = f"the answer to {{question}}"

    def reveal(self):
        revealed[self.get_token()].set()


class Greeter(State):
    loads: int = 0
    greeting: str = ""

    def count(self):
        self.loads += 1

    def greet(self, name: str):
        self.greeting = f"{{name}}, for the {{self.loads}}. time"

    def wave(self):
        self.greeting += " (waving)"


class Watched(State):
    starts: int = 0
    seconds: float = 0.0

    def start(self):
        return [Watched.go_on_for_ever, Watched.go_on_while_seen]

    @background
    async def go_on_for_ever(self):
        await trio.sleep_forever()

    @background(on_disconnect="cancel")
    async def go_on_while_seen(self):
        async with self:
            self.starts += 1
        begun = trio.current_time()
        while True:
            async with self:
                self.seconds = trio.current_time() - begun
            await trio.sleep(0.05)


class Watcher(State):
    running: str = ""

    @background(overlap="replace")
    async def watch(self, token: str):
        while True:
            tasks = current_app().background_tasks
            running = ", ".join(sorted(task.name for task in tasks if task.token == token))
            async with self:
                self.running = running
            await trio.sleep(0.05)


class Fragile(State):
    count: int = 0
    problem: str = ""

    def add_one(self):
        self.count += 1

    def on_background_error(self, error):
        if isinstance(error, OSError):
            self.problem = "The printer is on fire."

    @background
    async def fail_in_a_task(self):
        async with self:
            self.count += 100
            raise OSError("errno 5 of lp0, not to be known")

    async def fail_by_holding_on(self):
        self.count += 100
        await trio.sleep_forever()


climbing = vstack(
    heading(Climber.height),
    text(Climber.status, id="status"),
    button("Climb", on_click=Climber.climb),
    button("Cancel", on_click=Climber.climb.cancel),
    button("Clear", on_click=Climber.clear),
)
asking = vstack(
    heading(Oracle.answer),
    input(on_change=Oracle.ask, aria_label="Question"),
    button("Reveal", on_click=Oracle.reveal),
)
greeting = vstack(heading(Greeter.greeting), button("Wave", on_click=Greeter.wave))
watched = vstack(
    heading(Watched.seconds),
    text(Watched.starts, id="starts"),
    button("Start", on_click=Watched.start),
)
watching = vstack(heading(Watcher.running), input(on_change=Watcher.watch, aria_label="Token"))
failing = vstack(
    heading(Fragile.count),
    text(Fragile.problem, id="problem"),
    button("Print", on_click=Fragile.fail_in_a_task),
    button("Hold on", on_click=Fragile.fail_by_holding_on),
    button("Add one", on_click=Fragile.add_one),
)

app = App(disconnect_grace={GRACE}, turn_timeout=1, slow_turn=0.5)
app.add_page(climbing)
app.add_page(asking, "/asking")
app.add_page(greeting, "/greeting", on_load=[Greeter.count, Greeter.greet("Ada")])
app.add_page(watched, "/watched")
app.add_page(watching, "/watching")
app.add_page(failing, "/failing")
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("lab")
    (folder / "lab.py").write_text(LAB)
    with Server(folder / "lab.py", folder) as server:
        yield server
    assert_content(server, but_for="Fragile.fail_")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(DEMO, tmp_path_factory.mktemp("demo")) as server:
        yield server
    assert_content(server)


def headline(page: Page) -> Locator:
    return page.get_by_role("heading")


def number(page: Page) -> float:
    return float(headline(page).inner_text())


# ---- Cancelling and replacing -------------------------------------------------------------------


def test_a_button_cancels_the_task_and_the_page_shows_it(visitor: Visitor, lab: Server):
    page, other = visitor.open(lab.url), visitor.open(lab.url)
    status = page.locator("#status")
    for tab in (page, other):
        press(tab, "Climb")
        eventually(tab, lambda tab=tab: number(tab) > 2)
    expect(status).to_have_text("climbing")

    press(page, "Cancel")

    expect(status).to_have_text("back again")
    reached, elsewhere = number(page), number(other)
    eventually(other, lambda: number(other) > elsewhere + 5)  # that of another tab goes on
    assert number(page) == reached
    expect(other.locator("#status")).to_have_text("climbing")

    press(page, "Clear")
    press(page, "Climb")
    expect(status).to_have_text("climbing")
    eventually(page, lambda: number(page) > 2)


def test_a_button_cancels_all_that_run_of_the_task(visitor: Visitor, lab: Server):
    page, watching = visitor.open(lab.url), visitor.open(f"{lab.url}/watching")
    watching.get_by_label("Token").fill(token_of(page))
    for _ in range(3):
        press(page, "Climb")
    expect(headline(watching)).to_have_text(", ".join(["Climber.climb"] * 3))

    press(page, "Cancel")

    expect(headline(watching)).to_have_text("")
    expect(page.locator("#status")).to_have_text("back again")
    press(page, "Cancel")  # there is nothing left to cancel, and nothing to complain of
    eventually(page, lambda: pending(page) == 0)


def test_search_as_you_type_shows_the_result_of_the_last_text_only(visitor: Visitor, lab: Server):
    page = visitor.open(f"{lab.url}/asking")
    read_answers = record(headline(page))
    page.get_by_label("Question").press_sequentially("why")

    press(page, "Reveal")  # all that were asked and not replaced would be answered now

    expect(headline(page)).to_have_text("the answer to why")
    page.get_by_label("Question").press("End")
    page.get_by_label("Question").press_sequentially("!")
    expect(headline(page)).to_have_text("the answer to why!")
    assert read_answers() == ["…", "the answer to why", "the answer to why!"]


# ---- Tasks and the life of a page ---------------------------------------------------------------


def test_a_page_is_filled_when_it_is_loaded_and_not_when_it_reconnects(
    visitor: Visitor, lab: Server
):
    with Line(lab.port) as line:
        page = visitor.open(f"{line.url}/greeting")
        expect(headline(page)).to_have_text("Ada, for the 1. time")

        page.reload()
        expect(headline(page)).to_have_text("Ada, for the 2. time")

        line.cut()
        expect(mark(page)).to_be_visible()
        line.heal()
        expect(mark(page)).to_be_hidden()
        press(page, "Wave")  # comes after whatever the new connection has set off
        expect(headline(page)).to_have_text("Ada, for the 2. time (waving)")

        page.reload()
        expect(headline(page)).to_have_text("Ada, for the 3. time")
        page.close()
    visitor.expect_complaints("WebSocket connection to")


def test_a_task_outlives_a_reload_and_ends_some_time_after_its_tab(visitor: Visitor, lab: Server):
    page = visitor.open(f"{lab.url}/watched")
    watching = visitor.open(f"{lab.url}/watching")
    watching.get_by_label("Token").fill(token_of(page))
    both = "Watched.go_on_for_ever, Watched.go_on_while_seen"
    press(page, "Start")
    expect(headline(watching)).to_have_text(both)

    page.reload()
    expect(headline(page)).not_to_be_empty()
    reloaded_at = number(page)
    eventually(page, lambda: number(page) > reloaded_at + GRACE)
    expect(page.locator("#starts")).to_have_text("1")
    expect(headline(watching)).to_have_text(both)

    read_running = record(headline(watching))
    page.close()
    expect(headline(watching)).to_have_text("Watched.go_on_for_ever")
    assert read_running() == [both, "Watched.go_on_for_ever"]


# ---- What goes wrong ----------------------------------------------------------------------------


def test_the_page_shows_of_a_failed_task_what_the_state_made_of_it_and_nothing_else(
    visitor: Visitor, lab: Server
):
    frames: list[str] = []

    def listen(socket: WebSocket) -> None:
        socket.on("framereceived", lambda frame: frames.append(str(frame)))

    page = visitor.open(f"{lab.url}/failing", prepare=lambda page: page.on("websocket", listen))

    press(page, "Print")

    expect(page.locator("#problem")).to_have_text("The printer is on fire.")
    expect(headline(page)).to_have_text("0")
    press(page, "Add one")
    expect(headline(page)).to_have_text("1")
    expect(toasts(page)).to_have_count(0)
    heard = "\n".join(frames)
    assert "The printer is on fire." in heard
    for word in ("Traceback", "OSError", "lp0", "not to be known", ".py"):
        assert word not in heard


def test_a_handler_that_holds_on_for_too_long_fails_and_the_page_goes_on(
    visitor: Visitor, lab: Server
):
    page = visitor.open(f"{lab.url}/failing")
    read_counts = record(headline(page))

    press(page, "Hold on")
    press(page, "Add one")  # waits for its turn
    expect(toasts(page)).to_be_visible()

    expect(headline(page)).to_have_text("1")
    press(page, "Add one")
    expect(headline(page)).to_have_text("2")
    assert read_counts() == ["0", "1", "2"]
    visitor.expect_complaints("handler_failed")


# ---- SIGTERM ------------------------------------------------------------------------------------

STOPPING: Final = """
from pathlib import Path

import trio

from actorstate import App, MemoryStore, State, button, heading, vstack

here = Path(__file__).parent


class Work(State):
    status: str = "idle"

    async def do(self):
        self.status = "begun"
        yield
        while not (here / "gate").exists():
            await trio.sleep(0.02)
        self.status = "finished"


class Remembering(MemoryStore):
    async def commit(self, lease, commit):
        await super().commit(lease, commit)
        snapshot = await self.peek(lease.token)
        (here / "stored").write_text(str(snapshot.values))


app = App(store=Remembering(), shutdown_timeout={shutdown_timeout}, slow_turn=60)
app.add_page(vstack(heading(Work.status), button("Do", on_click=Work.do)))
"""


@pytest.fixture
def served_with(tmp_path: Path) -> Iterator[Callable[[float], Server]]:
    servers: list[Server] = []

    def serve(shutdown_timeout: float) -> Server:
        (tmp_path / "app.py").write_text(STOPPING.format(shutdown_timeout=shutdown_timeout))
        servers.append(Server(tmp_path / "app.py", tmp_path))
        return servers[0]

    yield serve
    for server in servers:
        server.stop()


def is_listening(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def test_sigterm_lets_an_open_turn_come_to_its_end_and_its_page_see_it(
    visitor: Visitor, served_with: Callable[[float], Server], tmp_path: Path
):
    server = served_with(PATIENCE)
    page = visitor.open(server.url)
    press(page, "Do")
    expect(headline(page)).to_have_text("begun")

    server.ask_to_stop(signal.SIGTERM)
    eventually(page, lambda: not is_listening(server.port))
    expect(mark(page)).to_be_hidden()  # the socket is there yet
    asked = time.monotonic()
    (tmp_path / "gate").touch()
    expect(headline(page)).to_have_text("finished")
    expect(mark(page)).to_be_visible()

    assert server.wait() == 0
    assert time.monotonic() - asked < PATIENCE / 2
    assert "'finished'" in (tmp_path / "stored").read_text()
    assert_content(server)
    page.close()
    visitor.expect_complaints("WebSocket connection to")


def test_sigterm_undoes_a_turn_that_has_not_ended_after_the_shutdown_timeout(
    visitor: Visitor, served_with: Callable[[float], Server], tmp_path: Path
):
    server = served_with(0.5)
    page = visitor.open(server.url)
    press(page, "Do")
    expect(headline(page)).to_have_text("begun")

    asked = time.monotonic()
    server.ask_to_stop(signal.SIGTERM)

    assert server.wait() == 0
    assert 0.5 < time.monotonic() - asked < PATIENCE / 2
    assert "'begun'" in (tmp_path / "stored").read_text()  # what it yielded
    assert_content(server)
    page.close()
    visitor.expect_complaints("WebSocket connection to")


# ---- The example of the search ------------------------------------------------------------------


@pytest.fixture
def searching(visitor: Visitor, demo: Server) -> Page:
    page = visitor.open(demo.url)
    page.get_by_role("link", name="Search").click()
    expect(headline(page)).to_have_text("Herbs")
    return page


def rows(page: Page) -> Locator:
    return page.get_by_role("listitem")


def summary(page: Page) -> Locator:
    return page.get_by_text(" found")


def test_the_search_is_full_when_it_is_opened_and_follows_what_is_typed(searching: Page):
    expect(summary(searching)).to_have_text(f"{len(HERBS)} found")
    expect(rows(searching)).to_have_text(HERBS)

    searching.get_by_label("Search").press_sequentially("chi")

    expect(summary(searching)).to_have_text("1 found")
    expect(rows(searching)).to_have_text(["Chives"])
    expect(searching.get_by_label("Search")).to_have_value("chi")

    searching.reload()
    expect(searching.get_by_label("Search")).to_have_value("chi")
    expect(summary(searching)).to_have_text("1 found")
    expect(rows(searching)).to_have_text(["Chives"])


def test_a_search_that_is_cancelled_keeps_what_it_found(
    searching: Page, visitor: Visitor, demo: Server
):
    field, cancel = searching.get_by_label("Search"), searching.get_by_role("button", name="Cancel")
    field.fill("i")
    expect(rows(searching).first).to_have_text("Anise")

    cancel.click()

    expect(summary(searching)).to_have_text(re.compile("^[1-9] found$"))
    expect(cancel).to_have_count(0)
    found = rows(searching).all_inner_texts()
    other = visitor.open(f"{demo.url}/search")  # takes its time; for the first one, it is a clock
    expect(summary(other)).to_have_text(f"{len(HERBS)} found")
    assert rows(searching).all_inner_texts() == found
    assert found == [herb for herb in HERBS if "i" in herb][: len(found)]
    assert len(found) < len([herb for herb in HERBS if "i" in herb])

    field.fill("in")
    expect(rows(searching)).to_have_text(["Mint"])
    expect(cancel).to_have_count(0)


def test_the_search_runs_alone(visitor: Visitor, tmp_path: Path):
    with Server(DEMO.with_name("search.py"), tmp_path) as server:
        page = visitor.open(server.url)
        expect(rows(page).first).to_have_text("Anise")
        page.close()
    assert_content(server)
