"""What other programs write into their pictures, in their own words."""

from __future__ import annotations

import json

SWARM = {
    "sui_image_params": {
        "prompt": "a photo of a cat",
        "negativeprompt": "dog",
        "model": "OfficialStableDiffusion/sd_xl_base_1.0",
        "seed": 2042464333123,
        "steps": 25,
        "cfgscale": 7.5,
        "aspectratio": "Custom",
        "width": 1024,
        "height": 768,
        "sampler": "dpmpp_2m_sde_gpu",
        "scheduler": "karras",
        "loras": ["styles/Ink Style", "b-2"],
        "loraweights": ["0.8", "1"],
        "vae": "sdxl_vae.safetensors",
        "swarm_version": "0.9.5.2",
    },
    "sui_extra_data": {"date": "2025-03-15", "generation_time": "4.84 sec"},
    "sui_models": [{"name": "sd_xl_base_1.0.safetensors", "param": "model", "hash": "0xd7a9"}],
}


FOOOCUS = {
    "adm_guidance": "(1.5, 0.8, 0.3)",
    "base_model": "juggernautXL_v8",
    "base_model_hash": "aeb7e9e689",
    "clip_skip": 2,
    "full_prompt": ["a cat, cinematic", "more"],
    "guidance_scale": 4.0,
    "lora_combined_1": "sd_xl_offset : 0.1",
    "loras": [["sd_xl_offset_example-lora_1.0", 0.1, "4852686128"]],
    "metadata_scheme": "fooocus",
    "negative_prompt": "blur",
    "performance": "Speed",
    "prompt": "a cat",
    "refiner_model": "None",
    "resolution": "(1152, 896)",
    "sampler": "dpmpp_2m_sde_gpu",
    "scheduler": "karras",
    "seed": "4159895726312427221",
    "steps": 30,
    "styles": "['Fooocus V2']",
    "vae": "Default (model)",
    "version": "Fooocus v2.5.5",
}


FOOOCUS_LINE = (
    "a cat, cinematic\nNegative prompt: blur, noise\nSteps: 30, Sampler: DPM++ 2M SDE Karras, "
    "Seed: 4159895726312427221, Size: 1152x896, CFG scale: 4, Sharpness: 2, "
    'ADM Guidance: "(1.5, 0.8, 0.3)", Model: juggernautXL_v8, Model hash: aeb7e9e689, Performance: Speed, '
    "Scheduler: karras, VAE: Default (model), Raw prompt: a cat, Raw negative prompt: blur, "
    'Lora hashes: "sd_xl_offset: 4852686128", Lora weights: "sd_xl_offset: 0.1", Version: Fooocus v2.5.5'
)


INVOKE = {
    "generation_mode": "sdxl_txt2img",
    "positive_prompt": "a lighthouse at dawn",
    "negative_prompt": "fog",
    "width": 1024,
    "height": 1000,
    "seed": 777,
    "cfg_scale": 7.5,
    "cfg_rescale_multiplier": 0.0,
    "steps": 25,
    "scheduler": "dpmpp_2m_k",
    "clip_skip": 0,
    "model": {"key": "x", "hash": "blake3:ab", "name": "stable-diffusion-xl", "base": "sdxl", "type": "main"},
    "loras": [{"model": {"key": "y", "name": "Ink Style", "base": "sdxl", "type": "lora"}, "weight": 0.75}],
    "app_version": "5.4.0",
}


INVOKE_OLD = {
    "model": "stable diffusion",
    "model_weights": "stable-diffusion-1.5",
    "app_id": "invoke-ai/InvokeAI",
    "app_version": "2.3.5",
    "image": {
        "prompt": [{"prompt": "a castle [fog]", "weight": 1.0}],
        "steps": 50,
        "cfg_scale": 7.5,
        "threshold": 0,
        "width": 512,
        "height": 768,
        "seed": 3,
        "sampler": "k_euler_a",
        "type": "txt2img",
    },
}


NOVELAI = {
    "prompt": "1girl, forest",
    "steps": 28,
    "height": 1216,
    "width": 832,
    "scale": 5.0,
    "uncond_scale": 1.0,
    "cfg_rescale": 0.2,
    "seed": 1234567890,
    "n_samples": 1,
    "noise_schedule": "karras",
    "sampler": "k_dpmpp_2s_ancestral",
    "sm": False,
    "uc": "lowres, bad",
    "request_type": "PromptGenerateRequest",
}


