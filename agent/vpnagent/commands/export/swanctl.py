"""Our half of a configuration as swanctl.conf. Pure.

Rendered from the very messages that charon is sent (`ipsec.messages`), so that it cannot drift from them.
Sections, lists and strings: strongSwan src/swanctl/swanctl.opt, src/libstrongswan/settings/settings_lexer.l.
"""

import re
from collections.abc import Iterator, Mapping

from vpnagent.config.values import CertificateFiles, Config
from vpnagent.ipsec import messages
from vpnagent.ipsec.actions import CharonConnection, Credentials
from vpnagent.policy.desired import desired, ipsec_connections
from vpnagent.policy.selection import Verdict
from vpnagent.routing.objects import KernelObjects, KernelState
from vpnagent.routing.plan import plan
from vpnagent.secret import Secret

INDENT = "  "
_PLAIN = re.compile(r"[A-Za-z0-9%./:_-]+")

HEADER = """\
# What vpnagent loads into charon for {gateway}, by `vpnagent export swanctl`.
#
# Put in the pre-shared keys: without its secret a section is ignored. vpnagent initiates; to do without it,
# have start_action = start, close_action = start and dpd_action = restart in every child. charon makes no
# interfaces and no routes where there is an if_id. vpnagent makes these, with all tunnels up:
"""


def swanctl(config: Config) -> str:
    """Return the text of the file; a comment stands where each pre-shared key is to be."""
    connections = ipsec_connections(config).values()
    body = {
        "connections": {name: section for c in connections for name, section in _connection(c).items()},
        "secrets": {f"ike-{c.name}": _secret(c) for c in connections if c.certificates is None},
    }
    lines = [*_commands(config), *_private_keys(config), "", *_section(body, "")]
    return HEADER.format(gateway=config.gateway.name) + "\n".join(lines) + "\n"


def _connection(connection: CharonConnection) -> Mapping[str, object]:
    files = connection.certificates
    return messages.load_conn(connection, _file_names(files) if files else None)


def _file_names(files: CertificateFiles) -> Credentials:
    """Return credentials that are names: swanctl reads the files, where VICI takes what is in them."""
    return Credentials(certificate=files.certificate.encode(), private_key=Secret(b""), ca=files.ca.encode())


def _secret(connection: CharonConnection) -> Mapping[str, object]:
    """Return the section of a pre-shared key: owned by the cloud's identity alone, as in ``load_shared``.

    Its place is a comment. A placeholder would be a key, which everybody who knows vpnagent knows.
    """
    return {"id-cloud": connection.remote_id, "# secret": f"the pre-shared key of {connection.key}"}


def _commands(config: Config) -> Iterator[str]:
    """Yield, as comments, what is made in an empty kernel."""
    empty = KernelState(
        objects=KernelObjects(), foreign_links=frozenset(), foreign_routes=frozenset(), counters={}
    )
    up = {t.key: Verdict(child_sa_installed=True) for t in config.tunnels()}
    want = desired(config, up).kernel
    for action in plan(want, empty, prune=False, manage_sysctls=False):
        yield f"#   {action}"
    for t in config.tunnels():
        if t.uplink:
            yield f"# Give {t.remote_address} a host route by {t.uplink}, whose gateway is the provider's."


def _private_keys(config: Config) -> Iterator[str]:
    """Yield where swanctl wants the private keys, which no section can name."""
    names = {t.certificates.private_key: None for t in config.tunnels() if t.certificates}
    yield from (f"# Copy {name} into /etc/swanctl/private/." for name in names)


def section_name(name: str) -> str:
    """Return a name of ours as swanctl.conf can have it: a dot would begin another section."""
    return name.replace(".", "/")


def _section(section: Mapping[str, object], indent: str) -> Iterator[str]:
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield f"{indent}{section_name(key)} {{"
            yield from _section(value, indent + INDENT)
            yield f"{indent}}}"
        else:
            yield f"{indent}{key} = {_value(value)}"


def _value(value: object) -> str:
    """Return a value; of a list the items, separated by commas."""
    items = [item.decode() if isinstance(item, bytes) else str(item) for item in _items(value)]
    text = ", ".join(items)
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]
