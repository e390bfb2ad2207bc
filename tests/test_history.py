"""The patches that a token keeps: what they lead to, and that they do not grow."""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import msgspec
from clients import as_json
from hypothesis import given, strategies as st

from actorstate.actors.history import History
from actorstate.actors.messages import NOBODY, Origin, Shown
from actorstate.state.commit import Commit
from actorstate.state.patch import Operation


def commit(version: int, *operations: Operation) -> Commit:
    return Commit(version, operations, operations)


steps = st.lists(
    st.tuples(st.sampled_from(["append", "replace", "nothing"]), st.sampled_from([1, 20_000]),
              st.sampled_from([None, "page", "other"])), max_size=40
)  # fmt: skip


@given(steps, st.integers(0, 10), st.data())
def test_law_what_leads_on_leads_to_the_state_of_now_and_acknowledges_nothing_before_it(
    steps: list[tuple[str, int, str | None]], first: int, data: st.DataObject
) -> None:
    history = History()
    states: dict[int, Any] = {first: {"s": {"rows": [], "text": ""}}}
    done = {first: 0}
    version, seq = first, 0
    for kind, size, instance in steps:
        state = copy.deepcopy(states[version])
        ops = {
            "append": [Operation("add", f"/s/rows/{len(state['s']['rows'])}", "x" * size)],
            "replace": [Operation("replace", "/s/text", "y" * size)],
            "nothing": [],
        }[kind]
        version += 1
        one = commit(version, *ops)
        seq += instance is not None
        history.add(one, NOBODY if instance is None else Origin(instance, seq))
        states[version] = jsonpatch.apply_patch(state, msgspec.to_builtins(ops))
        done[version] = seq if instance == "page" else done[version - 1]
    shown = data.draw(st.integers(first, version))
    if not history.leads_on(Shown(history.name, shown), version):
        weight = sum(entry.weight for entry in history._entries)
        assert weight > 64 * 1024 - 21_000
        return
    patch = history.since(shown, done[version])
    state = states[shown] if patch is None else jsonpatch.apply_patch(states[shown], as_json(patch))
    assert state == states[version]
    assert (patch is None) == (shown == version)
    ack = history.ack_at(shown, "page", done[version])
    assert done[shown] <= ack <= done[version]
    assert all(done[later] > ack or done[later] == done[shown] for later in range(shown, version))


def test_it_holds_no_more_than_the_state_it_leads_to_would_weigh() -> None:
    history = History()
    for size, least, most in [(10, 5, 20), (5_000, 60, 150), (10**9, 256, 256)]:
        history.suit(size)
        for version in range(1, 1000):
            history.add(commit(version, Operation("replace", "/s/count", version)), NOBODY)
        assert least <= len(history._entries) <= most


def test_it_holds_no_more_than_it_may() -> None:
    history = History()
    for version in range(1, 1000):
        history.add(commit(version, Operation("replace", "/s/count", version)), NOBODY)
    assert len(history._entries) == 256
    for version in range(1000, 1100):
        history.add(commit(version, Operation("replace", "/s/text", "x" * 1000)), NOBODY)
    assert 60 <= len(history._entries) <= 64
    history.add(commit(1100, Operation("replace", "/s/text", "x" * 100_000)), NOBODY)
    assert history._entries == []
    assert history.leads_on(Shown(history.name, 1100), 1100)
    assert not history.leads_on(Shown(history.name, 1099), 1100)


def test_each_has_a_name_of_its_own() -> None:
    assert History().name != History().name
    assert not History().leads_on(Shown(History().name, 0), 0)
