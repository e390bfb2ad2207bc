"""The State class: what users subclass."""

from __future__ import annotations

from collections.abc import Awaitable, Generator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Never, Self, TypeVar, cast, final, overload

from actorstate.exceptions import ImmutableStateError, StateDefinitionError
from actorstate.state.definition import (
    Definition,
    define,
    is_mixin,
    make_setter,
    set_aside,
    snake_case,
)
from actorstate.state.expressions import StateVar
from actorstate.state.places import VarPlace
from actorstate.state.router import Router
from actorstate.state.vars import PLACES, TREE

if TYPE_CHECKING:
    from actorstate.state.tree import StateTree

AnyState = TypeVar("AnyState", bound="State")

_SETTER_PREFIX: Final = "set_"


class StateMeta(type):
    """Makes setters on demand: ``MyState.set_limit`` exists from when the program names it.

    A setter in the class body of every var would let any client set any var. Made when it is
    first looked up by name, it exists exactly if some page or handler of the program offers it;
    ``dir()`` and documentation tools, which look up what is listed, bring none to life.
    """

    def __getattr__(cls, name: str) -> Any:
        if is_mixin(cls):
            message = (
                f"{cls.__name__} is a mixin and has no {name!r} of its own; name the state that is "
                f"made with it"
            )
            raise AttributeError(message)
        if "_definition" not in vars(cls):  # the class is being made
            raise AttributeError(name)
        definition = cast("type[State]", cls).definition()
        all_vars = definition.all_vars
        named = all_vars.get(name) or definition.all_computed.get(name)
        if named is not None and named.is_backend:
            message = f"{named} is a backend var: its name starts with _, and it stays here"
            raise AttributeError(message)
        if named is not None:
            return StateVar(*named.path)
        var = all_vars.get(name.removeprefix(_SETTER_PREFIX))
        if var is None or var.is_backend:
            message = f"{cls.__name__} has no var or handler {name!r}"
            raise AttributeError(message)
        return make_setter(var, name)

    def __setattr__(cls, name: str, value: Any) -> None:
        definition: Definition | None = vars(cls).get("_definition")
        if definition and (name in definition.all_vars or name in definition.all_computed):
            message = (
                f"{cls.__name__}.{name} on the class describes a var of every tab; change "
                f"the value of one tab in a handler, through self.{name}"
            )
            raise ImmutableStateError(message)
        super().__setattr__(name, value)


