"""What a browser lets in, and what not: tokens, other sites, policies."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from browser import Server, Visitor, assert_content, press, state_of, token_of

from actorstate.web.tokens import Mint

SITE = """
from actorstate import App, State, button, heading, vstack

class Vault(State, root=True):
    opened: int = 0

    def open(self):
        self.opened += 1

app = App(root=Vault)
app.add_page(vstack(heading(f"Opened {Vault.opened}"), button("Open", on_click=Vault.open)))
"""


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("vault")
    (folder / "vault.py").write_text(SITE)
    with Server(folder / "vault.py", folder) as server:
        yield server
    assert_content(server)


def test_a_page_with_a_token_of_another_server_begins_anew_on_the_same_socket(
    visitor: Visitor, vault: Server
) -> None:
    foreign = Mint(b"another server's").mint()
    planted = f"sessionStorage['actorstate.token'] = {json.dumps(foreign)}"
    plant = f"sessionStorage.planted ??= ({planted})"
    page = visitor.open(vault.url, prepare=lambda tab: tab.add_init_script(plant))
    page.get_by_role("heading", name="Opened 0").wait_for()
    token = token_of(page)
    assert token != foreign
    press(page, "Open")
    page.get_by_role("heading", name="Opened 1").wait_for()
    page.reload()
    page.get_by_role("heading", name="Opened 1").wait_for()
    assert token_of(page) == token
    assert state_of(page) == {"vault": {"opened": 1}}
