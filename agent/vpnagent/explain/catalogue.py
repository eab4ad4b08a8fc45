"""What the cloud's services are called and numbered, as the data file has it. Pure.

The file is `services.yaml`: addresses with their region, a date and a source each. It is never complete: an
address that it does not know may still be a service's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service outside of VPCs, in one region or, where ``region`` is empty, in all."""

    name: str
    region: str
    networks: tuple[IPv4Network, ...]
    public_name: str  #: of the region's endpoint; empty: none is known
    internal_name: str
    instances_only: bool  #: it answers ECS instances, each about itself: nothing for a data centre

    def __str__(self) -> str:
        return f"{self.name} in {self.region}" if self.region else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicOnly:
    """A service with public addresses only, and the names below which its endpoints are."""

    name: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """The whole file."""

    read: str  #: the day on which the sources were read, ISO 8601
    services: tuple[Service, ...]
    public_only: tuple[PublicOnly, ...]

    def at(self, address: IPv4Address) -> Service | None:
        """Return the service with the narrowest network around an address."""
        found = [(n.prefixlen, s) for s in self.services for n in s.networks if address in n]
        return max(found, key=lambda pair: pair[0])[1] if found else None

    def public(self, host: str) -> PublicOnly | None:
        """Return the service with public addresses only that a name belongs to."""
        return next((s for s in self.public_only if any(below(host, name) for name in s.names)), None)

    def internal(self, host: str) -> Service | None:
        """Return the service of whose internal endpoint this is a name."""
        return next((s for s in self.services if below(host, s.internal_name)), None)

    def internal_name(self, host: str) -> str | None:
        """Return the internal name of what has this public one, a bucket's or a project's for example."""
        for service in self.services:
            if below(host, service.public_name):
                return host[: len(host) - len(service.public_name)] + service.internal_name
        return None

    def region(self, region: str) -> tuple[Service, ...]:
        """Return the services of a region."""
        return tuple(service for service in self.services if service.region == region)


def below(host: str, name: str) -> bool:
    """Return whether a name is this one or below it (RFC 1034 §3.1)."""
    return bool(name) and (host == name or host.endswith(f".{name}"))


def catalogue_of(data: Mapping[str, Any]) -> Catalogue:
    """Return the catalogue that the file's data describe."""
    return Catalogue(
        read=str(data["read"]),
        services=(*_regional(data["regional"]), *_everywhere(data["everywhere"])),
        public_only=tuple(
            PublicOnly(name=entry["service"], names=tuple(entry["names"])) for entry in data["public_only"]
        ),
    )


def _regional(entries: list[Mapping[str, Any]]) -> Iterator[Service]:
    for entry in entries:
        for region, networks in entry["networks"].items():
            yield Service(
                name=entry["service"],
                region=region,
                networks=_networks(networks),
                public_name=entry["public_name"].format(region=region),
                internal_name=entry["internal_name"].format(region=region),
                instances_only=False,
            )


def _everywhere(entries: list[Mapping[str, Any]]) -> Iterator[Service]:
    for entry in entries:
        yield Service(
            name=entry["service"],
            region="",
            networks=_networks(entry["networks"]),
            public_name="",
            internal_name="",
            instances_only=entry.get("instances_only", False),
        )


def _networks(texts: list[str]) -> tuple[IPv4Network, ...]:
    return tuple(IPv4Network(text) for text in texts)
