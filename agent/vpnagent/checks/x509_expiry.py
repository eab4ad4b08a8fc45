"""When a certificate expires: the one field that is read of it, without a library for all the others. Pure.

PEM (RFC 7468) or DER (X.690), structure and times by RFC 5280 §4.1. Of several certificates in a file the
first one counts, as it does for charon.
"""

import base64
import re
from calendar import timegm
from collections.abc import Iterator
from typing import Final

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
