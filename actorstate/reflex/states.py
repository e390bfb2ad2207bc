"""States: what they derive from, and what they see of the page for which they run."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    NoReturn,
    Self,
    TypeAlias,
    TypeVar,
    Union,
    final,
    get_args,
    get_origin,
)
from urllib.parse import urlencode

import attrs

from actorstate.reflex.absent import missing
from actorstate.state.definition import own_annotations
from actorstate.state.router import Router
from actorstate.state.state import State as BaseState, StateMeta

T = TypeVar("T")

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
        raise AttributeError(missing(wanted), name=name, obj=cls)


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
            message = missing(f"{of}.{name}") if name in _OF_REFLEX else plain
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
            raise AttributeError(missing(f"State.router.{name}"), name=name, obj=self)
