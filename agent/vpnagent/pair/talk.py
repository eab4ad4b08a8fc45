"""What two gateways say to each other, and what follows from it: nothing that must not be lost. Pure.

VRRP and the probes decide. By the talk each knows that the other lives, runs the same configuration, and
which moving addresses it has. One thing is done on its word: an address that the other has given up after
both had it (a split brain that has healed) may stand for dead SAs here, as the cloud went along with the
other one. They are negotiated anew at once, instead of at the pace of a tunnel that fails.

A message is a MAC (HMAC-SHA-256, RFC 2104) and JSON. ``began`` and ``number`` grow: no old one counts.
"""

import hashlib
import hmac
import json
from collections.abc import Collection, Iterator, Mapping
from ipaddress import IPv4Address
from typing import Final

from vpnagent.config.values import Device
from vpnagent.finding import Finding, Severity
from vpnagent.record import record

PORT: Final = 9787
PERIOD: Final = 1.0  #: seconds between two messages while nothing changes
SILENCE: Final = 3.5  #: seconds after which the other is not heard
VERSION: Final = 1
MAC: Final = hashlib.sha256().digest_size
MOST: Final = 4096  #: bytes of a message


@record(frozen=True, slots=True, kw_only=True)
class PairMessage:
    """What one gateway says of itself."""

    node: Device
    began: int  #: when its daemon started, milliseconds of its wall clock
    number: int  #: of messages since then
    digest: str  #: of its configuration, without what differs between the two
    owned: frozenset[IPv4Address]  #: addresses that move, and are its now
    given_up: Mapping[IPv4Address, int]  #: how often each has gone since it began


def written(message: PairMessage, secret: bytes) -> bytes:
    """Return the datagram."""
    body = {
        "version": VERSION,
        "node": message.node.value,
        "began": message.began,
        "number": message.number,
        "digest": message.digest,
        "owned": sorted(map(str, message.owned)),
        "given_up": {str(address): count for address, count in sorted(message.given_up.items())},
    }
    text = json.dumps(body, sort_keys=True).encode()
    return hmac.digest(secret, text, hashlib.sha256) + text


def read(datagram: bytes, secret: bytes) -> PairMessage:
    """Return the message. Raises ValueError for whatever else it is; a key more is a newer version's."""
    mac, text = datagram[:MAC], datagram[MAC:]
    if len(datagram) > MOST or not hmac.compare_digest(mac, hmac.digest(secret, text, hashlib.sha256)):
        raise ValueError("not by the secret of this pair")
    try:
        body = json.loads(text)
        return PairMessage(
            node=Device(body["node"]),
            began=int(body["began"]),
            number=int(body["number"]),
            digest=str(body["digest"]),
            owned=frozenset(map(IPv4Address, body["owned"])),
            given_up={IPv4Address(address): int(count) for address, count in body["given_up"].items()},
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("not a message of this protocol") from error


class OtherGateway:
    """What is known of the other one. Times are monotonic seconds."""

    def __init__(self, now: float) -> None:
        self.last: PairMessage | None = None
        self._heard_at = now

    def hear(self, message: PairMessage, now: float) -> frozenset[IPv4Address]:
        """Take in a message of the other; return the addresses that it has given up since the last one.

        A daemon that has started again has given up nothing that it knows of.
        """
        before = self.last
        if before and (message.began, message.number) <= (before.began, before.number):
            return frozenset()
        self.last, self._heard_at = message, now
        counts = before.given_up if before and before.began == message.began else {}
        return frozenset(a for a, count in message.given_up.items() if before and count > counts.get(a, 0))

    def is_heard(self, now: float) -> bool:
        """Whether it has said something lately; at first it gets the time to."""
        return now - self._heard_at < SILENCE

    def findings(
        self, name: str, digest: str, owned: Collection[IPv4Address], now: float
    ) -> Iterator[Finding]:
        """Yield what is wrong between the two; ``name`` is the other's, the rest this gateway's."""
        if not self.is_heard(now):
            yield Finding(
                code="PairPeerSilent",
                subject=name,
                severity=Severity.WARNING,
                text=f"nothing was heard of the other gateway, {name}, for {SILENCE:g} s: the next fault may "
                "be an outage",
                hint=f"does {name} live, does its vpnagent run, does UDP port {PORT} pass between the two?",
            )
            return
        if self.last is None:
            return
        if self.last.digest != digest:
            yield Finding(
                code="PairConfigDiffers",
                subject=name,
                severity=Severity.WARNING,
                text=f"{name} runs another configuration than this gateway",
                hint="copy vpnagent.yaml to both, then vpnagent reload on both; one version on both, too",
            )
        for address in sorted(self.last.owned.intersection(owned)):
            yield Finding(
                code="SplitBrain",
                subject=str(address),
                severity=Severity.CRITICAL,
                text=f"{address} is on {name} and on this gateway",
                hint="the two keepalived do not hear each other: systemctl status keepalived; is VRRP open?",
            )
