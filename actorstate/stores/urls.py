"""The store that an address on the command line names."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from actorstate.stores.base import Store
from actorstate.stores.memory import MemoryStore


def _open_memory(_: str) -> Store:
    return MemoryStore()


def _open_redis(url: str) -> Store:
    # Not imported above: coredis is an extra, and takes as long to import as all the rest.
    try:
        redis = importlib.import_module("actorstate.stores.redis")
    except ModuleNotFoundError as error:
        message = f"a store in Redis needs {error.name}: pip install 'actorstate[redis]'"
        raise ValueError(message) from error
    return redis.RedisStore(url)


_SCHEMES: Final[Mapping[str, Callable[[str], Store]]] = {
    "memory": _open_memory,
    "redis": _open_redis,
    "rediss": _open_redis,
    "redis+cluster": _open_redis,
    "rediss+cluster": _open_redis,
}


def open_store(url: str) -> Store:
    """Open the store of a URL such as ``memory://`` or ``redis://localhost``.

    Raises:
        ValueError: no store goes by that scheme, or the rest of the URL is wrong.
    """
    scheme = urlsplit(url).scheme
    if scheme not in _SCHEMES:
        known = ", ".join(f"{name}://" for name in _SCHEMES)
        message = f"no store for {url!r}; known are: {known}"
        raise ValueError(message)
    return _SCHEMES[scheme](url)
