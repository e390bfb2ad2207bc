"""Nonsense and malice, at every layer: the server answers as it should, and goes on.

``FUZZ_SEED=2 python -m pytest tests/test_fuzz.py`` draws other inputs; the same seed, the same.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import fuzz
import h11
import pytest
import trio
from fuzz_site import SECRET, UNHURRIED, Target
from hypothesis import Phase, given, seed, settings, strategies as st
from siege import MOST_GROWTH, Siege, besieged, converse, send, send_frames
from wire_tab import Memory

from actorstate import App
from actorstate.testing import EventFailedError, open_tab

SEED = int(os.environ.get("FUZZ_SEED", "1"))

ADD_ONE = fuzz.Sent(fuzz.event("target.add", [1]), 1)
UPGRADE = [("Host", "a"), ("Upgrade", "websocket"), ("Connection", "Upgrade")]
HELLO = '{"t":"hello","instance":"page"}'

CODES = {"bad_frame", "bad_token", "unknown_handler", "bad_arguments", "handler_failed",
         "too_many_tasks"}  # fmt: skip

conversations = st.tuples(
    st.lists(fuzz.first_frames, max_size=3), st.lists(fuzz.sent_frames, min_size=25, max_size=60)
)


def given_many(strategy: st.SearchStrategy[Any], most: int, *phases: Phase) -> Any:
    """Let a law hold for so many things that the seed draws."""

    def decorate(law: Any) -> Any:
        # A database would let what failed before come first, and the seed draw other things.
        bounds = settings(max_examples=most, database=None, phases=phases)
        return seed(SEED)(bounds(given(strategy)(law)))

    return decorate


# ---- over TCP, to a server in a process of its own ----------------------------------------------


def test_the_server_stands_a_siege(tmp_path: Path) -> None:
    with besieged(tmp_path) as siege:
        lay_siege(siege, 100)  # to warm it up
        before = siege.server.resident_bytes
        lay_siege(siege, 1300)
        assert siege.server.resident_bytes - before < MOST_GROWTH
    assert siege.inputs > 5_000


def lay_siege(siege: Siege, most: int) -> None:
    for request in fuzz.HEADS:
        check_answer(send(siege.port, [request]))
    for frames in fuzz.OVERSIZED:
        send_frames(siege.port, [frames])
    siege.inputs += len(fuzz.HEADS) + len(fuzz.OVERSIZED)

    # What fails is not made smaller here: that may take minutes over sockets.
    @given_many(fuzz.http_requests.flatmap(fuzz.split), most, Phase.generate)
    def law_of_requests(pieces: list[bytes]) -> None:
        siege.inputs += 1
        check_answer(send(siege.port, pieces))

    @given_many(st.lists(fuzz.websocket_frames, min_size=1, max_size=5), most, Phase.generate)
    def law_of_frames(frames: list[bytes]) -> None:
        siege.inputs += 1
        send_frames(siege.port, frames)

    @given_many(conversations, most // 14, Phase.generate)
    def law_of_messages(drawn: tuple[list[fuzz.Sent], list[fuzz.Sent]]) -> None:
        siege.inputs += len(drawn[0]) + len(drawn[1])
        check_conversation(siege, *drawn)

    law_of_requests()
    law_of_frames()
    law_of_messages()


def check_answer(received: bytes) -> None:
    """Check that what a server has answered is HTTP, or nothing."""
    if received:
        peer = h11.Connection(h11.CLIENT)
        peer.send(h11.Request(method="GET", target="/", headers=UPGRADE))
        peer.receive_data(received)
        answer = peer.next_event()
        assert isinstance(answer, h11.Response | h11.InformationalResponse)
        assert answer.status_code in {101, 200, 400, 403, 404, 405, 413, 426, 431, 501}


def check_conversation(siege: Siege, before: list[fuzz.Sent], after: list[fuzz.Sent]) -> None:
    """Check that all of a conversation is settled, and that only what may has changed the count.

    Args:
        siege: the server.
        before: what is sent before a right hello.
        after: what is sent after it.
    """
    memory, last = Memory("page"), len(after) + 1
    numbered = [one.numbered(seq) for seq, one in enumerate([*after, ADD_ONE], 1)]
    for frame in converse(siege.port, [*(one.data for one in before), HELLO, *numbered]):
        memory.take(frame)
        if memory.ack == last:
            break
    assert memory.ack == last
    assert memory.state["target"]["count"] == sum(one.adds for one in after) + 1
    check_errors([error["code"] for error in memory.errors], [memory.state, memory.errors])


def check_errors(codes: list[str], seen: object) -> None:
    """Check that a client was told what is said in the docs, and nothing else."""
    assert set(codes) <= CODES
    assert SECRET not in repr(seen)
    assert "Traceback" not in repr(seen)


# ---- in memory ----------------------------------------------------------------------------------


def test_only_what_a_program_offers_changes_anything(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever else is sent, and it is many things."""
    inputs = 0

    @given_many(conversations, 420, Phase.generate, Phase.shrink)
    def law(drawn: tuple[list[fuzz.Sent], list[fuzz.Sent]]) -> None:
        nonlocal inputs
        inputs += len(drawn[1])
        trio.run(converse_in_memory, drawn[1])

    law()
    assert inputs > 14_000
    assert [one.getMessage() for one in caplog.records if one.levelname != "INFO"] == []


async def converse_in_memory(messages: list[fuzz.Sent]) -> None:
    async with open_tab(App(root=Target, connections=UNHURRIED)) as tab:
        for message in messages:
            tab._seq += 1
            assert tab._link is not None
            tab._link.send(cast("str", message.numbered(tab._seq)))
        await tab.fire(Target.add, 1)
        assert tab.state[Target].count == sum(one.adds for one in messages) + 1
        check_errors([error.code for error in tab.errors], [tab.state, tab.errors])


async def test_no_name_but_those_of_handlers_leads_anywhere() -> None:
    async with open_tab(App(root=Target, connections=UNHURRIED)) as tab:
        before = repr(tab.state)
        for name in fuzz.NO_HANDLERS:
            for args in ([], [1], {"self": 1}):
                with pytest.raises(EventFailedError) as caught:
                    await tab.fire(name, *args)
                assert caught.value.code == "unknown_handler"
        assert repr(tab.state) == before
