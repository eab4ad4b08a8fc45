"""Names for the YAML: what the cloud calls its connections and tunnels, in the characters that we allow."""

import os.path
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from vpnagent.cloud_document.told import Source, Told
from vpnagent.cloud_document.views import ConnectionView, TunnelView

LENGTH: Final = 32  #: characters; see config.field_types.NAME
ONLY_TUNNEL: Final = "tunnel"

_OTHERS: Final = re.compile(r"[^A-Za-z0-9_-]+", re.ASCII)


def connection_names(connections: Sequence[ConnectionView]) -> list[Told]:
    """Return a name for each: its Name if that is unique, else its id, else the name of the document."""
    names = [_named(connection, "name", "connection_id") for connection in connections]
    often = Counter(told.value for told in names)
    names = [
        _named(connection, "connection_id") if often[told.value] > 1 else told
        for connection, told in zip(connections, names, strict=True)
    ]
    seen: Counter[object] = Counter()
    for index, told in enumerate(names):  # documents without an id, of one name in several folders
        seen[told.value] += 1
        if seen[told.value] > 1:
            names[index] = Told(f"{str(told.value)[: LENGTH - 4]}-{seen[told.value]}", told.sources)
    return names


def tunnel_name(tunnel: TunnelView) -> Told:
    """Return the TunnelId: what the cloud's console and logs call it, whatever its role becomes."""
    told = tunnel.view.facts.get("tunnel_id")
    if told and (name := _permitted(str(told.value))):
        return Told(name, told.sources)
    return Told(ONLY_TUNNEL, (Source("the only one, which has no id", None),))


def _named(connection: ConnectionView, *keys: str) -> Told:
    for key in keys:
        told = connection.view.facts.get(key)
        if told and (name := _permitted(str(told.value))):
            return Told(name, told.sources)
    document = connection.view.where.document
    stem = os.path.splitext(os.path.basename(document))[0]
    return Told(_permitted(stem) or "connection", (Source(f"the name of {document}", None),))


def _permitted(name: str) -> str:
    return _OTHERS.sub("-", name).strip("-")[:LENGTH]
