"""The groups of settings that make up a TrainConfig: name, default, range, unit and help of each.

Names are Kohya's wherever sd-scripts has the option; leaf names are unique across the groups.
"""

from lora_studio.config_groups.base import Group, setting
from lora_studio.config_groups.dataset import DatasetGroup, Kind
from lora_studio.config_groups.model import ModelGroup
from lora_studio.config_groups.network import NetworkGroup
from lora_studio.config_groups.noise import NoiseGroup
from lora_studio.config_groups.optimizer import KNOWN_OPTIMIZERS, KNOWN_SCHEDULERS, OptimizerGroup
from lora_studio.config_groups.output import SLUG, OutputGroup
from lora_studio.config_groups.preview import PreviewGroup
from lora_studio.config_groups.run import RunGroup

__all__ = [
    "KNOWN_OPTIMIZERS",
    "KNOWN_SCHEDULERS",
    "SLUG",
    "DatasetGroup",
    "Group",
    "Kind",
    "ModelGroup",
    "NetworkGroup",
    "NoiseGroup",
    "OptimizerGroup",
    "OutputGroup",
    "PreviewGroup",
    "RunGroup",
    "setting",
]
