"""What a hostile peer may send, as strategies: requests, WebSocket frames, frames of ours."""

from __future__ import annotations

import json
import struct
from typing import Any, Final, final

import attrs
from fuzz_site import Target
from hypothesis import strategies as st

from actorstate.web.protocol import SOCKET_PATH, SUBPROTOCOL

# ---- frames of the protocol ---------------------------------------------------------------------

_SEQ: Final = "@seq"  # stands for the number that comes next


@final
@attrs.frozen
class Sent:
    """One message of a client that says its hello as it should, and then what it likes."""

    data: str | bytes
    adds: int = 0
    """What it adds to the count; 0 for what is to change nothing."""

    @property
    def is_numbered(self) -> bool:
        """Whether it counts as an event."""
        return isinstance(self.data, str) and f'"{_SEQ}"' in self.data

    def numbered(self, seq: int) -> str | bytes:
        """Give the message, as the event of that number if it is one."""
        return self.data.replace(f'"{_SEQ}"', str(seq)) if isinstance(self.data, str) else self.data


HANDLERS: Final = frozenset({"add", "put", "take", "wait", "climb", "climb.cancel", "set_label"})
"""What a browser may run."""

_MEMBERS: Final = sorted(
    {name for owner in (Target, type(Target), object, type, Target.add) for name in dir(owner)}
    | set(vars(Target)) | {"mro", "_hidden", "_tell", "on_connect", "set_count", "set_ratio",
                           "set__hidden", "migrate", "__init__", "__class__", "__subclasses__"}
)  # fmt: skip

NO_HANDLERS: Final = [
    *(f"target.{name}" for name in _MEMBERS if name not in HANDLERS),
    *(f"target.add.{name}" for name in _MEMBERS),
    *_MEMBERS,
    "", ".", "..", "target", "target.", ".add", "add", "target..add", "Target.add", "target.add ",
    "target.add\0", "target.add()", "target.cancel", "target.add.cancel", "target.ADD", "state.add",
    "target.climb.cancel.cancel", "target.target.add", "__proto__.add", "constructor", "target/add",
    "fuzz_site.Target.add", "target.\u0430dd", "a" * 10_000,
]  # fmt: skip
"""Names that lead nowhere, those of everything that Python has put on a class among them."""

_NUMBERS: Final = [
    0, -1, 1, 2**31, 2**53 - 1, 2**53, 2**63, 2**64, -(2**64), 10**400, 0.5, -0.0, 1e308, 1.0,
    float("nan"), float("inf"), float("-inf"),
]  # fmt: skip
_TEXTS: Final = [
    "", "0", "1", "true", "null", "NaN", "__proto__", "constructor", "\0", "\ud800", "\u202e",
    "\uffff", "a" * 1000, "\U0001f600" * 50, "<script>", "${x}", "{{x}}", "%s%n", "../../x",
]  # fmt: skip
_ODD: Final = [
    *_NUMBERS, *_TEXTS, None, True, False, [], {}, [[]], [None], {"": None}, {"__proto__": {}},
    {"name": "x"}, {"name": "x", "weight": "1"}, {"t": "hello"}, ["target.add"] * 30, {"amount": 1},
]  # fmt: skip

odd_values: Final[st.SearchStrategy[Any]] = st.one_of(
    st.sampled_from(_ODD),
    st.recursive(
        st.sampled_from(_ODD) | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
        ),
        max_leaves=6,
    ),
)

_HELLO: Final = {"t": "hello", "instance": "again", "token": None, "version": None, "path": "/"}
_EVENT: Final = {"t": "event", "seq": _SEQ, "name": "target.add", "args": [1]}
_NO_SEQ: Final = [0, -1, 1.0, 1.5, 2**53, -(2**53), 10**400, "1", None, True, [1], {"1": 1}]


def _as_text(frame: Any) -> str:
    return json.dumps(frame)


def event(name: str, args: Any) -> str:
    """Give the frame of an event, whose number comes when it is sent."""
    return _as_text({**_EVENT, "name": name, "args": args})


