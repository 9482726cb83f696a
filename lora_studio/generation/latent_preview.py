"""A look at the picture while it is drawn: small files, now and then, that never change the picture.

The autoencoder would be too slow for that. Colours are nearly a linear function of the latents, so one matrix
for each autoencoder, fitted to what it makes of smooth pictures, shows shapes and colours well enough.
"""

from __future__ import annotations

import io
import logging
import time
from pathlib import Path
from uuid import uuid4

import torch
from PIL import Image

from lora_studio.access.visitor import Kind, visitor
from lora_studio.families.vae import Codec
from lora_studio.files import reason, write_atomically
from lora_studio.runtime import memory_errors

log = logging.getLogger(__name__)

SECONDS_BETWEEN = 0.33
LARGEST_SHARE = 0.02
"""Share of a picture's time that its live view may take."""
LONGEST_SIDE = 256
EXAMPLES = 6
EXAMPLE_SIDE = 8
"""Side of an example in latents."""
STALE_SECONDS = 3600


class LiveView:
    """Writes what latents look like into a file of `folder`, over the last; `close` removes it."""

    def __init__(self, folder: Path, *, seconds_between: float = SECONDS_BETWEEN) -> None:
        self._path = folder / f"{uuid4().hex}.webp"
        visitor().claims(Kind.LIVE, self._path.name)
        self._between = seconds_between
        self._next = time.monotonic() + seconds_between
        self.failed = ""
        """The reason why there are no more looks; empty while there are."""

    @property
    def is_due(self) -> bool:
        return not self.failed and time.monotonic() >= self._next

    def show(self, latents: torch.Tensor, colours: torch.Tensor) -> str:
        """Write what `latents` [1, c, h, w] look like by `colours_of`; the file, or nothing if that fails."""
        started = time.monotonic()
        picture = look(latents, colours)
        try:
            self._write(picture)
        except OSError as error:
            self.failed = reason(error)
            log.warning("no live previews: %s", error)
            return ""
        finally:
            now = time.monotonic()
            self._next = now + max(self._between, (now - started) / LARGEST_SHARE)
        return str(self._path)

    def close(self) -> None:
        """Remove the file, and those that a run left which ended suddenly."""
        oldest = time.time() - STALE_SECONDS
        visitor().forgets(Kind.LIVE, self._path.name)
        try:
            self._path.unlink(missing_ok=True)
            for path in self._path.parent.glob("*.webp*"):
                if path.stat().st_mtime < oldest:
                    path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("a live preview can't be removed: %s", error)

    def _write(self, picture: Image.Image) -> None:
        buffer = io.BytesIO()
        picture.save(buffer, format="WEBP", quality=70, method=0)
        write_atomically(self._path, buffer.getvalue(), lasting=False)


def look(latents: torch.Tensor, colours: torch.Tensor) -> Image.Image:
    """RGB of latents [1, c, h, w] by the map `colours` [3, c + 1], enlarged to be seen."""
    latents = latents[0].float().cpu()
    seen = torch.einsum("rc,chw->hwr", colours[:, :-1], latents) + colours[:, -1]
    levels = (seen.nan_to_num().clamp(0, 1) * 255).round().to(torch.uint8).contiguous()
    height, width = levels.shape[:2]
    picture = Image.frombytes("RGB", (width, height), levels.numpy().tobytes())
    factor = max(1, LONGEST_SIDE // max(width, height))
    return picture.resize((width * factor, height * factor), Image.Resampling.BILINEAR)


@torch.no_grad()
def colours_of(codec: Codec) -> torch.Tensor:
    """The linear map from latents to colours in 0..1 that fits an autoencoder best (least squares
    over smooth pictures), [3, c + 1] with the constant last, on the CPU. Takes a small part of the time of
    one picture. Raises OutOfMemory."""
    coarse = torch.rand((EXAMPLES, 3, 3, 3), generator=torch.Generator().manual_seed(0))
    small, large = (
        torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)
        for side in (EXAMPLE_SIDE, EXAMPLE_SIDE * codec.step)
    )
    with memory_errors("the first live preview", "Take a smaller size, or close other programs."):
        pictures = [codec.to_picture(pixels[None]) for pixels in large]
        latents = codec.scaled(codec.encode(codec.to_pixels(*pictures))).mean.float().cpu()
    # Of an autoencoder that overflows at encoding, looks are of one colour; the picture itself may be well.
    latents = latents.nan_to_num(0.0, 0.0, 0.0)
    rows, seen = (found.permute(0, 2, 3, 1).flatten(0, 2) for found in (latents, small))
    with_constant = torch.cat([rows, torch.ones(len(rows), 1)], dim=1)
    return torch.linalg.lstsq(with_constant, seen).solution.T.contiguous()
