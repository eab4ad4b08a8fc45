"""A throw-away Debian in a directory, without a service manager: what dpkg and the maintainer scripts do.

It has namespaces of its own (network, mounts, processes): whatever the package removes is not the host's.
"""

import hashlib
import os
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.native.prober_process import until
from tests.packaging.debian.tested import ROOT, release

MIRROR = "http://deb.debian.org/debian"
NEEDED = (
    *("charon-systemd", "strongswan-swanctl", "libstrongswan-standard-plugins"),
    *("systemd", "iproute2", "python3", "network-manager"),
)

#: units for devices and terminals, which namespaces have none of: a boot would wait for them
HARDWARE = (
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
    "systemd-networkd-wait-online.service",
    "getty.target",
    "console-getty.service",
    "systemd-logind.service",
)
#: networkd is the one there, but for a test of the other
OTHER_MANAGER = ("NetworkManager.service", "NetworkManager-wait-online.service")

#: what dpkg and its like write down of every run, and what the network namespace is seen through
LOGS = ("/var/lib/dpkg", "/var/log", "/var/cache", "/var/lib/apt", "/proc", "/sys", "/dev", "/tmp", "/run")
#: copies that the tools of passwd(5) make of the files before a change
BACKUPS = (
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
    "/etc/.pwd.lock",
    "/etc/ld.so.cache",
)


class Chroot:
    """A Debian in a directory, and a process that keeps its namespaces."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._keeper = subprocess.Popen(
            [
                *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "chroot", directory),
                *("sh", "-c", "mount -t proc proc /proc; ip link set lo up; echo; exec sleep infinity"),
            ],
            stdout=subprocess.PIPE,
        )
        assert self._keeper.stdout is not None
        self._keeper.stdout.readline()
        self._enter = ["nsenter", "--target", _child(self._keeper)]
        self._enter += ["--net", "--mount", "--pid", "--root", "--wd"]

    def close(self) -> None:
        """End everything in it."""
        self._keeper.kill()
        self._keeper.wait()
        assert self._keeper.stdout is not None
        self._keeper.stdout.close()

    def run(self, *command: str, status: int = 0) -> str:
        """Run a command, which must end so; return what it prints."""
        done = subprocess.run(
            [*self._enter, *command],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            env={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "DEBIAN_FRONTEND": "noninteractive",
                "LC_ALL": "C.UTF-8",
            },
        )
        assert done.returncode == status, f"{command}: {done.returncode}: {done.stdout}"
        return done.stdout

    def as_service(self, *command: str, status: int = 0) -> str:
        """Run a command as the units' user, with the units' capabilities."""
        capabilities = "-all,+net_admin,+net_raw"
        return self.run(
            *("setpriv", "--reuid=vpnagent", "--regid=vpnagent", "--clear-groups", "--no-new-privs"),
            *(f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}"),
            *(f"--bounding-set={capabilities}", *command),
            status=status,
        )

    def path(self, name: str) -> Path:
        """Return where a file of it is."""
        return self.directory / name.lstrip("/")

    def files(self) -> dict[str, str]:
        """Return what is in each file, its mode and its owner, but for logs."""
        found = {}
        for folder, folders, names in os.walk(self.directory):
            here = "/" + os.path.relpath(folder, self.directory).removeprefix(".")
            folders[:] = [name for name in folders if os.path.join(here, name) not in LOGS]
            for name in (*folders, *names):
                path = os.path.join(here, name)
                if path not in BACKUPS:
                    found[path] = _described(Path(folder, name))
        return found


def _described(path: Path) -> str:
    about = path.lstat()
    content = ""
    if stat.S_ISLNK(about.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(about.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{about.st_mode:o} {about.st_uid}:{about.st_gid} {content}"


class Booted:
    """A Debian in a directory whose own systemd runs, in namespaces and a control group of its own.

    With `network`, the path of a network namespace, it has that one.
    """

    def __init__(self, directory: Path, network: Path | None = None) -> None:
        self._cgroup = _cgroup2() / f"vpna-{os.getpid()}"
        self._cgroup.mkdir()
        net = ("nsenter", f"--net={network}", "unshare") if network else ("unshare", "--net")
        namespaces = ("--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child")
        self._keeper = subprocess.Popen(
            [
                *("sh", "-c", 'echo $$ >"$0/cgroup.procs"; exec "$@"', self._cgroup),
                *(*net, *namespaces, ROOT / "tests/packaging/debian/boot.sh", directory),
            ],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        first = until(lambda: _child(self._keeper), within=30)
        self.root = Path("/proc", first, "root")
        self._enter = ["nsenter", "--target", first, "--all", "--wd"]

    def wait(self, within: float) -> None:
        """Until systemd has started what it starts at a boot."""
        until(
            lambda: self.run("systemctl is-system-running || true").strip() in ("running", "degraded"),
            within=within,
            every=0.5,
        )

    def run(self, script: str) -> str:
        """Run shell commands, of which the last must succeed; return what they print."""
        command = [*self._enter, "sh", "-c", script]
        done = subprocess.run(
            command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1200
        )
        assert done.returncode == 0, f"{script}: {done.stdout}"
        return done.stdout

    def close(self) -> None:
        """End everything in it: with its first process all others end."""
        self._keeper.kill()
        self._keeper.wait()
        for group in sorted((path for path in self._cgroup.rglob("*") if path.is_dir()), reverse=True):
            _remove(group)
        _remove(self._cgroup)


def _child(process: subprocess.Popen[bytes]) -> str:
    """Return the process id of the first child, "" while there is none."""
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().partition(" ")[0]


def _cgroup2() -> Path:
    """Return where the unified hierarchy is mounted."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return Path(next(mount[1] for mount in mounts if mount[2] == "cgroup2"))


def _remove(group: Path) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            group.rmdir()
        except OSError:  # what was in it is about to end
            assert time.monotonic() < deadline, f"{group} is not empty"
            time.sleep(0.05)
        else:
            return


@contextmanager
def booted(directory: Path) -> Iterator[Booted]:
    """Boot a Debian in a directory."""
    bootable(directory)
    made = Booted(directory)
    try:
        yield made
    finally:
        made.close()


def bootable(directory: Path) -> None:
    """Put a Debian into a directory, in which namespaces can boot it."""
    _extract(directory)
    for unit in (*HARDWARE, *OTHER_MANAGER):
        Path(directory, "etc/systemd/system", unit).symlink_to("/dev/null")


@contextmanager
def chroot(directory: Path) -> Iterator[Chroot]:
    """Make a Debian in a directory, from a copy that is kept in build/; its namespaces end at the end."""
    _extract(directory)
    made = Chroot(directory)
    try:
        yield made
    finally:
        made.close()


def _extract(directory: Path) -> None:
    kind = hashlib.sha256(repr(NEEDED).encode()).hexdigest()[:8]
    base = ROOT / f"build/deb-test/{release().name}-{kind}.tar"
    if not base.exists():
        base.parent.mkdir(parents=True, exist_ok=True)
        fresh = base.with_name("new.tar")
        command = [
            "mmdebstrap",
            "--quiet",
            "--mode=root",
            "--variant=minbase",
            f"--include={','.join(NEEDED)}",
        ]
        subprocess.run([*command, release().name, fresh, MIRROR], check=True)
        fresh.rename(base)
    subprocess.run(
        ["tar", "--extract", "--numeric-owner", "--file", base, "--directory", directory], check=True
    )
