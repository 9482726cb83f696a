"""Whether a picture of the gallery is the very one that a request would draw."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from lora_studio.errors import StudioError
from lora_studio.families.base_files.found_base import FoundBase
from lora_studio.families.base_files.locate import file_states, find_base
from lora_studio.generation.lora_lookup import find_loras
from lora_studio.images.image_metadata import SOFTWARE, read_origin
from lora_studio.prompts.expand import with_triggers
from lora_studio.prompts.wildcards import has_choices
from lora_studio.records import ImageRecord
from lora_studio.request import GenerateRequest
from lora_studio.settings import Settings


def state_of(found: FoundBase, precision: str, qtype: str = "none") -> str:
    """A sum of what else a picture depends on: the state of the base's files, the number format, and
    the few bits that its denoiser is held in. It says nothing of where they lie."""
    states = sorted(file_states(found))
    formats = [precision] if qtype == "none" else [precision, qtype]
    return hashlib.sha256(json.dumps([*formats, states]).encode()).hexdigest()[:16]


def is_drawn(request: GenerateRequest, record: ImageRecord, settings: Settings) -> bool:
    """`request` has all values filled in. Everything has to be the same: each setting, the LoRAs' very
    tensors, the base's files, the words as drawn, and this program's version. Where that can't be known the
    answer is no: a size or sampler that is left to the base, and choices, whose files may have changed."""
    settled = request.width and request.height and request.sampler
    if not settled or record.request != request.model_dump(mode="json"):
        return False
    if has_choices(request.prompt) or has_choices(request.negative_prompt):
        return False
    try:
        origin = read_origin(Path(record.path))
        loras = find_loras(request.loras, settings.loras)
        state = state_of(find_base(request.base, settings), settings.precision, settings.qtype)
    except (StudioError, OSError):
        return False
    made = origin.get("request", {})
    wanted = {**request.model_dump(mode="json"), "base": made.get("base")}
    triggers = [lora.trigger_word for lora in loras] if request.insert_trigger else []
    return (
        made == wanted
        and origin.get("software") == SOFTWARE
        and origin.get("prompt") == with_triggers(request.prompt, triggers)
        and origin.get("lora_hashes") == {lora.key: lora.header.tensor_hash for lora in loras}
        and origin.get("base_state") == state
    )
