"""URLs of Redis, and the clients for them.

``redis://[user:password@]host[:port][/db]`` is one server, ``rediss://`` one that is spoken to
over TLS. ``redis+cluster://`` and ``rediss+cluster://`` are clusters; there several nodes may be
given, ``host:port,host:port``, of which one has to be reached to find the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast, final
from urllib.parse import parse_qsl, urlencode, urlsplit

import attrs
from coredis import Redis, RedisCluster
from coredis.connection import TCPLocation
from coredis.retry import NoRetryPolicy

Client = Redis[bytes] | RedisCluster[bytes]

_CLUSTER: Final = "+cluster"
_PORT: Final = 6379


@final
@attrs.frozen
class Address:
    """Where Redis is."""

    url: str
    """As coredis reads it; of a cluster with the first of its nodes."""
    nodes: tuple[tuple[str, int], ...]
    """Where to begin to look for the nodes of a cluster; none for a single server."""
    label: str
    """What may be shown to people: without the password."""

    def client(self, patience: float) -> Client:
        """Make a client, to be entered. It waits for an answer for ``patience`` seconds.

        It does not retry: whether it is worth it is known where it is used.
        """
        startup = [TCPLocation(host, port) for host, port in self.nodes]
        more: dict[str, Any] = {
            "retry_policy": NoRetryPolicy(),
            "connect_timeout": patience,
            "stream_timeout": patience,
            "decode_components": True,  # what is written as %40 in a password
        }
        if startup:
            return cast("Client", RedisCluster.from_url(self.url, startup_nodes=startup, **more))
        return cast("Client", Redis.from_url(self.url, **more))


def read_url(url: str) -> tuple[Address, Mapping[str, str]]:
    """Read a URL; give the address, and the options in its query that are not for coredis.

    >>> address, options = read_url("redis+cluster://:secret@one:7000,two/?lease_ttl=5")
    >>> address.url, address.nodes, address.label
    ('redis://:secret@one:7000', (('one', 7000), ('two', 6379)), 'redis+cluster://one:7000,two')
    >>> options
    {'lease_ttl': '5'}

    Raises:
        ValueError: it is not the URL of a Redis.
    """
    parts = urlsplit(url)
    scheme, is_cluster = parts.scheme.removesuffix(_CLUSTER), parts.scheme.endswith(_CLUSTER)
    login, at, places = parts.netloc.rpartition("@")
    nodes = [_place(place) for place in places.split(",")]
    if scheme not in ("redis", "rediss") or (len(nodes) > 1 and not is_cluster):
        message = f"{parts.scheme}://{places} is no URL of a Redis; see docs/redis.md"
        raise ValueError(message)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    options = {name: query.pop(name) for name in ("lease_ttl", "store_timeout") if name in query}
    if scheme == "rediss":  # coredis would take any certificate that somebody vouches for
        query = {"ssl_check_hostname": "true", "ssl_cert_reqs": "required"} | query
    host, port = nodes[0]
    path = "" if is_cluster else parts.path
    ready = f"{scheme}://{login}{at}{_bracketed(host)}:{port}{path}"
    address = Address(
        f"{ready}?{urlencode(query)}" if query else ready,
        tuple(nodes) if is_cluster else (),
        f"{parts.scheme}://{places}{path.rstrip('/')}",
    )
    return address, options


def _place(place: str) -> tuple[str, int]:
    parts = urlsplit(f"//{place}")
    if not parts.hostname:
        message = f"a URL of a Redis names a host, as in redis://localhost:6379; got {place!r}"
        raise ValueError(message)
    return parts.hostname, parts.port or _PORT


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
