"""The command line: ``python -m actorstate run examples/background_task.py``."""

from __future__ import annotations

import argparse
import functools
import gc
import importlib
import logging
import runpy
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
        store = open_store(options.store) if options.store else None
        trio.run(functools.partial(_serve, load_app(options.target), options, store))
    except (UsageError, ValueError, OSError) as error:
        print(f"actorstate: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="actorstate", description="Server-driven UIs on actors.")
    commands = parser.add_subparsers(required=True, metavar="command")
    run = commands.add_parser("run", help="serve an app")
    run.add_argument("target", help="a Python file, a module, or module:name (default name: app)")
    run.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    run.add_argument("--port", default=8000, type=int, help="port, 0 for a free one (%(default)s)")
    run.add_argument("--store", help="where state rests, as in memory:// (the app's own)")
    run.add_argument(
        "--log-level",
        default="info",
        choices=("debug", "info", "warning", "error"),
        help="least severity that is logged (%(default)s)",
    )
    return parser


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
    sys.path.insert(0, str(path.resolve().parent))  # as python itself does for a script
    return runpy.run_path(str(path), run_name=path.stem)


def _import_module(name: str) -> dict[str, Any]:
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
    if store is not None:
        app.use_store(store)
    _spare_the_collector()
    stopped = trio.CancelScope()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with app:
            app.start_soon(_cancel_at_first, signals, stopped)
            with stopped:
                announcement = _Announcement(options.target)
                await app.serve(options.host, options.port, task_status=announcement)
    if store is not None:
        await store.aclose()


def _spare_the_collector() -> None:
    """Take what is imported by now out of the garbage collector's rounds, and make them rarer.

    None of it will be garbage, and a turn makes no cycles. Worth 5 to 8 % of the round trips a
    second on 100 sockets. Here and not in `App.serve`, because the process is ours here alone.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECTOR_THRESHOLD)


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
