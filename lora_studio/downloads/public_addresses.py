"""Addresses of the public internet, told from those of this machine and its networks."""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv6Address

UNICAST = ipaddress.ip_network("2000::/3")
"""All IPv6 addresses that the internet routes (IANA, IPv6 global unicast)."""
TUNNELS = tuple(ipaddress.ip_network(block) for block in ("2001::/32", "2002::/16"))
"""Teredo and 6to4: wrappers around an IPv4 address, which may be any."""
WITH_IPV4 = tuple(ipaddress.ip_network(block) for block in ("::ffff:0:0/96", "64:ff9b::/96"))
"""Blocks whose last 32 bits are an IPv4 address: mapped ones (RFC 4291), and NAT64's, which networks without
IPv4 give to every server that has no other (RFC 6052)."""
RETIRED = ipaddress.ip_network("192.88.99.0/24")
"""Relays of 6to4 (RFC 7526)."""


def is_public(address: str) -> bool:
    """Whether an IP address, as a resolver gives it, belongs to a server of the public internet: not to this
    machine, a private network, a link, a group, and not to a block set apart. False for what is no
    address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address):
        return _is_public_6(parsed)
    return _is_public_4(parsed)


def _is_public_4(address: IPv4Address) -> bool:
    # is_global alone holds groups (224.0.0.0/4) for public.
    special = address.is_multicast or address.is_reserved or address in RETIRED
    return address.is_global and not special


def _is_public_6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    if any(address in block for block in WITH_IPV4):
        return _is_public_4(IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in UNICAST and address.is_global and not any(address in block for block in TUNNELS)
