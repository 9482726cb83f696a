"""The moment when the encoders may leave memory: once all that a run will ask them is known."""

from __future__ import annotations

from lora_studio.data.captions import has_choice
from lora_studio.families.weights.loading import read_model
from lora_studio.runtime import give_memory_back
from lora_studio.training.evaluation.intervals import preview_steps
from lora_studio.training.evaluation.previews import Previews
from lora_studio.training.model import Engine
from lora_studio.training.optimization.process_ranks import Ranks
from lora_studio.training.preparation.training_data import TrainingData


def free_encoders(engine: Engine, data: TrainingData, previews: Previews) -> None:
    """Give back what the autoencoder has in a file anyway, and let the text encoders go unless they are
    trained or meet new captions at each use; the prompts of the previews are encoded before. What is asked of
    them all the same brings them back. What encoding took beside them goes back to the system, since no step
    asks for buffers of such sizes. Then there is room for the denoiser, which is read in one go."""
    if data.latents.keep and not data.latents.waiting:
        engine.base.codec.free()
    if _knows_all_texts(engine, data):
        if preview_steps(engine.config):
            previews.prepare()
        engine.free_texts()
    give_memory_back()
    read_model(engine.base.denoiser)


def encodes_later(engine: Engine, ranks: Ranks) -> bool:
    """Whether pictures wait for their first use, so that the first step comes sooner: on a CPU, where each
    takes seconds. On a graphics card all come first: they are quick there, and beside the steps there might
    be too little memory. So they do for several processes, which couldn't go back together."""
    return engine.device.kind == "cpu" and ranks.count == 1


def free_autoencoder(engine: Engine) -> None:
    """Give back what the autoencoder has in a file anyway, once the last picture has had its first use."""
    engine.base.codec.free()
    give_memory_back()


def _knows_all_texts(engine: Engine, data: TrainingData) -> bool:
    pictures = (placed.picture for placed in data.loader.pictures)
    is_fixed = not any(has_choice(picture.caption, picture.settings) for picture in pictures)
    return is_fixed and data.texts is not None and data.texts.keep
