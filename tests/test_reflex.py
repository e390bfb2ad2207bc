"""Reflex's names: what each of them is here, row by row of docs/coming-from-reflex.md."""

from __future__ import annotations

import gc
import importlib
import re
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from clients import Client

import actorstate
import actorstate.reflex as rx
from actorstate import PageError, StateDefinitionError, ui
from actorstate.actors.messages import Attach, Event
from actorstate.reflex.states import _OF_REFLEX
from actorstate.state.expressions import Expression
from actorstate.state.router import Router

GUIDE = Path(__file__).parent.parent / "docs" / "coming-from-reflex.md"

TOKEN = "tab"  # noqa: S105 - a name, to the library


class Root(rx.State, root=True):
    pass


class Kettle(Root):
    degrees: int = 20
    target: int = 100
    heating: bool = False
    log: list[str] = []
    _heaters: int = 0

    @rx.background
    async def heat(self):
        async with self:
            if self._heaters > 0:
                return
            self._heaters += 1
        while True:
            async with self:
                self.heating = self.heating and self.degrees < self.target
                if not self.heating:
                    self._heaters -= 1
                    return
                self.degrees += 20
            await trio.lowlevel.checkpoint()

    @rx.event(background=True)
    async def listen(self, word: str):
        async with self:
            self.log.append(word)

    @rx.event
    def switch(self):
        self.heating = not self.heating
        if self.heating:
            return Kettle.heat
        return None

    def pour(self):
        self.degrees = 20
        return rx.redirect("/cup")

    def note_page(self):
        session, page, headers = self.router.session, self.router.page, self.router.headers
        self.log = [
            session.client_token, session.client_ip, session.session_id,
            page.host, page.path, page.raw_path, page.full_path, page.full_raw_path,
            headers.user_agent, headers.host, headers.accept_language,
        ]  # fmt: skip
        self.log += [page.params["cups"], headers.raw_headers["user-agent"]]

    def refer(self):
        self.log = [self.get_token()]

    async def look(self):
        other = await self.get_state(Cup)
        other.milk = True


class Cup(Root):
    milk: bool = False
    sugar: rx.Field[int] = rx.field(2)
    spoons: rx.Field[list[str]] = rx.field(default_factory=lambda: ["tea"])

    @rx.var
    def told(self) -> str:
        return f"{self.sugar} sugar" + (", milk" if self.milk else "")

    @rx.var(cache=True, initial_value=0)
    def bites(self) -> int:
        return self.sugar * 2

    @rx.var(cache=False, deps=["sugar"], auto_deps=False)
    async def slow(self) -> int:
        await trio.lowlevel.checkpoint()
        return self.sugar

    @rx.cached_var
    def where(self) -> str:
        return self.router.page.path


@pytest.fixture
async def app() -> AsyncIterator[rx.App]:
    async with rx.App(root=Root) as app:
        yield app


async def fire(app: rx.App, handler: str, *args: Any, instance: str = "page", seq: int = 1) -> None:
    sent = Event(f"root.{handler}", args, seq, instance)
    await app.directory.ref(TOKEN).ask(sent, block=False)


async def read(app: rx.App, of: Any) -> Any:
    async with app.modify_state(TOKEN) as state:
        return state.get_substate(of)


async def settled(app: rx.App) -> None:
    while app.background_tasks:
        await trio.testing.wait_all_tasks_blocked()


# ---- States -------------------------------------------------------------------------------------


async def test_a_background_task_runs_until_it_is_stopped_or_done(app: rx.App) -> None:
    await fire(app, "kettle.switch")
    await settled(app)
    kettle = await read(app, Kettle)
    assert (kettle.degrees, kettle.heating, kettle._heaters) == (100, False, 0)


async def test_an_event_marked_as_background_is_a_background_task(app: rx.App) -> None:
    assert Kettle.listen.is_background
    await fire(app, "kettle.listen", "boiling")
    await settled(app)
    assert (await read(app, Kettle)).log == ["boiling"]


async def test_changing_the_state_outside_of_a_block_raises_the_error_of_that_name(
    app: rx.App,
) -> None:
    kettle = await read(app, Kettle)
    with pytest.raises(rx.state.ImmutableStateError):
        kettle.degrees = 0
    assert rx.state.ImmutableStateError is actorstate.ImmutableStateError


