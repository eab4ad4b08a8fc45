"""The adapter to charon: observe it, apply actions, initiate, and hear its events. A shell.

Two VICI connections: one for commands, and one for events, so that a flood of log lines never stands
before an answer. Whatever goes wrong with either, both are closed and ``ConnectionLost`` is told once:
the owner connects again, with backoff, and loads everything anew.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

from vpnagent.config.values import OWNER_PREFIX, CertificateFiles, TunnelKey
from vpnagent.errors import ViciError, ViciUnavailableError
from vpnagent.ipsec import messages, vici
from vpnagent.ipsec.actions import (
    CharonAction,
    CharonConnection,
    Credentials,
    LoadConnection,
    LoadSecret,
    Renew,
    Terminate,
    TerminateChild,
    UnloadConnection,
    UnloadSecret,
    Vacate,
)
from vpnagent.ipsec.messages import ViciSection
from vpnagent.ipsec.sa import CharonState, ConnectionLost, ViciEvent
from vpnagent.own_files import MOST, of_operator
from vpnagent.secret import Secret

log = logging.getLogger(__name__)

EVENTS = ("ike-updown", "child-updown", "ike-rekey", "child-rekey", "log")
LATER_EVENTS = ("alert",)  #: of charon 6.0.3 and later


class Charon:
    """charon, as the daemon sees it. ``on_event`` is called on the loop and must not block."""

    def __init__(
        self, socket_path: str, *, on_event: Callable[[ViciEvent], None], deadline: float = vici.DEADLINE
    ) -> None:
        self._path = socket_path
        self._deadline = deadline
        self._on_event = on_event
        self._commands: vici.ViciConnection | None = None
        self._events: vici.ViciConnection | None = None
        self.version = ""
        self.algorithms: Mapping[str, frozenset[str]] = {}

    @property
    def connected(self) -> bool:
        """Whether commands can be given."""
        return self._commands is not None

    async def connect(self) -> None:
        """Connect, or raise ViciUnavailableError with one line that says why not."""
        self.close()
        opened: list[vici.ViciConnection] = []
        try:
            opened.append(commands := await self._open())
            # The socket of a dying charon accepts connections for a while: only an answer counts.
            self.version = messages.version(await commands.request("version"))
            self.algorithms = messages.algorithms(await commands.request("get-algorithms"))
            await commands.subscribe("list-sa")
            opened.append(events := await self._connect_events())
        except BaseException as error:
            for connection in opened:
                connection.close()
            if isinstance(error, ViciError | ValueError) and not isinstance(error, ViciUnavailableError):
                raise ViciUnavailableError("connect", f"{self._path} is not charon's: {error}") from error
            raise
        self._commands, self._events = commands, events

    async def observe(self) -> CharonState:
        """Return what charon has now; ViciUnavailableError, and only that, when it does not say."""
        commands = self._connection("observe")
        sas, connections, secrets = await asyncio.gather(
            commands.stream("list-sas"), commands.request("get-conns"), commands.request("get-shared")
        )
        try:  # an unknown state means a charon that we do not know
            return CharonState(
                version=self.version,
                connections=messages.names(connections, "conns"),
                secrets=messages.names(secrets, "keys"),
                sas=tuple(
                    sa
                    for event in sas
                    for sa in messages.ike_sas(event)
                    if sa.connection.startswith(OWNER_PREFIX)
                ),
            )
        except ValueError as error:
            self.close()
            raise ViciUnavailableError("list-sas", f"an answer that is not understood: {error}") from error

    async def apply(self, action: CharonAction) -> None:
        """Apply one action; ViciError when charon refuses."""
        commands = self._connection(str(action))
        match action:
            case LoadSecret(connection):
                await commands.request("load-shared", messages.load_shared(connection))
            case LoadConnection(connection):
                await _load_connection(commands, connection)
            case UnloadConnection(name):
                await commands.request("unload-conn", {"name": name})
            case UnloadSecret(id_):
                await commands.request("unload-shared", {"id": id_})
            case Terminate():
                await _terminate(commands, messages.terminate(action.ike_sa, force=action.force))
            case Renew() | Vacate():
                pass  # what begins is initiation's or the selection's, and what ends comes later
            case TerminateChild():
                await _terminate(commands, messages.terminate_child(action.child_sa))

    async def initiate(self, key: TunnelKey, child: str | None = None) -> None:
        """Have charon start to negotiate; the outcome is told by events and seen by ``observe``."""
        await self._connection("initiate").request(
            "initiate", messages.initiate(key.owner, child or key.tunnel)
        )

    def close(self) -> None:
        """Close both connections; no ConnectionLost is told."""
        for connection in (self._commands, self._events):
            if connection:
                connection.close()
        self._commands = self._events = None

    async def _open(self) -> vici.ViciConnection:
        return await vici.connect(
            self._path, deadline=self._deadline, on_event=self._event, on_lost=self._lost
        )

    async def _connect_events(self) -> vici.ViciConnection:
        events = await self._open()
        try:
            for event in EVENTS:
                await events.subscribe(event)
            for event in LATER_EVENTS:
                await self._subscribe_if_known(events, event)
        except BaseException:
            events.close()
            raise
        return events

    async def _subscribe_if_known(self, events: vici.ViciConnection, event: str) -> None:
        try:
            await events.subscribe(event)
        except ViciUnavailableError:
            raise
        except ViciError:
            log.debug("charon %s has no event %s", self.version, event)

    def _connection(self, command: str) -> vici.ViciConnection:
        if self._commands is None:
            raise ViciUnavailableError(command, "not connected")
        return self._commands

    def _event(self, name: str, message: ViciSection) -> None:
        try:
            events = messages.events(name, message)
        except ValueError as error:
            log.warning("charon event %s is not understood: %s", name, error)
            return
        for event in events:
            if event.connection is None or event.connection.startswith(OWNER_PREFIX):
                self._on_event(event)

    def _lost(self, error: ViciUnavailableError) -> None:
        if not self.connected:
            return  # while connecting: ``connect`` raises it
        self.close()
        self._on_event(ConnectionLost(reason=error.reason))


async def _load_connection(commands: vici.ViciConnection, connection: CharonConnection) -> None:
    credentials = _read(connection.certificates) if connection.certificates else None
    if credentials:
        await commands.request("load-key", messages.load_key(credentials))
    await commands.request("load-conn", messages.load_conn(connection, credentials))


def _read(files: CertificateFiles) -> Credentials:
    """Charon gets contents, not paths: it may run where it cannot read our files (AppArmor)."""
    try:
        return Credentials(
            certificate=of_operator(files.certificate, MOST),
            private_key=Secret(of_operator(files.private_key, MOST)),
            ca=of_operator(files.ca, MOST),
        )
    except OSError as error:
        raise ViciError("load-conn", f"{error.filename}: {error.strerror}") from error


async def _terminate(commands: vici.ViciConnection, message: ViciSection) -> None:
    """An SA that has gone meanwhile is no error: it is what was wanted."""
    try:
        await commands.request("terminate", message)
    except ViciUnavailableError:
        raise
    except ViciError as error:
        if error.reason != messages.NOTHING_TO_TERMINATE:
            raise
