"""Exports read by sd-scripts itself: python -m scripts.compare_kohya_export FOLDER --python PYTHON

FOLDER is a checkout of kohya-ss/sd-scripts, PYTHON an interpreter with what it needs. Sets are made that have
between them all that an export writes; each is exported, and sd-scripts' own reader of dataset configs makes
its datasets and buckets of it. Then each picture's caption, repeats, place among training or regularisation,
bucket, scaled size, mask and options are compared with what the studio says of the set. One line a set; the
exit status is 1 where something differs. No model is loaded, and nothing is fetched.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

RESOLUTION, STEP = 512, 64
OPTIONS = (
    *("shuffle_caption", "keep_tokens", "keep_tokens_separator", "secondary_separator", "enable_wildcard"),
    *("caption_prefix", "caption_suffix", "caption_dropout_rate", "caption_tag_dropout_rate", "flip_aug"),
    *("caption_dropout_every_n_epochs", "token_warmup_min", "token_warmup_step", "caption_separator"),
    *("color_aug", "random_crop", "alpha_mask", "resize_interpolation"),
)
ODD = (
    *(
        'it\'s a "dog", #1 {red|blue}',
        "C:\\dogs\\x, (dog:1.2), [cat]",
        "Käfer, 猫, 🐕, é",
        "a\u2028b, \u00a0c",
    ),
    *("%s {} ${HOME} \\n", "tag ||| fixed, other", "= [datasets]", "'''\"\"\"", "a , , b,"),
)
NAMES = ("p [1]", "x_1_2_3_4", "a.b", "ü é", "#1", "it's", "50%", "A", "-", "über_10_20_30_40")
Files = Mapping[str, str | bytes]


def main() -> int:
    if len(sys.argv) > 2 and sys.argv[1] == "--read":
        print(json.dumps(read_there(Path(sys.argv[2]), json.loads(sys.argv[3]))))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sd_scripts", type=Path, help="checkout of kohya-ss/sd-scripts")
    parser.add_argument("--python", required=True, help="interpreter with sd-scripts' packages")
    parser.add_argument("--only", default="", metavar="NAME", help="this set alone")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kohya-export-") as temporary:
        os.environ["LORA_STUDIO_HOME"] = str(Path(temporary) / "home")
        sets = {name: make for name, make in SETS.items() if arguments.only in ("", name)}
        failed = [name for name, make in sets.items() if not shown(name, make, Path(temporary), arguments)]
    return 1 if failed else 0


def shown(name: str, make: Callable[[Path], Any], temporary: Path, arguments: argparse.Namespace) -> bool:
    """Make, export and read one set, and print a line on it; whether nothing differs."""
    from lora_studio.data.training_set.dataset_export import CONFIG, planned_export
    from lora_studio.data.training_set.write_export import write_export

    place = temporary / name
    place.mkdir()
    data = make(place)
    out = write_export(planned_export(data, "thing"), place / "out")
    here = read_here(data)
    there = run_there(out / CONFIG, arguments, masked=any(one["mask"] for one in here))
    differing = list(differences(here, there))
    buckets = {tuple(one["bucket"]) for one in here}
    shown_counts = f"{len(here)} pictures, {sum(one['repeats'] for one in here)} with repeats"
    print(f"{name:<16} {shown_counts}, {len(buckets)} buckets: {'the same' if not differing else 'differs'}")
    for line in differing[:10]:
        print(f"  {line}")
    return not differing


def read_here(data: Any) -> list[dict[str, Any]]:
    """A table for each picture that the studio trains on."""
    from lora_studio.config_groups import DatasetGroup
    from lora_studio.data.buckets import bucketing_for
    from lora_studio.data.pixels.picture_pixels import upright_size
    from lora_studio.data.training_set.folders import read_folder
    from lora_studio.data.training_set.regularisation import shared_repeats
    from lora_studio.data.training_set.validation_split import split_off
    from lora_studio.errors import ConfigError

    try:
        found = read_folder(data.model_copy(update={"masked_loss": True}))
    except ConfigError:  # there are no masks
        found = read_folder(data)
    pictures, _ = split_off([one for one in found.pictures if is_readable(one.path)], 0)
    bare = DatasetGroup(train_data_dir="-")
    tables = []
    for picture, repeats in zip(pictures, shared_repeats(pictures), strict=True):
        if not repeats:
            continue  # of regularisation there are more than are needed
        placed = bucketing_for(found.datasets[picture.dataset], STEP).place(upright_size(picture.path))
        words = (
            picture.caption if picture.is_captioned or picture.is_reg else bare_words(data, picture.caption)
        )
        options = {name: getattr(picture.settings, name, getattr(bare, name, None)) for name in OPTIONS}
        tables.append(
            {
                "caption": words if picture.settings.enable_wildcard else words.split("\n")[0],
                "repeats": repeats,
                "is_reg": picture.is_reg,
                "bucket": list(placed.bucket),
                "resized": list(placed.resized),
                "mask": picture.mask is not None,
                **{name: value for name, value in options.items() if value not in (None, "", False, 0)},
            }
        )
    return tables


def is_readable(path: Path) -> bool:
    from lora_studio.data.pixels.picture_pixels import upright_size
    from lora_studio.errors import DatasetError

    try:
        return all(upright_size(path))
    except DatasetError:
        return False


def bare_words(data: Any, caption: str) -> str:
    """The caption of a picture that has none: class tokens take the place of a trigger word alone."""
    return f"{data.trigger_word} thing".strip() if caption == data.trigger_word else caption


def run_there(config: Path, arguments: argparse.Namespace, *, masked: bool) -> list[dict[str, Any]]:
    asked = json.dumps({"checkout": str(arguments.sd_scripts.absolute()), "masked": masked})
    command = [arguments.python, str(Path(__file__).absolute()), "--read", str(config), asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=config.parent)
    if done.returncode:
        raise SystemExit(f"sd-scripts refused {config}:\n{done.stderr[-3000:]}")
    tables: list[dict[str, Any]] = json.loads(done.stdout.strip().splitlines()[-1])
    return tables


def read_there(config: Path, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A table for each picture that sd-scripts trains on, by its interpreter, before any model is there."""
    sys.path.insert(0, asked["checkout"])
    from library import config_util, train_util  # type: ignore[import-not-found]

    parser = argparse.ArgumentParser()
    train_util.add_dataset_arguments(parser, True, True, True)
    train_util.add_training_arguments(parser, True)
    config_util.add_config_arguments(parser)
    given = [f"--dataset_config={config}", f"--resolution={RESOLUTION}"]
    options = parser.parse_args(given)
    train_util.prepare_dataset_args(options, True)
    sanitizer = config_util.ConfigSanitizer(True, True, asked["masked"], True)
    blueprint = config_util.BlueprintGenerator(sanitizer).generate(
        config_util.load_user_config(str(config)), options
    )
    group, _ = config_util.generate_dataset_group_by_blueprint(blueprint.dataset_group)
    tables = []
    for dataset in group.datasets:
        dataset = getattr(dataset, "dreambooth_dataset_delegate", dataset)
        for key, info in dataset.image_data.items():
            subset = dataset.image_to_subset[key]
            options_there = {name: getattr(subset, name, None) for name in OPTIONS}
            mask = getattr(info, "cond_img_path", None)
            tables.append(
                {
                    "caption": info.caption,
                    "repeats": info.num_repeats,
                    "is_reg": info.is_reg,
                    "bucket": list(info.bucket_reso),
                    "resized": list(info.resized_size),
                    "mask": bool(mask) and not is_white(mask),
                    **{
                        name: value
                        for name, value in options_there.items()
                        if value not in (None, "", False, 0)
                    },
                }
            )
    return tables


