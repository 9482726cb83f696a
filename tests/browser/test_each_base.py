"""A training on a tiny base of each family by clicks, to a picture with its LoRA; then that by the API."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from lora_studio.lora.file.lora_files import find_file, read_header
from tests.support.api_caller import caller
from tests.support.page import (
    OpenPage,
    begin_anew,
    fill_training,
    open_settings,
    pictures_are_drawn,
    set_up,
    upload,
    write,
)
from tests.support.serving import CHECKOUT, App, running_app
from tests.support.tiny import ALL_SHAPES, make_pictures, make_tiny

STEPS, SIDE, SEED = 3, 64, 7
FOLDED = {
    "dataset": {"min_bucket_reso": 32, "max_bucket_reso": 128, "bucket_reso_steps": 16},
    "preview": {"sample_every_n_steps": 0},
}
"""Settings by the section that has them."""
GOLDEN = {
    **{"sd15": "sd15", "sd2_v": "sd15", "sdxl": "sdxl", "zimage": "zimage", "anima": "anima"},
    **{"flux": "flux", "chroma": "flux", "klein": "klein"},
}
"""Lists of layers as the reference trainers name them; Chroma has FLUX.1's."""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("bases")
    for shape in ALL_SHAPES:
        make_tiny(shape, folder / "models" / "base" / f"tiny-{shape}")
    with running_app(folder, LORA_STUDIO_RESULT_PICTURES="0") as running:
        yield running


def choose_base(page: Page, name: str) -> None:
    base = page.locator("#upload-base input")
    base.click()
    base.fill(name)
    page.get_by_role("option", name=re.compile(f"^{name}")).click()
    expect(base).to_have_value(re.compile(f"^{name}"))


def layer_patterns(text: str) -> set[str]:
    """Names of layers with a mark for each number, in a list of layers or the keys of a file."""
    names = re.findall(r"lora_(?:unet|te\d?)_\w+", text.replace("{}", "0"))
    return {re.sub(r"\d+", "#", name.removeprefix("lora_")) for name in names}


def drawn_by_api(app: App, base: str, loras: list[dict[str, object]]) -> bytes:
    options = {"num_inference_steps": 2, "width": SIDE, "height": SIDE}
    with caller(app) as studio:
        (made,) = studio.run("generate_base64", "a disc", loras, base, "", SEED, 1, options)
    return pixels(base64.b64decode(made["image"]))


def drawn_on_page(page: Page) -> set[bytes]:
    """The pixels of the results: the base's, and the LoRA's beside it."""
    sources = page.locator("#generate-results img").evaluate_all("(all) => all.map((one) => one.src)")
    return {pixels(page.request.get(one).body()) for one in sources}


def pixels(picture: bytes) -> bytes:
    with Image.open(io.BytesIO(picture)) as opened:
        assert opened.size == (SIDE, SIDE)
        return opened.convert("RGB").tobytes()


@pytest.mark.parametrize("shape", ALL_SHAPES)
def test_from_pictures_to_a_picture_on_each_base(
    app: App, open_page: OpenPage, shape: str, tmp_path: Path
) -> None:
    page, base = open_page(), f"tiny-{shape}"
    begin_anew(page)
    upload(page, sorted(make_pictures(tmp_path / "pictures").glob("*.png")))
    pictures_are_drawn(page, "#upload-pictures .tile", 4)
    choose_base(page, base)
    fill_training(page, kind="Object", name=f"Disc {shape}", steps=STEPS)
    for setting, value in {"resolution": SIDE, "learning_rate": 0.02, "network_dim": 2}.items():
        set_up(page, setting, str(value))
    for section, settings in FOLDED.items():
        page.locator(f"#train-advanced-{section} > button").click()
        for setting, value in settings.items():
            write(page, f"train-{setting}", str(value))
    page.locator("#upload-train").click()
    expect(page.locator("#train-card h2")).to_have_text(f"Disc {shape}")
    expect(page.locator("#train-card .pill")).to_have_text("finished")

    file = find_file(app.models / "lora" / f"disc-{shape.replace('_', '-')}")
    ours = layer_patterns(" ".join(read_header(file).tensors))
    golden = layer_patterns(
        (CHECKOUT / "tests" / "golden" / f"{GOLDEN[shape]}_lora_keys.json").read_text("utf-8")
    )
    assert ours
    assert ours <= golden

    page.locator("#train-use").click()
    open_settings(page)
    expect(page.locator("#generate-base input")).to_have_value(re.compile(f"^{base}"))
    page.locator("#generate-compare input").check()
    write(page, "generate-prompt", "a disc")
    write(page, "generate-count", "1")
    for name, value in {"num_inference_steps": 2, "width": SIDE, "height": SIDE, "seed": SEED}.items():
        write(page, f"generate-{name}", str(value))
    page.locator("#generate-go").click()
    expect(page.locator("#generate-infotext")).to_contain_text(f"<lora:{file.parent.name}:1>")
    pictures_are_drawn(page, "#generate-results", 2)
    alone, with_lora = (drawn_by_api(app, base, loras) for loras in ([], [{"slug": file.parent.name}]))
    assert alone != with_lora
    assert drawn_on_page(page) == {alone, with_lora}
