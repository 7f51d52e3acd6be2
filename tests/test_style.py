"""The code's size and documentation, by the script that measures them (docs in its docstring)."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "scripts" / "style_figures.py"


def test_the_code_keeps_to_its_style():
    found = json.loads(subprocess.check_output([sys.executable, str(SCRIPT)], text=True))
    for name, limits in (("file_lines", (100, 210, 300)), ("function_lines", (6, 22, 45))):
        assert all(x <= limit for x, limit in zip(found[name], limits, strict=True)), found
    assert (found["typed"], found["public_docstrings"]) == (1.0, 1.0)