async def test_the_low_level_way_finds_app_token_and_state_by_their_names(app: rx.App) -> None:
    found: list[Any] = []

    async def work() -> None:
        running = rx.utils.prerequisites.get_app().app
        async with running.modify_state(TOKEN) as state:
            kettle = state.get_substate(Kettle.get_full_name().split("."))
            kettle.degrees = 50
            found.append(kettle.get_token())

    app.start_soon(work)
    await trio.testing.wait_all_tasks_blocked()
    assert (await read(app, Kettle)).degrees == 50
    assert found == [TOKEN]


def test_there_is_no_app_where_none_runs() -> None:
    with pytest.raises(LookupError, match="no app is running here"):
        rx.utils.prerequisites.get_app()


async def test_the_router_has_its_facts_under_reflexs_names(app: rx.App) -> None:
    headers = {"origin": "http://tea.test", "user-agent": "a kettle", "host": "tea.test"}
    router = Router(TOKEN, "/kitchen", {"cups": "3"}, headers, "192.0.2.7", "s1")
    app.directory.ref(TOKEN).tell(Attach(Client("page", router)))
    await fire(app, "kettle.note_page")
    assert (await read(app, Kettle)).log == [
        TOKEN, "192.0.2.7", "s1",
        "http://tea.test", "/kitchen", "/kitchen?cups=3",
        "http://tea.test/kitchen", "http://tea.test/kitchen?cups=3",
        "a kettle", "tea.test", "", "3", "a kettle",
    ]  # fmt: skip


async def test_a_computed_var_follows_what_it_reads_of_the_router(app: rx.App) -> None:
    for path in ("/one", "/two"):
        app.directory.ref(TOKEN).tell(Attach(client := Client(path, Router(TOKEN, path))))
        await fire(app, "kettle.refer", instance=path)
        assert (await read(app, Cup)).where in ("", path)
        assert client.state["root.cup"]["told"] == "2 sugar"


async def test_vars_are_computed_with_and_without_a_cache_and_by_awaiting(app: rx.App) -> None:
    client = Client()
    app.directory.ref(TOKEN).tell(Attach(client))
    offered = Cup.set_sugar
    await fire(app, f"cup.{offered.name}", "5")
    assert client.state["root.cup"]["bites"] == 10
    assert client.state["root.cup"]["slow"] == 5
    assert client.state["root.cup"]["told"] == "5 sugar"


async def test_a_setter_reads_text_as_the_type_of_its_var(app: rx.App) -> None:
    assert Kettle.set_target.name == "set_target"
    await fire(app, "kettle.set_target", "80")
    assert (await read(app, Kettle)).target == 80
    app.directory.ref(TOKEN).tell(Attach(client := Client()))
    await fire(app, "kettle.set_target", "hot", seq=2)
    assert [failure.code for failure in client.failures] == ["bad_arguments"]
    assert (await read(app, Kettle)).target == 80


async def test_another_state_is_reached_by_its_class(app: rx.App) -> None:
    await fire(app, "kettle.look")
    assert (await read(app, Cup)).milk


async def test_a_handler_may_send_the_browser_elsewhere(app: rx.App) -> None:
    client = Client()
    app.directory.ref(TOKEN).tell(Attach(client))
    await fire(app, "kettle.pour")
    assert [effect.args["to"] for effect in client.effects] == ["/cup"]


def test_states_have_the_names_that_they_have_without_reflex() -> None:
    class NamedAsEver(rx.State):
        pass

    assert NamedAsEver.get_full_name() == "state.named_as_ever"
    assert actorstate.State.definition().substates.pop("named_as_ever") is NamedAsEver
    assert rx.State.get_full_name() == "state"


async def test_a_var_without_a_default_begins_empty_and_each_tab_has_its_own() -> None:
    class Blank(rx.State, root=True):
        number: int
        share: float
        name: str
        ready: bool
        items: list[str]
        table: dict[str, int]
        words: rx.Field[set[str]]
        nothings: dict[str, None]
        maybe: int | None
        _hidden: list[int]

    async with rx.App(root=Blank) as app:
        for token in ("a", "b"):
            async with app.modify_state(token) as state:
                assert isinstance(state, Blank)
                assert (state.number, state.share, state.name, state.ready) == (0, 0.0, "", False)
                assert (state.items, state.table, state.words) == ([], {}, set())
                assert (state.nothings, state.maybe, state._hidden) == ({}, None, [])
                state.items.append(token)


