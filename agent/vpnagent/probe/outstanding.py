"""Which probes may still be answered, and what makes an answer believed. Pure.

For the methods whose probes carry few secret bits: a SYN has 32, a DNS query 16 and its port. Whoever forges
answers blindly hits one that is outstanding by luck, and one hit would keep a dead path up. So a probe can be
answered for ``LATEST`` seconds, once; and the answer to a slot (a target through a tunnel) of which none of
the last ``STEADY`` probes was answered, or that comes by an interface that is no tunnel's where the last one
came by a tunnel, or the reverse, is a doubt: the slot is asked again at once, and the next answer to another
probe settles it. That costs a path that is heard nothing, one that is heard again a round trip, and a forger
the square of his probability (SECURITY.md).
"""

from typing import Final, Generic, NamedTuple, TypeVar

LATEST: Final = 2.0  #: seconds after which nothing answers a probe any more
MOST: Final = 4096  #: probes of a method that may await an answer; the oldest are forgotten
STEADY: Final = 4  #: probes

#: An answer: number of the slot that was asked, sequence, index of the arrival interface, monotonic seconds.
Answer = tuple[int, int, int, float]
K = TypeVar("K")
V = TypeVar("V")


class Probe(NamedTuple, Generic[V]):
    """One that awaits its answer."""

    slot: int
    sequence: int | None  #: None: it was sent to settle a doubt, and nobody else waits for it
    turn: int  #: how many probes of the slot were sent until then
    at: float  #: monotonic seconds, when it was sent
    what: V  #: the caller's


class _Doubt(NamedTuple):
    answer: Answer
    in_tunnel: bool


class Outstanding(Generic[K, V]):
    """The probes of one method, by what their answers carry."""

    def __init__(self) -> None:
        self._probes: dict[K, Probe[V]] = {}  #: the oldest first
        self._turns: dict[int, int] = {}  #: by slot: probes that were sent
        self._heard: dict[int, tuple[int, bool]] = {}  #: by slot: turn of the last that was believed, its way
        self._doubts: dict[int, _Doubt] = {}  #: by slot

    def sent(self, key: K, slot: int, sequence: int | None, what: V, at: float) -> None:
        """A probe left; an older one of the same key can be answered no more."""
        probes = self._probes
        probes.pop(key, None)
        while probes and (len(probes) >= MOST or next(iter(probes.values())).at < at - LATEST):
            del probes[next(iter(probes))]
        turn = self._turns.get(slot, 0)
        if sequence is not None:
            self._turns[slot] = turn = turn + 1
        probes[key] = Probe(slot, sequence, turn, at, what)

    def find(self, key: K, at: float) -> Probe[V] | None:
        """Return the probe that an answer of this time may answer."""
        probe = self._probes.get(key)
        return probe if probe is not None and at - probe.at <= LATEST else None

    def answered(self, key: K, interface: int, at: float, *, in_tunnel: bool) -> list[Answer] | None:
        """Take the answer to a probe that was found; return what is to be told, or None: ask once more."""
        probe = self._probes.pop(key)
        answers = [] if probe.sequence is None else [(probe.slot, probe.sequence, interface, at)]
        turn, in_tunnel_before = self._heard.get(probe.slot, (-STEADY - 1, in_tunnel))
        if in_tunnel != in_tunnel_before or probe.turn - turn > STEADY:
            doubt = self._doubts.pop(probe.slot, None)
            if doubt is None or doubt.in_tunnel != in_tunnel or at - doubt.answer[3] > LATEST:
                if answers:
                    self._doubts[probe.slot] = _Doubt(answers[0], in_tunnel)
                return None if answers else []
            answers.insert(0, doubt.answer)
        self._heard[probe.slot] = max(turn, probe.turn), in_tunnel
        return answers

    def keep(self, slots: frozenset[int]) -> None:
        """Forget what is known of other slots than these, and what they were asked."""
        self._probes = {key: probe for key, probe in self._probes.items() if probe.slot in slots}
        for known in (self._turns, self._heard, self._doubts):
            for slot in known.keys() - slots:
                del known[slot]
