"""The command line: ``python -m actorstate run examples/background_task.py``."""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.util
import logging
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

import trio

from actorstate.app import App
from actorstate.stores.base import Store
from actorstate.stores.urls import open_store

_DEFAULT_NAME: Final = "app"
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
    logging.basicConfig(
        level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        store = _open_store(options.store) if options.store else None
        trio.run(_serve, load_app(options.target), options, store)
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
    run.add_argument("--store", help="where state rests, as in memory:// (the app's own)")
    run.add_argument(
        "--log-level",
        default="info",
        choices=("debug", "info", "warning", "error"),
        help="least severity that is logged (%(default)s)",
    )
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _HIGHEST_PORT:
        message = f"{text!r} is no port; it takes a number from 0 to {_HIGHEST_PORT}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _open_store(url: str) -> Store:
    try:
        return open_store(url)
    except ValueError as error:
        message = f"--store: {error}"
        raise UsageError(message) from error


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
    _spare_the_collector()
    stopped = trio.CancelScope()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with app:
            app.start_soon(_cancel_at_first, signals, stopped)
            with stopped:
                await _serve_here(app, options)


def _spare_the_collector() -> None:
    """Take what is imported by now out of the garbage collector's rounds, and make them rarer.

    None of it will be garbage, and a turn makes no cycles. Saved about 8 % of the server's time
    on 100 busy sockets. Here and not in `App.serve`: the process is ours here alone.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECTOR_THRESHOLD)


async def _serve_here(app: App, options: argparse.Namespace) -> None:
    announcement = _Announcement(options.target)
    try:
        await app.serve(options.host, options.port, task_status=announcement)
    except OSError as error:
        reason = error.strerror or error
        message = f"cannot serve on --host {options.host} --port {options.port}: {reason}"
        raise UsageError(message) from error


async def _cancel_at_first(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()


class _Announcement(trio.TaskStatus[str]):
    """Prints the address when the server listens on it."""

    def __init__(self, target: str) -> None:
        self._target: Final = target

    def started(self, value: str | None = None) -> None:
        print(f"actorstate serves {self._target} at {value} (Ctrl-C stops it)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
