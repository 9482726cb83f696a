from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path

import pytest

from lora_studio.config import TrainConfig
from lora_studio.lora.file.metadata import DatasetFacts, RunFacts, build_metadata, with_hashes
from tests.support import configs

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "metadata_example.json").read_text())[
    "metadata"
]
FORMS = {
    "ss_session_id": r"\d+",
    "ss_training_started_at": r"\d+\.\d+",
    "ss_training_finished_at": r"\d+\.\d+",
    "modelspec.date": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d",
    "ss_sd_scripts_commit_hash": r"[0-9a-f]{40}|\(unknown\)",
    "modelspec.implementation_version": r"[a-z-]+/\S+",
    "ss_sd_model_hash": r"[0-9a-f]{8}",
    "ss_new_sd_model_hash": r"[0-9a-f]{64}",
    "sshs_model_hash": r"[0-9a-f]{64}",
    "sshs_legacy_hash": r"[0-9a-f]{8}",
    "ss_optimizer": r"[\w.]+(\(.*\))?",
    "ss_tag_frequency": r'\{"10_sks dog": \{"[^"]+": \d+.*\}\}',
}
"""What is a fact of that very run, of its program or of its clock: every other key must be the same."""


def config(**changes: object) -> TrainConfig:
    told = {"pretrained_model_name_or_path": "sd15_rand.safetensors", "output_name": "base"}
    return configs.config(**{**told, "resolution": 256, "max_train_steps": 8, **changes})


FACTS = RunFacts(
    step=8,
    epoch=1,
    epochs=1,
    started_at=1.5,
    finished_at=100_000.25,
    session_id=7,
    base_name="sd15_rand.safetensors",
    optimizer="torch.optim.adamw.AdamW",
    mixed_precision="no",
    caches_latents=True,
    clip_skip=None,
    dataset=DatasetFacts(
        images=60,
        batches_per_epoch=60,
        folders={"10_sks dog": (10, 6)},
        tags={"10_sks dog": {"cat": 1}},
        buckets=((256, 256, 60),),
        mean_aspect_error=0.39736039552432995,
        resolution=(256, 256),
        flip_aug=False,
    ),
    family={
        "ss_base_model_version": "sd_v1",
        "ss_v2": "False",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.prediction_type": "epsilon",
    },
)


def test_metadata_example_every_key_is_written_with_the_right_form() -> None:
    facts = dataclasses.replace(
        FACTS, base_hashes={"ss_sd_model_hash": "08ce182b", "ss_new_sd_model_hash": "4" * 64}
    )
    metadata = with_hashes(build_metadata(config(), facts), b"\x00" * 16)
    assert set(metadata) == set(GOLDEN)
    for key, value in GOLDEN.items():
        assert isinstance(metadata[key], str)
        if key in FORMS:
            assert re.fullmatch(FORMS[key], value), key
            assert re.fullmatch(FORMS[key], metadata[key]), key
        else:
            assert metadata[key] == value, key


@pytest.mark.parametrize(
    ("settings", "module", "arguments"),
    [
        ({}, "networks.lora", None),
        ({"conv_dim": 8, "conv_alpha": 1}, "networks.lora", {"conv_dim": "8", "conv_alpha": "1.0"}),
        (
            {"down_lr_weight": "cosine", "loraplus_lr_ratio": 16},
            "networks.lora",
            {"down_lr_weight": "cosine", "loraplus_lr_ratio": "16.0"},
        ),
        (
            {"algo": "lokr", "factor": 8, "conv_dim": 4},
            "lycoris.kohya",
            {"algo": "lokr", "factor": "8", "conv_dim": "4"},
        ),
        ({"algo": "loha"}, "lycoris.kohya", {"algo": "loha", "preset": "attn-mlp"}),
        (
            {"dora_wd": True},
            "lycoris.kohya",
            {"algo": "lora", "preset": "attn-mlp", "dora_wd": "True", "wd_on_output": "False"},
        ),
        ({"algo": "diag-oft", "conv_dim": 2}, "lycoris.kohya", {"algo": "diag-oft", "conv_dim": "2"}),
    ],
)
def test_each_kind_of_network_is_named_as_its_trainer_names_it(
    settings: dict[str, object], module: str, arguments: dict[str, str] | None
) -> None:
    metadata = build_metadata(config(**settings), FACTS)
    assert metadata["ss_network_module"] == module
    assert json.loads(metadata.get("ss_network_args", "null")) == arguments


