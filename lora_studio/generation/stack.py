"""Make the LoRAs on a pipeline equal to the wanted list, without reloading the base.

A LoRA is put on with hooks, so the pipeline's modules stay as they are. Invariants, each a test: after [A, B]
the list [B] draws as a fresh pipeline with [B] does, to the bit; the empty list draws as the untouched base;
the order of the list doesn't matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lora_studio.errors import BrokenFile
from lora_studio.generation.loras import WantedLora, check_fit, layers_of
from lora_studio.runtime import memory_errors

if TYPE_CHECKING:
    from lora_studio.lora.layers import Change

KEPT = 8
"""LoRAs that stay in memory for a quick swap back, the active ones included."""


@dataclass(frozen=True)
class Loaded:
    """A LoRA in memory: the hash of its tensors, and what it changes, by Kohya's layer name."""

    tensor_hash: str
    changes: Mapping[str, Change]


class Stack:
    """The LoRAs of one pipeline. `base` is the base's name, for messages."""

    def __init__(self, pipe: Any, base: str, *, kept: int = KEPT) -> None:
        self._base = base
        self._kept = kept
        self._layers = layers_of(pipe)
        self._loras: dict[str, Loaded] = {}  # by slug; the latest used comes last
        self._active: tuple[str, ...] = ()
        self._hooks: list[Any] = []

    @property
    def loaded(self) -> tuple[str, ...]:
        """Slugs in memory, active or not; the latest used comes last."""
        return tuple(self._loras)

    def apply(self, wanted: Sequence[WantedLora]) -> None:
        """Load what is missing or has changed on disk, set the weights, take the rest off. A LoRA that is
        refused leaves the pipeline usable. Raises FamilyMismatch, UnknownFormat, BrokenFile."""
        # Sums of floats depend on their order, so it is always the same one.
        wanted = sorted(wanted, key=lambda lora: lora.slug)
        missing = [lora for lora in wanted if not self._is_loaded(lora)]
        for lora in missing:
            check_fit(lora, self._layers, self._base)
        fresh = {lora.slug: self._load(lora) for lora in missing}
        slugs = tuple(lora.slug for lora in wanted)
        if fresh or slugs != self._active:
            self._put_on(fresh, slugs)
        for lora in wanted:
            for change in self._loras[lora.slug].changes.values():
                change.strength = lora.weight

    def _is_loaded(self, lora: WantedLora) -> bool:
        loaded = self._loras.get(lora.slug)
        return loaded is not None and loaded.tensor_hash == lora.header.tensor_hash

    def _load(self, lora: WantedLora) -> Loaded:
        from lora_studio.lora.start import change_from
        from lora_studio.lora.weights import read_weights

        hint = "Take fewer LoRAs, or close what else uses the device."
        try:
            with memory_errors(f"loading the LoRA “{lora.title}”", hint):
                layers = read_weights(lora.header.path)
                changes = {name: change_from(self._layers[name], layer) for name, layer in layers.items()}
                for change in changes.values():
                    change.settle()
        except (ValueError, RuntimeError, KeyError, TypeError) as error:
            raise BrokenFile(
                f"“{lora.title}” can't be loaded: {str(error).splitlines()[0][:200]}",
                "Get the file again, or train it again.",
                path=lora.header.path,
            ) from error
        return Loaded(lora.header.tensor_hash, changes)

    def _put_on(self, fresh: Mapping[str, Loaded], slugs: tuple[str, ...]) -> None:
        from lora_studio.lora.layers import put_on

        while self._hooks:
            self._hooks.pop().remove()
        self._loras.update(fresh)
        by_layer: dict[Any, list[Change]] = {}
        for slug in slugs:
            self._loras[slug] = self._loras.pop(slug)
            for change in self._loras[slug].changes.values():
                by_layer.setdefault(change.base, []).append(change)
        self._hooks = [put_on(module, changes) for module, changes in by_layer.items()]
        self._active = slugs
        for slug in list(self._loras)[: -max(self._kept, len(slugs))]:
            del self._loras[slug]
