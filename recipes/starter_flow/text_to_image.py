"""Train language model and transformer together on cached latents, by flow matching."""

import json
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import ZImagePipeline
from torch import nn

from recipes.starter import captions, pool
from recipes.starter.pool import Choice, Pool
from recipes.starter.training import (
    MovingAverage,
    TimeBox,
    cosine_rate,
    pick_device,
    save_atomically,
    set_rate,
)
from recipes.starter_flow import model, settings, tokenizer


@dataclass(frozen=True)
class Options:
    """The training. `peak_rate` is AdamW's and, as it is scaled here, Muon's."""

    minutes: float = 42.0
    device: str = "cpu"
    size: int = 64
    batch: int = 32
    peak_rate: float = 2e-3
    warm_up: int = 40
    backgrounds: int = 10
    drop_captions: float = 0.1
    made_up_words: float = 0.2
    even_times: float = 0.2
    snapshot_minutes: float = 12.0


class Parts:
    """Everything that a pipeline is made of; transformer and language model are the trained parts."""

    def __init__(self, device: torch.device, size: int) -> None:
        self.tokenizer = tokenizer.load()
        self.vae = model.make_codec(settings.CODEC).to(device)
        self.text_encoder = model.make_text_encoder(self.tokenizer).to(device)
        self.transformer = model.make_transformer().to(device)
        self.scheduler = model.make_scheduler()
        model.begin_quietly(self.transformer)
        self.denoiser = model.BatchedDenoiser(self.transformer, size // 4).to(device)

    @property
    def trained(self) -> list[nn.Parameter]:
        return [*self.transformer.parameters(), *self.text_encoder.parameters()]

    def pipeline(self) -> ZImagePipeline:
        """The parts as they are now."""
        return ZImagePipeline(
            vae=self.vae, text_encoder=self.text_encoder, tokenizer=self.tokenizer,
            transformer=self.transformer, scheduler=self.scheduler,
        )  # fmt: skip


def make_optimizers(parts: Parts, rate: float) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices between hidden states, AdamW for all else."""
    blocks = (*parts.transformer.layers, *parts.transformer.noise_refiner)
    blocks += (*parts.transformer.context_refiner, *parts.text_encoder.layers[:-1])
    hidden = {p for block in blocks for p in block.parameters() if p.dim() == 2}
    # The language model's last layer is not read.
    unread = {*parts.text_encoder.layers[-1].parameters(), *parts.text_encoder.norm.parameters()}
    rest = [p for p in parts.trained if p not in hidden and p not in unread]
    matrices = [p for p in parts.trained if p in hidden]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def draw_sigmas(count: int, even: float) -> torch.Tensor:
    """Shares of noise [count]: mostly in the middle (Esser et al. 2024), a share `even` of them evenly, so
    that the ends are known, too."""
    middle = torch.sigmoid(torch.randn(count))
    return torch.where(torch.rand(count) < even, torch.rand(count), middle)


def flow_loss(parts: Parts, clean: torch.Tensor, texts: list[str], even: float) -> torch.Tensor:
    """The squared error of the velocity from picture to noise; [b]."""
    device = clean.device
    sigmas, noise = draw_sigmas(len(clean), even).to(device), torch.randn_like(clean)
    share = sigmas.view(-1, 1, 1, 1)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        texts_of = model.read(parts.text_encoder, parts.tokenizer, texts)
        made = parts.denoiser((1 - share) * clean + share * noise, sigmas, *texts_of)
    return (made.float() - (noise - clean)).square().mean((1, 2, 3))


def captions_of(pictures: Pool, rows: torch.Tensor, options: Options) -> list[str]:
    """A caption for each row; a share is empty, for classifier-free guidance (Ho & Salimans 2022)."""
    return [
        ""
        if random.random() < options.drop_captions
        else captions.compose(pictures.shown[row], made_up=options.made_up_words)
        for row in rows.tolist()
    ]


class Run:
    """The training's live state, and how it goes to and from its checkpoint."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.device = pick_device(options.device)
        torch.manual_seed(0)
        self.parts = Parts(self.device, options.size)
        self.optimizers = make_optimizers(self.parts, options.peak_rate)
        self.box, self.step = TimeBox(options.minutes), 0
        self.losses: list[float] = []
        self.picture_losses: torch.Tensor | None = None
        self.average = MovingAverage(self.parts.trained, decay=0.999)
        self.checkpoint = settings.WORK / "training.pt"
        if self.checkpoint.is_file():
            self.resume()

    def save(self) -> None:
        state = {
            "transformer": self.parts.transformer.state_dict(),
            "text_encoder": self.parts.text_encoder.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "average": self.average.values, "spent": self.box.seconds, "step": self.step,
            "losses": self.losses, "picture_losses": self.picture_losses,
        }  # fmt: skip
        save_atomically(state, self.checkpoint)

    def resume(self) -> None:
        """Go on: same optimizers, same place in the time box."""
        state = torch.load(self.checkpoint, map_location=self.device)
        self.parts.transformer.load_state_dict(state["transformer"])
        self.parts.text_encoder.load_state_dict(state["text_encoder"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.average.values = state["average"]
        self.box.spent, self.step, self.losses = state["spent"], state["step"], state["losses"]
        self.picture_losses = state["picture_losses"]

    def fit(self, pictures: Pool) -> None:
        """Train until the time box is over."""
        options, saved, shown = self.options, self.box.seconds, self.box.seconds
        self.box.start()
        while not self.box.is_over:
            rate = cosine_rate(options.peak_rate, self.step, self.box.fraction, options.warm_up)
            for optimizer in self.optimizers:
                set_rate(optimizer, rate)
            self.learn(pictures)
            if self.step % 50 == 0:
                self.tell()
            if self.box.seconds - saved > 180:
                self.save()
                saved = self.box.seconds
            if self.box.seconds - shown > 60 * options.snapshot_minutes:
                self.snapshot()
                shown = self.box.seconds
        self.box.pause()

    def learn(self, pictures: Pool) -> None:
        """One step on one batch."""
        rows = pictures.draw(self.options.batch)
        texts = captions_of(pictures, rows, self.options)
        losses = flow_loss(self.parts, pictures.latents(rows), texts, self.options.even_times)
        loss = losses.mean()
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parts.trained, 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.average.update(self.step)
        self.step += 1
        self.losses.append(loss.item())
        pictures.learn(rows, losses.detach())

    def tell(self) -> None:
        """A line about the last steps."""
        speed = self.step * self.options.batch / self.box.seconds
        mean = np.mean(self.losses[-100:])
        print(f"{self.step} {self.box.seconds:.0f} s loss {mean:.4f} {speed:.1f} images/s", flush=True)

    def snapshot(self) -> None:
        """Write the averaged weights as a pipeline that others can load while the training goes on."""
        self.box.pause()
        self.average.swap()
        part = settings.SNAPSHOT.with_name("snapshot.part")
        shutil.rmtree(part, ignore_errors=True)
        write_pipeline(self.parts.pipeline(), part)
        (part / "training.json").write_text(json.dumps(self.figures(), indent=2), "utf-8")
        shutil.rmtree(settings.SNAPSHOT, ignore_errors=True)
        os.replace(part, settings.SNAPSHOT)
        self.average.swap()
        self.box.start()

    def figures(self) -> dict:
        """What the model card reports."""
        return {
            "size": self.options.size, "minutes": round(self.box.seconds / 60, 1), "steps": self.step,
            "samples": self.step * self.options.batch, "loss": round(float(np.mean(self.losses[-300:])), 4),
        }  # fmt: skip


def write_pipeline(pipeline: ZImagePipeline, folder: Path) -> None:
    """Write the folder that ``from_pretrained`` loads, in fp16."""
    pipeline.save_pretrained(folder)
    for name in ("transformer", "vae", "text_encoder"):
        part = getattr(pipeline, name)
        loaded = type(part).from_pretrained(folder / name, dtype=torch.float16)
        loaded.save_pretrained(folder / name)
    configs = [folder / "model_index.json"]
    for path in (*configs, *(folder / name / "config.json" for name in ("transformer", "vae"))):
        config = json.loads(path.read_text("utf-8"))
        config["_name_or_path"] = settings.MODEL.name  # diffusers notes the folder that it was loaded from
        path.write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def train(options: Options) -> None:
    """Train for the time box; a killed run goes on where its last checkpoint was."""
    settings.WORK.mkdir(parents=True, exist_ok=True)
    run = Run(options)
    choice = Choice(settings.CONCEPTS, settings.STYLES, backgrounds=options.backgrounds)
    pictures = pool.build(run.parts.vae, options.size, choice)
    if run.picture_losses is not None:
        pictures.losses = run.picture_losses
    run.picture_losses = pictures.losses
    torch.manual_seed(run.step)
    random.seed(run.step)
    run.fit(pictures)
    run.save()
    run.snapshot()
    run.box.pause()
    print(run.figures(), flush=True)
