"""The places of a generation's fields on the Generate tab, for what is refused there."""

from __future__ import annotations

from lora_studio.errors import ConfigError
from lora_studio.grids.grid_request import AXES, AXIS_NAMES
from lora_studio.ui.client_input.field_refusals import FieldPlace
from lora_studio.ui.generate.generate_requests import LABELS, SLOTS, TEXT_WEIGHTS, WEIGHTS

DRAWER = "generate-settings"
IN_SIGHT = {"prompt", "count", "seed", "strength", "mask_blur", "padding_mask_crop"}
"""Fields of a request that stand outside the drawer."""
PLACES: dict[str, FieldPlace] = {
    **{
        name: FieldPlace(element=f"generate-{name}", label=label, folds=() if name in IN_SIGHT else (DRAWER,))
        for name, label in LABELS.items()
    },
    "image": FieldPlace(element="generate-source-file", label=LABELS["image"], watched="generate-canvas"),
    **{
        name: FieldPlace(element=f"generate-{name}", label=f"Weight of LoRA {slot + 1}")
        for slot, name in zip(range(SLOTS), WEIGHTS, strict=True)
    },
    **{
        name: FieldPlace(
            element=f"generate-{name}", label=f"Text encoder weight of LoRA {slot + 1}", folds=(DRAWER,)
        )
        for slot, name in zip(range(SLOTS), TEXT_WEIGHTS, strict=True)
    },
    **{
        f"grid-{axis}{ending}": FieldPlace(
            element=f"generate-grid-{axis}{ending}", label=AXIS_NAMES[f"{axis}.{part}"]
        )
        for axis in AXES
        for part, ending in (("parameter", ""), ("values", "-values"))
    },
}
"""The places by a request's field, and by the tab's names of what a request has no field for."""


def place_of(error: ConfigError) -> FieldPlace | None:
    """The place of the field that a refusal names."""
    return PLACES.get(error.field)
