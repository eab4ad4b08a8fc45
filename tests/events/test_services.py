"""Stand-ins answer as the services' manuals say: an attempt is judged by the body, and shows no secret."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import pathlib
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.certificates import authority, issued
from tests.on_a_loop import on_a_loop

from vpnagent.config.values import Hook, HookLanguage, HookType, Mailbox, MailSecurity
from vpnagent.events.event import Event, Happening, event_of
from vpnagent.events.hooks import PASSED_ON, HookError, tell
from vpnagent.finding import EventType, Severity
from vpnagent.secret import Secret

TOKEN, KEY, PASSWORD = "token-Hush-55aa", "SECHush77bb", "password-Hush-99"
FRESH = 3600.0  #: seconds by which a signature's clock may be off

Answer = tuple[int, str] | tuple[int, str, str]  #: status, body, and header lines


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PASSED_ON:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def event(sequence: int = 1) -> Event:
    text = "hangzhou/primary is down: <no> answer & silence"
    happening = Happening(
        type=EventType.TUNNEL_DOWN,
        at=1.5,
        severity=Severity.CRITICAL,
        text=text,
        connection="hangzhou",
        tunnel="primary",
    )
    return event_of(happening, sequence)


Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@contextlib.asynccontextmanager
async def serving(converse: Conversation, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Listen on loopback and yield the port; at the end no conversation and no socket is left."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await converse(reader, writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async with asyncio.TaskGroup() as group:

        def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            group.create_task(one(reader, writer))

        async with await asyncio.start_server(begin, "127.0.0.1", 0, ssl=context) as server:
            yield server.sockets[0].getsockname()[1]


class StandIn:
    """An HTTP server on loopback that answers a request as a function of its query and body says."""

    def __init__(self, answer: Callable[[dict[str, str], dict[str, Any]], Answer]) -> None:
        self._answer = answer
        self.bodies: list[dict[str, Any]] = []
        self.port = 0

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        header = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(header.lower().partition("content-length: ")[2].split()[0])
        body = json.loads(await reader.readexactly(length))
        self.bodies.append(body)
        query = {name: values[0] for name, values in parse_qs(urlsplit(header.split()[1]).query).items()}
        status, text, *more = self._answer(query, body)
        lines = "".join(f"{line}\r\n" for line in (*more, f"Content-Length: {len(text.encode())}"))
        writer.write(f"HTTP/1.1 {status} X\r\n{lines}Connection: close\r\n\r\n{text}".encode())

    @contextlib.asynccontextmanager
    async def listening(self, context: ssl.SSLContext | None = None) -> AsyncIterator["StandIn"]:
        async with serving(self._converse, context) as self.port:
            yield self

    def hook(self, kind: HookType, *, scheme: str = "http", key: str | None = None, **changes: Any) -> Hook:
        url = f"{scheme}://localhost:{self.port}/robot/send?access_token={TOKEN}"
        return a_hook(
            kind, url=Secret(url.encode()), secret=None if key is None else Secret(key.encode()), **changes
        )


def a_hook(kind: HookType, **changes: Any) -> Hook:
    plain: dict[str, Any] = {"command": (), "url": None, "token": None, "timeout": 20.0, "retries": 3}
    return Hook(name="oncall", type=kind, events=("info",), **{**plain, **changes})


def dingtalk(query: dict[str, str], body: dict[str, Any]) -> Answer:
    """A signed robot: https://open.dingtalk.com/document/robots/customize-robot-security-settings."""
    over = f"{query.get('timestamp')}\n{KEY}"
    sign = base64.b64encode(hmac.new(KEY.encode(), over.encode(), hashlib.sha256).digest()).decode()
    fresh = abs(float(query.get("timestamp", 0)) / 1000 - time.time()) < FRESH
    if query.get("sign") != sign or not fresh:
        return 200, '{"errcode":310000,"errmsg":"sign not match, more: [https://ding-doc.dingtalk.com]"}'
    if body["msgtype"] != "text" or not body["text"]["content"]:
        return 200, '{"errcode":40035,"errmsg":"缺少参数 json"}'
    return 200, '{"errcode":0,"errmsg":"ok"}'


