"""The file's hooks: what they become, and what is wrong between their keys. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from vpnagent.config import values
from vpnagent.config.file_models import ConfigFile, HookSection
from vpnagent.config.kinds import URL
from vpnagent.config.places import repeated
from vpnagent.config.wording import Violation, Wording, listed, said
from vpnagent.secret import Secret

TARGETS: Final = ("command", "url", "url_file")
LOOPBACK: Final = ("127.0.0.1", "localhost")

Secrets = Mapping[tuple[int, str], Secret]  #: by the index of the hook and the key that names the file
NO_SECRETS: Final[Secrets] = {}


def hook(section: HookSection, url: Secret | None, token: Secret | None) -> values.Hook:
    """Return the value; ``url`` and ``token`` are those of its files."""
    return values.Hook(
        name=section.name,
        command=section.command,
        url=url if section.url is None else Secret(section.url.encode()),
        token=token,
        events=section.events,
        timeout=section.timeout,
        retries=section.retries,
    )


def contradictions(file: ConfigFile, secrets: Secrets) -> Iterator[Violation]:
    """Yield what is wrong between the keys of hooks, and with addresses that come from files."""
    for index, name, _ in repeated((i, section.name) for i, section in enumerate(file.hooks)):
        yield Violation(("hooks", index, "name"), said("must be unique: another hook is named {}", name))
    for index, section in enumerate(file.hooks):
        here = ("hooks", index)
        given = [key for key in TARGETS if getattr(section, key)]
        if len(given) != 1:
            rule = f"exactly one of {listed(TARGETS, 'and')} is required"
            yield Violation(here, said(f"{rule}, not {{}}", listed(given or ["none"], "and")))
        if section.command and not section.command[0].startswith("/"):
            yield Violation((*here, "command", 0), said("must be the absolute path of a program"))
        if section.command and section.token_file is not None:
            yield Violation((*here, "token_file"), said("has no meaning with command"))
        if problem := _of_address(section, secrets.get((index, "url_file"))):
            yield Violation((*here, *problem[0]), problem[1])


def _of_address(section: HookSection, from_file: Secret | None) -> tuple[tuple[str], Wording] | None:
    """Return the key that is to blame and the rule, if the address is none or may not carry the token."""
    url = section.url
    if from_file is not None:
        url = from_file.reveal().decode("ascii")
        try:
            URL.parse(url)
        except ValueError as error:
            return ("url_file",), said("the file's content {}", str(error))
    parts = urlsplit(url or "")
    if section.token_file is not None and parts.scheme == "http" and parts.hostname not in LOOPBACK:
        return ("token_file",), said("needs https: over http anybody on the way can read the token")
    return None
