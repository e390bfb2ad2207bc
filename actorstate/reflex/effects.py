"""Effects that Reflex gives other arguments; the others are ours as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from actorstate.reflex.absent import refuse
from actorstate.state import effects

if TYPE_CHECKING:
    from actorstate.state.effects import Effect


def redirect(
    path: str,
    is_external: bool = False,  # noqa: FBT001, FBT002 - as Reflex has it
    *,
    external: bool = False,
    **others: object,
) -> Effect:
    """Ask the browser to go to another page, as `actorstate.redirect` does.

    Args:
        path: a path such as ``/orders``, or a whole URL.
        is_external: whether to open it in a tab of its own.
        external: the same.
        others: what Reflex takes besides, such as ``replace``; it is refused.

    Raises:
        TypeError: the path is no text, or another option is given, which is not here.
        ValueError: the path is empty, or a URL that runs code.
    """
    refuse("rx.redirect", others)
    return effects.redirect(path, new_tab=is_external or external)


def download(
    url: str | None = None, filename: str | None = None, data: str | bytes | None = None
) -> Effect:
    """Ask the browser to save a file, as `actorstate.download` does.

    Args:
        url: where the browser finds it.
        filename: the name that it is saved by; without it the last part of the URL.
        data: what is in it, instead of a URL.

    Raises:
        TypeError: not exactly one of url and data is given, or one is of another type.
        ValueError: there is no name to save it by, or the URL runs code.
    """
    name = filename or urlsplit(url or "").path.rpartition("/")[2]
    return effects.download(name, url=url, data=data)
