import errno
from pathlib import Path

import pytest

from vpnagent.errors import NetlinkError
from vpnagent.routing.kernel import write_sysctl
from vpnagent.routing.objects import Sysctl
from vpnagent.routing.observe import read_sysctls
from vpnagent.routing.plan import RP_FILTER


def set_rp_filter(proc_sys: Path, **values: str) -> None:
    for name, value in values.items():
        path = proc_sys / "net/ipv4/conf" / name / "rp_filter"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value + "\n")


@pytest.mark.parametrize(
    ("general", "eth0", "observed"),
    [("0", "0", "0"), ("0", "1", "1"), ("1", "0", "1"), ("2", "1", "2"), ("0", "2", "0")],
)
def test_reverse_path_filtering_is_strict_if_it_is_so_anywhere(
    tmp_path: Path, general: str, eth0: str, observed: str
) -> None:
    """The larger of the two counts, so that loose for all, 2, beats strict, 1, for one."""
    set_rp_filter(tmp_path, all=general, default="1", lo="1", eth0=eth0)

    assert read_sysctls([RP_FILTER], proc_sys=tmp_path)[RP_FILTER].value == observed


def test_a_setting_that_the_kernel_lacks_is_left_out(tmp_path: Path) -> None:
    assert read_sysctls(["net.ipv4.nexthop_compat_mode"], proc_sys=tmp_path) == {}


def test_a_setting_is_read_as_it_was_written(tmp_path: Path) -> None:
    wanted = Sysctl(key="net.ip_forward", value="1")
    (tmp_path / "net").mkdir()

    write_sysctl(wanted, proc_sys=tmp_path)

    assert read_sysctls([wanted.key], proc_sys=tmp_path) == {wanted.key: wanted}


def test_a_refusal_is_an_error_that_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(NetlinkError, match=r"sysctl -w net\.ip_forward=1: No such file") as caught:
        write_sysctl(Sysctl(key="net.ip_forward", value="1"), proc_sys=tmp_path)

    assert caught.value.errno == errno.ENOENT
