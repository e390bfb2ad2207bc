"""Hooks: the methods of a state that the library runs, and no browser can."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, final, get_args

from actorstate.exceptions import StateDefinitionError
from actorstate.state.handlers import Canceller, Handler
from actorstate.state.task_options import TaskOptions

if TYPE_CHECKING:
    from actorstate.state.state import State

HookName: TypeAlias = Literal["on_connect", "on_disconnect", "on_background_error"]

HOOK_NAMES: Final[tuple[HookName, ...]] = get_args(HookName)

_ERROR_HOOK: Final = "on_background_error"

_BY_POSITION: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


@final
class Hook(Handler):
    """A method that the library runs, as a turn or a background task. `as_hook` makes it."""

    @property
    def refusal(self) -> str | None:
        """Why no event can run it."""
        return (
            f"{self} is a hook, which the library runs and no event can; for an event write a "
            f"handler of another name"
        )

    def check(self) -> None:
        """Nothing to resolve: what it takes does not come from a browser."""


def as_hook(owner: type[State], name: str, member: object) -> Hook:
    """Make a hook of what stands under its name in the body of a class.

    Raises:
        StateDefinitionError: it is no method, takes something else than the hook of that name, or
            is a background task where that cannot be.
    """
    label = f"{owner.__name__}.{name}"
    if isinstance(member, Handler) and not isinstance(member, Canceller):
        hook = Hook(member.function, options=member.options, in_thread=member.in_thread)
    elif isinstance(member, FunctionType):
        hook = Hook(member)
    else:
        message = (
            f"{label} would be a hook, a method that the library runs; write `{_head(name)}`, or "
            f"choose another name"
        )
        raise StateDefinitionError(message)
    _check_options(label, name, hook.options)
    _check_parameters(label, name, hook.function)
    hook.__set_name__(owner, name)
    return hook


def _check_options(label: str, name: str, options: TaskOptions | None) -> None:
    if options is None:
        return
    if name == _ERROR_HOOK:
        message = (
            f"{label} cannot be a background task: it runs as a turn; leave out @background, and "
            f"return a background task from it where something takes long"
        )
        raise StateDefinitionError(message)
    if name == "on_disconnect" and options.is_of_pages:
        message = (
            f"{label} cannot have on_disconnect='cancel': it is asked for when the tab is gone, "
            f"and so would never begin; leave that out"
        )
        raise StateDefinitionError(message)
    if options.resume:
        # What is resumed is found by the name that events have for it, and a hook has none.
        message = (
            f"{label} is a hook and cannot have resume=True; return a background task that has "
            f"it, as in `return {label.partition('.')[0]}.my_task`"
        )
        raise StateDefinitionError(message)


def _check_parameters(label: str, name: str, function: Callable[..., Any]) -> None:
    parameters = inspect.signature(function).parameters.values()
    wanted = 2 if name == _ERROR_HOOK else 1
    if len(parameters) != wanted or any(one.kind not in _BY_POSITION for one in parameters):
        given = "the exception alone" if name == _ERROR_HOOK else "nothing but self"
        head = _head(name, is_async=_is_async(function))
        message = f"{label} is a hook, which is given {given}; write `{head}`"
        raise StateDefinitionError(message)


def _head(name: str, *, is_async: bool = False) -> str:
    parameters = "self, error: Exception" if name == _ERROR_HOOK else "self"
    return f"{'async ' if is_async else ''}def {name}({parameters}):"


def _is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
