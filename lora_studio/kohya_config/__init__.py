"""TrainConfig <-> sd-scripts' option names and its argument TOML."""

from lora_studio.kohya_config.file import read_file, read_given
from lora_studio.kohya_config.options import OPTIONS
from lora_studio.kohya_config.reading import KohyaOptions, read_options
from lora_studio.kohya_config.writing import from_toml, further_options, kohya_options, write_kohya

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
