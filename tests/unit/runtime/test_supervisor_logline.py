"""How printed bytes become log lines."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.runtime.linesplitter import MAX_LINE_BYTES, LineSplitter
from mlengine.runtime.logline import Line, Stream, severity_of

PARTS = [
    b'{"',
    b"}",
    b"a",
    b"bc",
    b" ",
    b"\n",
    b"\r",
    b"\r\n",
    b"\xff",
    "é😀".encode(),
    b"x" * 70000,
]
PRINTED = st.lists(st.sampled_from(PARTS)).map(b"".join)


def split(data: bytes, *cuts: int) -> list[bytes]:
    splitter = LineSplitter()
    block = b""
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        block += splitter.feed(data[start:end])
    block += splitter.finish()
    assert block.endswith(b"\n") or not block
    return block.split(b"\n")[:-1]


@given(PRINTED, st.data())
def test_how_bytes_are_chunked_makes_no_difference(data: bytes, draw: st.DataObject) -> None:
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=8)))
    assert split(data, *cuts) == split(data)


@given(PRINTED)
def test_no_line_is_long_or_holds_a_line_end(data: bytes) -> None:
    for line in split(data):
        assert len(line) <= MAX_LINE_BYTES
        assert b"\n" not in line and b"\r" not in line


@given(st.binary().filter(lambda data: b"\r" not in data))
def test_without_carriage_returns_nothing_is_lost(data: bytes) -> None:
    assert b"\n".join(split(data)) == data.removesuffix(b"\n")


@given(st.integers(0, 3), st.integers(1, 200_000))
def test_a_giant_line_is_cut_between_characters(offset: int, count: int) -> None:
    data = b"a" * offset + "😀".encode() * count
    pieces = split(data)
    assert b"".join(pieces) == data
    assert all("\ufffd" not in piece.decode("utf-8", "replace") for piece in pieces)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"10%\r50%\r100%\n", [b"100%"]),
        (b"\r10%\r20%\r", [b"20%"]),
        (b"\x1b[K\r100%\r   \n", [b"100%"]),
        (b"a\r\nb\r\n", [b"a", b"b"]),
        (b'\r 10%|#| 1/9{"loss": 1}\n\r 20%|#', [b" 10%|#| 1/9", b'{"loss": 1}', b" 20%|#"]),
        (b'\r{"loss": {"a": 1}}\na {"b": 1}\r\n', [b'{"loss": {"a": 1}}', b'a {"b": 1}']),
        (
            b"\r 10%|#   | 1/9 [00:01<00:08,  1.00it/s, loss=2]W1121 06:16:13 x\n",
            [b" 10%|#   | 1/9 [00:01<00:08,  1.00it/s, loss=2]", b"W1121 06:16:13 x"],
        ),
        (b"\rtrain: 3it [00:01,  2.00it/s] a\nb", [b"train: 3it [00:01,  2.00it/s] ", b"a", b"b"]),
        (
            b"\r  0%|  | 0/9 [00:00<?, ?it/s]\r100%|##| 9/9 [00:01<00:00]\n",
            [b"100%|##| 9/9 [00:01<00:00]"],
        ),
        (
            b"\r 50%|# | 1/2 [00:00<00:00, 9it/s]\x1b[A\n",
            [b" 50%|# | 1/2 [00:00<00:00, 9it/s]\x1b[A"],
        ),
        (b"\r 50%|# | 1/2 [0<0, l=[1, 2]]\n", [b" 50%|# | 1/2 [0<0, l=[1, 2]]"]),
        (b"\r12 [34] 56\n12%|#| 1/9 [a] b\n", [b"12 [34] 56", b"12%|#| 1/9 [a] b"]),
        (b"\n\n", [b"", b""]),
        (b"open", [b"open"]),
        (b"", []),
    ],
)
def test_of_a_progress_bar_the_last_state_stays(data: bytes, lines: list[bytes]) -> None:
    assert split(data) == lines


SEVERITIES = {
    "I0302 10:00:00.123456 7 task.py:12] x": "INFO",
    "W0302 10:00:00.123456 7 task.py:12] x": "WARNING",
    "E20240302 10:00:00.123456 7 x.cc:1] x": "ERROR",
    "F0302 10:00:00.123456 7 x.cc:1] x": "CRITICAL",
    "2024-03-02 10:00:00.123456: W tensorflow/core/x.cc:1] slow": "WARNING",
    "2024-03-02 10:00:00.123456: I tensorflow/core/x.cc:1] cpu": "INFO",
    "WARNING:root:careful": "WARNING",
    "ERROR:tensorflow:bad": "ERROR",
    "CRITICAL:root:worse": "CRITICAL",
    "DEBUG:root:detail": "DEBUG",
    "[ERROR] bad": "ERROR",
    "2024-03-02 10:00:00,123 - trainer.task - WARNING - careful": "WARNING",
    "2024-03-02 10:00:00,123 ERROR trainer: bad": "ERROR",
    "2024-03-02T10:00:00.123Z INFO started": "INFO",
    "/x/ops.py:12: UserWarning: deprecated": "WARNING",
    "task.py: error: unrecognized arguments: --x": "ERROR",
    "ERRORS were 0 today": "INFO",
    "Epoch 1/10": "INFO",
    "": "INFO",
    "In 5 steps: done": "INFO",
}


@pytest.mark.parametrize(("text", "severity"), SEVERITIES.items())
def test_the_severity_is_what_the_line_says(text: str, severity: str) -> None:
    assert severity_of(text) == severity


@given(st.text(max_size=3000))
def test_any_text_has_a_severity_and_is_kept(text: str) -> None:
    flat = text.replace("\n", "").replace("\r", "")
    line = Stream().feed(flat.encode("utf-8", "replace") + b"\n")
    assert len(line) == 1
    assert line[0].severity in {"DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR",
                                "CRITICAL", "ALERT", "EMERGENCY"}  # fmt: skip


def test_a_json_line_speaks_for_itself() -> None:
    (line,) = Stream().feed(b'{"severity":"warning","message":"m","step":3}\n')
    assert line == Line("WARNING", "m", {"step": 3})


@pytest.mark.parametrize(
    "text",
    [
        '{"loss": 0.1}', '{"severity":"LOUD","message":"m"}', '{"severity":"INFO","message":1}',
        '{"severity":"INFO","message":"m","x":NaN}', '{"severity":"INFO","message":"m","x":1e999}',
        '{"severity":"INFO"', "{" * 5000, r'{"severity":"INFO","message":"bad \udcff"}',
        r'{"severity":"INFO","message":"m","x":["\ud800"]}',
    ],
)  # fmt: skip
def test_other_json_is_text(text: str) -> None:
    (line,) = Stream().feed(text.encode() + b"\n")
    assert line == Line("INFO", text)


def heard(text: str, cwd: str = "") -> Stream:
    stream = Stream(cwd)
    stream.feed(text.encode())
    stream.finish()
    return stream


TRACE = 'Traceback (most recent call last):\n  File "/w/trainer/task.py", line 12, in <module>\n'


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ('{"metric": 1}W1121 06:16:13 slow', ['{"metric": 1}', "W1121 06:16:13 slow"]),
        ('{"metric": 1}{"metric": 2}', ['{"metric": 1}', '{"metric": 2}']),
        ('{"a": "}{"}', ['{"a": "}{"}']),
        ('{"a": 1} is what it took', ['{"a": 1} is what it took']),
        ('{"a": 1},', ['{"a": 1},']), ('{"a": 1}: took 5 s', ['{"a": 1}: took 5 s']),
        ("{}x", ["{}x"]), ("{1, 2}x", ["{1, 2}x"]), ("{" * 5000, ["{" * 5000]),
    ],
)  # fmt: skip
def test_what_came_between_an_object_and_its_newline_is_told_from_it(
    text: str, messages: list[str]
) -> None:
    assert [line.message for line in Stream().feed(text.encode() + b"\n")] == messages


def test_an_exception_is_remembered_behind_what_other_threads_print() -> None:
    stream = Stream()
    stream.feed(f"{TRACE}ValueError: bad\n".encode() + b"x\n" * 400)
    assert stream.last_exception == "ValueError: bad (trainer/task.py:12)"
    stream.feed(b"x\n" * 400)
    assert stream.last_exception == ""


def test_a_traceback_is_an_error_whatever_it_came_on() -> None:
    lines = Stream().feed((TRACE + "    main()\nValueError: bad\nafter\n").encode())
    assert [line.severity for line in lines] == ["ERROR"] * 4 + ["INFO"]


GROUP = """\
  + Exception Group Traceback (most recent call last):
  |   File "/w/x.py", line 1, in <module>
  | ExceptionGroup: eg (1 sub-exception)