class State(metaclass=StateMeta):
    """The root of the states of an app; subclass it to declare vars and handlers.

    Every annotated public field is a var that the browser sees; one whose name starts with an
    underscore is a backend var and never leaves the server. Every public method is a handler.
    A subclass of a subclass is a substate: it sees its parents' vars.

    The library runs the hooks ``on_connect(self)``, ``on_disconnect(self)`` and
    ``on_background_error(self, error)``; and the class method ``migrate(cls, stored, error)``,
    which gives the vars that were stored under other State classes as they are today (see
    docs/stores.md).

    Instances belong to a token and are made when they are first touched. Their vars may be
    changed only by whoever holds the token's open turn: a handler, or the block of
    ``async with self`` in a background task; anyone else gets `ImmutableStateError`.

    Args:
        root: start a tree of states of its own, apart from all others of the process, as for
            a second app: ``class Root(State, root=True)``, then ``App(root=Root)``.
        mixin: do not make a state, but something for states to be made with: each class that
            has it among its bases gets vars and handlers of its own from its body.
    """

    _definition: ClassVar[Definition]
    __tree: StateTree
    __places: Mapping[str, VarPlace]

    def __init_subclass__(
        cls, *, root: bool = False, mixin: bool = False, recorder: bool = False, **kwargs: Any
    ) -> None:
        super().__init_subclass__(**kwargs)
        if mixin:
            set_aside(cls)
        if mixin or recorder:
            return
        parent = None if root else _parent_of(cls)
        type.__setattr__(cls, "_definition", define(cls, parent))
        if parent is not None:
            parent.definition().substates[snake_case(cls.__name__)] = cls

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
        object.__setattr__(state, TREE, tree)
        named = cls._definition.vars.items()
        places = {name: VarPlace(tree, state, var) for name, var in named}
        object.__setattr__(state, PLACES, places)
        for place in places.values():
            place.put(place.var.own(place.var.default, place))
        return state

    def __setattr__(self, name: str, value: Any) -> None:
        place = self.__places.get(name)
        if place is not None:
            place.assign(value)
            return
        definition = type(self).definition()
        var = definition.all_vars.get(name)
        if var is None:
            raise AttributeError(_no_such_var(type(self), name))
        self.__tree.place(self.__tree.state(var.owner), var).assign(value)

    def __delattr__(self, name: str) -> Never:
        message = f"{type(self).__name__}.{name} cannot be deleted: a var always has a value"
        raise ImmutableStateError(message)

    def __repr__(self) -> str:
        values = ", ".join(
            f"{name}={getattr(self, name)!r}" for name in type(self).definition().vars
        )
        return f"{type(self).__name__}({values})"

    # State awaits nothing itself: the door to the mailbox is brought by the room above.

    def __aenter__(self) -> Awaitable[Self]:
        """Wait for the tab's turn, in the mailbox's order, and hold it: in a background task.

        A point of cancellation, also where there is nothing to wait for. If cancelled, the request
        is withdrawn.

        Raises:
            ImmutableStateError: the caller is inside a turn of this tab already.
            DeadlockError: the tab's turn waits for one that the caller holds.
            MailboxFullError: too many wait for it already (``max_waiters`` of the app).
            ActorDeadError: the tab's actor has stopped.
        """
        return self.__tree.door.enter(self)

    def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> Awaitable[None]:
        """End the turn: what it changed is stored, then shown; undone if the block has raised.

        If cancelled while the store takes it, it is committed all the same.

        Raises:
            TurnTimeoutError: it was held for longer than the app's ``turn_timeout``; undone.
            ActorDeadError: the tab's actor has stopped meanwhile; undone.
            StoreError: the store did not take it (`LeaseLostError` and `StoreUnavailableError`
                are such); undone.
        """
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

    @property
    def router(self) -> Router:
        """The page load that the running handler serves: path, query, headers, session."""
        return self.__tree.router

    def reset(self) -> None:
        """Give all vars of this state and its substates their defaults, backend vars too.

        Raises:
            ImmutableStateError: the caller does not hold the tab's turn. Nothing was changed.
        """
        for var in type(self).definition().vars.values():
            self.__tree.place(self, var).assign(var.default)
        for substate in type(self).definition().substates.values():
            if self.__tree.is_touched(substate):
                self.__tree.state(substate).reset()

    def get_state(self, cls: type[AnyState]) -> Awaitable[AnyState]:
        """Give another state of the same token: ``await self.get_state(Other)``.

        Raises:
            LookupError: the class is not a state of this app.
        """
        return _Ready(self.get_substate(cls))

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


@final
class _Ready(Awaitable[AnyState]):
    """Something that need not be waited for."""

    def __init__(self, value: AnyState) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, Any, AnyState]:
        yield from ()
        return self._value


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


def _no_such_var(cls: type[State], name: str) -> str:
    if name in cls.definition().all_computed:
        return f"{cls.__name__}.{name} is computed; change what it is computed from"
    if not cls.definition().all_vars and cls.definition().substates:
        return (
            f"{cls.__name__} has no var {name!r}: it is the root; go on to the state that has "
            f"it, as in state.get_substate(MyState).{name}"
        )
    return (
        f"{cls.__name__} has no var {name!r}; declare it in the class with a type and a default, "
        f"as in `{name}: int = 0`"
    )


def _parent_of(cls: type[State]) -> type[State]:
    above = [base for base in cls.__mro__[1:] if issubclass(base, State) and not is_mixin(base)]
    parents = [base for base in above if not any(base in other.__mro__[1:] for other in above)]
    if len(parents) != 1:
        message = f"{cls.__name__} has {len(parents)} State classes as bases; it takes one"
        raise StateDefinitionError(message)
    return parents[0]


type.__setattr__(State, "_definition", Definition("state", {}, {}, {}, {}, {}, {}, {}, None))
