"""Whose pages may open a socket. No IO.

A browser lets any page open a socket to any server, with the cookies of that server, and tells the
server whose page it is (RFC 6455, section 10.2). Clients that are no browsers send no origin; they
hold no token but their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, final
from urllib.parse import urlsplit

_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


def read_origin(text: str) -> str:
    """Read an origin as people write it; give it as browsers do.

    >>> read_origin("HTTPS://Shop.example:443")
    'https://shop.example'
    >>> read_origin("*")
    Traceback (most recent call last):
    ValueError: '*' is no origin; one is written as https://shop.example, or with a port

    Raises:
        ValueError: it is none.
    """
    origin = _normal(text)
    if origin is None:
        message = f"{text!r} is no origin; one is written as https://shop.example, or with a port"
        raise ValueError(message)
    return origin


def read_origins(texts: Iterable[str]) -> tuple[str, ...]:
    """Read some.

    Raises:
        ValueError: one is none.
    """
    if isinstance(texts, str):  # its characters are texts, too
        texts = (texts,)
    return tuple(read_origin(text) for text in texts)


@final
class Origins:
    """Tells whether a page of some origin may open a socket.

    Args:
        allowed: those that may, beside the server's own.

    Raises:
        ValueError: one is no origin.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._allowed: Final = frozenset(read_origins(allowed))

    def allow(self, origin: str | None, host: str, scheme: str | None) -> bool:
        """Tell whether a page may open a socket.

        Args:
            origin: what the browser says whose page it is; None if it says nothing.
            host: how it calls this server: the ``Host`` header.
            scheme: how it has got here, ``http`` or ``https``; None if that is not known, because
                something in front of us may have ended TLS. Then both are the same.
        """
        if origin is None:
            return True
        page = _normal(origin)
        if page is None:  # such as "null", that of a file, or of a sandbox
            return False
        schemes = ("http", "https") if scheme is None else (scheme,)
        own = {_normal(f"{one}://{host}") for one in schemes}
        return page in own or page in self._allowed


def _normal(text: str) -> str | None:
    try:
        parts = urlsplit(text.lower())
        port = parts.port
    except ValueError:  # a port or a bracket that is none
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.username is not None:
        return None
    if text.lower() != f"{parts.scheme}://{parts.netloc}" or not text.isprintable():
        return None  # a path, or what is cut off in silence
    bracketed = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    shown = "" if port is None else f":{port}"
    return f"{parts.scheme}://{bracketed}{shown.removesuffix(_DEFAULT_PORTS[parts.scheme])}"
