from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from lora_studio.config import TrainConfig
from lora_studio.lora.metadata import DatasetFacts, RunFacts, build_metadata, with_hashes

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "metadata_example.json").read_text())[
    "metadata"
]
# Facts of that very run, of its program and of its clock.
OF_THAT_RUN = {
    *("ss_session_id", "ss_training_started_at", "ss_training_finished_at", "modelspec.date"),
    *(
        "ss_sd_scripts_commit_hash",
        "modelspec.implementation_version",
        "ss_sd_model_hash",
        "ss_new_sd_model_hash",
    ),
    *("sshs_model_hash", "sshs_legacy_hash", "ss_optimizer", "ss_tag_frequency"),
}


def config(**changes: object) -> TrainConfig:
    return TrainConfig.from_values(
        {
            "pretrained_model_name_or_path": "sd15_rand.safetensors",
            "train_data_dir": "pictures",
            "output_name": "base",
            "output_dir": "out",
            "resolution": 256,
            "max_train_steps": 8,
            **changes,
        }
    )


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


def test_the_same_run_has_kohyas_keys_and_values() -> None:
    metadata = build_metadata(config(), FACTS)
    wanted = {key: value for key, value in GOLDEN.items() if key not in OF_THAT_RUN}
    assert {key: metadata.get(key) for key in wanted} == wanted
    assert set(metadata) - set(GOLDEN) == set()
    assert all(isinstance(value, str) for value in metadata.values())


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
