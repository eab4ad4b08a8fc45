"""What charon tells by VICI, as JSON. Pure."""

import contextlib
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from vpnagent.checks.x509_expiry import expiry
from vpnagent.ipsec.section import Section


def plain(value: object) -> Any:
    """Return a decoded message as a JSON value."""
    if isinstance(value, Mapping):
        return {key: _certificate(part) if key == "data" else plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def all_of(messages: list[Section]) -> list[Any]:
    """Return streamed messages as JSON values."""
    return [plain(message) for message in messages]


def _certificate(data: object) -> dict[str, str] | str:
    """Return what of a certificate (of the VICI key ``data``: DER) tells it from others."""
    if not isinstance(data, bytes):
        return plain(data)  # type: ignore[no-any-return]
    told = {"sha256": hashlib.sha256(data).hexdigest()}
    with contextlib.suppress(ValueError, OverflowError, OSError):  # a CRL, a public key
        told["not_after"] = datetime.fromtimestamp(expiry(data), UTC).isoformat()
    return told
