"""Files of ``sightline wildlife``, read by the tools of MegaDetector's own package (10.0.28)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sightline.jobs.wildlife.predictions import PredictionsFormat, write_predictions

pytest.importorskip("megadetector", reason="parity is checked in the parity environment (make parity)")
pytestmark = pytest.mark.parity

# Predictions of each kind: failed, empty, rolled up to each level, people, not classified.
ENTRIES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "jobs" / "wildlife" / "converted" / "entries.json").read_text()
)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The same answers in both formats."""
    for each in (PredictionsFormat.MEGADETECTOR, PredictionsFormat.SPECIESNET_5):
        write_predictions(tmp_path / f"{each}.json", ENTRIES, each, {"net": "0123456789abcdef"})
    return tmp_path


def test_the_default_is_valid_batch_results(written: Path) -> None:
    from megadetector.postprocessing.validate_batch_results import (
        ValidateBatchResultsOptions,
        validate_batch_results,
    )

    options = ValidateBatchResultsOptions()
    options.raise_errors = True
    found = validate_batch_results(str(written / "megadetector.json"), options=options)
    assert found["validation_results"]["errors"] == found["validation_results"]["warnings"] == []


def test_the_default_is_what_the_converter_makes_of_speciesnets_file(written: Path) -> None:
    from megadetector.utils.wi_taxonomy_utils import generate_md_results_from_predictions_json

    converted = generate_md_results_from_predictions_json(
        str(written / "speciesnet-5.json"), str(written / "converted.json")
    )
    ours = json.loads((written / "megadetector.json").read_text())
    for results in (ours, converted):
        assert results.pop("info")["format_version"] == "1.6"
    assert ours == converted


def test_tools_for_both_formats_load_both(written: Path) -> None:
    from megadetector.utils.wi_taxonomy_utils import load_md_or_speciesnet_file

    one, other = (
        load_md_or_speciesnet_file(str(written / f"{name}.json")) for name in ("megadetector", "speciesnet-5")
    )
    assert one["images"] == other["images"]
