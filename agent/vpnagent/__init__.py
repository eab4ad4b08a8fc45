"""vpnagent turns a Linux router into an IPsec gateway to Alibaba Cloud that runs unattended.

It drives strongSwan through VICI, owns the XFRM interfaces, nexthop objects and routes that carry
100.64.0.0/10 and the VPC prefixes, and says what it sees: ``vpnagent status``, Prometheus, journald.
"""

__version__ = "0.1.0"
