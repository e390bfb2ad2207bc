"""Handlers: the methods of a state that events run.

On the class a handler is a reference: an element takes it (``on_click=MyState.toggle``), another
handler returns it (``return MyState.my_task``), and calling it binds arguments
(``MyState.add(3)``). On an instance it is the plain method.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from types import MappingProxyType, MethodType
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Never,
    Self,
    TypeAlias,
    TypeVar,
    cast,
    final,
    overload,
)

from actorstate.exceptions import BadArgumentsError, StateDefinitionError
from actorstate.state.effects import Effect
from actorstate.state.invocations import Invocation
from actorstate.state.json_types import Plain, bare
from actorstate.state.methods import Method
from actorstate.state.task_options import OnDisconnect, Overlap, TaskOptions
from actorstate.state.vars import FixedPlace, Var, shape_for

if TYPE_CHECKING:
    from actorstate.state.state import State

__all__ = [
    "Canceller",
    "FollowUp",
    "Handler",
    "Invocation",
    "Setter",
    "TaskOptions",
    "as_follow_ups",
    "as_invocation",
    "background",
    "event",
]

Function = TypeVar("Function", bound=Callable[..., Any])

AsyncMethod: TypeAlias = Callable[..., Coroutine[Any, Any, Any] | AsyncIterator[Any]]


class Handler(Method):
    """A reference to a method of a state that events may run.

    Calling it binds arguments: ``MyState.add(3)`` is an `Invocation`, not a call.

    Args:
        function: the method.
        options: of a background task; None for what runs as a turn.
        in_thread: whether it blocks, and so runs in a thread.
    """

    owner: type[State]
    """The State class whose method it is; not there before the class is."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        options: TaskOptions | None = None,
        in_thread: bool = False,
    ) -> None:
        super().__init__(function)
        self.options: Final = options
        self.in_thread: Final = in_thread
        self.is_background: Final = options is not None
        """Whether it runs beside the other handlers."""
        self.name: str = function.__name__
        self.label: str = function.__qualname__
        """Its name for people: ``MyState.toggle``."""

    def __set_name__(self, owner: type[State], name: str) -> None:
        if not self._has_owner:  # else it is named a second time, as in `stop = Other.stop`
            self._belong_to(owner, name)

    def _belong_to(self, owner: type[State], name: str) -> None:
        self.owner, self.name = owner, name
        self.label = f"{owner.__name__}.{name}"

    @property
    def _has_owner(self) -> bool:
        """Whether it is in the body of a class that has been made."""
        return "owner" in vars(self)

    def copy_for(self, owner: type[State], name: str) -> Self:
        """Give another one of the same function, for a class of its own.

        It shares nothing that depends on the class: the label is made anew, and the canceller is
        in the definition of the class and not in here.
        """
        mine = copy.copy(self)
        mine._belong_to(owner, name)  # noqa: SLF001 - of this class
        return mine

    def __repr__(self) -> str:
        return f"<handler {self}>"

    def __str__(self) -> str:
        return self.label

    @property
    def refusal(self) -> str | None:
        """Why no event can run it; None for what events can run."""
        if _is_of_a_state(self):
            return None
        return (
            f"{self.function.__qualname__} is of no state; name the state that is made with it, as "
            f"in MyState.{self.name}"
        )

    @property
    def cancel(self) -> Canceller:
        """The handler that cancels this background task, wherever it runs in the tab.

        Like a setter it can be reached from a browser once it is named here, and not before.

        Raises:
            AttributeError: this is no background task; or it is that of a mixin, or of a class
                that is still being made, and so no state's yet.
        """
        if not _is_of_a_state(self):
            message = f"{self.refusal}.cancel"
            raise AttributeError(message)
        if self.options is None:
            message = f"{self} is no background task: there is nothing to cancel"
            raise AttributeError(message)
        # Threads of handlers come here too; whoever is second takes what the first has made.
        handlers = self.owner.definition().handlers
        canceller = handlers.setdefault(f"{self.name}.cancel", Canceller(self))
        assert isinstance(canceller, Canceller), "no method has a name with a dot"
        return canceller

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
        """Let a page send this only once ``seconds`` have passed without another.

        Raises:
            ValueError: they are no number above 0, or more than 60.
        """
        return Invocation(self).debounce(seconds)

    def throttle(self, seconds: float) -> Invocation:
        """Let a page send at most one of these in ``seconds``; those between are dropped.

        Raises:
            ValueError: as `debounce`.
        """
        return Invocation(self).throttle(seconds)

    def check(self) -> None:
        """Resolve the annotations of the parameters, which may name what is defined later.

        Raises:
            StateDefinitionError: an annotation names nothing, or a type without a JSON form; or
                what ``resume=True`` has to keep has none.
        """
        super().check()
        if self.options is not None and self.options.resume:
            self._check_resumable()

    def _check_resumable(self) -> None:
        for name, declared in self._types.items():
            place = f"{self} has resume=True, which keeps its arguments in the snapshot: {name}"
            if bare(declared) in (Any, object):
                message = f"{place} has no type that says what it is; write `{name}: int`, say"
                raise StateDefinitionError(message)
            _ = shape_for(place, declared)
            default = self.signature.parameters[name].default
            if default is not inspect.Parameter.empty:
                self._check_default(name, default)

    def _check_default(self, name: str, default: object) -> None:
        try:
            _ = self.own(name, default)
        except TypeError as error:
            message = f"{error}; with resume=True the default has to be of the annotated type, too"
            raise StateDefinitionError(message) from error


