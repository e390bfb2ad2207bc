"""What a browser sees of what nobody has touched: made once, and shared by all tabs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from actorstate.state.json_types import Plain, encode_json
from actorstate.state.patch import weight_of


class Untouched(dict[str, Plain]):
    """What a browser sees of a state that nobody has touched: the same for all tabs."""

    def __init__(self, name: str, values: Mapping[str, Plain]) -> None:
        super().__init__(values)
        self.member: Final = encode_json({name: values})[1:-1]
        """The same as a member of a JSON object, under the state's name."""


class UntouchedTab(dict[str, Mapping[str, Plain]]):
    """What a browser sees of a tab in which nobody has touched anything. Shared: not to change."""

    def __init__(self, states: Mapping[str, Untouched]) -> None:
        super().__init__(states)
        self.encoded: Final = b"{" + b",".join(one.member for one in states.values()) + b"}"
        """The same as JSON."""


def size_of(shown: Mapping[str, Mapping[str, Plain]]) -> int:
    """Estimate how many bytes it takes as JSON what a browser sees of a tab."""
    if type(shown) is UntouchedTab:
        return len(shown.encoded)
    return sum(
        len(values.member) if type(values) is Untouched else len(name) + weight_of(values)
        for name, values in shown.items()
    )
