"""What is so about Alibaba Cloud everywhere. Pure."""

from ipaddress import IPv4Network
from typing import Final

#: Services outside of VPCs have their addresses here (access-cloud-services-over-vpn).
CLOUD_SERVICES: Final = IPv4Network("100.64.0.0/10")
