"""Hooks as they are declared: what the library runs, in which order, and no browser can."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

import pytest
from clients import NoDoor

from actorstate import State, StateDefinitionError, background, button, computed, event
from actorstate.exceptions import UnknownHandlerError
from actorstate.state.handlers import as_follow_ups, as_invocation
from actorstate.state.holders import hold, release
from actorstate.state.schema import Schema
from actorstate.state.task_options import TaskOptions
from actorstate.state.tree import StateTree


class Root(State, root=True):
    log: list[str] = []

    def on_connect(self) -> None:
        self.log.append("root")


class Watching(State, mixin=True):
    @background(on_disconnect="cancel")
    async def on_connect(self) -> None: ...

    def on_background_error(self, error: Exception) -> None:
        self.get_substate(Root).log.append(f"mixin: {error}")


class Zoo(Root):
    def on_connect(self) -> None:
        super().on_connect()
        self.log.append("zoo")

    def on_background_error(self, error: Exception, /) -> Iterator[Any]:
        self.log.append(str(error))
        yield

    def arrive(self) -> None:
        self.on_connect()


class Cage(Zoo):
    @event(thread=True)
    def on_disconnect(self) -> None: ...

    def show(self) -> None: ...


class Beast(Cage):
    async def on_connect(self) -> AsyncIterator[Any]:  # pyright: ignore - of any kind
        yield


class Ark(Watching, Root):
    def on_background_error(self, error: Exception) -> None:
        super().on_background_error(error)
        self.log.append("ark")


class Bare(Root):
    pass


UNTYPED: Any = Zoo


@pytest.fixture
def schema() -> Schema:
    return Schema.of(Root)


# ---- where they are -----------------------------------------------------------------------------


def test_hooks_are_no_handlers(schema: Schema) -> None:
    assert set(Zoo.definition().hooks) == {"on_connect", "on_background_error"}
    assert set(Zoo.definition().handlers) == {"arrive"}
    for name in ("root.on_connect", "root.zoo.on_connect", "root.zoo.on_background_error",
                 "root.zoo.cage.on_disconnect", "root.ark.on_connect"):  # fmt: skip
        with pytest.raises(UnknownHandlerError, match="no handler"):
            schema.handler(name)


def test_a_class_has_its_own_hooks_and_not_its_parents() -> None:
    assert set(Cage.definition().hooks) == {"on_disconnect"}
    assert set(Bare.definition().hooks) == set()
    assert Zoo.definition().hooks["on_connect"] is not Root.definition().hooks["on_connect"]
    assert UNTYPED.on_connect is Zoo.definition().hooks["on_connect"]
    assert [str(hook) for hook in Zoo.definition().hooks.values()] == [
        "Zoo.on_connect", "Zoo.on_background_error",
    ]  # fmt: skip


def test_mixins_bring_hooks_as_they_bring_handlers(schema: Schema) -> None:
    class Pond(Watching, Root):
        pass

    for cls in (Ark, Pond):
        assert {str(hook) for hook in cls.definition().hooks.values()} == {
            f"{cls.__name__}.on_connect", f"{cls.__name__}.on_background_error",
        }  # fmt: skip
    ark, pond = (cls.definition().hooks["on_background_error"] for cls in (Ark, Pond))
    assert ark.function is vars(Ark)["on_background_error"].function
    assert pond.function is vars(Watching)["on_background_error"]


def test_hooks_keep_how_they_run() -> None:
    assert Cage.definition().hooks["on_disconnect"].in_thread
    on_connect = Ark.definition().hooks["on_connect"]
    assert on_connect.options == TaskOptions(on_disconnect="cancel")
    assert on_connect.is_background
    assert not Beast.definition().hooks["on_connect"].is_background


# ---- in which order -----------------------------------------------------------------------------


def test_hooks_of_parents_come_before_those_of_substates(schema: Schema) -> None:
    of_mine = ("Root", "Zoo", "Cage", "Beast", "Ark", "Bare")
    order = [hook.owner for hook in schema.hooks("on_connect") if hook.owner.__name__ in of_mine]
    assert order == [Root, Ark, Zoo, Beast]
    assert [hook.owner for hook in schema.hooks("on_disconnect")] == [Cage]
    assert schema.hooks("on_connect") is schema.hooks("on_connect")


def test_an_app_without_hooks_has_none() -> None:
    class Silent(State, root=True):
        pass

    schema = Schema.of(Silent)
    assert list(schema.hooks("on_connect")) == []
    assert schema.error_hook(Silent) is None


def test_the_error_hook_is_the_nearest_above(schema: Schema) -> None:
    of_zoo = Zoo.definition().hooks["on_background_error"]
    assert schema.error_hook(Zoo) is schema.error_hook(Cage) is schema.error_hook(Beast) is of_zoo
    assert schema.error_hook(Ark) is Ark.definition().hooks["on_background_error"]
    assert schema.error_hook(Bare) is schema.error_hook(Root) is None


# ---- who may call them --------------------------------------------------------------------------


def test_a_hook_that_a_method_calls_is_just_the_method() -> None:
    tree = StateTree(Schema.of(Root), "token", NoDoor())
    turn = tree.open_turn("test")
    hold(turn)
    tree.state(Zoo).arrive()
    tree.state(Ark).on_background_error(ValueError("wet"))
    release(turn)
    assert tree.state(Root).log == ["root", "zoo", "mixin: wet", "ark"]


def test_a_hook_that_is_a_background_task_cannot_be_called() -> None:
    ark = StateTree(Schema.of(Root), "token", NoDoor()).state(Ark)
    with pytest.raises(RuntimeError, match="cannot be called; Ark.on_connect is a hook, which the"):
        ark.on_connect()


@pytest.mark.parametrize(
    "named",
    [
        lambda: UNTYPED.on_connect,
        UNTYPED.on_connect,  # what calling it gives
        lambda: UNTYPED.on_connect.throttle(1),
        lambda: UNTYPED.on_background_error(ValueError()),
    ],
)
def test_no_event_can_run_a_hook(named: Any) -> None:
    refusal = "Zoo.on_[a-z_]+ is a hook, which the library runs and no event can; .*another name"
    with pytest.raises(TypeError, match=f"on_click= of <button>: {refusal}"):
        button("no", on_click=named())
    with pytest.raises(TypeError, match=refusal):
        as_follow_ups([named()])
    with pytest.raises(TypeError, match=refusal):
        as_invocation(named())


def test_the_handler_of_a_mixin_is_refused_with_advice() -> None:
    class Folding(State, mixin=True):
        @event
        def fold(self) -> None: ...

    with pytest.raises(TypeError, match=r"Folding.fold is of no state; .*as in MyState.fold"):
        as_invocation(Folding.fold)


# ---- mistakes -----------------------------------------------------------------------------------


async def waits(self: Any, more: int) -> None: ...


async def task(self: Any, error: Exception) -> None: ...


async def alone(self: Any) -> None: ...


@pytest.mark.parametrize(
    ("name", "member", "message"),
    [
        (
            "on_connect",
            lambda self, tab: None,
            r"nothing but self; write `def on_connect\(self\):`",
        ),
        ("on_connect", lambda self, tab=1: None, "nothing but self"),
        ("on_connect", lambda *args: None, "nothing but self"),
        ("on_connect", lambda: None, "nothing but self"),
        ("on_connect", waits, r"write `async def on_connect\(self\):`"),
        ("on_disconnect", background(waits), r"write `async def on_disconnect\(self\):`"),
        ("on_disconnect", event(lambda self, why: None), r"write `def on_disconnect\(self\):`"),
        (
            "on_background_error",
            lambda self: None,
            r"the exception alone; write `def on_background_error\(self, error: Exception\):`",
        ),
        ("on_background_error", lambda self, error, more: None, "the exception alone"),
        ("on_background_error", lambda self, *, error: None, "the exception alone"),
        ("on_background_error", background(task), "cannot be a background task.*leave out"),
        ("on_connect", background(resume=True)(alone), "resume=True; .*`return Broken.my_task`"),
        (
            "on_disconnect",
            background(on_disconnect="cancel")(alone),
            "cannot have on_disconnect='cancel'.*leave that out",
        ),
        ("on_connect", 3, r"would be a hook, a method.*`def on_connect\(self\):`, or choose"),
        ("on_connect", staticmethod(lambda: None), "would be a hook, a method"),
        ("on_disconnect", property(lambda self: 1), "would be a hook, a method"),
        ("on_connect", computed(lambda self: 1), "'on_connect' is the name of a hook"),
    ],
)
def test_a_hook_that_cannot_work_fails_at_import_and_says_what_to_write(
    name: str, member: Any, message: str
) -> None:
    with pytest.raises(StateDefinitionError, match=rf"Broken\.{name}.*{message}"):
        type(State)("Broken", (Root,), {name: member})


def test_the_name_of_a_hook_is_no_name_of_a_var() -> None:
    with pytest.raises(StateDefinitionError, match="'on_connect' is the name of a hook, a method"):

        class Broken(Root):
            on_connect: int = 0  # pyright: ignore

    with pytest.raises(StateDefinitionError, match="would be a hook, a method"):

        class BrokenToo(Root):
            on_connect: ClassVar[int] = 0  # pyright: ignore
