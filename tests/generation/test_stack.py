"""The stack of LoRAs on a real, tiny base: what is drawn depends on the list alone, never on what came
before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageChops

from lora_studio.errors import BrokenFile, FamilyMismatch, UnknownFormat
from lora_studio.events import ignore
from lora_studio.families.detect import find_base
from lora_studio.generation.loras import find_loras
from lora_studio.generation.pipelines import Pipelines
from lora_studio.generator import Generator
from lora_studio.request import GeneratedImage, GenerateRequest, LoraUse
from lora_studio.settings import Settings
from tests.generation.conftest import TINY, Draw, MakeLora
from tests.generation.loras import kohya_layers, write_kind, write_lora
from tests.tiny import make_tiny_base


def pixels(images: Sequence[GeneratedImage]) -> bytes:
    return b"".join(Image.open(image.path).tobytes() for image in images)


def fresh(settings: Settings, **values: object) -> bytes:
    """The same drawn by a generator that has never seen anything else."""
    request = GenerateRequest.build(**{**TINY, **values})
    return pixels(Generator(settings).generate(request))


@pytest.fixture
def two(make_lora: MakeLora) -> None:
    make_lora("a", seed=1)
    make_lora("b", seed=2, rank=4, alpha=1.0, text_encoder=False)


@pytest.mark.usefixtures("two")
def test_a_then_b_equals_fresh_b(draw: Draw, settings: Settings) -> None:
    both = pixels(draw(loras=["a", "b"]))
    after = pixels(draw(loras=["b"]))
    assert after == fresh(settings, loras=[{"slug": "b"}])
    assert after != both


@pytest.mark.usefixtures("two")
def test_without_any_the_base_is_untouched(draw: Draw, settings: Settings) -> None:
    before = pixels(draw())
    with_both = pixels(draw(loras=["a", "b"]))
    assert with_both != before
    assert pixels(draw()) == before == fresh(settings)


@pytest.mark.usefixtures("two")
def test_the_order_of_the_list_does_not_matter(draw: Draw, settings: Settings) -> None:
    forth = pixels(draw(loras=["a", ("b", 0.7)]))
    assert pixels(draw(loras=[("b", 0.7), "a"])) == forth
    assert fresh(settings, loras=[{"slug": "b", "weight": 0.7}, {"slug": "a"}]) == forth


def test_the_order_does_not_matter_to_the_last_bit(settings: Settings, make_lora: MakeLora) -> None:
    """A picture's 256 steps hide the difference that the order of a sum makes; the denoiser's answer shows
    it."""
    for seed, slug in enumerate("abc"):
        make_lora(slug, seed=seed, strength=1.0)
    base = Pipelines().get(find_base("tiny", settings), ignore)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    text = torch.randn(1, 77, 16, generator=torch.Generator().manual_seed(1))
    answers = []
    for order in ("abc", "cba", "bca"):
        base.stack.apply(find_loras([LoraUse(slug=slug) for slug in order], settings.loras))
        with torch.no_grad():
            answers.append(base.pipe.unet(latents, 500, encoder_hidden_states=text).sample)
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])


@pytest.mark.usefixtures("two")
def test_there_and_back_is_the_same(draw: Draw) -> None:
    first = pixels(draw(loras=["a"]))
    assert pixels(draw(loras=["b"])) != first
    assert pixels(draw(loras=["a"])) == first


@pytest.mark.usefixtures("two")
def test_weights_count_and_zero_is_absent(draw: Draw) -> None:
    full = pixels(draw(loras=["a", "b"]))
    half = pixels(draw(loras=["a", ("b", 0.5)]))
    none = pixels(draw(loras=["a", ("b", 0)]))
    assert len({full, half, none}) == 3
    assert none == pixels(draw(loras=["a"]))
    assert pixels(draw(loras=["a", "b"])) == full


def test_only_so_many_stay_in_memory(draw: Draw, generator: Generator, make_lora: MakeLora) -> None:
    for number in range(10):
        make_lora(f"l{number}", seed=number, only="mid_block", text_encoder=False)
    first = pixels(draw(loras=["l0"]))
    for number in range(1, 10):
        draw(loras=[f"l{number}"])
    (base,) = generator._pipelines._loaded.values()
    assert base.stack.loaded == tuple(f"l{number}" for number in range(2, 10))
    assert pixels(draw(loras=["l0"])) == first
    every = [f"l{number}" for number in range(10)]
    draw(loras=every)
    assert sorted(base.stack.loaded) == every, "the active ones are never dropped"


def test_a_file_that_changed_is_loaded_again(draw: Draw, settings: Settings, make_lora: MakeLora) -> None:
    make_lora("a", seed=1)
    old = pixels(draw(loras=["a"]))
    make_lora("a", seed=3)
    new = pixels(draw(loras=["a"]))
    assert new != old
    assert new == fresh(settings, loras=[{"slug": "a"}])


def test_a_slug_that_is_a_name_in_pytorch_works(draw: Draw, make_lora: MakeLora) -> None:
    for slug in ("train", "keys", "weight", "default"):
        make_lora(slug, only="mid_block")
        draw(loras=[slug])


def test_alphas_that_differ_between_layers_are_kept(draw: Draw, tiny_base: Path, make_lora: MakeLora) -> None:
    """The factor alpha / rank may as well be in the up matrix."""

    def alpha(name: str) -> float:
        return 8.0 if "layers_0_self_attn_q" in name or "attn2_to_k" in name else 2.0

    file = make_lora("alphas", alpha=alpha)
    from safetensors.torch import load_file, save_file

    tensors = load_file(file)
    for name, _ in kohya_layers(tiny_base):
        tensors[f"{name}.lora_up.weight"] *= tensors[f"{name}.alpha"] / 2
        tensors[f"{name}.alpha"] = torch.tensor(2, dtype=torch.int64)  # as Kohya writes its default
    folded = file.parent.parent / "folded" / "folded.safetensors"
    folded.parent.mkdir()
    save_file(tensors, folded, metadata={"ss_base_model_version": "sd_v1"})
    assert pixels(draw(loras=["alphas"])) == pixels(draw(loras=["folded"]))


def test_another_family_is_refused_in_a_sentence(draw: Draw, make_lora: MakeLora) -> None:
    before = pixels(draw())
    make_lora("x", metadata={"ss_base_model_version": "sd_v2_768_v", "modelspec.title": "My cat"})
    with pytest.raises(FamilyMismatch) as caught:
        draw(loras=["x"])
    assert (
        caught.value.message == "“My cat” was made for Stable Diffusion 2.x; “tiny” is Stable Diffusion 1.x."
    )
    assert "Stable Diffusion 2.x" in caught.value.hint
    assert pixels(draw()) == before


def test_other_sizes_are_refused_and_the_pipeline_stays_usable(
    draw: Draw, settings: Settings, make_lora: MakeLora, tmp_path: Path
) -> None:
    before = pixels(draw())
    make_lora("good", seed=1)
    linear = make_tiny_base(tmp_path / "linear", use_linear_projection=True)
    write_lora(
        settings.loras / "other" / "other.safetensors",
        linear,
        metadata={"ss_sd_model_name": "sd15.safetensors"},
    )
    file = settings.loras / "wide" / "wide.safetensors"
    file.parent.mkdir()
    from safetensors.torch import save_file

    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    save_file(
        {f"{name}.lora_down.weight": torch.ones(4, 1280), f"{name}.lora_up.weight": torch.ones(1280, 4)}, file
    )
    with pytest.raises(FamilyMismatch) as caught:
        draw(loras=["good", "wide"])
    assert caught.value.message == "“wide” doesn't fit “tiny”: its layers have other sizes."
    with pytest.raises(FamilyMismatch, match=r"It was made for sd15\.safetensors\."):
        draw(loras=["other"])
    assert pixels(draw()) == before
    assert pixels(draw(loras=["good"])) == fresh(settings, loras=[{"slug": "good"}])


def test_a_layer_that_the_base_lacks_is_refused(draw: Draw, settings: Settings) -> None:
    from safetensors.torch import save_file

    file = settings.loras / "xl" / "xl.safetensors"
    file.parent.mkdir()
    name = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"
    save_file(
        {f"{name}.lora_down.weight": torch.ones(4, 16), f"{name}.lora_up.weight": torch.ones(16, 4)}, file
    )
    with pytest.raises(FamilyMismatch, match="doesn't fit"):
        draw(loras=["xl"])


def test_weights_of_unknown_kinds_are_refused(draw: Draw, settings: Settings, make_lora: MakeLora) -> None:
    from safetensors.torch import load_file, save_file

    file = make_lora("glora")
    tensors = load_file(file)
    layer = next(iter(tensors)).split(".")[0]
    save_file({**tensors, f"{layer}.a1.weight": torch.ones(16, 1)}, file)
    with pytest.raises(UnknownFormat, match=r"can't be drawn with \(a1\.weight\)"):
        draw(loras=["glora"])
    save_file({f"{layer}.lora_down.weight": tensors[f"{layer}.lora_down.weight"]}, file)
    with pytest.raises(UnknownFormat, match="can't be drawn with"):
        draw(loras=["glora"])


def test_an_unusual_choice_of_layers_is_drawn_with(draw: Draw, tiny_base: Path, make_lora: MakeLora) -> None:
    """diffusers' own loader loses some of these."""
    from safetensors.torch import load_file, save_file

    file = make_lora("partial", only="q_proj|fc1")
    before = pixels(draw())
    partial = pixels(draw(loras=["partial"]))
    tensors = load_file(file)
    for name, shape in kohya_layers(tiny_base):
        if f"{name}.alpha" not in tensors:
            tensors[f"{name}.lora_down.weight"] = torch.ones(1, *shape[1:])
            tensors[f"{name}.lora_up.weight"] = torch.zeros(shape[0], 1, *shape[2:])
    whole = make_lora("whole")
    save_file(tensors, whole, metadata={"ss_base_model_version": "sd_v1"})
    assert pixels(draw(loras=["whole"])) == partial != before


