"""``python -m recipes.starter STAGE``: run one stage; a stopped one goes on where it was."""

import argparse
from collections.abc import Callable

STAGES = (
    "data", "tokenizer", "narrow", "small", "full", "words", "wide", "more", "settle", "decoder", "large",
    "judge", "sheet", "publish", "report", "vocabulary", "gates", "defaults",
    "regularisation", "examples",
)  # fmt: skip
MINUTES = {
    "narrow": 19.0, "small": 10.0, "full": 57.0, "words": 15.0, "wide": 60.0, "more": 50.0, "settle": 45.0,
    "decoder": 8.0, "large": 60.0,
}  # fmt: skip
# The autoencoder: from nothing, then twice as wide beside "more", then its decoder alone.
AUTOENCODER: dict[str, dict] = {
    "narrow": {},
    "wide": {
        "peak_rate": 1.2e-3, "concept_share": 0.3, "permuted_share": 0.3, "latent_noise": 0.05,
        "teacher_weight": 0.3,
    },
    "decoder": {"peak_rate": 5e-4, "concept_share": 0.5, "permuted_share": 0.2, "latent_noise": 0.15},
}  # fmt: skip
CORE: dict = {"core_only": True}
ALL: dict = {"backgrounds": 5, "colours": 5, "made_up_words": 0.25}
# Text to image: the shapes of the core at a quarter of the cost, the core, words without meaning, all else on
# the narrow autoencoder's latents, all of it on the wide one's. "large" is for a GPU.
TEXT_TO_IMAGE: dict[str, dict] = {
    "small": CORE | {"size": 32, "batch": 32},
    "full": CORE | {"start_from": "small"},
    "words": CORE | {"start_from": "full", "peak_rate": 5e-4, "made_up_words": 0.35},
    "more": ALL | {"start_from": "words", "peak_rate": 8e-4, "warm_up": 300},
    "settle": ALL
    | {"start_from": "more", "peak_rate": 7e-4, "warm_up": 200, "autoencoder": "autoencoder_wide"},
    "large": ALL | {"start_from": "settle", "size": 96, "batch": 64, "autoencoder": "autoencoder_wide"},
}


def main() -> int:
    """Parse the command line and run the stage; non-zero when a gate fails."""
    parser = argparse.ArgumentParser(prog="python -m recipes.starter", description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--minutes", type=float, help="time box of a training stage")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--size", type=int, help="picture size in pixels")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--peak-rate", type=float)
    parser.add_argument("--start-from", help="text-to-image: begin with this finished stage's weights")
    given = {key: value for key, value in vars(parser.parse_args()).items() if value is not None}
    stage = given.pop("stage")
    if stage in MINUTES:
        given.setdefault("minutes", MINUTES[stage])
        return train(stage, given)
    return run(stage, given.get("size", 64))


def train(stage: str, given: dict) -> int:
    """A time-boxed training stage."""
    from recipes.starter import autoencoder, text_to_image

    if stage in AUTOENCODER:
        autoencoder.train(autoencoder.Options(stage, **(AUTOENCODER[stage] | given)))
    else:
        text_to_image.train(text_to_image.Options(stage, **(TEXT_TO_IMAGE[stage] | given)))
    return 0


def run(stage: str, size: int) -> int:
    """A stage without a time box."""
    from recipes.starter import (
        data,
        defaults,
        examples,
        gates,
        judge,
        publish,
        regularisation,
        report,
        tokenizer,
    )

    stages: dict[str, Callable[[], int | None]] = {
        "data": lambda: data.build(size),
        "tokenizer": tokenizer.build,
        "judge": judge.build,
        "sheet": report.build_small,
        "publish": publish.publish,
        "report": report.build,
        "vocabulary": report.build_vocabulary,
        "gates": gates.build,
        "defaults": defaults.build,
        "regularisation": regularisation.build,
        "examples": examples.build,
    }
    return stages[stage]() or 0


if __name__ == "__main__":
    raise SystemExit(main())
