"""A client of the token actor without a socket: what a browser does with what it is told."""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import msgspec

from actorstate import Effect, Router
from actorstate.actors.messages import Ack, Connection, Failure, Notice, Patch, Welcome


class Client:
    """Keeps a copy of the public state, by applying patches with somebody else's RFC 6902."""

    def __init__(self, instance: str = "page", router: Router | None = None) -> None:
        self.instance = instance
        self.router = router or Router("tab", f"/{instance}")
        self.notices: list[Notice] = []
        self.state: dict[str, Any] = {}
        self.version = -1
        self.ack = 0
        self.failures: list[Failure] = []
        self.effects: list[Effect] = []
        self.closed = False

    def send(self, notice: Notice) -> None:
        self.notices.append(notice)
        match notice:
            case Welcome():
                assert notice.state is not None, "it asked for the whole"
                self.state = copy.deepcopy({name: dict(v) for name, v in notice.state.items()})
                self.version, self.ack = notice.version, notice.ack
            case Patch():
                assert notice.version == self.version + 1, "a patch is missing"
                self.version, self.ack = notice.version, notice.ack
                self.state = jsonpatch.apply_patch(self.state, as_json(notice))
            case Ack():
                self.ack = notice.ack
            case Failure():
                self.failures.append(notice)
            case Effect():
                assert self.version >= 0, "an effect came before the welcome"
                self.effects.append(notice)

    def replace(self) -> None:
        self.close()

    def contest(self, rivals: tuple[Connection, ...], *, was_here: bool) -> None:
        raise AssertionError

    async def gives_sign(self, within: float) -> bool:
        raise AssertionError

    def close(self) -> None:
        self.closed = True

    @property
    def patches(self) -> list[Patch]:
        return [notice for notice in self.notices if isinstance(notice, Patch)]


def as_json(patch: Patch) -> list[dict[str, Any]]:
    return msgspec.to_builtins([*patch.ops])


class NoDoor:
    """A tree under test has no actor, so nobody comes through its door."""

    def enter(self, state: Any) -> Any:
        raise AssertionError

    def leave(self, error: BaseException | None) -> Any:
        raise AssertionError
