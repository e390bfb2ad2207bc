"""The background tasks of one token: which run, which wait, and what the snapshot has of them.

It decides, and the token actor does: nothing here awaits, stores or starts anything.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, final

import attrs

from actorstate.actors.background_task import BackgroundTask
from actorstate.actors.messages import Origin
from actorstate.exceptions import TooManyTasksError
from actorstate.state.handlers import Handler, Invocation, TaskOptions
from actorstate.state.snapshot import TaskRecord


@final
@attrs.define(eq=False)
class Job:
    """One background task, from when it is asked for until it has ended."""

    handler: Handler
    arguments: tuple[Any, ...]
    origin: Origin
    """For whom it runs."""
    task: BackgroundTask | None = None
    """Its handle, once it runs."""
    record: TaskRecord | None = None
    """What the snapshot has of it: made when it is asked for, since it may change its arguments."""
    is_saved: bool = False
    """Whether the snapshot has its record."""

    @property
    def options(self) -> TaskOptions:
        """What its handler says of it."""
        assert self.handler.options is not None, f"{self.handler} is no background task"
        return self.handler.options

    def note(self, owner: str) -> None:
        """Make its record, if it has none from before, of a task that this app runs."""
        if self.record is None:
            args, now = tuple(self.handler.unstructure(self.arguments)), datetime.now(UTC)
            self.record = TaskRecord(self.handler.full_name, args, now.isoformat(), owner)
        elif self.record.at != owner:
            self.record = TaskRecord(self.record.name, self.record.args, self.record.asked, owner)


_app_of: Final = operator.attrgetter("at")
_age_of: Final = operator.attrgetter("asked")


@final
class Tasks:
    """The background tasks of one token.

    Args:
        max_tasks: how many may run and wait at once.
        is_leaving: tells whether the app is being left: then none begins, here as everywhere, and
            whatever still lies in the mailbox before the message that says so.
        owner: the app, by its name at the store.
    """

    def __init__(self, max_tasks: int, is_leaving: Callable[[], bool], owner: str = "") -> None:
        self._max_tasks: Final = max_tasks
        self._owner: Final = owner
        self._running: Final[list[Job]] = []
        self._waiting: Final[list[Job]] = []
        self._recorded: Final[list[Job]] = []
        self._planned: Final[dict[int, Job]] = {}
        self._ended: Final[list[TaskRecord]] = []
        """The records of those that have ended, which the snapshot still has."""
        self._elsewhere: list[TaskRecord] = []
        """The records of those that run in other apps, which are alive."""
        self._numbers: Final = itertools.count(1)
        self._is_stopping = False
        self._is_leaving: Final = is_leaving
        self.is_saved: bool = True
        """Whether the snapshot has the records as they are."""

    @property
    def is_idle(self) -> bool:
        """Whether none runs, waits or is about to be asked for."""
        return not (self._running or self._waiting or self._planned)

    @property
    def is_running(self) -> bool:
        """Whether any of them runs."""
        return bool(self._running)

    def records(self) -> tuple[TaskRecord, ...]:
        """Give what the snapshot has to have: those that are to be resumed, of each app in order.

        The same, whoever owns the token: else each owner would store them anew.
        """
        here = (job.record for job in self._recorded if job.record is not None)
        return tuple(sorted((*self._elsewhere, *here), key=_app_of))

    def note_saved(self) -> None:
        """Note that the snapshot has the records as they are."""
        self.is_saved = True
        self._ended.clear()
        for job in self._recorded:
            job.is_saved = True

    def reconcile(self, records: Sequence[TaskRecord], alive: Collection[str]) -> list[TaskRecord]:
        """Take over what the snapshot has, which another owner may have written.

        One of ours that is there no longer was cancelled by that owner, or is run by it.

        Args:
            records: those of the snapshot.
            alive: the apps that are there.

        Returns:
            Those that nobody runs, and that are to be resumed; oldest first.
        """
        here = [record for record in records if record.at == self._owner]
        left = [record for record in here if record not in self._ended]
        for job in [job for job in self._recorded if job.is_saved]:
            same = next((one for one in left if one == job.record), None)
            if same is None:
                self._lose(job)
            else:
                left.remove(same)
        others = [record for record in records if record.at != self._owner]
        self._elsewhere = [record for record in others if record.at in alive]
        self.is_saved = self.records() == tuple(records)
        left += [record for record in others if record.at not in alive]
        return sorted(left, key=_age_of)

    def _lose(self, job: Job) -> None:
        self._recorded.remove(job)
        if job.task is not None:
            job.task.cancel()
        elif job in self._waiting:
            self._waiting.remove(job)

    def plan(self, invocation: Invocation, origin: Origin) -> int | None:
        """Note a task that is about to be asked for, if it is one to be resumed.

        Returns:
            Its number, for `planned`; None if there is nothing to note.
        """
        options = invocation.handler.options
        if options is None or not options.resume:
            return None
        job, number = Job(invocation.handler, invocation.args, origin), next(self._numbers)
        self._planned[number] = job
        self._note(job)
        return number

    def planned(self, number: int) -> Job:
        """Give a task that was planned, once."""
        return self._planned.pop(number)

    def _note(self, job: Job) -> None:
        if job.options.resume and job not in self._recorded:
            job.note(self._owner)
            self._recorded.append(job)
            self.is_saved = False

    def forget(self, job: Job) -> None:
        """Note that a task will not be resumed: it has ended, or will never begin."""
        if job in self._recorded:
            self._recorded.remove(job)
            self.is_saved = False
            if job.is_saved and job.record is not None:
                self._ended.append(job.record)

    def admit(self, job: Job, *, is_anyone_here: bool) -> bool:
        """Decide on a task that is asked for: it runs from now on, or waits, or is let be.

        Args:
            job: the task.
            is_anyone_here: whether its tab does not count as disconnected.

        Returns:
            Whether it is to be started now.

        Raises:
            TooManyTasksError: there are as many as may be. It is forgotten.
        """
        self._note(job)
        same = [other for other in self._admitted if other.handler is job.handler]
        overlap = job.options.overlap if same else "allow"
        if not self._may_begin:  # where it is to be resumed, it will be begun then
            return False
        if overlap == "skip" or (job.options.is_of_pages and not is_anyone_here):
            self.forget(job)
            return False
        others = [other for other in self._admitted if overlap != "replace" or other not in same]
        if len(others) >= self._max_tasks:
            self.forget(job)
            message = (
                f"{job.handler} was not started: its token has {len(others)} background tasks "
                f"already. Give the app a higher max_tasks, or the task an overlap like 'skip'"
            )
            raise TooManyTasksError(message)
        must_wait = overlap != "allow" and bool(same)
        (self._waiting if must_wait else self._running).append(job)
        return not must_wait

    def next_after(self, job: Job, *, is_suspended: bool) -> Job | None:
        """Note that a task has ended.

        Args:
            job: the task.
            is_suspended: whether it is to be resumed.

        Returns:
            The one that waited for it, to be started now.
        """
        self._running.remove(job)
        if not is_suspended:
            self.forget(job)
        if not self._may_begin:
            return None
        # Where others wait, it was the only one of its handler that ran.
        following = next((one for one in self._waiting if one.handler is job.handler), None)
        if following is not None:
            self._waiting.remove(following)
            self._running.append(following)
        return following

    def replace_others(self, job: Job) -> None:
        """Cancel those in whose place a task runs that was admitted to wait for their end."""
        if job.options.overlap == "replace" and job in self._waiting:
            same = [other for other in self._admitted if other.handler is job.handler]
            self._cancel([other for other in same if other is not job])

    def drop(self, job: Job) -> None:
        """Note that a task that was admitted does not begin after all."""
        for jobs in (self._running, self._waiting):
            if job in jobs:
                jobs.remove(job)
        self.forget(job)

    @property
    def has_any_of_pages(self) -> bool:
        """Whether any of them ends with the pages of its tab."""
        return any(job.options.is_of_pages for job in self._admitted)

    def forget_all_of_pages(self, names: Collection[str]) -> Callable[[], None]:
        """Let the snapshot have none of those that end with the pages of their tab.

        They go on: `cancel_all_of_pages` ends them, once that is stored.

        Args:
            names: what they may be called.

        Returns:
            What takes it back.
        """
        before = list(self._recorded), self._elsewhere, list(self._ended), self.is_saved
        for job in before[0]:
            if job.handler.full_name in names:
                self.forget(job)
        self._forget_elsewhere(names)

        def take_back() -> None:
            self._recorded[:], self._elsewhere, self._ended[:], self.is_saved = before

        return take_back

    def cancel_all_of_pages(self, names: Collection[str]) -> None:
        """Cancel those that end with the pages of their tab, wherever they are.

        Args:
            names: what they may be called.
        """
        self._cancel([job for job in self._admitted if job.handler.full_name in names])
        self._forget_elsewhere(names)

    def cancel_all_of(self, handler: Handler) -> None:
        """Cancel those of a handler that were asked for by now, wherever they are.

        They run or wait here; or they were suspended, or not begun, since the app is being left;
        or they run in other apps, which learn of it when their token comes back there.
        """
        to_come = list(self._planned.values())
        kept = [job for job in self._recorded if job not in to_come]
        self._cancel([job for job in [*self._admitted, *kept] if job.handler is handler])
        self._forget_elsewhere([handler.full_name])

    def _forget_elsewhere(self, names: Collection[str]) -> None:
        left = [record for record in self._elsewhere if record.name not in names]
        if len(left) != len(self._elsewhere):
            self._elsewhere, self.is_saved = left, False

    def stop(self) -> None:
        """Let no more begin, and those that run end as soon as they are in no turn."""
        self._is_stopping = True
        for job in self._running:
            if job.task is not None:
                job.task.suspend()

    @property
    def _may_begin(self) -> bool:
        return not (self._is_stopping or self._is_leaving())

    @property
    def _admitted(self) -> list[Job]:
        return [*self._running, *self._waiting]

    def _cancel(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            # Now, and not when it has cleaned up: a crash in between would bring it back to life.
            self.forget(job)
            if job.task is not None:
                job.task.cancel()
            elif job in self._waiting:
                self._waiting.remove(job)
