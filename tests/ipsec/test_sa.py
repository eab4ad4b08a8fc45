import pytest
from tests.ipsec.connections import make_child, make_ike_sa

from vpnagent.ipsec.sa import ChildState, IkeState

CARRYING = {ChildState.INSTALLED, ChildState.REKEYING, ChildState.UPDATING}


@pytest.mark.parametrize("state", ChildState)
def test_a_child_carries_while_the_kernel_has_it_for_both_directions(state: ChildState) -> None:
    assert make_child(state=state).carries_traffic is (state in CARRYING)


@pytest.mark.parametrize("state", IkeState)
def test_only_an_ike_sa_on_its_way_out_takes_its_children_with_it(state: IkeState) -> None:
    gone = state in (IkeState.DELETING, IkeState.DESTROYING)
    sa = make_ike_sa(state=state)
    assert sa.deleting is gone
    assert bool(sa.carrying_children) is not gone


@pytest.mark.parametrize("state", IkeState)
def test_connecting_is_before_established(state: IkeState) -> None:
    assert make_ike_sa(state=state).connecting is (state in (IkeState.CREATED, IkeState.CONNECTING))
