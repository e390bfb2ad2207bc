"""The search for a schedule that breaks an invariant.

It looks in three ways, one after the other:

1. every schedule of one step, of two, of three, as far as a part of the runs goes. What is found
   so is the shortest there is;
2. schedules at random, which go deeper;
3. what they find is made shorter, by leaving out steps for as long as it breaks; and then all
   schedules that are shorter still are looked at, if what is left of the runs goes that far.

All of it is counted in runs and not in seconds, so the same call gives the same result.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final, TypeAlias, final

import attrs

from actorstate.testing.play import Budget, Choice, Play, Policy, Result
from actorstate.testing.rehearsal import TIME_PASSES, rehearse

Schedule: TypeAlias = Sequence[str]
"""What happens, step by step, in words; a literal, to be kept in a test."""


class ScheduleError(ValueError):
    """A schedule cannot be replayed: one of its steps cannot happen where it stands."""


@final
class Explorer:
    """One search, with the runs that it may take."""

    def __init__(self, play: Play, budget: Budget, runs: int) -> None:
        self._play: Final = play
        self._budget: Final = budget
        self._most: Final = runs
        self.runs: int = 0
        self.depth: int = 0
        """All schedules of up to so many steps were looked at."""
        self.is_complete: bool = False
        self.was_quiet: bool = False

    def run(self, dice: random.Random) -> Result | None:
        """Look for a schedule that breaks something; give the shortest that is found."""
        found = self._look_at_short_ones(self._budget.steps, self._most // 4)
        if found is not None or self.is_complete:
            return found
        found = self._look_at_random_ones(dice, self._most - self._most // 4)
        if found is None:
            return None
        found = self._put_in_order(self._shorten(found))
        return self._look_at_short_ones(len(found.steps) - 1, self._most // 2) or found

    def _rehearse(self, policy: Policy, steps: int | None = None) -> Result:
        budget = self._budget if steps is None else attrs.evolve(self._budget, steps=steps)
        result = rehearse(self._play, budget, policy)
        self.runs += 1
        self.was_quiet |= result.was_quiet
        return result

    # ---- 1. every schedule, the shortest first

    def _look_at_short_ones(self, depth: int, runs: int) -> Result | None:
        """Look at all schedules of up to so many steps; those that were not looked at yet."""
        last = self.runs + runs
        while self.depth < depth and self.runs < last:
            found = self._look_at_depth(self.depth + 1, last)
            if found is not None or self.is_complete:
                return found
        return None

    def _look_at_depth(self, depth: int, last: int) -> Result | None:
        walk, has_cut = _Walk(), False
        while self.runs < last:
            result = self._rehearse(walk.choose, depth)
            if result.failure is not None:
                return result
            has_cut |= not result.has_ended
            if not walk.go_on():
                self.depth = depth
                self.is_complete = not has_cut
                return None
        return None

    # ---- 2. schedules at random

    def _look_at_random_ones(self, dice: random.Random, runs: int) -> Result | None:
        def choose(choices: Sequence[Choice]) -> Choice:
            # A kind first, else the many events would leave no room for all else.
            kinds = sorted({choice.kind for choice in choices})
            kind = dice.choice(kinds)
            return dice.choice([choice for choice in choices if choice.kind == kind])

        for _ in range(runs):
            result = self._rehearse(choose)
            if result.failure is not None:
                return result
        return None

    # ---- 3. shorter ones

    def _shorten(self, found: Result) -> Result:
        """Leave out what need not be there, first many steps at once, then fewer."""
        size = max(len(found.steps) // 2, 1)
        while size:
            shorter = self._shorten_by(size, found)
            if shorter is not None:
                found = shorter
            else:
                size //= 2
        return found

    def _shorten_by(self, size: int, found: Result) -> Result | None:
        for start in range(len(found.steps)):
            kept = found.steps[:start] + found.steps[start + size :]
            result = self._rehearse(_follow_where_possible(kept))
            if result.failure is not None and len(result.steps) < len(found.steps):
                return result
        return None

    def _put_in_order(self, found: Result) -> Result:
        """Exchange neighbours where it breaks all the same, for the one that 1. would find first.

        So what is told depends little on the dice.
        """
        place = 0
        while place + 1 < len(found.steps):
            better = self._exchanged(found, place)
            found, place = (better, max(place - 1, 0)) if better else (found, place + 1)
        return found

    def _exchanged(self, found: Result, place: int) -> Result | None:
        """Exchange a step and the next; None if they are in order, or it breaks no more."""
        one, other = found.steps[place : place + 2]
        if not other < one:
            return None
        exchanged = (*found.steps[:place], other, one, *found.steps[place + 2 :])
        result = self._rehearse(_follow_where_possible(exchanged))
        return result if result.failure is not None and result.steps == exchanged else None


@final
class _Walk:
    """Goes through all schedules of one length, in their order: the hand of a clock, so to say."""

    def __init__(self) -> None:
        self._way: list[int] = []
        self._widths: list[int] = []

    def choose(self, choices: Sequence[Choice]) -> Choice:
        """Give the choice of this schedule, and after its end the first."""
        place = len(self._widths)
        self._widths.append(len(choices))
        if place == len(self._way):
            self._way.append(0)
        return choices[self._way[place]]

    def go_on(self) -> bool:
        """Go on to the next schedule; tell whether there is one."""
        while self._way and self._way[-1] == self._widths[len(self._way) - 1] - 1:
            self._way.pop()
        self._widths = []
        if not self._way:
            return False
        self._way[-1] += 1
        return True


# ---- following a schedule ------------------------------------------------------------------------


def _follow_where_possible(steps: Sequence[str]) -> Policy:
    """Follow a schedule, and leave out the steps that cannot happen."""
    left = list(steps)

    def choose(choices: Sequence[Choice]) -> Choice | None:
        while left:
            choice = _find(choices, left.pop(0))
            if choice is not None:
                return choice
        return None

    return choose


def follow(play: Play, schedule: Schedule) -> Result:
    """Run one schedule, exactly.

    Raises:
        ScheduleError: a step cannot happen where it stands, or is another one.
    """
    result = rehearse(play, Budget(len(schedule)), _exactly(schedule))
    for number, (step, happened) in enumerate(zip(schedule, result.steps, strict=False), 1):
        if step != happened:
            message = f"step {number} should be {step!r}, and was {happened!r}"
            raise ScheduleError(message)
    return result


def _exactly(schedule: Schedule) -> Policy:
    left = list(enumerate(schedule, 1))

    def choose(choices: Sequence[Choice]) -> Choice:
        number, step = left.pop(0)
        choice = _find(choices, step)
        if choice is None:
            known = "; ".join(choice.label for choice in choices)
            message = f"step {number}, {step!r}, cannot happen there; what can: {known}"
            raise ScheduleError(message)
        return choice

    return choose


def _find(choices: Sequence[Choice], step: str) -> Choice | None:
    label = TIME_PASSES if step.endswith(" s pass") else step
    return next((choice for choice in choices if choice.label == label), None)