def test_options_of_the_loss_and_the_network_reach_the_file() -> None:
    metadata = build_metadata(
        config(
            loss_type="huber",
            huber_c=0.2,
            ip_noise_gamma=0.1,
            multires_noise_iterations=6,
            debiased_estimation_loss=True,
            scale_weight_norms=1,
            network_dropout=0.25,
            max_token_length=150,
        ),
        FACTS,
    )
    wanted = {
        **{"loss_type": "huber", "huber_c": "0.2", "ip_noise_gamma": "0.1", "multires_noise_iterations": "6"},
        **{"debiased_estimation": "True", "scale_weight_norms": "1.0", "network_dropout": "0.25"},
        "max_token_length": "150",
    }
    assert {key: metadata[f"ss_{key}"] for key in wanted} == wanted


def test_title_trigger_and_the_options_reach_the_file() -> None:
    settings = config(
        title="My Disc",
        trigger_word="zwx",
        training_comment="a note",
        noise_offset=0.1,
        min_snr_gamma=5,
        max_timestep=900,
        network_dim=16,
        network_alpha=8,
    )
    facts = dataclasses.replace(FACTS, clip_skip=2, base_hashes={"ss_sd_model_hash": "abc"})
    metadata = build_metadata(settings, facts)
    assert metadata["modelspec.title"] == "My Disc"
    assert metadata["modelspec.trigger_phrase"] == "zwx"
    assert metadata["modelspec.encoder_layer"] == "2"
    assert metadata["modelspec.timestep_range"] == "0,900"
    assert metadata["ss_training_comment"] == "a note"
    assert (metadata["ss_noise_offset"], metadata["ss_min_snr_gamma"]) == ("0.1", "5.0")
    assert (metadata["ss_network_dim"], metadata["ss_network_alpha"]) == ("16", "8.0")
    assert metadata["ss_sd_model_hash"] == "abc"


@pytest.mark.parametrize(
    "key", ["ss_bucket_info", "ss_dataset_dirs", "ss_tag_frequency", "ss_reg_dataset_dirs"]
)
def test_tables_are_json(key: str) -> None:
    assert json.loads(build_metadata(config(), FACTS)[key]) is not None


def test_the_model_hash_is_over_the_tensor_bytes_alone() -> None:
    header, tensors = b'{"a":1}', b"tensor bytes"
    serialized = len(header).to_bytes(8, "little") + header + tensors
    hashes = with_hashes({"x": "y"}, serialized)
    assert hashes["sshs_model_hash"] == hashlib.sha256(tensors).hexdigest()
    assert hashes["sshs_legacy_hash"] == "e3b0c442"  # Kohya's for a file below 1 MiB: the hash of nothing
    assert hashes["x"] == "y"


def test_a_flow_base_gets_the_keys_of_sd_scripts_flow_trainers() -> None:
    """As `update_metadata` of its flux_train_network.py writes them."""
    settings = config(timestep_sampling="shift", discrete_flow_shift=3.1)
    plain = build_metadata(settings, FACTS)
    added = build_metadata(settings, dataclasses.replace(FACTS, flow_matching=True)).items() - plain.items()
    found = dict(added)
    assert found.keys() == {
        *("ss_timestep_sampling", "ss_sigmoid_scale", "ss_discrete_flow_shift", "ss_weighting_scheme"),
        *("ss_logit_mean", "ss_logit_std", "ss_mode_scale", "ss_model_prediction_type", "ss_guidance_scale"),
    }
    assert (found["ss_timestep_sampling"], found["ss_discrete_flow_shift"]) == ("shift", "3.1")
