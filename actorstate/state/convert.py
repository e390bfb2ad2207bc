"""Strict conversion between typed values and their JSON form.

One converter serves the snapshot, the wire and the arguments of events. cattrs out of the box is
lenient (``'false'`` becomes True, 1.9 becomes 1, None becomes ``'None'``); every scalar hook here
refuses instead. Two readings of one number are kept: JSON has a single number type, so a whole
number is welcome where a float is declared (PEP 484's numeric tower), never the other way round.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Set as AbstractSet
from typing import Any, Final, cast, get_args, get_origin

import cattrs
import msgspec
from cattrs.errors import CattrsError
from cattrs.preconf.json import make_converter as make_json_converter

from actorstate.state.marks import is_marked

Plain = None | bool | int | float | str | list[Any] | dict[str, Any]
"""A value as JSON carries it."""

UNFIT: Final = (
    cattrs.BaseValidationError,
    CattrsError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    ArithmeticError,
    RecursionError,
)
"""What converting raises for a value that does not fit.

cattrs' groups, its error for a literal, the ValueError of our own hooks, the TypeError of a union,
what unstructuring meets on an object of another shape, and what numbers too great for a float and
values nested too deep meet.
"""

encode_json: Final = msgspec.json.Encoder(order="deterministic").encode


def _exactly(kind: type) -> Callable[[Any, Any], Any]:
    def structure(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            message = f"expected {kind.__name__}, got {value!r}"
            raise ValueError(message)
        return value

    return structure


def _encodable_text(value: Any, _: Any) -> str:
    text: str = _exactly(str)(value, str)
    if not text.isascii() and is_marked(text):
        message = (
            "expected text, got one that holds an expression, which pages alone can show; in a "
            "handler write self.name for the value, not MyState.name"
        )
        raise ValueError(message)
    try:
        text.encode()
    except UnicodeEncodeError:
        message = f"expected text that is Unicode, got {value!r}, with half a surrogate pair"
        raise ValueError(message) from None
    return text


def _finite_float(value: Any, _: Any) -> float:
    if type(value) not in (int, float):
        message = f"expected float, got {value!r}"
        raise ValueError(message)
    number = float(value)
    if not math.isfinite(number):
        message = f"expected a finite float, got {value!r}, which JSON cannot carry"
        raise ValueError(message)
    return number


def _json_value(value: Any, _: Any) -> Any:
    """Let through what JSON can carry, where nothing narrower is declared."""
    if value is None or type(value) in (bool, int):
        return value
    if type(value) is str:
        return _encodable_text(value, str)
    if type(value) is float:
        return _finite_float(value, float)
    if isinstance(value, list):
        return [_json_value(item, Any) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        return {_encodable_text(key, str): _json_value(item, Any) for key, item in items}
    message = f"expected a JSON value, got {value!r}"
    raise ValueError(message)


def _is_untyped(declared: Any) -> bool:
    if declared in (Any, object, list, dict):
        return True
    return get_origin(declared) in (list, dict) and Any in get_args(declared)


def _json_value_of(value: Any, declared: Any) -> Any:
    for kind in (list, dict):
        if kind in (declared, get_origin(declared)) and not isinstance(value, kind):
            message = f"expected {kind.__name__}, got {value!r}"
            raise ValueError(message)
    return _json_value(value, declared)


def _sorted_set(value: AbstractSet[Any], unstructure: Callable[[Any], Any]) -> list[Any]:
    # A set has no order, but a patch must not depend on the hash seed of the process.
    return sorted((unstructure(item) for item in value), key=encode_json)


def type_name(declared: Any) -> str:
    """Name a type as a reader of the program would write it.

    >>> type_name(int), type_name(list[int]), type_name(int | None)
    ('int', 'list[int]', 'int | None')
    """
    return declared.__name__ if type(declared) is type else str(declared).replace("typing.", "")


def make_converter(*, detailed_validation: bool = True) -> cattrs.Converter:
    """Give a converter for the JSON form of vars and arguments.

    Args:
        detailed_validation: whether errors say where the culprit is; costs time when all is well.

    Structuring raises (cattrs' own exception groups, or ValueError) for any value that is not
    exactly of the declared type, and for unknown keys of dataclasses and attrs classes.
    """
    converter = make_json_converter(forbid_extra_keys=True, detailed_validation=detailed_validation)
    for kind in (bool, int, type(None)):
        converter.register_structure_hook(kind, _exactly(kind))
    converter.register_structure_hook(str, _encodable_text)
    converter.register_structure_hook(float, _finite_float)
    # cattrs takes a short cut around the hook of Any inside a container, so the bare containers
    # and those of Any are named too.
    converter.register_structure_hook_func(_is_untyped, _json_value_of)
    converter.register_unstructure_hook(set, lambda v: _sorted_set(v, converter.unstructure))
    converter.register_unstructure_hook(frozenset, lambda v: _sorted_set(v, converter.unstructure))
    return converter


def same_json(a: Any, b: Any) -> bool:
    """Tell whether two plain values read the same in JSON.

    Python's ``==`` is too kind for this: to it 1, 1.0 and True are one value.

    >>> same_json(1, 1), same_json(1, True), same_json([1], [1.0])
    (True, False, False)
    """
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, (int, str)):
        return a == b
    return encode_json(a) == encode_json(b)


def error_details(error: BaseException, path: str) -> list[tuple[str, str]]:
    """Flatten what structuring raised into pairs of a message and the path to the culprit."""
    if isinstance(error, cattrs.BaseValidationError):
        lines = cattrs.transform_error(error, path, format_exception=_format_exception)
        return [cast("tuple[str, str]", tuple(line.rsplit(" @ ", 1))) for line in lines]
    return [(_format_exception(error, None), path)]


def _format_exception(error: BaseException, kind: type | None) -> str:
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        return "unknown names: " + ", ".join(sorted(error.extra_fields))
    if isinstance(error, KeyError):
        return f"missing name {error.args[0]!r}"
    if isinstance(error, ValueError) and error.args and str(error).startswith("expected "):
        return str(error)
    return f"expected {type_name(kind)}" if kind is not None else "wrong value"
