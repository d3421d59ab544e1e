"""Files are known again by what is in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.config.digests import MISSING, FileReader, changed, current, digest
from exporter.config.errors import ConfigError


def test_what_was_read_is_remembered_by_its_content_not_its_time(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    reader = FileReader()
    assert reader(path) == "one"
    path.write_text("one")
    assert not changed(reader.digests, current([path]))
    path.write_text("two")
    assert changed(reader.digests, current([path])) == {path}


def test_what_cannot_be_read_is_remembered_as_missing(tmp_path: Path) -> None:
    path, reader = tmp_path / "a", FileReader()
    with pytest.raises(ConfigError, match="cannot be read"):
        reader(path)
    assert reader.digests == {path: MISSING}
    assert digest(tmp_path) == MISSING
    assert not changed(reader.digests, {})
    path.write_text("now")
    assert changed(reader.digests, current([path])) == {path}


def test_a_link_that_leads_elsewhere_is_another_content(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.yml").write_text(name)
    data, link = tmp_path / "..data", tmp_path / "a.yml"
    data.symlink_to("old")
    link.symlink_to("..data/a.yml")
    before = current([link])
    fresh = tmp_path / "..data_tmp"
    fresh.symlink_to("new")
    fresh.rename(data)
    assert changed(before, current([link])) == {link}
