"""The line at the start has every parameter and no secret."""

from dataclasses import replace

from tests.config_examples import BACKUP_PSK, PRIMARY_PSK, make_config

from vpnagent.config.schema import effective
from vpnagent.config.values import Hook, HookType
from vpnagent.record import field_names
from vpnagent.secret import Secret

HOOK = Hook(
    name="pager",
    type=HookType.COMMAND,
    command=("/bin/say it", "--key", "Hush"),
    url=Secret(b"https://h/Hush"),
    token=Secret(b"Hush"),
    events=("critical", "Failover"),
    timeout=5.0,
    retries=3,
)


def parameters() -> dict[str, str]:
    config = replace(make_config(), hooks=(HOOK,))
    return dict(part.partition("=")[::2] for part in effective(config).split(" ") if "=" in part)


def test_values_are_shown_as_the_file_writes_them() -> None:
    shown = parameters()
    assert shown["gateway.name"] == "idc-hz-1"
    assert shown["agent.manage_sysctls"] == "true"
    assert shown["connections.hangzhou.remote_networks"] == "100.64.0.0/10,172.16.0.0/16"
    assert shown["connections.hangzhou.tunnels.primary.role"] == "active"
    assert shown["connections.hangzhou.tunnels.primary.uplink"] == "-"
    assert shown["connections.hangzhou.tunnels.backup.probe.interval"] == "0.1"
    assert shown["connections.hangzhou.tunnels.backup.psk"] == "***"
    assert "hooks.pager.command='/bin/say it',***,***" in effective(replace(make_config(), hooks=(HOOK,)))
    assert shown["hooks.pager.events"] == "critical,Failover"


def test_every_field_of_every_section_is_there() -> None:
    shown = parameters()
    config = make_config()
    tunnel = config.connections[0].tunnels[0]
    for prefix, section in (
        ("gateway.", config.gateway),
        ("agent.", config.agent),
        ("connections.hangzhou.ike.", config.connections[0].ike),
        ("connections.hangzhou.tunnels.primary.", tunnel),
        ("connections.hangzhou.tunnels.primary.probe.", tunnel.probe),
        ("hooks.pager.", HOOK),
    ):
        for name in (
            set(field_names(type(section)) or ()) - {"key"} - ({"name"} if section is HOOK else set())
        ):
            assert any(key.startswith(prefix + name) for key in shown), prefix + name


def test_it_is_one_line_without_secrets() -> None:
    line = effective(replace(make_config(), hooks=(HOOK,)))
    assert "\n" not in line
    for secret in (PRIMARY_PSK.decode(), BACKUP_PSK.decode(), "Hush"):
        assert secret not in line