@st.composite
def _spoiled(draw: st.DrawFn) -> Sent:
    """A frame with one member that is missing, too many, or of another kind."""
    frame: dict[str, Any] = dict(draw(st.sampled_from([_HELLO, _EVENT])))
    member = draw(st.sampled_from([*frame, "extra", "__proto__", "history", "T", ""]))
    if member in frame and draw(st.booleans()):
        del frame[member]
    elif member == "seq":
        frame[member] = draw(st.sampled_from(_NO_SEQ))
    elif member == "args":
        frame[member] = draw(st.sampled_from(_NUMBERS + _TEXTS))
    else:
        frame[member] = draw(odd_values)
    return Sent(_as_text(frame))


@st.composite
def odd_hellos(draw: st.DrawFn) -> Sent:
    """A hello with one member that is odd; it may be right all the same."""
    member = draw(st.sampled_from([*_HELLO, "history"]))
    return Sent(_as_text({**_HELLO, member: draw(odd_values)}))


_BROKEN_TEXTS: Final = [
    "", " ", "null", "0", "[]", "{}", "{", '{"t"', '{"t":"event"', "NaN", "-Infinity", "1e999",
    '{"t":"event","seq":1e999}', '{"t":"event","seq":NaN,"name":"target.add"}', "\ufeff{}",
    '{"t":"event","t":"hello"}', '{"t":"\\ud800"}', '{"\\u0000":1}', "{'t':'event'}", "\0", "//",
    "[" * 5000, '{"a":' * 2000, "[" * 500 + "]" * 500, "1" * 5000, "-" * 100, '"' + "x" * 20_000,
    '{"t":"event","seq":' + "9" * 5000 + ',"name":"target.add"}', '{"t":"pong"} {"t":"pong"}',
    '{"t":"ping"}', '{"t":"ack","ack":1}', '{"t":"welcome"}', '{"t":"patch","ops":[]}',
]  # fmt: skip
_DEEP: Final = "[" * 900 + "]" * 900

sent_frames: Final[st.SearchStrategy[Sent]] = st.one_of(
    st.integers(-5, 5).map(lambda amount: Sent(event("target.add", [amount]), amount)),
    st.integers(-5, 5).map(
        lambda amount: Sent(event("target.add", {"times": 2, "amount": amount}), 2 * amount)
    ),
    _spoiled(),
    st.sampled_from(_BROKEN_TEXTS).map(Sent),
    st.text(max_size=20).map(Sent),
    st.binary(max_size=20).map(Sent),
    st.sampled_from(NO_HANDLERS).map(lambda name: Sent(event(name, []))),
    st.builds(
        lambda name, args: Sent(event(f"target.{name}", args)),
        st.sampled_from(sorted(HANDLERS - {"add"})),
        st.lists(odd_values, max_size=3)
        | st.dictionaries(st.text(max_size=8), odd_values)
        | odd_values,
    ),
    # One argument that no integer is.
    st.sampled_from([one for one in _ODD if type(one) is not int]).map(
        lambda value: Sent(event("target.add", [value]))
    ),
    st.just(Sent(event("target.take", [0]).replace("[0]", f"[{_DEEP}]"))),
)
"""Messages after a hello. All but the first two kinds change no count, whatever they do."""

first_frames: Final[st.SearchStrategy[Sent]] = st.one_of(
    odd_hellos(), st.sampled_from(_BROKEN_TEXTS).map(Sent), st.binary(max_size=20).map(Sent)
)
"""Messages before a right hello. None of them is an event."""

# ---- WebSocket frames ---------------------------------------------------------------------------


def websocket_frame(  # noqa: PLR0913 - one for each part of a frame
    payload: bytes,
    *,
    opcode: int = 1,
    fin: bool = True,
    reserved: int = 0,
    mask: bytes | None = b"\1\2\3\4",
    length: int | None = None,
    wide: int = 0,
) -> bytes:
    """Build one frame, right or wrong (RFC 6455, section 5.2).

    Args:
        payload: what is in it.
        opcode: what kind of frame it says it is.
        fin: whether it is the last of its message.
        reserved: the three reserved bits.
        mask: the masking key; None for no mask, which no client may send.
        length: what it says of its length, if not the truth.
        wide: 16 or 64 for a length of so many bits, whether it needs them or not.
    """
    size = len(payload) if length is None else length
    masked = 0 if mask is None else 0x80
    head = bytes([fin << 7 | (reserved & 7) << 4 | opcode & 15])
    if wide == 64 or size > 0xFFFF:
        head += struct.pack("!BQ", masked | 127, size & (2**64 - 1))
    elif wide == 16 or size > 125:
        head += struct.pack("!BH", masked | 126, size)
    else:
        head += bytes([masked | size])
    if mask is None:
        return head + payload
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return head + mask + bytes(a ^ b for a, b in zip(payload, key, strict=True))


