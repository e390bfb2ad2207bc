"""The app and its pages."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self, TypeVar, final
from weakref import WeakKeyDictionary

import attrs

from actorstate import ui
from actorstate.app import App as BaseApp
from actorstate.reflex.absent import missing, refuse

Function = TypeVar("Function", bound=Callable[..., Any])


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
    refuse("rx.page", others)
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
        refuse("rx.App", {name: one for name, one in options.items() if name not in _OPTIONS})
        ours = {name: one for name, one in options.items() if name in _OPTIONS}
        super().__init__(asyncio=asyncio, **ours)
        maker = sys._getframe(1)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - whose app it is
        self._package: Final = _package_of(maker.f_globals["__name__"])
        self._added: Final[set[_Decorated]] = set()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(missing(f"rx.App.{name}"), name=name, obj=self)

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
        refuse("app.add_page", others)
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
        raise TypeError(missing(f"a route with a parameter, such as {route!r},"))
    name = getattr(component, "__name__", "").replace("_", "-") if route is None else route
    if route is None and not name:
        message = "app.add_page() is given an element; it takes a function, or a route= with it"
        raise TypeError(message)
    return "/" if name.strip("/") == "index" else "/" + name.strip("/")
