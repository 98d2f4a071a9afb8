#!/usr/bin/env bash
# Seen with torch 2.14.1 (Linux, gloo, two processes).
#
# One would have guessed: destroy_process_group() ends the group of processes and its threads, whatever was imported
# or made in between.
# What happens: torch.distributed.nn.functional takes the group that exists when it is imported as the default argument
# of ten of its functions. If a group exists then, they hold it to the end of the process: destroy_process_group()
# returns, is_initialized() is False, and the group's threads (gloo_tcp_loop, pt_gloo_runloop, in the first process
# pt_tcpstore_uv too) live on. Nobody has to import it: making an optimiser does (torch._dynamo imports it), so a usual
# training script has them at its exit. One such process among many was seen to end with "terminate called without an
# active exception" (SIGABRT) in place of its own exit code; that is rare and not shown here.
# Imported before init_process_group(), it holds nothing, and destroy_process_group() ends all threads.
#
# Needs: bash, Linux, a Python 3 that torch 2.14.1 supports, pip's usual source of packages. Exits 0 while it is so.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/python -m pip --disable-pip-version-check install --quiet torch==2.14.1 numpy==2.4.6
venv/bin/python -m pip --disable-pip-version-check freeze | grep -E '^(torch|numpy)=='
cat > worker.py <<'PYTHON'
import os
import sys

import torch
from torch import distributed

MODULE = "torch.distributed.nn.functional"
case, expected = sys.argv[1], int(sys.argv[2])
if case == "imported before":
    __import__(MODULE)
distributed.init_process_group("gloo")
distributed.all_reduce(torch.ones(1))
if case == "imported after":
    __import__(MODULE)
if case == "optimiser":
    torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))])
    assert MODULE in sys.modules
distributed.destroy_process_group()
assert not distributed.is_initialized()
tasks = sorted(open(f"/proc/self/task/{task}/comm").read().strip() for task in os.listdir("/proc/self/task"))
left = [task for task in tasks if "gloo" in task or "tcpstore" in task]
holders = [
    name
    for name, function in vars(sys.modules.get(MODULE, os)).items()
    if any(type(value).__name__ == "ProcessGroup" for value in getattr(function, "__defaults__", None) or ())
]
print(f"{case}, process {os.environ['RANK']}: threads left {left}, held by {len(holders)} functions", flush=True)
# what is reported here must not depend on how the process ends
os._exit(0 if (len(left) >= 3) == bool(expected) and len(holders) == expected else 1)
PYTHON
same=0
for case in "nothing|0" "imported before|0" "imported after|10" "optimiser|10"; do
    port=$(venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    pids=()
    for rank in 0 1; do
        RANK=$rank WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port OMP_NUM_THREADS=1 \
            venv/bin/python -I worker.py "${case%|*}" "${case#*|}" &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || same=1; done
done
[ $same = 0 ] && echo "as described" || echo "CHANGED"
exit $same