def is_white(mask: str) -> bool:
    """Whether a mask lets all of its picture count, as one does that an export made up."""
    from PIL import Image

    with Image.open(mask) as image:
        return bool(image.convert("L").getextrema() == (255, 255))


def differences(here: Sequence[Mapping[str, Any]], there: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Pictures, by all that is said of them, that one of both has more often than the other."""
    ours, theirs = (Counter(json.dumps(one, sort_keys=True) for one in side) for side in (here, there))
    yield from (f"here:  {one}" for one in (ours - theirs).elements())
    yield from (f"there: {one}" for one in (theirs - ours).elements())


def settings(folder: Path, **changes: Any) -> Any:
    from lora_studio.config_groups import DatasetGroup

    return DatasetGroup.model_validate({"train_data_dir": str(folder), "resolution": RESOLUTION, **changes})


def picture(path: Path, size: tuple[int, int] = (600, 400), *, mask: int | None = None, **how: Any) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    mode, colour = how.pop("mode", "RGB"), how.pop("colour", 90)
    Image.new(mode, size, colour).save(path, **how)
    if mask is not None:
        Image.new("L", size, mask).save(path.with_name(f"{path.stem}-masklabel.png"))


def captioned(path: Path, caption: str, size: tuple[int, int] = (600, 400), ending: str = ".txt") -> None:
    picture(path, size)
    path.with_suffix(ending).write_text(caption, "utf-8")


def plain(place: Path) -> Any:
    for index, size in enumerate(((600, 400), (400, 600), (512, 512), (1000, 300), (64, 64), (2000, 1999))):
        picture(place / "set" / f"{index}.png", size)
    return settings(place / "set", trigger_word="zwx")


def repeated(place: Path) -> Any:
    for folder in ("10_sks dog", "1_a cat, sitting", "3_x"):
        for index in range(3):
            captioned(
                place / "set" / folder / f"{index}.jpg", f"a {folder} {index}, text", (500 + 60 * index, 400)
            )
        picture(place / "set" / folder / "bare.webp", (300, 900))
    return settings(place / "set")


def regularised(place: Path) -> Any:
    for index in range(3):
        captioned(place / "set" / "4_sks dog" / f"{index}.png", f"dog {index}")
    for index in range(5):
        picture(place / "reg" / "1_dog" / f"{index}.png", (400 + 90 * index, 500))
    for index in range(9):
        picture(place / "reg" / "2_cat" / f"{index}.png")
    return settings(place / "set", reg_data_dir=str(place / "reg"), trigger_word="zwx")


def masked(place: Path) -> Any:
    picture(place / "set" / "2_dog" / "a.png", mask=0)
    picture(place / "set" / "2_dog" / "b [1].png", (400, 600), mask=90)
    captioned(place / "set" / "2_dog" / "c.png", "without a mask")
    captioned(place / "set" / "1_cat" / "d.png", "a cat, no masks here")
    return settings(place / "set")


def odd_words(place: Path) -> Any:
    for index, caption in enumerate(ODD):
        captioned(place / "set" / '1_it\'s "é" #1 {x}' / f"{index}.png", caption)
    for index, name in enumerate(NAMES):
        captioned(place / "set" / "2_names" / f"{name}.png", f"name {index}")
    picture(place / "set" / "2_names" / "x.png")
    return settings(place / "set")


def odd_pictures(place: Path) -> Any:
    from PIL import Image

    folder = place / "set" / "1_odd"
    picture(folder / "a.gif", mode="P")
    picture(folder / "b.tif", (400, 700))
    picture(folder / "c.png", mode="I;16", colour=9000)
    picture(folder / "d.png", mode="RGBA", colour=(200, 0, 0, 40))
    picture(folder / "e.jpg", mode="CMYK", colour=(9, 9, 9, 9))
    turned = Image.Exif()
    turned[0x0112] = 6
    picture(folder / "f.jpg", (800, 300), exif=turned)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    return settings(place / "set")


def edited(place: Path) -> Any:
    from lora_studio.data.edits.overlay import apply_edits
    from lora_studio.data.edits.picture_edits import CropPicture, RemovePicture, RotatePicture, SetCaption

    root = place / "set"
    for index in range(4):
        captioned(root / "5_dog" / f"{index}.png", f"dog {index}", (700, 400))
    edits = [CropPicture("5_dog/0.png", 0, 0, 300, 400), RotatePicture("5_dog/1.png", 90)]
    apply_edits(root, [*edits, RemovePicture("5_dog/2.png"), SetCaption("5_dog/3.png", 'another, "one"')])
    return settings(root)


EVERYTHING = """
[general]
caption_extension = ".caption"
shuffle_caption = true
keep_tokens = 1
enable_bucket = true

[[datasets]]
resolution = [640, 512]
batch_size = 3
min_bucket_reso = 320
max_bucket_reso = 960

  [[datasets.subsets]]
  image_dir = "dogs"
  num_repeats = 7
  class_tokens = "sks dog, \\"é\\""
  caption_prefix = "a photo of 'x',"
  caption_suffix = ", # 50% \\\\ end"
  flip_aug = true

  [[datasets.subsets]]
  image_dir = "others"
  is_reg = true
  num_repeats = 2
  class_tokens = "dog"
  shuffle_caption = false

[[datasets]]
resolution = 768
batch_size = 2
bucket_no_upscale = true

  [[datasets.subsets]]
  image_dir = "dogs"
  caption_dropout_rate = 0.1
  caption_tag_dropout_rate = 0.2
  token_warmup_step = 5
  secondary_separator = ";;;"

[[datasets]]
resolution = 512
validation_split = 0.25
validation_seed = 7

  [[datasets.subsets]]
  image_dir = "held out"
  num_repeats = 2

[[datasets]]
enable_bucket = false
resolution = 320

  [[datasets.subsets]]
  image_dir = "masked"
  conditioning_data_dir = "white"
  enable_wildcard = true
  keep_tokens_separator = "|||"
"""


def everything(place: Path) -> Any:
    for index, caption in enumerate((*ODD, "")):
        picture(place / "dogs" / f"{index}.png", (500 + 70 * index, 900 - 60 * index))
        if caption:
            (place / "dogs" / f"{index}.caption").write_text(caption, "utf-8")
    # Of its own: what one dataset holds out no other trains on here, which sd-scripts does.
    for index in range(9):
        captioned(place / "held out" / f"{index}.png", f"held {index}", (400 + 90 * index, 600), ".caption")
    for index in range(4):
        picture(place / "others" / f"{index}.png", (400 + 200 * index, 500))
    for index in range(3):
        captioned(place / "masked" / f"{index}.png", f"one {index}\ntwo ||| {index}", ending=".caption")
        picture(place / "white" / f"{index}.png", mode="L", colour=80 * index)
    (place / "all.toml").write_text(EVERYTHING, "utf-8")
    return settings(place, dataset_config=str(place / "all.toml"), train_data_dir="-")


def uploaded(place: Path) -> Any:
    """The set with everything, put into a ZIP, uploaded, and exported from there."""
    from lora_studio.data.training_set.run_subsets import options_of_set
    from lora_studio.dataset import Datasets
    from lora_studio.settings import Settings
    from lora_studio.store.database import Database

    everything(place)
    with zipfile.ZipFile(place / "all.zip", "w") as archive:
        for path in (path for path in place.rglob("*") if path.is_file() and path.suffix != ".zip"):
            archive.write(path, path.relative_to(place))
    home = Settings.from_environment()
    home.create_folders()
    database = Database(home.database)
    record = Datasets(home, database).create("All", [place / "all.zip"])
    database.close()
    return settings(Path(record.path), **options_of_set(record.path))


SETS: dict[str, Callable[[Path], Any]] = {
    **{"plain": plain, "repeats": repeated, "regularisation": regularised, "masks": masked},
    **{"odd words": odd_words, "odd pictures": odd_pictures, "edited": edited},
    **{"everything": everything, "uploaded": uploaded},
}

if __name__ == "__main__":
    sys.exit(main())
