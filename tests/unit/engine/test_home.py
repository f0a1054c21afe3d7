from __future__ import annotations

import stat
from pathlib import Path

import pytest

from mlengine.core.errors import FailedPrecondition
from mlengine.engine.home import Home, is_owned, read_engine_file, read_token


def test_one_engine_owns_a_home(tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    home.publish({"pid": 1, "url": "http://127.0.0.1:1"})
    assert is_owned(tmp_path / "h")
    with pytest.raises(FailedPrecondition, match=r"http://127.0.0.1:1 already runs"):
        Home(tmp_path / "h")
    home.close()
    assert not is_owned(tmp_path / "h")
    assert read_engine_file(tmp_path / "h") is None
    Home(tmp_path / "h").close()


def test_commands_find_the_newest_token_which_is_its_owners_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    for token in ("first", "second"):
        home.keep_token(token)
        assert read_token(tmp_path / "h") == token
        assert stat.S_IMODE((tmp_path / "h" / "run" / "token").stat().st_mode) == 0o600
    home.close()


def test_no_engine_was_ever_here(tmp_path: Path) -> None:
    assert not is_owned(tmp_path)
    assert read_engine_file(tmp_path) is None
    with pytest.raises(FailedPrecondition, match="mlengine up"):
        read_token(tmp_path)


def test_a_broken_engine_file_is_no_engine(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "engine.json").write_text("{")
    assert read_engine_file(tmp_path) is None


def test_a_home_open_to_others_is_closed(tmp_path: Path) -> None:
    home = tmp_path / "h"
    for folder in (home, home / "run", home / "logs"):
        folder.mkdir()
        folder.chmod(0o777)
    (home / "run" / "token").write_text("t")
    Home(home).close()
    for folder in (home, home / "run", home / "logs", home / "environments"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_shared_folder_with_other_things_is_neither_closed_nor_used(tmp_path: Path) -> None:
    (tmp_path / "somebody's").write_text("")
    tmp_path.chmod(0o1777)
    with pytest.raises(FailedPrecondition, match="chmod go-w"):
        Home(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777
    tmp_path.chmod(0o755)
    Home(tmp_path).close()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
