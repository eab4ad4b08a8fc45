"""What was seen, made up: for the tests of the reasoning and of the advice."""

import errno
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from vpnagent.commands.explain.catalogue import Catalogue
from vpnagent.commands.explain.observe import catalogue
from vpnagent.commands.explain.reasoning import (
    ExplainedRoute,
    NoRoute,
    Outcome,
    Seen,
    TargetAnswer,
    TunnelSeen,
)

CATALOGUE: Catalogue = catalogue()

OSS = IPv4Address("100.118.28.5")  #: in Hangzhou
RDS = IPv4Address("172.16.0.10")
PUBLIC = IPv4Address("47.1.2.3")

NO_ROUTE = NoRoute(errno.EHOSTUNREACH, "No route to host")


def make_route(**changes: Any) -> ExplainedRoute:
    """Return the route into the example's primary tunnel, with fields replaced."""
    fields: dict[str, Any] = {
        "interface": "vpn-hz-1",
        "source": IPv4Address("10.1.0.1"),
        "gateway": None,
        "mtu": 1399,
        "local": False,
        "table": 254,
        "prefix": IPv4Network("100.64.0.0/10"),
        "protocol": 86,
    }
    return ExplainedRoute(**fields | changes)


def make_answer(outcome: Outcome = Outcome.ANSWERED, method: str = "TCP 443") -> TargetAnswer:
    answers = outcome in (Outcome.ANSWERED, Outcome.REFUSED)
    return TargetAnswer(outcome=outcome, method=method, rtt=0.01 if answers else None, reason="")


def seen(route: ExplainedRoute | NoRoute | None = None, outcome: Outcome = Outcome.ANSWERED) -> Seen:
    return Seen(route=route or make_route(), answer=make_answer(outcome))


UP = TunnelSeen(state="up", reason="", forwarding=True)
DOWN = TunnelSeen(state="down", reason="path is silent", forwarding=False)
