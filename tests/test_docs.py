"""The documentation says what the code does: its examples run, its names exist."""

from __future__ import annotations

import ast
import builtins
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
import trio
from trio_websocket import ConnectionClosed, open_websocket_url

import actorstate
from actorstate import App, State, redirect
from actorstate.actors.messages import Ack, Failure, Patch, Welcome
from actorstate.state.patch import Operation
from actorstate.web.protocol import PING, EventFrame, Hello, Pong, decode, encode
from actorstate.web.tokens import Mint

HERE = Path(__file__).parent.parent
PACKAGE = HERE / "actorstate"
README = HERE / "README.md"
PAGES = [README, *sorted((HERE / "docs").glob("*.md"))]
PROTOCOL, LIFE, GLOSSARY = (
    HERE / "docs" / name for name in ("protocol.md", "life-of-an-event.md", "glossary.md")
)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


# ---- reading pages ------------------------------------------------------------------------------


@attrs.frozen
class Fence:
    """A fenced block: what stands behind its backticks, its first line's number, its lines."""

    language: str
    line: int
    lines: list[str]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def fences(page: Path) -> list[Fence]:
    found: list[Fence] = []
    is_open = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if not line.lstrip().startswith("```"):
            if is_open:
                found[-1].lines.append(line)
            continue
        is_open = not is_open
        if is_open:
            found.append(Fence(line.strip().removeprefix("```"), number + 1, []))
    assert not is_open, f"{page.name}: the block at line {found[-1].line} is not closed"
    return found


def program(page: Path) -> str:
    """Give the page's Python blocks as one program, each line where it stands in the page."""
    lines: list[str] = []
    for fence in fences(page):
        if fence.language == "python":
            lines += [""] * (fence.line - 1 - len(lines)) + fence.lines
    return "\n".join(lines) + "\n"


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def section(page: Path, title: str) -> str:
    """Give what stands under a heading, down to the next one of any level."""
    parts = re.split(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[title]


# ---- every page ---------------------------------------------------------------------------------


def printed(page: Path) -> str:
    """Give what a page says that its examples print: the blocks of text under "It prints:"."""
    blocks = re.findall(
        r"^It prints:\n\n```text\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE
    )
    return "".join(blocks)


@every_page
def test_the_examples_run_in_the_order_in_which_they_stand(page: Path, tmp_path: Path) -> None:
    code = program(page)
    if not code.strip():
        return
    script = tmp_path / f"page_{page.stem}.py"  # a page may be about a module of that name
    script.write_text(code)
    command = [sys.executable, "-W", "error", str(script)]
    done = subprocess.run(
        command, cwd=HERE, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{page.name} (lines are those of the page):\n{done.stderr}"
    assert done.stdout == printed(page)


def test_a_page_that_shows_what_is_printed_is_compared_with_it() -> None:
    assert "No shorter schedule breaks it." in printed(HERE / "docs" / "testing.md")


@every_page
def test_no_example_is_exempt_from_running(page: Path) -> None:
    for fence in fences(page):
        is_python = re.match(r"py|[Pp]ython", fence.language) is not None
        assert fence.language == "python" or not is_python, f"line {fence.line}: {fence.language}"
        assert fence.language, f"line {fence.line}: a block without a language"


@every_page
def test_lines_are_at_most_100_characters(page: Path) -> None:
    lines = enumerate(page.read_text().splitlines(), 1)
    assert [number for number, line in lines if len(line) > 100] == []


@every_page
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose(page)):
        assert (page.parent / target).exists(), target


def test_the_readme_is_one_screen() -> None:
    assert len(README.read_text().splitlines()) <= 70


# ---- names --------------------------------------------------------------------------------------


@attrs.frozen
class Names:
    """What the package defines, by module and by class."""

    modules: dict[str, set[str]]
    classes: dict[str, set[str]]

    def __contains__(self, name: str) -> bool:
        if name.endswith("/"):
            return (PACKAGE / name).is_dir() or (HERE / name).is_dir()
        if re.search(r"\.(py|js|css)$", name):
            return (PACKAGE / name).is_file()
        if "/" in name:
            module, _, member = name.partition(".")
            return member in self.modules.get(module, set())
        owner, _, member = name.partition(".")
        if owner in self.classes:
            return not member or member in self.classes[owner]
        return not member and (hasattr(actorstate, name) or hasattr(builtins, name))


def names_of_the_package() -> Names:
    modules: dict[str, set[str]] = {}
    classes: defaultdict[str, set[str]] = defaultdict(set)
    bases: defaultdict[str, set[str]] = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        module = ast.parse(path.read_text())
        modules[path.relative_to(PACKAGE).with_suffix("").as_posix()] = set(_bound(module.body))
        for node in ast.walk(module):
            if isinstance(node, ast.ClassDef):
                classes[node.name] |= set(_bound(node.body)) | set(_own_attributes(node))
                bases[node.name] |= {base.id for base in node.bases if isinstance(base, ast.Name)}
    for name in classes:
        for base in bases[name] & set(classes):
            classes[name] |= classes[base]
    return Names(modules, classes)


def _bound(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        match node:
            case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name):
                yield name
            case ast.AnnAssign(target=ast.Name(name)):
                yield name
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))
            case _:
                pass


