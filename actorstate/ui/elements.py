"""Elements: the frozen records that a page is made of, and the functions that make them.

    >>> page = vstack(heading("Hello"), text("It is ", 12, " o'clock"))
    >>> page.tag, len(page.children)
    ('div', 2)

Every function takes children first and attributes by keyword; `el` says which.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias, final, overload

from attrs import frozen

from actorstate.state.expressions import Expression, Local, cond_expression, read_text
from actorstate.ui.attributes import (
    Attributes,
    AttributeValue,
    check_tag,
    read_attributes,
)

Text: TypeAlias = "str | int | float | Expression | None"
"""A child that is only text. None shows nothing."""

Child: TypeAlias = "Text | Element | Conditional | Foreach | Fragment"
"""What an element may contain."""

VOID_TAGS: Final = frozenset({
    "area", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track",
    "wbr",
})  # fmt: skip
"""Tags that have no end tag, and so no children."""

_MAX_HEADING_LEVEL: Final = 6


@final
@frozen(eq=False)  # comparing would ask expressions whether they are equal, which they refuse
class Element:
    """A tag with attributes and children. `el` makes it, and checks them."""

    tag: str
    """The tag, as in ``div``."""
    attributes: Attributes
    """The attributes, sorted by how they reach the browser."""
    children: tuple[Child, ...]
    """What it contains, in order."""


@final
@frozen(eq=False)  # as Element
class Conditional:
    """One of two children, chosen in the browser. `cond` makes it."""

    condition: Expression
    """Decides by its truth, as Python would."""
    when_true: Child
    """In the page while the condition is true."""
    when_false: Child
    """In the page while it is false."""


@final
@frozen(eq=False)  # as Element
class Foreach:
    """A row for each item of a list, made in the browser. `foreach` makes it."""

    items: Expression
    """The list, or the dict."""
    item: Local
    """What stands for the item in the row: one of the list, or a pair of the dict."""
    index: Local
    """What stands for its position, from 0."""
    key: Expression | None
    """What a row is known by; None for its position, or in a dict for the item's key."""
    row: Child
    """What is shown for each item."""


@final
@frozen(eq=False)  # as Element
class Fragment:
    """Children without an element around them. `fragment` makes it."""

    children: tuple[Child, ...]
    """What it contains, in order."""


Node = Element | Conditional | Foreach | Fragment
"""A child that is more than text."""


def el(tag: str, *children: Child, **attributes: AttributeValue) -> Element:
    """Make an element of any tag.

    Args:
        tag: the tag, as in ``"li"``.
        children: texts, numbers, expressions, elements; None is skipped. Text is always text,
            never markup; an f-string may hold expressions.
        attributes: HTML attributes. Underscores become ``-`` (``aria_label``), a trailing one
            is stripped (``for_``), ``class_name`` is ``class``. A value may be an expression:
            the attribute follows it. True, False and None switch an attribute on and off.
            ``style`` takes a dict of CSS properties.

            Events take a handler, with arguments bound (``MyState.add(3)``) or not, and at a
            pace (``MyState.search.debounce(0.3)``) or not; arguments may be expressions, whose
            values are sent. Some add another argument if the handler takes one; a function puts
            it elsewhere, as in ``lambda value: MyState.rename(value, item.id)``:

            - ``on_click`` adds nothing.
            - ``on_change`` adds the element's value: text, a bool for a checkbox, a number for
              a slider, a list of texts for a choice of several. It is sent at each keystroke
              where text is typed, elsewhere when the value is settled.
            - ``on_focus`` and ``on_blur``, when the focus comes into the element and when it
              leaves, add the value if the element is a field.
            - ``on_key_down`` adds the key: what it types, or its name, as in ``"Enter"``.
            - ``on_submit``, of a form alone, adds its fields: see `form`.

    Raises:
        TypeError: a child or the value of an attribute is of a type that does not fit.
        ValueError: the tag or the name of an attribute is malformed or not allowed, or a URL
            runs code.
    """
    check_tag(tag)
    if children and tag in VOID_TAGS:
        message = f"<{tag}> cannot have children, got {children[0]!r}"
        raise TypeError(message)
    return Element(tag, read_attributes(tag, attributes), read_children(f"<{tag}>", children))


def hstack(*children: Child, **attributes: AttributeValue) -> Element:
    """Put children side by side; they wrap where the screen is narrow. Arguments as in `el`."""
    return el("div", *children, **_with_class("as-hstack", attributes))


