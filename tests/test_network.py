"""A network that cuts, delays, swallows and repeats: every event counts once."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from network import FEWEST, Break, Report, Schedule, name_of_page, run

from actorstate.stores.sqlite import SQLiteStore


@contextmanager
def told_how_to_repeat(schedule: Schedule, **given: Any) -> Generator[None]:
    try:
        yield
    except BaseException as error:
        options = " ".join(f"--{name} {value}" for name, value in given.items())
        what = f"--seed {schedule.seed} --cuts {schedule.cuts} {options}"
        error.add_note(f"again, alone: PYTHONPATH=tests python tests/network.py {what}")
        raise


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the server had to say, but for what is said of clients that went wrong."""
    return [record.getMessage() for record in caplog.records if record.levelname != "INFO"]


async def test_every_event_counts_once_over_a_network_that_cuts_five_hundred_times(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Twenty tabs, one of them a page in Chromium; all show the same in the end."""
    schedule = Schedule(seed=7, cuts=25, gentle=frozenset({name_of_page(0)}))
    with told_how_to_repeat(schedule, tabs=19, pages=1):
        report = await run(schedule, tabs=19, pages=1)
    assert sum(report.cuts.values()) == 500
    assert min(report.cuts[one] for one in Break) > 30  # each kind had its chance
    assert report.events > 100
    assert complaints(caplog) == []


async def test_every_event_counts_once_where_the_store_makes_turns_wait(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    schedule = Schedule(seed=11, cuts=12)
    async with aclosing(SQLiteStore(tmp_path / "state.db")) as store:
        with told_how_to_repeat(schedule, tabs=5, pages=0):
            report = await run(schedule, tabs=5, pages=0, store=store)
    assert sum(report.cuts.values()) == 60
    assert complaints(caplog) == []


async def test_the_schedule_is_an_input_and_a_calm_network_cuts_nothing() -> None:
    drawn, again, other = (
        [Schedule(seed, cuts=100).fate("tab 0", cut) for cut in range(101)] for seed in (1, 1, 2)
    )
    assert drawn == again != other
    assert drawn[-1] is None
    assert await run(Schedule(seed=1, cuts=0), tabs=1, pages=0) == Report(FEWEST, {}, 1, 0)
