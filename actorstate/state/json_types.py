"""The JSON form of each type that a var may have.

    ==============================  ==========================================================
    bool, int, float, str, None     themselves; a float has to be finite
    bytes                           text, base64 (RFC 4648, section 4)
    date, time, datetime            text, ISO 8601
    timedelta                       a number of seconds
    UUID, Decimal, Path             text
    Enum, Literal                   the value of the member
    list, tuple, set, frozenset     an array; a set is sorted, since JSON has no other order for it
    dict, TypedDict                 an object; keys that are no text are written as their JSON
    dataclass, attrs, NamedTuple    an object of all fields
    Union                           the form of the member
    ==============================  ==========================================================

A union is understood only if its members can be told apart in JSON: by kind (text, number,
array...), or, for records, by their names of fields or by a field that is a Literal. What cannot
be told apart would come back from the snapshot as something else, so it is refused when the class
is defined.
"""

# Values of any type go through here; the declared type is known at run time alone.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

import base64
import dataclasses
import enum
import functools
import math
import re
import reprlib
import types
from collections.abc import Callable, Set as AbstractSet
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal, InvalidOperation
from pathlib import Path, PosixPath, PurePath, PurePosixPath, PureWindowsPath
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    Literal,
    NotRequired,
    Required,
    TypeAlias,
    TypedDict,
    TypeVar,
    Union,
    cast,
    final,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)
from uuid import UUID

import attrs
import cattrs
import msgspec

from actorstate.state.marks import is_marked

Plain: TypeAlias = bool | int | float | str | list[Any] | dict[str, Any] | None
"""A value as JSON carries it."""

Hook: TypeAlias = Callable[[Any, Any], Any]

encode_json: Final = msgspec.json.Encoder(order="deterministic").encode

PATHS: Final = (Path, PosixPath, PurePath, PurePosixPath, PureWindowsPath)

_MAX_EXACT_SECONDS: Final = 2**53 // 10**6  # beyond, a float has no room for microseconds


MOST_BITS: Final = 14_284
"""Of an int: 4,300 digits. Python writes no longer one as text, and so none as JSON."""


