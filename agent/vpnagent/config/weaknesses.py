"""What is permitted and yet unwise: warnings about a valid configuration. Pure, standard library only.

The cloud offers these algorithms, and its far end may leave no choice; charon takes them without a word, so
saying it is our job. Severities are those of ``status`` and ``check``, where a warning or worse is not fine:
the cloud's own default, group 2, is therefore an info.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Final

from vpnagent.config.notation import notation
from vpnagent.config.values import Agent, Config
from vpnagent.config.wording import KeyPath, connections, key_path, tunnels
from vpnagent.finding import Finding, Severity

SLOW_3DES: Final = 200e6  #: bits per second from which the cloud advises against 3DES

GUOMI: Final = ("sm4", "sm3")

_ON_BOTH_ENDS: Final = "on both ends: first in the cloud's IPsec connection, then here"

#: algorithm or group -> code, severity, text, hint
_WEAK: Final[dict[str | int | None, tuple[str, Severity, str, str]]] = {
    "des": (
        "WeakDes",
        Severity.CRITICAL,
        "DES has keys of 56 bits, which are found by trying them all",
        f"use aes128 or better {_ON_BOTH_ENDS}",
    ),
    "3des": (
        "Weak3des",
        Severity.WARNING,
        "3DES has blocks of 64 bits, which leak after some gigabytes (Sweet32)",
        f"use aes128 or better {_ON_BOTH_ENDS}",
    ),
    "md5": (
        "WeakMd5",
        Severity.WARNING,
        "MD5 is broken as a hash and must no longer be used in IPsec (RFC 8247, RFC 8221)",
        f"use sha256 or better {_ON_BOTH_ENDS}",
    ),
    1: (
        "WeakDhGroup1",
        Severity.CRITICAL,
        "Diffie-Hellman group 1 (768 bits) has been broken, and what was recorded can be read",
        f"use group 14 or better {_ON_BOTH_ENDS}",
    ),
    2: (
        "WeakDhGroup2",
        Severity.INFO,
        "Diffie-Hellman group 2 (1024 bits), the cloud's default, is within reach of a state",
        f"use group 14 {_ON_BOTH_ENDS}",
    ),
    24: (
        "WeakDhGroup24",
        Severity.WARNING,
        "Diffie-Hellman group 24 has small subgroups of unknown origin, and should not be used (RFC 8247)",
        f"use group 14 {_ON_BOTH_ENDS}",
    ),
}


def weaknesses(config: Config) -> list[Finding]:
    """Return the warnings about a valid configuration, in its order; each is about a key."""
    return [
        *_metrics(config.agent),
        *_algorithms(config),
        *_guomi(config),
        *_ikev1(config),
        *_slow(config),
        *_aggressive(config),
        *notation(config),
    ]


def _algorithms(config: Config) -> Iterator[Finding]:
    used: dict[KeyPath, str | int | None] = {}  # what tunnels share is told once
    for place in tunnels(config):
        ike, esp = place.ike, place.esp
        used |= {
            place.setting("ike", "encryption"): ike.encryption,
            place.setting("ike", "integrity"): ike.integrity,
            place.setting("ike", "dh_group"): ike.dh_group,
            place.setting("esp", "encryption"): esp.encryption,
            place.setting("esp", "pfs_group"): esp.pfs_group,
        }
        if "gcm" not in esp.encryption:
            used[place.setting("esp", "integrity")] = esp.integrity
    for path, algorithm in used.items():
        if algorithm in _WEAK:
            code, severity, text, hint = _WEAK[algorithm]
            yield Finding(code=code, subject=key_path(path), severity=severity, text=text, hint=hint)


def _guomi(config: Config) -> Iterator[Finding]:
    for path, connection in connections(config):
        ciphers = {
            word
            for tunnel in connection.tunnels
            for phase in (connection.ike_of(tunnel), connection.esp_of(tunnel))
            for word in (phase.encryption, phase.integrity)
        }
        if not ciphers.isdisjoint(GUOMI):
            yield Finding(
                code="GuomiUnproven",
                subject=key_path(path),
                severity=Severity.WARNING,
                text="Guomi (SM4, SM3) works only with a charon that registers it, which no strongSwan "
                "release does; with a gateway of type NationalStandard it is unproven",
                hint="use a VPN gateway of the ordinary type, with aes and sha on both ends",
            )


def _ikev1(config: Config) -> Iterator[Finding]:
    for path, connection in connections(config):
        if any(connection.ike_of(tunnel).version == 1 for tunnel in connection.tunnels):
            yield Finding(
                code="Ikev1GoingAway",
                subject=key_path((*path, "ike", "version")),
                severity=Severity.INFO,
                text=f"{connection.name} uses IKE version 1, which strongSwan 6.1 (September 2026) is built "
                "without unless the distribution asks for it, and which is to be removed: an upgrade of that "
                "package would end these tunnels",
                hint="set ikev2 for one tunnel after the other in the cloud's IPsec connection, then "
                "ike.version: 2 here; vpnagent plan says what that interrupts",
            )


def _slow(config: Config) -> Iterator[Finding]:
    slow = {
        place.setting("esp", "encryption"): place.connection.bandwidth
        for place in tunnels(config)
        if place.esp.encryption == "3des" and place.connection.bandwidth >= SLOW_3DES
    }
    for path, bandwidth in slow.items():
        yield Finding(
            code="Slow3des",
            subject=key_path(path),
            severity=Severity.WARNING,
            text=f"3DES does not keep up with {bandwidth / 1e6:g} Mbps",
            hint=f"from 200 Mbps on use AES {_ON_BOTH_ENDS}",
        )


def _aggressive(config: Config) -> Iterator[Finding]:
    for place in tunnels(config):
        if place.ike.mode == "aggressive" and not place.tunnel.certificates:
            yield Finding(
                code="AggressivePsk",
                subject=key_path(place.setting("ike", "mode")),
                severity=Severity.WARNING,
                text=f"aggressive mode shows whoever asks a hash of {place.tunnel.key}'s key, to guess from",
                hint=f"use IKE version 2, or main mode with addresses as identities, {_ON_BOTH_ENDS}",
            )


def _metrics(agent: Agent) -> Iterator[Finding]:
    """Yield who else may read the metrics, or the password that protects them."""
    host = agent.metrics_listen.rpartition(":")[0]
    if not host or IPv4Address(host).is_loopback:
        return
    if agent.metrics_auth is None and (agent.metrics_tls is None or agent.metrics_tls.client_ca is None):
        yield Finding(
            code="MetricsExposed",
            subject=key_path(("agent", "metrics_listen")),
            severity=Severity.WARNING,
            text=f"whoever reaches {agent.metrics_listen} may read names, states and traffic",
            hint="ask for certificates (metrics_tls with client_ca) or a password (metrics_auth); "
            "or listen on 127.0.0.1",
        )
    if agent.metrics_auth is not None and agent.metrics_tls is None:
        yield Finding(
            code="MetricsPasswordInClear",
            subject=key_path(("agent", "metrics_auth")),
            severity=Severity.WARNING,
            text="the password of the metrics crosses the network in clear text with every scrape",
            hint="set metrics_tls too",
        )
