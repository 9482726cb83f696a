"""The attention layers of a denoiser, without the work that is the same at every call."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.attention_processor import Attention

READERS = ("to_k", "to_v")
"""The layers by which attention reads a text."""


class TextReading:
    """The keys and values that the layers of `denoiser` make of a text: at every step of a picture the same,
    to the bit. They are computed at the first one, and again for another text."""

    def __init__(self, denoiser: torch.nn.Module) -> None:
        self._readers = [
            (vars(layer), name, _KeptOutput(getattr(layer, name)))
            for layer in denoiser.modules()
            if isinstance(layer, Attention) and layer.is_cross_attention
            for name in READERS
        ]

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Read by what is kept during one call of the denoiser, without gradients. The modules stay."""
        for attributes, name, kept in self._readers:
            attributes[name] = kept  # found before the module of that name
        try:
            yield
        finally:
            for attributes, name, _ in self._readers:
                del attributes[name]


class _KeptOutput:
    """A layer that knows its output for the tensor that it was given last."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._text: torch.Tensor | None = None
        self._output: Any = None

    def __call__(self, text: torch.Tensor) -> Any:
        if text is not self._text:
            self._text, self._output = text, self._layer(text)
        return self._output


def state_signatures(denoiser: torch.nn.Module) -> None:
    """Give attention functions their signature, which diffusers asks for at every call (0.42), slowly."""
    for layer in denoiser.modules():
        if isinstance(layer, Attention):
            layer.processor.__call__ = _Stated(inspect.signature(layer.processor.__call__))


class _Stated:
    """A stand-in for an attention function whose signature is asked for; Python calls the class's."""

    def __init__(self, signature: inspect.Signature) -> None:
        self.__signature__ = signature

    def __call__(self, *values: Any, **named: Any) -> Any:
        raise TypeError("this only tells the signature")
