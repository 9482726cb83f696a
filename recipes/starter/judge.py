"""Two small classifiers trained on real pictures: which style, and which concept, does an image show?"""

import json
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from lora_studio.captioning.starter_captioner import make_classifier
from recipes.starter import autoencoder, data, settings
from recipes.starter.data import Pictures

SIZE = 64
SOFT_COPIES, SOFT_PICTURES = 2, 1000
STYLES = (*settings.STYLES, settings.INK_SET.style)
CONCEPTS = (*settings.CONCEPTS, *settings.RESERVED)


@dataclass(frozen=True)
class Judge:
    """Loaded classifiers. Concepts are emoji slugs, the reserved ones (which the base never saw) included."""

    style_classifier: nn.Module
    concept_classifier: nn.Module
    styles: tuple[str, ...]
    concepts: tuple[str, ...]

    def style_probabilities(self, images: list[Image.Image]) -> np.ndarray:
        """[images, styles], rows summing to 1."""
        return _probabilities(self.style_classifier, images)

    def concept_probabilities(self, images: list[Image.Image]) -> np.ndarray:
        """[images, concepts], rows summing to 1."""
        return _probabilities(self.concept_classifier, images)


@torch.no_grad()
def _probabilities(classifier: nn.Module, images: list[Image.Image]) -> np.ndarray:
    small = [image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS) for image in images]
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in small])).permute(0, 3, 1, 2)
    return classifier(pixels / 127.5 - 1).softmax(1).numpy()


def load_judge() -> Judge:
    """The judge that is kept beside the recipe."""
    names = json.loads((settings.JUDGE / "classes.json").read_text("utf-8"))
    weights = load_file(settings.JUDGE / "judge.safetensors")
    loaded = {}
    for kind in ("styles", "concepts"):
        classifier = make_classifier(len(names[kind]))
        own = {key: weights[f"{kind}.{key}"] for key in classifier.state_dict()}
        classifier.load_state_dict(own)
        loaded[kind] = classifier.float().eval()
    return Judge(loaded["styles"], loaded["concepts"], tuple(names["styles"]), tuple(names["concepts"]))


@torch.no_grad()
def softened(pictures: Pictures, rows: np.ndarray, vae: AutoencoderKL) -> torch.Tensor:
    """The pictures as the autoencoder gives them back, SOFT_COPIES of each on different backgrounds;
    [rows, copies, 3, S, S] in half precision."""
    copies = []
    for _ in range(SOFT_COPIES):
        parts = []
        for start in range(0, len(rows), 64):
            part = rows[start : start + 64]
            images = data.on_background(pictures.rgba[part], backgrounds(len(part)))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                made = vae.decode(vae.encode(images).latent_dist.sample()).sample
            parts.append(made.clamp(-1, 1).half())
        copies.append(torch.cat(parts))
    return torch.stack(copies, 1)


def augment(images: torch.Tensor, soft: torch.Tensor) -> torch.Tensor:
    """Shift, blur, noise, for a third the autoencoder's softness (`soft` [N / 3, 3, S, S] shows the same
    as the first of `images`): the judge must not mind such things."""
    count = len(images)
    images = torch.cat([soft, images[len(soft) :]])
    shear = torch.eye(2, 3).repeat(count, 1, 1) + torch.randn(count, 2, 3) * torch.tensor([0.05, 0.03, 0.06])
    field = F.affine_grid(shear, list(images.shape), align_corners=False)
    images = F.grid_sample(images, field, padding_mode="border", align_corners=False)
    third = count // 3
    blurred = F.interpolate(F.avg_pool2d(images[third : 2 * third], 2), scale_factor=2.0, mode="bilinear")
    images = torch.cat([images[:third], 0.5 * blurred + 0.5 * images[third : 2 * third], images[2 * third :]])
    return images + 0.05 * torch.rand(count, 1, 1, 1) * torch.randn_like(images)


def backgrounds(count: int) -> torch.Tensor:
    """Half white, half named colours; [count, 3]."""
    named = torch.tensor([*settings.COLOURS.values()])[torch.randint(len(settings.COLOURS), (count,))]
    return torch.where(torch.rand(count, 1) < 0.5, torch.ones(3), named)


