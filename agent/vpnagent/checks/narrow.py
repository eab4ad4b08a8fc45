"""Name the narrow ranges of a region in the hints that offer them. Pure."""

from vpnagent.checks.occupancy import CLOUD_RESOLVERS, NARROW_RANGES
from vpnagent.explain.catalogue import Catalogue
from vpnagent.finding import Finding, Severity
from vpnagent.record import replace


def with_ranges(finding: Finding, catalogue: Catalogue, region: str) -> Finding:
    """Return a finding whose hint says which networks to write instead of 100.64.0.0/10."""
    services = [service for service in catalogue.region(region) if not service.instances_only]
    networks = [str(network) for service in services for network in service.networks]
    networks += [f"{address}/32" for address in CLOUD_RESOLVERS]
    names = ", ".join(service.name for service in services)
    ranges = f"{region}'s narrow ranges ({names}, DNS; as of {catalogue.read}): [{', '.join(networks)}]"
    if lacking := catalogue.services_without(region):
        ranges += f"; of {' and '.join(lacking)} the table has none there: see the service's page"
    return replace(finding, hint=finding.hint.replace(NARROW_RANGES, ranges))


def region_unknown(catalogue: Catalogue, region: str) -> Finding:
    """Return that the table has nothing of a region, which may exist all the same."""
    return Finding(
        code="RegionUnknown",
        subject=region,
        severity=Severity.WARNING,
        text=f"the table of narrow ranges (as of {catalogue.read}) does not have {region}: "
        "no hint names its ranges",
        hint=f"it has {', '.join(regions(catalogue))}; of others see the cloud's page Regions and endpoints",
    )


def regions(catalogue: Catalogue) -> list[str]:
    """Return the regions that are known."""
    return sorted({service.region for service in catalogue.services if service.region})
