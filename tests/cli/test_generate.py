"""`lora-studio generate`: the pictures, their settings, and what is refused."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file

from lora_studio.cli.image_options import parse_lora, parse_size
from lora_studio.errors import ConfigError
from lora_studio.images import image_metadata
from lora_studio.request import LoraUse
from tests.conftest import StudioFolders
from tests.support.command import Command

SMALL = ("--size", "64x64", "--steps", "2", "--seed", "5")


def test_same_seed_same_pictures(command: Command, tiny_base: Path, tmp_path: Path) -> None:
    options = ("generate", "--prompt", "a disc", "--base", tiny_base, *SMALL, "--count", 2, "--json")
    first = command(*options, "--out", tmp_path / "a")
    second = command(*options, "--out", tmp_path / "b")
    assert first.code == second.code == 0, first.err + second.err
    assert [image["seed"] for image in first.json["images"]] == [5, 6]
    pixels = []
    for outcome, name in ((first, "a"), (second, "b")):
        paths = [Path(image["path"]) for image in outcome.json["images"]]
        assert all(path.parent == tmp_path / name for path in paths)
        pixels.append([Image.open(path).convert("RGB").tobytes() for path in paths])
    assert pixels[0] == pixels[1]
    assert pixels[0][0] != pixels[0][1]


def test_a_lora_changes_the_picture_and_brings_its_base(
    command: Command, train_quickly: Command, tiny_base: Path
) -> None:
    trained = train_quickly("--set", "sample_every_n_steps=0", "--set", "learning_rate=0.1", steps=5)
    assert trained.code == 0, trained.err
    plain = command("generate", "--prompt", "a disc", "--base", tiny_base, *SMALL)
    changed = command("generate", "--prompt", "a disc", "--lora", "my-disc:0.9", *SMALL, "--json")
    assert changed.code == 0, changed.err
    (image,) = changed.json["images"]
    (use,) = image["request"]["loras"]
    assert (use["slug"], use["weight"]) == ("my-disc", 0.9)
    assert "Drawing 100%" in changed.err
    pictures = [Image.open(path).convert("RGB").tobytes() for path in (plain.out.strip(), image["path"])]
    assert pictures[0] != pictures[1]


def test_a_lora_is_called_by_its_title_in_any_script(
    command: Command, train_quickly: Command, tiny_base: Path
) -> None:
    quick = ("--set", "sample_every_n_steps=0", "--set", "learning_rate=0.1")
    trained = train_quickly(*quick, name="Größe 猫")
    assert trained.code == 0, trained.err
    options = ("--prompt", "a disc", *SMALL, "--json")
    for name in ("Größe 猫:0.5", "GRÖSSE 猫:0.5", "groesse-mao:0.5"):
        drawn = command("generate", "--lora", name, *options)
        assert drawn.code == 0, drawn.err
        (image,) = drawn.json["images"]
        (use,) = image["request"]["loras"]
        assert (use["slug"], use["weight"]) == ("groesse-mao", 0.5)
    grid = command("grid", "--base", tiny_base, "--x", "lora=größe 猫:0.5, none", *options)
    assert grid.code == 0, grid.err
    used = [[use["slug"] for use in image["request"]["loras"]] for image in grid.json["images"]]
    assert sorted(used) == [[], ["groesse-mao"]]
    (row,) = command("list", "--json", "--search", "größe").json["loras"]
    assert (row["slug"], row["title"], row["metadata"]["ss_steps"]) == ("groesse-mao", "Größe 猫", "2")
    wrong = command("generate", "--lora", "Größe 犬", *options)
    assert (wrong.code, len(wrong.err.splitlines())) == (2, 1)
    assert "--lora Größe 犬 is not a LoRA's short name or title" in wrong.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--lora", "nobody"), "nobody"),
        (("--lora", "Not A Slug"), "is not a LoRA's short name"),
        (("--lora", "nobody:heavy"), "is not a LoRA's short name"),
        (("--size", "big"), "--size big is not a size."),
        (("--size", "63x64"), "--size, width"),
        (("--count", "0"), "--count"),
        (("--steps", "0"), "--steps"),
        (("--seed", "-1"), "--seed"),
        (("--sampler", "Magic"), "Magic"),
        (("--base", "nothing-like-it"), "nothing-like-it"),
        (("--style", "baroque"), "baroque"),
        (("--image", "not-there.png"), "not-there.png"),
        (("--settings-of", "not-there.png"), "not-there.png"),
        (("--hires-scale", "9"), "--hires-scale"),
    ],
)
def test_wrong_input_is_one_sentence(
    command: Command, tiny_base: Path, arguments: tuple[str, str], said: str
) -> None:
    options = ("--prompt", "a disc", "--base", tiny_base, *SMALL)
    outcome = command("generate", *options, *arguments)
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.err.startswith("error: ")
    assert len(outcome.err.splitlines()) == 1


def test_an_unknown_lora_is_answered_with_the_library(command: Command, train_quickly: Command) -> None:
    train_quickly("--set", "sample_every_n_steps=0", steps=1)
    outcome = command("generate", "--prompt", "x", "--lora", "my-disk")
    assert "The library has my-disc." in outcome.err


def test_a_lora_of_another_family_is_refused(
    command: Command, tiny_base: Path, studio_folders: StudioFolders
) -> None:
    block = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    tensors = {
        f"{block}.lora_down.weight": torch.zeros(2, 2048),
        f"{block}.lora_up.weight": torch.zeros(320, 2),
        f"{block}.alpha": torch.tensor(2.0),
    }
    file = studio_folders.models / "lora" / "foreign" / "foreign.safetensors"
    file.parent.mkdir(parents=True)
    save_file(tensors, file, {"ss_base_model_version": "sdxl_base_v1-0"})
    outcome = command("generate", "--prompt", "x", "--base", tiny_base, "--lora", "foreign", *SMALL)
    assert outcome.code == 2
    assert "Stable Diffusion XL" in outcome.err
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "use"),
    [
        ("a", LoraUse(slug="a")),
        ("a-1:0.5", LoraUse(slug="a-1", weight=0.5)),
        ("a:-2", LoraUse(slug="a", weight=-2)),
        ("a:1:0.2", LoraUse(slug="a", text_encoder_weight=0.2)),
        ("a@200:0.5", LoraUse(slug="a", weight=0.5, checkpoint=200)),
    ],
)
def test_parse_lora(text: str, use: LoraUse) -> None:
    assert parse_lora(text) == use


@pytest.mark.parametrize(
    "text", ["a:nan", "a:inf", "a:1e999", f"a:{'9' * 5000}", f"a@{'9' * 5000}", f"a:{'x' * 20_000}", "a:1:5"]
)
def test_what_is_no_weight_is_one_sentence(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_lora(text)
    assert (caught.value.field, len(str(caught.value)) < 250) == ("lora", True)


@pytest.mark.parametrize("text", ["9x", f"{'9' * 5000}x1", "x" * 20_000])
def test_what_is_no_size_is_one_sentence(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_size(text)
    assert (caught.value.field, len(str(caught.value)) < 150) == ("size", True)


def test_a_picture_s_settings_make_it_again_and_another_is_redrawn(
    command: Command, tiny_base: Path, tmp_path: Path
) -> None:
    base = ("--base", tiny_base)
    made = command("generate", "--prompt", "a disc", *base, *SMALL, "--clip-skip", 2, "--out", tmp_path)
    first = made.out.strip()
    again = command("generate", "--settings-of", first, *base, "--json")
    assert again.code == 0, again.err
    (image,) = again.json["images"]
    assert (image["request"]["clip_skip"], image["seed"], image["width"]) == (2, 5, 64)
    pixels = [Image.open(path).convert("RGB").tobytes() for path in (first, image["path"])]
    assert pixels[0] == pixels[1]
    redrawn = command(
        "generate", "--prompt", "a ring", *base, *SMALL, "--image", first, "--strength", 1, "--json"
    )
    assert redrawn.code == 0, redrawn.err
    assert len(redrawn.json["images"][0]["request"]["image"]) == 64


def test_a_prompt_is_needed(command: Command, tiny_base: Path) -> None:
    outcome = command("generate", "--base", tiny_base, *SMALL)
    assert (outcome.code, outcome.err) == (2, "error: --prompt is missing. Say what the picture shows.\n")


def test_what_a_picture_of_another_program_asks_for_in_vain_is_said(
    command: Command, tiny_base: Path, tmp_path: Path
) -> None:
    info = PngInfo()
    info.add_text(
        "parameters", "a disc\nSteps: 2, Sampler: LMS, CFG scale: 3, Seed: 5, Size: 64x64, Model: other"
    )
    Image.new("RGB", (64, 64)).save(tmp_path / "theirs.png", pnginfo=info)
    outcome = command("generate", "--settings-of", tmp_path / "theirs.png", "--base", tiny_base, "--json")
    assert outcome.code == 0, outcome.err
    assert "note: " in outcome.err
    assert "LMS" in outcome.err
    assert outcome.json["images"][0]["seed"] == 5


def test_a_grid_is_one_sheet_and_its_pictures(command: Command, tiny_base: Path, tmp_path: Path) -> None:
    options = ("grid", "--prompt", "a disc", "--base", tiny_base, "--size", "64x64", "--steps", 2)
    outcome = command(
        *options, "--x", "seed=1, 2", "--y", "prompt_replace=disc, ring", "--out", tmp_path, "--json"
    )
    assert outcome.code == 0, outcome.err
    made = outcome.json
    assert (made["columns"], made["rows"], len(made["images"])) == (2, 2, 4)
    assert [image["seed"] for image in made["images"]] == [1, 2, 1, 2]
    with Image.open(made["sheet"]) as sheet:
        assert sheet.width > 2 * 64
    wrong = command(*options, "--x", "seed")
    assert (wrong.code, "is no axis" in wrong.err) == (2, True)


def test_a_grid_that_breaks_off_keeps_its_cells_and_says_why(
    command: Command, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, written = image_metadata.write_atomically, list[Path]()

    def write(path: Path, data: bytes) -> None:
        written.append(path)
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(path, data)

    monkeypatch.setattr(image_metadata, "write_atomically", write)
    options = ("grid", "--prompt", "a disc", "--base", tiny_base, "--size", "64x64", "--steps", 1)
    outcome = command(*options, "--x", "seed=1, 2, 3, 4", "--out", tmp_path, "--json")
    assert outcome.code == 2
    assert "No space left" in outcome.err
    assert "No space left" in outcome.json["failure"]
    assert [image["seed"] for image in outcome.json["images"]] == [1, 2]


def test_parse_size() -> None:
    assert parse_size("512x768") == (512, 768)
    with pytest.raises(ConfigError):
        parse_size("512")
