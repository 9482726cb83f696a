from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lora_studio.errors import BrokenFile, ModelFileError, UnknownFormat
from lora_studio.lora.file.lora_files import file_name, find_file, read_header, read_tensor_table

LAYER = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


def lora_tensors(width: int = 768, dim: int = 4) -> dict[str, torch.Tensor]:
    return {
        f"{LAYER}.lora_down.weight": torch.ones(dim, width),
        f"{LAYER}.lora_up.weight": torch.ones(320, dim),
        f"{LAYER}.alpha": torch.tensor(2.0),
    }


def write_raw(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def test_the_header_tells_what_kohyas_metadata_says(tmp_path: Path) -> None:
    metadata = {
        "ss_base_model_version": "sd_v2_768_v",
        "ss_network_dim": "4",
        "ss_network_alpha": "2.0",
        "ss_sd_model_name": "big.safetensors",
    }
    save_file(lora_tensors(), tmp_path / "a.safetensors", metadata)
    header = read_header(tmp_path / "a.safetensors")
    assert (header.family, header.base) == ("sd2", "big.safetensors")
    assert (header.network_dim, header.network_alpha) == (4, 2.0)
    assert header.tensors[f"{LAYER}.lora_down.weight"] == ("F32", (4, 768))
    assert header.size_bytes == (tmp_path / "a.safetensors").stat().st_size


@pytest.mark.parametrize(("width", "family"), [(768, "sd1"), (1024, "sd2"), (2048, "sdxl"), (128, "")])
def test_without_metadata_the_shapes_tell_the_family(tmp_path: Path, width: int, family: str) -> None:
    save_file(lora_tensors(width), tmp_path / "a.safetensors")
    assert read_header(tmp_path / "a.safetensors").family == family


def test_dim_comes_from_the_shapes_when_metadata_is_silent_or_nonsense(tmp_path: Path) -> None:
    save_file(
        lora_tensors(dim=6),
        tmp_path / "a.safetensors",
        {"ss_network_dim": "Dynamic", "ss_network_alpha": "nan"},
    )
    header = read_header(tmp_path / "a.safetensors")
    assert (header.network_dim, header.network_alpha) == (6, 2.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64], ids=str)
