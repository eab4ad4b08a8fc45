"""What is wrong with a machine, as findings: every check, in one place. Pure."""

import re
from collections.abc import Callable, Iterator
from typing import Final

from vpnagent.checks.certificates import certificates
from vpnagent.checks.filtering import filtering
from vpnagent.checks.host import host
from vpnagent.checks.observation import Observation, Unseen
from vpnagent.checks.occupancy import occupancy
from vpnagent.checks.traps import charon_traps, kernel_traps
from vpnagent.checks.underlay import black_hole, underlay
from vpnagent.config.files import Absence
from vpnagent.config.load import UnreadSecrets as Secrets
from vpnagent.config.values import Config
from vpnagent.config.wording import key_path
from vpnagent.errors import ConfigError
from vpnagent.finding import Finding, Severity

NOT_LOOKED_AT: Final = "NotLookedAt"

Check = Callable[[Config, Observation], Iterator[Finding]]

CHECKS: Final[tuple[Check, ...]] = (
    occupancy,
    filtering,
    underlay,
    black_hole,
    charon_traps,
    certificates,
    host,
    kernel_traps,
)


def judge(config: Config, seen: Observation) -> list[Finding]:
    """Return everything that is wrong, worst first, and what could not be looked at."""
    found = [finding for check in CHECKS for finding in check(config, seen)]
    found += [_not_looked_at(unseen) for unseen in seen.unseen]
    found.sort(key=lambda finding: -list(Severity).index(finding.severity))
    return list({(finding.code, finding.subject): finding for finding in found}.values())


def _not_looked_at(unseen: Unseen) -> Finding:
    what = unseen.what.rpartition(".")[2].replace("_", " ")
    return Finding(
        code=NOT_LOOKED_AT,
        subject=unseen.what,
        severity=Severity.INFO,
        text=f"{what}: could not be looked at: {unseen.why}",
        hint="run vpnagent check as root" if unseen.forbidden else "see the reason; the rest was looked at",
    )


def secrets_not_looked_at(unseen: Secrets) -> list[Finding]:
    """Return the keys of a file whose secrets are not at hand."""
    return [
        _not_looked_at(
            Unseen(what=key_path(path), why=str(error), forbidden=error.absence is Absence.FORBIDDEN)
        )
        for path, error in unseen.paths.items()
    ]


def kernel_not_looked_at(why: str) -> Finding:
    """Return that this machine's kernel could not be asked."""
    return _not_looked_at(Unseen(what="kernel", why=why))


def refused(error: ConfigError) -> list[Finding]:
    """Return the problems of a file that cannot be used as findings, for those who read JSON.

    JSON travels, into the logs of CI and to the vendor: the values that break the rules are not in it.
    """
    return [
        Finding(
            code="FileRefused",
            subject=problem.key,
            severity=Severity.CRITICAL,
            text=(f"line {problem.line}: " if problem.line else "") + _rule(problem.text),
            hint="correct the file: nothing else was looked at",
        )
        for problem in error.problems
    ]


_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"")


def _rule(text: str) -> str:
    return _QUOTED.sub("…", text.partition(", not ")[0])
