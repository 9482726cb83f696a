"""The moment when the encoders may leave memory: once all that a run will ask them is known."""

from __future__ import annotations

from lora_studio.data.captions import has_choice
from lora_studio.families.weights.loading import read_model
from lora_studio.runtime import give_memory_back
from lora_studio.training.evaluation.intervals import preview_steps
from lora_studio.training.evaluation.previews import Previews
from lora_studio.training.model import Engine
from lora_studio.training.preparation.training_data import TrainingData


def free_encoders(engine: Engine, data: TrainingData, previews: Previews) -> None:
    """Give back what the autoencoder has in a file anyway, and let the text encoders go unless they are
    trained or meet new captions at each use; the prompts of the previews are encoded before. What is asked of
    them all the same brings them back. What encoding took beside them goes back to the system, since no step
    asks for buffers of such sizes. Then there is room for the denoiser, which is read in one go."""
    if data.latents.keep:
        engine.base.codec.free()
    if _knows_all_texts(engine, data):
        if preview_steps(engine.config):
            previews.prepare()
        engine.free_text_encoders()
    give_memory_back()
    read_model(engine.base.denoiser)


def _knows_all_texts(engine: Engine, data: TrainingData) -> bool:
    pictures = (placed.picture for placed in data.loader.pictures)
    is_fixed = not any(has_choice(picture.caption, picture.settings) for picture in pictures)
    return is_fixed and data.texts is not None and data.texts.keep
