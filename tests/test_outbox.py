"""What waits for a connection: in which order it goes out, and that it does not grow; no IO."""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import pytest
from clients import as_json
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actorstate import Effect
from actorstate.actors.messages import Ack, Failure, Notice, Patch, Welcome
from actorstate.state.patch import Operation
from actorstate.web.outbox import Outbox
from actorstate.web.protocol import PING, Ping

PATH = "/state.a/count"


def replace(value: Any, path: str = PATH) -> Operation:
    return Operation("replace", path, value)


def patch(version: int, *ops: Operation, ack: int = 0) -> Patch:
    return Patch(version, ack, ops)


def welcome(version: int = 0, ack: int = 0) -> Welcome:
    return Welcome("token", version, ack, {"state.a": {"count": version}})


def all_of(outbox: Outbox) -> list[Notice | Ping]:
    return list(iter(outbox.take, None))


def after(*notices: Notice) -> list[Notice | Ping]:
    """Give what comes out when a client that was welcomed is slow."""
    outbox = Outbox()
    outbox.put(welcome())
    assert outbox.take() is not None
    for notice in notices:
        assert outbox.put(notice)
    return all_of(outbox)


def test_one_patch_goes_out_as_it_came() -> None:
    assert after(patch(1, replace(1), ack=3)) == [patch(1, replace(1), ack=3)]


def test_patches_that_wait_are_one_and_say_where_they_begin() -> None:
    name = replace("x", "/state.a/name")
    first, second = patch(4, replace(1), name, ack=1), patch(5, replace(2), ack=2)
    third = patch(6, ack=2)
    assert after(first, second, third) == [Patch(6, 2, (replace(2), name), 3)]


def test_what_lies_inside_a_var_is_forgotten_when_the_var_is_replaced() -> None:
    rows = [
        Operation("add", "/state.a/rows/0", 5),
        replace("text", "/state.a/rows_too"),
        Operation("remove", "/state.a/rows/0"),
        replace([], "/state.a/rows"),
        Operation("add", "/state.a/rows/0", 6),
    ]
    [merged] = after(*[patch(number + 1, one) for number, one in enumerate(rows)])
    assert isinstance(merged, Patch)
    assert merged.ops == (rows[3], rows[4], rows[1])


def test_an_acknowledgement_goes_into_the_patch_that_waits() -> None:
    assert after(patch(1, replace(1)), Ack(2)) == [patch(1, replace(1), ack=2)]
    assert after(patch(1), patch(2), Ack(2)) == [Patch(2, 2, (), 0)]
    assert after(Ack(1), Ack(2)) == [Ack(2)]
    assert after(Ack(1), patch(1, ack=1)) == [patch(1, ack=1)]


def test_an_error_is_not_overtaken_by_what_settles_its_event() -> None:
    failure = Failure("handler_failed", "no", 2)
    assert after(patch(1), failure, Ack(2)) == [failure, patch(1, ack=2)]
    assert after(failure, Ack(2), welcome(7, 2)) == [failure, welcome(7, 2)]


def test_the_first_welcome_comes_before_everything_but_what_was_sent_already() -> None:
    outbox, failure = Outbox(), Failure("bad_frame", "no")
    outbox.put(failure)
    assert outbox.take() == failure
    outbox.put(failure)
    outbox.put(welcome())
    assert all_of(outbox) == [welcome(), failure]


def test_effects_follow_the_patch_of_their_turn() -> None:
    one, two = Effect("set_focus", {"id": "a"}), Effect("set_focus", {"id": "b"})
    merged = Patch(2, 0, (replace(2),), 0)
    assert after(patch(1, replace(1)), one, patch(2, replace(2)), two) == [merged, one, two]
    assert after(one, Ack(1), two) == [Ack(1), one, two]


def test_effects_come_through_however_many_patches_come() -> None:
    outbox, effect = Outbox(), Effect("set_focus", {"id": "a"})
    outbox.put(welcome())
    outbox.put(effect)
    took: list[object] = []
    for version in range(1, 4):
        took.append(outbox.take())
        outbox.put(patch(version))
    assert took == [welcome(), patch(1), effect]
    assert outbox.take() == Patch(3, 0, (), 1)


def test_a_ping_comes_first_and_once() -> None:
    outbox = Outbox()
    outbox.put(welcome())
    outbox.ping()
    outbox.ping()
    assert list(iter(outbox.take, None)) == [PING, welcome()]


def test_a_welcome_makes_what_waits_superfluous() -> None:
    effect = Effect("set_focus", {"id": "a"})
    assert after(patch(1), Ack(1), effect, welcome(5, 2), patch(6)) == [
        welcome(5, 2),
        patch(6),
        effect,
    ]


@pytest.mark.parametrize(
    "ops",
    [
        [Operation("add", "/state.a/rows/0", 1)] * 1001,
        [Operation("add", "/state.a/rows/0", "x" * 1000)] * 150,
    ],
    ids=["many", "heavy"],
)
def test_too_much_is_let_go_and_a_welcome_wanted_once(ops: list[Operation]) -> None:
    outbox = Outbox()
    outbox.put(welcome())
    outbox.take()
    assert not outbox.claim_welcome()
    for number, one in enumerate(ops):
        outbox.put(patch(number + 1, one))
    effect = Effect("set_focus", {"id": "a"})
    for notice in (effect, Ack(9), patch(2000)):
        outbox.put(notice)
    assert (outbox.is_stale, outbox.is_empty, all_of(outbox)) == (True, False, [])
    assert [outbox.claim_welcome() for _ in range(2)] == [True, False]
    outbox.put(welcome(2000, 9))
    outbox.put(patch(2001))
    assert all_of(outbox) == [welcome(2000, 9), patch(2001), effect]
    assert outbox.is_empty
    assert not outbox.claim_welcome()


