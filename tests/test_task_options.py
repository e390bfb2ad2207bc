"""Background tasks as they are declared: options, arguments that can be kept, cancellers."""

from __future__ import annotations

import json
import pydoc
from collections.abc import AsyncIterator, Sequence
from datetime import date
from typing import Any, assert_type

import attrs
import pytest
from clients import NoDoor
from hypothesis import given, strategies as st
from values import Item, Kind, kinds

from actorstate import State, StateDefinitionError, background, button, event, ui
from actorstate.exceptions import BadArgumentsError, UnknownHandlerError
from actorstate.state.handlers import Canceller, Handler, Invocation, as_follow_ups
from actorstate.state.schema import Schema
from actorstate.state.task_options import TaskOptions
from actorstate.state.tree import StateTree


class Tasks(State, root=True):
    pass


class Working(Tasks, mixin=True):
    @background(overlap="skip")
    async def work(self) -> None: ...


class Climber(Working, Tasks):
    height: int = 0

    @background
    async def plain(self) -> None: ...

    @background()
    async def called(self) -> None: ...

    @background(on_disconnect="cancel", overlap="replace", resume=True)
    async def climb(self, step: int, by: list[Item] | None = None) -> AsyncIterator[Any]:
        yield

    @event
    def rest(self) -> None: ...

    def walk(self) -> None: ...


class Other(Working, Tasks):
    @background
    async def plain(self) -> None: ...


UNTYPED: Any = Climber


def handler(name: str) -> Handler:
    return Climber.definition().handlers[name]


# ---- options ------------------------------------------------------------------------------------


def test_without_options_a_task_is_kept_and_runs_beside_others() -> None:
    default = TaskOptions(on_disconnect="keep", overlap="allow", resume=False)
    assert handler("plain").options == handler("called").options == default
    assert handler("plain").is_background


def test_options_are_kept_on_the_handler_of_each_class() -> None:
    assert handler("climb").options == TaskOptions("cancel", "replace", resume=True)
    for cls in (Climber, Other):
        assert cls.definition().handlers["work"].options == TaskOptions(overlap="skip")


def test_what_is_no_background_task_has_no_options() -> None:
    for name in ("rest", "walk"):
        assert handler(name).options is None
        assert not handler(name).is_background
    assert UNTYPED.set_height.options is None


def test_options_are_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        TaskOptions().resume = True  # pyright: ignore


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"on_disconnect": "stop"},
            ValueError,
            r"@background\(on_disconnect=\) takes 'keep' or 'cancel', got 'stop'",
        ),
        ({"overlap": "no"}, ValueError, "takes 'allow', 'skip', 'replace' or 'queue', got 'no'"),
        ({"overlap": False}, TypeError, "takes 'allow', 'skip', 'replace' or 'queue', got False"),
        ({"on_disconnect": None}, TypeError, "takes 'keep' or 'cancel', got None"),
        ({"on_disconnect": ["keep"]}, TypeError, "takes 'keep' or 'cancel', got"),
        ({"resume": 1}, TypeError, r"@background\(resume=\) takes True or False, got 1"),
        ({"resume": "yes"}, TypeError, "takes True or False, got 'yes'"),
        ({"overlaps": "skip"}, TypeError, "'overlaps'"),
    ],
)
def test_a_wrong_option_is_refused_where_it_is_written(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        background(**options)
    assert caught.type is error


def test_options_do_not_make_a_plain_function_a_task() -> None:
    with pytest.raises(TypeError, match=r"async def.*for .*not_async"):

        @background(overlap="skip")  # pyright: ignore[reportArgumentType] - the point of the test
        def not_async(self: Any) -> None: ...


def test_a_task_with_options_cannot_be_called_directly() -> None:
    climber = StateTree(Schema.of(Tasks), "token", NoDoor()).state(Climber)
    with pytest.raises(RuntimeError, match="`return Climber.climb` or `yield Climber.climb`"):
        climber.climb(3)


def test_a_task_is_a_handler_to_type_checkers() -> None:
    assert_type(Climber.plain, Handler)
    assert_type(Climber.climb(3), Invocation)
    assert_type(Climber.climb.cancel, Canceller)
    assert Climber.climb(3).args == (3,)


# ---- arguments that are kept --------------------------------------------------------------------


def task_of(*declared: Any, resume: bool = True, default: Any = ...) -> Handler:
    async def work(self: Any, it: Any) -> None: ...

    work.__annotations__ = dict(zip(["it"], declared, strict=False))
    if default is not ...:
        work.__defaults__ = (default,)
    body = {"work": background(resume=resume)(work), "__module__": __name__}
    return type(State)("Keeper", (State,), body, root=True).definition().handlers["work"]


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ([], "Keeper.work has resume=True.*snapshot: it has no type.*write `it: int`"),
        ([Any], "Keeper.work has resume=True.*it has no type"),
        ([object], "Keeper.work has resume=True.*it has no type"),
        (["Nowhere"], "Keeper.work cannot take arguments.*Nowhere"),
        ([complex], "Keeper.work cannot take arguments.*complex"),
        ([date | str], "Keeper.work cannot take arguments.*cannot tell date and str apart"),
        ([Sequence[int]], r"resume=True.*: it: type .*Sequence\[int\] has no JSON form"),
    ],
)
def test_what_is_resumed_needs_arguments_that_can_be_kept(
    declared: list[Any], message: str
) -> None:
    with pytest.raises(StateDefinitionError, match=message):
        Schema.of(task_of(*declared).owner)


