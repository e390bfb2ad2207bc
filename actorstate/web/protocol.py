"""The protocol ``actorstate.v1``: JSON text frames to records, and back. No IO.

``docs/protocol.md`` describes it for those who write a client.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, cast, final
from urllib.parse import parse_qsl

import attrs
import msgspec
from cattrs.gen import (
    make_dict_structure_fn_from_attrs,  # pyright: ignore[reportUnknownVariableType] - of any class
)

from actorstate.actors.messages import Ack, Failure, Notice, Patch, Shown, Welcome
from actorstate.state.convert import UNFIT, error_details, make_converter
from actorstate.state.effects import Effect
from actorstate.state.json_types import Plain
from actorstate.state.patch import Operation
from actorstate.state.router import Router
from actorstate.state.untouched import Untouched, UntouchedTab

SUBPROTOCOL: Final = "actorstate.v1"
"""What a client has to propose in its WebSocket handshake."""

SOCKET_PATH: Final = "/_actorstate/ws"

_MOST_SEQ: Final = 2**53 - 1  # the greatest integer that every JSON implementation keeps exact
_LONGEST_INSTANCE: Final = 64
_LONGEST_HISTORY: Final = 64
_LONGEST_PATH: Final = 16 * 1024  # no page with a longer one was served from here

# Path and query as the browser has them in ``location``; of these characters it escapes what is
# not part of the syntax.
_PATH: Final = re.compile(r"/[^\s\x00-\x1f\x7f#]*")


class FrameError(ValueError):
    """A frame from a client is not of this protocol."""

    def __init__(self, message: str, where: str = "$") -> None:
        super().__init__(message)
        self.where = where


class _Frame(msgspec.Struct, frozen=True, tag_field="t", forbid_unknown_fields=True):
    """What all frames of a client are: JSON objects that say in ``t`` what they are."""


@final
class Hello(_Frame, frozen=True, tag="hello"):
    """The first frame of a client."""

    instance: str
    """One page load; its event numbers start at 1."""
    token: str | None = None
    """The token of the tab, as a welcome gave it; None for a new tab."""
    version: int | None = None
    """The version of the state that the client still shows."""
    history: str | None = None
    """The name of the history in which that stands, as the welcome gave it."""
    path: str = "/"
    """The page's path and query."""
    nth: int | None = None
    """Which of the connections of this page load it is; later ones have higher numbers."""

    @property
    def shown(self) -> Shown | None:
        """What the client still shows; None for nothing."""
        if self.version is None or self.history is None:
            return None
        return Shown(self.history, self.version)


@final
class EventFrame(_Frame, frozen=True, gc=False, tag="event"):
    """A request to run a handler."""

    seq: int
    name: str
    args: Any = []
    """Straight from JSON; what it must be, the handler says."""


@final
class Pong(_Frame, frozen=True, tag="pong"):
    """The answer to a ping: the client is there."""


@final
class Ping:
    """A frame that asks the client for a sign, and is one. There is one of it."""


PING: Final = Ping()

Frame = Hello | EventFrame | Pong

_FRAMES: Final[dict[str, type[Frame]]] = {
    str(record.__struct_config__.tag): record for record in (Hello, EventFrame, Pong)
}

# A frame that is right is read in one step with its JSON, in a tenth of the time. Of one that is
# not cattrs says better what is wrong with it, and where. What is right is the same for both.
_right: Final = msgspec.json.Decoder(Frame)


def _reader(record: type[Frame]) -> Callable[[dict[str, Any], Any], Frame]:
    """Let cattrs read a frame, by what it knows to read: attributes of attrs."""
    fields = {
        field.name: attrs.field(
            type=field.type, default=attrs.NOTHING if field.required else field.default
        )
        for field in msgspec.structs.fields(record)
    }
    twin = attrs.make_class(record.__name__, fields)
    return make_dict_structure_fn_from_attrs([*attrs.fields(twin)], record, make_converter())


_READERS: Final = {record: _reader(record) for record in _FRAMES.values()}


def decode(data: str | bytes) -> Frame:
    """Read one frame of a client.

    Raises:
        FrameError: it is no JSON object, of unknown type, or has other fields than its type.
    """
    if not isinstance(data, str):
        message = "expected a text frame, got a binary one"
        raise FrameError(message)
    try:
        frame = _right.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        frame = decode_exactly(data)
    _check_bounds(frame)
    return frame


