"""The stack of LoRAs on a real, tiny base: what is drawn depends on the list alone, never on what came
before."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageChops
from safetensors.torch import load_file, save_file

from lora_studio.errors import BrokenFile, DeviceLost, FamilyMismatch, UnknownFormat
from lora_studio.events import ignore
from lora_studio.families.base_files.locate import find_base
from lora_studio.generation.lora_lookup import find_loras
from lora_studio.generation.lora_stack import LoraStack
from lora_studio.generation.pipelines import LoadedBase, Pipelines
from lora_studio.generator import Generator
from lora_studio.lora.file.keys import layer_name
from lora_studio.lora.network.layers import Change
from lora_studio.request import GeneratedImage, GenerateRequest, LoraUse
from lora_studio.settings import Settings
from tests.generation.conftest import TINY, Draw, MakeLora
from tests.support.loras import kohya_layers, write_kind


def load_tiny(settings: Settings) -> LoadedBase:
    base = Pipelines(settings).get(find_base("tiny", settings), ignore)
    assert base is not None
    return base


def weights_of(stack: LoraStack, key: str) -> list[torch.Tensor]:
    return [weight for change in stack._loras[key].changes.values() for weight in change.weights.values()]


@torch.no_grad()
def answer_of(base: LoadedBase) -> torch.Tensor:
    """The denoiser's answer to fixed noise and a fixed prompt, which the text encoder reads."""
    tokens = base.pipe.tokenizer("a disc", padding="max_length", return_tensors="pt").input_ids
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    text = base.pipe.text_encoder(tokens).last_hidden_state
    answer: torch.Tensor = base.pipe.unet(latents, 500, encoder_hidden_states=text).sample
    return answer


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
    base = load_tiny(settings)
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


def test_only_so_many_bytes_stay_in_memory(settings: Settings, make_lora: MakeLora) -> None:
    for number in range(6):
        make_lora(f"l{number}", seed=number, only="mid_block", text_encoder=False)
    stack = LoraStack(load_tiny(settings).pipe, "tiny")

    def take(*numbers: int) -> None:
        stack.apply(find_loras([LoraUse(slug=f"l{number}") for number in numbers], settings.loras))

    take(0)
    one = stack.size_bytes
    assert one == sum(weight.nbytes for weight in weights_of(stack, "l0"))
    stack = LoraStack(load_tiny(settings).pipe, "tiny", kept_bytes=3 * one)
    for number in range(6):
        take(number)
    assert stack.loaded == ("l3", "l4", "l5"), "those unused for longest went"
    take(3)
    take(0)
    assert stack.loaded == ("l5", "l3", "l0")
    take(0, 1, 2, 3, 4)
    assert sorted(stack.loaded) == ["l0", "l1", "l2", "l3", "l4"], "the active ones are never dropped"


def test_nothing_is_left_on_the_base_after_removal(settings: Settings, make_lora: MakeLora) -> None:
    make_lora("a", seed=1)
    base = load_tiny(settings)
    models = (base.pipe.unet, base.pipe.text_encoder, base.pipe.vae)

    def state() -> tuple[int, list[torch.Tensor]]:
        hooks = sum(len(module._forward_hooks) for model in models for module in model.modules())
        return hooks, [tensor.clone() for model in models for tensor in model.state_dict().values()]

    hooks, tensors = state()
    base.stack.apply(find_loras([LoraUse(slug="a")], settings.loras))
    assert state()[0] > hooks
    base.stack.apply([])
    after = state()
    assert after[0] == hooks
    assert all(torch.equal(one, other) for one, other in zip(tensors, after[1], strict=True))


@pytest.mark.slow
def test_swaps_leave_no_tensors_behind(settings: Settings, make_lora: MakeLora) -> None:
    for slug in "abc":
        make_lora(slug, seed=ord(slug), only="mid_block")
    stack = LoraStack(load_tiny(settings).pipe, "tiny", kept_bytes=1)

    def alive(slug: str) -> int:
        stack.apply(find_loras([LoraUse(slug=slug)], settings.loras))
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    first = alive("a")
    assert [alive(slug) for slug in "bcabca"][-1] == first


