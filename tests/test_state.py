"""What a class body becomes, and what instances allow."""

from __future__ import annotations

import datetime as dt
import enum
import functools
import gc
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from clients import NoDoor

from actorstate import (
    ImmutableStateError,
    State,
    StateDefinitionError,
    background,
    event,
    redirect,
)
from actorstate.actors.messages import Patch
from actorstate.exceptions import BadArgumentsError, SnapshotError, UnknownHandlerError
from actorstate.state.handlers import Invocation, as_follow_ups, as_invocation
from actorstate.state.holders import hold, release
from actorstate.state.schema import Schema
from actorstate.state.snapshot import Snapshot
from actorstate.state.tree import StateTree
from actorstate.web.protocol import encode


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    label: str = ""


class Root(State, root=True):
    shared: str = "of the root"


class Shapes(Root):
    LIMIT: ClassVar[int] = 3
    count: int = 0
    ratio: float = 0.5
    name: str = ""
    flag: bool = False
    maybe: int | None = None
    mode: Literal["slow", "fast"] = "slow"
    numbers: list[int] = [1, 2]
    table: dict[str, list[int]] = {}
    chosen: set[int] = set()
    point: Point = Point(0)
    anything: dict[str, Any] = {}
    whatever: Any = None
    _secret: int = 7

    def add(self, amount: int, times: int = 1) -> None:
        self.count += amount * times

    @event
    def rename(self, name: str) -> None:
        self.name = name

    def move(self, to: Point) -> None:
        self.point = to

    def paint(self, color: Color, on: dt.date | None = None) -> None: ...

    def take(
        self,
        points: list[Point],
        mode: Literal["slow", "fast"] = "slow",
        maybe: int | None = None,
        ratio: float = 0.5,
    ) -> None: ...

    def choose(self, chosen: set[int], table: dict[str, list[int]] = {}) -> None: ...  # noqa: B006

    def keep(self, whatever, flag: bool = False, /) -> None: ...

    def _helper(self) -> int:
        return self._secret

    @property
    def doubled(self) -> int:
        return self.count * 2

    @background
    async def climb(self, step: int) -> None: ...


class Inner(Shapes):
    depth: int = 1


UNTYPED: Any = Shapes  # to a type checker a method on the class takes self, and binds nothing


def make_tree() -> StateTree:
    return StateTree(Schema.of(Root), "token", NoDoor())


# ---- definitions --------------------------------------------------------------------------------


def test_full_names_are_the_path_from_the_root_in_snake_case() -> None:
    assert Root.get_full_name() == "root"
    assert Shapes.get_full_name() == "root.shapes"
    assert Inner.get_full_name() == "root.shapes.inner"


def test_the_default_root_is_state() -> None:
    class OfTheDefaultRoot(State):
        pass

    assert OfTheDefaultRoot.get_full_name() == "state.of_the_default_root"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"x": 3}, "Broken.x has no type; write `x: int = 3`"),
        ({"_x": 3}, "Broken._x has no type"),
        ({"x": None}, r"write `x: int \| None = None`"),
        ({"x": []}, r"write `x: list\[str\] = \[\]`"),
        ({"__annotations__": {"x": int}}, "Broken.x has no default.*`x: int = ...`"),
        ({"__annotations__": {"x": "Nowhere"}, "x": 1}, "Broken.*'Nowhere'.*top level"),
        ({"__annotations__": {"x": object}, "x": object()}, "Broken.x"),
        ({"__annotations__": {"x": complex}, "x": 1j}, "Broken.x: type complex has no JSON form"),
        ({"__annotations__": {"x": list[complex]}, "x": []}, r"list\[complex\].*complex is not"),
        ({"__annotations__": {"x": int}, "x": "3"}, "default.*Broken.x takes int, got '3'"),
        ({"__annotations__": {"get_token": int}, "get_token": 1}, "a name of State itself"),
        ({"__annotations__": {"shared": int}, "shared": 1}, "Root.shared is declared already"),
        ({"shared": lambda self: None}, "Root.shared is declared already"),
        ({"__init__": lambda self: None}, "no constructor; give its vars defaults"),
        ({"many": lambda self, *args: None}, r"Broken.many: the parameter '\*args'"),
        ({"bare": lambda: None}, "Broken.bare takes no self"),
        ({"options": lambda self, **kw: None}, r"parameter '\*\*kw'.*start the method's name"),
    ],
)
def test_a_mistake_in_a_class_fails_at_import_and_says_what_to_write(
    body: dict[str, Any], message: str
) -> None:
    with pytest.raises(StateDefinitionError, match=message):
        type(State)("Broken", (Root,), body)


