"""Which faults a kernel of which version has."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.config_examples import make_config

from vpnagent.checks.observation import Observation
from vpnagent.checks.traps import KERNEL_TRAPS, KernelTrap, kernel_traps, upstream
from vpnagent.finding import Severity

DEBIAN_11 = ("5.10.0-35-amd64", "#1 SMP Debian 5.10.237-1 (2025-05-19)")
DEBIAN_12 = ("6.1.0-49-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-06-20)")
DEBIAN_13 = ("6.12.48+deb13-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.12.48-1 (2025-09-20)")
UBUNTU_22 = ("5.15.0-130-generic", "#140-Ubuntu SMP Wed Dec 18 17:59:53 UTC 2024")
UBUNTU_24 = ("6.8.0-50-generic", "#51-Ubuntu SMP PREEMPT_DYNAMIC Sat Nov  9 17:58:29 UTC 2024")
OWN = ("6.18.34-router", "#1 SMP PREEMPT Mon Jun 1 00:00:00 UTC 2026")


def names(release: str, build: str = "") -> set[str]:
    """Return the traps of a kernel."""
    findings = list(kernel_traps(make_config(), Observation(release=release, build=build)))
    assert {(f.code, f.severity) for f in findings} <= {("KernelTrap", Severity.INFO)}
    return {f.subject for f in findings}


@pytest.mark.parametrize(
    ("kernel", "number"),
    [
        (DEBIAN_11, (5, 10, 237)),
        (DEBIAN_12, (6, 1, 176)),
        (DEBIAN_13, (6, 12, 48)),
        (UBUNTU_22, ()),
        (UBUNTU_24, ()),
        (OWN, (6, 18, 34)),
        (("6.9", ""), ()),
        (("", ""), ()),
    ],
)
def test_the_version_of_upstream_is_read_where_it_is_told(
    kernel: tuple[str, str], number: tuple[int, ...]
) -> None:
    assert upstream(*kernel) == number


@pytest.mark.parametrize(
    ("kernel", "traps"),
    [
        (DEBIAN_11, {"esp-page", "esp-in-place"}),
        (DEBIAN_12, set()),
        (DEBIAN_13, {"nexthop-removed", "esp-page", "esp-in-place"}),
        (UBUNTU_22, set()),
        (OWN, {"esp-page"}),
        (("5.10.112", ""), {"esp-in-place"}),  # before the change that brought the other
        (("7.1.1", ""), set()),
    ],
)
def test_the_known_traps_of_a_kernel(kernel: tuple[str, str], traps: set[str]) -> None:
    assert names(*kernel) == traps


@given(st.sampled_from(KERNEL_TRAPS), st.data())
def test_a_fault_ends_in_each_series_with_the_version_that_mended_it(
    trap: KernelTrap, data: st.DataObject
) -> None:
    _, mended = data.draw(st.sampled_from(trap.faulty))
    major, minor, patch = mended
    later = data.draw(st.integers(patch, 999))

    assert trap.name in names(f"{major}.{minor}.{patch - 1}")
    assert trap.name not in names(f"{major}.{minor}.{later}")


def test_the_ranges_of_a_fault_ascend_and_do_not_touch() -> None:
    for trap in KERNEL_TRAPS:
        assert all(first < mended for first, mended in trap.faulty)
        assert all(mended < first for (_, mended), (first, _) in pairwise(trap.faulty))
