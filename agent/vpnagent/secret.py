"""A value that must not be seen: no repr, no str, no format, no pickle shows it.

OpenSSL is imported where it is used: the prober knows this type and never has a secret.
"""

import ctypes
from typing import Final, NoReturn

PR_SET_DUMPABLE: Final = 4


def close_memory() -> None:
    """Let nobody without CAP_SYS_PTRACE read this process's memory, nor the kernel write it to a core file.

    PR_SET_DUMPABLE(2const): other processes of the same user are shut out, too. An execve(2) ends it.
    """
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


class Secret:
    """Bytes whose repr is ``***``. ``reveal()`` is the only way to the content."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content = content

    def reveal(self) -> bytes:
        """Return the content; call it only where it is handed to charon."""
        return self._content

    def digest(self, *, key: bytes) -> str:
        """Return a keyed digest, to tell whether two secrets are the same without keeping either."""
        import hashlib  # noqa: PLC0415 - see above
        import hmac  # noqa: PLC0415

        return hmac.new(key, self._content, hashlib.sha256).hexdigest()

    def __eq__(self, other: object) -> bool:
        import hmac  # noqa: PLC0415 - see above

        return isinstance(other, Secret) and hmac.compare_digest(self._content, other._content)

    def __hash__(self) -> int:
        return hash((Secret, self._content))

    def __repr__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")
