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
Nothing else in the package knows of these names.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType, ModuleType, NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    Literal,
    NoReturn,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    final,
    get_args,
    get_origin,
    overload,
)
from urllib.parse import urlencode, urlsplit
from weakref import WeakKeyDictionary

import attrs

from actorstate import ui
from actorstate.app import App as BaseApp, current_app
from actorstate.exceptions import ImmutableStateError
from actorstate.state import effects, handlers
from actorstate.state.computed import AsyncComputed, Computed, computed
from actorstate.state.definition import own_annotations
from actorstate.state.effects import (
    console_log,
    copy_to_clipboard as set_clipboard,
    scroll_to,
    set_focus,
    set_value,
)
from actorstate.state.expressions import Expression
from actorstate.state.handlers import Handler, background
from actorstate.state.router import Router
from actorstate.state.state import State as BaseState, StateMeta
from actorstate.ui import cond, foreach, fragment, match

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from actorstate.state.effects import Effect
    from actorstate.state.handlers import AsyncMethod

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

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])

_GUIDE: Final = "docs/coming-from-reflex.md"


def _missing(name: str) -> str:
    return f"{name} is not in actorstate.reflex; {_GUIDE} says what is, and what to use instead"


def _refuse(caller: str, given: Mapping[str, object]) -> None:
    """Refuse keywords that Reflex has and we have not; one that is None says nothing."""
    for keyword, value in given.items():
        if value is not None:
            raise TypeError(_missing(f"{caller}({keyword}=)"))


# ---- States -------------------------------------------------------------------------------------

Field: TypeAlias = Annotated[T, "a var"]
"""The type of a var, as in ``count: rx.Field[int] = rx.field(0)``. The same as the type itself."""

_OF_REFLEX: Final = frozenset({
    "add_field", "add_var", "backend_vars", "base_vars", "computed_vars", "dict", "dirty_substates",
    "dirty_vars", "event_handlers", "get_class_substate", "get_client_ip", "get_cookies",
    "get_current_page", "get_delta", "get_event_triggers", "get_fields", "get_headers", "get_name",
    "get_parent_state", "get_query_params", "get_root_state", "get_sid", "get_substates",
    "get_value", "get_var_value", "inherited_backend_vars", "inherited_vars", "is_hydrated",
    "parent_state", "router_data", "set_is_hydrated", "setvar", "substates", "vars",
})  # fmt: skip
"""Attributes of Reflex's State that ours has not. A var of a program may have such a name."""

_EMPTY: Final[Mapping[Any, Any]] = MappingProxyType(
    {
        bool: False,
        int: 0,
        float: 0.0,
        str: "",
        list: [],
        dict: {},
        set: set[Any](),
    }
)
"""What a var begins with that has a type and no default; each tab gets a copy of its own."""


class _StateMeta(StateMeta):
    """Tells an attribute that only Reflex has from one that nobody has."""

    @property
    def router(cls) -> NoReturn:  # noqa: N805 - a metaclass
        """Refuse, and leave the words to ``__getattr__``, which Python asks then."""
        raise AttributeError

    def __getattr__(cls, name: str) -> Any:  # noqa: N805
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name not in {"router", *_OF_REFLEX}:
                raise
        wanted = f"{cls.__name__}.{name}" + (", in a page," if name == "router" else "")
        raise AttributeError(_missing(wanted), name=name, obj=cls)


class State(BaseState, metaclass=_StateMeta, mixin=True):
    """What the states of a program written for Reflex derive from.

    They are states among all others of the process, with the full names that they would have if
    they derived from `actorstate.State`; both kinds go together in one app. A var without a
    default begins empty: ``0``, ``""``, ``[]``, or None where the type allows it.
    """

    def __init_subclass__(cls, *, recorder: bool = False, **options: Any) -> None:
        if not recorder:
            _give_defaults(cls)
        super().__init_subclass__(recorder=recorder, **options)

    if not TYPE_CHECKING:  # a checker would take every name for one that is there

        def __getattr__(self, name: str) -> NoReturn:
            of = type(self).__name__
            plain = f"{of!r} object has no attribute {name!r}"
            message = _missing(f"{of}.{name}") if name in _OF_REFLEX else plain
            raise AttributeError(message, name=name, obj=self)

    @property
    def router(self) -> RouterData:  # pyright: ignore[reportIncompatibleMethodOverride] - the same facts under Reflex's names
        """The page load that the running handler serves."""
        return RouterData.of(super().router)


