from __future__ import annotations

import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

STAND_IN = ("--model", "stand-in")


@pytest.fixture(autouse=True)
def _captioner(environment: dict[str, str], plugins: Path, with_captioner) -> None:
    """``stand-in`` is there in this process and in those it starts."""
    with_captioner(plugins)


@pytest.fixture
def folder(tmp_path: Path, grey_image) -> Path:
    """Three good images, two bad ones, and things that are no images."""
    holiday = tmp_path / "holiday"
    grey_image(holiday / "a.png", 10)
    grey_image(holiday / "b.JPG", 20)
    grey_image(holiday / "below" / "c.gif", 30)
    (holiday / "text.jpg").write_text("no picture at all")
    (holiday / "torn.png").write_bytes((holiday / "a.png").read_bytes()[:60])
    (holiday / "notes.txt").write_text("mine")
    return holiday


def lines(text: str) -> tuple[dict[str, dict[str, str]], dict[str, int]]:
    """What was said of each image, by its name, and the counts at the end."""
    *images, counts = map(json.loads, text.splitlines())
    return {Path(image["image"]).name: image for image in images}, counts


def captions(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.rglob("*.txt") if path.name != "notes.txt"}


def test_captions_lie_beside_their_images_and_bad_files_are_listed(sightline, folder: Path) -> None:
    result = sightline("caption", str(folder), *STAND_IN)
    assert result.exit_code == 1
    assert captions(folder) == {
        "a.txt": "all of grey 10 in 50 words", "b.txt": "all of grey 20 in 50 words",
    }  # fmt: skip
    images, counts = lines(result.stdout)
    assert counts == {"written": 2, "skipped": 0, "failed": 2}
    assert images["a.png"] == {
        "image": str(folder / "a.png"), "status": "written", "caption": "all of grey 10 in 50 words",
    }  # fmt: skip
    assert images["text.jpg"]["status"] == "failed"
    text, torn = sorted(result.stderr.splitlines())
    assert text.startswith(f"failed: {folder / 'text.jpg'}: This is not an image")
    assert torn.startswith(f"failed: {folder / 'torn.png'}: ")
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_second_run_does_only_what_is_left(sightline, folder: Path, grey_image) -> None:
    for name in ("text.jpg", "torn.png"):
        (folder / name).unlink()
    assert sightline("caption", str(folder), *STAND_IN).exit_code == 0
    (folder / "a.txt").write_text("by hand")
    grey_image(folder / "d.webp", 40)
    result = sightline("caption", str(folder), *STAND_IN, "--recursive")
    assert result.exit_code == 0
    assert lines(result.stdout)[1] == {"written": 2, "skipped": 2, "failed": 0}
    assert captions(folder)["a.txt"] == "by hand"
    assert result.stderr == ""
    result = sightline("caption", str(folder), *STAND_IN, "--force", "--max-length", "5")
    assert lines(result.stdout)[1] == {"written": 3, "skipped": 0, "failed": 0}
    assert captions(folder)["a.txt"] == "all of grey 10 in 5 words"
    assert captions(folder)["c.txt"] == "all of grey 30 in 50 words"


def test_images_with_one_caption_are_told(sightline, tmp_path: Path, grey_image) -> None:
    grey_image(tmp_path / "in" / "photo.jpg", 10)
    grey_image(tmp_path / "in" / "photo.png", 20)
    result = sightline("caption", "in", *STAND_IN)
    assert result.exit_code == 0
    assert result.stderr == "skipped: in/photo.png: photo.txt is the caption of photo.jpg\n"
    assert captions(tmp_path / "in") == {"photo.txt": "all of grey 10 in 50 words"}


def test_a_folder_without_images_is_a_mistake(sightline, tmp_path: Path) -> None:
    (tmp_path / "empty" / "below").mkdir(parents=True)
    result = sightline("caption", "empty")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no images in empty" in result.stderr
    (tmp_path / "empty" / "below" / "a.jpg").touch()
    assert "--recursive" in sightline("caption", "empty").stderr


