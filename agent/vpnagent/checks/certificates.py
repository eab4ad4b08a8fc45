"""Which certificates expire soon, or have expired. Pure."""

import base64
import re
from calendar import timegm
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from vpnagent.checks.observation import Certificate, Observation
from vpnagent.config.values import Config, TunnelKey
from vpnagent.finding import Finding, Severity

DAY: Final = 86400.0  #: seconds
SOON: Final = 30 * DAY
AT_ONCE: Final = 7 * DAY
LISTENER: Final = "agent.metrics_tls"  #: what the certificates of the metrics' listener belong to


def certificates(_: Config, seen: Observation) -> Iterator[Finding]:
    """Yield the first to expire of each tunnel, if that is soon, and files that are no certificates."""
    for certificate in seen.certificates or ():
        if certificate.expiry is None:
            yield _unreadable(certificate)
        if certificate.replaced and certificate.role == "certificate":
            yield _replaced(certificate)
    for certificate in first_to_expire(seen).values():
        left = (certificate.expiry or 0.0) - seen.at
        if left <= SOON:
            yield _expires(certificate, left)


def first_to_expire(seen: Observation) -> Mapping[str, Certificate]:
    """Return the certificate that expires first, by what they belong to."""
    readable = [certificate for certificate in seen.certificates or () if certificate.expiry is not None]
    readable.sort(key=lambda certificate: -(certificate.expiry or 0.0))
    return {certificate.owner: certificate for certificate in readable}


def expiries(seen: Observation, tunnels: Iterable[TunnelKey]) -> dict[TunnelKey, float]:
    """Return when each tunnel's first certificate expires, in Unix time."""
    first = first_to_expire(seen)
    return {key: first[str(key)].expiry or 0.0 for key in tunnels if str(key) in first}


def _expires(certificate: Certificate, left: float) -> Finding:
    owner, expiry = certificate.owner, certificate.expiry or 0.0
    moment = datetime.fromtimestamp(expiry, UTC).strftime("%Y-%m-%d %H:%M UTC")
    when = f"expires in {_days(left)}" if left > 0 else f"expired {_days(-left)} ago"
    listener = owner == LISTENER
    breaks = "nobody can scrape the metrics then" if listener else "no negotiation succeeds then"
    return Finding(
        code="CertificateExpiry",
        subject=owner,
        severity=Severity.CRITICAL if left <= AT_ONCE else Severity.WARNING,
        text=f"{owner}: the {certificate.role} {certificate.file} {when}, {moment}: {breaks}",
        hint="put a new one in its place" + ("" if listener else ", then vpnagent reload"),
    )


def _replaced(certificate: Certificate) -> Finding:
    return Finding(
        code="CertificateReplaced",
        subject=certificate.owner,
        severity=Severity.WARNING,
        text=f"{certificate.owner}: certificate or CA have changed on disk, and charon has the former ones",
        hint="vpnagent reload, which negotiates the tunnel anew; vpnagent plan says what that interrupts",
    )


def _days(seconds: float) -> str:
    days = int(seconds / DAY)
    return "less than a day" if not days else "1 day" if days == 1 else f"{days} days"


def _unreadable(certificate: Certificate) -> Finding:
    return Finding(
        code="CertificateUnreadable",
        subject=f"{certificate.owner} {certificate.role}",
        severity=Severity.WARNING,
        text=f"{certificate.owner}: the {certificate.role} {certificate.file} {certificate.error}: "
        "when it expires is not known",
        hint="openssl x509 -in FILE -noout -enddate says what it is",
    )


# When a certificate expires: the one field that is read of it, without a library for all the others.
# Pure.
# PEM (RFC 7468) or DER (X.690), structure and times by RFC 5280 §4.1. Of several certificates in a file
# the first one counts, as it does for charon.

SEQUENCE, VERSION = 0x30, 0xA0  #: tags; the version is [0] EXPLICIT, and absent in version 1
UTC_TIME, GENERALIZED_TIME = 0x17, 0x18
VALIDITY: Final = 3  #: among the fields of tbsCertificate after the version
PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
TIME: Final = re.compile(rb"(\d{2}|\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z")
NOT_ONE: Final = "must be a certificate as PEM or DER"


def expiry(content: bytes) -> float:
    """Return notAfter as Unix time. Raises ValueError."""
    found = PEM.search(content)
    der = base64.b64decode(found[1]) if found else content
    certificate = _inside(der)
    tbs_certificate = _inside(certificate)
    fields = [field for field in _elements(tbs_certificate) if field[0] != VERSION]
    if len(fields) <= VALIDITY or fields[VALIDITY][0] != SEQUENCE:
        raise ValueError(NOT_ONE)
    times = [_time(tag, value) for tag, value in _elements(fields[VALIDITY][1])]
    if len(times) != 2:  # noqa: PLR2004 - notBefore and notAfter
        raise ValueError(NOT_ONE)
    return times[1]


def _inside(data: bytes) -> bytes:
    """Return what the sequence holds that comes first."""
    for tag, value in _elements(data):
        if tag == SEQUENCE:
            return value
        break
    raise ValueError(NOT_ONE)


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and value of each element."""
    at = 0
    while at < len(data):
        tag, length, start = data[at], int.from_bytes(data[at + 1 : at + 2]), at + 2
        if length & 0x80:
            octets = length & 0x7F
            length, start = int.from_bytes(data[start : start + octets]), start + octets
        at = start + length
        if at > len(data):
            raise ValueError(NOT_ONE)
        yield tag, data[start:at]


def _time(tag: int, value: bytes) -> float:
    found = TIME.fullmatch(value)
    if found is None or len(found[1]) != {UTC_TIME: 2, GENERALIZED_TIME: 4}.get(tag):
        raise ValueError(NOT_ONE)
    year, *rest = map(int, found.groups())
    if tag == UTC_TIME:
        year += 2000 if year < 50 else 1900  # noqa: PLR2004 - RFC 5280 §4.1.2.5.1
    return timegm((year, *rest))
