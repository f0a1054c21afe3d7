from __future__ import annotations

import pytest

from mlengine.core.errors import FailedPrecondition
from mlengine.core.system import require_linux


def test_linux_is_what_is_needed() -> None:
    require_linux("The engine", system="linux")


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_another_system_is_named_with_the_way_out(system: str) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        require_linux("The engine", system=system)
    assert caught.value.problem == f"The engine runs on Linux only, and this is {system}."
    assert "MLENGINE_ENDPOINT" in caught.value.remedy and "MLENGINE_TOKEN" in caught.value.remedy
