"""Patches: what one turn changed, as RFC 6902 operations on the public state."""

from __future__ import annotations

from typing import Any

import attrs


@attrs.frozen
class Operation:
    """One operation of a patch (RFC 6902, section 4)."""

    op: str
    """``replace``: a var exists from the first version on, so it is never added or removed."""
    path: str
    """JSON Pointer (RFC 6901) into the public state: state, then var."""
    value: Any
    """The new value in its JSON form."""


def pointer(*parts: str) -> str:
    """Join parts to a JSON Pointer (RFC 6901, section 3).

    >>> pointer("state.my_state", "a/b~c")
    '/state.my_state/a~1b~0c'
    """
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)