def feishu(_query: dict[str, str], body: dict[str, Any]) -> Answer:
    """A signed robot: https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot."""
    key = f"{body.get('timestamp')}\n{KEY}"
    sign = base64.b64encode(hmac.new(key.encode(), b"", hashlib.sha256).digest()).decode()
    if body.get("sign") != sign or abs(float(body["timestamp"]) - time.time()) >= FRESH:
        return 200, '{"code":19021,"msg":"sign match fail or timestamp is not within one hour"}'
    assert body["msg_type"] == "text"
    return 200, '{"StatusCode":0,"StatusMessage":"success","code":0,"data":{},"msg":"success"}'


def wecom(_query: dict[str, str], body: dict[str, Any]) -> Answer:
    assert body["msgtype"] == "text"
    return 200, '{"errcode":0,"errmsg":"ok"}'


def slack(_query: dict[str, str], body: dict[str, Any]) -> Answer:
    assert "&lt;no&gt; answer &amp; silence" in body["text"]
    return 200, "ok"


@pytest.mark.parametrize(
    ("kind", "robot", "key"),
    [
        (HookType.DINGTALK, dingtalk, KEY),
        (HookType.FEISHU, feishu, KEY),
        (HookType.WECOM, wecom, None),
        (HookType.SLACK, slack, None),
    ],
)
def test_a_message_that_the_service_takes_is_delivered(
    kind: HookType, robot: Callable[[dict[str, str], dict[str, Any]], Answer], key: str | None
) -> None:
    @on_a_loop
    async def attempt() -> None:
        async with StandIn(robot).listening() as service:
            await tell(service.hook(kind, key=key), (event(),), gateway="idc-hz-1")
        assert "[critical] idc-hz-1: Tunnel Down hangzhou/primary" in json.dumps(service.bodies)

    attempt()


REFUSALS = [
    (
        HookType.DINGTALK,
        (200, '{"errcode":40035,"errmsg":"缺少参数 json"}'),
        "errcode 40035: 缺少参数 json",
        True,
    ),
    (HookType.DINGTALK, (200, '{"errcode":-1,"errmsg":"系统繁忙"}'), "errcode -1: 系统繁忙", False),
    (
        HookType.WECOM,
        (200, '{"errcode":93000,"errmsg":"invalid webhook url"}'),
        "errcode 93000: invalid",
        True,
    ),
    (HookType.FEISHU, (200, '{"code":19024,"msg":"Key Words Not Found"}'), "code 19024: Key Words", True),
    (HookType.FEISHU, (200, "<html>log in</html>"), "HTTP status 200, but the answer has no code", False),
    (HookType.SLACK, (404, "no_service"), "HTTP status 404: no_service", True),
    (HookType.SLACK, (200, "<html>log in</html>"), "the answer is not ok: <html>log in", True),
    (HookType.WECOM, (502, "Bad Gateway"), "HTTP status 502", False),
    (HookType.WECOM, (200, f'{{"errcode":1,"errmsg":"bad {TOKEN}"}}'), r"errcode 1: bad \*\*\*", True),
]


@pytest.mark.parametrize(("kind", "answer", "said", "final"), REFUSALS)
def test_a_refusal_is_told_in_the_services_words(
    kind: HookType, answer: Answer, said: str, final: bool
) -> None:
    @on_a_loop
    async def attempt() -> None:
        async with StandIn(lambda _query, _body: answer).listening() as service:
            with pytest.raises(HookError, match=said) as refused:
                await tell(service.hook(kind), (event(),), gateway="g")
        assert (refused.value.final, refused.value.pause) == (final, None)
        assert "Hush" not in str(refused.value)

    attempt()


@on_a_loop
async def test_a_wrong_key_is_the_services_to_refuse() -> None:
    async with StandIn(dingtalk).listening() as service:
        with pytest.raises(HookError, match="errcode 310000: sign not match"):
            await tell(service.hook(HookType.DINGTALK, key="SECother"), (event(),), gateway="g")


@pytest.mark.parametrize(
    ("kind", "answer", "pause"),
    [
        (HookType.DINGTALK, (200, '{"errcode":130101,"errmsg":"send too fast"}'), 600.0),
        (HookType.WECOM, (200, '{"errcode":45009,"errmsg":"api freq out of limit"}'), 60.0),
        (HookType.FEISHU, (200, '{"code":11232,"msg":"frequency limited"}'), 60.0),
        (HookType.SLACK, (429, "rate_limited", "Retry-After: 7"), 7.0),
        (HookType.WEBHOOK, (429, "", "Retry-After: 9"), 9.0),
    ],
)
def test_a_rate_limit_is_a_pause_and_no_failure(kind: HookType, answer: Answer, pause: float) -> None:
    @on_a_loop
    async def attempt() -> None:
        async with StandIn(lambda _query, _body: answer).listening() as service:
            with pytest.raises(HookError) as refused:
                await tell(service.hook(kind), (event(),), gateway="g")
        assert (refused.value.pause, refused.value.final) == (pause, False)

    attempt()


