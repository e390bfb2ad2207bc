"""Tokens of tabs: what is minted is known again, and nothing else is."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from hmac import digest

import pytest
from hypothesis import given, strategies as st

from actorstate.web.tokens import Mint

KEY = bytes(range(32))
MINTED = Mint(KEY).mint()

keys = st.binary(min_size=32, max_size=32)


def test_a_token_is_256_random_bits_and_the_hmac_of_what_says_them() -> None:
    random, _, signature = MINTED.partition(".")
    assert len(urlsafe_b64decode(random + "=")) == 32
    assert urlsafe_b64decode(signature + "=") == digest(KEY, random.encode(), "sha256")
    assert len({Mint(KEY).mint() for _ in range(1000)}) == 1000


@given(keys)
def test_a_mint_knows_its_own_tokens_whichever_process_made_them(key: bytes) -> None:
    assert Mint(key).is_ours(Mint(key).mint())


@given(keys, keys)
def test_no_mint_knows_those_of_another_key(key: bytes, other: bytes) -> None:
    assert Mint(key).is_ours(Mint(other).mint()) == (key == other)


@given(st.text())
def test_no_text_is_a_token(text: str) -> None:
    assert not Mint(KEY).is_ours(text)


@given(st.integers(0, len(MINTED) - 1), st.characters())
def test_no_character_of_a_token_may_be_another(place: int, character: str) -> None:
    changed = MINTED[:place] + character + MINTED[place + 1 :]
    assert Mint(KEY).is_ours(changed) == (changed == MINTED)


@given(st.integers(0, len(MINTED)), st.text(max_size=50))
def test_no_part_of_a_token_is_one(place: int, more: str) -> None:
    for changed in (MINTED[:place] + more, more + MINTED[place:]):
        assert Mint(KEY).is_ours(changed) == (changed == MINTED)


def test_the_spare_bits_of_base64_make_no_second_name_of_a_tab() -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    known = [last for last in alphabet if Mint(KEY).is_ours(MINTED[:-1] + last)]
    assert known == [MINTED[-1]]


@pytest.mark.parametrize("text", ["\ud800" * 87, "." * 87, "", "." + "A" * 86])
def test_what_is_no_text_of_a_browser_is_refused_without_an_error(text: str) -> None:
    assert not Mint(KEY).is_ours(text)
