"""Blocks: what is more or less than one element.

    >>> foreach(["Ada", "Grace"], lambda name, index: f"{index + 1}. {name}").children
    ('1. Ada', '2. Grace')

`cond`, which chooses between two, stands in ``elements`` with the types that it decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar, cast, overload

from actorstate.state.expressions import Expression, as_expression, new_local, read_text
from actorstate.ui.attributes import count_asked
from actorstate.ui.elements import (
    Child,
    Conditional,
    Foreach,
    Fragment,
    cond,
    read_child,
    read_children,
)

_Item = TypeVar("_Item")
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def fragment(*children: Child) -> Fragment:
    """Group children without an element around them, as for a branch of `cond`.

    Raises:
        TypeError: a child is nothing that an element may contain.
    """
    return Fragment(read_children("fragment", children))


@overload
def foreach(
    items: Expression,
    row: Callable[[Any], Child] | Callable[[Any, Any], Child],
    *,
    key: Callable[[Any], object] | None = None,
) -> Foreach: ...


@overload
def foreach(
    items: Mapping[_Key, _Value],
    row: Callable[[tuple[_Key, _Value]], Child] | Callable[[tuple[_Key, _Value], int], Child],
    *,
    key: Callable[[tuple[_Key, _Value]], object] | None = None,
) -> Foreach | Fragment: ...


@overload
def foreach(
    items: Iterable[_Item],
    row: Callable[[_Item], Child] | Callable[[_Item, int], Child],
    *,
    key: Callable[[_Item], object] | None = None,
) -> Foreach | Fragment: ...


def foreach(
    items: object, row: Callable[..., Child], *, key: Callable[[Any], object] | None = None
) -> Foreach | Fragment:
    """Show a row for each item, in order.

    Args:
        items: an expression for a list, tuple, set or dict; a dict gives pairs, as its
            ``items()`` do: ``item[0]`` and ``item[1]``. Plain values are shown as they are when
            the page is made.
        row: called with the item, or with the item and its index if it takes two; gives what to
            show. For an expression it is called once, with expressions.
        key: called as ``row``, with the item alone; gives what the row is known by, such as
            ``item.id``. When items come, go or change places, a row keeps its elements, and what
            a person typed there, as long as its key is there. Without it a row is known by its
            position, or in a dict by the key of its item.

    Raises:
        TypeError: there is nothing to loop over, or the row is nothing that an element may
            contain.
    """
    if not isinstance(items, Expression):
        return _fixed_rows(items, row)
    item, index = new_local(), new_local()
    shown = read_child("foreach", _call(row, item, index))
    return Foreach(items, item, index, None if key is None else as_expression(key(item)), shown)


def _fixed_rows(items: object, row: Callable[..., Child]) -> Fragment:
    if isinstance(items, str | bytes) or not isinstance(items, Iterable):
        message = f"foreach takes a list, or an expression such as MyState.items, got {items!r}"
        raise TypeError(message)
    plain = cast("Iterable[object]", items.items() if isinstance(items, Mapping) else items)
    rows = [_call(row, item, index) for index, item in enumerate(plain)]
    return Fragment(read_children("foreach", tuple(rows)))


def _call(row: Callable[..., Child], item: object, index: object) -> Child:
    return row(item, index) if count_asked(row) > 1 else row(item)


def match(value: object, *branches: object) -> Expression | Conditional:
    """Choose among several in the browser: the first whose case equals the value.

    Args:
        value: an expression.
        branches: pairs ``(case, child)``, or ``(case, another, child)`` for several cases with
            one child; cases are compared by ``==``. Last, if wanted, a child without a case,
            shown when no case fits. If all children are texts, numbers or expressions, the
            result is itself an expression.

    Raises:
        TypeError: the value is no expression, there is no case, or a child is nothing that an
            element may contain.
    """
    value = read_text(value) if isinstance(value, str) else value
    if not isinstance(value, Expression):
        message = f"match takes an expression such as MyState.step, got {value!r}"
        raise TypeError(message)
    has_default = bool(branches) and not isinstance(branches[-1], tuple)
    cases = branches[:-1] if has_default else branches
    chosen = cast("Child", branches[-1] if has_default else None)
    for case in reversed(cases):
        chosen = _case(value, case, chosen)
    if not cases:
        message = 'match takes pairs of a case and a child, such as (1, "one")'
        raise TypeError(message)
    return cast("Expression | Conditional", chosen)


_SHORTEST: Final = 2  # one case, one child


def _case(value: Expression, branch: object, otherwise: Child) -> Expression | Conditional:
    if not isinstance(branch, tuple) or len(cast("tuple[object, ...]", branch)) < _SHORTEST:
        message = f'match takes pairs such as (1, "one"), and one default at the end: {branch!r}'
        raise TypeError(message)
    *cases, child = cast("tuple[object, ...]", branch)
    fits = value == cases[0]
    for case in cases[1:]:
        fits |= value == case
    return cond(fits, cast("Child", child), otherwise)
