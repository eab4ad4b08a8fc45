"""What is said of certificates that expire, and when."""

import asyncio
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.certificates import authority, expiring, issued, openssl
from tests.config_examples import make_config

from vpnagent.checks import readings
from vpnagent.checks.certificates import DAY, LISTENER, certificates, expiries, expiry
from vpnagent.checks.observation import Certificate, Observation
from vpnagent.config.files import revision
from vpnagent.config.values import CertificateFiles, Config, MetricsTls, TunnelKey
from vpnagent.daemon.patrol import Patrol
from vpnagent.finding import Finding, Severity
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.record import replace

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
PRIMARY, BACKUP = TunnelKey("hangzhou", "primary"), TunnelKey("hangzhou", "backup")


def certificate(days: float, role: str = "certificate", owner: str = "hangzhou/primary") -> Certificate:
    return Certificate(owner=owner, role=role, file=f"/{role}.pem", expiry=NOW + days * DAY)


def found(*seen: Certificate) -> list[Finding]:
    return list(certificates(make_config(), Observation(at=NOW, certificates=seen)))


@pytest.mark.parametrize(
    ("days", "severities"),
    [
        (365, []),
        (30.001, []),
        (30, [Severity.WARNING]),
        (7.001, [Severity.WARNING]),
        (7, [Severity.CRITICAL]),
        (-1, [Severity.CRITICAL]),
    ],
)
def test_the_nearer_the_worse(days: float, severities: list[Severity]) -> None:
    assert [f.severity for f in found(certificate(days))] == severities


@pytest.mark.parametrize(
    ("days", "when"),
    [
        (12.5, "expires in 12 days, 2026-12-06 00:00 UTC"),
        (1, "expires in 1 day, 2026-11-24 12:00 UTC"),
        (0.5, "expires in less than a day, 2026-11-24 00:00 UTC"),
        (0, "expired less than a day ago, 2026-11-23 12:00 UTC"),
        (-2, "expired 2 days ago, 2026-11-21 12:00 UTC"),
    ],
)
def test_the_days_that_are_left_are_told(days: float, when: str) -> None:
    [finding] = found(certificate(days))

    text = f"hangzhou/primary: the certificate /certificate.pem {when}: no negotiation succeeds then"
    assert (finding.code, finding.subject, finding.text) == ("CertificateExpiry", "hangzhou/primary", text)


def test_of_a_tunnels_certificates_the_first_to_expire_is_told() -> None:
    seen = (certificate(20), certificate(10, "CA"), certificate(5, owner="hangzhou/backup"))

    assert [f.text.partition(" expires")[0] for f in found(*seen)] == [
        "hangzhou/primary: the CA /CA.pem",
        "hangzhou/backup: the certificate /certificate.pem",
    ]
    assert expiries(Observation(at=NOW, certificates=seen), [PRIMARY, BACKUP]) == {
        PRIMARY: NOW + 10 * DAY,
        BACKUP: NOW + 5 * DAY,
    }


def test_a_tunnel_with_a_key_has_no_expiry() -> None:
    assert expiries(Observation(at=NOW, certificates=()), [PRIMARY]) == {}


def test_what_is_no_certificate_is_told_as_such() -> None:
    nonsense = Certificate(owner="hangzhou/primary", role="CA", file="/ca", expiry=None, error="is nonsense")

    [finding] = found(nonsense)

    assert (finding.code, finding.severity) == ("CertificateUnreadable", Severity.WARNING)
    assert expiries(Observation(certificates=(nonsense,)), [PRIMARY]) == {}


def test_a_certificate_that_waits_for_a_reload_is_told_once() -> None:
    seen = tuple(replace(certificate(365, role), replaced=True) for role in ("certificate", "CA"))

    [finding] = found(*seen)

    assert (finding.code, finding.subject) == ("CertificateReplaced", "hangzhou/primary")


