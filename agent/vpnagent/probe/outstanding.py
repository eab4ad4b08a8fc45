"""Which probes may still be answered, and what makes an answer believed. Pure.

For the methods whose probes carry few secret bits: a SYN has 32, a DNS query 16 and its port. Whoever forges
answers blindly hits one that is outstanding by luck, and one hit would keep a dead path up. So a probe can be
answered for ``LATEST`` seconds, once; and the answer to a slot (a target through a tunnel) of which none of
the last ``STEADY`` probes was answered, or that comes by an interface that is no tunnel's where the last one
came by a tunnel, or the reverse, is a doubt: the slot is asked again at once, and only the answer to that
settles it. That costs a path that is heard nothing, one that is heard again a round trip, and a forger the
square of his probability (SECURITY.md).
"""

from typing import Final, Generic, NamedTuple, TypeVar

LATEST: Final = 2.0  #: seconds after which nothing answers a probe any more
MOST: Final = 4096  #: probes of a method that may await an answer; the oldest are forgotten
STEADY: Final = 20  #: probes: a target that is limited answers some of them

#: An answer: number of the slot that was asked, sequence, index of the arrival interface, monotonic seconds.
ProbeAnswer = tuple[int, int, int, float]
K = TypeVar("K")
V = TypeVar("V")


class Unproven(NamedTuple):
    """An answer that is to be believed if another one like it comes."""

    answer: ProbeAnswer
    in_tunnel: bool  #: it came by a tunnel's interface


class OutstandingProbe(NamedTuple, Generic[V]):
    """One that awaits its answer."""

    slot: int
    asks: "int | Unproven"  #: its sequence, or the doubt that it is to settle: then nobody else waits for it
    turn: int  #: how many probes of the slot were sent until then
    at: float  #: monotonic seconds, when it was sent
    what: V  #: the caller's


class Outstanding(Generic[K, V]):
    """The probes of one method, by what their answers carry."""

    def __init__(self) -> None:
        self._probes: dict[K, OutstandingProbe[V]] = {}  #: the oldest first
        self._turns: dict[int, int] = {}  #: by slot: probes that were sent
        self._heard: dict[int, tuple[int, bool]] = {}  #: by slot: turn of the last that was believed, its way

    def sent(self, key: K, slot: int, asks: int | Unproven, what: V, at: float) -> None:
        """A probe left; an older one of the same key can be answered no more."""
        probes = self._probes
        probes.pop(key, None)
        while probes and (len(probes) >= MOST or next(iter(probes.values())).at < at - LATEST):
            del probes[next(iter(probes))]
        turn = self._turns.get(slot, 0)
        if not isinstance(asks, Unproven):
            self._turns[slot] = turn = turn + 1
        probes[key] = OutstandingProbe(slot, asks, turn, at, what)

    def find(self, key: K, at: float) -> OutstandingProbe[V] | None:
        """Return the probe that an answer of this time may answer."""
        probe = self._probes.get(key)
        return probe if probe is not None and at - probe.at <= LATEST else None

    def answered(
        self, key: K, interface: int, at: float, *, in_tunnel: bool
    ) -> ProbeAnswer | Unproven | None:
        """Take the answer to a probe that was found; return what is to be told, or a doubt to settle."""
        slot, asks, turn, _, _ = self._probes.pop(key)
        heard, heard_in_tunnel = self._heard.get(slot, (-STEADY, in_tunnel))
        if isinstance(asks, Unproven):
            if asks.in_tunnel != in_tunnel:
                return None
            answer = asks.answer
        else:
            answer = slot, asks, interface, at
            if turn - heard > STEADY or in_tunnel != heard_in_tunnel:
                return Unproven(answer, in_tunnel)
        self._heard[slot] = max(heard, turn), in_tunnel
        return answer

    def keep(self, slots: frozenset[int]) -> None:
        """Forget what is known of other slots than these, and what they were asked."""
        self._probes = {key: probe for key, probe in self._probes.items() if probe.slot in slots}
        for known in (self._turns, self._heard):
            for slot in known.keys() - slots:
                del known[slot]
