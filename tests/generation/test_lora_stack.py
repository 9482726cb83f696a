"""The stack of LoRAs on a real, tiny base: the list alone, not what came before, makes the drawing."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageChops
from safetensors.torch import load_file, save_file

from lora_studio.errors import DeviceLost
from lora_studio.generation.lora_lookup import find_loras
from lora_studio.generation.lora_stack import LoraStack
from lora_studio.generation.pipelines import LoadedBase
from lora_studio.generator import Generator
from lora_studio.lora.file.keys import layer_name
from lora_studio.lora.network.layers import Change
from lora_studio.request import LoraUse
from lora_studio.settings import Settings
from tests.support.drawing import Draw, MakeLora, fresh, load_tiny, pixels
from tests.support.loras import kohya_layers, write_kind


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


@pytest.fixture
def two(make_lora: MakeLora) -> None:
    make_lora("a", seed=1)
    make_lora("b", seed=2, rank=4, alpha=1.0, text_encoder=False)


@pytest.mark.usefixtures("two")
def test_a_then_b_equals_fresh_b(draw: Draw, settings: Settings) -> None:
    both = pixels(*draw(loras=["a", "b"]))
    after = pixels(*draw(loras=["b"]))
    assert after == fresh(settings, loras=[{"slug": "b"}])
    assert after != both


@pytest.mark.usefixtures("two")
def test_without_any_the_base_is_untouched(draw: Draw, settings: Settings) -> None:
    before = pixels(*draw())
    with_both = pixels(*draw(loras=["a", "b"]))
    assert with_both != before
    assert pixels(*draw()) == before == fresh(settings)


@pytest.mark.usefixtures("two")
def test_the_order_of_the_list_does_not_matter(draw: Draw, settings: Settings) -> None:
    forth = pixels(*draw(loras=["a", ("b", 0.7)]))
    assert pixels(*draw(loras=[("b", 0.7), "a"])) == forth
    assert fresh(settings, loras=[{"slug": "b", "weight": 0.7}, {"slug": "a"}]) == forth


def test_the_order_does_not_matter_to_the_last_bit(settings: Settings, make_lora: MakeLora) -> None:
    """A picture's 256 steps hide what the order of a sum changes; the denoiser's answer shows it."""
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
    first = pixels(*draw(loras=["a"]))
    assert pixels(*draw(loras=["b"])) != first
    assert pixels(*draw(loras=["a"])) == first


@pytest.mark.usefixtures("two")
def test_weights_count_and_zero_is_absent(draw: Draw) -> None:
    full = pixels(*draw(loras=["a", "b"]))
    half = pixels(*draw(loras=["a", ("b", 0.5)]))
    none = pixels(*draw(loras=["a", ("b", 0)]))
    assert len({full, half, none}) == 3
    assert none == pixels(*draw(loras=["a"]))
    assert pixels(*draw(loras=["a", "b"])) == full


def test_only_so_many_bytes_stay_in_memory(settings: Settings, make_lora: MakeLora) -> None:
    for number in range(6):
        make_lora(f"l{number}", seed=number, only="mid_block", text_encoder=False)
    stack = LoraStack(load_tiny(settings).model.models(), "tiny")

    def take(*numbers: int) -> None:
        stack.apply(find_loras([LoraUse(slug=f"l{number}") for number in numbers], settings.loras))

    take(0)
    one = stack.size_bytes
    assert one == sum(weight.nbytes for weight in weights_of(stack, "l0"))
    stack = LoraStack(load_tiny(settings).model.models(), "tiny", kept_bytes=3 * one)
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
    stack = LoraStack(load_tiny(settings).model.models(), "tiny", kept_bytes=1)

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
    old = pixels(*draw(loras=["a"]))
    make_lora("a", seed=3)
    new = pixels(*draw(loras=["a"]))
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

    tensors = load_file(file)
    for name, _ in kohya_layers(tiny_base):
        tensors[f"{name}.lora_up.weight"] *= tensors[f"{name}.alpha"] / 2
        tensors[f"{name}.alpha"] = torch.tensor(2, dtype=torch.int64)  # as Kohya writes its default
    folded = file.parent.parent / "folded" / "folded.safetensors"
    folded.parent.mkdir()
    save_file(tensors, folded, metadata={"ss_base_model_version": "sd_v1"})
    assert pixels(*draw(loras=["alphas"])) == pixels(*draw(loras=["folded"]))


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


def test_a_device_that_fails_while_a_lora_is_loaded_is_no_fault_of_the_lora(
    draw: Draw, make_lora: MakeLora, generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_lora("a")
    before = pixels(*draw(loras=["a"]))
    generator.unload()
    with monkeypatch.context() as patch:
        failure = RuntimeError("CUDA error: unspecified launch failure")
        patch.setattr(Change, "settle", lambda *_: (_ for _ in ()).throw(failure))
        with pytest.raises(DeviceLost, match="unspecified launch failure"):
            draw(loras=["a"])
    assert pixels(*draw(loras=["a"])) == before


def test_the_images_differ_in_what_they_should(draw: Draw, make_lora: MakeLora) -> None:
    """So that the equalities above mean something."""
    make_lora("a")
    plain, changed = (Image.open(draw(loras=loras)[0].path) for loras in ([], ["a"]))
    assert ImageChops.difference(plain, changed).getbbox() is not None
