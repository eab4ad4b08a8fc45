from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.certificates import authority, expiring, issued, openssl

from vpnagent.checks.certificates import expiry

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
