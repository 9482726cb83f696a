"""Infotexts as other programs and their versions write them, and our own for settings of all kinds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from lora_studio.images.foreign_request import NO_BASE
from lora_studio.images.infotext import restore, write_infotext
from lora_studio.request import LONGEST_PROMPT, GenerateRequest


@dataclass(frozen=True, kw_only=True)
class Case:
    """An infotext, what its request must have, and how the notes begin or what they hold."""

    text: str
    expected: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


INK = {"slug": "ink", "weight": 0.8}
CASES = {
    "a1111 1.0, one name for the sampler": Case(
        text="a lighthouse at dusk, oil on canvas\nNegative prompt: people, text\n"
        "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 965400086, Size: 512x512, Model hash: 81761151",
        expected={"sampler": "Euler a", "seed": 965400086, "width": 512, "negative_prompt": "people, text"},
    ),
    "a1111 1.2, clip skip": Case(
        text="fox in snow\nSteps: 28, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 1, Size: 640x448, "
        "Model hash: 6ce0161689, Model: v1-5-pruned-emaonly, Clip skip: 2",
        expected={"sampler": "DPM++ 2M Karras", "clip_skip": 2, "guidance_scale": 6.5, "height": 448},
    ),
    "a1111 1.6, second pass": Case(
        text="a harbour\nNegative prompt: fog\nSteps: 30, Sampler: DPM++ 2M SDE Karras, CFG scale: 5, "
        "Seed: 77, Size: 512x768, Model hash: 1a, Model: m, VAE hash: 63aeecb90f, VAE: vae-ft-mse.ckpt, "
        "Denoising strength: 0.4, Hires upscale: 2, Hires steps: 15, Hires upscaler: Latent (nearest-exact), "
        "Version: v1.6.0",
        expected={
            "sampler": "DPM++ 2M SDE Karras",
            "hires_scale": 2.0,
            "hires_steps": 15,
            "hires_strength": 0.4,
            "hires_upscaler": "latent",
            "strength": 0.75,
        },
        notes=("Not taken over: the autoencoder (vae-ft-mse.ckpt).",),
    ),
    "a1111 1.8, second pass to a size": Case(
        text="a harbour\nSteps: 30, Sampler: UniPC, CFG scale: 5, Seed: 7, Size: 512x512, Model: m, "
        "Denoising strength: 0.5, Hires resize: 768x1024, Hires upscaler: R-ESRGAN 4x+, Version: v1.8.0",
        expected={"sampler": "UniPC", "hires_scale": 2.0, "hires_steps": None, "hires_upscaler": "lanczos"},
        notes=("The upscaler “R-ESRGAN 4x+” isn't here; Lanczos enlarges instead.",),
    ),
    "a1111 1.9, schedule type apart": Case(
        text="a bowl of (cherries:1.2)\nSteps: 25, Sampler: DPM++ SDE, Schedule type: Karras, CFG scale: 4, "
        "Seed: 2, Size: 832x1216, Model hash: 31e35c80fc, Model: sd_xl_base_1.0, Version: v1.9.4",
        expected={"prompt": "a bowl of (cherries:1.2)", "sampler": "DPM++ SDE Karras", "width": 832},
    ),
    "a1111 1.10, automatic schedule and RNG": Case(
        text="hills\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Automatic, CFG scale: 7, Seed: 3, "
        "Size: 512x512, Model: m, RNG: CPU, Version: v1.10.1",
        expected={"sampler": "DPM++ 2M Karras"},
    ),
    "forge": Case(
        text="a kiosk <lora:ink:0.8>\nSteps: 24, Sampler: Euler, Schedule type: Simple, CFG scale: 3.5, "
        "Seed: 4, Size: 896x1152, Model hash: d1, Model: somemodel_v3, "
        'Lora hashes: "ink: c5f0e5b1a2d3", Version: f2.0.1v1.10.1-previous-600-g1234567',
        expected={"prompt": "a kiosk", "loras": [INK], "sampler": "Euler SGM Uniform"},
        notes=("The sampler “Euler Simple” isn't here; Euler SGM Uniform is the nearest.",),
    ),
    "forge, modules and a distilled guidance": Case(
        text="a kiosk\nSteps: 20, Sampler: Euler, Schedule type: Beta, CFG scale: 1, "
        "Distilled CFG Scale: 3.5, Seed: 4, Size: 896x1152, Model: dev-q4, Version: f2.0.1, "
        "Module 1: ae, Module 2: clip_l, Diffusion in Low Bits: Automatic (fp16 LoRA)",
        expected={"sampler": "Euler", "guidance_scale": 1.0, "distilled_guidance_scale": 3.5},
        notes=("The sampler “Euler Beta”", "Passed over: Module 1, Module 2."),
    ),
    "a negative prompt of several lines": Case(
        text="first line,\nsecond line: with a colon\nNegative prompt: bad,\nworse,\n\nworst\n"
        "Steps: 10, Sampler: DDIM, CFG scale: 7, Seed: 5, Size: 512x512",
        expected={
            "prompt": "first line,\nsecond line: with a colon",
            "negative_prompt": "bad,\nworse,\n\nworst",
            "sampler": "DDIM",
        },
    ),
    "only a negative prompt": Case(
        text="Negative prompt: everything\nSteps: 10, Sampler: PLMS, CFG scale: 7, Seed: 5, Size: 512x512",
        expected={"prompt": "", "negative_prompt": "everything", "sampler": "PNDM"},
    ),
    "embeddings": Case(
        text="a hall\nNegative prompt: easynegative, (badhands:0.8)\nSteps: 22, Sampler: DPM2 a Karras, "
        "CFG scale: 8, Seed: 6, Size: 512x512, Model: m, "
        'TI hashes: "easynegative: c74b4e810b03, badhands: aa7651be154c", Version: v1.7.0',
        expected={"sampler": "DPM2 a Karras", "negative_prompt": "easynegative, (badhands:0.8)"},
        notes=("Not taken over: embeddings (easynegative: c74b4e810b03, badhands",),
    ),
    "lora weights of their own for the text encoder": Case(
        text="a gate <lora:ink:0.5:0.8>, night <lora:b-2:1:te=0.2> <lyco:third:.7>\nSteps: 22, "
        "Sampler: Heun, CFG scale: 8, Seed: 6, Size: 512x512, "
        'Lora hashes: "ink: 0a1b2c3d4e5f, b-2: 000000000000"',
        expected={
            "prompt": "a gate, night",
            "loras": [
                {"slug": "ink", "weight": 0.8, "text_encoder_weight": 0.5},
                {"slug": "b-2", "weight": 0.2, "text_encoder_weight": 0.2},
                {"slug": "third", "weight": 0.7},
            ],
        },
    ),
    "names that are no slug stay in the prompt": Case(
        text="a gate <lora:Some_Style v3:0.6> <lora:ink:0.8> <lora:odd:x>\nSteps: 22, "
        "Sampler: LCM, CFG scale: 1.5, Seed: 6, Size: 512x512",
        expected={"prompt": "a gate <lora:Some_Style v3:0.6> <lora:odd:x>", "loras": [INK], "sampler": "LCM"},
    ),
    "img2img": Case(
        text="a redrawn gate\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 8, Size: 512x640, Model: m, "
        "Denoising strength: 0.35, Mask blur: 8, Inpaint area: Only masked, Masked area padding: 48, "
        "Version: v1.9.0",
        expected={"strength": 0.35, "mask_blur": 8, "padding_mask_crop": 48, "image": ""},
    ),
    "a strength of nothing": Case(
        text="x\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 8, Size: 512x640, Denoising strength: 0",
        expected={"strength": 0.75},
    ),
    "variation seeds": Case(
        text="a gate\nSteps: 20, Sampler: DPM++ 2S a Karras, CFG scale: 7, Seed: 8, Size: 512x512, "
        "Variation seed: 4020305, Variation seed strength: 0.15, ENSD: 31337, Eta: 0.67",
        expected={"variation_seed": 4020305, "variation_strength": 0.15, "sampler": "DPM++ SDE Karras"},
        notes=("The sampler “DPM++ 2S a Karras” isn't here", "Eta (0.67)", "ENSD (31337)"),
    ),
    "quoted values with commas, colons and quotes": Case(
        text='a "gate", 12:30, {red|blue}\nSteps: 20, Sampler: LMS, CFG scale: 7.0, Seed: 8, '
        'Size: 512x512, Model: "odd, name: \\"2\\"", Wildcard prompt: "a, b: __c__", '
        'ADetailer prompt: "face, [SEP] hands", ADetailer model: face_yolov8n.pt, Version: v1.9.3',
        expected={"base": 'odd, name: "2"', "prompt": 'a "gate", 12:30, {red|blue}', "sampler": "DPM++ 2M"},
        notes=("The sampler “LMS” isn't here; DPM++ 2M", "ADetailer (face_yolov8n.pt)"),
    ),
    "a site's JSON at the end": Case(
        text="tower\nNegative prompt: low\nSteps: 31, Sampler: DPM++ 3M SDE Exponential, CFG scale: 7, "
        "Seed: 12345, Size: 1024x1024, Clip skip: 2, Created Date: 2024-05-01T10:20:30.123Z, "
        'Some resources: [{"type":"checkpoint","weight":1}], Some metadata: {}',
        expected={"sampler": "DPM++ 3M SDE Exponential", "clip_skip": 2, "seed": 12345},
        notes=("Passed over: Some resources, Some metadata.",),
    ),
    "settings that nothing here knows": Case(
        text="x\nSteps: 9, Sampler: Restart, Schedule type: Automatic, CFG scale: 7, Seed: 5, Size: 512x512, "
        "Model: m, Token merging ratio: 0.5, A1: 1, A2: 1, A3: 1, A4: 1, A5: 1, ADetailer model: y, "
        "ADetailer confidence: 0.3, RNG: CPU, Version: v1.10.1",
        expected={"sampler": "Heun Karras"},
        notes=(
            "“Restart Karras”",
            "ADetailer (y)",
            "Passed over: Token merging ratio, A1, A2, A3, A4 and 1 more.",
        ),
    ),
    "a prompt that looks like settings": Case(
        text="Steps: 3, a staircase, Size: large, Sampler: cake\nSteps: 20, Sampler: DDIM CFG++, "
        "CFG scale: 1, Seed: 9, Size: 512x512",
        expected={"prompt": "Steps: 3, a staircase, Size: large, Sampler: cake", "num_inference_steps": 20},
        notes=("The sampler “DDIM CFG++” isn't here; DDIM",),
    ),
    "carriage returns": Case(
        text="one\r\ntwo\r\nNegative prompt: three\r\nSteps: 20, Sampler: k_euler_a, CFG scale: 7, Seed: 9, "
        "Size: 512x512\r\n",
        expected={"prompt": "one\ntwo", "negative_prompt": "three", "sampler": "Euler a", "height": 512},
    ),
    "an unknown sampler": Case(
        text="x\nSteps: 20, Sampler: Quantum 9, CFG scale: 7, Seed: 9, Size: 512x512, CFG Rescale: 0.7",
        expected={"sampler": "", "guidance_rescale": 0.7},
        notes=("There is no sampler “Quantum 9” here; the base model's own is taken.",),
    ),
    "no settings at all": Case(text="just words, and: more", expected={"prompt": "just words, and: more"}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_line_of_another_program(name: str) -> None:
    case = CASES[name]
    found = restore(case.text)
    loras = [use.model_dump(exclude_none=True) for use in found.request.loras]
    expected = {"loras": [], **case.expected}
    for key, value in expected.items():
        assert (loras if key == "loras" else getattr(found.request, key)) == value, key
    notes = [note for note in found.notes if note != NO_BASE]
    assert (NO_BASE in found.notes) == (" Model: " not in case.text)
    assert len(notes) == len(case.notes)
    for part in case.notes:
        assert any(part in note for note in notes)


def test_the_forms_survive_being_written_and_read_again() -> None:
    for case in CASES.values():
        first = restore(case.text).request
        filled = first.model_copy(
            update={
                "num_inference_steps": first.num_inference_steps or 20,
                "guidance_scale": 7.0 if first.guidance_scale is None else first.guidance_scale,
                "seed": first.seed or 0,
                "width": first.width or 512,
                "height": first.height or 512,
                "sampler": first.sampler or "DDIM",
            }
        )
        text = write_infotext(filled, prompt=filled.prompt, model=filled.base, lora_hashes={})
        again = restore(text)
        # Without a picture, what concerns redrawing isn't in use, and so isn't written.
        idle = {"strength", "mask_blur", "padding_mask_crop"}
        assert again.request.model_dump(exclude=idle) == filled.model_dump(exclude=idle)
        assert again.notes == ()


def test_of_a_lora_named_twice_the_second_tag_stays_in_sight() -> None:
    found = restore("a gate <lora:ink:0.8> <lora:ink:0.3>").request
    assert found.prompt == "a gate <lora:ink:0.3>"
    assert [use.weight for use in found.loras] == [0.8]


@pytest.mark.parametrize(
    ("pair", "name", "value", "note"),
    [
        ("Clip skip: 40", "clip_skip", 12, "Clip skip 40: 12 is taken instead."),
        ("Clip skip: 0", "clip_skip", 1, "Clip skip 0: 1 is taken instead."),
        ("Hires upscale: 9", "hires_scale", 4.0, "second pass 9: 4 is taken instead"),
        ("Seed: x", "seed", None, "Not taken over: seed (x)."),
        ("Seed: -1", "seed", None, "one will be drawn"),
        ("Seed: 1234567890123456", "seed", 1234567890123456, ""),
        ("Seed: 18446744073709551615", "seed", 2**63 - 1, "draws the same noise"),
        ("CFG scale: 45", "guidance_scale", 30.0, "CFG scale 45: 30 is taken instead."),
        ("Denoising strength: 1.2", "strength", 1.0, "Denoising strength 1.2: 1 is taken instead."),
        ("Size: 4096x2731", "width", 2048, "The size 4096 × 2731 is set to 2048 × 1368."),
        ("Size: 4096x2731", "height", 1368, "The size 4096 × 2731 is set to 2048 × 1368."),
        ("Size: 513x770", "height", 768, "The size 513 × 770 is set to 512 × 768."),
        ("Size: 1x1", "width", 32, "is set to 32 × 32"),
        ("Steps: 999", "num_inference_steps", 200, "Steps 999: 200 is taken instead."),
        (f"Denoising strength: {'0' * 5000}x", "strength", 0.75, "Not taken over: denoising strength (000"),
        ("Hires resize: 99999x99999", "hires_scale", 4.0, "second pass"),
    ],
)
def test_what_does_not_fit_is_rounded_and_said(pair: str, name: str, value: object, note: str) -> None:
    key = pair.partition(":")[0]
    usual = {"Steps": "20", "Sampler": "DDIM", "Size": "512x512", "Model": "m"}
    line = ", ".join([f"{other}: {said}" for other, said in usual.items() if other != key] + [pair])
    found = restore(f"x\n{line}")
    assert getattr(found.request, name) == value
    assert any(note in one for one in found.notes) if note else not found.notes


@pytest.mark.parametrize(
    ("text", "prompt", "negative", "steps"),
    [
        (
            "a cat\nNegative prompt: dogs\nSteps: 7, Sampler: DDIM, Seed: 1, Model: m\n"
            "Template: a {cat|dog}\nNegative Template: dogs",
            "a cat",
            "dogs",
            7,
        ),
        ("a cat\nartist: somebody, series: one, rating: safe, score: 9", None, "", None),
        ("artist: somebody, series: one, rating: safe", None, "", None),
        ("a\nSteps: 7, Sampler: DDIM, Seed: 1\n\nsome words behind, and: more", "a", "", 7),
        ("Steps: 7, Sampler: DDIM, Seed: 1, Model: m", "", "", 7),
    ],
)
def test_the_settings_are_found_wherever_they_stand(
    text: str, prompt: str | None, negative: str, steps: int | None
) -> None:
    found = restore(text).request
    assert found.prompt == (text if prompt is None else prompt)
    assert (found.negative_prompt, found.num_inference_steps) == (negative, steps)


def test_a_template_behind_the_settings_is_said() -> None:
    found = restore("a\nSteps: 7, Sampler: DDIM, Seed: 1, Model: m\nTemplate: {a|b}")
    assert found.notes == ("Passed over, behind the settings: “Template: {a|b}”.",)


def test_civitais_resources_name_base_and_loras() -> None:
    found = restore(
        "a tower\nSteps: 31, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 12, Size: 832x1216, Clip skip: 2, "
        'Created Date: 2025-05-01T10:20:30Z, Civitai resources: [{"type":"checkpoint","modelVersionId":1,'
        '"modelName":"Some XL, big","modelVersionName":"v2"},{"type":"lora","weight":0.65,"modelVersionId":2,'
        '"modelName":"Ink Style"},{"type":"lora","weight":1,"modelVersionId":3}], Civitai metadata: {}'
    )
    assert (found.program, found.request.base) == ("Civitai", "Some XL, big")
    assert [(use.slug, use.weight) for use in found.request.loras] == [("ink-style", 0.65)]
    assert found.notes == ("Not taken over: lora (number 3 of Civitai).",)


def test_what_only_other_programs_have_is_said() -> None:
    found = restore(
        "x\nSteps: 20, Sampler: Euler, Seed: 1, Model: m, Hypernet: somename, Styles: \"['Film']\", "
        "Hires CFG Scale: 3"
    )
    assert [note.partition(" (")[0] for note in found.notes] == [
        "Not taken over: a hypernetwork",
        "Not taken over: styles",
        "Not taken over: a CFG scale of the second pass",
    ]


def test_a_long_prompt_is_cut_and_said() -> None:
    found = restore(f"{'cat, ' * 3000}\nSteps: 20, Sampler: Euler, Seed: 1, Model: m")
    assert len(found.request.prompt) == LONGEST_PROMPT
    assert found.notes == (f"The prompt has 14999 characters; its first {LONGEST_PROMPT} are taken over.",)


@pytest.mark.parametrize(
    ("sampler", "written"),
    [
        ("DPM++ 2M", "Sampler: DPM++ 2M, Schedule type: Uniform,"),
        ("DPM++ SDE", "Sampler: DPM++ SDE, Schedule type: Uniform,"),
        ("DPM++ 2M SDE", "Sampler: DPM++ 2M SDE, Schedule type: Uniform,"),
        ("DPM++ 3M SDE", "Sampler: DPM++ 3M SDE, Schedule type: Uniform,"),
        ("DPM2", "Sampler: DPM2, Schedule type: Uniform,"),
        ("DPM2 a Karras", "Sampler: DPM2 a, Schedule type: Karras,"),
        ("Euler", "Sampler: Euler, CFG"),
        ("PNDM", "Sampler: PLMS, CFG"),
    ],
)
def test_a1111_reads_the_sampler_that_was_used(sampler: str, written: str) -> None:
    request = GenerateRequest(prompt="x", sampler=sampler, num_inference_steps=2, guidance_scale=7, seed=1)
    text = write_infotext(request, prompt="x", model="m", lora_hashes={})
    assert written in text
    assert restore(text).request.sampler == sampler
    assert restore(text).notes == ()
