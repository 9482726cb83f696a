#!/usr/bin/env bash
# The whole job over the HTTP API of a running LoRA Studio, or of one that is started for it and taken away
# again: upload, train, watch, generate, look at what came out. One PASS or FAIL a line, exit code 1 if any failed.
# Arguments: see scripts/real_workflow.py, for instance --url http://127.0.0.1:7860
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=.venv/Scripts/python.exe
[ -x "$python" ] || { echo "No .venv yet: run 'python3 launch.py test --version' once." >&2; exit 2; }

exec "$python" -m scripts.real_workflow "$@"
