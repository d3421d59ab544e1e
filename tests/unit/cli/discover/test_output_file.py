"""The file of found servers: what is in it, for whom, and when it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.cli.discover.output_file import OutputFile
from exporter.cli.discover.services import DiscoveredServer
from exporter.config.load import load_config

FOUND = {
    f"a/{n}": DiscoveredServer(f"a/{n}", f"http://{n}.a.svc:80/sse", "sse") for n in ("x", "y", "z")
}


def test_the_exporter_reads_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "kubernetes.yml"
    assert OutputFile(path, 10).write(FOUND)
    assert set(load_config(path, {}).servers) == set(FOUND)
    assert [each.name for each in tmp_path.iterdir()] == ["kubernetes.yml"]


def test_it_is_written_only_where_it_says_anything_else(tmp_path: Path) -> None:
    file = OutputFile(tmp_path / "kubernetes.yml", 10)
    assert [file.write(FOUND), file.write(dict(FOUND)), file.write({})] == [True, False, True]


def test_over_the_limit_the_first_by_name_are_kept(tmp_path: Path) -> None:
    file = OutputFile(tmp_path / "kubernetes.yml", 2)
    file.write(FOUND)
    assert list(file.read()) == ["a/x", "a/y"]
    assert file.left_out(FOUND) == 1


def test_what_is_in_it_loses_no_place_to_what_is_new(tmp_path: Path) -> None:
    path = tmp_path / "kubernetes.yml"
    last = {"a/z": FOUND["a/z"]}
    OutputFile(path, 2).write(last)
    again = OutputFile(path, 2)  # after a restart, too
    again.write(FOUND)
    assert list(again.read()) == ["a/z", "a/x"]
    again.write({name: FOUND[name] for name in ("a/x", "a/y")})
    assert list(again.read()) == ["a/x", "a/y"]


def test_what_an_earlier_process_wrote_is_known_again(tmp_path: Path) -> None:
    OutputFile(tmp_path / "kubernetes.yml", 10).write(FOUND)
    assert OutputFile(tmp_path / "kubernetes.yml", 10).read() == FOUND


@pytest.mark.parametrize("text", ["", "{", "[]", '{"servers": 1}', '{"servers": {"a": {}}}'])
def test_what_is_none_of_ours_is_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "kubernetes.yml").write_text(text)
    assert OutputFile(tmp_path / "kubernetes.yml", 10).read() == {}


def test_a_file_that_cannot_be_written_leaves_the_last_one(tmp_path: Path) -> None:
    file = OutputFile(tmp_path / "kubernetes.yml", 10)
    file.write(FOUND)
    (tmp_path / ".kubernetes.yml.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        file.write({})
    assert file.read() == FOUND
