"""Strict conversion between typed values and their JSON form.

One converter serves the snapshot, the wire and the arguments of events. cattrs out of the box is
lenient (``'false'`` becomes True, 1.9 becomes 1, None becomes ``'None'``, unknown keys are
dropped); what `json_types` teaches it refuses instead.
"""

# cattrs' factories do not say of what their hooks are.
# pyright: reportUnknownVariableType=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final, cast, get_args, get_origin, is_typeddict

import attrs
import cattrs
from cattrs.cols import (
    list_structure_factory,
    namedtuple_dict_structure_factory,
    namedtuple_dict_unstructure_factory,
)
from cattrs.errors import CattrsError
from cattrs.gen import (
    make_dict_structure_fn,
    make_dict_unstructure_fn,
    make_hetero_tuple_structure_fn,
    override,
    typeddicts,
)

from actorstate.state.json_types import (
    encodable_int,
    encodable_text,
    encode_json,
    evaluated,
    field_types,
    finite_float,
    has_other_keys,
    is_namedtuple,
    is_record,
    register_types,
    short,
    type_name,
)

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


def _json_value(value: Any, _: Any) -> Any:
    """Let through what JSON can carry, where nothing narrower is declared."""
    if value is None or type(value) is bool:
        return value
    if type(value) is int:
        return encodable_int(value)
    if type(value) is str:
        return encodable_text(value)
    if type(value) is float:
        return finite_float(value)
    if isinstance(value, list):
        return [_json_value(item, Any) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        return {encodable_text(key): _json_value(item, Any) for key, item in items}
    message = f"expected a JSON value, got {short(value)}"
    raise ValueError(message)


def is_untyped(declared: Any) -> bool:
    """Tell whether a type lets any JSON value in, itself or in its items."""
    if declared in (Any, object, list, dict):
        return True
    if has_other_keys(declared):
        return False
    return get_origin(declared) in (list, dict) and Any in get_args(declared)[-1:]


def _json_value_of(value: Any, declared: Any) -> Any:
    for kind in (list, dict):
        if kind in (declared, get_origin(declared)) and not isinstance(value, kind):
            message = f"expected {kind.__name__}, got {short(value)}"
            raise ValueError(message)
    return _json_value(value, declared)


def make_converter(*, detailed_validation: bool = True, restores: bool = False) -> cattrs.Converter:
    """Give a converter for the JSON form of vars and arguments.

    Args:
        detailed_validation: whether errors say where the culprit is; costs time when all is well.
        restores: whether what it reads was written by it, and is to be as it was; else records
            are made by their ``__init__``.

    Structuring raises (cattrs' own exception groups, or ValueError) for any value that is not
    exactly of the declared type, and for unknown keys of dataclasses and attrs classes.
    """
    converter = cattrs.Converter(
        forbid_extra_keys=True,
        detailed_validation=detailed_validation,
        unstruct_collection_overrides={tuple: list},
    )
    register_types(converter)
    converter.register_structure_hook_factory(
        _is_array, functools.partial(_array_structure, converter=converter)
    )
    converter.register_unstructure_hook_func(_is_any_json, _plain_copy)
    _register_records(converter, restores=restores)
    # cattrs takes a short cut around the hook of Any inside a container, so the bare containers
    # and those of Any are named too.
    converter.register_structure_hook_func(is_untyped, _json_value_of)
    return converter


def _is_array(declared: Any) -> bool:
    return (get_origin(declared) or declared) in (list, tuple, set, frozenset)


def _array_structure(declared: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    """Take an array where items are declared. cattrs takes whatever can be looped over, as text."""
    kind, args = get_origin(declared) or declared, get_args(declared)
    if kind is tuple and args[-1:] != (...,):
        structure = make_hetero_tuple_structure_fn(declared, converter)
    else:
        items = list[args[0] if args else Any]
        structure = list_structure_factory(items, converter)

    def gate(value: Any, _: Any) -> Any:
        if type(value) not in (list, tuple):
            message = f"expected {kind.__name__}, got {short(value)}"
            raise ValueError(message)
        structured = structure(value, declared)
        return structured if type(structured) is kind else kind(structured)

    return gate


def _plain_copy(value: Any) -> Any:
    """Give a value that JSON can carry, apart from the one that the state goes on changing."""
    if isinstance(value, list):
        return [_plain_copy(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain_copy(item) for key, item in value.items()}
    return value


def _is_any_json(declared: Any) -> bool:
    """Tell whether a value is unstructured by what it is: where no more is declared."""
    if isinstance(declared, type) and issubclass(declared, list | dict):
        return not is_typeddict(cast("Any", declared))
    return is_untyped(declared)


def rebuild(kind: type, fields: dict[str, Any]) -> Any:
    """Make an instance of a dataclass or attrs class from the values of its fields.

    Without ``__init__``, which may take other arguments and do more: this is a copy.
    """
    instance: Any = object.__new__(kind)
    for name, value in fields.items():
        object.__setattr__(instance, name, value)
    return instance


def _register_records(converter: cattrs.Converter, *, restores: bool) -> None:
    """Teach a converter the types that have fields.

    Fields that ``__init__`` does not take are part of the value all the same.
    """

    def structure_record(kind: Any) -> Callable[..., Any]:
        hooks: dict[str, Any] = {
            name: override(struct_hook=converter.get_structure_hook(declared))
            for name, declared in field_types(kind).items()
        }
        made = make_dict_structure_fn(kind, converter, _cattrs_include_init_false=True, **hooks)
        return _restoring(kind, made, converter) if restores else made

    def unstructure_record(kind: Any) -> Callable[..., Any]:
        hooks: dict[str, Any] = {
            name: override(unstruct_hook=converter.get_unstructure_hook(declared))
            for name, declared in field_types(kind).items()
        }
        return make_dict_unstructure_fn(kind, converter, _cattrs_include_init_false=True, **hooks)

    factories: list[tuple[Callable[[Any], bool], Callable[[Any], Any], Callable[[Any], Any]]] = [
        (is_record, structure_record, unstructure_record),
        (
            is_namedtuple,
            lambda kind: namedtuple_dict_structure_factory(
                kind,
                converter,
                "from_converter",
                True,  # noqa: FBT003 - extra keys are forbidden
            ),
            lambda kind: namedtuple_dict_unstructure_factory(kind, converter),
        ),
        (
            is_typeddict,
            lambda kind: typeddicts.make_dict_structure_fn(evaluated(kind), converter),
            lambda kind: typeddicts.make_dict_unstructure_fn(evaluated(kind), converter),
        ),
    ]
    for applies, structure, unstructure in factories:
        converter.register_structure_hook_factory(applies, _reentrant(structure))
        converter.register_unstructure_hook_factory(applies, _reentrant(unstructure))


def _restoring(
    kind: Any, made: Callable[[Any, Any], Any], converter: cattrs.Converter
) -> Callable[[Any, Any], Any]:
    """Give the hook that makes a record as it was, if all its fields are there.

    ``__init__``, ``__post_init__`` and converters have done their work when the value was made;
    once more, they would make another one of it.
    """
    declared = field_types(kind)
    fields = attrs.make_class("Fields", {
        f"field_{name}": attrs.field(type=one) for name, one in declared.items()
    })  # fmt: skip
    hooks: dict[str, Any] = {
        f"field_{name}": override(rename=name, struct_hook=converter.get_structure_hook(one))
        for name, one in declared.items()
    }
    structure = make_dict_structure_fn(fields, converter, **hooks)
    origin = get_origin(kind) or kind

    def restore(value: Any, _: Any) -> Any:
        if not isinstance(value, dict) or value.keys() != declared.keys():
            return made(value, kind)
        found: Any = structure(cast("Any", value), fields)
        return rebuild(origin, {name: getattr(found, f"field_{name}") for name in declared})

    return restore


def _reentrant(make: Callable[[Any], Callable[..., Any]]) -> Callable[[Any], Callable[..., Any]]:
    """Let a factory be asked for a type while it makes the hook of that type.

    A record may contain itself. cattrs then forgets the declared type and goes by the class of
    each value, which for a dict does not say what its keys are.
    """
    made: dict[Any, Callable[..., Any] | None] = {}

    def hook_of(kind: Any) -> Callable[..., Any]:
        if kind in made:
            return made[kind] or functools.partial(_call, made, kind)
        made[kind] = None
        try:
            made[kind] = hook = make(kind)
        except BaseException:
            del made[kind]
            raise
        return hook

    return hook_of


def _call(made: Mapping[Any, Any], kind: Any, *args: Any) -> Any:
    return made[kind](*args)


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
