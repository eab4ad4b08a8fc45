"""Look at the machine: files below /proc, /sys, /etc and /run. A shell: opens files, changes nothing.

Every reading returns what it saw or raises UnreadableError or OSError. ``root`` is another place to find
``/etc``, ``/lib`` and ``/run`` in, for tests; the network's own files are always those of the namespace
that this thread is in.
"""

import contextlib
import glob
import json
import os
import stat
from collections.abc import Iterable, Iterator
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Final

import yaml

from vpnagent import own_files
from vpnagent.checks.certificates import LISTENER, expiry
from vpnagent.checks.host import DISABLE_POLICY, DISABLE_XFRM, ECHO_IGNORED, MODULES
from vpnagent.checks.observation import Certificate, Listener, Modules, OpenFile, Pool
from vpnagent.config.files import SecretFileError, revision
from vpnagent.config.values import CertificateFiles, Config
from vpnagent.policy.desired import SYSCTLS
from vpnagent.record import replace
from vpnagent.routing.observe import read_sysctls

ROOT: Final = Path("/")
NET: Final = Path("/proc/thread-self/net")
IKE_PORTS: Final = (500, 4500)
TIME_ERROR: Final = 5  #: adjtimex(2): the clock is not synchronised
TIMEX_SIZE: Final = 256  #: bytes, more than struct timex has anywhere
DOCKER_DEFAULT_POOLS: Final = (
    *("172.17.0.0/16", "172.18.0.0/16", "172.19.0.0/16", "172.20.0.0/14", "172.24.0.0/14", "172.28.0.0/14"),
    "192.168.0.0/16",
)  #: moby, daemon/libnetwork/ipamutils


class UnreadableError(Exception):
    """Why something could not be looked at, in one line."""


def modules(release: str, root: Path = ROOT) -> Modules:
    """Return which of the modules we need are not there."""
    installed = root / "lib/modules" / release
    loaded = {name for name in MODULES if (root / "sys/module" / name).exists()}
    try:
        listed = (installed / "modules.builtin").read_text() + (installed / "modules.dep").read_text()
    except OSError:
        if loaded == set(MODULES):
            listed = ""
        else:
            raise UnreadableError(f"{installed} lists no modules, as in a container") from None
    built_in = (installed / "modules.builtin").read_text() if listed else ""
    present = {name for name in MODULES if f"/{name}.ko" in listed}
    ready = loaded | {name for name in MODULES if f"/{name}.ko" in built_in}
    return Modules(
        lacking=frozenset(set(MODULES) - present - loaded),
        unloaded=frozenset(present - ready),
        loading_forbidden=_sysctl_is_set("kernel.modules_disabled"),
    )


def _sysctl_is_set(key: str) -> bool:
    return any(sysctl.value == "1" for sysctl in read_sysctls([key]).values())


def sysctls(config: Config) -> dict[str, str]:
    """Return the settings that matter."""
    names = ["all", *(tunnel.interface for tunnel in config.tunnels())]
    keys = [sysctl.key for sysctl in SYSCTLS] + [ECHO_IGNORED]
    found = {key: sysctl.value for key, sysctl in read_sysctls(keys).items()}
    for pattern in (DISABLE_XFRM, DISABLE_POLICY):
        for name in names:  # a name may hold dots: the path is made by hand
            path = Path("/proc/sys") / pattern.partition("{")[0].replace(".", "/") / name
            try:
                found[pattern.format(name)] = (path / pattern.rpartition(".")[2]).read_text().strip()
            except OSError:
                continue  # the interface is not there yet
    return found


def listeners(*, owners: bool) -> tuple[Listener, ...]:
    """Return who listens on the ports of IKE; ``owners``: look for the processes too, as root."""
    rows = [line.split() for line in (NET / "udp").read_text().splitlines()[1:]]
    bound = {(row[1], row[9]) for row in rows if int(row[1].rpartition(":")[2], 16) in IKE_PORTS}
    names = _processes({inode for _, inode in bound}) if owners and bound else {}
    return tuple(
        Listener(
            port=int(place.rpartition(":")[2], 16),
            address=IPv4Address(int.from_bytes(bytes.fromhex(place.partition(":")[0])[::-1])),
            process=names.get(inode, ""),
        )
        for place, inode in sorted(bound)
    )


def _processes(inodes: set[str]) -> dict[str, str]:
    """Return the name of the process that has each socket; /proc is read once."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[str, str] = {}
    for link in map(Path, glob.iglob("/proc/[0-9]*/fd/*")):  # pathlib's own stumbles over those that end
        with contextlib.suppress(OSError):  # gone meanwhile, or not ours to see
            inode = wanted.get(os.readlink(link))
            if inode:
                found[inode] = (link.parents[1] / "comm").read_text().strip()
    return found


def clock_synchronised() -> bool:
    """Return whether the kernel was told that its clock is right (adjtimex(2))."""
    import ctypes  # noqa: PLC0415 - the daemon never asks for the clock, and need not load it

    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(TIMEX_SIZE))
    if state < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return bool(state != TIME_ERROR)


def hardware_aes() -> bool:
    """Return whether the processor has instructions for AES."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = [line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))]
    if not flags:
        raise UnreadableError("/proc/cpuinfo lists no features on this machine")
    return "aes" in flags[0]


