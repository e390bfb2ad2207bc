"""A server on SQLite, killed again and again: every event counts once."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import trio
from crash import Tab, crash_again_and_again, server


@pytest.mark.parametrize("durability", ["full", "relaxed"])
async def test_every_event_counts_once_however_often_the_server_is_killed(
    tmp_path: Path, durability: str
) -> None:
    """Relaxed, too: what it may lose, the end of a process does not."""
    url = f"sqlite:///{tmp_path / 'state.db'}?durability={durability}"
    report = await crash_again_and_again(url, tmp_path / "log", kills=30, seed=20_261_125)
    assert report.kills == 30
    assert report.connections >= 3 * 30
    assert report.events > 1_000
    assert report.sent_again > 30  # or nothing was at stake
    assert "Traceback" not in (tmp_path / "log").read_text()


async def test_a_server_that_is_stopped_and_started_goes_on_where_it_was(tmp_path: Path) -> None:
    url, tab = f"sqlite:///{tmp_path / 'state.db'}", Tab("page")
    for events in (10, 20):
        async with server(url, tmp_path / "log") as (process, address):
            tab.most = events
            await tab.stay(address)
            process.send_signal(signal.SIGTERM)
            with trio.fail_after(20):
                assert await process.wait() == 0
    assert tab.state["tally"]["numbers"] == list(range(1, 21))
    assert tab.connections == 2


async def test_a_disk_that_takes_no_more_is_an_error_to_the_page_and_the_server_lives_on(
    tmp_path: Path,
) -> None:
    """A limit of the operating system, in the place of a disk that is full."""
    url, tab, failures = f"sqlite:///{tmp_path / 'state.db'}", Tab("page"), list[str]()
    async with server(url, tmp_path / "log", limit="-f 2000") as (_, address):
        tab.most = 5
        await tab.stay(address)
        async with tab.connected(address) as socket:
            for seq, (name, argument) in enumerate([("fill", 5_000_000), ("add", 6)], 6):
                event = {"t": "event", "seq": seq, "name": f"tally.{name}", "args": [argument]}
                await socket.send_message(json.dumps(event))
            while (frame := json.loads(await socket.get_message())).get("ack") != 7:
                failures.append(frame.get("code", ""))
    assert "handler_failed" in failures
    assert frame["ops"][0]["value"] == 6
    assert "the SQLite file refused" in (tmp_path / "log").read_text()
