"""Hand one message to a webhook, a chat service or a mail server: a process that can be ended.

``python -P -m vpnagent.events.post`` takes one JSON object on its standard input, ``Hooks`` makes it: no
address, token or key is ever an argument. The exit status is an ``Delivery``; what the service said is one
line on standard error, without address and secrets. That of ``TOO_MANY`` begins with the seconds to wait.
A shell.
"""

import json
import os
import smtplib
import ssl
import sys
import time
import urllib.error
import urllib.request
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import IO, Any, Final

from vpnagent import __version__
from vpnagent.config.values import HookType
from vpnagent.events.services import Delivery, Posting, Receipt, judge, request
from vpnagent.secret import close_memory

TIMEOUT: Final = 60.0  #: seconds, more than any hook may take: whoever started us ends us before
MOST_HEARD: Final = 65536  #: bytes of an answer
PERMANENT: Final = 500  #: SMTP reply codes from here on are final (RFC 5321 §4.2.1)
NICENESS: Final = 10


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like any other: the token goes to whom it was given for."""

    def redirect_request(self, *_: Any) -> None:
        return None


def told(asked: dict[str, Any]) -> Receipt:
    """Return what came of the attempt."""
    kind = HookType(asked["type"])
    try:
        if kind is HookType.EMAIL:
            return mailed(asked["email"], asked["subject"], asked["text"])
        if kind is HookType.WEBHOOK:
            return posted(kind, Posting(asked["url"], asked["body"]), asked["token"])
        signed = request(kind, asked["url"], asked["secret"], asked["text"], time.time())
        return posted(kind, signed, asked["token"])
    except Exception as error:
        return Receipt(Delivery.AGAIN, _failure(error))


def posted(kind: HookType, what: Posting, token: str | None) -> Receipt:
    """Post a JSON object and judge the answer. Raises OSError, and ValueError for what is no address."""
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": f"vpnagent/{__version__}"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    body = json.dumps(what.body, ensure_ascii=False).encode()
    asked = urllib.request.Request(what.url, body, headers)  # noqa: S310 - http or https, by the configuration
    try:
        with urllib.request.build_opener(_NoRedirects).open(asked, timeout=TIMEOUT) as answer:
            return judge(kind, answer.status, answer.read(MOST_HEARD), None)
    except urllib.error.HTTPError as error:
        with error:
            return judge(kind, error.code, error.read(MOST_HEARD), error.headers.get("Retry-After"))


def mailed(mailbox: dict[str, Any], subject: str, text: str) -> Receipt:
    """Hand a message to the mail server (RFC 5321). Raises OSError and smtplib.SMTPException."""
    context = ssl.create_default_context()
    try:
        with _connected(mailbox, context) as server:
            if mailbox["username"] is not None:
                server.login(mailbox["username"], mailbox["password"] or "")
            refused = server.send_message(_letter(mailbox, subject, text))
    except smtplib.SMTPRecipientsRefused as error:
        refused = error.recipients
    except smtplib.SMTPResponseException as error:
        outcome = Delivery.NEVER if error.smtp_code >= PERMANENT else Delivery.AGAIN
        return Receipt(outcome, _reply(error.smtp_code, error.smtp_error))
    except smtplib.SMTPNotSupportedError as error:
        return Receipt(Delivery.NEVER, str(error))
    if refused:
        said = "; ".join(f"{who}: {_reply(*reply)}" for who, reply in refused.items())
        final = all(code >= PERMANENT for code, _ in refused.values())
        return Receipt(Delivery.NEVER if final else Delivery.AGAIN, f"not taken for {said}")
    return Receipt(Delivery.DELIVERED, "the mail server took it")


def _connected(mailbox: dict[str, Any], context: ssl.SSLContext) -> smtplib.SMTP:
    server, port = mailbox["server"], mailbox["port"]
    if mailbox["security"] == "tls":
        return smtplib.SMTP_SSL(server, port, timeout=TIMEOUT, context=context)
    connection = smtplib.SMTP(server, port, timeout=TIMEOUT)
    if mailbox["security"] == "starttls":
        try:
            connection.starttls(context=context)
        except BaseException:
            connection.close()
            raise
    return connection


def _letter(mailbox: dict[str, Any], subject: str, text: str) -> EmailMessage:
    letter = EmailMessage()
    letter["From"], letter["To"] = mailbox["sender"], ", ".join(mailbox["recipients"])
    letter["Subject"], letter["Date"] = subject, formatdate()
    letter["Message-ID"] = make_msgid(domain="vpnagent.invalid")
    letter["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday answers it
    letter.set_content(text + "\n")
    return letter


def _reply(code: int, said: bytes | str) -> str:
    words = said.decode(errors="replace") if isinstance(said, bytes) else said
    return f"SMTP reply {code} {' '.join(words.split())}"


def _failure(error: Exception) -> str:
    """Return why there was no answer; the texts of some errors hold the address."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    match reason:
        case ssl.SSLCertVerificationError():
            return f"TLS: the server's certificate is not accepted: {reason.verify_message}"
        case ssl.SSLError():
            return f"TLS: {(reason.reason or type(reason).__name__).lower().replace('_', ' ')}"
        case OSError() if reason.strerror:
            return str(reason)
        case str():
            return reason
        case _:
            pass
    return type(error).__name__


def _without(secrets: list[str | None], said: str) -> str:
    """Return a text in which no secret stands: some services repeat what they were given."""
    for secret in secrets:
        if secret:
            said = said.replace(secret, "***")
    return "".join(c if c.isprintable() else " " for c in said)


def main(given: IO[bytes], complaint: IO[str]) -> int:
    """Tell what is given; return the exit status."""
    close_memory()
    os.nice(NICENESS)
    asked = json.load(given)
    verdict = told(asked)
    address = asked["url"] or ""
    key = address.partition("?")[2].rpartition("=")[2]  # of DingTalk and WeCom: their access token
    password = (asked["email"] or {}).get("password")
    secrets = [address, key, address.rpartition("/")[2], asked["token"], asked["secret"], password]
    wait = f"{verdict.pause:g} " if verdict.outcome is Delivery.TOO_MANY else ""
    complaint.write(f"{wait}{_without(secrets, verdict.said)}\n")
    return int(verdict.outcome.value)


if __name__ == "__main__":
    sys.exit(main(sys.stdin.buffer, sys.stderr))
