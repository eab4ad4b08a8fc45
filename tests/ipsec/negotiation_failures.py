"""What each end makes of each failed negotiation: of the recorded ones, and of those provoked for real.

tests/native/failing_negotiations.py provokes them, tests/data/vici has what charon said.
"""

from vpnagent.ipsec.failure_reason import Reason

Told = tuple[Reason | None, Reason | None]  #: by the initiator, by the responder; None: it cannot know

#: Both ends are told the same by IKEv2 as by IKEv1 in main and in aggressive mode.
ALIKE: dict[str, Told] = {
    "ike-encryption": (Reason.PROPOSAL_MISMATCH, Reason.ENCRYPTION_MISMATCH),
    "ike-integrity": (Reason.PROPOSAL_MISMATCH, Reason.AUTHENTICATION_MISMATCH),
    "ike-dh-group": (Reason.PROPOSAL_MISMATCH, Reason.DH_GROUP_MISMATCH),
    "ike-all": (Reason.PROPOSAL_MISMATCH, Reason.ALGORITHM_MISMATCH),
    "esp-encryption": (Reason.PROPOSAL_MISMATCH, Reason.ENCRYPTION_MISMATCH),
    "esp-integrity": (Reason.PROPOSAL_MISMATCH, Reason.AUTHENTICATION_MISMATCH),
    "ah": (Reason.PROPOSAL_MISMATCH, Reason.SECURITY_PROTOCOL_MISMATCH),
    "traffic-selectors": (Reason.TRAFFIC_SELECTOR_MISMATCH, Reason.TRAFFIC_SELECTOR_MISMATCH),
    "transport-mode": (Reason.TRAFFIC_SELECTOR_MISMATCH, Reason.ENCAPSULATION_MODE_MISMATCH),
    "responder-without-connection": (Reason.PROPOSAL_MISMATCH, Reason.PEER_MISMATCH),
    "responder-with-other-version": (Reason.PROPOSAL_MISMATCH, Reason.IKE_VERSION_MISMATCH),
    "no-answer": (Reason.NO_RESPONSE, None),
    "no-answer-in-phase-2": (Reason.PHASE2_TIMEOUT, None),
}

TOLD: dict[str, Told] = {
    **{f"ikev2-{name}": told for name, told in ALIKE.items()},
    **{f"main-{name}": told for name, told in ALIKE.items()},
    **{f"aggressive-{name}": told for name, told in ALIKE.items()},
    "ikev2-psk": (Reason.PSK_MISMATCH, Reason.PSK_MISMATCH),
    "main-psk": (Reason.PSK_MISMATCH, Reason.PSK_MISMATCH),
    "aggressive-psk": (Reason.PSK_MISMATCH, Reason.PHASE1_TIMEOUT),
    "ikev2-responder-without-psk": (Reason.PSK_MISMATCH, Reason.PSK_MISMATCH),
    "main-responder-without-psk": (Reason.NEGOTIATION_FAILED, Reason.PSK_MISMATCH),
    "aggressive-responder-without-psk": (Reason.NEGOTIATION_FAILED, Reason.PSK_MISMATCH),
    "ikev2-responder-expects-another-id": (Reason.PSK_MISMATCH, Reason.PEER_ID_MISMATCH),
    "main-responder-expects-another-id": (Reason.PEER_ID_MISMATCH, Reason.PEER_ID_MISMATCH),
    "aggressive-responder-expects-another-id": (Reason.PEER_ID_MISMATCH, Reason.PEER_ID_MISMATCH),
    "ikev2-responder-has-another-id": (Reason.PSK_MISMATCH, Reason.PEER_ID_MISMATCH),
    "main-responder-has-another-id": (Reason.PEER_ID_MISMATCH, Reason.RECEIVE_DELETE),
    "aggressive-responder-has-another-id": (Reason.PEER_ID_MISMATCH, Reason.PHASE1_TIMEOUT),
    "main-responder-in-aggressive-mode": (Reason.PEER_ID_MISMATCH, Reason.MODE_MISMATCH),
    "aggressive-responder-in-main-mode": (Reason.PEER_ID_MISMATCH, Reason.MODE_MISMATCH),
    "aggressive-refused": (Reason.PEER_ID_MISMATCH, Reason.MODE_MISMATCH),
    "ikev2-pfs-group-at-rekey": (Reason.PFS_MISMATCH, Reason.PFS_MISMATCH),
    "main-pfs-group": (Reason.PROPOSAL_MISMATCH, Reason.PFS_MISMATCH),
    "aggressive-pfs-group": (Reason.PROPOSAL_MISMATCH, Reason.PFS_MISMATCH),
    "main-no-pfs": (Reason.PROPOSAL_MISMATCH, Reason.PFS_MISMATCH),
    "aggressive-no-pfs": (Reason.PROPOSAL_MISMATCH, Reason.PFS_MISMATCH),
    "main-lifetime": (None, Reason.LIFETIME_MISMATCH),
    "aggressive-lifetime": (None, Reason.LIFETIME_MISMATCH),
    "ikev2-port-4500-closed": (Reason.PHASE1_TIMEOUT, None),
    "main-port-4500-closed": (Reason.PHASE1_TIMEOUT, None),
    "ikev2-peer-deletes": (Reason.RECEIVE_DELETE, None),
    "main-peer-deletes": (Reason.RECEIVE_DELETE, None),
    "ikev2-peer-deletes-child": (Reason.RECEIVE_DELETE, None),
    "main-peer-deletes-child": (Reason.RECEIVE_DELETE, None),
    "ikev2-dead-peer": (Reason.DPD_TIMEOUT, None),
    "main-dead-peer": (Reason.DPD_TIMEOUT, None),
    "ikev2-no-such-cipher": (Reason.PROPOSAL_MISMATCH, Reason.ALGORITHM_COMPATIBILITY),
    "ikev2-no-such-policy": (Reason.TRAFFIC_SELECTOR_MISMATCH, Reason.NEGOTIATION_FAILED),
    # The deletion of what was replaced; negotiations.py tells deletions only of tunnels that carry no more.
    "ikev2-rekeyed": (Reason.RECEIVE_DELETE, None),
    "main-rekeyed": (None, None),
}
