"""Make the disk of the gateway in `test_traffic`: a Debian that boots, and the package in two versions.

Run as root before the lab is started: python -m tests.packaging.lab.disk FILE, with VPNAGENT_DEB_TESTED.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.packaging.debian.chroot import bootable
from tests.packaging.debian.tested import package

SIZE = "2G"  # sparse


def main() -> None:
    """Make it, in place of the last one."""
    disk = Path(sys.argv[1])
    disk.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="vpna-") as directory:
        bootable(Path(directory))
        shutil.copy(package(), Path(directory, "older.deb"))
        newer(Path(directory, "newer.deb"))
        made = ("/sbin/mke2fs", "-q", "-t", "ext4", "-m", "0", "-d", directory, disk, SIZE)
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL)


def newer(made: Path) -> None:
    """Make the package once more, under a higher version: nothing but that distinguishes the two."""
    with tempfile.TemporaryDirectory(prefix="vpna-") as tree:
        subprocess.run(["dpkg-deb", "--raw-extract", package(), tree], check=True)
        control = Path(tree, "DEBIAN/control")
        control.write_text(re.sub(r"(?m)^Version: .*$", r"\g<0>+newer", control.read_text()))
        build = ("dpkg-deb", "--build", "--root-owner-group", "-Znone", tree, made)
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
