"""All rules of a gateway, and the YAML that Prometheus loads. Pure."""

from typing import Any, Final

import yaml

from vpnagent.alerts.health import health
from vpnagent.alerts.rule import Scope
from vpnagent.alerts.traffic import traffic
from vpnagent.config.values import Config

WIDTH: Final = 1000  #: a template that is folded cannot be read, nor found by grep

HEADING: Final = """\
# Prometheus rules of gateway {gateway}, printed by vpnagent alerts; docs/alerts.md explains them.
# Print them anew when connections, their tunnels, gateway_id or probe intervals change; not for limits.
"""


def groups(config: Config, scope: Scope) -> dict[str, Any]:
    """Return a rule file as data; the rules of a group are evaluated in their order."""
    parts = {"traffic": traffic(config, scope), "health": health(config, scope)}
    return {
        "groups": [
            {"name": f"vpnagent-{scope.gateway}-{part}", "rules": [rule.plain(scope) for rule in rules]}
            for part, rules in parts.items()
        ]
    }


def rule_file(config: Config, scope: Scope) -> str:
    """Return the rule file as YAML."""
    text = yaml.dump(groups(config, scope), Dumper=_Dumper, sort_keys=False, width=WIDTH, allow_unicode=True)
    return HEADING.format(gateway=scope.gateway) + str(text)


class _Dumper(yaml.SafeDumper):
    """Writes an expression of several lines as such."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
