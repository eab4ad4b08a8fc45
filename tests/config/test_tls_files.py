"""What a listener's PEM files must be, and which one is to blame."""

import ssl
from pathlib import Path

import pytest
from tests.certificates import Certified, authority, openssl

from vpnagent.config.files import TlsFileError, server_context
from vpnagent.config.values import MetricsTls


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    return authority(tmp_path_factory.mktemp("made"), "listener")


def tls(certificate: object, key: object, client_ca: object = None) -> MetricsTls:
    return MetricsTls(
        certificate=str(certificate),
        private_key=str(key),
        client_ca=None if client_ca is None else str(client_ca),
    )


def refusal(files: MetricsTls) -> tuple[str, str]:
    with pytest.raises(TlsFileError) as caught:
        server_context(files)
    return caught.value.key, str(caught.value)


def test_clients_need_a_certificate_only_where_a_ca_is_given(made: Certified) -> None:
    assert server_context(tls(*made)).verify_mode is ssl.CERT_NONE
    assert server_context(tls(*made, made.certificate)).verify_mode is ssl.CERT_REQUIRED


def test_nothing_older_than_tls_1_2_is_spoken(made: Certified) -> None:
    assert server_context(tls(*made)).minimum_version == ssl.TLSVersion.TLSv1_2


def test_the_file_that_is_to_blame_is_named(made: Certified, tmp_path: Path) -> None:
    nonsense, other = tmp_path / "nonsense", authority(tmp_path, "other")
    nonsense.touch(mode=0o600)
    absent = tmp_path / "absent"
    opened = ": No such file or directory"

    assert refusal(tls(nonsense, made.key)) == ("certificate", "must be a certificate as PEM")
    assert refusal(tls(made.certificate, nonsense)) == ("private_key", "must be a private key as PEM")
    assert refusal(tls(made.certificate, other.key)) == ("private_key", "must belong to the certificate")
    assert refusal(tls(*made, nonsense)) == ("client_ca", "must be a certificate as PEM")
    assert refusal(tls(absent, made.key)) == ("certificate", f"cannot be opened{opened}")
    assert refusal(tls(made.certificate, absent)) == ("private_key", f"cannot be opened{opened}")
    assert refusal(tls(*made, absent)) == ("client_ca", f"cannot be opened{opened}")


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    exposed = authority(tmp_path, "exposed")
    exposed.key.chmod(0o644)

    key, text = refusal(tls(*exposed))

    assert (key, text[:19]) == ("private_key", "must have mode 0600")


def test_an_encrypted_key_is_refused_and_nobody_is_asked(made: Certified, tmp_path: Path) -> None:
    encrypted = tmp_path / "encrypted"
    openssl("ec", "-aes256", "-passout", "pass:Hush", "-in", made.key, "-out", encrypted)
    encrypted.chmod(0o600)

    assert refusal(tls(made.certificate, encrypted)) == (
        "private_key",
        "must not be encrypted: nobody is there to give a passphrase",
    )
