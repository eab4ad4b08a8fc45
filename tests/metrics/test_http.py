"""Requests in, answers out."""

import base64
import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.metrics.http import respond, takes
from vpnagent.secret import Secret

# What Prometheus 2.42 of Debian 12 sends.
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
CREDENTIALS = Secret(b"prometheus:Hush-7:f3a")


def expose(openmetrics: bool, compressed: bool) -> bytes:
    text = b"openmetrics\n" if openmetrics else b"text\n"
    return gzip.compress(text) if compressed else text


def asked(*headers: str, line: str = "GET /metrics HTTP/1.1") -> str:
    return "\r\n".join([line, *headers, "", ""])


def basic(credentials: str) -> str:
    return f"Authorization: Basic {base64.b64encode(credentials.encode()).decode()}"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET /metrics HTTP/1.1", "200 OK"),
        ("GET /metrics?x=1 HTTP/1.0", "200 OK"),
        ("GET / HTTP/1.1", "404 Not Found"),
        ("POST /metrics HTTP/1.1", "405 Method Not Allowed"),
        ("", "405 Method Not Allowed"),
    ],
)
def test_only_the_metrics_are_served(line: str, status: str) -> None:
    assert respond(asked(line=line), expose).startswith(f"HTTP/1.1 {status}\r\n".encode())


def test_head_has_the_header_only() -> None:
    response = respond(asked(line="HEAD /metrics HTTP/1.1"), expose)
    assert response.endswith(b"\r\n\r\n")
    assert b"Content-Length: 5\r\n" in response


@pytest.mark.parametrize(
    ("headers", "kind", "body"),
    [
        ((), b"text/plain; version=0.0.4", b"text\n"),
        (("Accept: */*",), b"text/plain; version=0.0.4", b"text\n"),
        ((f"Accept: {PROMETHEUS}",), b"application/openmetrics-text; version=1.0.0", b"openmetrics\n"),
        (("accept:application/openmetrics-text;q=0",), b"text/plain; version=0.0.4", b"text\n"),
    ],
)
def test_openmetrics_are_for_who_asks_for_them(headers: tuple[str, ...], kind: bytes, body: bytes) -> None:
    response = respond(asked(*headers), expose)
    assert b"\r\nContent-Type: " + kind in response
    assert response.endswith(b"\r\n\r\n" + body)


@pytest.mark.parametrize(
    ("encoding", "compressed"), [("gzip", True), ("deflate, GZIP;q=0.5", True), ("gzip;q=0.000", False)]
)
def test_compression_is_for_who_takes_it(encoding: str, compressed: bool) -> None:
    header, _, body = respond(asked(f"Accept-Encoding: {encoding}"), expose).partition(b"\r\n\r\n")
    assert (b"Content-Encoding: gzip" in header) == compressed
    assert (gzip.decompress(body) if compressed else body) == b"text\n"


@pytest.mark.parametrize(
    "header",
    [
        "X: y",
        basic("prometheus:wrong"),
        basic("other:Hush-7:f3a"),
        basic("prometheus"),
        "Authorization: Basic",
        "Authorization: Basic %%%",
        "Authorization: Basic é",
        "Authorization: Bearer Hush-7:f3a",
    ],
)
def test_without_the_credentials_nothing_is_told(header: str) -> None:
    for line in ("GET /metrics HTTP/1.1", "GET / HTTP/1.1", "DELETE / HTTP/1.1"):
        response = respond(asked(header, line=line), expose, CREDENTIALS)
        assert response.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
        assert b"\r\nWWW-Authenticate: Basic " in response
        assert response.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
def test_the_credentials_open(scheme: str) -> None:
    header = basic("prometheus:Hush-7:f3a").replace("Basic", scheme)
    assert respond(asked(header), expose, CREDENTIALS).startswith(b"HTTP/1.1 200 OK\r\n")


@given(st.text())
def test_whatever_is_asked_is_answered_once(request: str) -> None:
    response = respond(request, expose, CREDENTIALS)
    assert response.count(b"HTTP/1.1 ") == 1


@given(st.text())
def test_any_preference_can_be_read(preferences: str) -> None:
    assert takes(preferences, "gzip") in (True, False)
