"""What charon tells, as JSON: nothing is lost but a certificate's body."""

import hashlib
import json
import pathlib
import ssl
from datetime import UTC, datetime

from tests.certificates import expiring

from vpnagent.commands.support_bundle.collect import all_of, plain


def test_sections_lists_and_values_stay_what_they_are() -> None:
    message = {"hangzhou": {"remote-ts": [b"0.0.0.0/0", b"10.0.0.0/8"], "uniqueid": b"7", "odd": b"\xff"}}
    assert all_of([message]) == [
        {"hangzhou": {"remote-ts": ["0.0.0.0/0", "10.0.0.0/8"], "uniqueid": "7", "odd": "\\xff"}}
    ]


def test_of_a_certificate_fingerprint_and_end_are_told(tmp_path: pathlib.Path) -> None:
    pem = expiring(tmp_path, "idc", at=datetime(2030, 1, 1, tzinfo=UTC)).read_text()
    der = ssl.PEM_cert_to_DER_cert(pem)
    told = plain({"type": b"X509", "has_privkey": b"yes", "data": der})
    assert told == {
        "type": "X509",
        "has_privkey": "yes",
        "data": {"sha256": hashlib.sha256(der).hexdigest(), "not_after": "2030-01-01T00:00:00+00:00"},
    }


def test_of_what_is_no_certificate_the_fingerprint() -> None:
    told = plain({"data": b"\x30\x03abc"})
    assert json.loads(json.dumps(told))["data"].keys() == {"sha256"}
