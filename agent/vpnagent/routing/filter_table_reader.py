"""Read our nftables table, and no more of it than its counters while nobody has changed the packet filter.

The kernel numbers every change (NFT_MSG_GETGEN): while the number is the same, so is the table. With 10,000
remote networks it would be 20,000 elements a second.
"""

import errno
from collections.abc import Mapping
from typing import NamedTuple

from vpnagent.errors import NetlinkError
from vpnagent.routing import filter_table, leak_guard
from vpnagent.routing.filter_table import ODD_TABLE
from vpnagent.routing.leak_guard import SetKey
from vpnagent.routing.netlink_socket import NetlinkSocket
from vpnagent.routing.objects import FilterTable
from vpnagent.routing.rule_row import rule_row

UNPRIVILEGED = (errno.EPERM, errno.EACCES)


class Reading(NamedTuple):
    """What was read."""

    table: FilterTable | None
    readable: bool
    stopped: Mapping[str, int]  #: packets by direction; empty without a guard


class FilterTableReader:
    """The table in the network namespace of the socket."""

    def __init__(self, netfilter: NetlinkSocket) -> None:
        self._netfilter = netfilter
        self._generation = 0  #: of what was last read; the kernel's begins at 1
        self._table: FilterTable | None = None

    async def read(self) -> Reading:
        """Return our table as it is. Raises NetlinkError."""
        try:
            [generation] = await self._netfilter.dump(filter_table.GET_GENERATION, filter_table.generation)
        except NetlinkError as error:
            return Reading(None, error.errno not in UNPRIVILEGED, {})
        if generation != self._generation:
            self._table = await self._read()
            self._generation = generation
        counts = await self._stopped() if self._table and self._table.guard else {}
        return Reading(self._table, True, counts)

    async def _read(self) -> FilterTable | None:
        try:
            dormant = await self._netfilter.dump(filter_table.GET_TABLE, filter_table.is_dormant)
        except NetlinkError:
            return None
        try:
            rules = await self._netfilter.dump(filter_table.DUMP_RULES, rule_row)
            guarded = filter_table.has_guard(rules)
            chains = filter_table.HOOKS if guarded else filter_table.HOOKS.keys() - leak_guard.HOOKS.keys()
            hooked = [
                await self._netfilter.dump(filter_table.get_chain(name), filter_table.is_hooked)
                for name in chains
            ]
            sets = {name: await self._set(name) for name in leak_guard.set_names(rules)} if guarded else {}
        except NetlinkError:  # a chain or a set is missing
            return ODD_TABLE
        if any(dormant) or not all(all(hook) for hook in hooked):
            return ODD_TABLE
        return filter_table.table_of(rules, sets)

    async def _set(self, name: str) -> list[SetKey]:
        listed = await self._netfilter.dump(filter_table.dump_set(name), leak_guard.set_keys)
        return [key for keys in listed for key in keys]

    async def _stopped(self) -> dict[str, int]:
        try:
            return dict(await self._netfilter.dump(filter_table.DUMP_COUNTERS, filter_table.stopped))
        except NetlinkError:  # somebody has just removed the table
            return {}
