"""The named endpoints that make pictures. They wait in the page's queue, with its limits."""

from __future__ import annotations

from typing import Any

from gradio.context import LocalContext

from lora_studio.catalog import SAMPLERS
from lora_studio.errors import ConfigError, StudioError
from lora_studio.grids.grid_request import GridRequest, GridResult
from lora_studio.jobs.generation_queue import GenerationJob, GenerationResult, GenerationState
from lora_studio.prompts.styles import STYLES
from lora_studio.request import GenerateRequest
from lora_studio.studio import Studio
from lora_studio.ui.client_input.picture_input import take_picture
from lora_studio.ui.client_input.validate import (
    mapping,
    safe_base,
    safe_grid,
    safe_id,
    safe_slug,
    shown,
    text,
)
from lora_studio.ui.endpoints.schemas import (
    EncodedImage,
    GenerationStatus,
    GridAxis,
    GridOptions,
    GridPictures,
    ImageFile,
    ImageOptions,
    LoraWeight,
    PictureSettings,
    RedrawOptions,
    StyleFacts,
    encoded_image,
    generation_status,
    grid_pictures,
    image_file,
)
from lora_studio.ui.generate.generate_requests import sampler_choices, use_request
from lora_studio.ui.generate.png_info import recalled
from lora_studio.ui.upload.training_summary import DEFAULT_BASE

LONGEST_NAME = 100


