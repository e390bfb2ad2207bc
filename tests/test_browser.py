"""What a person sees: a real browser on a real server process, both started as users do.

Every page is watched: what the browser complains of (errors, warnings, violations of the
Content-Security-Policy) fails the test, unless the test has taken the complaint as expected.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from browser import (
    DEMO,
    Line,
    Server,
    Visitor,
    assert_content,
    eventually,
    mark,
    pending,
    press,
    record,
    record_touched,
    toasts,
    token_of,
    version_of,
)
from playwright.sync_api import Locator, Page, expect

from actorstate.state.expressions import shown_text


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(DEMO, tmp_path_factory.mktemp("demo")) as server:
        yield server
    assert_content(server)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("lab")
    (folder / "lab.py").write_text(LAB)
    with Server(folder / "lab.py", folder) as server:
        yield server
    assert_content(server, but_for="Lab.fail failed")


# ---- The demos ----------------------------------------------------------------------------------


def counter(page: Page) -> Locator:
    return page.get_by_role("heading")


def limit(page: Page) -> Locator:
    return page.get_by_label("Limit")


def counts(texts: list[str]) -> list[int]:
    return [int(text.partition(" / ")[0]) for text in texts]


def count(page: Page) -> int:
    return counts([counter(page).inner_text()])[0]


def wait_for_ticks(page: Page, ticks: int = 2) -> None:
    """Wait until a running counter has moved so often; for other tabs, this is a clock."""
    wanted = count(page) + ticks
    eventually(page, lambda: count(page) >= wanted)


def set_limit(page: Page, value: str) -> None:
    limit(page).fill(value)
    limit(page).press("Enter")


@pytest.fixture
def page(visitor: Visitor, demo: Server) -> Page:
    """A fresh tab on the first demo."""
    page = visitor.open(demo.url)
    expect(counter(page)).to_have_text("0 / 10")
    return page


@pytest.fixture
def clock(visitor: Visitor, demo: Server) -> Page:
    """A tab that counts, in a browser profile of its own."""
    page = visitor.open(demo.url)
    set_limit(page, "1000")
    press(page, "Start")
    return page


def test_a_started_counter_climbs_step_by_step_to_its_limit(page: Page):
    set_limit(page, "4")
    expect(counter(page)).to_have_text("0 / 4")
    read_counts = record(counter(page))
    read_labels = record(page.get_by_role("button").first)

    press(page, "Start")

    eventually(page, lambda: read_labels() == ["Start", "Stop", "Start"])
    assert counts(read_counts()) == [0, 1, 2, 3, 4]


def test_the_limit_can_be_changed_while_the_counter_runs(page: Page):
    set_limit(page, "1000")
    press(page, "Start")
    wait_for_ticks(page, 1)
    new_limit = count(page) + 3

    limit(page).fill(str(new_limit))
    limit(page).press("Tab")

    expect(counter(page)).to_have_text(f"{new_limit} / {new_limit}")
    expect(page.get_by_role("button", name="Start")).to_be_visible()


def test_a_limit_below_the_count_stops_the_counter_where_it_is(page: Page):
    set_limit(page, "1000")
    press(page, "Start")
    wait_for_ticks(page, 3)

    set_limit(page, "1")

    expect(page.get_by_role("button", name="Start")).to_be_visible()
    assert count(page) >= 3
    expect(counter(page)).to_have_text(f"{count(page)} / 1")


def test_a_counter_at_its_limit_can_be_reset_and_started_again(page: Page):
    read_counts = record(counter(page))
    set_limit(page, "2")
    for _ in range(2):
        press(page, "Start")
        expect(counter(page)).to_have_text("2 / 2")
        expect(page.get_by_role("button", name="Start")).to_be_visible()
        press(page, "Reset")
        expect(counter(page)).to_have_text("0 / 2")

    assert read_counts() == ["0 / 10", *["0 / 2", "1 / 2", "2 / 2"] * 2, "0 / 2"]


def test_what_was_typed_counts_before_the_click_that_follows(page: Page):
    limit(page).fill("1")
    press(page, "Start")

    expect(counter(page)).to_have_text("1 / 1")
    expect(page.get_by_role("button", name="Start")).to_be_visible()


def test_a_stopped_counter_stays_where_it_is(page: Page, clock: Page):
    set_limit(page, "1000")
    press(page, "Start")
    wait_for_ticks(page)

    press(page, "Stop")
    expect(page.get_by_role("button", name="Start")).to_be_visible()
    eventually(page, lambda: pending(page) == 0)
    stopped_at = counter(page).inner_text()
    wait_for_ticks(clock)

    expect(counter(page)).to_have_text(stopped_at)


def test_a_reset_counter_goes_on_from_zero(page: Page):
    read_counts = record(counter(page))
    press(page, "Start")
    wait_for_ticks(page)

    press(page, "Reset")
    eventually(page, lambda: counts(read_counts())[1:].count(0) and count(page) >= 2)

    seen = counts(read_counts())
    reset = seen.index(0, 1)
    assert seen == [*range(reset), *range(len(seen) - reset)]


def test_a_reload_finds_the_state_and_the_task_where_they_are(page: Page):
    set_limit(page, "1000")
    press(page, "Start")
    wait_for_ticks(page)
    token, before = token_of(page), count(page)

    page.reload()

    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    assert counter(page).inner_text().endswith(" / 1000")
    expect(limit(page)).to_have_value("1000")
    assert count(page) >= before
    wait_for_ticks(page)
    assert token_of(page) == token


@pytest.mark.parametrize("place", ["the same window", "another profile"])
def test_two_tabs_do_not_disturb_each_other(
    clock: Page, visitor: Visitor, demo: Server, place: str
):
    other = visitor.open(demo.url, beside=clock if place == "the same window" else None)
    set_limit(other, "3")
    expect(counter(other)).to_have_text("0 / 3")
    version = version_of(other)

    wait_for_ticks(clock)

    assert token_of(other) != token_of(clock)
    expect(counter(other)).to_have_text("0 / 3")
    assert version_of(other) == version
    assert counter(clock).inner_text().endswith(" / 1000")


def test_the_other_page_shows_fetched_text_while_the_counter_runs_on(page: Page):
    set_limit(page, "1000")
    press(page, "Start")
    wait_for_ticks(page, 1)
    page.get_by_role("link", name="Fetch").click()
    expect(page.get_by_role("heading")).to_have_text("Fetch")

    button = page.get_by_role("button")
    expect(button).to_have_text("Fetch data")  # the state of the page that was gone to is there
    read_button = record(button, "node.textContent + (node.disabled ? ' (disabled)' : '')")
    button.click()
    expect(page.get_by_text("Anything added dilutes everything else.")).to_be_visible()
    expect(button).to_be_enabled()
    assert read_button() == ["Fetch data", "Fetching… (disabled)", "Fetch data"]

    page.go_back()
    expect(counter(page)).to_contain_text("/")  # it is welcomed again
    wait_for_ticks(page, 1)


def test_what_one_tab_fetches_comes_after_a_reload_too_and_to_no_other_tab(
    visitor: Visitor, demo: Server
):
    page = visitor.open(f"{demo.url}/fetch")
    other = visitor.open(f"{demo.url}/fetch", beside=page)
    fetched = "Anything added dilutes everything else."

    press(page, "Fetch data")
    eventually(page, lambda: pending(page) == 0)
    page.reload()

    expect(page.get_by_text(fetched)).to_be_visible()
    expect(page.get_by_role("button")).to_be_enabled()
    expect(other.get_by_text(fetched)).to_have_count(0)
    assert version_of(other) == 0


@pytest.mark.parametrize("text", ["ten", "", "2.5"])
def test_text_that_is_no_number_is_refused_and_changes_nothing(
    page: Page, visitor: Visitor, text: str
):
    # A number field gives such text away as nothing at all, so it is made a field for text.
    limit(page).evaluate("node => { node.type = 'text'; }")
    version = version_of(page)

    set_limit(page, text)

    expect(toasts(page)).to_have_count(1)
    expect(toasts(page)).to_be_visible()
    expect(counter(page)).to_have_text("0 / 10")
    assert version_of(page) == version
    expect(limit(page)).to_have_value(text)  # to be mended

    set_limit(page, "11")
    expect(counter(page)).to_have_text("0 / 11")
    visitor.expect_complaints("bad_arguments")


def test_a_refused_text_is_given_up_when_the_person_leaves_the_field(page: Page, visitor: Visitor):
    set_limit(page, "")
    expect(toasts(page)).to_be_visible()

    limit(page).press("Tab")

    expect(limit(page)).to_have_value("10")
    toasts(page).click()
    expect(toasts(page)).to_have_count(0)
    visitor.expect_complaints("bad_arguments")


def test_a_normal_run_leaves_nothing_to_complain_of(page: Page, visitor: Visitor):
    press(page, "Start")
    wait_for_ticks(page, 1)
    page.get_by_role("link", name="Fetch").click()
    expect(page.get_by_role("heading")).to_have_text("Fetch")

    expect(mark(page)).to_be_hidden()
    expect(toasts(page)).to_have_count(0)
    visitor.expect_complaints()


def test_a_violation_of_the_policy_would_be_heard(page: Page, visitor: Visitor):
    page.evaluate("() => document.body.setAttribute('style', 'color: red')")

    eventually(page, lambda: visitor.complaints)
    visitor.expect_complaints("Content Security Policy")


@pytest.mark.parametrize(("example", "shown"), [("background_task", "0 / 10"), ("fetch", "Fetch")])
def test_each_example_runs_alone(visitor: Visitor, tmp_path: Path, example: str, shown: str):
    with Server(DEMO.with_name(f"{example}.py"), tmp_path) as server:
        page = visitor.open(server.url)
        expect(page.get_by_role("heading")).to_have_text(shown)
        expect(page.get_by_role("button").first).not_to_be_empty()
        page.close()
    assert_content(server)


def test_every_answer_has_the_strict_policy(page: Page, demo: Server):
    paths = ["/", "/fetch", "/healthz", "/_actorstate/client.js", "/nowhere"]
    for path in paths:
        answer = page.request.get(demo.url + path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_an_unknown_page_is_not_found_and_the_server_is_healthy(page: Page, demo: Server):
    assert page.request.get(demo.url + "/nowhere").status == 404
    assert page.request.get(demo.url + "/healthz").ok


# ---- The line and the server --------------------------------------------------------------------


def test_a_page_outlives_its_server_and_works_with_the_next(visitor: Visitor, tmp_path: Path):
    with Server(DEMO, tmp_path) as first:
        page = visitor.open(first.url)
        set_limit(page, "7")
        expect(counter(page)).to_have_text("0 / 7")
        old_token = token_of(page)
        expect(mark(page)).to_be_hidden()
    expect(mark(page)).to_have_text("Reconnecting…")
    expect(mark(page)).to_be_visible()
    expect(counter(page)).to_have_text("0 / 7")

    with Server(DEMO, tmp_path, port=first.port) as second:
        expect(mark(page)).to_be_hidden()
        expect(counter(page)).to_have_text("0 / 7")  # from the store, which outlives them both
        assert token_of(page) == old_token
        set_limit(page, "2")
        press(page, "Start")
        expect(counter(page)).to_have_text("2 / 2")
        page.close()
    assert_content(second)
    visitor.expect_complaints("WebSocket connection to")


def test_a_task_goes_on_with_the_next_server_and_can_be_stopped_there(
    visitor: Visitor, tmp_path: Path
):
    """A note of its own that it runs would outlive it, and keep it from running ever again."""
    with Server(DEMO, tmp_path) as first:
        page = visitor.open(first.url)
        press(page, "Start")
        wait_for_ticks(page, 1)
    with Server(DEMO, tmp_path, port=first.port) as second:
        expect(mark(page)).to_be_hidden()
        wait_for_ticks(page, 5)
        press(page, "Stop")
        expect(page.get_by_role("button", name="Start")).to_be_visible()
        press(page, "Start")
        expect(counter(page)).to_have_text("10 / 10")
        page.close()
    assert_content(second)
    visitor.expect_complaints("WebSocket connection to")


def test_control_c_ends_the_server_within_a_second(visitor: Visitor, tmp_path: Path):
    with Server(DEMO, tmp_path) as server:
        page = visitor.open(server.url)
        press(page, "Start")
        wait_for_ticks(page, 1)

        asked = time.monotonic()
        status = server.stop()
        taken = time.monotonic() - asked

    assert status == 0
    assert taken < 1
    assert_content(server)
    expect(mark(page)).to_be_visible()
    page.close()
    visitor.expect_complaints("WebSocket connection to")


def test_what_was_clicked_while_the_line_was_cut_is_done_once(visitor: Visitor, lab: Server):
    with Line(lab.port) as line:
        page = visitor.open(line.url)
        press(page, "Add one")
        expect(counter(page)).to_have_text("1")
        line.cut()
        expect(mark(page)).to_be_visible()

        press(page, "Add one")
        press(page, "Add one")
        assert pending(page) == 2
        line.heal()

        expect(counter(page)).to_have_text("3")
        expect(mark(page)).to_be_hidden()
        press(page, "Add one")
        expect(counter(page)).to_have_text("4")
        assert pending(page) == 0
        page.close()
    visitor.expect_complaints("WebSocket connection to")


def seen_by(witness: Page) -> str:
    """Let another tab look at the count of a page, on the server, and give it."""
    press(witness, "Look")
    eventually(witness, lambda: pending(witness) == 0)
    return counter(witness).inner_text()


def test_an_event_whose_answer_was_lost_is_not_done_again(visitor: Visitor, lab: Server):
    with Line(lab.port) as line:
        page = visitor.open(line.url)
        press(page, "Add one")
        expect(counter(page)).to_have_text("1")
        witness = visitor.open(lab.url + "/witness")
        witness.get_by_label("Token").fill(token_of(page))

        line.lose_answers()
        press(page, "Add one")
        eventually(witness, lambda: seen_by(witness) == "2")
        assert pending(page) == 1
        line.cut()
        line.heal()

        expect(counter(page)).to_have_text("2")
        assert pending(page) == 0
        press(page, "Add one")
        expect(counter(page)).to_have_text("3")
        assert seen_by(witness) == "3"
        page.close()
    visitor.expect_complaints("WebSocket connection to")


def test_an_event_that_arrives_twice_is_done_once(visitor: Visitor, lab: Server):
    page = visitor.open(lab.url)
    page.evaluate(
        """() => {
            const { send } = WebSocket.prototype;
            WebSocket.prototype.send = function (frame) {
                send.call(this, frame);
                send.call(this, frame);
            };
        }"""
    )

    press(page, "Add one")
    press(page, "Add one")

    eventually(page, lambda: pending(page) == 0)
    expect(counter(page)).to_have_text("2")
    assert version_of(page) == 2


def test_a_browser_that_was_offline_comes_back(page: Page, visitor: Visitor):
    set_limit(page, "1000")
    press(page, "Start")
    page.context.set_offline(True)
    expect(mark(page)).to_be_visible()
    press(page, "Reset")

    page.context.set_offline(False)
    expect(mark(page)).to_be_hidden()
    eventually(page, lambda: pending(page) == 0)
    wait_for_ticks(page)
    visitor.expect_complaints("WebSocket connection to")


# ---- The lab: what a page makes of its state ----------------------------------------------------

HOSTILE: Final = '<img src=x onerror="hacked=1"><script>hacked=1</script>\'&amp;'

VALUES: Final[list[dict[str, Any]]] = [
    {"a": 7, "b": 2, "x": 0.5, "s": "abc", "flag": True, "items": [1, 2], "maybe": None},
    {"a": -7, "b": 2, "x": -2.25, "s": "", "flag": False, "items": [], "maybe": 0},
    {"a": 7, "b": -2, "x": 0.001, "s": "Zürich 🙂", "flag": True, "items": [2], "maybe": 7},
    {"a": 0, "b": 0, "x": 0.1, "s": "\uff5e", "flag": False, "items": [1, 2, 3], "maybe": 1},
    {"a": 10**15 + 7, "b": 3, "x": 12.5, "s": "<b>", "flag": True, "items": [0], "maybe": -1},
]

# What a page says, and what Python says. `s` is a State class to the page, its values to Python.
EXPRESSIONS: Final[dict[str, Callable[[Any], object]]] = {
    "s.a + s.b * 2": lambda s: s.a + s.b * 2,
    "10 - s.a": lambda s: 10 - s.a,
    "-s.a": lambda s: -s.a,
    "s.a / s.b": lambda s: s.a / s.b,
    "s.a // s.b": lambda s: s.a // s.b,
    "s.a % s.b": lambda s: s.a % s.b,
    "1 // s.x": lambda s: 1 // s.x,
    "1 % s.x": lambda s: 1 % s.x,
    "s.flag + 1": lambda s: s.flag + 1,
    "s.s * 2": lambda s: s.s * 2,
    "s.a == s.maybe": lambda s: s.a == s.maybe,
    "s.flag == s.maybe": lambda s: s.flag == s.maybe,
    "s.items != [1, 2]": lambda s: s.items != [1, 2],
    "s.a < s.b": lambda s: s.a < s.b,
    "s.items >= [1, 2]": lambda s: s.items >= [1, 2],
    "s.s > '\\U0001f600'": lambda s: s.s > "\U0001f600",
    "~s.flag": lambda s: not s.flag,
    "~s.items": lambda s: not s.items,
    "(s.a > 0) & (s.b > 0)": lambda s: s.a > 0 and s.b > 0,
    "s.s & s.items": lambda s: s.s and s.items,
    "s.s | s.maybe | 'nobody'": lambda s: s.s or s.maybe or "nobody",
    "'Count: ' + s.a": lambda s: "Count: " + str(s.a),
    "s.s + '/' + s.x": lambda s: s.s + "/" + shown_text(s.x),
    "s.items + [9]": lambda s: [*s.items, 9],
    "cond(s.flag, s.a, s.s)": lambda s: s.a if s.flag else s.s,
    "cond(s.a % 2 == 0, 'even', 'odd')": lambda s: "even" if s.a % 2 == 0 else "odd",
    "cond((s.maybe == None) | (s.b == 0), 'none', s.a / s.b)": lambda s: (
        "none" if s.maybe is None or s.b == 0 else s.a / s.b
    ),
}

LAB: Final = f"""
import trio

