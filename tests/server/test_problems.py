from __future__ import annotations

from sightline.errors import InvalidImage
from sightline.server.problems import described_codes


def test_a_kind_of_error_without_a_code_of_its_own_is_told_by_its_parents() -> None:
    before = described_codes()

    class CutShort(InvalidImage):
        """Such as the ones that jobs raise, which are imported or not."""

    assert described_codes() == before
    assert before[CutShort.code]["meaning"] == "truncated, corrupt, or empty"
    assert before[CutShort.code]["status"] == 422


def test_a_timeout_is_no_defect_and_logs_no_traceback(
    serve, portrait, caplog, with_captioner, tmp_path, monkeypatch
):
    monkeypatch.setenv("STAND_IN_PAUSE_S", "2")
    client = serve(request_timeout_s=1, plugins_dir=with_captioner(tmp_path))
    for _ in range(20):
        answer = client.post("/v1/operations/describe_image?model=stand-in", files={"image": portrait})
        if answer.status_code != 503:  # while the model is being loaded
            break
    assert answer.status_code == 504
    lines = [record for record in caplog.records if "request" in record.getMessage()]
    assert lines
    assert all(record.exc_info is None for record in lines)
