"""The fingerprint of a schema: what a snapshot says of the State classes that wrote it.

It moves when a state or a var comes or goes, and when the type of one changes, that of a field
deep in a record too. Then, and only then, states are asked to migrate what was stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, get_args

from actorstate.state.json_types import field_types, is_record, type_name

if TYPE_CHECKING:
    from actorstate.state.state import State


def fingerprint(states: Mapping[str, type[State]]) -> str:
    """Give the fingerprint of State classes, by their full names."""
    lines = [line for name in sorted(states) for line in _lines(name, states[name])]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _lines(name: str, cls: type[State]) -> Iterator[str]:
    yield name
    for var_name, var in sorted(cls.definition().vars.items()):
        yield f"{var_name}: {_described(var.declared, set())}"


def _described(declared: Any, seen: set[Any]) -> str:
    """Spell out a type: its name, those in it, and of a record those of its fields."""
    described = type_name(declared)
    inner = get_args(declared)
    if is_record(declared) and declared not in seen:
        seen.add(declared)
        fields = sorted(field_types(declared).items())
        described += "{" + ",".join(f"{name}:{_described(one, seen)}" for name, one in fields) + "}"
    parts = [_described(one, seen) for one in inner if isinstance(one, type) or get_args(one)]
    return f"{described}({','.join(parts)})" if parts else described
