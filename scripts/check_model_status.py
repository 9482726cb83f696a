"""The state of the trainings: python scripts/check_model_status.py [JOB] [--watch] [--json] [--source ...]

The same as `lora-studio status`. Exit code 0; 3 when the training failed; 4 when neither the local store nor
Supabase can be read.
"""

from __future__ import annotations

import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    sys.path.insert(0, str(CHECKOUT))
    from lora_studio.cli.main import main

    sys.exit(main(["status", *sys.argv[1:]]))
