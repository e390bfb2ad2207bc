"""Methods that are called from outside: what their parameters take, from JSON and back."""

from __future__ import annotations

import functools
import inspect
import reprlib
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final, cast, get_type_hints

import cattrs

from actorstate.exceptions import BadArgumentsError, StateDefinitionError
from actorstate.state.convert import UNFIT, error_details, make_converter, type_name
from actorstate.state.expressions import Expression
from actorstate.state.json_types import NoJsonFormError, Plain

_converter: Final = make_converter()


class Method:
    """A function of ``self`` and parameters, each of which takes values of its annotated type.

    Its text (``str``) names it in messages.

    Args:
        function: as it stands in the class body.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function: Final = function
        self._takes_nothing = False
        """Whether it has no parameters; known once that was checked."""
        functools.update_wrapper(cast("Any", self), function)

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        """The parameters after ``self``, each of which may be given by name as well.

        Raises:
            StateDefinitionError: there is not even ``self``.
        """
        signature = inspect.signature(self.function)
        if not signature.parameters:
            message = f"{self} takes no self; write `def {self.function.__name__}(self):`"
            raise StateDefinitionError(message)
        _, *parameters = signature.parameters.values()
        by_name = [_by_name_too(one) for one in parameters]
        return signature.replace(parameters=by_name, return_annotation=signature.empty)

    @functools.cached_property
    def _types(self) -> Mapping[str, Any]:
        """What each parameter takes. Annotations may name what is defined later: not at import."""
        written = inspect.get_annotations(self.function)
        # Of the parameters alone: what a handler returns is no business of the browser.
        named = {name: written.get(name, Any) for name in self.signature.parameters}
        declared = SimpleNamespace(__annotations__=named)
        hints = get_type_hints(declared, self.function.__globals__)
        return {name: hints[name] for name in named}

    @property
    def types(self) -> Mapping[str, Any]:
        """The type of each parameter, by name; `Any` where nothing is declared.

        Raises:
            NameError: an annotation names nothing.
        """
        return self._types

    @functools.cached_property
    def _structure_hooks(self) -> Mapping[str, Callable[[Any], Any]]:
        return {name: _argument_hook(declared) for name, declared in self._types.items()}

    def structure(self, args: Any) -> tuple[Any, ...]:
        """Turn the JSON arguments of an event into what the method takes, strictly.

        Args:
            args: as in the event frame: a list, or an object by parameter name.

        Raises:
            BadArgumentsError: wrong number, unknown names, or a value of another type.
        """
        if not args and self._takes_nothing:
            return ()
        bound = self._bind(args)
        for position, (name, value) in enumerate(bound.arguments.items()):
            key = f".{name}" if isinstance(args, Mapping) else f"[{position}]"
            bound.arguments[name] = self._structure_one(name, value, f"$.args{key}")
        bound.apply_defaults()  # else a default before a given name would be skipped
        return bound.args

    def _bind(self, args: Any) -> inspect.BoundArguments:
        try:
            if isinstance(args, Mapping):
                return self.signature.bind(**cast("Mapping[str, Any]", args))
            if isinstance(args, list | tuple):
                return self.signature.bind(*cast("Sequence[Any]", args))
            message = f"{self}: expected a list, or an object by parameter name"
            raise BadArgumentsError(message, "$.args")
        except TypeError as error:
            # The names alone: a default is the program's own affair.
            takes = ", ".join(self.signature.parameters)
            message = f"{self}({takes}): {error}, got {reprlib.repr(cast('object', args))}"
            raise BadArgumentsError(message, "$.args") from error

    def _structure_one(self, name: str, value: Any, where: str) -> Any:
        try:
            return self._structure_hooks[name](value)
        except UNFIT as error:
            details, culprit = error_details(error, where)[0]
            message = f"{self}: {name}: {self._expectation(name, value, details)}"
            raise BadArgumentsError(message, culprit) from error

    def _expectation(self, name: str, value: object, details: str) -> str:
        """Complete what is known of a value that does not fit by what would, and what it was."""
        if ", got " in details:
            return details
        wanted = type_name(self._types[name])
        return f"expected {wanted}, got {reprlib.repr(value)} ({details})"

    def unstructure(self, args: tuple[Any, ...]) -> list[Plain]:
        """Give the JSON form of the arguments of a call, of which `structure` makes them again.

        What is left to a default is in it, too.

        Args:
            args: by position, as `structure` and `Invocation.complete` give them.

        Raises:
            TypeError: some are missing, or there are too many.
        """
        bound = self.signature.bind(*args)
        bound.apply_defaults()
        return [self._unstructure_one(name, value) for name, value in bound.arguments.items()]

    def _unstructure_one(self, name: str, value: Any) -> Plain:
        return _converter.unstructure(value, self._types[name])

    def own(self, name: str, value: Any) -> Any:
        """Check a value that the program binds to a parameter, and give the handler's own copy.

        Raises:
            TypeError: the value is not of the annotated type.
        """
        if isinstance(value, Expression):
            message = (
                f"{self}: {name} is bound to {value!r}, which only the browser can compute; in a "
                f"handler bind a value, as in self.name"
            )
            raise TypeError(message)
        return self._own_one(name, value)

    def _own_one(self, name: str, value: Any) -> Any:
        try:
            return self._copy(name, value)
        except UNFIT as error:
            details, culprit = error_details(error, name)[0]
            inside = f" at {culprit}" if culprit != name else ""
            message = f"{self}: {name}: {self._expectation(name, value, details)}{inside}"
            raise TypeError(message) from error

    def _copy(self, name: str, value: Any) -> Any:
        declared = self._types[name]
        if declared in (Any, object):
            return self._structure_hooks[name](value)
        copy = self._structure_hooks[name](_converter.unstructure(value, declared))
        # The JSON form of a set is that of a list, too; a value of the program has one type.
        if not isinstance(value, type(copy)) and not (type(copy) is float and type(value) is int):
            message = f"expected {type_name(declared)}, got {reprlib.repr(value)}"
            raise ValueError(message)
        return copy

    def check(self) -> None:
        """Resolve the annotations of the parameters, which may name what is defined later.

        Raises:
            StateDefinitionError: an annotation names nothing, or a type without a JSON form.
        """
        self._takes_nothing = not self.signature.parameters
        try:
            _ = self._structure_hooks
        except (NameError, cattrs.StructureHandlerNotFoundError, NoJsonFormError) as error:
            message = (
                f"{self} cannot take arguments from a browser by its annotations "
                f"({str(error).rstrip('.')}); import the type at the top level of the module, or, "
                f"if no browser shall call it, start the method's name with _"
            )
            raise StateDefinitionError(message) from error


def _by_name_too(parameter: inspect.Parameter) -> inspect.Parameter:
    if parameter.kind is not inspect.Parameter.POSITIONAL_ONLY:
        return parameter
    return parameter.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _argument_hook(declared: Any) -> Callable[[Any], Any]:
    structure = _converter.get_structure_hook(declared)
    return lambda value: structure(value, declared)
