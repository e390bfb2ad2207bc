"""Vars: the typed fields of a state.

A var is a descriptor without ``__set__``: the value lies in the instance's own ``__dict__``,
where Python finds it before it asks the descriptor, so that reading a var costs what reading a
plain attribute costs. Writing goes through ``State.__setattr__``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from types import UnionType
from typing import TYPE_CHECKING, Any, Final, cast, get_args, get_origin

import cattrs

from actorstate.exceptions import BadArgumentsError, SnapshotError, StateDefinitionError
from actorstate.state.convert import UNFIT, Plain, error_details, make_converter, type_name
from actorstate.state.expressions import StateVar
from actorstate.state.patch import pointer
from actorstate.state.values import owned

if TYPE_CHECKING:
    from actorstate.state.state import State

_converter: Final = make_converter()

# Types whose values are immutable, their own JSON form, and right when their class is right.
# (Not among them: float, for NaN, and str, for half a surrogate pair; JSON carries neither.)
_EXACT: Final = frozenset({bool, int})

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,400}")
_DECIMAL: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")


def _runtime_class(declared: Any) -> type | tuple[type, ...]:
    """Give what ``isinstance`` can ask of a value before the converter looks into it."""
    if declared is float:
        return (float, int)
    kind = get_origin(declared) or declared
    try:
        isinstance(None, kind)
    except TypeError:  # a Literal, a TypedDict, Any: the converter alone can tell
        return object
    return kind if isinstance(kind, type) and kind is not UnionType else object


def _is_ascii(value: object) -> bool:
    return isinstance(value, str) and value.isascii()


class Var:
    """One typed field of a state class.

    Args:
        owner: the State class that declares it.
        name: its name in the class body.
        declared: its type.
        default: its value in a new state tree; every tree gets a copy of its own.

    Raises:
        StateDefinitionError: the type has no JSON form, or the default is not of the type.
    """

    def __init__(self, owner: type[State], name: str, declared: Any, default: Any) -> None:
        self.owner = owner
        self.name = name
        self.declared = declared
        self._runtime_class = _runtime_class(declared)
        try:
            self._from_plain = _converter.get_structure_hook(declared)
            self._to_plain = cast(
                "Callable[[Any], Plain]", _converter.get_unstructure_hook(declared)
            )
        except cattrs.StructureHandlerNotFoundError as error:
            message = (
                f"{self}: type {type_name(declared)} has no JSON form ({type_name(error.type_)} "
                f"is not known); use built-in types, dataclasses or attrs classes"
            )
            raise StateDefinitionError(message) from error
        try:
            self.default: Any = self.own(default)
        except TypeError as error:
            message = f"the default does not fit: {error}"
            raise StateDefinitionError(message) from error

    def __str__(self) -> str:
        return f"{self.owner.__name__}.{self.name}"

    @functools.cached_property
    def is_backend(self) -> bool:
        """Whether the var stays on the server: its name starts with an underscore."""
        return self.name.startswith("_")

    @functools.cached_property
    def pointer(self) -> str:
        """Where it lies in the public state (RFC 6901)."""
        return pointer(self.owner.get_full_name(), self.name)

    def __get__(self, instance: State | None, owner: type[State]) -> Any:
        if instance is not None:
            # The value is not in this instance, so the var belongs to a parent's.
            return getattr(instance.get_substate(self.owner), self.name)
        if self.is_backend:
            raise AttributeError(self.name)  # the metaclass says why
        return StateVar(self.owner.get_full_name(), self.name)

    def own(self, value: Any) -> Any:
        """Check a value that the program assigns, and give the state's own copy of it.

        Raises:
            TypeError: the value is not of the declared type.
        """
        if type(value) is self.declared and (self.declared in _EXACT or _is_ascii(value)):
            return value
        if not isinstance(value, self._runtime_class):
            message = f"{self} takes {type_name(self.declared)}, got {value!r}"
            raise TypeError(message)
        try:
            return owned(self._from_plain(self._to_plain(value), self.declared))
        except UNFIT as error:
            details = "; ".join(
                f"{text} at {path}" for text, path in error_details(error, self.name)
            )
            message = f"{self} takes {type_name(self.declared)}, got {value!r} ({details})"
            raise TypeError(message) from error

    def fresh_default(self) -> Any:
        """Give the default to a new tree: its own copy, where a copy can be told from it."""
        return self.default if self.declared in _EXACT else self.restore(self.plain(self.default))

    def plain(self, value: Any) -> Plain:
        """Give the JSON form of a value of this var."""
        return value if self.declared in _EXACT else self._to_plain(value)

    def restore(self, plain: Any) -> Any:
        """Give the value of a JSON form read from a snapshot.

        Raises:
            SnapshotError: it is not the JSON form of the declared type.
        """
        try:
            return owned(self._from_plain(plain, self.declared))
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
            return self._from_plain(value, self.declared)
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
