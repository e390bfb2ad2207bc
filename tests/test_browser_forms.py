"""Fields, forms and the pace of events, in a real browser on a real server.

Where time matters it is Playwright's clock, which stands still until the test moves it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from browser import (
    Server,
    Visitor,
    assert_content,
    eventually,
    pending,
    press,
    state_of,
    toasts,
    token_of,
    version_of,
)
from playwright.sync_api import Locator, Page, expect

LAB: Final = """
import math
from dataclasses import dataclass

from actorstate import App, ConnectionLimits, State, button, checkbox, cond, el, form, heading
from actorstate import hstack, input, label, number_input, radio, select, slider, text, textarea
from actorstate import current_app, vstack


class Fields(State):
    done: bool = False
    locked: bool = False
    note: str = ""
    size: str = "m"
    color: str = "green"
    tags: list[str] = ["b"]
    volume: float = 20
    most: int = 50
    has_large: bool = False

    def widen(self):
        self.volume, self.most = 120, 200

    def paint(self):
        self.color = "blue"

    def grow(self):
        self.size = "l"

    def offer(self):
        self.has_large = True

    def lock(self):
        self.locked = True


fields = vstack(
    checkbox("Done", checked=Fields.done, on_change=Fields.set_done, disabled=Fields.locked),
    textarea(value=Fields.note, on_change=Fields.set_note, aria_label="Note"),
    select(
        cond(
            Fields.has_large,
            el("optgroup", *(el("option", one, value=one) for one in "sml")),
            el("optgroup", *(el("option", one, value=one) for one in "sm")),
        ),
        value=Fields.size,
        on_change=Fields.set_size,
        aria_label="Size",
    ),
    select(
        [("a", "Apple"), ("b", "Pear"), "c"],
        multiple=True,
        value=Fields.tags,
        on_change=Fields.set_tags,
        aria_label="Tags",
    ),
    select(["x", "y"], value="y", aria_label="Fixed"),
    select(["m", Fields.size], value=Fields.size, aria_label="Bound"),
    textarea(value="as given", aria_label="Given"),
    slider(
        value=Fields.volume, max=Fields.most, on_change=Fields.set_volume, aria_label="Volume"
    ),
    *(
        radio(
            color,
            name="color",
            value=color,
            checked=Fields.color == color,
            on_change=Fields.set_color,
        )
        for color in ["red", "green", "blue"]
    ),
    button("Widen", on_click=Fields.widen),
    button("Paint", on_click=Fields.paint),
    button("Grow", on_click=Fields.grow),
    button("Offer", on_click=Fields.offer),
    button("Lock", on_click=Fields.lock),
    text(Fields.color, id="color"),
)


@dataclass
class Person:
    name: str
    awake: bool


class Desk(State):
    saved: dict = {}
    title: str = "Old"
    saves: int = 0
    person: str = ""

    def save(self, fields: dict):
        self.saved = fields
        self.saves += 1

    def retitle(self, fields: dict[str, str]):
        if fields["title"] == "bad":
            raise ValueError("no such title")
        self.title = fields["title"].upper()
        self.saves += 1

    def meet(self, person: Person):
        self.person = person.name + (" is awake" if person.awake else " sleeps")

    def touch(self):
        self.saves += 1


everything = vstack(
    form(
        input(name="name", aria_label="Name"),
        input(name="second", aria_label="Second"),
        number_input(name="age", value=7),
        textarea(name="note", value="two\\nlines"),
        checkbox("Agreed", name="agreed"),
        checkbox("Red", name="colors", value="red"),
        checkbox("Green", name="colors", value="green", checked=True),
        checkbox("Blue", name="colors", value="blue", checked=True),
        radio("S", name="size", value="s"),
        radio("M", name="size", value="m"),
        el("input", type="radio", name="none", value="m"),
        select(["x", "y"], name="one", value="y"),
        select(["x", "y", "z"], name="many", multiple=True, value=["x", "z"]),
        slider(name="volume", value=30),
        el("input", type="hidden", name="row", value=3),
        input(name="off", value="x", disabled=True),
        input(value="without a name"),
        input(name="__proto__", value="plain"),
        button("Plain", name="plain", value="x"),
        button("Save", type="submit", name="way", value="saved"),
        button("Keep", type="submit", name="way", value="kept"),
        on_submit=Desk.save,
    ),
)

