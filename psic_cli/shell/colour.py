"""What the numbers of a picture mean as colours: profiles, PNG's gAMA, cHRM, sRGB and cICP, and HDR.

Everything is kept, converted to sRGB, or said to be lost. Start with `settle` and `without_profile` for reading,
`fit` for writing.
"""

import struct
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

from psic_cli.errors import InputError
from psic_cli.icc import standard_srgb
from psic_cli.shell import profiles
from psic_cli.shell.headers import hdr_transfer, png_chunks

Pixels = npt.NDArray[np.uint8]
Warn = Callable[[str], None]
Primaries = tuple[float, ...]  # x and y of white, red, green, blue
Curve = tuple[float, ...]  # g, a, b, c, d as in profiles.profile_of

_SRGB_PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
# ITU-T H.273, as far as a picture of 8 bits can follow it.
_CICP_PRIMARIES = {
    1: _SRGB_PRIMARIES,
    5: (0.3127, 0.329, 0.64, 0.33, 0.29, 0.6, 0.15, 0.06),
    6: (0.3127, 0.329, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    9: (0.3127, 0.329, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
    12: (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
}


def _power(exponent: float) -> Curve:
    return (exponent, 1.0, 0.0, 0.0, 0.0)


_CICP_CURVES = {4: _power(2.2), 5: _power(2.8), 8: _power(1.0), 13: _SRGB_CURVE}
_ORDINARY_GAMMA = (0.43, 0.48)  # what sRGB pictures say, within five percent, as libpng has it


def settle(
    rgb: Pixels, grey: bool, icc: bytes | None, kind: str, data: bytes, warn: Warn
) -> tuple[Pixels, bytes | None]:
    """Colours [H, W, 3] and the profile that they then have (None: sRGB without saying so).

    PNG's order of precedence: cICP, profile, sRGB, then gAMA with cHRM. What sRGB can hold becomes sRGB, which the
    networks know best; wider colours keep their meaning as a profile.
    """
    hdr = hdr_transfer(kind, data)
    if hdr is not None:
        instead = "sRGB" if icc is None else "its colour profile says"
        warn(f"high dynamic range ({hdr}) is not supported: its values are taken as {instead}")
        if icc is None:
            return rgb, None
    chunks = png_chunks(data) if kind == "PNG" else {}
    if b"cICP" in chunks and hdr is None:
        code = tuple(chunks[b"cICP"])
        if code[2:] == (0, 1) and code[0] in _CICP_PRIMARIES and code[1] in _CICP_CURVES:
            return _described(rgb, grey, _CICP_PRIMARIES[code[0]], _CICP_CURVES[code[1]], "cICP", warn)
        if icc is None:
            warn(f"its colour space (cICP {', '.join(map(str, code))}) is not supported: its values are taken as sRGB")
    if icc is not None:
        problem = profiles.problem_of(icc, profiles.GREY if grey else profiles.RGB)
        if problem is not None:
            warn(f"its colour profile {problem}: it is left out")
            return rgb, None
        icc = icc[: int.from_bytes(icc[:4], "big")]  # some are padded
        return rgb, standard_srgb() if not grey and profiles.is_srgb(icc) else icc
    if b"sRGB" in chunks:
        return rgb, None if grey else standard_srgb()
    if b"gAMA" in chunks or b"cHRM" in chunks:
        return _of_gamma(rgb, grey, chunks, warn)
    return rgb, None


def fit(
    rgb: Pixels, grey: bool, icc: bytes | None, writes_grey: bool, writes_profile: bool, name: str, warn: Warn
) -> tuple[Pixels, bytes | None]:
    """Colours [H, W, 3] and profile as a format can hold them: converted to sRGB where it has no place for the profile.

    writes_grey: a grey picture stays one in this format; a grey profile would be wrong for RGB.
    """
    if icc is None:
        return rgb, None
    space = profiles.GREY if grey and writes_grey else profiles.RGB
    if writes_profile and profiles.space_of(icc) == space:
        return rgb, icc
    own = standard_srgb() if writes_profile and space == profiles.RGB else None
    if icc == standard_srgb():
        return rgb, own
    converted = profiles.to_srgb(rgb, icc)
    if converted is None:
        warn("its colour profile is damaged: it is left out")
        return rgb, None
    if not writes_profile:
        warn(f"{name} has no colour profile: the picture is converted to sRGB")
    if grey:
        converted = np.repeat(converted[..., 1:2], 3, axis=2)
    return converted, own


def without_profile(image: Image.Image, icc: bytes | None, warn: Warn) -> Image.Image:
    """CMYK and Lab as sRGB: through their profile (Lab has one by definition); CMYK without one by Pillow's plain
    formula.
    """
    try:
        if icc is not None or image.mode == "LAB":
            return profiles.image_to_srgb(image, icc)
    except profiles.PROBLEMS as error:
        warn(f"its colour profile cannot be used ({' '.join(str(error).split())})")
    if image.mode == "LAB":
        raise InputError("the picture is in Lab colours and cannot be converted")
    return image.convert("RGB")


def _of_gamma(rgb: Pixels, grey: bool, chunks: dict[bytes, bytes], warn: Warn) -> tuple[Pixels, bytes | None]:
    """What gAMA and cHRM say: 100000ths, of the exponent that the picture was made with, and of x and y."""
    gamma = int.from_bytes(chunks.get(b"gAMA", b"")[:4], "big") / 100000
    white_first = chunks.get(b"cHRM", b"")
    primaries: Primaries = _SRGB_PRIMARIES
    if len(white_first) == 32:
        primaries = tuple(number / 100000 for number in struct.unpack(">8I", white_first))
    if _ORDINARY_GAMMA[0] < gamma < _ORDINARY_GAMMA[1] or gamma == 0:  # absent, or invalid
        curve: Curve = _SRGB_CURVE
    elif not 0.05 <= gamma <= 10:
        warn(f"its gamma of {gamma:g} makes no sense: its values are taken as sRGB")
        return rgb, None
    else:
        curve = _power(1 / gamma)
    if curve == _SRGB_CURVE and (grey or _is_srgb(primaries)):
        return rgb, None
    return _described(rgb, grey, primaries, curve, f"gAMA {gamma:g}", warn)


def _described(
    rgb: Pixels, grey: bool, primaries: Primaries, curve: Curve, name: str, warn: Warn
) -> tuple[Pixels, bytes | None]:
    if grey or _is_srgb(primaries):
        if curve != _SRGB_CURVE:
            warn(f"its values ({name}) are converted to sRGB")
            rgb = _to_srgb_values(curve)[rgb]
        return rgb, None if grey else standard_srgb()
    icc = profiles.profile_of(primaries, curve, f"PNG {name}")
    if icc is None or profiles.problem_of(icc, profiles.RGB) is not None:
        warn("its primaries (cHRM) make no sense: its values are taken as sRGB")
        return rgb, None
    return rgb, icc


def _is_srgb(primaries: Primaries) -> bool:
    return max(abs(a - b) for a, b in zip(primaries, _SRGB_PRIMARIES, strict=True)) < 0.005


def _to_srgb_values(curve: Curve) -> Pixels:
    """The sRGB value of each of the 256 values that mean what a curve says."""
    g, a, b, c, d = curve
    v = np.arange(256) / 255
    light = np.where(v >= d, (a * v + b) ** g, c * v)
    return np.rint(255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)).astype(
        np.uint8
    )
