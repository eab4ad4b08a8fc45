"""Tell keepalived whether this gateway can do its work, and talk to the other gateway of the pair. A shell.

What is said is ``pair.health``'s and ``pair.talk``'s. Whatever goes wrong with the talk is a finding at most.
"""

import asyncio
import contextlib
import hashlib
import logging
import socket
import time
from ipaddress import IPv4Address
from typing import Final

from vpnagent import own_files
from vpnagent.config.files import SecretFileError, read_secret
from vpnagent.config.values import Config, Device, GatewayPair
from vpnagent.knowledge.knowledge import Knowledge, rung
from vpnagent.pair.health import health, health_file
from vpnagent.pair.roles import moves
from vpnagent.pair.talk import MOST, PORT, OtherGateway, PairMessage, read, written
from vpnagent.pair.talk import PERIOD as SPEAKS_EVERY
from vpnagent.policy.selection import PathState
from vpnagent.record import replace
from vpnagent.secret import Secret

log = logging.getLogger(__name__)

PERIOD: Final = 0.1  #: seconds between looks


class HealthTeller:
    """Writes the file when what it says changes; none where there is no pair."""

    def __init__(self, known: Knowledge) -> None:
        self._known = known
        self._told: int | None = None
        self._failed = False
        self._gone_since: float | None = None

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            if self._known.config.gateway.pair:
                self.look(time.monotonic())
            await asyncio.sleep(PERIOD)

    def look(self, now: float) -> None:
        """Write what is so at ``now``, monotonic seconds, if it is news."""
        charon = self._known.charon
        if charon.connected or charon.error is None:  # before the first attempt nothing is known
            self._gone_since = None
        elif self._gone_since is None:
            self._gone_since = now
        says = health(None if self._gone_since is None else now - self._gone_since)
        if says != self._told:
            self._write(says)

    def _write(self, says: int) -> None:
        path = health_file(self._known.config.agent.control_socket)
        try:
            own_files.replace_file(path, f"{says}\n".encode(), sync=False)
        except OSError as error:
            if not self._failed:
                log.warning("health-not-told file=%s error=%r", path, error.strerror)
            self._failed = True
            return
        log.log(logging.WARNING if says else logging.INFO, "health-told file=%s value=%d", path, says)
        self._told, self._failed = says, False


SETTLED: Final = 1.0  #: seconds for which an address is here before the other's giving up is no mere move
HEARD: Final = frozenset({PathState.UP, PathState.DEGRADED, PathState.HOLD_DOWN})
DOUBT: Final = 2.0  #: seconds after that in which a path that goes down is one of those that the other took
RELEASE: Final = 0.2  #: seconds in which charon lets SAs go, and the prober forgets that they failed


