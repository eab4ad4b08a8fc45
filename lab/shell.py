"""`./dev lab`: the lab with a running agent, and a shell on its gateway."""

from __future__ import annotations

import os
import subprocess

from lab.gateway import CHECKOUT, Gateway
from lab.world import RUNTIME, Lab

WELCOME = """
The lab is running; this is a shell on the gateway. Leaving it ends the lab.

  vpnagent status                       what the agent says
  ip netns exec idc ping 100.100.2.136  a cloud service, from the IDC host (namespaces: {namespaces})
  tail -f {log}
  swanctl --list-sas --uri unix://{vici}
"""


def main() -> None:
    """Start it all and hand over."""
    print("starting network, charons and agent ...", flush=True)
    lab = Lab()
    lab.start()
    lab.begin()
    gateway = Gateway(lab)
    gateway.start()
    gateway.wait_ready()
    names = " ".join(lab.topology.namespaces)
    print(WELCOME.format(namespaces=names, log=gateway.log, vici=lab.charon.socket), flush=True)
    aliases = RUNTIME / "bashrc"
    options = f"--config {gateway.configuration}"
    aliases.write_text(f"vpnagent() {{ command vpnagent \"$@\" {options}; }}\nPS1='gw \\w# '\n")
    path = f"{CHECKOUT}/.venv/bin:{os.environ['PATH']}"
    with lab.gateway.entered():
        subprocess.run(
            ["bash", "--rcfile", str(aliases), "-i"], env={**os.environ, "PATH": path}, check=False
        )
    gateway.kill()
    lab.save("shell")
    lab.stop()


if __name__ == "__main__":
    main()
