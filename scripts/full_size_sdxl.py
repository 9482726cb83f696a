"""One real training step on a full-size SDXL with random weights: python -m scripts.full_size_sdxl

Writes the base in bf16 (6.9 GB on the disk, tensor by tensor, so that this needs next to no memory), trains
on two drawn pictures and says what memory each phase took. Not part of the tests: it needs about 10 GB of
memory and minutes on a CPU.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from accelerate import init_empty_weights
from PIL import Image, ImageDraw

from scripts.bench.full_size import sdxl_pipeline, write_random_base


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="sdxl-") as folder:
        begun = time.perf_counter()
        with init_empty_weights():
            pipeline = sdxl_pipeline()
        base = write_random_base(Path(folder) / "base", pipeline)
        say("base written", begun)
        train_on(base, Path(folder), arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", help="where the base is written (default: the system's temporary folder)")
    parser.add_argument("--resolution", type=int, default=256, help="side of the pictures (default: 256)")
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--precision", default="bf16", choices=("no", "fp16", "bf16"))
    parser.add_argument("--text-encoders", action="store_true", help="train both text encoders, too")
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing")
    return parser.parse_args()


def train_on(base: Path, folder: Path, arguments: argparse.Namespace) -> None:
    from lora_studio.config import TrainConfig
    from lora_studio.events import Event, PhaseAdvanced, StepDone
    from lora_studio.trainer import train

    begun = time.perf_counter()

    def emit(event: Event) -> None:
        if isinstance(event, StepDone):
            say(f"step {event.step}, loss {event.loss:.4f}, {event.seconds:.1f} s", begun)
        elif isinstance(event, PhaseAdvanced) and event.done in (0, event.total):
            say(f"{event.phase} {event.done}/{event.total}", begun)

    side = arguments.resolution
    values = {
        "pretrained_model_name_or_path": str(base),
        "train_data_dir": str(draw_pictures(folder / "pictures", side)),
        "output_name": "full-size",
        "output_dir": str(folder / "full-size"),
        "resolution": side,
        "min_bucket_reso": min(256, side),
        "max_train_steps": arguments.steps,
        "learning_rate": 1e-4,
        "network_train_unet_only": not arguments.text_encoders,
        "gradient_checkpointing": arguments.checkpointing,
        "mixed_precision": arguments.precision,
        "sample_every_n_steps": 0,
    }
    result = train(TrainConfig.from_values(values), emit)
    say(f"{result.status}: a file of {Path(result.file).stat().st_size / 1e6:.1f} MB", begun)


def draw_pictures(folder: Path, side: int) -> Path:
    folder.mkdir()
    for number, colour in enumerate(drawn_colours()):
        picture = Image.new("RGB", (side + 64, side), colour)
        ImageDraw.Draw(picture).ellipse((side // 4, side // 4, side // 2, side // 2), fill=(250, 200, 30))
        picture.save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a disc, number {number}", encoding="utf-8")
    return folder


def drawn_colours() -> Iterator[tuple[int, int, int]]:
    yield from ((40, 90, 200), (190, 40, 90))


def say(what: str, begun: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(f"{time.perf_counter() - begun:7.1f} s   peak {peak:5.2f} GB   {what}", flush=True)


if __name__ == "__main__":
    main()
