"""Rules that every source file keeps; those that a linter cannot say."""

from __future__ import annotations

import ast
import re
import sys
import tomllib

import pytest

from tests.architecture.sources import ROOT, SOURCE, calls, dotted, files, imports, parsed

MAX_LINES = 600
EXPLAIN_FROM_LINES = 400
# Loading a pickle runs it: only what runs in a worker may, and the one that shows it what is in it.
MAY_UNPICKLE = (
    "runtime/frameworks/",
    "runtime/loadcheck.py",  # a trainer's own files, in its own environment
)
FORBIDDEN_CALLS = {
    "os.system": "subprocess with a list of words",
    "os.popen": "subprocess with a list of words",
    "subprocess.getoutput": "subprocess with a list of words",
    "subprocess.getstatusoutput": "subprocess with a list of words",
    "eval": "a parser",
    "exec": "a module",
    "compile": "a module",
    "time.sleep": "an event, a condition or a descriptor",
    "tempfile.mktemp": "tempfile.mkdtemp",
    "yaml.load": "yaml.safe_load, or load with a safe loader",
    "yaml.unsafe_load": "yaml.safe_load",
    "yaml.full_load": "yaml.safe_load",
    "datetime.now": "core.clock",
    "datetime.utcnow": "core.clock",
    "datetime.datetime.now": "core.clock",
    "datetime.datetime.utcnow": "core.clock",
    "datetime.date.today": "core.clock",
    "marshal.loads": "JSON",
    "shelve.open": "the store",
    "os.chdir": "cwd= of the child",
}
ALLOWED_CALLS = {
    ("core/clock.py", "datetime.datetime.now"),
    # In the child: there is no exec to do it.
    ("runtime/forkstart.py", "os.chdir"),
    ("runtime/workerstart.py", "os.chdir"),
}
PICKLES = {"pickle", "cPickle", "joblib", "dill", "cloudpickle", "marshal", "shelve"}
DISTRIBUTIONS = {
    "pyyaml": "yaml", "scikit-learn": "sklearn", "xgboost-cpu": "xgboost",
    "tensorflow-cpu": "tensorflow", "pillow": "PIL", "grpcio": "grpc", "protobuf": "google",
    "google-vizier": "vizier",
}  # fmt: skip


@pytest.mark.parametrize("name", files())
def test_a_file_keeps_the_house_rules(name: str) -> None:
    text = files()[name].read_text()
    lines = text.splitlines()
    assert len(lines) <= MAX_LINES, f"{len(lines)} lines"
    tree = parsed(name)
    if lines:
        assert ast.get_docstring(tree), "a module begins with what it is for"
    for called, node in calls(name):
        if called == "yaml.load" and node.keywords:
            continue  # with a loader; that it is a safe one is checked by the linter (S506)
        if called in FORBIDDEN_CALLS and (name, called) not in ALLOWED_CALLS:
            pytest.fail(f"{name}:{node.lineno}: {called}: use {FORBIDDEN_CALLS[called]}")
        for keyword in node.keywords:
            value = keyword.value
            is_true = isinstance(value, ast.Constant) and value.value is True
            assert not (keyword.arg == "shell" and is_true), f"{name}:{node.lineno}: shell=True"
            assert not (keyword.arg == "allow_pickle" and is_true), f"{name}:{node.lineno}"
            assert not (
                keyword.arg == "verify" and isinstance(value, ast.Constant) and not value.value
            ), f"{name}:{node.lineno}: certificates are checked"
    if not name.startswith(MAY_UNPICKLE):
        assert not {module.partition(".")[0] for module in imports(name)} & PICKLES
    for word in ("TODO", "FIXME", "XXX", "raise NotImplementedError", "pdb"):
        assert not re.search(rf"\b{word}\b", text), f"{name} has {word}"


def test_a_folder_is_a_package_with_a_docstring() -> None:
    for folder in sorted({path.parent for path in files().values()}):
        if folder.name != "versions":  # Alembic's scripts are no package
            assert (folder / "__init__.py").exists(), folder


def test_long_files_are_few() -> None:
    """Over 400 lines a file says at its top why it is one."""
    long = [n for n, p in files().items() if len(p.read_text().splitlines()) > EXPLAIN_FROM_LINES]
    assert [n for n in long if "Long because" not in (ast.get_docstring(parsed(n)) or "")] == []


