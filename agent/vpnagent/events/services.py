"""The services that take messages for people: requests, what an answer means, how many they take. Pure.

A group robot answers 200 also when it refuses: only the body tells. The codes are those of the services'
public manuals: DingTalk "custom robot access", WeCom "group robot" (path/91770), Feishu "custom bot guide",
Slack "incoming webhooks" and "rate limits".
"""

import base64
import hmac
import json
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from vpnagent.config.values import HookType


class Limit(NamedTuple):
    """How many messages a service takes."""

    messages: int  #: in any ``period``
    period: float  #: seconds
    pause: float  #: seconds that a service refuses everything after more than that


#: A little below what each service says, since its clock is not ours: DingTalk 20 a minute, else nothing
#: for ten minutes; WeCom 20 a minute; Feishu 100 a minute and 5 a second; Slack one a second.
#: Mail has no common limit.
LIMITS: Final[Mapping[HookType, Limit]] = {
    HookType.DINGTALK: Limit(18, 60.0, 600.0),
    HookType.WECOM: Limit(18, 60.0, 60.0),
    HookType.FEISHU: Limit(1, 1.0, 60.0),
    HookType.SLACK: Limit(1, 1.2, 30.0),
    HookType.EMAIL: Limit(6, 60.0, 300.0),
}
LONGEST: Final[Mapping[HookType, int]] = {  #: bytes of UTF-8 of one message
    HookType.DINGTALK: 15_000,
    HookType.WECOM: 2_000,
    HookType.FEISHU: 15_000,
    HookType.SLACK: 3_500,
    HookType.EMAIL: 60_000,
}
LATER: Final = (408, 425, 429)  #: 4xx that say: later (RFC 9110, 8470, 6585)
TOO_MANY: Final = 429
SUCCESS: Final = range(200, 300)
CLIENT_ERROR: Final = range(400, 500)
LONGEST_WAIT: Final = 3600.0  #: seconds of a Retry-After that are believed
#: The field that has the code, the code's text, what means "too many", what means "try again".
_ROBOTS: Final[Mapping[HookType, tuple[str, str, tuple[int, ...], tuple[int, ...]]]] = {
    HookType.DINGTALK: ("errcode", "errmsg", (130101, 410100, 90018), (-1,)),
    HookType.WECOM: ("errcode", "errmsg", (45009, 45033), (-1, 50001)),
    HookType.FEISHU: ("code", "msg", (11232, 11233), (9499,)),
}


class Delivery(Enum):
    """What came of an attempt; the value is the exit status of ``post``."""

    DELIVERED = 0
    AGAIN = 1
    NEVER = 2
    TOO_MANY = 3


class Receipt(NamedTuple):
    """What a service's answer means."""

    outcome: Delivery
    said: str  #: in the service's words, for people
    pause: float = 0.0  #: seconds in which it takes nothing


class Posting(NamedTuple):
    """What is posted."""

    url: str
    body: dict[str, Any]


def request(kind: HookType, url: str, secret: str | None, text: str, now: float) -> Posting:
    """Return the request that carries a text, signed at wall time ``now`` where there is a key."""
    match kind:
        case HookType.DINGTALK:
            signed = f"{url}{_signature_of_dingtalk(secret, now)}" if secret else url
            return Posting(signed, {"msgtype": "text", "text": {"content": text}})
        case HookType.WECOM:
            return Posting(url, {"msgtype": "text", "text": {"content": text}})
        case HookType.FEISHU:
            signature = _signature_of_feishu(secret, now) if secret else {}
            return Posting(url, {**signature, "msg_type": "text", "content": {"text": text}})
        case _:
            return Posting(url, {"text": _escaped_for_slack(text)})


def judge(kind: HookType, status: int, body: bytes, retry_after: str | None) -> Receipt:
    """Return what an answer means: by its HTTP status first, then by its body."""
    if status not in SUCCESS:
        return _by_status(kind, status, body, retry_after)
    if kind in _ROBOTS:
        return _by_code(kind, body)
    if kind is HookType.SLACK and body.strip() != b"ok":
        return Receipt(Delivery.NEVER, f"HTTP status {status}, and the answer is not ok: {_words(body)}")
    return Receipt(Delivery.DELIVERED, f"HTTP status {status}")


def _by_status(kind: HookType, status: int, body: bytes, retry_after: str | None) -> Receipt:
    said = f"HTTP status {status}"
    if kind is HookType.SLACK and (words := _words(body)):
        said = f"{said}: {words}"
    if status == TOO_MANY and (retry_after or kind in LIMITS):
        return Receipt(Delivery.TOO_MANY, said, _wait(kind, retry_after))
    final = status in CLIENT_ERROR and status not in LATER
    return Receipt(Delivery.NEVER if final else Delivery.AGAIN, said)


def _wait(kind: HookType, retry_after: str | None) -> float:
    """Return the seconds of a Retry-After (RFC 9110 §10.2.3); without them what the service is known for."""
    if retry_after is not None and retry_after.strip().isdecimal():
        return min(float(retry_after), LONGEST_WAIT)
    return LIMITS[kind].pause if kind in LIMITS else 30.0


def _by_code(kind: HookType, body: bytes) -> Receipt:
    name, text, too_many, again = _ROBOTS[kind]
    try:
        answer = json.loads(body)
        code, said = answer[name], str(answer.get(text, ""))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Receipt(Delivery.AGAIN, f"HTTP status 200, but the answer has no {name}: {_words(body)}")
    if code == 0 and type(code) is int:
        return Receipt(Delivery.DELIVERED, f"{name} 0")
    words = f"{name} {code}: {said}"
    if code in too_many:
        return Receipt(Delivery.TOO_MANY, words, LIMITS[kind].pause)
    return Receipt(Delivery.AGAIN if code in again else Delivery.NEVER, words)


def _words(body: bytes) -> str:
    """Return the beginning of an answer in one line."""
    return " ".join(body[:100].decode(errors="replace").split())


def _signature_of_dingtalk(secret: str, now: float) -> str:
    """Return the parameters of a signed address: HMAC-SHA256 over milliseconds and key, by the key."""
    timestamp = str(round(now * 1000))
    sign = _hmac(key=secret, over=f"{timestamp}\n{secret}")
    return f"&timestamp={timestamp}&sign={quote(sign, safe='')}"


def _signature_of_feishu(secret: str, now: float) -> dict[str, str]:
    """Return the fields of a signed body: seconds and key are the HMAC's key, and nothing is hashed."""
    timestamp = str(int(now))
    return {"timestamp": timestamp, "sign": _hmac(key=f"{timestamp}\n{secret}", over="")}


def _hmac(*, key: str, over: str) -> str:
    return base64.b64encode(hmac.digest(key.encode(), over.encode(), "sha256")).decode()


def _escaped_for_slack(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
