"""One image: the pipeline's call with progress, stopping and a check of what comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lora_studio.errors import Diverged
from lora_studio.events import ShouldStop
from lora_studio.families.quiet import quiet_libraries
from lora_studio.request import GenerateRequest
from lora_studio.runtime import memory_errors

if TYPE_CHECKING:
    from PIL import Image

OnStep = Callable[[int, int], None]
"""Called after each denoising step with (step, steps). Some samplers evaluate the model more often than
asked."""


def draw(
    pipe: Any, request: GenerateRequest, prompt: str, *, on_step: OnStep, should_stop: ShouldStop
) -> Image.Image | None:
    """The image of `request` (all values filled in) at its own seed; None when it was stopped, which is asked
    after each step. Noise comes from a generator on the CPU, so that a seed means the same on every device.
    Raises OutOfMemory, Diverged."""
    import torch

    def after_step(pipe: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        on_step(index + 1, pipe.num_timesteps)
        if should_stop():
            raise _Stopped
        if index + 1 == pipe.num_timesteps:
            _check_finite(tensors["latents"], request)
        return tensors

    doing = f"drawing {request.width} × {request.height} pixels"
    try:
        with memory_errors(doing, "Take a smaller size, or close other programs."), quiet_libraries():
            pixels = pipe(
                prompt,
                negative_prompt=request.negative_prompt,
                width=request.width,
                height=request.height,
                num_inference_steps=request.num_inference_steps,
                guidance_scale=request.guidance_scale,
                generator=torch.Generator().manual_seed(request.seed or 0),
                output_type="pt",
                callback_on_step_end=after_step,
            ).images
    except _Stopped:
        return None
    _check_finite(pixels, request)
    processor = pipe.image_processor
    picture: Image.Image = processor.numpy_to_pil(processor.pt_to_numpy(pixels))[0]
    return picture


class _Stopped(Exception):
    """Leaves the pipeline's loop without decoding what is there so far."""


def _check_finite(tensor: Any, request: GenerateRequest) -> None:
    if bool(tensor.isfinite().all()):
        return
    cause = "Lower the weights of the LoRAs, or leave one out." if request.loras else "Try another sampler."
    raise Diverged(f"The picture of seed {request.seed} came out as no numbers (NaN).", cause)
