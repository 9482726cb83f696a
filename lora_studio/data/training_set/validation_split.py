"""The pictures held out of training, so that the loss can be measured on something new."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from itertools import groupby

from lora_studio.data.training_set.folders import Picture


def split_off(pictures: Sequence[Picture], seed: int) -> tuple[list[Picture], list[Picture]]:
    """The pictures to train on and the held-out ones, each in the given order.

    Kohya's rule: the pictures of a subset are shuffled by validation_seed, and those behind the first ceil(n
    * (1 - validation_split)) are held out; of regularisation pictures none. Without validation_seed, `seed`
    takes its place. No dataset trains on a picture that another holds out.
    """
    last = [picture for _, group in groupby(pictures, _subset) for picture in _last(list(group), seed)]
    places = {(picture.subset, picture.path) for picture in last}
    paths = {picture.path for picture in last}
    train = [picture for picture in pictures if picture.is_reg or picture.path not in paths]
    return train, [picture for picture in pictures if (picture.subset, picture.path) in places]


def _subset(picture: Picture) -> tuple[int, int]:
    return picture.dataset, picture.subset


def _last(pictures: list[Picture], seed: int) -> Iterator[Picture]:
    settings = pictures[0].settings
    if not settings.validation_split or pictures[0].is_reg:
        return
    own_seed = settings.validation_seed
    random.Random(seed if own_seed is None else own_seed).shuffle(pictures)
    yield from pictures[math.ceil(len(pictures) * (1 - settings.validation_split)) :]
