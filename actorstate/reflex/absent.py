"""What Reflex has and we have not: it is refused, by its name, with the page that says more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

_GUIDE: Final = "docs/coming-from-reflex.md"


def missing(name: str) -> str:
    """Say that a name is not here."""
    return f"{name} is not in actorstate.reflex; {_GUIDE} says what is, and what to use instead"


def refuse(caller: str, given: Mapping[str, object]) -> None:
    """Refuse keywords that Reflex has and we have not; one that is None says nothing."""
    for keyword, value in given.items():
        if value is not None:
            raise TypeError(missing(f"{caller}({keyword}=)"))


class Namespace(type):
    """Lets a class stand for a module of Reflex's."""

    if not TYPE_CHECKING:

        def __getattr__(cls, name: str) -> Any:
            raise AttributeError(missing(f"rx.{cls.__qualname__}.{name}"), name=name, obj=cls)
