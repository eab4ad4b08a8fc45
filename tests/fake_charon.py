"""charon in memory, with the adapter's interface and with faults to order.

What it claims is checked against the real charon: the laws of tests/ipsec/charon_contract.py hold for
both. Time passes only when told: ``advance()``.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace

from vpnagent.config.values import TunnelKey
from vpnagent.errors import ViciError, ViciUnavailableError
from vpnagent.ipsec.actions import (
    CharonAction,
    CharonConnection,
    LoadConnection,
    LoadSecret,
    Renew,
    Terminate,
    TerminateChild,
    UnloadConnection,
    UnloadSecret,
    Vacate,
)
from vpnagent.ipsec.messages import child_names, esp_proposal, ike_proposal
from vpnagent.ipsec.sa import (
    CharonState,
    ChildSa,
    ChildState,
    ChildUpDown,
    ConnectionLost,
    IkeSa,
    IkeState,
    IkeUpDown,
    ViciEvent,
)

ALGORITHMS = {
    "encryption": frozenset({"AES_CBC", "3DES_CBC", "DES_CBC"}),
    "aead": frozenset({"AES_GCM_16"}),
    "integrity": frozenset({"HMAC_MD5_96", "HMAC_SHA1_96", "HMAC_SHA2_256_128"}),
    "prf": frozenset({"PRF_HMAC_MD5", "PRF_HMAC_SHA1", "PRF_HMAC_SHA2_256"}),
    "dh": frozenset({"MODP_768", "MODP_1024", "MODP_2048"}),
}  #: some of what charon 5.9.8 registers on Debian 12


class FakeCharon:
    """The adapter and charon in one. ``log`` is what was done, one line each."""

    def __init__(self, *, on_event: Callable[[ViciEvent], None] = lambda _event: None) -> None:
        self._on_event = on_event
        self._ids = itertools.count(1)
        self._connections: dict[str, CharonConnection] = {}
        self._foreign: set[str] = set()
        self._secrets: set[str] = set()
        self._settings: dict[str, CharonConnection] = {}  #: of each CHILD_SA, when it was negotiated
        self._sas: dict[str, IkeSa] = {}
        self._refusals: dict[str, str] = {}
        self._silent: set[str] = set()
        self._rejecting: set[str] = set()
        self._hangs = False
        self._gone = False
        self.connected = False
        self.version = ""
        self.algorithms: Mapping[str, frozenset[str]] = {}
        self.log: list[str] = []

    # the adapter's interface

    async def connect(self) -> None:
        if self._gone:
            raise ViciUnavailableError("connect", "/fake: nobody listens: charon is not running")
        self._answer("version")
        self.connected, self.version, self.algorithms = True, "5.9.8", ALGORITHMS

    async def observe(self) -> CharonState:
        self._command("list-sas")
        return CharonState(
            version=self.version,
            connections=frozenset(self._connections) | self._foreign,
            secrets=frozenset(self._secrets),
            sas=tuple(sa for sa in self._sas.values() if sa.connection.startswith("vpnagent.")),
        )

    async def apply(self, action: CharonAction) -> None:
        self._command(str(action).partition(" ")[0])
        match action:
            case LoadSecret(connection):
                self._secrets.add(connection.name)
            case LoadConnection(connection):
                self._load(connection)
            case UnloadConnection(name):
                self._unload(name)
            case UnloadSecret(id_):
                self._secrets.discard(id_)
            case Terminate():
                self._terminate(action.ike_sa)
            case Renew() | Vacate():
                pass
            case TerminateChild():
                self._terminate_child(action.child_sa)
        self.log.append(str(action))

    async def initiate(self, key: TunnelKey, child: str | None = None) -> None:
        self._command("initiate")
        connection, child = self._connections.get(key.owner), child or key.tunnel
        if connection is None or child not in child_names(connection):
            raise ViciError("initiate", f"CHILD_SA config '{child}' not found")
        self.log.append(f"initiate {key.owner} child {child}")
        if key.owner in self._silent:
            self._add(key.owner, IkeState.CONNECTING)
        elif key.owner not in self._rejecting and not self._carries(key.owner, child):
            self.establish(key, child)

    def close(self) -> None:
        self.connected = False

    # what happens in the world

    def establish(self, key: TunnelKey, child: str | None = None, *, anew: bool = False) -> str:
        """Have a CHILD_SA come up, in an IKE_SA of its own when there is none or ``anew``; return its id."""
        connection = self._connections[key.owner]
        reusable = [
            sa
            for sa in self._sas.values()
            if sa.connection == key.owner and sa.state is IkeState.ESTABLISHED and not anew
            if all(self._settings[c.unique_id].ike == connection.ike for c in sa.children)
        ]
        sa = reusable[0] if reusable else self._add(key.owner, IkeState.ESTABLISHED)
        if not reusable:
            self._on_event(IkeUpDown(connection=key.owner, ike_sa=sa.unique_id, up=True))
        new = ChildSa(
            name=child or key.tunnel,
            unique_id=str(next(self._ids)),
            state=ChildState.INSTALLED,
            if_id=connection.if_id,
            bytes_in=0,
            bytes_out=0,
            packets_in=0,
            packets_out=0,
            installed_for=0.0,
            encapsulated=True,
        )
        self._settings[new.unique_id] = connection
        self._sas[sa.unique_id] = replace(sa, children=(*sa.children, new))
        self._on_event(ChildUpDown(connection=key.owner, child=new.name, child_sa=new.unique_id, up=True))
        return sa.unique_id

    def lose(self, ike_sa: str) -> None:
        """Have the peer delete an IKE_SA."""
        self._terminate(ike_sa)

    def load_foreign(self, name: str) -> None:
        """Have an operator load a connection, with its secret, and bring it up."""
        self._secrets.add(name)
        self._foreign.add(name)
        self._add(name, IkeState.ESTABLISHED)

    def advance(self, seconds: float) -> None:
        """Let time pass for all SAs."""
        self._sas = {
            id_: replace(
                sa,
                established_for=sa.established_for + (0.0 if sa.connecting else seconds),
                children=tuple(replace(c, installed_for=c.installed_for + seconds) for c in sa.children),
            )
            for id_, sa in self._sas.items()
        }

    def everything(self) -> tuple[set[str], set[str], set[str]]:
        """Return the names of connections and secrets and the ids of IKE_SAs, others' included."""
        return set(self._connections) | self._foreign, set(self._secrets), set(self._sas)

    # faults

    def refuse(self, command: str, reason: str) -> None:
        """Refuse the next command of that name."""
        self._refusals[command] = reason

    def be_silent(self, key: TunnelKey) -> None:
        """Leave the tunnel's peer without an answer."""
        self._silent.add(key.owner)

    def reject(self, key: TunnelKey) -> None:
        """Have the tunnel's peer reject what we propose."""
        self._rejecting.add(key.owner)

    def answer(self, key: TunnelKey) -> None:
        """Have the tunnel's peer answer again."""
        self._silent.discard(key.owner)
        self._rejecting.discard(key.owner)

    def hang(self, hangs: bool = True) -> None:
        """Stop answering, with the socket open."""
        self._hangs = hangs

    def die(self) -> None:
        """Die by SIGKILL: everything that was loaded is gone, and nobody listens."""
        self._connections, self._foreign, self._secrets, self._sas = {}, set(), set(), {}
        self._gone = True
        if self.connected:
            self.connected = False
            self._on_event(ConnectionLost(reason="/fake was closed by charon"))

    def start(self) -> None:
        """Start, with nothing loaded."""
        self._gone = False

    def restart(self) -> None:
        """Die, and start again."""
        self.die()
        self.start()

    def _command(self, command: str) -> None:
        if not self.connected:
            raise ViciUnavailableError(command, "not connected")
        self._answer(command)
        if command in self._refusals:
            raise ViciError(command, self._refusals.pop(command))

    def _answer(self, command: str) -> None:
        if self._hangs:
            self.connected = False
            raise ViciUnavailableError(command, "/fake: charon hangs: it does not answer")

    def _add(self, connection: str, state: IkeState) -> IkeSa:
        sa = IkeSa(
            connection=connection,
            unique_id=str(next(self._ids)),
            remote_host=self._connections[connection].remote_address
            if connection in self._connections
            else "",
            state=state,
            initiator=True,
            established_for=0.0,
            children=(),
        )
        self._sas[sa.unique_id] = sa
        return sa

    def _load(self, connection: CharonConnection) -> None:
        if "sm4" in ike_proposal(connection.ike) + esp_proposal(connection.esp):
            raise ViciError("load-conn", "invalid value for: proposals, config discarded")
        self._connections[connection.name] = connection

    def _unload(self, name: str) -> None:
        if name not in self._connections.keys() | self._foreign:
            raise ViciError("unload-conn", f"unload: connection '{name}' not found")
        self._connections.pop(name, None)
        self._foreign.discard(name)

    def _terminate_child(self, child_sa: str) -> None:
        for id_, sa in self._sas.items():
            for child in sa.children:
                if child.unique_id == child_sa:
                    self._sas[id_] = replace(sa, children=tuple(c for c in sa.children if c is not child))
                    self._on_event(
                        ChildUpDown(connection=sa.connection, child=child.name, child_sa=child_sa, up=False)
                    )

    def _terminate(self, ike_sa: str) -> None:
        sa = self._sas.pop(ike_sa, None)
        if sa is None or sa.connecting:
            return
        self._on_event(IkeUpDown(connection=sa.connection, ike_sa=ike_sa, up=False))
        for child in sa.children:
            self._on_event(
                ChildUpDown(connection=sa.connection, child=child.name, child_sa=child.unique_id, up=False)
            )

    def _carries(self, connection: str, child: str) -> bool:
        """Charon makes no second CHILD_SA of a kind in one IKE_SA, unless its settings have changed."""
        return any(
            carrying.name == child and self._settings[carrying.unique_id] == self._connections[connection]
            for sa in self._sas.values()
            if sa.connection == connection
            for carrying in sa.carrying_children
        )