from actorstate import App, State, background
from actorstate import button, cond, current_app, el, heading, input, link, number_input, text
from actorstate import vstack


class Lab(State):
    count: int = 0
    flag: bool = False
    typed: str = ""

    def add_one(self):
        self.count += 1

    def fail(self):
        self.count += 1
        raise ValueError("the count is not to be known")

    def shout(self, said: str):
        self.typed = said.upper()

    def toggle(self):
        self.flag = not self.flag

    @background
    async def tick(self):
        while True:
            async with self:
                self.count += 1
            await trio.sleep(0.02)


class Witness(State):
    token: str = ""
    seen: int = 0

    async def look(self):
        async with current_app().modify_state(self.token) as state:
            self.seen = state.get_substate(Lab).count


class Values(State):
    a: int = 1
    b: int = 1
    x: float = 1.0
    s: str = ""
    flag: bool = False
    items: list[int] = []
    maybe: int | None = None

    def assign(self, values: dict):
        for name, value in values.items():
            setattr(self, name, value)


counting = vstack(
    heading(Lab.count),
    button("Add one", on_click=Lab.add_one),
    button("Fail", on_click=Lab.fail),
)

witness = vstack(
    heading(Witness.seen),
    input(value=Witness.token, on_change=Witness.set_token, aria_label="Token"),
    button("Look", on_click=Witness.look),
)

