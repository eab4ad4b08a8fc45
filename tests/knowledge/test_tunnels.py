from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.config_examples import make_config
from tests.ipsec.connections import make_child, make_ike_sa

from vpnagent.config.values import TrafficSelectors, TunnelKey
from vpnagent.ipsec.sa import ChildSa, ChildState, IkeSa, IkeState
from vpnagent.knowledge.tunnels import (
    ChildStatus,
    IkeStatus,
    SaStatus,
    Transition,
    Tunnels,
    TunnelState,
    sa_status,
    sa_statuses,
)
from vpnagent.policy.selection import Verdict

PRIMARY = TunnelKey("hangzhou", "primary")
BACKUP = TunnelKey("hangzhou", "backup")
INSTALLED = SaStatus(ike=IkeStatus.ESTABLISHED, child=ChildStatus.INSTALLED)


def child(state: ChildState, age: float = 10.0, *, encapsulated: bool = False) -> ChildSa:
    return ChildSa(
        name="primary",
        unique_id="1",
        state=state,
        if_id=1,
        bytes_in=0,
        bytes_out=0,
        packets_in=0,
        packets_out=0,
        installed_for=age,
        encapsulated=encapsulated,
    )


def ike(state: IkeState, *children: ChildSa) -> IkeSa:
    return IkeSa(
        connection=PRIMARY.owner,
        unique_id="1",
        remote_host="203.0.113.1",
        state=state,
        initiator=True,
        established_for=20.0,
        children=children,
    )


@pytest.mark.parametrize(
    ("sas", "expected"),
    [
        ([], ("none", "none")),
        ([ike(IkeState.CONNECTING)], ("connecting", "none")),
        ([ike(IkeState.ESTABLISHED)], ("established", "none")),
        ([ike(IkeState.ESTABLISHED, child(ChildState.INSTALLED))], ("established", "installed")),
        ([ike(IkeState.ESTABLISHED, child(ChildState.REKEYING))], ("established", "rekeying")),
        ([ike(IkeState.REKEYING, child(ChildState.INSTALLED))], ("rekeying", "installed")),
        ([ike(IkeState.ESTABLISHED, child(ChildState.DELETING))], ("established", "none")),
        ([ike(IkeState.ESTABLISHED), ike(IkeState.CONNECTING)], ("established", "none")),
        ([ike(IkeState.DELETING, child(ChildState.INSTALLED))], ("none", "none")),
    ],
)
def test_sas_are_told_in_the_contracts_words(sas: list[IkeSa], expected: tuple[str, str]) -> None:
    status = sa_status(sas)
    assert (status.ike.value, status.child.value) == expected


def test_the_newest_child_sa_counts_during_a_rekey() -> None:
    old = child(ChildState.REKEYING, age=3600.0)
    new = child(ChildState.INSTALLED, age=1.0, encapsulated=True)
    status = sa_status([ike(IkeState.ESTABLISHED, old, new)])
    assert status == SaStatus(ike=IkeStatus.ESTABLISHED, child=ChildStatus.INSTALLED, encapsulated=True)


def test_every_configured_tunnel_has_a_status_and_no_other() -> None:
    foreign = IkeSa(
        connection="operators-own",
        unique_id="9",
        remote_host="203.0.113.1",
        state=IkeState.ESTABLISHED,
        initiator=True,
        established_for=1.0,
        children=(),
    )
    statuses = sa_statuses(make_config(), [ike(IkeState.CONNECTING), foreign])
    assert statuses == {PRIMARY: SaStatus(ike=IkeStatus.CONNECTING), BACKUP: SaStatus()}


def update(  # noqa: PLR0913 - a source of knowledge each
    tunnels: Tunnels,
    at: float,
    *,
    sa: SaStatus = INSTALLED,
    installed: bool = True,
    drained: bool = False,
    trouble: str | None = None,
    standby: bool = False,
) -> list[Transition]:
    """Take in one observation of the primary tunnel; the backup stays as it is."""
    (primary, _) = make_config().tunnels()
    return tunnels.update(
        at=at,
        tunnels=[primary],
        statuses={PRIMARY: sa},
        verdicts={PRIMARY: Verdict(child_sa_installed=installed, drained=drained)},
        troubles={PRIMARY: trouble} if trouble else {},
        standby={PRIMARY} if standby else (),
    )


def test_a_tunnel_begins_in_init() -> None:
    tunnels = Tunnels()
    assert update(tunnels, 1.0, sa=SaStatus(), installed=False) == []
    view = tunnels.views[PRIMARY]
    assert (view.state, view.reason) == (TunnelState.INIT, "not yet initiated")


