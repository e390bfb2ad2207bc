"""Vars: the typed fields of a state.

The value of a var lies in the ``__dict__`` of its state, and nothing of its name in the class, so
that reading it costs what reading a plain attribute costs. Writing goes through
``State.__setattr__``. In the classes of substates a var is a descriptor that reads the parent's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Never, final, get_args

import attrs
from cattrs.fns import identity

from actorstate.exceptions import (
    BadArgumentsError,
    ImmutableStateError,
    SnapshotError,
    StateDefinitionError,
)
from actorstate.state.convert import UNFIT, error_details, make_converter
from actorstate.state.expressions import StateVar
from actorstate.state.json_types import NoJsonFormError, Plain, type_name
from actorstate.state.nodes import Place
from actorstate.state.patch import pointer
from actorstate.state.shapes import Shape, fitted, shape_of

if TYPE_CHECKING:
    from actorstate.state.state import State

TREE: Final = "_State__tree"
"""The attribute of a state with its tree: mangled, so that no var can have the name."""

_input_converter: Final = make_converter()

PLACES: Final = "_State__places"
"""The attribute of a state with the places of its vars."""

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,400}")
_DECIMAL: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")


@final
@attrs.frozen(eq=False)
class FixedPlace:
    """The place of a value that nobody may change: a default, or what was computed."""

    label: str
    advice: str

    def check_writable(self) -> Never:
        """Refuse."""
        self.writable_log()

    def writable_log(self) -> Never:
        """Refuse."""
        message = f"{self.label} was not changed: {self.advice}"
        raise ImmutableStateError(message)


def shape_for(label: str, declared: Any) -> Shape:
    """Give the shape of a declared type.

    Raises:
        StateDefinitionError: it has no way to a snapshot and back.
    """
    try:
        return shape_of(declared)
    except NoJsonFormError as error:
        message = (
            f"{label}: type {type_name(declared)} has no JSON form: {error}; use built-in types, "
            f"dataclasses or attrs classes"
        )
        raise StateDefinitionError(message) from error


class Var:
    """One typed field of a state class.

    What is asked of it in every turn is worked out once, and is in plain attributes: Python finds
    those at once, but looks for a property of that name first where there is one.

    Args:
        owner: the State class that declares it.
        state_name: the full name of that.
        name: its name in the class body.
        declared: its type.
        default: its value in a new state tree; every tree gets a copy of its own.

    Raises:
        StateDefinitionError: the type has no JSON form, or the default is not of the type.
    """

    def __init__(
        self, owner: type[State], state_name: str, name: str, declared: Any, default: Any
    ) -> None:
        self.owner = owner
        self.name = name
        self.declared = declared
        self.is_backend: Final = name.startswith("_")
        """Whether the var stays on the server: its name starts with an underscore."""
        self.path: Final = (state_name, name)
        """Where it lies in the state: the state's name, and its own."""
        self.pointer: Final = pointer(*self.path)
        """The same as a JSON Pointer (RFC 6901)."""
        self.shape: Final = shape_for(str(self), declared)
        self.exact_type: Final = self.shape.exact_type
        """The class whose instances are kept as they are; None if there is more to check."""
        self.holds_nodes: Final = self.shape.holds_nodes
        """Whether there may be something in a value that can be changed in place."""
        self.plain: Final[Callable[[Any], Plain]] = self.shape.to_plain
        """Gives the JSON form of a value of this var."""
        self.is_plain: Final = self.plain is identity
        """Whether its values are their own JSON form: numbers, text, truth values."""
        place = FixedPlace(str(self), "it is the default of every new tab")
        try:
            self.default: Any = self.own(default, place)
        except TypeError as error:
            message = f"the default does not fit: {error}"
            raise StateDefinitionError(message) from error

    def __str__(self) -> str:
        return f"{self.owner.__name__}.{self.name}"

    def __get__(self, instance: State | None, owner: type[State]) -> Any:
        """Give the value of a parent's var: a state's own are found before this is asked."""
        if instance is not None:
            return getattr(instance.get_substate(self.owner), self.name)
        if self.is_backend:
            raise AttributeError(self.name)  # the metaclass says why
        return StateVar(*self.path)

    def own(self, value: Any, place: Place) -> Any:
        """Check a value that the program assigns, and give the state's own copy of it.

        Args:
            value: whatever the program has.
            place: this var in one tree.

        Raises:
            TypeError: the value is not of the declared type.
        """
        return fitted(place, lambda: self.shape.own(value, place, place, None))

    def restore(self, plain: Any, place: Place) -> Any:
        """Give the value of a JSON form read from a snapshot.

        Raises:
            SnapshotError: it is not the JSON form of the declared type.
        """
        try:
            return self.own(self.shape.from_plain(plain), place)
        except UNFIT as error:
            message = (
                f"{self}: the stored value is not a {type_name(self.declared)} "
                f"({error_details(error, self.name)[0][0]}); the snapshot was left as it is"
            )
            raise SnapshotError(message) from error

    def from_input(self, sent: Any, where: str) -> Any:
        """Give the value for what an input element sent: text is converted for a number var.

        Raises:
            BadArgumentsError: no value of the declared type can be made of it.
        """
        value = self._read_text(sent) if isinstance(sent, str) else sent
        try:
            return _input_converter.structure(value, self.declared)
        except UNFIT as error:
            message, culprit = error_details(error, where)[0]
            raise BadArgumentsError(message, culprit) from error

    def _read_text(self, text: str) -> Any:
        """Read a number where a number is declared; anything else stays the text it is."""
        kinds = get_args(self.declared) or (self.declared,)
        if str in kinds:
            return text
        stripped = text.strip()
        if not stripped and type(None) in kinds:
            return None
        if int in kinds and _INTEGER.fullmatch(stripped):
            return int(stripped)
        if float in kinds and _DECIMAL.fullmatch(stripped):
            return float(stripped)
        return text
