"""The State class: what users subclass, and what is made of the body of a subclass."""

from __future__ import annotations

import inspect
import re
import weakref
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from types import FunctionType, TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Final,
    Never,
    Self,
    TypeVar,
    cast,
    get_origin,
    get_type_hints,
    overload,
)

import attrs

from actorstate.exceptions import ImmutableStateError, StateDefinitionError
from actorstate.state.handlers import Handler, Setter
from actorstate.state.turn import is_held
from actorstate.state.vars import Var

if TYPE_CHECKING:
    from actorstate.state.tree import StateTree

AnyState = TypeVar("AnyState", bound="State")

_WORD_START: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SETTER_PREFIX: Final = "set_"


def _snake_case(name: str) -> str:
    """Give the name of a state for the name of its class.

    >>> _snake_case("MyTaskState"), _snake_case("HTTPState")
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
    substates: weakref.WeakValueDictionary[str, type[State]]
    """The direct subclasses, by name. Weak, so that defining a class keeps nothing alive."""


class StateMeta(type):
    """Makes setters on demand: ``MyState.set_limit`` exists from when the program names it.

    A setter in the class body of every var would let any client set any var. Made when it is
    first looked up by name, it exists exactly if some page or handler of the program offers it;
    ``dir()`` and documentation tools, which look up what is listed, bring none to life.
    """

    def __getattr__(cls, name: str) -> Handler:
        if "_definition" not in vars(cls):  # the class is being made
            raise AttributeError(name)
        all_vars = cast("type[State]", cls).definition().all_vars
        if name in all_vars:
            message = (
                f"{all_vars[name]} is a backend var: its name starts with _, and it stays here"
            )
            raise AttributeError(message)
        var = all_vars.get(name.removeprefix(_SETTER_PREFIX))
        if var is None or var.is_backend:
            message = f"{cls.__name__} has no var or handler {name!r}"
            raise AttributeError(message)
        return _make_setter(var, name)

    def __setattr__(cls, name: str, value: Any) -> None:
        if isinstance(inspect.getattr_static(cls, name, None), Var):
            message = (
                f"{cls.__name__}.{name} on the class describes a var of every tab; change "
                f"the value of one tab in a handler, through self.{name}"
            )
            raise ImmutableStateError(message)
        super().__setattr__(name, value)


def _make_setter(var: Var, name: str) -> Handler:
    handlers = var.owner.definition().handlers
    if name not in handlers:
        setter = Setter(var)
        setter.__set_name__(var.owner, name)
        handlers[name] = setter
    return handlers[name]


class State(metaclass=StateMeta):
    """The root of the states of an app; subclass it to declare vars and handlers.

    Every annotated public field is a var that the browser sees; one whose name starts with an
    underscore is a backend var and never leaves the server. Every public method is a handler.
    A subclass of a subclass is a substate: it sees its parents' vars.

    Instances belong to a token and are made when they are first touched. Their vars may be
    changed only by whoever holds the token's open turn: a handler, or the block of
    ``async with self`` in a background task; anyone else gets `ImmutableStateError`.

    Args:
        root: start a tree of states of its own, apart from all others of the process, as for
            a second app: ``class Root(State, root=True)``, then ``App(root=Root)``.
    """

    _definition: ClassVar[Definition]
    __tree: StateTree

    def __init_subclass__(cls, *, root: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        parent = None if root else _parent_of(cls)
        type.__setattr__(cls, "_definition", _define(cls, parent))
        if parent is not None:
            parent.definition().substates[_snake_case(cls.__name__)] = cls

    def __new__(cls, *_args: object, **_kwargs: object) -> Never:
        """Refuse: nobody but a token's actor makes instances."""
        message = (
            f"{cls.__name__} cannot be created: its instances belong to a tab and are made by "
            f"its actor; reach them through self, get_substate() or app.modify_state(token)"
        )
        raise TypeError(message)

    @classmethod
    def create_for(cls, tree: StateTree) -> Self:
        """Make the instance of one tree, with its defaults. For `StateTree` alone."""
        state = object.__new__(cls)
        values = vars(state)
        values["_State__tree"] = tree
        values.update((var.name, var.fresh_default()) for var in cls._definition.vars.values())
        return state

    def __setattr__(self, name: str, value: Any) -> None:
        var = type(self).definition().all_vars.get(name)
        if var is None:
            message = (
                f"{type(self).__name__} has no var {name!r}; declare it in the class with a type "
                f"and a default, as in `{name}: int = 0`"
            )
            raise AttributeError(message)
        turn = self.__tree.turn
        if turn is None or not turn.is_writable or not is_held(turn):
            raise ImmutableStateError(_not_holding(var))
        turn.assign(self.__tree.state(var.owner), var, value)

    def __delattr__(self, name: str) -> Never:
        message = f"{type(self).__name__}.{name} cannot be deleted: a var always has a value"
        raise ImmutableStateError(message)

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={vars(self)[name]!r}" for name in type(self).definition().vars)
        return f"{type(self).__name__}({values})"

    # State awaits nothing itself: the door to the mailbox is brought by the room above.

    def __aenter__(self) -> Awaitable[Self]:
        return self.__tree.door.enter(self)

    def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> Awaitable[None]:
        return self.__tree.door.leave(exc)

    @classmethod
    def definition(cls) -> Definition:
        """What is known of this class: its name on the wire, its vars, its handlers."""
        return cls._definition

    @classmethod
    def get_full_name(cls) -> str:
        """The path of this state from the root, as in ``state.my_task_state``."""
        return cls._definition.full_name

    def get_token(self) -> str:
        """The token of the tab that this state belongs to, for `App.modify_state`.

        A secret: whoever has it is the tab.
        """
        return self.__tree.token

    @overload
    def get_substate(self, path: type[AnyState]) -> AnyState: ...

    @overload
    def get_substate(self, path: Sequence[str]) -> Any: ...

    def get_substate(self, path: type[AnyState] | Sequence[str]) -> Any:
        """Give another state of the same token.

        Args:
            path: a State class; or names from this state down, of which the first may be this
                state's own, so that ``Other.get_full_name().split(".")`` works from the root.

        Raises:
            LookupError: there is no such state.
        """
        if isinstance(path, type):
            return self.__tree.state(path)
        return self.__tree.state(_descend(type(self), path))


