"""Make the adapters in a pipeline equal to the wanted list, without reloading the base.

Invariants, each a test: after [A, B] the list [B] draws as a fresh pipeline with [B] does, to the bit;
the empty list draws as the untouched base; the order of the list doesn't matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lora_studio.errors import BrokenFile, StudioError, UnknownFormat
from lora_studio.families.quiet import quiet_libraries
from lora_studio.generation.loras import WantedLora, check_fit, layer_name, layer_shapes, split_name
from lora_studio.runtime import memory_errors

KEPT = 8
"""Adapters that stay in memory for a quick swap back, the active ones included."""
COMPONENTS = ("unet", "text_encoder")


@dataclass(frozen=True)
class Adapter:
    """A LoRA in memory: the hash of its tensors, and the PEFT layers that carry it, by Kohya's name."""

    tensor_hash: str
    layers: Mapping[str, Any]


class Stack:
    """The adapters of one pipeline. `base` is the base's name, for messages."""

    def __init__(self, pipe: Any, base: str, *, kept: int = KEPT) -> None:
        self._pipe = pipe
        self._base = base
        self._kept = kept
        self._shapes = layer_shapes(pipe)
        self._adapters: dict[str, Adapter] = {}  # by slug; the latest used comes last
        self._active: dict[str, float] | None = {}  # weights by slug; None: not known, after a failure

    @property
    def loaded(self) -> tuple[str, ...]:
        """Slugs in memory, active or not; the latest used comes last."""
        return tuple(self._adapters)

    def apply(self, wanted: Sequence[WantedLora]) -> None:
        """Load what is missing or has changed on disk, set the weights, switch the rest off. A LoRA that is
        refused leaves the pipeline usable. Raises FamilyMismatch, UnknownFormat, BrokenFile."""
        # Sums of floats depend on their order, so it is always the same one.
        wanted = sorted(wanted, key=lambda lora: lora.slug)
        missing = [lora for lora in wanted if not self._is_loaded(lora)]
        for lora in missing:
            check_fit(lora, self._shapes, self._base)
        active = {lora.slug: lora.weight for lora in wanted}
        if missing or self._active is None or list(self._active) != list(active):
            self._replace(missing, list(active))
        for slug, weight in active.items():
            for layer in self._adapters[slug].layers.values():
                layer.set_scale(adapter_name(slug), weight)
        self._active = active

    def _replace(self, missing: Sequence[WantedLora], slugs: Sequence[str]) -> None:
        self._active = None
        if missing:
            self._activate([])  # PEFT warns when an active adapter is replaced
        for lora in missing:
            self._drop(lora.slug)
            self._load(lora)
        self._activate(slugs)
        for slug in slugs:
            self._adapters[slug] = self._adapters.pop(slug)
        for slug in list(self._adapters)[: -max(self._kept, len(slugs))]:
            self._drop(slug)

    def _is_loaded(self, lora: WantedLora) -> bool:
        adapter = self._adapters.get(lora.slug)
        return adapter is not None and adapter.tensor_hash == lora.header.tensor_hash

    def _load(self, lora: WantedLora) -> None:
        name = adapter_name(lora.slug)
        hint = "Take fewer LoRAs, or close what else uses the device."
        try:
            with memory_errors(f"loading the LoRA “{lora.title}”", hint), quiet_libraries():
                self._pipe.load_lora_weights(str(lora.header.path), adapter_name=name)
            layers = dict(self._layers_with(name))
            check_complete(lora, layers, name)
        except StudioError:
            self._pipe.delete_adapters(name)
            raise
        except (ValueError, RuntimeError, KeyError, TypeError, AttributeError, OSError) as error:
            self._pipe.delete_adapters(name)
            raise BrokenFile(
                f"“{lora.title}” can't be loaded: {str(error).splitlines()[0][:200]}",
                "Get the file again, or train it again.",
                path=lora.header.path,
            ) from error
        self._adapters[lora.slug] = Adapter(lora.header.tensor_hash, layers)

    def _layers_with(self, name: str) -> Iterator[tuple[str, Any]]:
        for component in COMPONENTS:
            for path, module in getattr(self._pipe, component).named_modules():
                if name in getattr(module, "lora_A", ()):
                    yield layer_name(f"{component}.{path}"), module

    def _activate(self, slugs: Sequence[str]) -> None:
        """The pipeline's own set_adapters can't take an empty list."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        names = [adapter_name(slug) for slug in slugs]
        for component in COMPONENTS:
            for module in getattr(self._pipe, component).modules():
                if isinstance(module, BaseTunerLayer):
                    module.set_adapter(names, inference_mode=True)

    def _drop(self, slug: str) -> None:
        if self._adapters.pop(slug, None) is not None:
            self._pipe.delete_adapters(adapter_name(slug))


def check_complete(lora: WantedLora, layers: Mapping[str, Any], name: str) -> None:
    """diffusers recognises a file's spelling by the layers in it. With an unusual choice of layers it leaves
    some out with no more than a log line, and where alphas differ between layers it loses some. Says the
    first, sets right the second. Raises UnknownFormat."""
    for tensor in lora.header.tensors:
        layer, part = split_name(tensor)
        if part == "down" and layer not in layers:
            raise UnknownFormat(
                f"“{lora.title}” changes a choice of layers that can't be loaded ({layer}).",
                "Files with Kohya's default layers work.",
                path=lora.header.path,
            )
    for layer, alpha in _read_alphas(lora).items():
        if layer in layers:
            layers[layer].lora_alpha[name] = alpha


def adapter_name(slug: str) -> str:
    """PEFT keeps adapters as children of a module, where a LoRA called "train" would hide a method."""
    return f"slug-{slug}"


def _read_alphas(lora: WantedLora) -> dict[str, float]:
    from safetensors import safe_open

    names = [name for name in lora.header.tensors if split_name(name)[1] == "alpha"]
    with safe_open(str(lora.header.path), framework="pt") as file:
        return {split_name(name)[0]: float(file.get_tensor(name)) for name in names}
