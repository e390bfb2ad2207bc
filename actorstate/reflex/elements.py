"""Elements under the names of Reflex's components."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, final

from actorstate import ui
from actorstate.reflex.absent import Namespace, missing
from actorstate.reflex.props import OF_STACKS, OF_TEXT, read_props, set_looks_aside
from actorstate.state.expressions import Expression
from actorstate.ui import foreach

Component: TypeAlias = ui.Element | ui.Conditional | ui.Foreach | ui.Fragment
"""What a page, or a function that makes a part of one, gives."""


@final
class Maker:
    """Makes the elements of one of Reflex's components: ``rx.button("Save", on_click=...)``."""

    def __init__(
        self,
        name: str,
        make: Callable[..., ui.Element],
        renamed: Mapping[str, str] = MappingProxyType({}),
        *,
        own: frozenset[str] = frozenset(),
        has_looks: bool = True,
    ) -> None:
        self._name: Final = name
        self._make: Final = make
        self._renamed: Final = renamed
        self._own: Final = own
        self._has_looks: Final = has_looks

    def __repr__(self) -> str:
        return f"<{self._name}>"

    def __call__(
        self, *children: ui.Child | Sequence[ui.Option], as_: str | None = None, **props: Any
    ) -> ui.Element:
        """Make an element.

        Args:
            children: as those of `actorstate.el`.
            as_: another tag, as in ``rx.heading("Second", as_="h2")``.
            props: attributes of HTML, styles of CSS (``width="8em"``), and events.

        Raises:
            TypeError: a prop is none of these; or as `actorstate.el` has it.
            ValueError: as `actorstate.el` has it.
        """
        own = {name: props.pop(name) for name in self._own & props.keys()}
        given = set_looks_aside(props) if self._has_looks else props
        make = self._make if as_ is None else _tag(as_)
        return make(*children, **read_props(self._name, given, self._renamed), **own)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(missing(f"{self._name}.{name}"), name=name, obj=self)


def _tag(tag: str) -> Callable[..., ui.Element]:
    return functools.partial(ui.el, ui.check_tag(tag))


def _div(**fixed: str) -> Callable[..., ui.Element]:
    def make(
        *children: ui.Child, style: Mapping[str, Any] | None = None, **rest: Any
    ) -> ui.Element:
        return ui.el("div", *children, style={**fixed, **(style or {})}, **rest)

    return make


def _link(
    *children: ui.Child, href: str | Expression = "", is_external: bool = False, **rest: Any
) -> ui.Element:
    return ui.link(*children, href=href, target="_blank" if is_external else None, **rest)


def _image(*, src: str | Expression, alt: str | Expression = "", **rest: Any) -> ui.Element:
    return ui.image(src=src, alt=alt, **rest)


def _select(options: Any, **rest: Any) -> ui.Element:
    is_bound = isinstance(options, Expression)
    several = foreach(options, lambda one: ui.el("option", one, value=one)) if is_bound else options
    return ui.select(several, **rest)


hstack: Final = Maker("rx.hstack", ui.hstack, OF_STACKS)
vstack: Final = Maker("rx.vstack", ui.vstack, OF_STACKS)
flex: Final = Maker("rx.flex", _div(display="flex"), OF_STACKS)
center: Final = Maker(
    "rx.center", _div(display="flex", align_items="center", justify_content="center"), OF_STACKS
)
spacer: Final = Maker("rx.spacer", _div(flex="1"))
box: Final = Maker("rx.box", _div())
container: Final = Maker("rx.container", _div())
divider: Final = Maker("rx.divider", ui.divider)
heading: Final = Maker("rx.heading", ui.heading, OF_TEXT)
text: Final = Maker("rx.text", ui.text, OF_TEXT)
code: Final = Maker("rx.code", ui.code)
link: Final = Maker("rx.link", _link, own=frozenset({"is_external"}))
image: Final = Maker("rx.image", _image)
button: Final = Maker("rx.button", ui.button)
form: Final = Maker("rx.form", ui.form, own=frozenset({"reset_on_submit"}))
input: Final = Maker("rx.input", ui.input)  # noqa: A001 - the word of HTML
text_area: Final = Maker("rx.text_area", ui.textarea)
checkbox: Final = Maker("rx.checkbox", ui.checkbox)
switch: Final = Maker("rx.switch", ui.checkbox)
select: Final = Maker("rx.select", _select)
unordered_list: Final = Maker("rx.unordered_list", ui.ul)
ordered_list: Final = Maker("rx.ordered_list", ui.ol)
list_item: Final = Maker("rx.list_item", ui.li)


@final
class chakra(metaclass=Namespace):  # noqa: N801 - as Reflex names it
    """The elements under the names of ``rx.chakra``."""

    hstack: Final = hstack
    vstack: Final = vstack
    center: Final = center
    spacer: Final = spacer
    box: Final = box
    divider: Final = divider
    heading: Final = heading
    text: Final = text
    code: Final = code
    link: Final = link
    image: Final = image
    button: Final = button
    form: Final = form
    input: Final = input
    number_input: Final = Maker("rx.chakra.number_input", ui.number_input)
    text_area: Final = text_area
    checkbox: Final = checkbox
    switch: Final = switch
    select: Final = select
    unordered_list: Final = unordered_list
    ordered_list: Final = ordered_list
    list_item: Final = list_item


class _Tags(type):
    """Gives a maker for each tag that it is asked for."""

    def __getattr__(cls, tag: str) -> Maker:
        if tag.startswith("_"):
            raise AttributeError(tag)
        name = tag.removesuffix("_")
        return Maker(f"rx.el.{name}", _tag(name), has_looks=False)


@final
class el(metaclass=_Tags):  # noqa: N801 - as Reflex names it
    """The elements of HTML: ``rx.el.section(...)``."""
