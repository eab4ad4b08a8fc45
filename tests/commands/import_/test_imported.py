"""The recorded documents, in every combination, import to the recorded YAML."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.commands.import_.importing import (
    DATA,
    NO_ANSWERS,
    assembled,
    document,
    loaded,
    problems,
    yaml_text,
)

from vpnagent.commands.import_.assemble import Answers
from vpnagent.commands.import_.imported import yaml_of
from vpnagent.commands.import_.yaml_text import OpenQuestion
from vpnagent.config.load import load
from vpnagent.config.wording import key_path
from vpnagent.errors import ConfigError

NETWORKS = Answers(local_networks=("10.1.0.0/16",), remote_networks=("100.64.0.0/10", "172.16.0.0/16"))


@dataclass(frozen=True)
class Case:
    expected: str  # the YAML's name
    documents: tuple[str, ...]
    answers: Answers = NO_ANSWERS

    def read(self) -> dict[str, Any]:
        return {f"{name}.json": document(f"{name}.json") for name in self.documents}

    @property
    def yaml(self) -> str:
        return (DATA / f"expected/{self.expected}.yaml").read_text()


VPN_GATEWAY = Answers(attachment="vpn-gateway")
CASES = [
    Case("download-single", ("download-single",)),
    Case("download-single-attached", ("download-single",), VPN_GATEWAY),
    Case("describe-single", ("describe-single",)),
    Case("both-single", ("download-single", "describe-single")),
    Case("download-dual-bgp", ("download-dual-bgp",)),
    Case(
        "download-dual-bgp-answered",
        ("download-dual-bgp",),
        replace(NETWORKS, attachment="vpn-gateway", active=("203.0.113.2",)),
    ),
    Case("describe-dual-bgp", ("describe-dual-bgp",)),
    Case("both-dual-bgp", ("download-dual-bgp", "describe-dual-bgp"), NETWORKS),
    Case("describe-dual-defaults", ("describe-dual-defaults",)),
]
CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.expected)


@CASE
def test_a_document_imports_to_the_expected_yaml(case: Case) -> None:
    assert yaml_text(case.read(), case.answers) == case.yaml


@CASE
def test_every_value_has_its_origin_in_a_comment(case: Case) -> None:
    for line in case.yaml.splitlines()[2:]:  # after the heading and the version
        key, _, rest = line.partition(": ")
        assert key.strip().startswith("#") or key.endswith(":") or "  # " in rest, line


@CASE
def test_the_yaml_loads_once_its_questions_are_answered(case: Case) -> None:
    assert loaded(case.read(), case.answers).connections


@CASE
def test_what_keeps_the_yaml_from_loading_is_asked_for(case: Case, tmp_path: Path) -> None:
    result = yaml_of(assembled(case.read(), case.answers), case.documents, None)
    path = tmp_path / "vpnagent.yaml"
    path.write_text(result.text)
    asked = [key_path(path) for _, path, said in result.said if isinstance(said, OpenQuestion)]
    with pytest.raises(ConfigError) as refused:
        load(path)
    for problem in refused.value.problems:
        assert any(problem.key.startswith(key) or key.startswith(problem.key) for key in asked), problem


def test_two_documents_that_contradict_each_other_are_refused_value_by_value() -> None:
    documents = {name: document(name) for name in ("download-dual-bgp.json", "describe-dual-defaults.json")}
    found = problems(documents)
    place = "$.TunnelOptionsSpecification.TunnelOptions[1].TunnelIpsecConfig.IpsecEncAlg"
    other = "$.VpnConnectionConfig.TunnelsConfig.TunnelConfig[1].IpsecConfig.IpsecEncAlg"
    assert (
        f"describe-dual-defaults.json: {place}: means esp.encryption aes128, "
        f"but download-dual-bgp.json {other} means aes256" in found
    )
    assert not any("Hush" in problem for problem in found)
    assert sum("is another key than" in problem for problem in found) == 2


@pytest.mark.parametrize("address", ["# no comment", "hz.example.com", "}, x: {"])
def test_an_example_of_a_target_is_an_address_whatever_a_document_calls_one(address: str) -> None:
    tree = document("describe-dual-defaults.json")
    tree["VcoHealthCheck"]["Sip"] = address
    assert address not in yaml_text({"describe-dual-defaults.json": tree})


def test_a_health_check_from_outside_the_networks_is_no_example_of_a_target() -> None:
    tree = document("describe-dual-defaults.json")
    tree["VcoHealthCheck"] |= {"Enable": True, "Sip": "10.99.0.9"}
    assert "10.99.0.9" not in yaml_text({"describe-dual-defaults.json": tree})
