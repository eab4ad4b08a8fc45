from dataclasses import replace
from typing import Any

import pytest
from tests.config_examples import make_config, make_connection

from vpnagent.config.values import CertificateFiles, Config, MetricsAuth, MetricsTls
from vpnagent.config.weaknesses import weaknesses

Changes = dict[str, Any]

STRONG_IKE: Changes = {"integrity": "sha256", "dh_group": 14}
STRONG_ESP: Changes = {"integrity": "sha256", "pfs_group": 14}


def using(*, ike: Changes | None = None, esp: Changes | None = None, bandwidth: float = 100e6) -> Config:
    plain = make_connection()
    return make_config(
        connection={
            "ike": replace(plain.ike, **STRONG_IKE | (ike or {})),
            "esp": replace(plain.esp, **STRONG_ESP | (esp or {})),
            "bandwidth": bandwidth,
        }
    )


def told(config: Config) -> list[tuple[str, str, str]]:
    return [(weakness.code, weakness.severity.value, weakness.subject) for weakness in weaknesses(config)]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (using(), []),
        (using(ike={"encryption": "des"}), [("WeakDes", "critical", "connections[0].ike.encryption")]),
        (using(esp={"encryption": "des"}), [("WeakDes", "critical", "connections[0].esp.encryption")]),
        (using(ike={"encryption": "3des"}), [("Weak3des", "warning", "connections[0].ike.encryption")]),
        (using(esp={"encryption": "3des"}), [("Weak3des", "warning", "connections[0].esp.encryption")]),
        (using(ike={"integrity": "md5"}), [("WeakMd5", "warning", "connections[0].ike.integrity")]),
        (using(ike={"integrity": "sm3"}), [("GuomiUnproven", "warning", "connections[0]")]),
        (using(esp={"encryption": "sm4"}), [("GuomiUnproven", "warning", "connections[0]")]),
        (using(esp={"integrity": "md5"}), [("WeakMd5", "warning", "connections[0].esp.integrity")]),
        (using(esp={"integrity": "md5", "encryption": "aes128gcm16"}), []),
        (using(ike={"dh_group": 1}), [("WeakDhGroup1", "critical", "connections[0].ike.dh_group")]),
        (using(esp={"pfs_group": 1}), [("WeakDhGroup1", "critical", "connections[0].esp.pfs_group")]),
        (using(ike={"dh_group": 2}), [("WeakDhGroup2", "info", "connections[0].ike.dh_group")]),
        (using(esp={"pfs_group": 2}), [("WeakDhGroup2", "info", "connections[0].esp.pfs_group")]),
        (using(ike={"dh_group": 24}), [("WeakDhGroup24", "warning", "connections[0].ike.dh_group")]),
        (using(esp={"pfs_group": 24}), [("WeakDhGroup24", "warning", "connections[0].esp.pfs_group")]),
        (using(esp={"pfs_group": None}), []),
        (
            using(esp={"encryption": "3des"}, bandwidth=200e6),
            [
                ("Weak3des", "warning", "connections[0].esp.encryption"),
                ("Slow3des", "warning", "connections[0].esp.encryption"),
            ],
        ),
    ],
)
def test_what_is_weak_is_told(config: Config, expected: list[tuple[str, str, str]]) -> None:
    assert told(config) == expected


def test_what_is_weak_in_one_tunnel_is_told_of_that_tunnel_and_what_it_shares_once() -> None:
    plain = using(ike={"dh_group": 2}, esp={"encryption": "3des"}, bandwidth=200e6).connections[0]
    backup = {
        "ike": replace(plain.ike, integrity="md5"),
        "esp": replace(plain.esp, integrity="md5"),
    }
    connection = vars_of(make_config(connection={"ike": plain.ike, "esp": plain.esp}))

    assert told(make_config(connection=connection | {"bandwidth": 200e6}, backup=backup)) == [
        ("WeakDhGroup2", "info", "connections[0].ike.dh_group"),
        ("Weak3des", "warning", "connections[0].esp.encryption"),
        ("WeakMd5", "warning", "connections[0].tunnels[1].ike.integrity"),
        ("WeakMd5", "warning", "connections[0].tunnels[1].esp.integrity"),
        ("Slow3des", "warning", "connections[0].esp.encryption"),
    ]


def test_what_no_tunnel_uses_is_not_told() -> None:
    weak, strong = using(ike={"encryption": "des"}).connections[0], using().connections[0]
    config = make_config(connection=vars_of(make_config(connection={"ike": weak.ike, "esp": weak.esp})))
    tunnels = tuple(replace(t, ike=strong.ike) for t in config.tunnels())
    connection = replace(config.connections[0], tunnels=tunnels)

    assert told(replace(config, connections=(connection,))) == []


def test_the_defaults_of_the_cloud_are_no_warning() -> None:
    assert {severity for _, severity, _ in told(make_config())} == {"info"}


def test_aggressive_mode_is_told_for_each_tunnel_with_a_key() -> None:
    files = CertificateFiles(certificate="/c", private_key="/k", ca="/ca")
    config = make_config(
        connection=vars_of(using(ike={"version": 1, "mode": "aggressive"})), backup={"certificates": files}
    )

    [weakness] = [weakness for weakness in weaknesses(config) if weakness.code != "Ikev1GoingAway"]

    assert weakness.code == "AggressivePsk"
    assert weakness.subject == "connections[0].ike.mode"
    assert "hangzhou/primary" in weakness.text


def vars_of(config: Config) -> dict[str, Any]:
    [connection] = config.connections
    return {"ike": connection.ike, "esp": connection.esp}


def test_every_weakness_says_what_to_do_in_one_line() -> None:
    config = using(
        ike={"encryption": "des", "integrity": "md5", "dh_group": 1},
        esp={"encryption": "3des", "integrity": "md5", "pfs_group": 2},
        bandwidth=1e9,
    )

    for weakness in weaknesses(config):
        assert weakness.hint
        assert "\n" not in weakness.text + weakness.hint


TLS = MetricsTls(certificate="/cert", private_key="/key", client_ca=None)
CLIENTS = MetricsTls(certificate="/cert", private_key="/key", client_ca="/ca")
AUTH = MetricsAuth(username="prometheus", password_file="/password")
EXPOSED = ("MetricsExposed", "warning", "agent.metrics_listen")
IN_CLEAR = ("MetricsPasswordInClear", "warning", "agent.metrics_auth")


@pytest.mark.parametrize(
    ("listen", "tls", "auth", "expected"),
    [
        ("192.0.2.7:9786", None, None, [EXPOSED]),
        ("0.0.0.0:9786", TLS, None, [EXPOSED]),
        ("192.0.2.7:9786", None, AUTH, [IN_CLEAR]),
        ("192.0.2.7:9786", TLS, AUTH, []),
        ("192.0.2.7:9786", CLIENTS, None, []),
        ("127.0.0.1:9786", None, None, []),
        ("127.0.0.1:9786", None, AUTH, []),
        ("", None, None, []),
    ],
)
def test_metrics_that_others_reach_are_protected(
    listen: str, tls: MetricsTls | None, auth: MetricsAuth | None, expected: list[tuple[str, str, str]]
) -> None:
    plain = using()
    agent = replace(plain.agent, metrics_listen=listen, metrics_tls=tls, metrics_auth=auth)

    assert told(replace(plain, agent=agent)) == expected
