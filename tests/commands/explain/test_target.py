"""What may be asked about."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.commands.explain.reasoning import Target, target_of
from vpnagent.control.protocol import USAGE
from vpnagent.errors import ControlError

ADDRESS = IPv4Address("172.16.0.10")


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("172.16.0.10", Target("172.16.0.10", ADDRESS, None)),
        ("172.16.0.10:3306", Target("172.16.0.10", ADDRESS, 3306)),
        ("Example.COM.:443", Target("example.com", None, 443)),
        ("db", Target("db", None, None)),
    ],
)
def test_a_host_or_an_address_with_or_without_a_port(text: str, target: Target) -> None:
    assert target_of(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":443",
        "a:",
        "a:0",
        "a:65536",
        "a:+1",
        "a b",
        "https://a/b",
        "10.0.0",
        "10.0.0.256",
        "a..b",
        "-a",
        "::1",
    ],
)
def test_anything_else_is_a_usage_error_of_one_line(text: str) -> None:
    with pytest.raises(ControlError) as caught:
        target_of(text)
    assert caught.value.exit_status == USAGE
    assert "\n" not in str(caught.value)


@given(st.text(max_size=20))
def test_no_word_leads_to_another_error(text: str) -> None:
    try:
        target = target_of(text)
    except ControlError:
        return
    assert target_of(str(target)) == target


@given(st.ip_addresses(v=4), st.one_of(st.none(), st.integers(1, 65535)))
def test_every_address_and_port_is_read_as_it_is_written(address: IPv4Address, port: int | None) -> None:
    target = Target(str(address), address, port)
    assert target_of(str(target)) == target
