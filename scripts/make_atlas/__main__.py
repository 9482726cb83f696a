"""Draw the effects atlas: what each setting does, as strips of pictures with the same seed.

    python -m scripts.make_atlas [--base starter-flow] [--only network_dim ...] [--keep FOLDER] [--tiny]

Writes atlas-<base>.md into the folder of the documentation, with the steps, the seconds and the loss of
each training beside its strip, and the strips into img/atlas below it. A run trains some twenty LoRAs: a
quarter of an hour of one core with the starter. `--keep` names a folder that keeps them: a run that broke off
goes on there, and strips can be drawn again in seconds. `--tiny` shows that it works, in a minute: a few
steps, two values of each setting, one prompt.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lora_studio.catalog import EMBEDDED, STARTER
from lora_studio.settings import CHECKOUT, Settings
from lora_studio.studio import open_studio
from scripts.make_atlas.atlas_page import write_atlas
from scripts.make_atlas.effects_atlas import Atlas
from scripts.make_atlas.strips import STRIPS


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.make_atlas",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--base", choices=[base.name for base in EMBEDDED], default=STARTER.name)
    parser.add_argument("--only", nargs="+", default=[], choices=[strip.setting for strip in STRIPS])
    parser.add_argument(
        "--out", type=Path, default=CHECKOUT / "docs", help="folder of the page (default: docs)"
    )
    parser.add_argument("--keep", type=Path, help="folder for the LoRAs (default: one that is removed)")
    parser.add_argument("--tiny", action="store_true", help="few steps and values, to see that it works")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        home = given.keep or Path(name)
        studio = open_studio(Settings(home=home / "home", models=home / "models"))
        try:
            page = write_atlas(Atlas(studio=studio, base=given.base, tiny=given.tiny), given.out, given.only)
        finally:
            studio.close()
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
