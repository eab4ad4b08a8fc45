"""What the cloud's services are called and numbered, as the data file has it. Pure.

The file is `services.yaml`: addresses with their region, a date and a source each. It is never complete: an
address that it does not know may still be a service's.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final, NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service outside of VPCs, in one region or, where ``region`` is empty, in all."""

    name: str
    region: str
    networks: tuple[IPv4Network, ...]
    instances_only: bool  #: it answers ECS instances, each about itself: nothing for a data centre

    def __str__(self) -> str:
        return f"{self.name} in {self.region}" if self.region else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicOnly:
    """A service with public addresses only, and the names below which its endpoints are."""

    name: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """How the endpoints of a service are called in whatever region: names with ``{region}`` in them."""

    service: str
    internal_name: str  #: whose addresses the ranges are
    other_internal: tuple[str, ...]
    public: tuple[str, ...]


class ServiceEndpoint(NamedTuple):
    """What a name is an endpoint of, or below."""

    names: Names
    region: str
    internal: bool
    below: str  #: what stands before the endpoint, such as a bucket's name and a dot

    @property
    def internal_name(self) -> str:
        """The internal name of the same."""
        return self.below + self.names.internal_name.format(region=self.region)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """The whole file."""

    read: str  #: the day on which the sources were read, ISO 8601
    services: tuple[Service, ...]
    public_only: tuple[PublicOnly, ...]
    names: tuple[Names, ...] = ()
    internal_patterns: tuple[str, ...] = ()

    def at(self, address: IPv4Address) -> Service | None:
        """Return the service with the narrowest network around an address."""
        found = [(n.prefixlen, s) for s in self.services for n in s.networks if address in n]
        return max(found, key=lambda pair: pair[0])[1] if found else None

    def public(self, host: str) -> PublicOnly | None:
        """Return the service with public addresses only that a name belongs to."""
        return next((s for s in self.public_only if any(below(host, name) for name in s.names)), None)

    def endpoint(self, host: str) -> ServiceEndpoint | None:
        """Return what a name is, by its pattern: regions and services that the table lacks are read too."""
        for internal in (True, False):  # an internal name looks like a public one of an odd region
            for names in self.names:
                patterns = (names.internal_name, *names.other_internal) if internal else names.public
                for pattern in patterns:
                    if match := re.fullmatch(_expression(pattern), host):
                        return ServiceEndpoint(names, match["region"], internal, match["below"])
        return None

    def internal(self, host: str) -> bool:
        """Whether this is an internal name of the cloud's, or below one."""
        endpoint = self.endpoint(host)
        if endpoint is not None:
            return endpoint.internal
        return below(host, CLOUD) and any(re.search(pattern, host) for pattern in self.internal_patterns)

    def internal_name(self, host: str) -> str | None:
        """Return the internal name of what has this public one, a bucket's or a project's for example."""
        endpoint = self.endpoint(host)
        return endpoint.internal_name if endpoint and not endpoint.internal else None

    def lacks(self, host: str) -> str:
        """Return what of a name's addresses the table does not tell; empty where it has them."""
        endpoint = self.endpoint(host)
        if endpoint is None:
            return ""
        service, region = endpoint.names.service, endpoint.region
        if service in self.services_without(region):
            return f"the table of ranges (as of {self.read}) has no ranges of {service} in {region}"
        if endpoint.internal and host != endpoint.internal_name and _is_other(endpoint, host):
            return f"the ranges of {service} in the table are of {endpoint.internal_name}"
        return ""

    def services_without(self, region: str) -> tuple[str, ...]:
        """Return the regional services of which the table has no ranges in a region."""
        there = {service.name for service in self.region(region)}
        return tuple(names.service for names in self.names if names.service not in there)

    def region(self, region: str) -> tuple[Service, ...]:
        """Return the services of a region."""
        return tuple(service for service in self.services if service.region == region)


CLOUD: Final = "aliyuncs.com"
_REGION: Final = "(?P<region>[a-z0-9]+(-[a-z0-9]+)+)"


def _expression(pattern: str) -> str:
    """Return the regular expression of a name with ``{region}`` in it, and of what is below."""
    before, after = map(re.escape, pattern.split("{region}"))
    return rf"(?P<below>(.*\.)?){before}{_REGION}{after}"


def _is_other(endpoint: ServiceEndpoint, host: str) -> bool:
    """Whether an internal name is another one than that whose addresses the ranges are."""
    return not re.fullmatch(_expression(endpoint.names.internal_name), host)


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
        names=tuple(map(_names, data["regional"])),
        internal_patterns=tuple(data["internal_patterns"]),
    )


def _names(entry: Mapping[str, Any]) -> Names:
    return Names(
        service=entry["service"],
        internal_name=entry["internal_name"],
        other_internal=tuple(entry.get("other_internal", ())),
        public=(*entry.get("other_public", ()), entry["public_name"]),
    )


def _regional(entries: list[Mapping[str, Any]]) -> Iterator[Service]:
    for entry in entries:
        for region, networks in entry["networks"].items():
            yield Service(
                name=entry["service"],
                region=region,
                networks=_networks(networks),
                instances_only=False,
            )


def _everywhere(entries: list[Mapping[str, Any]]) -> Iterator[Service]:
    for entry in entries:
        yield Service(
            name=entry["service"],
            region="",
            networks=_networks(entry["networks"]),
            instances_only=entry.get("instances_only", False),
        )


def _networks(texts: list[str]) -> tuple[IPv4Network, ...]:
    return tuple(IPv4Network(text) for text in texts)