def test_a_type_that_has_no_empty_value_needs_a_default() -> None:
    with pytest.raises(StateDefinitionError, match="Bare.there has no default"):

        class Bare(rx.State, root=True):
            there: Cup | Kettle  # pyright: ignore


def test_a_mixin_gives_its_vars_and_handlers() -> None:
    class Counted(rx.State, mixin=True):
        times: int

        def count(self):
            self.times += 1

    class Bell(Counted, Root):
        pass

    assert Bell.definition().vars["times"].default == 0
    assert set(Bell.definition().handlers) == {"count"}
    del Root.definition().substates["bell"]


async def test_states_of_both_kinds_go_together_in_one_app() -> None:
    class Both(actorstate.State, root=True):
        pass

    class Ours(Both):
        count: int = 0

    class Theirs(rx.State, Both):  # pyright: ignore
        count: int

    async with actorstate.App(root=Both) as app, app.modify_state(TOKEN) as state:
        assert state.get_substate(Theirs).count == state.get_substate(Ours).count == 0


# ---- Elements -----------------------------------------------------------------------------------


def attributes(element: ui.Element) -> dict[str, Any]:
    return {**element.attributes.fixed, **element.attributes.bound}


def styles(element: ui.Element) -> dict[str, Any]:
    return {name: one.to_json()[1] for name, one in element.attributes.styles.items()}


def test_a_page_of_the_api_is_one_of_our_elements() -> None:
    heating: Any = Kettle.heating  # a type checker takes it for a bool, and warns of ~
    page = rx.hstack(
        rx.heading(Kettle.degrees, " °C"),
        rx.chakra.number_input(value=Kettle.target, on_change=Kettle.set_target, width="8em"),
        rx.button(rx.cond(~heating, "Heat", "Stop"), on_click=Kettle.switch),
    )
    assert isinstance(page, rx.Component)
    ours = ui.hstack(
        ui.heading(Kettle.degrees, " °C"),
        ui.number_input(
            value=Kettle.target, on_change=Kettle.set_target, style={"width": "8em"}
        ),
        ui.button(ui.cond(~heating, "Heat", "Stop"), on_click=Kettle.switch),
    )  # fmt: skip
    assert ui.render(page) == ui.render(ours)


def test_what_is_an_attribute_goes_to_the_element_and_what_is_a_style_to_its_style() -> None:
    made = rx.button(
        "x",
        id="go",
        class_name="wide",
        tab_index=3,
        aria_label="Go",
        data_cy="go",
        width="8em",
        max_width=Kettle.degrees,
        style={"fontSize": "2em", "z-index": 2},
        custom_attrs={"popovertarget": "more"},
    )
    assert attributes(made) == {
        "type": "button", "id": "go", "class": "wide", "tabindex": "3", "aria-label": "Go",
        "data-cy": "go", "popovertarget": "more",
    }  # fmt: skip
    shown = made.attributes.styles
    assert shown.keys() == {"width", "max-width", "font-size", "z-index"}
    assert isinstance(shown["max-width"], Expression)


@pytest.mark.parametrize(
    ("made", "styled"),
    [
        (lambda: rx.box(width=100), {"width": "100px"}),
        (lambda: rx.box(opacity=0.5, z_index=2), {"opacity": 0.5, "z-index": 2}),
        (lambda: rx.box(line_height=1.5, tab_size=4), {"line-height": 1.5, "tab-size": 4}),
        (lambda: rx.box(font_size=20, margin_top=0), {"font-size": "20px", "margin-top": "0px"}),
        (lambda: rx.box(border_top_left_radius=4), {"border-top-left-radius": "4px"}),
        (lambda: rx.box(bg="red", padding_x="1em"), {"background": "red", "padding-inline": "1em"}),
        (lambda: rx.vstack(spacing="4", align="end"), {"gap": "16px", "align-items": "end"}),
        (lambda: rx.hstack(spacing="1em"), {"gap": "1em"}),
        (
            lambda: rx.flex(justify="between"),
            {"display": "flex", "justify-content": "space-between"},
        ),
        (lambda: rx.flex(display="grid"), {"display": "grid"}),
        (lambda: rx.text("x", align="right"), {"text-align": "right"}),
        (rx.spacer, {"flex": "1"}),
        (lambda: rx.box(style={"--tint": "red"}), {"--tint": "red"}),
    ],
)
def test_styles_mean_what_they_mean_in_reflex(
    made: Callable[[], ui.Element], styled: dict[str, Any]
) -> None:
    assert styles(made()) == styled


