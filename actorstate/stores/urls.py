"""The store that an address on the command line names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from actorstate.stores.base import Store
from actorstate.stores.memory import MemoryStore

_SCHEMES: Final[Mapping[str, Callable[[], Store]]] = {"memory": MemoryStore}


def open_store(url: str) -> Store:
    """Open the store of a URL such as ``memory://``.

    Raises:
        ValueError: no store goes by that scheme.
    """
    scheme = urlsplit(url).scheme
    if scheme not in _SCHEMES:
        known = ", ".join(f"{name}://" for name in _SCHEMES)
        message = f"no store for {url!r}; known are: {known}"
        raise ValueError(message)
    return _SCHEMES[scheme]()
