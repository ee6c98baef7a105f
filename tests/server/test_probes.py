"""Monitors ask by HEAD as well as by GET."""

from __future__ import annotations

import httpx2
import pytest

from sightline.server.contracts import PROBES


@pytest.mark.parametrize("path", sorted(PROBES))
def test_every_probe_answers_head_as_it_answers_get(client: httpx2.Client, path: str) -> None:
    answer = client.head(path)
    assert (answer.status_code, answer.content) == (client.get(path).status_code, b"")
