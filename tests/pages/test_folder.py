"""A report as a folder: what counts as one, and that nothing that was there is lost."""

import pytest

from psic_cli.errors import OutputError
from psic_cli.pages.folder import check_report, is_report_folder, write_report


def test_a_folder_and_a_new_name_without_a_suffix_are_reports(tmp_path):
    (tmp_path / "v1.0").mkdir()
    (tmp_path / "file").write_text("")
    found = [is_report_folder(tmp_path / name) for name in ("v1.0", "new", "new.json", "file")]
    assert found == [True, True, False, False]


def test_both_files_are_written_beside_what_is_there(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    write_report(tmp_path, b"page", b"results", overwrite=False)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "mine.txt": b"mine",
        "index.html": b"page",
        "results.json": b"results",
    }


@pytest.mark.parametrize("name", ["index.html", "results.json"])
def test_an_existing_report_is_replaced_with_force_alone(tmp_path, name):
    (tmp_path / name).write_text("old")
    for refuse in (check_report, lambda folder, overwrite: write_report(folder, b"p", b"r", overwrite=overwrite)):
        with pytest.raises(OutputError, match=f"{name} exists"):
            refuse(tmp_path, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    write_report(tmp_path, b"page", b"results", overwrite=True)
    assert (tmp_path / "index.html").read_bytes() == b"page"


def test_a_folder_nowhere_is_refused_early(tmp_path):
    with pytest.raises(OutputError, match="there is no folder"):
        check_report(tmp_path / "missing" / "report", overwrite=False)
    check_report(tmp_path / "report", overwrite=False)
    assert not (tmp_path / "report").exists()