def test_no_function_is_longer_than_a_screen() -> None:
    found = []
    for name in files():
        for node in ast.walk(parsed(name)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                doc = ast.get_docstring(node, clean=False)
                body = node.end_lineno - node.lineno + 1 - (len(doc.splitlines()) if doc else 0)
                if body > 45:
                    found.append(f"{name}:{node.lineno}: {node.name}: {body} lines")
    assert found == []


def test_only_one_module_makes_tokens_and_one_compares_them() -> None:
    users = {
        name
        for name in files()
        for called, _node in calls(name)
        if called in ("hmac.compare_digest", "secrets.token_urlsafe")
    }
    assert users <= {"core/access.py", "core/paging.py"}


def test_archives_are_unpacked_in_one_place() -> None:
    """Others may look at one member, as installers must; nobody lets a library unpack."""
    openers = {n for n in files() if imports(n) & {"tarfile", "zipfile"}}
    unpackers = {
        name
        for name in files()
        for called, _node in calls(name)
        if called.endswith((".extractall", ".extract")) or called == "shutil.unpack_archive"
    }
    assert unpackers == set()
    readers = ("storage/", "training/", "runtime/", "environments/archives.py")
    assert {name for name in openers if not name.startswith(readers)} == set()


def test_nobody_listens_but_who_is_known_to() -> None:
    """A new port or socket is a decision about who may reach it: `tests/security`."""
    listeners = {
        name
        for name in files()
        for called, _node in calls(name)
        if called.rpartition(".")[2]
        in ("bind", "create_server", "start_server", "start_unix_server", "create_unix_server")
    }
    assert listeners == LISTENERS


LISTENERS = {
    "rest/listener.py",  # the engine's Unix socket
    "engine/reconciler.py",  # notices of supervisors, a Unix socket
    "prediction/gateway/process.py",  # the one TCP port, and its control socket
    "prediction/workers/launch.py",  # binds the Unix socket that a worker is given
    "runtime/sidecar.py",  # one loopback port per attempt, for its own replicas
    "runtime/tunnel.py",  # on a node: the same, for replicas that do not see the engine's home
    "runtime/listening.py",  # a Unix socket per worker
    "training/local.py",  # the same, for `local train`
    "training/ports.py",  # finds free loopback ports for replicas
    "training/launchers/rayagent.py",  # supervisors' Unix socket
    "training/launchers/raynode.py",  # looks whether a node's ports are free
}


# --- packaging ---


def test_every_dependency_names_a_file_that_uses_it() -> None:
    """A dependency that nobody uses is one that everybody installs."""
    text = (ROOT / "pyproject.toml").read_text().partition("[project.scripts]")[0]
    rows = re.findall(r'^(?:\w+ = \[)?\s*"([a-z][a-z0-9-]*)[^#\n]*#\s*(\S[^\n:]*)', text, re.M)
    extras = tomllib.loads(text)["project"]
    expected = {re.split(r"[^a-z0-9-]", d)[0] for d in extras["dependencies"]}
    assert expected <= {name for name, _where in rows}
    for name in ("uv", "sklearn", "xgboost", "tensorflow", "onnx"):
        assert re.search(rf"^{name} = .*# \S+\.py$", text, re.M), name
    for name, where in rows:
        for place in where.replace(" ", "").split(","):
            path = SOURCE / place
            assert path.exists(), f"{name}: there is no {place}"
            names = [path] if path.is_file() else sorted(path.rglob("*.py"))
            module = DISTRIBUTIONS.get(name, name)
            used = any(re.search(rf"\b{module}\b", p.read_text()) for p in names)
            assert used, f"{name} is not used in {place}"


def test_what_is_imported_is_declared() -> None:
    """Nothing works only because something else happens to install it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {re.split(r"[^a-z0-9-]", item)[0] for group in lists for item in group}
    declared = {DISTRIBUTIONS.get(name, name).replace("-", "_") for name in names}
    # Of these the declared packages are made: starlette of anyio, scikit-learn of numpy and joblib,
    # TensorFlow of Keras; each is used only where the one that brings it is.
    brought = {"anyio": "rest/", "numpy": "runtime/", "joblib": "runtime/", "keras": "runtime/"}
    for name in files():
        for module in {m.partition(".")[0] for m in imports(name)}:
            if module in sys.stdlib_module_names or module == "mlengine" or module in declared:
                continue
            assert module in brought and name.startswith(brought[module]), f"{name}: {module}"


def test_no_page_or_answer_points_outside() -> None:
    """No telemetry, no font, no script from elsewhere; Google's type names are names only."""
    for name in files():
        for node in ast.walk(parsed(name)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for url in re.findall(r"https?://([a-z0-9.-]+)", node.value):
                    # Google's are names in Google's own formats, the last is what SVG is called by;
                    # nobody here calls them.
                    known = ("localhost", "127.0.0.1", "www.googleapis.com", "evil.example",
                             "accounts.google.com", "storage.googleapis.com",
                             "www.w3.org")  # fmt: skip
                    assert url in known or url.endswith(".example"), f"{name}: {url}"


def test_dotted_names_are_read_as_they_are_written() -> None:
    call = ast.parse("a.b.c(1)").body[0]
    assert isinstance(call, ast.Expr) and isinstance(call.value, ast.Call)
    assert dotted(call.value.func) == "a.b.c"
