"""A real charon that has IKE version 1 is silent when it is asked for it, and keeps nothing of it."""

import asyncio
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.native.charon_pair import Host

from vpnagent.ipsec.charon import Charon

if os.geteuid() != 0:
    pytest.skip("network namespaces need root: ./dev test runs these", allow_module_level=True)

ASK = "import asyncio; from vpnagent.checks import observe; {}; print(asyncio.run(observe.has_ikev1()))"
#: What no charon has: it refuses it by the function, and in the form, by which others refuse version 1.
IN_VERSION_3 = "old = observe._main_mode; observe._main_mode = lambda s: old(s).replace(b'\\x10', b'\\x30')"


@pytest.fixture
def charon(tmp_path: pathlib.Path) -> Iterator[Host]:
    host = Host("v1", 1, tmp_path)
    subprocess.run(["ip", "netns", "add", host.namespace], check=True)
    subprocess.run(["ip", "-n", host.namespace, "link", "set", "lo", "up"], check=True)
    try:
        host.start(libipsec=False)
        yield host
    finally:
        host.kill()
        subprocess.run(["ip", "netns", "del", host.namespace], check=False)


def asked(host: Host, before: str = "") -> str:
    command = ["ip", "netns", "exec", host.namespace, sys.executable, "-c", ASK.format(before or "pass")]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


async def ike_sas(host: Host) -> int:
    charon = Charon(host.vici, on_event=lambda _event: None)
    try:
        await charon.connect()
        return len((await charon.observe()).sas)
    finally:
        charon.close()


def test_a_charon_of_debian_has_it_and_makes_no_state(charon: Host) -> None:
    assert asked(charon) == "True"
    assert asyncio.run(ike_sas(charon)) == 0
    assert "unsupported IKE version" not in charon.log()
    assert asked(charon, IN_VERSION_3) == "False"
    assert "received unsupported IKE version 3.0 from 127.0.0.1" in charon.log()
    charon.kill()
    assert asked(charon) == "None"
