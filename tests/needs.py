"""What a test needs and not every installation has: the test skips, and says why."""

import importlib.util

import pytest

WHY_NO_COMPRESSAI = "needs CompressAI, which has no wheels for Python 3.13 and later"
COMPRESSAI = pytest.mark.skipif(importlib.util.find_spec("compressai") is None, reason=WHY_NO_COMPRESSAI)
