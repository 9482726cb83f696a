"""Train the autoencoder: pictures of 64 px to four channels of 16 x 16 and back."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image

from recipes.starter import data, model, settings
from recipes.starter.data import Pictures
from recipes.starter.training import (
    MovingAverage,
    TimeBox,
    cosine_rate,
    pick_device,
    save_atomically,
    set_rate,
)
from recipes.starter.widen import widen

FOLDER = settings.WORK / "autoencoder"
WIDE = settings.WORK / "autoencoder_wide"


@dataclass(frozen=True)
class Options:
    """One stage: ``narrow`` from nothing, ``wide`` goes on with twice its channels, ``decoder`` with the wide
    one's decoder alone, so that its latents keep their meaning.

    ``teacher_weight`` holds the wide one's latents near the narrow one's, which a UNet already knows;
    ``latent_noise``, in units of the normalised latents, teaches the decoder to smooth what diffusion leaves.
    """

    stage: str = "narrow"
    minutes: float = 22.0
    device: str = "cpu"
    size: int = 64
    batch: int = 8
    peak_rate: float = 2e-3
    chroma_weight: float = 3.0
    concept_share: float = 0.25
    permuted_share: float = 0.5
    latent_noise: float = 0.0
    teacher_weight: float = 0.0

    @property
    def folder(self) -> Path:
        return FOLDER if self.stage == "narrow" else WIDE

    @property
    def decoder_only(self) -> bool:
        return self.stage == "decoder"


def split(pictures: Pictures) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows to train on, those among them that show the concepts, and unseen rows for the gate.

    Whole emojis are kept unseen, in all their styles: in another style they would be near duplicates.
    """
    slugs = sorted(set(pictures.slugs) - set(settings.CORE_CONCEPTS) - set(settings.RESERVED))
    unseen_slugs = set(slugs[::40])
    train: list[int] = []
    concepts: list[int] = []
    unseen: list[int] = []
    for row, (slug, style) in enumerate(zip(pictures.slugs, pictures.styles, strict=True)):
        if style not in settings.STYLES or slug in settings.RESERVED:
            continue
        (unseen if slug in unseen_slugs else train).append(row)
        if slug in settings.CONCEPTS:
            concepts.append(row)
    return np.array(train), np.array(concepts), np.array(unseen)


def draw_batch(pictures: Pictures, rows: tuple[np.ndarray, np.ndarray], options: Options) -> torch.Tensor:
    """Random pictures on random backgrounds; a share shows the concepts, a share has permuted channels.

    Without the permutation the green-magenta axis, rare in emojis, drowns in the reconstruction loss.
    """
    (train, concepts), count = rows, options.batch
    of_concepts = np.random.rand(count) < options.concept_share
    picked = np.where(of_concepts, np.random.choice(concepts, count), np.random.choice(train, count))
    background = torch.rand(count, 3)
    named = torch.tensor([*settings.COLOURS.values()])[torch.randint(len(settings.COLOURS), (count,))]
    kind = torch.rand(count, 1)
    background = torch.where(kind < 0.45, torch.ones(3), torch.where(kind < 0.7, named, background))
    images = data.on_background(pictures.rgba[picked], background)
    images = torch.where(torch.rand(count, 1, 1, 1) < 0.5, images.flip(3), images)
    for index in torch.where(torch.rand(count) < options.permuted_share)[0]:
        images[index] = images[index][torch.randperm(3)]
    return images


def chroma(images: torch.Tensor) -> torch.Tensor:
    """Colour without brightness."""
    return images - images.mean(1, keepdim=True)


def reconstruction_loss(made: torch.Tensor, real: torch.Tensor, chroma_weight: float) -> torch.Tensor:
    """Pixels, edges at three scales, and pooled colours [N, 3, S, S]."""
    loss = F.l1_loss(made, real) + F.mse_loss(made, real)
    for pool in (4, 8):
        small_made, small_real = F.avg_pool2d(made, pool), F.avg_pool2d(real, pool)
        loss = loss + chroma_weight * F.mse_loss(small_made, small_real)
        loss = loss + chroma_weight * F.mse_loss(chroma(small_made), chroma(small_real))
    for scale in range(3):
        if scale:
            made, real = F.avg_pool2d(made, 2), F.avg_pool2d(real, 2)
        for axis in (2, 3):
            loss = loss + 0.5 * F.l1_loss(made.diff(dim=axis), real.diff(dim=axis))
    return loss


