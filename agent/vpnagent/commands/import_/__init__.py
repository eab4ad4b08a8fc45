"""``vpnagent import``: the cloud's documents become a configuration, or are compared with one.

A JSON document of the cloud's API becomes connections (``documents``, ``views``), those become a tree of
YAML with open questions, and the rules of ``config`` judge it: there is no second opinion on any value.

Only this file does I/O: it reads documents, and writes the YAML and key files of mode 0600; all else is
pure. ``vpnagent init`` uses it too. Begin with ``documents``; docs/import.md has examples.
"""

import os
import stat
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from vpnagent import own_files
from vpnagent.commands.options import READABLE, File, key_file, problem, say
from vpnagent.config.wording import key_path
from vpnagent.control.protocol import NOT_FINE
from vpnagent.errors import ConfigError

if TYPE_CHECKING:
    from vpnagent.commands.import_.assemble import Assembly
    from vpnagent.commands.import_.yaml_text import Rendered
    from vpnagent.config.values import Config

STDIN: Final = "-"
MOST: Final = 16 << 20  #: bytes of a document; one of 1,000 connections is below 4 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """The options as they were given."""

    output: str | None
    psk_directory: str | None
    present: str | None
    force: bool
    attachment: str | None
    local_networks: tuple[str, ...]
    remote_networks: tuple[str, ...]
    active: tuple[str, ...]
    connections: tuple[str, ...]


@click.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--output", type=click.Path(dir_okay=False), help="Where the YAML goes. Default: standard output."
)
@click.option(
    "--psk-directory",
    type=click.Path(file_okay=False),
    help="Where each pre-shared key becomes a file CONNECTION.TUNNEL.psk of mode 0600. Default: nowhere.",
)
@click.option(
    "--diff",
    "present",
    type=click.Path(dir_okay=False),
    help="Write nothing; print where this YAML differs from the documents.",
)
@click.option("--force", is_flag=True, help="Replace files that hold something else, and say so.")
@click.option(
    "--attachment",
    type=click.Choice(["vpn-gateway", "transit-router"]),
    help="What the cloud's end is attached to.",
)
@click.option(
    "--local-network",
    "local_networks",
    multiple=True,
    metavar="[CONNECTION=]NETWORK",
    help="A network of the data centre, of one connection or of all; may be repeated.",
)
@click.option(
    "--remote-network",
    "remote_networks",
    multiple=True,
    metavar="[CONNECTION=]NETWORK",
    help="A network behind the cloud's end, of one connection or of all that lack it; may be repeated.",
)
@click.option(
    "--active",
    multiple=True,
    metavar="TUNNEL",
    help="The active tunnel: its id or the cloud's address; may be repeated.",
)
@click.option(
    "--connection",
    "connections",
    multiple=True,
    metavar="ID",
    help="Only this connection of the documents, by id or name; may be repeated. Default: all.",
)
def import_(files: tuple[str, ...], **options: Any) -> None:
    """Make a configuration of what DownloadVpnConnectionConfig and DescribeVpnConnection answer.

    \b
    Example:
      vpnagent import download.json describe.json --output vpnagent.yaml --psk-directory psk \\
          --local-network 10.1.0.0/16 --remote-network 100.64.0.0/10 --remote-network 172.16.0.0/16
      vpnagent import describe.json --diff /etc/vpnagent/vpnagent.yaml
      aliyun vpc DescribeVpnConnection --VpnConnectionId vco-x | vpnagent import -

    Documents of one connection are merged. What none of them tells stands in the YAML as a comment, TO FILL
    IN, and on standard error. Exit status 0; with --diff 1 for a difference; 2 for a document that cannot be
    used.
    """  # noqa: D301 - click's mark is a backspace
    from vpnagent.commands.import_.assemble import Answers
    from vpnagent.commands.import_.imported import assembly_of

    given = ImportOptions(**options)
    documents = read_documents(files)
    answers = Answers(
        attachment=given.attachment,
        local_networks=given.local_networks,
        remote_networks=given.remote_networks,
        active=given.active,
        only=given.connections,
    )
    assembly = assembly_of(documents, answers)
    if given.present is None:
        _write(assembly, documents, given)
    else:
        _compare(assembly, documents, given.present)


