"""Frames to records and back; no IO."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, strategies as st

from actorstate.actors.messages import Ack, Failure, Notice, Patch, Welcome
from actorstate.state.patch import Operation
from actorstate.web.protocol import (
    EventFrame,
    FrameError,
    Hello,
    Pong,
    decode,
    decode_exactly,
    encode,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_a_hello_needs_an_instance_alone() -> None:
    assert decode('{"t":"hello","instance":"i"}') == Hello("i")
    whole = {"t": "hello", "token": "x", "instance": "i", "version": 7, "history": "h",
             "path": "/x?y=1"}  # fmt: skip
    assert decode(json.dumps(whole)) == Hello("i", "x", 7, "h", "/x?y=1")


def test_an_event_names_a_handler_and_numbers_itself() -> None:
    frame = decode('{"t":"event","seq":1,"name":"state.a.b","args":["5"]}')
    assert frame == EventFrame(1, "state.a.b", ["5"])
    assert isinstance(frame, EventFrame)
    assert decode('{"t":"event","seq":1,"name":"n"}') == EventFrame(1, "n", [])


@pytest.mark.parametrize(
    ("data", "message", "where"),
    [
        ("", "not JSON", "$"),
        ("{", "not JSON", "$"),
        ("NaN", "not JSON", "$"),
        ('{"t":"event","seq":NaN}', "not JSON", "$"),
        ("[" * 100_000, "not JSON", "$"),
        ("[]", "not a JSON object", "$"),
        ("3", "not a JSON object", "$"),
        ('"hello"', "not a JSON object", "$"),
        ("{}", "unknown frame type", "$.t"),
        ('{"t":"goodbye"}', "unknown frame type; known are: hello, event", "$.t"),
        ('{"t":["event"]}', "unknown frame type", "$.t"),
        ('{"t":"event"}', "missing", "$.seq"),
        ('{"t":"event","seq":1}', "missing", "$.name"),
        ('{"t":"event","seq":"1","name":"n"}', "expected int, got '1'", "$.seq"),
        ('{"t":"event","seq":1.0,"name":"n"}', "expected int, got 1.0", "$.seq"),
        ('{"t":"event","seq":true,"name":"n"}', "expected int, got True", "$.seq"),
        ('{"t":"event","seq":0,"name":"n"}', "expected a number from 1", "$.seq"),
        ('{"t":"event","seq":-1,"name":"n"}', "expected a number from 1", "$.seq"),
        ('{"t":"event","seq":9007199254740992,"name":"n"}', "expected a number", "$.seq"),
        ('{"t":"event","seq":1,"name":5}', "expected str, got 5", "$.name"),
        ('{"t":"event","seq":1,"name":"n","instance":"x"}', "unknown names: instance", "$"),
        ('{"t":"hello"}', "missing", "$.instance"),
        ('{"t":"hello","instance":""}', "1 to 64 characters", "$.instance"),
        (json.dumps({"t": "hello", "instance": "x" * 65}), "1 to 64", "$.instance"),
        ('{"t":"hello","instance":"i","token":5}', "expected str", "$.token"),
        ('{"t":"hello","instance":"i","version":"7"}', "expected int", "$.version"),
        ('{"t":"hello","instance":"i","history":7}', "expected str", "$.history"),
        (json.dumps({"t": "hello", "instance": "i", "history": "x" * 65}), "most 64", "$.history"),
        (b'{"t":"hello","instance":"i"}', "expected a text frame", "$"),
    ],
)
def test_a_frame_that_is_not_of_the_protocol_names_the_culprit(
    data: str | bytes, message: str, where: str
) -> None:
    with pytest.raises(FrameError, match=message) as caught:
        decode(data)
    assert caught.value.where == where


@given(json_values | st.fixed_dictionaries({"t": st.sampled_from(["hello", "event"])}, optional={
    "seq": json_values, "name": json_values, "args": json_values, "token": json_values,
    "instance": json_values, "version": json_values, "path": json_values, "more": json_values,
}))  # fmt: skip
def test_law_any_json_is_a_frame_or_a_frame_error(value: Any) -> None:
    try:
        frame = decode(json.dumps(value))
    except FrameError as error:
        assert error.where.startswith("$")  # noqa: PT017 - one or the other is the law
    else:
        assert isinstance(frame, Hello | EventFrame | Pong)


almost_events = st.fixed_dictionaries(
    {
        "t": st.just("event"),
        "seq": st.integers(1, 9) | json_values,
        "name": st.text() | json_values,
    },
    optional={"args": json_values, "more": json_values},
)
almost_hellos = st.fixed_dictionaries(
    {"t": st.just("hello"), "instance": st.text("abc", min_size=1)},
    optional={
        "token": st.text() | json_values,
        "version": st.integers() | json_values,
        "nth": st.integers(1, 2**70),
        "history": st.none() | st.text() | json_values,
        "path": st.just("/") | json_values,
        "more": json_values,
    },
)


@given(almost_events | almost_hellos | st.fixed_dictionaries({"t": st.just("pong")}))
def test_law_what_is_right_is_the_same_for_the_quick_reading_and_the_exact_one(
    value: dict[str, Any],
) -> None:
    data = json.dumps(value)
    try:
        frame = decode(data)
    except FrameError as error:
        with suppress(FrameError):  # but for what is out of bounds, which is looked at after both
            decode_exactly(data)
            assert error.where in ("$.seq", "$.instance", "$.history", "$.nth", "$.path")  # noqa: PT017
    else:
        assert frame == decode_exactly(data)
        assert type(frame) is type(decode_exactly(data))


def test_of_a_name_that_comes_twice_the_last_counts() -> None:
    assert decode('{"t":"event","seq":1,"seq":2,"name":"n"}') == EventFrame(2, "n")
    assert decode('{"t":"event","t":"hello","instance":"i"}') == Hello("i")


@given(st.text() | st.binary())
def test_law_any_text_is_a_frame_or_a_frame_error(data: str | bytes) -> None:
    try:
        frame = decode(data)
    except FrameError as error:
        assert error.where.startswith("$")  # noqa: PT017 - one or the other is the law
    else:  # it is drawn now and then, from what stands in the tests
        assert isinstance(frame, Hello | EventFrame | Pong)


def test_notices_are_written_as_documented() -> None:
    operation = Operation("replace", "/state.a/b", [1, {"x": None}])
    frames: list[tuple[Notice, dict[str, Any]]] = [
        (
            Patch(8, 5, (operation,)),
            {
                "t": "patch",
                "version": 8,
                "ack": 5,
                "ops": [{"op": "replace", "path": "/state.a/b", "value": [1, {"x": None}]}],
            },
        ),
        (Patch(9, 5, ()), {"t": "patch", "version": 9, "ack": 5, "ops": []}),
        (Ack(5), {"t": "ack", "ack": 5}),
        (Failure("bad_frame", "no"), {"t": "error", "code": "bad_frame", "message": "no"}),
        (
            Failure("bad_arguments", "no", 5, "$.args"),
            {
                "t": "error",
                "code": "bad_arguments",
                "message": "no",
                "seq": 5,
                "where": "$.args",
            },
        ),
    ]
    for notice, frame in frames:
        assert json.loads(encode(notice, "session")) == frame
    welcome = Welcome("token", 7, 4, {"state.a": {"b": 1}}, "h")
    assert json.loads(encode(welcome, "session", 40)) == {
        "t": "welcome",
        "token": "token",
        "session": "session",
        "version": 7,
        "ack": 4,
        "ping": 40,
        "history": "h",
        "state": {"state.a": {"b": 1}},
    }
    resumed = json.loads(encode(Welcome("token", 7, 4, None, "h"), "session"))
    assert "state" not in resumed
    assert (resumed["history"], resumed["ping"]) == ("h", None)
