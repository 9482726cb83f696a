"""sd-scripts' file of preview prompts: one a line, with flags behind it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lora_studio.config_groups import PreviewGroup


def prompt_only(line: str) -> str:
    """A prompt without sd-scripts' flags (`--n negative --w 512 --d 1`)."""
    return re.split(r"\s--[a-z]+\b", line, maxsplit=1)[0].strip()


def prompt_lines(prompts: Sequence[str], preview: PreviewGroup, size: tuple[int, int]) -> list[str]:
    """Each prompt with flags for our engine's size, steps, guidance and seed; `size` is (width, height) of
    the training. A leading # is dropped: such a line would be a remark."""
    width, height = (max(64, side // 8 * 8) for side in size)
    return [
        f"{' '.join(prompt.split()).lstrip('#').strip()} --w {width} --h {height} --s {preview.sample_steps} "
        f"--l {preview.sample_guidance} --d {(preview.sample_seed + number) % 2**32}"
        for number, prompt in enumerate(prompts)
    ]
