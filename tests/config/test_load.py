import os
import re
from pathlib import Path

import pytest
from tests.config.conftest import Problems, write_secret
from tests.config_examples import EXAMPLE_YAML, make_config

from vpnagent.config.load import load
from vpnagent.config.values import CertificateFiles, MetricsAuth, MetricsTls
from vpnagent.errors import ConfigError
from vpnagent.record import replace

EXAMPLE_FILE = Path(__file__).parents[2] / "docs/example.yaml"
SECRETS = re.compile("^ +psk_file: .*$", re.MULTILINE)


def edited(*changes: tuple[str, str]) -> str:
    """Return the example with texts replaced, each of which must be in it."""
    text = EXAMPLE_YAML
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def test_the_example_loads_to_what_the_other_tests_use(folder: Path) -> None:
    path = folder / "vpnagent.yaml"
    path.write_text(EXAMPLE_YAML)

    assert load(path) == make_config()


def test_the_documented_example_loads() -> None:
    config = load(EXAMPLE_FILE, read_secrets=False)

    assert [str(tunnel.key) for tunnel in config.tunnels()] == [
        "hangzhou/primary",
        "hangzhou/backup",
        "beijing/zone-a",
        "beijing/zone-b",
    ]


def test_the_least_that_is_documented_loads(problems: Problems) -> None:
    manual = EXAMPLE_FILE.with_name("configuration.md").read_text()
    least = manual.partition("```yaml\n")[2].partition("```")[0]

    assert problems(least) == []


def test_the_gateway_has_the_name_of_the_host(folder: Path) -> None:
    path = folder / "vpnagent.yaml"
    path.write_text(edited(("  name: idc-hz-1\n", "")))

    assert load(path, hostname="gw-7.idc").gateway.name == "gw-7"
    assert load(path).gateway.name


def test_without_secrets_no_other_file_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "vpnagent.yaml"
    path.write_text(EXAMPLE_YAML)

    assert [tunnel.psk for tunnel in load(path, read_secrets=False).tunnels()] == [None, None]


def test_everything_that_is_wrong_is_reported_together_in_the_order_of_the_file(problems: Problems) -> None:
    text = edited(
        ("[10.1.0.0/16]", "[10.1.2.0/16]"),
        ("bandwidth: 200Mbps", "bandwith: 200Mbps"),
        ("203.0.113.2", "2001:db8::2"),
    )
    text += """\
  - name: hangzhou
    attachment: vpn-gateway
    remote_networks: [172.20.0.0/16, 172.20.0.0/16]
    ike: {version: 1, version: 2, integrity: 012}
    tunnels:
      - {name: primary, role: standby, remote_address: 203.0.113.9, psk_file: psk/primary}
  - name: beijing
    attachment: transit-router
    remote_networks: [203.0.112.0/20]
    tunnels:
      - {name: a, role: active, remote_address: 203.0.113.9, psk_file: /absent, local_id: idc}
      - {name: a, remote_address: 203.0.113.10, local_id: idc, targets: [203.0.112.1]}
"""

    assert problems(text) == [
        "4: gateway.local_networks[0]: 10.1.2.0/16 has host bits set: the network is 10.1.0.0/16",
        "9: connections[0]: unknown key: did you mean bandwidth?",
        "23: connections[0].tunnels[1].remote_address: IPv6 is not supported yet: "
        "must be an IPv4 address such as 192.0.2.1, not '2001:db8::2'",
        "33: connections[1].ike.version: the key is already on line 33: a key must not be repeated",
        "33: connections[1].ike.integrity: has different values for different readers of YAML: "
        "write a plain decimal number, or quote it",
        "36: connections[2].probe.targets: is required, for lack of targets and inside_address in a: "
        "an address behind the tunnels that answers, such as 100.100.2.136",
        "38: connections[2].remote_networks[0]: 203.0.112.0/20 must not cover 203.0.113.9, "
        "the remote_address of beijing/a",
        "38: connections[2].remote_networks[0]: 203.0.112.0/20 must not cover 203.0.113.10, "
        "the remote_address of beijing/a",
        "40: connections[2].tunnels[0].role: has no meaning with forwarding ecmp, "
        "where every tunnel carries traffic",
        "40: connections[2].tunnels[0].psk_file: cannot be opened: No such file or directory: /absent",
        "41: connections[2].tunnels[1]: exactly one of psk_file, psk_credential and certificate "
        "is required, not none",
        "41: connections[2].tunnels[1].name: must be unique in its connection: another tunnel is named a",
    ]


