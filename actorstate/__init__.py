"""actorstate: the UI state of each browser tab, kept on the server as an actor.

A map of the package. Imports point down this list only::

    testing/    for tests: a tab in memory, programs, a search for races
    reflex/     the names of another library, mapped onto ours; nothing else imports it
    app         App: puts the layers together
    web/        protocol, connections, the server, client.js
    ui/         elements and expressions, rendered to HTML with bindings
    actors/     pykka's actors on trio; token actors, task actors, the directory
    stores/     where state trees rest
    state/      State, vars, handlers, turns, patches; no event loop
    exceptions

This module only re-exports; everything is documented where it is defined. What it re-exports
says that it comes from here, so that a traceback reads ``actorstate.ImmutableStateError``.
"""

from __future__ import annotations

from typing import Any as _Any

from actorstate.actors.background_task import BackgroundTask as BackgroundTask
from actorstate.actors.errors import ErrorContext as ErrorContext
from actorstate.app import App as App, current_app as current_app
from actorstate.exceptions import (
    ActivationError as ActivationError,
    ActorDeadError as ActorDeadError,
    BadArgumentsError as BadArgumentsError,
    ComputedVarError as ComputedVarError,
    DeadlockError as DeadlockError,
    ImmutableStateError as ImmutableStateError,
    LeaseLostError as LeaseLostError,
    MailboxFullError as MailboxFullError,
    PageError as PageError,
    SnapshotError as SnapshotError,
    StateDefinitionError as StateDefinitionError,
    StoreError as StoreError,
    StoreUnavailableError as StoreUnavailableError,
    TooManyTasksError as TooManyTasksError,
    TurnTimeoutError as TurnTimeoutError,
    UnknownHandlerError as UnknownHandlerError,
)
from actorstate.state.computed import computed as computed
from actorstate.state.effects import (
    Effect as Effect,
    console_log as console_log,
    copy_to_clipboard as copy_to_clipboard,
    download as download,
    redirect as redirect,
    scroll_to as scroll_to,
    set_focus as set_focus,
    set_value as set_value,
)
from actorstate.state.handlers import background as background, event as event
from actorstate.state.router import Router as Router
from actorstate.state.state import State as State
from actorstate.stores.base import Store as Store
from actorstate.stores.memory import MemoryStore as MemoryStore
from actorstate.stores.sqlite import SQLiteStore as SQLiteStore
from actorstate.ui import (
    button as button,
    checkbox as checkbox,
    code as code,
    cond as cond,
    divider as divider,
    el as el,
    foreach as foreach,
    form as form,
    fragment as fragment,
    heading as heading,
    hstack as hstack,
    image as image,
    input as input,  # noqa: A004 - the word of HTML
    label as label,
    li as li,
    link as link,
    match as match,
    number_input as number_input,
    ol as ol,
    pre as pre,
    progress as progress,
    radio as radio,
    select as select,
    slider as slider,
    table as table,
    tbody as tbody,
    td as td,
    text as text,
    textarea as textarea,
    th as th,
    thead as thead,
    tr as tr,
    ul as ul,
    vstack as vstack,
)
from actorstate.web.limits import ConnectionLimits as ConnectionLimits


def _claim(exports: dict[str, _Any]) -> None:
    for exported in exports.values():
        if getattr(exported, "__module__", "").startswith(f"{__name__}."):
            exported.__module__ = __name__


_claim({name: exported for name, exported in globals().items() if not name.startswith("_")})
