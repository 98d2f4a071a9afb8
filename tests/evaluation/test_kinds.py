"""Kinds of classes: how they are written down, and what is measured with them."""

import pytest

from psic_cli.errors import InputError
from psic_cli.evaluation import shielding, sources
from psic_cli.evaluation.kinds import IMAGENET, find_kinds, read_kinds
from psic_cli.evaluation.seeing import Experiment
from psic_cli.vlp.imagenet import imagenet_classes

NAMES = ["poodle, dog", "beagle, dog", "horn, cornet", "harmonica, horn", "crane", "crane"]


def test_a_kind_is_numbers_ranges_and_names():
    kinds = read_kinds("# a remark\n\nwild dog: 0-1\nbrass: Horn , 3\nwild dog: 4\n", NAMES, "kinds.txt")
    assert kinds.names == ("wild dog", "brass")
    assert kinds.of_class == {0: 0, 1: 0, 2: 1, 3: 1, 4: 0}  # horn is the first name of a class, and of no other


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dog: 0", "kinds.txt has 1 kinds, it needs 2 or more"),
        ("dog: 0\nbrass", "kinds.txt line 2: not of the form"),
        (": 0", "kinds.txt line 1: not of the form"),
        ("dog:", "kinds.txt line 1: not of the form"),
        ("dog: 0-6", "kinds.txt line 1: 0-6 is not within the 6 classes"),
        ("dog: 3-2", "3-2 is not within"),
        ("dog: " + "9" * 5000, "there is no class"),
        ("dog: 0-1,", "there is no class ''"),
        ("dog: cat", "there is no class 'cat'"),
        ("dog: dog", "several classes are called 'dog'"),
        ("bird: crane", "several classes are called 'crane'"),
        ("dog: 0-1\nbird: 1", "kinds.txt line 2: class 1, beagle, dog, has a kind already"),
    ],
)
def test_a_line_that_says_nothing_clear_is_refused(text, words):
    with pytest.raises(InputError) as caught:
        read_kinds(text, NAMES, "kinds.txt")
    assert words in str(caught.value)


def test_the_ten_kinds_that_come_with_psic_are_what_they_are_called():
    kinds = find_kinds(IMAGENET, None)
    assert len(kinds.names) == 10
    called = [*kinds.names, "none"]
    first = {name.partition(",")[0]: called[kinds.of_class.get(n, -1)] for n, name in enumerate(imagenet_classes())}
    for kind, names in {
        "dog": ["pug"],
        "bird": ["robin", "king penguin"],
        "cat": ["Persian cat"],
        "reptile": ["box turtle", "sidewinder"],
        "insect": ["bee"],
        "fish": ["goldfish", "puffer"],
        "wild mammal": ["lion", "killer whale"],
        "vehicle": ["minivan", "yawl"],
        "food": ["pizza"],
        "musical instrument": ["acoustic guitar", "harp"],
    }.items():
        assert {first[name] for name in names} == {kind}
    assert {first[name] for name in ("triceratops", "abacus", "hay", "cup", "scorpion", "alp")} == {"none"}


def test_every_version_is_asked_for_its_kind(coloured, tiny_model, colour_model):
    labels = sources.read_labels(coloured / "labels.csv")
    names = sources.read_class_names(coloured / "labels.csv")
    (coloured / "kinds.txt").write_text("green: 2\nred: crimson\nblue: 1\n")
    kinds = find_kinds(str(coloured / "kinds.txt"), names)
    asked = Experiment(tiny_model, [60], {"colours": colour_model})
    result, _ = shielding.measure_classification(labels, names, asked, asked_kinds=kinds)
    found = result.kinds
    assert found is not None
    assert (found.names, found.chance) == (("green", "red", "blue"), 1 / 3)
    assert [row.version for row in found.zero_shot] == ["original", "protected", "full", "machine", "keyless"]
    original = found.zero_shot[0]
    assert original.pictures == 3  # grey has no kind
    assert original.top1.value == pytest.approx(1 / 3)  # green and blue are told apart, and the wrong way round
    assert shielding.measure_classification(labels, names, asked)[0].kinds is None


def test_pictures_without_any_kind_are_an_error(coloured, tiny_model, colour_model):
    labels = sources.read_labels(coloured / "labels.csv")[:1]
    kinds = read_kinds("green: 1\nblue: 2", ["red", "green", "blue", "grey"], "kinds.txt")
    with pytest.raises(InputError, match="none of the pictures is of a class that has a kind"):
        shielding.measure_classification(labels, None, Experiment(tiny_model, [60], {}), asked_kinds=kinds)