def _own_attributes(node: ast.ClassDef) -> Iterator[str]:
    for inner in ast.walk(node):
        match inner:
            case ast.Attribute(value=ast.Name("self"), attr=name, ctx=ast.Store()):
                yield name
            case _:
                pass


# As in `web/` or `web/protocol.decode`; `TurnBlock.leave` or `_NEXT.get`; `TurnBlock`.
PATH = r"(?:\w+/)+(?:\w+(?:\.\w+)?)?"
DOTTED = r"[A-Z_]\w*\.\w+"
CAMEL = r"[A-Z][a-z]+\w*"


def names_in(page: Path, pattern: str) -> set[str]:
    quoted = re.findall(r"`([^`]+)`", prose(page))
    return {name for name in quoted if re.fullmatch(pattern, name)}


@pytest.mark.parametrize("page", [LIFE, GLOSSARY], ids=lambda page: page.name)
def test_the_modules_classes_and_methods_that_are_named_exist(page: Path) -> None:
    known = names_of_the_package()
    named = names_in(page, f"{PATH}|{DOTTED}|{CAMEL}")
    assert len(named) > 20
    assert {name for name in named if name not in known} == set()


def test_the_tests_that_are_named_exist() -> None:
    files = (HERE / "tests").glob("test_*.py")
    known = {name for file in files for name in re.findall(r"def (test_\w+)", file.read_text())}
    named = names_in(HERE / "docs" / "security.md", r"test_\w+")
    assert len(named) > 50
    assert named - known == set()


def test_the_functions_of_the_client_that_are_named_exist() -> None:
    steps = re.split(r"^\d+\. ", section(LIFE, "An event, step by step"), flags=re.MULTILINE)
    script = (PACKAGE / "web" / "client.js").read_text()
    named = [
        name
        for step in steps
        if "`web/client.js`" in step
        for name in re.findall(r"`([a-z]\w*)`", step.partition("\n\n")[0])
    ]
    assert len(named) >= 3
    assert [name for name in named if f"  function {name}(" not in script] == []


@pytest.mark.parametrize(
    "name",
    ["actors/turn.py", "web/protocol.decod", "TurnBlock.exit", "Turns", "NoSuch.name", "sate/"],
)
def test_a_name_that_does_not_exist_would_be_found(name: str) -> None:
    assert re.fullmatch(f"{PATH}|{DOTTED}|{CAMEL}", name)
    assert name not in names_of_the_package()


def test_the_glossary_is_sorted_and_has_no_word_twice() -> None:
    words = re.findall(r"^\| ([a-z, ]+) \| .* \|$", GLOSSARY.read_text(), re.MULTILINE)[1:]
    assert words == sorted(words)
    assert len(words) == len(set(words)) > 40


# ---- the protocol -------------------------------------------------------------------------------


def codes_in_the_package() -> set[str]:
    """The first word in calls of ``Failure``; the second of ``reject``, which passes it on."""
    codes: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(ast.Name("Failure"), args=[ast.Constant(value=code), *_]):
                    codes.add(str(code))
                case ast.Call(
                    ast.Attribute(attr="reject" | "warn"), args=[_, ast.Constant(value=code), *_]
                ):
                    codes.add(str(code))
                case _:
                    pass
    assert len(codes) >= 6
    return codes


