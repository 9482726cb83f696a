"""The strips of the atlas: which values of which settings, and what is to be seen in each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lora_studio.catalog import BASES, plan
from lora_studio.config import Kind, config_leaves

TRIGGER = "zwx"
KIND: Kind = "style"
SET_SIZE = 10
"""Pictures in the set that all are trained on."""
PROMPTS = (f"rocket, {TRIGGER} style", f"crown, {TRIGGER} style")
"""Two things that none of the pictures shows, and that both embedded bases know."""
PLAIN = (PROMPTS[0], "rocket")
"""One thing with the trigger word and without it."""
IMAGES, TRIGGERED, WEIGHT = "pictures", "trigger word", "weight"
"""Strips about no setting: how many pictures, the word in the prompt, the LoRA's weight."""
STEPS = "num_inference_steps"
OF_DDPM, OF_FLOW = {"min_snr_gamma"}, {"shift"}
"""Settings without a meaning for flow models, and for all others."""


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Values of a setting of trainings or, with `drawing`, of one of drawing. None is the value that preset
    and base bring. `along` is a setting of trainings that gets the same values, `fixed` are those of drawing
    that all pictures have. `about` says what the setting does, and `seen` by the base what can be seen in the
    strip that is in docs: look again when a value changes."""

    setting: str
    values: tuple[Any, ...]
    about: str
    seen: Mapping[str, str] = field(default_factory=dict)
    drawing: bool = False
    along: str = ""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    prompts: tuple[str, ...] = PROMPTS

    def suits(self, base: str) -> bool:
        """Whether the setting has a meaning for the base."""
        return self.setting not in (OF_DDPM if BASES[base].flow_matching else OF_FLOW)

    def changes(self, value: Any) -> dict[str, Any]:
        """The settings of a training that this value changes."""
        if self.drawing or value is None:
            return {}
        return {name: value for name in (self.setting, self.along) if name}

    def label(self, value: Any, base: str) -> str:
        """The value in words; of None the one that it stands for."""
        if value is not None:
            return _as_text(value)
        brought = "base" if self.drawing else "preset"
        return f"{_as_text(self._usual(base))} ({brought})"

    def _usual(self, base: str) -> Any:
        if self.drawing:
            return getattr(BASES[base], self.setting)
        defaults = {leaf.name: leaf.default for leaf in config_leaves()}
        return {**defaults, IMAGES: SET_SIZE, **plan(KIND, BASES[base], SET_SIZE).values}[self.setting]


def _as_text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


STRIPS = (
    Strip(
        setting="network_dim",
        along="network_alpha",
        values=(1, None, 64),
        about="How much the LoRA can hold. `network_alpha` has the same value each time, so that the strength"
        " stays.",
        seen={
            "starter": (
                "With 1 the lines stay thin and bluish; 64 learns more in the same steps (see the"
                " loss) and begins to smear: the window and the stones lose their edges. The file"
                " grows along: dim 64 is eight times as large as dim 8."
            )
        },
    ),
    Strip(
        setting="network_alpha",
        values=(1, None, 32),
        about="What is learned counts alpha / dim times: small values learn slower, large ones faster.",
        seen={
            "starter": (
                "1 stops half way, as fewer steps would. 32 has learned more than the preset here,"
                " and the crown has lost its even shape. Alpha and learning rate do nearly the same"
                " thing: change one of them."
            )
        },
    ),
    Strip(
        setting="learning_rate",
        values=(1e-4, None, 2e-2),
        about="The size of each step: too little, right, burnt.",
        seen={
            "starter": (
                "0.0001 draws what the base alone draws. 0.02 is burnt: there is no thing left,"
                " only noise in the set's colours, and the loss has gone up instead of down."
            ),
            "starter-flow": (
                "0.0001 draws what the base alone draws, and 0.02 breaks the shapes. The preset's"
                " rate leaves the thing whole, but no rate brings the drawing: this base was made"
                " with one style only, and doesn't take another in 200 steps."
            ),
        },
    ),
    Strip(
        setting="max_train_steps",
        values=(25, 100, None, 400),
        about="How long it learns: from the base to your pictures.",
        seen={
            "starter": (
                "After 25 steps it is the base with a hint; after 100 the drawing is there, with"
                " colours of the base in it; after 200 lines and paper are the set's. 400 gains"
                " nothing and begins to smear, though the loss still falls: the loss of the training"
                " pictures doesn't say when to stop."
            ),
            "starter-flow": (
                "The style doesn't come with more steps either; at 400 the rocket has its colours"
                " back. A thing is learned on this base, as its card says; this style was not."
            ),
        },
    ),
    Strip(
        setting="lr_scheduler",
        values=("constant", "linear", None),
        about="How the learning rate falls during the run.",
        seen={
            "starter": (
                "The constant rate learns most (see the loss) and leaves the crown's edges"
                " restless; linear and cosine, which fall to nothing, end on quieter lines."
                " Between those two there is hardly a difference."
            )
        },
    ),
    Strip(
        setting="network_train_unet_only",
        values=(None, False),
        about="On: the text encoder stays as it is. Off: it is trained, too.",
        seen={
            "starter": (
                "Nothing is seen here but other details: a style lives in the denoiser. It costs a"
                " sixth more time."
            )
        },
    ),
    Strip(
        setting="caption_dropout_rate",
        values=(None, 0.5, 1.0),
        prompts=PLAIN,
        about="The share of uses in which a picture is shown without its caption.",
        seen={
            "starter": (
                "Half of the uses without a caption leave the trigger word weaker; without any"
                " captions it means nothing, and the LoRA draws what the base draws. Rates of 0.05"
                " to 0.1, as people use them, lie too close to 0 to be seen here."
            )
        },
    ),
    Strip(
        setting="min_snr_gamma",
        values=(None, 5.0, 1.0),
        about="Lets steps with little noise count less; off, all count alike.",
        seen={
            "starter": (
                "Lines come out thinner and bluer: in a drawing the last, fine steps matter, and"
                " just those count less here. The losses can't be compared, since each is weighed"
                " another way."
            )
        },
    ),
    Strip(
        setting=IMAGES,
        values=(1, 3, None),
        about="How many pictures it learned from, with as many steps each time.",
        seen={
            "starter": (
                "One picture is learned by heart (see the loss), and says little of other things:"
                " the rocket gets darker lines, the crown stays gold. Three are better; ten carry"
                " the style over to things that none of them shows."
            )
        },
    ),
    Strip(
        setting=TRIGGERED,
        values=("with", "without"),
        drawing=True,
        about="The same LoRA, asked with the trigger word and without it.",
        seen={
            "starter": (
                "Without it hardly anything of the set is left: captions that all have the word"
                " have tied the style to it."
            ),
            "starter-flow": ("No difference: what little was learned doesn't hang on the word."),
        },
    ),
    Strip(
        setting=WEIGHT,
        values=(0.0, 0.5, 1.0, 1.5),
        drawing=True,
        about="How strongly the LoRA counts in drawing: 0 is the base alone, 1 as trained.",
        seen={
            "starter": (
                "It comes in gradually, for each thing at its own pace: at 0.5 the rocket is drawn,"
                " the crown still gold. Above 1 the lines grow fat and the shape goes."
            ),
            "starter-flow": (
                "Up to 1 only dark edges come; 1.5 breaks the shapes. A LoRA that has learned"
                " little can't be made to show more by its weight."
            ),
        },
    ),
    Strip(
        setting="guidance_scale",
        values=(1.0, None, 7.0, 12.0),
        drawing=True,
        about="How closely the prompt is followed.",
        seen={
            "starter": (
                "1 is pale and vague, and takes two thirds of the time, since the empty prompt"
                " isn't drawn beside it. From 7 on edges get harsh, colours glare, and the paper is"
                " no longer white."
            ),
            "starter-flow": (
                "1 is paler, at less than two thirds of the time. From 7 on colours glare, and at"
                " 12 the shapes break."
            ),
        },
    ),
    Strip(
        setting=STEPS,
        values=(2, 6, None, 30),
        drawing=True,
        about="In how many steps a picture is made of noise.",
        seen={
            "starter": (
                "2 leave noise standing. From 6 on the picture is there, and more change little but the time."
            ),
            "starter-flow": ("2 leave it rough; from 6 on more steps change little but the time."),
        },
    ),
    Strip(
        setting="sampler",
        values=(None, "Heun", "DPM++ 2M", "UniPC"),
        fixed={STEPS: 4},
        drawing=True,
        about="The way from noise to picture.",
        seen={
            "starter": (
                "All have four steps here: three have arrived, Heun still has noise in it, at"
                " nearly twice the time, since it asks the model twice a step. At the base's own"
                " twelve nobody could tell the four apart."
            )
        },
    ),
    Strip(
        setting="shift",
        values=(0.3, 1.0, 3.0, 10.0),
        fixed={STEPS: 4},
        drawing=True,
        about="Where the steps of a flow model lie: more of them in the noise with large values.",
        seen={
            "starter-flow": (
                "All have four steps here: with 10 nearly all of them are spent in the noise, and"
                " the last one has to do the details at once. At the base's own twenty steps only"
                " 10 is to be told from the others. Its own shift is 1.5."
            ),
        },
    ),
)
