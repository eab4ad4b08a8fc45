"""A charon of strongSwan in a namespace: no systemd, its own VICI socket, its own log."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lab.deadline import PATIENCE, eventually
from lab.namespace import Namespace
from vici.exception import CommandException  # type: ignore[attr-defined]
from vici.session import Session

SaKind = Literal["child", "ike"]
PROGRAM = "/usr/sbin/charon-systemd"
SNIPPET = Path(__file__).parents[1] / "strongswan" / "vpnagent.conf"

# Debian's set without TPM, LDAP, smart cards, EAP, and af-alg, which has the kernel load a module for every
# algorithm there is: under emulation they cost a minute.
GATEWAY_PLUGINS = (
    "aesni aes rc2 sha2 sha1 md5 mgf1 random nonce x509 revocation constraints pubkey pkcs1 pkcs7 pkcs8 "
    "pkcs12 pgp dnskey sshkey pem openssl gcrypt fips-prf gmp curve25519 chapoly xcbc cmac hmac kdf "
    "ctr ccm gcm drbg attr kernel-netlink resolve socket-default connmark updown counters"
)
CLOUD_PLUGINS = "random nonce aes sha1 sha2 hmac kdf openssl kernel-netlink socket-default"
# A zone that has lost its peer should notice within a scenario's time: 1 + 1 + 1 + 1 s after dpd_delay.
# It takes aggressive mode with a key, as the cloud does; charon as a responder refuses that by default.
CLOUD_SETTINGS = """
    retransmit_tries = 3
    retransmit_timeout = 1
    retransmit_base = 1
    i_dont_care_about_security_and_use_aggressive_mode_psk = yes
