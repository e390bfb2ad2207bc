"""``python -m actorstate store``, and where state rests that is served without a word about it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from actorstate import SQLiteStore
from actorstate.__main__ import main
from actorstate.state.commit import Commit
from actorstate.state.patch import Operation
from actorstate.state.snapshot import CallRecord, TaskRecord

TOKENS: Final = ("one tab", "another")
SITE: Final = "from actorstate import App, heading\napp = App({})\napp.add_page(heading('x'))\n"


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def url(tmp_path: Path) -> str:
    trio.run(fill, tmp_path / "state.db")
    return "sqlite:///state.db"


async def fill(path: Path) -> None:
    store = SQLiteStore(path)
    for number, token in enumerate(TOKENS, 1):
        lease = (await store.load(token, lambda: None)).lease
        task = TaskRecord("root.work", (1,), "2026-01-01T00:00:00+00:00", "app")
        call = CallRecord("1.1", "root.add", ("ü",), "page")
        commit = Commit(
            number,
            (Operation("add", "/root", {"count": number, "_secret": "s"}),),
            (),
            tasks=(task,),
            done=(("page", 3),),
            calls=(call,),
            schema="s1",
            connected=("app",),
        )
        await store.commit(lease, commit)  # pyright: ignore
    await store.aclose()


def test_all_tabs_of_a_store_are_listed(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "inspect", url]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{token}  version {number}, 34 bytes, tasks: root.work, to be called: root.add"
        for number, token in sorted(enumerate(TOKENS, 1), key=lambda pair: pair[1])
    ]


def test_one_tab_is_shown_as_json(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "inspect", url, "one tab"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "version": 1,
        "values": {"root": {"count": 1, "_secret": "s"}},
        "tasks": [
            {"name": "root.work", "args": [1], "asked": "2026-01-01T00:00:00+00:00", "at": "app"}
        ],
        "done": {"page": 3},
        "connected": ["app"],
        "calls": [{"name": "root.add", "args": ["ü"], "instance": "page", "id": "1.1"}],
        "schema": "s1",
    }


def test_what_is_old_is_forgotten(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "expire", url]) == 0
    assert capsys.readouterr().out == "forgotten: 0\n"
    assert main(["store", "expire", url, "--older-than", "0s"]) == 0
    assert capsys.readouterr().out == "forgotten: 2\n"
    assert main(["store", "inspect", url]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "sqlite:///gone.db"], "there is no store"),
        (["inspect", "memory://"], "a memory store is in its process alone"),
        (["inspect", "sqlite:///state.db", "nobody"], "has nothing of the token 'nobody'"),
        (["inspect", "sqlite://state.db"], "write sqlite:///state.db"),
        (["inspect", "sqlite:///state.db?what=1"], "no option 'what'; known are: durability"),
        (["expire", "sqlite:///state.db?durability=none"], "durability=none: it is full or"),
        (["expire", "sqlite:///foreign.db"], "is no store of actorstate; it was left as it is"),
    ],
)
@pytest.mark.usefixtures("url")
def test_what_cannot_be_done_is_said_in_a_sentence(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("foreign.db").write_text("mine")
    assert main(["store", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_period_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["store", "expire", "memory://", "--older-than", "soon"])
    assert "'soon' is no period; write seconds, or a number with s, m, h" in capsys.readouterr().err


# ---- the default -------------------------------------------------------------------------------


@contextmanager
def served(*arguments: str) -> Generator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "actorstate", "run", *arguments, "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert "actorstate serves" in process.stdout.readline()
            yield process
        finally:
            process.kill()


def test_an_app_without_a_store_is_served_with_a_file(tmp_path: Path) -> None:
    (tmp_path / "site.py").write_text(SITE.format(""))
    with served("site.py"):
        folder = tmp_path / ".actorstate"
        assert (folder / "site.db").read_bytes()[:15] == b"SQLite format 3"
        assert (folder / ".gitignore").read_text() == "*\n"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        second = subprocess.run(
            [sys.executable, "-m", "actorstate", "run", "site.py", "--port", "0"],
            capture_output=True, text=True, check=False, timeout=20, env=dict(os.environ),
        )  # fmt: skip
        assert second.returncode == 2
        assert "it is in use by another process. Choose another place with --store" in second.stderr


@pytest.mark.parametrize(
    ("options", "arguments"), [("store=MemoryStore()", []), ("", ["--store", "memory://"])]
)
def test_an_app_with_a_store_makes_no_file(
    tmp_path: Path, options: Any, arguments: list[str]
) -> None:
    site = "from actorstate import MemoryStore\n" + SITE.format(options)
    (tmp_path / "site.py").write_text(site)
    with served("site.py", *arguments):
        assert not (tmp_path / ".actorstate").exists()