def test_a_default_that_could_not_be_kept_is_refused() -> None:
    with pytest.raises(StateDefinitionError, match="work: it: expected int, got None.*resume=True"):
        task_of(int, default=None).check()
    task_of(int, default=3).check()


@pytest.mark.parametrize("declared", [[], [Any], [Sequence[int]]])
def test_what_is_not_resumed_may_take_anything(declared: list[Any]) -> None:
    task_of(*declared, resume=False).check()


@given(kinds().flatmap(lambda kind: st.tuples(st.just(kind), kind.values)))
def test_law_arguments_come_back_from_their_json_form(drawn: tuple[Kind, Any]) -> None:
    kind, value = drawn
    task = task_of(kind.declared, resume=kind.declared is not Any)
    task.check()
    plain = task.unstructure((value,))
    assert task.structure(json.loads(json.dumps(plain))) == (value,)
    [triggered] = as_follow_ups(task(value))
    assert isinstance(triggered, Invocation)
    assert triggered.args == (value,)
    assert task.structure(task.unstructure(triggered.args)) == triggered.args


def test_what_is_left_to_a_default_is_kept_as_well() -> None:
    climb = handler("climb")
    assert climb.unstructure((3,)) == [3, None]
    assert climb.structure([3, None]) == (3, None)
    kept = climb.unstructure((3, [Item("a", 1)]))
    assert kept == [3, [{"name": "a", "count": 1, "tags": []}]]
    assert climb.structure(kept) == (3, [Item("a", 1)])
    assert handler("plain").unstructure(()) == []
    with pytest.raises(TypeError, match="missing"):
        climb.unstructure(())


def test_arguments_are_kept_apart_from_the_values_that_go_on_changing() -> None:
    items = [Item("a")]
    kept = handler("climb").unstructure((3, items))
    items[0].tags.append("later")
    items.append(Item("b"))
    assert kept == [3, [{"name": "a", "count": 0, "tags": []}]]


def test_the_argument_of_a_setter_has_the_json_form_of_its_var() -> None:
    assert UNTYPED.set_height.unstructure((3,)) == [3]


# ---- cancellers ---------------------------------------------------------------------------------


def test_a_canceller_is_a_handler_of_its_own() -> None:
    canceller = Climber.climb.cancel
    assert str(canceller) == "Climber.climb.cancel"
    assert canceller.full_name == "tasks.climber.climb.cancel"
    assert canceller.task is Climber.climb
    assert canceller.owner is Climber
    assert (canceller.options, canceller.is_background) == (None, False)
    assert canceller is Climber.climb.cancel


def test_a_canceller_goes_wherever_a_handler_goes() -> None:
    canceller = Climber.climb.cancel
    assert as_follow_ups([canceller, Climber.rest]) == (
        Invocation(canceller),
        Invocation(handler("rest")),
    )
    page = ui.render_page(button("Stop", on_click=canceller), title="")
    assert "tasks.climber.climb.cancel" in page
    assert canceller.debounce(0.5).debounced == 0.5


def test_a_canceller_takes_no_arguments() -> None:
    with pytest.raises(TypeError, match=r"Climber.climb.cancel\(\): too many"):
        Climber.climb.cancel(3)
    with pytest.raises(BadArgumentsError, match=r"Climber.climb.cancel\(\): too many"):
        Climber.climb.cancel.structure([3])
    assert Climber.climb.cancel.structure([]) == ()
    assert not Climber.climb.cancel().takes_more


