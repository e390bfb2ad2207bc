"""Pages: what elements become in HTML, and what is refused where the element is made."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from actorstate import redirect, ui
from actorstate.state.expressions import Expression, StateVar
from actorstate.state.state import State
from actorstate.ui.props import _ATTRIBUTES, _STYLES

COUNTER = StateVar("state.demo", "counter")
RUNNING = StateVar("state.demo", "running")
NAME = StateVar("state.demo", "name")

COUNTER_JSON = ["var", "state.demo", "counter"]
RUNNING_JSON = ["var", "state.demo", "running"]
NAME_JSON = ["var", "state.demo", "name"]


@pytest.fixture(scope="module")
def handlers() -> Any:
    """Give a state that only these tests know, and that nothing holds after them."""

    class UiTestState(State):
        limit: int = 10

        def toggle(self) -> None: ...

        def add(self, amount: int) -> None: ...

        def pick(self, row: int, value: str) -> None: ...

        def save(self, fields: dict[str, str]) -> None: ...

    return UiTestState


@attrs.define
class Node:
    tag: str
    attributes: dict[str, str | None]
    children: list[Node | str] = attrs.field(factory=list)

    @property
    def text(self) -> str:
        return "".join(one if isinstance(one, str) else one.text for one in self.children)

    def all(self, tag: str) -> list[Node]:
        nodes = [one for one in self.children if isinstance(one, Node)]
        own = [self] if self.tag == tag else []
        return own + [found for one in nodes for found in one.all(tag)]

    def json(self, attribute: str) -> Any:
        return json.loads(self.attributes[attribute] or "")


class Tree(HTMLParser):
    """Reads HTML that closes what it opens, and notices where it does not."""

    VOID = frozenset({"meta", "link", "input", "br", "hr", "img", "!doctype"})

    def __init__(self) -> None:
        super().__init__()
        self.root = Node("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, dict(attrs))
        assert len(node.attributes) == len(attrs), "an attribute is there twice"
        self.open[-1].children.append(node)
        if tag not in self.VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse(markup: str) -> Node:
    tree = Tree()
    tree.feed(markup)
    tree.close()
    assert tree.open == [tree.root]
    return tree.root


def rendered(child: ui.Child) -> Node:
    [node] = parse(ui.render(child)).children
    assert isinstance(node, Node)
    return node


def refusal(kind: type[Exception], act: Callable[[], object]) -> str:
    with pytest.raises(kind) as caught:
        act()
    return str(caught.value)


# ---- Elements and text ----


def test_an_element_becomes_a_tag_with_its_children_in_order() -> None:
    assert ui.render(ui.el("p", "a", 1, 2.5, None, ui.el("b", "c"))) == "<p>a12.5<b>c</b></p>"


def test_the_stacks_are_divs_whose_class_keeps_the_programs_own() -> None:
    assert rendered(ui.hstack()).attributes == {"class": "as-hstack"}
    assert rendered(ui.vstack(class_name="wide")).attributes == {"class": "as-vstack wide"}
    bound = rendered(ui.hstack(class_name=NAME)).json("data-as-attrs")
    assert bound == {"class": ["+", ["lit", "as-hstack "], NAME_JSON]}


def test_the_named_elements_are_those_of_html() -> None:
    page = ui.vstack(
        ui.heading("a", level=2), ui.text("b"), ui.button("c"), ui.link("d", href="/x")
    )

    assert ui.render(page) == (
        '<div class="as-vstack"><h2>a</h2><p>b</p><button type="button">c</button>'
        '<a href="/x">d</a></div>'
    )
    assert rendered(ui.input()).attributes == {"type": "text"}
    assert rendered(ui.number_input(min=1)).attributes == {"type": "number", "min": "1"}
    assert rendered(ui.input(type="search")).attributes == {"type": "search"}


@given(st.text())
def test_any_text_comes_out_as_the_text_it_was(text: str) -> None:
    node = rendered(ui.el("p", text, title=text))

    assert node.text == text
    assert node.attributes == {"title": text or None}


@given(st.text())
def test_any_text_in_a_binding_comes_out_as_the_text_it_was(text: str) -> None:
    node = rendered(ui.el("p", text + NAME))

    assert node.json("data-as-text") == ["+", ["lit", text], NAME_JSON]


def test_an_elements_record_cannot_be_changed() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ui.text("a").tag = "b"  # type: ignore[misc]  # that it is refused is tested


def test_rendering_twice_gives_the_same() -> None:
    page = ui.vstack(ui.text(COUNTER), ui.cond(RUNNING, ui.text("a")))

    assert ui.render(page) == ui.render(page)


# ---- Bindings ----


def test_an_expression_alone_is_bound_to_the_element_itself() -> None:
    node = rendered(ui.heading(COUNTER))

    assert node.json("data-as-text") == COUNTER_JSON
    assert node.children == []


def test_text_around_an_expression_is_joined_with_it() -> None:
    node = rendered(ui.heading(COUNTER, " / ", 10))

    assert node.json("data-as-text") == ["show", COUNTER_JSON, ["lit", " / "], ["lit", 10]]


def test_an_expression_beside_elements_gets_a_span_of_its_own() -> None:
    node = rendered(ui.text("a", COUNTER, ui.el("b", "c")))

    [text, span, bold] = node.children
    assert text == "a"
    assert isinstance(span, Node)
    assert span.tag == "span"
    assert span.json("data-as-text") == COUNTER_JSON
    assert bold == Node("b", {}, ["c"])


def test_an_attribute_with_an_expression_is_bound_and_not_written() -> None:
    node = rendered(ui.number_input(value=COUNTER, min=1, disabled=~RUNNING))

    assert "value" not in node.attributes
    assert node.attributes["min"] == "1"
    assert node.json("data-as-attrs") == {
        "value": COUNTER_JSON,
        "disabled": ["not", RUNNING_JSON],
    }


def test_styles_become_a_binding_because_the_policy_allows_no_style_attribute() -> None:
    node = rendered(ui.text("a", style={"max_width": "8em", "--gap": 2, "color": NAME}))

    assert "style" not in node.attributes
    assert node.json("data-as-style") == {
        "max-width": ["lit", "8em"],
        "--gap": ["lit", 2],
        "color": NAME_JSON,
    }


# ---- Attributes ----


def test_names_are_written_as_html_has_them() -> None:
    node = rendered(ui.el("label", for_="a", class_name="b", aria_label="c", data_row=3))

    assert node.attributes == {"for": "a", "class": "b", "aria-label": "c", "data-row": "3"}


def test_booleans_switch_attributes_except_where_false_is_a_word() -> None:
    on = rendered(ui.button(disabled=True, hidden=False, title=None))
    worded = rendered(ui.el("p", aria_hidden=False, aria_pressed=True, draggable=False))

    assert on.attributes == {"type": "button", "disabled": None}
    assert worded.attributes == {
        "aria-hidden": "false",
        "aria-pressed": "true",
        "draggable": "false",
    }


@pytest.mark.parametrize("tag", ["P", "a b", "a>", "", "1a", "p/", "script", "style", "iframe"])
def test_a_tag_that_is_malformed_or_not_allowed_is_refused(tag: str) -> None:
    assert tag in refusal(ValueError, lambda: ui.el(tag))


@pytest.mark.parametrize("name", ["a b", "a=", "A", "_", "", 'a"', "data_as_on", "srcdoc"])
def test_a_malformed_or_reserved_attribute_is_refused(name: str) -> None:
    assert repr(name) in refusal(ValueError, lambda: ui.el("p", **{name: "x"}))


def test_an_attribute_given_twice_is_refused() -> None:
    assert "class twice" in refusal(ValueError, lambda: ui.el("p", class_="a", class_name="b"))


@pytest.mark.parametrize("name", ["onclick", "onmouseover", "on_mount", "on"])
def test_other_event_attributes_are_refused_with_what_to_write(name: str) -> None:
    message = refusal(TypeError, lambda: ui.button(**{name: "alert(1)"}))

    assert name in message
    assert (
        "on_blur=, on_change=, on_click=, on_focus=, on_key_down= or on_submit= with a handler"
        in message
    )


def test_a_string_as_a_handler_is_refused() -> None:
    message = refusal(TypeError, lambda: ui.button(on_click="alert(1)"))

    assert "on_click= of <button>" in message
    assert "'alert(1)'" in message


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        " \x01javascript:alert(1)",
        "java\nscript\t:alert(1)",
        "vbscript:x",
        "data:text/html,x",
    ],
)
def test_a_url_that_runs_code_is_refused(url: str) -> None:
    assert "href= of <a>" in refusal(ValueError, lambda: ui.link("a", href=url))


@pytest.mark.parametrize(
    "url", ["/x", "?a=javascript:b", "https://a.example/", "mailto:a@b.example", "#data"]
)
def test_any_other_url_is_fine(url: str) -> None:
    assert rendered(ui.link("a", href=url)).attributes["href"] == url


def test_an_image_may_carry_its_data() -> None:
    assert rendered(ui.el("img", src="data:image/png;base64,x")).tag == "img"


@pytest.mark.parametrize("value", [["a"], {"a": 1}, object()])
def test_a_value_that_is_no_text_is_refused(value: object) -> None:
    assert "title= of <p>" in refusal(TypeError, lambda: ui.el("p", title=value))


def test_a_style_is_a_dict_of_properties() -> None:
    assert "takes a dict" in refusal(TypeError, lambda: ui.text(style="color: red"))
    assert "no CSS property" in refusal(ValueError, lambda: ui.text(style={"a;b": "c"}))
    assert "color takes text" in refusal(TypeError, lambda: ui.text(style={"color": True}))


# ---- Forms and fields ----


def test_a_form_that_is_reset_says_so() -> None:
    plain, reset = (
        rendered(ui.form(ui.input(name="a"), reset_on_submit=one)) for one in (False, True)
    )

    assert plain.attributes == {}
    assert reset.attributes == {"data-as-reset": None}
    assert [field.attributes["name"] for field in reset.all("input")] == ["a"]


def test_options_are_texts_pairs_or_elements() -> None:
    chosen = rendered(
        ui.select(["S", 2, ("l", "Large"), ui.el("option", "XL", value="x"), (NAME, COUNTER)])
    )

    assert [(one.attributes.get("value"), one.text) for one in chosen.all("option")] == [
        ("S", "S"),
        ("2", "2"),
        ("l", "Large"),
        ("x", "XL"),
        (None, ""),
    ]
    last = chosen.all("option")[-1]
    assert last.json("data-as-attrs") == {"value": NAME_JSON}
    assert last.json("data-as-text") == COUNTER_JSON


def test_options_may_come_and_go() -> None:
    chosen = rendered(ui.select(ui.cond(RUNNING, ui.el("option", "a"), ui.el("option", "b"))))

    assert chosen.all("template")[0].json("data-as-cond") == RUNNING_JSON


@pytest.mark.parametrize("options", ["abc", 3, None, NAME, {"s": "Small"}])
def test_options_that_are_no_list_are_refused(options: Any) -> None:
    message = refusal(TypeError, lambda: ui.select(options))

    assert "select takes a list of texts" in message
    assert repr(options) in message


@pytest.mark.parametrize("option", [("a",), ("a", "b", "c"), (None, "a"), (["a"], "b")])
def test_an_option_that_is_no_pair_is_refused(option: Any) -> None:
    assert repr(option) in refusal(TypeError, lambda: ui.select([option]))


def test_what_has_no_attribute_in_html_is_set_by_the_client() -> None:
    assert rendered(ui.select(["a", "b"], value="b")).json("data-as-attrs") == {
        "value": ["lit", "b"]
    }
    assert rendered(ui.select(["a", "b"], multiple=True, value=["a", "b"])).json(
        "data-as-attrs"
    ) == {"value": ["lit", ["a", "b"]]}
    assert rendered(ui.textarea(value="two\nlines")).json("data-as-attrs") == {
        "value": ["lit", "two\nlines"]
    }
    assert rendered(ui.textarea(value=None)).attributes == {}


def test_a_checkbox_with_words_is_in_its_label() -> None:
    node = rendered(ui.checkbox("Done ", COUNTER, checked=RUNNING, name="done"))

    assert node.tag == "label"
    assert node.attributes == {"class": "as-choice"}
    [box] = node.all("input")
    assert (box.attributes["type"], box.attributes["name"]) == ("checkbox", "done")
    assert box.json("data-as-attrs") == {"checked": RUNNING_JSON}
    assert rendered(ui.checkbox(checked=True)).attributes == {"type": "checkbox", "checked": None}


def test_a_radio_button_has_a_name_and_a_value() -> None:
    untyped: Any = ui.radio
    node = rendered(ui.radio("Small", name="size", value="s", checked=NAME == "s"))

    [button] = node.all("input")
    assert (node.tag, node.text) == ("label", "Small")
    assert [button.attributes[name] for name in ("type", "name", "value")] == ["radio", "size", "s"]
    assert button.json("data-as-attrs") == {"checked": ["==", NAME_JSON, ["lit", "s"]]}
    assert "'name'" in refusal(TypeError, lambda: untyped(value="s"))


@pytest.mark.parametrize("checked", ["false", 0, 1])
def test_checked_is_yes_or_no(checked: object) -> None:
    message = refusal(TypeError, lambda: ui.checkbox(checked=checked))

    assert "checked= of checkbox takes a bool" in message


@pytest.mark.parametrize("name", ["min", "max", "step", "value"])
@pytest.mark.parametrize("value", ["1", True])
def test_a_slider_takes_numbers(name: str, value: object) -> None:
    message = refusal(TypeError, lambda: ui.slider(**{name: value}))

    assert f"{name}= of slider takes a number" in message
    assert rendered(ui.slider(max=COUNTER, step=0.5)).attributes["step"] == "0.5"


# ---- Content ----


def test_tables_and_lists_are_those_of_html() -> None:
    page = ui.vstack(
        ui.table(ui.thead(ui.tr(ui.th("a"))), ui.tbody(ui.tr(ui.td(1)))),
        ui.ul(ui.li("b")),
        ui.ol(ui.li("c")),
        ui.divider(),
        ui.pre(ui.code("d")),
        ui.label("e", for_="f"),
        ui.progress(value=1, max=2),
    )

    assert ui.render(page) == (
        '<div class="as-vstack"><table><thead><tr><th>a</th></tr></thead>'
        "<tbody><tr><td>1</td></tr></tbody></table><ul><li>b</li></ul><ol><li>c</li></ol><hr>"
        '<pre><code>d</code></pre><label for="f">e</label>'
        '<progress value="1" max="2"></progress></div>'
    )


def test_an_image_says_what_it_shows() -> None:
    untyped: Any = ui.image

    assert rendered(ui.image(src="/a.png", alt="A cat")).attributes == {
        "src": "/a.png",
        "alt": "A cat",
    }
    assert "alt" in rendered(ui.image(src="/a.png", alt="")).attributes
    assert "alt= of image" in refusal(TypeError, lambda: untyped(src="/a.png", alt=None))
    assert "'alt'" in refusal(TypeError, lambda: untyped(src="/a.png"))


# ---- Children that are refused ----


@pytest.mark.parametrize(
    ("child", "advice"),
    [([], "unpack it with *"), (len, "call it"), (object(), "<p> cannot contain"), (b"a", "b'a'")],
)
def test_what_is_no_child_is_refused_where_it_is_given(child: Any, advice: str) -> None:
    assert advice in refusal(TypeError, lambda: ui.text(child))


def test_a_void_element_has_no_children() -> None:
    assert "<br> cannot have children" in refusal(TypeError, lambda: ui.el("br", "a"))


@pytest.mark.parametrize("level", [0, 7])
def test_a_heading_has_a_level_of_html(level: int) -> None:
    assert "1 to 6" in refusal(ValueError, lambda: ui.heading("a", level=level))


# ---- cond ----


def test_cond_with_texts_is_an_expression() -> None:
    label = ui.cond(~RUNNING, "Start", "Stop")

    assert isinstance(label, Expression)
    assert rendered(ui.button(label)).json("data-as-text") == [
        "cond",
        ["not", RUNNING_JSON],
        ["lit", "Start"],
        ["lit", "Stop"],
    ]


def test_cond_with_an_element_keeps_both_branches_in_templates() -> None:
    outer = rendered(ui.cond(RUNNING, ui.text("on ", COUNTER), "off"))

    assert outer.json("data-as-cond") == RUNNING_JSON
    [when_true, when_false] = outer.children
    assert isinstance(when_true, Node)
    assert isinstance(when_false, Node)
    assert [when_true.tag, when_false.tag] == ["template", "template"]
    assert when_true.all("p")[0].json("data-as-text")[0] == "show"
    assert when_false.children == ["off"]


def test_cond_without_a_second_branch_shows_nothing_there() -> None:
    outer = rendered(ui.cond(RUNNING, ui.text("on")))

    assert ui.render(ui.cond(RUNNING, ui.text("on"))).endswith("<template></template></template>")
    assert len(outer.children) == len(["when true", "when false"])


def test_conds_nest() -> None:
    nested = ui.cond(RUNNING, ui.cond(COUNTER > 1, ui.text("a"), ui.text("b")), ui.text("c"))

    assert [node.text for node in rendered(nested).all("p")] == ["a", "b", "c"]


def test_cond_refuses_a_condition_that_is_known_already() -> None:
    condition: Any = RUNNING
    message = refusal(TypeError, lambda: ui.cond(condition is None, "a", "b"))

    assert "got False" in message
    assert "write == and !=" in message


def test_cond_refuses_a_branch_that_is_no_child() -> None:
    assert "cond cannot contain" in refusal(TypeError, lambda: ui.cond(RUNNING, ["a"], "b"))  # type: ignore[call-overload]  # that it is refused is tested


# ---- Handlers ----


def events_of(element: ui.Element) -> Any:
    return rendered(element).json("data-as-on")


def test_a_click_names_the_handler_and_its_bound_arguments(handlers: Any) -> None:
    prefix = handlers.get_full_name()

    assert events_of(ui.button("a", on_click=handlers.toggle)) == {
        "click": {"name": f"{prefix}.toggle", "args": []}
    }
    assert events_of(ui.button("a", on_click=handlers.add(3))) == {
        "click": {"name": f"{prefix}.add", "args": [["lit", 3]]}
    }


def test_a_change_sends_the_value_if_the_handler_takes_one_more(handlers: Any) -> None:
    def sent(handler: object) -> list[object]:
        return events_of(ui.input(on_change=handler))["input"]["args"]

    value = ["local", "event"]
    assert sent(handlers.set_limit) == [value]
    assert sent(handlers.pick(7)) == [["lit", 7], value]
    assert sent(handlers.pick(7, "x")) == [["lit", 7], ["lit", "x"]]
    assert sent(handlers.toggle) == []


def test_arguments_may_be_expressions(handlers: Any) -> None:
    def sent(handler: object) -> list[object]:
        return events_of(ui.button("a", on_click=handler))["click"]["args"]

    assert sent(handlers.add(COUNTER)) == [COUNTER_JSON]
    assert sent(handlers.pick(COUNTER, f"{NAME}")) == [COUNTER_JSON, ["text", NAME_JSON]]


def test_a_function_says_where_the_value_goes(handlers: Any) -> None:
    def sent(handler: object) -> list[object]:
        return events_of(ui.input(on_change=handler))["input"]["args"]

    value = ["local", "event"]
    assert sent(lambda value: handlers.pick(COUNTER, value)) == [COUNTER_JSON, value]
    assert sent(lambda value: handlers.add(value + 1)) == [["+", value, ["lit", 1]]]
    assert sent(lambda: handlers.add(3)) == [["lit", 3]]
    assert sent(lambda amount=3: handlers.add(amount)) == [["lit", 3]]
    click = events_of(ui.button("a", on_click=lambda: handlers.add(3)))["click"]
    assert click["args"] == [["lit", 3]]


def test_a_function_that_gives_no_handler_is_refused(handlers: Any) -> None:
    assert "got None" in refusal(TypeError, lambda: ui.input(on_change=lambda value: None))
    message = refusal(TypeError, lambda: ui.input(on_change=lambda row: handlers.pick(row)))  # noqa: PLW0108 - not as handlers.pick
    assert "missing a required argument: 'value'" in message


def test_the_value_of_an_event_is_known_to_its_handler_only(handlers: Any) -> None:
    leaked: list[Any] = []
    ui.input(on_change=lambda value: leaked.append(value) or handlers.add(value))

    assert "where it is not known" in refusal(TypeError, lambda: ui.render(ui.text(leaked[0])))


@pytest.mark.parametrize(
    ("element", "dom_event"),
    [
        (ui.input, "input"),
        (lambda **on: ui.el("textarea", **on), "input"),
        (lambda **on: ui.el("input", type_="search", **on), "input"),
        (ui.number_input, "change"),
        (lambda **on: ui.el("input", type="checkbox", **on), "change"),
        (lambda **on: ui.el("input", type="range", **on), "change"),
        (lambda **on: ui.el("select", **on), "change"),
    ],
    ids=["input", "textarea", "search", "number", "checkbox", "range", "select"],
)
def test_text_is_sent_as_it_is_typed_and_all_else_when_it_is_settled(
    element: Callable[..., ui.Element], dom_event: str, handlers: Any
) -> None:
    assert list(events_of(element(on_change=handlers.set_limit))) == [dom_event]


@pytest.mark.parametrize(
    ("element", "keyword", "dom_event"),
    [
        (ui.input, "on_blur", "focusout"),
        (ui.textarea, "on_focus", "focusin"),
        (ui.vstack, "on_key_down", "keydown"),
        (ui.form, "on_submit", "submit"),
    ],
)
def test_an_event_sends_what_it_has_if_the_handler_takes_one_more(
    element: Callable[..., ui.Element], keyword: str, dom_event: str, handlers: Any
) -> None:
    def sends_value(handler: object) -> bool:
        return ["local", "event"] in events_of(element(**{keyword: handler}))[dom_event]["args"]

    assert sends_value(handlers.pick(7))
    assert not sends_value(handlers.toggle)


def test_the_focus_of_what_is_no_field_has_nothing_to_send(handlers: Any) -> None:
    blurred = ui.button("a", on_blur=handlers.toggle)
    assert events_of(blurred)["focusout"]["args"] == []

    message = refusal(TypeError, lambda: ui.vstack(on_blur=handlers.add))

    assert "on_blur= of <div>" in message
    assert "missing a required argument" in message


def test_only_a_form_is_submitted(handlers: Any) -> None:
    message = refusal(TypeError, lambda: ui.vstack(on_submit=handlers.save))

    assert "<div> cannot have on_submit=" in message
    assert "form(..., on_submit=MyState.save)" in message


def test_the_pace_of_an_event_reaches_the_browser_in_milliseconds(handlers: Any) -> None:
    debounced = events_of(ui.input(on_change=handlers.set_limit.debounce(0.3)))
    both = events_of(ui.button("a", on_click=handlers.add(3).throttle(1.5).debounce(0.25)))

    assert (debounced["input"]["debounce"], "throttle" in debounced["input"]) == (300, False)
    assert (both["click"]["debounce"], both["click"]["throttle"]) == (250, 1500)


@pytest.mark.parametrize("kind", ["range", "color"])
def test_a_slider_is_followed_at_a_pace_and_else_sends_when_it_is_let_go(
    kind: str, handlers: Any
) -> None:
    def events(handler: object) -> list[str]:
        return list(events_of(ui.el("input", type=kind, on_change=handler)))

    assert events(handlers.set_limit) == ["change"]
    assert events(handlers.set_limit.throttle(0.1)) == ["input"]
    assert events(handlers.set_limit.debounce(0.1)) == ["input"]


def test_a_number_is_settled_before_it_is_sent_at_any_pace(handlers: Any) -> None:
    assert list(events_of(ui.number_input(on_change=handlers.set_limit.debounce(1)))) == ["change"]


def test_a_pace_is_in_seconds_and_no_longer_than_a_page_is_waited_for(handlers: Any) -> None:
    assert handlers.toggle.throttle(60).throttled == 60
    for pace in (handlers.toggle.throttle, handlers.add(1).debounce):
        with pytest.raises(ValueError, match="at most 60 seconds, got 300; is that in millisec"):
            pace(300)


def test_no_handler_is_no_event() -> None:
    assert "data-as-on" not in rendered(ui.button("a", on_click=None)).attributes


# ---- Pages ----


def test_a_page_is_a_whole_document_without_anything_inline() -> None:
    page = parse(
        ui.render_page(
            ui.text("<script>alert(1)</script>", style={"color": "red"}),
            title="</title><script>",
            language='x" onload="y',
        )
    )

    assert page.all("html")[0].attributes == {"lang": 'x" onload="y'}
    assert page.all("title")[0].text == "</title><script>"
    assert [one.attributes for one in page.all("script")] == [
        {"src": "/_actorstate/client.js", "defer": None}
    ]
    assert page.all("style") == []
    assert {"rel": "stylesheet", "href": "/_actorstate/style.css"} in [
        one.attributes for one in page.all("link")
    ]
    assert "width=device-width" in str([one.attributes for one in page.all("meta")])
    assert page.all("main")[0].text.strip() == "<script>alert(1)</script>"


def test_a_page_may_have_a_description() -> None:
    def descriptions(**more: Any) -> list[str | None]:
        page = parse(ui.render_page("a", title="b", **more))
        metas = [one.attributes for one in page.all("meta")]
        return [one["content"] for one in metas if one.get("name") == "description"]

    assert descriptions(description='"><script>') == ['"><script>']
    assert descriptions() == []
    with pytest.raises(TypeError, match="the description of a page cannot follow a var"):
        descriptions(description=f"{NAME}")


def test_a_page_has_a_hidden_mark_and_room_for_toasts() -> None:
    areas = {
        one.attributes.get("id"): one for one in parse(ui.render_page("a", title="b")).all("div")
    }

    assert areas["as-mark"].attributes["role"] == "status"
    assert "hidden" in areas["as-mark"].attributes
    assert areas["as-toasts"].attributes["role"] == "alert"
    assert areas["as-toasts"].children == []


def test_an_argument_bound_by_name_leaves_the_first_parameter_to_the_value(handlers: Any) -> None:
    field = rendered(ui.number_input(on_change=handlers.pick(value="x")))
    assert field.json("data-as-on")["change"] == {
        "name": f"{handlers.get_full_name()}.pick",
        "args": [["local", "event"], ["lit", "x"]],
    }
    clicked = rendered(ui.button("x", on_click=handlers.pick(value="x", row=1)))
    assert clicked.json("data-as-on")["click"]["args"] == [["lit", 1], ["lit", "x"]]
    with pytest.raises(TypeError, match=r"on_click= of <button>: .*argument: 'row'; bind it"):
        ui.button("x", on_click=handlers.pick(value="x"))
    with pytest.raises(TypeError, match=r"on_click= of <button>.*handler that returns the effect"):
        ui.button("x", on_click=redirect("/"))
    with pytest.raises(TypeError, match=r"on_click= of <button>"):
        ui.button("x", on_click=handlers.pick(1, value=object()))


# ---- Props ----


def test_props_are_sorted_by_their_names_however_these_are_written() -> None:
    props = ui.sort_props({
        "max_width": 1, "zIndex": 2, "margin-top": 3, "--tint": 4, "float_": 5,
        "tab_index": 6, "maxLength": 7, "aria_label": 8, "data-x": 9, "class_name": 10,
        "html_for": 11, "accept_charset": 12, "on_click": 13, "min_": 14,
        "maxwidth": 15, "_hover": 16, "on": 17,
    })  # fmt: skip
    assert props.styles == {"max-width": 1, "z-index": 2, "margin-top": 3, "--tint": 4, "float": 5}
    assert props.attributes == {
        "tabindex": 6, "maxlength": 7, "aria-label": 8, "data-x": 9, "class_name": 10, "for": 11,
        "accept-charset": 12, "on_click": 13, "min": 14,
    }  # fmt: skip
    assert props.others == {"maxwidth": 15, "_hover": 16, "on": 17}


def spellings(name: str) -> set[str]:
    first, *others = name.split("-")
    return {name, name.replace("-", "_"), first + "".join(map(str.capitalize, others))}


def test_each_style_is_known_in_each_spelling_and_taken_by_an_element() -> None:
    for name in _STYLES:
        for keyword in spellings(name):
            props = ui.sort_props({keyword: "x"})
            assert dict(props.styles) == {name: "x"}
            assert ui.el("p", style=props.styles).attributes.styles.keys() == {name}


def test_each_attribute_is_known_in_each_spelling_and_taken_by_an_element() -> None:
    for name in _ATTRIBUTES:
        for keyword in spellings(name):
            props = ui.sort_props({keyword: "x"})
            made = ui.el("p", **props.attributes)
            assert dict(made.attributes.fixed) == {name: "x"}
