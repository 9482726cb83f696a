"""Keeps libraries silent on the console while they load; errors reach people as our own sentences."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

SECOND_ADAPTER = "Already found a `peft_config`"
UNUSED_ALPHAS = "The following alpha_pattern keys did not match"
"""diffusers misspells these; the stack sets the alphas itself."""
FLUX_PLACES = "`FluxPosEmbed` is deprecated"
"""diffusers warns itself when it makes Chroma's transformer."""
RAISED_TO_32_BIT = "`upcast_vae` is deprecated"
"""Said by SDXL's pipeline of itself, at each picture in half precision."""


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """No log lines of diffusers and transformers, no progress bars, no warnings about what is intended."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    bars = [
        module for module in (diffusers_logging, transformers_logging) if module.is_progress_bar_enabled()
    ]
    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    levels = [logger.level for logger in loggers]
    for module in bars:
        module.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            for message in (SECOND_ADAPTER, UNUSED_ALPHAS, FLUX_PLACES, RAISED_TO_32_BIT):
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for module in bars:
            module.enable_progress_bar()