titled = vstack(
    heading(Desk.title),
    form(
        input(name="title", value=Desk.title, required=True, aria_label="Title"),
        button("Save", type="submit"),
        button("Reset", type="reset"),
        on_submit=Desk.retitle,
    ),
    button("Touch", on_click=Desk.touch),
    text(Desk.saves, id="saves"),
)

cleared = vstack(
    form(
        input(name="title", required=True, aria_label="Title"),
        button("Save", type="submit"),
        on_submit=Desk.retitle,
        reset_on_submit=True,
    ),
    text(Desk.saves, id="saves"),
)

meeting = vstack(
    form(
        input(name="name", aria_label="Name"),
        checkbox("Awake", name="awake"),
        on_submit=Desk.meet,
    ),
    form(input(aria_label="Bare")),
    form(el("input", type="file", name="file"), button("Send", type="submit"), on_submit=Desk.save),
    heading(Desk.person),
)


bare = form(
    input(name="a", aria_label="A"),
    number_input(name="b", aria_label="B", required=True),
    on_submit=Desk.save,
)


class Log(State):
    lines: list[str] = []
    typed: str = ""
    volume: int = 0
    number: int = 1
    shown: bool = True

    def write(self, line: str):
        self.lines = [*self.lines, line]

    def note(self, what: str, value: str):
        self.write(what + " " + value)


class Elsewhere(State):
    token: str = ""

    async def overwrite(self):
        async with current_app().modify_state(self.token) as state:
            state.get_substate(Log).typed = "from elsewhere"

    async def hide(self):
        async with current_app().modify_state(self.token) as state:
            state.get_substate(Log).shown = False


elsewhere = vstack(
    input(value=Elsewhere.token, on_change=Elsewhere.set_token, aria_label="Token"),
    button("Overwrite", on_click=Elsewhere.overwrite),
    button("Hide", on_click=Elsewhere.hide),
)


listening = vstack(
    input(
        value="abc",
        aria_label="Field",
        on_focus=Log.note("focus"),
        on_blur=Log.note("blur"),
        on_key_down=Log.note("key"),
    ),
    vstack(
        button("One"),
        button("Two"),
        on_focus=Log.write("came"),
        on_blur=Log.write("left"),
    ),
    input(value=Log.typed, on_blur=Log.set_typed, aria_label="On leaving"),
    text(Log.typed, id="typed"),
)

pacing = vstack(
    cond(
        Log.shown,
        input(value=Log.typed, on_change=Log.set_typed.debounce(0.3), aria_label="Debounced"),
        "gone",
    ),
    slider(value=Log.volume, on_change=Log.set_volume.throttle(0.1), aria_label="Throttled"),
    number_input(value=Log.number, on_change=Log.set_number.debounce(0.3), aria_label="Number"),
    button("Throttled", on_click=Log.write("throttled").throttle(1)),
    button("Both", on_click=Log.write("both").debounce(0.2).throttle(1)),
    button("Other", on_click=Log.write("other")),
)

# Where a test sets the clock forward by hours, a page would take its server for gone.
app = App(connections=ConnectionLimits(ping_interval=math.inf))
app.add_page(elsewhere, "/elsewhere")
app.add_page(fields, "/fields")
app.add_page(everything, "/everything")
app.add_page(titled, "/titled")
app.add_page(cleared, "/cleared")
app.add_page(meeting, "/meeting")
app.add_page(bare, "/bare")
app.add_page(listening, "/listening")
app.add_page(pacing, "/pacing")
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("forms")
    (folder / "lab.py").write_text(LAB)
    with Server(folder / "lab.py", folder) as server:
        yield server
    assert_content(server, but_for="Desk.retitle failed")