def open_files(config: Config, config_path: str) -> tuple[OpenFile, ...]:
    """Return what others may write to: keys, the configuration, any folder above them, charon's socket."""
    files = {os.path.abspath(config_path), *_key_files(config, config_path)}
    above = {str(folder) for file in files for folder in Path(file).parents}
    found = [_mode(path) for path in sorted(files | above)]
    socket = _mode(config.agent.vici_socket)
    # In a folder with the sticky bit only the owner replaces a file.
    return tuple(
        file
        for file in [*found, socket]
        if file and file.mode & stat.S_IWOTH and not (stat.S_ISDIR(file.mode) and file.mode & stat.S_ISVTX)
    )


def _mode(path: str) -> OpenFile | None:
    try:
        return OpenFile(path=path, mode=os.stat(path).st_mode)
    except OSError:
        return None  # whether it must be there is said elsewhere


def _key_files(config: Config, config_path: str) -> Iterator[str]:
    """Return the files of keys: of pre-shared ones the configuration's values no longer know the names."""
    folder = os.path.dirname(os.path.abspath(config_path))
    yield from (t.certificates.private_key for t in config.tunnels() if t.certificates)
    try:
        content = yaml.load(own_files.of_operator(config_path, own_files.MOST), Loader=yaml.CSafeLoader)
        for connection in content["connections"]:
            for tunnel in connection["tunnels"]:
                if isinstance(name := tunnel.get("psk_file"), str):
                    yield os.path.normpath(os.path.join(folder, name))
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError, RecursionError):
        return  # the configuration in force is another than this file


def certificates(config: Config) -> tuple[Certificate, ...]:
    """Return when the certificates expire that tunnels and the metrics' listener use."""
    found = [_certificate(*row) for row in _certificate_files(config)]
    stale = {str(t.key) for t in config.tunnels() if t.certificates and _is_replaced(t.certificates)}
    return tuple(replace(certificate, replaced=certificate.owner in stale) for certificate in found)


def _is_replaced(files: CertificateFiles) -> bool:
    return bool(files.revision) and revision(files) not in ("", files.revision)


def _certificate_files(config: Config) -> Iterator[tuple[str, str, str]]:
    for tunnel in config.tunnels():
        if tunnel.certificates:
            yield str(tunnel.key), "certificate", tunnel.certificates.certificate
            yield str(tunnel.key), "CA", tunnel.certificates.ca
    if tls := config.agent.metrics_tls:
        yield LISTENER, "certificate", tls.certificate
        if tls.client_ca is not None:
            yield LISTENER, "CA", tls.client_ca


def _certificate(owner: str, role: str, path: str) -> Certificate:
    found = partial(Certificate, owner=owner, role=role, file=path)
    try:
        return found(expiry=expiry(own_files.of_operator(path, own_files.MOST)))
    except OSError as error:
        return found(expiry=None, error=f"cannot be read: {error.strerror}")
    except (SecretFileError, ValueError) as error:
        return found(expiry=None, error=str(error))


def pools(root: Path = ROOT) -> tuple[Pool, ...]:
    """Return the ranges that container engines take networks from: of Docker, CNI and Podman."""
    docker = root / "etc/docker/daemon.json"
    settings = _json(docker) if docker.exists() else {}
    found = [*_subnets(settings, ("base", "bip"), docker)]
    own_pools = isinstance(settings, dict) and "default-address-pools" in settings
    if (root / "run/docker.sock").exists() and not own_pools:
        found += [Pool(network=IPv4Network(n), where="Docker's defaults") for n in DOCKER_DEFAULT_POOLS]
    folders = (root / "etc/cni/net.d", root / "etc/containers/networks")
    for path in sorted(path for folder in folders for path in folder.glob("*.*")):
        if path.suffix in (".json", ".conf", ".conflist"):
            found += _subnets(_json(path), ("subnet",), path)
    return tuple(found)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"{path} is not JSON: {error}") from error


def _subnets(value: Any, keys: Iterable[str], path: Path) -> Iterator[Pool]:
    """Return each IPv4 network under one of the keys, however deep."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in keys and isinstance(inner, str):
                yield from _pool(inner, path)
            yield from _subnets(inner, keys, path)
    elif isinstance(value, list):
        for inner in value:
            yield from _subnets(inner, keys, path)


def _pool(text: str, path: Path) -> Iterator[Pool]:
    try:
        yield Pool(network=IPv4Network(text, strict=False), where=str(path))
    except ValueError:
        return  # IPv6, or something else


def resolvers(root: Path = ROOT) -> tuple[IPv4Address, ...]:
    """Return the IPv4 name servers of this machine."""
    found = []
    for name in ("etc/resolv.conf", "run/systemd/resolve/resolv.conf"):
        path = root / name
        for words in map(str.split, path.read_text().splitlines() if path.exists() else ()):
            try:
                if words and words[0] == "nameserver":
                    found.append(IPv4Address(words[1]))
            except (IndexError, ValueError):
                continue  # IPv6, or nothing
    return tuple(dict.fromkeys(found))
