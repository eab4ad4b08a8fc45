"""Files of ours, in folders that the service's user may own: the one way to open them, whoever comes there.

Root comes there too (``down``, ``guard``, ``support-bundle``), and the folder's owner may have laid anything
in the way. So root has, from the first folder on that is not its own, that owner's rights to files and no
more; a file is opened relative to its folder, never through a link and never waited for; it is believed only
if it is a regular file without a second name, of the folder's owner, root or ourselves; it is read up to a
bound, and never given to anybody. What is no such file is damage: told by name, and laid aside.

Standard library only, and as little of it as can be: the prober comes here too. A shell.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from typing import Final, NamedTuple

MOST: Final = 1 << 20  #: bytes of a file of the state directory
DAMAGED: Final = ".damaged"
_FLAGS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LINK: Final = "it is a link"


class DamagedError(OSError):
    """What lies in the place of a file is none of ours, or not what it must be; ``strerror`` says why."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(errno.EINVAL, f"is no file of vpnagent's: {reason}", path)
        self.reason = reason

    def __str__(self) -> str:
        return str(self.strerror)


class Folder(NamedTuple):
    """An open folder; its names are opened, replaced and removed as its owner."""

    path: str
    descriptor: int
    found: os.stat_result

    def open(self, name: str, flags: int, mode: int = 0o600) -> int:
        """Return the descriptor of a file; ``flags`` without O_TRUNC, which would act before the checks.

        Raises DamagedError, or OSError.
        """
        path = os.path.join(self.path, name)
        try:
            descriptor = os.open(name, flags | _FLAGS, mode, dir_fd=self.descriptor)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise DamagedError(path, _LINK) from None
            if error.errno in (errno.ENXIO, errno.EISDIR):  # a socket, a FIFO that nobody reads; a folder
                raise DamagedError(path, "it is no regular file") from None
            raise OSError(error.errno, error.strerror, path) from None
        try:
            self._check(os.fstat(descriptor), path)
        except DamagedError:
            os.close(descriptor)
            raise
        return descriptor

    def _check(self, found: os.stat_result, path: str) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise DamagedError(path, "it is no regular file")
        if found.st_nlink > 1:
            raise DamagedError(path, "it has a second name")
        if found.st_uid not in (0, self.found.st_uid, os.geteuid()):
            raise DamagedError(path, f"it belongs to uid {found.st_uid}")

    def read(self, name: str, most: int = MOST) -> bytes:
        """Return what a file holds, at most ``most`` bytes. Raises DamagedError, or OSError."""
        return _content(self.open(name, os.O_RDONLY), os.path.join(self.path, name), most)

    def replace(self, name: str, content: bytes, mode: int = 0o600, *, sync: bool = True) -> None:
        """Write a file, so that after any crash it holds the old or the new content. Raises OSError.

        Without ``sync``, which waits for the disk, that holds for a crash of ours only.
        """
        scratch = f"{name}.new"
        self.clear(scratch)
        descriptor = self.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        self.rename(scratch, name)

    def clear(self, name: str) -> None:
        """Have nothing of a name: a folder is laid aside. Raises OSError."""
        try:
            self.remove(name)
        except IsADirectoryError:
            self.set_aside(name)

    def remove(self, name: str) -> None:
        """Remove a name, if it is there. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def rename(self, old: str, new: str) -> None:
        """Rename a file, over another one; a folder in its way is laid aside. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(os.lstat(new, dir_fd=self.descriptor).st_mode):
                self.set_aside(new)
        os.replace(old, new, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def set_aside(self, name: str) -> None:
        """Lay aside what is damaged, whatever it is, for somebody to look at. Raises OSError."""
        os.replace(name, f"{name}{DAMAGED}", src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)


@contextlib.contextmanager
def folder(path: str | os.PathLike[str], *, make: int | None = None, follow: bool = True) -> Iterator[Folder]:
    """Open a folder; until it is given back, root is its owner and no more.

    ``make`` is the mode in which it is made where it is missing. Without ``follow`` it must not be a link.
    Raises OSError.
    """
    path = os.path.abspath(path)
    with rights_of_owner(path) as owner:
        if make is not None:
            os.makedirs(path, mode=make, exist_ok=True)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        descriptor = os.open(path, flags)
        try:
            found = os.fstat(descriptor)
            # Also of one that was changed for another meanwhile, in a folder where anybody may.
            if os.geteuid() == 0 and (found.st_uid != owner or _owner(path)[0] != owner):
                raise DamagedError(path, f"the way there is uid {owner}'s, and it is uid {found.st_uid}'s")
            yield Folder(path, descriptor, found)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def rights_of_owner(path: str | os.PathLike[str]) -> Iterator[int]:
    """Have, as root, the rights to files of the first on the way to ``path`` that is not root; give its uid.

    This thread's only (setfsuid(2), which takes CAP_DAC_OVERRIDE and its like along): the daemon's other
    threads go on. For others than root nothing changes, and the uid is their own.
    """
    if os.geteuid() != 0:
        yield os.geteuid()
        return
    user, group = _owner(os.path.abspath(path))
    if user == 0:
        yield 0
        return
    import ctypes  # noqa: PLC0415 - costs 10 ms, and only root needs it

    libc = ctypes.CDLL(None)
    before = libc.setfsgid(group), libc.setfsuid(user)
    try:
        if libc.setfsuid(-1) != user:  # it tells no errors, only who we were
            raise PermissionError(errno.EPERM, f"the rights of uid {user} cannot be taken", os.fspath(path))
        yield user
    finally:
        libc.setfsuid(before[1])
        libc.setfsgid(before[0])


def _owner(path: str) -> tuple[int, int]:
    """Return the first owner, with its group, on the way to a path, as written and as it really is."""
    for way in (path, os.path.realpath(path)):
        at = "/"
        for part in way.split("/")[1:]:
            at = os.path.join(at, part)
            try:
                found = os.lstat(at)
            except OSError:
                break
            if found.st_uid != 0:
                return found.st_uid, found.st_gid
    return 0, 0


def read(path: str | os.PathLike[str], most: int = MOST) -> bytes:
    """Return what a file of ours holds. Raises DamagedError; FileNotFoundError or another OSError."""
    place, name = os.path.split(os.path.abspath(path))
    with folder(place) as opened:
        return opened.read(name, most)


def replace_file(path: str | os.PathLike[str], content: bytes, *, sync: bool = True) -> None:
    """Write a file, readable by us alone, as ``Folder.replace``; its folder is made. Raises OSError."""
    place, name = os.path.split(os.path.abspath(path))
    with folder(place, make=0o700) as opened:
        opened.replace(name, content, sync=sync)


def write_as_asked(path: str, content: bytes, mode: int = 0o666) -> None:
    """Write a file whole where somebody asked for it; ``mode`` less the umask. Raises OSError.

    Its name may be a link where the way to it is our own, and only there.
    """
    if _owner(os.path.abspath(path))[0] in (0, os.geteuid()):
        path = os.path.realpath(path)
    place, name = os.path.split(os.path.abspath(path))
    with folder(place) as opened:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(name, dir_fd=opened.descriptor).st_mode):
                raise OSError(errno.EINVAL, "it is no regular file", path)
        opened.replace(name, content, mode)


