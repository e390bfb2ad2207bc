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

    token: str
    """The tab; see `State.get_token`."""
    path: str = ""
    """The path of the page, as in ``/orders``."""
    query: Mapping[str, str] = _NOTHING
    """The parameters of its query; of one that is given twice, the last."""
    headers: Mapping[str, str] = _NOTHING
    """The headers of the WebSocket handshake, by lower-case name."""
    client_address: str = ""
    """The address that the connection came from."""
    session: str = ""
    """The name of the connection, as its welcome gave it."""
