"""Names for what happens in a run, in the words of who wrote the state.

The same run gives the same names: what is numbered is numbered in the order in which it begins,
which the schedule decides, and never in the order in which trio happens to wake tasks.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final, final

import trio

from actorstate.actors.background_task import BackgroundTask
from actorstate.actors.messages import Call, StillAway, TurnRequest
from actorstate.actors.runs import current_run
from actorstate.actors.token_actor import TaskEnded
from actorstate.state.holders import held_turns
from actorstate.testing.tab import label_of

_OF_A_FUNCTION: Final = re.compile(r"<(?:bound method|function) ([\w.<>]+)")


def ordinal(number: int) -> str:
    """Give a number as it counts.

    >>> [ordinal(number) for number in (1, 2, 3, 4, 11, 12, 13, 21, 102)]
    ['1st', '2nd', '3rd', '4th', '11th', '12th', '13th', '21st', '102nd']
    """
    teens = number % 100 in (11, 12, 13)
    ending = "th" if teens else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


@final
class Names(trio.abc.Instrument):
    """The names of one run: of its background tasks, their children and their blocks.

    As an instrument of the trio run it sees tasks begin, and which of them wake.
    """

    def __init__(self) -> None:
        self._tasks: Final[dict[BackgroundTask, str]] = {}
        self._children: Final[dict[trio.lowlevel.Task, str]] = {}
        self._errands: Final[dict[trio.lowlevel.Task, tuple[BackgroundTask, int]]] = {}
        self._counts: Final[Counter[object]] = Counter()
        self.has_woken: bool = True
        """Whether code of the program was woken since this was reset, by who wants to know."""

    # ---- what trio says --------------------------------------------------------------------

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """Number a task among its siblings of the same function.

        One that a background task begins in no nursery of its own runs an errand elsewhere: for
        code of asyncio the library begins such a task for each block. So they count as blocks.
        """
        name, mine = _short(task.name), _task_of(task)
        parent = _parent_of(task)
        if mine is not None and parent is not None and _task_of(parent) is not mine:
            self._counts[mine] += 1
            self._errands[task] = mine, self._counts[mine]
        key = (parent, name)
        self._counts[key] += 1
        self._children[task] = _numbered(name, self._counts[key])

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        """Note whether what wakes is code of the program."""
        if not self.has_woken:
            self.has_woken = _is_of_the_program(task)

    # ---- what the conductor says -----------------------------------------------------------

    def started(self, task: BackgroundTask) -> None:
        """Number a background task among those of the same name."""
        self._counts[task.name] += 1
        self._tasks[task] = _numbered(task.name, self._counts[task.name])

    def of_task(self, task: BackgroundTask) -> str:
        """Give the name of a background task: ``MyState.my_task #2``."""
        return self._tasks[task]

    def of_message(self, message: object) -> str:
        """Give the name of what happens if a message is taken. Called by who puts it."""
        match message:
            case TurnRequest(holder):
                who, number = self._of_asker(holder)
                return f"{who} enters its {ordinal(number)} block"
            case Call(invocation):
                does = "starts" if invocation.handler.is_background else "follows"
                return f"{label_of(invocation)} {does}"
            case TaskEnded(job, end):
                assert job.task is not None, "it ran"
                how = "end" if end.error is None else "failure"
                return f"the {how} of {self.of_task(job.task)} is noted"
            case StillAway():
                return "the tab counts as gone"
            case _:
                return f"{message!r} is taken"

    def _of_asker(self, holder: str) -> tuple[str, int]:
        """Give who asks for a turn, and which of its blocks that is."""
        task = trio.lowlevel.current_task() if trio.lowlevel.in_trio_task() else None
        if task in self._errands:
            background_task, number = self._errands[task]
            return f"{self.of_task(background_task)} > elsewhere", number
        who = self._of_code(holder, task)
        self._counts[f"{who} enters"] += 1
        return who, self._counts[f"{who} enters"]

    def _of_code(self, holder: str, task: trio.lowlevel.Task | None) -> str:
        run, held = current_run.get(), [turn for turn in held_turns() if turn.is_open]
        if task is None:
            return holder
        if run.task is not None:
            return " > ".join([self.of_task(run.task), *self._way_down_to(run.task)])
        if held:  # a handler that asks for the turn of another token
            return held[-1].holder
        return self._children[task]

    def _way_down_to(self, background_task: BackgroundTask) -> list[str]:
        """Give the names of the trio tasks between a background task and the running code."""
        way: list[str] = []
        task = trio.lowlevel.current_task()
        while (parent := _parent_of(task)) is not None and _task_of(parent) is background_task:
            way.append(self._children[task])
            task = parent
        return way[::-1]


def _short(name: str) -> str:
    """Give the last word of a task's name; of one that is the ``repr`` of a function, its own.

    An address or an instance in it would be another one in each run.
    """
    function = _OF_A_FUNCTION.match(name)
    return (function[1] if function is not None else name).rpartition(".")[2]


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name} #{number}"


def _parent_of(task: trio.lowlevel.Task) -> trio.lowlevel.Task | None:
    return task.parent_nursery.parent_task if task.parent_nursery is not None else None


def _task_of(task: trio.lowlevel.Task) -> BackgroundTask | None:
    """Give the background task that a trio task is part of."""
    run = task.context.get(current_run)
    return run.task if run is not None else None


def _is_of_the_program(task: trio.lowlevel.Task) -> bool:
    run = task.context.get(current_run)
    if run is not None and run.scope is not None:
        return True
    return any(turn.is_open for turn in task.context.copy().run(held_turns))
