"""Settings for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import trio
from browser import Visitor, started_chromium
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser

from actorstate.actors.runtime import Scope

settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with started_chromium() as browser:
        yield browser


@pytest.fixture
def visitor(chromium: Browser) -> Iterator[Visitor]:
    visitor = Visitor(chromium)
    yield visitor
    visitor.leave()


@pytest.fixture
async def scope(nursery: trio.Nursery) -> Scope:
    return Scope(nursery)
