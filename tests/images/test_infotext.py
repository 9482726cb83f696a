from __future__ import annotations

from lora_studio.images.infotext import parse_infotext, restore, write_infotext
from lora_studio.request import GenerateRequest

FULL = {
    "prompt": "a cat",
    "base": "starter",
    "num_inference_steps": 20,
    "guidance_scale": 3.5,
    "width": 64,
    "height": 96,
    "seed": 5,
    "sampler": "Euler a",
}


def written(**changes: object) -> str:
    request = GenerateRequest(**{**FULL, **changes})
    hashes = {use.slug: "0123456789abcdef" * 4 for use in request.loras}
    return write_infotext(request, prompt=request.prompt, model="starter", lora_hashes=hashes)


def test_the_lines_are_those_that_a1111_writes() -> None:
    text = written(negative_prompt="blur", loras=[{"slug": "ink", "weight": 0.8}, {"slug": "b-2"}])
    assert text.split("\n")[:2] == ["a cat <lora:ink:0.8> <lora:b-2:1>", "Negative prompt: blur"]
    assert text.split("\n")[2].startswith(
        "Steps: 20, Sampler: Euler a, CFG scale: 3.5, Seed: 5, Size: 64x96, Model: starter, "
        'RNG: CPU, Lora hashes: "ink: 0123456789ab, b-2: 0123456789ab", Version: LoRA Studio '
    )


def test_a_line_by_a1111() -> None:
    restored = restore(
        "masterpiece, 1girl <lora:My_Style v2:0.7> <lora:ink:.5>\nNegative prompt: bad, (worst:1.4)\n"
        "Steps: 30, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 3054216021, Size: 512x768, "
        "Model hash: 6ce0161689, Model: v1-5-pruned-emaonly, Clip skip: 2, "
        'Lora hashes: "My_Style v2: 3e7a01a5c7d6, ink: 5a0ca0f0fb3e", TI hashes: "x: c74b4e810b03", '
        "Version: v1.9.4"
    )
    assert restored.request == GenerateRequest(
        prompt="masterpiece, 1girl <lora:My_Style v2:0.7>",
        negative_prompt="bad, (worst:1.4)",
        base="v1-5-pruned-emaonly",
        loras=[{"slug": "ink", "weight": 0.5}],
        num_inference_steps=30,
        guidance_scale=7,
        width=512,
        height=768,
        seed=3054216021,
        sampler="DPM++ 2M Karras",
        clip_skip=2,
    )


def test_text_without_settings_is_all_prompt() -> None:
    info = parse_infotext("a cat: black, with: two eyes")
    assert info.prompt == "a cat: black, with: two eyes"
    assert info.settings == {}


def test_quotes_inside_values_survive() -> None:
    info = parse_infotext('x\nSteps: 1, Model: "a, \\"b\\": c", Seed: 2')
    assert info.settings == {"Steps": "1", "Model": 'a, "b": c', "Seed": "2"}


def test_what_other_programs_add_to_a_tag_is_noted() -> None:
    found = restore("a <lora:x:0.8:lbw=MIDD:stop=20>\nSteps: 20, Sampler: Euler, Seed: 1")
    assert [(use.slug, use.weight) for use in found.request.loras] == [("x", 0.8)]
    assert found.request.prompt == "a"
    (note,) = (note for note in found.notes if "lbw=MIDD:stop=20" in note)
    assert "“x”" in note


def test_two_checkpoints_of_one_lora_are_read_back() -> None:
    loras = [{"slug": "ink", "checkpoint": 10, "weight": 0.5}, {"slug": "ink", "checkpoint": 20}]
    request = GenerateRequest(**{**FULL, "loras": loras})
    hashes = {"ink-step00000010": "ab" * 32, "ink-step00000020": "cd" * 32}
    text = write_infotext(request, prompt=request.prompt, model="starter", lora_hashes=hashes)
    assert 'Lora hashes: "ink-step00000010: abababababab, ink-step00000020: cdcdcdcdcdcd"' in text
    assert restore(text).request == request
