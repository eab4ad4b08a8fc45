import os
import ssl
from pathlib import Path

import pytest
from tests.certificates import Certified, authority, openssl
from tests.config.conftest import write_secret

from vpnagent.config.files import (
    MAX_BYTES,
    SecretFileError,
    TlsFileError,
    check_access,
    check_readable,
    read_credential,
    read_secret,
    server_context,
)
from vpnagent.config.values import MetricsTls

USER = 1000
GROUPS = frozenset((0, 86))


def file_of(*, uid: int = 0, gid: int = 0, mode: int = 0o600) -> os.stat_result:
    return os.stat_result((0o100000 | mode, 1, 1, 1, uid, gid, 16, 0, 0, 0))


@pytest.mark.parametrize(
    "found",
    [
        file_of(),
        file_of(mode=0o400),
        file_of(uid=USER, gid=USER),
        file_of(gid=0, mode=0o640),
        file_of(gid=86, mode=0o440),
    ],
)
def test_a_file_that_is_closed_to_others_is_taken(found: os.stat_result) -> None:
    check_access(found, user=USER, groups=GROUPS)


@pytest.mark.parametrize(
    ("found", "but"),
    [
        (file_of(mode=0o604), "0604 with gid 0"),
        (file_of(mode=0o644), "0644 with gid 0"),
        (file_of(mode=0o660), "0660 with gid 0"),
        (file_of(mode=0o700), "0700 with gid 0"),
        (file_of(mode=0o640, gid=USER), "0640 with gid 1000"),
        (file_of(mode=0o4600), "4600 with gid 0"),
    ],
)
def test_a_file_that_others_can_read_is_refused_with_its_mode(found: os.stat_result, but: str) -> None:
    with pytest.raises(
        SecretFileError, match=f"^must have mode 0600, or 0640 with group root or vpnagent, not {but}$"
    ):
        check_access(found, user=USER, groups=GROUPS)


def test_a_file_of_another_user_is_refused() -> None:
    with pytest.raises(SecretFileError, match=r"^must be owned by root or by the user .* not by uid 33$"):
        check_access(file_of(uid=33), user=USER, groups=GROUPS)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_one_newline_at_the_end_is_not_part_of_the_key(tmp_path: Path, end: bytes) -> None:
    write_secret(tmp_path / "psk", b"~!`@#$%^&*()'\"" + end)

    assert read_secret(str(tmp_path / "psk")).reveal() == b"~!`@#$%^&*()'\""


ONE_LINE = "must hold one line of visible ASCII characters, without a space: something else is in it"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "must not be empty"),
        (b"\n", "must not be empty"),
        (b"hush\n\n", ONE_LINE),
        (b"hush hush", ONE_LINE),
        (b"hush \n", ONE_LINE),
        (b"\xef\xbb\xbfhush\n", ONE_LINE),
        (b"hush\x00", ONE_LINE),
        (b"hush\xc3\xa4", ONE_LINE),
        (b"h" * (MAX_BYTES + 1), f"must not be larger than {MAX_BYTES} bytes"),
    ],
)
def test_what_cannot_be_a_key_of_the_cloud_is_refused_and_not_shown(
    tmp_path: Path, content: bytes, text: str
) -> None:
    write_secret(tmp_path / "psk", content)

    with pytest.raises(SecretFileError) as caught:
        read_secret(str(tmp_path / "psk"))

    assert str(caught.value) == text


def test_a_key_of_the_greatest_size_is_taken(tmp_path: Path) -> None:
    write_secret(tmp_path / "psk", b"h" * MAX_BYTES)

    assert len(read_secret(str(tmp_path / "psk")).reveal()) == MAX_BYTES


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)

    for name in ("fifo", "."):
        with pytest.raises(SecretFileError, match=r"^must be a regular file$"):
            read_secret(str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "reason"), [("absent", "No such file or directory"), ("\x00", "not the name of a file")]
)
def test_a_file_that_is_not_there_is_told(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(SecretFileError, match=f"^cannot be opened: {reason}$"):
        read_secret(str(tmp_path / name))


def test_a_failing_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # /proc/self/mem is a regular file whose first page cannot be read, and closed to others.
    with pytest.raises(SecretFileError, match=r"^cannot be read: Input/output error$"):
        read_secret("/proc/self/mem")


def test_a_credential_is_read_whatever_its_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_secret(tmp_path / "primary", b"hush\n", mode=0o444)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    assert read_credential("primary").reveal() == b"hush"


def test_without_systemd_there_is_no_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)

    with pytest.raises(
        SecretFileError, match=r"^no systemd credential is there: CREDENTIALS_DIRECTORY is not set$"
    ):
        read_credential("primary")


def test_certificates_are_only_opened(tmp_path: Path) -> None:
    write_secret(tmp_path / "ca.pem", b"", mode=0o644)

    check_readable(str(tmp_path / "ca.pem"), closed=False)
    with pytest.raises(SecretFileError, match=r"^must have mode 0600"):
        check_readable(str(tmp_path / "ca.pem"), closed=True)


# What a listener's PEM files must be, and which one is to blame.


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
