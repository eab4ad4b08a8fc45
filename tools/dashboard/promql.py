"""The dashboard's expressions, written from the declarations of the metrics: no name or label is a copy.

Rates are read over Grafana's ``$__rate_interval``, which is not shorter than a step and a scrape together: no
increase falls between two steps. What is rare is counted over an hour, or over the dashboard's range.
"""

from typing import Final

from vpnagent.metrics.declared import METRICS

RATE: Final = "$__rate_interval"
RANGE: Final = "$__range"
HOUR: Final = "1h"

Labels = tuple[str, ...]

#: Prometheus adds these to every series of a target. They and two of our own are chosen with a variable.
GATEWAY: Final[Labels] = ("job", "instance")
CONNECTION: Final[Labels] = (*GATEWAY, "connection")
TUNNEL: Final[Labels] = (*CONNECTION, "tunnel")

#: Prometheus's own metric: whether the target answers.
UP: Final = "up"


def labels_of(name: str) -> Labels:
    """Return all labels of a series of ours; a histogram has three kinds of them. Raises KeyError."""
    if name == UP:
        return GATEWAY
    for suffix in ("", "_bucket", "_count", "_sum"):
        metric = name.removesuffix(suffix)
        if name.endswith(suffix) and metric in METRICS:
            return (*GATEWAY, *METRICS[metric].labels, *(("le",) if suffix == "_bucket" else ()))
    raise KeyError(name)


def series(name: str, *matchers: str, chosen: Labels = TUNNEL) -> str:
    """Return the selector of a metric for what the variables choose, and for ``matchers``."""
    own = [f'{label}=~"${label}"' for label in labels_of(name) if label in chosen]
    return f"{name}{{{','.join((*own, *matchers))}}}"


def total(by: Labels, expression: str) -> str:
    """Return the sum by these labels, without what else a target's series may have."""
    return f"sum by ({', '.join(by)}) ({expression})"


def rate(name: str, window: str = RATE, *, chosen: Labels = TUNNEL) -> str:
    """Return the increase of a counter per second."""
    return f"rate({series(name, chosen=chosen)}[{window}])"


def increase(name: str, window: str = RANGE, *matchers: str) -> str:
    """Return the increase of a counter."""
    return f"increase({series(name, *matchers)}[{window}])"


def occurrences(name: str, by: Labels, window: str = RANGE, *matchers: str) -> str:
    """Return how often it happened, for those labels where it did: the agent exports zeros for all others."""
    return f"{total(by, increase(name, window, *matchers))} > 0"


def quantile(q: float, name: str, by: Labels, window: str = RATE) -> str:
    """Return a quantile of a histogram: exact to its buckets."""
    return f"histogram_quantile({q}, {total((*by, 'le'), rate(f'{name}_bucket', window))})"


def mean(name: str, by: Labels, window: str = RATE) -> str:
    """Return the mean of what a histogram observed; of one value it is that value."""
    return f"{total(by, rate(f'{name}_sum', window))} / {total(by, rate(f'{name}_count', window))}"


def zeros(name: str) -> str:
    """Return how many of the chosen series of a 0/1 metric are 0."""
    return f"sum(1 - {series(name)})"