DRAW_THINGS = {
    "c": 'a "red" fox & friends',
    "uc": "blur",
    "model": "sd_v1.5_f16.ckpt",
    "sampler": "DPM++ 2M Karras",
    "scale": 7.5,
    "seed": 4294967295,
    "size": "512x768",
    "steps": 20,
    "strength": 1,
    "lora": [{"model": "ink_style_lora_f16.ckpt", "weight": 0.6}],
}


EASY = {
    "prompt": "a barn",
    "negative_prompt": "people",
    "seed": 42,
    "used_random_seed": "True",
    "use_stable_diffusion_model": r"C:\models\dreamshaper_8.safetensors",
    "clip_skip": True,
    "use_vae_model": "",
    "sampler_name": "dpmpp_2m",
    "width": 512,
    "height": 640,
    "num_inference_steps": 25,
    "guidance_scale": 7.5,
    "use_lora_model": ["ink"],
    "lora_alpha": [0.5],
}


EASY_TITLES = {
    "Prompt": "a barn",
    "Negative Prompt": "people",
    "Seed": "42",
    "Stable Diffusion model": "dreamshaper_8",
    "Clip Skip": "False",
    "VAE model": "None",
    "Sampler": "euler_a",
    "Width": "512",
    "Height": "640",
    "Steps": "25",
    "Guidance Scale": "7.5",
    "LoRA model": "None",
}


def node(kind: str, **inputs: object) -> dict[str, object]:
    """One of ComfyUI's."""
    return {"class_type": kind, "inputs": inputs}


COMFY = {
    "3": node(
        "KSampler",
        seed=156680208700286,
        steps=20,
        cfg=8,
        sampler_name="dpmpp_2m",
        scheduler="karras",
        denoise=1,
        model=["10", 0],
        positive=["6", 0],
        negative=["7", 0],
        latent_image=["5", 0],
    ),
    "4": node("CheckpointLoaderSimple", ckpt_name="sd\\v1-5-pruned.safetensors"),
    "5": node("EmptyLatentImage", width=512, height=768, batch_size=1),
    "6": node("CLIPTextEncode", text="a bottle", clip=["12", 0]),
    "7": node("CLIPTextEncode", text=["13", 0], clip=["12", 0]),
    "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
    "9": node("SaveImage", filename_prefix="x", images=["8", 0]),
    "10": node(
        "LoraLoader",
        lora_name="ink.safetensors",
        strength_model=0.8,
        strength_clip=0.5,
        model=["11", 0],
        clip=["11", 1],
    ),
    "11": node(
        "LoraLoader",
        lora_name="b-2.safetensors",
        strength_model=1,
        strength_clip=1,
        model=["4", 0],
        clip=["4", 1],
    ),
    "12": node("CLIPSetLastLayer", stop_at_clip_layer=-2, clip=["10", 1]),
    "13": node("PrimitiveString", value="text, watermark"),
}


CUSTOM = {
    "1": node("UNETLoader", unet_name="flux1-dev.safetensors"),
    "2": node("CLIPTextEncode", text="a hill", clip=["9", 0]),
    "3": node("FluxGuidance", guidance=3.5, conditioning=["2", 0]),
    "4": node("BasicGuider", model=["1", 0], conditioning=["3", 0]),
    "5": node("RandomNoise", noise_seed=99),
    "6": node("KSamplerSelect", sampler_name="euler"),
    "7": node("BasicScheduler", scheduler="simple", steps=20, denoise=1, model=["1", 0]),
    "8": node("EmptySD3LatentImage", width=1024, height=1024, batch_size=1),
    "10": node(
        "SamplerCustomAdvanced",
        noise=["5", 0],
        guider=["4", 0],
        sampler=["6", 0],
        sigmas=["7", 0],
        latent_image=["8", 0],
    ),
    "11": node("VAEDecode", samples=["10", 0], vae=["12", 0]),
    "12": node("VAELoader", vae_name="ae.safetensors"),
    "13": node("SaveImage", images=["11", 0]),
}


XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description><exif:UserComment><rdf:Alt>'
    '<rdf:li xml:lang="x-default">{}</rdf:li></rdf:Alt></exif:UserComment></rdf:Description></rdf:RDF>'
    "</x:xmpmeta>"
)


def xmp(said: object) -> str:
    text = json.dumps(said)
    return XMP.format(text.replace("&", "&amp;").replace('"', "&quot;"))
