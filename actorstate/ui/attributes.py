"""What may stand in a tag: keyword arguments, checked and sorted by how they reach the browser.

They are checked where the element is made, so that the traceback of a mistake ends in the line
that has it. A name decides the way: ``style`` is set through the CSSOM, because the page's
Content-Security-Policy allows no style attributes; ``on_click`` and its kin become events;
everything else is an attribute, written out when its value is known and bound when it is an
expression.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from types import FunctionType, MappingProxyType
from typing import Final, TypeAlias, cast, final

from attrs import frozen

from actorstate.state.expressions import (
    EVENT_VALUE,
    Expression,
    as_expression,
    read_text,
    shown_text,
)
from actorstate.state.handlers import Invocation, as_invocation
from actorstate.state.urls import running_scheme

AttributeValue: TypeAlias = object
"""What an attribute takes, decided by its name: see `read_attributes`."""

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_STYLE_NAME: Final = re.compile(r"(--)?[a-z][a-z0-9]*(-[a-z0-9]+)*|-[a-z]+(-[a-z0-9]+)+")

# Tags that bring code or whole documents into the page, that the parser reads by other rules
# (so that escaping would not hold), or that belong to the page and not to its body.
_REFUSED_TAGS: Final = frozenset({
    "base", "body", "embed", "frame", "frameset", "head", "html", "iframe", "meta", "noembed",
    "noframes", "noscript", "object", "plaintext", "script", "style", "template", "title",
    "xmp",
})  # fmt: skip

_URL_ATTRIBUTES: Final = frozenset({
    "action", "background", "cite", "data", "formaction", "href", "ping", "poster", "src",
})  # fmt: skip

# Their False is a word, not the absence of the attribute.
_WORDED_BOOLEANS: Final = frozenset({"contenteditable", "draggable", "spellcheck"})

# Where HTML has no such attribute, but the browser has such a property: a fixed value, too, is
# for the client to set.
_PROPERTIES: Final = frozenset({("select", "value"), ("textarea", "value")})

FIELD_TAGS: Final = frozenset({"input", "select", "textarea"})
"""Tags of elements that have a value for an event to carry."""

# The DOM event behind each keyword; that of on_change depends on the element. focusin and
# focusout, because focus and blur do not bubble to the one listener that the client has.
_DOM_EVENTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "on_blur": "focusout",
        "on_change": "change",
        "on_click": "click",
        "on_focus": "focusin",
        "on_key_down": "keydown",
        "on_submit": "submit",
    }
)

EVENT_KEYWORDS: Final = frozenset(_DOM_EVENTS)
"""The keywords that take a handler, such as ``on_click``."""

# A half-typed text is a text, so these send each keystroke. A half-typed number is another
# number: on its way to 15 a limit would for a moment be 1, and a cleared field no number at
# all. So everything else sends when the person has settled: Enter, leaving the field, a spin
# button, a choice.
_FREE_TEXT_TYPES: Final = frozenset({"email", "password", "search", "tel", "text", "url"})

# What a person drags through values that are all whole. They are settled when it is let go; but
# who asks for a pace (debounce or throttle) means to follow each move.
_PLACED: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_DRAGGED_TYPES: Final = frozenset({"color", "range"})


@final
@frozen(eq=False)  # comparing would ask expressions whether they are equal, which they refuse
class Attributes:
    """The checked attributes of one element. `read_attributes` makes it."""

    fixed: Mapping[str, str]
    """Attributes whose text is known when the page is made."""
    bound: Mapping[str, Expression]
    """Attributes that follow an expression."""
    styles: Mapping[str, Expression]
    """CSS properties, fixed ones as literals."""
    events: Mapping[str, Invocation]
    """What is sent, by the DOM event that sends it, such as ``click`` or ``input``."""


def check_tag(tag: str) -> str:
    """Give the tag as it is.

    Raises:
        ValueError: it is no name of an element, or one that a page's body must not have.
    """
    if _NAME.fullmatch(tag) is None:
        message = f"{tag!r} is no tag: write a lower-case name such as 'div'"
        raise ValueError(message)
    if tag in _REFUSED_TAGS:
        message = f"<{tag}> cannot be part of a page's body"
        raise ValueError(message)
    return tag


def read_attributes(tag: str, given: Mapping[str, AttributeValue]) -> Attributes:
    """Check and sort the keyword arguments of an element.

    Args:
        tag: the element's tag; it decides which DOM event ``on_change`` waits for.
        given: keyword arguments. A trailing underscore is stripped (``for_``), other
            underscores become ``-``, and ``class_name`` is ``class``. Values are str, int,
            float, True (the attribute is there), False and None (it is not), or expressions.
            ``style`` takes a dict, ``on_click`` and its kin a handler.

    Raises:
        TypeError: a value of a type that its attribute does not take.
        ValueError: a name that is no attribute's name, or a URL that runs code.
    """
    fixed: dict[str, str] = {}
    bound: dict[str, Expression] = {}
    styles: Mapping[str, Expression] = MappingProxyType({})
    events: dict[str, Invocation] = {}
    named = _named(tag, given)
    for name, value in named.items():
        if name.startswith("on"):
            events |= _read_handler(tag, name, value, named.get("type", "text"))
        elif name == "style":
            styles = _read_styles(tag, value)
        elif isinstance(value, Expression):
            bound[name] = value
        elif (tag, name) in _PROPERTIES and value is not None:
            bound[name] = as_expression(value)
        elif (text := _fixed_text(tag, name, value)) is not None:
            fixed[name] = text
    return Attributes(
        MappingProxyType(fixed), MappingProxyType(bound), styles, MappingProxyType(events)
    )


def _named(tag: str, given: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
    named: dict[str, AttributeValue] = {}
    for keyword, value in given.items():
        name = _attribute_name(tag, keyword)
        if name in named:
            message = f"<{tag}> is given {name} twice, the second time as {keyword}="
            raise ValueError(message)
        named[name] = read_text(value) if isinstance(value, str) else value
    return named


def _attribute_name(tag: str, keyword: str) -> str:
    name = "class" if keyword == "class_name" else keyword.removesuffix("_").replace("_", "-")
    if _NAME.fullmatch(name) is None:
        message = f"<{tag}> cannot have the attribute {keyword!r}: names are lower-case words"
        raise ValueError(message)
    if name == "srcdoc" or name.startswith("data-as-"):
        message = f"<{tag}> cannot have the attribute {keyword!r}: it is not for pages to set"
        raise ValueError(message)
    return name


def _read_handler(tag: str, name: str, value: object, kind: object) -> dict[str, Invocation]:
    """Give what is sent, by its DOM event. ``kind`` is the type of an input."""
    keyword = name.replace("-", "_")
    _check_event(tag, keyword)
    if value is None:
        return {}
    try:
        has_value = _has_value(tag, keyword)
        is_asked = isinstance(value, FunctionType)
        invocation = as_invocation(_ask(value, has_value=has_value) if is_asked else value)
        if has_value and invocation.takes_more and not is_asked:
            invocation = invocation.fill(EVENT_VALUE)
        for argument in invocation.by_name.values():
            as_expression(argument)
        invocation.check()
    except TypeError as error:
        message = f"{keyword}= of <{tag}>: {error}"
        raise TypeError(message) from error
    return {_dom_event(tag, keyword, kind, invocation): invocation}


def _check_event(tag: str, keyword: str) -> None:
    if keyword not in _DOM_EVENTS:
        *others, last = (f"{known}=" for known in sorted(_DOM_EVENTS))
        message = (
            f"<{tag}> cannot have {keyword}=: write {', '.join(others)} or {last} with a handler "
            f"such as MyState.toggle"
        )
        raise TypeError(message)
    if keyword == "on_submit" and tag != "form":
        message = (
            f"<{tag}> cannot have on_submit=: a form is what is submitted; write "
            f"form(..., on_submit=MyState.save)"
        )
        raise TypeError(message)


def _has_value(tag: str, keyword: str) -> bool:
    """Tell whether the event has something to add to the handler's arguments."""
    if keyword in {"on_blur", "on_focus"}:
        return tag in FIELD_TAGS
    return keyword != "on_click"


