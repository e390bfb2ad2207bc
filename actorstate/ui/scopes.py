"""Scopes: where in a page the item of a foreach is known.

A row is a Python function that is called once, with something that stands for every item. If it
lets that thing out, a page could show it where there is no row; the browser would find nothing
there. So each page is checked before it is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from actorstate.state.expressions import EVENT_VALUE, Expression, as_expression, locals_of
from actorstate.ui.elements import Child, Conditional, Element, Foreach, Fragment

_Names = frozenset[str]


def check_scopes(child: Child, known: _Names = frozenset()) -> None:
    """Make sure that a child uses items of a foreach in its rows only.

    Args:
        child: what is to be shown.
        known: the names of the locals that are known where it stands.

    Raises:
        TypeError: it uses one that is not.
    """
    if isinstance(child, Expression):
        _check([child], known)
    elif isinstance(child, Element):
        _check(_bound(child), known)
        _check(_arguments(child), known | locals_of(EVENT_VALUE))
    elif isinstance(child, Conditional):
        _check([child.condition], known)
    for inner, names in _inner(child, known):
        check_scopes(inner, names)


def _inner(child: Child, known: _Names) -> Iterator[tuple[Child, _Names]]:
    if isinstance(child, Element | Fragment):
        yield from ((one, known) for one in child.children)
    elif isinstance(child, Conditional):
        yield from ((child.when_true, known), (child.when_false, known))
    elif isinstance(child, Foreach):
        in_row = known | locals_of(child.item) | locals_of(child.index)
        yield from ((child.items, known), (child.key, in_row), (child.row, in_row))


def _bound(element: Element) -> Iterator[Expression]:
    yield from element.attributes.bound.values()
    yield from element.attributes.styles.values()


def _arguments(element: Element) -> Iterator[Expression]:
    for invocation in element.attributes.events.values():
        yield from map(as_expression, invocation.args)


def _check(expressions: Iterable[Expression], known: _Names) -> None:
    for expression in expressions:
        if locals_of(expression) - known:
            message = (
                f"{expression!r} is used where it is not known: what a foreach gives to the "
                f"function of its rows, or an event to a function such as `lambda value: ...`, "
                f"belongs into what that function returns"
            )
            raise TypeError(message)
