"""How the codecs of Pillow are used where psic is compared with them, in quality and in time alike.

No torch here: what a codec takes is measured in a process of its own.
"""

from __future__ import annotations

from typing import Any

# What `Image.save` takes beside the quality: of what Pillow offers, the best for PSNR of photographs. The efforts are
# the highest, but for avif and jpegxl, whose are Pillow's own: higher ones take several times as long. The gains are
# BD-rates against Pillow's defaults on six of the Kodak pictures.
BEST: dict[str, dict[str, Any]] = {
    "jpeg": {"optimize": True, "progressive": True},  # -9 %; with subsampling 4:4:4 no more than -1 %
    "webp": {"method": 6},  # -2 %
    # -7 %; with 4:2:0 no more than -3 %. libaom 3.14.1 makes another file with one thread than with more, and Pillow
    # 13.0.0 takes as many as there are processors
    "avif": {"speed": 6, "subsampling": "4:4:4", "advanced": {"tune": "psnr"}, "max_threads": 2},
    "jpeg2000": {"irreversible": True},  # -10 %: the 9/7 wavelet, not the 5/3 one of lossless files
    "jpegxl": {"effort": 7},
}