def _give_defaults(cls: type[State]) -> None:
    for name, declared in own_annotations(cls).items():
        kind = get_origin(declared) or declared
        if name in vars(cls):
            continue
        if kind in (Union, UnionType) and NoneType in get_args(declared):
            setattr(cls, name, None)
        elif kind in _EMPTY:
            setattr(cls, name, _EMPTY[kind])


@final
@attrs.frozen
class SessionData:
    """Who is there: ``self.router.session``."""

    client_token: str = attrs.field(repr=False)
    """The tab; a secret, as `State.get_token` gives it."""
    client_ip: str
    """The address of the socket's other end; behind a proxy, the proxy's."""
    session_id: str
    """The name of the connection."""


@final
@attrs.frozen
class PageData:
    """Where the browser is: ``self.router.page``."""

    host: str
    """Where the page came from, as in ``http://localhost:8000``."""
    path: str
    """The path, as in ``/orders``."""
    raw_path: str
    """The path with its query."""
    params: Mapping[str, str]
    """The parameters of the query."""

    @property
    def full_path(self) -> str:
        """Host and path."""
        return self.host + self.path

    @property
    def full_raw_path(self) -> str:
        """Host and path with its query."""
        return self.host + self.raw_path


@final
@attrs.frozen
class HeaderData:
    """The headers of the WebSocket handshake, as in ``self.router.headers.user_agent``.

    A header that was not sent is an empty text.
    """

    raw_headers: Mapping[str, str] = attrs.field(repr=False)
    """All of them, by lower-case name. Cookies are secrets."""

    def __getattr__(self, name: str) -> str:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.raw_headers.get(name.replace("_", "-"), "")


@final
@attrs.frozen
class RouterData:
    """The page load that the running handler serves; read as ``self.router``."""

    session: SessionData
    page: PageData
    headers: HeaderData

    @classmethod
    def of(cls, router: Router) -> Self:
        """Give the same facts under Reflex's names."""
        return cls(
            SessionData(router.token, router.client_address, router.session),
            PageData(
                router.headers.get("origin", ""),
                router.path,
                router.path + ("?" + urlencode(router.query) if router.query else ""),
                router.query,
            ),
            HeaderData(router.headers),
        )

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(_missing(f"State.router.{name}"), name=name, obj=self)


# ---- Vars and handlers --------------------------------------------------------------------------


def field(
    default: T | None = None,
    *,
    default_factory: Callable[[], T] | None = None,
    is_var: bool = True,
) -> T:
    """Give the default of a var: ``items: rx.Field[list[str]] = rx.field(default_factory=list)``.

    Args:
        default: the default; each tab gets a copy of its own.
        default_factory: makes it, once for all tabs.
        is_var: True; what is no var is marked by ``ClassVar``.

    Raises:
        TypeError: ``is_var`` is False.
    """
    _refuse("rx.field", {"is_var": None if is_var else is_var})
    return default_factory() if default_factory is not None else default  # pyright: ignore[reportReturnType] - None is a default, too


class VarDecorator(Protocol):
    """What ``rx.var(cache=True)`` gives."""

    @overload
    def __call__(self, function: Callable[[Any], Coroutine[Any, Any, T]]) -> AsyncComputed[T]: ...

    @overload
    def __call__(self, function: Callable[[Any], T]) -> Computed[T]: ...


@overload
def var(function: Callable[[Any], Coroutine[Any, Any, T]], /) -> AsyncComputed[T]: ...


@overload
def var(function: Callable[[Any], T], /) -> Computed[T]: ...


@overload
def var(
    *,
    cache: bool = ...,
    initial_value: object = ...,
    deps: object = ...,
    auto_deps: bool = ...,
    backend: bool | None = ...,
    interval: object = ...,
) -> VarDecorator: ...


