"""One image: its passes through the denoiser with progress, stopping and a check of what comes out.

Every pass is a call of the family's text-to-image pipeline of diffusers: a redrawing starts it on a later
step (`PartialScheduler`), a mask puts the known part back after each step. So one loaded base serves
all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from lora_studio.errors import ConfigError, Diverged, StudioError
from lora_studio.events import ShouldStop
from lora_studio.families.vae import Moments
from lora_studio.families.weights.silence_libraries import quiet_libraries
from lora_studio.generation.defaults import scheduler_for, takes_rescale
from lora_studio.generation.initial_noise import InitialNoise
from lora_studio.generation.partial_scheduler import PartialScheduler
from lora_studio.generation.requests.settled_request import Size, has_second_pass, skipped, stretched
from lora_studio.request import GenerateRequest
from lora_studio.runtime import memory_errors

if TYPE_CHECKING:
    from lora_studio.generation.init_image import InitImage
    from lora_studio.generation.pipelines import LoadedBase

OnStep = Callable[[int, int, PartialScheduler], None]
"""Called after each denoising step with (step, steps), counted over all passes of the image, and where it
is. Some samplers evaluate the model more often than asked."""


@dataclass(frozen=True, kw_only=True)
class ImageJob:
    """One image to draw. `request` has all values filled in and the image's own seeds; `text` is the encoded
    prompt as the pipeline's arguments; `scheduler_config` is the base's own; `hires` the size of the second
    pass, `source` what is redrawn, where there is one."""

    request: GenerateRequest
    text: Mapping[str, torch.Tensor]
    scheduler_config: Mapping[str, Any]
    hires: Size
    source: InitImage | None = None


@dataclass(frozen=True, kw_only=True)
class ProgressReporter:
    """Who looks on: `should_stop` is asked after each step and between passes; `note` hears a sentence."""

    on_step: OnStep
    should_stop: ShouldStop
    note: Callable[[str], None]


def draw(base: LoadedBase, order: ImageJob, watch: ProgressReporter) -> Image.Image | None:
    """The image, or None when it was stopped. Raises ConfigError (a sampler that can't do so many steps),
    OutOfMemory, Diverged."""
    try:
        with quiet_libraries():
            return _Drawing(base, order, watch).picture()
    except (_Stopped, StudioError) as error:
        base.rest()
        if isinstance(error, StudioError):
            raise
        return None


class _Stopped(Exception):
    """Leaves the pipeline's loop without decoding what is there so far."""


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What a mask leaves as it is: its latents, the noise they begin with, and `mask`, 1 where redrawn."""

    latents: torch.Tensor
    noise: torch.Tensor
    mask: torch.Tensor

    def put_back(self, latents: torch.Tensor, course: PartialScheduler, step: int) -> torch.Tensor:
        """`latents` before step `step`, with the known part as noisy as belongs there."""
        known = course.noised(self.latents, self.noise, step)
        return ((1 - self.mask) * known + self.mask * latents).to(latents.dtype)


class _Drawing:
    def __init__(self, base: LoadedBase, order: ImageJob, watch: ProgressReporter) -> None:
        self._base = base
        self._codec = base.parts.codec
        self._order = order
        self._request = order.request
        self._watch = watch
        self._noise = InitialNoise(order.request)
        self._device = base.device.kind
        self._steps_done = 0
        self._steps = 0
        self._size: Size = (order.request.width or 0, order.request.height or 0)
        self._last: torch.Tensor = torch.empty(0)

    def picture(self) -> Image.Image:
        first = self._first_course()
        second = self._second_course() if has_second_pass(self._request) else None
        self._steps = len(first) + (len(second) if second else 0)
        latents, known = self._start(first)
        if second is None:
            drawn = self._codec.to_picture(self._pass(first, latents, known))
            return self._order.source.finish(drawn) if self._order.source else drawn
        if self._request.hires_upscaler == "latent":
            clean = self._larger_latents(self._pass(first, latents, known, decode=False))
        else:
            clean = self._larger_picture(self._pass(first, latents, known))
        self._size = self._order.hires
        self._stop_if_asked()
        second.set_timesteps(second.steps, self._device)
        noisy = second.noised(clean, self._draw_noise(clean.shape))
        return self._codec.to_picture(self._pass(second, noisy))

    def _first_course(self) -> PartialScheduler:
        request, source = self._request, self._order.source
        steps = request.num_inference_steps or 1
        # As diffusers does it: nothing of what a mask covers is seen at full strength.
        from_noise = source is None or (source.mask is not None and request.strength == 1)
        skip = None if from_noise else skipped(steps, request.strength)
        return PartialScheduler(scheduler_for(request, self._order.scheduler_config, steps), steps, skip)

    def _second_course(self) -> PartialScheduler:
        request, own = self._request, self._order.scheduler_config
        steps, strength = request.hires_steps or 1, request.hires_strength
        whole, skip = stretched(steps, strength, own.get("num_train_timesteps", 1000))
        try:
            scheduler = scheduler_for(request, own, whole)
        except ConfigError:  # the sampler has no schedule as fine as that
            whole, skip = steps, skipped(steps, strength)
            scheduler = scheduler_for(request, own, whole)
        return PartialScheduler(scheduler, whole, skip)

    def _start(self, course: PartialScheduler) -> tuple[torch.Tensor, _Known | None]:
        """Where the first pass begins, and what a mask keeps of the source."""
        source = self._order.source
        if source is None:
            size = self._codec.latents_size(*self._size)
            return self._draw_noise((1, self._codec.channels, *size)), None
        clean = self._sampled(source.moments)
        mask = source.latent_mask(self._codec.step)
        if mask is not None:  # as in diffusers; the layout decides over the last bits of what comes of it
            clean = clean.contiguous()
        noise = self._draw_noise(clean.shape)
        course.set_timesteps(course.steps, self._device)
        latents = course.noised(clean, noise) if course.is_partial else noise
        return latents, None if mask is None else _Known(latents=clean, noise=noise, mask=mask.to(clean))

    def _pass(
        self,
        course: PartialScheduler,
        latents: torch.Tensor,
        known: _Known | None = None,
        *,
        decode: bool = True,
    ) -> torch.Tensor:
        """Pixels [1, 3, H, W] in 0..1, or the latents."""
        steps_before = self._steps_done

        def after_step(pipe: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            if known is not None:
                tensors["latents"] = known.put_back(tensors["latents"], course, index + 1)
            self._steps_done = steps_before + index + 1
            self._watch.on_step(self._steps_done, self._steps, course)
            self._stop_if_asked()
            if index + 1 == len(course):
                self._last = tensors["latents"]
                self._check_finite(self._last)
            return tensors

        found = self._call(course, latents, after_step, output_type="pt" if decode else "latent")
        if decode and not _is_finite(found):
            found = self._decoded_exactly()
        return found

    def _call(
        self, course: PartialScheduler, latents: torch.Tensor, after_step: Any, *, output_type: str
    ) -> Any:
        request, pipe = self._request, self._base.pipe
        width, height = self._size
        rescales = request.guidance_rescale and takes_rescale(pipe)
        rescale = {"guidance_rescale": request.guidance_rescale} if rescales else {}
        pipe.scheduler = course
        try:
            with self._errors():
                return pipe(
                    **self._order.text,
                    **rescale,
                    latents=latents,
                    width=width,
                    height=height,
                    num_inference_steps=course.steps,
                    guidance_scale=request.guidance_scale,
                    generator=self._noise.generator,
                    output_type=output_type,
                    callback_on_step_end=after_step,
                ).images
        finally:
            pipe.scheduler = course.scheduler

    def _decoded_exactly(self) -> torch.Tensor:
        """For an autoencoder that overflows in half precision, as that of SDXL does."""
        if self._codec.dtype != torch.float32:
            with self._errors(), torch.no_grad():
                pixels = self._codec.decode_exactly(self._last)
            self._base.rest()
            if _is_finite(pixels):
                self._watch.note(
                    "The picture came out of the autoencoder as no numbers (NaN), so it was decoded again in "
                    "32 bit. LORA_STUDIO_PRECISION=fp32 avoids that."
                )
                return pixels
        raise _no_numbers(self._request)

    def _larger_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """As A1111's "Latent"."""
        size = self._codec.latents_size(*self._order.hires)
        return torch.nn.functional.interpolate(latents, size, mode="bilinear")

    def _larger_picture(self, pixels: torch.Tensor) -> torch.Tensor:
        drawn = self._codec.to_picture(pixels)
        larger = drawn.resize(self._order.hires, Image.Resampling.LANCZOS)
        self._stop_if_asked()
        with self._errors(), torch.no_grad():
            return self._sampled(self._codec.encode(self._codec.to_pixels(larger)))

    def _sampled(self, moments: Moments) -> torch.Tensor:
        noise = self._noise.draw(moments.mean.shape, moments.mean.dtype)
        return self._codec.sample(moments, noise, self._base.parts.dtype)

    def _draw_noise(self, shape: Sequence[int]) -> torch.Tensor:
        return self._noise.draw(shape, self._order.text["prompt_embeds"].dtype).to(self._device)

    def _stop_if_asked(self) -> None:
        if self._watch.should_stop():
            raise _Stopped

    def _check_finite(self, tensor: torch.Tensor) -> None:
        if not _is_finite(tensor):
            raise _no_numbers(self._request)

    def _errors(self) -> AbstractContextManager[None]:
        width, height = self._size
        hint = "Take a smaller size, or close other programs."
        return memory_errors(f"drawing {width} × {height} pixels", hint)


def _is_finite(tensor: torch.Tensor) -> bool:
    return bool(tensor.isfinite().all())


def _no_numbers(request: GenerateRequest) -> Diverged:
    weights = "Lower the weights of the LoRAs, or leave one out" if request.loras else "Try another sampler"
    return Diverged(
        f"The picture of seed {request.seed} came out as no numbers (NaN).",
        f"{weights}. LORA_STUDIO_PRECISION=fp32 helps where half precision is too coarse.",
    )
