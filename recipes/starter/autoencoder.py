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

FOLDER = settings.WORK / "autoencoder"


@dataclass(frozen=True)
class Options:
    """One run. ``decoder_only`` goes on from a finished autoencoder and leaves its latents' meaning alone.

    ``latent_noise``, in units of the normalised latents, teaches the decoder to smooth what diffusion leaves.
    """

    minutes: float = 22.0
    device: str = "cpu"
    size: int = 64
    batch: int = 8
    peak_rate: float = 2e-3
    chroma_weight: float = 3.0
    concept_share: float = 0.25
    permuted_share: float = 0.5
    latent_noise: float = 0.0
    decoder_only: bool = False


def split(pictures: Pictures) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows to train on, those among them that show the concepts, and unseen rows for the gate.

    Whole emojis are kept unseen, in all their styles: in another style they would be near duplicates.
    """
    slugs = sorted(set(pictures.slugs) - set(settings.CONCEPTS) - set(settings.RESERVED))
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


def train(options: Options) -> None:
    """Train for the time box (going on from a checkpoint if there is one), then write the result."""
    torch.manual_seed(0)
    np.random.seed(0)
    device = pick_device(options.device)
    name = "decoder" if options.decoder_only else "autoencoder"
    checkpoint = FOLDER / f"{name}.pt"
    FOLDER.mkdir(parents=True, exist_ok=True)
    pictures = data.load(options.size)
    train_rows, concept_rows, _ = split(pictures)
    vae = model.make_autoencoder(options.size).to(device)
    if options.decoder_only:
        vae = AutoencoderKL.from_pretrained(FOLDER).to(device)
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    parameters = [p for p in vae.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=options.peak_rate, betas=(0.9, 0.99), weight_decay=1e-3)
    average = MovingAverage(parameters, decay=0.998)
    box, step = TimeBox(options.minutes), 0
    if checkpoint.is_file():
        state = torch.load(checkpoint, map_location=device)
        vae.load_state_dict(state["vae"])
        optimizer.load_state_dict(state["optimizer"])
        average.values = state["average"]
        box.spent, step = state["spent"], state["step"]
        torch.manual_seed(step)
        np.random.seed(step)
    losses: list[float] = []
    box.start()
    while not box.is_over:
        set_rate(optimizer, cosine_rate(options.peak_rate, step, box.fraction, warm_up=100))
        images = draw_batch(pictures, (train_rows, concept_rows), options)
        losses.append(train_step(vae, optimizer, images, options))
        average.update(step)
        step += 1
        if step % 200 == 0:
            speed = step * options.batch / box.seconds
            mean = np.mean(losses[-200:])
            print(f"{step} {box.seconds:.0f} s loss {mean:.4f} {speed:.1f} images/s", flush=True)
        if step % 1000 == 0:
            save_atomically(
                {"vae": vae.state_dict(), "optimizer": optimizer.state_dict(), "average": average.values,
                 "spent": box.seconds, "step": step}, checkpoint)  # fmt: skip
    box.pause()
    average.swap()
    vae.eval()
    if not options.decoder_only:
        normalise_latents(vae, pictures, train_rows)
    vae.save_pretrained(FOLDER)
    figures = {"minutes": box.seconds / 60, "steps": step, "samples": step * options.batch,
               "loss": float(np.mean(losses[-200:])), "psnr": unseen_psnr(vae, options.size)}  # fmt: skip
    (FOLDER / f"{name}.json").write_text(json.dumps(figures, indent=2), "utf-8")
    save_comparison(vae, pictures, FOLDER / f"{name}.png")
    print(figures, flush=True)


def train_step(
    vae: AutoencoderKL, optimizer: torch.optim.Optimizer, images: torch.Tensor, options: Options
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
    optimizer.zero_grad()
    (reconstruction + 2e-4 * divergence).backward()
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