def remove(path: str | os.PathLike[str]) -> None:
    """Remove a file of ours, if it is there. Raises OSError."""
    place, name = os.path.split(os.path.abspath(path))
    with contextlib.suppress(FileNotFoundError), folder(place) as opened:
        opened.remove(name)


def bind(listener: socket.socket, path: str, mode: int, *, group: int | None = None) -> None:
    """Bind a unix socket in place of what lies there; ``group`` is given it where we may. Raises OSError."""
    place, name = os.path.split(os.path.abspath(path))
    with folder(place, make=0o755) as opened:
        opened.clear(name)
        mask = os.umask(~mode & 0o777)
        try:
            listener.bind(path)
        finally:
            os.umask(mask)
        if group is not None:
            with contextlib.suppress(PermissionError):
                os.chown(name, -1, group, dir_fd=opened.descriptor, follow_symlinks=False)


def set_aside(path: str | os.PathLike[str]) -> str:
    """Lay a damaged file aside; return in words what became of it."""
    place, name = os.path.split(os.path.abspath(path))
    try:
        with folder(place) as opened:
            opened.set_aside(name)
    except OSError as error:
        return f"it cannot be laid aside: {error.strerror or error}"
    return f"laid aside as {name}{DAMAGED}"


def of_operator(path: str | os.PathLike[str], most: int) -> bytes:
    """Return what a file holds that an operator named, links and all: a regular one, of bounded size.

    Raises OSError; ValueError for what is no name of a file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        return _content(descriptor, os.fspath(path), most)
    except DamagedError as error:
        raise OSError(errno.EINVAL, error.reason, path) from None


def _content(descriptor: int, path: str, most: int) -> bytes:
    """Return what an open file holds, and close it."""
    with open(descriptor, "rb", buffering=0) as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise DamagedError(path, "it is no regular file")
        parts, left = [], most + 1
        while left and (part := file.read(left)):
            parts.append(part)
            left -= len(part)
        if not left:
            raise DamagedError(path, f"it is larger than {most} bytes")
        return b"".join(parts)
