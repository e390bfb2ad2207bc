"""Files in Reflex's API as a person meets them: a real browser, a real server process.

The kettle of the examples does what the two examples of Reflex's page about background tasks do: a
task that is started, stopped, reset and given another limit while it runs, and a task of asyncio
that fetches a text and shows it through `modify_state`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import pytest
from browser import (
    DEMO,
    ROOT,
    Server,
    Visitor,
    assert_content,
    eventually,
    pending,
    press,
    record,
    state_of,
    toasts,
    token_of,
    version_of,
)
from playwright.sync_api import Locator, Page, expect

from actorstate.ui.props import _ATTRIBUTES, _STYLES

KETTLE: Final = ROOT / "examples" / "kettle.py"

TEA: Final = "Today: Lapsang Souchong"

LAB: Final = """
import asyncio

import actorstate.reflex as rx


class Lab(rx.State):
    told: dict[str, str]
    shade: str = "rgb(1, 2, 3)"
    order: list[str]
    chosen: str = "b"
    agreed: bool

    def tell(self):
        session, page = self.router.session, self.router.page
        self.told = {
            "token": session.client_token,
            "session": session.session_id,
            "query": page.params.get("q", ""),
            "raw": page.raw_path,
        }

    def darken(self):
        self.shade = "rgb(0, 0, 0)"

    def leave(self):
        return rx.redirect("/about-us")

    async def note(self, word: str):
        async def later():
            await asyncio.sleep(0.01)
            return word

        self.order.append("".join(await asyncio.gather(later(), later())))

    def note_twice(self):
        yield Lab.note("a")
        yield Lab.note("b")

    @rx.event(background=True)
    async def gather(self):
        async def put(word: str):
            async with self:
                self.order.append(word)

        await asyncio.gather(put("x"), put("y"), put("z"))

    @rx.event(background=True)
    async def spoil(self):
        try:
            self.order = []
        except rx.state.ImmutableStateError:
            async with self:
                self.order.append("refused")


@rx.page(route="/", title="The lab", on_load=Lab.tell)
def index() -> rx.Component:
    return rx.vstack(
        rx.heading("Lab", size="9"),
        rx.box("box", id="box", width=120, background_color=Lab.shade, margin_x="1em"),
        rx.text(Lab.order.join(" "), id="order"),
        rx.button("Darken", on_click=Lab.darken),
        rx.button("Leave", on_click=Lab.leave),
        rx.button("Twice", on_click=Lab.note_twice),
        rx.button("Gather", on_click=Lab.gather),
        rx.button("Spoil", on_click=Lab.spoil),
        rx.select(["a", "b"], value=Lab.chosen, on_change=Lab.set_chosen, aria_label="Choice"),
        rx.checkbox("Agreed", checked=Lab.agreed, on_change=Lab.set_agreed),
        rx.foreach(Lab.order, lambda word, index: rx.text(index, ": ", word, class_name="row")),
        rx.match(Lab.chosen, ("a", rx.text("first")), rx.text("another")),
        spacing="4",
    )


@rx.page(title="About")
def about_us():
    return rx.el.section(rx.heading("About us", as_="h2"), id="about")


