"""``vpnagent init``: a first configuration and its key files, from answers or the cloud's documents."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any

import click

from vpnagent import own_files
from vpnagent.commands.options import (
    DEFAULT_CONFIG,
    READABLE,
    AddressType,
    File,
    Network,
    key_file,
    problem,
    say,
)
from vpnagent.control.protocol import USAGE
from vpnagent.errors import ControlError

if TYPE_CHECKING:
    pass


# The text of a first configuration, from the few answers that only the operator has. Pure.

TUNNELS = ("primary", "backup")  #: names, in the order of preference


@dataclass(frozen=True, slots=True, kw_only=True)
class InitAnswers:
    """What the operator knows."""

    connection: str
    attachment: str
    local_networks: tuple[IPv4Network, ...]
    remote_networks: tuple[IPv4Network, ...]
    source_address: IPv4Address
    local_id: IPv4Address  #: this gateway's public address, as the cloud's customer gateway has it
    remote_addresses: tuple[IPv4Address, ...]  #: of one tunnel, or of the active one and the standby
    probe_targets: tuple[IPv4Address, ...]

    def tunnels(self) -> Iterator[tuple[str, IPv4Address]]:
        """Yield the name and the cloud's address of each tunnel."""
        return zip(TUNNELS, self.remote_addresses, strict=False)


def first_configuration(answers: InitAnswers, psk_directory: str) -> str:
    """Return the YAML; the key of each tunnel is a file of its name in ``psk_directory``."""
    tunnels = "\n".join(
        f"      - {{name: {name}, remote_address: {address}, local_id: {answers.local_id},"
        f" psk_file: {psk_directory}/{name}}}"
        for name, address in answers.tunnels()
    )
    return f"""\
# Made by vpnagent init. All keys: vpnagent.yaml(5). Then: vpnagent check; systemctl enable --now vpnagent
version: 1
gateway:
  local_networks: {_list(answers.local_networks)}
  source_address: {answers.source_address}
connections:
  - name: {answers.connection}
    attachment: {answers.attachment}
    remote_networks: {_list(answers.remote_networks)}
    # As in the cloud, exactly. These are its defaults; aes256, sha256 and 14 on both ends are better.
    ike: {{version: 2, encryption: aes128, integrity: sha1, dh_group: 2}}
    esp: {{encryption: aes128, integrity: sha1, pfs_group: 2}}
    probe: {{targets: {_list(answers.probe_targets)}}}
    tunnels:
{tunnels}
"""


def _list(items: tuple[IPv4Network, ...] | tuple[IPv4Address, ...]) -> str:
    return f"[{', '.join(map(str, items))}]"


Ask = Callable[[], Any]
CLOUD_SERVICES = IPv4Network("100.64.0.0/10")
TOLD_BY_DOCUMENTS = ("connection", "source_address", "local_id", "remote_addresses", "probe_targets")


@click.command()
@click.argument("documents", nargs=-1, metavar="[DOCUMENT]...")
@click.option(
    "--output",
    type=click.Path(dir_okay=False),
    default=DEFAULT_CONFIG,
    show_default=True,
    help="Where the YAML goes. The keys go into psk/ beside it.",
)
@click.option("--connection", metavar="NAME", help="What to call the connection. Default: cloud.")
@click.option(
    "--attachment",
    type=click.Choice(["vpn-gateway", "transit-router"]),
    help="What the cloud's end is attached to. Default: vpn-gateway.",
)
@click.option(
    "--local-network",
    "local_networks",
    type=Network(),
    multiple=True,
    help="A network of the data centre; may be repeated.",
)
@click.option(
    "--remote-network",
    "remote_networks",
    type=Network(),
    multiple=True,
    help="A network behind the cloud's end; may be repeated. 100.64.0.0/10 for cloud services is one.",
)
@click.option("--source-address", type=AddressType(), help="An address of this gateway in a local network.")
@click.option(
    "--public-address",
    "local_id",
    type=AddressType(),
    help="This gateway's public address, as the cloud's customer gateway has it.",
)
@click.option(
    "--tunnel",
    "remote_addresses",
    type=AddressType(),
    multiple=True,
    help="The cloud's address of a tunnel, the active one first; once or twice.",
)
@click.option(
    "--probe-target",
    "probe_targets",
    type=AddressType(),
    multiple=True,
    help="A host in the VPC that answers ping; may be repeated.",
)
@click.option(
    "--psk-stdin", is_flag=True, help="Read the keys from standard input, one line for each tunnel."
)
def init(documents: tuple[str, ...], output: str, psk_stdin: bool, **given: Any) -> None:
    r"""Write a first configuration and the key files, from a few questions or the cloud's DOCUMENTs.

    \b
    Example:
      vpnagent init
      vpnagent init describe.json --local-network 10.1.0.0/16
      vpnagent init --local-network 10.1.0.0/16 --remote-network 172.16.0.0/16 --source-address 10.1.0.1 \
          --public-address 198.51.100.10 --tunnel 203.0.113.1 --probe-target 172.16.0.10 --psk-stdin <keys
    On a terminal it asks for what no option tells; elsewhere it names all that is missing. A file that holds
    something else is never replaced. A DOCUMENT is what vpnagent import takes, and is given to it.
    """
    if documents:
        _import(documents, output, given)
        return
    answers = _answers(given, asks=sys.stdin.isatty() and not psk_stdin)
    keys = _keys_from_stdin(answers) if psk_stdin else _keys_asked(answers)
    _write(answers, keys, output)


