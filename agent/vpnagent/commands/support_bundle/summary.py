"""What is in a bundle, and by which programs it is had. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from vpnagent.commands.status.canvas import Canvas, plain
from vpnagent.commands.status.overview import overview
from vpnagent.commands.support_bundle.known_secrets import Part


class Program(NamedTuple):
    """A program whose output is a file of the bundle. None of them changes anything."""

    name: str  #: of the file
    about: str
    command: tuple[str, ...]
    keep_end: bool = False  #: of too much, rather the end
    fine: tuple[int, ...] = (0,)  #: exit statuses
    heeded: bool = False  #: what it says on standard error counts even so


class BundleQuestion(NamedTuple):
    """A VICI command whose answer is a file of the bundle."""

    name: str
    about: str
    command: str
    streamed: str = ""  #: the event that it answers by


UNITS: Final = ("vpnagent", "vpnagent-prober", "vpnagent-guard", "vpnagent-drill", "strongswan")
#: Never Environment= or ExecStart=, which may hold what was put there by mistake, nor SetCredential=.
PROPERTIES: Final = (
    "Id,LoadState,ActiveState,SubState,Result,StateChangeTimestamp,MainPID,NRestarts,ExecMainStartTimestamp,"
    "ExecMainCode,ExecMainStatus,MemoryCurrent,WatchdogTimestamp,UnitFileState,FragmentPath,DropInPaths"
)
PACKAGES: Final = (
    *("vpnagent", "*strongswan*", "*charon*", "iproute2", "nftables", "iptables", "systemd", "libc6"),
    *(
        "openssl",
        "libssl3*",
        "python3",
        "frr",
        "bird*",
        "keepalived",
        "network-manager",
        "ifupdown*",
        "netplan.io",
    ),
)
FORMAT: Final = "${db:Status-Abbrev} ${Package} ${Version} ${Architecture}\\n"
JOURNAL_LINES: Final = 5000
JOURNAL_SINCE: Final = "-2d"


def _journal(name: str, about: str, *units: str) -> Program:
    chosen = (f"--unit={unit}.service" for unit in units)
    bounds = (f"--lines={JOURNAL_LINES}", f"--since={JOURNAL_SINCE}", "--utc")
    command = ("journalctl", "--no-pager", "--output=short-iso-precise", *bounds, *chosen)
    return Program(name, about, command, keep_end=True, heeded=True)


def _ip(*arguments: str) -> tuple[str, ...]:
    return ("ip", "-json", "-pretty", *arguments)


STATUS: Final = "status.json"
EVENTS: Final = "events.jsonl"
FINDINGS: Final = "findings.json"
VERSIONS: Final = "versions.json"
CONFIGURATION: Final = "configuration.yaml"
STANDING: Final = "standing.yaml"
SERVICES: Final = "services.txt"
SYSCTLS: Final = "kernel/sysctl.txt"
XFRM_STAT: Final = "kernel/xfrm_stat.txt"

READINGS: Final = {
    STATUS: "what `vpnagent status --json` says",
    EVENTS: "what `vpnagent events --json` says; without the daemon, what it left on disk",
    VERSIONS: "vpnagent, Python and its packages, kernel, distribution",
    CONFIGURATION: "the configuration, line by line; comments and whatever could be a secret are gone",
    STANDING: "the configuration that a start falls back to, likewise",
    SYSCTLS: "settings of the kernel that matter to tunnels",
    XFRM_STAT: "what IPsec in the kernel dropped, by cause: /proc/net/xfrm_stat",
}
PROGRAMS: Final = (
    Program(
        SERVICES,
        "state, restarts and last exit of the services",
        ("systemctl", "show", f"--property={PROPERTIES}", *(f"{unit}.service" for unit in UNITS)),
    ),
    Program(
        "packages.txt",
        "Debian packages that take part",
        ("dpkg-query", "--show", f"--showformat={FORMAT}", *PACKAGES),
        fine=(0, 1),
    ),
    Program(
        "kernel/links.json",
        "interfaces with counters, XFRM interfaces with their if_id",
        _ip("-details", "-stats", "link", "show"),
    ),
    Program("kernel/addresses.json", "addresses", _ip("address", "show")),
    Program("kernel/rules.json", "`ip rule`", _ip("-details", "rule", "show")),
    Program(
        "kernel/routes.json",
        "IPv4 routes of all tables",
        _ip("-4", "-details", "route", "show", "table", "all"),
    ),
    Program("kernel/nexthops.json", "nexthop objects and groups", _ip("-details", "nexthop", "show")),
    Program("kernel/neighbours.json", "IPv4 neighbours", _ip("-4", "neigh", "show")),
    Program(
        "kernel/xfrm_state.txt",
        "SAs in the kernel, without their keys",
        ("ip", "-stats", "xfrm", "state", "list", "nokeys"),
    ),
    Program("kernel/xfrm_policy.txt", "IPsec policies", ("ip", "-stats", "xfrm", "policy", "list")),
    Program("kernel/nft.txt", "the packet filter", ("nft", "list", "ruleset")),
    _journal("journal/vpnagent.txt", "journal of daemon, guard and drill", UNITS[0], *UNITS[2:4]),
    _journal("journal/prober.txt", "journal of the prober", UNITS[1]),
    _journal("journal/strongswan.txt", "journal of charon", UNITS[4], "strongswan-starter"),
)
QUESTIONS: Final = (
    BundleQuestion("charon/version.json", "charon's version", "version"),
    BundleQuestion("charon/stats.json", "uptime, memory, workers, loaded plugins", "stats"),
    BundleQuestion("charon/algorithms.json", "algorithms, and the plugin of each", "get-algorithms"),
    BundleQuestion("charon/connections.json", "loaded connections, others' too", "list-conns", "list-conn"),
    BundleQuestion(
        "charon/certificates.json",
        "certificates: kind, fingerprint, end of validity",
        "list-certs",
        "list-cert",
    ),
    # The last: it waits for an SA that is in use, and what is asked after it waits too.
    BundleQuestion("charon/sas.json", "IKE_SAs and CHILD_SAs", "list-sas", "list-sa"),
)

#: Every file of a bundle but its first page, and what it is about.
ABOUT: Final = {
    **READINGS,
    FINDINGS: "what `vpnagent check --json` finds",
    **{source.name: source.about for source in (*PROGRAMS, *QUESTIONS)},
}


# The first page of a bundle: what is wrong, since when, which versions, what is in the other files. Pure.

RECENT: Final = 20  #: events
SERVICE: Final = ("ActiveState", "SubState", "Result", "StateChangeTimestamp", "NRestarts", "ExecMainStatus")

Parts = Mapping[str, Part]


def summary(parts: Parts, *, gateway: str, at: float, searched: str) -> str:
    """Return the page as Markdown. ``searched`` tells of the search for secrets."""
    now = datetime.fromtimestamp(at, UTC)
    sections = (
        [f"# vpnagent support bundle: {gateway}, {now:%Y-%m-%d %H:%M:%S} UTC"],
        _section("What is wrong, and since when", _wrong(parts, now)),
        _section("Findings of `vpnagent check`", _findings(parts)),
        _section(f"The last {RECENT} events", _events(parts)),
        _section("Services", _services(parts)),
        _section("Versions", _versions(parts)),
        _section("In this archive", _contents(parts)),
        _section("Not in this archive", missing(parts.values())),
        _section("Secrets", [searched]),
    )
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def missing(parts: Iterable[Part]) -> list[str]:
    """Return a line for each thing that could not be had, or was left out."""
    names: dict[str, list[str]] = {}
    for part in parts:
        if not part.is_whole:
            names.setdefault(_why(part), []).append(part.name)
    return [f"- {', '.join(same)}: {why}" for why, same in names.items()]


def _why(part: Part) -> str:
    held = f"lines or values that held a secret are left out ({', '.join(part.held)})" if part.held else ""
    return "; ".join(filter(None, (part.why, held)))


def _section(title: str, lines: Iterable[str]) -> list[str]:
    return [f"## {title}", "", *(list(lines) or ["Nothing."])]


def _content(parts: Parts, name: str, kind: type) -> Any:
    """Return the content of a part, as far as it is what it should be; else an empty one."""
    content = parts[name].content if name in parts else None
    return content if isinstance(content, kind) else kind()


def _wrong(parts: Parts, now: datetime) -> Iterator[str]:
    status = _content(parts, STATUS, dict)
    if not status:
        why = parts[STATUS].why if STATUS in parts else ""
        yield f"The daemon told no status: {why or 'not asked'}"
        return
    yield "```"
    try:
        yield from [plain(line).rstrip() for line in overview(status, now, Canvas())]
    except (LookupError, TypeError, AttributeError, ValueError):  # of another version
        yield f"{status.get('state')}: the rest is in {STATUS}"
    yield "```"


def _findings(parts: Parts) -> Iterator[str]:
    found = _content(parts, FINDINGS, dict).get("findings", ())
    for finding in found if isinstance(found, list) else ():
        if isinstance(finding, dict):
            about = f" ({finding['subject']})" if finding.get("subject") else ""
            yield f"- {finding.get('severity')}: {finding.get('code')}{about}: {finding.get('text')}"
    if FINDINGS in parts and (why := parts[FINDINGS].why):
        yield why


def _events(parts: Parts) -> Iterator[str]:
    for event in _content(parts, EVENTS, list)[-RECENT:]:
        if isinstance(event, dict):
            yield f"- {event.get('at')} {event.get('severity')} {event.get('type')}: {event.get('text')}"


def _services(parts: Parts) -> Iterator[str]:
    for block in _content(parts, SERVICES, str).split("\n\n"):
        told = dict(line.partition("=")[::2] for line in block.splitlines())
        if told.get("LoadState") == "loaded":
            shown = ", ".join(f"{name} {told[name]}" for name in SERVICE if told.get(name))
            yield f"- {told.get('Id')}: {shown}"


def _versions(parts: Parts) -> Iterator[str]:
    for name, version in _content(parts, VERSIONS, dict).items():
        if isinstance(version, str):
            yield f"- {name}: {version}"
    charon = _content(parts, "charon/version.json", dict)
    if charon:
        yield f"- charon: {charon.get('version')} ({charon.get('daemon')})"


def _contents(parts: Parts) -> Iterator[str]:
    yield from ("| file | KiB | |", "|---|---|---|")
    for name, part in sorted(parts.items()):
        if part.content is not None:
            size = -(-len(part.text.encode(errors="replace")) // 1024)
            yield f"| {name} | {size} | {ABOUT.get(name, '')} |"