app = rx.App()
"""


@pytest.fixture(scope="module")
def kettle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(KETTLE, tmp_path_factory.mktemp("kettle")) as server:
        yield server
    assert_content(server)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("lab")
    (folder / "lab_of_reflex.py").write_text(LAB)
    with Server(folder / "lab_of_reflex.py", folder) as server:
        yield server
    assert_content(server)


# ---- The kettle ---------------------------------------------------------------------------------


def shown(page: Page) -> Locator:
    return page.locator("#degrees")


def degrees(page: Page) -> int:
    return int(shown(page).inner_text().removesuffix(" of"))


def set_target(page: Page, value: str) -> None:
    page.get_by_label("Target").fill(value)
    page.get_by_label("Target").press("Enter")


def wait_for_heat(page: Page, more: int = 10) -> None:
    wanted = degrees(page) + more
    eventually(page, lambda: degrees(page) >= wanted)


@pytest.fixture
def page(visitor: Visitor, kettle: Server) -> Page:
    page = visitor.open(kettle.url)
    expect(shown(page)).to_have_text("20 of")
    return page


def test_the_kettle_heats_step_by_step_to_its_target(page: Page):
    set_target(page, "33")
    read = record(shown(page))
    read_labels = record(page.get_by_role("button").first)

    press(page, "Heat")

    eventually(page, lambda: read_labels() == ["Heat", "Stop", "Heat"])
    assert read() == ["20 of", "25 of", "30 of", "33 of"]


def test_it_can_be_stopped_and_stays_where_it_is(page: Page, visitor: Visitor, kettle: Server):
    clock = visitor.open(kettle.url)
    set_target(clock, "10000")
    press(clock, "Heat")
    press(page, "Heat")
    wait_for_heat(page)

    press(page, "Stop")
    expect(page.get_by_role("button", name="Heat")).to_be_visible()
    eventually(page, lambda: pending(page) == 0)
    stopped_at = shown(page).inner_text()
    wait_for_heat(clock)

    expect(shown(page)).to_have_text(stopped_at)


def test_it_can_be_poured_while_it_heats_and_heats_on(page: Page):
    set_target(page, "10000")
    press(page, "Heat")
    wait_for_heat(page)
    read = record(shown(page))

    press(page, "Pour")

    eventually(page, lambda: "20 of" in read() and degrees(page) >= 30)
    after = read()[read().index("20 of") :]
    assert after == [f"{20 + 5 * step} of" for step in range(len(after))]
    expect(page.get_by_role("button", name="Stop")).to_be_visible()


def test_its_target_can_be_changed_while_it_heats(page: Page):
    set_target(page, "10000")
    press(page, "Heat")
    wait_for_heat(page, 5)
    target = degrees(page) + 12

    set_target(page, str(target))

    expect(shown(page)).to_have_text(f"{target} of")
    expect(page.get_by_role("button", name="Heat")).to_be_visible()
    assert state_of(page)["state.kettle_state"]["target"] == target


def test_started_and_stopped_in_haste_it_heats_once(page: Page):
    set_target(page, "10000")
    for name in ("Heat", "Stop", "Heat", "Stop", "Heat"):
        press(page, name)
    read = record(shown(page))
    wait_for_heat(page, 20)
    seen = [int(text.removesuffix(" of")) for text in read()]
    assert seen == list(range(seen[0], seen[-1] + 5, 5))


def test_a_second_tab_has_a_kettle_of_its_own(page: Page, visitor: Visitor, kettle: Server):
    set_target(page, "10000")
    press(page, "Heat")
    other = visitor.open(kettle.url, beside=page)
    version = version_of(other)

    wait_for_heat(page)

    expect(shown(other)).to_have_text("20 of")
    expect(other.get_by_label("Target")).to_have_value("100")
    expect(other.get_by_role("button", name="Heat")).to_be_visible()
    assert version_of(other) == version
    assert token_of(other) != token_of(page)


def test_what_is_fetched_appears_while_it_heats(page: Page, visitor: Visitor, kettle: Server):
    other = visitor.open(kettle.url, beside=page)
    set_target(page, "10000")
    press(page, "Heat")

    press(page, "Which tea?")

    expect(page.get_by_text(TEA)).to_be_visible()
    wait_for_heat(page)
    expect(other.get_by_text(TEA)).to_have_count(0)


def test_a_reload_finds_the_kettle_heating(page: Page):
    set_target(page, "10000")
    press(page, "Heat")
    wait_for_heat(page)
    page.reload()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    wait_for_heat(page)


def test_the_width_of_the_field_is_the_one_that_was_given(page: Page):
    field = page.get_by_label("Target")
    assert field.evaluate("node => node.style.width") == "8em"
    assert field.evaluate("node => node.getAttribute('width')") is None
    assert field.bounding_box()["width"] == 128  # pyright: ignore
    assert shown(page).get_attribute("id") == "degrees"


def test_text_that_is_no_number_is_refused(page: Page, visitor: Visitor):
    page.get_by_label("Target").evaluate("node => { node.type = 'text'; }")
    set_target(page, "hot")
    expect(toasts(page)).to_be_visible()
    assert state_of(page)["state.kettle_state"]["target"] == 100
    visitor.expect_complaints("bad_arguments")


def test_the_demo_has_the_kettle_beside_pages_of_our_own(
    visitor: Visitor, tmp_path_factory: pytest.TempPathFactory
):
    with Server(DEMO, tmp_path_factory.mktemp("demo")) as demo:
        page = visitor.open(demo.url)
        press(page, "Start")
        page.get_by_role("link", name="Kettle").click()
        expect(shown(page)).to_have_text("20 of")
        press(page, "Heat")
        press(page, "Which tea?")
        expect(page.get_by_text(TEA)).to_be_visible()
        wait_for_heat(page)
        page.get_by_role("link", name="Background task").click()
        expect(page.get_by_role("heading")).not_to_be_empty()
        eventually(page, lambda: int(page.get_by_role("heading").inner_text()[0]) > 0)
        assert_content(demo)
        page.close()  # before the server stops, which it would be right to complain of


# ---- The lab ------------------------------------------------------------------------------------


@pytest.fixture
def bench(visitor: Visitor, lab: Server) -> Page:
    return visitor.open(f"{lab.url}/?q=tea")


def order(page: Page) -> Locator:
    return page.locator("#order")


def test_a_decorated_page_is_served_and_what_it_runs_on_load_knows_the_router(bench: Page):
    expect(bench).to_have_title("The lab")
    told = eventually(bench, lambda: state_of(bench)["state.lab"]["told"])
    assert told["token"] == token_of(bench)
    assert told["query"] == "tea"
    assert told["raw"] == "/?q=tea"
    assert told["session"]


def test_a_handler_sends_the_browser_to_another_decorated_page(bench: Page):
    press(bench, "Leave")
    expect(bench).to_have_url(re.compile("/about-us$"))
    expect(bench).to_have_title("About")
    expect(bench.locator("#about h2")).to_have_text("About us")


def test_styles_are_set_under_the_policy_and_follow_vars(bench: Page):
    box = bench.locator("#box")
    expect(box).to_have_css("background-color", "rgb(1, 2, 3)")
    expect(box).to_have_css("width", "120px")
    expect(box).to_have_css("margin-left", "16px")
    assert box.get_attribute("width") is None
    press(bench, "Darken")
    expect(box).to_have_css("background-color", "rgb(0, 0, 0)")
    expect(bench.locator(".as-vstack")).to_have_css("gap", "16px")


def test_handlers_that_are_yielded_run_in_order_and_await_asyncio(bench: Page):
    press(bench, "Twice")
    expect(order(bench)).to_have_text("aa bb")
    expect(bench.locator(".row")).to_have_text(["0: aa", "1: bb"])


def test_coroutines_that_are_gathered_enter_the_state_one_by_one(bench: Page):
    press(bench, "Gather")
    eventually(bench, lambda: sorted(order(bench).inner_text().split()) == ["x", "y", "z"])


def test_a_task_that_writes_outside_of_its_block_is_refused(bench: Page):
    press(bench, "Spoil")
    expect(order(bench)).to_have_text("refused")


def test_fields_are_bound_both_ways(bench: Page):
    expect(bench.get_by_text("another")).to_be_visible()
    bench.get_by_label("Choice").select_option("a")
    expect(bench.get_by_text("first")).to_be_visible()
    bench.get_by_label("Agreed").check()
    eventually(bench, lambda: state_of(bench)["state.lab"]["agreed"])


# ---- Names of HTML and CSS ----------------------------------------------------------------------


def test_the_browser_knows_the_styles_by_their_names(bench: Page):
    unknown = bench.evaluate(
        "names => names.filter((name) => !CSS.supports(name, 'inherit'))", sorted(_STYLES)
    )
    assert unknown == []


def test_the_browser_knows_no_other_attribute_as_a_style(bench: Page):
    """Else a keyword could mean either; these are attributes, whatever CSS may call so."""
    known = bench.evaluate(
        "names => names.filter((name) => CSS.supports(name, 'inherit'))", sorted(_ATTRIBUTES)
    )
    assert set(known) <= {"size"}
    assert not _ATTRIBUTES & _STYLES