class PairTalk:
    """Speaks every second and at each change; listens; ``known.pair_findings`` is its to write."""

    def __init__(self, known: Knowledge) -> None:
        self._known = known
        self._began = int(time.time() * 1000)
        self._number = 0
        self._spoke_at = self._tried_at = -SPEAKS_EVERY
        self._config: Config | None = None
        self._digest = ""
        self._secret: Secret | None = None
        self._socket: socket.socket | None = None
        self._other = OtherGateway(time.monotonic())
        self._owned: dict[IPv4Address, float] = {}  #: since when
        self._given_up: dict[IPv4Address, int] = {}
        self._in_doubt: dict[IPv4Address, float] = {}  #: until when
        self._bell = asyncio.Event()

    async def run(self) -> None:
        """Talk until cancelled."""
        try:
            while True:
                self.look(time.monotonic())
                self._bell.clear()
                await rung(self._bell, PERIOD)
        finally:
            self._close()

    def look(self, now: float) -> None:
        """Hear, judge and speak at ``now``, monotonic seconds."""
        pair = self._known.config.gateway.pair
        if pair and pair.here and pair.secret_file:
            self._look(pair, pair.here, pair.secret_file, now)
        else:
            self._close()
            self._known.pair_findings = ()

    def _look(self, pair: GatewayPair, here: Device, secret_file: str, now: float) -> None:
        waits = self._socket is None and now - self._tried_at >= SPEAKS_EVERY
        if self._config is not self._known.config or waits:
            self._tried_at = now
            self._open(pair.node(here).address, secret_file)
        if self._socket is not None and self._secret is not None:
            self._listen(self._socket, self._secret, pair, here, now)
            self._negotiate_anew(now)
            self._speak(self._socket, self._secret, pair, here, now)
        name = pair.node(pair.other(here)).name
        found = self._other.findings(name, self._digest, self._owned, now)
        self._known.pair_findings = tuple(found)

    def _open(self, address: IPv4Address, secret_file: str) -> None:
        """Begin with a configuration; what cannot be opened yet, is tried again."""
        self._close()
        self._config, self._digest = self._known.config, digest_of(self._known.config)
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._secret = read_secret(secret_file)
            opened.bind((str(address), PORT))
        except (OSError, SecretFileError) as error:
            opened.close()
            log.debug("pair-not-talking error=%s", error)
            return
        opened.setblocking(False)
        self._socket = opened
        asyncio.get_running_loop().add_reader(opened, self._bell.set)

    def _close(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _listen(
        self, opened: socket.socket, secret: Secret, pair: GatewayPair, here: Device, now: float
    ) -> None:
        while True:
            try:
                datagram, (sender, _) = opened.recvfrom(MOST + 1)
                message = read(datagram, secret.reveal())
            except BlockingIOError:
                return
            except (OSError, ValueError) as error:
                log.debug("pair-not-understood error=%s", error)
                continue
            other = pair.other(here)
            if message.node is other and sender == str(pair.node(other).address):
                self._doubt(self._other.hear(message, now), now)

    def _doubt(self, given_up: frozenset[IPv4Address], now: float) -> None:
        """Remember what may be dead here since the other one had it too."""
        both_had = {a for a in given_up if now - self._owned.get(a, now) >= SETTLED}
        self._in_doubt |= dict.fromkeys(both_had, now + DOUBT)

    def _negotiate_anew(self, now: float) -> None:
        """Let go what is dead indeed: that may show only when the probes have missed an answer."""
        self._in_doubt = {address: until for address, until in self._in_doubt.items() if now < until}
        if dead := self._in_doubt.keys() & self._known.kernel.owned - self._alive():
            log.warning("dialled-anew addresses=%s: the other gateway had them too", ",".join(map(str, dead)))
            self._in_doubt = {}
            self._known.release(frozenset(dead))
            asyncio.get_running_loop().call_later(RELEASE, self._known.release, frozenset())

    def _alive(self) -> frozenset[IPv4Address]:
        """Return the addresses of tunnels through which something is heard."""
        verdicts = self._known.verdicts()
        heard = (t for t in self._known.config.tunnels() if verdicts[t.key].path in HEARD)
        return frozenset(t.local_address for t in heard if t.local_address)

    def _speak(
        self, opened: socket.socket, secret: Secret, pair: GatewayPair, here: Device, now: float
    ) -> None:
        owned = moving(self._known.config, pair) & self._known.kernel.owned
        for address in self._owned.keys() - owned:
            self._given_up[address] = self._given_up.get(address, 0) + 1
        if owned == self._owned.keys() and now - self._spoke_at < SPEAKS_EVERY:
            return
        self._owned = {address: self._owned.get(address, now) for address in owned}
        self._spoke_at, self._number = now, self._number + 1
        message = PairMessage(
            node=here,
            began=self._began,
            number=self._number,
            digest=self._digest,
            owned=owned,
            given_up=self._given_up,
        )
        with contextlib.suppress(OSError):  # the other is told every second
            opened.sendto(written(message, secret.reveal()), (str(pair.node(pair.other(here)).address), PORT))


def moving(config: Config, pair: GatewayPair) -> frozenset[IPv4Address]:
    """Return the addresses that move between the two."""
    of_tunnels = (t.local_address for t in config.tunnels() if moves(t, config) and t.local_address)
    return frozenset((*pair.virtual_addresses, *of_tunnels))


def digest_of(config: Config) -> str:
    """Return a digest of what must be the same on both, keys apart: all but paths and who this one is."""
    from vpnagent.config.schema import effective  # noqa: PLC0415 - the file's models are no part of the rest

    pair = config.gateway.pair
    gateway = replace(config.gateway, name="", source_address=None, pair=pair and replace(pair, here=None))
    words = effective(replace(config, gateway=gateway)).split(" ")
    told = " ".join(word for word in words if not word.startswith("agent."))
    return hashlib.sha256(told.encode()).hexdigest()
