"""A small process that runs one command and reports what it took: `python -m psic_cli.benchmark.launcher`.

Needed because a child counts the memory of whoever started it as its own until it runs another program: started from a
process with networks in it, every command would seem to take gigabytes. Imports the standard library alone.

    launcher LIMIT_SECONDS LIMIT_BYTES COMMAND ...    (0: no limit)  ->  one line of JSON on standard output
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import time


def run(limit_seconds: float, limit_bytes: int, command: list[str]) -> dict[str, object]:
    """{"seconds", "cpu_seconds", "peak_bytes"}, or {"failed": why}, with "too_long" if it was stopped.

    The last two of the first are None where the system does not tell.
    """
    try:
        import resource
    except ImportError:  # Windows
        resource = None  # type: ignore[assignment]
    if resource is not None and limit_bytes:
        with contextlib.suppress(OSError, ValueError):  # a lower limit is in force already
            resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))
    with tempfile.TemporaryFile() as words:
        started = time.perf_counter()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=words)
        try:
            code = child.wait(limit_seconds or None)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            return {"failed": f"takes longer than {limit_seconds:g} s", "too_long": True}
        seconds = time.perf_counter() - started
        words.seek(0)
        lines = words.read().decode(errors="replace").strip().splitlines()
    if code != 0:
        return {"failed": lines[-1] if lines else f"ended with code {code}"}
    if resource is None:
        return {"seconds": seconds, "cpu_seconds": None, "peak_bytes": None}
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # of one child
    unit = 1 if sys.platform == "darwin" else 1024
    return {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_bytes": used.ru_maxrss * unit}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])))