def begin(options: Options, device: torch.device) -> tuple[AutoencoderKL, AutoencoderKL | None]:
    """The autoencoder that the stage trains, and the one whose latents it is held to, if any."""
    if options.stage == "narrow":
        return model.make_autoencoder(options.size).to(device), None
    if options.stage == "wide":
        narrow = AutoencoderKL.from_pretrained(FOLDER).to(device).eval().requires_grad_(False)
        return widen(narrow), narrow
    vae = AutoencoderKL.from_pretrained(WIDE).to(device)
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    return vae, None


class Run:
    """One stage's live state, and how it goes to and from its checkpoint."""

    def __init__(self, options: Options) -> None:
        self.options, self.device = options, pick_device(options.device)
        self.vae, self.teacher = begin(options, self.device)
        parameters = [p for p in self.vae.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            parameters, lr=options.peak_rate, betas=(0.9, 0.99), weight_decay=1e-3
        )
        self.average = MovingAverage(parameters, decay=0.998)
        self.box, self.step = TimeBox(options.minutes), 0
        self.checkpoint = options.folder / f"{options.stage}.pt"
        if self.checkpoint.is_file():
            self.resume()

    def save(self) -> None:
        state = {
            "vae": self.vae.state_dict(), "optimizer": self.optimizer.state_dict(),
            "average": self.average.values, "spent": self.box.seconds, "step": self.step,
        }  # fmt: skip
        save_atomically(state, self.checkpoint)

    def resume(self) -> None:
        """Go on inside the stage: same optimizer, same place in the time box."""
        state = torch.load(self.checkpoint, map_location=self.device)
        self.vae.load_state_dict(state["vae"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.values = state["average"]
        self.box.spent, self.step = state["spent"], state["step"]

    def fit(self, pictures: Pictures, rows: tuple[np.ndarray, np.ndarray]) -> list[float]:
        """Train until the time box is over; the reconstruction losses."""
        losses: list[float] = []
        self.box.start()
        while not self.box.is_over:
            rate = cosine_rate(self.options.peak_rate, self.step, self.box.fraction, warm_up=100)
            set_rate(self.optimizer, rate)
            images = draw_batch(pictures, rows, self.options)
            losses.append(train_step(self.vae, self.optimizer, images, self.options, self.teacher))
            self.average.update(self.step)
            self.step += 1
            if self.step % 200 == 0:
                speed = self.step * self.options.batch / self.box.seconds
                mean = np.mean(losses[-200:])
                print(
                    f"{self.step} {self.box.seconds:.0f} s loss {mean:.4f} {speed:.1f} images/s", flush=True
                )
            if self.step % 1000 == 0:
                self.save()
        self.box.pause()
        return losses


def train(options: Options) -> None:
    """Train for the time box (going on from a checkpoint if there is one), then write the result."""
    options.folder.mkdir(parents=True, exist_ok=True)
    pictures = data.load(options.size)
    train_rows, concept_rows, _ = split(pictures)
    torch.manual_seed(0)
    run = Run(options)
    torch.manual_seed(run.step)
    np.random.seed(run.step)
    losses = run.fit(pictures, (train_rows, concept_rows))
    run.save()
    run.average.swap()
    vae = run.vae.eval()
    if options.stage == "narrow":
        normalise_latents(vae, pictures, train_rows)
    vae.save_pretrained(options.folder)
    figures = {"minutes": run.box.seconds / 60, "steps": run.step, "samples": run.step * options.batch,
               "loss": float(np.mean(losses[-200:])), "psnr": unseen_psnr(vae, options.size)}  # fmt: skip
    (options.folder / f"{options.stage}.json").write_text(json.dumps(figures, indent=2), "utf-8")
    save_comparison(vae, pictures, options.folder / f"{options.stage}.png")
    print(figures, flush=True)


def train_step(
    vae: AutoencoderKL,
    optimizer: torch.optim.Optimizer,
    images: torch.Tensor,
    options: Options,
    teacher: AutoencoderKL | None = None,
) -> float:
    """One optimizer step; returns the reconstruction loss."""
    images = images.to(vae.device)
    with torch.autocast(vae.device.type, dtype=torch.bfloat16):
        with torch.set_grad_enabled(not options.decoder_only):
            posterior = vae.encode(images).latent_dist
        noise = torch.rand(len(images), 1, 1, 1, device=vae.device) * options.latent_noise / model.SCALING
        latents = posterior.mean + (posterior.std + noise) * torch.randn_like(posterior.mean)
        made = vae.decode(latents).sample
    reconstruction = reconstruction_loss(made.float(), images, options.chroma_weight)
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    loss = reconstruction + 2e-4 * divergence
    if teacher is not None:
        with torch.no_grad(), torch.autocast(vae.device.type, dtype=torch.bfloat16):
            known = teacher.encode(images).latent_dist.mean.float()
        loss = loss + options.teacher_weight * model.SCALING**2 * F.mse_loss(mean, known)
    optimizer.zero_grad()
    loss.backward()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    return reconstruction.item()


@torch.no_grad()
def encode(vae: AutoencoderKL, images: torch.Tensor, batch: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the latents, times the scaling factor; both [N, 4, S / 4, S / 4]."""
    posteriors = [vae.encode(part.to(vae.device)).latent_dist for part in images.split(batch)]
    mean = torch.cat([posterior.mean for posterior in posteriors])
    std = torch.cat([posterior.std for posterior in posteriors])
    return mean * model.SCALING, std * model.SCALING


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, pictures: Pictures, rows: np.ndarray) -> None:
    """Fold a per-channel affine map into the two 1 x 1 convolutions around the latents.

    Afterwards latents times the customary 0.18215 have mean 0 and deviation 1 in each channel.
    """
    picked = np.random.default_rng(0).choice(rows, 2048, replace=False)
    images = data.on_background(pictures.rgba[picked], torch.ones(len(picked), 3))
    latents = encode(vae, images)[0] / model.SCALING
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    scale = 1 / (std * model.SCALING)
    before, after = vae.quant_conv, vae.post_quant_conv
    before.weight[:4] *= scale[:, None, None, None]
    before.bias[:4] = (before.bias[:4] - mean) * scale
    before.bias[4:] += 2 * scale.log()
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight /= scale[None, :, None, None]


@torch.no_grad()
def unseen_psnr(vae: AutoencoderKL, size: int) -> float:
    """Mean peak signal-to-noise ratio in dB on emojis that no part of the training saw."""
    pictures = data.load(size)
    rows = split(pictures)[2]
    images = data.on_background(pictures.rgba[rows], torch.ones(len(rows), 3))
    made = torch.cat([vae.decode(vae.encode(part.to(vae.device)).latent_dist.mean).sample.cpu()
                      for part in images.split(32)])  # fmt: skip
    error = ((made.clamp(-1, 1) - images) / 2).square().mean((1, 2, 3))
    return (-10 * error.log10()).mean().item()


@torch.no_grad()
def save_comparison(vae: AutoencoderKL, pictures: Pictures, path: Path) -> None:
    """Real pictures above their reconstructions: unseen ones, then the coloured hearts."""
    hearts = [pictures.index(f"{colour}-heart", "flat") for colour in settings.HEARTS]
    rows = [*split(pictures)[2][:33], *hearts]
    real = data.on_background(pictures.rgba[rows], torch.ones(len(rows), 3))
    made = vae.decode(vae.encode(real.to(vae.device)).latent_dist.mean).sample.cpu().clamp(-1, 1)
    strips = [
        torch.cat(list(images), 2)
        for pair in zip(real.split(10), made.split(10), strict=True)
        for images in pair
    ]
    pixels = ((torch.cat(strips, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).resize((pixels.shape[1] * 2, pixels.shape[0] * 2)).save(path)
