"""A wheel also holds what a checkout has beside the package: the embedded base, the examples, app.py."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CHECKOUT = Path(__file__).resolve().parent
BESIDE = ("app.py", "launch.py", "README.md", "LICENSE", "requirements.txt", "constraints.txt")
FOLDERS = ("models/starter", "models/starter-flow", "examples")


class BuildWithFiles(build_py):
    """Copies them into the folder that `settings.CHECKOUT` is in an installed package."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "lora_studio" / "checkout"
        shutil.rmtree(target, ignore_errors=True)
        for name in BESIDE:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(CHECKOUT / name, target / name)
        for name in FOLDERS:
            shutil.copytree(CHECKOUT / name, target / name, copy_function=shutil.copyfile)


setup(cmdclass={"build_py": BuildWithFiles})