def fit(
    pictures: Pictures, rows: np.ndarray, labels: np.ndarray, vae: AutoencoderKL, *, classes: int, steps: int
) -> nn.Sequential:
    """Train one classifier; the classes are drawn equally often."""
    classifier = make_classifier(classes)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    members = [np.where(labels == label)[0] for label in range(classes)]
    losses = []
    chosen = [np.random.permutation(own)[: max(1, SOFT_PICTURES // classes)] for own in members]
    soft = softened(pictures, rows[np.concatenate(chosen)], vae)
    first = np.cumsum([0, *map(len, chosen)])
    for step in range(steps):
        target = np.random.randint(classes, size=60)
        place = np.array([np.random.randint(len(chosen[label])) for label in target[:20]])
        softly = np.array([chosen[label][n] for label, n in zip(target, place, strict=False)])
        sharply = np.array([np.random.choice(members[label]) for label in target[20:]])
        picked = np.concatenate([softly, sharply])
        images = data.on_background(pictures.rgba[rows[picked]], backgrounds(60))
        copies = soft[first[target[:20]] + place, np.random.randint(SOFT_COPIES, size=20)].float()
        loss = F.cross_entropy(
            classifier(augment(images, copies)), torch.from_numpy(target), label_smoothing=0.05
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if (step + 1) % 200 == 0:
            print(f"{step + 1} loss {np.mean(losses[-200:]):.3f}", flush=True)
    return classifier.eval()


@torch.no_grad()
def accuracy(
    classifier: nn.Module, pictures: Pictures, rows: np.ndarray, labels: np.ndarray, vae: AutoencoderKL
) -> float:
    """Share of pictures told right, as the autoencoder gives them back."""
    images = data.on_background(pictures.rgba[rows], backgrounds(len(rows)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        soft = torch.cat([vae.decode(vae.encode(part).latent_dist.mean).sample for part in images.split(64)])
    soft = soft.float()
    return (classifier(soft.clamp(-1, 1)).argmax(1).numpy() == labels).mean().item()


def build(steps: int = 2000) -> None:
    """Train both classifiers, measure them, and keep them small."""
    torch.manual_seed(0)
    np.random.seed(0)
    pictures, vae = data.load(SIZE), AutoencoderKL.from_pretrained(autoencoder.WIDE).eval()
    slugs = np.array(pictures.slugs)
    styles = np.array([STYLES.index(style) for style in pictures.styles])
    # Every eighth emoji tests the styles; the concepts have no other pictures than those they are trained on.
    tested = np.isin(slugs, sorted(set(slugs) - set(settings.CONCEPTS))[::8])
    every = np.arange(len(slugs))
    style_classifier = fit(pictures, every[~tested], styles[~tested], vae, classes=len(STYLES), steps=steps)
    known = every[np.isin(slugs, CONCEPTS)]
    concepts = np.array([CONCEPTS.index(slug) for slug in slugs[known]])
    concept_classifier = fit(pictures, known, concepts, vae, classes=len(CONCEPTS), steps=steps)
    unseen = accuracy(style_classifier, pictures, every[tested], styles[tested], vae)
    seen = accuracy(concept_classifier, pictures, known, concepts, vae)
    figures = {"style_accuracy_on_unseen_emojis": unseen, "concept_accuracy_after_the_autoencoder": seen}
    for label, style in enumerate(STYLES):
        rows = every[tested & (styles == label)]
        figures[f"style_accuracy_{style}"] = accuracy(style_classifier, pictures, rows, styles[rows], vae)
    settings.JUDGE.mkdir(parents=True, exist_ok=True)
    weights = {f"styles.{key}": value for key, value in style_classifier.state_dict().items()}
    weights |= {f"concepts.{key}": value for key, value in concept_classifier.state_dict().items()}
    half = {key: value.half() if value.is_floating_point() else value for key, value in weights.items()}
    save_file({key: value.contiguous() for key, value in half.items()}, settings.JUDGE / "judge.safetensors")
    (settings.JUDGE / "judge.safetensors").chmod(0o644)
    plain = {slug: (slug.removesuffix("-face").replace("-", " "),) for slug in settings.RESERVED}
    names = {slug: {**plain, **settings.CONCEPTS}[slug][0] for slug in CONCEPTS}
    description = {"styles": STYLES, "concepts": CONCEPTS, "names": names, "colours": settings.COLOURS}
    description["figures"] = figures
    (settings.JUDGE / "classes.json").write_text(json.dumps(description, indent=2) + "\n", "utf-8")
    print(figures, flush=True)
