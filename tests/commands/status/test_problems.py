from tools.screens import NOW, document

from vpnagent.commands.status.canvas import Canvas, plain
from vpnagent.commands.status.overview import ALIKE, told
from vpnagent.record import Json


def warning(code: str, subject: str, severity: str = "critical") -> Json:
    return {
        "code": code,
        "subject": subject,
        "severity": severity,
        "text": f"{subject} is down",
        "hint": "look",
        "since": "2026-11-23T06:31:00Z",
    }


def problems_at(status: Json, canvas: Canvas) -> list[str]:
    return [plain(part) for part in told(status, NOW["healthy"], canvas)]


def test_a_problem_names_its_subject_once() -> None:
    status = document("healthy")
    silent = {**warning("PathDown", "hangzhou/backup"), "text": "path down: nothing heard for 0.3 s"}
    status["warnings"] = [warning("TunnelDown", "hangzhou/primary"), silent]
    assert problems_at(status, Canvas()) == [
        "critical  40s  hangzhou/primary is down (TunnelDown)",
        "               -> look",
        "critical  40s  hangzhou/backup: path down: nothing heard for 0.3 s (PathDown)",
        "               -> look",
    ]


def test_a_terminal_counts_those_that_are_alike_and_a_pipe_has_all() -> None:
    status = document("healthy")
    status["warnings"] = [warning("TunnelDown", f"c{n}/t") for n in range(16)]
    folded, all_ = problems_at(status, Canvas(width=80)), problems_at(status, Canvas())
    assert len(all_) == 2 * 16
    assert sum("is down" in told_of for told_of in folded) == ALIKE
    assert "13 more of TunnelDown: c3/t, c4/t" in "".join(folded)


def test_a_terminal_says_once_what_to_do_about_problems_in_a_row() -> None:
    status = document("healthy")
    other = {**warning("NoStandby", "hangzhou", "warning"), "hint": "look elsewhere"}
    status["warnings"] = [warning("TunnelDown", "a/t"), warning("TunnelDown", "b/t"), other]
    hints = [told_of.strip() for told_of in problems_at(status, Canvas(width=80)) if "->" in told_of]
    assert hints == ["-> look", "-> look elsewhere"]


def test_notes_are_no_problems() -> None:
    assert problems_at(document("healthy"), Canvas()) == []