def frame_types_in_the_package() -> set[str]:
    types: set[str] = set()
    for path in (PACKAGE / "web").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Dict(keys=[ast.Constant("t"), *_], values=[ast.Constant(str(kind)), *_]):
                    types.add(kind)
                case ast.keyword("tag", ast.Constant(str(kind))):
                    types.add(kind)
                case _:
                    pass
    return types


def close_codes_in_the_package() -> set[int]:
    """The public whole numbers of ``web/`` that lie where RFC 6455 has its codes."""
    codes: set[int] = set()
    for path in (PACKAGE / "web").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            match node:
                case ast.AnnAssign(ast.Name(name), value=ast.Constant(int(code))):
                    if not name.startswith("_") and 1000 <= code <= 4999:
                        codes.add(code)
                case _:
                    pass
    return codes


def documented_fields() -> dict[str, dict[str, str]]:
    """By frame type, the fields of its table, each with what the table says of its type."""
    kinds = re.findall(r"^### `(\w+)`$", PROTOCOL.read_text(), re.MULTILINE)
    rows = r"^\| `(\w+)` \| ([^|]*) \|"
    return {k: dict(re.findall(rows, section(PROTOCOL, f"`{k}`"), re.MULTILINE)) for k in kinds}


def test_all_error_codes_are_documented_and_no_others() -> None:
    documented = re.findall(r"^- `(\w+)`:", section(PROTOCOL, "Error codes"), re.MULTILINE)
    assert sorted(documented) == sorted(codes_in_the_package())


def test_all_close_codes_are_documented_and_no_others() -> None:
    documented = re.findall(r"^- (\d{4}):", section(PROTOCOL, "Close codes"), re.MULTILINE)
    assert {int(code) for code in documented} == close_codes_in_the_package()


def test_all_frame_types_are_documented_and_no_others() -> None:
    assert set(documented_fields()) == frame_types_in_the_package()
    assert {"hello", "event", "welcome", "patch", "ack", "effect", "error"} <= set(
        documented_fields()
    )


def effects_in_the_package() -> set[str]:
    """The names in calls of ``Effect``."""
    module = ast.parse((PACKAGE / "state" / "effects.py").read_text())
    calls = [node for node in ast.walk(module) if isinstance(node, ast.Call)]
    made = [call for call in calls if ast.unparse(call.func) == "Effect"]
    return {ast.literal_eval(call.args[0]) for call in made}


def test_all_effects_are_documented_and_no_others() -> None:
    rows = r"^\| `(\w+)` \| `\w+`"
    documented = re.findall(rows, section(PROTOCOL, "The effects"), re.MULTILINE)
    assert set(documented) == effects_in_the_package()
    state_page = HERE / "docs" / "state.md"
    told = re.findall(r"`(\w+)\([\w=., ]*\)`", section(state_page, "Effects"))
    assert set(told) == effects_in_the_package()


@pytest.mark.parametrize(
    ("kind", "record"), [("hello", Hello), ("event", EventFrame), ("pong", Pong)]
)
def test_all_fields_of_frames_to_the_server_are_documented(
    kind: str, record: type[msgspec.Struct]
) -> None:
    documented = documented_fields()[kind]
    fields = {field.encode_name: field for field in msgspec.structs.fields(record)}
    assert set(documented) == set(fields)
    for name, field in fields.items():
        assert ("optional" in documented[name]) != field.required, name


@pytest.mark.parametrize(
    ("most", "least"),
    [
        (Welcome("token", 7, 4, {}), Welcome("token", 7, 4, None)),
        (Patch(8, 5, (Operation("replace", "/state.a/b", 1),), 6), Patch(8, 5, ())),
        (Ack(5), Ack(5)),
        (Failure("bad_frame", "no", 5, "$"), Failure("bad_frame", "no")),
        (redirect("/x", new_tab=True), redirect("/x")),
        (PING, PING),
    ],
)
def test_all_fields_of_frames_to_the_client_are_documented(most: Any, least: Any) -> None:
    whole, short = (json.loads(encode(notice, "session", 40.0)) for notice in (most, least))
    documented = documented_fields()[whole["t"]]
    assert {"t", *documented} == set(whole)
    optional = {name for name, said in documented.items() if "optional" in said}
    assert optional == set(whole) - set(short)


