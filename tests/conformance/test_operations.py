"""What every operation must keep to, whoever wrote it."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from pydantic import ValidationError

from sightline.capabilities import Capability
from sightline.operations import Operation, Params, RegionParams, Result, TimingGroup, catalogue
from sightline.types import Target

CATALOGUE = catalogue()

every = pytest.mark.parametrize("operation", CATALOGUE.values(), ids=CATALOGUE)


@every
def test_its_name_is_snake_case(operation: Operation[Any, Any]) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", operation.name)


@every
def test_its_description_is_one_sentence(operation: Operation[Any, Any]) -> None:
    text = operation.description
    assert text[0].isupper()
    assert text.endswith(".")
    assert "\n" not in text
    assert not re.search(r"[.!?] ", text)


@every
def test_its_example_fits_its_parameters(operation: Operation[Any, Any]) -> None:
    operation.Params.model_validate(dict(operation.example))


@every
def test_it_refuses_unknown_parameters(operation: Operation[Any, Any]) -> None:
    with pytest.raises(ValidationError, match="no_such_parameter"):
        operation.Params.model_validate({**operation.example, "no_such_parameter": 1})


@every
def test_its_types_have_schemas_for_openapi(operation: Operation[Any, Any]) -> None:
    assert issubclass(operation.Params, Params)
    assert issubclass(operation.Result, Result)
    assert operation.Params.model_json_schema(mode="validation")["additionalProperties"] is False
    written = operation.Result.model_json_schema(mode="serialization")
    assert written.get("properties") or written.get("anyOf")  # one shape, or one of several


@every
def test_its_parameters_are_described(operation: Operation[Any, Any]) -> None:
    undescribed = [name for name, field in operation.Params.model_fields.items() if not field.description]
    assert undescribed == []


@every
def test_its_targets_and_parameters_agree(operation: Operation[Any, Any]) -> None:
    assert all(isinstance(target, Target) for target in operation.targets)
    assert len(set(operation.targets)) == len(operation.targets)
    if not operation.targets:
        assert operation.default_target is None
        assert not issubclass(operation.Params, RegionParams)
        return
    assert operation.needs_picture
    assert operation.default_target in operation.targets
    assert operation.Params.model_fields["target"].default is operation.default_target


@every
def test_its_needs_are_capabilities(operation: Operation[Any, Any]) -> None:
    assert isinstance(operation.needs, tuple)
    assert all(isinstance(need, Capability) for need in operation.needs)


@every
def test_its_time_counts_as_something_known(operation: Operation[Any, Any]) -> None:
    assert isinstance(operation.timing_group, TimingGroup)


@every
def test_it_runs_as_a_coroutine(operation: Operation[Any, Any]) -> None:
    assert inspect.iscoroutinefunction(operation.run)


@every
def test_its_default_tasks_fit_its_parameters(operation: Operation[Any, Any]) -> None:
    for template in operation.default_tasks:
        operation.Params.model_validate(dict(template.params))


def test_default_tasks_have_ids_of_their_own() -> None:
    ids = [template.id for operation in CATALOGUE.values() for template in operation.default_tasks]
    assert len(set(ids)) == len(ids)
