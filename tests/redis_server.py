"""Real redis-servers for tests, each in a process of its own: to stop, kill, freeze and restart."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self, final

REDIS_SERVER: Final = shutil.which("redis-server") or "redis-server"
_STARTS_WITHIN: Final = 20.0  # seconds


@final
class RedisServer:
    """A redis-server on a free port of the loopback, which keeps what it acknowledges.

    Args:
        directory: where its files are.
        options: more of its options, as on its command line.
    """

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory: Final = directory
        self.port: Final = free_port()
        self._options: Final = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        assert self._process is None
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [REDIS_SERVER, *arguments, *durable, *self._options], stdout=log, stderr=log
            )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _STARTS_WITHIN
        while time.monotonic() < deadline:
            with suppress(OSError):
                if self._is_ready():
                    return
            assert self._process is not None
            assert self._process.poll() is None, (self.directory / "log").read_text()
            time.sleep(0.005)
        raise TimeoutError((self.directory / "log").read_text())

    def _is_ready(self) -> bool:
        try:
            return self.command("PING") == b"PONG"
        except RefusedError as error:
            return "NOAUTH" in str(error)  # it asks for a password, but it asks; else it loads

    def command(self, *parts: str | bytes | int) -> Any:
        """Send one command over a connection of its own, and give the answer."""
        with Console(self.port) as console:
            return console.command(*parts)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it if it runs."""
        if self._process is not None:
            self.thaw()
            self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait()
        self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def cut_connections(self) -> None:
        """Close the connections of all clients."""
        self.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def forget(self) -> None:
        """Let it be empty."""
        self.command("FLUSHALL")


class RefusedError(Exception):
    """The server has answered with an error."""


@final
class Console:
    """A connection to a server that waits for each answer."""

    def __init__(self, port: int) -> None:
        self._socket: Final = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._answers: Final = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._answers.close()
        self._socket.close()

    def command(self, *parts: str | bytes | int) -> Any:
        encoded = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
        bulk = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in encoded)
        self._socket.sendall(b"*%d\r\n%s" % (len(encoded), bulk))
        return self._answer()

    def _answer(self) -> Any:
        line = self._answers.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError
        kind, text = line[:1], line[1:-2]
        match kind:
            case b"+":
                return text
            case b":":
                return int(text)
            case b"-":
                raise RefusedError(text.decode())
            case b"$":
                return None if text == b"-1" else self._answers.read(int(text) + 2)[:-2]
            case _:
                return None if text == b"-1" else [self._answer() for _ in range(int(text))]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def redis_server(*options: str) -> Generator[RedisServer]:
    """A server that runs, in a directory that is removed with it."""
    with tempfile.TemporaryDirectory(prefix="redis-") as directory:
        server = RedisServer(Path(directory), *options)
        try:
            server.start()
            yield server
        finally:
            server.stop()
