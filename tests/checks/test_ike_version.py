"""The charon of this machine is asked for IKE version 1; only its own word counts."""

import asyncio
import socket
from collections.abc import Callable

import pytest
from tests.config_examples import make_config
from tests.ipsec.connections import make_ike

from vpnagent.checks.observation import Observation, ObservedCharon
from vpnagent.checks.observe import has_ikev1
from vpnagent.checks.traps import charon_traps
from vpnagent.config.weaknesses import weaknesses


def asked(answer: Callable[[bytes], bytes] | None) -> bool | None:
    """Return what is found out of a charon that answers so, or not at all."""

    async def ask() -> bool | None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
            loop = asyncio.get_running_loop()

            async def charon() -> None:
                message, sender = await loop.sock_recvfrom(sock, 512)
                assert len(message) == 28
                assert message[16:20] == bytes((0, 0x10, 2, 0))
                assert any(message[8:16])  # else charon would begin an IKE_SA
                assert int.from_bytes(message[24:]) == 28
                if answer is not None:
                    await loop.sock_sendto(sock, answer(message), sender)

            found, _ = await asyncio.gather(has_ikev1(sock.getsockname()), charon())
            return found

    return asyncio.run(ask())


def invalid_major_version(message: bytes) -> bytes:
    """What a charon without IKE version 1 answers: the header in version 2, INFORMATIONAL, a notify."""
    return (
        message[:16]
        + bytes((41, 0x20, 37, 0x20))
        + bytes(4)
        + (36).to_bytes(4)
        + bytes((0, 0, 0, 8, 0, 0, 0, 5))
    )


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (invalid_major_version, False),
        (None, True),
        (lambda message: b"", True),
        (lambda message: bytes(8) + invalid_major_version(message)[8:], True),
        (lambda message: message, True),
    ],
)
def test_an_answer_in_version_2_means_that_there_is_no_version_1(
    answer: Callable[[bytes], bytes] | None, expected: bool
) -> None:
    assert asked(answer) is expected


def test_where_nobody_listens_nothing_is_known() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        address = sock.getsockname()
    assert asyncio.run(has_ikev1(address)) is None


CHARON = ObservedCharon(version="6.1.0", plugins=frozenset(), algorithms={})
VERSION_1 = make_config(connection={"ike": make_ike(version=1)})


def test_a_charon_without_version_1_is_critical_for_those_who_use_it() -> None:
    seen = Observation(charon=CHARON, ikev1=False)
    [finding] = [f for f in charon_traps(VERSION_1, seen) if f.code == "Ikev1Missing"]
    assert (finding.subject, finding.severity.value) == ("hangzhou", "critical")
    assert "6.1.0" in finding.text
    assert "Ikev1Missing" not in {f.code for f in charon_traps(make_config(), seen)}


@pytest.mark.parametrize("ikev1", [True, None])
def test_without_its_word_nothing_is_said(ikev1: bool | None) -> None:
    found = charon_traps(VERSION_1, Observation(charon=CHARON, ikev1=ikev1))
    assert "Ikev1Missing" not in {finding.code for finding in found}


def test_every_connection_of_version_1_is_told_beforehand() -> None:
    going = [finding for finding in weaknesses(VERSION_1) if finding.code == "Ikev1GoingAway"]
    assert [(f.subject, f.severity.value) for f in going] == [("connections[0].ike.version", "info")]
    assert "ikev2" in going[0].hint
    assert "vpnagent plan" in going[0].hint
    assert "Ikev1GoingAway" not in {finding.code for finding in weaknesses(make_config())}