@on_a_loop
async def test_a_certificate_that_nobody_vouches_for_is_told_in_words(tmp_path: pathlib.Path) -> None:
    made = issued(authority(tmp_path, "ca"), tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    async with StandIn(wecom).listening(context) as service:
        with pytest.raises(HookError, match=r"^TLS: the server's certificate is not accepted: "):
            await tell(service.hook(HookType.WECOM, scheme="https"), (event(),), gateway="g")
    assert service.bodies == []


@on_a_loop
async def test_tls_to_a_server_without_it_is_told_in_words() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    service = StandIn(wecom)
    async with serving(plain) as service.port:
        with pytest.raises(HookError, match=r"^TLS: "):
            await tell(service.hook(HookType.WECOM, scheme="https"), (event(),), gateway="g")


@on_a_loop
async def test_a_service_that_never_answers_is_told_as_that() -> None:
    async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    service = StandIn(wecom)
    async with serving(hang) as service.port:
        with pytest.raises(HookError, match=r"no end within 1 s"):
            await tell(service.hook(HookType.WECOM, timeout=1.0), (event(),), gateway="g")


class MailServer:
    """A mail server as RFC 5321 has it, as far as one message needs; each reply can be replaced."""

    def __init__(self, **replies: str) -> None:
        self._replies = replies
        self.data = ""
        self.said: list[str] = []
        self.port = 0

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        while line := (await reader.readline()).decode().strip():
            verb = line.split(":")[0].split()[0].upper()
            self.said.append(line)
            writer.write(f"{self._replies.get(verb.lower(), self._usual(verb))}\r\n".encode())
            if verb == "DATA" and "data" not in self._replies:
                self.data = (await reader.readuntil(b"\r\n.\r\n")).decode()
                writer.write(b"250 queued\r\n")

    def _usual(self, verb: str) -> str:
        return {"DATA": "354 go on", "QUIT": "221 bye", "AUTH": "235 ok"}.get(verb, "250 ok")

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["MailServer"]:
        async with serving(self._converse) as self.port:
            yield self

    def hook(self, security: MailSecurity = MailSecurity.NONE, language: str = "en") -> Hook:
        mailbox = Mailbox(
            server="127.0.0.1",
            port=self.port,
            security=security,
            username=None,
            password=Secret(PASSWORD.encode()),
            sender="vpn@example.com",
            recipients=("oncall@example.com", "noc@example.com"),
        )
        return a_hook(HookType.EMAIL, email=mailbox, language=HookLanguage(language))


@on_a_loop
async def test_mail_goes_to_everybody_and_says_that_no_person_wrote_it() -> None:
    async with MailServer().listening() as server:
        await tell(server.hook(), (event(),), gateway="idc-hz-1")
    assert "Subject: [critical] idc-hz-1: Tunnel Down hangzhou/primary" in server.data
    assert "Auto-Submitted: auto-generated" in server.data
    assert sum(line.lower().startswith("rcpt to:") for line in server.said) == 2


@pytest.mark.parametrize(
    ("replies", "said", "final"),
    [
        ({"rcpt": "550 no such user"}, "not taken for oncall@example.com: SMTP reply 550 no such user", True),
        ({"rcpt": "450 greylisted"}, "SMTP reply 450 greylisted", False),
        ({"mail": "421 busy"}, "SMTP reply 421 busy", False),
        ({"data": "554 spam"}, "SMTP reply 554 spam", True),
    ],
)
def test_mail_that_is_refused_is_told_by_the_servers_reply(
    replies: dict[str, str], said: str, final: bool
) -> None:
    @on_a_loop
    async def attempt() -> None:
        async with MailServer(**replies).listening() as server:
            with pytest.raises(HookError, match=said) as refused:
                await tell(server.hook(), (event(),), gateway="g")
        assert refused.value.final is final

    attempt()


@on_a_loop
async def test_mail_never_goes_in_clear_where_it_must_not() -> None:
    async with MailServer().listening() as server:
        with pytest.raises(HookError, match="STARTTLS extension not supported"):
            await tell(server.hook(MailSecurity.STARTTLS), (event(),), gateway="g")
    assert server.data == ""
