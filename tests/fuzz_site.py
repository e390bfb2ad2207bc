"""What is served to be sent nonsense: a bit of all that a browser may ask for, and a secret."""

from __future__ import annotations

import math
from typing import Any

import attrs

from actorstate import App, State, background, heading
from actorstate.stores.memory import MemoryStore
from actorstate.web.limits import ConnectionLimits

SECRET = "kept-behind-the-server"  # noqa: S105 - what no client may ever see


@attrs.define
class Item:
    name: str
    weight: float | None = None


class Target(State, root=True):
    count: int = 0
    ratio: float = 0.0
    label: str = ""
    _hidden: str = SECRET

    def add(self, amount: int, times: int = 1) -> None:
        self.count += amount * times

    def put(self, items: list[Item], options: dict[str, int | None], is_loud: bool = False) -> None:
        self.label = f"{len(items)} {len(options)} {is_loud}"

    def take(self, anything: Any) -> None:
        self.label = type(anything).__name__

    async def wait(self, words: tuple[str, int]) -> None:
        self.label = words[0][:20]

    @background
    async def climb(self, steps: int) -> None:
        for _ in range(min(steps, 3)):
            async with self:
                self.ratio += 1

    def _tell(self) -> str:
        return self._hidden

    def on_connect(self) -> None:
        self.label = "here"


# Named, and so offered to a browser.
OFFERED = [Target.set_label, Target.climb.cancel]  # pyright: ignore

UNHURRIED = ConnectionLimits(rate_limit=math.inf)
"""For clients that say more than a person does."""

app = App(
    root=Target,
    store=MemoryStore(),
    idle_timeout=0.5,
    disconnect_grace=0,
    connections=UNHURRIED,
)
app.add_page(heading(Target.count))
