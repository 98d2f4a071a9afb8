"""The frozen files of tests/vectors: what each must give, or why it must be refused (make_vectors.py writes them)."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from psic_cli import codec, errors, keys, zoo
from psic_cli.bitstream.container import unpack
from psic_cli.codec import Version
from psic_cli.icc import standard_srgb

VECTORS = Path(__file__).parent / "vectors"
MANIFEST = json.loads((VECTORS / "manifest.json").read_text("utf-8"))
FILES, BROKEN = MANIFEST["files"], MANIFEST["broken"]
WITH_PICTURES = [name for name, entry in FILES.items() if "full" in entry]

pytestmark = pytest.mark.usefixtures("tiny_models")


def content(folder: str, name: str) -> bytes:
    return (VECTORS / folder / f"{name}.psic").read_bytes()


def key(owner: str) -> bytes | None:
    return None if owner == "none" else keys.read_key_file(VECTORS / f"{owner}-key.bin")


def test_the_manifest_lists_every_file():
    pictures = {f"{name}.{version.value}.png" for name in WITH_PICTURES for version in Version}
    assert {path.name for path in (VECTORS / "files").iterdir()} == {f"{name}.psic" for name in FILES} | pictures
    assert {path.name for path in (VECTORS / "broken").iterdir()} == {f"{name}.psic" for name in BROKEN}


def test_the_files_were_made_with_the_model_beside_them(tiny_models):
    card = zoo.find_card(MANIFEST["model"])
    zoo.verify(card)
    assert card.path.parent == tiny_models
    assert card.sha256 == MANIFEST["weights"]


@pytest.mark.parametrize("integers", ["float64", "float32"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_has_the_integers_it_always_had(name, integers):
    found = codec.symbols_hash(content("files", name), key("owner"), integers=integers)
    assert found == FILES[name]["symbols"]


@pytest.mark.parametrize("name", FILES)
def test_public_integers_need_no_key(name):
    expected = dict(FILES[name]["symbols"])
    data = content("files", name)
    if unpack(data).header.sealed:
        del expected["moves"]
    assert codec.symbols_hash(data) == expected


@pytest.mark.parametrize("version", Version)
@pytest.mark.parametrize("name", WITH_PICTURES)
def test_a_file_gives_the_picture_it_always_gave(name, version):
    secret = None if version is Version.PROTECTED else key("owner")
    picture = codec.decode(content("files", name), secret, version=version, precision="float32")
    with Image.open(VECTORS / "files" / f"{name}.{version.value}.png") as image:
        expected = np.array(image)
    assert picture.rgb.shape[:2] == expected.shape[:2]
    assert np.abs(picture.rgb.astype(int) - expected[:, :, :3]).max() <= 1
    if picture.alpha is None:
        assert expected.shape[2] == 3
    else:
        assert (picture.alpha == expected[:, :, 3]).all()
    about = FILES[name][version.value]
    assert picture.grey is about["grey"]
    for kind in ("icc", "exif", "xmp"):
        data = getattr(picture, kind)
        recorded = standard_srgb().hex() if about.get(kind) == "sRGB" else about.get(kind)
        assert (data and data.hex()) == recorded


def test_the_versions_of_a_file_differ():
    """Else the tests above would hold for a reader that gives one picture for all."""
    pictures = []
    for version in Version:
        with Image.open(VECTORS / "files" / f"sealed.{version.value}.png") as image:
            pictures.append(np.array(image).astype(int))
    for one, other in itertools.combinations(pictures, 2):
        assert np.abs(one - other).max() > 2


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_for_what_is_wrong_with_it(name):
    case = BROKEN[name]
    expected = getattr(errors, case["error"])
    with pytest.raises(expected) as caught:
        codec.decode(content("broken", name), key(case["key"]), version=Version(case["version"]), precision="float32")
    assert type(caught.value) is expected
    message = str(caught.value)
    assert case["says"] in message
    assert message == message.strip()
    assert "\n" not in message
    assert not message.endswith(".")


@pytest.mark.parametrize("name", [name for name, case in BROKEN.items() if case["version"] != "protected"])
def test_what_is_wrong_behind_the_seal_does_not_reach_the_protected_version(name):
    picture = codec.decode(content("broken", name), precision="float32")
    with Image.open(VECTORS / "files" / "sealed.protected.png") as image:
        assert np.abs(picture.rgb.astype(int) - np.array(image)).max() <= 1