def test_lines_are_those_of_the_keys(problems: Problems) -> None:
    text = edited(
        ("        if_id: 2", "        if_id: 1"),
        ("        interface: vpn-hz-2", "        interface: vpn-hz-1"),
        ("        role: standby", "        role: active"),
        ("    tunnels:", "    probe: {hold_down: 100ms}\n    tunnels:"),
    )

    assert [line.partition(": ")[0] for line in problems(text)] == ["11", "12", "29", "30"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", ": is empty"),
        (
            b"a: [\n",
            ":2: is not YAML: did not find expected node content while parsing a flow node from line 2 on",
        ),
        (b"version: 1\n\xff", ":2: must be UTF-8: byte 0xff is not"),
        (b"[" * 100_000, ":1: is nested deeper than 20 levels"),
    ],
)
def test_a_file_that_is_no_yaml_gives_one_problem(tmp_path: Path, content: bytes, line: str) -> None:
    path = tmp_path / "vpnagent.yaml"
    path.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        load(path)

    assert str(caught.value) == f"{path}{line}"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("absent.yaml", "{path}: cannot be read: No such file or directory"),
        ("", "{path}: cannot be read: Is a directory"),
        ("\x00", "'{folder}/\\x00': cannot be read: not the name of a file"),
    ],
)
def test_a_file_that_cannot_be_read_gives_one_problem(tmp_path: Path, name: str, line: str) -> None:
    path = os.path.join(tmp_path, name)

    with pytest.raises(ConfigError) as caught:
        load(path)

    assert str(caught.value) == line.format(path=path, folder=tmp_path)


PRIMARY = "17: connections[0].tunnels[0].psk_file"


def test_a_secret_that_others_can_read_is_refused(problems: Problems, folder: Path) -> None:
    (folder / "psk/primary").chmod(0o644)

    [line] = problems(EXAMPLE_YAML)

    assert line.startswith(f"{PRIMARY}: must have mode 0600, or 0640 with group root or vpnagent, not 0644")
    assert line.endswith(f" (names are relative to {folder})")


def test_secrets_that_are_not_there_are_reported_with_the_rest(problems: Problems, folder: Path) -> None:
    text = edited(
        ("psk_file: psk/primary", "psk_file: /absent"), ("psk/backup", "hush"), ("if_id: 2", "if_id: 1")
    )

    assert problems(text) == [
        f"{PRIMARY}: cannot be opened: No such file or directory: /absent",
        "26: connections[0].tunnels[1].psk_file: cannot be opened: No such file or directory "
        f"(names are relative to {folder})",
        "29: connections[0].tunnels[1].if_id: must be unique: 1 is the if_id of hangzhou/primary too",
    ]


def test_a_credential_is_read_from_systemd(
    problems: Problems, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = edited(("psk_file: psk/primary", "psk_credential: primary"))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)

    assert problems(text) == [
        "17: connections[0].tunnels[0].psk_credential: no systemd credential is there: "
        "CREDENTIALS_DIRECTORY is not set"
    ]
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder / "psk"))
    assert problems(text) == []


def test_certificates_must_be_there_and_the_key_closed(problems: Problems, folder: Path) -> None:
    section = "certificate: {certificate: gw.pem, private_key: gw.key, ca: ca.pem}"
    text = edited(("psk_file: psk/primary", section))
    write_secret(folder / "gw.pem", b"", mode=0o644)
    write_secret(folder / "gw.key", b"", mode=0o600)

    assert problems(text) == [
        "17: connections[0].tunnels[0].certificate.ca: cannot be opened: No such file or directory "
        f"(names are relative to {folder})"
    ]
    write_secret(folder / "ca.pem", b"", mode=0o644)
    assert problems(text) == []
    [primary, _] = load(folder / "vpnagent.yaml").tunnels()
    assert primary.psk is None
    assert primary.certificates
    assert replace(primary.certificates, revision="") == CertificateFiles(
        certificate=f"{folder}/gw.pem", private_key=f"{folder}/gw.key", ca=f"{folder}/ca.pem"
    )


