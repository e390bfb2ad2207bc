"""The public state as a browser has it, read with the types that the State classes declare."""

from __future__ import annotations

import copy
import json
from typing import Any, Final, TypeVar, cast, final, overload

from actorstate.state.state import State

AnyState = TypeVar("AnyState", bound=State)


@final
class TabState:
    """What a tab shows: by State class with the declared types, by full name as JSON.

    ``state[MyState].items`` is a value of the type that ``items`` is declared with, which a type
    checker knows; ``state["state.my_state"]["items"]`` is what is on the wire. Both are copies.

    Args:
        shown: the state of the last welcome, with all patches since.
    """

    def __init__(self, shown: dict[str, dict[str, Any]]) -> None:
        self._shown: Final = shown

    @overload
    def __getitem__(self, key: type[AnyState]) -> AnyState: ...

    @overload
    def __getitem__(self, key: str) -> dict[str, Any]: ...

    def __getitem__(self, key: type[AnyState] | str) -> AnyState | dict[str, Any]:
        """Give one state.

        Raises:
            KeyError: the app has no such state.
        """
        if isinstance(key, str):
            return copy.deepcopy(self._shown[key])
        if key.get_full_name() not in self._shown:
            message = f"{key.__name__} is not a state of this app"
            raise KeyError(message)
        # To those who read, it is what it stands for; who writes, or runs a handler, is refused.
        return cast("AnyState", _Shown(key, self._shown))

    def as_json(self) -> dict[str, dict[str, Any]]:
        """Give a copy of all of it: by full name of the state, the public vars by name."""
        return copy.deepcopy(self._shown)

    def __repr__(self) -> str:
        return json.dumps(self._shown, ensure_ascii=False)


class _Shown:
    """The public vars of one state, as attributes; its own, and those of the states above it."""

    __slots__ = ("_cls", "_values")

    def __init__(self, cls: type[State], values: dict[str, dict[str, Any]]) -> None:
        object.__setattr__(self, "_cls", cls)
        object.__setattr__(self, "_values", values)

    _cls: type[State]
    _values: dict[str, dict[str, Any]]

    def __getattr__(self, name: str) -> Any:
        definition = self._cls.definition()
        var = definition.all_vars.get(name) or definition.all_computed.get(name)
        if var is None or var.is_backend:
            message = _not_shown(self._cls, name, is_backend=var is not None)
            raise AttributeError(message)
        state_name, _ = var.path
        return var.shape.from_plain(copy.deepcopy(self._values[state_name][name]))

    def __setattr__(self, name: str, value: object) -> None:
        message = f"{self._cls.__name__}.{name}: a page only shows it; fire a handler to change it"
        raise AttributeError(message)

    def __repr__(self) -> str:
        own = self._values[self._cls.get_full_name()]
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in own)
        return f"{self._cls.__name__}({values})"


def _not_shown(cls: type[State], name: str, *, is_backend: bool) -> str:
    if is_backend:
        return (
            f"{cls.__name__}.{name} is a backend var, which no browser sees; read it as "
            f"tab.server_state({cls.__name__}).{name}"
        )
    return f"{cls.__name__} has no public var {name!r}"
