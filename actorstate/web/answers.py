"""What requests for pages get, whoever has parsed them: the choice of an answer and its headers.

Pages, the client, its stylesheet, ``/healthz`` and ``/readyz``. No IO.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from email.utils import formatdate
from importlib import resources
from types import MappingProxyType
from typing import Final, final

import attrs

from actorstate.web.admission import Refusal
from actorstate.web.protocol import SOCKET_PATH
from actorstate.web.site import Site

Headers = list[tuple[bytes, bytes]]

_SECURITY_HEADERS: Final[Headers] = [
    (
        b"Content-Security-Policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
            b"img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
        ),
    ),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"same-origin"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
]


def by_name(raw: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """Give the headers of a request by name, in lower case.

    One that stands there twice is one list (RFC 9110, section 5.2).
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        separator = "; " if name == "cookie" else ", "
        headers[name] = f"{headers[name]}{separator}{value}" if name in headers else value
    return MappingProxyType(headers)


RESERVED: Final = ("/healthz", "/readyz")
"""The routes that no page can have, beside all under ``/_actorstate/``."""


@final
@attrs.frozen
class Answer:
    """What a request gets."""

    status: int
    body: bytes = b""
    content_type: bytes = b"text/plain; charset=utf-8"
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def all_headers(self) -> Headers:
        """Give its own, and those that all answers have."""
        return [
            (b"Date", formatdate(usegmt=True).encode()),
            (b"Content-Type", self.content_type),
            (b"Content-Length", str(len(self.body)).encode()),
            (b"Cache-Control", b"no-cache"),
            *_SECURITY_HEADERS,
            *self.headers,
        ]


def _asset(package: str, name: str, content_type: bytes) -> Answer:
    body = resources.files(package).joinpath(name).read_bytes()
    return Answer(200, body, content_type)


_FIXED: Final[Mapping[str, Answer]] = {
    "/_actorstate/client.js": _asset("actorstate.web", "client.js", b"text/javascript"),
    "/_actorstate/style.css": _asset("actorstate.ui", "style.css", b"text/css"),
    "/healthz": Answer(200, b"ok\n"),
    SOCKET_PATH: Answer(
        426,
        b"this is a socket; ask for an upgrade\n",
        headers=((b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")),
    ),
}
_READY: Final = Answer(200, b"ready\n")
_NO_PAGE: Final = Answer(404, b"there is no such page\n")
_NO_METHOD: Final = Answer(
    405, b"only GET and HEAD are answered here\n", headers=((b"Allow", b"GET, HEAD"),)
)

_LATER: Final = ((b"Retry-After", b"1"),)

REFUSALS: Final[Mapping[Refusal, Answer]] = {
    Refusal.STOPPING: Answer(503, b"this server is stopping\n", headers=_LATER),
    Refusal.FULL: Answer(503, b"there are too many connections\n", headers=_LATER),
    Refusal.CROWDED: Answer(429, b"there are too many connections from here\n", headers=_LATER),
}
"""What those get who are not let in."""

NO_SOCKET: Final = Answer(404, b"there is no socket here\n")
OTHER_SITE: Final = Answer(403, b"pages of other sites may not open this socket\n")


def choose_answer(method: str, path: str, site: Site) -> Answer:
    """Choose what a request gets.

    Args:
        method: as in the request.
        path: as in the request, percent-encoded, without the query.
        site: what is served.
    """
    if method not in ("GET", "HEAD"):
        return _NO_METHOD
    if path in _FIXED:
        return _FIXED[path]
    if path == "/readyz":
        return _READY if site.admission.is_open else REFUSALS[Refusal.STOPPING]
    if path in site.pages:
        return Answer(200, site.pages[path], b"text/html; charset=utf-8")
    return _NO_PAGE
