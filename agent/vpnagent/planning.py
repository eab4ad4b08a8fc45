"""What the commands do without the daemon: show what would change, and remove everything."""

from collections.abc import Iterable, Mapping

from vpnagent.config.values import Config, TunnelKey
from vpnagent.control import USAGE
from vpnagent.desired import desired
from vpnagent.errors import ControlError, ViciError, ViciUnavailableError
from vpnagent.ipsec import plan as ipsec
from vpnagent.ipsec.charon import Charon
from vpnagent.naming import tunnel_key
from vpnagent.probe.client import ProberClient
from vpnagent.prober_link import socket_beside
from vpnagent.routing.netlink import Kernel
from vpnagent.routing.objects import KernelObjects
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
    want = desired(config, verdicts).kernel
    kernel = Kernel(on_change=lambda: None)
    try:
        state = await kernel.observe(want)
    finally:
        kernel.close()
    actions = plan(want, state, prune=True, manage_sysctls=config.agent.manage_sysctls)
    return [str(action) for action in actions]


async def remove_everything(config: Config) -> list[str]:
    """End the prober, remove what is ours from charon and the kernel; return what could not be, by line."""
    path = socket_beside(config.agent.control_socket)
    await ProberClient(path, start=lambda _replaces: None, on_message=lambda _message: None).quit()
    return [*await _remove_from_charon(config.agent.vici_socket), *await _remove_from_kernel()]


async def _remove_from_charon(socket_path: str) -> list[str]:
    charon = Charon(socket_path, on_event=lambda _event: None)
    refused = []
    try:
        await charon.connect()
        state = await charon.observe()
        nothing = ipsec.Traffic()
        actions = ipsec.plan({}, state, ipsec.Loaded(), digest=lambda _: "", traffic=nothing, prune=True)
        for action in actions:
            try:
                await charon.apply(action)
            except ViciUnavailableError:
                raise
            except ViciError as error:
                refused.append(str(error))
    except ViciUnavailableError as error:
        refused.append(f"{error}: what charon has of ours stays loaded")
    finally:
        charon.close()
    return refused


async def _remove_from_kernel() -> list[str]:
    nothing = KernelObjects()
    kernel = Kernel(on_change=lambda: None)
    try:
        await kernel.open()
        actions = plan(nothing, await kernel.observe(nothing), prune=True, manage_sysctls=False)
        return [str(error) for _, error in await kernel.apply_all(actions)]
    finally:
        kernel.close()
