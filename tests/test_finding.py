from vpnagent.finding import Finding, Findings, Severity


def finding(code: str, severity: Severity = Severity.WARNING, subject: str = "") -> Finding:
    return Finding(code=code, subject=subject, severity=severity, text="text", hint="hint")


def codes(findings: list[Finding]) -> list[str]:
    return [f.code for f in findings]


def test_a_finding_begins_once_and_ends_once() -> None:
    findings = Findings()
    began, ended = findings.update([finding("NoStandby")], 1.0)
    assert (codes(began), ended) == (["NoStandby"], [])
    assert findings.update([finding("NoStandby")], 2.0) == ([], [])
    began, ended = findings.update([], 3.0)
    assert (began, codes(ended)) == ([], ["NoStandby"])


def test_since_survives_while_the_cause_lasts() -> None:
    findings = Findings()
    findings.update([finding("NoStandby")], 1.0)
    findings.update([finding("NoStandby")], 5.0)
    assert [f.since for f in findings.current] == [1.0]


def test_the_same_code_about_something_else_is_another_finding() -> None:
    findings = Findings()
    findings.update([finding("TunnelDown", subject="a")], 1.0)
    began, _ = findings.update([finding("TunnelDown", subject="a"), finding("TunnelDown", subject="b")], 2.0)
    assert [f.subject for f in began] == ["b"]


def test_the_worst_come_first_then_the_oldest() -> None:
    findings = Findings()
    findings.update([finding("young-to-be", Severity.INFO), finding("old", Severity.WARNING)], 1.0)
    findings.update(
        [
            finding("info", Severity.INFO),
            finding("new", Severity.WARNING),
            finding("old", Severity.WARNING),
            finding("worst", Severity.CRITICAL),
        ],
        2.0,
    )
    assert [f.code for f in findings.current] == ["worst", "old", "new", "info"]
