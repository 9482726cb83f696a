from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest

from lora_studio.ui.client_input.audited_calls import DEEDS, Deed, deed_of, entry_of
from lora_studio.ui.page import Page

LOOKS = {
    *("<lambda>", "ask", "change_base", "choose", "choose_image", "choose_kind", "choose_lora", "count"),
    *("draw_result", "example"),
    *("expand", "extend", "leave", "mark_small", "move", "search_results"),
    *("choose_pair", "compare_trainings", "draw_strength", "end_comparison", "start_strength_report"),
    *("strength_report", "restore_comparison"),
    *("generate", "generate_base64", "grid", "img2img", "inspect_file", "inspect_lora", "interrupt"),
    *(
        "last_seed",
        "list_captions",
        *(
            "caption_words",
            "captioning_status",
            "count_words",
            "preview_captions",
            "pack_set",
            "look_at_captioning",
            "show_fields",
            *("show_cost", "shown_for"),
        ),
        "list_edits",
        "list_datasets",
        "list_generations",
        "list_images",
        "list_loras",
    ),
    *("list_samplers", "list_styles", "list_trainings", "look", "look_at_people", "look_at_usage"),
    *("look_into_file", "look_into_lora", "plan_training", "preview_now", "queued", "read_settings"),
    *("remove", "replan", "restore", "reword", "save_now", "show", "stop_import", "take", "take_away"),
    *("training_status", "use_chosen", "use_result", "use_settings", "work", "move", "open_named", "pack"),
    *("choose_base", "show_cards", "list_settings", "load_settings", "open_settings", "write_json"),
    *("write_toml", "use_stopped", "repeat"),
    *("plan_publishing", "stop_publishing"),
    *(
        "export",
        "export_lora",
        "export_dataset",
        "stop_export",
        "open_set",
        "read_card",
        "unfold",
        "get_card",
    ),
    *("check_studio", "list_storage", "open_studio_tab", "check_again", "look_at_studio"),
    *("list_repairs", "stop_repair"),
    *("check_dataset", "stop_check", "dataset_report"),
    *("look_at_set", "end_check", "begin_check", "download_report"),
    *("stop_reading", "stop_packing", "tell_buckets"),
}
"""Calls that change nothing of value, and those that draw."""
IDS = {"dataset_id", "check_id", "job_id", "slug", "image_id", "token", "id"}
HOLDERS = {
    *("upload-dataset", "train-job", "train-saved", "strip-job", "generate-ticket"),
    *("people-person", "people-invites"),
    *(f"gallery-{what}-{part}" for what in ("lora", "image") for part in ("chosen", "token")),
}
"""Parameters of endpoints, and fields of the page, that hold an id."""


def test_every_name_is_one_of_a_call_and_every_call_has_one(locked_page: Page) -> None:
    """On the page that has all of them."""
    names = {block_fn.name for block_fn in locked_page.fns.values() if block_fn.fn}
    assert not DEEDS.keys() - names
    assert names - DEEDS.keys() == LOOKS


def test_no_word_of_a_person_is_taken_for_a_thing(locked_page: Page) -> None:
    """Every input gets a word in the form of an id: a name like Anna, a token in the field of a link."""
    tried = 0
    for block_fn in locked_page.fns.values():
        if not (block_fn.fn and (deed := DEEDS.get(str(block_fn.name)))):
            continue
        if block_fn.api_visibility == "public":
            names, known = list(inspect.signature(block_fn.fn).parameters), IDS
        else:
            names, known = [str(part.elem_id) for part in block_fn.inputs], HOLDERS
        words = [f"word{place}" for place in range(len(names))]
        clicked = SimpleNamespace(_data={"text": "caption", "id": "id", "slug": "id", "action": "undo"})
        thing = entry_of(deed, words, clicked, None, None).thing
        assert thing in {"", "id", *(word for word, name in zip(words, names, strict=True) if name in known)}
        tried += 1
    assert tried > 30


@pytest.mark.parametrize(
    ("name", "inputs", "clicked", "thing"),
    [
        ("share", ["lora", "ink", True], None, "ink"),
        ("set_role", ["ada.b@example", "admin"], None, "ada.b@example"),
        ("invite_somebody", ["creator", "72", "Anna"], None, ""),
        ("upload_dataset", [[], "Anna"], None, ""),
        ("import_lora_link", ["hf_secret"], None, ""),
        ("start_training", ["../x", "Anna", "style"], None, ""),
        ("delete", ["ink"], {"id": "other"}, "ink"),
        ("use", [], {"slug": "ink", "step": 3}, "ink"),
        ("undo_deleted", [], {"id": "0f"}, "0f"),
        ("undo", [], "odd", ""),
        ("rename", [None, "Anna"], {"id": ["x"]}, ""),
    ],
)
def test_the_thing_is_what_the_call_names(
    name: str, inputs: list[object], clicked: object, thing: str
) -> None:
    event = SimpleNamespace(_data=clicked)
    deed = deed_of(name, event)
    assert deed
    assert entry_of(deed, inputs, event, None, None).thing == thing


def test_looking_is_not_logged() -> None:
    assert deed_of("list_loras") is deed_of("lambda") is None
    assert deed_of("share") == Deed(name="share", place=1)
    assert deed_of("act", SimpleNamespace(_data={"action": "again"})) is None
    assert deed_of("act", SimpleNamespace(_data={"action": "undo"}))
