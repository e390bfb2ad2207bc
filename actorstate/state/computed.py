"""Computed vars: values that follow from others, as a class declares them.

How they are kept up to date is said in `evaluation`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    TypeVar,
    cast,
    get_type_hints,
    overload,
)

from actorstate.exceptions import StateDefinitionError
from actorstate.state.expressions import StateVar
from actorstate.state.shapes import Shape
from actorstate.state.vars import TREE, FixedPlace, shape_for

if TYPE_CHECKING:
    from actorstate.state.state import State
    from actorstate.state.tree import StateTree

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Computed(Generic[T_co]):
    """A computed var of a state class; `computed` makes it."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function: Final = function
        self.name: str = function.__name__
        self.is_async: Final = inspect.iscoroutinefunction(function)
        self._owner: type[State] | None = None
        functools.update_wrapper(cast("Any", self), function)

    def __str__(self) -> str:
        return f"{self.owner.__name__}.{self.name}"

    def __repr__(self) -> str:
        return f"<computed var {self}>"

    def copy(self) -> Computed[T_co]:
        """Give another one of the same function, for a class of its own."""
        return type(self)(self.function)

    def bind(self, owner: type[State], name: str) -> None:
        """Make it a var of a class.

        Raises:
            StateDefinitionError: it does not say what it gives, or that has no JSON form.
        """
        self._owner, self.name = owner, name
        _ = self.shape

    @property
    def owner(self) -> type[State]:
        """The State class whose var it is."""
        assert self._owner is not None, f"{self.name} is not in the body of a State class"
        return self._owner

    @functools.cached_property
    def shape(self) -> Shape:
        """What its return annotation says about its values."""
        try:
            hints = get_type_hints(self.function)
        except NameError as error:
            message = f"{self}: its annotation cannot be resolved ({error}); import the type"
            raise StateDefinitionError(message) from error
        if "return" not in hints:
            message = f"{self} does not say what it gives; write `def {self.name}(self) -> int:`"
            raise StateDefinitionError(message)
        return shape_for(str(self), hints["return"])

    @functools.cached_property
    def is_backend(self) -> bool:
        """Whether it stays on the server: its name starts with an underscore."""
        return self.name.startswith("_")

    @functools.cached_property
    def path(self) -> tuple[str, str]:
        """Where it lies in the public state: the state's name, and its own."""
        return self.owner.get_full_name(), self.name

    @functools.cached_property
    def place(self) -> FixedPlace:
        """Where its values lie, which nobody may change."""
        return FixedPlace(str(self), "it is computed; change what it is computed from")

    @overload
    def __get__(self, instance: None, owner: type) -> T_co: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T_co: ...

    def __get__(self, instance: object, owner: type) -> Any:
        if instance is not None and self._owner is None:  # a mixin's, by super()
            return self.function(instance)
        if instance is not None:
            return tree_of(instance).computed.read(self)
        if self._owner is None:
            return self
        if self.is_backend:
            raise AttributeError(self.name)  # the metaclass says why
        return StateVar(*self.path)


class AsyncComputed(Computed[T]):
    """A computed var that awaits; ``await self.name`` reads it. `computed` makes it."""

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: type) -> T: ...

        @overload
        def __get__(self, instance: object, owner: type) -> Awaitable[T]: ...

        def __get__(self, instance: object, owner: type) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - it is read by await
            ...


@overload
def computed(function: Callable[[Any], Coroutine[Any, Any, T]]) -> AsyncComputed[T]: ...


@overload
def computed(function: Callable[[Any], T]) -> Computed[T]: ...


def computed(function: Callable[[Any], Any]) -> Computed[Any]:
    """Make a var of a method that takes nothing but ``self``: its value is what that returns.

    It is computed when it is first asked for, and again only when something that it read has
    changed. What it read is recorded: vars of its state, of parents and other states, computed
    vars, the router. It changes nothing, and it is given no other way to depend on anything;
    what it reads elsewhere (a clock, a file) is not noticed.

    An ``async def`` is read by ``await self.name``. A page shows both alike. It is computed before
    the turn that changed what it read is committed, so the turn takes as long as it does.

    One that raises is logged and keeps its last value. The return annotation is its type.

    Raises:
        TypeError: it is put on something that is no such method.
    """
    if not inspect.isfunction(function) or inspect.isgeneratorfunction(function):
        message = f"@computed goes on a method that returns its value, not on {function!r}"
        raise TypeError(message)
    if len(inspect.signature(function).parameters) != 1:
        message = f"@computed {function.__qualname__} takes nothing but self"
        raise TypeError(message)
    return AsyncComputed(function) if inspect.iscoroutinefunction(function) else Computed(function)


def tree_of(state: Any) -> StateTree:
    """Give the tree that a state belongs to."""
    return getattr(state, TREE)
