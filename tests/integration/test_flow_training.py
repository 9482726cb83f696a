"""The whole way over the API for each family: pictures, a training with previews, a picture with its LoRA."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from lora_studio.lora.file.lora_files import read_header
from tests.support.api_caller import Caller, Refused, caller
from tests.support.serving import running_app
from tests.support.tiny import make_pictures, make_tiny
from tests.support.waiting import until

FLOW_BASES = ("starter-flow", "anima", "flux", "chroma", "klein")
TINY_SHAPES = (*FLOW_BASES[1:], "sd2_v", "sdxl")
QUICK = {
    **{"max_train_steps": 4, "sample_every_n_steps": 2, "sample_steps": 2, "network_dim": 2},
    **{"resolution": 64, "min_bucket_reso": 32, "max_bucket_reso": 64, "bucket_reso_steps": 16},
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def flow_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    folder = tmp_path_factory.mktemp("flow")
    with running_app(folder, LORA_STUDIO_RESULT_PICTURES="0") as app:
        for shape in TINY_SHAPES:
            make_tiny(shape, app.models / "base" / shape)
        with caller(app) as made:
            yield made


@pytest.mark.parametrize("base", ["starter-flow", *TINY_SHAPES])
def test_a_training_on_each_base_ends_in_a_picture(flow_studio: Caller, base: str, tmp_path: Path) -> None:
    pictures = flow_studio.upload(*sorted(make_pictures(tmp_path / "pictures").glob("*.png")))
    dataset = flow_studio.run("upload_dataset", pictures, base)["dataset_id"]
    job = flow_studio.run("start_training", dataset, f"disc {base}", "object", "zwx", base, QUICK)["job_id"]

    def ended() -> dict[str, object] | None:
        status = flow_studio.run("training_status", job)
        return status if status["status"] in ("finished", "failed") else None

    status = until(ended)
    assert status["status"] == "finished", status
    (lora,) = [one for one in flow_studio.run("list_loras") if one["slug"] == status["lora_slug"]]
    file = tmp_path / "lora.safetensors"
    file.write_bytes(flow_studio.fetch(lora["download_url"]))
    assert ("ss_timestep_sampling" in read_header(file).metadata) is (base in FLOW_BASES)
    options = {"num_inference_steps": 2, "width": 64, "height": 64, "sampler": "Heun"}
    (made,) = flow_studio.run("generate_base64", "a disc", [{"slug": lora["slug"]}], base, "", 3, 1, options)
    with Image.open(io.BytesIO(base64.b64decode(made["image"]))) as picture:
        assert picture.size == (64, 64)
    if base in FLOW_BASES:
        with pytest.raises(Refused, match="can't draw with"):
            flow_studio.run("generate_base64", "a disc", [], base, "", 3, 1, {**options, "sampler": "DDIM"})