@pytest.mark.parametrize(("name", "said"), [("file", "is a file"), ("gone", "does not exist")])
def test_what_is_no_folder_is_a_mistake_in_the_call(sightline, tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "file").touch()
    result = sightline("caption", name)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--max-length", "0"), "max_length"),
        (("--target", "feet"), "feet"),
        (("--concurrency", "0"), "concurrency"),
        (("--server", "localhost:8000"), "no address of a server"),
        (("--server", "http://127.0.0.1:9", "--api-key", "a b"), "API key"),
    ],
)
def test_wrong_options_are_mistakes_in_the_call(
    sightline, folder: Path, option: tuple[str, ...], said: str
) -> None:
    result = sightline("caption", str(folder), *option)
    assert result.exit_code == 2
    assert said in result.stderr
    assert captions(folder) == {}


def test_missing_weights_are_one_clear_line_at_once(started, tmp_path: Path, grey_image) -> None:
    for number in range(300):
        grey_image(tmp_path / "many" / f"{number:03}.png", 10)
    process = started("caption", "many", "--offline")
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert json.loads(stdout) == {"written": 0, "skipped": 0, "failed": 0}
    (line,) = stderr.splitlines()
    assert line.startswith("error: ")
    assert "sightline models " in line


def test_a_disk_that_takes_nothing_more_is_one_clear_line(environment, folder: Path) -> None:
    def no_bytes_in_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    process = subprocess.run(
        [sys.executable, "-c", "from sightline.cli import main; main()", "caption", str(folder), *STAND_IN],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
        preexec_fn=no_bytes_in_files,
    )  # fmt: skip
    assert process.returncode == 1
    assert re.search(r"^error: .*holiday: \w\.txt cannot be written: File too large$", process.stderr, re.M)
    assert captions(folder) == {}
    assert list(folder.glob(".*")) == []


# -- through a server --------------------------------------------------------------------------------------


def test_a_server_may_do_the_work(sightline, folder: Path, serve, plugins: Path) -> None:
    url = str(serve(plugins_dir=plugins, api_keys=("key",)).base_url)
    result = sightline("caption", str(folder), *STAND_IN, "--server", url, "--api-key", "key", "-r")
    assert result.exit_code == 1
    assert lines(result.stdout)[1] == {"written": 3, "skipped": 0, "failed": 2}
    assert captions(folder)["b.txt"] == "all of grey 20 in 50 words"
    assert len(result.stderr.splitlines()) == 2


