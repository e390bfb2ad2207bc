"""Which URLs run code where they lead. They are refused wherever a program may write one."""

from __future__ import annotations

import re
from typing import Final

_RUNNING_SCHEMES: Final = frozenset({"javascript", "vbscript", "data"})

# Browsers drop these wherever they stand in a scheme, so "java\nscript:" runs as well.
_DROPPED: Final = re.compile(r"[\x00-\x20]")


def running_scheme(url: str) -> str | None:
    """Give the scheme of a URL if it may run code, in lower case; None for any other URL.

    >>> running_scheme(" Java Script:alert(1)")
    'javascript'
    >>> running_scheme("/data:of/orders") is None
    True
    """
    scheme, colon, _ = _DROPPED.sub("", url).partition(":")
    return scheme.lower() if colon and scheme.lower() in _RUNNING_SCHEMES else None
