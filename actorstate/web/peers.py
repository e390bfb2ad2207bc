"""Who is at the other end, and what is believed of that: addresses and proxies. No IO.

Behind a proxy, each connection comes from the proxy, which says in a header for whom. Anybody can
write that header, so it is believed of proxies alone that the program has named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, final

import attrs

_Network = IPv4Network | IPv6Network
_Address = IPv4Address | IPv6Address

_NEIGHBOURS: Final = 64  # the leading bits that all addresses of one site have, in IPv6


@final
@attrs.frozen
class Peer:
    """Who sends a request, and how it has got here."""

    address: str
    """The browser's, as far as it is known."""
    scheme: str | None
    """``http`` or ``https``, as the browser has it; None if that is not known."""


@final
class Proxies:
    """The proxies that are believed.

    Args:
        networks: addresses, or networks as in ``10.0.0.0/8``.

    Raises:
        ValueError: one is neither.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks: Final = tuple(_network(text) for text in networks)

    def trust(self, address: str) -> bool:
        """Tell whether an address is that of one of them."""
        if not self._networks:
            return False
        parsed = _parse(address)
        return parsed is not None and any(parsed in network for network in self._networks)

    def peer(self, address: str, scheme: str | None, headers: Mapping[str, str]) -> Peer:
        """Tell who sends a request.

        Args:
            address: from where the connection comes.
            scheme: ``https`` if TLS ends here; None if it may have ended before.
            headers: of the request, by lower-case name.
        """
        if not self.trust(address):
            return Peer(address, scheme)
        return Peer(
            self._walk_back(address, headers.get("x-forwarded-for", "")),
            _last(headers.get("x-forwarded-proto", ""), ("http", "https")) or scheme,
        )

    def _walk_back(self, address: str, forwarded: str) -> str:
        """Follow the list from its end, for as long as who has written there is believed.

        What stands before that, the client itself may have written.
        """
        for text in reversed(forwarded.split(",")):
            hop = _parse(_without_port(text.strip()))
            if hop is None:
                break
            address = str(hop)
            if not self.trust(address):
                break
        return address


def neighbourhood(address: str) -> str:
    """Give what is counted as one address: of IPv6 the first half, which one site has to itself.

    >>> neighbourhood("192.0.2.7"), neighbourhood("2001:db8:1:2:3:4:5:6")
    ('192.0.2.7', '2001:db8:1:2::/64')
    """
    parsed = _parse(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, _NEIGHBOURS), strict=False))
    return str(parsed or address)


def read_proxy(text: str) -> str:
    """Read the address of a proxy, or a network of them; give it as it is.

    Raises:
        ValueError: it is neither.
    """
    _network(text)
    return text


def _network(text: str) -> _Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        message = f"{text!r} is no address and no network; these are as 10.0.0.7 or 10.0.0.0/8"
        raise ValueError(message) from None


def _parse(text: str) -> _Address | None:
    try:
        parsed = ip_address(text.partition("%")[0])  # without the zone of a link-local one
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed


def _without_port(text: str) -> str:
    """Give the address of what some proxies write: ``192.0.2.7:4711``, ``[2001:db8::7]:4711``."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _last(listed: str, known: Iterable[str]) -> str | None:
    """Give the last of a list, which the nearest proxy has written, if it is one of the known."""
    value = listed.rpartition(",")[2].strip().lower()
    return value if value in known else None
