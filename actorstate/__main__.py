"""The command line: ``python -m actorstate run examples/background_task.py``."""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.util
import logging
import signal
import ssl
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import trio

from actorstate.app import App
from actorstate.exceptions import SnapshotError, StoreError
from actorstate.stores.base import Store
from actorstate.stores.inspect import as_text, lines, seconds_of
from actorstate.stores.sqlite import SQLiteStore
from actorstate.stores.urls import open_store
from actorstate.web.origins import read_origin
from actorstate.web.peers import read_proxy

T = TypeVar("T")

_DEFAULT_NAME: Final = "app"
_DEFAULT_FOLDER: Final = ".actorstate"
_HIGHEST_PORT: Final = 65_535
_COLLECTOR_THRESHOLD: Final = 20_000  # allocations between two rounds; Python's default is 700


class UsageError(Exception):
    """The command line asks for something that is not there."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; give the status to exit with.

    Args:
        arguments: instead of those of the process.
    """
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except UsageError as error:
        print(f"actorstate: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before the server was there to be asked
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="actorstate", description="Server-driven UIs on actors.")
    commands = parser.add_subparsers(required=True, metavar="command")
    run = commands.add_parser("run", help="serve an app")
    run.add_argument("target", help="a Python file, a module, or module:name (default name: app)")
    run.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    run.add_argument(
        "--port", default=8000, type=_port, help="port, 0 for a free one (%(default)s)"
    )
    _add_entrance_options(run)
    run.add_argument(
        "--store",
        help="where state rests: memory://, sqlite:///state.db (the app's own; if it has none, "
        "the SQLite file .actorstate/TARGET.db)",
    )
    run.add_argument(
        "--log-level",
        default="info",
        choices=("debug", "info", "warning", "error"),
        help="least severity that is logged (%(default)s)",
    )
    run.set_defaults(run=_run)
    _add_store_commands(commands.add_parser("store", help="look after what is stored"))
    return parser


def _add_entrance_options(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "--allowed-origin",
        action="append",
        default=[],
        type=_as_argument(read_origin),
        metavar="ORIGIN",
        help="whose pages may open a socket, beside those from here, as https://shop.example; "
        "may be given several times",
    )
    run.add_argument(
        "--trusted-proxy",
        action="append",
        default=[],
        type=_as_argument(read_proxy),
        metavar="ADDRESS",
        help="a proxy in front, or a network of them, as 10.0.0.0/8: what it says in "
        "X-Forwarded-For and X-Forwarded-Proto is believed; may be given several times",
    )
    run.add_argument("--certfile", help="certificate for TLS, with those that vouch for it (PEM)")
    run.add_argument("--keyfile", help="its private key, if it is not in the same file")


def _add_store_commands(store: argparse.ArgumentParser) -> None:
    commands = store.add_subparsers(required=True, metavar="command")
    inspect = commands.add_parser("inspect", help="show what is stored")
    inspect.add_argument("url", help="the store, as in sqlite:///.actorstate/app.db")
    inspect.add_argument("token", nargs="?", help="the tab to show in full (a line for each tab)")
    inspect.set_defaults(run=_inspect_at)
    expire = commands.add_parser("expire", help="forget tabs that nobody has used for long")
    expire.add_argument("url", help="the store")
    expire.add_argument(
        "--older-than",
        default=30 * 86_400.0,
        type=_as_argument(seconds_of),
        metavar="TIME",
        help="time since their last change: seconds, or as in 90m, 24h, 7d (30d)",
    )
    expire.set_defaults(run=_expire_at)


def _as_argument(read: Callable[[str], T]) -> Callable[[str], T]:
    """Let the command line say what a reader says of a text that it refuses."""

    def argument(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return argument


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _HIGHEST_PORT:
        message = f"{text!r} is no port; it takes a number from 0 to {_HIGHEST_PORT}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _run(options: argparse.Namespace) -> None:
    logging.basicConfig(
        level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    options.ssl_context = _open_certificate(options.certfile, options.keyfile)
    store = _open_store(options.store) if options.store else None
    app = load_app(options.target)
    if store is None and not app.was_given_store:
        store = _open_default_store(options.target)
    trio.run(_serve, app, options, store)


def _open_certificate(certfile: str | None, keyfile: str | None) -> ssl.SSLContext | None:
    if certfile is None:
        if keyfile is not None:
            message = "--keyfile is for --certfile, which is not given"
            raise UsageError(message)
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certfile, keyfile)
    except OSError as error:  # an SSLError is one
        message = f"--certfile {certfile}: {error.strerror or error}"
        raise UsageError(message) from error
    return context


def _open_store(url: str, *, read_only: bool = False) -> Store:
    try:
        return open_store(url, read_only=read_only)
    except (ValueError, StoreError) as error:
        message = f"--store: {error}" if not read_only else str(error)
        raise UsageError(message) from error


def _open_default_store(target: str) -> Store:
    """Open the file of an app, in a folder of the place where it is started.

    For its owner's eyes: who can read a token is its tab. And not to be checked in.
    """
    place = target.partition(":")[0]
    name = Path(place).stem if place.endswith(".py") else place
    folder = Path(_DEFAULT_FOLDER)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / ".gitignore").write_text("*\n")
        return SQLiteStore(folder / f"{name}.db")
    except OSError as error:  # StoreError is one
        message = f"{error}. Choose another place with --store, or memory:// for none"
        raise UsageError(message) from error


def _inspect_at(options: argparse.Namespace) -> None:
    trio.run(_inspect, options.url, options.token)


