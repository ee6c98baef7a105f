"""Every series exists from the start, and no request can make another."""

import threading
from dataclasses import dataclass, field
from types import MappingProxyType

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from starlette.testclient import TestClient

import sightline
from sightline.errors import WeightsError
from sightline.runtime.lanes import Lane
from sightline.runtime.residency import ModelState
from sightline.runtime.telemetry import Telemetry
from sightline.server.metrics import Metrics
from sightline.server.middleware.request_log import RequestLog

OPERATIONS = ("embed_clip", "caption")
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@dataclass
class Engine:
    """Two real lanes and a word for each model's state."""

    lanes: dict[str, Lane] = field(
        default_factory=lambda: {
            name: Lane(name, max_batch=4, max_items=8, max_bytes=1000) for name in ("clip", "mtcnn")
        }
    )
    states: dict[str, ModelState] = field(
        default_factory=lambda: {"clip": ModelState.READY, "mtcnn": ModelState.MISSING}
    )

    @property
    def residency(self) -> "Engine":
        return self

    def state(self, name: str) -> ModelState:
        return self.states[name]

    def loads(self):  # type: ignore[no-untyped-def]
        return MappingProxyType({name: lane.load for name, lane in self.lanes.items()})


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def metrics(engine: Engine) -> Metrics:
    metrics = Metrics()
    metrics.attach(engine, OPERATIONS)
    return metrics


