"""The previews that a run draws. Those that nobody asked for may take a share of the time of the steps: on a
slow device there are fewer pictures, and fewer times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lora_studio.catalog import preview_prompts
from lora_studio.config import Kind, TrainConfig
from lora_studio.events import PreviewSaved
from lora_studio.formatting import counted
from lora_studio.training.evaluation.intervals import preview_steps, spread

FEW = 4
"""Times below which rather pictures are left out: checkpoints are compared by their previews."""
PLAIN_PROMPTS: Mapping[Kind, str] = {
    "person": "portrait of a person",
    "character": "portrait of a person",
    "object": "a cat",
    "style": "a cat",
}
"""Things that a LoRA of this kind should leave alone."""


@dataclass(frozen=True, kw_only=True)
class PreviewPlan:
    """The steps after which previews are drawn, and what of; `without_prompt` leaves out the trigger and is
    drawn along for the board, empty when there is none. With `has_own_prompts` the prompts are those that
    somebody wrote. `note` says what was left out."""

    steps: frozenset[int]
    prompts: tuple[str, ...]
    has_own_prompts: bool = False
    without_prompt: str = ""
    note: str = ""

    @property
    def all_prompts(self) -> tuple[str, ...]:
        return (*self.prompts, self.without_prompt) if self.without_prompt else self.prompts

    def of(self, times: int, prompts: int, *, plain: bool = True) -> PreviewPlan:
        """A part of it: the last of its steps and others evenly before it, the first prompts, and with
        `plain` the one without the trigger."""
        steps = spread(sorted(self.steps), times) if times else frozenset()
        kept = self.without_prompt if plain else ""
        return replace(self, steps=steps, prompts=self.prompts[:prompts], without_prompt=kept)


@dataclass(frozen=True, kw_only=True)
class PreviewCost:
    """Seconds of one denoising step of one picture with guidance, and of what comes around its steps.
    The board compares the previews with `references` training pictures, for `most_compared` seconds."""

    step: float
    rest: float
    references: int = 0
    most_compared: float = 0.0

    @property
    def forward(self) -> float:
        """Seconds of one call of the denoiser with one sample."""
        return self.step / 2

    def seconds(self, config: TrainConfig, plan: PreviewPlan, *, base: int = 1) -> float:
        """All previews of a plan and their comparison; `base` is 1 where the base draws its own before."""
        rounds = len(plan.steps) + base
        return rounds * self.of_round(config, plan) + self.compared(rounds, plan)

    def of_round(self, config: TrainConfig, plan: PreviewPlan) -> float:
        """The previews of one time."""
        return len(plan.all_prompts) * (self.step * config.preview.sample_steps + self.rest)

    def compared(self, rounds: int, plan: PreviewPlan) -> float:
        """The comparison of so many rounds, the base's included. Encoding a picture takes about what comes
        around its steps; the training pictures are encoded already."""
        prompts, pictures = len(plan.prompts), rounds * len(plan.all_prompts)
        asked = max(prompts, 2)  # a single prompt is compared with the empty one
        looks = self.references + pictures + 2 * rounds * prompts * asked
        return min(self.most_compared, looks * self.forward + pictures * self.rest)


def whole_plan(config: TrainConfig, base: str) -> PreviewPlan:
    """The plan without a limit; `base` is the base's name in the catalog."""
    given = prompts_of(config, base)
    has_board = config.preview.checkpoint_board and config.dataset.trigger_word.strip()
    plain = PLAIN_PROMPTS[config.dataset.kind] if has_board else ""
    is_own = given != _made_prompts(config, base)  # the page fills in the ones that are made
    return PreviewPlan(
        steps=preview_steps(config), prompts=given, has_own_prompts=is_own, without_prompt=plain
    )


