"""Every example prints what its docstring says, and every piece of Python in the documents runs."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tinywasm.engine import native_available

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PAGES = ["embedding.md", "performance.md"]


@pytest.fixture(params=["python", "native"])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "native" and not native_available:
        pytest.skip("the native engine is not built")
    return str(request.param)


def _run(script: Path, engine: str, folder: Path) -> str:
    environment = os.environ | {"TINYWASM_ENGINE": engine, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_example_prints_what_it_says(example: Path, engine: str, tmp_path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(example.read_text(encoding="utf-8"))) or ""
    promised = textwrap.dedent(docstring.partition("Prints:\n\n")[2]).strip()
    assert promised
    assert _run(example, engine, tmp_path).strip() == promised


def test_shared_memory_without_numpy(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (tmp_path, ROOT)))}
    command = [sys.executable, str(ROOT / "examples" / "shared_memory.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "this example needs NumPy: pip install numpy\n"


@pytest.mark.parametrize("page", PAGES)
def test_python_of_a_page_runs_from_top_to_bottom(page: str, engine: str, tmp_path: Path) -> None:
    """A comment `# prints: ...` after a line holds the next line of output."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert blocks
    source = "\n".join(blocks)
    # As from the checkout: readers have no other calculator.
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    script = tmp_path / "page.py"
    script.write_text(source, encoding="utf-8")
    promised = re.findall(r"# prints: (.*)$", source, re.MULTILINE)
    assert _run(script, engine, tmp_path).splitlines() == promised
