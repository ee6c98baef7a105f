from __future__ import annotations

import json


def test_lists_parameters_with_types_defaults_and_meanings(sightline) -> None:
    result = sightline("operations", "brightness")
    assert result.exit_code == 0, result.output
    rows = {
        line.split()[0]: " ".join(line.split()[1:]) for line in result.stdout.splitlines() if line.strip()
    }
    assert rows["above"] == "number ≥ 0 ≤ 255 0.0 Least brightness."
    assert rows["part"] == "true | false false Only the upper left corner."
    assert rows["words"] == "list of text [] Echoed."
    assert rows["--task"] == "brightness:above=3.5"


def test_required_parameters_and_examples_that_need_quotes(sightline) -> None:
    shown = sightline("operations", "echo").stdout
    assert "required" in shown
    assert """--task 'echo:text="a, b"'""" in shown


def test_all_of_them_by_default_built_in_ones_too(sightline) -> None:
    shown = sightline("operations").stdout
    for name in ("brightness", "echo", "detect_bounding_box"):
        assert name in shown
    shown = sightline("operations", "detect_bounding_box").stdout
    # The choices of a target are those of the operation, not all there are.
    row = next(line for line in shown.splitlines() if line.split()[:1] == ["target"])
    assert "prominent_person | prominent_face " in row
    assert "whole_image" not in row


def test_json_is_complete(sightline) -> None:
    (data,) = json.loads(sightline("operations", "brightness", "--json").stdout)
    assert data["needs_image"] is True
    assert data["params"]["properties"]["above"]["maximum"] == 255
    assert data["example"] == {"operation": "brightness", "params": {"above": 3.5}}


def test_examples_can_be_given_back(sightline, photo) -> None:
    shown = sightline("operations", "brightness").stdout
    task = next(line for line in shown.splitlines() if line.startswith("--task ")).split()[1]
    assert sightline("analyze", photo(), "--task", task).exit_code == 0


def test_an_unknown_name_is_a_mistake(sightline) -> None:
    result = sightline("operations", "nothing")
    assert result.exit_code == 2
    assert "there is no operation 'nothing'" in result.stderr


def test_a_plug_in_that_does_not_import_is_one_line(sightline, plugins) -> None:
    (plugins / "operations" / "bad.py").write_text("import nowhere_to_be_found")
    result = sightline("operations")
    assert result.exit_code == 2
    assert "plug-in 'bad.py' does not import" in result.stderr
    assert len(result.stderr.splitlines()) == 1
