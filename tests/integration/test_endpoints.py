"""Every endpoint with all that is wrong, by hand-written requests; and those of the library at work."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.integration.endpoint_table import ENDPOINTS, World, right_values
from tests.support.api_caller import Caller, Refused, sentence_of, write_lora, write_picture
from tests.support.serving import App

QUICK = {"num_inference_steps": 1}


@pytest.fixture(scope="module")
def named_endpoints(studio: Caller) -> dict[str, Any]:
    return dict(studio.http.get("gradio_api/info").json()["named_endpoints"])


def what_is_kept(app: App) -> set[str]:
    """The files of datasets, jobs, LoRAs, images and trash. Not the pictures to redraw: one that came before
    the fault stays for a week, as those do that are used."""
    tops = [app.home / name for name in ("datasets", "jobs", "trash", "images")]
    return {str(path) for top in [*tops, app.models] for path in top.rglob("*")}


def test_every_endpoint_has_a_row(named_endpoints: dict[str, Any]) -> None:
    taken = {
        name.lstrip("/"): [parameter["parameter_name"] for parameter in facts["parameters"]]
        for name, facts in named_endpoints.items()
    }
    assert taken == {name: list(row) for name, row in ENDPOINTS.items()}, (
        "Give each endpoint a row in tests/integration/endpoint_table.py with what is wrong in it."
    )
    bare = [
        (name, value) for name, row in ENDPOINTS.items() for value, (_, wrong) in row.items() if not wrong
    ]
    assert not bare


@pytest.mark.slow
@pytest.mark.parametrize("endpoint", [name for name, row in ENDPOINTS.items() if row])
def test_what_is_wrong_is_answered_by_a_sentence_and_changes_nothing(
    studio: Caller, world: World, endpoint: str
) -> None:
    row, before, bugs = ENDPOINTS[endpoint], what_is_kept(studio.app), len(studio.bugs())
    right = right_values(row, world)
    for parameter, (_, wrong) in row.items():
        for value in wrong:
            answer = studio.post(endpoint, list({**right, parameter: value}.values()))
            assert answer.status_code == 500, (endpoint, parameter, repr(value)[:80], answer.text[:300])
            sentence_of(answer, studio.app)
    assert what_is_kept(studio.app) == before
    assert not studio.bugs()[bugs:]


@pytest.mark.parametrize("endpoint", [name for name, row in ENDPOINTS.items() if row])
def test_what_is_missing_is_named_or_has_its_default(
    studio: Caller, named_endpoints: dict[str, Any], endpoint: str
) -> None:
    facts = named_endpoints[f"/{endpoint}"]["parameters"]
    needed = [one["parameter_name"] for one in facts if not one["parameter_has_default"]]
    answer = studio.http.post(f"gradio_api/run/{endpoint}", json={"data": []})  # of no session
    if not needed and endpoint != "interrupt":
        assert answer.status_code == 200, answer.text
    else:
        said = sentence_of(answer, studio.app)
        assert all(name in said for name in needed), said
    for body in ({}, {"data": None}, {"data": "x"}, {"data": {"a": 1}}):
        answer = studio.http.post(f"gradio_api/run/{endpoint}", json=body)
        assert answer.status_code == 422, (body, answer.text)
        assert "Traceback" not in answer.text


def test_a_picture_needs_only_its_prompt(studio: Caller) -> None:
    """By hand, too, the values at the end have their defaults."""
    (made,) = studio.run("generate_base64", "a dog")
    assert made["infotext"].startswith("a dog")


def test_captions_are_read_and_written(studio: Caller, tmp_path: Path) -> None:
    files = studio.upload(
        write_picture(tmp_path / "red.png", "red"), write_picture(tmp_path / "b.png", "blue")
    )
    made = studio.run("upload_dataset", files, "Two colours")
    assert (made["images"], made["captions"]) == (2, 0)
    listed = studio.run("list_datasets")[0]
    assert (listed["dataset_id"], listed["name"], listed["captions"]) == (
        made["dataset_id"],
        "Two colours",
        0,
    )
    said = "röt, “red” <b>\n 赤"
    written = studio.run("set_caption", made["dataset_id"], "red.png", said)
    assert written == studio.run("list_captions", made["dataset_id"])
    assert {row["file"]: row["caption"] for row in written} == {"b.png": "", "red.png": said}
    assert studio.run("list_datasets")[0]["captions"] == 1
    studio.run("set_caption", made["dataset_id"], "red.png", None)
    assert [row["caption"] for row in studio.run("list_captions", made["dataset_id"])] == ["", ""]


def test_a_set_is_fetched_as_edited(studio: Caller, tmp_path: Path) -> None:
    files = studio.upload(write_picture(tmp_path / "a.png"), write_picture(tmp_path / "gone.png", "red"))
    made = studio.run("upload_dataset", files, "Two: <sets>")
    edits = [
        {"edit": "caption", "picture": "a.png", "caption": "a lamp"},
        {"edit": "remove", "picture": "gone.png"},
    ]
    studio.run("edit_pictures", made["dataset_id"], edits)
    export = studio.run("export_dataset", made["dataset_id"], 3, "", "zwx")
    assert (export["file"], export["images"]) == ("Two_ _sets_.zip", 1)
    content = studio.fetch(export["download_url"])
    assert len(content) == export["size_bytes"]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        folder = "3_zwx Two   sets"
        assert sorted(archive.namelist()) == [f"{folder}/a.png", f"{folder}/a.txt", "dataset.toml"]
        assert archive.read(f"{folder}/a.txt") == b"zwx, a lamp\n"


def test_a_set_is_deleted_and_comes_back(studio: Caller, tmp_path: Path) -> None:
    files = studio.upload(write_picture(tmp_path / "green.png", "green"))
    known = studio.run("upload_dataset", files, "Green")["dataset_id"]
    token = studio.run("delete_dataset", known)["undo"]
    assert known not in {row["dataset_id"] for row in studio.run("list_datasets")}
    for endpoint, values in (
        ("list_captions", []),
        ("delete_dataset", []),
        ("start_training", ["x", "style"]),
    ):
        with pytest.raises(Refused, match="no set of pictures"):
            studio.run(endpoint, known, *values)
    assert studio.run("undo_delete", token) is True
    assert [row["file"] for row in studio.run("list_captions", known)] == ["green.png"]
    with pytest.raises(Refused, match="nothing to undo"):
        studio.run("undo_delete", token)


def test_a_lora_is_imported_renamed_deleted_and_comes_back(studio: Caller, tmp_path: Path) -> None:
    file = write_lora(tmp_path / "My Café.safetensors", 0.02)
    (made,) = studio.run("import_lora", studio.upload(file))
    assert (made["slug"], made["family"], made["network_dim"], made["steps"]) == ("my-cafe", "sd1", 4, 20)
    assert studio.fetch(made["download_url"]) == file.read_bytes()
    assert studio.run("import_lora", studio.upload(file)) == [made]
    renamed = studio.run("rename_lora", "my-cafe", "  <i>Crème</i>\n brûlée ")
    assert (renamed["title"], renamed["slug"], renamed["hash"]) == (
        "<i>Crème</i> brûlée",
        "my-cafe",
        made["hash"],
    )
    assert [row["slug"] for row in studio.run("list_loras", "brûlée")] == ["my-cafe"]
    token = studio.run("delete_lora", "my-cafe")["undo"]
    assert studio.run("list_loras", "brûlée") == []
    assert studio.http.get(made["download_url"]).status_code in {403, 404}
    for endpoint, values in (("rename_lora", ["x"]), ("delete_lora", []), ("use_checkpoint", [20])):
        with pytest.raises(Refused, match="no LoRA"):
            studio.run(endpoint, "my-cafe", *values)
    assert studio.run("undo_delete", token) is True
    assert studio.run("list_loras", "brûlée") == [renamed]


def test_what_is_no_lora_is_not_imported(studio: Caller, tmp_path: Path) -> None:
    broken, text = tmp_path / "broken.safetensors", tmp_path / "a.safetensors"
    whole = write_lora(tmp_path / "whole.safetensors", 0.5).read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    text.write_text("no weights")
    pickled = tmp_path / "old.ckpt"
    pickled.write_bytes(b"\x80\x02}q\x00.")
    for path in (broken, text, pickled, write_picture(tmp_path / "a.png")):
        with pytest.raises(Refused, match=path.name):
            studio.run("import_lora", studio.upload(path))


def test_a_picture_is_listed_deleted_and_comes_back(studio: Caller, world: World) -> None:
    loras = [{"slug": world.lora, "weight": 0.5}]
    (file,) = studio.run("generate", "a blue fox", loras, "starter", "", 5, 1, QUICK)
    content = Path(file["path"]).read_bytes()
    (listed,) = studio.run("list_images", "blue fox", 1)
    assert (listed["seed"], listed["loras"], listed["prompt"]) == (5, [world.lora], "a blue fox")
    assert listed["image_id"] == hashlib.sha256(content).hexdigest()
    assert listed["infotext"].startswith("a blue fox <lora:layer:0.5>")
    assert studio.fetch(listed["download_url"]) == content
    with Image.open(file["path"]) as picture:
        assert picture.size == (listed["width"], listed["height"])
    token = studio.run("delete_image", listed["image_id"])["undo"]
    assert studio.run("list_images", "blue fox") == []
    assert studio.http.get(listed["download_url"]).status_code in {403, 404}
    with pytest.raises(Refused, match="no image"):
        studio.run("delete_image", listed["image_id"])
    studio.run("undo_delete", token)
    assert studio.run("list_images", "fox blue", 1) == [listed]


def test_lists_are_as_long_as_asked(studio: Caller, world: World) -> None:
    studio.run("generate", "three dogs", [], "starter", "", 1, 3, QUICK)
    listed = [studio.run("list_images", "three dogs", limit) for limit in (1, 2, 3, 500)]
    assert [len(found) for found in listed] == [1, 2, 3, 3]
    assert listed[3][:2] == listed[1]
    assert studio.run("list_images", "50% _ ' \" -- ;") == []
    assert studio.run("list_trainings", 1) == studio.run("list_trainings", 500)[:1]


def test_the_answers_are_json(studio: Caller) -> None:
    """As the standard has it: no NaN, which browsers refuse to read."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    for endpoint in ("list_trainings", "list_loras", "list_images", "list_datasets", "list_generations"):
        json.loads(studio.post(endpoint, []).text, parse_constant=refuse)
