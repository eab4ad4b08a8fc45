"""Which marks a packet may bear when it is routed: what the packet filter sets before that. Pure.

A mark decides the table where an ip rule asks for it. The walk is ``firewall``'s, with a set of marks in the
place of one: a rule that may match leaves both, the mark before it and the mark after it.
"""

from typing import Final

from vpnagent.checks.firewall import MAX_DEPTH, Action, Chain, Packet, Rule, Ruleset
from vpnagent.record import dataclass, replace

UNMARKED: Final = 0
HOOK: Final = "prerouting"
Mark = int | None  #: None: not a constant
Marks = frozenset[Mark]
NOBODY: Final[Marks] = frozenset()


@dataclass(frozen=True, slots=True)
class Marking:
    """The marks that a packet may bear; one alone is sure."""

    possible: tuple[int, ...] = (UNMARKED,)
    unclear: bool = False  #: it may have another one too, restored from its connection for example

    @property
    def sure(self) -> int | None:
        """Return the mark, if there is no doubt about it."""
        return self.possible[0] if len(self.possible) == 1 and not self.unclear else None


UNTOUCHED: Final = Marking()


def marking(ruleset: Ruleset, packet: Packet) -> Marking:
    """Return which marks a packet may bear after prerouting; it comes without one."""
    marks: Marks = frozenset({UNMARKED})
    for chain in ruleset.at(HOOK):
        if not chain.translates:  # nat: only the first packet of a flow passes
            walk = _Walk(ruleset, packet)
            marks = walk.chain(chain, marks, 0) | walk.accepted
    constant = tuple(sorted(mark for mark in marks if mark is not None))
    return Marking(constant, unclear=None in marks or not constant)


def constants(ruleset: Ruleset) -> frozenset[int]:
    """Return every constant mark that a rule sets, on packets or on connections."""
    rules = (rule for chain in ruleset.chains.values() for rule in chain.rules)
    return frozenset(rule.mark[1] for rule in rules if rule.mark is not None and rule.mark[1])


class _Walk:
    """One packet's walk through a base chain."""

    def __init__(self, ruleset: Ruleset, packet: Packet) -> None:
        self._chains = ruleset.chains
        self._packet = packet
        self.accepted: Marks = frozenset()  #: of those that left the base chain early

    def chain(self, chain: Chain, marks: Marks, depth: int) -> Marks:
        """Return the marks of those that come to the end of a chain, or return from it."""
        returned: Marks = frozenset()
        for rule in chain.rules:
            taken = frozenset(mark for mark in marks if self._holds(rule, mark) is not False)
            if not taken or rule.action is Action.NOTHING:
                continue
            stay = frozenset(mark for mark in marks if self._holds(rule, mark) is not True)
            on, back = self._act(rule, taken, depth)
            marks, returned = stay | on, returned | back
        return marks | returned

    def _act(self, rule: Rule, taken: Marks, depth: int) -> tuple[Marks, Marks]:
        """Return the marks of those that go on to the next rule, and of those that leave the chain."""
        match rule.action:
            case Action.MARK:
                return frozenset(_marked(rule, mark) for mark in taken), NOBODY
            case Action.JUMP:
                return self._jump(rule, taken, depth), NOBODY
            case Action.GOTO:
                return NOBODY, self._jump(rule, taken, depth)
            case Action.RETURN:
                return NOBODY, taken
            case Action.DROP:
                return NOBODY, NOBODY
            case _:
                self.accepted |= taken
                return NOBODY, NOBODY

    def _jump(self, rule: Rule, marks: Marks, depth: int) -> Marks:
        target = self._chains.get(rule.target)
        if target is None or depth == MAX_DEPTH or not marks:
            return marks
        return self.chain(target, marks, depth + 1)

    def _holds(self, rule: Rule, mark: Mark) -> bool | None:
        fields = {name: value for name, value in self._packet.fields.items() if name != "mark"}
        if mark is not None:
            fields["mark"] = mark
        return rule.holds(replace(self._packet, fields=fields))


def _marked(rule: Rule, mark: Mark) -> Mark:
    if rule.mark is None:
        return None
    keep, change = rule.mark
    if not keep:
        return change
    return None if mark is None else (mark & keep) ^ change