def test_the_alpha_of_most_layers_is_shown_whatever_the_metadata_says(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    tensors = lora_tensors(dim=6)
    for number in range(4):
        name = LAYER.replace("blocks_0", f"blocks_{number}")
        tensors |= {f"{name}.{key.partition('.')[2]}": tensor for key, tensor in lora_tensors(dim=6).items()}
        tensors[f"{name}.alpha"] = torch.tensor(3 if number else 1, dtype=dtype)
    save_file(tensors, tmp_path / "a.safetensors", {"ss_network_alpha": "16"})
    header = read_header(tmp_path / "a.safetensors")
    assert (header.network_dim, header.network_alpha) == (6, 3.0)


def test_without_alphas_all_layers_are_as_strong_as_they_are(tmp_path: Path) -> None:
    tensors = {key: tensor for key, tensor in lora_tensors(dim=6).items() if "alpha" not in key}
    save_file(tensors, tmp_path / "a.safetensors")
    assert read_header(tmp_path / "a.safetensors").network_alpha == 6.0


def test_the_hash_covers_the_tensors_and_not_the_metadata(tmp_path: Path) -> None:
    save_file(lora_tensors(), tmp_path / "a.safetensors")
    save_file(lora_tensors(), tmp_path / "b.safetensors", {"modelspec.title": "other"})
    save_file(lora_tensors(width=1024), tmp_path / "c.safetensors")
    one, two, three = (read_header(tmp_path / f"{name}.safetensors").tensor_hash for name in "abc")
    assert one == two != three
    content = (tmp_path / "a.safetensors").read_bytes()
    assert one == hashlib.sha256(content[8 + struct.unpack("<Q", content[:8])[0] :]).hexdigest()


def test_diffusers_own_spelling_is_a_lora_too(tmp_path: Path) -> None:
    name = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight"
    pair = {name: torch.ones(4, 768), name.replace("lora_A", "lora_B"): torch.ones(320, 4)}
    save_file(pair, tmp_path / "a.safetensors")
    assert read_header(tmp_path / "a.safetensors").family == "sd1"
    save_file({name: torch.ones(4, 768)}, tmp_path / "b.safetensors")
    with pytest.raises(UnknownFormat, match=r"b\.safetensors has no layer that is whole: .*is incomplete"):
        read_header(tmp_path / "b.safetensors")


HADA = {"hada_w1_a": (320, 6), "hada_w1_b": (6, 768), "hada_w2_a": (320, 6), "hada_w2_b": (6, 768)}


@pytest.mark.parametrize(
    ("parts", "algo", "dim", "family"),
    [
        (HADA, "loha", 6, "sd1"),
        ({"lokr_w1": (16, 32), "lokr_w2_a": (20, 5), "lokr_w2_b": (5, 32)}, "lokr", 5, "sd2"),
        ({"lokr_w1": (16, 24), "lokr_w2": (20, 32)}, "lokr", 0, "sd1"),
        ({"oft_blocks": (40, 8, 8)}, "diag-oft", 8, ""),
        (
            {"lora_down.weight": (4, 2048), "lora_up.weight": (64, 4), "dora_scale": (1, 2048)},
            "lora",
            4,
            "sdxl",
        ),
    ],
)
def test_every_kind_tells_its_rank_and_family_by_its_shapes(
    tmp_path: Path, parts: dict[str, tuple[int, ...]], algo: str, dim: int, family: str
) -> None:
    tensors = {f"{LAYER}.{part}": torch.ones(shape) for part, shape in parts.items()}
    save_file({**tensors, f"{LAYER}.alpha": torch.tensor(1.0)}, tmp_path / "a.safetensors")
    header = read_header(tmp_path / "a.safetensors")
    assert (header.algo, header.network_dim, header.family) == (algo, dim, family)
    assert header.dora == ("dora_scale" in parts)


def test_a_file_without_lora_weights_is_no_lora(tmp_path: Path) -> None:
    save_file({"first_stage_model.decoder.conv_in.weight": torch.ones(2)}, tmp_path / "a.safetensors")
    with pytest.raises(UnknownFormat, match=r"a\.safetensors is an autoencoder \(VAE\), not a LoRA"):
        read_header(tmp_path / "a.safetensors")


def test_other_formats_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"PK")
    with pytest.raises(UnknownFormat, match=r"a\.pt is no \.safetensors"):
        read_header(tmp_path / "a.pt")


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "data", "length"),
    [
        (b"", b"", 0),
        (b"{}", b"", 2**40),
        (b"{}", b"", 200_000_000),
        (b"not json", b"", None),
        (b"\xff\xfe{}", b"", None),
        ([1, 2], b"", None),
        ({"__metadata__": "text"}, b"", None),
        ({"x.lora_down.weight": {"dtype": "F32"}}, b"", None),
        ({"x.lora_down.weight": "text"}, b"", None),
        ({"x.lora_down.weight": ENTRY}, b"1234", None),
        ({"x.lora_down.weight": {**ENTRY, "data_offsets": [8, 0]}}, b"12345678", None),
        ({"x.lora_down.weight": {**ENTRY, "data_offsets": [-8, 0]}}, b"12345678", None),
        ({"x.lora_down.weight": {**ENTRY, "shape": [3]}}, b"12345678", None),
        ({"x.lora_down.weight": {**ENTRY, "shape": [-2]}}, b"12345678", None),
    ],
)
def test_damaged_files_are_told_in_a_sentence(
    tmp_path: Path, header: object, data: bytes, length: int | None
) -> None:
    path = write_raw(tmp_path / "a.safetensors", header, data, length)
    with pytest.raises(BrokenFile, match=r"a\.safetensors is damaged: .+\.") as caught:
        read_header(path)
    assert caught.value.path == str(path)


def test_deeply_nested_headers_do_no_harm(tmp_path: Path) -> None:
    with pytest.raises(BrokenFile):
        read_header(write_raw(tmp_path / "a.safetensors", b"[" * 100_000))


@pytest.mark.parametrize("size", [0, 5, 40])
def test_a_truncated_file_is_broken(tmp_path: Path, size: int) -> None:
    save_file(lora_tensors(), tmp_path / "a.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(content[:size])
    with pytest.raises(BrokenFile):
        read_tensor_table(tmp_path / "a.safetensors")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(BrokenFile, match=r"none\.safetensors can't be read"):
        read_header(tmp_path / "none.safetensors")


def test_the_file_of_a_folder_is_the_one_named_like_it(tmp_path: Path) -> None:
    folder = tmp_path / "cat"
    (folder / "checkpoints").mkdir(parents=True)
    with pytest.raises(UnknownFormat, match="folder cat"):
        find_file(folder)
    (folder / "checkpoints" / "cat-step1.safetensors").touch()
    (folder / "another.safetensors").touch()
    (folder / ".cat.safetensors").touch()
    assert find_file(folder) == folder / "another.safetensors"
    (folder / "cat.safetensors").touch()
    assert find_file(folder) == folder / "cat.safetensors"


def test_names_that_diffusers_would_skip_get_its_standard_name() -> None:
    assert file_name("cat") == "cat.safetensors"
    assert file_name("checkpoint-cat") == "pytorch_lora_weights.safetensors"


@pytest.mark.parametrize(
    "entry",
    [
        b'{"dtype":[],"shape":[1],"data_offsets":[0,4]}',
        b'{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}',
    ],
)
def test_a_table_of_nonsense_never_ends_the_reading_of_a_library(tmp_path: Path, entry: bytes) -> None:
    header = b'{"lora_unet_x.lora_down.weight":' + entry + b"}"
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"0" * 4)
    with pytest.raises(ModelFileError):
        read_header(path)
