"""Words that a LoRA brings along: in a prompt, vectors of its own stand for their tokens ("bundled
embeddings"), as A1111 reads them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Ids = Callable[[str], list[int]]
"""A text's token numbers, without marks."""


@dataclass(frozen=True, eq=False)
class BundledEmbedding:
    """`vectors` [n, d] by the part of the model that reads them (`text_encoder`, `text_encoder_2`)."""

    name: str
    vectors: Mapping[str, torch.Tensor]


class TokenReading:
    """Token numbers for one text encoder. A number below 0 stands for a vector: -1 for the first of all."""

    def __init__(self, ids: Ids, words: Sequence[BundledEmbedding], part: str) -> None:
        import torch

        self._ids = ids
        self._marks: list[tuple[list[int], list[int]]] = []
        self._vectors: list[Any] = []
        for word in words:
            vectors, mark = word.vectors.get(part), ids(word.name)
            if vectors is not None and mark:
                first = sum(map(len, self._vectors)) + 1
                # A number that stands for nothing keeps a word apart from the next (see `run_at`).
                self._vectors.append(torch.nn.functional.pad(vectors, (0, 0, 0, 1)))
                self._marks.append((mark, [-(first + number) for number in range(len(vectors))]))
        self._marks.sort(key=lambda pair: -len(pair[0]))

    def __call__(self, text: str) -> list[int]:
        tokens = self._ids(text)
        if not self._marks:
            return tokens
        found: list[int] = []
        place = 0
        while place < len(tokens):
            fitting = (pair for pair in self._marks if tokens[place : place + len(pair[0])] == pair[0])
            mark, numbers = next(fitting, (tokens[place : place + 1], tokens[place : place + 1]))
            found += numbers
            place += len(mark)
        return found

    @contextlib.contextmanager
    def in_place(self, encoder: Any, ids: torch.Tensor) -> Iterator[torch.Tensor]:
        """Within the block, let the encoder read the numbers given back with the vectors in their places."""
        import torch

        is_vector = ids < 0
        if not bool(is_vector.any()):
            yield ids
            return
        rows = torch.cat(self._vectors).to(ids.device)[-1 - ids[is_vector]]

        def replace(_: torch.nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
            changed = output.clone()
            changed[is_vector] = rows.to(output.dtype)
            return changed

        handle = encoder.get_input_embeddings().register_forward_hook(replace)
        try:
            yield ids.clamp(min=0)
        finally:
            handle.remove()


def run_at(tokens: Sequence[int], place: int) -> int:
    """The count of one word's vectors that begin at a place; 0 where none does."""
    token = tokens[place]
    if token >= 0 or (place and tokens[place - 1] == token + 1):
        return 0
    length = 1
    while place + length < len(tokens) and tokens[place + length] == token - length:
        length += 1
    return length
