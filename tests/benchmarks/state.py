"""What reading and changing tracked values costs, beside plain ones. Run by ``make bench``.

Every figure is a ratio of two medians that were measured in turn, pair by pair, in this process.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import trio

from actorstate import App, MemoryStore, State
from actorstate.actors.messages import Attach, Connection, Notice
from actorstate.state.commit import Commit
from actorstate.state.holders import hold, release
from actorstate.state.router import Router
from actorstate.state.schema import Schema
from actorstate.state.state import AnyState
from actorstate.state.tree import StateTree
from actorstate.web.protocol import encode

MANY = 10_000
PAIRS = 101


@dataclasses.dataclass
class Row:
    number: int = 0
    name: str = ""


class Values(State, root=True):
    scalar: int = 0
    ten: list[int] = list(range(10))
    many: list[int] = list(range(MANY))
    rows: list[Row] = [Row(number, "row") for number in range(MANY)]


class PlainObject:
    def __init__(self) -> None:
        self.scalar = 0


class Door:
    """Nobody comes through the door of a tree without an actor."""

    async def enter(self, state: AnyState) -> AnyState:
        raise NotImplementedError

    async def leave(self, error: BaseException | None) -> None:
        raise NotImplementedError


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def ratio(ours: Callable[[], object], theirs: Callable[[], object]) -> float:
    """Give how many times as long ours takes."""
    return statistics.median(seconds(ours) / seconds(theirs) for _ in range(PAIRS))


def loops(body: str, names: dict[str, Any]) -> Callable[[], object]:
    """Make a function that does something again and again.

    From text, so that each has code of its own: the interpreter tunes code to what it meets, and
    shared code would meet two kinds of objects.
    """
    scope: dict[str, Any] = {}
    exec(f"def run():\n    {body}\n", names, scope)  # noqa: S102
    return scope["run"]


def add_all(items: Iterable[int]) -> Callable[[], object]:
    return loops("for item in items: item", {"items": items})


def read_fields(rows: Iterable[Row]) -> Callable[[], object]:
    return loops("for row in rows: row.number", {"rows": rows})


def read_scalar(thing: object) -> Callable[[], object]:
    return loops(f"for _ in range({MANY}): thing.scalar", {"thing": thing})


class Appending:
    """Turns that append one int to a list, and take it away again uncounted."""

    def __init__(self, tree: StateTree, store: MemoryStore, name: str) -> None:
        self.tree, self.store = tree, store
        self.items: list[int] = getattr(tree.root, name)
        self.commit: Commit | None = None

    def __call__(self) -> None:
        turn = self.tree.open_turn("bench")
        hold(turn)
        self.items.append(1)
        release(turn)
        self.commit = turn.commit()
        turn.note_stored(self.commit)

    def patch_bytes(self) -> int:
        assert self.commit is not None
        return len(msgspec.json.encode(self.commit.operations))


class Page:
    """A connection that encodes what it is told."""

    instance = "bench"
    router = Router("bench")

    def send(self, notice: Notice) -> None:
        encode(notice, "bench")

    def replace(self) -> None:
        self.close()

    def contest(self, rivals: tuple[Connection, ...], *, was_here: bool) -> None:
        raise AssertionError

    async def gives_sign(self, within: float) -> bool:
        raise AssertionError

    def close(self) -> None:
        """Nothing is open."""


def app_of(classes: int) -> type[State]:
    """Make the states of an app."""
    root = type(State)(f"Root{classes}", (State,), {"__module__": __name__}, root=True)
    for number in range(classes):
        body: dict[str, Any] = {
            "__module__": __name__,
            "__annotations__": {"count": int, "name": str, "items": list[int]},
            "count": 0, "name": "", "items": [1, 2, 3],
        }  # fmt: skip
        type(State)(f"State{number}", (root,), body)
    return root


async def open_tabs(root: type[State], tabs: int) -> float:
    """Give the seconds that it takes to open a tab: its actor, its tree, its welcome."""
    async with App(root=root) as app:
        taken: list[float] = []
        for number in range(tabs):
            started = time.perf_counter()
            await app.directory.ref(f"tab-{number}").ask(Attach(Page()), block=False)
            taken.append(time.perf_counter() - started)
        return statistics.median(taken)


def opening_ratio() -> float:
    few, many = app_of(5), app_of(200)
    return statistics.median(
        trio.run(open_tabs, many, 50) / trio.run(open_tabs, few, 50) for _ in range(21)
    )


def main() -> int:
    tree, store = StateTree(Schema.of(Values), "bench", Door()), MemoryStore()
    state: Any = tree.root
    rows = [Row(number, "row") for number in range(MANY)]
    to_ten, to_many = Appending(tree, store, "ten"), Appending(tree, store, "many")
    to_ten()
    to_many()
    figures = [
        ("iterating 10,000 ints, beside a list", add_all(state.many), add_all([*range(MANY)]), 1.1),
        ("reading a field of 10,000 dataclasses", read_fields(state.rows), read_fields(rows), 1.3),
        ("reading a scalar var, beside an attribute", read_scalar(state),
         read_scalar(PlainObject()), 3.0),
        ("a turn that appends to 10,000, beside to 10", to_many, to_ten, 2.0),
    ]  # fmt: skip
    fine = True
    for title, ours, theirs, bound in figures:
        found = ratio(ours, theirs)
        fine = fine and found <= bound
        print(f"{title + ':':<46}{found:>6.2f}   (at most {bound})")
    print(f"{'opening a tab of 200 states, beside of 5:':<46}{opening_ratio():>6.2f}")
    size = to_many.patch_bytes()
    print(f"{'patch of that turn, bytes:':<46}{size:>6}   (below 150)")
    return 0 if fine and size < 150 else 1


if __name__ == "__main__":
    sys.exit(main())
