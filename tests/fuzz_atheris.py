"""Fuzzing that looks which code its inputs reach: ``make fuzz``, where atheris can be had.

A server in a thread of this process is sent what atheris makes up; whatever it logs as an error, or
does not answer, is a find, and its input is kept in ``.fuzz/``. To do one again:
``PYTHONPATH=tests python tests/fuzz_atheris.py .fuzz/crash-...``.
"""

from __future__ import annotations

import importlib
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(".fuzz")
SECONDS: Final = int(os.environ.get("FUZZ_SECONDS", "60"))
MISSING: Final = "atheris is not to be had for this Python: nothing was fuzzed (see `make test`)"


class Complaints(logging.Handler):
    """Keeps what the server logs as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: Final[list[str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(self.format(record))


def serve_in_thread() -> int:
    """Serve the site of the fuzz tests from now on; give its port."""
    trio, fuzz_site = importlib.import_module("trio"), importlib.import_module("fuzz_site")
    address: queue.Queue[str] = queue.Queue()

    async def serve() -> None:
        async with fuzz_site.app, trio.open_nursery() as nursery:
            address.put(await nursery.start(fuzz_site.app.serve, "127.0.0.1", 0))

    threading.Thread(target=trio.run, args=(serve,), daemon=True).start()
    return int(address.get(timeout=10).rpartition(":")[2])


def targets(port: int) -> list[Callable[[bytes], object]]:
    """Give what an input may be; its first byte says which."""
    siege = importlib.import_module("siege")
    hello = '{"t":"hello","instance":"page"}'
    last = '{"t":"event","seq":9007199254740991,"name":"target.add","args":[0]}'

    def converse(data: bytes) -> None:
        text = data.decode("utf-8", "ignore")
        for frame in siege.converse(port, [hello, text, last]):
            if frame.get("ack", 0) > 2**52 or frame["t"] == "error":
                return

    return [
        lambda data: siege.send(port, [data]),
        lambda data: siege.send_frames(port, [data]),
        converse,
    ]


def seeds() -> Iterator[bytes]:
    """Give inputs to begin with, one of each kind."""
    fuzz = importlib.import_module("fuzz")
    yield b"\0" + fuzz.upgrade(1)
    yield b"\0POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    yield b"\1" + fuzz.websocket_frame(b'{"t":"hello","instance":"page"}')
    yield b"\1" + fuzz.websocket_frame(b"x", fin=False) + fuzz.websocket_frame(b"y", opcode=0)
    yield (
        b"\2"
        + fuzz.event("target.put", [[{"name": "x"}], {"a": 1}]).replace('"@seq"', "1").encode()
    )


def main() -> None:
    """Fuzz for a while, or do one input again."""
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        sys.exit(MISSING)
    with atheris.instrument_imports(include=["actorstate", "h11", "wsproto", "trio_websocket"]):
        importlib.import_module("fuzz_site")
    complaints, port = Complaints(), serve_in_thread()
    logging.getLogger("actorstate").addHandler(complaints)
    chosen = targets(port)

    def one_input(data: bytes) -> None:
        if data:
            chosen[data[0] % len(chosen)](data[1:])
        assert complaints.heard == [], "\n".join(complaints.heard)

    FOLDER.mkdir(exist_ok=True)
    for number, seed in enumerate(seeds()):
        (FOLDER / f"seed-{number}").write_bytes(seed)
    options = [f"-max_total_time={SECONDS}", f"-artifact_prefix={FOLDER}/", str(FOLDER)]
    atheris.Setup([sys.argv[0], *(sys.argv[1:] or options)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