def test_each_style_may_follow_a_var() -> None:
    made = rx.hstack(
        spacing=Kettle.degrees, justify=Kettle.log[0], width=rx.cond(Kettle.heating, 1, 2)
    )
    assert all(one.dependencies() for one in made.attributes.styles.values())


def test_a_style_that_is_no_dict_is_refused() -> None:
    for wrong in (Kettle.log, "width: 8em"):
        with pytest.raises(TypeError, match=r"rx.box\(style=\) takes a dict such as"):
            rx.box(style=wrong)


@pytest.mark.parametrize(
    ("made", "html"),
    [
        (lambda: rx.heading("x", as_="h3"), "<h3>x</h3>"),
        (lambda: rx.heading("x"), "<h1>x</h1>"),
        (lambda: rx.text("x", as_="span"), "<span>x</span>"),
        (lambda: rx.el.section("x", id="a"), '<section id="a">x</section>'),
        (lambda: rx.el.del_("x"), "<del>x</del>"),
        (lambda: rx.el.input(size=3), '<input size="3">'),
        (lambda: rx.input(size="3"), '<input type="text" data-size="3">'),
        (lambda: rx.button("x", color_scheme="red", is_disabled=True),
         '<button type="button" data-color-scheme="red" disabled>x</button>'),
        (lambda: rx.input(default_value="x", max_length=4, read_only=True),
         '<input type="text" value="x" maxlength="4" readonly>'),
        (lambda: rx.chakra.number_input(min_=0, max_=9), '<input type="number" min="0" max="9">'),
        (lambda: rx.link("x", href="/y", is_external=True),
         '<a href="/y" target="_blank">x</a>'),
        (lambda: rx.link("x", href="/y"), '<a href="/y">x</a>'),
        (lambda: rx.image(src="/x.png"), '<img src="/x.png" alt>'),
        (lambda: rx.select(["s", "m"]),
         '<select><option value="s">s</option><option value="m">m</option></select>'),
        (lambda: rx.unordered_list(rx.list_item("x")), "<ul><li>x</li></ul>"),
        (lambda: rx.form(rx.fragment("a", "b"), reset_on_submit=True),
         "<form data-as-reset>ab</form>"),
        (lambda: rx.el.label("x", html_for="y"), '<label for="y">x</label>'),
    ],
)  # fmt: skip
def test_elements_are_those_of_html(made: Callable[[], ui.Element], html: str) -> None:
    assert ui.render(made()) == html


def test_the_options_of_a_select_may_be_a_var() -> None:
    assert "data-as-foreach" in ui.render(rx.select(Kettle.log))


def test_what_rows_branches_and_cases_show_is_chosen_in_the_browser() -> None:
    rows = rx.foreach(Kettle.log, lambda word, index: rx.text(index, ". ", word))
    assert isinstance(rows, rx.Component)
    kind = rx.match(Kettle.degrees, (100, "boils"), (20, 30, "is cold"), "is warm")
    assert isinstance(kind, Expression)


# ---- Pages --------------------------------------------------------------------------------------


async def routes(app: rx.App) -> set[str]:
    async with app:
        return set(app._pages)


async def test_a_page_goes_by_the_name_of_its_function_unless_it_is_given_a_route() -> None:
    def index():
        return rx.text("x")

    def about_us():
        return rx.text("x")

    app = rx.App(root=Root)
    app.add_page(index)
    app.add_page(about_us, title="About", description="Who we <are>")
    app.add_page(about_us, route="about_us")
    app.add_page(rx.text("x"), "/bare", on_load=[Kettle.refer])
    assert await routes(app) == {"/", "/about-us", "/about_us", "/bare"}
    assert '<meta name="description" content="Who we &lt;are&gt;">' in app._pages["/about-us"]
    assert "<title>About</title>" in app._pages["/about-us"]
    with pytest.raises(PageError, match="there is a page at '/' already"):
        app.add_page(index)
    with pytest.raises(TypeError, match="is given an element"):
        app.add_page(rx.text("x"))


