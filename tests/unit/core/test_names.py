from __future__ import annotations

import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core import names
from mlengine.core.errors import InvalidArgument
from mlengine.core.names import VersionRef

IDS = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,127}", fullmatch=True)
PROJECTS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)


def check_id(value: str) -> str:
    return names.check_id(value, kind="job", field="job.job_id")


@given(PROJECTS, IDS, IDS)
def test_a_name_put_together_comes_apart_into_the_same(project: str, model: str, ver: str) -> None:
    whole = names.version_name(project, model, ver)
    assert names.parse_version(whole, field="name") == VersionRef(project, model, ver)
    bare = names.model_name(project, model)
    assert names.parse_model_or_version(bare, field="name") == VersionRef(project, model)
    assert (names.model_of(whole), names.last_id(whole), names.last_id(bare)) == (bare, ver, model)


@given(st.text(max_size=60))
def test_whatever_parses_can_be_put_together_again(text: str) -> None:
    try:
        ref = names.parse_version(text, field="name")
    except InvalidArgument as error:
        assert error.field in {"name", "project"}
    else:
        assert names.version_name(*ref) == text


@given(st.text(alphabet=string.ascii_letters + string.digits + "_-./ \n\0é", max_size=140))
def test_an_id_that_passes_is_safe_in_a_path_a_url_and_a_shell(text: str) -> None:
    try:
        check_id(text)
    except InvalidArgument as error:
        assert error.field == "job.job_id"
    else:
        assert text.isascii()
        assert text.isidentifier()
        assert 1 <= len(text) <= 128


@pytest.mark.parametrize("value", ["a", "A9_", "x" * 128])
def test_an_id_is_letters_digits_and_underscores(value: str) -> None:
    assert check_id(value) == value


@pytest.mark.parametrize("value", ["", "9a", "_a", "a-b", "a b", "a/b", "a\n", "é", "x" * 129])
def test_other_ids_are_refused(value: str) -> None:
    with pytest.raises(InvalidArgument, match=r"Field: job\.job_id Error: The job id") as refusal:
        check_id(value)
    assert len(str(refusal.value)) < 250


RULES: dict[str, tuple[Callable[[str], str], list[str], list[str]]] = {
    "projects": (
        names.check_project,
        ["p", "9", "demos-191212", "x" * 63],
        ["", "-p", "P", "a_b", "a.b", "p\n", "x" * 64],
    ),
    "buckets": (
        names.check_bucket_id,
        ["abc", "a-b_c", "0a0", "x" * 63, "a.b", "models.example.com", "1.2.3", "1.2.3.4.5",
         ".".join(["x" * 63] * 3)],
        ["", "ab", "-ab", "ab-", "aBc", "a/b", "abc\n", "..", "...", ".ab", "ab.", "a..b", "a.-b",
         "a-.b", "a.b\n", "192.168.0.1", "x" * 64, "a." + "x" * 64, ".".join(["x" * 63] * 4)],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("check", "good", "bad"), RULES.values(), ids=RULES.keys())
def test_the_rule_for(check: Callable[[str], str], good: list[str], bad: list[str]) -> None:
    assert [check(value) for value in good] == good
    for value in bad:
        with pytest.raises(InvalidArgument):
            check(value)


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"owner": "alice"},
        {"o-w_9": ""},
        {"é": "ñ"},
        {"\u4f60": "\u597d"},  # letters without case are as good as lower-case ones
        {"k" * 63: "v" * 63},
        {f"k{n}": "v" for n in range(64)},
    ],
)
def test_labels_that_follow_the_rule_pass(labels: dict[str, str]) -> None:
    names.check_labels(labels, field="job.labels")


@pytest.mark.parametrize(
    "labels",
    [
        {"": "v"},
        {"9k": "v"},
        {"_k": "v"},
        {"K": "v"},
        {"kK": "v"},
        {"k k": "v"},
        {"k": "V"},
        {"k": "v v"},
        {"k" * 64: "v"},
        {"k": "v" * 64},
        {f"k{n}": "v" for n in range(65)},
    ],
)
def test_labels_that_break_the_rule_are_refused(labels: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument, match=r"job\.labels"):
        names.check_labels(labels, field="job.labels")


def test_names_are_paths_below_the_project() -> None:
    assert names.project_name("p") == "projects/p"
    assert names.job_name("p", "j") == "projects/p/jobs/j"
    assert names.operation_name("p", "o") == "projects/p/operations/o"
    assert names.location_name("p", "l") == "projects/p/locations/l"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "census",
        "projects/p/models",
        "projects/p/models/m/versions",
        "projects/p/models/m/versions/",
        "projects/p/models/m/versions/v/",
        "projects/P/models/m",
        "projects/p/models/..",
        "/projects/p/models/m",
        "projects/p/jobs/j",
    ],
)
def test_what_names_no_model_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument):
        names.parse_model_or_version(name, field="name")


def test_a_bare_model_is_not_a_version() -> None:
    with pytest.raises(InvalidArgument, match="Append /versions/VERSION"):
        names.parse_version("projects/p/models/m", field="name")


def test_a_studys_name_is_taken_apart_as_it_was_put_together() -> None:
    ref = names.StudyRef("p", "local", "a_-1")
    assert names.parse_study(names.study_name(*ref), field="name") == ref
    assert names.trial_name(*ref, 7) == names.study_name(*ref) + "/trials/7"
    assert names.operation_name("p", "o", "local") == "projects/p/locations/local/operations/o"
    for wrong in ("", "projects/p/studies/s", names.trial_name(*ref, 7), "projects/p/locations/l"):
        with pytest.raises(InvalidArgument, match="names no study"):
            names.parse_study(wrong, field="name")
    for wrong in ("", "0", "01", "-1", "1.0", "٣", "9" * 19):
        with pytest.raises(InvalidArgument, match="The trial id"):
            names.check_trial_id(wrong, field="name")