def _is_of_a_state(handler: Handler) -> bool:
    """Tell the handler of a state from that of a mixin, or of a class that is being made."""
    owner = vars(handler).get("owner")  # it may have none
    return owner is not None and "_definition" in vars(owner)


def _refuse_direct_call(handler: Handler, *_args: object, **_kwargs: object) -> Never:
    advice = handler.refusal or f"trigger it with `return {handler}` or `yield {handler}`"
    message = f"{handler} is a background task and cannot be called; {advice}"
    raise RuntimeError(message)


class Setter(Handler):
    """The generated handler ``set_<var>``: it takes what an input element sends."""

    def __init__(self, var: Var) -> None:
        def set_var(self: State, value: Any) -> None:
            setattr(self, var.name, value)

        super().__init__(set_var)
        self._var: Final = var

    # The one parameter is the var, whatever its name.

    @property
    def types(self) -> Mapping[str, Any]:
        """The type of the var."""
        return dict.fromkeys(self.signature.parameters, self._var.declared)

    def _structure_one(self, name: str, value: Any, where: str) -> Any:  # noqa: ARG002
        try:
            return self._var.from_input(value, where)
        except BadArgumentsError as error:
            message = f"{self}: {error}"
            raise BadArgumentsError(message, error.where) from error

    def _own_one(self, name: str, value: Any) -> Any:  # noqa: ARG002
        return self._var.own(value, FixedPlace(str(self), "it is bound to an event"))

    def _unstructure_one(self, name: str, value: Any) -> Plain:  # noqa: ARG002
        return self._var.plain(value)

    def check(self) -> None:
        """Nothing to resolve: the var has its type already."""


@final
class Canceller(Handler):
    """The handler ``MyState.my_task.cancel``: it cancels a background task of its tab.

    Args:
        task: the one that it cancels. That of a class made with a mixin has a canceller of its
            own, as it is a handler of its own.
    """

    def __init__(self, task: Handler) -> None:
        super().__init__(_cancel)
        self.task: Final = task
        self.__set_name__(task.owner, f"{task.name}.cancel")


def _cancel(_: State) -> Never:
    """Stand for the method that a canceller has not: what it does is the token actor's work."""
    message = "a canceller is carried out by the token actor, and is no method to call"
    raise AssertionError(message)


FollowUp = Invocation | Effect
"""What a handler may ask for, by returning or yielding it."""


def as_invocation(value: object) -> Invocation:
    """Give the invocation that a handler reference stands for.

    Raises:
        TypeError: the value is neither a handler nor one with arguments bound; or no event can
            run it, since it is a hook, or that of a mixin.
    """
    if isinstance(value, Handler | Invocation):
        invocation = Invocation(value) if isinstance(value, Handler) else value
        if invocation.handler.refusal is not None:
            raise TypeError(invocation.handler.refusal)
        return invocation
    message = f"expected a handler such as MyState.toggle or MyState.add(3), got {value!r}"
    if isinstance(value, Effect):
        message = f"{message}; write a handler that returns the effect"
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
            these, which may contain lists; or arguments are missing, or of another type; or it
            is a hook.
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


@overload
def background(function: AsyncMethod, /) -> Handler: ...


@overload
def background(
    *, on_disconnect: OnDisconnect = "keep", overlap: Overlap = "allow", resume: bool = False
) -> Callable[[AsyncMethod], Handler]: ...


def background(
    function: Any = None,
    /,
    *,
    on_disconnect: OnDisconnect = "keep",
    overlap: Overlap = "allow",
    resume: bool = False,
) -> Any:
    """Mark an async method as a background task: it runs beside the other handlers.

    Inside it, state may be changed only within ``async with self``. It is triggered by an
    element, or by ``return MyState.my_task`` and ``yield MyState.my_task`` from a handler.
    ``MyState.my_task.cancel`` is a handler, too: it cancels the task.

    Args:
        function: the method, where it is written ``@background``.
        on_disconnect: when no page of the tab has been connected for a while, ``"keep"`` lets
            the task go on, ``"cancel"`` cancels it.
        overlap: when it is triggered while it runs in the same tab, ``"allow"`` begins another
            one beside it, ``"skip"`` does nothing, ``"replace"`` cancels the one that runs and
            begins after it, and ``"queue"`` waits until it has ended.
        resume: start the task again, from its beginning and with the same arguments, when its
            tab is brought back to life after the process has ended, by a crash or a deploy, while
            it ran. So its arguments are in the snapshot, and each needs an annotation that says
            what it is; else entering the app raises `StateDefinitionError`.

    Raises:
        TypeError: the method is neither an async function nor an async generator; or an option
            is of another kind.
        ValueError: an option is none of the words it may be.
    """
    options = TaskOptions(on_disconnect, overlap, resume)
    if function is None:
        return functools.partial(_as_background, options=options)
    return _as_background(function, options=options)


def _as_background(function: Any, *, options: TaskOptions) -> Handler:
    if not (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)):
        message = f"@background needs an async function; write `async def` for {_named(function)}"
        raise TypeError(message)
    return Handler(function, options=options)