_TEXT_PAYLOADS: Final = [
    b"", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"{}", b"\0" * 200,
    _as_text(_HELLO).encode(), event("target.add", [1]).replace(f'"{_SEQ}"', "1").encode(),
    b"x" * 70_000,
]  # fmt: skip
_CLOSE_PAYLOADS: Final = [
    b"", b"\3", b"\3\xe8", b"\3\xe8bye", b"\3\xe8\xff", b"\0\0", b"\3\xed", b"\x0f\xa1",
    b"\xff\xff", b"\3\xe8" + b"x" * 124,
]  # fmt: skip

_keys: Final = st.sampled_from([b"\1\2\3\4", b"\0\0\0\0", b"\xff\xff\xff\xff", None])

websocket_frames: Final[st.SearchStrategy[bytes]] = st.one_of(
    st.builds(
        websocket_frame,
        st.sampled_from(_TEXT_PAYLOADS) | st.binary(max_size=30),
        opcode=st.integers(0, 15),
        fin=st.booleans(),
        reserved=st.sampled_from([0, 0, 0, 1, 4, 7]),
        mask=_keys,
        wide=st.sampled_from([0, 0, 16, 64]),
    ),
    # Right but for what is in it.
    st.builds(
        websocket_frame, st.sampled_from(_TEXT_PAYLOADS), opcode=st.just(1), fin=st.booleans()
    ),
    st.builds(websocket_frame, st.sampled_from(_TEXT_PAYLOADS), opcode=st.just(0)),
    st.builds(websocket_frame, st.binary(max_size=10), opcode=st.sampled_from([9, 10])),
    st.builds(websocket_frame, st.sampled_from(_CLOSE_PAYLOADS), opcode=st.just(8)),
    # A length that is not that of what follows.
    st.builds(
        websocket_frame,
        st.binary(max_size=8),
        length=st.sampled_from(
            [0, 1, 125, 126, 0xFFFF, 0x10000, 2**20, 2**31, 2**63 - 1, 2**64 - 1]
        ),
    ),
    st.binary(max_size=12),
)
"""Bytes after a handshake: frames that are right, wrong, half, or none at all."""

OVERSIZED: Final = [
    websocket_frame(b'"' + b"x" * 2_000_000),
    websocket_frame(b"\xe2\x82\xac" * 400_000),  # fewer characters than bytes
    b"".join(
        websocket_frame(b"x" * 300_000, opcode=int(number == 0), fin=False) for number in range(5)
    ),
    websocket_frame(b"[", fin=False) + websocket_frame(b"", opcode=0, fin=False) * 20_000,
    websocket_frame(b"[" * 1_000_000),
    websocket_frame(b'{"t":"event","seq":' + b"9" * 1_000_000 + b',"name":"target.add"}'),
    websocket_frame(b"ping", opcode=9) * 5_000,
]
"""A few that are large, or many."""


def upgrade(port: int, **changed: str | None) -> bytes:
    """Give the head of a request for a WebSocket.

    Args:
        port: of the server.
        changed: headers in the place of those that are right, with ``_`` for ``-``; None for none.
    """
    headers: dict[str, str | None] = {
        "Host": f"127.0.0.1:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": SUBPROTOCOL,
        **{name.replace("_", "-"): value for name, value in changed.items()},
    }
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([f"GET {SOCKET_PATH} HTTP/1.1", *lines, "", ""]).encode("utf-8", "replace")


# ---- HTTP ---------------------------------------------------------------------------------------

_METHODS: Final = [
    b"GET", b"GET", b"GET", b"HEAD", b"POST", b"OPTIONS", b"PRI", b"CONNECT", b"get", b"G\0T", b"",
    b"X" * 100,
]  # fmt: skip
_TARGETS: Final = [
    b"/", b"/healthz", b"/_actorstate/ws", b"/_actorstate/client.js", b"*", b"", b"//", b"/..",
    b"/_actorstate/../../etc/passwd", b"http://evil.example/", b"/%00", b"/\xff\xfe", b"/?" * 100,
    b"/a b", b"/" + b"a" * 20_000, b"/\xe2\x82\xac", b"javascript:alert(1)", b"/readyz",
]  # fmt: skip
_VERSIONS: Final = [b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0",
                    b"HTTP/1.", b"HTTP/1.1 x", b"", b"HTTQ/1.1"]  # fmt: skip
