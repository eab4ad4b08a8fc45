"""The package under a real systemd, booted in namespaces: the sandbox lets the units work and nothing else.

No virtual machine: this host's kernel, and where that has no XFRM interfaces no tunnel comes up.
"""

import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.native.prober_process import until
from tests.packaging.debian.chroot import Booted, booted
from tests.packaging.debian.test_installed import CONFIG, PSK
from tests.packaging.debian.tested import ROOT, package, release

if os.geteuid() != 0:
    pytest.skip("a systemd needs root: ./dev deb-test runs this", allow_module_level=True)

PATIENCE = 180.0  #: seconds
OBJECTS = "ip -brief link; ip rule; ip nexthop; ip route show table all; ip xfrm policy; ip xfrm state;"
RAN, TOLD = "/var/lib/vpnagent/ran", "/var/lib/vpnagent/told"  #: what the hook writes
HOOK = f"""\
hooks:
  - name: note
    command: [/bin/sh, -c, "exec >{RAN} 2>&1; cat /proc/self/status; touch /etc/ran; cat >>{TOLD}"]
    events: [info]
"""

UNIT = "vpna-try.service"  #: vpnagent.service with another program
TRY = """\
[Service]
Type=oneshot
ExecStart=
ExecStart=/usr/lib/vpnagent/bin/python -I /attempts.py /attempts.json
Restart=no
WatchdogSec=0
StandardOutput=truncate:/tried
"""

#: what the user can do, in the unit's sandbox
CAN = (
    "read('/etc/vpnagent/psk/primary')",
    "write('/var/lib/vpnagent/tried')",
    "write('/proc/sys/net/ipv4/ip_forward', '1')",
    "subprocess.run(['ip', 'route', 'add', 'unreachable', '198.51.100.0/24'], check=True)",
    "socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)",
    "os.kill(PROBER, 0)",
    "connect('/run/charon.vici')",
    "os.nice(1)",
)
#: what it cannot, and who says so: permissions (EACCES, EPERM), a read-only mount (EROFS), hidden (ENOENT)
CANNOT = (
    ("read('/etc/shadow')", "EACCES"),
    ("open(f'/proc/{PROBER}/mem', 'rb')", "EACCES EPERM ENOENT"),
    ("os.sched_setaffinity(0, {0})", "EPERM"),
    ("read('/etc/vpnagent/psk/roots')", "EACCES"),
    ("os.listdir('/root')", "EACCES"),
    ("os.listdir('/home')", "EACCES"),
    ("write('/etc/vpnagent/psk/mine')", "EACCES EROFS"),
    ("write('/etc/vpnagent/vpnagent.yaml')", "EACCES EROFS"),
    ("write('/etc/anything')", "EACCES EROFS"),
    ("write('/usr/lib/vpnagent/anything')", "EACCES EROFS"),
    ("write('/var/open/anything')", "EROFS"),  # a directory that everybody may write to
    ("write('/proc/sys/kernel/core_pattern', 'x')", "EACCES EROFS"),
    ("write('/proc/sys/vm/swappiness', '1')", "EACCES EROFS"),
    ("write('/sys/fs/cgroup/cgroup.procs', '1')", "EACCES EROFS"),
    ("os.chmod('/var/lib/vpnagent', 0o4700)", "EPERM"),
    ("read('/proc/1/environ')", "ENOENT"),
    ("os.kill(1, 15)", "EPERM"),
    ("os.kill(CHARON, 15)", "EPERM"),
    ("call('ptrace', 16, PROBER, 0, 0)", "EPERM"),  # PTRACE_ATTACH: not even its like
    ("os.setuid(0)", "EPERM"),
    ("root_by('/usr/local/bin/id-as-root')", "EPERM"),
    ("os.chroot('/')", "EPERM"),
    ("call('mount', b'x', b'/mnt', b'tmpfs', 0, None)", "EPERM"),
    ("call('unshare', 0x10000000)", "EPERM"),  # CLONE_NEWUSER
    ("call('init_module', b'', 0, b'')", "EPERM"),
    ("call('syscall', 321, 0, None, 0)", "EPERM"),  # bpf(2) on amd64
    ("call('reboot', 0)", "EPERM"),
    ("socket.sethostname('x')", "EPERM"),
    ("time.clock_settime(time.CLOCK_REALTIME, 1e9)", "EPERM"),
    ("mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)", "EACCES EPERM"),
    ("socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", "EAFNOSUPPORT"),
    ("read('/dev/mem')", "ENOENT EACCES EPERM"),
    ("read('/dev/kmsg')", "ENOENT EACCES EPERM"),
)


