"""`python -m lora_studio` is the command `lora-studio`."""

import sys

from lora_studio.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
