"""The table of all metrics for docs/metrics.md: ``python -m vpnagent.metrics_table`` prints it.

A test keeps the two equal.
"""

import sys
from collections.abc import Iterator

from vpnagent.metrics import METRICS, Declaration
from vpnagent.metrics_text import TYPES


def table() -> str:
    """Return a Markdown table, in the order of the declarations."""
    head = ("| name | type | labels | unit | meaning |", "|---|---|---|---|---|")
    return "\n".join([*head, *_rows()]) + "\n"


def _rows() -> Iterator[str]:
    for name, metric in METRICS.items():
        yield f"| `{name}` | {TYPES[metric.kind]} | {_labels(metric)} | {metric.unit} | {metric.help} |"


def _labels(metric: Declaration) -> str:
    return ", ".join(f"`{label}`" for label in metric.labels) or "none"


if __name__ == "__main__":
    sys.stdout.write(table())
