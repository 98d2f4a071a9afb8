"""Lists and places without a cluster."""

from pathlib import Path

import pytest

pytest.importorskip("pyarrow")

from psic_cli.errors import InputError, OutputError, UsageError
from psic_cli.ray.listing import items
from psic_cli.ray.places import Place
from psic_cli.shell.worklist import Kind

KIND = Kind(*("encode", "pictures", "a .psic file", frozenset({".png", ".jpg"}), ".psic"), file_suffixes=frozenset())


def listed(*sources, target="out", report=None):
    return [
        (item.source, item.destination, item.problem is None)
        for item in items([Place.named(str(source)) for source in sources], Place.named(target), KIND, report)
    ]


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("in/b.png", "in/a/c.JPG", "in/a/.hidden.png", "in/.git/d.png", "in/b.jpg", "in/notes.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")
    return tmp_path


def test_the_tree_is_kept_and_the_first_of_one_name_has_it(tree):
    assert listed("in") == [
        ("in/b.jpg", "out/b.psic", True),
        ("in/b.png", "out/b.psic", False),
        ("in/a/c.JPG", "out/a/c.psic", True),
    ]
    assert listed("in/b.png", "in/b.jpg") == [("in/b.png", "out/b.psic", True), ("in/b.jpg", "out/b.psic", False)]


def test_a_link_back_up_does_not_lead_round_in_a_circle(tree):
    Path("in/a/up").symlink_to("..")
    assert len(listed("in")) == 3


def test_a_source_without_pictures_and_one_that_is_missing_are_refused(tree):
    Path("empty").mkdir()
    with pytest.raises(InputError, match="there are no pictures in empty"):
        listed("empty")
    with pytest.raises(InputError, match="no such file or folder"):
        listed("nowhere")


def test_a_report_is_neither_an_input_nor_an_output(tree):
    for name in ("in/b.png", "out/a/c.psic"):
        with pytest.raises(OutputError, match="both the report and"):
            listed("in", report=Path(name))


def test_credentials_in_a_uri_are_refused_and_options_are_not_shown():
    with pytest.raises(UsageError, match="do not belong"):
        _ = Place.named("s3://me:secret@bucket/in").system
    assert Place.named("s3://bucket/in?endpoint_override=host").shown("a b.png") == "s3://bucket/in/a b.png"
    with pytest.raises(UsageError, match="cannot be opened"):
        _ = Place.named("nosuchprotocol://x/y").system


@pytest.mark.parametrize("name", ["trip 1", "été", "50%20", "a#b", "a+b"])
def test_names_in_uris_are_taken_as_they_are(name):
    assert Place.named(f"s3://bucket/in/{name}?region=eu-central-1").path("x y.png") == f"bucket/in/{name}/x y.png"
    assert Place.named(f"s3://bucket/in/{name}?region=eu-central-1").parent.path("x") == "bucket/in/x"


@pytest.fixture
def waits(monkeypatch):
    made: list[float] = []
    monkeypatch.setattr("psic_cli.ray.places.time.sleep", made.append)
    return made


def test_what_a_network_may_let_through_later_is_tried_again_and_a_refusal_is_not(waits):
    place = Place.named("memory://album")
    answers = [OSError("connection reset"), OSError("timeout"), b"here"]

    def ask():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert place._patiently(ask, InputError) == b"here"
    assert len(waits) == 2
    answers[:] = [OSError("AWS Error ACCESS_DENIED during GetObject"), b"here"]
    with pytest.raises(InputError, match="ACCESS_DENIED"):
        place._patiently(ask, InputError)
    assert len(waits) == 2


def test_a_store_that_stays_away_is_given_up_after_most_of_a_minute(waits):
    def away():
        raise OSError("connection refused")

    with pytest.raises(OutputError, match="connection refused"):
        Place.named("memory://album")._patiently(away, OutputError)
    assert 20 < sum(waits) < 60


def test_a_store_keeps_what_is_there_and_keys_even_with_force(waits):
    place = Place.named("memory://album")
    place.write("x/a.psic", b"one", overwrite=False, like=None, token="x")
    with pytest.raises(OutputError, match="exists"):
        place.write("x/a.psic", b"two", overwrite=False, like=None, token="x")
    place.write("x/a.psic", b"two", overwrite=True, like=None, token="x")
    assert place.read("x/a.psic") == b"two"
    place.write("key", b"psic key 1\n" + bytes(36), overwrite=False, like=None, token="x")
    with pytest.raises(OutputError, match="is a key file"):
        place.write("key", b"x", overwrite=True, like=None, token="x")