def var(  # noqa: PLR0913 - as Reflex has it
    function: Any = None,
    /,
    *,
    cache: bool = True,  # noqa: ARG001 - see below
    initial_value: object = None,  # noqa: ARG001
    deps: object = None,  # noqa: ARG001
    auto_deps: bool = True,  # noqa: ARG001
    backend: bool | None = None,
    interval: object = None,
) -> Any:
    """Make a computed var, as `actorstate.computed` does.

    What a var has read is recorded, and it is computed again exactly when something of that has
    changed. So ``cache``, ``deps`` and ``auto_deps`` have nothing to say, whatever they are; and it
    is computed before a page sees it, so there is no need of an ``initial_value``.

    Raises:
        TypeError: it is put on something that is no method of ``self`` alone; or ``interval`` or
            ``backend`` is given, which are not here.
    """
    _refuse("rx.var", {"interval": interval, "backend": backend or None})
    return computed if function is None else computed(function)


cached_var: Final = computed


@overload
def event(function: Function, /) -> Function: ...


@overload
def event(*, background: Literal[True], **others: object) -> Callable[[AsyncMethod], Handler]: ...


@overload
def event(
    *, background: Literal[False] = False, **others: object
) -> Callable[[Function], Function]: ...


def event(function: Any = None, /, *, background: bool = False, **others: object) -> Any:
    """Mark a method as a handler, or with ``background=True`` as a background task.

    Raises:
        TypeError: as `actorstate.event` and `actorstate.background` have it; or another option is
            given, which is not here.
    """
    _refuse("rx.event", others)
    mark = handlers.background if background else handlers.event
    return mark if function is None else mark(function)


# ---- Effects ------------------------------------------------------------------------------------


def redirect(
    path: str,
    is_external: bool = False,  # noqa: FBT001, FBT002 - as Reflex has it
    *,
    external: bool = False,
    **others: object,
) -> Effect:
    """Ask the browser to go to another page, as `actorstate.redirect` does.

    Args:
        path: a path such as ``/orders``, or a whole URL.
        is_external: whether to open it in a tab of its own.
        external: the same.
        others: what Reflex takes besides, such as ``replace``; it is refused.

    Raises:
        TypeError: the path is no text, or another option is given, which is not here.
        ValueError: the path is empty, or a URL that runs code.
    """
    _refuse("rx.redirect", others)
    return effects.redirect(path, new_tab=is_external or external)


def download(
    url: str | None = None, filename: str | None = None, data: str | bytes | None = None
) -> Effect:
    """Ask the browser to save a file, as `actorstate.download` does.

    Args:
        url: where the browser finds it.
        filename: the name that it is saved by; without it the last part of the URL.
        data: what is in it, instead of a URL.

    Raises:
        TypeError: not exactly one of url and data is given, or one is of another type.
        ValueError: there is no name to save it by, or the URL runs code.
    """
    name = filename or urlsplit(url or "").path.rpartition("/")[2]
    return effects.download(name, url=url, data=data)


# ---- Elements -----------------------------------------------------------------------------------

Component: TypeAlias = ui.Element | ui.Conditional | ui.Foreach | ui.Fragment
"""What a page, or a function that makes a part of one, gives."""

# By the names of our own elements or of CSS.
_RENAMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "bg": "background",
        "bg_color": "background_color",
        "default_checked": "checked",
        "default_value": "value",
        "is_checked": "checked",
        "is_disabled": "disabled",
        "is_read_only": "readonly",
        "is_required": "required",
        "margin_x": "margin_inline",
        "margin_y": "margin_block",
        "padding_x": "padding_inline",
        "padding_y": "padding_block",
    }
)

_OF_TEXT: Final[Mapping[str, str]] = MappingProxyType({"align": "text_align"})

_OF_STACKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "align": "align_items",
        "direction": "flex_direction",
        "justify": "justify_content",
        "spacing": "gap",
        "wrap": "flex_wrap",
    }
)

# Choices among the looks of Reflex's components, which there are none of here.
_LOOKS: Final = frozenset(
    {"color_scheme", "high_contrast", "radius", "size", "trim", "underline", "variant", "weight"}
)

# What Reflex calls by words of its own: gaps are counted in steps there.
_PIXELS: Final = (0, 4, 8, 12, 16, 24, 32, 40, 48, 64)
_WORDS: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {
        ("justify-content", "between"): "space-between",
        **{("gap", str(step)): f"{pixels}px" for step, pixels in enumerate(_PIXELS)},
    }
)

# Where a bare number is one of pixels.
_LENGTH: Final = re.compile(
    r"(?!line-|border-image-)(.*-)?(width|height|radius|gap|spacing|indent|top|right|bottom|left)"
    r"|(margin|padding|inset)(-.*)?|font-size"
)


