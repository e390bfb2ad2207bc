"""Settings for all tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Final

import pytest
from browser import PATIENCE, Visitor
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser, expect, sync_playwright

settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

CHROMIUM_OPTIONS: Final = [
    "--no-sandbox",  # root, as in a container, may not use it
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# One module, not the session: Playwright's loop would run on under the tests that come after.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=CHROMIUM_OPTIONS
        )
        yield browser
        browser.close()


@pytest.fixture
def visitor(chromium: Browser) -> Iterator[Visitor]:
    visitor = Visitor(chromium)
    yield visitor
    visitor.leave()
