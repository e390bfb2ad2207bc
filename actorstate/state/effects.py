"""Effects: what a handler asks the browser to do, beside showing the state.

A handler returns or yields one, alone or in a list with handlers. It leaves once the turn is
committed and the store has it, after the patch of that turn; a turn that fails asks for nothing.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, cast, final

import attrs

from actorstate.state.convert import UNFIT, make_converter
from actorstate.state.expressions import Expression
from actorstate.state.json_types import Plain, short
from actorstate.state.urls import running_scheme

_converter: Final = make_converter(detailed_validation=False)

# What RFC 6838 lets a media type be made of, and no more: a browser makes a file of it.
_MEDIA_TYPE: Final = re.compile(r"[\w.+-]+/[\w.+-]+(; ?[\w-]+=[\w.+-]+)*", re.ASCII)
_NO_PART_OF_A_FILENAME: Final = re.compile(r"[/\\\x00-\x1f\x7f]")


@final
@attrs.frozen
class Effect:
    """Something that the browser is asked to do. Made by `redirect` and its kin."""

    name: str
    """What to do, as the browser knows it: ``redirect``."""
    args: Mapping[str, Plain] = attrs.field(converter=MappingProxyType[str, Plain])
    """With what."""


def redirect(to: str, *, new_tab: bool = False) -> Effect:
    """Ask the browser to go to another page.

    Args:
        to: a path such as ``/orders``, or a whole URL.
        new_tab: whether to open it in a tab of its own. Browsers may refuse that where it does
            not follow a click at once.

    Raises:
        TypeError: ``to`` is no text, or ``new_tab`` no bool.
        ValueError: ``to`` is empty, or a URL that runs code.

    >>> redirect("/orders").args["to"]
    '/orders'
    """
    if not isinstance(new_tab, bool):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without types
        message = f"redirect(new_tab=) takes a bool, got {new_tab!r}"
        raise TypeError(message)
    return Effect("redirect", {"to": _url("redirect(to)", to), "new_tab": new_tab})


def download(
    filename: str,
    *,
    url: str | None = None,
    data: bytes | str | None = None,
    media_type: str | None = None,
) -> Effect:
    """Ask the browser to save a file.

    Args:
        filename: the name that it is saved by, without a folder.
        url: where the browser finds it.
        data: or what is in it. It goes through the socket as one frame, so it should be small.
        media_type: of the data; ``text/plain`` for text and ``application/octet-stream`` for
            bytes, if left out.

    Raises:
        TypeError: an argument is of another type, or not exactly one of url and data is given.
        ValueError: the name is empty or a path, the URL runs code, or the media type is none.
    """
    name = _text("download(filename)", filename)
    if not name.strip() or name in (".", "..") or _NO_PART_OF_A_FILENAME.search(name):
        message = f"download(filename) takes a name such as 'report.csv', got {filename!r}"
        raise ValueError(message)
    if (url is None) == (data is None):
        message = "download() takes either url= or data=, one of the two"
        raise TypeError(message)
    if data is not None:
        return Effect("download", {"filename": name, **_contents(data, media_type)})
    if media_type is not None:
        message = "download(media_type=) describes data=; for url= the server there says it"
        raise TypeError(message)
    return Effect("download", {"filename": name, "url": _url("download(url=)", url)})


def set_focus(id: str) -> Effect:  # noqa: A002 - the word of HTML
    """Ask the browser to put the focus on an element.

    Args:
        id: the element's ``id``.

    Raises:
        TypeError: it is no text.
        ValueError: it is empty, or contains blanks, and so can be no element's.
    """
    return Effect("set_focus", {"id": _id("set_focus(id)", id)})


def set_value(id: str, value: object) -> Effect:  # noqa: A002 - the word of HTML
    """Ask the browser to change what stands in a field. No event follows, and an edit ends.

    Args:
        id: the element's ``id``.
        value: a JSON value; a bool for a checkbox.

    Raises:
        TypeError: the id is no text, or JSON cannot carry the value.
        ValueError: the id is empty or contains blanks.
    """
    return Effect("set_value", {"id": _id("set_value(id)", id), "value": _json(value, "set_value")})


def console_log(value: object) -> Effect:
    """Ask the browser to write a value to its console.

    Args:
        value: a JSON value.

    Raises:
        TypeError: JSON cannot carry it.
    """
    return Effect("console_log", {"value": _json(value, "console_log")})


def copy_to_clipboard(text: str) -> Effect:
    """Ask the browser to put a text on the clipboard.

    Browsers may refuse that where it does not follow a click at once.

    Raises:
        TypeError: it is no text.
    """
    return Effect("copy_to_clipboard", {"text": _text("copy_to_clipboard(text)", text)})


def scroll_to(id: str) -> Effect:  # noqa: A002 - the word of HTML
    """Ask the browser to scroll until an element is seen.

    Args:
        id: the element's ``id``.

    Raises:
        TypeError: it is no text.
        ValueError: it is empty, or contains blanks, and so can be no element's.
    """
    return Effect("scroll_to", {"id": _id("scroll_to(id)", id)})


def _text(what: str, value: object) -> str:
    try:
        return _converter.structure(value, str)
    except UNFIT as error:
        _refuse_expression(what, value)
        message = f"{what} takes text, got {value!r}"
        raise TypeError(message) from error


def _id(what: str, value: object) -> str:
    text = _text(what, value)
    if not text or re.search(r"\s", text):
        message = f"{what} takes the id of an element, without blanks, got {value!r}"
        raise ValueError(message)
    return text


def _url(what: str, value: object) -> str:
    text = _text(what, value)
    scheme = running_scheme(text)
    if scheme is not None:
        message = f"{what} cannot be a {scheme}: URL, got {value!r}"
        raise ValueError(message)
    if not text.strip():
        message = f"{what} takes a path such as '/orders' or a URL, got {value!r}"
        raise ValueError(message)
    return text


def _contents(data: object, media_type: object) -> dict[str, Plain]:
    if not isinstance(data, bytes | bytearray):
        raw = _text("download(data=), if it is not bytes,", data).encode()
        kind = "text/plain;charset=utf-8" if media_type is None else media_type
    else:
        raw, kind = bytes(data), "application/octet-stream" if media_type is None else media_type
    if _MEDIA_TYPE.fullmatch(_text("download(media_type=)", kind)) is None:
        message = f"download(media_type=) takes one such as 'text/csv', got {media_type!r}"
        raise ValueError(message)
    return {"data": base64.b64encode(raw).decode(), "media_type": str(kind)}


def _json(value: object, what: str) -> Plain:
    """Give a copy, so that what is sent is what it was when it was said."""
    try:
        return cast("Plain", _converter.structure(value, object))
    except UNFIT as error:
        _refuse_expression(what, value)
        message = f"{what}(value) takes what JSON can carry, got {short(value)}"
        raise TypeError(message) from error


def _refuse_expression(what: str, value: object) -> None:
    if isinstance(value, Expression):
        message = (
            f"{what} takes a value, got {value!r}, which only the browser can compute; in a "
            f"handler write self.name for MyState.name"
        )
        raise TypeError(message)
