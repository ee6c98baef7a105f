"""The addresses that may be dialled: the public internet, and those the operator allows.

``ipaddress.is_global`` is not the judge: up to Python 3.13 it calls multicast, NAT64, fec0::/10 and
``::127.0.0.1`` global, and it cannot know that 168.63.129.16 is Azure's own host.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# IANA special-purpose address registries (RFC 6890), globally reachable entries included: no photo lives in
# an anycast service range. Entries without an RFC-wide registration say whose they are.
REFUSED_NETWORKS: tuple[Network, ...] = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; 100.100.100.200 is Alibaba Cloud's metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host agent, in otherwise public space
        "169.254.0.0/16",  # link-local; 169.254.169.254 is most clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; 192.0.0.192 is Oracle Cloud's metadata
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # automatic multicast tunnelling
        "192.88.99.0/24",  # 6to4 relay, deprecated by RFC 7526
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, limited broadcast included
        "::/128",  # unspecified
        "::1/128",  # loopback
        "::/96",  # IPv4-compatible, deprecated by RFC 4291
        "::ffff:0:0:0/96",  # IPv4-translated, RFC 7915
        "64:ff9b:1::/48",  # local-use NAT64, RFC 8215
        "100::/64",  # discard-only
        "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID, anycast services
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fc00::/7",  # unique local; fd00:ec2::254 is Amazon's metadata
        "fe80::/10",  # link-local
        "fec0::/10",  # site-local, deprecated by RFC 3879 and still routed by some
        "ff00::/8",  # multicast
        # IANA has given out no unicast addresses but those of 2000::/3 (RFC 3513); here is all the rest.
        "::/3",
        "4000::/2",
        "8000::/1",
    )
)

_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_CARRIERS = (_MAPPED, _NAT64)  # nothing but an IPv4 address in other clothes: that one is judged instead
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_COMPATIBLE = IPv6Network("::/96")
_TRANSLATED = IPv6Network("::ffff:0:0:0/96")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")
_ISATAP_IDENTIFIERS = (0x00005EFE, 0x02005EFE)  # RFC 5214, section 6.1


def is_allowed(address: str, allow_networks: Iterable[Network] = ()) -> bool:
    """Whether ``address``, as a resolver gave it, may be dialled.

    It may if it is public or inside ``allow_networks``, and so is every IPv4 address that is embedded in it
    (IPv4-mapped, IPv4-compatible, 6to4, Teredo, NAT64, ISATAP). What is no IP address may not.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    allowed = tuple(allow_networks)
    return all(_is_open(part, allowed) for part in _to_judge(parsed))


def _is_open(address: Address, allow_networks: tuple[Network, ...]) -> bool:
    if any(address in network for network in allow_networks):
        return True
    return not any(address in network for network in REFUSED_NETWORKS)


def _to_judge(address: Address) -> Iterator[Address]:
    if isinstance(address, IPv4Address):
        yield address
        return
    if not any(address in network for network in _CARRIERS):
        yield address
    yield from _embedded(address)


def _embedded(address: IPv6Address) -> Iterator[IPv4Address]:
    """IPv4 addresses that a router, a relay or the kernel may read out of ``address``."""
    value = int(address)
    last = IPv4Address(value & 0xFFFF_FFFF)
    # RFC 8215 lets the local NAT64 prefix be cut at several lengths; only the /96 form ends in the address,
    # and the others end in zeros, which is no public address either.
    if any(address in network for network in (*_CARRIERS, _NAT64_LOCAL, _COMPATIBLE, _TRANSLATED)):
        yield last
    if address in _SIX_TO_FOUR:
        yield IPv4Address((value >> 80) & 0xFFFF_FFFF)
    if address in _TEREDO:
        yield IPv4Address((value >> 64) & 0xFFFF_FFFF)  # the server
        yield IPv4Address(~value & 0xFFFF_FFFF)  # the client, stored inverted (RFC 4380)
    if (value >> 32) & 0xFFFF_FFFF in _ISATAP_IDENTIFIERS:
        yield last