def vars_of(page: Page, state: str) -> dict[str, Any]:
    return state_of(page)[f"state.{state}"]


def settled(page: Page, state: str) -> dict[str, Any]:
    """Give the vars of a state when the server has done all that was sent."""
    eventually(page, lambda: pending(page) == 0)
    return vars_of(page, state)


# ---- Fields -------------------------------------------------------------------------------------


@pytest.fixture
def fields(visitor: Visitor, lab: Server) -> Page:
    return visitor.open(lab.url + "/fields")


def test_fields_show_the_state_and_what_was_given(fields: Page):
    expect(fields.get_by_label("Done")).not_to_be_checked()
    expect(fields.get_by_label("Size")).to_have_value("m")
    expect(fields.get_by_label("Tags")).to_have_values(["b"])
    expect(fields.get_by_label("Fixed")).to_have_value("y")
    expect(fields.get_by_label("Given")).to_have_value("as given")
    expect(fields.get_by_label("Volume")).to_have_value("20")
    expect(fields.get_by_label("green")).to_be_checked()


def test_fields_send_values_of_their_own_types(fields: Page):
    fields.get_by_label("Done").check()
    fields.get_by_label("Note").fill("two\nlines")
    fields.get_by_label("Size").select_option("s")
    fields.get_by_label("Tags").select_option(["a", "c"])
    fields.get_by_label("Volume").fill("30")
    fields.get_by_label("red").check()

    assert settled(fields, "fields") == {
        "done": True,
        "locked": False,
        "note": "two\nlines",
        "size": "s",
        "color": "red",
        "tags": ["a", "c"],
        "volume": 30,
        "most": 50,
        "has_large": False,
    }
    fields.reload()
    expect(fields.get_by_label("Tags")).to_have_values(["a", "c"])
    expect(fields.get_by_label("red")).to_be_checked()


def test_radio_buttons_follow_the_state_as_one(fields: Page):
    fields.get_by_label("red").check()
    expect(fields.locator("#color")).to_have_text("red")

    press(fields, "Paint")

    expect(fields.get_by_label("blue")).to_be_checked()
    expect(fields.get_by_label("red")).not_to_be_checked()


def test_a_choice_shows_what_is_chosen_as_soon_as_it_is_offered(fields: Page):
    press(fields, "Grow")
    eventually(fields, lambda: vars_of(fields, "fields")["size"] == "l")
    expect(fields.get_by_label("Size")).to_have_value("")
    expect(fields.get_by_label("Bound")).to_have_value("l")

    press(fields, "Offer")

    expect(fields.get_by_label("Size")).to_have_value("l")


def test_a_slider_moves_with_its_limits(fields: Page):
    press(fields, "Widen")

    expect(fields.get_by_label("Volume")).to_have_value("120")


def test_what_is_disabled_follows_the_state(fields: Page):
    expect(fields.get_by_label("Done")).to_be_enabled()

    press(fields, "Lock")

    expect(fields.get_by_label("Done")).to_be_disabled()


# ---- Forms --------------------------------------------------------------------------------------


def test_a_form_sends_its_named_fields_and_stays_where_it_is(visitor: Visitor, lab: Server):
    page = visitor.open(lab.url + "/everything")
    page.evaluate("() => { window.isSamePage = true; }")
    page.get_by_label("Name").fill("Ada")
    page.get_by_label("Agreed").check()
    page.get_by_label("Blue").uncheck()
    page.get_by_label("M", exact=True).check()

    press(page, "Keep")

    assert settled(page, "desk")["saved"] == {
        "name": "Ada",
        "second": "",
        "age": "7",
        "note": "two\nlines",
        "agreed": True,
        "colors": ["green"],
        "size": "m",
        "none": None,
        "one": "y",
        "many": ["x", "z"],
        "volume": "30",
        "row": "3",
        "way": "kept",
    }
    hidden = "actorstate.state['state.desk'].saved.__proto__"
    assert page.evaluate(f"() => {hidden}") == "plain"
    assert page.evaluate("() => isSamePage")
    expect(page.get_by_label("Name")).to_have_value("Ada")


