"""A decoded VICI message: sections of sections, lists and values, all of them bytes as they came.

Reading is strict where charon always tells a key and lenient where it may leave one out, and whatever
another program sends instead is a ``ValueError``, never another error.
"""

from collections.abc import Iterator, Mapping

Section = Mapping[str, object]


def text(section: Section, key: str, default: str | None = None) -> str:
    """Return a value as text; without a default its absence is an error."""
    value = section.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, bytes):
        raise ValueError(f"{key} is missing or not a value")  # noqa: TRY004 - one error for bad input
    return value.decode("utf-8", "replace")


def number(section: Section, key: str, default: int | None = None) -> int:
    """Return a value that charon writes in decimal."""
    return int(text(section, key, None if default is None else str(default)))


def hexadecimal(section: Section, key: str) -> int:
    """Return a value that charon writes in hexadecimal and leaves out when it is zero."""
    return int(text(section, key, "0"), 16)


def flag(section: Section, key: str) -> bool:
    """Return whether a flag is told; charon leaves false ones out."""
    return text(section, key, "no") == "yes"


def texts(section: Section, key: str) -> tuple[str, ...]:
    """Return a list of values; empty where charon tells none."""
    values = section.get(key, [])
    if not isinstance(values, list):
        raise ValueError(f"{key} is not a list")  # noqa: TRY004 - one error for bad input
    return tuple(bytes(value).decode("utf-8", "replace") for value in values)


def sections(section: Section) -> Iterator[tuple[str, Section]]:
    """Yield the sections directly inside this one, by name."""
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield name, value


def subsection(section: Section, key: str) -> Section:
    """Return the section of that name; empty where charon tells none."""
    value = section.get(key, {})
    if not isinstance(value, Mapping):
        raise ValueError(f"{key} is not a section")  # noqa: TRY004 - one error for bad input
    return value
