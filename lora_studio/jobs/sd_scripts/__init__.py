"""The second engine: the user's own sd-scripts, run as a child process."""

from lora_studio.jobs.sd_scripts.sd_scripts_worker import SdScriptsWorker

__all__ = ["SdScriptsWorker"]