def _descend(start: type[State], path: Sequence[str]) -> type[State]:
    if isinstance(path, str):
        message = f"expected a list of names, got the text {path!r}; split it at the dots"
        raise TypeError(message)
    here = start
    own_name = start.get_full_name().rpartition(".")[2]
    for name in path[1:] if path and path[0] == own_name else path:
        below = here.definition().substates.get(name)
        if below is None:
            known = ", ".join(sorted(here.definition().substates)) or "none"
            message = f"{here.get_full_name()} has no substate {name!r} (it has: {known})"
            raise LookupError(message)
        here = below
    return here


def _not_holding(var: Var) -> str:
    return (
        f"{var} was not changed: it can be changed only by who holds the tab's turn. In a "
        f"background task write inside `async with self`; elsewhere inside "
        f"`async with app.modify_state(token) as state`"
    )


# ---- what a class body becomes -------------------------------------------------------------


def _parent_of(cls: type[State]) -> type[State]:
    parents = [base for base in cls.__bases__ if issubclass(base, State)]
    if len(parents) != 1:
        message = f"{cls.__name__} has {len(parents)} State classes as bases; it takes one"
        raise StateDefinitionError(message)
    return parents[0]


def _define(cls: type[State], parent: type[State] | None) -> Definition:
    inherited: Mapping[str, Var] = parent.definition().all_vars if parent is not None else {}
    _refuse_taken_name(cls, parent)
    own_vars = dict(_collect_vars(cls, inherited))
    handlers = dict(_collect_handlers(cls, {**inherited, **own_vars}))
    name = _snake_case(cls.__name__)
    return Definition(
        full_name=f"{parent.get_full_name()}.{name}" if parent is not None else name,
        vars=own_vars,
        all_vars={**inherited, **own_vars},
        handlers=handlers,
        substates=weakref.WeakValueDictionary(),
    )


def _refuse_taken_name(cls: type[State], parent: type[State] | None) -> None:
    """Refuse two states of one name; defining the same class again replaces it, as on reload."""
    if parent is None:
        return
    other = parent.definition().substates.get(_snake_case(cls.__name__))
    if other is None or _identity(other) == _identity(cls):
        return
    message = (
        f"{_identity(cls)} and {_identity(other)} would both be the state "
        f"{other.get_full_name()!r}; rename one of the classes"
    )
    raise StateDefinitionError(message)


def _identity(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


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
                f"`{name}: {getattr(declared, '__name__', declared)} = ...`"
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
                f"{cls.__name__}.{name} has no type; write `{name}: {type(member).__name__} = "
                f"{member!r}` for a var, or `ClassVar` for a constant of the class"
            )
            raise StateDefinitionError(message)


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


_RESERVED: Final = frozenset(
    {"definition", "get_full_name", "get_substate", "get_token", "create_for"}
)

type.__setattr__(
    State,
    "_definition",
    Definition("state", {}, {}, {}, weakref.WeakValueDictionary()),
)
