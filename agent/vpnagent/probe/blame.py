"""Which tunnel is to blame when paths go silent: pure reasoning on what each sent and where it was heard.

A probe out of tunnel *i* whose reply arrives on tunnel *j* proves *out i* and *in j*. So the silence of *i*
is explained by the death of *j*, if that is where its replies used to arrive and nothing arrives there any
more. What is silent without such an explanation is dead itself, if its target is known to live: because
the target can be reached through this tunnel only (it is the tunnel's own end), or because another tunnel
hears it. If nobody hears it, it may be the target that is dead: then packets of others that still arrive
through the tunnel acquit it, and else its IKE daemon, and those of all who fell silent with it, are asked.
"""

import enum
from collections.abc import Collection, Sequence
from ipaddress import IPv4Address

from vpnagent.config.values import TunnelKey
from vpnagent.record import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """What one tunnel can tell. Only tunnels that could be used, and whose path is not down already."""

    key: TunnelKey
    silent: bool  #: nothing heard for its detection time
    quiet: bool  #: a probe was missed since the last reply
    heard: bool  #: ever
    own: bool  #: its target answers through this tunnel only
    returns_on: TunnelKey | None  #: where its replies used to arrive
    arrives: bool  #: some reply, to whomever, arrived on it just now
    inbound: bool  #: packets arrived through it while probes went missing
    full: bool  #: it runs near its bandwidth or packet rate
    patient: bool  #: its silence was already extended once
    targets: frozenset[IPv4Address]


class Judgement(enum.Enum):
    """What follows for a silent tunnel."""

    DOWN = "down"
    EXCUSED = "excused"  #: another tunnel explains it
    WAIT = "wait"  #: another tunnel may explain it, and will be known in a moment
    EXTEND = "extend"  #: its inbound direction lives: look for one more detection time
    CONGESTED = "congested"
    TARGET = "target"  #: the target does not answer
    ASK = "ask"  #: ask the IKE daemons


def judge(
    witnesses: Sequence[Witness], untold: Collection[TunnelKey], *, disturbed: bool
) -> dict[TunnelKey, Judgement]:
    """Return a judgement for every silent tunnel.

    ``untold`` are dead tunnels on which the peer may still return everything; ``disturbed`` means that a
    tunnel is being reset or tried, so that return traffic may go anywhere for a moment.
    """
    return {w.key: _judge(w, witnesses, untold, disturbed) for w in witnesses if w.silent}


def _judge(
    silent: Witness, witnesses: Sequence[Witness], untold: Collection[TunnelKey], disturbed: bool
) -> Judgement:
    if silent.inbound and silent.full:
        return Judgement.CONGESTED
    if not silent.own and (disturbed or silent.returns_on in untold):
        return Judgement.EXCUSED
    if not silent.own and (judgement := _explained(silent, witnesses)) is not None:
        return judgement
    if not _target_lives(silent, witnesses):
        return Judgement.TARGET if silent.inbound else Judgement.DOWN if silent.own else Judgement.ASK
    if silent.inbound and not silent.patient:
        return Judgement.EXTEND
    return Judgement.DOWN


def _explained(silent: Witness, witnesses: Sequence[Witness]) -> Judgement | None:
    """Return what follows if the tunnel on which the replies used to arrive explains the silence."""
    other = next((w for w in witnesses if w.key == silent.returns_on), None)
    if other is None or other is silent or not other.quiet or other.arrives:
        return None
    return Judgement.EXCUSED if other.silent else Judgement.WAIT


def _target_lives(silent: Witness, witnesses: Sequence[Witness]) -> bool:
    """Whether somebody hears the target just now, or nobody ever did, so that nothing is known of it.

    Tunnels with targets of their own cannot hear each other's, but that all of those died together with
    packets still arriving is less likely than that their cloud ends stopped answering.
    """
    if silent.own:
        return any(not w.quiet and w.heard for w in witnesses)
    if not any(w.heard for w in witnesses):
        return True
    return any(not w.quiet and w.heard and not w.targets.isdisjoint(silent.targets) for w in witnesses)
