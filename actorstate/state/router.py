"""Where the browser is: what a page load told of itself."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import final

import attrs

_NOTHING: Mapping[str, str] = MappingProxyType({})


@final
@attrs.frozen
class Router:
    """The page load that the running handler serves; read as ``self.router``.

    Outside a browser, as in a library, everything but the token is empty.
    """

    token: str = attrs.field(repr=False)
    """The tab; a secret, see `State.get_token`."""
    path: str = ""
    """The path of the page, as in ``/orders``; percent-encoded, as the browser has it."""
    query: Mapping[str, str] = _NOTHING
    """The parameters of its query, decoded; of one that is given twice, the last."""
    headers: Mapping[str, str] = attrs.field(default=_NOTHING, repr=False)
    """The headers of the WebSocket handshake, by lower-case name. Cookies are secrets."""
    client_address: str = ""
    """The address of the socket's other end; behind a proxy the proxy's, unless that is trusted."""
    session: str = ""
    """The name of the connection, as its welcome gave it."""
