"""`lora-studio dataset`: the check of a folder, on the terminal and as files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lora_studio.data.edits.edit_log import EditLog
from lora_studio.data.edits.overlay import apply_edits, overlaid
from lora_studio.data.edits.picture_edits import CropPicture, RemovePicture, RotatePicture, SetCaption
from tests.support.command import Command
from tests.support.drawn_scenes import scene
from tests.support.serving import CHECKOUT
from tests.support.spoiled_pictures import encoded


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "my set"
    made.mkdir()
    for number in range(3):
        (made / f"{number}.png").write_bytes(encoded(scene(number, (96, 96)), "PNG"))
        (made / f"{number}.txt").write_text(f"zwx, lamp {number}, " + "long " * 90 * (number == 1))
    (made / "copy.png").write_bytes((made / "0.png").read_bytes())
    return made


def test_it_says_what_is_wrong_and_what_to_do(command: Command, folder: Path) -> None:
    outcome = command("dataset", "check", folder, "--trigger", "zwx")
    assert outcome.code == 0
    assert outcome.out[1:3] == "  "
    assert "0.png is there twice: copy.png has the same pixels." in outcome.out
    assert "of which 75 are read" in outcome.out
    assert "copy.png has no caption" in outcome.out
    assert "4 pictures for Starter" in outcome.out


def test_the_report_as_json_and_as_a_page(command: Command, folder: Path, tmp_path: Path) -> None:
    page, file = tmp_path / "report.html", tmp_path / "report.json"
    options = ("--trigger", "zwx", "--max_token_length", 150)
    assert command("dataset", "check", folder, *options, "--html", page, "--json", file).code == 0
    facts = json.loads(file.read_text())
    assert facts["pictures"] == 4
    found = {check["id"]: check for check in facts["checks"]}
    assert found["exact_copy"]["findings"][0]["fix"]["edits"] == [{"edit": "remove", "picture": "copy.png"}]
    assert "beyond_window" not in found
    assert "<h1>my set</h1>" in page.read_text()
    assert command("dataset", "check", folder, *options, "--json", "-").json == facts


def test_settings_of_the_training_count(command: Command, folder: Path) -> None:
    plain = command("dataset", "check", folder, "--json", "-").json
    large = command("dataset", "check", folder, "--resolution", 512, "--json", "-").json
    assert "too_small" not in {check["id"] for check in plain["checks"]}
    assert "too_small" in {check["id"] for check in large["checks"]}
    wrong = command("dataset", "check", folder, "--resolution", 7)
    assert (wrong.code, "resolution" in wrong.err) == (2, True)


def test_what_is_mended_is_found_no_more_and_undone(command: Command, folder: Path) -> None:
    (folder / "2.txt").write_bytes("lamp, café".encode("cp1252"))
    options = (folder, "--trigger", "zwx")
    contents = {path: path.read_bytes() for path in folder.iterdir()}
    before = command("dataset", "check", *options, "--json", "-").json
    outcome = command("dataset", "fix", *options)
    assert outcome.out.splitlines()[:2] == ["remove: 1 picture", "caption: 2 pictures"]
    after = {check["id"] for check in command("dataset", "check", *options, "--json", "-").json["checks"]}
    assert not after & {"exact_copy", "encoding", "no_trigger"}
    assert {path: path.read_bytes() for path in contents} == contents
    assert "nothing to mend" in command("dataset", "fix", *options).out
    while command("dataset", "fix", folder, "--undo").code == 0:
        pass
    assert command("dataset", "check", *options, "--json", "-").json == before


def test_only_what_is_asked_for_is_mended(command: Command, folder: Path) -> None:
    assert command("dataset", "fix", folder, "--only", "near_copy").out == "There is nothing to mend.\n"
    assert "There is no check 'spots'" in command("dataset", "fix", folder, "--only", "spots").err
    everything = command("dataset", "fix", folder, "--resolution", 1024, "--only", "too_small")
    assert (everything.code, "No picture of this set would be left" in everything.err) == (2, True)
    assert {path.suffix for path in folder.iterdir()} == {".png", ".txt"}


def test_edits_that_can_not_be_made_are_a_finding(command: Command, folder: Path) -> None:
    EditLog(folder).append([CropPicture("1.png", 0, 0, 900, 900)])
    outcome = command("dataset", "check", folder)
    assert (outcome.code, "The crop of 1.png doesn't lie inside of it" in outcome.out) == (0, True)


def test_a_fix_goes_into_the_log_that_is_read(command: Command, folder: Path) -> None:
    dogs = folder.rename(folder.parent / "10_dog")
    apply_edits(dogs.parent, [RotatePicture("10_dog/0.png", 90), RemovePicture("10_dog/1.png")])
    (dogs / "2.txt").write_text("lamp")
    fix = ("dataset", "fix", dogs, "--only", "no_trigger", "--trigger", "zwx")
    assert "caption: 1 picture\n" in command(*fix).out  # 1.png is left out still
    assert [path.parent for path in dogs.parent.rglob("edits.jsonl")] == [dogs.parent]
    states = overlaid(dogs.parent, dogs).states
    assert (states[dogs / "0.png"].pixels, states[dogs / "2.png"].caption) == (
        (RotatePicture("10_dog/0.png", 90),),
        "zwx, lamp",
    )
    assert command("dataset", "fix", dogs, "--undo").code == 0
    apply_edits(dogs.parent, [RemovePicture("10_dog/2.png")])
    (dogs.parent / "3_cat").mkdir()
    (dogs / "copy.png").rename(dogs.parent / "3_cat" / "q.png")
    apply_edits(dogs.parent, [SetCaption("3_cat/q.png", "a cat"), SetCaption("10_dog/0.png", "a dog")])
    refused = command("dataset", "fix", dogs, "--undo")
    assert (refused.code, "are not of 10_dog alone" in refused.err) == (2, True)


def test_a_folder_with_a_log_of_its_own_keeps_it(command: Command, folder: Path) -> None:
    dogs = folder.rename(folder.parent / "10_dog")
    apply_edits(dogs, [SetCaption("0.png", "lamp")])
    fix = ("dataset", "fix", dogs.parent, "--only", "no_trigger", "--trigger", "zwx")
    assert "caption: " in command(*fix).out
    assert command(*fix).out == "There is nothing to mend.\n"
    assert [path.parent for path in dogs.parent.rglob("edits.jsonl")] == [dogs]
    assert command("dataset", "fix", dogs.parent, "--undo").code == 0
    assert overlaid(dogs, dogs).states[dogs / "0.png"].caption == "lamp"


def test_a_folder_that_is_not_there_is_said(command: Command, tmp_path: Path) -> None:
    outcome = command("dataset", "check", tmp_path / "none")
    assert outcome.code == 2
    assert "There is no folder" in outcome.err
    assert command("dataset").code == 2


def test_it_loads_no_torch(folder: Path) -> None:
    program = (
        "import sys; from lora_studio.cli.main import main; "
        "code = main(['dataset', 'check', sys.argv[1], '--trigger', 'zwx']); "
        "sys.exit(code or bool({'torch', 'transformers', 'gradio'} & {*sys.modules}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(folder)], cwd=CHECKOUT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


def test_a_set_is_exported_as_edited(command: Command, folder: Path, tmp_path: Path) -> None:
    apply_edits(folder, [SetCaption("0.png", "a lamp"), RemovePicture("copy.png")])
    out = tmp_path / "out"
    outcome = command("dataset", "export", folder, out, "--trigger", "zwx", "--num_repeats", 5)
    assert outcome.code == 0, outcome.err
    assert f"--dataset_config {out / 'dataset.toml'}" in outcome.out
    assert "3 pictures" in outcome.out
    assert (out / "5_zwx" / "0.txt").read_text("utf-8") == "zwx, a lamp\n"
    again = command("dataset", "export", out / "dataset.toml", tmp_path / "again.zip")
    assert (again.code, (tmp_path / "again.zip").is_file()) == (0, True)
    refused = command("dataset", "export", folder, out)
    assert (refused.code, "is there already" in refused.err) == (2, True)
    assert command("dataset", "export", folder, tmp_path / "x", "--num_repeats", 0).code == 2


def test_captions_are_changed_counted_and_undone(command: Command, folder: Path) -> None:
    dogs = folder.rename(folder.parent / "10_sks dog")
    (dogs / "2.txt").write_bytes(b"\xff\xfe\x00")
    contents = {path: path.read_bytes() for path in dogs.iterdir()}
    caption = ("dataset", "caption", dogs.parent)
    preview = command(*caption, "--replace", "zwx", "qqq", "--form", "tags", "--dry-run").out
    assert "10_sks dog/0.png\n  - zwx, lamp 0,\n  + qqq, lamp 0,\n" in preview
    assert preview.endswith("2 of 2 captions would change (tags).\n")
    assert not (dogs.parent / "edits.jsonl").exists()
    assert "2 of 2 captions changed" in command(*caption, "--replace", "zwx", "qqq", "--form", "tags").out
    counts = command(*caption, "--words", "--form", "tags").out
    assert ("     2  qqq\n" in counts, "sks dog\n" in counts, "zwx" in counts) == (True, False, False)
    tokens = command(*caption, "--tokens").out
    assert "10_sks dog/1.png  not read: long" in tokens
    assert tokens.endswith("1 of 2 captions longer than the 75 tokens that are read.\n")
    assert "2 edits taken back" in command(*caption, "--undo").out
    assert "qqq" not in command(*caption, "--words").out
    assert {path: path.read_bytes() for path in contents} == contents
    (entry,) = EditLog(dogs.parent).read().entries.values()
    assert entry.why == "replace “zwx” by qqq"


def test_a_change_of_captions_says_what_is_missing(command: Command, folder: Path) -> None:
    caption = ("dataset", "caption", folder)
    for wrong in ((), ("--add", " "), ("--merge", "a", "b"), ("--add", "a", "--remove", "b")):
        assert command(*caption, *wrong).code == 2
    assert command(*caption, "--add", "x", "--only", "nowhere").out.startswith("0 of 0 captions changed")


def test_an_engine_captions_what_nobody_did(command: Command, tmp_path: Path) -> None:
    drawn = CHECKOUT / "models" / "starter" / "regularisation" / "1_things"
    folder = tmp_path / "10_thing"
    folder.mkdir()
    for name in ("01", "02", "03"):
        (folder / f"{name}.png").write_bytes((drawn / f"{name}.png").read_bytes())
    (folder / "03.txt").write_text("mine", "utf-8")
    caption = ("dataset", "caption", tmp_path, "--engine", "starter")
    tried = command(*caption, "--trigger", "zwx", "--dry-run").out
    assert tried.startswith("2 pictures to caption; 1 with a caption, which stays.\n")
    assert "  10_thing/01.png: zwx, lemon, 3d style\n" in tried
    assert not (tmp_path / "edits.jsonl").exists()
    assert "2 pictures captioned, 0 still without." in command(*caption, "--trigger", "zwx").out
    states = overlaid(tmp_path, tmp_path).states
    assert {path.name: state.caption for path, state in states.items()} == {
        "01.png": "zwx, lemon, 3d style",
        "02.png": "zwx, cherries, 3d style",
    }
    assert command(*caption).out.startswith("0 pictures to caption; 3 with")
    apply_edits(tmp_path, [SetCaption("10_thing/02.png", "by hand")])
    anew = command(*caption, "--again", "--template", "a {caption}").out
    assert (anew.startswith("1 picture to caption; 2 with"), "1 picture captioned" in anew) == (True, True)
    assert overlaid(tmp_path, tmp_path).states[folder / "01.png"].caption == "a lemon, 3d style"
    missing = command("dataset", "caption", tmp_path, "--engine", "blip", "--again", "--model", tmp_path)
    assert (missing.code, "isn't on this machine" in missing.err) == (2, True)
