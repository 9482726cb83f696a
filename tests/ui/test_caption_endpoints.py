"""All captions of a set over the API: looked at, changed as one edit, refused where somebody was faster."""

from __future__ import annotations

import pytest

from lora_studio.errors import DatasetError
from lora_studio.studio import Studio
from lora_studio.ui.endpoints.caption_endpoints import CaptionEndpoints
from lora_studio.ui.endpoints.edit_endpoints import EditEndpoints
from lora_studio.ui.upload.picture_set import Intake, SetView, received
from tests.support.api_caller import write_picture

REPLACE = {"operation": "replace", "words": "kitty", "by": "cat"}


def test_captions_are_counted_changed_and_undone(studio: Studio) -> None:
    uploads = studio.settings.uploads
    files = [str(write_picture(uploads / f"{colour}.png", colour)) for colour in ("red", "blue", "teal")]
    for name, caption in (("red", "zwx, kitty, sofa"), ("blue", "zwx, Kitty, " + "word " * 80)):
        (uploads / f"{name}.txt").write_text(caption, "utf-8")
        files.append(str(uploads / f"{name}.txt"))
    dataset, *_ = received(studio, Intake(files=files), "", SetView())
    captions, edits = CaptionEndpoints(studio), EditEndpoints(studio)
    found = captions.caption_words(dataset, form="tags")
    assert (found["form"], found["captions"], found["limit"]) == ("tags", 2, 75)
    assert {"words": "zwx", "captions": 2} in found["words"]
    longest = found["lengths"][0]
    assert (longest["file"], longest["tokens"] > 75, longest["lost"].startswith("word")) == (
        *("blue.png", True),
        True,
    )
    before = edits.list_edits(dataset)
    preview = captions.change_captions(dataset, REPLACE, "tags", only="sofa", preview=True)
    assert (preview["looked_at"], preview["changed"]) == (1, 1)
    assert preview["examples"] == [
        {"file": "red.png", "before": "zwx, kitty, sofa", "after": "zwx, cat, sofa"}
    ]
    assert edits.list_edits(dataset) == before
    changed = captions.change_captions(dataset, REPLACE, "tags", after=before["head"])
    assert (changed["looked_at"], changed["changed"]) == (3, 2)
    (entry,) = edits.list_edits(dataset)["entries"]
    assert (entry["id"], entry["why"], len(entry["edits"])) == (changed["head"], "replace “kitty” by cat", 2)
    with pytest.raises(DatasetError, match="edited elsewhere"):
        captions.change_captions(
            dataset, {**REPLACE, "words": "cat", "by": "dog"}, "tags", after=before["head"]
        )
    assert edits.undo_edit(dataset, changed["head"])["head"] == before["head"]
    assert captions.change_captions(dataset, REPLACE, "tags", preview=True)["changed"] == 2
