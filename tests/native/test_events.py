"""Events on a file system that is really full."""

import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent


def test_a_full_disk_is_told_tears_no_line_and_takes_the_rest_when_there_is_room(
    tmp_path: pathlib.Path,
) -> None:
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, str(HERE / "full_disk.py")]
    done = subprocess.run([*command, str(tmp_path)], check=True, capture_output=True, text=True, timeout=60)
    told = json.loads(done.stdout)
    kept = told["kept"]
    assert told["problem"] == f"{tmp_path}/events.jsonl: No space left on device"
    assert told["before"] == list(range(1, kept))
    assert told["again"] is None
    assert told["after"] == list(range(1, kept + 2))
