"""The table of addresses: what is closed, what is open, and what hides inside an IPv6 address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.fetching.addresses import REFUSED_NETWORKS, Address, Network, is_allowed

REFUSED = (
    "0.0.0.0", "0.1.2.3", "10.0.0.0", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255",
    "127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.0.1", "169.254.169.254", "172.16.0.1",
    "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.0.255", "192.0.2.1", "192.31.196.1", "192.52.193.1",
    "192.88.99.1", "192.168.0.1", "192.168.255.255", "192.175.48.1", "198.18.0.1", "198.19.255.255",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8", "fe80::1", "fe80::1%1", "fe80::1%eth0", "::1%1", "fc00::1",
    "fd00:ec2::254", "fec0::1", "ff02::1", "ff0e::1", "100::1", "2002:a9fe:a9fe::", "2002:7f00:1::",
    "2002:808:808::1", "64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b:1::7f00:1", "64:ff9b:1::808:808",
    "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:0:7f00:1::", "2001:2::1", "2001:10::1",
    "2001:20::1", "2001:1ff:ffff::", "2001:db8::1", "3fff::1", "5f00::1", "2620:4f:8000::1", "4000::1",
    "8000::1", "1fff:ffff::1", "fe80::5efe:8.8.8.8", "2a00:1450::5efe:127.0.0.1",
    "2a00:1450::200:5efe:10.0.0.1", "2a00:1450:4001:80b:0:5efe:a9fe:a9fe",
    # no addresses at all: a resolver that answers with these is not to be followed
    "", "localhost", "0177.0.0.1", "127.1", "2130706433", "0x7f.1", "127.0.0.1 ", "[::1]",
)  # fmt: skip
PUBLIC = (
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
    "128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255",
    "172.32.0.0", "192.0.1.0", "192.0.3.0", "192.88.98.255", "192.88.100.0", "192.167.255.255",
    "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "2606:4700:4700::1111",
    "2001:200::1", "2001:4860:4860::8888", "2003::1", "2a00:1450:4001:80b::200e",
    "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2a00:1450::5efe:8.8.8.8",
)  # fmt: skip


@pytest.mark.parametrize("address", REFUSED)
def test_closed_addresses(address: str) -> None:
    assert not is_allowed(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert is_allowed(address)


@pytest.mark.parametrize("network", REFUSED_NETWORKS, ids=str)
def test_networks_are_closed_to_both_ends(network: Network) -> None:
    assert not is_allowed(str(network.network_address))
    assert not is_allowed(str(network.broadcast_address))


_GLOBAL_BY_ANOTHER_ROUTE = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_never_wider_than_the_standard_library(address: Address) -> None:
    if any(address in network for network in _GLOBAL_BY_ANOTHER_ROUTE):
        return
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert not is_allowed(str(address))


def test_allowed_networks_open_holes_of_their_size() -> None:
    allow = (ip_network("10.1.0.0/16"), ip_network("fd00:1::/32"))
    assert is_allowed("10.1.2.3", allow)
    assert is_allowed("::ffff:10.1.2.3", allow)
    assert is_allowed("64:ff9b::10.1.2.3", allow)
    assert is_allowed("fd00:1::5", allow)
    assert is_allowed("8.8.8.8", allow)
    assert not is_allowed("10.2.0.1", allow)
    assert not is_allowed("127.0.0.1", allow)
    assert not is_allowed("fd00:2::5", allow)
    assert not is_allowed("2002:a01:203::1", allow)  # inside 6to4, which nobody opened


def _forms(inner: IPv4Address) -> dict[str, int]:
    """Every way an IPv4 address is written into an IPv6 address (RFC 4291, 3056, 4380, 6052, 8215, 5214)."""
    value = int(inner)
    return {
        "mapped": 0xFFFF << 32 | value,
        "compatible": value,
        "translated": 0xFFFF << 48 | value,
        "6to4": 0x2002 << 112 | value << 80,
        "teredo server": 0x20010000 << 96 | value << 64 | ~0x08080808 & 0xFFFFFFFF,
        "teredo client": 0x20010000 << 96 | 0x08080808 << 64 | ~value & 0xFFFFFFFF,
        "nat64": 0x0064FF9B << 96 | value,
        "local nat64": 0x0064FF9B0001 << 80 | value,
        "isatap": 0x2A001450 << 96 | 0x5EFE << 32 | value,
        "isatap, global": 0x2A001450 << 96 | 0x02005EFE << 32 | value,
    }


@pytest.mark.parametrize("form", _forms(IPv4Address("127.0.0.1")))
@given(inner=st.sampled_from(["127.0.0.1", "10.1.2.3", "169.254.169.254", "100.100.100.200", "224.0.0.1"]))
def test_a_private_address_stays_closed_in_every_disguise(form: str, inner: str) -> None:
    address = str(IPv6Address(_forms(IPv4Address(inner))[form]))
    assert not is_allowed(address)
    # Opening the IPv6 network around it does not open the IPv4 network inside.
    assert not is_allowed(address, (ip_network("::/0"),))
    assert is_allowed(address, (ip_network("::/0"), ip_network("0.0.0.0/0")))


@given(st.integers(0, 2**32 - 1))
def test_mapped_and_nat64_are_judged_as_what_they_carry(value: int) -> None:
    expected = is_allowed(str(ip_address(value)))
    assert is_allowed(str(IPv6Address(_forms(IPv4Address(value))["mapped"]))) is expected
    assert is_allowed(str(IPv6Address(_forms(IPv4Address(value))["nat64"]))) is expected
