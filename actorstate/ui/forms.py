"""Forms and their fields: what a person types, ticks, chooses and drags.

    >>> sizes = select(["S", "M", ("XL", "Very large")], name="size")
    >>> [option.children for option in sizes.children]
    [('S',), ('M',), ('Very large',)]

A field is bound both ways: its value to a var, and ``on_change`` to a handler, often the var's
setter: ``checkbox("Done", checked=MyState.done, on_change=MyState.set_done)``. While what a person
does is on its way to the server, patches leave the field alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeAlias, cast

import attrs

from actorstate.state.expressions import Expression
from actorstate.ui.attributes import AttributeValue
from actorstate.ui.elements import Child, Element, Text, el

Option: TypeAlias = "Child | tuple[str | int | float | Expression, Text]"
"""One choice of a `select`: a text, a pair of the value and what is shown, or an element."""

_OPTIONS: Final = (
    'texts such as "S", pairs such as ("s", "Small"), or elements such as el("option")'
)


def form(*children: Child, reset_on_submit: bool = False, **attributes: AttributeValue) -> Element:
    """Make a form: fields that are sent together.

    ``on_submit=MyState.save`` is sent when the person presses Enter in a field or a
    ``button("Save", type="submit")``. If the handler takes one more argument, that is a dict of
    the fields that have a ``name``: text as text, numbers too; a bool for a checkbox; of
    checkboxes with a ``value``, and of a select with ``multiple``, the list of the chosen
    values; of radio buttons the chosen value or None. Files are not sent. The browser checks
    ``required``, ``min`` and the like before. The page stays where it is.

    What is typed into a named field of the form stays there until it is submitted, and until the
    server has done with it; then the field shows the state again, if it is bound.

    Args:
        children: as in `el`.
        reset_on_submit: whether the fields go back to their first values once the server has
            done what was submitted. They stay as they are if that failed.
        attributes: as in `el`.

    Raises:
        TypeError: as in `el`.
        ValueError: as in `el`.
    """
    element = el("form", *children, **attributes)
    return _with_fixed(element, {"data-as-reset": ""}) if reset_on_submit else element


def label(*children: Child, **attributes: AttributeValue) -> Element:
    """Make a label: of the field inside it, or of the one whose id is ``for_``. As `el`."""
    return el("label", *children, **attributes)


def input(**attributes: AttributeValue) -> Element:  # noqa: A001 - the word of HTML, as ui.input
    """Make a field for text. Attributes as in `el`.

    Bind its text with ``value=MyState.name``. ``on_change`` sends the text at each keystroke;
    ``on_change=MyState.search.debounce(0.3)`` once the person pauses for 0.3 seconds. While what
    the person typed is on its way, patches leave the field alone.
    """
    return el("input", **{"type": "text", **attributes})


def number_input(**attributes: AttributeValue) -> Element:
    """Make a field for a number. Attributes as in `el`, such as ``min``, ``max`` and ``step``.

    Bind its number with ``value=MyState.limit``. ``on_change`` sends text, such as ``"5"``,
    once the number is settled: at Enter, at the spin buttons, or when the person leaves the
    field. Until then, and while it is on its way, patches leave the field alone.
    """
    return el("input", **{"type": "number", **attributes})


def slider(**attributes: AttributeValue) -> Element:
    """Make a slider. Attributes as in `el`; ``min`` is 0, ``max`` 100 and ``step`` 1 if not given.

    Bind its number with ``value=MyState.volume``. ``on_change`` sends a number when the slider
    is let go. To follow each move, say at what pace: ``on_change=MyState.set_volume.throttle(0.1)``
    sends at most ten in a second, and always the last.

    Raises:
        TypeError: one of these is neither a number nor an expression; else as in `el`.
        ValueError: as in `el`.
    """
    _check_numbers("slider", attributes, "min", "max", "step", "value")
    return el("input", **{"type": "range", **attributes})


def textarea(**attributes: AttributeValue) -> Element:
    """Make a field for text of several lines. Attributes as in `el`, such as ``rows``.

    Bind its text with ``value=MyState.note``. ``on_change`` sends as that of `input` does.
    """
    return el("textarea", **attributes)


def checkbox(*children: Child, **attributes: AttributeValue) -> Element:
    """Make a checkbox.

    Bind it with ``checked=MyState.done``. ``on_change`` sends a bool. In a form, it is a bool in
    the fields, too; with a ``value`` it is one of a group of that name, of which the chosen values
    are sent as a list.

    Args:
        children: what stands beside it and is its label. Without, it is the bare box: then give
            an ``aria_label``, or put it into a `label`.
        attributes: of the box, as in `el`.

    Raises:
        TypeError: ``checked`` is neither a bool nor an expression; else as in `el`.
        ValueError: as in `el`.
    """
    return _with_words("checkbox", children, attributes)


def radio(
    *children: Child,
    name: str,
    value: str | float | Expression,
    **attributes: AttributeValue,
) -> Element:
    """Make a radio button: one of several, of which one is chosen.

    Bind it with ``checked=MyState.size == "s"``. ``on_change`` sends its value, as text, when it
    is chosen. In a form, the chosen value is in the fields by the name.

    Args:
        children: what stands beside it, as in `checkbox`.
        name: the same for all of one group.
        value: what it stands for.
        attributes: of the button, as in `el`.

    Raises:
        TypeError: ``checked`` is neither a bool nor an expression; else as in `el`.
        ValueError: as in `el`.
    """
    return _with_words("radio", children, {"name": name, "value": value, **attributes})


def select(options: Sequence[Option] | Child, **attributes: AttributeValue) -> Element:
    """Make a choice among options.

    Bind the chosen value with ``value=MyState.size``. ``on_change`` sends the chosen value, a
    text; with ``multiple=True`` a list of texts, and ``value`` takes a list.

    Args:
        options: a list of texts, of pairs ``(value, shown)``, or of elements such as
            ``el("option", ...)`` and ``el("optgroup", ...)``; or one thing that stands for
            several, such as a `cond`.
        attributes: as in `el`.

    Raises:
        TypeError: an option is none of these; else as in `el`.
        ValueError: as in `el`.
    """
    if options is None or isinstance(options, str | int | float | Expression | Mapping):
        message = f"select takes a list of {_OPTIONS}; got {options!r}"
        raise TypeError(message)
    several = options if isinstance(options, Sequence) else (options,)
    return el("select", *map(_option, several), **attributes)


def _option(option: Option) -> Child:
    if isinstance(option, tuple):
        return _option_of_pair(cast("tuple[object, ...]", option))
    if isinstance(option, str | int | float | Expression):
        return el("option", option, value=option)
    return option


def _option_of_pair(pair: tuple[object, ...]) -> Element:
    match pair:
        case (str() | int() | float() | Expression() as value, shown):
            return el("option", cast("Child", shown), value=value)
        case _:
            message = f"select cannot have the option {pair!r}: options are {_OPTIONS}"
            raise TypeError(message)


def _with_words(
    kind: str, words: tuple[Child, ...], attributes: Mapping[str, AttributeValue]
) -> Element:
    checked = attributes.get("checked")
    if not isinstance(checked, bool | Expression | None):
        message = f"checked= of {kind} takes a bool or an expression, got {checked!r}"
        raise TypeError(message)
    box = el("input", **{"type": kind, **attributes})
    return el("label", box, *words, class_name="as-choice") if words else box


def _check_numbers(maker: str, attributes: Mapping[str, AttributeValue], *names: str) -> None:
    for name in names:
        value = attributes.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float | Expression | None):
            message = f"{name}= of {maker} takes a number or an expression, got {value!r}"
            raise TypeError(message)


def _with_fixed(element: Element, more: Mapping[str, str]) -> Element:
    """Add attributes that pages cannot set themselves."""
    fixed = MappingProxyType({**element.attributes.fixed, **more})
    return attrs.evolve(element, attributes=attrs.evolve(element.attributes, fixed=fixed))