def vstack(*children: Child, **attributes: AttributeValue) -> Element:
    """Put children below one another. Arguments as in `el`."""
    return el("div", *children, **_with_class("as-vstack", attributes))


def heading(*children: Child, level: int = 1, **attributes: AttributeValue) -> Element:
    """Make a heading.

    Args:
        children: as in `el`.
        level: 1 for the page's own heading, up to 6.
        attributes: as in `el`.

    Raises:
        ValueError: there is no such level; else as in `el`.
        TypeError: as in `el`.
    """
    if not 1 <= level <= _MAX_HEADING_LEVEL:
        message = f"level= of heading is 1 to {_MAX_HEADING_LEVEL}, got {level!r}"
        raise ValueError(message)
    return el(f"h{level}", *children, **attributes)


def text(*children: Child, **attributes: AttributeValue) -> Element:
    """Make a paragraph. Arguments as in `el`."""
    return el("p", *children, **attributes)


def button(*children: Child, **attributes: AttributeValue) -> Element:
    """Make a button. ``class_name="as-quiet"`` makes it recede. Arguments as in `el`.

    ``type="submit"`` makes it the one that submits its form.
    """
    return el("button", *children, **{"type": "button", **attributes})


def link(*children: Child, href: str | Expression, **attributes: AttributeValue) -> Element:
    """Make a link.

    Args:
        children: as in `el`.
        href: where it leads. A URL that runs code is refused; one that an expression gives is
            refused by the browser's side.
        attributes: as in `el`.

    Raises:
        TypeError: as in `el`.
        ValueError: as in `el`.
    """
    return el("a", *children, href=href, **attributes)


@overload
def cond(condition: object, when_true: Text, when_false: Text = None) -> Expression: ...


@overload
def cond(
    condition: object, when_true: Child, when_false: Child = None
) -> Expression | Conditional: ...


def cond(condition: object, when_true: Child, when_false: Child = None) -> Expression | Conditional:
    """Choose between two in the browser, as ``when_true if condition else when_false``.

    Args:
        condition: an expression; its truth is Python's.
        when_true: what to show while it is true. With texts, numbers or expressions on both
            sides the result is itself an expression, for an attribute or for further operators.
        when_false: what to show otherwise: nothing, unless it is given.

    Raises:
        TypeError: the condition is no expression, or a branch is nothing that an element may
            contain.
    """
    condition = read_text(condition) if isinstance(condition, str) else condition
    if not isinstance(condition, Expression):
        message = (
            f"cond takes an expression such as MyState.running, got {condition!r}. That value "
            f"is known now: write `a if x else b`. (`is` and `is not` do not make expressions; "
            f"write == and !=.)"
        )
        raise TypeError(message)
    chosen = read_child("cond", when_true)
    other = read_child("cond", when_false)
    if isinstance(chosen, Node) or isinstance(other, Node):
        return Conditional(condition, chosen, other)
    return cond_expression(condition, chosen, other)


def _with_class(own: str, attributes: dict[str, AttributeValue]) -> dict[str, AttributeValue]:
    """Put our class before the program's, which may be an expression."""
    given = attributes.get("class_name")
    if isinstance(given, str | Expression):
        return {**attributes, "class_name": own + " " + given}
    return attributes if given is not None else {**attributes, "class_name": own}


def read_children(parent: str, children: tuple[Child, ...]) -> tuple[Child, ...]:
    """Check children as `read_child` does, and put those of fragments where these stood.

    Raises:
        TypeError: as in `read_child`.
    """
    return tuple(_spread(read_child(parent, child) for child in children))


def _spread(children: Iterator[Child]) -> Iterator[Child]:
    for child in children:
        if isinstance(child, Fragment):
            yield from child.children
        else:
            yield child


def read_child(parent: str, child: Child) -> Child:
    """Check that something can be shown inside a parent, and find what an f-string holds.

    Args:
        parent: named in the error.
        child: what is to be shown.

    Raises:
        TypeError: it is neither text, number, expression nor element.
    """
    check_child(parent, child)
    return read_text(child) if isinstance(child, str) else child


def check_child(parent: str, child: object) -> None:
    """Make sure that something can be shown inside a parent, which is named in the error.

    Raises:
        TypeError: it is neither text, number, expression nor element.
    """
    if child is None or isinstance(child, str | int | float | Expression | Node):
        return
    advice = ""
    if isinstance(child, list | tuple):
        advice = "; unpack it with *"
    elif callable(child):
        advice = "; call it"
    message = (
        f"{parent} cannot contain {child!r}: children are text, numbers, expressions and "
        f"elements{advice}"
    )
    raise TypeError(message)