_HEADERS: Final = [
    b"Host: a", b"Host: a", b"Host: a", b"Host: b", b"Host:", b"Host : a", b"Connection: close",
    b"Connection: keep-alive, Upgrade", b"Upgrade: websocket", b"Upgrade: WebSocket, h2c",
    b"Upgrade: h2c", b"Sec-WebSocket-Key: x", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 8", b"Sec-WebSocket-Protocol: \xff",
    b"Sec-WebSocket-Protocol: actorstate.v1", b"Sec-WebSocket-Protocol: ,,,", b"Origin: null",
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    b"Sec-WebSocket-Extensions: ;;;=", b"Origin: http://[", b"Origin: \xff", b"Content-Length: 0",
    b"Content-Length: 5", b"Content-Length: -1", b"Content-Length: 99999999999999999999",
    b"Content-Length: +5", b"Content-Length: 5, 5", b"Content-Length: 0x5", b"Content-Length:",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip",
    b"Transfer-Encoding: chunked, chunked",
    b"Expect: 100-continue", b"X: " + b"x" * 10_000, b"no colon", b": no name", b"X:\0", b" folded",
    b"X: \x7f", b"Cookie: a=1; a=2; ;;=", b"X-Forwarded-For: 1.2.3.4, , x", b"Range: bytes=0-",
    b"X-Forwarded-Proto: https\r\nX-Forwarded-For: \xff", b"Content-Type: \xff",
]  # fmt: skip
_BODIES: Final = [
    b"", b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"fffffffffffffffff\r\n", b"-1\r\n",
    b"0\r\n\r\n", b"\0" * 1000, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
]  # fmt: skip


@st.composite
def _requests(draw: st.DrawFn) -> bytes:
    line = b" ".join(draw(st.sampled_from(part)) for part in (_METHODS, _TARGETS, _VERSIONS))
    headers = draw(st.lists(st.sampled_from(_HEADERS), max_size=6))
    end = draw(st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r"]))
    return end.join([line, *headers, b"", draw(st.sampled_from(_BODIES))])


@st.composite
def _damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """What is cut off, or has something else in the middle."""
    data = draw(whole)
    begin = draw(st.integers(0, len(data)))
    return data[:begin] + draw(st.binary(max_size=4)) + data[begin + draw(st.integers(0, 4)) :]


_HEADER_VALUES: Final = [
    None, "", " ", ",", ";=", "a, b", "websocket", "Upgrade", "13", "8", "x" * 5000, "\xff",
    "\u20ac", "xn--\x7f", "xn--a-\xe9", "a..b", "." * 300, "[::1", "a:b:c", "a@b", "http://[",
    "null",
    "permessage-deflate; client_max_window_bits=99", "actorstate.v1, actorstate.v1",
]  # fmt: skip

odd_upgrades: Final[st.SearchStrategy[bytes]] = st.dictionaries(
    st.sampled_from(
        ["Host", "Upgrade", "Connection", "Origin", "Cookie", "Sec_WebSocket_Key",
         "Sec_WebSocket_Version", "Sec_WebSocket_Protocol", "Sec_WebSocket_Extensions"]
    ),
    st.sampled_from(_HEADER_VALUES),
    min_size=1, max_size=2,
).map(lambda changed: upgrade(80, **changed))  # fmt: skip
"""Requests for a WebSocket that are right but for a header or two."""

http_requests: Final[st.SearchStrategy[bytes]] = st.one_of(
    odd_upgrades,
    _requests(),
    _damaged(_requests() | odd_upgrades),
    st.lists(_requests(), min_size=2, max_size=4).map(b"".join),
    st.binary(max_size=40),
)
"""Bytes from the first of a connection on."""

HEADS: Final = [
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000,
    b"\r\n" * 10_000,
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 200,
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 1_000_000,
    b"\0" * 1_000_000,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
]
"""A few that are large, or many."""


@st.composite
def split(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The pieces in which bytes are sent."""
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=3)))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
