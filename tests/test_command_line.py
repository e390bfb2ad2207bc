"""``python -m actorstate``, as it is typed."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from actorstate import App, State
from actorstate.__main__ import UsageError, load_app, main

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)  # where the store of an app that has none is made


@contextmanager
def running(*arguments: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    """Start the command line in a process of its own; give it and the address it prints."""
    command = [sys.executable, "-m", "actorstate", "run", *arguments, "--port", "0"]
    with (
        TemporaryDirectory() as here,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=here
        ) as process,
    ):
        assert process.stdout is not None
        try:
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found is not None
            yield process, found.group()
        finally:
            process.kill()


@pytest.mark.parametrize(
    "target", ["background_task.py", "fetch.py", "search.py", "kettle.py", "demo.py"]
)
def test_the_examples_are_served(target: str) -> None:
    with running(str(EXAMPLES / target)) as (_, address):
        page = urllib.request.urlopen(address)  # noqa: S310 - our own
        with page:
            assert page.status == 200
            assert b"<h1" in page.read()


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_within_a_second_without_a_traceback(sign: signal.Signals) -> None:
    with running(str(EXAMPLES / "background_task.py")) as (process, _):
        started = time.monotonic()
        process.send_signal(sign)
        _, errors = process.communicate(timeout=10)
        assert process.returncode == 0
        assert errors == ""
        assert time.monotonic() - started < 1


def test_a_module_may_be_named_with_the_name_of_its_app(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site_of_mine.py").write_text(
        "from actorstate import App\napp = App()\nother = App()\n"
    )
    monkeypatch.chdir(tmp_path)
    assert isinstance(load_app("site_of_mine"), App)
    assert load_app("site_of_mine:other") is not load_app("site_of_mine:app")
    assert isinstance(load_app("site_of_mine.py:other"), App)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nowhere.py", "there is no file nowhere.py"),
        ("nowhere_at_all", "there is no module 'nowhere_at_all'"),
        ("json", "json should have an App named 'app', but there is none"),
        ("json:loads", "named 'loads', but it is <function loads"),
    ],
)
def test_a_target_without_an_app_says_what_is_missing(target: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_app(target)


def test_what_a_module_fails_to_import_is_not_taken_for_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site_with_a_mistake.py").write_text("import not_installed_at_all\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_installed_at_all"):
        load_app("site_with_a_mistake")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nowhere.py"], "actorstate: there is no file nowhere.py"),
        (
            ["run", str(EXAMPLES / "fetch.py"), "--store", "carrier-pigeon://"],
            "actorstate: --store: no store for 'carrier-pigeon://'; known are: memory://",
        ),
        (["run", "x", "--store", "redis://[bad"], "actorstate: --store: "),
        (["run", ".foo"], "'.foo' is neither a Python file nor the name of a module"),
        (
            ["run", str(EXAMPLES / "fetch.py"), "--host", "nohost.invalid"],
            "cannot serve on --host nohost.invalid --port 8000: ",
        ),
    ],
)
def test_wrong_arguments_end_with_a_sentence_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("port", ["99999", "-1", "http", ""])
def test_what_is_no_port_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", "x.py", f"--port={port}"])
    assert caught.value.code == 2
    assert "is no port; it takes a number from 0 to 65535" in capsys.readouterr().err


def test_what_a_file_defines_stays_and_may_be_called_as_a_library(tmp_path: Path) -> None:
    site = tmp_path / "json.py"
    site.write_text(
        "from actorstate import App, State, heading\n"
        "class OfTheFile(State):\n    count: int = 0\n"
        "app = App()\napp.add_page(lambda: heading(OfTheFile.count))\n"
    )
    assert isinstance(load_app(str(site)), App)
    gc.collect()
    assert "of_the_file" in State.definition().substates
    assert json.dumps([1]) == "[1]"
    del State.definition().substates["of_the_file"]


def test_a_file_of_a_package_finds_its_neighbours(tmp_path: Path) -> None:
    inner = tmp_path / "shop_of_mine" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent):
        (folder / "__init__.py").write_text("")
    (inner / "pages.py").write_text("from actorstate import heading\nshown = heading('x')\n")
    (inner / "shop.py").write_text(
        "from actorstate import App\n"
        "from shop_of_mine.inner.pages import shown\nfrom .pages import shown as same\n"
        "assert shown is same\napp = App()\napp.add_page(shown)\n"
    )
    assert isinstance(load_app(str(inner / "shop.py")), App)
    assert sys.path[0] == str(tmp_path)


def test_a_port_that_is_taken_is_said_plainly() -> None:
    target = str(EXAMPLES / "background_task.py")
    with running(target, "--store", "memory://") as (_, address):
        port = address.rpartition(":")[2]
        done = subprocess.run(
            [sys.executable, "-m", "actorstate", "run", target, "--port", port, "--store", "memory://"],
            capture_output=True, text=True, timeout=20, check=False, env=dict(os.environ),
        )  # fmt: skip
    assert done.returncode == 2
    assert f"cannot serve on --host 127.0.0.1 --port {port}: Address already" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_examples_are_short() -> None:
    for name in ("background_task.py", "fetch.py"):
        assert len((EXAMPLES / name).read_text().splitlines()) < 60