SITE = """
import actorstate.reflex as rx

class {name}Root(rx.State, root=True):
    pass

def make():
    return rx.App(root={name}Root)

@rx.page()
def index():
    return rx.text("{name}")

@rx.page(route="/more", title="More of {name}")
def more():
    return rx.text("more of {name}")
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def load(name: str) -> Any:
        (tmp_path / f"{name}.py").write_text(SITE.format(name=name.title()))
        return importlib.import_module(name)

    yield load
    for name in set(sys.modules) - before:
        del sys.modules[name]


async def test_decorated_pages_belong_to_the_apps_of_their_own_package(
    site: Callable[[str], Any],
) -> None:
    tea, coffee = site("tea"), site("coffee")
    for module, name in [(tea, "Tea"), (coffee, "Coffee")]:
        app = module.make()
        assert await routes(app) == {"/", "/more"}
        assert f"<p>{name}</p>" in app._pages["/"]
        assert await routes(app) == {"/", "/more"}  # entered again
    assert await routes(rx.App(root=Root)) == set()


async def test_the_pages_of_all_modules_of_a_package_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "tea_house"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "pages.py").write_text(
        "import actorstate.reflex as rx\n@rx.page('/menu')\ndef menu():\n    return rx.text('x')\n"
    )
    (package / "site.py").write_text(
        "import actorstate.reflex as rx\nimport tea_house.pages\n"
        "class TeaHouse(rx.State, root=True):\n    pass\napp = rx.App(root=TeaHouse)\n"
    )
    app = importlib.import_module("tea_house.site").app
    assert await routes(app) == {"/menu"}
    for name in ("tea_house", "tea_house.pages", "tea_house.site"):
        del sys.modules[name]


def test_a_page_decorator_without_parentheses_says_so() -> None:
    def index():
        return rx.text("x")

    with pytest.raises(TypeError, match="@rx.page needs its parentheses"):
        rx.page(index)  # pyright: ignore


async def test_a_module_that_is_loaded_anew_replaces_its_pages(site: Callable[[str], Any]) -> None:
    module = importlib.reload(site("teapot"))
    app = module.make()
    assert await routes(app) == {"/", "/more"}


async def test_the_pages_of_a_module_are_gone_with_it(site: Callable[[str], Any]) -> None:
    module = weakref.ref(site("fleeting"))
    del sys.modules["fleeting"]
    gc.collect()
    assert module() is None


# ---- What is not here ---------------------------------------------------------------------------

ANY: Any = rx  # a type checker would tell that these names are not there

IN_GUIDE = "docs/coming-from-reflex.md says what is, and what to use instead"


@pytest.mark.parametrize(
    ("ask", "kind", "named"),
    [
        (lambda: ANY.moment, AttributeError, "rx.moment"),
        (lambda: ANY.chakra.slider, AttributeError, "rx.chakra.slider"),
        (lambda: ANY.text.strong, AttributeError, "rx.text.strong"),
        (lambda: ANY.state.BaseState, AttributeError, "rx.state.BaseState"),
        (lambda: ANY.utils.console, AttributeError, "rx.utils.console"),
        (lambda: ANY.utils.prerequisites.is_windows, AttributeError,
         "rx.utils.prerequisites.is_windows"),
        (lambda: Kettle.is_hydrated, AttributeError, "Kettle.is_hydrated"),
        (lambda: rx.State.setvar, AttributeError, "State.setvar"),
        (lambda: ANY.App().api, AttributeError, "rx.App.api"),
        (lambda: rx.App(theme=1), TypeError, "rx.App(theme=)"),
        (lambda: rx.App().add_page(rx.box, "/", image="x"), TypeError, "app.add_page(image=)"),
        (lambda: rx.App().add_page(rx.box, "/[id]"), TypeError,
         "a route with a parameter, such as '/[id]',"),
        (lambda: rx.page(script_tags=[]), TypeError, "rx.page(script_tags=)"),
        (lambda: rx.event(throttle=500), TypeError, "rx.event(throttle=)"),
        (lambda: rx.var(interval=1), TypeError, "rx.var(interval=)"),
        (lambda: rx.var(backend=True), TypeError, "rx.var(backend=)"),
        (lambda: rx.field(1, is_var=False), TypeError, "rx.field(is_var=)"),
        (lambda: rx.redirect("/", replace=True), TypeError, "rx.redirect(replace=)"),
        (lambda: rx.button("x", on_mount=Kettle.pour), TypeError, "rx.button(on_mount=)"),
        (lambda: rx.box(_hover={"color": "red"}), TypeError, "rx.box(_hover=)"),
        (lambda: rx.box(style={"_hover": {}}), TypeError, "rx.box(_hover=)"),
        (lambda: rx.box(widht="8em"), TypeError, "rx.box(widht=)"),
        (lambda: rx.box(width=["9em", "5em"]), TypeError,
         "rx.box(width=) by the width of the screen"),
        (lambda: rx.el.div(key="x"), TypeError, "rx.el.div(key=)"),
    ],
)  # fmt: skip
def test_a_name_that_is_not_here_is_refused_with_the_page_that_says_what_to_use(
    ask: Callable[[], object], kind: type[Exception], named: str
) -> None:
    with pytest.raises(kind) as caught:
        ask()
    assert str(caught.value) == f"{named} is not in actorstate.reflex; {IN_GUIDE}"


async def test_a_name_of_reflexs_state_is_refused_on_an_instance_too(app: rx.App) -> None:
    kettle: Any = await read(app, Kettle)
    with pytest.raises(AttributeError, match=f"Kettle.is_hydrated is not in .*{IN_GUIDE}"):
        _ = kettle.is_hydrated
    with pytest.raises(AttributeError, match="State.router.url is not in"):
        _ = kettle.router.url
    with pytest.raises(AttributeError, match=f"Kettle.router, in a page, is not in .*{IN_GUIDE}"):
        _ = Kettle.router


async def test_a_slip_of_the_pen_is_not_taken_for_a_name_of_reflex(app: rx.App) -> None:
    with pytest.raises(AttributeError, match="^Kettle has no var or handler 'degres'$"):
        _ = Kettle.degres
    kettle: Any = await read(app, Kettle)
    with pytest.raises(AttributeError, match="^'Kettle' object has no attribute 'degres'$"):
        _ = kettle.degres


def test_a_var_may_have_a_name_that_reflex_has_for_itself() -> None:
    class Free(rx.State, root=True):
        vars: list[str]
        is_hydrated: bool

    assert isinstance(Free.vars, Expression)
    assert isinstance(Free.is_hydrated, Expression)


# ---- What differs -------------------------------------------------------------------------------

Check = Callable[..., Any]
differences: dict[str, Check] = {}


def differs(what: str) -> Callable[[Check], Check]:
    """Mark the test of one row of the guide's table."""

    def mark(check: Check) -> Check:
        differences[what] = check
        return check

    return mark