def plan_from(plan: PreviewPlan, drawn: Sequence[PreviewSaved], *, has_plain: bool) -> PreviewPlan:
    """The plan of a run that has drawn before: no further prompts than it began with, for which there is
    nothing to compare with; `has_plain`: the base drew the one without the trigger. `drawn` is not empty."""
    count = sum(preview.step == drawn[-1].step for preview in drawn)
    prompts = len(plan.prompts) if plan.has_own_prompts else min(count, len(plan.prompts))
    return plan.of(len(plan.steps), prompts, plain=has_plain)


def has_limit(config: TrainConfig, plan: PreviewPlan) -> bool:
    """Whether there are previews in a plan that nobody asked for."""
    is_chosen = config.preview.sample_every_n_steps is not None and plan.has_own_prompts
    return bool(config.preview.max_preview_share and plan.steps) and not is_chosen


def limited_plan(
    config: TrainConfig,
    plan: PreviewPlan,
    cost: PreviewCost,
    step_seconds: float,
    *,
    base: int = 1,
    spent: float = 0.0,
) -> PreviewPlan:
    """The part of a plan that `max_preview_share` of the steps' `step_seconds` pays for, less the seconds
    `spent` already; once, of one prompt, at least, and of two where the board compares them: one picture
    alone says little. What was chosen, prompts or steps, stays whole."""
    if not has_limit(config, plan):
        return plan
    paid = config.preview.max_preview_share * step_seconds - spent
    all_times, all_prompts = len(plan.steps), len(plan.prompts)
    least = 1 if config.preview.sample_every_n_steps is None else all_times
    fewest = min(2 if config.preview.checkpoint_board else 1, all_prompts)
    counts = [all_prompts] if plan.has_own_prompts else [*range(all_prompts, fewest - 1, -1)]
    found = plan
    for prompts, plain in (*((count, True) for count in counts), (counts[-1], False)):
        for times in range(all_times, least - 1, -1):
            found = plan.of(times, prompts, plain=plain)
            if cost.seconds(config, found, base=base) <= paid:
                break
        if len(found.steps) >= min(FEW, all_times) and cost.seconds(config, found, base=base) <= paid:
            break
    if len(found.steps) == all_times and len(found.all_prompts) == len(plan.all_prompts):
        return plan
    seconds = spent + cost.seconds(config, found, base=base)
    share = seconds / step_seconds if step_seconds else 0.0
    return replace(found, note=_note(plan, found, share))


def fitted_plan(
    config: TrainConfig,
    plan: PreviewPlan,
    cost: PreviewCost,
    step: int,
    round_seconds: float,
    left: float,
) -> PreviewPlan:
    """The plan with as many times after `step` as `left` seconds are enough for, where one takes
    `round_seconds` and the comparison takes as much longer than `cost` says; the last time stays."""
    done = frozenset(one for one in plan.steps if one <= step)
    ahead, found = sorted(plan.steps - done), plan
    expected = cost.of_round(config, plan)
    slower = max(1.0, round_seconds / expected) if expected else 1.0
    for times in range(len(ahead), 0, -1):
        found = replace(plan, steps=done | spread(ahead, times))
        if times * round_seconds + slower * cost.compared(1 + len(found.steps), plan) <= left:
            break
    return found


def prompts_of(config: TrainConfig, base: str) -> tuple[str, ...]:
    """The prompts of the previews: those wished for, else some about the subject."""
    given = tuple(prompt for prompt in config.preview.sample_prompts if prompt.strip())
    return given or _made_prompts(config, base)


def _made_prompts(config: TrainConfig, base: str) -> tuple[str, ...]:
    return preview_prompts(config.dataset.kind, config.dataset.trigger_word, base)


def _note(plan: PreviewPlan, found: PreviewPlan, share: float) -> str:
    now = counted(len(found.steps), "time"), counted(len(found.all_prompts), "picture")
    wished = counted(len(plan.steps), "time"), counted(len(plan.all_prompts), "picture")
    return (
        f"Previews are drawn {now[0]} ({now[1]}) instead of {wished[0]} ({wished[1]}), which takes about "
        f"{share:.0%} of the time of the steps. max_preview_share allows more."
    )