def _import(documents: Sequence[str], output: str, given: dict[str, Any]) -> None:
    """Have ``import`` do it."""
    from vpnagent.commands.import_ import import_

    if any(given[key] for key in TOLD_BY_DOCUMENTS):
        raise ControlError("with a DOCUMENT only --output, --attachment and networks are of use", USAGE)
    click.get_current_context().invoke(
        import_,
        files=tuple(documents),
        output=output,
        psk_directory=_psk_directory(output),
        present=None,
        force=False,
        attachment=given["attachment"],
        local_networks=tuple(map(str, given["local_networks"])),
        remote_networks=tuple(map(str, given["remote_networks"])),
        active=(),
        connections=(),
    )


def _answers(given: dict[str, Any], *, asks: bool) -> "InitAnswers":
    """Return what was given, and what is asked for where there is somebody to ask. Raises ControlError."""
    pass

    missing = [option for option, (key, _) in QUESTIONS.items() if not given[key]]
    if missing and not asks:
        raise ControlError(f"missing: {' '.join(missing)}", USAGE)
    for option in missing:
        key, ask = QUESTIONS[option]
        given[key] = ask()
    if len(given["remote_addresses"]) > len(TUNNELS):
        raise ControlError("--tunnel: must be given once or twice: more are written into the YAML", USAGE)
    given["connection"] = given["connection"] or "cloud"
    given["attachment"] = given["attachment"] or "vpn-gateway"
    return InitAnswers(**given)


def _ask(text: str, kind: click.ParamType[Any]) -> Ask:
    return lambda: click.prompt(text, type=kind, err=True)


def _ask_several(text: str, kind: click.ParamType[Any], *, first: object = None) -> Ask:
    def several(typed: str) -> tuple[Any, ...]:
        return tuple(kind.convert(word, None, None) for word in typed.replace(",", " ").split())

    return lambda: click.prompt(
        f"{text}, separated by commas",
        value_proc=several,
        err=True,
        default=None if first is None else str(first),
    )


#: option -> what it answers, and how to ask for it
QUESTIONS: dict[str, tuple[str, Ask]] = {
    "--local-network": ("local_networks", _ask_several("Networks of this data centre", Network())),
    "--remote-network": (
        "remote_networks",
        _ask_several("Networks in the cloud: cloud services, the VPC's", Network(), first=CLOUD_SERVICES),
    ),
    "--source-address": ("source_address", _ask("This gateway's address in the data centre", AddressType())),
    "--public-address": ("local_id", _ask("This gateway's public address", AddressType())),
    "--tunnel": (
        "remote_addresses",
        _ask_several("The cloud's addresses of the tunnels, the active one first", AddressType()),
    ),
    "--probe-target": ("probe_targets", _ask_several("Hosts in the VPC that answer ping", AddressType())),
}


def _keys_from_stdin(answers: "InitAnswers") -> list[str]:
    keys = sys.stdin.read().splitlines()
    if len(keys) != len(answers.remote_addresses):
        tunnels = len(answers.remote_addresses)
        raise ControlError(
            f"--psk-stdin: must be {tunnels} lines, one for each tunnel, not {len(keys)}", USAGE
        )
    return keys


def _keys_asked(answers: "InitAnswers") -> list[str]:
    if not sys.stdin.isatty():
        raise ControlError("missing: --psk-stdin", USAGE)
    return [
        click.prompt(f"Pre-shared key of {name} ({address})", hide_input=True, err=True)
        for name, address in answers.tunnels()
    ]


def _write(answers: "InitAnswers", keys: Sequence[str], output: str) -> None:
    """Check everything, then write everything. Raises ConfigError."""
    from vpnagent.config.files import SecretFileError, secret_of
    from vpnagent.config.load import load
    from vpnagent.config.notation import key_notation

    directory = _psk_directory(output)
    files, notes = [], []
    for (name, _), key in zip(answers.tunnels(), keys, strict=True):
        path = os.path.join(directory, name)
        try:
            secret = secret_of(key.encode())
        except SecretFileError as error:
            raise problem(path, str(error)) from error
        files.append(key_file(path, secret.reveal() + b"\n"))
        notes += [
            f"{path}: {finding.code}: {finding.text}: {finding.hint}" for finding in key_notation(secret)
        ]
    text = first_configuration(answers, os.path.basename(directory)).encode()
    load(output, content=text, read_secrets=False)
    files.append(File(output, text, READABLE))
    for file in files:
        file.check(replace=False)
    with own_files.rights_of_owner(directory):
        os.makedirs(directory, mode=0o700, exist_ok=True)
    for file in files:
        file.write(replace=False)
    for note in notes:
        say(f"note: {note}")
    say(f"next: vpnagent check{'' if output == DEFAULT_CONFIG else f' --config {output}'}")


def _psk_directory(output: str) -> str:
    return os.path.join(os.path.dirname(os.path.abspath(output)), "psk")