@differs("a handler that raises")
async def test_what_a_handler_changed_before_it_raised_is_undone() -> None:
    class Leak(rx.State, root=True):
        drops: int = 0

        def drip(self):
            self.drops += 1
            raise ValueError("dry")

    async with rx.App(root=Leak) as app:
        await app.directory.ref(TOKEN).ask(Event("leak.drip"), block=False)
        assert (await read(app, Leak)).drops == 0


@differs("types of vars")
async def test_what_is_assigned_is_of_the_type_of_the_var(app: rx.App) -> None:
    async with app.modify_state(TOKEN) as state:
        with pytest.raises(TypeError, match="Kettle.degrees"):
            state.get_substate(Kettle).degrees = "hot"  # pyright: ignore


@differs("arguments of a handler")
async def test_arguments_are_exactly_of_the_annotated_type() -> None:
    class Scale(rx.State, root=True):
        grams: int = 0

        def weigh(self, grams: int):
            self.grams = grams

    async with rx.App(root=Scale) as app:
        app.directory.ref(TOKEN).tell(Attach(client := Client()))
        sent = Event("scale.weigh", ["5"], 1, "page")
        await app.directory.ref(TOKEN).ask(sent, block=False)
        assert [failure.code for failure in client.failures] == ["bad_arguments"]


@differs("`rx.var(cache=False)`")
async def test_a_var_without_a_cache_is_computed_when_what_it_reads_has_changed() -> None:
    asked: list[int] = []

    class Clock(rx.State, root=True):
        ticks: int = 0
        other: int = 0

        @rx.var(cache=False)
        def doubled(self) -> int:
            asked.append(self.ticks)
            return self.ticks * 2

    async with rx.App(root=Clock) as app:
        for name in ("ticks", "other", "ticks"):
            async with app.modify_state(TOKEN) as state:
                setattr(state, name, getattr(state, name) + 1)
                assert isinstance(state, Clock)
                assert state.doubled == state.ticks * 2
    assert asked == [1, 2]


