"""What a packet filter does to a packet: nftables' and iptables' rules as values, and a walk through them.

A filter is judged by sending imagined packets through it, hook by hook, chain by chain, as netfilter does
(nft(8), "Chains"): so a policy of drop without an exception is found as well as a rule in a far corner. A
match that is not understood, or is about something that the imagined packet leaves open, may hold or not:
then both ways are walked, and the answer may be that one cannot tell. Pure.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Final

from vpnagent.record import record, replace

MatchValue = tuple[int, int] | str  #: a range of numbers, or a name that may end in ``*``


@record(frozen=True, slots=True)
class Match:
    """A condition: the packet's field is one of the values. Without a field: something not understood."""

    field: str
    values: tuple[MatchValue, ...] = ()
    negated: bool = False
    mask: int = 0xFFFFFFFF

    def holds(self, packet: "Packet") -> bool | None:
        """Return whether a packet fulfils it; None if that cannot be told."""
        value = packet.fields.get(self.field)
        if value is None:
            return None
        found = any(_is(value, wanted, self.mask) for wanted in self.values)
        return found is not self.negated


def _is(value: int | str, wanted: MatchValue, mask: int) -> bool:
    if isinstance(wanted, str):
        return value == wanted or (wanted.endswith("*") and str(value).startswith(wanted[:-1]))
    return isinstance(value, int) and wanted[0] <= value & mask <= wanted[1]


UNKNOWN = Match("")  #: a condition that is not understood


class RuleAction(Enum):
    """What a rule does with a packet that it matches."""

    NOTHING = "nothing"  #: counts, logs: the next rule follows
    MARK = "mark"  #: the packet's mark is set, and the next rule follows
    ACCEPT = "accept"  #: the next chain of the hook, or the next hook, follows
    DROP = "drop"
    TRANSLATE = "translate"  #: the source address becomes another
    REDIRECT = "redirect"  #: the destination address becomes another
    JUMP = "jump"
    GOTO = "goto"
    RETURN = "return"


@record(frozen=True, slots=True)
class FilterRule:
    """A rule: all its matches hold, then its action is taken."""

    matches: tuple[Match, ...]
    action: RuleAction
    target: str = ""  #: the chain of a jump or goto
    text: str = ""
    mark: tuple[int, int] | None = None  #: of MARK: (old & first) ^ second; None: not a constant

    def holds(self, packet: "Packet") -> bool | None:
        """Return whether all matches hold; None if that cannot be told."""
        known = [match.holds(packet) for match in self.matches]
        if False in known:
            return False
        return None if None in known else True


@record(frozen=True, slots=True, kw_only=True)
class Chain:
    """A chain; one with a hook is where packets come in."""

    name: str  #: ``ip filter INPUT``: unique
    hook: str = ""
    priority: int = 0
    translates: bool = False  #: of type nat: only the first packet of a flow passes
    policy: RuleAction = RuleAction.ACCEPT
    rules: tuple[FilterRule, ...] = ()


@record(frozen=True, slots=True)
class Ruleset:
    """All chains of a network namespace that IPv4 packets pass, by name."""

    chains: Mapping[str, Chain]

    @property
    def size(self) -> int:
        """Return the number of rules."""
        return sum(len(chain.rules) for chain in self.chains.values())

    def at(self, hook: str) -> list[Chain]:
        """Return the chains of a hook, in their order."""
        return sorted((c for c in self.chains.values() if c.hook == hook), key=lambda c: c.priority)


@record(frozen=True, slots=True)
class Packet:
    """An imagined packet. A field that is not there is not known; ``first`` opens a flow."""

    hooks: tuple[str, ...]
    fields: Mapping[str, int | str]
    first: bool = True


@record(frozen=True, slots=True)
class Hit:
    """Where something happened to a packet."""

    chain: str
    rule: str  #: its text; ``policy drop`` for the chain's policy

    def __str__(self) -> str:
        return f"{self.chain}: {self.rule}"


RulesetOutcome = tuple[RuleAction, Hit]


@record(frozen=True, slots=True)
class Fate:
    """What becomes of a packet."""

    dropped: Hit | None = None  #: it surely is dropped here
    doubtful: Hit | None = None  #: it may be dropped here
    translated: Hit | None = None  #: it surely gets another source here
    redirected: Hit | None = None  #: it surely gets another destination here


def fate(ruleset: Ruleset, packet: Packet) -> Fate:
    """Return what becomes of a packet on its way through its hooks."""
    doubtful = None
    changed: dict[RuleAction, Hit] = {}
    walk = _PacketWalk(ruleset, packet)
    for hook in packet.hooks:
        for chain in ruleset.at(hook):
            if chain.translates and not packet.first:
                continue
            outcomes = walk.base(chain)
            drops = [hit for action, hit in outcomes if action is RuleAction.DROP]
            if drops and len(drops) == len(outcomes):
                return Fate(dropped=min(drops, key=str))
            if drops:
                doubtful = doubtful or min(drops, key=str)
            elif len(outcomes) == 1:
                [(action, hit)] = outcomes
                changed.setdefault(action, hit)
    return Fate(
        doubtful=doubtful,
        translated=changed.get(RuleAction.TRANSLATE),
        redirected=changed.get(RuleAction.REDIRECT),
    )