def test_an_event_must_not_be_private() -> None:
    with pytest.raises(StateDefinitionError, match="Broken._hidden is private"):

        class Broken(Root):
            @event
            def _hidden(self) -> None: ...


def test_two_states_of_one_name_are_refused() -> None:
    def define() -> type[State]:
        class Shapes(Root):
            pass

        return Shapes

    with pytest.raises(StateDefinitionError, match="would both be the state 'root.shapes'"):
        define()


def test_defining_a_class_again_replaces_it_as_a_reload_does() -> None:
    class Alone(State, root=True):
        pass

    def define() -> type[State]:
        class Again(Alone):
            pass

        return Again

    first, second = define(), define()
    assert first is not second
    assert Schema.of(Alone).states["alone.again"] is second


def test_a_module_that_is_loaded_once_defines_a_name_once(tmp_path: Path) -> None:
    source = (
        "from actorstate import State\n"
        "class TwiceRoot(State, root=True): pass\n"
        "class Same(TwiceRoot): pass\n"
        "class Same(TwiceRoot): pass\n"
    )
    (tmp_path / "defines_a_name_twice.py").write_text(source)
    (tmp_path / "defines_it_once.py").write_text(source.rpartition("class")[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        with pytest.raises(StateDefinitionError, match="both be the state 'twice_root.same'"):
            importlib.import_module("defines_a_name_twice")
        importlib.reload(importlib.import_module("defines_it_once"))


def test_a_state_class_lives_as_long_as_its_root() -> None:
    class Keeping(State, root=True):
        pass

    def define() -> None:
        class Kept(Keeping):
            pass

    define()
    gc.collect()
    assert "keeping.kept" in Schema.of(Keeping).states


def test_a_state_has_one_parent() -> None:
    class Elsewhere(State, root=True):
        pass

    with pytest.raises(StateDefinitionError, match="2 State classes as bases; it takes one"):

        class Broken(Shapes, Elsewhere):
            pass


def test_a_background_task_must_be_async() -> None:
    with pytest.raises(TypeError, match=r"async def.*for .*not_async"):

        @background  # pyright: ignore[reportArgumentType] - the point of the test
        def not_async(self: Any) -> None: ...

    with pytest.raises(TypeError, match="marked already; one of @event and @background"):

        @background
        @event
        async def twice(self: Any) -> None: ...

    with pytest.raises(TypeError, match="needs an async function"):
        background(3)  # pyright: ignore[reportArgumentType] - the point of the test


def test_event_goes_on_methods_only() -> None:
    with pytest.raises(TypeError, match="@event goes on a method"):
        event(3)  # pyright: ignore
    with pytest.raises(TypeError, match="@event goes on a method"):
        event(thread=True)(3)  # pyright: ignore


def test_only_a_plain_function_can_run_in_a_thread() -> None:
    with pytest.raises(
        StateDefinitionError, match=r"thread=True.*waiting: it is async.*plain `def"
    ):

        @event(thread=True)
        async def waiting(self: Any) -> None: ...

    with pytest.raises(StateDefinitionError, match="cannot be on .*each: it is async"):

        @event(thread=True)
        async def each(self: Any) -> Any:
            yield

    with pytest.raises(StateDefinitionError, match=r"steps: it yields.*to_thread.run_sync"):

        @event(thread=True)
        def steps(self: Any) -> Any:
            yield

    with pytest.raises(TypeError, match="marked already"):

        @background  # pyright: ignore[reportArgumentType] - the point of the test
        @event(thread=True)
        def both(self: Any) -> None: ...

    @event(thread=False)
    async def marked(self: Any) -> None: ...

    @event()
    async def marked_too(self: Any) -> None: ...


def test_annotations_of_handlers_are_resolved_when_the_app_starts() -> None:
    class Starting(State, root=True):
        pass

    class Late(Starting):
        def take(self, it: Nowhere) -> None: ...  # noqa: F821 # pyright: ignore

    with pytest.raises(StateDefinitionError, match=r"Late.take cannot .*Nowhere"):
        Schema.of(Starting)
    assert Late.get_full_name() == "starting.late"


def test_what_a_handler_returns_need_not_be_known_at_run_time() -> None:
    class Returning(State, root=True):
        def give(self, it: int) -> Nowhere: ...  # noqa: F821 # pyright: ignore

    assert Schema.of(Returning).handler("returning.give").structure([1]) == (1,)


def test_states_cannot_be_created_by_hand() -> None:
    with pytest.raises(TypeError, match="Shapes cannot be created.*app.modify_state"):
        Shapes()


def test_a_var_cannot_be_changed_on_the_class() -> None:
    with pytest.raises(ImmutableStateError, match="Shapes.count on the class"):
        Shapes.count = 3


def test_a_backend_var_has_no_expression() -> None:
    with pytest.raises(AttributeError, match="Shapes._secret is a backend var"):
        _ = Shapes._secret


def test_class_constants_and_properties_stay_what_they_are() -> None:
    assert Shapes.LIMIT == 3
    assert make_tree().state(Shapes).doubled == 0


# ---- handlers -----------------------------------------------------------------------------------


def handler_names() -> set[str]:
    return {f"{n}.{h}" for n, c in Schema.of(Root).states.items() for h in c.definition().handlers}


def test_public_methods_are_handlers_and_nothing_else_is() -> None:
    assert {n for n in handler_names() if "set_" not in n} >= {
        "root.shapes.add", "root.shapes.rename", "root.shapes.move", "root.shapes.climb",
    }  # fmt: skip
    for name in (
        "_helper", "__init__", "doubled", "LIMIT", "get_token", "count", "set__secret",
        "mro", "definition", "",
    ):  # fmt: skip
        with pytest.raises(UnknownHandlerError, match="no handler"):
            Schema.of(Root).handler(f"root.shapes.{name}")


def test_a_setter_is_reachable_only_once_the_program_has_named_it() -> None:
    class Offered(Root):
        limit: int = 1
        other: int = 1

    schema = Schema.of(Root)
    with pytest.raises(UnknownHandlerError):
        schema.handler("root.offered.set_limit")
    help_reads = [getattr(Offered, name) for name in dir(Offered) if name != "_definition"]
    assert help_reads
    with pytest.raises(UnknownHandlerError):
        schema.handler("root.offered.set_limit")
    named = Offered.set_limit
    assert schema.handler("root.offered.set_limit") is named
    assert Offered.set_limit is named
    with pytest.raises(UnknownHandlerError):
        schema.handler("root.offered.set_other")


def test_a_setter_named_through_a_substate_belongs_to_the_parent() -> None:
    assert Inner.set_ratio is Shapes.set_ratio
    assert Inner.set_ratio.full_name == "root.shapes.set_ratio"


def test_there_is_no_setter_for_a_backend_var_or_for_what_is_no_var() -> None:
    for name in ("set__secret", "set_secret", "set_nothing", "nothing"):
        with pytest.raises(AttributeError, match=f"Shapes has no var or handler '{name}'"):
            getattr(Shapes, name)


@pytest.mark.parametrize(
    ("var", "sent", "value"),
    [
        ("count", "5", 5),
        ("count", " -12 ", -12),
        ("count", 5, 5),
        ("ratio", "2.5", 2.5),
        ("ratio", "1e3", 1000.0),
        ("ratio", ".5", 0.5),
        ("ratio", 3, 3.0),
        ("maybe", "", None),
        ("maybe", None, None),
        ("maybe", "4", 4),
        ("name", " as typed ", " as typed "),
        ("name", "5", "5"),
        ("flag", True, True),
        ("mode", "fast", "fast"),
        ("numbers", [3], [3]),
    ],
)
def test_a_setter_takes_what_an_input_element_sends(var: str, sent: Any, value: Any) -> None:
    [taken] = getattr(Shapes, f"set_{var}").structure([sent])
    assert taken == value
    assert type(taken) is type(value)


@pytest.mark.parametrize(
    ("var", "sent"),
    [
        ("count", "5x"), ("count", ""), ("count", "1.5"), ("count", "1_000"), ("count", "٣"),
        ("count", 1.5), ("count", None), ("count", True), ("count", "9" * 500), ("count", [5]),
        ("ratio", 10**400), ("anything", functools.reduce(lambda v, _: [v], range(3000), [])),
        ("ratio", "nan"), ("ratio", "inf"), ("ratio", "1e999"), ("ratio", "five"),
        ("name", 5), ("name", None), ("flag", "false"), ("flag", 0), ("mode", "medium"),
        ("maybe", "x"), ("numbers", ["3"]), ("numbers", "3"),
    ],
)  # fmt: skip
def test_a_setter_refuses_what_is_no_value_of_the_var(var: str, sent: Any) -> None:
    with pytest.raises(BadArgumentsError) as caught:
        getattr(Shapes, f"set_{var}").structure([sent])
    assert caught.value.where.startswith("$.args[0]")
    assert str(caught.value).startswith(f"Shapes.set_{var}: ")


def test_arguments_are_taken_by_position_and_by_name_with_defaults() -> None:
    add = Shapes.definition().handlers["add"]
    assert add.structure([2]) == (2, 1)
    assert add.structure([2, 3]) == (2, 3)
    assert add.structure({"times": 3, "amount": 2}) == (2, 3)
    assert Shapes.definition().handlers["move"].structure([{"x": 1}]) == (Point(1),)
    keep = Shapes.definition().handlers["keep"]
    assert keep.structure({"flag": True, "whatever": [1]}) == ([1], True)


@pytest.mark.parametrize(
    ("handler", "args", "taken"),
    [
        ("paint", ["red"], (Color.RED, None)),
        ("paint", ["blue", "2026-05-01"], (Color.BLUE, dt.date(2026, 5, 1))),
        ("paint", {"color": "red", "on": None}, (Color.RED, None)),
        ("take", [[]], ([], "slow", None, 0.5)),
        ("take", [[{"x": 1}, {"x": 2}]], ([Point(1), Point(2)], "slow", None, 0.5)),
        ("take", {"points": [], "maybe": 3, "mode": "fast"}, ([], "fast", 3, 0.5)),
        ("take", {"points": [], "ratio": 2}, ([], "slow", None, 2.0)),
        ("choose", [[1, 2, 1]], ({1, 2}, {})),
        ("choose", {"chosen": [], "table": {"a": [1]}}, (set(), {"a": [1]})),
        ("keep", [{"a": [1, None]}, True], ({"a": [1, None]}, True)),
    ],
)  # fmt: skip
def test_arguments_become_what_is_annotated(handler: str, args: Any, taken: Any) -> None:
    structured = Shapes.definition().handlers[handler].structure(args)
    assert structured == taken
    assert list(map(type, structured)) == list(map(type, taken))


@pytest.mark.parametrize(
    ("handler", "args", "where", "message"),
    [
        ("add", [], "$.args", r"Shapes.add\(amount, times\): missing .*'amount', got \[\]"),
        ("add", [1, 2, 3], "$.args", r"too many positional arguments, got \[1, 2, 3\]"),
        ("add", {"amount": 1, "more": 2}, "$.args", "unexpected keyword argument 'more'"),
        ("add", {"amount": 1, "times": "2"}, "$.args.times", "add: times: expected int, got '2'"),
        ("add", ["2"], "$.args[0]", "Shapes.add: amount: expected int, got '2'"),
        ("add", [1.0], "$.args[0]", "expected int, got 1.0"),
        ("add", [1.9], "$.args[0]", "expected int, got 1.9"),
        ("add", [True], "$.args[0]", "expected int, got True"),
        ("add", [1, None], "$.args[1]", "add: times: expected int, got None"),
        ("add", "12", "$.args", "Shapes.add: expected a list, or an object by parameter name"),
        ("add", None, "$.args", "expected a list"),
        ("move", [{"x": "1"}], "$.args[0].x", "Shapes.move: to: expected int, got '1'"),
        ("move", [{"x": 1, "z": 1}], "$.args[0]", "expected Point, got .*unknown names: z"),
        ("move", [{}], "$.args[0].x", "expected Point, got {} .*missing"),
        ("move", [5], "$.args[0]", "Shapes.move: to: expected .*Point, got 5"),
        ("keep", [1, "false"], "$.args[1]", "Shapes.keep: flag: expected bool, got 'false'"),
        ("keep", [1, 0], "$.args[1]", "expected bool, got 0"),
        ("paint", ["green"], "$.args[0]", "Shapes.paint: color: expected .*got 'green'"),
        ("paint", [1], "$.args[0]", "Shapes.paint: color: expected .*got 1"),
        ("paint", ["red", "yesterday"], "$.args[1]", "paint: on: expected .*date.*got 'yesterday'"),
        ("take", [[], "medium"], "$.args[1]", "take: mode: expected .*'fast'.*, got 'medium'"),
        ("take", [[{"x": 1}, {"x": 1.5}]], "$.args[0][1].x", "points: expected int, got 1.5"),
        ("take", [[], "slow", "3"], "$.args[2]", r"take: maybe: expected int( . None)?, got '3'"),
        ("take", [[], "slow", 1, "0.5"], "$.args[3]", "take: ratio: expected float, got '0.5'"),
        ("choose", [["1"]], "$.args[0][0]", "choose: chosen: expected int, got '1'"),
        ("choose", [[], {"a": ["1"]}], "$.args[1]['a'][0]", "table: expected int, got '1'"),
        ("choose", ["x" * 9999], "$.args[0]", "^.{,200}$"),
    ],
)
def test_arguments_that_do_not_fit_name_the_culprit(
    handler: str, args: Any, where: str, message: str
) -> None:
    with pytest.raises(BadArgumentsError, match=message) as caught:
        Shapes.definition().handlers[handler].structure(args)
    assert caught.value.where == where


def test_calling_a_handler_on_the_class_binds_arguments() -> None:
    invocation = as_invocation(Shapes.add(3, times=2))  # pyright: ignore
    assert (invocation.name, invocation.args) == ("root.shapes.add", (3, 2))
    assert as_invocation(Shapes.add).takes_more
    assert as_invocation(Shapes.add(3)).takes_more  # pyright: ignore
    assert not as_invocation(Shapes.add(3, 4)).takes_more  # pyright: ignore


def test_binding_arguments_that_the_handler_does_not_take_fails_at_once() -> None:
    with pytest.raises(TypeError, match=r"Shapes.add\(amount: .*too many"):
        Shapes.add(1, 2, 3)  # pyright: ignore
    with pytest.raises(TypeError, match=r"Shapes.add\(amount: .*'more'"):
        Shapes.add(more=2)  # pyright: ignore
    with pytest.raises(TypeError, match=r"Shapes.add\(amount: .*multiple values for.*'amount'"):
        Shapes.add(1, amount=2)  # pyright: ignore


def test_arguments_are_bound_by_name_as_well() -> None:
    assert UNTYPED.add(amount=3) == UNTYPED.add(3)
    assert UNTYPED.add(times=2, amount=3) == UNTYPED.add(3, 2)
    assert UNTYPED.keep(whatever=1) == UNTYPED.keep(1)
    later = as_invocation(UNTYPED.add(times=2))
    assert (later.args, dict(later.kwargs)) == ((), {"times": 2})
    assert dict(later.by_name) == {"times": 2}


def test_what_the_browser_sends_fills_the_first_parameter_that_is_free() -> None:
    later = as_invocation(UNTYPED.add(times=2))
    assert (later.free, later.takes_more) == ("amount", True)
    assert later.fill(3) == UNTYPED.add(3, 2)
    later.check(sent=1)
    with pytest.raises(TypeError, match="missing a required argument: 'amount'; bind it"):
        later.check()
    assert as_invocation(UNTYPED.add).fill(3).fill(2) == later.fill(3)
    assert as_invocation(UNTYPED.take([], ratio=1)).free == "mode"
    slow = UNTYPED.add(times=2).debounce(0.5).fill(1)
    assert slow.debounced == 0.5
    with pytest.raises(TypeError, match="Shapes.add.* is free to take nothing more"):
        later.fill(3).fill(3)


def test_what_a_handler_triggers_has_its_arguments_by_position_and_defaults_in_between() -> None:
    [skipping] = as_follow_ups(UNTYPED.take([], maybe=3))
    assert isinstance(skipping, Invocation)
    assert (skipping.args, dict(skipping.kwargs)) == (([], "slow", 3, 0.5), {})
    [whole] = as_follow_ups(UNTYPED.take(ratio=1, points=[Point(1)], mode="fast", maybe=None))
    assert isinstance(whole, Invocation)
    assert whole.args == ([Point(1)], "fast", None, 1.0)


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        (lambda: UNTYPED.add("x"), "Shapes.add: amount: expected int, got 'x'"),
        (lambda: UNTYPED.add(1, times=True), "Shapes.add: times: expected int, got True"),
        (lambda: UNTYPED.add(1.0), "expected int, got 1.0"),
        (lambda: UNTYPED.move({"x": 1}), "Shapes.move: to: expected .*Point, got {'x': 1}"),
        (lambda: UNTYPED.move(Point("1")), "Shapes.move: to: expected int, got '1' at to.x"),  # pyright: ignore
        (lambda: UNTYPED.paint("red"), "Shapes.paint: color: expected .*Color.*, got 'red'"),
        (lambda: UNTYPED.paint(Color.RED, "2026-05-01"), "paint: on: expected .*date"),
        (lambda: UNTYPED.take(5), "Shapes.take: points: expected .*Point.*, got 5"),
        (lambda: UNTYPED.take([], "medium"), "take: mode: expected .*'fast'.*, got 'medium'"),
        (lambda: UNTYPED.choose([1]), r"choose: chosen: expected set\[int\], got \[1\]"),
        (lambda: UNTYPED.keep(object()), "Shapes.keep: whatever: expected a JSON value, got <obj"),
        (lambda: UNTYPED.keep((1,)), "expected a JSON value, got .1,."),
        (lambda: UNTYPED.set_count("5"), "Shapes.set_count takes int, got '5'"),
        (
            lambda: UNTYPED.add(UNTYPED.count),
            "Shapes.add: amount is bound to .*only the browser can",
        ),
        (
            lambda: UNTYPED.set_count(UNTYPED.count),
            "set_count: .* is bound to .*in a handler bind a",
        ),
        (lambda: UNTYPED.keep([UNTYPED.count]), "whatever: expected a JSON value, got <StateVar"),
    ],
)
def test_a_bound_argument_of_another_type_fails_in_the_handler_that_returns_it(
    bound: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        as_follow_ups(bound())


def test_bound_values_are_copied() -> None:
    numbers, points, table = {1}, [Point(1)], {"a": [1]}
    chosen, taken, kept = as_follow_ups(
        [UNTYPED.choose(numbers, table), UNTYPED.take(points), UNTYPED.keep(table)]
    )
    numbers.add(2)
    points[0].x = 2
    points.append(Point(3))
    table["a"].append(2)
    assert isinstance(chosen, Invocation)
    assert isinstance(taken, Invocation)
    assert isinstance(kept, Invocation)
    assert chosen.args == ({1}, {"a": [1]})
    assert taken.args == ([Point(1)],)
    assert kept.args == ({"a": [1]},)
    tree = make_tree()  # and what a state owns becomes a list of the handler's own
    [kept] = as_follow_ups(UNTYPED.keep(tree.state(Shapes).numbers))
    assert isinstance(kept, Invocation)
    assert [type(one) for one in kept.args] == [list]


def test_what_a_handler_returns_is_read_as_events_to_queue() -> None:
    add, climb = as_invocation(Shapes.add(1)), as_invocation(Shapes.climb(2))  # pyright: ignore
    assert as_follow_ups(None) == ()
    assert as_follow_ups(add) == (add,)
    assert as_follow_ups([add, climb]) == (add, climb)
    shown = redirect("/")
    nested = [add, [shown, (climb, []), [[add]]], shown]
    assert as_follow_ups(nested) == (add, shown, climb, add, shown)
    for wrong in (3, "add", [3], [[3]], [None], Shapes, lambda: None, Shapes.count):
        with pytest.raises(TypeError, match="may return and yield handlers.*effects.*lists.*got"):
            as_follow_ups(wrong)
        with pytest.raises(TypeError, match="expected a handler such as MyState.toggle"):
            as_invocation(wrong)
    with pytest.raises(TypeError, match="Shapes.add.*missing a required argument: 'amount'; bind"):
        as_follow_ups(Shapes.add)


def test_a_handler_named_through_self_is_refused_with_advice() -> None:
    shapes = make_tree().state(Shapes)
    with pytest.raises(TypeError, match="named through its class"):
        as_follow_ups(shapes.add)
    with pytest.raises(TypeError, match="named through its class"):
        as_follow_ups(shapes.climb)


def test_background_tasks_may_not_be_called_directly() -> None:
    shapes = make_tree().state(Shapes)
    with pytest.raises(RuntimeError, match="`return Shapes.climb` or `yield Shapes.climb`"):
        _ = shapes.climb(1)


def test_plain_handlers_may_be_called_inside_a_turn() -> None:
    tree = make_tree()
    shapes = tree.state(Shapes)
    with pytest.raises(ImmutableStateError):
        shapes.add(1)
    turn = tree.open_turn("test")
    hold(turn)
    shapes.add(2, 3)
    release(turn)
    assert shapes.count == 6


def test_invocations_are_frozen() -> None:
    invocation = Shapes.add(1)  # pyright: ignore
    assert isinstance(invocation, Invocation)
    with pytest.raises(AttributeError):
        invocation.args = ()  # pyright: ignore


# ---- instances ----------------------------------------------------------------------------------


def test_every_tree_gets_its_own_copy_of_a_default() -> None:
    one, two = make_tree().state(Shapes), make_tree().state(Shapes)
    assert one.point == two.point == Point(0)
    assert one.point is not two.point
    assert one.numbers == two.numbers == [1, 2]
    with pytest.raises(ImmutableStateError, match="Shapes.point was not changed"):
        one.point.x = 99
    with pytest.raises(ImmutableStateError, match="default of every new tab"):
        Shapes.definition().vars["point"].default.x = 99
    assert make_tree().state(Shapes).point == Point(0)
    assert make_tree().public()["root.shapes"]["point"] == {"x": 0, "label": ""}


def test_a_substate_sees_and_writes_its_parents_vars() -> None:
    tree = make_tree()
    inner = tree.state(Inner)
    assert (inner.count, inner.shared, inner._secret) == (0, "of the root", 7)
    turn = tree.open_turn("test")
    hold(turn)
    inner.count = 5
    inner.depth = 2
    release(turn)
    assert tree.state(Shapes).count == 5
    assert vars(inner).get("count") is None
    commit = turn.commit()
    assert commit is not None
    assert {operation.path for operation in commit.operations} == {
        "/root.shapes/count", "/root.shapes.inner/depth",
    }  # fmt: skip


def test_get_substate_goes_down_by_names_or_anywhere_by_class() -> None:
    tree = make_tree()
    for path in (["shapes"], ["root", "shapes"], Shapes.get_full_name().split(".")):
        assert tree.root.get_substate(path) is tree.state(Shapes)
    assert tree.state(Shapes).get_substate(["inner"]) is tree.state(Inner)
    assert tree.state(Inner).get_substate(Root) is tree.root
    assert tree.root.get_token() == "token"


def test_get_substate_of_a_wrong_path_says_what_there_is() -> None:
    tree = make_tree()
    with pytest.raises(LookupError, match=r"root has no substate 'circles' \(it has: .*shapes"):
        tree.root.get_substate(["circles"])
    with pytest.raises(TypeError, match="split it at the dots"):
        tree.root.get_substate("root.shapes")

    class Elsewhere(State, root=True):
        pass

    with pytest.raises(LookupError, match="Elsewhere is not a state under Root"):
        tree.root.get_substate(Elsewhere)


def test_an_unknown_attribute_cannot_be_set() -> None:
    with pytest.raises(AttributeError, match="Shapes has no var 'cuont'; declare it"):
        make_tree().state(Shapes).cuont = 3  # pyright: ignore

    class Bare(State, root=True):
        pass

    class Full(Bare):
        count: int = 0

    root = StateTree(Schema.of(Bare), "token", NoDoor()).root
    with pytest.raises(AttributeError, match=r"it is the root; .*get_substate\(MyState\).count"):
        root.count = 3  # pyright: ignore
    assert Full.get_full_name() == "bare.full"


def test_nothing_changes_outside_a_turn() -> None:
    shapes = make_tree().state(Shapes)
    with pytest.raises(ImmutableStateError, match="Shapes.count was not changed.*async with self"):
        shapes.count = 1
    with pytest.raises(ImmutableStateError, match="cannot be deleted"):
        del shapes.count
    assert shapes.count == 0


@pytest.mark.parametrize(
    ("var", "value"),
    [
        ("count", "1"), ("count", 1.0), ("count", True), ("count", None), ("ratio", "1"),
        ("ratio", float("nan")), ("ratio", float("inf")), ("ratio", True), ("flag", 1),
        ("name", 1), ("name", b"x"), ("name", "\ud800"),
        ("maybe", "x"), ("mode", "medium"), ("numbers", (1,)),
        ("numbers", ["1"]), ("table", {"a": [None]}), ("table", {1: [1]}), ("chosen", [1]),
        ("chosen", {"1"}), ("point", {"x": 1}), ("point", Point("1")),  # pyright: ignore
        ("anything", {"\udfff": 1}), ("anything", {"a": object()}),
        ("anything", {"a": {1: 2}}), ("anything", []),
    ],
)  # fmt: skip
def test_assigning_a_value_of_another_type_changes_nothing_and_says_so(
    var: str, value: Any
) -> None:
    tree = make_tree()
    shapes = tree.state(Shapes)
    before = getattr(shapes, var)
    turn = tree.open_turn("test")
    hold(turn)
    with pytest.raises(TypeError, match=rf"Shapes\.{var}.* takes .*, got "):
        setattr(shapes, var, value)
    release(turn)
    assert getattr(shapes, var) is before
    assert turn.commit() is None


@pytest.mark.parametrize("var", ["count", "maybe", "numbers", "table", "chosen", "anything"])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_int_that_python_makes_no_text_of_is_refused(var: str, sign: int) -> None:
    """Kept, it would be a state that can be sent to no browser any more, and stored nowhere."""

    def value(number: int) -> Any:
        inside = {"numbers": [1, number], "table": {"a": [number]}, "chosen": {number},
                  "anything": {"a": [number]}}  # fmt: skip
        return inside.get(var, number)

    tree = make_tree()
    shapes = tree.state(Shapes)
    turn = tree.open_turn("test")
    hold(turn)
    setattr(shapes, var, value(sign * 10**4299))
    with pytest.raises(TypeError, match=rf"Shapes\.{var}.* takes .*got .*an int of 14285 bits"):
        setattr(shapes, var, value(sign * 10**4300))
    with pytest.raises(TypeError, match="an int of 14285 bits"):
        shapes.numbers.append(sign * 10**4300)
    release(turn)
    commit = turn.commit()
    assert commit is not None
    assert len(encode(Patch(1, 1, commit.operations), "session")) > 4300


def test_assigning_stores_the_states_own_copy() -> None:
    tree = make_tree()
    shapes = tree.state(Shapes)
    mine = {"a": [1]}
    turn = tree.open_turn("test")
    hold(turn)
    shapes.table = mine
    mine["a"].append(2)
    assert shapes.table == {"a": [1]}
    shapes.numbers = shapes.table["a"]
    assert shapes.numbers is not shapes.table["a"]
    release(turn)


def test_a_state_shows_its_vars() -> None:
    tree = make_tree()
    assert "Shapes(count=0" in repr(tree.state(Shapes))


def test_a_snapshot_that_does_not_fit_names_the_var() -> None:
    tree = make_tree()
    with pytest.raises(SnapshotError, match="Shapes.count: the stored value is not a int"):
        tree.restore(Snapshot(1, {"root.shapes": {"count": "many"}}))
    tree = make_tree()
    tree.restore(Snapshot(4, {"root.shapes": {"count": 3, "gone": 1}, "root.gone": {"x": 1}}))
    assert (tree.version, tree.state(Shapes).count, tree.state(Shapes).name) == (4, 3, "")
    with pytest.raises(SnapshotError, match="in use already"):
        tree.restore(Snapshot(1, {}))
