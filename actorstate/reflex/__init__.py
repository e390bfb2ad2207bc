"""The names of Reflex's background-task API, mapped onto ours.

A state file written for Reflex runs after one line has changed, ``import reflex as rx`` to
``import actorstate.reflex as rx``:

    >>> import actorstate.reflex as rx
    >>> class Likes(rx.State):
    ...     count: int = 0
    ...
    ...     @rx.event
    ...     def add(self):
    ...         self.count += 1
    >>> row = rx.hstack(rx.heading(Likes.count), rx.button("Add", on_click=Likes.add), width="8em")
    >>> row.attributes.styles
    mappingproxy({'width': <Literal ["lit", "8em"]>})

Here are names and adapters only; what things do is said, and done, where they are imported from.
``docs/coming-from-reflex.md`` says what is covered, what differs, and what to use for the rest.
Nothing else in the package knows of these names. A map::

    states        what states derive from
    declarations  what stands in their bodies
    effects       what handlers ask the browser to do
    elements      components
    props         and their keywords
    pages         the app
    absent        what is refused by its name
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn, final

import attrs

from actorstate.app import App as BaseApp, current_app
from actorstate.exceptions import ImmutableStateError
from actorstate.reflex.absent import Namespace, missing
from actorstate.reflex.declarations import cached_var, event, field, var
from actorstate.reflex.effects import download, redirect
from actorstate.reflex.elements import (
    Component,
    box,
    button,
    center,
    chakra,
    checkbox,
    code,
    container,
    divider,
    el,
    flex,
    form,
    heading,
    hstack,
    image,
    input,  # noqa: A004 - the word of HTML
    link,
    list_item,
    ordered_list,
    select,
    spacer,
    switch,
    text,
    text_area,
    unordered_list,
    vstack,
)
from actorstate.reflex.pages import App, page
from actorstate.reflex.states import Field, State
from actorstate.state.effects import (
    console_log,
    copy_to_clipboard as set_clipboard,
    scroll_to,
    set_focus,
    set_value,
)
from actorstate.state.handlers import background
from actorstate.ui import cond, foreach, fragment, match

__all__ = [
    "App",
    "Component",
    "Field",
    "State",
    "background",
    "box",
    "button",
    "cached_var",
    "center",
    "chakra",
    "checkbox",
    "code",
    "cond",
    "console_log",
    "container",
    "divider",
    "download",
    "el",
    "event",
    "field",
    "flex",
    "foreach",
    "form",
    "fragment",
    "heading",
    "hstack",
    "image",
    "input",
    "link",
    "list_item",
    "match",
    "ordered_list",
    "page",
    "redirect",
    "scroll_to",
    "select",
    "set_clipboard",
    "set_focus",
    "set_value",
    "spacer",
    "state",
    "switch",
    "text",
    "text_area",
    "unordered_list",
    "utils",
    "var",
    "vstack",
]


@final
class state(metaclass=Namespace):  # noqa: N801 - as Reflex names it
    """What Reflex has in ``rx.state``."""

    ImmutableStateError = ImmutableStateError
    State = State


@final
@attrs.frozen
class AppModule:
    """What ``rx.utils.prerequisites.get_app()`` gives."""

    app: BaseApp
    """The running app."""


@final
class utils(metaclass=Namespace):  # noqa: N801 - as Reflex names it
    """What Reflex has in ``rx.utils``."""

    @final
    class prerequisites(metaclass=Namespace):  # noqa: N801
        """What Reflex has in ``rx.utils.prerequisites``."""

        @staticmethod
        def get_app() -> AppModule:
            """Give what has the running app as its ``app``; see `actorstate.current_app`.

            Raises:
                LookupError: no app runs the caller.
            """
            return AppModule(current_app())


if not TYPE_CHECKING:

    def __getattr__(name: str) -> NoReturn:
        raise AttributeError(missing(f"rx.{name}"), name=name, obj=sys.modules[__name__])