def _read_props(
    caller: str, given: Mapping[str, Any], renamed: Mapping[str, str]
) -> dict[str, Any]:
    """Turn the props of one of Reflex's components into keywords of one of our elements.

    Raises:
        TypeError: one of them is neither an attribute, nor a style, nor an event of ours.
    """
    props = {renamed.get(one) or _RENAMED.get(one, one): value for one, value in given.items()}
    custom: dict[str, Any] = props.pop("custom_attrs", None) or {}
    inner = ui.sort_props(_checked_style(caller, props.pop("style", None)))
    outer = ui.sort_props(props)
    events = {one for one in outer.attributes if one.startswith("on_")}
    strange = [*outer.others, *(events - ui.EVENT_KEYWORDS), *inner.attributes, *inner.others]
    if strange:
        raise TypeError(_missing(f"{caller}({strange[0]}=)"))
    styles = {
        name: _style(caller, name, one) for name, one in {**inner.styles, **outer.styles}.items()
    }
    return {**outer.attributes, **custom, **({"style": styles} if styles else {})}


def _checked_style(caller: str, given: Any) -> Mapping[str, Any]:
    if given is not None and not isinstance(given, Mapping):
        message = f'{caller}(style=) takes a dict such as {{"width": "8em"}}, got {given!r}'
        raise TypeError(message)
    return cast("Mapping[str, Any]", given or {})


def _style(caller: str, name: str, value: Any) -> Any:
    if isinstance(value, list | dict):
        raise TypeError(_missing(f"{caller}({name}=) by the width of the screen"))
    if isinstance(value, str):
        return _WORDS.get((name, value), value)
    is_bare = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value}px" if is_bare and _LENGTH.fullmatch(name) else value


def _set_looks_aside(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"data_{keyword}" if keyword in _LOOKS else keyword: value
        for keyword, value in given.items()
    }


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
        given = _set_looks_aside(props) if self._has_looks else props
        make = self._make if as_ is None else _tag(as_)
        return make(*children, **_read_props(self._name, given, self._renamed), **own)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(_missing(f"{self._name}.{name}"), name=name, obj=self)


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


hstack: Final = Maker("rx.hstack", ui.hstack, _OF_STACKS)
vstack: Final = Maker("rx.vstack", ui.vstack, _OF_STACKS)
flex: Final = Maker("rx.flex", _div(display="flex"), _OF_STACKS)
center: Final = Maker(
    "rx.center", _div(display="flex", align_items="center", justify_content="center"), _OF_STACKS
)
spacer: Final = Maker("rx.spacer", _div(flex="1"))
box: Final = Maker("rx.box", _div())
container: Final = Maker("rx.container", _div())
divider: Final = Maker("rx.divider", ui.divider)
heading: Final = Maker("rx.heading", ui.heading, _OF_TEXT)
text: Final = Maker("rx.text", ui.text, _OF_TEXT)
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


class _Namespace(type):
    """Lets a class stand for a module of Reflex's."""

    if not TYPE_CHECKING:

        def __getattr__(cls, name: str) -> Any:
            raise AttributeError(_missing(f"rx.{cls.__qualname__}.{name}"), name=name, obj=cls)


@final
class chakra(metaclass=_Namespace):  # noqa: N801 - as Reflex names it
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


# ---- The app and its pages ----------------------------------------------------------------------


@final
@attrs.frozen(eq=False)
class _Decorated:
    """A page that was decorated, and not yet added to an app."""

    component: Callable[[], ui.Child]
    options: Mapping[str, Any]


_decorated: Final[WeakKeyDictionary[ModuleType, dict[str, _Decorated]]] = WeakKeyDictionary()
"""What ``@page`` has decorated, by the module that defines it, and there by its name.

It belongs to the module and is gone with it; one that is loaded anew replaces what it had.
"""


