"""What each endpoint takes: for every parameter a right value, and what is wrong in every way we know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.api_caller import Caller, write_lora, write_picture

NAN, INFINITE = float("nan"), float("inf")
LONG = "x" * 20_000
HALF = "\ud800"
"""Half of a character: JSON can hold it, no file can."""
PASSWORDS = "/etc/passwd"
ODD = [7, NAN, ["x"], {"a": 1}]
ID = [None, "", "../x", PASSWORDS, "a\0b", "0" * 12, LONG, HALF, *ODD]
SLUG = [*ID, "Not-A-Slug", "-x"]
TOKEN = [*ID, "0" * 32]
TEXT = [*ODD, LONG, HALF]
NAME = [*TEXT, None, "", "a/b", "..\\b", ".hidden", "a\0b", "???"]
KIND = [None, "", "landscape", LONG, *ODD]
FLAG = [None, "", "no", 0, 1, NAN, [], {}]
NUMBER = ["x", "1e999", 10**400, NAN, INFINITE, -INFINITE, True, [1], {}, LONG, HALF]
SEED = [*NUMBER, -1, 1.5, 2**63]
COUNT = [*NUMBER, None, "", 0, -1, 17, 1.5]
LIMIT = [*NUMBER, None, "", 0, -1, 501, 1.5]
STEP = [*NUMBER, None, "", -1, 1.5, 12345]
BASE = [None, "", "nowhere", "/etc", "../starter", "a\0b", LONG, HALF, *ODD]
PROMPT = [*TEXT, None]
UPLOAD = [
    *(None, "", [], [None], {}, PASSWORDS, "../x", "a\0b", LONG, HALF, 7, True, [[[]]]),
    {"path": PASSWORDS},
    [{"path": PASSWORDS, "meta": {"_type": "gradio.FileData"}}],
    {"url": f"file://{PASSWORDS}"},
]
PICTURE = [*UPLOAD, "data:", "data:image/png;base64,AAAA", "data:image/png;base64,%%%", "data:text/html,<b>"]
LINK = [*TEXT, None, "", PASSWORDS, f"file://{PASSWORDS}", "http://127.0.0.1/", "https://[::1]/x", "a\0b"]
LORAS = [
    *("ink", "", 0, {}, {"slug": "layer"}, True, NAN, [7], [None], [["layer"]], [{}], [LONG]),
    *([{"slug": "../x"}], [{"slug": "not-there"}], [{"slug": 7}], [{"slug": LONG}], [{"slug": HALF}]),
    *([{"slug": "layer", "weight": weight}] for weight in (NAN, INFINITE, 99, "x", None, [1])),
    [{"slug": "layer", "text_encoder_weight": -99}],
    [{"slug": "layer", "checkpoint": -1}],
    [{"slug": "layer", "waight": 1}],
]
NO_MAPPING = ["x", "", [], [1], 7, True, NAN, LONG]
IMAGE_OPTIONS = [
    *NO_MAPPING,
    *({"stepz": 3}, {LONG: 1}, {"": 1}, {"image": "0" * 64}, {"prompt": "x"}, {"count": 2}),
    *({"num_inference_steps": wrong} for wrong in (0, 201, 1.5, "x", [1], NAN, 10**400, True)),
    *({"guidance_scale": wrong} for wrong in (-1, 31, NAN, INFINITE, "x", {})),
    *({"width": wrong} for wrong in (16, 65, 4096, INFINITE, "wide")),
    *({"sampler": wrong} for wrong in ("Magic", 7, LONG)),
    *({"hires_upscaler": "x"}, {"image_format": "gif"}, {"clip_skip": 99}, {"insert_trigger": "perhaps"}),
    *({"variation_strength": 2}, {"variation_seed": -1}, {"hires_scale": NAN}, {"guidance_rescale": "x"}),
]
ELSEWHERE = [{"base": "/etc"}, {"base": None}, {"negative_prompt": LONG}, {"negative_prompt": 7}]
REDRAW_OPTIONS = [*IMAGE_OPTIONS, *ELSEWHERE, {"strength": 0}, {"strength": NAN}, {"mask_blur": 65}]
TRAIN_OPTIONS = [
    *NO_MAPPING,
    *({"max_train_step": 10}, {LONG: 1}, {"": 1}, {HALF: 1}, {"mixed_precision": "fp8"}),
    *({"max_train_steps": wrong} for wrong in (0, "x", 1.5, [1], NAN, INFINITE, 10**400, {"a": 1}, LONG)),
    *({"learning_rate": wrong} for wrong in (-1, NAN, "x", [])),
    *({"output_dir": "/x"}, {"output_name": "x"}, {"train_data_dir": "/etc"}, {"network_dim": {"a": 1}}),
    *({"pretrained_model_name_or_path": "/etc"}, {"sample_prompts": HALF}, {"resolution": "x"}),
]
AXIS = [
    *("x", "", 0, 7, [], {}, True, NAN, ["seed", "1"], {"parameter": "seed"}, {"values": "1"}),
    *({"parameter": "seed", "values": wrong} for wrong in ("", 7, ["1"], "1-500", "nan", "x", LONG, HALF)),
    *({"parameter": wrong, "values": "1"} for wrong in ("password", "", 7, None, LONG, "lora_weight:../x")),
    {"parameter": "seed", "values": "1", "more": "x"},
    {"parameter": "sampler", "values": "Magic"},
    {"parameter": "base", "values": PASSWORDS},
]


@dataclass(frozen=True, kw_only=True)
class World:
    """What there is in the app that the tables' right values name."""

    dataset: str
    picture: Mapping[str, Any]
    lora: str = "layer"
    nothing: str = "0" * 12

    @classmethod
    def in_app(cls, studio: Caller, folder: Path) -> World:
        """One that is put into a running app; the files come by `folder`."""
        (picture,) = studio.upload(write_picture(folder / "teal.png"))
        made = studio.run("upload_dataset", [picture], "Teal")
        (lora,) = studio.run("import_lora", studio.upload(write_lora(folder / "layer.safetensors")))
        assert lora["slug"] == cls.lora
        return cls(dataset=made["dataset_id"], picture=picture)


