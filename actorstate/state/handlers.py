"""Handlers: the methods of a state that events run.

On the class a handler is a reference: an element takes it (``on_click=MyState.toggle``), another
handler returns it (``return MyState.my_task``), and calling it binds arguments
(``MyState.add(3)``). On an instance it is the plain method.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MethodType, SimpleNamespace
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Self,
    TypeVar,
    cast,
    final,
    get_type_hints,
    overload,
)

import attrs
import cattrs

from actorstate.exceptions import BadArgumentsError, StateDefinitionError
from actorstate.state.convert import UNFIT, error_details, make_converter
from actorstate.state.vars import Var

if TYPE_CHECKING:
    from actorstate.state.state import State

Function = TypeVar("Function", bound=Callable[..., Any])

_converter: Final = make_converter()

_NAMED: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Handler:
    """A reference to a method of a state that events may run.

    Calling it binds arguments: ``MyState.add(3)`` is an `Invocation`, not a call.
    """

    def __init__(self, function: Callable[..., Any], *, is_background: bool = False) -> None:
        self.function: Final = function
        self.is_background: Final = is_background
        self._owner: type[State] | None = None
        self.name: str = function.__name__
        functools.update_wrapper(self, function)

    def __set_name__(self, owner: type[State], name: str) -> None:
        self._owner = owner
        self.name = name

    def __repr__(self) -> str:
        return f"<handler {self}>"

    def __str__(self) -> str:
        return self.label

    @functools.cached_property
    def label(self) -> str:
        """Its name for people: ``MyState.toggle``."""
        return f"{self.owner.__name__}.{self.name}"

    @property
    def owner(self) -> type[State]:
        """The State class whose method it is."""
        assert self._owner is not None, f"{self.name} is not in the body of a State class"
        return self._owner

    @property
    def full_name(self) -> str:
        """The name of this handler on the wire: ``state.my_state.toggle``."""
        return f"{self.owner.get_full_name()}.{self.name}"

    @overload
    def __get__(self, instance: State, owner: type) -> Callable[..., Any]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> Self: ...

    def __get__(self, instance: object, owner: type) -> Callable[..., Any] | Self:
        if instance is None:
            return self
        if self.is_background:
            return functools.partial(_refuse_direct_call, self)
        return MethodType(self.function, instance)

    def __call__(self, *args: object, **kwargs: object) -> Invocation:
        """Bind arguments, for an element or to be returned from a handler.

        Raises:
            TypeError: the handler does not take them.
        """
        try:
            bound = self.signature.bind_partial(*args, **kwargs)
        except TypeError as error:
            message = f"{self}{self.signature}: {error}"
            raise TypeError(message) from None
        if bound.kwargs:
            message = f"{self} has no value for a parameter before {next(iter(bound.kwargs))!r}"
            raise TypeError(message)
        return Invocation(self, bound.args)

    def debounce(self, seconds: float) -> Invocation:
        """Let a page send this only once ``seconds`` have passed without another."""
        return Invocation(self).debounce(seconds)

    def throttle(self, seconds: float) -> Invocation:
        """Let a page send at most one of these in ``seconds``; those between are dropped."""
        return Invocation(self).throttle(seconds)

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        """The parameters after ``self``."""
        signature = inspect.signature(self.function)
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    @functools.cached_property
    def _structure_hooks(self) -> Mapping[str, Callable[[Any], Any]]:
        """One hook a parameter. Annotations may name what is defined later, so not at import."""
        written = inspect.get_annotations(self.function)
        # Of the parameters alone: what a handler returns is no business of the browser.
        named = {name: written.get(name, Any) for name in self.signature.parameters}
        declared = SimpleNamespace(__annotations__=named)
        hints = get_type_hints(declared, self.function.__globals__)
        return {name: _argument_hook(hints[name]) for name in named}

    def structure(self, args: Any) -> tuple[Any, ...]:
        """Turn the JSON arguments of an event into what the method takes, strictly.

        Args:
            args: as in the event frame: a list, or an object by parameter name.

        Raises:
            BadArgumentsError: wrong number, unknown names, or a value of another type.
        """
        if not args and not self.signature.parameters:
            return ()
        bound = self._bind(args)
        for position, (name, value) in enumerate(bound.arguments.items()):
            key = f".{name}" if isinstance(args, Mapping) else f"[{position}]"
            bound.arguments[name] = self._structure_one(name, value, f"$.args{key}")
        bound.apply_defaults()  # else a default before a given name would be skipped
        return bound.args

    def _bind(self, args: Any) -> inspect.BoundArguments:
        try:
            if isinstance(args, Mapping):
                return self.signature.bind(**cast("Mapping[str, Any]", args))
            if isinstance(args, list | tuple):
                return self.signature.bind(*cast("Sequence[Any]", args))
            message = "expected a list, or an object by parameter name"
            raise BadArgumentsError(message, "$.args")
        except TypeError as error:
            message = f"{self.name}: {error}"
            raise BadArgumentsError(message, "$.args") from error

    def _structure_one(self, name: str, value: Any, where: str) -> Any:
        try:
            return self._structure_hooks[name](value)
        except UNFIT as error:
            message, culprit = error_details(error, where)[0]
            raise BadArgumentsError(message, culprit) from error

    def check(self) -> None:
        """Resolve the annotations of the parameters, which may name what is defined later.

        Raises:
            StateDefinitionError: an annotation names nothing, or a type without a JSON form.
        """
        try:
            _ = self._structure_hooks
        except (NameError, cattrs.StructureHandlerNotFoundError) as error:
            message = (
                f"{self} cannot take arguments from a browser by its annotations "
                f"({str(error).rstrip('.')}); import the type at the top level of the module, or, "
                f"if no browser shall call it, start the method's name with _"
            )
            raise StateDefinitionError(message) from error


def _argument_hook(declared: Any) -> Callable[[Any], Any]:
    structure = _converter.get_structure_hook(declared)
    return lambda value: structure(value, declared)


def _refuse_direct_call(handler: Handler, *_args: object, **_kwargs: object) -> None:
    message = (
        f"{handler} is a background task and cannot be called; trigger it with "
        f"`return {handler}` or `yield {handler}`"
    )
    raise RuntimeError(message)


class Setter(Handler):
    """The generated handler ``set_<var>``: it takes what an input element sends."""

    def __init__(self, var: Var) -> None:
        def set_var(self: State, value: Any) -> None:
            setattr(self, var.name, value)

        super().__init__(set_var)
        self._var: Final = var

    def _structure_one(self, name: str, value: Any, where: str) -> Any:  # noqa: ARG002
        # The one parameter is the var, whatever its name.
        return self._var.from_input(value, where)

    def check(self) -> None:
        """Nothing to resolve: the var has its type already."""


@final
@attrs.frozen
class Invocation:
    """A handler with arguments: what an element sends, or a handler returns."""

    handler: Handler
    args: tuple[object, ...] = ()
    """Values; in a page also expressions, which the browser computes when the event fires."""
    debounced: float | None = None
    """Send only once so many seconds have passed without another; the last one counts."""
    throttled: float | None = None
    """Send at most one in so many seconds; those between are dropped."""

    def debounce(self, seconds: float) -> Invocation:
        """Let a page send this only once ``seconds`` have passed without another."""
        return attrs.evolve(self, debounced=_interval(seconds))

    def throttle(self, seconds: float) -> Invocation:
        """Let a page send at most one of these in ``seconds``; those between are dropped."""
        return attrs.evolve(self, throttled=_interval(seconds))

    @property
    def name(self) -> str:
        """The handler's name on the wire."""
        return self.handler.full_name

    @property
    def takes_more(self) -> bool:
        """Whether the handler takes another argument after these, such as an input's value."""
        parameters = self.handler.signature.parameters.values()
        return sum(p.kind in _NAMED for p in parameters) > len(self.args)

    def check(self, *, sent: int = 0) -> None:
        """Make sure that the handler can be called with these arguments.

        Args:
            sent: how many more the browser will add.

        Raises:
            TypeError: some are missing.
        """
        signature = self.handler.signature
        try:
            signature.bind(*self.args, *[None] * sent)
        except TypeError as error:
            message = f"{self.handler}{signature}: {error}; bind it, as in {self.handler}(value)"
            raise TypeError(message) from None