def test_another_weight_touches_no_hook(settings: Settings, make_lora: MakeLora) -> None:
    make_lora("a")
    stack = load_tiny(settings).stack
    stack.apply(find_loras([LoraUse(slug="a")], settings.loras))
    hooks, changes = list(stack._hooks), stack._loras["a"]
    stack.apply(find_loras([LoraUse(slug="a", weight=0.3, text_encoder_weight=2)], settings.loras))
    assert stack._hooks == hooks
    assert stack._loras["a"] is changes
    strengths = {name.split("_")[1]: change.strength for name, change in changes.changes.items()}
    assert strengths == {"unet": 0.3, "te": 2}


@pytest.mark.parametrize("weight", [1.0, -0.7])
def test_baked_equals_applied(settings: Settings, make_lora: MakeLora, weight: float) -> None:
    """Merged into the weights or added beside them: the sums are rounded in another order, no more."""
    from lora_studio.families.base import Target
    from lora_studio.lora.network.initial_weights import merge_into_base

    file = make_lora("a", seed=1)
    applied, baked = load_tiny(settings), load_tiny(settings)
    applied.stack.apply(find_loras([LoraUse(slug="a", weight=weight)], settings.loras))
    models = {"unet": baked.pipe.unet, "text_encoder": baked.pipe.text_encoder}
    layers = [
        Target(part=part, module=path, name=layer_name(f"{part}.{path}"))
        for part, model in models.items()
        for path, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
    ]
    before = answer_of(baked)
    merge_into_base(models, layers, str(file), weight)
    torch.testing.assert_close(answer_of(applied), answer_of(baked), rtol=1e-4, atol=1e-4)
    assert (answer_of(baked) - before).abs().max() > 0.05


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
    file = settings.loras / "wide" / "wide.safetensors"
    file.parent.mkdir()
    from safetensors.torch import load_file, save_file

    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    save_file(
        {f"{name}.lora_down.weight": torch.ones(4, 1280), f"{name}.lora_up.weight": torch.ones(1280, 4)}, file
    )
    other = settings.loras / "other" / "other.safetensors"
    other.parent.mkdir()
    save_file(load_file(file), other, {"ss_sd_model_name": "sd15.safetensors"})
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


def test_weights_of_unknown_kinds_are_left_out(draw: Draw, settings: Settings, make_lora: MakeLora) -> None:
    from safetensors.torch import load_file, save_file

    file = make_lora("odd")
    tensors = load_file(file)
    usual = pixels(draw(loras=["odd"]))
    layer = next(iter(tensors)).split(".")[0]
    save_file({**tensors, f"{layer}.a1.weight": torch.ones(16, 1), "odd.vera_A": torch.ones(3)}, file)
    assert pixels(draw(loras=["odd"])) == usual
    save_file({f"{layer}.lora_down.weight": tensors[f"{layer}.lora_down.weight"]}, file)
    with pytest.raises(UnknownFormat, match="no layer that is whole"):
        draw(loras=["odd"])


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
    base = load_tiny(settings)
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


@pytest.mark.parametrize("alpha", [float("nan"), float("inf")])
def test_an_alpha_that_is_no_number_is_named(draw: Draw, make_lora: MakeLora, alpha: float) -> None:
    before = pixels(draw())
    make_lora("odd", alpha=alpha)
    with pytest.raises(BrokenFile, match="alpha"):
        draw(loras=["odd"])
    assert pixels(draw()) == before


MIDDLE = "lora_unet_mid_block_attentions_0_transformer_blocks_0"
WORDS = "lora_te_text_model_embeddings_token_embedding"
ODD = {
    "OFT of fewer outputs": {f"{MIDDLE}_attn2_to_k.oft_diag": (8, 1, 1)},
    "OFT that is not square": {f"{MIDDLE}_attn2_to_k.oft_blocks": (1, 8, 1)},
    "OFT v2 with four sides": {f"{MIDDLE}_attn2_to_k.oft_R.weight": (4, 6, 1, 1)},
    "OFT of words": {f"{WORDS}.oft_blocks": (2, 95, 95)},
    "a bias of words": {f"{WORDS}.diff_b": (190,)},
    "a factor without sides": {
        f"{MIDDLE}_attn2_to_k.hada_w1_a": (),
        f"{MIDDLE}_attn2_to_k.hada_w1_b": (2, 16),
    }
    | {f"{MIDDLE}_attn2_to_k.hada_w2_a": (16, 2), f"{MIDDLE}_attn2_to_k.hada_w2_b": (2, 16)},
}


