"""What the body of a State class becomes: its definition."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias, cast, get_origin, get_type_hints

import attrs

from actorstate.exceptions import StateDefinitionError
from actorstate.state.computed import Computed
from actorstate.state.handlers import Handler, Setter
from actorstate.state.hooks import HOOK_NAMES, Hook, as_hook
from actorstate.state.json_types import type_name
from actorstate.state.vars import Var

if TYPE_CHECKING:
    from actorstate.state.state import State

_WORD_START: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

Member: TypeAlias = Var | Computed[Any]

_OURS: Final = frozenset({"_definition", "_mixin_defaults", "_recorder"})
"""Names that we put into the bodies of classes."""

_RESERVED: Final = frozenset(
    {
        "create_for",
        "definition",
        "get_full_name",
        "get_state",
        "get_substate",
        "get_token",
        "migrate",
        "reset",
        "router",
    }
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
    computed: Mapping[str, Computed[Any]]
    """The computed vars that it declares itself."""
    all_computed: Mapping[str, Computed[Any]]
    """These and its parents'."""
    handlers: dict[str, Handler]
    """What a browser may call, by name.

    Setters, and cancellers under names such as ``my_task.cancel``, join it when the program names
    them.
    """
    hooks: Mapping[str, Handler]
    """What the library runs, and no browser may call, by name; not its parents'."""
    substates: dict[str, type[State]]
    """The direct subclasses, by name. They live as long as their root."""
    spec: ModuleSpec | None
    """What the module was loaded by that defines the class."""


def define(cls: type[State], parent: type[State] | None) -> Definition:
    """Read the body of a State class; its vars and handlers become what they are on the class.

    Raises:
        StateDefinitionError: the class is written in a way that cannot work.
    """
    above = parent.definition() if parent is not None else None
    _refuse_taken_name(cls, parent)
    bodies = [cls, *_mixins(cls, parent)]
    taken: dict[str, Member] = {**above.all_vars, **above.all_computed} if above else {}
    name = snake_case(cls.__name__)
    full_name = f"{parent.get_full_name()}.{name}" if parent is not None else name
    own_vars = dict(_collect_vars(cls, full_name, bodies, taken))
    own_computed = dict(_collect_computed(cls, bodies, {**taken, **own_vars}))
    handlers = dict(_collect_handlers(cls, bodies, {**taken, **own_vars, **own_computed}))
    hooks = dict(_collect_hooks(cls, bodies))
    _refuse_name_of_canceller(cls, parent, handlers)
    _clear_the_way(cls, own_vars, above.all_vars if above else {})
    return Definition(
        full_name=full_name,
        vars=own_vars,
        all_vars={**(above.all_vars if above else {}), **own_vars},
        computed=own_computed,
        all_computed={**(above.all_computed if above else {}), **own_computed},
        handlers=handlers,
        hooks=hooks,
        substates={},
        spec=_spec_of(cls),
    )


def _clear_the_way(cls: type[State], own: Mapping[str, Var], inherited: Mapping[str, Var]) -> None:
    """Let Python find the values of vars in the instance at once.

    It looks at the class first, and is fast only if there is nothing of that name. So own vars
    are no attributes of the class: `StateMeta` knows them. Those of parents are, since their
    values are in another instance.
    """
    for name in own:
        if name in vars(cls):
            type.__delattr__(cls, name)
    for name, var in inherited.items():
        type.__setattr__(cls, name, var)


def set_aside(mixin: type[State]) -> None:
    """Keep the defaults of a mixin for the states that are made with it.

    As attributes of the mixin they would be found where vars of those states are looked for.
    """
    defaults = {
        name: vars(mixin)[name]
        for name, declared in own_annotations(mixin).items()
        if name in vars(mixin) and not _is_class_var(declared)
    }
    for name in defaults:
        type.__delattr__(mixin, name)
    type.__setattr__(mixin, "_mixin_defaults", defaults)


def is_mixin(cls: type) -> bool:
    """Tell whether a class was made with ``mixin=True``."""
    return "_mixin_defaults" in vars(cls)


def _is_class_var(declared: Any) -> bool:
    return declared is ClassVar or get_origin(declared) is ClassVar


def _mixins(cls: type[State], parent: type[State] | None) -> Iterator[type[State]]:
    """Give the mixins that a class has and its parent has not, the nearest first."""
    for base in cls.__mro__[1:]:
        if is_mixin(base) and (parent is None or not issubclass(parent, base)):
            yield base


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