class ImageEndpoints:
    """Endpoints of pictures. Each public method is one endpoint of the same name."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def generate(
        self,
        prompt: str,
        loras: list[LoraWeight] | None = None,
        base: str = DEFAULT_BASE,
        negative_prompt: str = "",
        seed: int | None = None,
        count: int = 1,
        options: ImageOptions | None = None,
    ) -> list[ImageFile]:
        """Make images and return them as files with their settings inside.

        Args:
            prompt: What the picture shows; weights, BREAK, wildcards and <lora:...> tags work as on the page.
            loras: LoRAs with weights, as [{"slug": "ink", "weight": 0.8}]; any number.
            base: The base model, a name from the catalog or from models/base.
            negative_prompt: What it must not show.
            seed: Same seed, same picture. Empty: drawn.
            count: How many; image i uses seed + i.
            options: num_inference_steps, guidance_scale, width, height, sampler, insert_trigger, clip_skip,
                guidance_rescale, distilled_guidance_scale, shift, variation_seed, variation_strength,
                hires_scale, hires_steps, hires_strength, hires_upscaler, image_format.
        """
        values = {"prompt": prompt, "loras": loras, "base": base, "negative_prompt": negative_prompt}
        request = self._request(options, ImageOptions, **values, seed=seed, count=count)
        return [image_file(record) for record in self._made(request).images]

    def generate_base64(
        self,
        prompt: str,
        loras: list[LoraWeight] | None = None,
        base: str = DEFAULT_BASE,
        negative_prompt: str = "",
        seed: int | None = None,
        count: int = 1,
        options: ImageOptions | None = None,
    ) -> list[EncodedImage]:
        """Make images and return each as {"image": base64 of the file, "seed": ..., "infotext": ...}.

        Args:
            prompt: What the picture shows; weights, BREAK, wildcards and <lora:...> tags work as on the page.
            loras: LoRAs with weights, as [{"slug": "ink", "weight": 0.8}]; any number.
            base: The base model, a name from the catalog or from models/base.
            negative_prompt: What it must not show.
            seed: Same seed, same picture. Empty: drawn.
            count: How many; image i uses seed + i.
            options: As of generate.
        """
        values = {"prompt": prompt, "loras": loras, "base": base, "negative_prompt": negative_prompt}
        request = self._request(options, ImageOptions, **values, seed=seed, count=count)
        return [encoded_image(record) for record in self._made(request).images]

    def img2img(
        self,
        image: str,
        prompt: str,
        mask: str | None = None,
        loras: list[LoraWeight] | None = None,
        seed: int | None = None,
        count: int = 1,
        options: RedrawOptions | None = None,
    ) -> list[ImageFile]:
        """Redraw a picture, or only what a mask leaves free, and return files with their settings inside.

        Args:
            image: The picture: an upload (with the Python client, handle_file(path)) or a data URL.
            prompt: What the picture shall show.
            mask: White where it is redrawn: an upload or a data URL. Empty: all of it.
            loras: LoRAs with weights, as [{"slug": "ink", "weight": 0.8}]; any number.
            seed: Same seed, same picture. Empty: drawn.
            count: How many; image i uses seed + i.
            options: As of generate, and base, negative_prompt, strength (0 to 1, how far it may go from the
                picture), mask_blur, padding_mask_crop.
        """
        settings = self._studio.settings
        values = {"prompt": prompt, "loras": loras, "seed": seed, "count": count}
        request = self._request(options, RedrawOptions, **values)  # what is wrong is said before the upload
        pictures = {"image": take_picture(image, settings)}
        if mask not in (None, ""):
            pictures["mask_image"] = take_picture(mask, settings, mask=True)
        made = self._made(request.model_copy(update=pictures))
        return [image_file(record) for record in made.images]

    def grid(
        self,
        prompt: str,
        x: GridAxis,
        y: GridAxis | None = None,
        z: GridAxis | None = None,
        loras: list[LoraWeight] | None = None,
        seed: int | None = None,
        options: GridOptions | None = None,
    ) -> GridPictures:
        """Make a picture for each combination of values of up to three settings, and a labelled sheet of all.

        Args:
            prompt: What the pictures show.
            x: What changes to the right, as {"parameter": "lora_weight:ink", "values": "0-1 [5]"};
                docs/guide/drawing.md lists the parameters.
            y: What changes downwards.
            z: What changes from one block to the next.
            loras: LoRAs with weights, as [{"slug": "ink", "weight": 0.8}]; any number.
            seed: Same seed, same pictures. Empty: drawn once for all.
            options: As of generate, and base, negative_prompt.
        """
        request = self._request(options, GridOptions, prompt=prompt, loras=loras, seed=seed)
        axes = {name: _axis(axis, name) for name, axis in (("x", x), ("y", y), ("z", z)) if axis is not None}
        wanted = safe_grid(GridRequest.model_validate({"request": request, **axes}), self._studio.settings)
        ticket = self._studio.submit_grid(wanted, session=session_of_caller())
        made = result_of(self._studio.generation_queue.wait(ticket.id)).grid
        return grid_pictures(made or GridResult(sheet=None, cells=(), columns=0, rows=0))

    def interrupt(self, ticket: str = "") -> list[GenerationStatus]:
        """Stop generations within a step; what is finished of them is kept, and their calls return with it.

        Args:
            ticket: From list_generations. Empty: all that this client has asked for.
        """
        generation_queue = self._studio.generation_queue
        if ticket not in (None, ""):
            return [generation_status(generation_queue.cancel(safe_id(ticket, "generation")))]
        session = session_of_caller()
        if not session:
            raise ConfigError(
                "Which generation is to be stopped?",
                "Name its ticket; list_generations has them.",
                field="ticket",
            )
        return [generation_status(stopped) for stopped in generation_queue.cancel_all_of(session)]

    def list_generations(self) -> list[GenerationStatus]:
        """The generations that wait, run or have ended lately, newest first: ticket, state (waiting, running,
        finished, stopped or failed), how many come before it, progress in percent, image, step, notes."""
        return [generation_status(ticket) for ticket in self._studio.generation_queue.tickets()]

    def list_styles(self) -> list[StyleFacts]:
        """The styles by purpose; in their prompt, {prompt} is where one's own goes."""
        return [
            StyleFacts(
                key=style.key,
                title=style.title,
                purpose=style.purpose,
                prompt=style.prompt,
                negative_prompt=style.negative,
            )
            for style in STYLES.values()
        ]

    def list_samplers(self, base: str = "") -> list[str]:
        """The samplers' names, for options.

        Args:
            base: The base model to draw with: the names that fit it. Empty: all of them.
        """
        if not base:
            return list(SAMPLERS)
        name = safe_base(base, self._studio.settings)
        return [sampler for _, sampler in sampler_choices(name, self._studio.settings) if sampler]

    def read_settings(self, picture: str) -> PictureSettings:
        """The settings inside a picture that was made here, in A1111 or in Forge, as `generate` takes them.

        Args:
            picture: A PNG, JPEG or WebP: an upload (with the Python client, handle_file(path)) or a data URL.

        Returns:
            The request with all its settings, a sentence for each thing that it names and that is not here,
            and the picture's infotext.
        """
        restored, infotext = recalled(self._studio, picture)
        request = restored.request
        _, missing = use_request(self._studio, request)
        return PictureSettings(
            request=request.model_dump(mode="json"),
            missing=[*missing, *restored.all_notes],
            infotext=infotext,
        )

    def _made(self, request: GenerateRequest) -> GenerationResult:
        ticket = self._studio.submit(request, session=session_of_caller())
        return result_of(self._studio.generation_queue.wait(ticket.id))

    def _named(self, use: dict[str, Any]) -> dict[str, Any]:
        """The use with a slug, where its LoRA is called by its title."""
        name = use.get("slug")
        return {**use, "slug": self._studio.lora_called(name)} if isinstance(name, str) else use

    def _request(self, options: Any, schema: type, **values: Any) -> GenerateRequest:
        chosen = mapping(options, "options")
        unknown = set(chosen) - set(schema.__annotations__)
        if unknown:
            raise ConfigError(
                f"options: there is no setting called {sorted(unknown)[0]!r}.",
                f"There are {', '.join(schema.__annotations__)}.",
                field="options",
            )
        values |= chosen
        values["base"] = safe_base(values.get("base", DEFAULT_BASE), self._studio.settings)
        values["loras"] = [self._named(use) for use in _loras(values["loras"])]
        values["sampler"] = text(values.get("sampler", ""), "sampler", longest=LONGEST_NAME)
        for name, value in values.items():
            if isinstance(value, bool) and name != "insert_trigger":  # elsewhere it would count as 0 or 1
                raise ConfigError(f"{name}: true and false mean nothing here.", field=name)
        request = GenerateRequest(**values)
        for use in request.loras:
            self._studio.gallery.lora(safe_slug(use.slug))
        return request


def _loras(given: Any) -> list[Any]:
    if given is None:
        return []
    if not isinstance(given, list | tuple) or not all(isinstance(use, dict) for use in given):
        raise ConfigError(
            f"loras: a list of LoRAs is needed (got {shown(given)}).",
            'Write it as [{"slug": "ink", "weight": 0.8}].',
            field="loras",
        )
    return list(given)


def _axis(given: Any, name: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ConfigError(
            f"{name}: an axis is needed (got {shown(given)}).",
            'Write it as {"parameter": "seed", "values": "1, 2"}.',
            field=name,
        )
    return given


def result_of(ticket: GenerationJob) -> GenerationResult:
    """The result of a generation that has ended. Raises StudioError when it failed."""
    if ticket.state is GenerationState.FAILED:
        raise StudioError(ticket.message, ticket.hint)
    return ticket.made


def session_of_caller() -> str:
    """Gradio's session of the present call; empty without one."""
    return str(getattr(LocalContext.request.get(None), "session_hash", None) or "")
