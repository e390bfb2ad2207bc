"""The store that an address on the command line names."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from actorstate.stores.base import Store
from actorstate.stores.memory import MemoryStore
from actorstate.stores.sqlite import SQLiteStore


def _memory(address: SplitResult, *, read_only: bool) -> Store:
    if address.netloc or address.path or read_only:
        message = "a memory store is in its process alone; it has no place to be looked for"
        raise ValueError(message)
    return MemoryStore(**_options(address, token_ttl=float, max_bytes=int))


def _sqlite(address: SplitResult, *, read_only: bool) -> Store:
    path = unquote(address.path.removeprefix("/"))
    if address.netloc or not path:
        message = "write sqlite:///state.db, or sqlite:////var/lib/state.db from the root"
        raise ValueError(message)
    options = _options(address, durability=_durability, token_ttl=float)
    return SQLiteStore(path, read_only=read_only, **options)


def _redis(address: SplitResult, *, read_only: bool) -> Store:  # noqa: ARG001 - to look owns nothing
    # Not imported above: coredis is an extra, and takes as long to import as all the rest.
    try:
        redis = importlib.import_module("actorstate.stores.redis")
    except ModuleNotFoundError as error:
        message = f"a store in Redis needs {error.name}: pip install 'actorstate[redis]'"
        raise ValueError(message) from error
    return redis.RedisStore(address.geturl())


def _durability(text: str) -> str:
    if text not in ("full", "relaxed"):
        message = "it is full or relaxed"
        raise ValueError(message)
    return text


def _options(address: SplitResult, **known: Callable[[str], Any]) -> dict[str, Any]:
    """Read what stands behind the ``?``."""
    options: dict[str, Any] = {}
    for name, text in parse_qsl(address.query, keep_blank_values=True):
        if name not in known:
            message = f"no option {name!r}; known are: {', '.join(known)}"
            raise ValueError(message)
        try:
            options[name] = known[name](text)
        except ValueError as error:
            message = f"{name}={text}: {error}"
            raise ValueError(message) from error
    return options


_SCHEMES: Final[Mapping[str, Callable[..., Store]]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "redis": _redis,
    "rediss": _redis,
    "redis+cluster": _redis,
    "rediss+cluster": _redis,
}


def open_store(url: str, *, read_only: bool = False) -> Store:
    """Open the store of a URL.

    ==========================  ================================================================
    ``memory://``               `MemoryStore`; ``?token_ttl=3600&max_bytes=1000000``
    ``sqlite:///state.db``      `SQLiteStore`, here; ``sqlite:////var/lib/state.db`` from the
                                root; ``?durability=relaxed&token_ttl=86400``
    ``redis://localhost``       `RedisStore`; ``rediss://`` over TLS, ``redis+cluster://`` and
                                ``rediss+cluster://`` for clusters; ``?lease_ttl=10``
    ==========================  ================================================================

    Args:
        url: the address.
        read_only: look at what is there, and own nothing.

    Raises:
        ValueError: no store goes by that scheme, or not with what comes behind it.
        StoreError: the store cannot be used.
    """
    address = urlsplit(url)
    if address.scheme not in _SCHEMES:
        known = ", ".join(f"{name}://" for name in _SCHEMES)
        message = f"no store for {url!r}; known are: {known}"
        raise ValueError(message)
    try:
        return _SCHEMES[address.scheme](address, read_only=read_only)
    except ValueError as error:
        message = f"{url}: {error}"
        raise ValueError(message) from error
