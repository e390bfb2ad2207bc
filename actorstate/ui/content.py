"""Content that is there to be read: lists, tables, images, code.

    >>> people = table(thead(tr(th("Name"))), tbody(tr(td("Ada")), tr(td("Alan"))))
    >>> [part.tag for part in people.children]
    ['thead', 'tbody']

Tables and lists are named as HTML names them.
"""

from __future__ import annotations

from actorstate.state.expressions import Expression
from actorstate.ui.attributes import AttributeValue
from actorstate.ui.elements import Child, Element, el


def ul(*items: Child, **attributes: AttributeValue) -> Element:
    """Make a list with bullets; its items are `li`. Arguments as in `el`."""
    return el("ul", *items, **attributes)


def ol(*items: Child, **attributes: AttributeValue) -> Element:
    """Make a list with numbers; its items are `li`. Arguments as in `el`."""
    return el("ol", *items, **attributes)


def li(*children: Child, **attributes: AttributeValue) -> Element:
    """Make an item of a list. Arguments as in `el`."""
    return el("li", *children, **attributes)


def table(*parts: Child, **attributes: AttributeValue) -> Element:
    """Make a table; its parts are `thead` and `tbody`. Arguments as in `el`.

    Rows stand in a `tbody`, not in the table itself: a browser would put one around them.
    """
    return el("table", *parts, **attributes)


def thead(*rows: Child, **attributes: AttributeValue) -> Element:
    """Make the head of a table; its rows are `tr`. Arguments as in `el`."""
    return el("thead", *rows, **attributes)


def tbody(*rows: Child, **attributes: AttributeValue) -> Element:
    """Make the body of a table; its rows are `tr`. Arguments as in `el`."""
    return el("tbody", *rows, **attributes)


def tr(*cells: Child, **attributes: AttributeValue) -> Element:
    """Make a row of a table; its cells are `th` and `td`. Arguments as in `el`."""
    return el("tr", *cells, **attributes)


def th(*children: Child, **attributes: AttributeValue) -> Element:
    """Make a cell that is a heading; ``scope="row"`` where it heads a row. As `el`."""
    return el("th", *children, **attributes)


def td(*children: Child, **attributes: AttributeValue) -> Element:
    """Make a cell of a table. Arguments as in `el`."""
    return el("td", *children, **attributes)


def image(*, src: str | Expression, alt: str | Expression, **attributes: AttributeValue) -> Element:
    """Make an image.

    Args:
        src: where it is: on this server, or a ``data:`` URL. The page's policy lets a browser load
            images from nowhere else.
        alt: what it shows, for those who do not see it; ``""`` if it only decorates.
        attributes: as in `el`, such as ``width`` and ``height``, in pixels.

    Raises:
        TypeError: ``alt`` is neither text nor an expression; else as in `el`.
        ValueError: as in `el`.
    """
    if not isinstance(alt, str | Expression):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without types
        message = f'alt= of image says what it shows, or is "" if it only decorates; got {alt!r}'
        raise TypeError(message)
    return el("img", src=src, alt=alt, **attributes)


def progress(**attributes: AttributeValue) -> Element:
    """Make a bar that shows how far something is. Attributes as in `el`.

    ``value`` is a number or an expression, of ``max``, which is 1 unless it is given. Where the
    value is None, the bar only shows that something goes on.
    """
    return el("progress", **attributes)


def divider(**attributes: AttributeValue) -> Element:
    """Make a line between what is above and below. Attributes as in `el`."""
    return el("hr", **attributes)


def code(*children: Child, **attributes: AttributeValue) -> Element:
    """Make a piece of code within a sentence. Arguments as in `el`."""
    return el("code", *children, **attributes)


def pre(*children: Child, **attributes: AttributeValue) -> Element:
    """Make a block of text whose blanks and line ends are kept. Arguments as in `el`."""
    return el("pre", *children, **attributes)
