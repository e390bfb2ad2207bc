"""Elements to HTML: a pure function from records to text.

Whatever depends on state is left out of the markup and stands beside it as a binding, an
expression in a data attribute, for ``web/client.js`` to fill in when the state arrives:

=====================  ======================================================================
``data-as-text``       an expression; the element's whole content is its text
``data-as-attrs``      ``{attribute: expression}``
``data-as-style``      ``{CSS property: expression}``
``data-as-on``         ``{DOM event: {"name": handler, "args": [expression, ...]}}``, or by
                       parameter name; the local ``event`` is what the event has to say then;
                       ``debounce`` and ``throttle`` beside them, in milliseconds, if asked for
``data-as-reset``      on a form that goes back to its first values when it was submitted
``data-as-cond``       on a ``<template>`` with two ``<template>`` in it: an expression; a copy
                       of the first or the second stands after it
``data-as-foreach``    on a ``<template>``: ``{"items": expression, "item": local, "index": local,
                       "key": expression or null}``; a copy for each item stands after it
=====================  ======================================================================
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping
from typing import Final

from actorstate.state.expressions import (
    Expression,
    as_expression,
    read_text,
    show_expression,
    shown_text,
)
from actorstate.state.handlers import Invocation
from actorstate.ui.attributes import Attributes
from actorstate.ui.elements import (
    VOID_TAGS,
    Child,
    Conditional,
    Element,
    Foreach,
    Fragment,
    Node,
    read_child,
)
from actorstate.ui.scopes import check_scopes

# The policy allows no inline script and no inline style, so there is none. The icon is empty
# because without one each browser would ask for /favicon.ico and log that it is missing.
_PAGE: Final = """\
<!DOCTYPE html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
{description}<link rel="icon" href="data:,">
<link rel="stylesheet" href="/_actorstate/style.css">
<script src="/_actorstate/client.js" defer></script>
</head>
<body>
<main class="as-page">
{body}
</main>
<div class="as-mark" id="as-mark" role="status" hidden>Reconnecting…</div>
<div class="as-toasts" id="as-toasts" role="alert"></div>
<noscript><p class="as-mark">This page needs JavaScript.</p></noscript>
</body>
</html>
"""


def render_page(body: Child, *, title: str, description: str = "", language: str = "en") -> str:
    """Give the whole HTML document of a page.

    Args:
        body: what the page shows.
        title: the text in the browser's tab.
        description: what search engines show; nothing is written if it is empty.
        language: the language of the page's text, as in ``en`` or ``pt-BR``.

    Raises:
        TypeError: the body is nothing that can be shown, or as in `render`; or the title, the
            description or the language holds an expression.
    """
    fixed = {"title": title, "description": description, "language": language}
    for name, given in fixed.items():
        if isinstance(read_text(given), Expression):
            message = f"the {name} of a page cannot follow a var: it is fixed when the page is made"
            raise TypeError(message)
    shown = render(read_child("a page", body))
    return _PAGE.format(
        language=html.escape(language),
        title=html.escape(title),
        description=_description(description),
        body=shown,
    )


def _description(text: str) -> str:
    return f'<meta name="description" content="{html.escape(text)}">\n' if text else ""


def render(child: Child) -> str:
    """Give the HTML of one child: escaped text, or an element with its bindings.

    Raises:
        TypeError: the item of a foreach is used outside of its rows.
    """
    check_scopes(child)
    return _render(child)


def _render(child: Child) -> str:
    if isinstance(child, Element):
        return _element(child)
    if isinstance(child, Conditional):
        return _conditional(child)
    if isinstance(child, Foreach):
        return _foreach(child)
    if isinstance(child, Fragment):
        return "".join(map(_render, child.children))
    if isinstance(child, Expression):
        return f"<span{_json_attribute('data-as-text', child.to_json())}></span>"
    return html.escape(shown_text(child), quote=False)


def _element(element: Element) -> str:
    opening = f"<{element.tag}{''.join(_attributes(element.attributes))}"
    if element.tag in VOID_TAGS:
        return f"{opening}>"
    if (content := _bound_text(element.children)) is not None:
        binding = _json_attribute("data-as-text", content.to_json())
        return f"{opening}{binding}></{element.tag}>"
    return f"{opening}>{''.join(map(_render, element.children))}</{element.tag}>"


def _bound_text(children: tuple[Child, ...]) -> Expression | None:
    """Join children that are only text, some of it bound, to one expression.

    Then the binding stands on the element itself. A span each would do as well, but the parser
    throws spans away where only text may be, as in an option.
    """
    texts = [child for child in children if not isinstance(child, Node)]
    if len(texts) < len(children) or not any(isinstance(one, Expression) for one in texts):
        return None
    only = texts[0]
    return only if len(texts) == 1 and isinstance(only, Expression) else show_expression(*texts)


def _conditional(choice: Conditional) -> str:
    # Templates may stand wherever elements may, in tables and lists too, where a wrapper
    # would be thrown out by the parser.
    binding = _json_attribute("data-as-cond", choice.condition.to_json())
    branches = "".join(
        f"<template>{_render(branch)}</template>"
        for branch in (choice.when_true, choice.when_false)
    )
    return f"<template{binding}>{branches}</template>"


def _foreach(rows: Foreach) -> str:
    binding = {
        "items": rows.items.to_json(),
        "item": rows.item.to_json()[1],
        "index": rows.index.to_json()[1],
        "key": None if rows.key is None else rows.key.to_json(),
    }
    return f"<template{_json_attribute('data-as-foreach', binding)}>{_render(rows.row)}</template>"


def _attributes(attributes: Attributes) -> Iterator[str]:
    for name, value in attributes.fixed.items():
        yield f' {name}="{html.escape(value)}"' if value else f" {name}"
    if attributes.bound:
        yield _json_attribute("data-as-attrs", _all_json(attributes.bound))
    if attributes.styles:
        yield _json_attribute("data-as-style", _all_json(attributes.styles))
    if attributes.events:
        events = {event: _event_json(one) for event, one in attributes.events.items()}
        yield _json_attribute("data-as-on", events)


def _all_json(expressions: Mapping[str, Expression]) -> dict[str, object]:
    return {name: expression.to_json() for name, expression in expressions.items()}


def _event_json(invocation: Invocation) -> dict[str, object]:
    by_name = _all_json({n: as_expression(one) for n, one in invocation.by_name.items()})
    pace = {"debounce": invocation.debounced, "throttle": invocation.throttled}
    return {
        "name": invocation.name,
        "args": by_name if invocation.kwargs else list(by_name.values()),
        **{name: round(1000 * seconds) for name, seconds in pace.items() if seconds is not None},
    }


def _json_attribute(name: str, value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return f' {name}="{html.escape(text)}"'
