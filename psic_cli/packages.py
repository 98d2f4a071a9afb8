"""Packages that not every installation has: what needs one says in one line how to get it, before it reads anything."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module

from psic_cli.errors import UsageError

# Packages without wheels for the latest Pythons, and the first that they are missing for; pyproject.toml says the same.
MISSING_FROM = {"compressai": (3, 13)}


def need(package: str, purpose: str, extra: str) -> None:
    """Import an optional package, without the warnings it gives meanwhile.

    UsageError if that fails: `purpose` ("training", say) needs it, and it comes with psic's extra of that name.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import_module(package)
    except ImportError as error:
        is_there = not isinstance(error, ModuleNotFoundError)
        what = f", which cannot be imported: {' '.join(str(error).split())}" if is_there else ""
        raise UsageError(f"{purpose} needs the package {package}{what}", _how_to_get(package, extra)) from error


def _how_to_get(package: str, extra: str) -> str:
    command = f"pip install 'psic[{extra}]'"
    first = MISSING_FROM.get(package)
    if first is None or sys.version_info < first:
        return command
    return f"{package} exists for Python {first[0]}.{first[1] - 1} and earlier only: {command} there"
