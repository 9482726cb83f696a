"""The checks over the API: begun, asked again, mended, undone, fetched as a file."""

from __future__ import annotations

import pytest

from lora_studio.errors import ConfigError, StoreError
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
