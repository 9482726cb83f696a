"""Grids drawn with the embedded base model, from the request to the sheet in the gallery."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import lora_studio.images.contact_sheet as sheet_module
from lora_studio.errors import ConfigError, StoreError
from lora_studio.events import Denoised, Event, Finished, ImageSaved, Noted, Started, Stopped
from lora_studio.files import write_atomically
from lora_studio.grids import grid_drawing
from lora_studio.grids.grid_cells import plan_grid
from lora_studio.grids.grid_drawing import GRID, plain_name, settled
from lora_studio.grids.grid_request import GridRequest, GridResult
from lora_studio.images import image_metadata
from lora_studio.images.contact_sheet import LEAST_CELL, MOST_PIXELS, draw_sheet
from lora_studio.images.image_metadata import CHUNK, read_chunks, read_origin, read_request
from lora_studio.records import ImageRecord
from lora_studio.request import GenerateRequest
from lora_studio.studio import Studio
from tests.support.loras import write_lora
from tests.support.tiny import make_tiny


def grid(x: tuple[str, str], y: tuple[str, str] | None = None, **request: Any) -> GridRequest:
    values = {"prompt": "a cat", "seed": 3, "num_inference_steps": 2, **request}
    axes = {"x": {"parameter": x[0], "values": x[1]}}
    if y:
        axes["y"] = {"parameter": y[0], "values": y[1]}
    return GridRequest(request=values, **axes)


def pixels(record: ImageRecord | None) -> bytes:
    assert record is not None
    with Image.open(record.path) as picture:
        return picture.convert("RGB").tobytes()


def draw(studio: Studio, wanted: GridRequest) -> tuple[GridResult, list[Event]]:
    heard: list[Event] = []
    return studio.grid(wanted, heard.append), heard


def of_kind(events: list[Event], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def test_a_grid_is_its_pictures_drawn_one_by_one_and_a_sheet(studio: Studio) -> None:
    write_lora(studio.settings.loras / "ink" / "ink.safetensors", studio.settings.starter, seed=1)
    wanted = grid(("lora_weight:ink", "0, 1"), ("num_inference_steps", "1, 2"), loras=[{"slug": "ink"}])
    result, events = draw(studio, wanted)
    assert (result.columns, result.rows, result.reused, result.stopped) == (2, 2, 0, False)
    assert len({pixels(cell) for cell in result.cells}) == 4
    (alone,) = studio.generator.generate(
        GenerateRequest(prompt="a cat", seed=3, num_inference_steps=1, loras=[{"slug": "ink"}])
    )
    with Image.open(alone.path) as picture:
        assert pixels(result.cells[1]) == picture.tobytes()
    assert len(of_kind(events, Started)) == len(of_kind(events, Finished)) == 1
    assert (of_kind(events, Started)[0].total_steps, of_kind(events, Started)[0].images) == (6, 4)
    saved = of_kind(events, ImageSaved)
    assert [(event.image, event.images) for event in saved] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(of_kind(events, Denoised)) == of_kind(events, Finished)[0].steps == 6
    # Weight 0 is no LoRA: the two cells without it come first on the device.
    order = [Path(event.path).name for event in saved]
    assert order == [Path(result.cells[place].path).name for place in (0, 2, 1, 3)]  # type: ignore[union-attr]
    assert result.sheet is not None
    assert result.sheet.id in {record.id for record in studio.gallery.images()}
    assert {cell.id for cell in result.cells if cell} <= {record.id for record in studio.gallery.images()}


def grid_in(sheet: str) -> GridRequest:
    return GridRequest(**json.loads(read_chunks(sheet)[CHUNK])[GRID])


def test_a_sheet_says_what_it_is(studio: Studio) -> None:
    wanted = grid(("num_inference_steps", "1, 2"), ("seed", "3, 4"), negative_prompt="grey")
    result, _ = draw(studio, wanted)
    assert result.sheet is not None
    assert grid_in(result.sheet.path) == wanted
    assert read_request(result.sheet.path) == wanted.request
    infotext = read_chunks(result.sheet.path)["parameters"]
    assert infotext.startswith("a cat\nNegative prompt: grey\nSteps: 1, Sampler: DDIM")
    assert infotext.endswith(
        'Script: X/Y/Z plot, X Type: Steps, X Values: "1, 2", Y Type: Seed, Y Values: "3, 4"'
    )
    with Image.open(result.sheet.path) as sheet:
        assert sheet.width > 2 * LEAST_CELL
        assert sheet.height > 2 * LEAST_CELL
    assert result.cells[0] is not None
    assert GRID not in json.loads(read_chunks(result.cells[0].path)[CHUNK])


def test_pictures_that_are_there_are_not_drawn_again(studio: Studio) -> None:
    first, _ = draw(studio, grid(("num_inference_steps", "1, 2"), ("seed", "3, 4")))
    second, events = draw(studio, grid(("num_inference_steps", "1, 2, 3"), ("seed", "4, 5")))
    assert second.reused == 2
    assert [cell.id for cell in second.cells[:2] if cell] == [cell.id for cell in first.cells[2:] if cell]
    assert len(of_kind(events, ImageSaved)) == 4
    assert of_kind(events, Noted)[0].message == "2 of 6 pictures were in the gallery already."
    again, events = draw(studio, grid(("num_inference_steps", "1, 2, 3"), ("seed", "4, 5")))
    assert again.reused == 6
    assert [type(event) for event in events] == [Noted, Finished]


def test_what_is_not_the_very_same_is_drawn_anew(studio: Studio) -> None:
    path = studio.settings.loras / "ink" / "ink.safetensors"
    write_lora(path, studio.settings.starter, seed=1)
    wanted = grid(("num_inference_steps", "1"), loras=[{"slug": "ink"}])
    first, _ = draw(studio, wanted)
    assert draw(studio, wanted)[0].reused == 1
    for other in ({"prompt": "a dog"}, {"clip_skip": 2}, {"image_format": "webp"}, {"negative_prompt": "x"}):
        changed = grid(("num_inference_steps", "1"), loras=[{"slug": "ink"}], **other)
        assert draw(studio, changed)[0].reused == 0
    path.unlink()
    write_lora(path, studio.settings.starter, seed=2)  # another training, the same name
    result, _ = draw(studio, wanted)
    assert result.reused == 0
    assert pixels(result.cells[0]) != pixels(first.cells[0])
    Path(result.cells[0].path).unlink()  # type: ignore[union-attr]
    assert draw(studio, wanted)[0].reused == 0


def test_two_values_that_come_to_the_same_are_drawn_once(studio: Studio) -> None:
    result, events = draw(studio, grid(("sampler", "PNDM, PLMS")))
    assert len(of_kind(events, ImageSaved)) == 1
    assert result.cells[0] == result.cells[1]


def test_stopping_keeps_what_is_done_and_leaves_fields_empty(studio: Studio) -> None:
    heard: list[Event] = []

    def enough() -> bool:
        return len(of_kind(heard, ImageSaved)) == 2

    result = studio.grid(grid(("seed", "1, 2, 3, 4")), heard.append, enough)
    assert result.stopped
    assert [cell is not None for cell in result.cells] == [True, True, False, False]
    assert result.sheet is not None
    assert len(of_kind(heard, Stopped)) == 1
    assert not of_kind(heard, Finished)
    rest, _ = draw(studio, grid(("seed", "1, 2, 3, 4")))
    assert rest.reused == 2
    assert all(rest.cells)


def test_a_grid_that_is_stopped_before_its_first_cell_has_no_sheet(studio: Studio) -> None:
    result = studio.grid(grid(("seed", "1, 2")), should_stop=lambda: True)
    assert (result.sheet, result.cells, result.stopped) == (None, (None, None), True)
    assert studio.gallery.images() == []


def test_a_cell_that_cannot_be_drawn_is_told_before_the_first_is(studio: Studio) -> None:
    with pytest.raises(StoreError, match="no LoRA “oil”"):
        studio.grid(grid(("lora", "none, oil")))
    with pytest.raises(ConfigError, match="no sampler"):
        studio.grid(grid(("sampler", "DDIM, Nonsense")))
    assert studio.gallery.images() == []


@pytest.mark.parametrize(
    ("base", "name"),
    [
        ("starter", "starter"),
        ("someone/model", "someone/model"),
        ("/home/me/models/x.safetensors", "x.safetensors"),
        ("./x", "x"),
        ("C:\\models\\x.safetensors", "x.safetensors"),
        ("base/x.safetensors", "x.safetensors"),
    ],
)
def test_no_folder_of_this_machine_gets_into_a_sheet(base: str, name: str) -> None:
    assert plain_name(base) == name


def picture(size: tuple[int, int], colour: str) -> Image.Image:
    return Image.new("RGB", size, colour)


def test_the_sheet_puts_each_picture_whole_into_its_field() -> None:
    colours = ["red", "green", "blue", "black", "yellow", "cyan"]
    pictures: list[Image.Image | None] = [picture((200, 160), colour) for colour in colours]
    pictures[4] = None
    sheet = draw_sheet(pictures, (["Steps: 1", "Steps: 2"], ["a", "b", "c"], [""]))
    assert sheet.width > 2 * 200
    counts = {
        colour: sum(n for n, c in sheet.getcolors(1 << 24) or () if c == rgb(colour)) for colour in colours
    }
    assert counts["yellow"] == 0
    for colour in ("red", "green", "blue", "cyan"):
        assert counts[colour] == 200 * 160


def rgb(colour: str) -> tuple[int, ...]:
    pixel = Image.new("RGB", (1, 1), colour).getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return tuple(int(value) for value in pixel)


def test_long_labels_are_broken_and_never_reach_into_the_next_column() -> None:
    label = "Prompt S/R: " + "an extraordinarily long label " * 6 + "x" * 200
    narrow = draw_sheet([picture((128, 128), "red")] * 2, (["a", "b"], [""], [""]))
    wide = draw_sheet([picture((128, 128), "red")] * 2, ([label, label], [""], [""]))
    assert wide.width == narrow.width
    assert wide.height > narrow.height
    gap = wide.crop((8 + 128, 0, 8 + 128 + 8, wide.height))
    assert len(gap.getcolors() or ()) == 1


def test_a_sheet_of_many_large_pictures_stays_in_bounds() -> None:
    pictures = [picture((1024, 1024), "red")] * 49
    sheet = draw_sheet(pictures, ([str(n) for n in range(7)], [str(n) for n in range(7)], [""]))
    assert sheet.width * sheet.height < 1.2 * MOST_PIXELS


def test_letters_that_no_font_here_has_are_written_in_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet_module, "FONTS", ())

    def drawn(label: str) -> bytes:
        return draw_sheet([picture((128, 128), "red")], ([label], [""], [""])).tobytes()

    assert drawn("Größe: 猫") == drawn("Grosse: ?") != drawn("Grosse: x")


def test_a_sheet_that_is_shown_small_has_larger_letters() -> None:
    small, large = (
        draw_sheet([picture((64, 64), "red")], (["a"], [""], [""]), letters=size) for size in (13, 30)
    )
    assert small.width == large.width
    assert large.height - small.height == round(30 * 1.3) - round(13 * 1.3)


def test_a_third_axis_stacks_grids() -> None:
    one = draw_sheet([picture((128, 128), "red")] * 2, (["a", "b"], [""], [""]))
    two = draw_sheet([picture((128, 128), "red")] * 4, (["a", "b"], [""], ["one", "two"]))
    assert two.width == one.width
    assert two.height > 2 * (one.height - 16)


def test_a_base_whose_files_changed_draws_anew(studio: Studio) -> None:
    shutil.copytree(studio.settings.starter, studio.settings.bases / "own")
    wanted = grid(("num_inference_steps", "1"), base="own", width=64, height=64, sampler="DDIM")
    draw(studio, wanted)
    assert draw(studio, wanted)[0].reused == 1
    weights = next((studio.settings.bases / "own" / "unet").glob("*.safetensors"))
    os.utime(weights, (1, 1))
    assert draw(studio, wanted)[0].reused == 0


def test_two_checkpoints_of_a_lora_are_two_in_the_picture(studio: Studio) -> None:
    folder = studio.settings.loras / "ink"
    write_lora(folder / "ink.safetensors", studio.settings.starter, seed=1)
    for step in (1, 2):
        file = folder / "checkpoints" / f"ink-step{step:08d}.safetensors"
        write_lora(file, studio.settings.starter, seed=1 + step)
    loras = [{"slug": "ink", "checkpoint": step} for step in (1, 2)]
    wanted = grid(("num_inference_steps", "1"), loras=loras)
    result, _ = draw(studio, wanted)
    assert result.cells[0] is not None
    hashes = read_origin(result.cells[0].path)["lora_hashes"]
    assert list(hashes) == ["ink-step00000001", "ink-step00000002"]
    assert len(set(hashes.values())) == 2
    assert [use.checkpoint for use in read_request(result.cells[0].path).loras] == [1, 2]
    assert draw(studio, wanted)[0].reused == 1
    (folder / "checkpoints" / "ink-step00000001.safetensors").unlink()
    write_lora(folder / "checkpoints" / "ink-step00000001.safetensors", studio.settings.starter, seed=9)
    assert draw(studio, wanted)[0].reused == 0


def lose_after(studio: Studio, pictures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full from then on."""
    left = [pictures]

    def write(path: Path, data: bytes) -> None:
        if path.parent.parent == studio.settings.images and "grid" not in path.name:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
        write_atomically(path, data)

    monkeypatch.setattr(image_metadata, "write_atomically", write)


