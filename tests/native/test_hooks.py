"""A hook of a daemon that has capabilities has none."""

import os
import pathlib
import subprocess
import tempfile

from tests.native.service_user import python_for_others

HERE = pathlib.Path(__file__).parent
NOBODY = 65534
CAP_NET_ADMIN = 1 << 12


def test_a_hook_does_not_inherit_what_the_service_may() -> None:
    environment, python = python_for_others()
    as_the_service = [
        *("setpriv", "--reuid", str(NOBODY), "--clear-groups", "--inh-caps", "+net_admin"),
        *("--ambient-caps", "+net_admin", "--", "env", *environment),
        *(python, str(HERE / "hook_privileges.py")),
    ]
    with tempfile.TemporaryDirectory() as directory:
        os.chown(directory, NOBODY, NOBODY)
        output = pathlib.Path(directory) / "output"
        done = subprocess.run(
            [*as_the_service, str(output)], check=True, capture_output=True, text=True, timeout=60
        )
    assert done.stdout.split() == [str(CAP_NET_ADMIN), "0"]
