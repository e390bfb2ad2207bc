"""What `test_asgi.py` serves, by Hypercorn on trio, in a process of its own.

``python asgi_sites.py NAME PORT STORE``: the app alone, or inside a Starlette or a Quart app.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
from crash_site import app
from hypercorn.config import Config
from hypercorn.trio import serve
from quart_trio import QuartTrio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from actorstate.stores.urls import open_store


def alone() -> Any:
    return app.asgi


def in_starlette() -> Any:
    async def hello(_: Request) -> PlainTextResponse:
        return PlainTextResponse("from Starlette")

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with app:
            yield

    return Starlette(routes=[Route("/hello", hello), Mount("/", app.asgi)], lifespan=lifespan)


def in_quart() -> Any:
    quart = QuartTrio("site")

    @quart.route("/hello")
    async def hello() -> str:
        return "from Quart"

    @quart.while_serving
    async def lifespan() -> AsyncGenerator[None]:
        async with app:
            yield

    quarts_own = quart.asgi_app

    async def shared(scope: Any, receive: Any, send: Any) -> None:
        is_quarts = scope["type"] == "lifespan" or scope["path"].startswith("/hello")
        await (quarts_own if is_quarts else app.asgi)(scope, receive, send)

    quart.asgi_app = shared  # pyright: ignore
    return quart


SITES: dict[str, Callable[[], Any]] = {
    "alone": alone,
    "starlette": in_starlette,
    "quart": in_quart,
}


async def asked_to_stop() -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            await app.drain()
            return


async def main(name: str, port: str, url: str) -> None:
    store = open_store(url)
    app.use_store(store)
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    try:
        await serve(SITES[name](), config, shutdown_trigger=asked_to_stop)
    finally:
        with trio.CancelScope(shield=True):
            await store.aclose()


if __name__ == "__main__":
    trio.run(partial(main, *sys.argv[1:]))
