"""Names of files in every place that makes one: none that Windows, macOS or Linux can't have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from lora_studio.config_groups.output_group import OutputGroup
from lora_studio.data.ingestion.ingest import _free_name
from lora_studio.data.ingestion.uploaded_files import _kohya_folder
from lora_studio.data.training_set.dataset_export import folder_name
from lora_studio.dataset import UNFINISHED
from lora_studio.downloads.file_links import name_of_file
from lora_studio.errors import ConfigError
from lora_studio.images.image_metadata import write_picture
from lora_studio.kohya_config.read_options import _named
from lora_studio.lora.file.lora_files import file_name
from lora_studio.lora.lora_folder import free_path
from lora_studio.lora.run_states import state_file
from lora_studio.parsing.file_names import LONGEST_BYTES, is_portable, portable_name
from lora_studio.parsing.slugs import free_slug, slug_from
from lora_studio.training_setup import slug_of

DEVICES = ("con", "nul", "prn", "aux", "com1", "LPT9", "con.txt", "CONIN$", "com¹", "nul .x", "Aux.tar.gz")
ODD = (
    *DEVICES,
    *("a:b", "a<b>", 'say "x"', "what?", "a|b", "a*b", "a/b", "..\\b", "dot.", "blank ", " . ", "..", ""),
    *("x" * 300, "🐱" * 100, "猫" * 200, "a\x00b", "tab\tname", "\u202egnp.exe", "\ud800", "e\u0301" * 90),
)
LONGEST_PATH = 240
"""Windows' limit is 260, and a file is written under a longer name first."""
names = st.one_of(
    st.text(max_size=120),
    st.sampled_from(ODD),
    st.tuples(st.sampled_from(ODD), st.text(max_size=4)).map("".join),
)


def named(name: str) -> dict[str, str]:
    """The header by which a server names what it sends."""
    return {"content-disposition": f"attachment; filename*=UTF-8''{quote(name, errors='replace')}"}


def from_options(name: str) -> str:
    """The folder of a training whose sd-scripts file gives it this name."""
    return str(_named({"output_name": name})["output_name"])


def from_the_form(name: str) -> str:
    """The folder of a training that a person gives this name."""
    try:
        return free_slug(slug_of(name), {"taken"}.__contains__)
    except ConfigError:
        return "refused"


MADE: dict[str, Callable[[str], str]] = {
    "portable_name": lambda name: portable_name(name, "file"),
    "picture": lambda name: _free_name({"a"}, name),
    "caption": lambda name: Path(_free_name(set(), name)).with_suffix(".txt").name,
    "mask": lambda name: Path(_free_name(set(), name)).stem + "-masklabel.png",
    "folder of an archive": lambda name: _kohya_folder((f"10_{name}",)) or "none",
    "folder of an export": lambda name: folder_name(f"10_{name}", 10, ""),
    "folder of an export without repeats": lambda name: folder_name("set", 10, name),
    "training": from_the_form,
    "training from options": from_options,
    "file of a LoRA": lambda name: file_name(from_the_form(name)),
    "file of a link": lambda name: name_of_file(httpx.URL("https://example.org/a"), named(name)),
    "imported LoRA": lambda name: free_path(Path("loras") / (slug_from(name) or "lora")).name,
}


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_every_system_can_keep_it(made: Callable[[str], str]) -> None:
    for name in ODD:
        assert is_portable(made(name)), (name, made(name))


@given(names)
@example("con")
def test_every_system_can_keep_any(name: str) -> None:
    for kind, made in MADE.items():
        assert is_portable(made(name)), (kind, made(name))
    assert len(portable_name(name, "file").encode()) <= LONGEST_BYTES + 1


@given(names)
def test_a_name_that_is_portable_stays(name: str) -> None:
    once = portable_name(name, "file")
    assert portable_name(once, "file") == once


@pytest.mark.parametrize("name", [*DEVICES, "a:b", "dot.", "blank ", "", "..", "a\tb", "x" * 256, "a/b"])
def test_what_is_not_portable(name: str) -> None:
    assert not is_portable(name)


@pytest.mark.parametrize("name", ["console", "com10", "nul-1", ".hidden", "猫 (2).png", "a.b.c", "lpt"])
def test_what_is_portable(name: str) -> None:
    assert is_portable(name)
    assert portable_name(name.strip("."), "file") == name.strip(".")


def test_pictures_and_states_have_portable_names(tmp_path: Path) -> None:
    picture = write_picture(b"x", tmp_path, str(2**63 - 1), ".png")
    for path in (picture, picture.parent, state_file(tmp_path, 10**9)):
        assert is_portable(path.name)


def test_the_longest_paths_fit_windows() -> None:
    """Below the folder that an installed studio has in a home of twenty letters."""
    place = r"C:\Users\abcdefghijklmnopqrst\lora-studio"
    slug = free_slug("x" * 64, {"x" * 64}.__contains__)
    unfinished = len("..123456789012.tmp")
    checkpoint = rf"{place}\models\lora\{slug}\checkpoints\{slug}-step00000001.safetensors"
    preview = rf"{place}\models\lora\{slug}\previews\step-000001-64.png"
    folder, picture = _kohya_folder(("999_" + "x" * 99,)), Path(_free_name({"x" * 60}, "x" * 99)).stem
    dataset = rf"{place}\studio_data\datasets\{'0' * 12}{UNFINISHED}\{folder}\{picture}-masklabel.png"
    assert len(dataset) <= LONGEST_PATH
    assert len(checkpoint) + unfinished <= LONGEST_PATH
    assert len(preview) + unfinished <= LONGEST_PATH


@pytest.mark.parametrize("name", ["con", "nul", "com1", "lpt9"])
def test_a_configuration_with_a_device_for_a_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="Windows"):
        OutputGroup(output_name=name, output_dir="out")