def _expire_at(options: argparse.Namespace) -> None:
    trio.run(_expire, options.url, options.older_than)


async def _inspect(url: str, token: str | None) -> None:
    store = _open_store(url, read_only=True)
    async with _closing(store):
        if token is None:
            async for line in lines(store):
                print(line)
            return
        snapshot = await store.peek(token)
        if snapshot is None:
            message = f"{url} has nothing of the token {token!r}"
            raise UsageError(message)
        print(as_text(snapshot))


async def _expire(url: str, older_than: float) -> None:
    store = _open_store(url)
    async with _closing(store):
        print(f"forgotten: {await store.expire(older_than)}")


@asynccontextmanager
async def _closing(store: Store) -> AsyncGenerator[None]:
    """Close a store in the end; what it cannot do is said in a sentence."""
    try:
        yield
    except (StoreError, SnapshotError) as error:
        raise UsageError(str(error)) from error
    finally:
        with trio.CancelScope(shield=True):
            await store.aclose()


def load_app(target: str) -> App:
    """Import the app that a target names.

    Args:
        target: ``path/to/file.py``, ``package.module`` or ``package.module:name``; of a file,
            too, another name than ``app`` may be given after a colon.

    Raises:
        UsageError: there is no such file, module or name, or it is not an `App`.
    """
    place, _, name = target.partition(":")
    names = _run_file(Path(place)) if place.endswith(".py") else _import_module(place)
    app = names.get(name or _DEFAULT_NAME)
    if not isinstance(app, App):
        found = "there is none" if app is None else f"it is {app!r}"
        message = f"{place} should have an App named {name or _DEFAULT_NAME!r}, but {found}"
        raise UsageError(message)
    return app


def _run_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        message = f"there is no file {path}"
        raise UsageError(message)
    folder, package = _package_around(path)
    sys.path.insert(0, str(folder))  # as python itself does for a script
    if package:
        return vars(importlib.import_module(f"{package}.{path.stem}"))
    # A module as any other, so that what it defines stays, and annotations find their names; but
    # not in the place of one that is there already, such as the library that it is called after.
    name = path.stem if path.stem not in sys.modules else f"{path.stem} (served)"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)


def _package_around(path: Path) -> tuple[Path, str]:
    """Give the folder from which a file is imported, and the package that it is in, if any.

    A file of a package imports its neighbours by the package's name, so it has to be in it.
    """
    folder, names = path.resolve().parent, list[str]()
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(names)


def _import_module(name: str) -> dict[str, Any]:
    if not all(part.isidentifier() for part in name.split(".")):
        message = f"{name!r} is neither a Python file nor the name of a module"
        raise UsageError(message)
    sys.path.insert(0, str(Path.cwd()))  # as python -m does
    try:
        return vars(importlib.import_module(name))
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there; what it imports is not
        message = f"there is no module {name!r}"
        raise UsageError(message) from error


async def _serve(app: App, options: argparse.Namespace, store: Store | None) -> None:
    """Serve until SIGINT or SIGTERM; a server that is asked to stop, and does, has succeeded."""
    if store is None:
        await _serve_until_stopped(app, options)
        return
    app.use_store(store)
    try:
        await _serve_until_stopped(app, options)
    finally:
        with trio.CancelScope(shield=True):
            await store.aclose()


async def _serve_until_stopped(app: App, options: argparse.Namespace) -> None:
    """The first signal asks it to stop, and the second to do so at once."""
    _spare_the_collector()
    _take_all_files()
    problem: str | None = None
    with (
        trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals,
        trio.CancelScope() as everything,
    ):
        async with app, trio.open_nursery() as nursery:
            nursery.start_soon(_hear, signals, app, everything)
            problem = await _serve_here(app, options)
            nursery.cancel_scope.cancel()
    if problem is not None:
        raise UsageError(problem)


def _take_all_files() -> None:
    """Take as many open files as the system gives: each connection is one.

    What a process begins with, often 1,024, is for programs of another kind.
    """
    with suppress(ImportError, OSError, ValueError):  # a system without, or one that gives no more
        resource = importlib.import_module("resource")
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _spare_the_collector() -> None:
    """Take what is imported by now out of the garbage collector's rounds, and make them rarer.

    None of it will be garbage, and a turn makes no cycles. Saved about 8 % of the server's time
    on 100 busy sockets. Here and not in `App.serve`: the process is ours here alone.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECTOR_THRESHOLD)


async def _serve_here(app: App, options: argparse.Namespace) -> str | None:
    """Serve until the app stops; give what is wrong if it cannot."""
    announcement = _Announcement(options.target)
    try:
        await app.serve(
            options.host,
            options.port,
            allowed_origins=options.allowed_origin,
            trusted_proxies=options.trusted_proxy,
            ssl_context=options.ssl_context,
            task_status=announcement,
        )
    except StoreError as error:
        return f"cannot serve: {error}"
    except OSError as error:
        reason = error.strerror or error
        return f"cannot serve on --host {options.host} --port {options.port}: {reason}"
    return None


async def _hear(signals: AsyncIterator[int], app: App, everything: trio.CancelScope) -> None:
    is_asked = False
    async for _ in signals:
        if is_asked:
            everything.cancel()
        is_asked = True
        app.stop()


class _Announcement(trio.TaskStatus[str]):
    """Prints the address when the server listens on it."""

    def __init__(self, target: str) -> None:
        self._target: Final = target

    def started(self, value: str | None = None) -> None:
        print(f"actorstate serves {self._target} at {value} (Ctrl-C stops it)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
