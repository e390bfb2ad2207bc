"""How things are named in logs."""

from __future__ import annotations


def token_label(token: str) -> str:
    """Name a token in a log. Long ones are cut: who can read the log shall not become the tab.

    >>> token_label("alice"), token_label("kx1Wc0hXv5V9PwWq3mJ4")
    ('alice', 'kx1Wc0hX…')
    """
    return token if len(token) <= 16 else f"{token[:8]}…"  # noqa: PLR2004 - as the example shows