@final
class _Repr(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        is_too_long = x.bit_length() > MOST_BITS
        return f"an int of {x.bit_length()} bits" if is_too_long else super().repr_int(x, level)


_repr: Final = _Repr()
_repr.maxstring = _repr.maxother = 80


def short(value: object) -> str:
    """Show a value in a message; a long one is cut.

    >>> short("a" * 1000)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'"
    """
    return _repr.repr(value)


class NoJsonFormError(TypeError):
    """A type has no way to a snapshot and back."""

    def __init__(self, declared: Any, reason: str) -> None:
        super().__init__(declared, reason)
        self.declared = declared
        self.reason = reason

    def __str__(self) -> str:
        return f"{type_name(self.declared)} {self.reason}"


def type_name(declared: Any) -> str:
    """Name a type as a reader of the program would write it.

    >>> type_name(int), type_name(list[int]), type_name(int | None), type_name(UUID)
    ('int', 'list[int]', 'int | None', 'UUID')
    """
    if isinstance(declared, type) and not get_args(declared):
        return declared.__name__
    return str(declared).replace("typing.", "")


# ---- what a declared type is -------------------------------------------------------------------


def bare(declared: Any) -> Any:
    """Take off what says nothing about the value: Annotated, NewType, Required."""
    while True:
        if get_origin(declared) in (Annotated, Required, NotRequired):
            declared = get_args(declared)[0]
        elif hasattr(declared, "__supertype__"):
            declared = declared.__supertype__
        else:
            return declared


def is_union(declared: Any) -> bool:
    """Tell whether a type is a union, Optional included."""
    return get_origin(declared) in (Union, types.UnionType)


def is_namedtuple(declared: Any) -> bool:
    """Tell whether a type is a NamedTuple."""
    return isinstance(declared, type) and issubclass(declared, tuple) and hasattr(declared, "_make")


def is_record(declared: Any) -> bool:
    """Tell whether a type is a dataclass or an attrs class, generic ones included."""
    kind = get_origin(declared) or declared
    return isinstance(kind, type) and (dataclasses.is_dataclass(kind) or attrs.has(kind))


def is_enum(declared: Any) -> bool:
    """Tell whether a type is an Enum."""
    return isinstance(declared, type) and issubclass(declared, enum.Enum)


def field_types(declared: Any) -> dict[str, Any]:
    """Give the declared type of each field of a record, NamedTuple or TypedDict.

    Raises:
        NoJsonFormError: a field has no type, or one that only a subscript of the class tells.
    """
    kind = get_origin(declared) or declared
    try:
        hints = get_type_hints(kind)
    except NameError as error:
        reason = f"has a field whose type cannot be resolved ({error}); define it in the module"
        raise NoJsonFormError(declared, reason) from error
    known = _type_variables(declared)
    return {name: _subscribed(hints.get(name), known, declared) for name in _field_names(kind)}


def _field_names(kind: Any) -> list[str]:
    if is_typeddict(kind):
        return list(get_type_hints(kind))
    if is_namedtuple(kind):
        return list(kind._fields)
    if attrs.has(kind):
        return [field.name for field in attrs.fields(kind)]
    return [field.name for field in dataclasses.fields(kind)]


def evaluated(kind: Any) -> Any:
    """Give a TypedDict whose annotations are types and not their source text.

    Written as text, as under ``from __future__ import annotations``, NotRequired is not seen by
    Python 3.11 when it collects the required keys.
    """
    hints = get_type_hints(kind, include_extras=True)
    marked = {name: hint for name, hint in hints.items() if get_origin(hint) in _MARKS}
    unmarked = {
        name: Required[hint] if name in kind.__required_keys__ else NotRequired[hint]
        for name, hint in hints.items()
        if name not in marked
    }
    make: Any = TypedDict
    return make(kind.__name__, {**unmarked, **marked})


_MARKS: Final = (Required, NotRequired)


def required_keys(kind: Any) -> frozenset[str]:
    """Give the keys that every value of a TypedDict has."""
    return evaluated(kind).__required_keys__


def _type_variables(declared: Any) -> dict[Any, Any]:
    """Give what each type variable stands for, in the class and in its generic bases."""
    known: dict[Any, Any] = {}
    kind = get_origin(declared) or declared
    if get_args(declared):
        known.update(zip(kind.__parameters__, get_args(declared), strict=True))
    for base in getattr(kind, "__orig_bases__", ()):
        if get_origin(base) not in (None, Generic):
            inner = _type_variables(base)
            known.update({name: known.get(what, what) for name, what in inner.items()})
    return known


def _subscribed(hint: Any, known: dict[Any, Any], declared: Any) -> Any:
    if hint is None:
        raise NoJsonFormError(declared, "has a field without a type; annotate it")
    if isinstance(hint, TypeVar):
        hint = known.get(hint, hint)
    elif parameters := getattr(hint, "__parameters__", ()):
        hint = hint[tuple(known.get(one, one) for one in parameters)]
    if isinstance(hint, TypeVar):
        name = type_name(declared)
        raise NoJsonFormError(declared, f"does not say what {hint} is; write {name}[int], say")
    return hint


# ---- which JSON a type becomes -----------------------------------------------------------------

_KINDS: Final[dict[Any, str]] = {
    bool: "bool", int: "int", float: "float", str: "text", type(None): "null", None: "null",
    bytes: "text", date: "text", time: "text", datetime: "text", timedelta: "number",
    UUID: "text", Decimal: "text", **dict.fromkeys(PATHS, "text"),
    list: "array", tuple: "array", set: "array", frozenset: "array", dict: "object",
}  # fmt: skip

_THEMSELVES: Final = frozenset({bool, int, float, str, type(None)})


def json_kinds(declared: Any) -> AbstractSet[str]:
    """Tell which kinds of JSON the values of a type become.

    Raises:
        NoJsonFormError: it is no type that has a JSON form.
    """
    declared = bare(declared)
    if declared is Any or declared is object:
        return frozenset({"null", "bool", "int", "float", "text", "array", "object"})
    if is_union(declared):
        return frozenset[str]().union(*map(json_kinds, get_args(declared)))
    if get_origin(declared) is Literal:
        return frozenset(_kind_of_member(declared, value) for value in get_args(declared))
    if is_enum(declared):
        return frozenset(_kind_of_member(declared, member) for member in declared)
    if is_record(declared) or is_typeddict(declared) or is_namedtuple(declared):
        return frozenset({"object"})
    kind = _KINDS.get(get_origin(declared) or declared)
    if kind is None:
        raise NoJsonFormError(declared, "is not known")
    return frozenset({"int", "float"} if kind == "number" else {kind})


def _kind_of_member(declared: Any, member: Any) -> str:
    value = member.value if isinstance(member, enum.Enum) else member
    if type(value) in _THEMSELVES:
        return _KINDS[type(value)]
    raise NoJsonFormError(declared, f"has the member {member!r}, whose value is no JSON scalar")


def kind_of(value: Any) -> str:
    """Tell the kind of a plain value."""
    return _KINDS.get(type(value), "")


# ---- scalars -----------------------------------------------------------------------------------


def exactly(kind: type) -> Hook:
    """Give the hook of a type that is its own JSON form."""

    def structure(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            message = f"expected {kind.__name__}, got {short(value)}"
            raise ValueError(message)
        return value

    return structure


def encodable_text(value: Any, _: Any = None) -> str:
    """Take text that UTF-8 can carry."""
    text: str = exactly(str)(value, str)
    if not text.isascii() and is_marked(text):
        message = (
            "expected text, got one that holds an expression, which pages alone can show; in a "
            "handler write self.name for the value, not MyState.name"
        )
        raise ValueError(message)
    try:
        text.encode()
    except UnicodeEncodeError:
        message = f"expected text that is Unicode, got {short(value)}, with half a surrogate pair"
        raise ValueError(message) from None
    return text


def encodable_int(value: int) -> int:
    """Take a whole number that JSON can carry, and Python can write."""
    if value.bit_length() > MOST_BITS:
        message = f"expected int, got {short(value)}; Python makes no text of over 4300 digits"
        raise ValueError(message)
    return value


def finite_float(value: Any, _: Any = None) -> float:
    """Take a number that JSON can carry. A whole number is welcome (PEP 484's numeric tower)."""
    if type(value) not in (int, float):
        message = f"expected float, got {short(value)}"
        raise ValueError(message)
    number = float(value)
    if not math.isfinite(number):
        message = f"expected a finite float, got {short(value)}, which JSON cannot carry"
        raise ValueError(message)
    return number


def seconds_of(value: timedelta) -> float:
    """Give a duration in seconds: a whole number where it is one."""
    whole, rest = divmod(value, timedelta(seconds=1))
    if rest and abs(whole) >= _MAX_EXACT_SECONDS:
        message = (
            f"expected a timedelta of less than 285 years, or of whole seconds, got {short(value)}"
        )
        raise ValueError(message)
    return value.total_seconds() if rest else whole


def _duration(value: Any, _: Any) -> timedelta:
    if type(value) is int:
        return timedelta(seconds=value)
    return timedelta(seconds=finite_float(value))


def finite_decimal(value: Any, _: Any = None) -> Decimal:
    """Take a Decimal, or its text, that is a number."""
    number = Decimal(value)
    if not number.is_finite():
        message = f"expected a finite Decimal, got {short(value)}"
        raise ValueError(message)
    return number


def _of_class(hook: Hook) -> Hook:
    """Let the hook of a class leave the Enums to theirs that are of that class, too.

    cattrs asks by class before it asks by predicate, and takes the hook of the nearest base.
    """
    members = functools.cache(_structure_member)

    def structure(value: Any, declared: Any) -> Any:
        return (members(declared) if is_enum(declared) else hook)(value, declared)

    return structure


def _from_text(kind: type, parse: Callable[[str], Any]) -> Hook:
    def structure(value: Any, _: Any) -> Any:
        text = encodable_text(value)
        try:
            return parse(text)
        except (ValueError, InvalidOperation):
            message = f"expected {kind.__name__} as text, got {short(value)}"
            raise ValueError(message) from None

    return structure


def _parse_bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


# An offset of less than a second, as `datetime.isoformat` writes it.
_TINY_OFFSET: Final = re.compile(r"([+-])00:00:00\.(\d{6})$")


def _parse_datetime(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    tiny = _TINY_OFFSET.search(text)
    if tiny is None:
        return moment
    # Python 3.11 takes it for none at all.
    offset = timedelta(microseconds=int(f"{tiny[1]}{tiny[2]}"))
    return moment.replace(tzinfo=timezone(offset))


def _parse_path(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        if "\0" in text:
            message = "a path has no NUL"
            raise ValueError(message)
        return kind(text)

    return parse


def register_scalars(converter: cattrs.Converter) -> None:
    """Teach a converter the scalars."""
    for kind in (bool, type(None)):
        converter.register_structure_hook(kind, exactly(kind))
    converter.register_structure_hook(int, _of_class(exactly(int)))
    converter.register_structure_hook(str, _of_class(encodable_text))
    converter.register_structure_hook(float, _of_class(finite_float))
    converter.register_unstructure_hook(str, plain_member)
    converter.register_structure_hook(timedelta, _duration)
    converter.register_unstructure_hook(timedelta, seconds_of)
    texts: list[tuple[type, Callable[[str], Any], Callable[[Any], str]]] = [
        (bytes, _parse_bytes, lambda value: base64.b64encode(value).decode()),
        (date, date.fromisoformat, date.isoformat),
        (time, time.fromisoformat, time.isoformat),
        (datetime, _parse_datetime, datetime.isoformat),
        (UUID, UUID, str),
        (Decimal, finite_decimal, str),
        *((kind, _parse_path(kind), str) for kind in PATHS),
    ]
    for kind, parse, show in texts:
        converter.register_structure_hook(kind, _of_class(_from_text(kind, parse)))
        converter.register_unstructure_hook(kind, show)


# ---- members: Enum and Literal -----------------------------------------------------------------


def plain_member(member: Any) -> Plain:
    """Give the JSON form of a member of an Enum or a Literal."""
    return member.value if isinstance(member, enum.Enum) else member


def _members_of(declared: Any) -> list[Any]:
    return list(declared) if is_enum(declared) else list(get_args(declared))


def _structure_member(declared: Any) -> Hook:
    json_kinds(declared)
    is_flag = isinstance(declared, type) and issubclass(declared, enum.Flag)
    members = _members_of(declared)
    known = {(type(plain_member(one)), plain_member(one)): one for one in members}

    def structure(value: Any, _: Any) -> Any:
        if is_flag and type(value) is int:
            return declared(value)
        try:
            return known[type(value), value]
        except (KeyError, TypeError):
            choices = ", ".join(repr(plain_member(one)) for one in members)
            message = f"expected one of {choices}, got {short(value)}"
            raise ValueError(message) from None

    return structure


# ---- unions ------------------------------------------------------------------------------------


def members_by_kind(declared: Any) -> dict[str, list[Any]]:
    """Sort the members of a union by the JSON they become.

    Raises:
        NoJsonFormError: two members cannot be told apart.
    """
    by_kind: dict[str, list[Any]] = {}
    for member in get_args(declared):
        for kind in json_kinds(member):
            by_kind.setdefault(kind, []).append(bare(member))
    for kind, members in by_kind.items():
        _check_apart(declared, kind, members)
    if "float" in by_kind:
        by_kind.setdefault("int", by_kind["float"])
    return by_kind


def _check_apart(declared: Any, kind: str, members: list[Any]) -> None:
    if len(members) == 1 or all(_is_itself(member) for member in members):
        return
    if kind == "object" and all(map(is_record, members)):
        clash = _first_clash(members)
        if clash is None:
            return
        names = " and ".join(map(type_name, clash))
        advice = 'give each a field such as `kind: Literal["one"] = "one"`'
        raise NoJsonFormError(declared, f"cannot tell {names} apart in JSON; {advice}")
    names = " and ".join(map(type_name, members))
    raise NoJsonFormError(declared, f"cannot tell {names} apart in JSON: each is {_a(kind)}")


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aio" else kind


def _is_itself(member: Any) -> bool:
    """Tell whether a value of the type is its own JSON form, so that any reading gives it."""
    if get_origin(member) is Literal:
        return not any(isinstance(value, enum.Enum) for value in get_args(member))
    return member in _THEMSELVES


def _first_clash(members: list[Any]) -> tuple[Any, Any] | None:
    for position, one in enumerate(members):
        for other in members[position + 1 :]:
            if not _differ(field_types(one), field_types(other)):
                return one, other
    return None


def _differ(one: dict[str, Any], other: dict[str, Any]) -> bool:
    if one.keys() != other.keys():
        return True
    literals = [
        (get_args(one[name]), get_args(other[name]))
        for name in one
        if get_origin(one[name]) is Literal and get_origin(other[name]) is Literal
    ]
    return any(not set(mine) & set(theirs) for mine, theirs in literals)


def _union_structure(declared: Any, converter: cattrs.Converter) -> Hook:
    by_kind = {
        kind: [(member, converter.get_structure_hook(member)) for member in members]
        for kind, members in members_by_kind(declared).items()
    }

    def structure(value: Any, _: Any) -> Any:
        candidates = by_kind.get(kind_of(value), [])
        if len(candidates) == 1:
            [(member, hook)] = candidates
            return hook(value, member)
        for member, hook in sorted(candidates, key=lambda one: _misfit(one[0], value)):
            try:
                return hook(value, member)
            except Exception:  # noqa: BLE001, S112 - whatever it is, the next may take it
                continue
        message = f"expected {type_name(declared)}, got {short(value)}"
        raise ValueError(message)

    return structure


def _misfit(member: Any, value: Any) -> bool:
    """Put the record first whose fields are exactly those that came."""
    return (
        is_record(member) and isinstance(value, dict) and field_types(member).keys() != value.keys()
    )


def _union_unstructure(declared: Any, converter: cattrs.Converter) -> Callable[[Any], Any]:
    hooks = [
        (python_classes(member), converter.get_unstructure_hook(bare(member)))
        for member in get_args(declared)
    ]
    by_class = {kind: hook for kinds, hook in reversed(hooks) for kind in kinds}

    def unstructure(value: Any) -> Any:
        hook = by_class.get(value.__class__)
        if hook is not None:
            return hook(value)
        for kinds, other in hooks:
            if isinstance(value, kinds):
                return other(value)
        message = f"expected {type_name(declared)}, got {short(value)}"
        raise ValueError(message)

    return unstructure


def python_classes(declared: Any) -> tuple[type, ...]:
    """Give the classes that the values of a type are of."""
    declared = bare(declared)
    if is_union(declared):
        return tuple(kind for member in get_args(declared) for kind in python_classes(member))
    if get_origin(declared) is Literal:
        return tuple({type(value) for value in get_args(declared)})
    if is_typeddict(declared):
        return (dict,)
    if declared is Any:
        return (object,)
    return (type(None) if declared is None else get_origin(declared) or declared,)


# ---- keys --------------------------------------------------------------------------------------


def key_hooks(
    declared: Any, converter: cattrs.Converter
) -> tuple[Callable[[Any], str], Callable[[str], Any]]:
    """Give how the keys of a dict become the text that JSON wants, and back.

    Raises:
        NoJsonFormError: the text would not tell which key it was.
    """
    kinds = json_kinds(declared)
    if _is_member(declared) and kinds > {"text"}:
        return _member_key_hooks(declared)
    if kinds & {"array", "object"} or kinds > {"text"}:
        raise NoJsonFormError(declared, "cannot be the key of a dict: JSON has text alone there")
    to_plain = cast("Callable[[Any], Plain]", converter.get_unstructure_hook(declared))
    structure = converter.get_structure_hook(declared)
    if kinds == {"text"}:
        return cast("Callable[[Any], str]", to_plain), lambda text: structure(text, declared)

    def read(text: str) -> Any:
        message = f"expected {type_name(declared)} as text, got {short(text)}"
        try:
            plain = msgspec.json.decode(text)
        except msgspec.DecodeError:
            raise ValueError(message) from None
        if encode_json(plain).decode() != text:
            raise ValueError(message)
        return structure(plain, declared)

    return lambda key: encode_json(to_plain(key)).decode(), read


def _member_key_hooks(declared: Any) -> tuple[Callable[[Any], str], Callable[[str], Any]]:
    members = _members_of(declared)
    by_text = {_text_of(plain_member(one)): one for one in members}
    if len(by_text) < len(members):
        raise NoJsonFormError(declared, "cannot be the key of a dict: two members read the same")

    def read(text: str) -> Any:
        if text not in by_text:
            message = f"expected one of {', '.join(map(repr, by_text))}, got {short(text)}"
            raise ValueError(message)
        return by_text[text]

    return lambda member: _text_of(plain_member(member)), read


def _text_of(plain: Plain) -> str:
    return plain if isinstance(plain, str) else encode_json(plain).decode()


def _dict_structure(declared: Any, converter: cattrs.Converter) -> Hook:
    key, value = get_args(declared)
    _, read_key = key_hooks(key, converter)
    by_text = converter.get_structure_hook(dict[str, value])

    def structure(given: Any, _: Any) -> Any:
        if not isinstance(given, dict):
            message = f"expected dict, got {short(given)}"
            raise ValueError(message)  # noqa: TRY004 - as every hook here
        items = cast("dict[str, Any]", by_text(given, dict[str, value])).items()
        return {read_key(text): one for text, one in items}

    return structure


def _dict_unstructure(declared: Any, converter: cattrs.Converter) -> Callable[[Any], Any]:
    key, value = get_args(declared)
    show_key, _ = key_hooks(key, converter)
    show = converter.get_unstructure_hook(value)
    return lambda given: {show_key(name): show(one) for name, one in given.items()}


def has_other_keys(declared: Any) -> bool:
    """Tell whether a type is a dict whose keys are no text, and become it in JSON."""
    return get_origin(declared) is dict and bare(get_args(declared)[0]) not in (str, Any)


# ---- sets --------------------------------------------------------------------------------------


def sort_key(declared: Any) -> Callable[[Any], Any]:
    """Give the key by which the plain elements of a set are sorted.

    By value where all of them compare, so that a page shows 9 before 10; else by their JSON. Not
    by hash, which differs from one process to the next.
    """
    kinds = json_kinds(declared)
    comparable = kinds == {"text"} or kinds <= {"int", "float"}
    return (lambda plain: plain) if comparable else encode_json


def _set_unstructure(declared: Any, converter: cattrs.Converter) -> Callable[[Any], Any]:
    element = (get_args(declared) or (Any,))[0]
    show, key = converter.get_unstructure_hook(element), sort_key(element)
    return lambda values: sorted(map(show, values), key=key)


def _is_set(declared: Any) -> bool:
    return (get_origin(declared) or declared) in (set, frozenset)


# ---- all of them -------------------------------------------------------------------------------


def register_types(converter: cattrs.Converter) -> None:
    """Teach a converter the JSON forms of this module."""
    register_scalars(converter)
    both = [
        (is_union, _union_structure, _union_unstructure),
        (has_other_keys, _dict_structure, _dict_unstructure),
    ]
    for applies, structure, unstructure in both:
        converter.register_structure_hook_factory(
            applies, lambda declared, make=structure: make(declared, converter)
        )
        converter.register_unstructure_hook_factory(
            applies, lambda declared, make=unstructure: make(declared, converter)
        )
    converter.register_unstructure_hook_factory(
        _is_set, lambda declared: _set_unstructure(declared, converter)
    )
    converter.register_structure_hook_factory(_is_member, _structure_member)
    converter.register_unstructure_hook_func(_is_member, plain_member)


def _is_member(declared: Any) -> bool:
    return is_enum(declared) or get_origin(declared) is Literal
