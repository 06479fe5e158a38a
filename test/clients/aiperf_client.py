"""aiperf by its command: streamed chats, several at once, with the server's own token counts and its metrics read meanwhile."""

import json
import pathlib
import subprocess
import sys
import tempfile

url, model, tokenizer = sys.argv[1:4]
folder = pathlib.Path(tempfile.mkdtemp())
command = [f"{sys.prefix}/bin/aiperf", "profile", "-m", model, "--url", url, "--endpoint-type", "chat", "--streaming"]
command += ["--tokenizer", tokenizer, "--request-count", "12", "--concurrency", "4", "--synthetic-input-tokens-mean", "64"]
command += ["--output-tokens-mean", "16", "--extra-inputs", "ignore_eos:true", "--use-server-token-count"]
command += ["--ui", "none", "--artifact-dir", str(folder)]
ran = subprocess.run(command, capture_output=True, text=True)
if ran.returncode:
    sys.exit(ran.stdout[-2000:] + ran.stderr[-2000:])
report = json.loads((folder / "profile_export_aiperf.json").read_text())
assert report["request_count"]["avg"] == 12, report
assert not report.get("error_summary"), report["error_summary"]
assert report["output_sequence_length"]["avg"] > 0
served = (folder / "server_metrics_export.json").read_text()
assert "vllm:time_to_first_token_seconds" in served
print("aiperf", "done")
