from __future__ import annotations

import io
import json
import signal
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def lines(result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_table_says_answer_model_and_size(sightline, photo) -> None:
    result = sightline("analyze", photo(), "--task", "brightness")
    assert result.exit_code == 0, result.output
    assert "grey.png  png 8×6" in result.stdout
    assert "mean 100" in result.stdout
    assert "brightness" in result.stdout
    assert result.stderr == ""


def test_json_is_one_line_per_photo_in_their_order(sightline, photo) -> None:
    names = [photo(f"{number}.png", grey=number * 20) for number in range(9)]
    result = sightline("analyze", *names, "--task", "brightness", "--json")
    assert result.exit_code == 0, result.output
    found = lines(result)
    assert [entry["source"] for entry in found] == names
    assert [entry["results"]["brightness"]["data"]["mean"] for entry in found] == [n * 20 for n in range(9)]
    assert found[0]["image"]["width"] == 8
    assert found[0]["results"]["brightness"]["model"]["provenance"] == "built_in"


def test_without_tasks_the_default_ones_are_asked(sightline, photo) -> None:
    result = sightline("analyze", photo(), "--json", "--offline")
    assert "bright" in lines(result)[0]["results"]


def test_bad_photos_stop_nothing_and_are_listed_at_the_end(sightline, photo, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture at all")
    result = sightline("analyze", "gone.png", "text.jpg", photo(), ".", "--task", "brightness", "--json")
    assert result.exit_code == 1
    codes = [entry.get("error", {}).get("code") for entry in lines(result)]
    assert codes == ["invalid_request", "unsupported_image", None, "invalid_request"]
    complaints = result.stderr.splitlines()
    assert len(complaints) == 3
    assert complaints[0] == "gone.png: cannot be read: No such file or directory"
    assert complaints[1].startswith("text.jpg: ")


def test_tables_show_photos_that_do_not_open(sightline) -> None:
    result = sightline("analyze", "gone\x1b[31m.png", "--task", "brightness")
    assert result.exit_code == 1
    assert "No such file" in result.stdout
    assert "\x1b" not in result.output


def test_a_failure_shared_by_many_photos_is_told_once(sightline, photo) -> None:
    names = [photo(f"{number}.png") for number in range(3)]
    result = sightline("analyze", *names, "--task", "brightness:model=weighed", "--offline")
    assert result.exit_code == 1
    (complaint,) = result.stderr.splitlines()
    assert complaint.startswith("0.png and 2 more: brightness: ")
    assert "sightline models pull weighed" in complaint


def test_a_skipped_task_is_no_failure(sightline, photo) -> None:
    result = sightline("analyze", photo(), "--task", "brightness:above=200")
    assert result.exit_code == 0
    assert "skipped" in result.stdout
    assert "too dark to say" in result.stdout


def test_one_failing_task_leaves_the_others_alone(sightline, photo) -> None:
    tasks = ("--task", "brightness", "--task", "echo:text=crash", "--task", "echo:text=hello")
    result = sightline("analyze", photo(), *tasks, "--json")
    assert result.exit_code == 1
    results = lines(result)[0]["results"]
    assert {name: entry["status"] for name, entry in results.items()} == {
        "brightness": "ok", "echo": "error", "echo-2": "ok",
    }  # fmt: skip
    assert "secret" not in result.output


def test_values_become_what_the_parameters_are(sightline, photo) -> None:
    task = 'brightness:above=12.5,part=true,words=["a, b","c"],model=mean'
    result = sightline("analyze", photo(), "--task", task, "--json")
    assert result.exit_code == 0, result.output
    assert lines(result)[0]["results"]["brightness"]["data"]["words"] == ["a, b", "c"]


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("brighness", "there is no operation 'brighness'; there are "),
        ("brightness:above=much", "above: Input should be a valid number"),
        ("brightness:colour=red", "colour: is not a parameter; there are above"),
        ("brightness:above", "write OPERATION:key=value"),
    ],
)
def test_a_wrong_task_is_a_mistake_in_the_call(sightline, photo, task: str, said: str) -> None:
    result = sightline("analyze", photo(), "--task", task)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


def test_a_photo_is_missed_only_by_tasks_that_need_one(sightline) -> None:
    result = sightline("analyze", "--task", "brightness")
    assert result.exit_code == 2
    assert "which photo?" in result.stderr
    result = sightline("analyze", "--task", "echo:text=hello there", "--json")
    assert result.exit_code == 0
    assert lines(result)[0]["results"]["echo"]["data"] == {"text": "hello there"}
    assert lines(result)[0]["image"] is None


def test_a_photo_may_come_from_standard_input(sightline) -> None:
    file = io.BytesIO()
    Image.new("RGB", (3, 3), (50, 50, 50)).save(file, "PNG")
    result = sightline("analyze", "-", "--task", "brightness", "--json", input=file.getvalue())
    assert result.exit_code == 0, result.output
    assert lines(result)[0]["source"] == "-"
    assert lines(result)[0]["results"]["brightness"]["data"]["mean"] == 50


def test_a_photo_larger_than_the_limit_is_not_read_to_its_end(
    sightline, photo, monkeypatch, tmp_path
) -> None:
    monkeypatch.setenv("SIGHTLINE_IMAGE_MAX_BYTES", "1000")
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(1 << 40)  # sparse: reading it all would take the machine's memory
    result = sightline("analyze", "huge.jpg", "--task", "brightness", "--json")
    assert lines(result)[0]["error"]["code"] == "image_too_large"


