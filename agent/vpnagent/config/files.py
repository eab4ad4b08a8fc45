"""Read keys and passwords, and see that files of certificates can be read. A shell: opens files.

A secret's file must be a regular file of root or of whoever reads it, closed to others. The texts of the
errors name the file and never what is in it.
"""

import enum
import errno
import grp
import hashlib
import os
import re
import ssl
import stat
from typing import Final, NoReturn

from vpnagent import own_files
from vpnagent.config.values import CertificateFiles, MetricsTls
from vpnagent.secret import Secret

SERVICE_GROUP: Final = "vpnagent"
MAX_BYTES: Final = 4096  #: the cloud's keys have at most 100 characters

#: The cloud's keys: printable ASCII without a space (Alibaba Cloud, CreateVpnConnection).
_KEY = re.compile(rb"[\x21-\x7e]+")


class Absence(enum.Enum):
    """Why a secret cannot be looked at, where nothing is known to be wrong with it."""

    MISSING = "missing"  #: no such file, as in CI
    FORBIDDEN = "forbidden"  #: not for this user
    OUTSIDE = "outside"  #: a credential, outside of the unit that has it


class SecretFileError(Exception):
    """A file that cannot be used, and why."""

    def __init__(self, reason: str, absence: Absence | None = None) -> None:
        super().__init__(reason)
        self.absence = absence


def read_secret(path: str) -> Secret:
    """Return the pre-shared key, or the password, in a file. Raises SecretFileError."""
    return secret_of(_content(path, closed=True))


def read_credential(name: str) -> Secret:
    """Return the pre-shared key in a systemd credential (systemd.exec(5)). Raises SecretFileError."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        reason = "no systemd credential is there: CREDENTIALS_DIRECTORY is not set"
        raise SecretFileError(reason, Absence.OUTSIDE)
    # The folder is ours alone, whatever the modes in it: systemd grants access by ACL, which looks like 0440.
    return secret_of(_content(os.path.join(folder, name), closed=False))


def secret_of(content: bytes) -> Secret:
    """Return the key, without the newline that editors leave at its end. Raises SecretFileError."""
    content = content.removesuffix(b"\n").removesuffix(b"\r")
    if not content:
        raise SecretFileError("must not be empty")
    if not _KEY.fullmatch(content):
        raise SecretFileError(
            "must hold one line of visible ASCII characters, without a space: something else is in it"
        )
    return Secret(content)


def check_readable(path: str, *, closed: bool) -> None:
    """See that a file of certificates can be opened; ``closed``: to us only. Raises SecretFileError."""
    os.close(_open(path, closed=closed))


def revision(files: CertificateFiles) -> str:
    """Return what is another one when certificate or CA are; empty if they cannot be read."""
    held = []
    try:
        for path in (files.certificate, files.ca):
            held.append(own_files.of_operator(path, own_files.MOST))
    except (ValueError, OSError):
        return ""
    return hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in held)).hexdigest()[:16]


def _content(path: str, *, closed: bool) -> bytes:
    descriptor = _open(path, closed=closed)
    try:
        content = os.read(descriptor, MAX_BYTES + 1)
    except OSError as error:
        raise SecretFileError(f"cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if len(content) > MAX_BYTES:
        raise SecretFileError(f"must not be larger than {MAX_BYTES} bytes")
    return content


def _open(path: str, *, closed: bool) -> int:
    try:
        # O_NONBLOCK: a FIFO must not hold us up. The checks are made on what was opened, not on a name.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not the name of a file"
        absence = _ABSENCES.get(error.errno or 0) if isinstance(error, OSError) else None
        raise SecretFileError(f"cannot be opened: {reason}", absence) from error
    try:
        found = os.fstat(descriptor)
        _check_regular(found)
        if closed:
            check_access(found, user=os.geteuid(), groups=_groups())
    except SecretFileError:
        os.close(descriptor)
        raise
    return descriptor


_ABSENCES: Final = {
    errno.ENOENT: Absence.MISSING,
    errno.ENOTDIR: Absence.MISSING,
    errno.EACCES: Absence.FORBIDDEN,
    errno.EPERM: Absence.FORBIDDEN,
}


def _check_regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise SecretFileError("must be a regular file")


def check_access(found: os.stat_result, *, user: int, groups: frozenset[int]) -> None:
    """See that nobody reads a file but root, ``user`` and ``groups``. Raises SecretFileError."""
    if found.st_uid not in (0, user):
        raise SecretFileError(
            f"must be owned by root or by the user that reads it, not by uid {found.st_uid}"
        )
    mode = stat.S_IMODE(found.st_mode)
    allowed = stat.S_IRUSR | stat.S_IWUSR | (stat.S_IRGRP if found.st_gid in groups else 0)
    if mode & ~allowed:
        raise SecretFileError(
            f"must have mode 0600, or 0640 with group root or {SERVICE_GROUP}, "
            f"not {mode:04o} with gid {found.st_gid}"
        )


def _groups() -> frozenset[int]:
    group = service_group()
    return frozenset((0,) if group is None else (0, group))


def is_service() -> bool:
    """Return whether this process may open what the daemon may: it is root's, or the service's own."""
    return os.geteuid() == 0 or os.getegid() == service_group()


def service_group() -> int | None:
    """Return the id of the service's group, where the package has made it."""
    try:
        return grp.getgrnam(SERVICE_GROUP).gr_gid
    except KeyError:
        return None


# Make the TLS of the metrics' listener from its PEM files. A shell: opens files; loads OpenSSL.


class TlsFileError(SecretFileError):
    """A file that is not what it must be; ``key`` is the one that names it, below metrics_tls."""

    def __init__(self, key: str, reason: str, absence: Absence | None = None) -> None:
        super().__init__(reason, absence)
        self.key = key


def server_context(tls: MetricsTls) -> ssl.SSLContext:
    """Return what a server presents, and demands of its clients. Raises TlsFileError."""
    _check_readable(tls)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.certificate, tls.private_key, password=_encrypted)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsFileError("private_key", "must belong to the certificate") from error
        _check_certificate("certificate", tls.certificate)
        raise TlsFileError("private_key", "must be a private key as PEM") from error
    if tls.client_ca is not None:
        _check_certificate("client_ca", tls.client_ca)
        context.load_verify_locations(cafile=tls.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _check_readable(tls: MetricsTls) -> None:
    for key in ("certificate", "private_key", "client_ca"):
        path = getattr(tls, key)
        try:
            if path is not None:
                check_readable(path, closed=key == "private_key")
        except SecretFileError as error:
            raise TlsFileError(key, str(error), error.absence) from error


def _check_certificate(key: str, path: str) -> None:
    """See that a file holds certificates. Raises TlsFileError."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        raise TlsFileError(key, "must be a certificate as PEM") from error


def _encrypted() -> NoReturn:
    """Answer OpenSSL's question for a passphrase, which it would else ask on the terminal."""
    raise TlsFileError("private_key", "must not be encrypted: nobody is there to give a passphrase")
