"""What swanctl.conf says to people. How swanctl reads it: tests/native/test_swanctl_export.py."""

from tests.config_examples import BACKUP_PSK, PRIMARY_PSK, make_config

from vpnagent.commands.export.swanctl import swanctl


def test_no_pre_shared_key_is_printed_and_no_placeholder_would_pass_for_one() -> None:
    text = swanctl(make_config())
    assert PRIMARY_PSK.decode() not in text
    assert BACKUP_PSK.decode() not in text
    secrets = [line.strip() for line in text.splitlines() if "secret =" in line]
    assert secrets == [
        '# secret = "the pre-shared key of hangzhou/primary"',
        '# secret = "the pre-shared key of hangzhou/backup"',
    ]


def test_it_tells_what_the_agent_makes_besides() -> None:
    text = swanctl(make_config())
    assert "#   ip link add name vpn-hz-1 mtu 1399 type xfrm if_id 0x1" in text
    assert "#   ip route add 100.64.0.0/10 nhid " in text


def test_it_tells_what_is_left_to_do_for_a_pinned_peer() -> None:
    """Its gateway is the machine's to tell: a guard without the way would cut the peer off."""
    text = swanctl(make_config(backup={"uplink": "eth1"}))
    assert "# Give 203.0.113.2 a host route by eth1, whose gateway is the provider's.\n" in text
    assert "unreachable 203.0.113.2" not in text
