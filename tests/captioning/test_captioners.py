"""Engines of captions: what each says, what is said without its model, and pictures that end no run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from lora_studio.captioning.caption_engines import load_captioner
from lora_studio.captioning.caption_run import UNTOLD, caption_pictures
from lora_studio.captioning.caption_template import CaptionTemplate
from lora_studio.captioning.captioner import ENGINES, Captioner, engine_of
from lora_studio.data.pixels.picture_pixels import open_picture
from lora_studio.errors import ConfigError, ModelFileError
from lora_studio.events import Event, PhaseAdvanced
from tests.support.drawn_scenes import scene
from tests.support.serving import DRAWN
from tests.support.tiny_captioners import WORDS, make_tiny_blip, make_tiny_florence


def test_the_starter_names_what_the_embedded_base_draws() -> None:
    captioner = load_captioner(ENGINES["starter"])
    files = sorted(DRAWN.glob("*.png"))
    wanted = [path.with_suffix(".txt").read_text("utf-8").strip().partition(",") for path in files]
    said = [text.partition(",") for text in captioner.captions([open_picture(path) for path in files])]
    assert [thing for thing, _, _ in said] == [thing for thing, _, _ in wanted]
    pairs = [(one[2], other[2]) for one, other in zip(said, wanted, strict=True)]
    styles = [(style, right) for style, right in pairs if style and right]
    assert len(styles) >= 6
    assert all(style == right for style, right in styles)
    assert captioner.captions([scene(0, (256, 256)).convert("RGB")]) == [""]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {"blip": make_tiny_blip(folder / "blip"), "florence2": make_tiny_florence(folder / "florence2")}


@pytest.mark.parametrize("name", ["blip", "florence2"])
def test_a_model_of_a_folder_writes_captions(name: str, models: dict[str, Path]) -> None:
    captioner = load_captioner(engine_of(name), str(models[name]))
    pictures = [scene(number, (80, 60)).convert("RGB") for number in range(2)]
    together = captioner.captions(pictures)
    assert together == [caption for picture in pictures for caption in captioner.captions([picture])]
    known = {*WORDS} if name == "blip" else {*"abcdefghijklmnopqrstuvwxyz"}
    for caption in together:
        assert caption
        assert {*(caption.split() if name == "blip" else caption.replace(" ", ""))} <= known


def test_without_a_model_it_is_said_where_one_is(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="isn't on this machine") as missing:
        load_captioner(ENGINES["blip"], str(tmp_path))
    assert "hf download Salesforce/blip-image-captioning-base" in missing.value.hint
    with pytest.raises(ConfigError, match="There are starter, blip"):
        engine_of("gpt")


class Echo(Captioner):
    """Says a picture's colour, fails on all batches with a black one, and on a black one alone."""

    batch = 3

    def captions(self, images: Sequence[Image.Image]) -> list[str]:
        colours = [image.getpixel((0, 0)) for image in images]
        if (0, 0, 0) in colours:
            raise RuntimeError("black")
        return ["" if colour == (255, 255, 255) else "red" for colour in colours]


def test_one_picture_ends_no_run(tmp_path: Path) -> None:
    pictures = {}
    for number, colour in enumerate(("red", "black", "red", "white", "red", "red", "red")):
        pictures[f"{number}"] = tmp_path / f"{number}.png"
        Image.new("RGB", (40, 40), colour).save(pictures[f"{number}"])
    pictures["6"].write_bytes(b"no picture")
    events: list[Event] = []
    kept: list[dict[str, str]] = []
    run = caption_pictures(
        Echo(),
        pictures,
        CaptionTemplate(trigger="zwx"),
        keep=kept.append,
        emit=events.append,
    )
    assert run.captions == dict.fromkeys(("0", "2", "4", "5"), "zwx, red")
    assert (run.failed["1"], run.failed["3"], set(run.failed)) == ("black", UNTOLD, {"1", "3", "6"})
    assert kept == [run.captions]
    assert [one.done for one in events if isinstance(one, PhaseAdvanced)] == [3, 6, 7]
    answers = iter([False, True])
    stopped = caption_pictures(Echo(), pictures, CaptionTemplate(), should_stop=lambda: next(answers))
    assert (stopped.was_stopped, stopped.captions) == (True, {"0": "red", "2": "red"})


def test_a_template_holds_the_caption() -> None:
    assert CaptionTemplate(trigger="zwx").of("a cat\n") == "zwx, a cat"
    assert CaptionTemplate().of("a cat") == "a cat"
    assert CaptionTemplate(text="photo of {caption}").of("{trigger}") == "photo of {trigger}"
    assert CaptionTemplate(trigger="sks").of("SKS dog") == "SKS dog"
    assert CaptionTemplate(text="a {trigger}: {caption}", trigger="dog").of("dogs") == "a dog: dogs"
    assert CaptionTemplate(trigger="s{caption}").of("c{trigger}") == "s{caption}, c{trigger}"
    with pytest.raises(ConfigError, match="caption"):
        CaptionTemplate(text="photo")