def test_enter_in_a_field_submits_its_form(visitor: Visitor, lab: Server):
    page = visitor.open(lab.url + "/everything")
    page.get_by_label("Second").fill("b")

    page.get_by_label("Second").press("Enter")

    saved = settled(page, "desk")["saved"]
    assert (saved["second"], saved["way"]) == ("b", "saved")  # by its first button that submits


def test_enter_submits_a_form_without_a_button_too(visitor: Visitor, lab: Server):
    page = visitor.open(lab.url + "/bare")
    page.get_by_label("A").fill("x")
    page.get_by_label("A").press("Enter")  # but b is required
    page.get_by_label("B").fill("2")

    page.get_by_label("B").press("Enter")

    desk = settled(page, "desk")
    assert (desk["saved"], desk["saves"]) == ({"a": "x", "b": "2"}, 1)


@pytest.fixture
def titled(visitor: Visitor, lab: Server) -> Page:
    page = visitor.open(lab.url + "/titled")
    expect(title(page)).to_have_value("Old")
    return page


def title(page: Page) -> Locator:
    return page.get_by_label("Title")


def test_what_is_typed_into_a_form_stays_until_it_is_submitted(titled: Page):
    title(titled).fill("new")
    title(titled).press("Tab")
    press(titled, "Touch")
    expect(titled.locator("#saves")).to_have_text("1")
    expect(title(titled)).to_have_value("new")

    press(titled, "Save")

    expect(title(titled)).to_have_value("NEW")  # the state again, whatever the handler made of it
    expect(titled.get_by_role("heading")).to_have_text("NEW")


def test_what_was_refused_stays_in_the_form(titled: Page, visitor: Visitor):
    title(titled).fill("bad")
    press(titled, "Save")
    expect(toasts(titled)).to_be_visible()

    press(titled, "Touch")
    expect(titled.locator("#saves")).to_have_text("1")

    expect(title(titled)).to_have_value("bad")
    visitor.expect_complaints("handler_failed")


def test_a_form_that_is_reset_shows_the_state(titled: Page):
    title(titled).fill("new")

    press(titled, "Reset")

    expect(title(titled)).to_have_value("Old")


def test_the_browser_checks_a_form_before_it_is_sent(titled: Page):
    title(titled).fill("")
    version = version_of(titled)

    press(titled, "Save")
    press(titled, "Touch")

    expect(titled.locator("#saves")).to_have_text("1")
    assert version_of(titled) == version + 1


def test_a_form_is_cleared_when_it_was_done_and_not_when_it_failed(visitor: Visitor, lab: Server):
    page = visitor.open(lab.url + "/cleared")
    title(page).fill("bad")
    title(page).press("Enter")
    expect(toasts(page)).to_be_visible()
    eventually(page, lambda: pending(page) == 0)
    expect(title(page)).to_have_value("bad")

    title(page).fill("good")
    title(page).press("Enter")

    expect(page.locator("#saves")).to_have_text("1")
    expect(title(page)).to_have_value("")
    visitor.expect_complaints("handler_failed")


def test_the_fields_of_a_form_may_be_a_dataclass(visitor: Visitor, lab: Server):
    page = visitor.open(lab.url + "/meeting")
    page.get_by_label("Awake").check()
    page.get_by_label("Name").fill("Ada")

    page.get_by_label("Name").press("Enter")

    expect(page.get_by_role("heading")).to_have_text("Ada is awake")


def test_a_form_without_a_handler_does_not_load_the_page_again(visitor: Visitor, lab: Server):
    page = visitor.open(lab.url + "/meeting")
    page.evaluate("() => { window.isSamePage = true; }")

    page.get_by_label("Bare").press("Enter")
    page.get_by_label("Name").press("Enter")

    expect(page.get_by_role("heading")).to_have_text(" sleeps")
    assert page.evaluate("() => isSamePage")


def test_files_are_not_sent_and_the_console_says_so(visitor: Visitor, lab: Server):
    page = visitor.open(lab.url + "/meeting")

    press(page, "Send")

    assert settled(page, "desk")["saved"] == {}
    assert len(visitor.complaints) == 1
    visitor.expect_complaints("files are not sent")


