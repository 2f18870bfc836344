"""What runs in the background, and how others find it."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from distrib.cli import house
from distrib.cli.house import AlreadyUp, NotUp
from distrib.errors import InvalidInput
from tests.cli.conftest import Cli


def test_one_house_a_directory(tmp_path: Path) -> None:
    data_dir = tmp_path / "new" / "data"
    assert house.find(data_dir) is None
    assert not house.stop(data_dir)
    with house.hold(data_dir, host="0.0.0.0", port=8123) as (here, removed):
        assert house.find(data_dir) == here
        assert here.address == "http://127.0.0.1:8123"
        assert not here.answers()
        with pytest.raises(AlreadyUp, match=r"is up already at http://127\.0\.0\.1:8123"):
            house.hold(data_dir, host="127.0.0.1", port=1).__enter__()
        assert not removed()
        shutil.rmtree(data_dir)
        assert removed()
    assert house.find(data_dir) is None


def test_a_file_that_says_nothing_is_no_house(tmp_path: Path) -> None:
    (tmp_path / "up.lock").write_text("[1, 2")
    assert house.find(tmp_path) is None


def test_what_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://x")
    with pytest.raises(NotUp, match="DATABASE_URL must start with postgresql://"):
        house.start(tmp_path, host="127.0.0.1", port=1, workers=1)


def test_a_free_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert house.free_port("127.0.0.1", port, strict=False) != port
        with pytest.raises(InvalidInput, match="is taken on"):
            house.free_port("127.0.0.1", port, strict=True)
    assert house.free_port("127.0.0.1", 0, strict=True) > 0


def test_status_starts_nothing(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTRIB_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    found = cli.document("status")
    assert (found["embedded"], found["servers"], found["api"]) == (True, False, None)
    assert "do not run" in cli.well("status")
    assert not (tmp_path / "data").exists()
