"""Which document a JSON text is, whatever it is wrapped in, and the connections it tells of.

Accepted: the answers of DownloadVpnConnectionConfig, DescribeVpnConnection and DescribeVpnConnections (and
DescribeVpnConnection in the latter's wrapper, as its page of 2021 shows it), their inner objects, an SDK's
answer with a ``body``, and a list of any of these.
"""

from collections.abc import Iterator
from typing import Final

from vpnagent.cloud_document.json_object import Json, JsonError, JsonObject, kind, parse
from vpnagent.cloud_document.told import Source
from vpnagent.cloud_document.views import ConnectionView, described, downloaded
from vpnagent.config.wording import shown
from vpnagent.errors import Problem

_OF_DOWNLOAD: Final = frozenset({"Local", "Remote", "TunnelsConfig", "BgpConfigs"})
_OF_DESCRIBE: Final = frozenset({"VpnConnectionId", "CustomerGatewayId", "TunnelOptionsSpecification"})


def connections_in(document: str, content: bytes, problems: list[Problem]) -> list[ConnectionView]:
    """Return the connections of a document; what is wrong with it is added to the problems."""
    root = Source(document, ())
    try:
        found = list(_views(parse(content), root, problems))
    except JsonError as error:
        problems.append(Problem(document, 0, "", str(error)))
        return []
    if not found and not problems:
        problems.append(root.problem("holds no connection"))
    return found


def _views(value: Json, where: Source, problems: list[Problem]) -> Iterator[ConnectionView]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _views(item, Source(where.document, (*(where.path or ()), index)), problems)
    elif isinstance(value, dict):
        yield from _of_object(JsonObject(where, value, problems))
    else:
        problems.append(where.problem(f"must be an object, not {kind(value)}"))


def _of_object(holder: JsonObject) -> Iterator[ConnectionView]:
    keys = holder.members.keys()
    if "VpnConnectionConfig" in keys:
        yield downloaded(holder.object("VpnConnectionConfig"))
    elif "VpnConnections" in keys:
        yield from map(described, holder.objects("VpnConnections", "VpnConnection"))
    elif "body" in keys:
        yield from _views(holder.members["body"], holder.source("body"), holder.problems)
    elif bool(keys & _OF_DOWNLOAD) != bool(keys & _OF_DESCRIBE):
        yield downloaded(holder) if keys & _OF_DOWNLOAD else described(holder)
    else:
        holder.problems.append(holder.where.problem(_unknown(holder)))


def _unknown(holder: JsonObject) -> str:
    if "Code" in holder.members and "Message" in holder.members:
        return f"is an error of the API: {shown(holder.members['Code'])}"
    return (
        "is neither the answer of DownloadVpnConnectionConfig (VpnConnectionConfig) "
        "nor of DescribeVpnConnection (VpnConnectionId) or DescribeVpnConnections (VpnConnections)"
    )