def test_a_failure_in_the_middle_keeps_the_cells_and_makes_the_sheet(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_after(studio, 2, monkeypatch)
    result, events = draw(studio, grid(("seed", "1, 2, 3, 4")))
    assert [cell is not None for cell in result.cells] == [True, True, False, False]
    assert result.sheet is not None
    assert "No space left" in result.failure
    assert not result.stopped
    assert [event.message for event in of_kind(events, Noted)] == [
        f"The grid ended before its end: {result.failure}"
    ]
    assert isinstance(events[-1], Stopped)


def test_a_failure_at_the_first_cell_is_raised(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    lose_after(studio, 0, monkeypatch)
    with pytest.raises(StoreError, match="No space left"):
        studio.grid(grid(("seed", "1, 2")))


def test_a_size_that_the_base_cannot_draw_leaves_its_field_empty(studio: Studio) -> None:
    (studio.settings.wildcards / "a.txt").write_text("cat")
    result, events = draw(studio, grid(("prompt", "a __a__, a __b__, a dog")))
    assert [cell is not None for cell in result.cells] == [True, False, True]
    assert "no wildcard file b.txt" in of_kind(events, Noted)[0].message
    assert result.failure == ""
    with pytest.raises(ConfigError, match=r"no wildcard file b\.txt"):
        studio.grid(grid(("seed", "1, 2"), prompt="__b__"))


def test_a_sampler_that_one_of_several_bases_lacks_leaves_its_fields_empty(studio: Studio) -> None:
    """Where no base has it, nothing is drawn."""
    make_tiny("zimage", studio.settings.bases / "flow")
    plan = plan_grid(grid(("base", "starter, flow"), ("sampler", "Euler, Euler a")))
    requests = [cell.request for cell in settled(plan, studio.settings).cells]
    assert [request.guidance_scale for request in requests] == [3.0, 4.0, 3.0, None]
    with pytest.raises(ConfigError) as refusal:
        studio.grid(grid(("sampler", "Euler, Euler a"), base="flow"))
    assert refusal.value.field == "sampler"


def test_a_failure_leaves_the_pictures_before_it_in_the_gallery(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_after(studio, 2, monkeypatch)
    with pytest.raises(StoreError, match="No space left"):
        studio.generate(GenerateRequest(prompt="a cat", seed=3, num_inference_steps=1, count=4))
    assert sorted(record.seed for record in studio.gallery.images()) == [3, 4]


def test_a_sheet_names_bases_and_no_folders(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    own = shutil.copytree(studio.settings.starter, studio.settings.bases / "own")
    written: list[str] = []

    def note(pictures: Any, labels: Any) -> Any:
        written.extend(label for axis in labels for label in axis)
        return draw_sheet(pictures, labels)

    monkeypatch.setattr(grid_drawing, "draw_sheet", note)
    result, _ = draw(studio, grid(("base", f'starter, "{own}"'), width=64, height=64, sampler="DDIM"))
    assert written == ["Base model: starter", "Base model: own", "", ""]
    assert result.sheet is not None
    assert 'X Values: "starter, own"' in read_chunks(result.sheet.path)["parameters"]
    assert str(own.parent) not in str(read_chunks(result.sheet.path))
    assert grid_in(result.sheet.path) == grid(("base", "starter, own"), width=64, height=64, sampler="DDIM")


def test_a_label_of_one_long_word_takes_no_time() -> None:
    begun = time.thread_time()
    sheet = draw_sheet([picture((128, 128), "red")], (["x" * 2000], [""], [""]))
    assert time.thread_time() - begun < 2
    assert sheet.height < 128 + 200


def test_large_pictures_are_opened_no_larger_than_their_fields(studio: Studio) -> None:
    result, _ = draw(studio, grid(("seed", "1")))
    assert result.cells[0] is not None
    opened = grid_drawing.opened(result.cells[0], (32, 24))
    assert opened is not None
    assert opened.size == (24, 24)
