"""What two gateways say to each other, and what each makes of it."""

import hashlib
import hmac
import json
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.config.values import Device
from vpnagent.pair.talk import MAC, MOST, SILENCE, OtherGateway, PairMessage, read, written

SECRET = b"of-this-pair"
FIRST, SECOND = IPv4Address("192.0.2.1"), IPv4Address("10.1.0.1")
addresses = st.sampled_from([FIRST, SECOND])
messages = st.builds(
    PairMessage,
    node=st.sampled_from(Device),
    began=st.integers(0, 2**63),
    number=st.integers(0, 2**63),
    digest=st.text(max_size=80),
    owned=st.frozensets(addresses),
    given_up=st.dictionaries(addresses, st.integers(0, 2**31)),
)
SAID = PairMessage(
    node=Device.B, began=5, number=1, digest="same", owned=frozenset({FIRST}), given_up={FIRST: 1}
)


@given(messages)
def test_what_is_written_is_read(message: PairMessage) -> None:
    assert read(written(message, SECRET), SECRET) == message


@given(messages, st.data())
def test_nothing_that_was_changed_on_the_way_is_read(message: PairMessage, data: st.DataObject) -> None:
    datagram = bytearray(written(message, SECRET))
    datagram[data.draw(st.integers(0, len(datagram) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ValueError, match="not by the secret of this pair"):
        read(bytes(datagram), SECRET)


@given(st.binary(max_size=200))
def test_whatever_arrives_is_refused_and_no_more(datagram: bytes) -> None:
    with pytest.raises(ValueError, match="not"):
        read(datagram, SECRET)


def test_another_secret_and_a_flood_are_refused() -> None:
    with pytest.raises(ValueError, match="secret"):
        read(written(SAID, b"of another"), SECRET)
    with pytest.raises(ValueError, match="secret"):
        read(written(replace(SAID, digest="x" * MOST), SECRET), SECRET)


def test_no_secret_is_in_a_message() -> None:
    assert SECRET not in written(SAID, SECRET)
    assert len(written(SAID, SECRET)) > MAC


def test_a_newer_version_may_say_more() -> None:
    text = json.dumps({**json.loads(written(SAID, SECRET)[MAC:]), "version": 2, "more": [1]}).encode()
    assert read(hmac.digest(SECRET, text, hashlib.sha256) + text, SECRET) == SAID


def test_an_address_is_given_up_when_the_count_grows_and_only_once() -> None:
    other = OtherGateway(0.0)
    assert other.hear(SAID, 1.0) == frozenset(), "what was before us is no news"
    again = replace(SAID, number=2, given_up={FIRST: 2})
    assert other.hear(again, 2.0) == {FIRST}
    assert other.hear(again, 3.0) == frozenset(), "a message that comes again, or is played again"
    assert not other.is_heard(2.0 + SILENCE), "nor is that a sign of life"
    assert other.hear(replace(SAID, number=3, given_up={FIRST: 2, SECOND: 1}), 4.0) == {SECOND}
    assert other.hear(SAID, 5.0) == frozenset()
    assert other.last
    assert other.last.number == 3


def test_a_daemon_that_started_again_counts_from_nothing() -> None:
    other = OtherGateway(0.0)
    other.hear(replace(SAID, given_up={FIRST: 7}), 1.0)
    assert other.hear(replace(SAID, began=6, given_up={}), 2.0) == frozenset()
    assert other.hear(replace(SAID, began=6, number=2, given_up={FIRST: 1}), 3.0) == {FIRST}


def codes(
    other: OtherGateway, now: float, digest: str = "same", owned: frozenset[IPv4Address] = frozenset()
) -> list[str]:
    return [finding.code for finding in other.findings("rt2", digest, owned, now)]


def test_silence_is_told_when_it_lasts_and_hides_what_is_old() -> None:
    other = OtherGateway(0.0)
    assert codes(other, SILENCE - 0.1) == []
    assert codes(other, SILENCE) == ["PairPeerSilent"]
    other.hear(SAID, 10.0)
    assert codes(other, 10.0 + SILENCE - 0.1, "another") == ["PairConfigDiffers"]
    assert codes(other, 10.0 + SILENCE, "another", SAID.owned) == ["PairPeerSilent"]


def test_an_address_on_both_is_a_split_brain() -> None:
    other = OtherGateway(0.0)
    other.hear(SAID, 0.0)
    assert codes(other, 0.0, owned=frozenset({SECOND})) == []
    assert codes(other, 0.0, owned=frozenset({FIRST, SECOND})) == ["SplitBrain"]
