"""The turn of one token as a block, for code that is no handler: `App.modify_state` is one."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Final, final

import trio

from actorstate.actors.door import Block, TokenDoor, leave_own
from actorstate.actors.foreign_blocks import ThreadBlock
from actorstate.state.state import State


@final
class ModifyState:
    """The turn of one token, as a block. Made by `App.modify_state`; for one use.

    Args:
        open_door: gives the door of the token.
    """

    def __init__(self, open_door: Callable[[], TokenDoor]) -> None:
        self._open_door: Final = open_door
        self._block: Block | None = None

    async def __aenter__(self) -> State:
        if self._block is not None:
            message = "this block was used already; call app.modify_state(token) for each"
            raise RuntimeError(message)
        self._block = self._open_door().new_block()
        return (await self._block.enter()).tree.root

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._block is not None
        await leave_own(self._block, exc)


@final
class ModifyStateFromThread:
    """The turn of one token, as a block in a thread. Made by `App.modify_state_from_thread`.

    Args:
        open_door: gives the door of the token, in the trio thread.
        find_trio: gives the trio run that the app is in.
    """

    def __init__(
        self,
        open_door: Callable[[], TokenDoor],
        find_trio: Callable[[], trio.lowlevel.TrioToken],
    ) -> None:
        self._open_door: Final = open_door
        self._find_trio: Final = find_trio
        self._block: ThreadBlock | None = None

    def __enter__(self) -> State:
        if self._block is not None:
            message = (
                "this block was used already; call app.modify_state_from_thread(token) for each"
            )
            raise RuntimeError(message)
        self._block = ThreadBlock(self._open_door, self._find_trio())
        return self._block.enter().tree.root

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._block is not None
        self._block.leave(exc)
