"""What a refusal names, whatever its words are: one test keeps the sentence, the others ask for the field."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lora_studio.errors import ConfigError


@contextmanager
def refused(field: str) -> Iterator[pytest.ExceptionInfo[ConfigError]]:
    """Whether what stands inside is refused for that setting."""
    with pytest.raises(ConfigError) as caught:
        yield caught
    assert caught.value.field == field, caught.value