s = Values
expressions = vstack(
    *(button(f"Values {{n}}", on_click=s.assign(values)) for n, values in enumerate({VALUES!r})),
    *(text(one, class_name="value") for one in [{", ".join(EXPRESSIONS)}]),
)

choosing = vstack(
    button("Toggle", on_click=Lab.toggle),
    button("Add one", on_click=Lab.add_one),
    cond(
        Lab.flag,
        vstack(
            text("It is on: ", Lab.count, id="on"),
            cond(Lab.count > 1, button("More", on_click=Lab.add_one, id="more"), text("few")),
        ),
        text("It is off", id="off"),
    ),
    text(Lab.count, id="count"),
    text("No more than ", Lab.count, id="sentence"),
    text("Bound to another var: ", Lab.flag, title="Flag: " + Lab.flag, id="flag"),
    text("Bound to the sign: ", Lab.count >= 0, id="sign"),
    text("Fixed", id="fixed"),
    el("progress", value=Lab.count, max=10, id="progress"),
    input(id="field", aria_label="Field"),
)

markup = vstack(
    input(value=Lab.typed, on_change=Lab.set_typed, aria_label="Text"),
    heading(Lab.typed),
    text("Typed: ", Lab.typed, title=Lab.typed, id="typed"),
    cond(Lab.typed, el("em", Lab.typed), "nothing"),
    link("A link", href=Lab.typed),
    text({HOSTILE!r}, id="fixed"),
)