Right = Any
"""A value, or what makes it of the World."""
Row = Mapping[str, tuple[Right, Sequence[Any]]]

STATE = [*TEXT, "gone", PASSWORDS]
DATASET = (lambda world: world.dataset, ID)
JOB = (lambda world: world.nothing, ID)
LORA = (lambda world: world.lora, SLUG)
ONE_PICTURE = (lambda world: world.picture, PICTURE)
FILES = (lambda world: [world.picture], UPLOAD)
ONE_STEP = {"num_inference_steps": 1}
STACK = ([], LORAS)
NO_BASE = ("", [wrong for wrong in BASE if wrong not in (None, "")])
"""A base is not needed; what is sent has to be one."""
REPAIRS = [
    *NO_MAPPING,
    *({}, {"colour": "red"}, {LONG: 1}, {"": 1}, {"spelling": "klingon"}, {"spelling": ["kohya"]}),
    *({"save_precision": wrong} for wrong in ("fp8", 7, {}, LONG, HALF)),
    *({"new_rank": wrong} for wrong in (-1, 1.5, "x", NAN, 10**400, [1], True)),
    *({"dynamic_method": "sv_fro"}, {"dynamic_method": "sv_fro", "dynamic_param": 2}, {"alpha": 1}),
    *({"dynamic_method": "sv_fro", "dynamic_param": wrong} for wrong in (NAN, INFINITE, "x", -1)),
    *({"strip_private": "perhaps"}, {"drop_broken": [1]}),
]
DRAWING: Row = {
    "prompt": ("a dog", PROMPT),
    "loras": STACK,
    "base": ("starter", BASE),
    "negative_prompt": ("", PROMPT),
    "seed": (1, SEED),
    "count": (1, COUNT),
    "options": (ONE_STEP, IMAGE_OPTIONS),
}
OF_A_JOB: Row = {"job_id": JOB}
SUBJECT: Row = {
    "dataset_id": DATASET,
    "name": ("x", NAME),
    "kind": ("style", KIND),
    "trigger": ("", TEXT),
    "base": ("starter", BASE),
    "options": ({"max_train_steps": 2}, TRAIN_OPTIONS),
}
ENDPOINTS: Mapping[str, Row] = {
    "upload_dataset": {"files": FILES, "name": ("x", TEXT)},
    "start_training": SUBJECT,
    "plan_training": {name: cell for name, cell in SUBJECT.items() if name != "name"},
    "training_status": OF_A_JOB,
    "stop_training": OF_A_JOB,
    "pause_training": OF_A_JOB,
    "resume_training": {**OF_A_JOB, "as_new_run": (False, FLAG)},
    "save_now": OF_A_JOB,
    "preview_now": OF_A_JOB,
    "use_checkpoint": {"slug": LORA, "step": (20, STEP)},
    "list_datasets": {},
    "list_captions": {"dataset_id": DATASET},
    "set_caption": {
        "dataset_id": DATASET,
        "file": ("teal.png", [*TEXT, None, "", "../teal.png", PASSWORDS, "dataset.json", "a\0b"]),
        "caption": ("teal", TEXT),
    },
    "list_edits": {"dataset_id": DATASET},
    "edit_pictures": {
        "dataset_id": DATASET,
        "edits": (
            [{"edit": "flip", "picture": "teal.png"}],
            [
                *NO_MAPPING,
                *([wrong] for wrong in (None, {}, 7, "flip", NAN, {"edit": LONG}, {"edit": {"a": 1}})),
                *(
                    [{"edit": "flip", "picture": wrong}]
                    for wrong in (None, "../teal.png", PASSWORDS, HALF, LONG, 7)
                ),
                *([{"edit": "rotate", "picture": "teal.png", "degrees": wrong}] for wrong in NUMBER),
                [{"edit": "crop", "picture": "teal.png", "left": 0, "top": 0, "right": 10**400, "bottom": 9}],
                [{"edit": "caption", "picture": "teal.png", "caption": LONG}],
            ],
        ),
        "why": ("x", TEXT),
        "after": ("", STATE),
    },
    "undo_edit": {"dataset_id": DATASET, "after": ("", STATE)},
    "redo_edit": {"dataset_id": DATASET, "after": ("", STATE)},
    "name_version": {
        "dataset_id": DATASET,
        "name": ("first", [*TEXT, None, "", "originals"]),
        "after": ("", STATE),
    },
    "go_to_version": {
        "dataset_id": DATASET,
        "version": ("originals", [*TEXT, None, "", "gone", PASSWORDS]),
        "after": ("", STATE),
    },
    "check_dataset": {
        **{name: cell for name, cell in SUBJECT.items() if name != "name"},
        "anew": (False, FLAG),
    },
    "stop_check": {"check_id": JOB},
    "fix_dataset": {
        "check_id": JOB,
        "checks": (["borders"], [*NO_MAPPING, [7], [None], ["gone"], [LONG], [HALF], [["borders"]]]),
        "pictures": (["teal.png"], [*NO_MAPPING, [7], [None], [LONG], [HALF]]),
    },
    "dataset_report": {"check_id": JOB, "form": ("html", [*TEXT, None, "", "pdf"])},
    "caption_words": {
        "dataset_id": DATASET,
        **dict.fromkeys(("form", "only", "without"), ("", TEXT)),
        "base": ("starter", BASE),
    },
    "change_captions": {
        "dataset_id": DATASET,
        "operation": (
            {"operation": "add", "words": "outdoors"},
            [
                *(*NO_MAPPING, None, {}, {LONG: 1}, {HALF: 1}, {"operation": LONG}, {"operation": {"a": 1}}),
                *({"operation": "add", "words": wrong} for wrong in (None, "", LONG, 7, [], {}, NAN, " , ")),
                *({"operation": "merge", "words": wrong, "by": "x"} for wrong in ("x", [], [7], [LONG])),
                {"operation": "add", "words": "x", "at": HALF},
            ],
        ),
        **dict.fromkeys(("form", "only", "without"), ("", TEXT)),
        "preview": (True, FLAG),
        "after": ("", STATE),
    },
    "start_captioning": {
        "dataset_id": DATASET,
        "engine": ("starter", [*TEXT, None, "", "gpt", PASSWORDS]),
        "trigger": ("zwx", TEXT),
        "template": ("{trigger}, {caption}", [*TEXT, None, "", "no place"]),
        "again": (False, FLAG),
        "tagger": (
            {"general_threshold": 0.4},
            [*("x", 7, NAN, ["x"], {"nowhere": 1}, {"undesired_tags": LONG}, {"caption_separator": "  "})]
            + [{"general_threshold": wrong} for wrong in ("x", NAN, INFINITE, -1, None, [1])],
        ),
        "pictures": ([], ["x", 7, NAN, {"a": 1}, [7], [None], ["nowhere.png"], [LONG], [HALF]]),
    },
    "captioning_status": {"dataset_id": DATASET},
    "stop_captioning": {"dataset_id": DATASET},
    "export_dataset": {
        "dataset_id": DATASET,
        "repeats": (2, [*NUMBER, None, "", 0, -1, 1.5, 100_001]),
        "class_tokens": ("thing", TEXT),
        "trigger": ("zwx", TEXT),
    },
    "stop_export": {},
    "delete_dataset": {"dataset_id": (DATASET[0], ID)},
    "list_trainings": {"limit": (5, LIMIT)},
    "list_loras": {"search": ("", TEXT)},
    "import_lora": {"files": FILES},
    "inspect_lora": {"slug": LORA, "base": NO_BASE},
    "inspect_file": {"files": FILES, "base": NO_BASE},
    "repair_lora": {
        "slug": LORA,
        "options": ({"strip_private": True}, REPAIRS),
        "title": ("x", TEXT),
    },
    "merge_loras": {
        "loras": (lambda world: 2 * [{"slug": world.lora}], [*LORAS, [], [{"slug": "layer"}]]),
        "options": (None, [wrong for wrong in REPAIRS if wrong != {}]),
        "title": ("x", TEXT),
    },
    "list_repairs": {},
    "stop_repair": {},
    "compare_trainings": {"first": JOB, "second": JOB},
    "start_strength_report": {
        "slug": LORA,
        "base": NO_BASE,
        "noun": ("dog", TEXT),
        "weights": ([1], ["1", 7, True, {}, NAN, ["x"], [NAN], [9], [[1]], [True], list(range(9))]),
    },
    "strength_report": {"slug": LORA},
    "export_lora": {"slug": LORA, "options": (None, [wrong for wrong in REPAIRS if wrong != {}])},
    "get_card": {"slug": LORA},
    "set_card": {
        "slug": LORA,
        "description": ("A *good* one.", TEXT),
        "trigger": ("", TEXT),
        "prompts": (["a dog"], ["x", 7, {}, [7], [None], [LONG], [HALF], ["x"] * 21, True]),
    },
    "publish_lora": {
        "slug": LORA,
        "name": ("x/y", [*ODD, LONG, HALF, "a/b/c", "../x", "a b"]),
        "private": (True, FLAG),
    },
    "stop_publishing": {},
    "import_lora_link": {"link": ("https://files.invalid/x.safetensors", LINK), "file": ("", TEXT)},
    "stop_import": {},
    "rename_lora": {"slug": LORA, "title": ("Layer", [*TEXT, None, "", " ", "\0"])},
    "delete_lora": {"slug": LORA},
    "delete_training": {"job_id": JOB},
    "list_images": {"search": ("", TEXT), "limit": (5, LIMIT)},
    "delete_image": {"image_id": (lambda world: world.nothing, [*ID, "0" * 64])},
    "undo_delete": {"token": (lambda world: world.nothing, TOKEN)},
    "share": {"what": ("lora", KIND), "id": LORA, "shared": (False, FLAG)},
    "generate": DRAWING,
    "generate_base64": DRAWING,
    "img2img": {
        "image": ONE_PICTURE,
        "prompt": ("a dog", PROMPT),
        "mask": (None, [wrong for wrong in PICTURE if wrong not in (None, "")]),
        "loras": STACK,
        "seed": (1, SEED),
        "count": (1, COUNT),
        "options": (ONE_STEP, REDRAW_OPTIONS),
    },
    "grid": {
        "prompt": ("a dog", PROMPT),
        "x": ({"parameter": "seed", "values": "1"}, [*AXIS, None]),
        "y": (None, AXIS),
        "z": (None, AXIS),
        "loras": STACK,
        "seed": (1, SEED),
        "options": (ONE_STEP, [*IMAGE_OPTIONS, *ELSEWHERE]),
    },
    "interrupt": {
        "ticket": (lambda world: world.nothing, [wrong for wrong in ID if wrong not in (None, "")])
    },
    "list_generations": {},
    "list_samplers": {"base": NO_BASE},
    "list_styles": {},
    "read_settings": {"picture": ONE_PICTURE},
    "check_studio": {},
    "list_storage": {},
    "clean_up": {"kind": ("checkpoints", [*TEXT, None, "", "loras", PASSWORDS])},
}
"""Every endpoint, its parameters in order."""


def right_values(row: Row, world: World) -> dict[str, Any]:
    """By parameter."""
    return {name: right(world) if callable(right) else right for name, (right, _) in row.items()}
