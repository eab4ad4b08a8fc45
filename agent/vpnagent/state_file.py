"""Replace a file of the state directory as a whole."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Write the file, readable by us alone, so that after any crash it holds the old or the new content.

    Raises OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.new")
    with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
