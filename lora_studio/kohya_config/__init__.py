"""TrainConfig <-> sd-scripts' option names and its argument TOML."""

from lora_studio.kohya_config.argument_file import read_file, read_given
from lora_studio.kohya_config.options import OPTIONS
from lora_studio.kohya_config.read_options import KohyaOptions, read_options
from lora_studio.kohya_config.write_options import from_toml, further_options, kohya_options, write_kohya

__all__ = [
    "OPTIONS",
    "KohyaOptions",
    "from_toml",
    "further_options",
    "kohya_options",
    "read_file",
    "read_given",
    "read_options",
    "write_kohya",
]
