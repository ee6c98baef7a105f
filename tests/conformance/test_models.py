"""What every model's card must keep to, whoever wrote it."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError
from urllib.parse import urlsplit

import pytest

from sightline.capabilities import Capability
from sightline.capabilities.embedding import IMAGE_EMBEDDING, TEXT_EMBEDDING
from sightline.models import ModelDefinition, catalogue
from sightline.runtime.residency import wanted
from sightline.weights.sources import ArchiveMember, Built, HubFile, UrlFile, WheelFile

CATALOGUE = catalogue()

every = pytest.mark.parametrize("model", CATALOGUE.values(), ids=CATALOGUE)


@every
def test_its_name_is_lowercase_with_dashes(model: ModelDefinition) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9]*([-.][a-z0-9]+)*", model.name)


@every
def test_it_can_do_something_known(model: ModelDefinition) -> None:
    assert model.card.capabilities
    assert all(isinstance(capability, Capability) for capability in model.card.capabilities)


@every
def test_it_says_under_which_licence_and_from_where(model: ModelDefinition) -> None:
    assert model.card.licence.strip()
    homepage = urlsplit(model.card.homepage)
    assert homepage.scheme == "https"
    assert homepage.hostname


@every
def test_its_description_is_one_line(model: ModelDefinition) -> None:
    assert model.card.description.strip()
    assert "\n" not in model.card.description


@every
def test_its_figures_make_sense(model: ModelDefinition) -> None:
    assert model.card.parameters >= 0
    assert model.card.multiply_adds >= 0
    assert 1 <= model.card.max_batch <= 256
    assert model.card.preprocessing


@every
def test_an_embedder_names_its_space(model: ModelDefinition) -> None:
    embeds = {IMAGE_EMBEDDING, TEXT_EMBEDDING} & model.card.capabilities
    assert not embeds or model.card.space is not None


@every
def test_the_store_takes_its_artifacts(model: ModelDefinition) -> None:
    want = wanted(model)  # refuses names that cannot be file names, and two of one name
    assert len(want.by_name) == len(model.card.artifacts)
    for artifact in model.card.artifacts:
        assert artifact.sources
        assert artifact.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", artifact.sha256)
        assert artifact.size_bytes is None or artifact.size_bytes > 0


@every
def test_its_sources_are_pinned_and_known(model: ModelDefinition) -> None:
    names = {artifact.name for artifact in model.card.artifacts}
    for artifact in model.card.artifacts:
        for source in artifact.sources:
            assert isinstance(source, HubFile | WheelFile | UrlFile | ArchiveMember | Built)
            if isinstance(source, UrlFile | ArchiveMember):
                assert source.url.startswith("https://")
            if isinstance(source, Built):
                assert set(source.inputs) <= names - {artifact.name}


@every
def test_its_card_is_frozen(model: ModelDefinition) -> None:
    with pytest.raises(FrozenInstanceError):
        model.card.name = "other"  # type: ignore[misc]
