"""Train text encoder and UNet together on cached latents of the finished autoencoder."""

import json
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPTextModel, CLIPTokenizer

from recipes.starter import captions, model, pool, settings, tokenizer
from recipes.starter.pool import Choice, Pool
from recipes.starter.training import (
    MovingAverage,
    TimeBox,
    cosine_rate,
    pick_device,
    save_atomically,
    set_rate,
)

FOLDER = settings.WORK / "text_to_image"


@dataclass(frozen=True)
class Options:
    """One stage of the training: small pictures first, then full size, going on from the stage before."""

    stage: str
    minutes: float
    device: str = "cpu"
    size: int = 64
    batch: int = 16
    peak_rate: float = 1e-3
    warm_up: int = 150
    start_from: str | None = None
    backgrounds: int = 6
    colours: int = 0
    core_only: bool = False
    autoencoder: str = "autoencoder"
    drop_captions: float = 0.1
    made_up_words: float = 0.0
    snapshot_minutes: float = 15.0


class Parts:
    """Everything that a pipeline is made of; UNet and text encoder are the trained parts."""

    def __init__(self, device: torch.device, size: int, vae: Path) -> None:
        self.tokenizer: CLIPTokenizer = tokenizer.load()
        self.vae = AutoencoderKL.from_pretrained(vae).to(device).eval().requires_grad_(False)
        # A smaller size than the autoencoder's is only a preparation; a larger one moves the native size up.
        native = max(size, self.vae.config.sample_size)
        self.unet: UNet2DConditionModel = model.make_unet(native // 4).to(device)
        self.text_encoder: CLIPTextModel = model.make_text_encoder(self.tokenizer).to(device)
        self.scheduler = model.make_scheduler()
        if device.type == "cpu":
            # With so few pixels the fused attention's backward pass is slower than plain matrix products.
            self.unet.set_attn_processor(AttnProcessor())
            self.text_encoder.set_attn_implementation("eager")

    @property
    def trained(self) -> list[torch.nn.Parameter]:
        return [*self.unet.parameters(), *self.text_encoder.parameters()]

    def pipeline(self) -> StableDiffusionPipeline:
        """The parts as they are now."""
        return StableDiffusionPipeline(
            vae=self.vae, text_encoder=self.text_encoder, tokenizer=self.tokenizer, unet=self.unet,
            scheduler=self.scheduler, safety_checker=None, feature_extractor=None,
            requires_safety_checker=False,
        )  # fmt: skip


def choose(options: Options) -> Choice:
    """The pictures of a stage."""
    concepts = settings.CORE_CONCEPTS if options.core_only else settings.CONCEPTS
    return Choice(concepts, backgrounds=options.backgrounds, colours=options.colours)


def captions_of(pool: Pool, rows: torch.Tensor, options: Options) -> list[str]:
    """A caption for each row; a share is empty, for classifier-free guidance (Ho & Salimans 2022)."""
    return [
        ""
        if random.random() < options.drop_captions
        else captions.compose(pool.shown[row], made_up=options.made_up_words)
        for row in rows.tolist()
    ]


def velocity_loss(parts: Parts, clean: torch.Tensor, texts: list[str]) -> torch.Tensor:
    """Velocity prediction with the min-SNR weight, 5 (Hang et al. 2023), in its form for velocity; [N]."""
    device = clean.device
    ids = parts.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    steps = torch.randint(parts.scheduler.config.num_train_timesteps, (len(clean),), device=device)
    kept = parts.scheduler.alphas_cumprod.to(device)[steps].view(-1, 1, 1, 1)
    noise = torch.randn_like(clean)
    noisy = kept.sqrt() * clean + (1 - kept).sqrt() * noise
    target = kept.sqrt() * noise - (1 - kept).sqrt() * clean
    with torch.autocast(device.type, dtype=torch.bfloat16):
        made = parts.unet(noisy, steps, parts.text_encoder(ids.to(device)).last_hidden_state).sample
    ratio = kept / (1 - kept)
    weight = (ratio + 1).clamp(max=5) / (ratio + 1)
    return (F.mse_loss(made.float(), target, reduction="none") * weight).mean((1, 2, 3))


class Run:
    """One stage's live state, and how it goes to and from its checkpoint."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.device = pick_device(options.device)
        self.parts = Parts(self.device, options.size, settings.WORK / options.autoencoder)
        self.optimizer = torch.optim.AdamW(
            self.parts.trained, lr=options.peak_rate, betas=(0.9, 0.99), weight_decay=0.01,
            fused=True,
        )  # fmt: skip
        self.box, self.step = TimeBox(options.minutes), 0
        self.losses: list[float] = []
        self.picture_losses: torch.Tensor | None = None
        self.average = MovingAverage(self.parts.trained, decay=0.999)
        if self.checkpoint(options.stage).is_file():
            self.resume()
        elif options.start_from:
            self.start_from(options.start_from)

    @staticmethod
    def checkpoint(stage: str) -> Path:
        return FOLDER / f"{stage}.pt"

    def save(self) -> None:
        state = {
            "unet": self.parts.unet.state_dict(), "text_encoder": self.parts.text_encoder.state_dict(),
            "average": self.average.values, "optimizer": self.optimizer.state_dict(),
            "spent": self.box.seconds, "step": self.step, "losses": self.losses,
            "picture_losses": self.picture_losses,
        }  # fmt: skip
        save_atomically(state, self.checkpoint(self.options.stage))

    def resume(self) -> None:
        """Go on inside the stage: same optimizer, same place in the time box."""
        state = torch.load(self.checkpoint(self.options.stage), map_location=self.device)
        self.parts.unet.load_state_dict(state["unet"])
        self.parts.text_encoder.load_state_dict(state["text_encoder"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.values = state["average"]
        self.box.spent, self.step, self.losses = state["spent"], state["step"], state["losses"]
        self.picture_losses = state.get("picture_losses")

    def start_from(self, stage: str) -> None:
        """Begin with the averaged weights of an earlier stage, and a fresh optimizer."""
        state = torch.load(self.checkpoint(stage), map_location=self.device)
        for parameter, live, value in zip(
            self.parts.trained, self.average.values, state["average"], strict=True
        ):
            parameter.data.copy_(value)
            live.copy_(value)

    def snapshot(self) -> None:
        """Write the averaged weights as a pipeline that others can load while the training goes on."""
        self.box.pause()
        self.average.swap()
        self.parts.unet.eval()
        self.parts.text_encoder.eval()
        part = settings.SNAPSHOT.with_name("snapshot.part")
        shutil.rmtree(part, ignore_errors=True)
        write_pipeline(self.parts.pipeline(), part)
        (part / "training.json").write_text(json.dumps(self.figures(), indent=2), "utf-8")
        shutil.rmtree(settings.SNAPSHOT, ignore_errors=True)
        os.replace(part, settings.SNAPSHOT)
        self.parts.unet.train()
        self.parts.text_encoder.train()
        self.average.swap()
        self.box.start()

    def figures(self) -> dict:
        """What the model card reports about this stage."""
        return {
            "stage": self.options.stage, "size": self.options.size,
            "minutes": round(self.box.seconds / 60, 1), "steps": self.step,
            "samples": self.step * self.options.batch, "loss": round(float(np.mean(self.losses[-500:])), 4),
        }  # fmt: skip


def write_pipeline(pipeline: StableDiffusionPipeline, folder: Path) -> None:
    """Write the folder that ``from_pretrained`` loads: fp16 weights, but an fp32 text encoder.

    Loaded without a dtype, diffusers makes UNet and autoencoder fp32 while transformers keeps the file's own:
    a half-precision text encoder would not fit the rest.
    """
    pipeline.save_pretrained(folder)
    for name in ("unet", "vae"):
        part = getattr(pipeline, name)
        loaded = type(part).from_pretrained(folder / name, dtype=torch.float16)
        loaded.save_pretrained(folder / name)
    for path in (folder / "model_index.json", *(folder / name / "config.json" for name in ("unet", "vae"))):
        config = json.loads(path.read_text("utf-8"))
        config["_name_or_path"] = "starter"  # diffusers notes the folder that it happened to load from
        path.write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(tokenizer.FOLDER / name, folder / "tokenizer" / name)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def train(options: Options) -> None:
    """Train one stage for its time box; a killed run goes on where its last checkpoint was."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    run = Run(options)
    pictures = pool.build(run.parts.vae, options.size, choose(options))
    if run.picture_losses is not None:
        pictures.losses = run.picture_losses
    run.picture_losses = pictures.losses
    torch.manual_seed(run.step)
    random.seed(run.step)
    run.parts.unet.train()
    run.parts.text_encoder.train()
    saved = shown = run.box.seconds
    run.box.start()
    while not run.box.is_over:
        set_rate(run.optimizer, cosine_rate(options.peak_rate, run.step, run.box.fraction, options.warm_up))
        rows = pictures.draw(options.batch)
        losses = velocity_loss(run.parts, pictures.latents(rows), captions_of(pictures, rows, options))
        loss = losses.mean()
        run.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(run.parts.trained, 1.0)
        run.optimizer.step()
        run.average.update(run.step)
        run.step += 1
        run.losses.append(loss.item())
        pictures.learn(rows, losses.detach())
        if run.step % 100 == 0:
            speed = run.step * options.batch / run.box.seconds
            mean = np.mean(run.losses[-200:])
            print(f"{run.step} {run.box.seconds:.0f} s loss {mean:.4f} {speed:.1f} images/s", flush=True)
        if run.box.seconds - saved > 180:
            run.save()
            saved = run.box.seconds
        if run.box.seconds - shown > 60 * options.snapshot_minutes:
            run.snapshot()
            shown = run.box.seconds
    run.box.pause()
    run.save()
    run.snapshot()
    run.box.pause()
    (FOLDER / f"{options.stage}.json").write_text(json.dumps(run.figures(), indent=2), "utf-8")
    print(run.figures(), flush=True)
