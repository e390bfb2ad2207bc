"""Laws of the scripts in Redis, beside a model: several owners that crash, pause and come back.

The scripts are called as the store calls them, by owners that may do so at any time: late, twice,
or after they were taken for dead. Time passes by what is written in the tree, so that nobody waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis_server import Console, RedisServer, redis_server

from actorstate.stores.redis.scripts import (
    ACQUIRE,
    COMMIT,
    EXPIRE,
    KEPT,
    LOST,
    READ,
    RELEASE,
    RENEW,
    WANTED,
    Script,
    read_journal,
)

TREE, JOURNAL = "actorstate:{t}", "actorstate:{t}:journal"
TTL: Final = 1_000_000  # ms: nothing runs out by itself here
PATIENCE: Final = 500_000

owners = st.integers(0, 3)


class Owner:
    """One process, as it sees itself: it may be wrong about what it owns."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.tries = 0
        self.epoch: bytes | None = None
        self.revision = 0

    @property
    def claim(self) -> str:
        return f"p{self.number}.{self.tries}"


class Leases(RuleBasedStateMachine):
    """What is at Redis, and what should be."""

    console: Console

    def __init__(self) -> None:
        super().__init__()
        self.console.command("FLUSHALL")
        self.owners = [Owner(number) for number in range(4)]
        self.owner: str | None = None
        self.is_over = True
        self.waiting: list[str] = []
        self.dead: set[str] = set()
        self.epochs: list[int] = []
        self.stored: list[bytes] = []

    def run(self, script: Script, *args: str | bytes | int) -> Any:
        return self.console.command("EVAL", script.source, 2, TREE, JOURNAL, *args)

    # ---- what owners do --------------------------------------------------------------------

    @rule(number=owners)
    def begins_a_new_try(self, number: int) -> None:
        owner = self.owners[number]
        owner.tries, owner.epoch = owner.tries + 1, None

    @rule(number=owners)
    def asks_for_the_lease(self, number: int) -> None:
        owner = self.owners[number]
        is_mine, *answer = self.run(ACQUIRE, owner.claim, TTL)
        assert bool(is_mine) == (self.owner in (None, owner.claim) or self.is_over)
        if not is_mine:
            assert answer[0].decode() == self.owner
            self.dead.discard(owner.claim)
            if owner.claim not in self.waiting:
                self.waiting.append(owner.claim)
            return
        if owner.claim in self.waiting:
            self.waiting.remove(owner.claim)
        others, epoch, found = answer
        assert others == len(self.waiting)
        self.becomes_owner(owner.claim, epoch)
        assert patches(found) == self.stored  # all that was ever acknowledged
        owner.epoch, owner.revision = epoch, len(self.stored)

    def becomes_owner(self, claim: str, epoch: bytes) -> None:
        if self.owner != claim:
            assert all(int(epoch) > earlier for earlier in self.epochs)
            self.epochs.append(int(epoch))
        self.owner, self.is_over = claim, False

    @rule(number=owners, is_whole=st.booleans(), is_sent_twice=st.booleans())
    def commits(self, number: int, *, is_whole: bool, is_sent_twice: bool) -> None:
        """Any that ever had the lease may try; it may think that it has it still."""
        owner = self.owners[number]
        if owner.epoch is None:
            return
        data = f"{owner.claim}/{len(self.stored)}".encode()
        whole = b"+".join([*self.stored, data])
        kind, body = ("whole", whole) if is_whole else ("patch", data)
        args = (owner.claim, owner.epoch, TTL, owner.revision + 1, kind, body)
        answers = {self.run(COMMIT, *args) for _ in range(1 + is_sent_twice)}
        assert answers == {self.verdict(owner)}
        if answers != {LOST}:
            owner.revision += 1
            self.stored.append(data)
            self.is_over = False

    @rule(number=owners)
    def renews(self, number: int) -> None:
        owner = self.owners[number]
        if owner.epoch is None:
            return
        answer = self.run(RENEW, owner.claim, owner.epoch, TTL, owner.revision)
        assert answer == self.verdict(owner)
        if answer != LOST:
            self.is_over = False

    def verdict(self, owner: Owner) -> int:
        # A claim is used for one lease. Here it may get another one without its owner knowing.
        is_of_now = owner.epoch is not None and int(owner.epoch) == self.epochs[-1]
        if self.owner != owner.claim or not is_of_now:
            return LOST
        return WANTED if self.waiting else KEPT

    @rule(number=owners)
    def releases_or_waits_no_longer(self, number: int) -> None:
        owner = self.owners[number]
        heir = self.run(RELEASE, owner.claim, TTL, PATIENCE)
        if self.owner != owner.claim:
            assert heir is None
            if owner.claim in self.waiting:
                self.waiting.remove(owner.claim)
            return
        alive = [claim for claim in self.waiting if claim not in self.dead]
        if alive:
            # Those who came before the heir, and were not heard of, are waited for no more.
            self.waiting = self.waiting[self.waiting.index(alive[0]) + 1 :]
            assert heir.decode() == alive[0]
            self.becomes_owner(alive[0], self.console.command("HGET", TREE, "epoch"))
        else:
            assert heir is None
            self.owner, self.is_over, self.waiting = None, True, []

    # ---- what the world does ---------------------------------------------------------------

    @rule()
    def time_passes(self) -> None:
        """The lease runs out. Its owner may go on as if it had not."""
        if self.owner is not None:
            self.console.command("HSET", TREE, "until", 1)
            self.is_over = True

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def one_who_waits_is_not_heard_of(self, data: st.DataObject) -> None:
        dead = data.draw(st.sampled_from(self.waiting))
        self.dead.add(dead)
        parts = self.console.command("HGET", TREE, "waiters").decode().split()
        parts[parts.index(dead) + 1] = "1"
        self.console.command("HSET", TREE, "waiters", " ".join(parts))

    @precondition(lambda self: self.owner is None or self.is_over)
    @rule()
    def is_forgotten(self) -> None:
        """It has expired; who thinks that it is the owner learns that it is not."""
        gone = self.run(EXPIRE, -1000)
        assert bool(gone) == bool(self.stored)
        self.owner, self.is_over, self.waiting, self.stored = None, True, [], []

    @invariant()
    def what_was_acknowledged_is_there(self) -> None:
        assert patches(self.run(READ)) == self.stored


def patches(found: list[bytes | None]) -> list[bytes]:
    """All commits ever, of which a whole snapshot is the sum."""
    revision, base = int(found[0] or 0), int(found[1] or 0)
    whole = found[2].split(b"+") if found[2] is not None else []
    return [*whole, *read_journal(found[3] or b"", base, revision)]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server("--appendfsync", "no") as server:
        yield server


def test_never_two_can_commit_and_epochs_grow(server: RedisServer) -> None:
    with Console(server.port) as console:
        machine = type("LeasesHere", (Leases,), {"console": console})
        run_state_machine_as_test(
            machine, settings=settings(stateful_step_count=40, max_examples=200)
        )