# ---- Events -------------------------------------------------------------------------------------


@pytest.fixture
def listening(visitor: Visitor, lab: Server) -> Page:
    return visitor.open(lab.url + "/listening")


def test_focus_and_keys_are_sent_in_the_order_in_which_they_come(listening: Page):
    field = listening.get_by_label("Field")
    field.focus()
    field.press("End")
    field.press("d")
    field.blur()

    assert settled(listening, "log")["lines"] == [
        "focus abc",
        "key End",
        "key d",
        "blur abcd",
    ]


def test_the_focus_may_move_within_an_element(listening: Page):
    listening.get_by_text("One").focus()
    listening.get_by_text("Two").focus()
    listening.get_by_label("On leaving").focus()

    assert settled(listening, "log")["lines"] == ["came", "left"]


def test_a_field_may_send_what_was_typed_when_it_is_left(listening: Page):
    field = listening.get_by_label("On leaving")
    field.press_sequentially("all of it")
    assert settled(listening, "log")["typed"] == ""

    field.press("Tab")

    expect(listening.locator("#typed")).to_have_text("all of it")
    expect(field).to_have_value("all of it")


# ---- Pace ---------------------------------------------------------------------------------------

RECORD_EVENTS: Final = """
window.sent = [];
const { send } = WebSocket.prototype;
WebSocket.prototype.send = function (text) {
    const frame = JSON.parse(text);
    if (frame.t === "event") window.sent.push([frame.name.split(".").at(-1), ...frame.args]);
    send.call(this, text);
};
"""

NOON: Final = 43_200_000  # ms, long after the page was loaded


@pytest.fixture
def pacing(visitor: Visitor, lab: Server) -> Page:
    """A tab in which time stands still, and which records the events that it sends."""

    def prepare(page: Page) -> None:
        page.clock.install(time=0)
        page.add_init_script(RECORD_EVENTS)

    page = visitor.open(lab.url + "/pacing", prepare=prepare)
    page.clock.pause_at(NOON / 1000)
    expect(debounced(page)).to_have_value("")
    return page


def debounced(page: Page) -> Locator:
    return page.get_by_label("Debounced")


def sent(page: Page) -> list[list[object]]:
    return page.evaluate("() => sent")


def test_a_debounced_text_is_sent_after_a_pause_and_once(pacing: Page):
    debounced(pacing).press_sequentially("a")
    pacing.clock.run_for(200)
    debounced(pacing).press_sequentially("b")
    pacing.clock.run_for(299)
    assert sent(pacing) == []

    pacing.clock.run_for(1)

    assert sent(pacing) == [["set_typed", "ab"]]
    pacing.clock.run_for(1000)
    assert settled(pacing, "log")["typed"] == "ab"
    assert len(sent(pacing)) == 1


@pytest.mark.parametrize(
    "end",
    [
        lambda page: debounced(page).press("Tab"),
        lambda page: debounced(page).press("Enter"),
        lambda page: page.evaluate(
            """() => {
                Object.defineProperty(document, "hidden", { value: true });
                document.dispatchEvent(new Event("visibilitychange"));
            }"""
        ),
        lambda page: page.evaluate("() => { dispatchEvent(new Event('pagehide')); }"),
    ],
    ids=["the field is left", "enter", "the page is hidden", "the page is left"],
)
def test_what_waits_is_sent_at_once_when(pacing: Page, end: Callable[[Page], object]):
    debounced(pacing).press_sequentially("ab")

    end(pacing)

    assert sent(pacing) == [["set_typed", "ab"]]


def test_what_waits_is_sent_before_the_click_that_follows(pacing: Page):
    debounced(pacing).press_sequentially("ab")
    # Not by a mouse, which would leave the field first.
    pacing.evaluate("() => [...document.querySelectorAll('button')].at(2).click()")

    assert sent(pacing) == [["set_typed", "ab"], ["write", "other"]]
    pacing.clock.run_for(1000)
    assert len(sent(pacing)) == 2


