"""What is served to be killed: a tab that counts what it is sent, and lets something follow."""

from __future__ import annotations

import math
from typing import Any

from actorstate import App, ConnectionLimits, State, heading


class Tally(State, root=True):
    count: int = 0
    numbers: list[int] = []
    followed: list[int] = []
    text: str = ""
    arrivals: int = 0

    def on_connect(self) -> None:
        self.arrivals += 1

    def add(self, number: int) -> Any:
        self.count += 1
        self.numbers.append(number)
        if number % 3 == 0:
            return Tally.follow(number)  # pyright: ignore
        return None

    def fill(self, size: int) -> None:
        self.text = "x" * size

    def follow(self, number: int) -> None:
        self.followed.append(number)


app = App(root=Tally, connections=ConnectionLimits(rate_limit=math.inf))
app.add_page(heading(Tally.count))
