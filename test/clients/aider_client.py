"""Aider, as it is called from a shell: it changes a file as the answer says, streamed and whole."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

url, model = sys.argv[1:3]

with tempfile.TemporaryDirectory() as folder:
    notes, settings = Path(folder, "notes.txt"), Path(folder, "settings.yml")
    environment = {"PATH": os.environ["PATH"], "HOME": folder, "OPENAI_API_KEY": "none", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    for flag, line in (("--stream", "roses"), ("--no-stream", "violets")):
        # For a model that knows code a grammar stands in: it says what this one answers. JSON is YAML.
        answer = f"{notes.name}\n```\n{line}\n```\n"
        extra = {"extra_body": {"structured_outputs": {"regex": re.escape(answer)}}, "max_tokens": 200}
        settings.write_text(json.dumps([{"name": f"openai/{model}", "edit_format": "whole", "extra_params": extra}]))
        notes.write_text("empty\n")
        command = [Path(sys.executable).with_name("aider"), "--model", f"openai/{model}", "--openai-api-base", f"{url}/v1"]
        command += ["--model-settings-file", settings, "--message", "Write down a flower.", "--yes-always", "--no-git", flag]
        command += ["--map-tokens", "0", "--no-check-update", "--analytics-disable", "--no-show-model-warnings", notes]
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=170)
        assert run.returncode == 0 and notes.read_text() == f"{line}\n", (notes.read_text(), run.stdout, run.stderr)
print("aider", "done")
