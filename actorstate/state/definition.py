"""What the body of a State class becomes: its definition."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast, get_origin, get_type_hints

import attrs

from actorstate.exceptions import StateDefinitionError
from actorstate.state.convert import type_name
from actorstate.state.handlers import Handler, Setter
from actorstate.state.vars import Var

if TYPE_CHECKING:
    from actorstate.state.state import State

_WORD_START: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

_RESERVED: Final = frozenset(
    {"definition", "get_full_name", "get_substate", "get_token", "create_for", "router"}
)


def snake_case(name: str) -> str:
    """Give the name of a state for the name of its class.

    >>> snake_case("MyTaskState"), snake_case("HTTPState")
    ('my_task_state', 'http_state')
    """
    return _WORD_START.sub("_", name).lower()


@attrs.frozen(eq=False)
class Definition:
    """What is known of a State class: made once, while the class is being defined."""

    full_name: str
    """Its path from the root, on the wire and in snapshots: ``state.my_task_state``."""
    vars: Mapping[str, Var]
    """The vars that it declares itself."""
    all_vars: Mapping[str, Var]
    """These and its parents', which its instances read and write through."""
    handlers: dict[str, Handler]
    """What a browser may call, by name. Setters join it when the program names them."""
    substates: dict[str, type[State]]
    """The direct subclasses, by name. They live as long as their root."""
    spec: ModuleSpec | None
    """What the module was loaded by that defines the class."""


def define(cls: type[State], parent: type[State] | None) -> Definition:
    """Read the body of a State class; its vars and handlers become what they are on the class.

    Raises:
        StateDefinitionError: the class is written in a way that cannot work.
    """
    inherited: Mapping[str, Var] = parent.definition().all_vars if parent is not None else {}
    _refuse_taken_name(cls, parent)
    own_vars = dict(_collect_vars(cls, inherited))
    handlers = dict(_collect_handlers(cls, {**inherited, **own_vars}))
    name = snake_case(cls.__name__)
    return Definition(
        full_name=f"{parent.get_full_name()}.{name}" if parent is not None else name,
        vars=own_vars,
        all_vars={**inherited, **own_vars},
        handlers=handlers,
        substates={},
        spec=_spec_of(cls),
    )


def _refuse_taken_name(cls: type[State], parent: type[State] | None) -> None:
    """Refuse two states of one name; defining the same class again replaces it, as on reload."""
    if parent is None:
        return
    other = parent.definition().substates.get(snake_case(cls.__name__))
    if other is None or _replaces(cls, other):
        return
    message = (
        f"{_identity(cls)} and {_identity(other)} would both be the state "
        f"{other.get_full_name()!r}; rename one of the classes"
    )
    raise StateDefinitionError(message)


def _replaces(cls: type[State], other: type[State]) -> bool:
    """Tell a class that is defined again from a second one of its name.

    Again: by a module that is loaded anew, in an interactive session, or by a function that is
    called once more. A module that is loaded once has no reason to define a name twice.
    """
    if _identity(cls) != _identity(other):
        return False
    spec = _spec_of(cls)
    return spec is None or spec is not other.definition().spec or "<locals>" in cls.__qualname__


def _identity(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _spec_of(cls: type) -> ModuleSpec | None:
    """Give the spec of the module that defines a class: a new one for each time it is loaded."""
    return getattr(sys.modules.get(cls.__module__), "__spec__", None)


def _own_annotations(cls: type[State]) -> dict[str, Any]:
    # Of this class alone: the parents' are known, and their modules are not this one.
    own = type(cls.__name__, (), {"__annotations__": inspect.get_annotations(cls)})
    own.__module__ = cls.__module__
    try:
        return get_type_hints(own, include_extras=True)
    except NameError as error:
        message = (
            f"{cls.__name__}: the type of a var cannot be resolved ({error}); define or import "
            f"{error.name!r} at the top level of the module, before the class"
        )
        raise StateDefinitionError(message) from error


def _collect_vars(cls: type[State], inherited: Mapping[str, Var]) -> Iterator[tuple[str, Var]]:
    body = dict(vars(cls))
    for name, declared in _own_annotations(cls).items():
        if declared is ClassVar or get_origin(declared) is ClassVar:
            continue
        _refuse_reserved(cls, name, inherited)
        if name not in body:
            message = (
                f"{cls.__name__}.{name} has no default; a new tab needs one: write "
                f"`{name}: {type_name(declared)} = ...`"
            )
            raise StateDefinitionError(message)
        var = Var(cls, name, declared, body[name])
        type.__setattr__(cls, name, var)
        yield name, var


def _collect_handlers(
    cls: type[State], all_vars: Mapping[str, Var]
) -> Iterator[tuple[str, Handler]]:
    for name, member in list(vars(cls).items()):
        if name.startswith("__") or name == "_definition" or isinstance(member, Var):
            _refuse_constructor(cls, name, member)
        elif isinstance(member, Handler):
            yield name, _as_reachable(cls, name, member, all_vars)
        elif isinstance(member, FunctionType) and not name.startswith("_"):
            handler = Handler(member)
            type.__setattr__(cls, name, handler)
            yield name, _as_reachable(cls, name, handler, all_vars)
        elif not _may_stay(cls, name, member):
            message = (
                f"{cls.__name__}.{name} has no type; write `{name}: {_guess(member)} = "
                f"{member!r}` for a var, or `ClassVar` for a constant of the class"
            )
            raise StateDefinitionError(message)


def _guess(member: Any) -> str:
    """Guess what the author would write as the type of a value."""
    if member is None:
        return "int | None"
    kind = type_name(type(cast("object", member)))
    contents = {"list": "list[str]", "dict": "dict[str, str]", "set": "set[str]"}
    return contents.get(kind, kind)


def _may_stay(cls: type[State], name: str, member: Any) -> bool:
    if name in inspect.get_annotations(cls):
        return True
    return isinstance(member, FunctionType | type) or hasattr(cast("object", member), "__get__")


def _refuse_constructor(cls: type[State], name: str, member: Any) -> None:
    if name in ("__init__", "__new__") and isinstance(member, FunctionType | staticmethod):
        message = f"{cls.__name__}.{name}: a state has no constructor; give its vars defaults"
        raise StateDefinitionError(message)


def _as_reachable(
    cls: type[State], name: str, handler: Handler, all_vars: Mapping[str, Var]
) -> Handler:
    _refuse_reserved(cls, name, all_vars)
    if name.startswith("_"):
        message = f"{cls.__name__}.{name} is private and no browser can reach it; rename it"
        raise StateDefinitionError(message)
    handler.__set_name__(cls, name)
    for parameter in handler.signature.parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.POSITIONAL_ONLY):
            message = (
                f"{handler}: the parameter {str(parameter)!r} cannot be filled from a browser; "
                f"name each one before any *, or start the method's name with _"
            )
            raise StateDefinitionError(message)
    return handler


def _refuse_reserved(cls: type[State], name: str, all_vars: Mapping[str, Var]) -> None:
    if name in _RESERVED:
        message = f"{cls.__name__}.{name}: {name!r} is a name of State itself; choose another"
        raise StateDefinitionError(message)
    if name in all_vars:
        message = f"{cls.__name__}.{name}: {all_vars[name]} is declared already; choose another"
        raise StateDefinitionError(message)


def make_setter(var: Var, name: str) -> Handler:
    """Give the handler that sets a var; made when it is first asked for."""
    handlers = var.owner.definition().handlers
    if name not in handlers:
        setter = Setter(var)
        setter.__set_name__(var.owner, name)
        handlers[name] = setter
    return handlers[name]
