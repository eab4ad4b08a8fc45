"""A gateway in a network namespace, as a tidy machine: an uplink, a LAN, and a provider behind the uplink."""

import asyncio
import contextlib
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from lab.namespace import Namespace, namespace
from tests.config_examples import make_config

from vpnagent.checks.judge import judge
from vpnagent.checks.observe import observe
from vpnagent.config.values import Config
from vpnagent.finding import Finding

UPLINK = "192.0.2.2"
#: what is said of the machine that the namespaces are on, whatever is in them
OF_THE_HOST = {"NotLookedAt", "ClockNotSynchronised", "NoHardwareAes", "ModuleMissing", "KernelTrap"}


@dataclass(frozen=True)
class Machine:
    """The gateway's namespace and the provider's."""

    gateway: Namespace
    provider: Namespace
    folder: pathlib.Path
    config: Config = field(default_factory=make_config)

    def findings(self, config: Config | None = None, *, thorough: bool = False) -> list[Finding]:
        """Return what check finds here."""
        config = config or self.config
        path = str(self.folder / "vpnagent.yaml")
        with self.gateway.entered():
            seen = asyncio.run(observe(config, path, thorough=thorough))
        return [f for f in judge(config, seen) if f.code not in OF_THE_HOST]

    def codes(self) -> set[str]:
        """Return the codes of what check finds."""
        return {finding.code for finding in self.findings()}

    def only(self, code: str) -> Finding:
        """Return the one finding, which has this code."""
        found = self.findings()
        assert [finding.code for finding in found] == [code]
        return found[0]


@contextlib.contextmanager
def machine(folder: pathlib.Path) -> Iterator[Machine]:
    """Make a machine on which check has nothing to say."""
    with namespace("check-gw") as gateway, namespace("check-isp") as provider:
        gateway.ip(f"link add eth0 type veth peer name isp netns {provider.name}")
        gateway.ip("link add lan type veth peer name host")
        for link, address in (("eth0", f"{UPLINK}/24"), ("lan", "10.1.0.1/16"), ("host", None)):
            if address:
                gateway.ip(f"address add {address} dev {link}")
            gateway.ip(f"link set {link} up")
        provider.ip("address add 192.0.2.1/24 dev isp")
        provider.ip("link set isp up")
        gateway.ip("route add default via 192.0.2.1")
        yield Machine(gateway, provider, folder)