def page(
    route: str | None = None,
    title: str | None = None,
    *,
    description: str | None = None,
    on_load: object = None,
    **others: object,
) -> Callable[[Function], Function]:
    """Add a page to the app of the package, or of the file, in which the function is defined.

    Each `App` made in that package has it, from when it is entered or served. Two apps of two
    packages have nothing of one another.

    Args:
        route: the path of its URL; without it, that of `App.add_page`.
        title: what the browser's tab says.
        description: what search engines show.
        on_load: what is run each time a browser loads the page.
        others: what Reflex takes besides, such as ``image``; it is refused.

    Raises:
        TypeError: it is written without parentheses; or another option is given, which is not
            here.
    """
    _refuse("rx.page", others)
    if callable(route):
        message = "@rx.page needs its parentheses: write @rx.page() or @rx.page(route=...)"
        raise TypeError(message)
    options = {"route": route, "title": title, "description": description, "on_load": on_load}

    def decorate(function: Function) -> Function:
        of_module = _decorated.setdefault(sys.modules[function.__module__], {})
        of_module[function.__qualname__] = _Decorated(function, options)
        return function

    return decorate


def _pages_of(package: str) -> Iterator[_Decorated]:
    for module, pages in list(_decorated.items()):
        if _package_of(module.__name__) == package:
            yield from pages.values()


def _package_of(module: str) -> str:
    return module.partition(".")[0]


_OPTIONS: Final = frozenset(inspect.signature(BaseApp).parameters)


class App(BaseApp):
    """The app of a program written for Reflex: an `actorstate.App` with asyncio turned on.

    It has the pages of ``add_page``, and those that `page` decorates in its own package.

    Args:
        asyncio: whether handlers may await what is asyncio's. Needs the extra
            ``actorstate[asyncio]``.
        options: the others of `actorstate.App`.

    Raises:
        TypeError: an option is one that only Reflex has.
        ModuleNotFoundError: the extra is not installed.
    """

    def __init__(self, *, asyncio: bool = True, **options: Any) -> None:
        _refuse("rx.App", {name: one for name, one in options.items() if name not in _OPTIONS})
        ours = {name: one for name, one in options.items() if name in _OPTIONS}
        super().__init__(asyncio=asyncio, **ours)
        maker = sys._getframe(1)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - whose app it is
        self._package: Final = _package_of(maker.f_globals["__name__"])
        self._added: Final[set[_Decorated]] = set()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(_missing(f"rx.App.{name}"), name=name, obj=self)

    def add_page(  # pyright: ignore[reportIncompatibleMethodOverride] - Reflex has other names
        self,
        component: ui.Child | Callable[[], ui.Child],
        route: str | None = None,
        title: str | None = None,
        description: str | None = None,
        *,
        on_load: object = None,
        **others: object,
    ) -> None:
        """Show a page at a route, as `actorstate.App.add_page` does.

        Args:
            component: an element, or a function that gives one.
            route: the path of its URL, with or without a slash before it; without a route the
                name of the function, with hyphens for underscores, and ``/`` for ``index``.
            title: what the browser's tab says.
            description: what search engines show.
            on_load: what is run each time a browser loads the page.
            others: what Reflex takes besides, such as ``image``; it is refused.

        Raises:
            PageError: the route belongs to the library, or is taken; or there is nothing to show.
            TypeError: what is given is no element; there is neither route nor function; the route
                has a parameter, or another option is given, which is not here.
        """
        _refuse("app.add_page", others)
        more = {"title": title, "description": description, "on_load": on_load}
        given: dict[str, Any] = {name: one for name, one in more.items() if one is not None}
        super().add_page(component, _path(component, route), **given)

    async def __aenter__(self) -> Self:
        for one in _pages_of(self._package):
            if one not in self._added:
                self.add_page(one.component, **one.options)
                self._added.add(one)
        return await super().__aenter__()


def _path(component: object, route: str | None) -> str:
    if route is not None and "[" in route:
        raise TypeError(_missing(f"a route with a parameter, such as {route!r},"))
    name = getattr(component, "__name__", "").replace("_", "-") if route is None else route
    if route is None and not name:
        message = "app.add_page() is given an element; it takes a function, or a route= with it"
        raise TypeError(message)
    return "/" if name.strip("/") == "index" else "/" + name.strip("/")


@final
class state(metaclass=_Namespace):  # noqa: N801 - as Reflex names it
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
class utils(metaclass=_Namespace):  # noqa: N801 - as Reflex names it
    """What Reflex has in ``rx.utils``."""

    @final
    class prerequisites(metaclass=_Namespace):  # noqa: N801
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
        raise AttributeError(_missing(f"rx.{name}"), name=name, obj=sys.modules[__name__])
