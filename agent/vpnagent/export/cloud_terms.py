"""Our algorithms in the words of the cloud's API, and what it has no word for. Pure.

CreateVpnConnection and CreateVpnAttachment (2016-04-28), as the validation of terraform-provider-alicloud
1.276 has them: facts/alibaba-ipsec-vpn.md 1.4.
"""

from collections.abc import Iterator

from vpnagent.config.places import Place, tunnels
from vpnagent.config.values import Config, Esp, Ike
from vpnagent.config.wording import Violation, without_values

ENCRYPTION = {"aes128": "aes", "aes192": "aes192", "aes256": "aes256", "des": "des", "3des": "3des"}
INTEGRITY = frozenset({"md5", "sha1", "sha256", "sha384", "sha512"})
#: group24 is documented for both phases by the provider (1.161, 1.181), and no longer by the API.
GROUPS = frozenset({1, 2, 5, 14, 24})
NO_PFS = "disabled"


def group(number: int | None) -> str:
    """Return a Diffie-Hellman group; None: no PFS."""
    return NO_PFS if number is None else f"group{number}"


def unspeakable(config: Config) -> list[Violation]:
    """Return what the provider cannot say, each with the key that says it here."""
    return list(dict.fromkeys(found for place in tunnels(config) for found in _in(place)))


def _in(place: Place) -> Iterator[Violation]:
    for phase, proposal in (("ike", place.ike), ("esp", place.esp)):
        for key, text in _of_phase(proposal):
            yield Violation(place.setting(phase, key), without_values(text))
    if place.tunnel.certificates:
        text = "the provider has no argument for certificates: make this connection in the console"
        yield Violation(place.key("certificate"), without_values(text))


def _of_phase(proposal: Ike | Esp) -> Iterator[tuple[str, str]]:
    if proposal.encryption not in ENCRYPTION:
        known = ", ".join(ENCRYPTION)
        yield "encryption", f"the provider has no word for {proposal.encryption}, only for {known}"
    elif proposal.integrity not in INTEGRITY:
        known = ", ".join(sorted(INTEGRITY))
        yield "integrity", f"the provider has no word for {proposal.integrity}, only for {known}"
    key = "dh_group" if isinstance(proposal, Ike) else "pfs_group"
    number = proposal.dh_group if isinstance(proposal, Ike) else proposal.pfs_group
    if number is not None and number not in GROUPS:
        known = ", ".join(str(known) for known in sorted(GROUPS))
        yield key, f"the provider has no word for group {number}, only for {known}"