@pytest.fixture(scope="module")
def debian() -> Iterator[Booted]:
    with tempfile.TemporaryDirectory(prefix="vpna-") as directory, booted(Path(directory)) as made:
        shutil.copy(package(), Path(directory, "vpnagent.deb"))
        shutil.copy(ROOT / "tests/packaging/debian/attempts.py", directory)
        made.wait(within=PATIENCE)
        made.run(f"{{ {OBJECTS} }} >/objects; dpkg --install /vpnagent.deb")
        Path(directory, "etc/vpnagent/vpnagent.yaml").write_text(CONFIG + HOOK)
        made.run(f"umask 027; echo {PSK} >/etc/vpnagent/psk/primary")
        made.run("systemctl enable --now vpnagent")
        yield made


def pid(debian: Booted, unit: str) -> int:
    return int(debian.run(f"systemctl show --property MainPID --value {unit}"))


def tried(debian: Booted, *attempts: str, setting: str = "") -> list[str]:
    """Return the outcomes of attempts in the sandbox of vpnagent.service, with a setting changed."""
    drop_in = f"{TRY}{setting}\n"
    debian.run(
        f"cd /run/systemd/system; cp /lib/systemd/system/vpnagent.service {UNIT}; mkdir -p {UNIT}.d;"
        f"printf %s {shlex.quote(drop_in)} >{UNIT}.d/try.conf;"
        f"printf %s {shlex.quote(json.dumps(attempts))} >/attempts.json;"
        f"systemctl daemon-reload; systemctl start {UNIT}"
    )
    outcomes: list[str] = json.loads(debian.run("cat /tried"))
    return outcomes


def ours(debian: Booted) -> str:
    """Return our routes."""
    return debian.run("ip route show proto 86")


def active(debian: Booted) -> bool:
    return debian.run("systemctl is-active vpnagent vpnagent-prober || true").split() == ["active"] * 2


def test_the_sandbox_lets_them_work(debian: Booted) -> None:
    assert active(debian)
    assert "unreachable 100.64.0.0/10" in debian.run("ip route show proto 86")
    assert debian.run("cat /proc/sys/net/ipv4/nexthop_compat_mode").strip() == "0"
    until(
        lambda: f"charon {release().charon}, prober connected" in debian.run("vpnagent status || true"),
        within=PATIENCE,
        every=0.5,
    )
    debian.run("systemctl reload vpnagent")
    debian.run("systemctl start vpnagent-guard")


@pytest.mark.parametrize(
    ("killed", "other"), [("vpnagent", "vpnagent-prober"), ("vpnagent-prober", "vpnagent")]
)
def test_a_kill_of_one_is_healed_and_leaves_the_other(debian: Booted, killed: str, other: str) -> None:
    before, untouched, routes = pid(debian, killed), pid(debian, other), ours(debian)
    debian.run(f"kill -KILL {before}")
    until(lambda: pid(debian, killed) not in (0, before) and active(debian), within=PATIENCE, every=0.2)
    assert (pid(debian, other), ours(debian)) == (untouched, routes)


def test_a_daemon_that_stands_still_is_replaced(debian: Booted) -> None:
    before, prober, routes = pid(debian, "vpnagent"), pid(debian, "vpnagent-prober"), ours(debian)
    debian.run(f"kill -STOP {before}")
    until(lambda: pid(debian, "vpnagent") not in (0, before) and active(debian), within=PATIENCE, every=0.5)
    assert (pid(debian, "vpnagent-prober"), ours(debian)) == (prober, routes)
    assert "watchdog" in debian.run("journalctl --unit vpnagent --output cat")


