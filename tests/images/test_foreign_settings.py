"""Pictures of other programs, with settings as those programs write them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lora_studio.errors import UnknownFormat
from lora_studio.images.foreign_request import NO_BASE
from lora_studio.images.image_metadata import read_settings
from tests.support.foreign_programs import (
    COMFY,
    CUSTOM,
    DRAW_THINGS,
    EASY,
    EASY_TITLES,
    FOOOCUS,
    FOOOCUS_LINE,
    INVOKE,
    INVOKE_OLD,
    NOVELAI,
    SWARM,
    xmp,
)


@dataclass(frozen=True, kw_only=True)
class Case:
    texts: Mapping[str, str]
    program: str
    expected: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    loras: tuple[tuple[str, float, float | None], ...] = field(default=())


CASES = {
    "SwarmUI": Case(
        texts={"parameters": json.dumps(SWARM)},
        program="SwarmUI",
        expected={
            "prompt": "a photo of a cat",
            "negative_prompt": "dog",
            "base": "sd_xl_base_1.0",
            "seed": 2042464333123,
            "num_inference_steps": 25,
            "guidance_scale": 7.5,
            "width": 1024,
            "height": 768,
            "sampler": "DPM++ 2M SDE Karras",
        },
        loras=(("ink-style", 0.8, None), ("b-2", 1.0, None)),
        notes=("the autoencoder (sdxl_vae",),
    ),
    "Fooocus": Case(
        texts={"parameters": json.dumps(FOOOCUS), "fooocus_scheme": "fooocus"},
        program="Fooocus",
        expected={
            "prompt": "a cat",
            "negative_prompt": "blur",
            "base": "juggernautXL_v8",
            "seed": 4159895726312427221,
            "num_inference_steps": 30,
            "guidance_scale": 4.0,
            "width": 1152,
            "height": 896,
            "clip_skip": 2,
            "sampler": "DPM++ 2M SDE Karras",
        },
        loras=(("sd-xl-offset-example-lora-1-0", 0.1, None),),
        notes=("styles", "ADM guidance"),
    ),
    "Fooocus in A1111's form": Case(
        texts={"parameters": FOOOCUS_LINE, "fooocus_scheme": "a1111"},
        program="Fooocus",
        expected={
            "prompt": "a cat",
            "negative_prompt": "blur",
            "base": "juggernautXL_v8",
            "seed": 4159895726312427221,
            "width": 1152,
            "sampler": "DPM++ 2M SDE Karras",
        },
        loras=(("sd-xl-offset", 0.1, None),),
        notes=("the autoencoder", "Passed over: Sharpness, ADM Guidance, Performance."),
    ),
    "InvokeAI": Case(
        texts={"invokeai_metadata": json.dumps(INVOKE)},
        program="InvokeAI",
        expected={
            "prompt": "a lighthouse at dawn",
            "negative_prompt": "fog",
            "base": "stable-diffusion-xl",
            "seed": 777,
            "num_inference_steps": 25,
            "guidance_scale": 7.5,
            "width": 1024,
            "height": 1000,
            "clip_skip": 1,
            "sampler": "DPM++ 2M Karras",
        },
        loras=(("ink-style", 0.75, None),),
    ),
    "InvokeAI 2": Case(
        texts={"sd-metadata": json.dumps(INVOKE_OLD), "Dream": "a castle [fog] -s 50"},
        program="InvokeAI",
        expected={
            "prompt": "a castle",
            "negative_prompt": "fog",
            "base": "stable-diffusion-1.5",
            "seed": 3,
            "num_inference_steps": 50,
            "sampler": "Euler a",
            "height": 768,
        },
    ),
    "NovelAI": Case(
        texts={
            "Title": "AI generated image",
            "Description": "1girl, forest",
            "Software": "NovelAI",
            "Source": "Stable Diffusion XL C1E1DE52",
            "Comment": json.dumps(NOVELAI),
        },
        program="NovelAI",
        expected={
            "prompt": "1girl, forest",
            "negative_prompt": "lowres, bad",
            "seed": 1234567890,
            "num_inference_steps": 28,
            "guidance_scale": 5.0,
            "guidance_rescale": 0.2,
            "width": 832,
            "height": 1216,
            "sampler": "DPM++ SDE Karras",
        },
        notes=(
            "NovelAI's own model (Stable Diffusion XL C1E1DE52)",
            "DPM++ SDE Karras is the nearest",
            NO_BASE,
        ),
    ),
    "Draw Things": Case(
        texts={"XML:com.adobe.xmp": xmp(DRAW_THINGS)},
        program="Draw Things",
        expected={
            "prompt": 'a "red" fox & friends',
            "negative_prompt": "blur",
            "base": "sd_v1.5_f16",
            "seed": 4294967295,
            "num_inference_steps": 20,
            "guidance_scale": 7.5,
            "width": 512,
            "height": 768,
            "sampler": "DPM++ 2M Karras",
        },
        loras=(("ink-style-lora-f16", 0.6, None),),
    ),
    "Easy Diffusion": Case(
        texts={key: str(value) for key, value in EASY.items()}
        | {"use_lora_model": "ink", "lora_alpha": "0.5"},
        program="Easy Diffusion",
        expected={
            "prompt": "a barn",
            "negative_prompt": "people",
            "base": "dreamshaper_8",
            "seed": 42,
            "num_inference_steps": 25,
            "guidance_scale": 7.5,
            "width": 512,
            "height": 640,
            "clip_skip": 2,
            "sampler": "DPM++ 2M",
        },
        loras=(("ink", 0.5, None),),
    ),
    "Easy Diffusion with titles": Case(
        texts=EASY_TITLES,
        program="Easy Diffusion",
        expected={
            "prompt": "a barn",
            "base": "dreamshaper_8",
            "seed": 42,
            "clip_skip": 1,
            "sampler": "Euler a",
        },
    ),
    "ComfyUI": Case(
        texts={"prompt": json.dumps(COMFY), "workflow": json.dumps({"nodes": []})},
        program="ComfyUI",
        expected={
            "prompt": "a bottle",
            "negative_prompt": "text, watermark",
            "base": "v1-5-pruned",
            "seed": 156680208700286,
            "num_inference_steps": 20,
            "guidance_scale": 8.0,
            "width": 512,
            "height": 768,
            "clip_skip": 2,
            "strength": 0.75,
            "sampler": "DPM++ 2M Karras",
        },
        loras=(("b-2", 1.0, None), ("ink", 0.8, 0.5)),
    ),
    "ComfyUI, samplers of parts": Case(
        texts={"prompt": json.dumps(CUSTOM)},
        program="ComfyUI",
        expected={
            "prompt": "a hill",
            "negative_prompt": "",
            "base": "flux1-dev",
            "seed": 99,
            "num_inference_steps": 20,
            "width": 1024,
            "sampler": "Euler SGM Uniform",
        },
        notes=("Euler SGM Uniform is the nearest", "the autoencoder"),
    ),
    "Forge": Case(
        texts={
            "parameters": "a kiosk\nSteps: 24, Sampler: Euler, Schedule type: SGM Uniform, CFG scale: 3.5, "
            "Seed: 4, Size: 896x1152, Model: somemodel_v3, Version: f2.0.1v1.10.1-previous-600-g1234567",
            # Savers for ComfyUI and some sites leave a graph as well.
            "prompt": json.dumps(COMFY),
        },
        program="Forge",
        expected={"prompt": "a kiosk", "base": "somemodel_v3", "sampler": "Euler SGM Uniform"},
    ),
    "A1111": Case(
        texts={
            "parameters": "a kiosk\nSteps: 24, Sampler: DDIM, CFG scale: 3, Seed: 4, Size: 64x64, Model: m"
        },
        program="A1111",
        expected={"prompt": "a kiosk", "base": "m"},
    ),
}


def png(folder: Path, texts: Mapping[str, str]) -> Path:
    info = PngInfo()
    for key, text in texts.items():
        if key.startswith("XML:"):
            info.add_itxt(key, text)
        else:
            info.add_text(key, text)
    path = folder / "picture.png"
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


@pytest.mark.parametrize("name", CASES)
def test_the_settings_of_another_program(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    found = read_settings(png(tmp_path, case.texts))
    assert found.program == case.program
    for key, value in case.expected.items():
        assert getattr(found.request, key) == value, key
    assert [(use.slug, use.weight, use.text_encoder_weight) for use in found.request.loras] == list(
        case.loras
    )
    assert len(found.notes) == len(case.notes), found.notes
    for part in case.notes:
        assert any(part in note for note in found.notes), found.notes
    assert found.all_notes[0] == f"These are settings of {case.program}."


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
@pytest.mark.parametrize("order", ["utf-16-be", "utf-16-le"])
@pytest.mark.parametrize(
    ("said", "program"), [(SWARM, "SwarmUI"), (EASY, "Easy Diffusion"), (COMFY, "ComfyUI")]
)
def test_json_in_a_user_comment(
    tmp_path: Path, said: Mapping[str, Any], program: str, order: str, form: str
) -> None:
    exif = Image.Exif()
    exif[0x8769] = {0x9286: b"UNICODE\0" + json.dumps(said).encode(order)}
    path = tmp_path / "picture"
    Image.new("RGB", (8, 8)).save(path, format=form, exif=exif)
    assert read_settings(path).program == program


def test_comfyuis_graph_in_a_webp(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0110] = f"prompt:{json.dumps(COMFY)}"
    exif[0x010F] = "workflow:{}"
    path = tmp_path / "picture.webp"
    Image.new("RGB", (8, 8)).save(path, exif=exif)
    assert read_settings(path).request.prompt == "a bottle"


def test_of_two_passes_the_first_is_meant(tmp_path: Path) -> None:
    again = {**COMFY["3"]["inputs"], "denoise": 0.5, "steps": 12, "latent_image": ["21", 0]}  # type: ignore[dict-item]
    graph = {
        **COMFY,
        "20": {"class_type": "KSampler", "inputs": again},
        "21": {"class_type": "LatentUpscale", "inputs": {"samples": ["3", 0], "width": 1024, "height": 1536}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["20", 0], "vae": ["4", 2]}},
    }
    found = read_settings(png(tmp_path, {"prompt": json.dumps(graph)}))
    assert (found.request.num_inference_steps, found.request.width, found.request.strength) == (20, 512, 0.75)
    assert any("2 passes" in note for note in found.notes)


def test_a_sampler_that_nothing_leads_to_has_settings_all_the_same(tmp_path: Path) -> None:
    """As in a part of a graph, and where a prompt comes from a node of its own making."""
    inputs = {"seed": 1, "steps": 20, "cfg": 7, "sampler_name": "euler", "scheduler": "karras"}
    graph = {"3": {"class_type": "KSampler", "inputs": inputs}}
    found = read_settings(png(tmp_path, {"prompt": json.dumps(graph), "workflow": "{}"}))
    drawn = found.request
    assert (found.program, drawn.prompt, drawn.seed, drawn.num_inference_steps) == ("ComfyUI", "", 1, 20)
    assert (drawn.guidance_scale, drawn.sampler) == (7.0, "Euler Karras")
    assert [note for note in found.notes if "prompt" in note]
    nothing = {"3": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512}}}
    found = read_settings(png(tmp_path, {"prompt": json.dumps(nothing)}))
    assert any("no sampler" in note for note in found.notes)


def test_a_graph_in_a_circle_ends(tmp_path: Path) -> None:
    graph = {**COMFY, "4": {"class_type": "X", "inputs": {"model": ["10", 0], "clip": ["3", 0]}}}
    found = read_settings(png(tmp_path, {"prompt": json.dumps(graph)}))
    assert found.request.prompt == "a bottle"
    assert NO_BASE in found.notes


@pytest.mark.parametrize(
    "text",
    [
        '{"something": "else"}',
        '{"sui_image_params": []}',
        '{"sui_image_params": "x"}',
        '{"a":' * 100_000,
        '{"seed": ' + "9" * 5000 + "}",
    ],
)
def test_json_of_nobody_is_no_prompt(tmp_path: Path, text: str) -> None:
    with pytest.raises(UnknownFormat):
        read_settings(png(tmp_path, {"parameters": text}))


ODD = (None, True, -1, 1e999, 10**40, "x" * 10_000, "\ud800", "nan", [], {}, [[]], {"a": 1}, "1e999")


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd)[:20])
@pytest.mark.parametrize(
    ("said", "chunk"),
    [(SWARM, "parameters"), (FOOOCUS, "parameters"), (INVOKE, "invokeai_metadata"), (NOVELAI, "Comment")],
    ids=["SwarmUI", "Fooocus", "InvokeAI", "NovelAI"],
)
def test_no_odd_value_refuses_the_rest(
    tmp_path: Path, said: Mapping[str, Any], chunk: str, odd: object
) -> None:
    inner = said.get("sui_image_params", said)
    for key in inner:
        changed = {**inner, key: odd}
        whole = {"sui_image_params": changed} if "sui_image_params" in said else changed
        try:
            found = read_settings(png(tmp_path, {chunk: json.dumps(whole), "Software": "NovelAI"}))
        except UnknownFormat:
            assert key in ("prompt", "base_model", "uc", "steps")  # by these, its program is known
            continue
        assert key == "prompt" or key == "positive_prompt" or found.request.prompt


@pytest.mark.parametrize(
    ("said", "chunk", "key", "prompt"),
    [
        (INVOKE, "invokeai_metadata", "positive_prompt", "a cat++, forest"),
        (INVOKE, "invokeai_metadata", "negative_prompt", "(a blurred cat)1.3"),
        (NOVELAI, "Comment", "prompt", "{{1girl}}, forest"),
        (NOVELAI, "Comment", "uc", "1.2::lowres ::"),
    ],
)
def test_weights_in_a_programs_own_marks_are_said(
    tmp_path: Path, said: Mapping[str, Any], chunk: str, key: str, prompt: str
) -> None:
    def notes(values: Mapping[str, Any]) -> set[str]:
        return set(read_settings(png(tmp_path, {chunk: json.dumps(values), "Software": "NovelAI"})).notes)

    (more,) = notes({**said, key: prompt}) - notes(said)
    assert "weights" in more