"""
EXCEPTIONS = {
    "plain": (TRACE + "    main()\nValueError: bad\n", "ValueError: bad (trainer/task.py:12)"),
    "without message": (TRACE + "KeyboardInterrupt\n", "KeyboardInterrupt (trainer/task.py:12)"),
    "dotted": (TRACE + "a.b.Oops: x\n", "a.b.Oops: x (trainer/task.py:12)"),
    "installed": (
        TRACE + '  File "/e/lib/python3.11/site-packages/a/b.py", line 3, in f\nE: x\n',
        "E: x (a/b.py:3)",
    ),
    "chained, the last counts": (
        TRACE + "KeyError: 1\n\nDuring handling of the above exception, another exception "
        "occurred:\n\n" + TRACE + "TypeError: 2\n",
        "TypeError: 2 (trainer/task.py:12)",
    ),
    "syntax error": (
        '  File "/w/trainer/task.py", line 3\n    x = =\n        ^\nSyntaxError: invalid syntax\n',
        "SyntaxError: invalid syntax (trainer/task.py:3)",
    ),
    "group": (
        GROUP,
        "ExceptionGroup: eg (1 sub-exception) (w/x.py:1)",
    ),
    "survived long ago": (TRACE + "ValueError: bad\n" + "fine\n" * 600, ""),
    "none": ("all fine\n", ""),
}


@pytest.mark.parametrize(("text", "found"), EXCEPTIONS.values(), ids=EXCEPTIONS.keys())
def test_the_last_exception_is_remembered(text: str, found: str) -> None:
    assert heard(text).last_exception == found


def test_paths_are_shown_from_the_working_directory() -> None:
    assert heard(TRACE + "E: x\n", cwd="/w").last_exception == "E: x (trainer/task.py:12)"
    assert heard(TRACE + "E: x\n", cwd="/w/trainer").last_exception == "E: x (task.py:12)"


def test_a_traceback_inside_a_json_message_counts() -> None:
    text = json.dumps({"severity": "ERROR", "message": "failed\n" + TRACE + "ValueError: bad"})
    assert heard(text + "\n").last_exception == "ValueError: bad (trainer/task.py:12)"


def test_the_last_line_that_shows_something_is_remembered() -> None:
    assert heard("one\ntwo\n\n  \n").last_line == "two"


@given(st.lists(st.integers(1, 300_000), max_size=4))
def test_of_a_line_that_was_cut_its_beginning_is_remembered_too(cuts: list[int]) -> None:
    unknown = " ".join(f"--flag{number}={'z' * 60}" for number in range(3000))
    text = f"usage: task.py\ntask.py: error: unrecognized arguments: {unknown}\n\n"
    places = sorted(min(cut, len(text)) for cut in cuts)
    stream = Stream()
    for start, end in zip([0, *places], [*places, len(text)], strict=True):
        stream.feed(text[start:end].encode())
    stream.finish()
    assert stream.last_line.startswith("task.py: error: unrecognized arguments: --flag0=")
    assert stream.last_line.endswith(f"--flag2999={'z' * 60}")
    assert len(stream.last_line) < 2 * MAX_LINE_BYTES + 4
    stream.feed(b"done\n")
    assert stream.last_line == "done"


@pytest.mark.parametrize("key", ["message", "msg", "event"])
@pytest.mark.parametrize("level", ["severity", "levelname", "level"])
def test_json_lines_of_every_common_logger_are_taken_apart(key: str, level: str) -> None:
    row = json.dumps({key: "no column", level: "error", "step": 3}) + "\n"
    (line,) = Stream().feed(row.encode())
    assert line == Line("ERROR", "no column", {"step": 3})