def series(metrics: Metrics) -> Series:
    text, _ = metrics.render(None)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_text(text.decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return series(metrics)[(name, tuple(sorted(labels.items())))]


def test_every_operation_and_model_is_there_at_zero(metrics: Metrics) -> None:
    found = series(metrics)
    for operation in OPERATIONS:
        for status in ("ok", "skipped", "error"):
            labels = (("operation", operation), ("status", status))
            assert found[("sightline_tasks_total", labels)] == 0
        assert found[("sightline_task_seconds_count", (("operation", operation),))] == 0
    for model in ("clip", "mtcnn"):
        for name in (
            "sightline_batch_size_count",
            "sightline_infer_seconds_count",
            "sightline_queue_wait_seconds_count",
            "sightline_prepare_seconds_count",
            "sightline_items_failed_total",
            "sightline_items_refused_total",
            "sightline_model_load_seconds_count",
            "sightline_model_loaded",
            "sightline_lane_items",
            "sightline_lane_bytes",
            "sightline_lane_queued",
        ):
            assert found[(name, (("model", model),))] == 0, name


def test_telemetry_is_counted(metrics: Metrics) -> None:
    telemetry: Telemetry = metrics
    telemetry.batch_computed("clip", 3, 0.02)
    telemetry.item_failed("clip")
    telemetry.item_waited("clip", 0.5, 0.25)
    telemetry.item_refused("mtcnn")
    telemetry.model_loaded("clip", 2.0)
    telemetry.task_finished("caption", "skipped", 0.1)
    assert value(metrics, "sightline_batch_size_sum", model="clip") == 3
    assert value(metrics, "sightline_infer_seconds_sum", model="clip") == pytest.approx(0.02)
    assert value(metrics, "sightline_items_failed_total", model="clip") == 1
    assert value(metrics, "sightline_prepare_seconds_sum", model="clip") == 0.5
    assert value(metrics, "sightline_queue_wait_seconds_sum", model="clip") == 0.25
    assert value(metrics, "sightline_items_refused_total", model="mtcnn") == 1
    assert value(metrics, "sightline_model_load_seconds_sum", model="clip") == 2
    assert value(metrics, "sightline_model_loaded", model="clip") == 1
    assert value(metrics, "sightline_tasks_total", operation="caption", status="skipped") == 1
    assert value(metrics, "sightline_task_seconds_sum", operation="caption") == pytest.approx(0.1)
    telemetry.model_unloaded("clip")
    assert value(metrics, "sightline_model_loaded", model="clip") == 0


def test_events_of_known_names_make_no_series(metrics: Metrics) -> None:
    before = series(metrics).keys()
    test_telemetry_is_counted(metrics)
    assert series(metrics).keys() == before


def test_lanes_are_read_at_each_scrape(metrics: Metrics, engine: Engine) -> None:
    with engine.lanes["clip"].admitted(600):
        assert value(metrics, "sightline_lane_items", model="clip") == 1
        assert value(metrics, "sightline_lane_bytes", model="clip") == 600
        assert value(metrics, "sightline_lane_items", model="mtcnn") == 0
    assert value(metrics, "sightline_lane_bytes", model="clip") == 0


def test_each_model_is_in_one_state_and_all_states_are_there(metrics: Metrics, engine: Engine) -> None:
    before = series(metrics).keys()
    for state in ModelState:
        engine.states["clip"] = state
        for other in ModelState:
            current = value(metrics, "sightline_model_state", model="clip", state=other.value)
            assert current == (other is state)
    assert series(metrics).keys() == before


@pytest.mark.parametrize("error", [PermissionError("no"), WeightsError("damaged")])
def test_a_disk_that_does_not_say_does_not_end_the_scrape(
    metrics: Metrics, engine: Engine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def unreadable(self: Engine, name: str) -> ModelState:
        raise error

    before = series(metrics).keys()
    monkeypatch.setattr(Engine, "state", unreadable)
    assert series(metrics).keys() == before
    assert value(metrics, "sightline_model_state", model="clip", state="ready") == 0


def test_ten_thousand_unknown_routes_and_methods_make_no_series(metrics: Metrics) -> None:
    app = FastAPI()

    @app.get("/items/{name}")
    async def item(name: str) -> str:
        return name

    client = TestClient(RequestLog(app, observe=metrics.request_finished))
    client.get("/nowhere")
    client.get("/items/1")
    client.request("BREW", "/nowhere")
    client.request("BREW", "/items/1")
    before = series(metrics).keys()
    for number in range(300):
        client.get(f"/nowhere/{number}", headers={"X-Request-ID": f"id-{number}"})
        client.get(f"/items/{number}?q={number}")
        client.request(f"BREW{number}", "/items/1")
    for number in range(10_000):
        metrics.request_finished("unmatched", f"BREW{number}", 404, 0.001)
    assert series(metrics).keys() == before
    labels = {"route": "/items/{name}", "method": "GET", "status": "200"}
    assert value(metrics, "sightline_http_requests_total", **labels) == 301
    labels = {"route": "unmatched", "method": "other", "status": "404"}
    assert value(metrics, "sightline_http_requests_total", **labels) == 10_001


def test_each_has_a_registry_of_its_own(metrics: Metrics) -> None:
    metrics.item_failed("clip")
    second = Metrics()
    second.attach(Engine(), OPERATIONS)
    assert value(second, "sightline_items_failed_total", model="clip") == 0


def test_before_attaching_a_scrape_works() -> None:
    assert not any(name.startswith("sightline_lane") for name, _ in series(Metrics()))


def test_the_version_and_the_process_are_there(metrics: Metrics) -> None:
    assert value(metrics, "sightline_build_info", version=sightline.__version__) == 1
    names = {name for name, _ in series(metrics)}
    assert "python_info" in names
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total"} <= names


def test_names_carry_units_and_a_line_of_help(metrics: Metrics) -> None:
    text, _ = metrics.render(None)
    for family in parse_text(text.decode()):
        if not family.name.startswith("sightline_") or family.name.endswith("_created"):
            continue
        assert len(family.documentation) > 10
        if family.type == "histogram" and family.name != "sightline_batch_size":
            assert family.name.endswith("_seconds")
            assert family.documentation.endswith("In seconds.")


def test_both_formats_parse(metrics: Metrics) -> None:
    text, kind = metrics.render("text/plain;version=0.0.4")
    assert kind.startswith("text/plain; version=0.0.4")
    assert list(parse_text(text.decode()))
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
    text, kind = metrics.render(accept)
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    assert list(parse_openmetrics(text.decode()))


ACCEPTS = st.text() | st.builds(
    lambda kind, rest: f"{kind};{rest}",
    st.sampled_from(["application/openmetrics-text", "text/plain", "*/*"]),
    st.text() | st.sampled_from(["version=99.x", "version=", "escaping=\r\nX: y", "version=1;version=2"]),
)


@given(ACCEPTS)
def test_no_accept_header_fails_or_comes_back(accept: str) -> None:
    kinds = {Metrics().render(each)[1] for each in (None, "application/openmetrics-text")}
    assert Metrics().render(accept)[1] in kinds


def test_threads_lose_nothing(metrics: Metrics) -> None:
    def count() -> None:
        for _ in range(2000):
            metrics.batch_computed("clip", 1, 0.001)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value(metrics, "sightline_batch_size_count", model="clip") == 8000
