"""Handlers: the methods of a state that events run.

On the class a handler is a reference: an element takes it (``on_click=MyState.toggle``), another
handler returns it (``return MyState.my_task``), and calling it binds arguments
(``MyState.add(3)``). On an instance it is the plain method.
"""

from __future__ import annotations

import functools
import inspect
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType, MethodType, SimpleNamespace
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
from actorstate.state.convert import UNFIT, error_details, make_converter, type_name
from actorstate.state.effects import Effect
from actorstate.state.expressions import Expression
from actorstate.state.vars import Var

if TYPE_CHECKING:
    from actorstate.state.state import State

Function = TypeVar("Function", bound=Callable[..., Any])

_converter: Final = make_converter()


class Handler:
    """A reference to a method of a state that events may run.

    Calling it binds arguments: ``MyState.add(3)`` is an `Invocation`, not a call.

    Args:
        function: the method.
        is_background: whether it runs beside the other handlers.
        in_thread: whether it blocks, and so runs in a thread.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        is_background: bool = False,
        in_thread: bool = False,
    ) -> None:
        self.function: Final = function
        self.is_background: Final = is_background
        self.in_thread: Final = in_thread
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

        Not all of them need be bound: in an element, what the browser sends with the event goes
        to the first parameter that is free.

        Raises:
            TypeError: the handler does not take them.
        """
        try:
            bound = self.signature.bind_partial(*args, **kwargs)
        except TypeError as error:
            message = f"{self}{self.signature}: {error}"
            raise TypeError(message) from None
        return Invocation(self, bound.args, MappingProxyType(bound.kwargs))

    def debounce(self, seconds: float) -> Invocation:
        """Let a page send this only once ``seconds`` have passed without another."""
        return Invocation(self).debounce(seconds)

    def throttle(self, seconds: float) -> Invocation:
        """Let a page send at most one of these in ``seconds``; those between are dropped."""
        return Invocation(self).throttle(seconds)

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        """The parameters after ``self``, each of which may be given by name as well."""
        signature = inspect.signature(self.function)
        _, *parameters = signature.parameters.values()
        return signature.replace(parameters=[_by_name_too(one) for one in parameters])

    @functools.cached_property
    def _types(self) -> Mapping[str, Any]:
        """What each parameter takes. Annotations may name what is defined later: not at import."""
        written = inspect.get_annotations(self.function)
        # Of the parameters alone: what a handler returns is no business of the browser.
        named = {name: written.get(name, Any) for name in self.signature.parameters}
        declared = SimpleNamespace(__annotations__=named)
        hints = get_type_hints(declared, self.function.__globals__)
        return {name: hints[name] for name in named}

    @functools.cached_property
    def _structure_hooks(self) -> Mapping[str, Callable[[Any], Any]]:
        return {name: _argument_hook(declared) for name, declared in self._types.items()}

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
            message = f"{self}: expected a list, or an object by parameter name"
            raise BadArgumentsError(message, "$.args")
        except TypeError as error:
            # The names alone: a default is the program's own affair.
            takes = ", ".join(self.signature.parameters)
            message = f"{self}({takes}): {error}, got {reprlib.repr(cast('object', args))}"
            raise BadArgumentsError(message, "$.args") from error

    def _structure_one(self, name: str, value: Any, where: str) -> Any:
        try:
            return self._structure_hooks[name](value)
        except UNFIT as error:
            details, culprit = error_details(error, where)[0]
            message = f"{self}: {name}: {self._expectation(name, value, details)}"
            raise BadArgumentsError(message, culprit) from error

    def _expectation(self, name: str, value: object, details: str) -> str:
        """Complete what is known of a value that does not fit by what would, and what it was."""
        if ", got " in details:
            return details
        wanted = type_name(self._types[name])
        return f"expected {wanted}, got {reprlib.repr(value)} ({details})"

    def own(self, name: str, value: Any) -> Any:
        """Check a value that the program binds to a parameter, and give the handler's own copy.

        Raises:
            TypeError: the value is not of the annotated type.
        """
        if isinstance(value, Expression):
            message = (
                f"{self}: {name} is bound to {value!r}, which only the browser can compute; in a "
                f"handler bind a value, as in self.name"
            )
            raise TypeError(message)
        return self._own_one(name, value)

    def _own_one(self, name: str, value: Any) -> Any:
        try:
            return self._copy(name, value)
        except UNFIT as error:
            details, culprit = error_details(error, name)[0]
            inside = f" at {culprit}" if culprit != name else ""
            message = f"{self}: {name}: {self._expectation(name, value, details)}{inside}"
            raise TypeError(message) from error

    def _copy(self, name: str, value: Any) -> Any:
        declared = self._types[name]
        if declared in (Any, object):
            return self._structure_hooks[name](value)
        copy = self._structure_hooks[name](_converter.unstructure(value, declared))
        # The JSON form of a set is that of a list, too; a value of the program has one type.
        if not isinstance(value, type(copy)) and not (type(copy) is float and type(value) is int):
            message = f"expected {type_name(declared)}, got {reprlib.repr(value)}"
            raise ValueError(message)
        return copy

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


