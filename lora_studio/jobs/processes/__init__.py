"""Trainings outside this process: the files that both ends share, the far end, the worker at the near one."""

from lora_studio.jobs.processes.process_worker import ProcessWorker

__all__ = ["ProcessWorker"]
