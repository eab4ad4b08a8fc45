"""Which certificates expire soon, or have expired. Pure."""

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