def _dom_event(tag: str, keyword: str, kind: object, invocation: Invocation) -> str:
    """Give the DOM event that an element's keyword waits for."""
    if keyword != "on_change":
        return _DOM_EVENTS[keyword]
    if tag == "textarea":
        return "input"
    kind = kind.lower() if tag == "input" and isinstance(kind, str) else None
    has_pace = invocation.debounced is not None or invocation.throttled is not None
    is_followed = kind in _FREE_TEXT_TYPES or (kind in _DRAGGED_TYPES and has_pace)
    return "input" if is_followed else "change"


def _ask(function: FunctionType, *, has_value: bool) -> object:
    """Let a function say what to run, given what stands for the value of the event."""
    takes_value = has_value and count_asked(function) > 0
    return function(EVENT_VALUE) if takes_value else function()


def count_asked(function: Callable[..., object]) -> int:
    """Count the positional arguments that a function asks for; those with a default it has."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some built-in callables do not say
        return 1
    return sum(one.kind in _PLACED and one.default is one.empty for one in parameters)


def _read_styles(tag: str, value: object) -> Mapping[str, Expression]:
    if value is None:
        return MappingProxyType({})
    if not isinstance(value, Mapping):
        message = f'style= of <{tag}> takes a dict such as {{"width": "8em"}}, got {value!r}'
        raise TypeError(message)
    entries = cast("Mapping[object, object]", value)
    return MappingProxyType(
        {_style_name(tag, name): _style_value(tag, name, one) for name, one in entries.items()}
    )


def _style_name(tag: str, given: object) -> str:
    name = given.replace("_", "-") if isinstance(given, str) else ""
    if _STYLE_NAME.fullmatch(name) is None:
        message = f"style= of <{tag}>: {given!r} is no CSS property, such as 'max_width'"
        raise ValueError(message)
    return name


def _style_value(tag: str, name: object, value: object) -> Expression:
    if isinstance(value, bool) or not isinstance(value, Expression | str | int | float | None):
        message = f"style= of <{tag}>: {name} takes text, a number or an expression, got {value!r}"
        raise TypeError(message)
    return as_expression(value)


def _fixed_text(tag: str, name: str, value: object) -> str | None:
    """Give the text of an attribute's value, or None when the attribute is absent."""
    if value is None:
        return None
    if isinstance(value, bool):
        return _boolean_text(name, value=value)
    if not isinstance(value, str | int | float):
        message = (
            f"{name}= of <{tag}> takes text, a number, a bool, None or an expression, got {value!r}"
        )
        raise TypeError(message)
    text = shown_text(value)
    if name in _URL_ATTRIBUTES:
        _check_url(tag, name, text)
    return text


def _boolean_text(name: str, *, value: bool) -> str | None:
    if name in _WORDED_BOOLEANS or name.startswith(("aria-", "data-")):
        return "true" if value else "false"
    return "" if value else None


def _check_url(tag: str, name: str, url: str) -> None:
    """Refuse URLs that run code. The page's policy would, too, but without a line number."""
    scheme = running_scheme(url)
    is_image = name in {"src", "poster"} and re.match(r"\s*data:image/", url, re.IGNORECASE)
    if scheme is not None and not is_image:
        message = f"{name}= of <{tag}> cannot be a {scheme}: URL: {url!r}"
        raise ValueError(message)