def open_elsewhere(page: Page, visitor: Visitor, lab: Server) -> Page:
    """Open another tab, from which the state of a page can be changed."""
    elsewhere = visitor.open(lab.url + "/elsewhere")
    elsewhere.get_by_label("Token").fill(token_of(page))
    return elsewhere


def test_a_text_that_waits_is_not_overwritten(pacing: Page, visitor: Visitor, lab: Server):
    elsewhere = open_elsewhere(pacing, visitor, lab)
    debounced(pacing).press_sequentially("ab")

    press(elsewhere, "Overwrite")
    eventually(pacing, lambda: vars_of(pacing, "log")["typed"] == "from elsewhere")
    expect(debounced(pacing)).to_have_value("ab")
    pacing.clock.run_for(300)

    assert settled(pacing, "log")["typed"] == "ab"


def test_what_waits_is_sent_though_its_element_is_gone(pacing: Page, visitor: Visitor, lab: Server):
    elsewhere = open_elsewhere(pacing, visitor, lab)
    debounced(pacing).press_sequentially("ab")

    press(elsewhere, "Hide")
    expect(debounced(pacing)).to_have_count(0)
    pacing.clock.run_for(300)

    assert settled(pacing, "log")["typed"] == "ab"


def test_a_settled_number_waits_until_enter_is_pressed(pacing: Page):
    field = pacing.get_by_label("Number")
    field.press("ArrowUp")
    field.press("ArrowUp")
    assert sent(pacing) == []

    field.press("Enter")

    assert sent(pacing) == [["set_number", "3"]]


def test_a_throttled_slider_sends_the_first_and_then_the_last_of_each_interval(pacing: Page):
    slider = pacing.get_by_label("Throttled")
    box = slider.bounding_box()
    assert box is not None

    def drag(part: float) -> int:
        pacing.mouse.move(box["x"] + box["width"] * part, box["y"] + box["height"] / 2)
        return int(slider.input_value())

    drag(0.2)
    pacing.mouse.down()
    first = int(slider.input_value())
    drag(0.3)
    second = drag(0.4)
    assert sent(pacing) == [["set_volume", first]]

    pacing.clock.run_for(100)
    assert sent(pacing) == [["set_volume", first], ["set_volume", second]]
    pacing.clock.run_for(1000)
    third = drag(0.5)
    assert sent(pacing)[2:] == [["set_volume", third]]

    drag(0.6)
    last = drag(0.7)
    pacing.mouse.up()
    assert len(sent(pacing)) == 3
    pacing.clock.run_for(100)
    assert sent(pacing)[3:] == [["set_volume", last]]
    assert settled(pacing, "log")["volume"] == last


def test_a_slider_keeps_its_pace_when_it_is_moved_by_keys(pacing: Page):
    slider = pacing.get_by_label("Throttled")
    for _ in range(5):
        slider.press("ArrowRight")
    assert sent(pacing) == [["set_volume", 1]]

    pacing.clock.run_for(100)

    assert sent(pacing) == [["set_volume", 1], ["set_volume", 5]]


def test_a_throttled_click_is_dropped_within_the_interval(pacing: Page):
    for _ in range(3):
        press(pacing, "Throttled")
    assert sent(pacing) == [["write", "throttled"]]
    pacing.clock.run_for(999)
    press(pacing, "Throttled")
    assert len(sent(pacing)) == 1

    pacing.clock.run_for(1)
    press(pacing, "Throttled")

    pacing.clock.run_for(5000)
    assert sent(pacing) == [["write", "throttled"]] * 2


def test_debounced_and_throttled_waits_for_both(pacing: Page):
    press(pacing, "Both")
    pacing.clock.run_for(200)
    assert sent(pacing) == [["write", "both"]]

    press(pacing, "Both")
    pacing.clock.run_for(999)
    assert len(sent(pacing)) == 1
    pacing.clock.run_for(1)

    assert sent(pacing) == [["write", "both"]] * 2
