"""A reader that knows FORMAT.md and a model's files, and no float, finds the integers that the package finds."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psic_cli.bitstream.header import MAX_SIDE, quality_level
from psic_cli.bitstream.moves import decode_moves, encode_moves
from psic_cli.errors import FormatError
from tests.bitstream import second_network, second_profile, second_reader
from tests.bitstream.second_reader import Refused
from tests.bitstream.strategies import planes

VECTORS = Path(__file__).parent.parent / "vectors"
MANIFEST = json.loads((VECTORS / "manifest.json").read_text("utf-8"))
WEIGHTS = (VECTORS / "models" / "tiny" / "weights.safetensors").read_bytes()
CARD = json.loads((VECTORS / "models" / "tiny" / "card.json").read_text("utf-8"))
OWNER = (VECTORS / "owner-key.bin").read_bytes()[11:43]


def test_the_second_network_uses_nothing_of_the_package_and_no_array_library():
    with open(second_network.__file__, encoding="utf-8") as source:
        imports = [line for line in source if line.startswith(("import ", "from "))]
    modules = {line.split()[1] for line in imports}
    second_reader = {"tests.bitstream", "tests.bitstream.second_reader"}
    assert modules <= {"hashlib", "json", "math", "struct", "collections.abc", "dataclasses", "typing"} | second_reader


@pytest.mark.parametrize("name", MANIFEST["files"])
def test_the_integers_of_a_frozen_file(name):
    data = (VECTORS / "files" / f"{name}.psic").read_bytes()
    found = second_network.read_integers(data, WEIGHTS, CARD, OWNER)
    hashes = {part: second_network.sha256(symbols) for part, symbols in vars(found).items() if symbols is not None}
    assert hashes == MANIFEST["files"][name]["symbols"]


@given(st.integers(1, 100), st.integers(1, 256), st.integers(1, 1500) | st.just(MAX_SIDE), st.integers(0, 1500))
def test_both_find_the_same_level(quality, levels, side, even_from):
    here = second_network.level_of(quality, side, {"levels": levels, "even_from": even_from})
    assert here == quality_level(quality, levels, side, even_from)


def test_the_moves_need_the_key():
    data = (VECTORS / "files" / "sealed.psic").read_bytes()
    found = second_network.read_integers(data, WEIGHTS, CARD)
    assert found.moves is None
    assert second_network.sha256(found.y) == MANIFEST["files"]["sealed"]["symbols"]["y"]


@given(planes())
@settings(max_examples=40)
def test_moves_mean_the_same_to_both(given_planes):
    found, symbols, index = given_planes
    data = encode_moves(found, symbols, index)
    assert second_network.decode_moves(data, symbols.tolist(), index.tolist()) == found.tolist()


@given(st.binary(min_size=1, max_size=12).map(lambda noise: noise * 4), planes())
@settings(max_examples=40)
def test_moves_are_refused_by_both_or_by_none(data, given_planes):
    _, symbols, index = given_planes
    try:
        ours = decode_moves(data, symbols, index).tolist()
    except FormatError:
        ours = None
    try:
        theirs = second_network.decode_moves(data, symbols.tolist(), index.tolist())
    except Refused:
        theirs = None
    assert ours == theirs


def read_all(data: bytes, secret: bytes) -> None:
    second_network.read_integers(data, WEIGHTS, CARD, secret)
    second_profile.read_profile(second_reader.read_file(data).sections.get("ICC", b""))


# What can be seen without making a picture. The others are wrong in ways that only a decoder of PNG would notice.
@pytest.mark.parametrize(
    "name", [name for name, case in MANIFEST["broken"].items() if not name.startswith(("alpha-", "other-model", "no-"))]
)
def test_a_broken_file_is_refused_here_too(name):
    data = (VECTORS / "broken" / f"{name}.psic").read_bytes()
    stranger = (VECTORS / "stranger-key.bin").read_bytes()[11:43]
    with pytest.raises(Refused):
        read_all(data, stranger if name == "wrong-key" else OWNER)
