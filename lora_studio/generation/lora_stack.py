"""Make the LoRAs on a base equal to the wanted list, without reloading it.

A LoRA is put on with hooks, so the base's modules stay as they are. Invariants, each a test: after [A, B]
the list [B] draws as a fresh pipeline with [B] does, to the bit; the empty list draws as the untouched base;
the order of the list doesn't matter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_studio.errors import BrokenFile, OutOfMemory
from lora_studio.families.encoders.bundled_embeddings import BundledEmbedding
from lora_studio.generation.lora_lookup import WantedLora, check_fit, layers_of, say_of
from lora_studio.lora.file.alphas import scalings
from lora_studio.lora.file.keys import UNET
from lora_studio.runtime import lost_device, memory_errors

if TYPE_CHECKING:
    from torch.nn import Module
    from torch.utils.hooks import RemovableHandle

    from lora_studio.lora.file.contents import LeftOut
    from lora_studio.lora.file.lora_files import LoraHeader
    from lora_studio.lora.network.layer_fit import Fit
    from lora_studio.lora.network.layers import Change
    from lora_studio.lora.network.weights import LayerWeights

KEPT_BYTES = 10**9
"""Most bytes of the LoRAs in memory, the active ones included, which are never dropped."""


@dataclass(frozen=True)
class LoadedLora:
    """A LoRA in memory: its file's header, what it changes by Kohya's layer name, its size, what of its file
    has no place, the words it brings along, and whether all that it would add is 0."""

    header: LoraHeader
    changes: Mapping[str, Change]
    size_bytes: int
    left_out: tuple[LeftOut, ...] = ()
    words: tuple[BundledEmbedding, ...] = ()
    is_empty: bool = False

    def remarks(self, lora: WantedLora) -> Iterator[str]:
        if sentence := say_of(lora, self.left_out):
            yield sentence
        if self.is_empty:
            yield f"“{lora.title}” changes nothing: all its weights are 0. Get or train it again."


class LoraStack:
    """The LoRAs on the parts of one base (as from `BaseModel.models`). `base` is its name, for messages;
    `device` where its layers compute (empty: where they are)."""

    def __init__(
        self, models: Mapping[str, Module], base: str, *, device: str = "", kept_bytes: int = KEPT_BYTES
    ) -> None:
        self._base = base
        self._device = device
        self._kept_bytes = kept_bytes
        self._layers = layers_of(models)
        self._loras: dict[str, LoadedLora] = {}  # by WantedLora.key; the latest used comes last
        self._active: tuple[str, ...] = ()
        self._hooks: list[RemovableHandle] = []

    @property
    def loaded(self) -> tuple[str, ...]:
        """Keys in memory, active or not; the latest used comes last."""
        return tuple(self._loras)

    @property
    def size_bytes(self) -> int:
        return sum(lora.size_bytes for lora in self._loras.values())

    @property
    def words(self) -> tuple[BundledEmbedding, ...]:
        """The words for prompts that the active LoRAs bring along."""
        return tuple(word for key in self._active for word in self._loras[key].words)

    def apply(self, wanted: Sequence[WantedLora]) -> list[str]:
        """Load what is missing or has changed on disk, set the weights, take the rest off. A LoRA that is
        refused leaves the pipeline usable. Returns sentences on those that are not used whole or do nothing.
        Raises FamilyMismatch, UnknownFormat, BrokenFile, OutOfMemory."""
        # Sums of floats depend on their order, so it is always the same one.
        wanted = sorted(wanted, key=lambda lora: lora.key)
        missing = [lora for lora in wanted if not self._is_loaded(lora)]
        fits = {lora.key: check_fit(lora, self._layers, self._base) for lora in missing}
        fresh = self._load_all(missing, fits)
        keys = tuple(lora.key for lora in wanted)
        if fresh or keys != self._active:
            self._put_on(fresh, keys)
        for lora in wanted:
            _set_strengths(self._loras[lora.key].changes, lora.weight, lora.weight_of_text)
        return [remark for lora in wanted for remark in self._loras[lora.key].remarks(lora)]

    def _is_loaded(self, lora: WantedLora) -> bool:
        loaded = self._loras.get(lora.key)
        return loaded is not None and loaded.header.draws_as(lora.header)

    def _load_all(self, missing: Sequence[WantedLora], fits: Mapping[str, Fit]) -> dict[str, LoadedLora]:
        try:
            return {lora.key: self._load(lora, fits[lora.key]) for lora in missing}
        except OutOfMemory:
            if set(self._loras) <= set(self._active):
                raise
        self._drop(key for key in self.loaded if key not in self._active)
        return {lora.key: self._load(lora, fits[lora.key]) for lora in missing}

    def _load(self, lora: WantedLora, fit: Fit) -> LoadedLora:
        from lora_studio.lora.network.kinds import adds_nothing
        from lora_studio.lora.network.layers import change_from
        from lora_studio.lora.network.weights import read_layers

        hint = "Take fewer LoRAs, or close what else uses the device."
        try:
            with memory_errors(f"loading the LoRA “{lora.title}”", hint):
                file = lora.header.path
                layers = read_layers(file, fit.layers, scalings(lora.header.metadata, file))
                words = _read_words(lora, fit.words)
                _check_numbers(lora, layers)
                changes = {name: change_from(self._layers[name], layer) for name, layer in layers.items()}
                for change in changes.values():
                    change.settle(self._device)
                    change.check()
        except (ValueError, RuntimeError, KeyError, TypeError, IndexError) as error:
            if isinstance(error, RuntimeError) and lost_device(error):
                raise
            raise BrokenFile(
                f"“{lora.title}” can't be loaded: {str(error).splitlines()[0][:200]}",
                "Get the file again, or train it again.",
                path=lora.header.path,
            ) from error
        size = sum(weight.nbytes for change in changes.values() for weight in change.weights.values())
        is_empty = not words and all(adds_nothing(layer.kind, layer.parts) for layer in layers.values())
        return LoadedLora(lora.header, changes, size, fit.left_out, words, is_empty)

    def _put_on(self, fresh: Mapping[str, LoadedLora], keys: tuple[str, ...]) -> None:
        from lora_studio.lora.network.layers import put_on
        from lora_studio.lora.network.output_rows import modules_of

        while self._hooks:
            self._hooks.pop().remove()
        self._loras.update(fresh)
        by_layer: dict[Module, list[Change]] = {}
        for key in keys:
            self._loras[key] = self._loras.pop(key)
            for change in self._loras[key].changes.values():
                for module in modules_of(change.base):
                    by_layer.setdefault(module, []).append(change)
        self._hooks = [put_on(module, changes) for module, changes in by_layer.items()]
        self._active = keys
        self._drop(self._too_many())

    def _too_many(self) -> list[str]:
        """The longest unused of the LoRAs that are not active, until the rest fits."""
        going: list[str] = []
        taken = self.size_bytes
        for key, lora in self._loras.items():
            if taken > self._kept_bytes and key not in self._active:
                going.append(key)
                taken -= lora.size_bytes
        return going

    def _drop(self, keys: Iterable[str]) -> None:
        for key in list(keys):
            del self._loras[key]


def _set_strengths(changes: Mapping[str, Change], weight: float, weight_of_text: float) -> None:
    for name, change in changes.items():
        change.strength = weight if name.startswith(UNET) else weight_of_text
        change.off = change.strength == 0


def _read_words(lora: WantedLora, words: Mapping[str, Mapping[str, str]]) -> tuple[BundledEmbedding, ...]:
    from lora_studio.lora.network.kinds import is_finite
    from lora_studio.lora.network.weights import read_tensors

    keys = [key for parts in words.values() for key in parts.values()]
    tensors = (
        {key: tensor.float() for key, tensor in read_tensors(lora.header.path, keys).items()} if keys else {}
    )
    for word, parts in words.items():
        if not all(is_finite(tensors[key]) for key in parts.values()):
            raise ValueError(f"its embedding {word} holds values that are no numbers")
    return tuple(
        BundledEmbedding(
            word, {part: tensors[key].reshape(-1, tensors[key].shape[-1]) for part, key in parts.items()}
        )
        for word, parts in words.items()
    )


def _check_numbers(lora: WantedLora, layers: Mapping[str, LayerWeights]) -> None:
    """Refuse weights that are no numbers. Raises BrokenFile."""
    from lora_studio.lora.network.kinds import is_finite

    for layer in layers.values():
        for part, tensor in layer.parts.items():
            if not is_finite(tensor):
                raise BrokenFile(
                    f"“{lora.title}” is damaged: it holds values that are no numbers (NaN), as in {part}.",
                    "Get the file again, or train it again with a lower learning rate.",
                    path=lora.header.path,
                )