def test_crops_are_written_once_each(sightline, photo, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    photos = (photo("a.png"), photo("other/a.png", grey=7))
    tasks = ("--task", "brightness:part=true", "--task", "brightness")
    result = sightline("analyze", *photos, *tasks, "--crops", "cut/faces")
    assert result.exit_code == 0, result.output
    written = sorted(path.name for path in (tmp_path / "cut" / "faces").iterdir())
    assert written == ["a-brightness-2.png", "a-brightness.png"]
    with Image.open(tmp_path / "cut" / "faces" / "a-brightness-2.png") as crop:
        assert crop.size == (4, 4)
        assert crop.getpixel((0, 0)) == (7, 7, 7)


@pytest.fixture
def photo_url() -> Iterator[str]:
    file = io.BytesIO()
    Image.new("RGB", (2, 2), (9, 9, 9)).save(file, "PNG")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(file.getvalue())))
            self.end_headers()
            self.wfile.write(file.getvalue())

        def log_message(self, *arguments: object) -> None:
            """Test output is for tests."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/photo"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_photo_may_be_a_url_if_its_address_is_allowed(sightline, photo_url, monkeypatch) -> None:
    refused = sightline("analyze", photo_url, "--task", "brightness", "--json")
    assert refused.exit_code == 1
    assert lines(refused)[0]["error"]["code"] == "url_refused"
    monkeypatch.setenv("SIGHTLINE_FETCH_ALLOW_NETWORKS", "127.0.0.0/8")
    monkeypatch.setenv("SIGHTLINE_FETCH_PORTS", photo_url.rpartition(":")[2].partition("/")[0])
    result = sightline("analyze", photo_url, "--task", "brightness", "--json")
    assert result.exit_code == 0, result.output
    assert lines(result)[0]["results"]["brightness"]["data"]["mean"] == 9


def test_no_weights_offline_is_one_clear_line(started, photo) -> None:
    process = started("analyze", photo(), "--task", "brightness:model=weighed", "--offline")
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "error" in stdout
    assert len(stderr.splitlines()) == 1
    assert "sightline models pull weighed" in stderr
    assert "Traceback" not in stdout + stderr


def test_ctrl_c_leaves_at_once_with_130(started, photo) -> None:
    process = started("analyze", photo(), "-", "--task", "brightness", "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["source"] == "grey.png"
    process.send_signal(signal.SIGINT)  # while it waits for standard input
    assert process.wait(timeout=10) == 130


def test_examples_of_the_help_are_true(sightline: Callable, photo) -> None:
    from sightline.cli.analyze import analyze
    from sightline.cli.tasks import read_tasks
    from sightline.operations import catalogue

    known = catalogue()
    examples = [line for line in (analyze.__doc__ or "").splitlines() if "--task" in line]
    assert examples
    for line in examples:
        text = line.split("--task ", 1)[1].partition("[/]")[0]
        text = text[1:].partition("'")[0] if text.startswith("'") else text.split()[0]
        (task,) = read_tasks([text])
        known[task.operation].Params.model_validate(dict(task.params))


def test_drawings_show_the_answers(sightline, tmp_path: Path, portrait: bytes) -> None:
    (tmp_path / "a b.jpg").write_bytes(portrait)
    (tmp_path / "torn.jpg").write_bytes(portrait[:300])
    task = ("--task", "detect_bounding_box:target=prominent_face,face_context=whole_image")
    done = sightline("analyze", "a b.jpg", "torn.jpg", *task, "--draw", "drawn")
    assert done.exit_code == 1
    (drawn,) = (tmp_path / "drawn").iterdir()
    assert drawn.name == "a_b-annotated.jpg"
    with Image.open(tmp_path / "a b.jpg") as photo, Image.open(drawn) as drawing:
        before, after = (np.asarray(each.convert("RGB"), int) for each in (photo, drawing))
    assert after.shape == before.shape
    changed = np.abs(before - after).max(axis=2) > 60
    assert 0.001 < changed.mean() < 0.2, "a frame was drawn, and not over everything"


def test_a_report_is_one_safe_file(sightline, tmp_path: Path, portrait: bytes) -> None:
    name = "<script>alert(1)</script>.jpg".replace("/", "_")
    (tmp_path / name).write_bytes(portrait)
    (tmp_path / "torn.jpg").write_bytes(portrait[:300])
    (tmp_path / "report.html").write_text("before")
    task = ("--task", "detect_bounding_box:target=prominent_face,face_context=whole_image")
    sightline("analyze", name, "torn.jpg", *task, "--report", "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.count("<tr>") == 3
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert page.count("data:image/jpeg;base64,") >= 1
    assert "http" not in page.replace("http-equiv", "")
    assert 'class="error"' in page
    assert "face" in page


def test_a_report_that_cannot_be_written_is_told(sightline, tmp_path: Path, portrait: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(portrait)
    done = sightline("analyze", "a.jpg", "--task", "embed_clip_vit_b_32", "--report", "nowhere/report.html")
    assert done.exit_code != 0
    assert "Traceback" not in done.stderr
