"""The rooms: imports point down the list, and each keeps to what it may know."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import actorstate

PACKAGE = Path(__file__).parent.parent / "actorstate"
MODULES = sorted(PACKAGE.rglob("*.py"))

# From the top down; each may import those below it, and itself.
ROOMS = [
    "__init__",
    "__main__",
    "testing",
    "reflex",
    "app",
    "web",
    "ui",
    "actors",
    "stores",
    "state",
    "exceptions",
]


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[str, ast.stmt]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports name the module in full"
            yield node.module or "", node


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down_the_list(path: Path) -> None:
    here = ROOMS.index(room(name_of(path)))
    for target, node in imports(path):
        if target.startswith("actorstate."):
            there = ROOMS.index(room(target))
            assert here <= there, f"{name_of(path)}:{node.lineno} imports {target}"


ROOMS_OF_MANY = [path for path in MODULES if path.name == "__init__.py" and path.parent != PACKAGE]


@pytest.mark.parametrize("path", ROOMS_OF_MANY, ids=name_of)
def test_the_map_of_a_room_names_all_that_is_in_it(path: Path) -> None:
    its_map = ast.get_docstring(ast.parse(path.read_text())) or ""
    lines = [line.removeprefix("- ").split() for line in its_map.splitlines()]
    named = {words[0].strip("`") for words in lines if words}
    inside = [
        *path.parent.glob("*.py"),
        *(init.parent for init in path.parent.glob("*/__init__.py")),
    ]
    assert {one.stem for one in inside} - {"__init__"} <= named


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_stand_at_the_top(path: Path) -> None:
    tree = ast.parse(path.read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for function in (node for node in ast.walk(tree) if isinstance(node, functions)):
        for node in ast.walk(function):
            assert not isinstance(node, ast.Import | ast.ImportFrom), f"{path}:{node.lineno}"


@pytest.mark.parametrize(
    ("library", "rooms"),
    [
        ("trio", {"__main__", "testing", "app", "web", "actors", "stores"}),
        ("trio_websocket", {"testing", "web"}),
        ("h11", {"web"}),
        ("pykka", {"actors", "exceptions"}),
        ("msgspec", {"state", "web", "stores"}),
        ("cattrs", {"state", "web"}),
        ("hypothesis", {"testing"}),
        ("coredis", {"stores"}),
        ("trio_asyncio", {"actors"}),
    ],
)
def test_a_library_is_known_to_its_rooms_alone(library: str, rooms: set[str]) -> None:
    users = {room(name_of(p)) for p in MODULES for t, _ in imports(p) if t.split(".")[0] == library}
    assert users <= rooms


def test_only_one_room_knows_reflexs_names() -> None:
    """But for its own name, which stands in the map of the package."""
    others = [path for path in PACKAGE.rglob("*.*") if PACKAGE / "reflex" not in path.parents]
    for path in others:
        if path.suffix in {".py", ".js", ".css"}:
            times = path.read_text().lower().count("reflex")
            assert times == (1 if path == PACKAGE / "__init__.py" else 0), path
    for path in others:
        if path in MODULES:
            named = {target for target, _ in imports(path)}
            assert not any(target.startswith("actorstate.reflex") for target in named), path


def test_state_awaits_nothing() -> None:
    for path in (PACKAGE / "state").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.AsyncWith), path


def test_only_the_runtime_knows_pykkas_private_names() -> None:
    for path in MODULES:
        for target, node in imports(path):
            names = [alias.name for alias in getattr(node, "names", [])]
            private = "._" in target or any(name.startswith("_") for name in names)
            if target.startswith("pykka") and private:
                assert path.name == "runtime.py", f"{path}:{node.lineno}"


def test_only_an_app_with_asyncio_imports_what_knows_trio_asyncio() -> None:
    knowing = {name_of(p) for p in MODULES for t, _ in imports(p) if t == "trio_asyncio"}
    assert knowing == {f"actorstate.actors.asyncio_{name}" for name in ("flavor", "handlers")}
    for path in MODULES:
        if name_of(path) not in knowing:
            assert not knowing & {target for target, _ in imports(path)}, path


def test_no_function_is_longer_than_one_breath() -> None:
    """Sixty lines, docstring and comments not counted: the longest in h11 has 58."""
    for path in MODULES:
        source = path.read_text()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                length = (node.end_lineno or 0) - body[0].lineno if body else 0
                assert length < 60, f"{path.name}: {node.name} has {length} lines"


def test_what_is_public_says_that_it_comes_from_the_package() -> None:
    names = [name for name in vars(actorstate) if not name.startswith("_")]
    public = [getattr(actorstate, name) for name in names]
    assert actorstate.App in public
    for thing in public:
        inner = getattr(thing, "__module__", "").startswith("actorstate.")
        assert not inner, thing


def test_the_client_evaluates_no_text_and_writes_no_markup() -> None:
    source = (PACKAGE / "web" / "client.js").read_text()
    for forbidden in ("eval(", "new Function", "innerHTML", "outerHTML", "insertAdjacentHTML",
                      "document.write", "setTimeout('", 'setTimeout("'):  # fmt: skip
        assert forbidden not in source
