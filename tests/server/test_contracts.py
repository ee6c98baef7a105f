"""The rules of each contract hold for all of its routes."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest
from starlette.routing import Route

from sightline.server.contract import Contract
from sightline.server.contracts import CONTRACTS, PROBES
from sightline.server.middleware.scopes import is_below
from sightline.server.routes import health
from sightline.settings import Settings

OWN = [contract for contract in CONTRACTS if contract is not health.CONTRACT]
ORIGIN = "https://pages.example"


def paths(contract: Contract) -> Iterator[str]:
    for router in (*contract.routers, *contract.operation_routers({})):
        for route in router.routes:
            assert isinstance(route, Route)
            yield route.path.rstrip("/")


@pytest.mark.parametrize("contract", OWN, ids=lambda contract: contract.name)
def test_every_route_is_below_a_prefix_of_its_contract(contract: Contract) -> None:
    outside = [path for path in paths(contract) if not is_below(path, contract.prefixes)]
    assert set(outside) <= contract.probes


def test_no_path_belongs_to_two_contracts() -> None:
    for contract in OWN:
        others = [prefix for other in OWN if other is not contract for prefix in other.prefixes]
        assert not [prefix for prefix in contract.prefixes if is_below(prefix, others)]


def test_probes_are_routes() -> None:
    assert {path for contract in CONTRACTS for path in paths(contract)} >= PROBES


def test_no_limit_of_a_contract_is_for_another_contracts_paths() -> None:
    settings = Settings()
    for contract in CONTRACTS:
        limited = [*contract.max_body_bytes(settings)]
        for prefixes in contract.rates(settings):
            limited += [prefixes] if isinstance(prefixes, str) else prefixes
        assert not [path for path in limited if not is_below(path, contract.prefixes)]


@pytest.mark.parametrize(
    ("setting", "path"),
    [
        ("v1_origins", "/v1/analyze"),
        ("v1_origins", "/v1/operations/embed_clip"),
        ("v1_origins", "/v1/collections"),
        ("cors_origins", "/api/geolocate"),
        ("allowed_origins", "/gemini/analyze/"),
    ],
)
def test_pages_of_the_configured_origins_may_call_a_contract(serve, setting: str, path: str) -> None:
    client: httpx2.Client = serve(**{setting: (ORIGIN,)})
    asking = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    allowed = client.options(path, headers=asking)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    other = client.options(path, headers={**asking, "Origin": "https://other.example"})
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize("contract", OWN, ids=lambda contract: contract.name)
def test_errors_are_in_the_contracts_own_form(serve, contract: Contract) -> None:
    client: httpx2.Client = serve()
    for prefix in contract.prefixes:
        refused = client.get(f"{prefix}/nothing/here")
        assert refused.status_code == 404
        if prefix == "/v1":
            assert refused.json()["code"] == "not_found"
        else:
            assert set(refused.json()) == {"detail"}


def test_v1_has_a_rate_limit_of_its_own(serve) -> None:
    client: httpx2.Client = serve(rate_limits=("/v1=2/minute",))
    assert [client.get("/v1/operations").status_code for _ in range(3)] == [200, 200, 429]
    assert client.get("/available_operations/").status_code == 200