def _by_name_too(parameter: inspect.Parameter) -> inspect.Parameter:
    if parameter.kind is not inspect.Parameter.POSITIONAL_ONLY:
        return parameter
    return parameter.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD)


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

    # The one parameter is the var, whatever its name.

    def _structure_one(self, name: str, value: Any, where: str) -> Any:  # noqa: ARG002
        try:
            return self._var.from_input(value, where)
        except BadArgumentsError as error:
            message = f"{self}: {error}"
            raise BadArgumentsError(message, error.where) from error

    def _own_one(self, name: str, value: Any) -> Any:  # noqa: ARG002
        return self._var.own(value)

    def check(self) -> None:
        """Nothing to resolve: the var has its type already."""


_NO_KEYWORDS: Final[Mapping[str, object]] = MappingProxyType({})


@final
@attrs.frozen
class Invocation:
    """A handler with arguments: what an element sends, or a handler returns."""

    handler: Handler
    args: tuple[object, ...] = ()
    """Values; in a page also expressions, which the browser computes when the event fires."""
    kwargs: Mapping[str, object] = _NO_KEYWORDS
    """Those behind the first parameter that is free, by name."""
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
    def by_name(self) -> Mapping[str, object]:
        """All that is bound, by parameter name."""
        named = zip(self.handler.signature.parameters, self.args, strict=False)
        return {**dict(named), **self.kwargs}

    @property
    def free(self) -> str | None:
        """The first parameter that is not bound, which takes what the browser sends."""
        bound = self.by_name
        return next((one for one in self.handler.signature.parameters if one not in bound), None)

    @property
    def takes_more(self) -> bool:
        """Whether the handler takes another argument after these, such as an input's value."""
        return self.free is not None

    def check(self, *, sent: int = 0) -> None:
        """Make sure that the handler can be called with these arguments.

        Args:
            sent: how many more the browser will add.

        Raises:
            TypeError: some are missing.
        """
        self._bind([None] * sent)

    def fill(self, value: object) -> Invocation:
        """Bind the first parameter that is free, as what the browser sends does.

        Raises:
            TypeError: none is.
        """
        if self.free is None:
            message = f"{self.handler}{self.handler.signature} is free to take nothing more"
            raise TypeError(message)
        filled = self.handler(**{**self.by_name, self.free: value})
        return attrs.evolve(self, args=filled.args, kwargs=filled.kwargs)

    def complete(self) -> Invocation:
        """Give the invocation as another handler triggers it: by position, with its own values.

        Raises:
            TypeError: arguments are missing, or one is not of the annotated type.
        """
        bound = self._bind([])
        for name, value in self.by_name.items():
            bound.arguments[name] = self.handler.own(name, value)
        if bound.kwargs:  # a parameter before them is left to its default
            bound.apply_defaults()
        return Invocation(self.handler, bound.args)

    def _bind(self, sent: Sequence[object]) -> inspect.BoundArguments:
        signature = self.handler.signature
        try:
            return signature.bind(*self.args, *sent, **self.kwargs)
        except TypeError as error:
            message = f"{self.handler}{signature}: {error}; bind it, as in {self.handler}(value)"
            raise TypeError(message) from None


