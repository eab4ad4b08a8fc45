"""Who is to blame, in rows of evidence and what follows; and what is suspected.

A tunnel is written ``name(marks)>where its replies used to arrive``.

Marks: s silent, q quiet, o own target, a something arrives, i inbound traffic, f full, p extended once, n
never heard. A silent tunnel is quiet too.
"""

from ipaddress import IPv4Address

import pytest
from tests.probe.simulation import BACKUP, PRIMARY, SHARED

from vpnagent.config.values import TunnelKey
from vpnagent.probe.situation import InquiryStage, InquiryState, Judgement, Witness, judge

ROWS = """
    A()>A       B(s)>A               | | B down        | only its own direction can be dead
    A(s)>A      B()>A                | | A down        | the target lives
    A(s)>A      B(s)>A               | | A ask, B excused    | in A explains both; or the target is dead
    A(s)>A      B(q)>A               | | A ask         | the same, a moment earlier
    A(q)>A      B(s)>A               | | B wait        | A may explain it
    A(qa)>A     B(s)>A               | | B ask         | in A lives, nobody hears the target
    A(si)>A     B(s)>A               | | A target, B excused | others' packets arrive: the target
    A(sif)>A    B()>A                | | A congested   |
    A(si)>A     B()>A                | | A extend      | its inbound direction lives
    A(sip)>A    B()>A                | | A down        | for too long
    A(so)>A     B(o)>B               | | A down        |
    A(so)>A     B(so)>B              | | A down, B down      | each by its own evidence
    A(soi)>A    B(soi)>B             | | A target, B target  |
    A(soi)>A    B(o)>B               | | A extend      |
    A(s)>A                           | | A ask         |
    A(sn)>-     B(sn)>-              | | A down, B down      | never heard by anybody
    A(sn)>-     B()>B                | | A down        |
    B(s)>A                           |A| B excused     | the cloud may still return on A
    B(so)>A                          |A| B down        | but not through A
    B(s)>A                           |-| B excused     | something is being reset
    A(s)>A      B(s)>B   C()>C       | | A down, B down      | hashed: each by itself
    A(s)>A      B(s)>A   C()>C       | | A down, B excused   |
    A(s)>B      B(s)>A               | | A excused, B excused |
"""


def witness(text: str) -> Witness:
    head, returns = text.split(">")
    name, marks = head.rstrip(")").split("(")
    own = IPv4Address(f"169.254.{ord(name)}.1")
    return Witness(
        key=key(name),
        silent="s" in marks,
        quiet="s" in marks or "q" in marks,
        heard="n" not in marks,
        own="o" in marks,
        returns_on=None if returns == "-" else key(returns),
        arrives="a" in marks,
        inbound="i" in marks,
        full="f" in marks,
        patient="p" in marks,
        targets=frozenset({own if "o" in marks else SHARED}),
    )


def key(name: str) -> TunnelKey:
    return TunnelKey("hangzhou", name)


@pytest.mark.parametrize("row", ROWS.strip().splitlines())
def test_blame(row: str) -> None:
    tunnels, untold, expected, _ = (cell.strip() for cell in row.split("|"))
    disturbed = untold == "-"
    told_not = {key(name) for name in untold if not disturbed}

    verdicts = judge([witness(text) for text in tunnels.split()], told_not, disturbed=disturbed)

    told = {k.tunnel: judgement for k, judgement in verdicts.items()}
    assert told == {name: Judgement(word) for name, word in (cell.split() for cell in expected.split(","))}


def test_a_wrong_guess_blocks_the_next_ones_for_longer_and_longer() -> None:
    inquiry, now, blocks = InquiryState(), 0.0, []
    for _ in range(9):
        inquiry.failed(now)
        blocks.append(next(s for s in range(0, 4000, 10) if inquiry.may_guess(now + s)))
        now += 10_000
    assert blocks == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    inquiry.ask(PRIMARY, frozenset({PRIMARY}), now, 0.01)
    inquiry.helped()
    inquiry.failed(now)
    assert inquiry.may_guess(now + 60)


def test_a_question_is_repeated_once_to_those_who_did_not_answer() -> None:
    inquiry = InquiryState()
    inquiry.ask(PRIMARY, frozenset({PRIMARY, BACKUP}), 1.0, 0.01)
    inquiry.answer(BACKUP, 1.01)
    assert inquiry.repeat(inquiry.until) == frozenset({PRIMARY})
    assert inquiry.repeat(inquiry.until) == frozenset()
    assert inquiry.stage is InquiryStage.ASKING


def test_what_was_asked_ahead_of_a_verdict_is_not_asked_again() -> None:
    inquiry = InquiryState()
    inquiry.ask(None, frozenset({PRIMARY, BACKUP}), 1.0, 0.01)
    inquiry.answer(BACKUP, 1.01)
    inquiry.answer(PRIMARY, 1.02)
    assert inquiry.repeat(inquiry.until) == frozenset()
    assert not inquiry.stale(1.1)
    inquiry.accuse(PRIMARY, 1.1)
    assert (inquiry.stage, inquiry.until, inquiry.answered) == (
        InquiryStage.ASKING,
        1.1,
        {PRIMARY, BACKUP},
    )
    assert inquiry.stale(3.0)
