"""A machine in a folder: programs that print what a test wants, and places to look for all the rest."""

import asyncio
import pathlib
from collections.abc import Mapping
from typing import Any

from vpnagent.commands.support_bundle.collect import Places, collect
from vpnagent.commands.support_bundle.known_secrets import BundleSecrets, Part
from vpnagent.config.schema import keys
from vpnagent.record import replace

#: What is run besides, and ends at once.
QUIET = dict.fromkeys(("ip", "nft", "journalctl", "systemctl", "dpkg-query", "vpnagent"), "exit 0")


class Machine:
    """Its configuration is ``etc/vpnagent/vpnagent.yaml``, its state below ``state``."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.folder = root / "etc/vpnagent"
        self.state = root / "state"
        for folder in (self.folder, self.state, root / "bin"):
            folder.mkdir(parents=True)
        self.config = self.write("etc/vpnagent/vpnagent.yaml", "version: 1\n")
        self.programs(QUIET)

    def write(self, path: str, text: str, mode: int = 0o600) -> pathlib.Path:
        """Write a file."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
        return file

    def programs(self, scripts: Mapping[str, str]) -> None:
        """Have programs be shell scripts."""
        for name, script in scripts.items():
            self.write(f"bin/{name}", f"#!/bin/sh\n{script}\n", 0o755)

    def secrets(self) -> BundleSecrets:
        """Return all secrets of it that can be found."""
        found = BundleSecrets(str(self.folder), root=str(self.root))
        found.add_configuration(str(self.config))
        found.add_services()
        found.add_strongswan()
        return found

    def parts(self, **changes: Any) -> dict[str, Part]:
        """Return what is collected, by name; ``changes`` are further ones of the places."""
        places = Places(
            config_path=str(self.config),
            control_socket=str(self.root / "control.sock"),
            vici_socket=str(self.root / "charon.vici"),
            standing=str(self.state / "standing.yaml"),
            state_directory=str(self.state),
            known_keys=keys(),
            is_there=self.secrets().is_there,
            path=str(self.root / "bin"),
            vpnagent=(str(self.root / "bin/vpnagent"),),
        )
        places = replace(places, **changes)
        return {part.name: part for part in asyncio.run(collect(places))}