def read_documents(files: Sequence[str]) -> dict[str, bytes]:
    """Return what is in the documents, each under the shortest name that tells it from the others."""
    short = [os.path.basename(name) for name in files]
    names = [one if short.count(one) == 1 else name for one, name in zip(short, files, strict=True)]
    names = [name if name.isprintable() else repr(name) for name in names]  # they become comments
    for file in files:
        if os.path.isfile(file) and os.stat(file).st_mode & (stat.S_IRGRP | stat.S_IROTH):
            say(f"note: {file}: others may read it, and such a document holds pre-shared keys")
    return {name: _content(file) for name, file in zip(names, files, strict=True)}


def _content(name: str) -> bytes:
    if name == STDIN:
        return _bounded(name, sys.stdin.buffer)
    try:
        with open(name, "rb") as file:
            return _bounded(name, file)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not the name of a file"
        raise problem(name, f"cannot be read: {reason}") from error


def _bounded(name: str, file: BinaryIO) -> bytes:
    content = file.read(MOST + 1)
    if len(content) > MOST:
        raise problem(name, f"must not be larger than {MOST} bytes")
    return content


def _write(assembly: "Assembly", documents: Iterable[str], given: ImportOptions) -> None:
    """Write what the documents tell."""
    from vpnagent.commands.import_.imported import yaml_of

    place(yaml_of(assembly, documents, directory_in_yaml(given)), assembly, given)


def place(result: "Rendered", assembly: "Assembly", given: ImportOptions) -> None:
    """Write the keys, then the YAML that names them; nothing at all where a file holds something else."""
    from vpnagent.commands.import_.yaml_text import OpenQuestion

    files = _key_files(assembly, given.psk_directory) if given.psk_directory is not None else []
    if given.output is not None:
        files.append(File(given.output, result.text.encode(), READABLE))
    for file in files:
        file.check(replace=given.force)
    if given.psk_directory is not None:
        with own_files.rights_of_owner(given.psk_directory):
            os.makedirs(given.psk_directory, mode=0o700, exist_ok=True)
    for file in files:
        file.write(replace=given.force)
    if given.output is None:
        click.echo(result.text, nl=False)
    for line, key, said in result.said:
        what = "to fill in" if isinstance(said, OpenQuestion) else "note"
        place = f"{given.output or 'the YAML'}:{line}:" + (f" {key_path(key)}:" if key else "")
        say(f"{what}: {place} {said.text}")
    for remark in result.remarks:
        say(f"note: {remark}")


def _key_files(assembly: "Assembly", directory: str) -> "list[File]":
    return [
        key_file(os.path.join(directory, connection.psk_file(tunnel)), tunnel.psk.reveal())
        for connection in assembly.connections
        for tunnel in connection.tunnels
        if tunnel.psk
    ]


def directory_in_yaml(given: ImportOptions) -> str | None:
    """Return the directory of the keys: relative to the YAML where it is beneath, so that both can move."""
    if given.psk_directory is None:
        return None
    directory = os.path.abspath(given.psk_directory)
    if given.output is not None:
        relative = os.path.relpath(directory, os.path.dirname(os.path.abspath(given.output)))
        if relative.partition(os.sep)[0] != os.pardir:
            return relative
    return directory


def _compare(assembly: "Assembly", documents: Iterable[str], name: str) -> None:
    from vpnagent.commands.import_.drift import Present, drift, not_compared
    from vpnagent.commands.import_.imported import yaml_of
    from vpnagent.config.yaml_positions import read

    result = yaml_of(assembly, documents, None)  # a document that cannot be used is no drift
    present = Present(name, read(_content(name)), _present_config(name))
    for note in (*assembly.notes, *result.remarks):
        say(f"note: {note}")
    found = drift(assembly, present)
    for difference in found:
        click.echo(str(difference))
    for connection in not_compared(assembly, present.config):
        say(f"note: {name}: {connection} is in no document, and not compared")
    if found:
        sys.exit(NOT_FINE)
    click.echo(f"{name}: as in the documents")


def _present_config(name: str) -> "Config":
    """Return the configuration there is, without its keys where they are not at hand."""
    from vpnagent.config.load import load

    try:
        return load(name)
    except ConfigError:
        config = load(name, read_secrets=False)
    say(f"note: {name}: its pre-shared keys cannot be read, and are not compared")
    return config
