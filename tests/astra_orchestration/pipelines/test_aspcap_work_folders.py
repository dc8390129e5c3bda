"""Folders of FERRE's files: what a killed run left is taken over, and what it had stored stays where it is."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from astra_orchestration.pipelines.aspcap.work_folders import NOTE, names_for, work_folder


def notes(root: Path) -> list[list[int]]:
    return sorted(json.loads(path.read_text()) for path in root.rglob(NOTE))


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """Leave a folder as a killed run does, with four spectra."""
    pid = os.fork()
    if pid == 0:
        with work_folder(tmp_path, "params", [1, 2, 3, 4]) as work:
            (work.path / "params").mkdir()
            (work.path / "params" / "parameter.output").write_text("what was finished")
            os._exit(9)
    os.waitpid(pid, 0)
    [folder] = (tmp_path / "params").iterdir()
    return folder


def test_fewer_spectra_take_over_a_copy_and_the_others_can_be_taken_over_later(left: Path, tmp_path: Path) -> None:
    with work_folder(tmp_path, "params", [3, 2]) as work:
        assert work.path != left
        assert (work.path / "params" / "parameter.output").read_text() == "what was finished"
        (work.path / "params" / "parameter.output").write_text("and more")
        assert notes(tmp_path) == [[1, 4], [2, 3]]
    assert notes(tmp_path) == [[1, 4]]
    with work_folder(tmp_path, "params", [1, 4, 9]) as work:
        assert (work.path / "params" / "parameter.output").read_text() == "what was finished"
    assert notes(tmp_path) == []
    assert (left / "params" / "parameter.output").read_text() == "what was finished"


def test_other_spectra_and_other_stages_begin_anew(left: Path, tmp_path: Path) -> None:
    for stage, keys in (("params", [5]), ("coarse", [1])):
        with work_folder(tmp_path, stage, keys) as work:
            assert [path.name for path in work.path.iterdir()] == [NOTE]
        assert not work.path.exists()  # nothing was fitted
    assert notes(tmp_path) == [[1, 2, 3, 4]]


def test_a_folder_that_is_worked_in_is_nobody_elses(tmp_path: Path) -> None:
    with work_folder(tmp_path, "params", [1]) as one, work_folder(tmp_path, "params", [1]) as other:
        assert one.path != other.path and notes(tmp_path) == [[1], [1]]
    assert notes(tmp_path) == []


def test_who_takes_the_last_result_need_not_ask_for_another(tmp_path: Path) -> None:
    def results() -> Iterator[int]:
        with work_folder(tmp_path, "params", [1, 2]) as work:
            (work.path / "params").mkdir()
            yield from work.give(iter([10, 20]))

    given = results()
    assert next(given) == 10 and notes(tmp_path) == [[1, 2]]
    assert next(given) == 20 and notes(tmp_path) == []  # the generator is never ended


@pytest.mark.parametrize("junk", ["", "{", "[null]", '{"a": 1}', "\x00\xff"])
def test_a_damaged_note_is_nobodys(left: Path, tmp_path: Path, junk: str) -> None:
    (left / NOTE).write_text(junk)
    with work_folder(tmp_path, "params", [1]) as work:
        assert [path.name for path in work.path.iterdir()] == [NOTE]


def test_spectra_keep_their_names_where_they_are_known(tmp_path: Path) -> None:
    assert names_for(tmp_path, ["1_8_0_NULL", "2_9_0_NULL"]) == ["0_1_8_0_NULL", "1_2_9_0_NULL"]
    (tmp_path / "flux.index").write_text("4_2_9_0_NULL digest 1 2 3\njunk\n")
    assert names_for(tmp_path, ["1_8_0_NULL", "2_9_0_NULL"]) == ["5_1_8_0_NULL", "4_2_9_0_NULL"]
