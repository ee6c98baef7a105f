"""``GET /v1/info`` says what is in force, and no secret."""

from __future__ import annotations

from pydantic import SecretStr

from sightline import __version__


def test_versions_limits_and_settings_are_told(serve) -> None:
    client = serve(api_keys=(SecretStr("very-secret"),), image_max_pixels=1234, gemini_api_key="also-secret")
    assert client.get("/v1/info").status_code == 401
    answer = client.get("/v1/info", headers={"X-API-Key": "very-secret"})
    found = answer.json()
    assert found["version"] == __version__
    assert found["limits"]["image_pixels"] == 1234
    assert found["device"] == "cpu"
    assert found["precision"] in ("f32", "bf16")
    assert found["settings"]["SIGHTLINE_API_KEYS"] == "set"
    assert "secret" not in answer.text