def test_a_renewed_certificate_is_another_configuration(folder: Path) -> None:
    path, files = folder / "vpnagent.yaml", ("gw.pem", "gw.key", "ca.pem")
    section = "certificate: {certificate: gw.pem, private_key: gw.key, ca: ca.pem}"
    path.write_text(edited(("psk_file: psk/primary", section)))
    for name in files:
        write_secret(folder / name, b"")
    first = load(path)

    assert load(path) == first
    for name in ("gw.pem", "ca.pem"):
        write_secret(folder / name, b"renewed")
        renewed = load(path)
        assert renewed != first
        first = renewed


@pytest.mark.parametrize(
    "line",
    [
        "psk: hush-hush",
        "psk_file: [hush-hush]",
        "psk_file: {hush-hush: hush-hush}",
        "psk_file: !x hush-hush",
        'psk_file: "hush-hush\\n"',
        "psk_file: hush-hush",
        "psk_credential: hush-hush/",
        "psk_credential: hush-hush",
        "certificate: {private_key: [hush-hush], pass: hush-hush}",
    ],
)
def test_a_secret_in_the_wrong_place_is_not_shown(problems: Problems, line: str) -> None:
    found = problems(edited(("psk_file: psk/primary", line)))

    assert found
    assert "hush-hush" not in "\n".join(found)


def test_an_empty_mapping_lacks_what_is_required(problems: Problems) -> None:
    assert problems("{}") == ["1: gateway: is required", "1: connections: is required"]


def test_the_same_problem_on_the_same_line_is_said_once(problems: Problems) -> None:
    text = "gateway: {<<: {}, <<: {}, local_networks: [10.1.0.0/16]}\n"
    text += EXAMPLE_YAML[EXAMPLE_YAML.index("connections:") :]

    assert problems(text) == [
        "1: gateway: merge keys (<<) are not supported: alias the whole section instead"
    ]


METRICS = """\
agent:
  metrics_listen: 192.0.2.7:9786
  metrics_tls: {certificate: metrics/cert.pem, private_key: metrics/key.pem}
  metrics_auth: {username: prometheus, password_file: metrics/password}
"""


def test_the_files_of_the_metrics_are_looked_at_when_the_configuration_is_read(problems: Problems) -> None:
    where = r" \(names are relative to /.*\)"
    cannot = "cannot be opened: No such file or directory"
    found = problems(EXAMPLE_YAML + METRICS)

    assert len(found) == 2
    assert re.fullmatch(rf"32: agent\.metrics_tls\.certificate: {cannot}{where}", found[0])
    assert re.fullmatch(rf"33: agent\.metrics_auth\.password_file: {cannot}{where}", found[1])


def test_the_files_of_the_metrics_are_relative_to_the_folder_of_the_yaml(folder: Path) -> None:
    path = folder / "vpnagent.yaml"
    path.write_text(EXAMPLE_YAML + METRICS)

    agent = load(path, read_secrets=False).agent

    assert agent.metrics_tls == MetricsTls(
        certificate=f"{folder}/metrics/cert.pem",
        private_key=f"{folder}/metrics/key.pem",
        client_ca=None,
    )
    assert agent.metrics_auth == MetricsAuth(
        username="prometheus", password_file=f"{folder}/metrics/password"
    )


def test_a_user_name_with_a_colon_is_refused(problems: Problems) -> None:
    [problem] = problems(EXAMPLE_YAML + METRICS.replace("username: prometheus", "username: 'a:b'"))

    rule = "must be a user name of 1 to 64 visible ASCII characters without ':', not 'a:b'"
    assert problem == f"33: agent.metrics_auth.username: {rule}"


def test_who_runs_a_pairs_file_must_be_one_of_the_two(folder: Path) -> None:
    file = folder / "vpnagent.yaml"
    nodes = "{a: {host: rt1, address: 192.0.2.251}, b: {host: rt2, address: 192.0.2.252}}"
    file.write_text(
        EXAMPLE_YAML.replace("  name: idc-hz-1\n", f"  pair: {{nodes: {nodes}}}\n").replace(
            "local_address: 192.0.2.2\n", "device: a\n"
        )
    )
    assert load(file, hostname="rt2").gateway.name == "rt2"
    with pytest.raises(ConfigError) as refused:
        load(file, hostname="elsewhere")
    assert [(problem.line, problem.text) for problem in refused.value.problems] == [
        (
            3,
            "must have this machine, by address or host: it has not just one of 192.0.2.251 and "
            "192.0.2.252, and is elsewhere",
        )
    ]
    assert load(file, hostname="elsewhere", read_secrets=False).gateway.name == "elsewhere"