def _refuse_name_of_canceller(
    cls: type[State], parent: type[State] | None, handlers: Mapping[str, Handler]
) -> None:
    """Refuse a handler that has on the wire the name of the canceller of a parent's task."""
    if parent is None or "cancel" not in handlers:
        return
    name, above = snake_case(cls.__name__), parent.definition()
    task = above.handlers.get(name) or above.hooks.get(name)
    if task is not None and task.is_background:
        message = (
            f"{handlers['cancel']} would have the name by which {task}.cancel is called, which "
            f"cancels that background task; rename one of them"
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


def own_annotations(cls: type[State]) -> dict[str, Any]:
    """Give the types that the body of a class declares, by name.

    Raises:
        StateDefinitionError: one of them names what is not there.
    """
    # Of this class alone: others' are known, or asked for by themselves, in their own modules.
    own = type(cls.__name__, (), {"__annotations__": inspect.get_annotations(cls)})
    own.__module__ = cls.__module__
    try:
        return get_type_hints(own)
    except NameError as error:
        message = (
            f"{cls.__name__}: the type of a var cannot be resolved ({error}); define or import "
            f"{error.name!r} at the top level of the module, before the class"
        )
        raise StateDefinitionError(message) from error


def _collect_vars(
    cls: type[State],
    full_name: str,
    bodies: Sequence[type[State]],
    taken: Mapping[str, Member],
) -> Iterator[tuple[str, Var]]:
    seen: set[str] = set()
    for body in bodies:
        defaults = vars(body).get("_mixin_defaults", vars(body))
        for name, declared in own_annotations(body).items():
            if _is_class_var(declared) or name in seen:
                continue
            seen.add(name)
            _refuse_reserved(cls, name, taken)
            if name not in defaults:
                message = (
                    f"{body.__name__}.{name} has no default; a new tab needs one: write "
                    f"`{name}: {type_name(declared)} = ...`"
                )
                raise StateDefinitionError(message)
            yield name, Var(cls, full_name, name, declared, defaults[name])


def _members(bodies: Sequence[type[State]]) -> Iterator[tuple[str, Any]]:
    """Give what the bodies of a class and its mixins have, each name once."""
    seen: set[str] = set()
    for body in bodies:
        for name, member in list(vars(body).items()):
            if name not in seen:
                seen.add(name)
                yield name, member


def _collect_computed(
    cls: type[State], bodies: Sequence[type[State]], taken: Mapping[str, Member]
) -> Iterator[tuple[str, Computed[Any]]]:
    for name, member in _members(bodies):
        if isinstance(member, Computed):
            _refuse_reserved(cls, name, taken)
            mine = cast("Computed[Any]", member).copy()
            mine.bind(cls, name)
            type.__setattr__(cls, name, mine)
            yield name, mine


def _collect_handlers(
    cls: type[State], bodies: Sequence[type[State]], taken: Mapping[str, Member]
) -> Iterator[tuple[str, Handler]]:
    for name, member in _members(bodies):
        if name.startswith("__") or name in _OURS or isinstance(member, Var | Computed):
            _refuse_constructor(cls, name, member)
        elif name in HOOK_NAMES:
            continue
        elif isinstance(member, Handler):
            yield name, _as_reachable(cls, name, member, taken)
        elif isinstance(member, FunctionType) and not name.startswith("_"):
            yield name, _as_reachable(cls, name, Handler(member), taken)
        elif not _may_stay(bodies, name, member):
            message = (
                f"{cls.__name__}.{name} has no type; write `{name}: {_guess(member)} = "
                f"{member!r}` for a var, or `ClassVar` for a constant of the class"
            )
            raise StateDefinitionError(message)


def _collect_hooks(cls: type[State], bodies: Sequence[type[State]]) -> Iterator[tuple[str, Hook]]:
    for name, member in _members(bodies):
        if name in HOOK_NAMES:
            hook = as_hook(cls, name, member)
            type.__setattr__(cls, name, hook)
            yield name, hook


def _guess(member: Any) -> str:
    """Guess what the author would write as the type of a value."""
    if member is None:
        return "int | None"
    kind = type_name(type(cast("object", member)))
    contents = {"list": "list[str]", "dict": "dict[str, str]", "set": "set[str]"}
    return contents.get(kind, kind)


def _may_stay(bodies: Sequence[type[State]], name: str, member: Any) -> bool:
    if any(name in inspect.get_annotations(body) for body in bodies):
        return True
    return isinstance(member, FunctionType | type) or hasattr(cast("object", member), "__get__")


def _refuse_constructor(cls: type[State], name: str, member: Any) -> None:
    if name in ("__init__", "__new__") and isinstance(member, FunctionType | staticmethod):
        message = f"{cls.__name__}.{name}: a state has no constructor; give its vars defaults"
        raise StateDefinitionError(message)


def _as_reachable(
    cls: type[State], name: str, handler: Handler, taken: Mapping[str, Member]
) -> Handler:
    _refuse_reserved(cls, name, taken)
    if name.startswith("_"):
        message = f"{cls.__name__}.{name} is private and no browser can reach it; rename it"
        raise StateDefinitionError(message)
    handler = handler.copy_for(cls, name)
    type.__setattr__(cls, name, handler)
    for parameter in handler.signature.parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.POSITIONAL_ONLY):
            message = (
                f"{handler}: the parameter {str(parameter)!r} cannot be filled from a browser; "
                f"name each one before any *, or start the method's name with _"
            )
            raise StateDefinitionError(message)
    return handler


def _refuse_reserved(cls: type[State], name: str, taken: Mapping[str, Member]) -> None:
    if name in _RESERVED:
        message = f"{cls.__name__}.{name}: {name!r} is a name of State itself; choose another"
        raise StateDefinitionError(message)
    if name in HOOK_NAMES:
        message = f"{cls.__name__}.{name}: {name!r} is the name of a hook, a method; choose another"
        raise StateDefinitionError(message)
    if name in taken:
        message = f"{cls.__name__}.{name}: {taken[name]} is declared already; choose another"
        raise StateDefinitionError(message)


def make_setter(var: Var, name: str) -> Handler:
    """Give the handler that sets a var; made when it is first asked for."""
    handlers = var.owner.definition().handlers
    if name not in handlers:
        setter = Setter(var)
        setter.__set_name__(var.owner, name)
        handlers[name] = setter
    return handlers[name]
