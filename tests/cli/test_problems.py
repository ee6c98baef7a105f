from __future__ import annotations

import pytest


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Lets ``sightline operations`` fail in any way."""

    def fail(error: BaseException) -> None:
        def raising(*arguments: object) -> None:
            raise error

        monkeypatch.setattr("sightline.operations.catalogue", raising)

    return fail


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(28, "No space left on device", "file.bin"), 1, "error: file.bin: No space left on device\n"),
        (OSError("odd"), 1, "error: odd\n"),
        (KeyError("x"), 1, "error: internal error: KeyError: 'x' (SIGHTLINE_LOG_LEVEL=debug shows where)\n"),
        (RuntimeError("[red]x"), 1, "error: internal error: RuntimeError: [red]x (SIGHTLINE_"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_any_failure_is_one_line_and_a_code(sightline, failing, error, code: int, said: str) -> None:
    failing(error)
    result = sightline("operations")
    assert result.exit_code == code
    assert result.stderr.startswith(said)
    assert "Traceback" not in result.output


def test_debug_shows_where(sightline, failing, monkeypatch) -> None:
    monkeypatch.setenv("SIGHTLINE_LOG_LEVEL", "debug")
    failing(KeyError("x"))
    result = sightline("operations")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr


def test_long_messages_stay_on_one_line(sightline, failing) -> None:
    from sightline.errors import WeightsError

    failing(WeightsError("word " * 100))
    result = sightline("operations")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)


def test_a_wrong_command_is_explained_with_the_usage(sightline) -> None:
    result = sightline("analise")
    assert result.exit_code == 2
    assert "Did you mean 'analyze'?" in result.stderr


def test_a_reader_who_leaves_is_no_problem(started) -> None:
    process = started("operations", "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.wait(timeout=30)
    assert "Traceback" not in process.stderr.read()
