"""``vpnagent init``: a first configuration and its key files, from answers or the cloud's documents."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any

import click

from vpnagent import own_files
from vpnagent.commands.interview import Interview, address_within, addresses, likely_local
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
    from vpnagent.commands.import_.yaml_text import Rendered


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
    something else is never replaced. A DOCUMENT is what vpnagent import takes; on a terminal you are asked
    for what it does not tell. If you stop in between, OUTPUT.answers has your answers, and the same command
    goes on.
    """
    if documents:
        _import(documents, output, given)
        return
    interview = Interview(f"{output}.answers") if sys.stdin.isatty() and not psk_stdin else None
    try:
        answers = _answers(given, interview)
        keys = _keys_from_stdin(answers) if psk_stdin else _keys_asked(answers)
    except click.Abort:
        if interview is not None:
            interview.interrupted()
        raise
    _write(answers, keys, output)
    if interview is not None:
        interview.finished()


def _import(documents: Sequence[str], output: str, given: dict[str, Any]) -> None:
    """Make the file of the cloud's documents; on a terminal, ask for what they do not tell."""
    from vpnagent.commands.import_ import ImportOptions, directory_in_yaml, place, read_documents
    from vpnagent.commands.import_.assemble import Answers
    from vpnagent.commands.import_.imported import assembly_of, yaml_of

    if any(given[key] for key in TOLD_BY_DOCUMENTS):
        raise ControlError("with a DOCUMENT only --output, --attachment and networks are of use", USAGE)
    options = ImportOptions(
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
    answers = Answers(
        attachment=options.attachment,
        local_networks=options.local_networks,
        remote_networks=options.remote_networks,
    )
    content = read_documents(documents)
    assembly = assembly_of(content, answers)
    result = yaml_of(assembly, content, directory_in_yaml(options))
    if not sys.stdin.isatty():
        place(result, assembly, options)
        return
    interview = Interview(f"{output}.answers")
    try:
        result = _completed(result, interview)
    except click.Abort:
        interview.interrupted()
    place(result, assembly, options)
    interview.finished()
    _say_next(output)


def _completed(result: "Rendered", interview: Interview) -> "Rendered":
    """Return the text with every question answered that needs an answer."""
    from vpnagent.commands.import_.imported import (
        answered,
        example_of,
        objection,
        questions,
        with_source,
    )
    from vpnagent.config.draft import draft
    from vpnagent.config.wording import KeyPath, key_path
    from vpnagent.config.yaml_positions import read
    from vpnagent.record import replace

    machine = addresses()
    for name, one in machine:
        say(f"This machine: {name} has {one}")
    say("Enter takes what is in brackets.")
    answers: dict[KeyPath, str] = {}
    for path, question in questions(result).items():

        def checked(typed: str, path: KeyPath = path) -> str:
            if problem_found := objection(result, {**answers, path: typed}, path):
                raise click.UsageError(problem_found)
            return typed

        example = example_of(question)
        default = likely_local(machine) if question.key == "gateway" else None
        say(f"\n{key_path(path)}: {question.text}\n  For example: {example}")
        answers[path] = interview.ask(key_path(path), "Answer", checked, default or example)
    said = tuple(row for row in result.said if row[1] not in answers)
    done = replace(result, text=answered(result, answers), said=said)
    networks = draft(read(done.text.encode())).file.gateway.local_networks
    source = address_within(machine, networks)
    return with_source(done, source) if source else done


def _answers(given: dict[str, Any], interview: Interview | None) -> "InitAnswers":
    """Return what was given, and what is asked for where there is somebody to ask. Raises ControlError."""
    missing = [option for option, (key, _, _) in QUESTIONS.items() if not given[key]]
    for option in missing:
        if interview is None:
            raise ControlError(f"missing: {' '.join(missing)}", USAGE)
        given[QUESTIONS[option][0]] = _asked(given, option, interview)
    if len(given["remote_addresses"]) > len(TUNNELS):
        raise ControlError("--tunnel: must be given once or twice: more are written into the YAML", USAGE)
    given["connection"] = given["connection"] or "cloud"
    given["attachment"] = given["attachment"] or "vpn-gateway"
    return InitAnswers(**given)


def _one(kind: click.ParamType[Any]) -> Callable[[str], Any]:
    return lambda typed: kind.convert(typed, None, None)


def _several(kind: click.ParamType[Any]) -> Callable[[str], tuple[Any, ...]]:
    def several(typed: str) -> tuple[Any, ...]:
        found = tuple(kind.convert(word, None, None) for word in typed.replace(",", " ").split())
        if not found:
            raise click.UsageError("an answer is needed")
        return found

    return several


#: option -> what it answers, the question with an example, and how an answer is read; in the order of asking
QUESTIONS: dict[str, tuple[str, str, Callable[[str], Any]]] = {
    "--local-network": (
        "local_networks",
        "Networks of this data centre, separated by commas, such as 10.1.0.0/16",
        _several(Network()),
    ),
    "--remote-network": (
        "remote_networks",
        "Networks of the VPC, separated by commas, such as 172.16.0.0/16",
        _several(Network()),
    ),
    "--source-address": (
        "source_address",
        "This gateway's address in the data centre, such as 10.1.0.1",
        _one(AddressType()),
    ),
    "--public-address": (
        "local_id",
        "This gateway's public address, as the cloud's customer gateway has it, such as 198.51.100.10",
        _one(AddressType()),
    ),
    "--tunnel": (
        "remote_addresses",
        "The cloud's addresses of the tunnels, the active one first, such as 203.0.113.1, 203.0.113.2",
        _several(AddressType()),
    ),
    "--probe-target": (
        "probe_targets",
        "Hosts in the VPC that answer ping, separated by commas, such as 172.16.0.10",
        _several(AddressType()),
    ),
}


def _asked(given: dict[str, Any], option: str, interview: Interview) -> Any:
    """Return the answer to a question, asked until it can be used beside those before."""
    key, question, read = QUESTIONS[option]
    machine = addresses()
    default = None
    if key == "local_networks":
        default = likely_local(machine)
    elif key == "source_address":
        default = address_within(machine, given["local_networks"])

    def checked(typed: str) -> Any:
        answer = read(typed)
        outside = [one for one in answer if not _is_within(one, given)] if key == "probe_targets" else ()
        if outside:
            raise click.UsageError(f"{outside[0]} is in none of the networks behind the cloud's end")
        if key == "remote_addresses" and len(answer) > len(TUNNELS):
            raise click.UsageError("one or two addresses: a connection has no more tunnels")
        return answer

    answer = interview.ask(key, question, checked, default)
    if key == "remote_networks" and CLOUD_SERVICES not in answer:
        services = interview.ask(
            "cloud_services",
            f"Cloud services ({CLOUD_SERVICES}) by the tunnels, too: yes or no",
            _yes,
            "yes",
        )
        answer = (CLOUD_SERVICES, *answer) if services else answer
    return answer


def _is_within(address: IPv4Address, given: dict[str, Any]) -> bool:
    return any(address in network for network in given["remote_networks"])


def _yes(typed: str) -> bool:
    words = {"yes": True, "y": True, "no": False, "n": False}
    if typed.lower() not in words:
        raise click.UsageError("yes or no")
    return words[typed.lower()]


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
        click.prompt(
            f"Pre-shared key of {name} ({address})", hide_input=True, err=True, value_proc=_usable_key
        )
        for name, address in answers.tunnels()
    ]


def _usable_key(typed: str) -> str:
    """Return a key. Raises click.UsageError for one that charon would not take."""
    from vpnagent.config.files import SecretFileError, secret_of

    try:
        secret_of(typed.encode())
    except SecretFileError as error:
        raise click.UsageError(str(error)) from error
    return typed


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
    _say_next(output)


def _say_next(output: str) -> None:
    say(f"next: vpnagent check{'' if output == DEFAULT_CONFIG else f' --config {output}'}")


def _psk_directory(output: str) -> str:
    return os.path.join(os.path.dirname(os.path.abspath(output)), "psk")
