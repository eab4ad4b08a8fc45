"""What is in a support bundle."""

from __future__ import annotations

import io
import tarfile


def unpacked(content: bytes) -> dict[str, str]:
    """Return the texts of a bundle's files, in their order, by their names within its folder."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {
            member.name.partition("/")[2]: archive.extractfile(member).read().decode()  # type: ignore[union-attr]
            for member in archive.getmembers()
        }
