"""Whose pages may open a socket, and who is at the other end: what is believed of headers."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest
from hypothesis import given, strategies as st

from actorstate import ConnectionLimits
from actorstate.web.origins import Origins, read_origin
from actorstate.web.peers import Peer, Proxies, neighbourhood

HERE = "shop.example:8000"


# ---- origins ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "scheme", "is_allowed"),
    [
        ("http://shop.example:8000", None, True),
        ("https://shop.example:8000", None, True),  # a proxy may have ended TLS
        ("HTTP://Shop.Example:8000", "http", True),
        ("http://shop.example:8000", "http", True),
        ("https://shop.example:8000", "http", False),
        ("http://shop.example:8000", "https", False),
        ("http://shop.example", None, False),
        ("http://shop.example:8001", None, False),
        ("http://evil.example", None, False),
        ("http://shop.example:8000.evil.example", None, False),
        ("http://evil.example@shop.example:8000", None, False),
        ("http://shop.example:8000@evil.example", None, False),
        ("http://shop.example:8000/", None, False),
        ("http://shop.example:8000#", None, False),
        ("http://shop.example:8000, http://evil.example", None, False),
        ("ws://shop.example:8000", None, False),
        ("file://", None, False),
        ("null", None, False),
        ("", None, False),
        ("http://[", None, False),
        ("http://shop.example:port", None, False),
        ("http://shop.example:8000\t", None, False),
        (None, None, True),
        (None, "https", True),
    ],
)
def test_a_page_of_the_same_origin_may_open_a_socket_and_no_other(
    origin: str | None, scheme: str | None, is_allowed: bool
) -> None:
    assert Origins().allow(origin, HERE, scheme) == is_allowed


@pytest.mark.parametrize(
    ("origin", "host", "scheme"),
    [
        ("https://shop.example", "shop.example:443", "https"),
        ("http://shop.example", "shop.example:80", "http"),
        ("https://shop.example", "shop.example", None),
        ("http://[::1]:8000", "[::1]:8000", None),
    ],
)
def test_the_port_that_goes_without_saying_may_be_said(origin: str, host: str, scheme: str) -> None:
    assert Origins().allow(origin, host, scheme)


def test_others_may_be_allowed_by_name() -> None:
    origins = Origins(["https://Partner.example:443", "http://partner.example:81"])
    for origin in ("https://partner.example", "http://partner.example:81"):
        assert origins.allow(origin, HERE, "https")
    for origin in ("http://partner.example", "https://x.partner.example", "null", "*"):
        assert not origins.allow(origin, HERE, "https")


@pytest.mark.parametrize(
    "text",
    ["*", "", "null", "shop.example", "https://", "https://shop.example/", "ftp://shop.example",
     "https://me@shop.example", "https://shop.example:99999"],
)  # fmt: skip
def test_what_is_no_origin_cannot_be_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="is no origin; one is written as https://shop.example"):
        ConnectionLimits(allowed_origins=(text,))


def test_one_origin_need_not_stand_in_a_list() -> None:
    given: tuple[str, ...] = "https://shop.example"  # pyright: ignore
    assert ConnectionLimits(allowed_origins=given).allowed_origins == ("https://shop.example",)


@given(st.text(), st.text(), st.sampled_from(["http", "https", None]))
def test_no_text_of_a_stranger_is_more_than_refused(
    origin: str, host: str, scheme: str | None
) -> None:
    if Origins().allow(origin, host, scheme):  # then it says what the server is called
        assert origin.lower().partition("://")[2].split(":")[0] in host.lower()


@given(st.text())
def test_an_origin_that_is_read_reads_as_itself(text: str) -> None:
    try:
        origin = read_origin(f"https://{text}")
    except ValueError:
        return
    assert read_origin(origin) == origin


# ---- proxies ------------------------------------------------------------------------------------

PROXIES = Proxies(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"])


@pytest.mark.parametrize(
    ("address", "forwarded", "client"),
    [
        ("198.51.100.7", "203.0.113.9", "198.51.100.7"),  # not by a proxy: it may say what it likes
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "1.2.3.4, 203.0.113.9", "203.0.113.9"),  # the first it has written itself
        ("10.0.0.1", "203.0.113.9, 10.9.9.9, 192.0.2.1", "203.0.113.9"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9, unknown, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
        ("10.0.0.1", "[2a00::7]:4711", "2a00::7"),
        ("10.0.0.1", "2a00::7", "2a00::7"),
        ("::ffff:10.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8::1%eth0", "203.0.113.9", "203.0.113.9"),
        ("", "203.0.113.9", ""),
    ],
)
def test_the_address_is_the_last_one_that_no_trusted_proxy_has(
    address: str, forwarded: str, client: str
) -> None:
    assert PROXIES.peer(address, None, {"x-forwarded-for": forwarded}).address == client


@pytest.mark.parametrize(
    ("address", "said", "scheme"),
    [
        ("10.0.0.1", "https", "https"),
        ("10.0.0.1", "HTTP", "http"),
        ("10.0.0.1", "https, http", "http"),  # by the nearest
        ("10.0.0.1", "gopher", None),
        ("10.0.0.1", "", None),
        ("198.51.100.7", "https", None),
    ],
)
def test_the_scheme_is_what_a_trusted_proxy_says(
    address: str, said: str, scheme: str | None
) -> None:
    assert PROXIES.peer(address, None, {"x-forwarded-proto": said}).scheme == scheme


def test_no_header_is_believed_where_no_proxy_is_named() -> None:
    headers = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https"}
    assert Proxies().peer("10.0.0.1", None, headers) == Peer("10.0.0.1", None)


@given(st.lists(st.ip_addresses().map(str) | st.text(max_size=8)))
def test_a_client_gets_no_other_address_by_what_it_writes_in_front(written: list[str]) -> None:
    forwarded = ", ".join([*written, "203.0.113.9"])
    assert PROXIES.peer("10.0.0.1", None, {"x-forwarded-for": forwarded}).address == "203.0.113.9"


@pytest.mark.parametrize("text", ["", "proxy.example", "10.0.0.0/33", "*"])
def test_what_is_no_address_is_no_proxy(text: str) -> None:
    with pytest.raises(ValueError, match="is no address and no network; these are as 10.0.0.7"):
        Proxies([text])


@given(st.ip_addresses(v=6, network="2000::/3"), st.integers(0, 2**64 - 1))
def test_neighbours_of_ipv6_are_counted_as_one(address: IPv6Address, host: int) -> None:
    neighbour = IPv6Address(int(address) >> 64 << 64 | host)
    assert neighbourhood(str(address)) == neighbourhood(str(neighbour))


def test_an_address_of_ipv4_is_one_however_it_is_written() -> None:
    assert neighbourhood("::ffff:192.0.2.7") == neighbourhood("192.0.2.7") == "192.0.2.7"
    assert neighbourhood("") == ""
