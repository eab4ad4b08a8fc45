"""What the commands do without the daemon: show what would change, and remove everything."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from vpnagent.config.values import Config, TunnelKey
from vpnagent.control.protocol import USAGE
from vpnagent.daemon.prober import socket_beside
from vpnagent.errors import ControlError, ViciError, ViciUnavailableError
from vpnagent.ipsec import plan as ipsec
from vpnagent.ipsec.charon import Charon
from vpnagent.policy.choice import WORDS, carriers, verdict_of
from vpnagent.policy.desired import desired, pins, with_source_as_hint
from vpnagent.policy.naming import tunnel_key
from vpnagent.policy.selection import Verdict, Verdicts
from vpnagent.policy.walls import walled
from vpnagent.probe.client import ProberClient
from vpnagent.routing.kernel import NetlinkKernel
from vpnagent.routing.objects import KernelObjects
from vpnagent.routing.plan import plan


def assumed(
    config: Config, seen: Mapping[str, Any], words: Iterable[str]
) -> tuple[dict[TunnelKey, Verdict], frozenset[TunnelKey]]:
    """Return a verdict for each tunnel, and those that carry traffic before any of them changes.

    A verdict is the one asked for in ``words``, else the one seen by the daemon, else up. ``seen`` is what
    ``choice.to_plain`` made, or empty without a daemon.
    """
    told = seen.get("tunnels", {})
    verdicts = {
        t.key: verdict_of(told[str(t.key)]) if str(t.key) in told else WORDS["up"] for t in config.tunnels()
    }
    carrying = frozenset(t.key for t in config.tunnels() if str(t.key) in seen.get("carrying", ()))
    carrying = carrying or carriers(config, verdicts)
    for word in words:
        name, _, verdict = word.partition("=")
        if verdict not in WORDS:
            known = ", ".join(f"TUNNEL={known}" for known in WORDS)
            raise ControlError(f"--verdict {word!r}: must be one of {known}", USAGE)
        verdicts[tunnel_key(config, name)] = WORDS[verdict]
    return verdicts, carrying


async def planned(config: Config, verdicts: Verdicts, carrying: Collection[TunnelKey]) -> list[str]:
    """Return the changes to this machine's kernel, one line each. Reading needs no privilege."""
    kernel = NetlinkKernel(on_change=lambda: None)
    try:
        steering = await kernel.steering(pins(config))
        want = desired(config, verdicts, carrying, steering).kernel
        state = await kernel.observe(want)
        ways = await kernel.local_ways(config.local_networks())
    finally:
        kernel.close()
    want = walled(with_source_as_hint(want, state), state.objects, ways)
    actions = plan(want, state, prune=True, manage_sysctls=config.agent.manage_sysctls)
    return [str(action) for action in actions]


async def put_guards(config: Config) -> list[str]:
    """Put the guard routes and the leak guard in place; return what could not be, by line.

    A table of ours that stands is let be: the daemon knows more of the local side. Raises NetlinkError.
    """
    want = desired(config, {}).kernel
    guards = {key: route for key, route in want.routes.items() if route.group is None}
    return await _reconcile(KernelObjects(routes=guards, filter_table=want.filter_table), prune=False)


async def remove_everything(control_socket: str, vici_socket: str) -> list[str]:
    """End the prober, remove what is ours from charon and the kernel; return what could not be, by line.

    What is ours is told by its marks, not by a configuration. Raises NetlinkError.
    """
    path = socket_beside(control_socket)
    await ProberClient(path, start=lambda _replaces: None, on_message=lambda _message: None).quit()
    return [*await _remove_from_charon(vici_socket), *await _reconcile(KernelObjects(), prune=True)]


async def _remove_from_charon(socket_path: str) -> list[str]:
    charon = Charon(socket_path, on_event=lambda _event: None)
    refused = []
    try:
        await charon.connect()
        state = await charon.observe()
        nothing = ipsec.CarriedTraffic()
        actions = ipsec.plan(
            {}, state, ipsec.LoadedConnections(), digest=lambda _: "", traffic=nothing, prune=True
        )
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


async def _reconcile(want: KernelObjects, *, prune: bool) -> list[str]:
    kernel = NetlinkKernel(on_change=lambda: None)
    try:
        await kernel.open()
        state = await kernel.observe(want)
        if not prune and state.objects.filter_table:
            want = replace(want, filter_table=None)
        actions = plan(want, state, prune=prune, manage_sysctls=False)
        return [str(error) for _, error in await kernel.apply_all(actions)]
    finally:
        kernel.close()
