"""The schema: all State classes of an app, and what is found in them by name."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, final

import attrs

from actorstate.exceptions import UnknownHandlerError
from actorstate.state.computed import Computed
from actorstate.state.fingerprint import fingerprint
from actorstate.state.handlers import Handler
from actorstate.state.hooks import HOOK_NAMES, HookName
from actorstate.state.json_types import Plain
from actorstate.state.state import State
from actorstate.state.untouched import Untouched, UntouchedTab


@final
@attrs.frozen(eq=False)
class Schema:
    """All State classes under one root, as they are when an app starts.

    Args:
        root: the root class.
        states: every State class by its full name.
    """

    root: type[State]
    states: Mapping[str, type[State]]
    _handlers: dict[str, Handler] = attrs.field(factory=dict[str, Handler], init=False, repr=False)
    """Those that were asked for by their names on the wire, and are there."""

    @functools.cached_property
    def shown_computed(self) -> list[Computed[Any]]:
        """The computed vars that pages show."""
        return [
            var
            for cls in self.states.values()
            for var in cls.definition().computed.values()
            if not var.is_backend
        ]

    @functools.cached_property
    def defaults(self) -> UntouchedTab:
        """What a browser sees of states that nobody has touched, without computed vars."""
        return UntouchedTab(
            {name: Untouched(name, _public_defaults(cls)) for name, cls in self.states.items()}
        )

    @functools.cached_property
    def fingerprint(self) -> str:
        """What snapshots say of the schema that wrote them."""
        return fingerprint(self.states)

    @classmethod
    def of(cls, root: type[State]) -> Schema:
        """Collect the State classes under a root, and check their handlers.

        Raises:
            StateDefinitionError: a handler's annotations cannot be resolved.
        """
        states: dict[str, type[State]] = {}
        waiting = [root]
        while waiting:
            state = waiting.pop()
            states[state.get_full_name()] = state
            for handler in state.definition().handlers.values():
                handler.check()
            waiting.extend(state.definition().substates.values())
        return cls(root, dict(sorted(states.items())))

    def handler(self, name: str) -> Handler:
        """Give the handler of a name from the wire; dicts alone decide, never ``getattr``.

        Raises:
            UnknownHandlerError: there is none that a browser may call.
        """
        handler = self._handlers.get(name)
        if handler is None:
            handler = self.find(name)
            if handler is None:
                message = f"no handler {name!r}"
                raise UnknownHandlerError(message)
            self._handlers[name] = handler
        return handler

    def find(self, name: str) -> Handler | None:
        """Give the handler of a name from the wire; None if there is none."""
        path, _, method = name.rpartition(".")
        handler = self._look_up(path, method)
        if handler is None:  # a canceller's own name is that of the task and another word
            path, _, task = path.rpartition(".")
            handler = self._look_up(path, f"{task}.{method}")
        return handler

    def callable(self, name: str) -> Handler:
        """Give what a turn has asked for by its name: a handler, or a hook that had to wait.

        Raises:
            UnknownHandlerError: there is none.
        """
        path, _, method = name.rpartition(".")
        cls = self.states.get(path)
        hook = cls.definition().hooks.get(method) if cls is not None else None
        return hook if hook is not None else self.handler(name)

    def hooks(self, name: HookName) -> Sequence[Handler]:
        """Give the hooks of a name, of all states: of parents before those of their substates."""
        return self._hooks[name]

    @functools.cached_property
    def _hooks(self) -> Mapping[HookName, Sequence[Handler]]:
        # Sorted by full name, of which a parent's is the beginning.
        of_states = [cls.definition().hooks for _, cls in sorted(self.states.items())]
        return {
            name: tuple(hooks[name] for hooks in of_states if name in hooks) for name in HOOK_NAMES
        }

    @functools.cached_property
    def minds_presence(self) -> bool:
        """Whether anything depends on a tab's being connected: a hook, or a task that says so."""
        return bool(self.hooks_of_presence or self.tasks_of_pages)

    @functools.cached_property
    def hooks_of_presence(self) -> frozenset[str]:
        """The hooks that are told of it, by their full names."""
        hooks = (*self.hooks("on_connect"), *self.hooks("on_disconnect"))
        return frozenset(hook.full_name for hook in hooks)

    @functools.cached_property
    def tasks_of_pages(self) -> frozenset[str]:
        """The background tasks that end with the pages of their tab, by their full names."""
        return frozenset(
            handler.full_name
            for cls in self.states.values()
            for handler in [*cls.definition().handlers.values(), *cls.definition().hooks.values()]
            if handler.options is not None and handler.options.is_of_pages
        )

    def error_hook(self, cls: type[State]) -> Handler | None:
        """Give the ``on_background_error`` of a state, or else of the nearest state above it."""
        name = cls.get_full_name()
        while name in self.states:
            hook = self.states[name].definition().hooks.get("on_background_error")
            if hook is not None:
                return hook
            name = name.rpartition(".")[0]
        return None

    def _look_up(self, state: str, method: str) -> Handler | None:
        cls = self.states.get(state)
        return cls.definition().handlers.get(method) if cls is not None else None


def _public_defaults(cls: type[State]) -> dict[str, Plain]:
    return {
        name: var.plain(var.default)
        for name, var in cls.definition().vars.items()
        if not var.is_backend
    }