def test_a_hook_runs_as_the_services_user_without_its_capabilities(debian: Booted) -> None:
    until(lambda: "DaemonStarted" in debian.run(f"cat {TOLD} || true"), within=PATIENCE, every=0.5)
    assert debian.run(f"stat --format '%U %G' {RAN}") == "vpnagent vpnagent\n"
    said = debian.run(f"cat {RAN}")
    status = {line.partition(":")[0]: line.partition(":")[2].strip() for line in said.splitlines()}
    assert [int(status[name], 16) for name in ("CapEff", "CapPrm", "CapAmb")] == [0, 0, 0]
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert "touch: cannot touch '/etc/ran'" in said
    assert "Traceback" not in debian.run("journalctl --unit vpnagent --output cat")
    assert "HookFailing" not in debian.run("vpnagent status --json || true")


def test_what_the_user_can_do_in_the_sandbox(debian: Booted) -> None:
    attempts = known_pids(debian, *CAN)
    assert dict(zip(CAN, tried(debian, *attempts), strict=True)) == dict.fromkeys(CAN, "done")
    debian.run("ip route del unreachable 198.51.100.0/24")


def test_what_the_user_cannot_do_in_the_sandbox(debian: Booted) -> None:
    debian.run(
        "install --mode 600 /dev/null /etc/vpnagent/psk/roots; mkdir -p /var/open; chmod 1777 /var/open;"
        "install --mode 4755 /usr/bin/id /usr/local/bin/id-as-root"
    )
    attempts = [attempt for attempt, _ in CANNOT]
    outcomes = dict(zip(attempts, tried(debian, *known_pids(debian, *attempts)), strict=True))
    assert {a: outcomes[a] for a, refusals in CANNOT if outcomes[a] not in refusals.split()} == {}


def test_without_its_group_the_vici_socket_is_closed_to_the_user(debian: Booted) -> None:
    assert tried(debian, "connect('/run/charon.vici')", setting="SupplementaryGroups=") == ["EACCES"]


def known_pids(debian: Booted, *attempts: str) -> list[str]:
    """Fill in process ids, which the sandbox hides."""
    charon = str(pid(debian, "strongswan"))
    prober = str(pid(debian, "vpnagent-prober"))
    return [a.replace("PROBER", prober).replace("CHARON", charon) for a in attempts]


def test_a_restart_of_networkd_leaves_what_it_did_not_make(debian: Booted) -> None:
    if release().name == "bookworm":
        pytest.skip("networkd 252 knows no ManageForeignNextHops, and removes groups: docs/install.md")
    debian.run(
        "ip link add uplink type veth peer name other; ip link set other up;"
        "ip address add 192.0.2.9/24 dev other; cd /etc/systemd/network;"
        "printf '[Match]\\nName=uplink\\n[Network]\\nAddress=198.51.100.9/24\\n' >uplink.network;"
        "systemctl restart systemd-networkd"
    )
    until(lambda: "198.51.100.9" in debian.run("ip address"), within=PATIENCE, every=0.2)
    debian.run(
        "ip nexthop add id 4001 dev other proto 99; ip nexthop add id 4000 group 4001 proto 99;"
        "ip route add 203.0.113.0/24 nhid 4000 proto 99; ip rule add lookup 99 pref 99 protocol 99"
    )
    foreign = "ip nexthop; ip route show proto 99; ip rule"
    before = debian.run(foreign)
    invocation = "systemctl show --property InvocationID systemd-networkd"
    earlier = debian.run(f"{invocation}; systemctl restart systemd-networkd")
    until(lambda: "configured" in debian.run("networkctl --no-pager list uplink"), within=PATIENCE, every=0.2)
    assert debian.run(invocation) != earlier
    assert debian.run(foreign) == before
    debian.run(
        "ip rule del pref 99; ip link del uplink; rm /etc/systemd/network/uplink.network;"
        "networkctl reload"  # or it gives the next link of that name this one's address
    )


