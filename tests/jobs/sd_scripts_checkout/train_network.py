"""Stands in for sd-scripts in the tests: reads the argument TOML, prints what sd-scripts prints, writes files
of its names. `training_comment` says how it is to behave."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
import tomllib
from pathlib import Path


def bar(done: int, total: int, loss: float | str = "", rate: str = "8.24s/it") -> None:
    postfix = f", avr_loss={loss}" if loss != "" else ""
    blocks = "█" * (10 * done // total) + "▎"
    sys.stderr.write(
        f"\rsteps: {100 * done // total:3d}%|{blocks:<10}| {done}/{total} [00:08<01:01,  {rate}{postfix}]"
    )
    sys.stderr.flush()


def save(path: Path) -> None:
    """A LoRA of one layer, as safetensors."""
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    shapes = {"lora_down.weight": [2, 768], "lora_up.weight": [4, 2]}
    header: dict[str, object] = {"__metadata__": {"ss_network_dim": "2", "ss_base_model_version": "sd_v1"}}
    end = 0
    for part, shape in shapes.items():
        size = 4 * shape[0] * shape[1]
        header[f"{name}.{part}"] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    print(f"\nsaving checkpoint: {path}")
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


def draw(folder: Path, name: str, step: int) -> None:
    from PIL import Image

    (folder / "sample").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(folder / "sample" / f"{name}_{step:06d}_00_20261122214855_1.png")


def main() -> None:
    arguments = tomllib.loads(Path(sys.argv[sys.argv.index("--config_file") + 1]).read_text("utf-8"))
    how = arguments.get("training_comment", "")
    total, folder = arguments["max_train_steps"], Path(arguments["output_dir"])
    print("2026-11-22 21:48:55 INFO     prepare tokenizer                    train_util.py:4880")
    if how == "nothing":
        print("No data found. Please verify arguments / 画像がありません")
        sys.exit(0)
    if how == "refuse":
        sys.exit("usage: train_network.py [-h]\ntrain_network.py: error: unrecognized arguments: --cache")
    if how == "garbage":
        sys.stdout.buffer.write(b"\xff\xfe\x00\x80 steps: 9%|\xff| 1/\n" + b"x" * 200_000 + b"\r\xf0\x9f\r\n")
        sys.stdout.buffer.write(b"steps: 12%| | 1/8 [, avr_loss=\xff]\navr_loss=3 epoch 1/x\n")
        sys.stdout.flush()
    for number in range(5):
        sys.stderr.write(f"\r{25 * number:3d}%|{'█' * number:<4}| {number}/4 [00:03<00:00,  1.2it/s]")
    print("\nrunning training / 学習開始\n  num train images * repeats / 学習画像の数×繰り返し回数: 4")
    bar(0, total, rate="?it/s")
    if "sample_prompts" in arguments:
        draw(folder, arguments["output_name"], 0)
    print("\nepoch 1/2")
    if how in ("hang", "deaf"):
        if how == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "grandchild.txt").write_text(str(child.pid), "utf-8")
    every, loss = arguments.get("save_every_n_steps", 0), 0.2
    for step in range(1, total + 1):
        time.sleep(0.001 if how == "quick" else 0.02)
        bar(step, total, f"{loss:.3g}" if step > 1 else "")
        loss = 0.2 / step
        if every and step % every == 0 and step < total:
            if "sample_prompts" in arguments:
                draw(folder, arguments["output_name"], step)
            save(folder / f"{arguments['output_name']}-step{step:08d}.safetensors")
        bar(step, total, "nan" if how == "nan" and step == 3 else f"{loss:.3g}")
        if step == 3 and how == "fail":
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied (77x768 and 1024x320)")
        if step == 3 and how == "memory":
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
        if step == 3 and how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if step == 5 and how in ("hang", "deaf"):
            time.sleep(600)
    save(folder / f"{arguments['output_name']}.safetensors")
    print("2026-11-22 21:49:55 INFO     model saved.                          train_network.py:1090")


if __name__ == "__main__":
    main()