@differs("`rx.field(default_factory=...)`")
async def test_a_factory_is_called_once_and_each_tab_gets_a_copy() -> None:
    made: list[list[str]] = []

    def make() -> list[str]:
        made.append([])
        return made[-1]

    class Basket(rx.State, root=True):
        items: rx.Field[list[str]] = rx.field(default_factory=make)

    async with rx.App(root=Basket) as app:
        for token in ("a", "b"):
            async with app.modify_state(token) as state:
                assert isinstance(state, Basket)
                state.items.append(token)
                assert state.items == [token]
    assert made == [[]]


@differs("`MyState.set_name.debounce(500)`")
def test_milliseconds_are_not_taken_for_seconds() -> None:
    with pytest.raises(ValueError, match="at most 60 seconds, got 500; is that in milliseconds"):
        rx.input(on_change=Kettle.set_target.debounce(500))
    pour: Any = Kettle.pour
    with pytest.raises(ValueError, match="at most 60 seconds, got 100"):
        pour.throttle(100)
    assert pour.throttle(60).throttled == 60


@differs("`MyState.set_name`")
async def test_a_setter_that_the_program_has_not_named_cannot_be_called(app: rx.App) -> None:
    app.directory.ref(TOKEN).tell(Attach(client := Client()))
    await fire(app, "kettle.set_heating", True)
    assert [failure.code for failure in client.failures] == ["unknown_handler"]


@differs("a field for a number")
def test_a_number_is_sent_when_it_is_settled() -> None:
    made = rx.chakra.number_input(on_change=Kettle.set_target)
    assert set(made.attributes.events) == {"change"}
    typed = rx.input(type="number", on_change=Kettle.set_target)
    assert set(typed.attributes.events) == {"change"}


@differs("`default_value=MyState.name`")
def test_a_first_value_that_is_a_var_is_followed() -> None:
    assert "value" in rx.input(default_value=Kettle.target).attributes.bound


@differs('`on_click=rx.redirect("/")`')
def test_an_effect_is_for_a_handler_to_return() -> None:
    with pytest.raises(TypeError, match="write a handler that returns the effect"):
        rx.button("x", on_click=rx.redirect("/"))


@differs("`on_click=[MyState.a, MyState.b]`")
def test_an_event_runs_one_handler() -> None:
    with pytest.raises(TypeError, match="expected a handler such as MyState.toggle"):
        rx.button("x", on_click=[Kettle.pour, Kettle.refer])


@differs("`rx.cond(True, a, b)`")
def test_what_is_known_now_is_for_python_to_choose() -> None:
    with pytest.raises(TypeError, match="write `a if x else b`"):
        rx.cond(True, "a", "b")


@differs("`key=` in a row")
def test_rows_are_known_by_the_key_of_the_foreach() -> None:
    keyed = rx.foreach(Kettle.log, rx.text, key=lambda word: word)
    assert isinstance(keyed, ui.Foreach)
    assert keyed.key is keyed.item


@differs("`size`, `variant`, `color_scheme`")
def test_looks_are_told_and_not_shown() -> None:
    made = rx.button("x", size="3", variant="soft", color_scheme="red")
    told = {"data-size": "3", "data-variant": "soft", "data-color-scheme": "red"}
    assert attributes(made) == {"type": "button", **told}
    assert not made.attributes.styles


@differs("two states of one name")
def test_two_states_of_one_name_are_refused() -> None:
    def define(module: str) -> None:
        type(Kettle)("Twin", (Root,), {"__module__": module})

    define("tea")
    with pytest.raises(StateDefinitionError, match="rename one of the classes"):
        define("coffee")
    del Root.definition().substates["twin"]


@differs("`modify_state` gives")
async def test_a_block_is_given_the_root_of_the_tree() -> None:
    async with rx.App() as app, app.modify_state(TOKEN) as state:
        assert type(state) is actorstate.State


@differs("`app.background_tasks`")
async def test_a_running_task_can_be_cancelled_through_its_handle() -> None:
    class Pot(rx.State, root=True):
        @rx.background
        async def simmer(self):
            await trio.sleep_forever()

    async with rx.App(root=Pot) as app:
        await app.directory.ref(TOKEN).ask(Event("pot.simmer"), block=False)
        [task] = app.background_tasks
        task.cancel()
        await task.wait()
        assert not app.background_tasks


