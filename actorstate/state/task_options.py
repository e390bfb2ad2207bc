"""How a background task goes with others, with pages that close, and with the end of the program.

Declared here, checked where they are written; carried out by the token actor.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias, cast, final, get_args

import attrs

OnDisconnect: TypeAlias = Literal["keep", "cancel"]
"""What becomes of a running task when its tab is without a page."""

Overlap: TypeAlias = Literal["allow", "skip", "replace", "queue"]
"""What a trigger does while the task runs already."""

_CHOICES: Final = {"on_disconnect": get_args(OnDisconnect), "overlap": get_args(Overlap)}


def _check_choice(_: TaskOptions, field: attrs.Attribute[Any], value: Any) -> None:
    allowed = cast("tuple[str, ...]", _CHOICES[field.name])
    *others, last = map(repr, allowed)
    message = f"@background({field.name}=) takes {', '.join(others)} or {last}, got {value!r}"
    if not isinstance(value, str):
        raise TypeError(message)
    if value not in allowed:
        raise ValueError(message)


def _check_bool(_: TaskOptions, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, bool):
        message = f"@background({field.name}=) takes True or False, got {value!r}"
        raise TypeError(message)


@final
@attrs.frozen
class TaskOptions:
    """The options of a background task, as ``@background(...)`` has them.

    Raises:
        ValueError: a word that is none of those allowed.
        TypeError: something that is no word, or, for ``resume``, no bool.
    """

    on_disconnect: OnDisconnect = attrs.field(default="keep", validator=_check_choice)
    """What becomes of it when no page of the tab has been connected for a while.

    ``keep``: it goes on. ``cancel``: it is cancelled.
    """
    overlap: Overlap = attrs.field(default="allow", validator=_check_choice)
    """What a trigger does while the task runs in the same tab, with whatever arguments.

    ``allow``: begin another one beside it. ``skip``: nothing. ``replace``: cancel it, and begin
    another one after it. ``queue``: begin another one when it has ended.
    """
    resume: bool = attrs.field(default=False, validator=_check_bool)
    """Whether a record of it lies in the snapshot while it runs, with its arguments."""

    @property
    def is_of_pages(self) -> bool:
        """Whether it ends with the pages of its tab."""
        return self.on_disconnect == "cancel"