def config(folder: Path) -> Config:
    authority(folder, "ca")
    files = CertificateFiles(
        certificate=str(folder / "gateway.pem"), private_key="/key", ca=str(folder / "ca.pem")
    )
    files = replace(files, revision=revision(files))
    tls = MetricsTls(certificate=str(folder / "ca.pem"), private_key="/key", client_ca=None)
    return make_config(
        primary={"certificates": files, "psk": None},
        agent={"metrics_tls": tls, "vici_socket": "/nonexistent"},
    )


def test_every_file_is_read_that_can_expire(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gateway.pem")

    seen = readings.certificates(config(tmp_path))

    assert [(c.owner, c.role, c.error) for c in seen] == [
        ("hangzhou/primary", "certificate", "cannot be read: it is no regular file"),
        ("hangzhou/primary", "CA", ""),
        (LISTENER, "certificate", ""),
    ]
    assert [c.expiry is None for c in seen] == [True, False, False]


def test_a_renewed_certificate_is_seen_at_the_next_look(tmp_path: Path) -> None:
    now = int(time.time())
    expiring(tmp_path, "gateway", at=datetime.fromtimestamp(now + 5 * DAY, UTC))
    known = Knowledge(config=config(tmp_path), loaded_at=0.0)
    patrol = Patrol(known, "/nonexistent")
    before = asyncio.run(patrol.look())
    expiring(tmp_path, "gateway", at=datetime.fromtimestamp(now + 25 * DAY, UTC))
    after = asyncio.run(patrol.look())

    assert before.certificate_expiry == {PRIMARY: now + 5 * DAY}
    assert after.certificate_expiry == {PRIMARY: now + 25 * DAY}
    told = [
        [f.severity for f in look.findings if (f.code, f.subject) == ("CertificateExpiry", str(PRIMARY))]
        for look in (before, after)
    ]
    assert told == [[Severity.CRITICAL], [Severity.WARNING]]
    waiting = [("CertificateReplaced" in {f.code for f in look.findings}) for look in (before, after)]
    assert waiting == [False, True]


TIMES = [
    datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC),
    datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC),  # the last one as UTCTime
    datetime(2050, 1, 1, tzinfo=UTC),  # the first one as GeneralizedTime
    datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),  # RFC 5280: none
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return expiring(tmp_path_factory.mktemp("made"), "made", at=TIMES[0])


@pytest.mark.parametrize("at", TIMES)
def test_the_expiry_is_what_the_certificate_was_made_with(tmp_path: Path, at: datetime) -> None:
    made = expiring(tmp_path, "made", at=at)
    der = tmp_path / "made.der"
    openssl("x509", "-in", made, "-outform", "DER", "-out", der)

    assert expiry(made.read_bytes()) == at.timestamp()
    assert expiry(der.read_bytes()) == at.timestamp()


def test_the_first_certificate_of_a_file_counts(made: Path, tmp_path: Path) -> None:
    chain = b"# the listener's\n" + made.read_bytes() + authority(tmp_path, "ca").certificate.read_bytes()

    assert expiry(chain) == TIMES[0].timestamp()


def test_a_certificate_of_a_ca_has_its_own_expiry(tmp_path: Path) -> None:
    ca = authority(tmp_path, "ca")
    host = issued(ca, tmp_path, "host")

    days = (expiry(ca.certificate.read_bytes()) - expiry(host.certificate.read_bytes())) / 86400
    assert round(days) == 10


@given(st.binary(max_size=100))
def test_what_is_no_certificate_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        expiry(content)


@given(st.data())
def test_a_damaged_certificate_is_read_or_refused(made: Path, data: st.DataObject) -> None:
    der = made.with_suffix(".der")
    if not der.exists():
        openssl("x509", "-in", made, "-outform", "DER", "-out", der)
    content = bytearray(der.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert isinstance(expiry(bytes(content)), int)
    except ValueError:
        return
