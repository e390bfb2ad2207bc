"""The store in a Redis Cluster of two real nodes, between which a slot moves; and over TLS."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from redis_server import RedisServer, free_port, redis_server
from test_redis import count_in, counts, first, hasty, nobody, own, running

from actorstate import LeaseLostError, StoreUnavailableError
from actorstate.stores.redis import RedisStore

SLOTS: Final = 16_384
FORMS_WITHIN: Final = 30.0  # seconds


class Cluster:
    """Nodes that share the slots."""

    def __init__(self, *nodes: RedisServer) -> None:
        self.nodes: Final = nodes

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def form(self) -> None:
        for number, node in enumerate(self.nodes):
            node.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            bus = node.command("CONFIG", "GET", "cluster-port")[1].decode()
            self.nodes[0].command("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        self.share_slots()

    def share_slots(self) -> None:
        share = SLOTS // len(self.nodes)
        for number, node in enumerate(self.nodes):
            node.command("CLUSTER", "ADDSLOTSRANGE", number * share, (number + 1) * share - 1)
        deadline = time.monotonic() + FORMS_WITHIN
        while not all(b"cluster_state:ok" in n.command("CLUSTER", "INFO") for n in self.nodes):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def node_of(self, slot: int) -> RedisServer:
        return self.nodes[slot * len(self.nodes) // SLOTS]


def node() -> Any:
    return redis_server(
        "--cluster-enabled", "yes", "--cluster-port", str(free_port()),
        "--cluster-node-timeout", "1000",
    )  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Generator[Cluster]:
    with node() as one, node() as other:
        cluster = Cluster(one, other)
        cluster.form()
        yield cluster


async def test_tokens_are_spread_over_the_nodes_of_a_cluster(cluster: Cluster) -> None:
    one, other = (hasty(cluster, timeout=20) for _ in range(2))
    names = [f"tab {number}" for number in range(40)]
    async with running(one, other):
        async with trio.open_nursery() as nursery:
            for number, name in enumerate(names):
                nursery.start_soon(count_to, one, name, number)
        assert {name async for name in other.tokens()} >= set(names)
        assert [await count_in(other, name) for name in names] == list(range(40))
        assert all(node.command("DBSIZE") > 10 for node in cluster.nodes)
        assert await other.expire(0) >= 40


async def count_to(store: RedisStore, name: str, number: int) -> None:
    lease = await own(store, name)
    await store.commit(lease, first(0))
    await store.commit(lease, counts(2, number))
    await store.release(lease)


async def test_a_token_is_handed_over_in_a_cluster(cluster: Cluster) -> None:
    one, other = (hasty(cluster, ttl=600, timeout=20) for _ in range(2))
    wanted = trio.Event()
    async with running(one, other):
        lease = (await one.load("handed over", wanted.set)).lease
        await one.commit(lease, first(5))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(load_and_count, other)
            with trio.fail_after(20):
                await wanted.wait()
            await one.release(lease)
        with pytest.raises(LeaseLostError):
            await one.commit(lease, counts(2, 9))
        assert await count_in(one, "handed over") == 6


async def load_and_count(store: RedisStore) -> None:
    loaded = await store.load("handed over", nobody)
    assert loaded.snapshot is not None
    assert loaded.snapshot.values == {"root": {"count": 5}}
    await store.commit(loaded.lease, counts(2, 6))


async def test_commits_follow_a_slot_that_moves(cluster: Cluster) -> None:
    store = hasty(cluster, ttl=600, timeout=20)
    name = "moves"
    keys = [f"actorstate:{{{name}}}", f"actorstate:{{{name}}}:journal"]
    slot = cluster.nodes[0].command("CLUSTER", "KEYSLOT", keys[0])
    here = cluster.node_of(slot)
    [there] = [node for node in cluster.nodes if node is not here]
    ids = {node: node.command("CLUSTER", "MYID") for node in (here, there)}
    async with running(store):
        lease = await own(store, name)
        await store.commit(lease, first(1))
        there.command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[here])
        here.command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[there])
        await store.commit(lease, counts(2, 2))
        here.command("MIGRATE", "127.0.0.1", there.port, "", 0, 5000, "KEYS", keys[0])
        async with trio.open_nursery() as nursery:  # one key is here, one there: it has to wait
            nursery.start_soon(store.commit, lease, counts(3, 3))
            await trio.sleep(0.05)
            here.command("MIGRATE", "127.0.0.1", there.port, "", 0, 5000, "KEYS", keys[1])
        await store.commit(lease, counts(4, 4))  # both are there, but they are asked for here
        for node in (there, here):
            node.command("CLUSTER", "SETSLOT", slot, "NODE", ids[there])
        await store.commit(lease, counts(5, 5))
        assert await count_in(store, name) == 5


async def test_a_cluster_that_is_down_is_unavailable_and_works_again() -> None:
    with node() as alone:
        cluster = Cluster(alone)
        cluster.form()
        store = hasty(cluster, timeout=2)
        async with running(store):
            lease = await own(store)
            await store.commit(lease, first(1))
            alone.command("CLUSTER", "DELSLOTSRANGE", 0, SLOTS - 1)
            with pytest.raises(StoreUnavailableError):
                await store.commit(lease, counts(2, 2))
            await trio.to_thread.run_sync(cluster.share_slots)
            with trio.fail_after(FORMS_WITHIN):
                while await load_again(store) is None:
                    pass


async def load_again(store: RedisStore) -> Any:
    try:
        return await store.load("a tab", nobody)
    except StoreUnavailableError:
        return None


# ---- TLS ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that vouches for itself, and is for localhost alone."""
    directory = tmp_path_factory.mktemp("tls")
    key, cert = directory / "key.pem", directory / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",  # noqa: S607
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", cert,
         "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    return directory


@pytest.fixture(scope="module")
def tls_port(certificate: Path) -> Generator[int]:
    port = free_port()
    with redis_server(
        "--tls-port", str(port), "--tls-auth-clients", "no",
        "--tls-cert-file", str(certificate / "cert.pem"),
        "--tls-key-file", str(certificate / "key.pem"),
        "--requirepass", "p@ss/word", "--protected-mode", "no",
    ):  # fmt: skip
        yield port


async def test_a_store_over_tls(tls_port: int, certificate: Path) -> None:
    trusted = f"?ssl_ca_certs={certificate / 'cert.pem'}&store_timeout=5"
    store = RedisStore(f"rediss://:p%40ss%2Fword@localhost:{tls_port}/2{trusted}")
    async with running(store):
        lease = await own(store)
        await store.commit(lease, first(3))
        assert await count_in(store) == 3
        assert [token async for token in store.tokens()] == ["a tab"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_server_that_is_not_who_it_should_be_is_not_spoken_to(
    tls_port: int, certificate: Path, host: str
) -> None:
    trusted = f"&ssl_ca_certs={certificate / 'cert.pem'}" if host == "127.0.0.1" else ""
    store = RedisStore(f"rediss://:p%40ss%2Fword@{host}:{tls_port}?store_timeout=0.5{trusted}")
    async with running(store):
        with pytest.raises(StoreUnavailableError):
            await store.peek("a tab")