def test_a_value_that_is_large_by_itself_may_wait_and_be_replaced() -> None:
    large = [patch(number, replace("x" * 1_000_000)) for number in range(1, 50)]
    [merged] = after(*large)
    assert merged == Patch(49, 0, large[-1].ops, 0)


@pytest.mark.parametrize("notice", [Effect("set_focus", {}), Failure("bad_frame", "no")])
def test_what_cannot_be_merged_is_counted(notice: Notice) -> None:
    outbox = Outbox()
    assert [outbox.put(notice) for _ in range(1001)] == [True] * 1000 + [False]


class SlowClient(RuleBasedStateMachine):
    """A server that changes its state, and a client that takes frames now and then.

    The model is the server's state and what is done; the client applies what it takes with
    somebody else's RFC 6902.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox()
        self.state: dict[str, Any] = {"s": {"count": 0, "rows": []}}
        self.version = self.done = self.last = 0
        self.failed: set[int] = set()
        self.asked_for: dict[int, int] = {}
        self.shown: dict[str, Any] = {}
        self.shown_version = -1
        self.ack = 0
        self.told: set[int] = set()
        self.put(self.welcome())

    def welcome(self) -> Welcome:
        return Welcome("t", self.version, self.done, copy.deepcopy(self.state))

    def put(self, notice: Notice) -> None:
        assert self.outbox.put(notice)

    def commit(self, *ops: Operation) -> None:
        self.version += 1
        one = Patch(self.version, self.done, ops)
        self.state = jsonpatch.apply_patch(self.state, as_json(one))
        self.put(one)

    @rule(value=st.integers(0, 3), is_event=st.booleans())
    def set(self, value: int, is_event: bool) -> None:
        self.done += is_event
        self.commit(replace(value, "/s/count"))

    @rule(size=st.sampled_from([1, 10, 60_000]))
    def append(self, size: int) -> None:
        self.commit(Operation("add", f"/s/rows/{len(self.state['s']['rows'])}", "x" * size))

    @precondition(lambda self: self.state["s"]["rows"])
    @rule(place=st.integers(0, 100))
    def drop(self, place: int) -> None:
        self.commit(Operation("remove", f"/s/rows/{place % len(self.state['s']['rows'])}"))

    @rule(rows=st.lists(st.sampled_from(["a", "b"]), max_size=2))
    def begin_anew(self, rows: list[str]) -> None:
        self.commit(replace(rows, "/s/rows"), replace(0, "/s/count"))

    @rule()
    def change_nothing(self) -> None:
        self.done += 1
        self.put(Ack(self.done))

    @rule()
    def fail(self) -> None:
        self.done += 1
        self.failed.add(self.done)
        self.put(Failure("handler_failed", "no", self.done))
        self.put(Ack(self.done))

    @rule()
    def ask_for_effect(self) -> None:
        self.last += 1
        self.asked_for[self.last] = self.version
        self.put(Effect("set_focus", {"id": str(self.last)}))

    @rule()
    def change_owner(self) -> None:
        self.version += 1
        self.state["s"]["count"] = -1
        self.put(self.welcome())

    @rule()
    def take(self) -> None:
        if self.outbox.claim_welcome():
            self.put(self.welcome())
        match notice := self.outbox.take():
            case Welcome():
                assert notice.state is not None
                self.shown, self.shown_version = copy.deepcopy(dict(notice.state)), notice.version
            case Patch():
                assert self.shown_version == (
                    notice.version - 1 if notice.base is None else notice.base
                )
                self.shown = jsonpatch.apply_patch(self.shown, as_json(notice))
                self.shown_version = notice.version
            case Failure():
                assert notice.seq is not None
                assert self.ack < notice.seq, "an acknowledgement has overtaken the error"
                self.told.add(notice.seq)
            case Effect():
                version = self.asked_for.pop(int(str(notice.args["id"])))
                assert self.shown_version >= version, "it came before the patch of its turn"
            case _:
                pass
        if isinstance(notice, Welcome | Patch | Ack):
            assert notice.ack >= self.ack
            self.ack = notice.ack
            assert {seq for seq in self.failed if seq <= self.ack} <= self.told

    @invariant()
    def it_is_bounded(self) -> None:
        waits = self.outbox._patch
        assert waits is None or isinstance(waits, Patch) or not waits.is_too_large
        if self.outbox.is_stale:
            assert not any((waits, self.outbox._welcome, self.outbox._ack))

    def teardown(self) -> None:
        while not self.outbox.is_empty:
            self.take()
        assert (self.shown, self.shown_version) == (self.state, self.version)
        assert (self.ack, self.told, self.asked_for) == (self.done, self.failed, {})


TestSlowClient = SlowClient.TestCase
TestSlowClient.settings = settings(max_examples=200, stateful_step_count=40)
