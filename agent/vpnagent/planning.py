"""What the commands do without the daemon: show what would change, and remove everything."""

from collections.abc import Iterable, Mapping

from vpnagent.config.values import Config, TunnelKey
from vpnagent.control import USAGE
from vpnagent.desired import desired
from vpnagent.errors import ControlError
from vpnagent.naming import tunnel_key
from vpnagent.routing.netlink import Kernel
from vpnagent.routing.plan import plan
from vpnagent.selection import Verdict

WORDS = {
    "up": Verdict(child_sa_installed=True),
    "down": Verdict(child_sa_installed=False),
    "drained": Verdict(child_sa_installed=True, drained=True),
}


def verdicts_of(config: Config, seen: Mapping[str, bool], words: Iterable[str]) -> dict[TunnelKey, Verdict]:
    """Return a verdict for each tunnel: the one asked for, else the one seen, else up."""
    verdicts = {t.key: Verdict(child_sa_installed=seen.get(str(t.key), True)) for t in config.tunnels()}
    for word in words:
        name, _, verdict = word.partition("=")
        if verdict not in WORDS:
            raise ControlError(f"--verdict {word!r}: must be TUNNEL=up, TUNNEL=down or TUNNEL=drained", USAGE)
        verdicts[tunnel_key(config, name)] = WORDS[verdict]
    return verdicts


async def planned(config: Config, verdicts: Mapping[TunnelKey, Verdict]) -> list[str]:
    """Return the changes to this machine's kernel, one line each. Reading needs no privilege."""
    kernel = Kernel(on_change=lambda: None)
    await kernel.open()
    try:
        state = await kernel.observe()
    finally:
        kernel.close()
    want = desired(config, verdicts).kernel
    actions = plan(want, state, prune=True, manage_sysctls=config.agent.manage_sysctls)
    return [str(action) for action in actions]