def _interval(seconds: float) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:  # pyright: ignore[reportUnnecessaryIsInstance] - callers without types
        message = f"expected a number of seconds above 0, got {seconds!r}"
        raise ValueError(message)
    return seconds


def as_invocation(value: object) -> Invocation:
    """Give the invocation that a handler reference stands for.

    Raises:
        TypeError: the value is neither a handler nor one with arguments bound.
    """
    if isinstance(value, Handler):
        return Invocation(value)
    if isinstance(value, Invocation):
        return value
    function = value.func if isinstance(value, functools.partial) else value
    if isinstance(function, MethodType) or function is _refuse_direct_call:
        message = "a handler is named through its class, as in MyState.toggle, not through self"
    else:
        message = f"expected a handler such as MyState.toggle or MyState.add(3), got {value!r}"
    raise TypeError(message)


def as_invocations(value: object) -> tuple[Invocation, ...]:
    """Give what a handler returned or yielded as the invocations to queue, in order.

    Raises:
        TypeError: it is not None, a handler, one with arguments bound, or a list of these; or
            arguments are missing.
    """
    if value is None:
        return ()
    items = cast("Sequence[object]", value) if isinstance(value, list | tuple) else (value,)
    invocations = tuple(as_invocation(item) for item in items)
    for invocation in invocations:
        invocation.check()
    return invocations


def _named(thing: object) -> str:
    if isinstance(thing, Handler):
        return f"{thing.name}, which is marked already; one of @event and @background is enough"
    return getattr(thing, "__qualname__", None) or repr(thing)


def event(function: Function) -> Function:
    """Mark a method as a handler. Public methods are handlers without it, too.

    Raises:
        TypeError: it is put on something that is no function.
    """
    if not inspect.isfunction(function):
        message = f"@event goes on a method, not on {_named(function)}"
        raise TypeError(message)
    return cast("Function", Handler(function))


def background(function: Function) -> Function:
    """Mark an async method as a background task: it runs beside the other handlers.

    Inside it, state may be changed only within ``async with self``. It is triggered by an
    element, or by ``return MyState.my_task`` and ``yield MyState.my_task`` from a handler.

    Raises:
        TypeError: the method is neither an async function nor an async generator.
    """
    if not (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)):
        message = f"@background needs an async function; write `async def` for {_named(function)}"
        raise TypeError(message)
    return cast("Function", Handler(function, is_background=True))
