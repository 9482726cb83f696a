"""The checks over the API: begun, asked again, mended, undone, fetched as a file."""

from __future__ import annotations

import pytest

from lora_studio.data.checks import dataset_check
from lora_studio.errors import ConfigError, DatasetError, DeviceBusy, StoreError
from lora_studio.studio import Studio
from lora_studio.ui.endpoints.check_endpoints import CheckEndpoints
from lora_studio.ui.endpoints.edit_endpoints import EditEndpoints
from lora_studio.ui.upload.picture_set import Intake, SetView, received
from tests.support.api_caller import write_picture
from tests.support.waiting import until


def test_a_check_is_asked_for_until_it_has_ended_and_mended(studio: Studio) -> None:
    names = ("a.png", "b.png")
    files = [str(write_picture(studio.settings.uploads / name, "teal")) for name in names]
    files.append(str(write_picture(studio.settings.uploads / "c.png", "brown")))
    dataset, *_ = received(studio, Intake(files=files), "", SetView())
    checks, edits = CheckEndpoints(studio), EditEndpoints(studio)

    def asked() -> dict[str, object]:
        return dict(checks.check_dataset(dataset, "style", "", "starter", {"resolution": 64}))

    status = until(lambda: (found := asked())["state"] != "running" and found)
    assert (status["state"], status["head"], status["message"]) == ("finished", "originals", "")
    report = status["report"]
    assert isinstance(report, dict)
    found = {check["id"]: check["findings"] for check in report["checks"]}
    assert set(found["exact_copy"][0]["pictures"]) == {*names}
    key = str(status["check_id"])
    assert not checks.stop_check(key)
    with pytest.raises(ConfigError, match="no check"):
        checks.fix_dataset(key, ["colour"])
    with pytest.raises(StoreError):
        checks.fix_dataset("nothing")
    mended = checks.fix_dataset(key, ["exact_copy"])
    assert mended["images"] == 2
    assert [entry["why"] for entry in mended["entries"]] == ["There twice"]
    assert edits.undo_edit(dataset, mended["head"])["images"] == 3
    assert asked() == status
    file = checks.dataset_report(key, "json")
    assert file["file"].endswith(".json")
    assert file["size_bytes"] > 100
    with pytest.raises(ConfigError, match="html or json"):
        checks.dataset_report(key, "pdf")  # type: ignore[arg-type]


def test_who_asks_again_hears_of_an_end_without_a_report(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [str(write_picture(studio.settings.uploads / "a.png", "teal"))]
    dataset, *_ = received(studio, Intake(files=files), "", SetView())
    checks, calls = CheckEndpoints(studio), []

    def fails(*_given: object) -> None:
        calls.append("check")
        raise DatasetError("The disk is gone.")

    def asked(*, anew: bool = False) -> tuple[str, str]:
        status = checks.check_dataset(dataset, "style", "", "starter", {"resolution": 64}, anew)
        return status["state"], status["message"]

    def ended() -> tuple[str, str]:
        return until(lambda: (found := asked())[0] != "running" and found)

    with monkeypatch.context() as patch:
        patch.setattr(dataset_check, "check_dataset", fails)
        assert [ended(), asked()] == 2 * [("failed", "The disk is gone.")]
        assert calls == ["check"]
    with studio.turns.take("check"):
        assert asked(anew=True) == ("running", "")
        key = checks.check_dataset(dataset, "style", "", "starter", {"resolution": 64})["check_id"]
        with pytest.raises(DeviceBusy, match="still being checked"):
            checks.fix_dataset(key)
        assert checks.stop_check(key)
        assert [ended(), asked()] == 2 * [("stopped", "")]
    asked(anew=True)
    assert ended() == ("finished", "")
    with pytest.raises(ConfigError, match="anew"):
        asked(anew="no")  # type: ignore[arg-type]
