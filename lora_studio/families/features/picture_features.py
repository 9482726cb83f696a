"""Pictures compared through a base model itself: no other model has to be fetched for it.

A denoiser's inner activations tell what a picture shows and how it is drawn (Tang et al. 2023, "Emergent
correspondence from image diffusion"). Taken here: mean and deviation over the picture of each channel behind
some blocks, at a low noise level, without words, brought to one scale over all pictures that are compared.

Legend: n pictures, d features of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from lora_studio.families.base import BaseModel

LOOK_AT = 0.3
"""The noise level at which pictures are looked at, as a share of the schedule."""
LEAST_GAP = 0.02
"""Training pictures that are nearer than this to the base's own can't be told apart from them."""


@contextmanager
def watching(base: BaseModel) -> Iterator[list[torch.Tensor]]:
    """A list that fills with what the denoiser makes of a picture, [1, channels, places] each."""
    found: list[torch.Tensor] = []
    with base.watched(lambda seen: found.append(seen.float().cpu())):
        yield found


def pooled(seen: Sequence[torch.Tensor]) -> torch.Tensor:
    """The features [d] of one picture, from the list of `watching`."""
    return torch.cat([part for one in seen for part in (one.mean(2)[0], one.std(2)[0])])


def on_one_scale(features: torch.Tensor) -> torch.Tensor:
    """Features [n, d] with the same mean and deviation in each column."""
    return (features - features.mean(0)) / (features.std(0) + 1e-6)


def likeness(pictures: torch.Tensor, base: torch.Tensor, training: torch.Tensor) -> float | None:
    """The share of the way from the base's features [n, d] to the training pictures' that `pictures` have
    come; higher is closer. 0 and 1 are the mean cosines of the base's and the training pictures' with the
    training pictures. All three are on one scale. None when the two can't be told apart."""
    pictures, base, training = (torch.nn.functional.normalize(x, dim=1) for x in (pictures, base, training))
    among = training @ training.T
    count = len(training)
    whole = float((among.sum() - count) / (count * (count - 1))) if count > 1 else 1.0
    none = float((base @ training.T).mean())
    if whole - none < LEAST_GAP:
        return None
    return (float((pictures @ training.T).mean()) - none) / (whole - none)


def spread(pictures: torch.Tensor) -> float:
    """The mean distance between two of the pictures [n, d]; 0 for fewer than two."""
    return float(torch.nn.functional.pdist(pictures).mean()) if len(pictures) > 1 else 0.0
