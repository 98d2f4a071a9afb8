#!/usr/bin/env bash
# Seen with ray 2.60.0.
#
# One would have guessed: ray.init() in a program that handles SIGTERM (saves a checkpoint, finishes a picture, removes a
# temporary file) leaves its handler alone, or calls it in its own; ray.shutdown() gives back at least what it took. Of
# SIGINT that holds.
# What happens: the handler is replaced without a word, and never runs again, not even after ray.shutdown(). A program
# that wants it has to set it after every ray.init().
#
# Needs: bash, a Python 3 that ray 2.60.0 supports, pip's usual source of packages. Exits 0 while it is so.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export HOME=$dir RAY_USAGE_STATS_ENABLED=0 # a local cluster leaves a token in the home folder
python3 -m venv venv
venv/bin/python -m pip --disable-pip-version-check install --quiet ray==2.60.0
venv/bin/python -m pip --disable-pip-version-check freeze | grep -i '^ray='
cat >stopped.py <<'PYTHON'
import os
import signal
import sys
import time

import ray


def save(number, frame):
    print(f"{signal.Signals(number).name} was handled by the program", flush=True)
    os._exit(0)


when, number = sys.argv[1], getattr(signal, sys.argv[2])
if when != "handler after init":
    signal.signal(number, save)
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
if when == "handler after init":
    signal.signal(number, save)
if when == "handler, init, shutdown":
    ray.shutdown()
print("ready", flush=True)
os.kill(os.getpid(), number)
time.sleep(60)
PYTHON
cat >ask.py <<'PYTHON'
import subprocess
import sys

same = True
for when, number, handled in [
    ("handler, init", "SIGTERM", False),
    ("handler, init, shutdown", "SIGTERM", False),
    ("handler after init", "SIGTERM", True),
    ("handler, init", "SIGINT", True),
]:
    command = [sys.executable, "-I", "stopped.py", when, number]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert "ready" in done.stdout, done.stderr
    found = "was handled by the program" in done.stdout
    same &= found == handled
    told = "" if found == handled else "  <-- CHANGED"
    print(f"  {when}: {number} {'runs' if found else 'never runs'} the program's handler{told}")
sys.exit(0 if same else 1)
PYTHON
venv/bin/python -I ask.py
