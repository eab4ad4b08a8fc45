"""Make the TLS of the metrics' listener from its PEM files. A shell: opens files; loads OpenSSL."""

import ssl
from typing import NoReturn

from vpnagent.config.secret_files import Absence, SecretFileError, check_readable
from vpnagent.config.values import MetricsTls


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