def test_the_frames_that_are_shown_are_frames() -> None:
    shown = "\n".join(fence.text for fence in fences(PROTOCOL) if fence.language == "json")
    fields, seen = documented_fields(), set[str]()
    while shown.strip():
        frame, end = json.JSONDecoder().raw_decode(shown := shown.strip())
        seen.add(frame["t"])
        if frame["t"] in ("hello", "event"):
            decode(shown[:end])
        assert set(frame) <= {"t", *fields[frame["t"]]}
        shown = shown[end:]
    assert seen == set(fields)


# ---- the client of docs/protocol.md, against a server -------------------------------------------


class DocumentedRoot(State, root=True):
    pass


class Tally(DocumentedRoot):
    count: int = 0

    def add(self, amount: int) -> None:
        self.count += amount


ADD = "documented_root.tally.add"


def documented_client() -> Callable[[str], Any]:
    block = next(f for f in fences(PROTOCOL) if "class Client" in f.text)
    namespace: dict[str, Any] = {}
    exec(compile(block.text, str(PROTOCOL), "exec"), namespace)  # noqa: S102 - our own page
    return namespace["Client"]


async def served(nursery: trio.Nursery, app: App) -> str:
    address: str = await nursery.start(app.serve, "127.0.0.1", 0)
    return address.replace("http", "ws") + "/_actorstate/ws"


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(5):
        while not condition():  # noqa: ASYNC110 - the page's client has no event to wait for
            await trio.sleep(0.005)


async def settled(client: Any) -> None:
    await until(lambda: client.version is not None and not client.waiting)


async def test_the_documented_client_sends_again_what_a_lost_connection_left_open() -> None:
    async with App(root=DocumentedRoot) as app, trio.open_nursery() as nursery:
        client = documented_client()(await served(nursery, app))
        await client.send(ADD, 1)  # before there is a connection
        nursery.start_soon(client.run)
        await settled(client)
        token = client.token

        for _ in range(3):
            await client.send(ADD, 1)
            await trio.aclose_forcefully(client.socket._stream)  # before it is acknowledged
            await client.send(ADD, 1)
            await settled(client)

        assert client.token == token
        assert client.state["documented_root.tally"] == {"count": 7}
        assert client.version == 7
        assert client.errors == []
        nursery.cancel_scope.cancel()


async def test_the_documented_client_finds_back_when_it_has_lost_track() -> None:
    async with App(root=DocumentedRoot) as app, trio.open_nursery() as nursery:
        client = documented_client()(await served(nursery, app))
        nursery.start_soon(client.run)
        await client.send(ADD, 1)
        await settled(client)

        client.version = 17
        await client.send(ADD, 1)
        await until(lambda: client.version == 2)

        assert client.state["documented_root.tally"] == {"count": 2}
        nursery.cancel_scope.cancel()


async def test_the_documented_client_begins_anew_where_its_token_is_not_known() -> None:
    async with App(root=DocumentedRoot) as app, trio.open_nursery() as nursery:
        client = documented_client()(await served(nursery, app))
        client.token = foreign = Mint(b"another server's").mint()
        nursery.start_soon(client.run)
        await client.send(ADD, 1)
        await settled(client)
        assert client.token != foreign
        assert client.state["documented_root.tally"] == {"count": 1}
        assert client.errors == []
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("subprotocols", "message", "code"),
    [([], "{}", 4002), (["actorstate.v1"], "x" * (1_048_576 + 1), 1009)],
)
async def test_the_server_closes_with_the_documented_code(
    subprotocols: list[str], message: str, code: int
) -> None:
    async with App(root=DocumentedRoot) as app, trio.open_nursery() as nursery:
        url = await served(nursery, app)
        with trio.fail_after(5):
            async with (
                open_websocket_url(url, subprotocols=subprotocols) as socket,
                socket._stream,  # which trio-websocket leaves open when the peer closes
            ):
                with suppress(ConnectionClosed):  # the server may be quicker than we
                    await socket.send_message(message)
                with pytest.raises(ConnectionClosed):
                    await socket.get_message()
        assert socket.closed is not None
        assert socket.closed.code == code
        nursery.cancel_scope.cancel()
