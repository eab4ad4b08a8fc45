"""What follows from facts and answers: is each network carried, and if not, which link is broken? Pure.

The links are judged in the order of the chain, and the first broken one is told: what comes after it is its
consequence. A chain that is whole is carried; a fact that is not known breaks nothing.
"""

import errno
import os
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from vpnagent.config.rules import IKEV1
from vpnagent.config.values import TrafficSelectors, Tunnel
from vpnagent.netlink.rtnetlink import MAIN_TABLE
from vpnagent.routing.ways import PLAIN, Flow
from vpnagent.witness import values
from vpnagent.witness.questions import Survey, backward, deciding
from vpnagent.witness.values import Answer, Link, NetworkVerdict, Pair, Question

GUARDED: Final = (
    errno.EHOSTUNREACH
)  #: what an unreachable route answers, and an interface that does not forward
FILTERED: Final = errno.EXDEV  #: what reverse-path filtering answers
FORWARDING: Final = "net.ipv4.conf.{}.forwarding"


class Court(Survey):
    """One look: the facts, the answers of both batches, and what they say of each pair."""

    def is_meant(self, answer: Answer, remote: IPv4Network) -> bool:
        """Whether a packet for a remote network goes into a tunnel of ours, or by an allowed exit."""
        return not answer.errno and answer.interface in self.ours | self.exits.get(remote, frozenset())

    def flow(self, pair: Pair) -> Flow:
        """Return how the packets of a pair are routed: plain, unless the filter surely marks them."""
        filtered = self.facts.filtering.get((pair.local, pair.remote))
        mark = filtered.marking.sure if filtered else None
        return Flow(mark=mark) if mark else PLAIN

    def verdict(self, pair: Pair) -> NetworkVerdict:
        """Return whether a pair is carried."""
        if by := self.by_exit(pair):
            # How answers come back by a line, and what else becomes of its packets, is not ours.
            broken = self._lan(pair, []) or self._forwarding(pair, [], by)
            return broken or NetworkVerdict(pair, by=by)
        tunnels = self.judged_tunnels(pair.remote)
        if not tunnels:
            names = (
                "no tunnel carries its traffic" if self.facts.selected is not None else "no tunnel is there"
            )
            return NetworkVerdict(pair, Link.TUNNEL, names)
        if pair.remote in self.facts.missing:
            hint = "another finding says why; ip route show root " + str(pair.remote)
            return NetworkVerdict(pair, Link.ROUTE, f"no route of ours leads to {pair.remote}", hint)
        for judge in (
            self._lan,
            self._forwarding,
            self._filter,
            self._way_out,
            self._way_back,
            self._selectors,
        ):
            if broken := judge(pair, tunnels):
                return broken
        return NetworkVerdict(pair)

    def by_exit(self, pair: Pair) -> str:
        """Return the exit by which all packets of a pair leave; empty: a tunnel's, or nowhere."""
        asked = self.ways_out(pair, self.flow(pair)) if self.exits.get(pair.remote) else []
        ways = {(answer.errno, answer.interface) for answer in map(self.answer, asked)}
        [(code, name), *others] = ways or {(0, "")}
        return name if not code and not others and name in self.exits.get(pair.remote, ()) else ""

    def _lan(self, pair: Pair, _tunnels: list[Tunnel]) -> NetworkVerdict | None:
        hosts = self.local_hosts(pair.local)
        if self.side(pair.local) is not None or not hosts:
            return None
        return NetworkVerdict(pair, Link.SOURCE_NETWORK, self.no_lan(hosts[0]), NO_LAN)

    def no_lan(self, host: IPv4Address) -> str:
        """Return why a host of a local network is not reached."""
        taken = self.answer(Question(host))
        rule = deciding(self.facts.rules, Question(host), taken)
        cause = f": ip rule {rule} comes first" if rule else ""
        if taken.errno:
            return f"{host} is not reached: {_words(taken.errno)}{cause}"
        if taken.interface in self.ours:
            return f"{host} is sought in the tunnel {taken.interface}{cause}"
        return f"only a default route leads to {host}, by {taken.interface}{cause}"

    def _forwarding(self, pair: Pair, tunnels: list[Tunnel], *more: str) -> NetworkVerdict | None:
        side = self.side(pair.local)
        if side is None:
            return None
        for name in (self.answer(side).interface, *(tunnel.interface for tunnel in tunnels), *more):
            if self.facts.forwarding.get(name, True):
                continue
            key = FORWARDING.format(name.replace(".", "/"))
            return NetworkVerdict(pair, Link.FORWARDING, f"{key} is 0", f"sysctl -w {key}=1")
        return None

    def _filter(self, pair: Pair, _tunnels: list[Tunnel]) -> NetworkVerdict | None:
        filtered = self.facts.filtering.get((pair.local, pair.remote))
        if filtered is None or not filtered.dropped:
            return None
        hint = "accept forwarding from and to the tunnels' interfaces before that"
        return NetworkVerdict(
            pair, Link.PACKET_FILTER, f"its packets are dropped by {filtered.dropped}", hint
        )

    def _way_out(self, pair: Pair, _tunnels: list[Tunnel]) -> NetworkVerdict | None:
        asked = self.ways_out(pair, self.flow(pair))
        answers = [self.answer(question) for question in asked]
        if not asked or any(self.is_meant(answer, pair.remote) for answer in answers):
            return None
        if self.facts.selected is None and {answer.errno for answer in answers} == {GUARDED}:
            return NetworkVerdict(pair, Link.TUNNEL, "no tunnel carries its traffic")
        return NetworkVerdict(pair, Link.WAY_OUT, *self.astray(asked[0], answers[0]))

    def ways_out(self, pair: Pair, flow: Flow = PLAIN, *, own: bool = False) -> list[Question]:
        """Return the questions about the hosts' packets; ``own``: about this machine's."""
        outward = self.outward(pair.local)
        found = [q for q in outward if bool(q.incoming) is not own] or ([] if own else outward[:1])
        targets = self.remote_hosts(pair.remote)
        targets = targets[:1] if flow != PLAIN else targets
        return [q._replace(destination=target, flow=flow) for q in found for target in targets]

    def astray(self, question: Question, answer: Answer) -> tuple[str, str]:
        """Return where a packet goes instead, and what to do."""
        source = str(question.source or "this machine")
        what = f"a packet from {source}" + (f" ({question.flow})" if question.flow != PLAIN else "")
        rule = deciding(self.facts.rules, question, answer)
        if rule is not None:
            cause, hint = (
                f"ip rule {rule}",
                f"ip rule add to NETWORK priority {max(rule.priority - 1, 1)} lookup ",
            )
            hint = (
                hint.replace("NETWORK", str(question.destination))
                + "main, for the whole network; or remove it"
            )
        else:
            table = "the main table" if answer.table == MAIN_TABLE else f"table {answer.table}"
            cause = f"a route of {table}"
            incoming = f" iif {question.incoming}" if question.incoming else ""
            origin = f" from {question.source}" if question.source else ""
            hint = f"see which: ip route get {question.destination}{origin}{incoming}; ip rule"
        if answer.errno:
            because = f" by {cause}" if rule is not None else ""
            return f"{what} goes nowhere: {_words(answer.errno)}{because}", hint
        return f"{what} leaves by {answer.interface or 'no single interface'}: {cause} comes first", hint

    def _way_back(self, pair: Pair, tunnels: list[Tunnel]) -> NetworkVerdict | None:
        side = self.side(pair.local)
        if side is None:
            return None
        lan = self.answer(side).interface
        target = self.remote_hosts(pair.remote)[0]
        for tunnel in tunnels:
            answer, entry = map(self.answer, backward(tunnel, target, side))
            if not answer.errno and (answer.interface == lan or self._beside_the_lan(answer, entry)):
                continue
            what = f"an answer of {target} from {tunnel.interface} to {side.destination}"
            if answer.errno == FILTERED:
                reason, hint = f"{what} is dropped by reverse-path filtering", LOOSE
            elif answer.errno:
                reason, hint = f"{what} goes nowhere: {_words(answer.errno)}", NO_LAN
            else:
                reason, hint = f"{what} leaves by {answer.interface}", NO_LAN
            return NetworkVerdict(pair, Link.WAY_BACK, reason, hint)
        return None

    def _beside_the_lan(self, answer: Answer, entry: Answer) -> bool:
        """Whether an answer leaves by a route for its host, if not by the LAN's interface."""
        return answer.interface not in self.ours and not entry.errno and entry.length > 0

    def _selectors(self, pair: Pair, tunnels: list[Tunnel]) -> NetworkVerdict | None:
        for tunnel in tunnels:
            negotiated = self.facts.selectors.get(tunnel.key)
            if negotiated and not values.covers(negotiated, pair.local, pair.remote):
                reason = f"{tunnel.key} was negotiated for {values.text(negotiated)} only"
                return NetworkVerdict(pair, Link.SELECTORS, reason, self.narrowed(tunnel))
        return None

    def narrowed(self, tunnel: Tunnel) -> str:
        """Return what to do about a tunnel whose CHILD_SAs do not cover all networks."""
        [connection] = (c for c in self.config.connections if c.name == tunnel.key.connection)
        by_pair = connection.traffic_selectors is TrafficSelectors.NETWORKS
        return PAIR_MISSING if by_pair and connection.ike_of(tunnel).version == IKEV1 else NARROWED


NO_LAN: Final = (
    "give this machine a route to it, by the LAN: ip route add NETWORK via <the LAN's router>; where the "
    "default route is meant to lead there, name its interface in gateway.local_interfaces"
)
LOOSE: Final = "sysctl -w net.ipv4.conf.all.rp_filter=2"
NARROWED: Final = (
    "in the cloud set the connection's routing mode to destination routing, or write there the networks "
    "of both ends; here traffic_selectors must fit"
)
PAIR_MISSING: Final = (
    "IKE version 1 has a CHILD_SA for each pair of a local and a remote network: in the cloud make an IPsec "
    "connection for this pair too, with the same two ends, key and algorithms; vpnagent events tells why its "
    "negotiation fails"
)


def _words(code: int) -> str:
    return os.strerror(code) if code > 0 else "the kernel was not asked"
