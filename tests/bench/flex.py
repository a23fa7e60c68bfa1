"""The real Flex in Node: installed from npm into a throw-away folder, measured, and gone again."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

PACKAGES = ("@twilio/flex-webchat-ui@2.9.4", "jsdom@22")
SCRIPT = Path(__file__).with_name("flex.cjs")


def measured_flex() -> dict[str, Any] | str:
    """Best and median microseconds a call by case, and the version; or why not."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        return "npm and node are needed"
    with tempfile.TemporaryDirectory(prefix="flex-bench-") as folder:
        install = [
            npm,
            "install",
            "--prefix",
            folder,
            "--ignore-scripts",
            "--legacy-peer-deps",
            "--no-audit",
            "--no-fund",
        ]
        for command, limit_s in (([*install, *PACKAGES], 600), ([node, str(SCRIPT), folder], 120)):
            try:
                done = subprocess.run(
                    command, cwd=folder, env={**os.environ, "NODE_ENV": "production"}, capture_output=True, text=True,
                    timeout=limit_s, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                return f"{Path(command[0]).name} took longer than {limit_s} s"
            if done.returncode:
                return (done.stderr.strip() or done.stdout.strip())[-400:]
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return found
