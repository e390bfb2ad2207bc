"""One connection over a link in memory, in virtual time: slow clients, silent ones, fast ones."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import jsonpatch
import pytest
import trio
from hypothesis import given, strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from actorstate import App, State, console_log
from actorstate.testing.link import Link
from actorstate.web.connection import SocketConnection
from actorstate.web.limits import ConnectionLimits
from actorstate.web.protocol import Handshake
from actorstate.web.rate import Allowance
from actorstate.web.site import Site


class WireRoot(State, root=True):
    pass


class Wire(WireRoot):
    count: int = 0
    rows: list[str] = []

    def add(self) -> None:
        self.count += 1

    def write(self, row: str) -> None:
        self.rows.append(row)

    def say(self) -> Any:
        return console_log(self.count)


class Peer:
    """A client that keeps every frame and applies what shows the state; it does no more by itself.

    Args:
        site: of the running app.
        answers: whether it answers pings.
    """

    def __init__(self, site: Site, *, answers: bool = True) -> None:
        self.answers = answers
        self.frames: list[dict[str, Any]] = []
        self.state: dict[str, Any] = {}
        self.version = -1
        self.seq = 0
        self.code: int | None = None
        self.ended_at = 0.0
        self.link = Link(self._receive, self._end)
        self.connection = SocketConnection(self.link, site, Handshake({}, "memory"))

    def send(self, **frame: Any) -> None:
        self.link.send(json.dumps(frame))

    def hello(self, **fields: Any) -> None:
        self.send(**{"t": "hello", "instance": "page", **fields})

    def fire(self, method: str, *args: Any) -> None:
        self.seq += 1
        self.send(t="event", seq=self.seq, name=f"wire_root.wire.{method}", args=args)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["t"] == kind]

    @property
    def token(self) -> str:
        return self.of("welcome")[-1]["token"]

    @property
    def wire(self) -> dict[str, Any]:
        return self.state["wire_root.wire"]

    def _receive(self, message: str) -> None:
        frame: dict[str, Any] = json.loads(message)
        self.frames.append(frame)
        if frame["t"] == "ping" and self.answers:
            self.send(t="pong")
        elif frame["t"] == "welcome" and "state" in frame:
            self.state, self.version = frame["state"], frame["version"]
        elif frame["t"] == "patch":
            assert frame.get("base", frame["version"] - 1) == self.version
            self.state = jsonpatch.apply_patch(self.state, frame["ops"])
            self.version = frame["version"]

    def _end(self, code: int) -> None:
        self.code, self.ended_at = code, trio.current_time()


@asynccontextmanager
async def wired(
    *, mailbox_capacity: int = 1000, **limits: Any
) -> AsyncGenerator[tuple[App, trio.Nursery]]:
    connections = ConnectionLimits(**limits)
    app = App(root=WireRoot, connections=connections, mailbox_capacity=mailbox_capacity)
    async with app, trio.open_nursery() as nursery:
        yield app, nursery
        nursery.cancel_scope.cancel()


async def connect(app: App, nursery: trio.Nursery, *, answers: bool = True, **hello: Any) -> Peer:
    """Connect a peer, and wait until it has all that comes at once."""
    return await connect_peer(Peer(await app.open_site(), answers=answers), nursery, **hello)


async def come_back(app: App, nursery: trio.Nursery, old: Peer, **hello: Any) -> Peer:
    """Cut the line of a peer, and connect it again, with what it shows."""
    old.link.cut()
    peer = Peer(await app.open_site())
    peer.state, peer.version, peer.seq = old.state, old.version, old.seq
    welcome = old.of("welcome")[-1]
    shown = {"token": old.token, "version": old.version, "history": welcome["history"]}
    return await connect_peer(peer, nursery, **{**shown, **hello})


async def connect_peer(peer: Peer, nursery: trio.Nursery, **hello: Any) -> Peer:
    nursery.start_soon(peer.connection.run)
    peer.hello(**hello)
    await wait_all_tasks_blocked()
    return peer


# ---- slow clients -------------------------------------------------------------------------------


async def turns(app: App, token: str, count: int, *, write: str | None = None) -> None:
    for _ in range(count):
        async with app.modify_state(token) as state:
            wire = state.get_substate(Wire)
            wire.count += 1
            if write is not None:
                wire.rows.append(write)


async def test_a_client_that_stalls_gets_a_thousand_turns_as_one_patch() -> None:
    async with wired() as (app, nursery):
        peer = await connect(app, nursery)
        peer.link.stall()
        await turns(app, peer.token, 1)
        await wait_all_tasks_blocked()  # now it is being sent
        await turns(app, peer.token, 999)
        peer.link.go_on()
        await wait_all_tasks_blocked()
        first, second = peer.of("patch")
        assert (first["version"], "base" in first) == (1, False)
        ops = [{"op": "replace", "path": "/wire_root.wire/count", "value": 1000}]
        assert second == {"t": "patch", "version": 1000, "base": 1, "ack": 0, "ops": ops}


async def test_a_client_that_stalls_for_too_much_costs_nothing_and_gets_the_whole_state() -> None:
    async with wired() as (app, nursery):
        peer = await connect(app, nursery)
        peer.link.stall()
        await turns(app, peer.token, 1)
        await wait_all_tasks_blocked()
        await turns(app, peer.token, 1000, write="x" * 1000)
        outbox = peer.connection._outbox
        assert outbox.is_stale
        assert (outbox._patch, outbox._welcome) == (None, None)
        peer.link.go_on()
        await wait_all_tasks_blocked()
        assert [frame["t"] for frame in peer.frames] == ["welcome", "patch", "welcome"]
        assert (peer.wire["count"], len(peer.wire["rows"]), peer.version) == (1001, 1000, 1001)
        peer.fire("add")
        await wait_all_tasks_blocked()
        assert (peer.wire["count"], peer.frames[-1]["ack"]) == (1002, 1)


async def test_events_are_acknowledged_with_the_state_that_they_made_and_not_before() -> None:
    async with wired() as (app, nursery):
        peer = await connect(app, nursery)
        peer.link.stall()
        for _ in range(50):
            peer.fire("write", "x" * 5000)
            peer.fire("say")
            await wait_all_tasks_blocked()
        assert peer.connection._outbox.is_stale
        peer.link.go_on()
        await wait_all_tasks_blocked()
        # The first patch was on its way; the welcome brings the rest, and what was asked for.
        kinds = ["welcome", "patch", "welcome", *50 * ["effect"]]
        assert [frame["t"] for frame in peer.frames] == kinds
        assert (peer.of("welcome")[-1]["ack"], len(peer.wire["rows"])) == (100, 50)


async def test_a_connection_that_is_gone_when_its_welcome_comes_is_not_missed() -> None:
    async with wired() as (app, nursery):
        peer = await connect(app, nursery)
        token = peer.token
        peer.link.stall()
        await turns(app, token, 1)
        await wait_all_tasks_blocked()
        async with app.modify_state(token) as state:
            for _ in range(3):
                state.get_substate(Wire).rows.append("x" * 100_000)
        await turns(app, token, 3, write="x" * 100_000)
        async with app.modify_state(token):  # the refresh waits behind this
            peer.link.go_on()
            await wait_all_tasks_blocked()
            peer.link.cut()
            await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        assert len(peer.of("welcome")) == 1
        again = await connect(app, nursery, token=token)
        assert len(again.wire["rows"]) == 6


async def test_a_client_that_takes_nothing_is_cut_off_after_send_timeout(
    autojump_clock: MockClock,
) -> None:
    async with wired(send_timeout=7) as (app, nursery):
        peer = await connect(app, nursery)
        await trio.sleep(100.5)
        peer.link.stall()
        await turns(app, peer.token, 1)
        began = trio.current_time()
        await trio.sleep(6.9)
        assert peer.code is None
        await trio.sleep(0.2)
        assert peer.code == 1001
        assert peer.ended_at == began + 7


async def test_a_slow_client_has_its_time_with_each_frame(autojump_clock: MockClock) -> None:
    async with wired(send_timeout=7) as (app, nursery):
        peer = await connect(app, nursery)
        for _ in range(10):
            peer.link.stall()
            await turns(app, peer.token, 1)
            await trio.sleep(6)
            peer.link.go_on()
        await wait_all_tasks_blocked()
        assert (peer.code, peer.version) == (None, 10)


async def test_a_client_that_takes_nothing_while_it_is_closed_is_not_waited_for(
    autojump_clock: MockClock,
) -> None:
    async with wired(send_timeout=7) as (app, nursery):
        peer = await connect(app, nursery)
        peer.link.stall()
        await turns(app, peer.token, 1)
        await wait_all_tasks_blocked()
        peer.connection.close()
        await trio.sleep(1)
        assert (peer.code, peer.ended_at) == (1001, 0.3)


async def test_a_client_that_stalls_for_more_effects_than_may_wait_is_cut_off_at_once(
    autojump_clock: MockClock,
) -> None:
    async with wired(rate_limit=math.inf) as (app, nursery):
        peer = await connect(app, nursery)
        peer.link.stall()
        for count, code in ((1000, None), (10, 1001)):
            for _ in range(count):
                peer.fire("say")
            await wait_all_tasks_blocked()
            assert peer.code == code
        assert peer.ended_at == 0


class Unanswered:
    """A socket whose client has gone without a word, so that its close is never answered."""

    def __init__(self) -> None:
        self.codes: list[int] = []

    async def get_message(self) -> str:
        return await trio.sleep_forever()

    async def send_message(self, message: str, /) -> None:
        await trio.sleep_forever()

    async def aclose(self, code: int, /) -> None:
        await trio.lowlevel.checkpoint()
        self.codes.append(code)
        await trio.sleep(60)


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_a_close_is_told_and_its_answer_not_waited_for_long(
    autojump_clock: MockClock, is_cancelled: bool
) -> None:
    async with wired() as (app, _):
        socket = Unanswered()
        connection = SocketConnection(socket, await app.open_site(), Handshake({}, "memory"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run)
            await wait_all_tasks_blocked()
            if is_cancelled:
                nursery.cancel_scope.cancel()
            else:
                connection.close()
        assert (socket.codes, trio.current_time()) == ([1001], 0.3)


# ---- silence ------------------------------------------------------------------------------------


async def test_a_quiet_connection_is_asked_for_a_sign_and_lives_on(
    autojump_clock: MockClock,
) -> None:
    async with wired(ping_interval=20, ping_timeout=20) as (app, nursery):
        peer = await connect(app, nursery)
        assert peer.of("welcome")[0]["ping"] == 40
        await trio.sleep(1000)
        assert (peer.code, len(peer.of("ping"))) == (None, 49)


async def test_a_client_that_gives_no_sign_is_closed_in_time(autojump_clock: MockClock) -> None:
    async with wired(ping_interval=20, ping_timeout=10) as (app, nursery):
        peer = await connect(app, nursery, answers=False)
        await trio.sleep(7)
        peer.fire("add")
        await trio.sleep(100)
        assert peer.code == 1001
        assert peer.ended_at == 7 + 20 + 10
        assert len(peer.of("ping")) == 1


async def test_a_client_that_only_listens_is_asked_although_it_is_told_much(
    autojump_clock: MockClock,
) -> None:
    async with wired(ping_interval=20, ping_timeout=20) as (app, nursery):
        quiet, dead = [await connect(app, nursery, answers=answers) for answers in (True, False)]
        for _ in range(99):
            await trio.sleep(1)
            for peer in (quiet, dead):
                await turns(app, peer.token, 1)
        await wait_all_tasks_blocked()  # what is due at 100 is done, too
        assert (quiet.code, dead.code, dead.ended_at) == (None, 1001, 40)
        assert len(quiet.of("ping")) == 4  # at 20, 40, 60 and 80


async def test_a_client_that_only_talks_hears_something_in_time(autojump_clock: MockClock) -> None:
    async with wired(ping_interval=20, ping_timeout=20) as (app, nursery):
        peer = await connect(app, nursery, answers=False)
        for _ in range(300):
            await trio.sleep(1)
            peer.send(t="pong")
        assert peer.code is None
        assert len(peer.of("ping")) == 14


async def test_no_more_of_large_events_is_read_than_one_may_have_on_the_way() -> None:
    async with wired(max_message_bytes=100_000) as (app, nursery):
        peer = await connect(app, nursery)
        mailbox = app.directory.ref(peer.token).mailbox
        async with app.modify_state(peer.token):
            for number in range(10):
                peer.fire("write", str(number) * 30_000)
            await wait_all_tasks_blocked()
            assert len(mailbox) == 3
        await wait_all_tasks_blocked()
        assert [row[0] for row in peer.wire["rows"]] == list("0123456789")
        assert peer.frames[-1]["ack"] == 10


async def test_a_large_event_whose_waiting_is_cut_off_is_done_once(
    autojump_clock: MockClock,
) -> None:
    """Each ping that falls due cuts off what the reader waits for, and begins it anew."""
    async with wired(max_message_bytes=100_000, ping_interval=1, ping_timeout=20) as (app, nursery):
        peer = await connect(app, nursery)
        async with app.modify_state(peer.token):
            for number in range(6):
                peer.fire("write", str(number) * 30_000)
            await trio.sleep(10)
            assert len(peer.of("ping")) > 5
        await wait_all_tasks_blocked()
        assert [row[0] for row in peer.wire["rows"]] == list("012345")
        assert (peer.code, peer.frames[-1]["ack"]) == (None, 6)


async def test_a_page_that_waits_for_its_tab_is_not_taken_for_silent(
    autojump_clock: MockClock,
) -> None:
    async with wired(ping_interval=20, ping_timeout=20) as (app, nursery):
        old = await connect(app, nursery)
        async with app.modify_state(old.token):
            back = await come_back(app, nursery, old)  # its pongs are not read before that ends
            await trio.sleep(55)
        await wait_all_tasks_blocked()
        assert back.code is None
        assert back.of("welcome")


async def test_who_is_not_listened_to_is_not_taken_for_silent(autojump_clock: MockClock) -> None:
    async with wired(mailbox_capacity=1) as (app, nursery):
        peer = await connect(app, nursery)
        async with app.modify_state(peer.token):
            for _ in range(5):
                peer.fire("add")
            await trio.sleep(20)
        await wait_all_tasks_blocked()
        assert (peer.code, peer.frames[-1]["ack"]) == (None, 5)
        await trio.sleep(100)
        assert peer.code is None


async def test_who_is_silent_once_it_is_listened_to_again_is_closed_in_time(
    autojump_clock: MockClock,
) -> None:
    async with wired(mailbox_capacity=1, ping_interval=20, ping_timeout=10) as (app, nursery):
        peer = await connect(app, nursery, answers=False)
        async with app.modify_state(peer.token):
            for _ in range(3):
                peer.fire("add")
            await trio.sleep(5)
        await trio.sleep(100)
        assert (peer.wire["count"], peer.code, peer.ended_at) == (3, 1001, 5 + 20 + 10)


@pytest.mark.parametrize("limits", [{"ping_interval": math.inf}, {"ping_timeout": math.inf}])
async def test_without_a_bound_nobody_is_closed_for_silence(
    limits: dict[str, Any], autojump_clock: MockClock
) -> None:
    async with wired(**limits) as (app, nursery):
        peer = await connect(app, nursery, answers=False)
        assert peer.of("welcome")[0]["ping"] is None
        await trio.sleep(80_000)
        assert peer.code is None


async def test_who_waits_for_room_is_not_taken_for_silent(autojump_clock: MockClock) -> None:
    async with wired(mailbox_capacity=1, ping_interval=20, ping_timeout=20) as (app, nursery):
        peer = await connect(app, nursery)
        async with app.modify_state(peer.token):
            for _ in range(5):
                peer.fire("add")
            await trio.sleep(55)
        await wait_all_tasks_blocked()
        assert (peer.code, peer.frames[-1]["ack"]) == (None, 5)


# ---- fast clients -------------------------------------------------------------------------------


@given(
    st.integers(1, 50),
    st.integers(1, 20),
    st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=200),
)
def test_law_no_span_of_time_has_more_frames_than_burst_and_rate_allow(
    rate: int, burst: int, steps: list[tuple[float, bool]]
) -> None:
    now, allowance, passed = 0.0, Allowance(rate, burst, 0.0), list[float]()
    for pause, moves in steps:
        now += pause * moves
        if allowance.take(now):
            passed.append(now)
    for first, begin in enumerate(passed):
        for last in range(first, len(passed)):
            assert last - first + 1 <= burst + rate * (passed[last] - begin) + 1e-6


async def test_events_beyond_the_rate_are_refused_settled_and_never_run(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with wired(rate_limit=10, rate_burst=20) as (app, nursery):
        peer = await connect(app, nursery)  # the hello was one
        for _ in range(30):
            peer.fire("add")
        await wait_all_tasks_blocked()
        assert [error["seq"] for error in peer.of("error")] == list(range(20, 31))
        assert {error["code"] for error in peer.of("error")} == {"rate_limited"}
        assert (peer.wire["count"], peer.of("patch")[-1]["ack"], peer.code) == (19, 19, None)
        await trio.sleep(0.5)
        for _ in range(6):
            peer.fire("add")
        await wait_all_tasks_blocked()
        assert (peer.wire["count"], peer.of("patch")[-1]["ack"]) == (24, 35)
        assert len(peer.of("error")) == 12
    assert caplog.text.count("sends more than rate_limit=10 frames a second") == 1


async def test_nonsense_beyond_the_rate_ends_the_connection() -> None:
    async with wired(rate_limit=10, rate_burst=20) as (app, nursery):
        peer = await connect(app, nursery)
        for _ in range(30):
            peer.link.send("nonsense")
        await wait_all_tasks_blocked()
        assert (peer.code, len(peer.of("error"))) == (1008, 20)


async def test_the_size_of_a_message_is_counted_in_bytes(caplog: pytest.LogCaptureFixture) -> None:
    async with wired(max_message_bytes=1000) as (app, nursery):
        peer = await connect(app, nursery)
        frame = '{"t":"event","seq":1,"name":"wire_root.wire.write","args":["%s"]}'
        room = 1000 - len(frame) + 2
        for text in ("x" * room, "é" * (room // 2)):
            peer.link.send(frame.replace("1", str(len(peer.of("patch")) + 1), 1) % text)
            await wait_all_tasks_blocked()
        assert [len(row) for row in peer.wire["rows"]] == [room, room // 2]
        peer.link.send(frame.replace("1", "3", 1) % ("é" * room))
        await wait_all_tasks_blocked()
        assert [error["code"] for error in peer.of("error")] == ["too_large"]
        assert (peer.code, len(peer.wire["rows"])) == (1009, 2)
    assert "max_message_bytes=1000" in caplog.text


async def test_nothing_is_read_after_a_message_that_was_too_large(
    autojump_clock: MockClock,
) -> None:
    """Also if the reader is cut off meanwhile, to look after the time."""
    async with wired(max_message_bytes=1000, ping_interval=10) as (app, nursery):
        peer = await connect(app, nursery)
        await trio.sleep_until(9.9)  # at 10.0 something falls due
        peer.link.stall()
        peer.fire("add")  # the writer waits with its patch
        await wait_all_tasks_blocked()
        peer.fire("write", "x" * 2000)
        peer.fire("add")
        await trio.sleep(0.29)  # a little less than the closing may take
        async with app.modify_state(peer.token) as state:
            assert state.get_substate(Wire).count == 1


async def test_pongs_beyond_the_rate_come_to_nothing_and_no_more() -> None:
    async with wired(rate_limit=10, rate_burst=20) as (app, nursery):
        peer = await connect(app, nursery)
        for _ in range(30):
            peer.send(t="pong")
        await wait_all_tasks_blocked()
        assert (peer.code, peer.of("error")) == (None, [])


async def test_large_events_that_change_nothing_make_room_for_others_too() -> None:
    async with wired(max_message_bytes=100_000) as (app, nursery):
        peer = await connect(app, nursery)
        async with app.modify_state(peer.token):
            for number in range(10):
                peer.fire("nothing", str(number) * 30_000)
            await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        assert [error["seq"] for error in peer.of("error")] == list(range(1, 11))
        assert peer.frames[-1]["ack"] == 10


# ---- tabs ---------------------------------------------------------------------------------------


async def test_of_two_sockets_of_one_page_load_the_newest_wins_and_nothing_is_done_twice(
    autojump_clock: MockClock,
) -> None:
    async with wired() as (app, nursery):
        old = await connect(app, nursery)
        token = old.token
        old.fire("add")
        await wait_all_tasks_blocked()
        async with app.modify_state(token):  # so that these lie in the mailbox
            old.fire("add")
            old.fire("add")
            await wait_all_tasks_blocked()
            new = await connect(app, nursery, token=token)
            new.seq = 1
            for _ in range(3):  # what is not acknowledged, again; and a new one
                new.fire("add")
            await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        await trio.sleep(1)
        assert (old.code, new.code, new.token) == (4001, None, token)
        assert (new.wire["count"], new.frames[-1]["ack"]) == (4, 4)
        assert old.wire["count"] == 3


async def test_a_duplicate_gets_a_state_of_its_own_and_harms_nobody(
    autojump_clock: MockClock,
) -> None:
    async with wired() as (app, nursery):
        first = await connect(app, nursery)
        first.fire("add")
        twins = [
            await connect(app, nursery, token=first.token, instance=name) for name in ("b", "c")
        ]
        assert len({first.token, *(twin.token for twin in twins)}) == 3
        assert [twin.wire["count"] for twin in twins] == [0, 0]
        for twin in twins:
            twin.fire("add")
        first.fire("add")
        await wait_all_tasks_blocked()
        assert first.wire["count"] == 2
        assert [peer.code for peer in (first, *twins)] == [None] * 3
        assert trio.current_time() == 0


async def test_a_reload_gets_its_state_back_at_once_if_the_old_socket_is_closed(
    autojump_clock: MockClock,
) -> None:
    async with wired() as (app, nursery):
        old = await connect(app, nursery)
        old.fire("add")
        await wait_all_tasks_blocked()
        old.link.cut()
        new = await connect(app, nursery, token=old.token, instance="reloaded")
        assert (new.token, new.wire["count"], trio.current_time()) == (old.token, 1, 0)


async def test_a_hello_that_the_network_held_back_takes_no_place_of_a_later_one() -> None:
    """Of one page load the newest has the tab, by the number that its client gave it."""
    async with wired() as (app, nursery):
        late = Peer(await app.open_site())
        page = await connect(app, nursery, nth=2)
        page.fire("add")
        await wait_all_tasks_blocked()
        await connect_peer(late, nursery, token=page.token, nth=1)
        again = await connect(app, nursery, token=page.token, nth=2)  # as a network repeats it
        assert (late.code, again.code, page.code) == (4001, 4001, None)
        assert late.of("welcome") == again.of("welcome") == []
        page.fire("add")
        await wait_all_tasks_blocked()
        assert page.wire["count"] == 2
        next_one = await come_back(app, nursery, page, nth=3)
        next_one.fire("add")
        await wait_all_tasks_blocked()
        assert (next_one.code, next_one.wire["count"]) == (None, 3)


async def test_a_reload_takes_over_from_a_socket_whose_end_was_lost(
    autojump_clock: MockClock,
) -> None:
    async with wired() as (app, nursery):
        old = await connect(app, nursery, answers=False)
        old.fire("add")
        await wait_all_tasks_blocked()
        new = await connect(app, nursery, token=old.token, instance="reloaded")
        assert new.frames == []
        old.fire("add")  # sent before the page was left, and no sign that it is there
        await trio.sleep(1.1)
        assert (new.token, new.wire["count"]) == (old.token, 2)
        await trio.sleep(1)
        assert (old.code, new.code) == (4001, None)


async def test_a_page_load_that_was_replaced_does_not_get_the_tab_back(
    autojump_clock: MockClock,
) -> None:
    async with wired() as (app, nursery):
        old = await connect(app, nursery, answers=False)  # asleep, as the machine that it is on
        new = await connect(app, nursery, token=old.token, instance="other")
        await trio.sleep(2)
        assert (old.code, new.token) == (4001, old.token)
        back = await connect(app, nursery, token=old.token)
        await trio.sleep(1)
        assert (back.code, back.of("welcome"), new.code) == (4001, [], None)


async def test_of_two_that_come_for_a_dead_tab_together_one_gets_it(
    autojump_clock: MockClock,
) -> None:
    async with wired() as (app, nursery):
        old = await connect(app, nursery, answers=False)
        old.fire("add")
        await wait_all_tasks_blocked()
        both = [await connect(app, nursery, token=old.token, instance=name) for name in ("b", "c")]
        await trio.sleep(5)
        assert sorted(peer.wire["count"] for peer in both) == [0, 1]
        assert sum(peer.token == old.token for peer in both) == 1


async def test_who_leaves_while_it_waits_for_its_tab_leaves_nothing_behind(
    autojump_clock: MockClock,
) -> None:
    async with wired(mailbox_capacity=10) as (app, nursery):
        old = await connect(app, nursery)
        async with app.modify_state(old.token):
            new = await connect(app, nursery, token=old.token)
            await trio.sleep(30)
            assert (new.of("welcome"), len(new.of("ping"))) == ([], 1)
            new.link.cut()
            await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        actor: Any = app.directory.ref(old.token)._actor_weakref()
        assert not actor._pages.is_anyone_here


async def test_two_that_ask_for_one_tab_at_once_both_hear_that_it_is_alive(
    autojump_clock: MockClock,
) -> None:
    async with wired() as (app, nursery):
        first = await connect(app, nursery)
        twins = [Peer(await app.open_site()) for _ in range(2)]
        for number, twin in enumerate(twins):
            nursery.start_soon(twin.connection.run)
            twin.hello(token=first.token, instance=f"twin {number}")
        await wait_all_tasks_blocked()
        assert len({first.token, *(twin.token for twin in twins)}) == 3
        await trio.sleep(5)
        assert [peer.code for peer in (first, *twins)] == [None] * 3


async def test_a_tab_is_given_back_at_once_when_the_socket_ends_that_was_asked_for_a_sign(
    autojump_clock: MockClock,
) -> None:
    async with wired() as (app, nursery):
        old = await connect(app, nursery, answers=False)
        new = await connect(app, nursery, token=old.token, instance="reloaded")
        assert (new.frames, len(old.of("ping"))) == ([], 1)
        old.link.cut()
        await wait_all_tasks_blocked()
        assert (new.token, trio.current_time()) == (old.token, 0)


# ---- coming back to a version -------------------------------------------------------------------


async def test_who_comes_back_in_time_gets_what_has_changed_as_one_patch() -> None:
    async with wired() as (app, nursery):
        old = await connect(app, nursery)
        old.fire("add")
        await wait_all_tasks_blocked()
        await turns(app, old.token, 0)
        old.link.stall()
        await turns(app, old.token, 3, write="row")
        new = await come_back(app, nursery, old)
        welcome, patch = new.frames
        assert "state" not in welcome
        assert (welcome["version"], welcome["ack"]) == (1, 1)
        assert (patch["t"], patch["base"], patch["version"], patch["ack"]) == ("patch", 1, 4, 1)
        assert (new.wire, new.version) == ({"count": 4, "rows": ["row"] * 3}, 4)
        again = await come_back(app, nursery, new)
        assert [frame["t"] for frame in again.frames] == ["welcome"]
        again.fire("add")
        await wait_all_tasks_blocked()
        assert (again.wire["count"], again.frames[-1]["ack"]) == (5, 2)


async def test_no_event_is_acknowledged_before_what_it_did_is_shown() -> None:
    async with wired() as (app, nursery):
        old = await connect(app, nursery)
        old.fire("add")
        old.fire("say")
        await wait_all_tasks_blocked()
        old.link.stall()
        for method in ("say", "add", "add", "say"):
            old.fire(method)
        await wait_all_tasks_blocked()
        new = await come_back(app, nursery, old)
        assert "state" not in new.frames[0]
        # The third changed nothing, so that it is shown; the fourth is shown by the patch.
        assert [(frame["t"], frame["ack"]) for frame in new.frames[:2]] == [
            ("welcome", 3),
            ("patch", 6),
        ]
        assert new.wire["count"] == 3


@pytest.mark.parametrize(
    "shown",
    [
        {"version": None},
        {"history": None},
        {"history": "another"},
        {"version": 99},
        {"version": -1},
        {"version": 0, "history": ""},
    ],
)
async def test_who_shows_what_is_not_known_gets_the_whole_state(shown: dict[str, Any]) -> None:
    async with wired() as (app, nursery):
        old = await connect(app, nursery)
        await turns(app, old.token, 2)
        new = await come_back(app, nursery, old, **shown)
        [welcome] = new.frames
        assert (welcome["version"], welcome["state"]["wire_root.wire"]["count"]) == (2, 2)


@pytest.mark.parametrize(("count", "write"), [(300, None), (20, "x" * 5000)])
async def test_who_stays_away_for_too_much_gets_the_whole_state(
    count: int, write: str | None
) -> None:
    async with wired() as (app, nursery):
        old = await connect(app, nursery)
        await wait_all_tasks_blocked()
        old.link.cut()
        await turns(app, old.token, count, write=write)
        new = await come_back(app, nursery, old)
        assert [(frame["t"], "state" in frame) for frame in new.frames] == [("welcome", True)]
        assert new.wire["count"] == count


async def test_a_token_that_was_at_rest_has_another_history(autojump_clock: MockClock) -> None:
    async with wired() as (app, nursery):
        old = await connect(app, nursery)
        await turns(app, old.token, 1)
        await wait_all_tasks_blocked()
        old.link.cut()
        await trio.sleep(3600)
        new = await come_back(app, nursery, old)
        assert "state" in new.frames[0]
        assert new.frames[0]["history"] != old.frames[0]["history"]


# ---- the end ------------------------------------------------------------------------------------


async def test_who_is_read_no_more_is_shown_what_happens_and_looked_after(
    autojump_clock: MockClock,
) -> None:
    async with wired(ping_interval=20, ping_timeout=20) as (app, nursery):
        peer = await connect(app, nursery)
        peer.connection.stop_reading()
        for _ in range(2):  # to come after what the reader may be at, as well
            peer.fire("add")
            await wait_all_tasks_blocked()
        assert len(peer.frames) == 1
        await turns(app, peer.token, 1)
        await trio.sleep(50)
        assert (peer.code, peer.wire["count"], peer.of("patch")[0]["ack"]) == (None, 1, 0)
        assert len(peer.of("ping")) == 2


async def test_who_has_said_no_hello_when_it_is_read_no_more_is_sent_to_the_next_server(
    autojump_clock: MockClock,
) -> None:
    async with wired() as (app, nursery):
        peer = Peer(await app.open_site())
        nursery.start_soon(peer.connection.run)
        await wait_all_tasks_blocked()
        peer.connection.stop_reading()
        await wait_all_tasks_blocked()
        assert (peer.code, trio.current_time()) == (1001, 0)


async def test_who_waits_for_its_tab_when_the_server_stops_is_sent_to_the_next_server(
    autojump_clock: MockClock,
) -> None:
    async with wired() as (app, nursery):
        old = await connect(app, nursery, answers=False)
        new = Peer(site := await app.open_site())
        with site.admission.present(new.connection):
            await connect_peer(new, nursery, token=old.token, instance="reloaded")
            app.stop()
            await trio.sleep(2)
            assert (new.code, new.frames) == (1001, [])