def test_a_canceller_is_reachable_only_once_the_program_has_named_it() -> None:
    class Quiet(Tasks):
        @background
        async def hum(self) -> None: ...

        @background
        async def buzz(self) -> None: ...

    schema = Schema.of(Tasks)
    for name in ("hum", "buzz"):
        with pytest.raises(UnknownHandlerError, match="no handler"):
            schema.handler(f"tasks.quiet.{name}.cancel")
    assert pydoc.render_doc(Quiet)
    assert [getattr(Quiet, name) for name in dir(Quiet) if name != "_definition"]
    with pytest.raises(UnknownHandlerError):
        schema.handler("tasks.quiet.hum.cancel")
    named = Quiet.hum.cancel
    assert schema.handler("tasks.quiet.hum.cancel") is named
    assert schema.handler("tasks.quiet.hum") is Quiet.hum
    for name in ("buzz.cancel", "hum.cancel.cancel", "hum.task", "hum.options", ".cancel"):
        with pytest.raises(UnknownHandlerError, match="no handler"):
            schema.handler(f"tasks.quiet.{name}")


def test_a_state_of_the_same_name_below_does_not_confuse_the_lookup() -> None:
    class Above(Tasks):
        @background
        async def my_task(self) -> None: ...

    class MyTask(Above):
        level: int = 0

        def start(self) -> None: ...

    schema = Schema.of(Tasks)
    canceller = Above.my_task.cancel
    assert MyTask.my_task.cancel is canceller
    assert schema.handler("tasks.above.my_task") is Above.my_task
    assert schema.handler("tasks.above.my_task.cancel") is canceller
    assert schema.handler("tasks.above.my_task.start").owner is MyTask
    assert canceller.task.owner is Above


def test_two_handlers_of_one_name_on_the_wire_are_refused() -> None:
    class Upper(Tasks):
        @background
        async def my_job(self) -> None: ...

        def no_job(self) -> None: ...

    with pytest.raises(StateDefinitionError, match=r"MyJob.cancel would .*Upper.my_job.cancel"):

        class MyJob(Upper):
            def cancel(self) -> None: ...

    class NoJob(Upper):
        def cancel(self) -> None: ...

    assert Schema.of(Tasks).handler("tasks.upper.no_job.cancel").owner is NoJob


def test_only_a_background_task_has_a_canceller() -> None:
    for one in (UNTYPED.rest, UNTYPED.walk, UNTYPED.set_height, UNTYPED.climb.cancel):
        with pytest.raises(AttributeError, match=f"{one} is no background task: there is nothing"):
            _ = one.cancel


def test_the_canceller_of_a_copy_cancels_the_copy() -> None:
    assert Climber.work.cancel is not Other.work.cancel
    for cls in (Climber, Other):
        canceller = cls.work.cancel
        assert canceller.task is cls.definition().handlers["work"]
        assert str(canceller) == f"{cls.__name__}.work.cancel"


def test_the_task_of_a_mixin_is_of_no_state_and_has_no_canceller() -> None:
    with pytest.raises(AttributeError, match="Working.work is of no state.*MyState.work.canc"):
        _ = Working.work.cancel
    with pytest.raises(AttributeError, match="is of no state"):

        class Early(Tasks):
            @background
            async def run(self) -> None: ...

            stop = run.cancel


def test_a_handler_that_was_named_in_a_mixin_is_called_by_the_state_that_has_it() -> None:
    class Shown(State, mixin=True):
        @event
        def show(self) -> None: ...

    shown: Any = Shown
    assert str(shown.show) == "Shown.show"

    class Showing(Shown, Tasks):
        pass

    showing: Any = Showing
    assert str(showing.show) == "Showing.show"


def test_a_handler_that_is_borrowed_stays_what_it_was() -> None:
    class Borrower(Tasks):
        relax = Climber.rest
        stop = Climber.climb.cancel

    borrower: Any = Borrower
    assert borrower.relax.full_name == "tasks.borrower.relax"
    assert handler("rest").full_name == "tasks.climber.rest"
    assert borrower.stop.full_name == "tasks.borrower.stop"
    assert borrower.stop.task is Climber.climb
    assert Climber.climb.cancel.full_name == "tasks.climber.climb.cancel"
