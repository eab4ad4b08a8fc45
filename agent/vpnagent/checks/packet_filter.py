"""Have nft and iptables-save tell their rules. A shell: runs programs that only read."""

import json
import shutil
from pathlib import Path
from typing import Final

from vpnagent import program
from vpnagent.checks import iptables_text, nft_json
from vpnagent.checks.firewall import Chain, Ruleset
from vpnagent.checks.readings import NET, UnreadableError

MAX_BYTES: Final = 32 << 20  #: of output: some 100,000 rules
DEADLINE: Final = 8.0  #: seconds for one program
#: Reading the legacy tables would load their modules, so only those are read that are there already.
LEGACY_TABLES: Final = NET / "ip_tables_names"
#: What reading the output of another version, in another shape, raises.
UNREADABLE: Final = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
PATH: Final = "/usr/sbin:/sbin:/usr/bin:/bin"  #: a plain user's own path lacks sbin


async def firewall() -> Ruleset:
    """Return all rules for IPv4. Raises UnreadableError, or PermissionError without CAP_NET_ADMIN."""
    by_nft = await _output("nft", "-j", "list", "ruleset")
    try:
        return await _read(by_nft)
    except UNREADABLE as error:
        raise UnreadableError(f"what nft or iptables-save print is not understood: {error!r}") from error


async def _read(by_nft: str | None) -> Ruleset:
    document = json.loads(by_nft) if by_nft else {}
    unreadable = nft_json.tables_of_iptables(document)
    chains: dict[str, Chain] = {}
    if by_nft is None or unreadable:
        text = await _output("iptables-nft-save") or await _output("iptables-save") or ""
        if by_nft is None and not text:
            raise UnreadableError("neither nft nor iptables-save is installed")
        chains |= iptables_text.chains(text)
        unreadable = iptables_text.tables(text)
    if _has_legacy_tables():
        chains |= iptables_text.chains(await _output("iptables-legacy-save") or "", "ip legacy")
    return Ruleset({**nft_json.ruleset(document, without=unreadable).chains, **chains})


def _has_legacy_tables() -> bool:
    try:
        return bool(LEGACY_TABLES.read_text().strip())
    except OSError:
        return False


async def _output(name: str, *arguments: str) -> str | None:
    """Return what a program prints; None if it is not installed."""
    path = shutil.which(name, path=PATH)
    if path is None:
        return None
    try:
        ended = await program.run((path, *arguments), seconds=DEADLINE)
    except TimeoutError:
        raise UnreadableError(f"{name} took longer than {DEADLINE:g} s") from None
    if ended.status:
        reason = ended.complaint.decode(errors="replace").strip().partition("\n")[0]
        if "not permitted" in reason or "Permission denied" in reason:
            raise PermissionError(1, "Operation not permitted")
        raise UnreadableError(f"{Path(path).name}: {reason}")
    if len(ended.output) > MAX_BYTES:
        raise UnreadableError(f"{name} prints more than {MAX_BYTES >> 20} MiB of rules")
    return ended.output.decode(errors="replace")
