"""The file's hooks: their sections, the values they become, and what is wrong between their keys. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import Field

from vpnagent.config import kinds
from vpnagent.config.kinds import URL, choice, duration, integer, member
from vpnagent.config.sections import Section, key, required
from vpnagent.config.values import Hook, HookLanguage, HookType, Mailbox, MailSecurity
from vpnagent.config.wording import Violation, Wording, listed, repeated, said
from vpnagent.finding import WORDS
from vpnagent.secret import Secret

MAX_RECIPIENTS: Final = 20


class EmailSection(Section):
    """Mail: the server that takes it, and from whom to whom it goes."""

    server: Annotated[str, kinds.SERVER] = required("Name or address of the mail server.")
    security: Annotated[MailSecurity, member(MailSecurity)] = key(
        "`starttls`, `tls` (from the first byte), or `none`, which never carries a password.", "starttls"
    )
    port: Annotated[int | None, integer(1, 65535)] = key(
        "TCP port of the server. Default: 587 with `starttls`, 465 with `tls`, 25 with `none`."
    )
    username: Annotated[str | None, kinds.USERNAME] = key("Name of the login. Default: no login.")
    password_file: Annotated[str | None, kinds.FILE] = key(
        "File of the login's password; named, owned and closed as `psk_file`."
    )
    sender: Annotated[str, kinds.MAIL_ADDRESS] = required("Address that the mail is from.")
    recipients: Annotated[
        tuple[Annotated[str, kinds.MAIL_ADDRESS], ...],
        Field(min_length=1, max_length=MAX_RECIPIENTS, title="list of mail addresses"),
    ] = required("Addresses that it goes to.")


class HookSection(Section):
    """Who else is told of events: a command, a webhook, a chat group or a mailbox (docs/events.md)."""

    name: Annotated[str, kinds.NAME] = required("Name of the hook, unique.")
    type: Annotated[HookType | None, member(HookType)] = key(
        "How it is told: `dingtalk`, `wecom`, `feishu` and `slack` are robots of a chat group, `email` is "
        "mail, and these get a message that people read; `webhook` and `command` get the event as a JSON "
        "object. Default: `command` with `command`, `email` with `email`, else `webhook`."
    )
    command: Annotated[tuple[Annotated[str, kinds.ARGUMENT], ...], Field(title="list of arguments")] = key(
        "Program, by its absolute path, and its arguments; no shell reads them. It gets the event on its "
        "standard input. Exactly one of `command`, `url`, `url_file` and `email` is required.",
        [],
    )
    email: EmailSection | None = key("The mail server, the sender and the recipients.")
    url: Annotated[str | None, kinds.URL] = key(
        "Where the event is posted. One that is a secret by itself belongs into `url_file`."
    )
    url_file: Annotated[str | None, kinds.FILE] = key(
        "File that holds the address; named, owned and closed as `psk_file`."
    )
    token_file: Annotated[str | None, kinds.FILE] = key(
        "File of a bearer token that is sent along, to https only; named, owned and closed as `psk_file`."
    )
    secret_file: Annotated[str | None, kinds.FILE] = key(
        "File of the key that signs messages, of a DingTalk or Feishu robot with signature check; named, "
        "owned and closed as `psk_file`."
    )
    language: Annotated[HookLanguage, member(HookLanguage)] = key(
        "Language of messages that people read: `en` or `zh`. An event's details stay English.",
        "en",
    )
    events: Annotated[
        tuple[Annotated[str, choice(*WORDS)], ...],
        Field(min_length=1, title="list of types and severities"),
    ] = key("Which events: types, or severities, which mean that and worse.", ["info"])
    timeout: Annotated[float, duration("100ms", "60s")] = key("Time for one attempt.", "5s")
    retries: Annotated[int, integer(0, 10)] = key(
        "Attempts after the first, with pauses of 1, 2, 4 ... at most 30 s.", 3
    )


TARGETS: Final = ("command", "url", "url_file", "email")
SIGNED: Final = (HookType.DINGTALK, HookType.FEISHU)
MAIL_PORTS: Final = {MailSecurity.STARTTLS: 587, MailSecurity.TLS: 465, MailSecurity.NONE: 25}
LOOPBACK: Final = ("127.0.0.1", "localhost")

Secrets = Mapping[tuple[int, str], Secret]  #: by the index of the hook and the key that names the file
NO_SECRETS: Final[Secrets] = {}


def hook(section: HookSection, of_files: Mapping[str, Secret]) -> Hook:
    """Return the value; ``of_files`` has what the files hold that it names, by key."""
    return Hook(
        name=section.name,
        type=_type_of(section),
        command=section.command,
        url=of_files.get("url_file") if section.url is None else Secret(section.url.encode()),
        secret=of_files.get("secret_file"),
        email=None if section.email is None else _mailbox(section.email, of_files.get("password_file")),
        language=section.language,
        token=of_files.get("token_file"),
        events=section.events,
        timeout=section.timeout,
        retries=section.retries,
    )


def _type_of(section: HookSection) -> HookType:
    if section.type is not None:
        return section.type
    if section.email is not None:
        return HookType.EMAIL
    return HookType.COMMAND if section.command else HookType.WEBHOOK


def _mailbox(section: EmailSection, password: Secret | None) -> Mailbox:
    return Mailbox(
        server=section.server,
        port=section.port or MAIL_PORTS[section.security],
        security=section.security,
        username=section.username,
        password=password,
        sender=section.sender,
        recipients=section.recipients,
    )


def hook_contradictions(hooks: Sequence[HookSection], secrets: Secrets) -> Iterator[Violation]:
    """Yield what is wrong between the keys of hooks, and with addresses that come from files."""
    for index, name, _ in repeated((i, section.name) for i, section in enumerate(hooks)):
        yield Violation(("hooks", index, "name"), said("must be unique: another hook is named {}", name))
    for index, section in enumerate(hooks):
        here = ("hooks", index)
        given = [key for key in TARGETS if getattr(section, key)]
        if len(given) != 1:
            rule = f"exactly one of {listed(TARGETS, 'and')} is required"
            yield Violation(here, said(f"{rule}, not {{}}", listed(given or ["none"], "and")))
        if section.command and not section.command[0].startswith("/"):
            yield Violation((*here, "command", 0), said("must be the absolute path of a program"))
        yield from (Violation((*here, *path), rule) for path, rule in _of_type(section))
        if problem := _of_address(section, secrets.get((index, "url_file"))):
            yield Violation((*here, *problem[0]), problem[1])


def _of_type(section: HookSection) -> Iterator[tuple[tuple[str, ...], Wording]]:
    """Yield the keys that do not go with a hook's type, and the rules."""
    kind = _type_of(section)
    addressed = "command" if kind is HookType.COMMAND else "email" if kind is HookType.EMAIL else "url"
    given = [key for key in TARGETS if getattr(section, key)]
    if len(given) == 1 and not given[0].startswith(addressed):
        needed = "url or url_file" if addressed == "url" else addressed
        yield ("type",), said(f"needs {needed}, not {given[0]}: it is {{}}", kind.value)
    if section.token_file is not None and kind is not HookType.WEBHOOK:
        yield ("token_file",), said(f"has no meaning with {kind.value}")
    if section.secret_file is not None and kind not in SIGNED:
        yield ("secret_file",), said(f"has no meaning with {kind.value}")
    if section.email is not None:
        yield from _of_login(section.email)


def _of_login(section: EmailSection) -> Iterator[tuple[tuple[str, ...], Wording]]:
    if (section.username is None) != (section.password_file is None):
        yield ("email", "username"), said("needs password_file, and password_file needs username")
    if section.security is MailSecurity.NONE and section.password_file is not None:
        yield ("email", "security"), said("must be starttls or tls with a password")


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
