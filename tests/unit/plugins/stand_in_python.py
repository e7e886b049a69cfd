# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for the Python that vllm_python names: its first line in a test's copy names the real Python that runs it.

Beside it lies `behaviour.json`: {"version", "answer", "hang", "crash", "flood"}. What it was run with goes to `seen.json` there.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
BEHAVIOUR = json.loads((HERE / "behaviour.json").read_text())

if sys.argv[1] == "-c":
    print(f"vLLM {BEHAVIOUR['version']}" if BEHAVIOUR["version"] else "hello")
    sys.exit(0)
_program, seconds, questions, model, *arguments = sys.argv[1:]
SEEN = {
    "seconds": seconds,
    "question": (Path(questions) / "engine_question.py").exists(),
    "model": model,
    "files": {path.name: json.loads(path.read_text()) for path in Path(model).iterdir()},
    "arguments": arguments,
    "environment": dict(os.environ),
}
(HERE / "seen.json").write_text(json.dumps(SEEN))
if BEHAVIOUR.get("hang"):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (HERE / "child").write_text(str(child.pid))
    time.sleep(60)
if BEHAVIOUR.get("crash"):
    print("Segmentation fault", file=sys.stderr)
    sys.exit(139)
if BEHAVIOUR.get("flood"):
    for _ in range(40):
        sys.stdout.write("x" * 2**20)
    sys.exit(0)
print(json.dumps(BEHAVIOUR["answer"]).replace("MODEL", model))
