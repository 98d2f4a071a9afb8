"""Entry point of `psic` and of `python -m psic_cli`: the only place that ends the process."""

import os
import signal
import sys
import threading
from types import FrameType

if __name__ == "__main__" and not getattr(sys.flags, "safe_path", False):
    # `python -m` puts the current folder first, where a file called torch.py or rich.py would be taken for the library.
    # psic_cli itself is imported already and finds its own parts.
    del sys.path[0]


def main() -> None:
    """Run the command line and end the process with its exit code."""
    signal.signal(signal.SIGTERM, _end_at_once)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # nohup has it ignored
        signal.signal(signal.SIGHUP, _end_at_once)
    try:
        from psic_cli.app import run
        from psic_cli.runtime import set_environment

        set_environment()
        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # while Python was still importing
        sys.stderr.write("psic: interrupted\n")
        code = 130
    code = _flush(code)
    if threading.active_count() > 1:
        # Threads still hold pictures that nobody wants any more (Ctrl-C); waiting for them could take minutes.
        os._exit(code)
    sys.exit(code)


def _end_at_once(number: int, frame: FrameType | None) -> None:
    # An exception, so that half-written files are removed on the way out.
    sys.exit(128 + number)


def _flush(code: int) -> int:
    """Write out what is buffered; a closed pipe is silent, and a full disk must not look like success."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that Python's own flush at the end finds a place
        if code == 0 and not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"psic: error: cannot write to standard output: {(error.strerror or '').lower()}\n")
        return code or (1 if isinstance(error, BrokenPipeError) else 7)
    return code


if __name__ == "__main__":
    main()
