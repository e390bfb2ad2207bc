"""What stands in a state's body: fields, computed vars, handlers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeVar, overload

from actorstate.reflex.absent import refuse
from actorstate.state import handlers
from actorstate.state.computed import AsyncComputed, Computed, computed
from actorstate.state.handlers import Handler

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from actorstate.state.handlers import AsyncMethod

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])


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
    refuse("rx.field", {"is_var": None if is_var else is_var})
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
    refuse("rx.var", {"interval": interval, "backend": backend or None})
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
    refuse("rx.event", others)
    mark = handlers.background if background else handlers.event
    return mark if function is None else mark(function)
