"""The groups of settings that make up a TrainConfig: name, default, range, unit and help of each.

Names are Kohya's wherever sd-scripts has the option; leaf names are unique across the groups.
"""

from lora_studio.config_groups.dataset_group import DatasetGroup, Kind
from lora_studio.config_groups.model_group import ModelGroup
from lora_studio.config_groups.network_group import NetworkGroup
from lora_studio.config_groups.noise_group import DIFFUSION_SETTINGS, FLOW_SETTINGS, NoiseGroup
from lora_studio.config_groups.optimizer_group import KNOWN_OPTIMIZERS, KNOWN_SCHEDULERS, OptimizerGroup
from lora_studio.config_groups.output_group import OutputGroup
from lora_studio.config_groups.preview_group import PreviewGroup
from lora_studio.config_groups.run_group import RunGroup
from lora_studio.config_groups.setting_group import Group, setting

__all__ = [
    "DIFFUSION_SETTINGS",
    "FLOW_SETTINGS",
    "KNOWN_OPTIMIZERS",
    "KNOWN_SCHEDULERS",
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