differs("`@rx.page`")(test_decorated_pages_belong_to_the_apps_of_their_own_package)
differs("`index`")(test_a_page_goes_by_the_name_of_its_function_unless_it_is_given_a_route)


# ---- The guide ----------------------------------------------------------------------------------


def rows(title: str) -> list[list[str]]:
    """Give the cells of the table under a heading, but for its own heading."""
    part = re.split(rf"^##+ {title}$", GUIDE.read_text(), flags=re.MULTILINE)[1]
    part = re.split(r"^##", part, flags=re.MULTILINE)[0]
    return [line.split(" | ") for line in re.findall(r"^\| (.*) \|$", part, re.MULTILINE)][1:]


def names(cell: str) -> list[str]:
    return re.findall(r"`((?:rx|State|app)\.[\w.]+)`", cell)


def look_up(name: str) -> object:
    found: Any = {"rx": rx, "State": Kettle, "app": rx.App()}[name.partition(".")[0]]
    for part in name.split(".")[1:]:
        found = getattr(found, part)
    return found


def test_all_that_is_here_is_in_the_guide_and_what_is_covered_there_is_here() -> None:
    covered = {name for row in rows("What is covered") for name in names(row[0])}
    assert covered >= {f"rx.{name}" for name in rx.__all__}
    for name in covered:
        look_up(name)


def test_what_the_guide_calls_missing_is_refused_and_has_something_to_use_instead() -> None:
    missing = rows("What is missing")
    assert len(missing) > 30
    for row in missing:
        assert len(row) == 2
        assert row[1].strip()
        for name in names(row[0]):
            with pytest.raises(AttributeError, match=IN_GUIDE):
                look_up(name)


def test_each_name_of_reflexs_state_is_in_the_guide() -> None:
    missing = {name for row in rows("What is missing") for name in names(row[0])}
    assert {f"State.{name}" for name in _OF_REFLEX} <= missing


def test_each_row_of_what_differs_has_a_test() -> None:
    assert {row[0] for row in rows("What differs")} == set(differences)


KEYWORDS: dict[str, list[Check]] = {
    "`rx.App(theme=, style=, stylesheets=, head_components=)`": [
        lambda: rx.App(theme=1),
        lambda: rx.App(style={}),
        lambda: rx.App(stylesheets=[]),
        lambda: rx.App(head_components=[]),
    ],
    "`image=`, `meta=` of a page": [
        lambda: rx.App().add_page(rx.box, "/", image="x"),
        lambda: rx.page(meta=[]),
    ],
    '`route="/post/[id]"`': [lambda: rx.App().add_page(rx.box, "/post/[id]")],
    "`on_mount=`, `on_unmount=`": [
        lambda: rx.box(on_mount=Kettle.pour),
        lambda: rx.box(on_unmount=Kettle.pour),
    ],
    "`on_mouse_enter=`, `on_scroll=` and other events": [
        lambda: rx.box(on_mouse_enter=Kettle.pour),
        lambda: rx.box(on_scroll=Kettle.pour),
        lambda: rx.box(on_double_click=Kettle.pour),
    ],
    "`_hover=`, `_active=`": [lambda: rx.box(_hover={}), lambda: rx.box(style={"_active": {}})],
    '`width=["100%", "50%"]`, by the width of the screen': [
        lambda: rx.box(width=["100%", "50%"]),
        lambda: rx.box(style={"width": {"0px": "100%"}}),
    ],
    "`rx.event(throttle=, debounce=)`": [
        lambda: rx.event(throttle=500),
        lambda: rx.event(debounce=500),
    ],
    "`rx.event(stop_propagation=, prevent_default=)`": [
        lambda: rx.event(stop_propagation=True),
        lambda: rx.event(background=True, prevent_default=True),
    ],
    "`rx.var(interval=)`": [lambda: rx.var(interval=1)],
    "`rx.var(backend=True)`": [lambda: rx.var(backend=True)],
    "`rx.redirect(replace=True)`": [lambda: rx.redirect("/", replace=True)],
}


def test_keywords_that_the_guide_says_to_be_refused_are_refused() -> None:
    assert {row[0] for row in rows("Keywords")} == set(KEYWORDS)
    for attempts in KEYWORDS.values():
        for attempt in attempts:
            with pytest.raises(TypeError, match=IN_GUIDE):
                attempt()
