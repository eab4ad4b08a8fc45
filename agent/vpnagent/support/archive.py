"""A bundle, from what was collected to the bytes of the archive: the same content is the same bytes. Pure."""

import gzip
import io
import tarfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from vpnagent.record import dataclass
from vpnagent.support.known import Gathered, Known
from vpnagent.support.part import Part, clean_line, cleaned, proven
from vpnagent.support.summary import missing, summary

SUMMARY = "SUMMARY.md"
NAMELESS = "gateway"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What is to be written."""

    name: str  #: of the folder in it, and of the file but for its ending
    at: int  #: seconds since 1970
    files: Mapping[str, str]  #: by name
    complaints: tuple[str, ...]  #: what could not be had or was left out, a line each
    held: bool  #: a secret was found, and what held it left out
    forbidden: bool  #: more privilege would have given more


def bundle(raw: Iterable[Part], gathered: Gathered, *, gateway: str, at: int) -> Bundle:
    """Return the bundle of what was collected at a time, in seconds since 1970, and searched for secrets."""
    known = gathered.known
    if known.found_in(gateway):
        gateway = NAMELESS
    parts = {
        part.name: proven(cleaned(part, known), known) for part in sorted(raw, key=lambda part: part.name)
    }
    unsearched = [clean_line(line, known) for line in gathered.unsearched]
    text = summary(parts, gateway=gateway, at=at, searched=_searched(known, unsearched))
    page = proven(cleaned(Part(name=SUMMARY, content=text), known), known)
    everything = [page, *parts.values()]
    complaints = [line.removeprefix("- ") for line in missing(everything)]
    return Bundle(
        name=f"vpnagent-support-{gateway}-{datetime.fromtimestamp(at, UTC):%Y%m%dT%H%M%SZ}",
        at=at,
        files={part.name: part.text for part in everything if part.content is not None},
        complaints=(*complaints, *(f"not searched for: {line}" for line in unsearched)),
        held=any(part.held for part in everything),
        forbidden=gathered.forbidden or any(part.forbidden for part in everything),
    )


def _searched(known: Known, unsearched: list[str]) -> str:
    """Return what the first page says of the search."""
    lines = [
        "Every file of this archive, this page too, was searched for what the files below hold: as it is,",
        "escaped, in base64, in hexadecimal. Where it was found, the line or the file is left out.",
        "Keys of SAs, private keys, passwords in addresses and headers are hidden by their shape.",
        "",
        *(f"- {owner}" for owner in known.owners),
        *(f"- not searched for: {line}" for line in unsearched),
    ]
    return "\n".join(lines)


def packed(found: Bundle) -> bytes:
    """Return the bundle as tar, compressed by gzip, the first page first. Its time is that of every file."""
    raw = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=raw, mode="wb", mtime=found.at) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted(found.files, key=lambda name: (name != SUMMARY, name)):
            content = found.files[name].encode(errors="backslashreplace")
            member = tarfile.TarInfo(f"{found.name}/{name}")
            member.size, member.mtime, member.mode = len(content), found.at, 0o600
            archive.addfile(member, io.BytesIO(content))
    return raw.getvalue()