MAX_DEPTH = 16  #: of jumps; the kernel's own limit (NFT_JUMP_STACK_SIZE)
FALLS_THROUGH = (RuleAction.NOTHING, RuleAction.RETURN)


class _PacketWalk:
    """One packet's walk through chains."""

    def __init__(self, ruleset: Ruleset, packet: Packet) -> None:
        self._chains = ruleset.chains
        self._packet = packet
        self._known: dict[str, frozenset[RulesetOutcome]] = {}

    def base(self, chain: Chain) -> frozenset[RulesetOutcome]:
        """Return the possible outcomes of a chain with a hook."""
        policy = (chain.policy, Hit(chain.name, f"policy {chain.policy.value}"))
        inner = self._chain(chain, 0)
        return frozenset(policy if action in FALLS_THROUGH else (action, hit) for action, hit in inner)

    def _chain(self, chain: Chain, depth: int) -> frozenset[RulesetOutcome]:
        if chain.name not in self._known:
            self._known[chain.name] = frozenset(self._rules(chain, depth))
        return self._known[chain.name]

    def _rules(self, chain: Chain, depth: int) -> Iterator[RulesetOutcome]:
        for rule in chain.rules:
            holds = rule.holds(self._packet)
            if holds is False:
                continue
            if rule.action is RuleAction.MARK:
                self._marked()
                continue
            outcomes = self._outcomes(chain, rule, depth)
            ends = {outcome for outcome in outcomes if outcome[0] is not RuleAction.NOTHING}
            yield from ends
            if holds and len(ends) == len(outcomes):
                return
        yield RuleAction.NOTHING, Hit(chain.name, "end")

    def _marked(self) -> None:
        """From here on the packet's mark is not known."""
        fields = {name: value for name, value in self._packet.fields.items() if name != "mark"}
        self._packet = replace(self._packet, fields=fields)
        self._known.clear()

    def _outcomes(self, chain: Chain, rule: FilterRule, depth: int) -> set[RulesetOutcome]:
        """Return what may follow from a rule that matches; NOTHING: the next rule."""
        if rule.action not in (RuleAction.JUMP, RuleAction.GOTO):
            return {(rule.action, Hit(chain.name, rule.text))}
        target = self._chains.get(rule.target)
        if target is None or depth == MAX_DEPTH:
            return {(RuleAction.NOTHING, Hit(chain.name, rule.text))}
        comes_back = RuleAction.NOTHING if rule.action is RuleAction.JUMP else RuleAction.RETURN
        return {
            (comes_back if action in FALLS_THROUGH else action, hit)
            for action, hit in self._chain(target, depth + 1)
        }


# Which marks a packet may bear when it is routed: what the packet filter sets before that. Pure.
# A mark decides the table where an ip rule asks for it. The walk is ``firewall``'s, with a set of marks
# in the place of one: a rule that may match leaves both, the mark before it and the mark after it.

UNMARKED: Final = 0
HOOK: Final = "prerouting"
Mark = int | None  #: None: not a constant
Marks = frozenset[Mark]
NOBODY: Final[Marks] = frozenset()


@record(frozen=True, slots=True)
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
            walk = _MarkWalk(ruleset, packet)
            marks = walk.chain(chain, marks, 0) | walk.accepted
    constant = tuple(sorted(mark for mark in marks if mark is not None))
    return Marking(constant, unclear=None in marks or not constant)


def constants(ruleset: Ruleset) -> frozenset[int]:
    """Return every constant mark that a rule sets, on packets or on connections."""
    rules = (rule for chain in ruleset.chains.values() for rule in chain.rules)
    return frozenset(rule.mark[1] for rule in rules if rule.mark is not None and rule.mark[1])


class _MarkWalk:
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
            if not taken or rule.action is RuleAction.NOTHING:
                continue
            stay = frozenset(mark for mark in marks if self._holds(rule, mark) is not True)
            on, back = self._act(rule, taken, depth)
            marks, returned = stay | on, returned | back
        return marks | returned

    def _act(self, rule: FilterRule, taken: Marks, depth: int) -> tuple[Marks, Marks]:
        """Return the marks of those that go on to the next rule, and of those that leave the chain."""
        match rule.action:
            case RuleAction.MARK:
                return frozenset(_marked(rule, mark) for mark in taken), NOBODY
            case RuleAction.JUMP:
                return self._jump(rule, taken, depth), NOBODY
            case RuleAction.GOTO:
                return NOBODY, self._jump(rule, taken, depth)
            case RuleAction.RETURN:
                return NOBODY, taken
            case RuleAction.DROP:
                return NOBODY, NOBODY
            case _:
                self.accepted |= taken
                return NOBODY, NOBODY

    def _jump(self, rule: FilterRule, marks: Marks, depth: int) -> Marks:
        target = self._chains.get(rule.target)
        if target is None or depth == MAX_DEPTH or not marks:
            return marks
        return self.chain(target, marks, depth + 1)

    def _holds(self, rule: FilterRule, mark: Mark) -> bool | None:
        fields = {name: value for name, value in self._packet.fields.items() if name != "mark"}
        if mark is not None:
            fields["mark"] = mark
        return rule.holds(replace(self._packet, fields=fields))


def _marked(rule: FilterRule, mark: Mark) -> Mark:
    if rule.mark is None:
        return None
    keep, change = rule.mark
    if not keep:
        return change
    return None if mark is None else (mark & keep) ^ change
