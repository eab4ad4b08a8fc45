"""``vpnagent support-bundle``: an archive for a support case, without secrets. A shell.

Each part is collected by itself, with a deadline. All text is then searched for the secrets of this machine
and for what looks like one; what holds a secret is left out, and the first page says so.

``collect`` and ``known_secrets`` do I/O: they read files, run programs that only look, and ask charon and
the daemon. The same content gives the same bytes. Begin with ``bundle`` below; docs/support.md lists the
parts.
"""

import asyncio
import gzip
import io
import os
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from vpnagent.commands.options import (
    DEFAULT_STATE,
    DEFAULT_VICI,
    agent_key,
    config_option,
    file_key,
    socket_for,
    socket_option,
)
from vpnagent.commands.support_bundle.known_secrets import Gathered, Known, Part, clean_line, cleaned, proven
from vpnagent.commands.support_bundle.summary import missing, summary
from vpnagent.control.protocol import NOT_FINE, NOT_PERMITTED
from vpnagent.record import record

if TYPE_CHECKING:
    pass


SUMMARY = "SUMMARY.md"
NAMELESS = "gateway"


@record(frozen=True, slots=True, kw_only=True)
class SupportBundle:
    """What is to be written."""

    name: str  #: of the folder in it, and of the file but for its ending
    at: int  #: seconds since 1970
    files: Mapping[str, str]  #: by name
    complaints: tuple[str, ...]  #: what could not be had or was left out, a line each
    held: bool  #: a secret was found, and what held it left out
    forbidden: bool  #: more privilege would have given more


def bundle(raw: Iterable[Part], gathered: Gathered, *, gateway: str, at: int) -> SupportBundle:
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
    return SupportBundle(
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


def packed(found: SupportBundle) -> bytes:
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


# ``vpnagent support-bundle``.

ENDING: Final = ".tar.gz"
OWNER_ONLY: Final = 0o600


@click.command("support-bundle")
@config_option
@socket_option
@click.option(
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="The file to write; - for standard output. Default: vpnagent-support-GATEWAY-TIME.tar.gz, here.",
)
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def support_bundle(config_path: str, socket_path: str | None, output: str | None, force: bool) -> None:
    r"""Write an archive for a support ticket: state, versions, logs, kernel and charon. No secrets.

    \b
    Example:
      vpnagent support-bundle
      vpnagent support-bundle --output /tmp/ticket-4711.tar.gz
      ssh root@gateway vpnagent support-bundle --output - > bundle.tar.gz
    It changes nothing, needs no daemon, and waits for nothing longer than 15 seconds. Its first page is
    SUMMARY.md. The finished files are searched for every secret that the configuration names, and what holds
    one is left out. docs/support.md lists what is in it.
    Exit status 0 when everything is in it, 1 when something is missing or was left out, 4 when root would get
    more; in each case the archive is written, and what is missing is told.
    """
    if output == "-" and sys.stdout.isatty():
        raise click.UsageError("an archive is not for a terminal: name a file, or pipe it")
    from vpnagent.commands.options import File

    pass

    if output not in (None, "-"):
        File(str(output), b"", OWNER_ONLY).check(replace=force)
    bundle = _bundle(config_path, socket_path)
    path, content = output or bundle.name + ENDING, packed(bundle)
    if path == "-":
        sys.stdout.buffer.write(content)
    else:
        file = File(path, content, OWNER_ONLY)
        file.check(replace=force)
        file.write(replace=force)
    _tell(bundle, to_stderr=path == "-")
    sys.exit(exit_status(bundle))


def _bundle(config_path: str, socket_path: str | None) -> "SupportBundle":
    from vpnagent.config.schema import keys
    from vpnagent.daemon.memory import STANDING

    pass
    from vpnagent.commands.support_bundle.collect import Places, collect
    from vpnagent.commands.support_bundle.known_secrets import BundleSecrets

    now = int(time.time())
    state_directory = agent_key(config_path, "state_directory", DEFAULT_STATE)
    standing = os.path.join(state_directory, STANDING)
    secrets = BundleSecrets(os.path.dirname(os.path.abspath(config_path)))
    secrets.add_configuration(config_path)
    secrets.add_standing(standing)
    secrets.add_services()
    secrets.add_strongswan()
    places = Places(
        config_path=config_path,
        control_socket=socket_for(socket_path, config_path),
        vici_socket=agent_key(config_path, "vici_socket", DEFAULT_VICI),
        standing=standing,
        state_directory=state_directory,
        known_keys=keys(),
        is_there=secrets.is_there,
    )
    progress = _progress()
    parts = asyncio.run(collect(places, progress))
    progress("")
    gateway = file_key(config_path, "gateway", "name", os.uname().nodename)
    return bundle(parts, secrets.gathered(), gateway=gateway, at=now)


def _progress() -> Callable[[str], None]:
    """Return what is told of each file that is done: where somebody looks, it is shown."""
    if not sys.stderr.isatty():
        return lambda _name: None
    return lambda name: click.echo(f"\r\x1b[K{name}\r", err=True, nl=False)


def _tell(bundle: "SupportBundle", *, to_stderr: bool) -> None:
    for name, text in bundle.files.items():
        click.echo(f"{len(text.encode(errors='replace')):>9} {name}", err=to_stderr)
    for complaint in bundle.complaints:
        click.echo(f"vpnagent: {complaint}", err=True)


def exit_status(bundle: "SupportBundle") -> int:
    """Return the command's exit status."""
    if not bundle.complaints:
        return 0
    return NOT_PERMITTED if bundle.forbidden and not bundle.held else NOT_FINE
