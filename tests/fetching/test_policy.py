"""The policy is what the settings say."""

from __future__ import annotations

from ipaddress import ip_network

from sightline.fetching import FetchPolicy
from sightline.settings import Settings


def test_defaults_are_the_documented_ones() -> None:
    assert FetchPolicy.from_settings(Settings(_env_file=None)) == FetchPolicy(
        timeout_s=10.0,
        connect_timeout_s=3.0,
        dns_timeout_s=2.0,
        idle_timeout_s=5.0,
        max_redirects=3,
        ports=(80, 443),
        allow_networks=(),
    )


def test_every_field_follows_its_setting() -> None:
    settings = Settings(
        _env_file=None,
        fetch_timeout_s=1,
        fetch_connect_timeout_s=2,
        fetch_dns_timeout_s=3,
        fetch_idle_timeout_s=4,
        fetch_max_redirects=5,
        fetch_ports="8080, 8443",
        fetch_allow_networks="10.0.0.0/8,fd00::/8",
    )
    assert FetchPolicy.from_settings(settings) == FetchPolicy(
        timeout_s=1,
        connect_timeout_s=2,
        dns_timeout_s=3,
        idle_timeout_s=4,
        max_redirects=5,
        ports=(8080, 8443),
        allow_networks=(ip_network("10.0.0.0/8"), ip_network("fd00::/8")),
    )
