from __future__ import annotations

import json
import logging
import os
import shutil
from contextlib import closing
from pathlib import Path

import numpy
import pytest
from PIL import Image
from safetensors.numpy import save_file

from lora_studio.errors import BrokenFile, ConfigError, StoreError, UnknownFormat
from lora_studio.gallery import Gallery
from lora_studio.lora.lora_folder import read_record
from lora_studio.request import LoraUse
from lora_studio.settings import Settings
from lora_studio.store.database import Database
from lora_studio.store.first_scan import MOST_AT_ONCE
from lora_studio.store.library import Library
from lora_studio.studio import open_studio
from tests.support.library_entries import draw, slugs, write_lora, write_result
from tests.support.waiting import until


def test_a_result_is_listed_with_the_facts_of_its_file(gallery: Gallery, settings: Settings) -> None:
    folder = write_result(settings, "my-cat")
    gallery.scan()
    (record,) = gallery.loras()
    assert (record.slug, record.title, record.trigger_word, record.kind) == (
        "my-cat",
        "My Cat",
        "zwx",
        "object",
    )
    assert (record.steps, record.network_dim, record.network_alpha, record.base) == (200, 8, 4.0, "starter")
    assert record.path == str(folder / "my-cat.safetensors")
    assert record.size_bytes == (folder / "my-cat.safetensors").stat().st_size
    assert gallery.lora("my-cat").metadata["ss_steps"] == "200"
    assert len(record.id) == 64
    assert [Path(path).name for path in record.previews] == [
        "base-0.png", "step-000050-0.png", "step-000100-0.png", "step-000100-1.png",
    ]  # fmt: skip
    with Image.open(record.thumbnail) as thumbnail:
        assert (thumbnail.format, thumbnail.size) == ("WEBP", (256, 192))
        red, green, blue = thumbnail.convert("RGB").getpixel((100, 100))  # type: ignore[misc]
        assert green > 100 > red + blue - 40


def test_a_training_that_still_runs_is_not_listed(gallery: Gallery, settings: Settings) -> None:
    write_lora(settings.loras / "new" / "checkpoints" / "new-step00000050.safetensors")
    gallery.scan()
    assert gallery.loras() == []
    with pytest.raises(StoreError, match="no LoRA 'new'"):
        gallery.lora("new")


def test_a_lora_is_found_before_the_next_scan(gallery: Gallery, settings: Settings) -> None:
    write_result(settings, "my-cat")
    assert gallery.lora("my-cat").title == "My Cat"
    shutil.rmtree(settings.loras / "my-cat")
    with pytest.raises(StoreError, match="no LoRA 'my-cat'"):
        gallery.lora("my-cat")


@pytest.mark.parametrize("slug", ["", "..", "../home", "/etc", "My Cat", "a" * 65])
def test_names_that_are_no_slugs_lead_nowhere(gallery: Gallery, slug: str) -> None:
    for call in (gallery.lora, gallery.delete_lora, lambda name: gallery.rename_lora(name, "x")):
        with pytest.raises(StoreError):
            call(slug)


