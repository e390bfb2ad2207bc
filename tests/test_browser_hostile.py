"""What the state may hold that does harm where it is not shown as what it is: text, and no more."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser
from stage import Stage

from actorstate import (
    State,
    code,
    cond,
    el,
    foreach,
    form,
    heading,
    image,
    input as field,
    link,
    pre,
    progress,
    text,
    textarea,
    vstack,
)
from actorstate.ui.elements import Child
from actorstate.ui.props import _ATTRIBUTES


class Hostile(State, root=True):
    words: str = ""
    items: list[str] = []
    table: dict[str, str] = {}

    def save(self, fields: dict[str, Any]) -> None: ...

    def press(self) -> None: ...


NOTHING: dict[str, Any] = {"hostile": {"words": "", "items": [], "table": {}}}

Opener = Callable[[Child], Stage]


@pytest.fixture
def open_stage(chromium: Browser) -> Iterator[Opener]:
    stages: list[Stage] = []

    def open_one(body: Child) -> Stage:
        stages.append(Stage(chromium, body, json.loads(json.dumps(NOTHING))))
        return stages[-1]

    yield open_one
    for stage in stages:
        stage.close()


# ---- text that would be code --------------------------------------------------------------------

CODE = [
    "<script>window.harm = 1</script>",
    "<img src=x onerror='window.harm = 1'>",
    '" onmouseover="window.harm = 1" x="',
    "'><svg onload='window.harm = 1'>",
    "</textarea></style></title><script>window.harm = 1</script>",
    "javascript:window.harm=1",
    " java\nscript:window.harm=1",
    "\x01JaVaScRiPt:window.harm=1",
    "vbscript:window.harm=1",
    "data:text/html,<script>window.harm = 1</script>",
    "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' onload='window.harm=1'/>",
    "url(javascript:window.harm=1)",
    "{{constructor.constructor('window.harm=1')()}}",
]

TAGS = ["a", "area", "audio", "button", "details", "div", "form", "image", "img", "input", "link",
        "math", "output", "source", "svg", "track", "use", "video"]  # fmt: skip

ATTRIBUTES = sorted(
    (_ATTRIBUTES | {"background", "by", "content", "data", "from", "to", "values", "xmlns"})
    - {"disabled", "hidden", "inert"}  # with these, nothing could be clicked
)

# What runs, or would if it were clicked.
FIND_HARM = """() => [
    ...(window.harm === undefined ? [] : ["it ran"]),
    ...[...document.querySelectorAll("script:not([src]), iframe, object, embed, style")]
        .map((node) => node.outerHTML),
    ...[...document.querySelectorAll("*:not([rel=icon])")].flatMap((node) => [...node.attributes]
        .filter(({ name, value }) => name.startsWith("on")
            || (["action", "formaction", "href", "xlink:href"].includes(name)
                && /^(java|vb)script:|^data:/i.test(value.replace(/[\\0-\\x20]/g, ""))))
        .map(({ name, value }) => `${node.nodeName} ${name}=${value}`)),
]"""


def test_no_text_becomes_code_or_markup_wherever_it_is_shown(open_stage: Opener) -> None:
    """In every element, every attribute and every style that follows the state."""
    words = Hostile.words
    shown = {name.replace("-", "_") + "_": words for name in ATTRIBUTES}
    stage = open_stage(
        vstack(
            heading(words), text(words), code(words), pre(words), text(f"is {Hostile.table}"),
            link(words, href=words), image(src=words, alt=words), progress(value=words, max=10),
            textarea(value=words), field(value=words), cond(words, el("b", words)),
            foreach(Hostile.items, lambda item: el("li", item, title=item)),
            foreach(Hostile.table, lambda pair: link(pair[0], href=pair[1])),
            el("div", style={"background_image": words, "width": words, "--own": words}),
            el("svg", el("a", el("set", attributename="href", to=words), el("text", "svg"))),
            *(el(tag, **shown) for tag in TAGS),
        )
    )  # fmt: skip
    elements = stage.page.evaluate("() => document.querySelectorAll('*').length")
    for one in CODE:
        key = one.replace("~", "~0").replace("/", "~1")
        stage.patch(
            {"op": "replace", "path": "/hostile/words", "value": one},
            {"op": "replace", "path": "/hostile/items", "value": [one]},
            {"op": "replace", "path": "/hostile/table", "value": {}},
            {"op": "add", "path": f"/hostile/table/{key}", "value": one},
        )
        assert stage.page.locator("h1").text_content() == one
        assert stage.page.evaluate(FIND_HARM) == []
    assert stage.page.evaluate("() => document.querySelectorAll('*').length") == elements + 3


# ---- names that something else has --------------------------------------------------------------


def test_keys_that_every_object_has_are_keys_like_others(open_stage: Opener) -> None:
    stage = open_stage(
        vstack(
            text(f"{Hostile.table}"), foreach(Hostile.table, lambda pair: text(pair[0], pair[1]))
        )
    )
    stage.replace("/hostile/table", {"constructor": "a"})
    for name in ("__proto__", "toString"):
        stage.patch({"op": "add", "path": f"/hostile/table/{name}", "value": "b"})
        stage.replace(f"/hostile/table/{name}", {"harm": 1})
        stage.patch({"op": "add", "path": f"/hostile/table/{name}/more", "value": 2})
    state = json.loads(stage.page.evaluate("() => JSON.stringify(actorstate.state)"))
    nested = {"harm": 1, "more": 2}
    assert state["hostile"]["table"] == {
        "constructor": "a",
        "__proto__": nested,
        "toString": nested,
    }
    assert stage.page.evaluate("() => [({}).harm, ({}).more, Object.keys(Object.prototype)]") == [
        None, None, [],
    ]  # fmt: skip
    stage.patch({"op": "remove", "path": "/hostile/table/__proto__"})
    assert stage.complaints == []


# What client.js asks of any node, or asked once; and a form gives its field of that name.
OF_FORMS = ["attributes", "children", "closest", "contains", "elements", "firstChild", "form",
            "getAttribute", "hasAttribute", "isConnected", "matches", "nextSibling", "nodeType",
            "parentElement", "parentNode", "querySelectorAll", "remove", "removeAttribute",
            "requestSubmit", "reset", "setAttribute", "style", "submit", "tagName",
            "textContent"]  # fmt: skip


WIDTHS = """() => [...document.querySelectorAll("form[title]")]
    .map((one) => Reflect.get(HTMLElement.prototype, "style", one).width)"""


def test_a_field_may_be_named_as_anything_that_a_form_has(open_stage: Opener) -> None:
    """A search has a field "contains", and who lets people name their fields has all of these."""
    words = Hostile.words
    forms = [
        form(
            field(name=name),
            el("button", "Save", type="submit", on_click=Hostile.press),
            on_submit=Hostile.save,
            reset_on_submit=True,
            title=words,
            style={"width": words},
        )
        for name in OF_FORMS
    ]
    row = form(field(name="remove"), field(name="contains"), field(name="nextSibling"))
    stage = open_stage(vstack(*forms, foreach(Hostile.items, lambda _: row), cond(words, row)))
    stage.replace("/hostile/words", "50px")
    stage.replace("/hostile/items", ["a", "b"])
    stage.patch({"op": "remove", "path": "/hostile/items/0"})
    stage.patch({"op": "remove", "path": "/hostile/items/0"})
    stage.replace("/hostile/words", "")
    stage.replace("/hostile/words", "60px")
    # Not by Playwright's clicks: its own code asks forms for these, too.
    for number, name in enumerate(OF_FORMS):
        stage.page.evaluate(
            """([number, name]) => {
                const input = document.querySelectorAll(`form[title] input`)[number];
                if (input.name !== name) throw new Error(input.name);
                input.value = "said";
                document.querySelectorAll("form[title] button")[number].click();
            }""",
            [number, name],
        )
    stage.page.wait_for_function("() => actorstate.pending === 0")
    saved = [one for event, args in stage.events if event == "hostile.save" for one in args]
    assert saved == [{name: "said"} for name in OF_FORMS]
    assert len(stage.events) == 2 * len(OF_FORMS)
    assert stage.page.evaluate(WIDTHS) == ["60px"] * len(OF_FORMS)
    assert stage.page.evaluate("() => document.forms.length") == len(OF_FORMS) + 1
    assert stage.complaints == []