@pytest.mark.parametrize("what", ODD)
def test_a_layer_of_odd_sides_is_left_out(draw: Draw, make_lora: MakeLora, what: str) -> None:
    file, _ = make_lora("odd", only="down_blocks"), make_lora("plain", only="down_blocks")
    more = {name: torch.ones(shape) for name, shape in ODD[what].items()}
    save_file({**load_file(file), **more}, file)
    assert pixels(draw(loras=["odd"])) == pixels(draw(loras=["plain"]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float8_e5m2], ids=str)
def test_a_lora_of_zeros_is_named(settings: Settings, make_lora: MakeLora, dtype: torch.dtype) -> None:
    base = load_tiny(settings)
    file = make_lora("zero", metadata={"modelspec.title": "Nil"})
    tensors = load_file(file)
    empty = {key: (value if "alpha" in key else value * 0).to(dtype) for key, value in tensors.items()}
    stack = LoraStack(base.pipe, "tiny")
    save_file(empty, file, metadata={"modelspec.title": "Nil"})
    (remark,) = stack.apply(find_loras([LoraUse(slug="zero")], settings.loras))
    assert "Nil" in remark
    assert "nothing" in remark
    (again,) = stack.apply(find_loras([LoraUse(slug="zero")], settings.loras))
    assert again == remark
    make_lora("some")
    assert stack.apply(find_loras([LoraUse(slug="some")], settings.loras)) == []


def test_a_factor_for_the_other_side_is_named(draw: Draw, make_lora: MakeLora) -> None:
    file = make_lora("odd", only="down_blocks")
    more = {
        f"{MIDDLE}_ff_net_0_proj.weight": torch.ones(16),
        f"{MIDDLE}_ff_net_0_proj.on_input": torch.tensor(False),
    }
    save_file({**load_file(file), **more}, file)
    with pytest.raises(BrokenFile):
        draw(loras=["odd"])


@pytest.mark.parametrize("part", ["alpha", "on_input", "oft_R.scaled_oft"])
def test_a_layer_with_several_numbers_for_one_is_left_out(draw: Draw, make_lora: MakeLora, part: str) -> None:
    file = make_lora("odd")
    tensors = load_file(file)
    layer = next(key for key in tensors if key.endswith(".alpha")).removesuffix(".alpha")
    rest = {key: tensor for key, tensor in tensors.items() if not key.startswith(f"{layer}.")}
    outputs = len(tensors[f"{layer}.lora_up.weight"])
    odd = {
        "alpha": {key: tensor for key, tensor in tensors.items() if key.startswith(f"{layer}.")},
        "on_input": {f"{layer}.weight": torch.ones(outputs, 1)},
        "oft_R.scaled_oft": {f"{layer}.oft_R.weight": torch.ones(1, 1)},
    }[part]
    save_file({**rest, **odd, f"{layer}.{part}": torch.ones(2)}, file)
    save_file(rest, make_lora("without"))
    assert pixels(draw(loras=["odd"])) == pixels(draw(loras=["without"])) != pixels(draw())


def test_a_device_that_fails_while_a_lora_is_loaded_is_no_fault_of_the_lora(
    draw: Draw, make_lora: MakeLora, generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_lora("a")
    before = pixels(draw(loras=["a"]))
    generator.unload()
    with monkeypatch.context() as patch:
        failure = RuntimeError("CUDA error: unspecified launch failure")
        patch.setattr(Change, "settle", lambda *_: (_ for _ in ()).throw(failure))
        with pytest.raises(DeviceLost, match="unspecified launch failure"):
            draw(loras=["a"])
    assert pixels(draw(loras=["a"])) == before


def test_the_images_differ_in_what_they_should(draw: Draw, make_lora: MakeLora) -> None:
    """So that the equalities above mean something."""
    make_lora("a")
    plain, changed = (Image.open(draw(loras=loras)[0].path) for loras in ([], ["a"]))
    assert ImageChops.difference(plain, changed).getbbox() is not None