fields = vstack(
    el("input", type="checkbox", checked=Lab.flag, on_change=Lab.set_flag, aria_label="Flag"),
    el("textarea", value=Lab.typed, on_change=Lab.set_typed, aria_label="Typed"),
    el(
        "select",
        *(el("option", number, value=number) for number in range(4)),
        value=Lab.count,
        on_change=Lab.set_count,
        aria_label="Count",
    ),
    text(Lab.flag, "|", Lab.typed, "|", Lab.count, id="all"),
)

shouting = vstack(
    heading(Lab.typed),
    input(value=Lab.typed, on_change=Lab.shout, aria_label="Text"),
)

ticking = vstack(
    heading(Lab.count),
    button("Tick", on_click=Lab.tick),
    number_input(value=Lab.count, on_change=Lab.set_count, aria_label="Ticks"),
    input(value="The ticks: " + Lab.count, aria_label="Sentence"),
)

app = App()
app.add_page(witness, "/witness")
app.add_page(counting)
app.add_page(fields, "/fields")
app.add_page(shouting, "/shouting")
app.add_page(ticking, "/ticking")
app.add_page(expressions, "/expressions")
app.add_page(choosing, "/choosing")
app.add_page(markup, "/markup", title={HOSTILE!r})
"""


def shown(value: object) -> str:
    """Give the text of a value by the rule of `actorstate.state.expressions`."""
    if isinstance(value, list):
        return str(value)
    assert value is None or isinstance(value, bool | int | float | str)
    return shown_text(value)


@pytest.mark.parametrize("number", range(len(VALUES)))
def test_expressions_show_what_python_computes(visitor: Visitor, lab: Server, number: int):
    values = SimpleNamespace(**VALUES[number])
    expected: dict[str, str] = {}
    for expression, compute in EXPRESSIONS.items():
        try:
            expected[expression] = shown(compute(values))
        except ZeroDivisionError:
            expected[expression] = ""
    page = visitor.open(lab.url + "/expressions")

    press(page, f"Values {number}")
    eventually(page, lambda: version_of(page) > 0)

    texts = page.locator(".value").all_text_contents()
    assert dict(zip(EXPRESSIONS, texts, strict=True)) == expected
    visitor.expect_complaints("division by zero")


def test_a_conditional_swaps_its_elements(visitor: Visitor, lab: Server):
    page = visitor.open(lab.url + "/choosing")
    on, off, more = (page.locator(f"#{name}") for name in ("on", "off", "more"))
    expect(off).to_be_visible()
    expect(on).to_have_count(0)

    press(page, "Toggle")
    expect(on).to_have_text("It is on: 0")
    expect(off).to_have_count(0)
    expect(page.get_by_text("few")).to_be_visible()

    press(page, "Add one")
    press(page, "Add one")
    expect(on).to_have_text("It is on: 2")
    expect(page.get_by_text("few")).to_have_count(0)
    more.click()
    expect(on).to_have_text("It is on: 3")

    press(page, "Toggle")
    expect(off).to_be_visible()
    expect(on.or_(more)).to_have_count(0)


def test_a_handler_that_fails_is_told_and_changes_nothing(visitor: Visitor, lab: Server):
    page = visitor.open(lab.url)

    press(page, "Fail")

    expect(toasts(page)).to_be_visible()
    expect(toasts(page)).not_to_contain_text("not to be known")
    press(page, "Add one")
    expect(counter(page)).to_have_text("1")
    visitor.expect_complaints("handler_failed")


def test_a_change_touches_only_the_nodes_that_are_bound_to_it(visitor: Visitor, lab: Server):
    page = visitor.open(lab.url + "/choosing")
    page.locator("#field").fill("half a sen")
    read_touched = record_touched(page)

    press(page, "Add one")
    expect(page.locator("#count")).to_have_text("1")

    assert sorted(read_touched()) == ["count", "progress", "sentence"]
    expect(page.locator("#field")).to_have_value("half a sen")


def test_fields_of_every_kind_send_what_they_hold_and_show_what_is(visitor: Visitor, lab: Server):
    page = visitor.open(lab.url + "/fields")
    flag, typed, chosen = (page.get_by_label(label) for label in ("Flag", "Typed", "Count"))
    everything = page.locator("#all")
    expect(everything).to_have_text("False||0")

    flag.check()
    typed.fill("two\nlines")
    chosen.select_option("3")
    expect(everything).to_have_text("True|two\nlines|3")

    page.reload()
    expect(flag).to_be_checked()
    expect(typed).to_have_value("two\nlines")
    expect(chosen).to_have_value("3")
    flag.uncheck()
    expect(everything).to_contain_text("False|")


@pytest.fixture
def ticking(visitor: Visitor, lab: Server) -> Page:
    """A tab whose state a background task changes all the time."""
    page = visitor.open(lab.url + "/ticking")
    press(page, "Tick")
    wait_for_ticks(page)
    return page


def test_a_field_is_left_alone_by_a_running_task_while_a_person_edits_it(ticking: Page):
    field = ticking.get_by_label("Ticks")
    read_ticks = record(counter(ticking))

    field.fill("1000000")
    wait_for_ticks(ticking)
    expect(field).to_have_value("1000000")
    field.press("Enter")

    eventually(ticking, lambda: count(ticking) > 1000003)
    seen = counts(read_ticks())
    before = seen.index(1000000)
    after = len(seen) - before
    assert seen == [*range(seen[0], seen[0] + before), *range(1000000, 1000000 + after)]
    # Once the server has it, the field follows the state again.
    eventually(ticking, lambda: int(field.input_value()) > 1000000)


def test_what_is_selected_to_be_typed_over_stays_selected_while_a_task_changes_it(ticking: Page):
    field = ticking.get_by_label("Ticks")
    field.press("ControlOrMeta+a")
    wait_for_ticks(ticking)

    field.press_sequentially("1000000")

    expect(field).to_have_value("1000000")


def test_a_selection_within_a_text_stays_while_a_task_changes_the_text(ticking: Page):
    field = ticking.get_by_label("Sentence")
    field.evaluate("node => { node.focus(); node.setSelectionRange(0, 3); }")
    wait_for_ticks(ticking)

    field.press_sequentially("Some")

    assert field.input_value().startswith("Some ticks: ")


def test_a_handler_that_changes_what_was_typed_leaves_the_caret_where_it_is(
    visitor: Visitor, lab: Server
):
    page = visitor.open(lab.url + "/shouting")
    field = page.get_by_label("Text")
    field.press_sequentially("a sentence, quickly")
    field.press("Home")
    field.press("ArrowRight")
    field.press_sequentially(" whole")

    expect(page.get_by_role("heading")).to_have_text("A WHOLE SENTENCE, QUICKLY")
    expect(field).to_have_value("A WHOLE SENTENCE, QUICKLY")
    assert field.evaluate("node => node.selectionStart") == len("a whole")


def test_text_from_the_state_is_never_markup(visitor: Visitor, lab: Server):
    page = visitor.open(lab.url + "/markup")

    page.get_by_label("Text").fill(HOSTILE)

    expect(page.get_by_role("heading")).to_have_text(HOSTILE)
    expect(page.locator("#typed")).to_have_text(f"Typed: {HOSTILE}")
    expect(page.locator("#typed")).to_have_attribute("title", HOSTILE)
    expect(page.locator("em")).to_have_text(HOSTILE)
    expect(page.locator("#fixed")).to_have_text(HOSTILE)
    expect(page).to_have_title(HOSTILE)
    expect(page.locator("img, main script")).to_have_count(0)
    assert page.evaluate("() => typeof hacked") == "undefined"


def test_a_link_from_the_state_runs_no_script(visitor: Visitor, lab: Server):
    page = visitor.open(lab.url + "/markup")
    target = page.get_by_text("A link")

    page.get_by_label("Text").fill("/choosing")
    expect(target).to_have_attribute("href", "/choosing")
    page.get_by_label("Text").fill(" java\tscript:hacked=1")
    expect(page.get_by_role("heading")).to_contain_text("script:hacked=1")

    expect(target).not_to_have_attribute("href", "/choosing")
    assert target.get_attribute("href") is None
    visitor.expect_complaints("a URL was refused for href")


# ---- The list of things to do -------------------------------------------------------------------


def test_things_to_do_are_added_ticked_off_and_cleared(visitor: Visitor, demo: Server):
    page = visitor.open(f"{demo.url}/todo")
    field = page.get_by_label("What")
    for name in ("bread", "milk", "tea"):
        field.fill(name)
        field.press("Enter")
        expect(page.get_by_role("checkbox", name=name)).to_be_visible()
        expect(field).to_have_value("")
        expect(field).to_be_focused()
    expect(page.get_by_text("3 of 3 left")).to_be_visible()

    first_row = page.get_by_role("listitem").first.element_handle()
    page.get_by_role("checkbox", name="milk").check()
    expect(page.get_by_text("2 of 3 left")).to_be_visible()
    press(page, "Clear done")

    expect(page.get_by_role("listitem")).to_have_text(["bread", "tea"])
    expect(page.get_by_text("2 of 2 left")).to_be_visible()
    assert page.get_by_role("listitem").first.evaluate("(row, old) => row === old", first_row)

    page.reload()
    expect(page.get_by_role("listitem")).to_have_text(["bread", "tea"])
