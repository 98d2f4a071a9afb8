import pytest

from psic_cli.errors import InputError
from psic_cli.evaluation import sources


def test_labels_and_captions_are_relative_to_their_file(coloured):
    assert sources.read_labels(coloured / "labels.csv")[1] == sources.Labelled(coloured / "green.png", 1)
    first = sources.read_captions(coloured / "captions.jsonl", "test")[0]
    assert first == sources.Captioned(coloured / "red.png", ("a red thing", "red"))
    assert sources.read_class_names(coloured / "labels.csv") == ["red, crimson", "green", "blue", "grey"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("picture,label\nred.png,0\n", "needs the columns image and class_index"),
        ("image,class_index\nred.png,cat\n", "line 2: class_index is 'cat', not a whole number"),
        ("image,class_index\nred.png\n", "line 2: class_index is None"),
        ("image,class_index\nred.png,-1\n", "line 2: class_index -1 is below 0"),
        ("image,class_index\n", "has no rows"),
        ("", "needs the columns"),
        ("image,class_index\nred.png,0\nnone.png,1\nnada.png,1\n", "names 2 pictures that do not exist, the first is"),
    ],
)
def test_what_is_wrong_with_a_file_of_labels_is_said_in_one_line(coloured, content, words):
    (coloured / "labels.csv").write_text(content)
    with pytest.raises(InputError) as error:
        sources.read_labels(coloured / "labels.csv")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 1: not of the form"),
        ('["test"]', "line 1: not of the form"),
        ('{"split": "test", "image": "red.png", "captions": []}', "line 1: not of the form"),
        ('{"split": "train", "image": "red.png", "captions": ["x"]}', "has no split 'test'"),
        ('{"split": "test", "image": "none.png", "captions": ["x"]}', "names 1 pictures that do not exist"),
        ("\udcff", "is not text in UTF-8"),
    ],
)
def test_what_is_wrong_with_a_file_of_captions_is_said_in_one_line(coloured, line, words):
    (coloured / "captions.jsonl").write_bytes(line.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError) as error:
        sources.read_captions(coloured / "captions.jsonl", "test")
    assert words in str(error.value)


def test_an_unknown_split_is_answered_with_those_that_there_are(coloured):
    with pytest.raises(InputError) as error:
        sources.read_captions(coloured / "captions.jsonl", "val")
    assert error.value.hint == "its splits: test"


def test_folders_without_pictures_and_missing_ones_are_input_errors(tmp_path):
    (tmp_path / "notes.txt").write_text("words")
    with pytest.raises(InputError, match="there are no pictures in"):
        sources.find_pictures(tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        sources.find_pictures(tmp_path / "missing")
