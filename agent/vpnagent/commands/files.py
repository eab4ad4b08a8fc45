"""Files that a command writes for an operator: whole or not at all, and never over something else unasked."""

import os
import stat
from dataclasses import dataclass, field
from typing import Final

import click

from vpnagent import own_files
from vpnagent.config.files import service_group
from vpnagent.errors import ConfigError, Problem

MOST: Final = 16 << 20  #: bytes of what is compared
OWNER_ONLY: Final = 0o600
OWNER_AND_GROUP: Final = 0o640
READABLE: Final = 0o644


@dataclass(frozen=True, slots=True)
class File:
    """A file to be written."""

    path: str
    content: bytes = field(repr=False)
    mode: int
    group: int | None = None  #: id; None: whatever the directory gives

    def check(self, *, replace: bool) -> None:
        """See that nothing else is there. Raises ConfigError."""
        if self._is_there() is False and not replace:
            raise problem(self.path, "holds something else already; --force replaces it")

    def write(self, *, replace: bool) -> None:
        """Write the file, unless it is there already. Raises ConfigError."""
        there = self._is_there()
        try:
            if not there:
                self._place(replace=replace)
                say(f"{self.path}: {'written' if there is None else 'replaced: it held something else'}")
                return
            with own_files.rights_of_owner(self.path):
                if stat.S_IMODE(os.stat(self.path).st_mode) & ~self.mode:
                    os.chmod(self.path, self.mode)
        except OSError as error:
            raise problem(self.path, f"cannot be written: {error.strerror}") from error

    def _place(self, *, replace: bool) -> None:
        """Put the file in its place: at every moment there is the old one or the new, and whole."""
        place, name = os.path.split(os.path.abspath(self.path))
        scratch = f".vpnagent-{os.getpid()}"
        with own_files.folder(place) as folder:
            folder.clear(scratch)
            try:
                descriptor = folder.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                with open(descriptor, "wb") as file:
                    file.write(self.content)
                    file.flush()
                    if self.group is not None and folder.found.st_uid == os.geteuid():
                        os.fchown(descriptor, -1, self.group)
                    os.fchmod(descriptor, self.mode)
                    os.fsync(descriptor)
                here = folder.descriptor
                if replace:
                    os.replace(scratch, name, src_dir_fd=here, dst_dir_fd=here)
                else:  # unlike a rename, refuses what came in between
                    os.link(scratch, name, src_dir_fd=here, dst_dir_fd=here)
            finally:
                folder.remove(scratch)

    def _is_there(self) -> bool | None:
        """Return whether this is what is there; None where nothing is. Raises ConfigError."""
        try:
            with own_files.rights_of_owner(self.path):
                if os.path.lexists(self.path) and not os.path.isfile(self.path):
                    raise problem(self.path, "must be a regular file")
                found = own_files.of_operator(self.path, MOST)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise problem(self.path, f"cannot be read: {error.strerror}") from error
        return found.rstrip(b"\r\n") == self.content.rstrip(b"\r\n")  # an editor's newline


def key_file(path: str, content: bytes) -> File:
    """Return a pre-shared key's file: its owner's alone; made by root, its service's group's too."""
    group = service_group() if os.geteuid() == 0 else None
    return File(path, content, OWNER_ONLY if group is None else OWNER_AND_GROUP, group)


def problem(name: str, text: str) -> ConfigError:
    """Return an error about a file as a whole."""
    return ConfigError((Problem(name, 0, "", text),))


def say(text: str) -> None:
    """Tell on standard error, where it is in nobody's way."""
    click.echo(text, err=True)