def test_a_restart_of_networkmanager_leaves_the_tunnels_alone_and_what_it_did_not_make(
    debian: Booted,
) -> None:
    debian.run(
        "set -e; ip link add uplink type veth peer name other; ip link set other up;"
        "ip link add vpn-x type veth peer name vpn-y; ip link set vpn-y up;"
        "ip link set vpn-x up; ip address add 169.254.77.2/30 dev vpn-x;"
        # before its start: it makes a profile with DHCP for whatever has none
        "(umask 077; nmcli --offline connection add type ethernet ifname uplink con-name uplink"
        " ipv6.method disabled ipv4.method manual ipv4.addresses 198.51.100.9/24 ipv4.gateway 198.51.100.1"
        " >/etc/NetworkManager/system-connections/uplink.nmconnection);"
        "rm /etc/systemd/system/NetworkManager.service; systemctl daemon-reload;"
        "systemctl start NetworkManager"
    )
    devices = "nmcli --terse --fields device,state device"
    until(lambda: "uplink:connected\n" in debian.run(devices), within=PATIENCE, every=0.5)
    assert "vpn-x:unmanaged\n" in debian.run(devices)
    debian.run(
        "ip nexthop add id 4001 dev vpn-x proto 99; ip nexthop add id 4000 group 4001 proto 99;"
        "ip route add 203.0.113.0/24 nhid 4000 proto 99; ip rule add lookup 99 pref 99 protocol 99;"
        "ip route add 192.0.2.1 via 198.51.100.1 proto 99"  # to a peer, by an uplink that it manages
    )
    foreign = "ip -brief address show vpn-x; ip nexthop; ip route show proto 99; ip rule"
    before, earlier = debian.run(foreign), pid(debian, "NetworkManager")
    debian.run("systemctl restart NetworkManager")
    until(lambda: "uplink:connected\n" in debian.run(devices), within=PATIENCE, every=0.5)
    assert pid(debian, "NetworkManager") != earlier
    assert debian.run(foreign) == before
    debian.run("systemctl stop NetworkManager; ip rule del pref 99; ip link del uplink; ip link del vpn-x")


def test_a_key_that_cannot_be_read_is_refused_at_a_reload_and_nothing_changes(debian: Booted) -> None:
    before, routes = pid(debian, "vpnagent"), ours(debian)
    debian.run("chmod 600 /etc/vpnagent/psk/primary; ! systemctl reload vpnagent")
    assert "ConfigReloadFailed" in debian.run("vpnagent status --json || true")
    assert (pid(debian, "vpnagent"), ours(debian), active(debian)) == (before, routes, True)
    debian.run("chmod 640 /etc/vpnagent/psk/primary; systemctl reload vpnagent")
    assert "ConfigReloadFailed" not in debian.run("vpnagent status --json || true")


def test_a_key_that_cannot_be_read_at_a_start_is_one_line_and_guards_and_prober_stay(debian: Booted) -> None:
    prober, routes = pid(debian, "vpnagent-prober"), ours(debian)
    debian.run("chmod 600 /etc/vpnagent/psk/primary; systemctl restart vpnagent || true")
    until(lambda: "failed" in debian.run("systemctl is-failed vpnagent || true"), within=PATIENCE, every=0.5)
    told = debian.run("journalctl --unit vpnagent --output cat --identifier vpnagent --lines 1")
    assert told == (
        "/etc/vpnagent/vpnagent.yaml:9: connections[0].tunnels[0].psk_file: cannot be opened:"
        " Permission denied (names are relative to /etc/vpnagent)\n"
    )
    assert (pid(debian, "vpnagent-prober"), ours(debian)) == (prober, routes)
    debian.run("chmod 640 /etc/vpnagent/psk/primary; systemctl start vpnagent")
    assert active(debian)


def test_a_purge_leaves_nothing_in_the_kernel_and_nothing_running(debian: Booted) -> None:
    debian.run("dpkg --purge vpnagent")
    assert debian.run(OBJECTS) == debian.run("cat /objects")
    assert "vpnagent" not in debian.run(
        "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; stat --format %G /run/charon.vici"
    )
