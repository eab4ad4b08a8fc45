"""Traffic selectors as charon writes them, and what they cover."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.witness.values import covers, range_of, text

LOCAL, REMOTE = IPv4Network("10.1.0.0/16"), IPv4Network("172.16.0.0/16")
LOCALS = ("10.1.0.0/16",)


@pytest.mark.parametrize(
    ("remotes", "covered"),
    [
        (("0.0.0.0/0",), True),
        (("172.16.0.0/16",), True),
        (("172.16.0.0/17", "172.16.128.0/17"), True),
        (("172.16.0.0..172.16.127.255", "172.16.100.0..172.17.0.0"), True),
        (("172.16.0.0/17",), False),
        (("172.16.0.0/17", "172.16.129.0/24"), False),
        (("172.16.0.0/16[tcp/443]",), False),
        (("dynamic",), False),
        ((), False),
    ],
)
def test_a_network_is_covered_when_each_of_its_addresses_is(remotes: tuple[str, ...], covered: bool) -> None:
    assert covers(((LOCALS, remotes),), LOCAL, REMOTE) is covered


def test_any_child_sa_may_cover_a_pair_and_it_takes_one_that_covers_both_ends() -> None:
    other = (("10.2.0.0/16",), ("172.16.0.0/16",))
    assert covers((other, (LOCALS, ("172.16.0.0/16",))), LOCAL, REMOTE)
    assert not covers((other, (LOCALS, ("100.64.0.0/10",))), LOCAL, REMOTE)


def test_they_are_told_as_charon_tells_them() -> None:
    assert (
        text(((LOCALS, ("172.16.0.0/16", "172.17.0.0/16")),)) == "10.1.0.0/16 === 172.16.0.0/16 172.17.0.0/16"
    )


@given(st.text())
def test_anything_is_read(selector: str) -> None:
    found = range_of(selector)
    assert found is None or found[0] >= 0


@given(st.lists(st.integers(0, 255), max_size=6), st.lists(st.integers(0, 255), max_size=6))
def test_cover_is_what_a_set_of_addresses_says(lows: list[int], sizes: list[int]) -> None:
    base = int(IPv4Address("172.16.0.0"))
    ranges = [(base + low, base + min(255, low + size)) for low, size in zip(lows, sizes, strict=False)]
    remotes = tuple(f"{IPv4Address(low)}..{IPv4Address(high)}" for low, high in ranges)
    every = {address for low, high in ranges for address in range(low, high + 1)}
    whole = IPv4Network("172.16.0.0/24")
    assert covers(((("0.0.0.0/0",), remotes),), LOCAL, whole) is (len(every) == 256)