def test_kinds_of_all_sorts_add_up(settings: Settings, make_lora: MakeLora) -> None:
    """Each adds what it would add alone, by its weight, in whatever company; and all come off again."""
    base = Pipelines().get(find_base("tiny", settings), ignore)
    make_lora("a", strength=0.1)
    for slug, parts in (("b", "loha"), ("c", "diag-oft"), ("d", "dora")):
        write_kind(settings.loras / slug / f"{slug}.safetensors", base.pipe, parts)

    def answer(*uses: tuple[str, float]) -> torch.Tensor:
        loras = [LoraUse(slug=slug, weight=weight) for slug, weight in uses]
        base.stack.apply(find_loras(loras, settings.loras))
        layer = base.pipe.unet.mid_block.attentions[0].transformer_blocks[0].attn1.to_q
        with torch.no_grad():
            return layer(torch.randn(3, 16, generator=torch.Generator().manual_seed(2)))

    plain = answer()
    alone = {slug: answer((slug, 1.0)) - plain for slug in "abcd"}
    assert all(added.abs().max() > 1e-3 for added in alone.values())
    for slug, added in alone.items():
        torch.testing.assert_close(answer((slug, 0.5)) - plain, 0.5 * added, rtol=1e-4, atol=1e-6)
    mixed = answer(("a", 1.0), ("b", 0.5), ("c", 2.0), ("d", -1.0)) - plain
    wanted = alone["a"] + 0.5 * alone["b"] + 2 * alone["c"] - alone["d"]
    torch.testing.assert_close(mixed, wanted, rtol=1e-4, atol=1e-6)
    assert torch.equal(answer(), plain)


def test_a_damaged_file_is_named(draw: Draw, make_lora: MakeLora) -> None:
    before = pixels(draw())
    file = make_lora("cut")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(BrokenFile, match=r"cut\.safetensors is damaged"):
        draw(loras=["cut"])
    assert pixels(draw()) == before


def test_the_images_differ_in_what_they_should(draw: Draw, make_lora: MakeLora) -> None:
    """So that the equalities above mean something."""
    make_lora("a")
    plain, changed = (Image.open(draw(loras=loras)[0].path) for loras in ([], ["a"]))
    assert ImageChops.difference(plain, changed).getbbox() is not None
