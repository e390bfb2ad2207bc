"""Invocations: handlers with arguments."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, final

import attrs

if TYPE_CHECKING:
    from actorstate.state.handlers import Handler

_LONGEST: Final = 60  # seconds

_NO_KEYWORDS: Final[Mapping[str, object]] = MappingProxyType({})


@final
@attrs.frozen
class Invocation:
    """A handler with arguments: what an element sends, or a handler returns."""

    handler: Handler
    args: tuple[object, ...] = ()
    """Values; in a page also expressions, which the browser computes when the event fires."""
    kwargs: Mapping[str, object] = _NO_KEYWORDS
    """Those behind the first parameter that is free, by name."""
    debounced: float | None = None
    """Send only once so many seconds have passed without another; the last one counts."""
    throttled: float | None = None
    """Send at most one in so many seconds; those between are dropped."""

    def debounce(self, seconds: float) -> Invocation:
        """Let a page send this only once ``seconds`` have passed without another.

        Raises:
            ValueError: they are no number above 0, or more than 60.
        """
        return attrs.evolve(self, debounced=_interval(seconds))

    def throttle(self, seconds: float) -> Invocation:
        """Let a page send at most one of these in ``seconds``; those between are dropped.

        Raises:
            ValueError: as `debounce`.
        """
        return attrs.evolve(self, throttled=_interval(seconds))

    @property
    def name(self) -> str:
        """The handler's name on the wire."""
        return self.handler.full_name

    @property
    def by_name(self) -> Mapping[str, object]:
        """All that is bound, by parameter name."""
        named = zip(self.handler.signature.parameters, self.args, strict=False)
        return {**dict(named), **self.kwargs}

    @property
    def free(self) -> str | None:
        """The first parameter that is not bound, which takes what the browser sends."""
        bound = self.by_name
        return next((one for one in self.handler.signature.parameters if one not in bound), None)

    @property
    def takes_more(self) -> bool:
        """Whether the handler takes another argument after these, such as an input's value."""
        return self.free is not None

    def check(self, *, sent: int = 0) -> None:
        """Make sure that the handler can be called with these arguments.

        Args:
            sent: how many more the browser will add.

        Raises:
            TypeError: some are missing.
        """
        self._bind([None] * sent)

    def fill(self, value: object) -> Invocation:
        """Bind the first parameter that is free, as what the browser sends does.

        Raises:
            TypeError: none is.
        """
        if self.free is None:
            message = f"{self.handler}{self.handler.signature} is free to take nothing more"
            raise TypeError(message)
        filled = self.handler(**{**self.by_name, self.free: value})
        return attrs.evolve(self, args=filled.args, kwargs=filled.kwargs)

    def complete(self) -> Invocation:
        """Give the invocation as another handler triggers it: by position, with its own values.

        Raises:
            TypeError: arguments are missing, or one is not of the annotated type.
        """
        bound = self._bind([])
        for name, value in self.by_name.items():
            bound.arguments[name] = self.handler.own(name, value)
        if bound.kwargs:  # a parameter before them is left to its default
            bound.apply_defaults()
        return Invocation(self.handler, bound.args)

    def _bind(self, sent: Sequence[object]) -> inspect.BoundArguments:
        signature = self.handler.signature
        try:
            return signature.bind(*self.args, *sent, **self.kwargs)
        except TypeError as error:
            message = f"{self.handler}{signature}: {error}; bind it, as in {self.handler}(value)"
            raise TypeError(message) from None


def _interval(seconds: float) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:  # pyright: ignore[reportUnnecessaryIsInstance] - callers without types
        message = f"expected a number of seconds above 0, got {seconds!r}"
        raise ValueError(message)
    if seconds > _LONGEST:  # nobody waits for a page so long; other libraries count milliseconds
        message = f"expected at most {_LONGEST} seconds, got {seconds!r}; is that in milliseconds?"
        raise ValueError(message)
    return seconds