def test_unchanged_files_are_not_read_again_and_changed_ones_are(
    gallery: Gallery, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_result(settings, "my-cat")
    write_result(settings, "dog", 2.0)
    gallery.scan()
    read: list[str] = []
    monkeypatch.setattr(
        "lora_studio.gallery.read_record", lambda path: read.append(path.name) or read_record(path)
    )
    gallery.scan()
    assert read == []
    before = gallery.lora("my-cat").id
    write_lora(folder / "my-cat.safetensors", 3.0, ss_steps="300")
    gallery.scan()
    assert read == ["my-cat"]
    assert gallery.lora("my-cat").steps == 300
    assert gallery.lora("my-cat").id != before


def test_broken_files_are_logged_once_and_hurt_nothing(
    gallery: Gallery, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    write_result(settings, "good")
    broken = write_result(settings, "broken") / "broken.safetensors"
    broken.write_bytes(broken.read_bytes()[:-10])
    (settings.loras / "text").mkdir()
    (settings.loras / "text" / "text.safetensors").write_text("no weights")
    (settings.loras / "dropped.safetensors").write_bytes(b"")
    (settings.loras / "empty").mkdir()
    (settings.loras / "README.md").write_text("about this folder")
    for _ in range(3):
        gallery.scan()
    assert slugs(gallery) == ["good"]
    told = [record.getMessage().split()[0] for record in caplog.records if record.levelno == logging.WARNING]
    assert sorted(told) == ["broken", "dropped.safetensors", "text"]
    write_lora(broken)
    gallery.scan()
    assert slugs(gallery) == ["broken", "good"]


def test_a_lost_database_is_made_again_from_the_folders(
    gallery: Gallery, settings: Settings, tmp_path: Path
) -> None:
    write_result(settings, "my-cat")
    gallery.scan()
    gallery.rename_lora("my-cat", "Renamed")
    gallery.add_image(draw(settings, "a zwx cat", 5, (LoraUse(slug="my-cat", weight=0.5),)))
    other = Database(tmp_path / "other.db")
    again = Gallery(settings, Library(other))
    again.scan()
    assert again.loras() == gallery.loras()
    assert again.images() == gallery.images()
    other.close()


def test_files_dropped_into_the_library_get_folders(gallery: Gallery, settings: Settings) -> None:
    write_lora(settings.loras / "Some Löra v2.safetensors")
    write_lora(settings.loras / "My Folder" / "weights.safetensors", 2.0, **{"modelspec.title": ""})
    gallery.scan()
    assert slugs(gallery) == ["my-folder", "some-lora-v2"]
    assert (settings.loras / "some-lora-v2" / "some-lora-v2.safetensors").is_file()
    assert gallery.lora("my-folder").title == "My Folder"
    assert sorted(path.name for path in settings.loras.iterdir()) == ["my-folder", "some-lora-v2"]
    write_lora(settings.loras / "some lora V2.safetensors", 3.0)
    gallery.scan()
    assert slugs(gallery) == ["my-folder", "some-lora-v2", "some-lora-v2-2"]


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("readable", [True, False])
def test_a_link_dropped_into_the_library_still_leads_to_its_file(
    gallery: Gallery, settings: Settings, tmp_path: Path, relative: bool, readable: bool
) -> None:
    elsewhere = write_lora(tmp_path / "other" / "Ink.safetensors")
    if not readable:
        elsewhere.write_bytes(b"no LoRA")
    settings.loras.mkdir(parents=True, exist_ok=True)
    link = settings.loras / "Ink.safetensors"
    link.symlink_to(os.path.relpath(elsewhere, settings.loras) if relative else elsewhere)
    gallery.scan()
    assert slugs(gallery) == (["ink"] if readable else [])
    placed = settings.loras / "ink" / "ink.safetensors" if readable else link
    assert placed.is_symlink()
    assert placed.resolve() == elsewhere.resolve()
    assert elsewhere.is_file()


def test_several_loras_in_one_folder_are_said(
    gallery: Gallery, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b", "c"):
        write_lora(settings.loras / "Styles" / f"{name}.safetensors")
    write_lora(settings.loras / "cat" / "cat.safetensors")
    write_lora(settings.loras / "cat" / "cat-000002.safetensors")
    for _ in range(2):
        gallery.scan()
    assert slugs(gallery) == ["cat", "styles"]
    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "b.safetensors and 1 more" in said
    assert len(list((settings.loras / "styles").glob("*.safetensors"))) == 3


def test_importing_copies_and_knows_what_is_there(
    gallery: Gallery, settings: Settings, tmp_path: Path
) -> None:
    source = write_lora(tmp_path / "Downloads" / "Ink Style.safetensors")
    before = source.read_bytes()
    record = gallery.import_lora(source)
    assert (record.slug, record.title) == ("ink-style", "My Cat")
    assert Path(record.path).read_bytes() == before == source.read_bytes()
    assert gallery.import_lora(source) == record
    write_lora(source, 5.0)
    assert gallery.import_lora(source).slug == "ink-style-2"
    assert not list(settings.loras.rglob("*.tmp"))


def test_equal_bytes_under_other_names_are_another_lora(gallery: Gallery, tmp_path: Path) -> None:
    """As two files full of zeros, or one network in the names of two programs."""
    record = gallery.import_lora(write_lora(tmp_path / "a.safetensors"))
    layer = "lora_unet_up_blocks_1_attentions_0_transformer_blocks_0_attn1_to_k"
    other = write_lora(tmp_path / "b.safetensors", layer=layer)
    second = gallery.import_lora(other)
    assert (second.slug, second.id) == ("b", record.id)
    assert [gallery.import_lora(tmp_path / f"{name}.safetensors").slug for name in "ab"] == ["a", "b"]
    alone = gallery.import_lora(write_lora(tmp_path / "c.safetensors", **{"modelspec.title": "Renamed"}))
    assert alone.slug == "a"  # what a file calls itself changes nothing that it draws


def test_a_good_file_comes_in_beside_a_damaged_copy(gallery: Gallery, tmp_path: Path) -> None:
    source = write_lora(tmp_path / "a.safetensors")
    copy = Path(gallery.import_lora(source).path)
    copy.write_bytes(copy.read_bytes()[:-9])
    assert gallery.import_lora(source).slug == "a-2"


def test_equal_bytes_of_another_scale_are_another_lora(gallery: Gallery, tmp_path: Path) -> None:
    layer = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_k"
    pair = {f"{layer}.lora_A.weight": (2, 4), f"{layer}.lora_B.weight": (4, 2)}
    tensors = {name: numpy.ones(shape, "float32") for name, shape in pair.items()}
    alphas = []
    for alpha in (2, 16):
        said = json.dumps({"unet.r": 2, "unet.lora_alpha": alpha})
        save_file(tensors, tmp_path / f"{alpha}.safetensors", metadata={"lora_adapter_metadata": said})
        alphas.append(gallery.import_lora(tmp_path / f"{alpha}.safetensors").network_alpha)
    assert alphas == [2.0, 16.0]


def test_pefts_configuration_comes_along_where_the_file_needs_it(
    gallery: Gallery, settings: Settings, tmp_path: Path
) -> None:
    layer = "base_model.model.mid_block.attentions.0.transformer_blocks.0.attn1.to_k"
    source = tmp_path / "adapter_model.safetensors"
    pair = {f"{layer}.lora_A.weight": (2, 4), f"{layer}.lora_B.weight": (4, 2)}
    save_file({name: numpy.ones(shape, "float32") for name, shape in pair.items()}, source)
    (tmp_path / "adapter_config.json").write_text('{"r": 2, "lora_alpha": 16}')
    record = gallery.import_lora(source)
    assert record.network_alpha == 16.0
    assert (Path(record.path).parent / "adapter_config.json").is_file()
    with_alphas = gallery.import_lora(write_lora(tmp_path / "own.safetensors"))
    assert not (Path(with_alphas.path).parent / "adapter_config.json").exists()


def test_what_cannot_be_used_of_a_file_is_in_its_record(gallery: Gallery, tmp_path: Path) -> None:
    source = write_lora(tmp_path / "odd.safetensors")
    from safetensors.numpy import load_file

    save_file({**load_file(source), "nobody.knows.this": numpy.ones(3, "float32")}, source)
    assert "nobody.knows.this (of a kind that is not known here)" in gallery.import_lora(source).left_out


def test_what_is_no_lora_is_not_imported(gallery: Gallery, settings: Settings, tmp_path: Path) -> None:
    save_file({"some.weight": numpy.zeros((2, 2), numpy.float32)}, tmp_path / "base.safetensors")
    cut = write_lora(tmp_path / "cut.safetensors")
    cut.write_bytes(cut.read_bytes()[:-1])
    (tmp_path / "model.ckpt").write_bytes(b"x" * 100)
    for name, error in (
        ("base.safetensors", UnknownFormat),
        ("cut.safetensors", BrokenFile),
        ("model.ckpt", UnknownFormat),
    ):
        with pytest.raises(error):
            gallery.import_lora(tmp_path / name)
    assert list(settings.loras.iterdir()) == []


def test_renaming_changes_the_title_only(gallery: Gallery, settings: Settings) -> None:
    folder = write_result(settings, "my-cat")
    before = gallery.lora("my-cat")
    file = Path(before.path).read_bytes()
    renamed = gallery.rename_lora("my-cat", "  Große\n <b>Katze</b> ")
    assert renamed.title == "Große <b>Katze</b>"
    assert (renamed.slug, renamed.id, renamed.path, renamed.kind) == (
        before.slug,
        before.id,
        before.path,
        "object",
    )
    assert Path(renamed.path).read_bytes() == file
    notes = json.loads((folder / "training.json").read_text("utf-8"))
    assert notes == {"config": {"dataset": {"kind": "object"}}, "title": "Große <b>Katze</b>"}
    assert slugs(gallery, "große") == ["my-cat"]
    for empty in ("", " \n", "\u200b\0"):
        with pytest.raises(ConfigError, match="empty"):
            gallery.rename_lora("my-cat", empty)


def test_renaming_does_not_write_over_notes_it_cannot_read(gallery: Gallery, settings: Settings) -> None:
    folder = write_result(settings, "my-cat")
    (folder / "training.json").write_text("{ half")
    with pytest.raises(StoreError, match=r"training\.json"):
        gallery.rename_lora("my-cat", "New")
    assert (folder / "training.json").read_text() == "{ half"


def test_deleting_a_lora_can_be_undone_after_a_restart(
    gallery: Gallery, settings: Settings, database: Database
) -> None:
    folder = write_result(settings, "my-cat")
    before = gallery.lora("my-cat")
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    token = gallery.delete_lora("my-cat")
    assert gallery.loras() == []
    assert not folder.exists()
    later = Gallery(settings, Library(database))
    assert [(entry.token, entry.title) for entry in later.deleted()] == [(token, "My Cat")]
    later.undo(token)
    assert later.lora("my-cat") == before
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == files
    with pytest.raises(StoreError, match="nothing to undo"):
        later.undo(token)


def test_undo_never_replaces_a_lora_of_the_same_name(gallery: Gallery, settings: Settings) -> None:
    write_result(settings, "my-cat", 1.0)
    old = gallery.lora("my-cat").id
    token = gallery.delete_lora("my-cat")
    write_result(settings, "my-cat", 2.0)
    new = gallery.lora("my-cat").id
    gallery.undo(token)
    assert gallery.lora("my-cat").id == new
    restored = gallery.lora("my-cat-2")
    assert restored.id == old
    assert Path(restored.path).name == "my-cat-2.safetensors"


def test_a_scan_that_is_ended_goes_on_the_next_time(gallery: Gallery, settings: Settings) -> None:
    for seed in range(5):
        draw(settings, seed=seed)
    write_result(settings, "my-cat")
    assert gallery.unread() == 6
    gallery.scan(lambda: True)
    assert gallery.unread() == 6
    gallery.scan()
    assert (gallery.unread(), len(gallery.images()), slugs(gallery)) == (0, 5, ["my-cat"])


def test_a_large_library_is_read_while_the_page_is_open(settings: Settings) -> None:
    for seed in range(MOST_AT_ONCE + 1):
        draw(settings, seed=seed)
    with closing(open_studio(settings)) as studio:
        until(lambda: len(studio.gallery.images(limit=-1)) == MOST_AT_ONCE + 1)
    with closing(open_studio(settings)) as studio:
        assert studio.gallery.unread() == 0