def test_the_key_may_come_from_the_environment(
    sightline, folder: Path, serve, plugins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(serve(plugins_dir=plugins, api_keys=("key",)).base_url)
    refused = sightline("caption", str(folder), "--server", url)
    assert refused.exit_code == 1
    assert refused.stdout == ""
    (line,) = refused.stderr.splitlines()
    assert "SIGHTLINE_API_KEY" in line
    monkeypatch.setenv("SIGHTLINE_API_KEY", "key")
    assert lines(sightline("caption", str(folder), *STAND_IN, "--server", url).stdout)[1]["written"] == 2


def test_no_server_is_one_clear_line_at_once(sightline, folder: Path) -> None:
    result = sightline("caption", str(folder), "--server", "http://127.0.0.1:9")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: no server answers at http://127.0.0.1:9 (")
    assert result.stdout == ""


# -- interrupted -------------------------------------------------------------------------------------------


def many(tmp_path: Path, grey_image, count: int) -> Path:
    for number in range(count):
        grey_image(tmp_path / "many" / f"{number:03}.png", 20 + number)
    return tmp_path / "many"


def test_ctrl_c_leaves_finished_captions_and_the_next_run_goes_on(
    started, sightline, tmp_path: Path, grey_image
) -> None:
    folder = many(tmp_path, grey_image, 60)
    process = started("caption", str(folder), *STAND_IN, "--concurrency", "4", STAND_IN_PAUSE_S="0.1")
    for _ in range(5):
        assert json.loads(process.stdout.readline())["status"] == "written"
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    counts = json.loads(stdout.splitlines()[-1])
    assert stderr == "interrupted; the same command goes on from here\n"
    assert 5 <= counts["written"] < 60
    written = captions(folder)
    assert len(written) == counts["written"]
    assert all(text.endswith("words") for text in written.values())
    assert list(folder.glob(".*")) == []
    result = sightline("caption", str(folder), *STAND_IN)
    assert lines(result.stdout)[1] == {
        "written": 60 - len(written), "skipped": len(written), "failed": 0,
    }  # fmt: skip
    assert captions(folder)["059.txt"] == "all of grey 79 in 50 words"


def test_ctrl_c_does_not_wait_for_a_batch(started, tmp_path: Path, grey_image) -> None:
    folder = many(tmp_path, grey_image, 3)
    batches = tmp_path / "batches"
    process = started("caption", str(folder), *STAND_IN, STAND_IN_PAUSE_S="60", STAND_IN_BATCHES=str(batches))
    waited = threading.Event()
    while not batches.exists():
        assert process.poll() is None
        waited.wait(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=5) == 130
    assert captions(folder) == {}


def test_a_killed_run_leaves_whole_captions(started, sightline, tmp_path: Path, grey_image) -> None:
    folder = many(tmp_path, grey_image, 200)
    process = started("caption", str(folder), *STAND_IN)
    for _ in range(20):
        process.stdout.readline()
    process.kill()
    process.wait(timeout=10)
    assert all(text.endswith(" in 50 words") for text in captions(folder).values())
    assert sightline("caption", str(folder), *STAND_IN).exit_code == 0
    assert len(captions(folder)) == 200


# -- for people --------------------------------------------------------------------------------------------


def on_a_terminal(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Exit code of a run with a terminal, and what was shown there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "from sightline.cli import main; main()", *arguments],
        stdin=theirs, stdout=theirs, stderr=theirs,
        env=environment | {"TERM": "xterm-256color", "COLUMNS": "150", "LINES": "50"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    return process.wait(timeout=30), text.replace("\r", "\n")


@pytest.fixture
def terminal(environment: dict[str, str]) -> Callable[..., tuple[int, str]]:
    return lambda *arguments, **variables: on_a_terminal(environment | variables, *arguments)


def test_a_terminal_shows_progress_and_the_count(terminal, folder: Path) -> None:
    code, shown = terminal("caption", str(folder), *STAND_IN, STAND_IN_PAUSE_S="0.3")
    assert code == 1
    assert "loading the model" in shown
    assert re.search(r"captioning .* 4/4 +\d+\.\d/(s|min) +\d:\d\d:\d\d", shown)
    assert "2 written, 0 skipped, 2 failed" in shown
    assert "failed: " in shown
    assert "{" not in shown


def test_names_cannot_steer_the_terminal(sightline, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "\x1b[31m.png").touch()
    result = sightline("caption", "in", *STAND_IN)
    assert result.exit_code == 1
    assert "\x1b" not in result.output


def test_a_truncated_photo_is_described_on_request(sightline, tmp_path: Path, grey_image) -> None:
    grey_image(tmp_path / "cut" / "a.jpg", 20)
    photo = tmp_path / "cut" / "a.jpg"
    photo.write_bytes(photo.read_bytes()[:-2])
    assert sightline("caption", str(tmp_path / "cut"), *STAND_IN).exit_code == 1
    done = sightline("caption", str(tmp_path / "cut"), *STAND_IN, "--truncated", "fill")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "cut" / "a.txt").read_text() == "all of grey 20 in 50 words"
    assert "truncated" in done.output
    refused = sightline(
        "caption", str(tmp_path / "cut"), "--server", "http://127.0.0.1:9", "--truncated", "fill"
    )
    assert refused.exit_code != 0
    assert "--truncated" in refused.output