def test_an_installed_child_sa_makes_it_up_and_says_so_once() -> None:
    tunnels = Tunnels()
    update(tunnels, 1.0, sa=SaStatus(ike=IkeStatus.CONNECTING), installed=False)
    [transition] = update(tunnels, 2.0)
    assert (transition.old, transition.new, transition.at) == (TunnelState.INIT, TunnelState.UP, 2.0)
    assert update(tunnels, 3.0) == []
    assert tunnels.views[PRIMARY].since == 2.0


def test_the_trouble_is_the_reason_for_being_down() -> None:
    tunnels = Tunnels()
    [transition] = update(tunnels, 1.0, sa=SaStatus(), installed=False, trouble="PskMismatch: refused")
    assert (transition.new, transition.reason) == (TunnelState.DOWN, "PskMismatch: refused")


def test_what_was_up_is_down_without_its_child_sa_not_init() -> None:
    tunnels = Tunnels()
    update(tunnels, 1.0)
    [transition] = update(tunnels, 2.0, sa=SaStatus(), installed=False)
    assert (transition.new, transition.reason) == (TunnelState.DOWN, "no CHILD_SA")


def test_drained_wins_over_every_other_state() -> None:
    tunnels = Tunnels()
    [transition] = update(tunnels, 1.0, sa=SaStatus(), installed=False, drained=True, trouble="NoResponse")
    assert transition.new is TunnelState.DRAINED


def test_what_the_other_gateway_has_is_neither_up_nor_down_whatever_its_sas_are() -> None:
    tunnels = Tunnels()
    update(tunnels, 1.0, drained=True)
    [transition] = update(tunnels, 2.0, drained=True, trouble="NoResponse", standby=True)
    assert transition.new is TunnelState.STANDBY_DEVICE
    update(tunnels, 3.0, installed=False, sa=SaStatus())
    assert tunnels.views[PRIMARY].state is TunnelState.INIT, "it has just come to us: nothing has failed"


def test_a_tunnel_that_is_no_longer_configured_is_forgotten() -> None:
    tunnels = Tunnels()
    update(tunnels, 1.0)
    tunnels.update(at=2.0, tunnels=[], statuses={}, verdicts={}, troubles={})
    assert tunnels.views == {}


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=30))
def test_every_transition_starts_where_the_last_one_ended(steps: list[tuple[bool, bool, bool]]) -> None:
    tunnels = Tunnels()
    state = TunnelState.INIT
    for at, (installed, drained, troubled) in enumerate(steps):
        trouble = "NoResponse" if troubled else None
        for change in update(tunnels, float(at), installed=installed, drained=drained, trouble=trouble):
            assert change.old is state
            assert change.new is not state
            state = change.new
        assert tunnels.views[PRIMARY].state is state


def test_the_negotiated_selectors_are_those_of_the_child_sas_that_carry() -> None:
    wide, narrow = ("0.0.0.0/0",), ("172.16.0.0/16",)
    children = (
        make_child("a", local_ts=wide, remote_ts=wide),
        make_child("b", local_ts=wide, remote_ts=narrow),
        make_child("c", local_ts=wide, remote_ts=wide, state=ChildState.DELETING),
        make_child("d"),
    )
    assert sa_status([make_ike_sa(children=children)]).selectors == ((wide, wide), (wide, narrow))


def test_a_tunnel_of_ike_version_1_that_lacks_a_pair_of_networks_is_degraded_and_says_which() -> None:
    first = make_config().connections[0]
    pairs = {"traffic_selectors": TrafficSelectors.NETWORKS, "ike": replace(first.ike, version=1)}
    config = make_config(connection=pairs)
    children = [replace(child(ChildState.INSTALLED), name=name) for name in ("primary", "primary.2")]
    one, both = (
        sa_statuses(config, [ike(IkeState.ESTABLISHED, *there)])[PRIMARY]
        for there in (children[:1], children)
    )
    assert (len(one.missing), both.missing) == (1, ())
    assert view(one) == (TunnelState.DEGRADED, "no CHILD_SA for 10.1.0.0/16 === 172.16.0.0/16")
    assert view(both)[0] is TunnelState.UP


def view(status: SaStatus) -> tuple[TunnelState, str]:
    tunnels = Tunnels()
    tunnel = make_config().tunnels()[0]
    verdicts = {PRIMARY: Verdict(child_sa_installed=True)}
    tunnels.update(at=0.0, tunnels=[tunnel], statuses={PRIMARY: status}, verdicts=verdicts, troubles={})
    return tunnels.views[PRIMARY].state, tunnels.views[PRIMARY].reason