"""

# Emulated processors stall one at a time, for up to a second, which reorders packets far beyond charon's 32.
REPLAY_WINDOW = "2048"

CONFIGURATION = """
charon-systemd {{
    {modular}
    install_virtual_ip = no
    {settings}
    plugins {{
        {plugins}
        vici {{ load = yes
            socket = unix://{socket} }}
    }}
    journal {{ default = -1 }}
    filelog {{
        log {{
            path = {log}
            append = yes
            flush_line = yes
            time_format = %H:%M:%S
            time_add_ms = yes
            ike_name = yes
            default = 1
        }}
    }}
}}
{include}
"""


class LabCharon:
    """One IKE daemon; `start`, `stop`, `kill`, and VICI sessions to it."""

    def __init__(self, namespace: Namespace, directory: Path, *, gateway: bool = False) -> None:
        self.namespace = namespace
        self.socket = directory / "charon.vici"
        self.log = directory / f"charon-{namespace.name}.log"
        self._configuration = directory / "strongswan.conf"
        self._process: subprocess.Popen[bytes] | None = None
        plugins = GATEWAY_PLUGINS if gateway else CLOUD_PLUGINS
        directory.mkdir(parents=True, exist_ok=True)
        self._configuration.write_text(
            CONFIGURATION.format(
                modular="load_modular = yes",
                settings="" if gateway else CLOUD_SETTINGS,
                plugins=" ".join(f"{name} {{ load = yes }}" for name in plugins.split()),
                socket=self.socket,
                log=self.log,
                include=f"include {SNIPPET}" if gateway else "",
            )
        )

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start it, without waiting."""
        self._process = self.namespace.start(
            PROGRAM,
            log=self.log.with_suffix(".out"),
            environment={"STRONGSWAN_CONF": str(self._configuration)},
        )

    def wait(self) -> None:
        """Until it answers on its VICI socket."""
        eventually(self._answers, f"charon of {self.namespace.name} answers", within=10 * PATIENCE)

    def _answers(self) -> bool:
        if self.pid is None:
            raise AssertionError(f"charon of {self.namespace.name} ended at its start: see {self.log}")
        with contextlib.suppress(OSError), self.session() as session:
            return bool(session.version())
        return False

    def kill(self) -> None:
        """SIGKILL: its SAs and policies stay in the kernel, its peer is told nothing."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM: it sends DELETE for its SAs and removes them."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Start it again and wait until it answers; its configuration is empty."""
        self.start()
        self.wait()

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(10 * PATIENCE)

    def session(self) -> ViciSession:
        """A new connection to it, closed by `with`."""
        return ViciSession(self.socket)

    def terminate(self, connection: str) -> None:
        """Send DELETE for the connection's IKE_SA and do not wait for the answer."""
        with self.session() as session, contextlib.suppress(CommandException):
            list(session.terminate({"ike": connection, "timeout": "-1"}))

    def forget(self) -> None:
        """Terminate every SA, unload every connection and secret."""
        with self.session() as session:
            for name in {name for sas in session.list_sas() for name in sas}:
                self.terminate(name)
            for name in session.get_conns()["conns"]:
                session.unload_conn({"name": name})
            session.clear_creds()

    def children(self, connection: str) -> list[str]:
        """States of the CHILD_SAs of `connection`."""
        with self.session() as session:
            return [
                child["state"].decode()
                for sas in session.list_sas({"ike": connection})
                for sa in sas.values()
                for child in sa["child-sas"].values()
            ]

    def ike_sas(self, connection: str) -> frozenset[bytes]:
        """Unique ids of the IKE_SAs of `connection`."""
        with self.session() as session:
            sas = list(session.list_sas({"ike": connection}))
        return frozenset(sa["uniqueid"] for each in sas for sa in each.values())

    def newest(self, connection: str, what: SaKind) -> int:
        """The unique id of the youngest SA, for charon counts up; 0 while none stands."""
        with self.session() as session:
            sas = [sa for sas in session.list_sas({"ike": connection}) for sa in sas.values()]
        if what == "ike":
            return max((int(sa["uniqueid"]) for sa in sas), default=0)
        children = [child for sa in sas for child in sa["child-sas"].values()]
        return max((int(c["uniqueid"]) for c in children if c["state"] == b"INSTALLED"), default=0)

    def rekey(self, connection: str, what: SaKind) -> None:
        """Rekey from this end, and wait for the successor; charon keeps a rekeyed CHILD_SA for seconds."""
        before = self.newest(connection, what)
        with self.session() as session:
            session.rekey({f"{what}-id": str(before)})
        eventually(
            lambda: self.newest(connection, what) > before,
            f"{what} of {connection} is rekeyed",
            within=10 * PATIENCE,
        )

    def is_up(self, connection: str) -> bool:
        """Whether a CHILD_SA of `connection` carries traffic."""
        return any(state in {"INSTALLED", "REKEYING", "REKEYED"} for state in self.children(connection))


class ViciSession:
    """`vici.Session` on a unix socket, with a deadline, as a context manager."""

    def __init__(self, path: Path, timeout: float = 5 * PATIENCE) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._session = Session(self._socket)

    def __enter__(self) -> Any:
        return self._session

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def connection(
    name: str,
    *,
    local: str,
    remote: str,
    if_id: int,
    changes: Mapping[str, Any] | None = None,
    child: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A `load-conn` message with the values of the cloud's sample; `changes` and `child` win."""
    return {
        name: {
            "version": "2",
            "local_addrs": [local],
            "remote_addrs": [remote],
            "proposals": ["aes128-sha1-modp1024"],
            "encap": "yes",
            "mobike": "no",
            "dpd_delay": "10s",
            "keyingtries": "0",
            "rekey_time": "84600s",
            "over_time": "1800s",
            "local": {"auth": "psk", "id": local},
            "remote": {"auth": "psk", "id": remote},
            "children": {
                name: {
                    "local_ts": ["0.0.0.0/0"],
                    "remote_ts": ["0.0.0.0/0"],
                    "esp_proposals": ["aes128-sha1-modp1024"],
                    "mode": "tunnel",
                    "rekey_time": "85500s",
                    "life_time": "86400s",
                    "if_id_in": str(if_id),
                    "if_id_out": str(if_id),
                    "replay_window": REPLAY_WINDOW,
                    "start_action": "none",
                    "dpd_action": "clear",
                    "close_action": "none",
                    **(child or {}),
                }
            },
            **(changes or {}),
        }
    }