FollowUp = Invocation | Effect
"""What a handler may ask for, by returning or yielding it."""


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
    message = f"expected a handler such as MyState.toggle or MyState.add(3), got {value!r}"
    raise TypeError(_named_through_self(value) or message)


def _named_through_self(value: object) -> str | None:
    function = value.func if isinstance(value, functools.partial) else value
    if isinstance(function, MethodType) or function is _refuse_direct_call:
        return "a handler is named through its class, as in MyState.toggle, not through self"
    return None


def as_follow_ups(value: object) -> tuple[FollowUp, ...]:
    """Give what a handler returned or yielded as what is to follow, in order.

    Raises:
        TypeError: it is not None, a handler, one with arguments bound, an effect, or a list of
            these, which may contain lists; or arguments are missing, or of another type.
    """
    return () if value is None else tuple(_follow_ups(value))


def _follow_ups(value: object) -> Iterator[FollowUp]:
    if isinstance(value, list | tuple):
        for item in cast("Sequence[object]", value):
            yield from _follow_ups(item)
    elif isinstance(value, Effect):
        yield value
    elif isinstance(value, Handler | Invocation):
        yield as_invocation(value).complete()
    else:
        message = (
            f"a handler may return and yield handlers such as MyState.toggle or MyState.add(3), "
            f"effects such as redirect('/orders'), and lists of these, got {value!r}"
        )
        raise TypeError(_named_through_self(value) or message)


def _named(thing: object) -> str:
    if isinstance(thing, Handler):
        return f"{thing.name}, which is marked already; one of @event and @background is enough"
    return getattr(thing, "__qualname__", None) or repr(thing)


@overload
def event(function: Function, /) -> Function: ...


@overload
def event(*, thread: bool = False) -> Callable[[Function], Function]: ...


def event(function: Any = None, /, *, thread: bool = False) -> Any:
    """Mark a method as a handler. Public methods are handlers without it, too.

    Args:
        function: the method, where it is written ``@event``.
        thread: run it in a thread, because it blocks: ``@event(thread=True)``. It holds its turn
            as any other handler does. Cancelled, it goes on to its end, since a thread cannot be
            stopped from outside, and what it changed is undone then; one that is to end sooner
            calls `trio.from_thread.check_cancelled` now and then.

    Raises:
        TypeError: it is put on something that is no function.
        StateDefinitionError: ``thread=True`` is put on an async function or a generator.
    """
    if function is None:
        return functools.partial(_as_event, thread=thread)
    return _as_event(function, thread=thread)


def _as_event(function: Any, *, thread: bool) -> Handler:
    if not inspect.isfunction(function):
        message = f"@event goes on a method, not on {_named(function)}"
        raise TypeError(message)
    if thread:
        _refuse_thread(function)
    return Handler(function, in_thread=thread)


def _refuse_thread(function: Callable[..., Any]) -> None:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        reason = "it is async, and what is awaited runs in the thread of the event loop"
    elif inspect.isgeneratorfunction(function):
        reason = "it yields, and each yield comes back to the event loop"
    else:
        return
    message = (
        f"@event(thread=True) cannot be on {_named(function)}: {reason}. Make it a plain `def`, "
        f"or write @event and call what blocks by `await trio.to_thread.run_sync(...)`"
    )
    raise StateDefinitionError(message)


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
