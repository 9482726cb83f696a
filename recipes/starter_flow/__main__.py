"""``python -m recipes.starter_flow STAGE``: run one stage; a stopped training goes on where it was."""

import argparse
from collections.abc import Callable

STAGES = ("tokenizer", "train", "settle", "sheet", "publish", "regularisation", "report", "gates")
# Six minutes more in a longer time box, with more times near nothing but noise, where the colour of a thing
# is decided.
SETTLE = {"minutes": 48.0, "peak_rate": 4e-3, "even_times": 0.5}


def main() -> int:
    """Parse the command line and run the stage; non-zero when a gate fails."""
    parser = argparse.ArgumentParser(prog="python -m recipes.starter_flow", description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--minutes", type=float, help="time box of the training")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--peak-rate", type=float)
    given = {key: value for key, value in vars(parser.parse_args()).items() if value is not None}
    return run(given.pop("stage"), given)


def run(stage: str, given: dict) -> int:
    """One stage; `given` are options of the training."""
    from recipes.starter_flow import publish, report, text_to_image, tokenizer

    stages: dict[str, Callable[[], int | None]] = {
        "tokenizer": tokenizer.build,
        "train": lambda: text_to_image.train(text_to_image.Options(**given)),
        "settle": lambda: text_to_image.train(text_to_image.Options(**(SETTLE | given))),
        "sheet": report.build_small,
        "publish": publish.publish,
        "regularisation": publish.draw_regularisation,
        "report": report.build,
        "gates": report.measure,
    }
    return stages[stage]() or 0


if __name__ == "__main__":
    raise SystemExit(main())
