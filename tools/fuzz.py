"""``./dev fuzz``: what strangers, files, programs and the kernel say, mutated by coverage, to its decoders.

Each decoder may raise the errors that its callers catch, and nothing else. A corpus of each is kept in
tests/corpora: what is found beyond it is left in build/fuzz, where an input that broke a decoder is, too.
atheris (libFuzzer) watches which branches an input takes; it has wheels for x86_64 only.
"""

import argparse
import contextlib
import functools
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

CORPORA = Path("tests/corpora")
FOUND = Path("build/fuzz")
INPUTS = 1_000_000  # of each
LONGEST = 4096  # bytes of an input
SLOWEST = 20  # seconds for an input: it hangs
MEMORY = 2048  # MiB

HERE = "--in-here"  # the process that fuzzes, and no other, has its imports instrumented

with atheris.instrument_imports(include=["vpnagent"]) if HERE in sys.argv else contextlib.nullcontext():
    from vpnagent.checks import iptables_text, nft_json
    from vpnagent.checks import observe as checks_observe
    from vpnagent.commands.import_.assemble import Answers
    from vpnagent.commands.import_.imported import assembly_of, yaml_of
    from vpnagent.config.load import load
    from vpnagent.control import protocol
    from vpnagent.daemon import memory
    from vpnagent.daemon.memory import Standing
    from vpnagent.errors import AgentError
    from vpnagent.events.store import Store, query_of
    from vpnagent.netlink import message, nft, rtnetlink
    from vpnagent.netlink.socket import UNREADABLE
    from vpnagent.probe import ike_daemons, packets
    from vpnagent.probe.interfaces import Interfaces
    from vpnagent.probe.protocol import Assembler
    from vpnagent.probe.server import StateFile
    from vpnagent.routing import fib, observe, uplinks, ways

ANSWERS = Answers(
    attachment="vpn-gateway", local_networks=("10.1.0.0/16",), remote_networks=("172.16.0.0/16",)
)
NONCE, QUESTION = 0x0102030405060708, b"\x06aliyun\x03com\x00\x00\x01\x00\x01"
ROWS: tuple[Callable[[bytes], Any], ...] = (
    rtnetlink.link_row,
    rtnetlink.address_row,
    rtnetlink.counters,
    rtnetlink.nexthop_row,
    observe.our_route,
    uplinks.nexthop_leg,
    fib.fib_rule,
    nft.rule_row,
    ways.way,
    ways.found,
)


def of_yaml(data: bytes) -> None:
    """A configuration."""
    with contextlib.suppress(AgentError):
        load("vpnagent.yaml", content=data, read_secrets=False, hostname="idc")


def of_document(data: bytes) -> None:
    """What the cloud's console or API gave."""
    with contextlib.suppress(AgentError):
        yaml_of(assembly_of({"document.json": data}, ANSWERS), ["document.json"], "psk")


def of_control(data: bytes) -> None:
    """A line on the control socket, and the daemon's answer to the command."""
    with contextlib.suppress(AgentError):
        query_of(protocol.request_of(data))
    with contextlib.suppress(AgentError):
        protocol.answer_of(data)


def of_prober(data: bytes) -> None:
    """Datagrams on the prober's socket, each after its length."""
    assembler = Assembler()
    with contextlib.suppress(AgentError):
        while data:
            assembler.feed(data[1 : 1 + data[0] * 16])
            data = data[1 + data[0] * 16 :]


def of_state(data: bytes) -> None:
    """Every file of ours with the same content."""
    folder = _folder()
    for name in ("standing.yaml", "unconfirmed.json", memory.FILE, "events.jsonl", "prober.sock.state"):
        (Path(folder) / name).write_bytes(data)
    Standing("vpnagent.yaml", folder, read_secrets=False).unconfirmed()
    memory.read(folder)
    Store(folder).read()
    StateFile(f"{folder}/prober.sock").read()


@functools.cache
def _folder() -> str:
    """Return a folder in memory; libFuzzer ends the process, and it goes with the machine's next boot."""
    return tempfile.mkdtemp(prefix="vpnagent-fuzz-", dir="/dev/shm")


def of_vici(data: bytes) -> None:
    """What charon sends the prober."""
    with contextlib.suppress(ValueError):
        for packet in ike_daemons.Frames().feed(data):
            ike_daemons.failure(packet)
    ike_daemons.failure(data)


def of_netlink(data: bytes) -> None:
    """A datagram of the kernel's, to the daemon's rows and the prober's."""
    for row in ROWS:
        with contextlib.suppress(*UNREADABLE):
            for reply in message.messages(data):
                row(reply.body)
    with contextlib.suppress(*UNREADABLE):
        for reply in message.messages(data):
            message.ack(reply)
    with contextlib.suppress(*UNREADABLE):
        Interfaces(message.messages(data))


def of_replies(data: bytes) -> None:
    """A packet that passed a probe's socket."""
    packets.Echo(0x1234, NONCE).reply(data)
    packets.dns_id(data)
    packets.dns_answers(data, QUESTION)
    packets.syn_answered(data)
    ike_daemons.ike_answered(data)


def of_firewall(data: bytes) -> None:
    """What nft and iptables-save print."""
    text = data.decode(errors="replace")
    with contextlib.suppress(*checks_observe.UNREADABLE):
        nft_json.ruleset(json.loads(text))
    with contextlib.suppress(*checks_observe.UNREADABLE):
        iptables_text.chains(text)


DECODERS: dict[str, Callable[[bytes], None]] = {
    "yaml": of_yaml,
    "document": of_document,
    "control": of_control,
    "prober": of_prober,
    "state": of_state,
    "vici": of_vici,
    "netlink": of_netlink,
    "replies": of_replies,
    "firewall": of_firewall,
}


def fuzz(name: str, inputs: int) -> None:
    """Fuzz one decoder; ends the process, with a status other than 0 where an input broke it."""
    found = FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    logging.disable()
    options = {
        "runs": inputs,
        "max_len": LONGEST,
        "timeout": SLOWEST,
        "rss_limit_mb": MEMORY,
        "artifact_prefix": f"{FOUND}/{name}-",
        "print_final_stats": 1,
    }
    arguments = [f"-{key}={value}" for key, value in options.items()]
    atheris.Setup([sys.argv[0], *arguments, str(found), str(CORPORA / name)], DECODERS[name])
    atheris.Fuzz()


def main() -> int:
    """Fuzz what is asked for, one decoder after the other, each in a process of its own."""
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(DECODERS)}; default: all")
    parser.add_argument("--inputs", type=int, default=INPUTS, help=f"for each (default: {INPUTS})")
    parser.add_argument(HERE, action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - DECODERS.keys():
        parser.error(f"no such decoder: {', '.join(sorted(unknown))}")
    if arguments.in_here:
        fuzz(arguments.names[0], arguments.inputs)
    broken = 0
    for name in arguments.names or DECODERS:
        begun = time.monotonic()
        command = [sys.executable, "-m", "tools.fuzz", name, "--inputs", str(arguments.inputs), HERE]
        done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
        broken += done.returncode != 0
        said = (
            "no foreign exception"
            if not done.returncode
            else f"BROKEN, see {FOUND}\n{done.stdout}{done.stderr}"
        )
        print(f"{name}: {arguments.inputs} inputs in {time.monotonic() - begun:.0f} s: {said}", flush=True)
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