def decode_exactly(data: str) -> Frame:
    """Read one frame as `decode` does, but for bounds, in the way that says what is wrong.

    Raises:
        FrameError: as there.
    """
    fields = _read_object(data)
    kind = fields.pop("t", None)
    record = _FRAMES.get(kind) if isinstance(kind, str) else None
    if record is None:
        message = f"unknown frame type; known are: {', '.join(_FRAMES)}"
        raise FrameError(message, "$.t")
    try:
        return _READERS[record](fields, record)
    except UNFIT as error:
        text, where = error_details(error, "$")[0]
        raise FrameError(text, where) from error


def _read_object(data: str) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        message = "the frame is not JSON"
        raise FrameError(message) from error
    if not isinstance(fields, dict):
        message = "the frame is not a JSON object"
        raise FrameError(message)
    return cast("dict[str, Any]", fields)


def _check_bounds(frame: Frame) -> None:
    if isinstance(frame, EventFrame):
        if not 0 < frame.seq <= _MOST_SEQ:
            message = "expected a number from 1"
            raise FrameError(message, "$.seq")
    elif isinstance(frame, Hello):
        if not 0 < len(frame.instance) <= _LONGEST_INSTANCE:
            message = f"expected 1 to {_LONGEST_INSTANCE} characters"
            raise FrameError(message, "$.instance")
        if len(frame.history or "") > _LONGEST_HISTORY:
            message = f"expected at most {_LONGEST_HISTORY} characters"
            raise FrameError(message, "$.history")
        if frame.nth is not None and not 0 < frame.nth <= _MOST_SEQ:
            message = "expected a number from 1"
            raise FrameError(message, "$.nth")
        _check_path(frame.path)


def _check_path(path: str) -> None:
    if len(path) > _LONGEST_PATH:
        message = f"expected at most {_LONGEST_PATH} characters, got {len(path)}"
        raise FrameError(message, "$.path")
    if _PATH.fullmatch(path) is None:
        message = f"expected a path and query such as '/orders?page=2', got {path!r}"
        raise FrameError(message, "$.path")


@final
@attrs.frozen
class Handshake:
    """What a connection knows of the browser before its first frame."""

    headers: Mapping[str, str]
    """By lower-case name."""
    client_address: str


def to_router(hello: Hello, token: str, handshake: Handshake, session: str) -> Router:
    """Give what handlers see of a page load.

    What is not UTF-8 in the query is replaced, as browsers show it: anybody may link to such a
    page, and it shall work.
    """
    path, _, query = hello.path.partition("?")
    return Router(
        token,
        path,
        MappingProxyType(dict(parse_qsl(query, keep_blank_values=True))),
        handshake.headers,
        handshake.client_address,
        session,
    )


def encode(notice: Notice | Ping, session: str, longest_silence: float = math.inf) -> str:
    """Write one frame to a client.

    Args:
        notice: what it says.
        session: the name of the connection, for a welcome.
        longest_silence: seconds after which a client that has heard nothing may take the server
            for gone, for a welcome.
    """
    if isinstance(notice, Patch):
        return _encode(_PatchFrame(notice.version, notice.ack, notice.ops, notice.base)).decode()
    return _encode(_as_frame(notice, session, longest_silence)).decode()


def _encode_state(state: Mapping[str, Mapping[str, Plain]]) -> msgspec.Raw:
    """Write the states of a welcome; of those that nobody has touched the JSON is there already.

    An app has many states, and a tab that is being opened has touched none of them.
    """
    if type(state) is UntouchedTab:
        return msgspec.Raw(state.encoded)
    members = [
        values.member if type(values) is Untouched else msgspec.json.encode({name: values})[1:-1]
        for name, values in state.items()
    ]
    return msgspec.Raw(b"{" + b",".join(members) + b"}")


@final
class _PatchFrame(msgspec.Struct, tag_field="t", tag="patch", omit_defaults=True, gc=False):
    """A patch as it is written: as good as every frame is one."""

    version: int
    ack: int
    ops: tuple[Operation, ...]
    base: int | None = None


_encode: Final = msgspec.json.Encoder().encode


def _as_frame(
    notice: Welcome | Ack | Failure | Effect | Ping, session: str, longest_silence: float
) -> dict[str, Any]:
    match notice:
        case Ack(ack):
            return {"t": "ack", "ack": ack}
        case Failure(code, message, seq, where):
            optional = {"seq": seq, "where": where}
            given = {key: value for key, value in optional.items() if value is not None}
            return {"t": "error", "code": code, "message": message, **given}
        case Effect(name, args):
            return {"t": "effect", "name": name, "args": dict(args)}
        case Welcome(token, version, ack, state, history):
            shown = {} if state is None else {"state": _encode_state(state)}
            return {
                "t": "welcome",
                "token": token,
                "session": session,
                "version": version,
                "ack": ack,
                "ping": longest_silence,
                "history": history,
                **shown,
            }
        case Ping():
            return {"t": "ping"}
