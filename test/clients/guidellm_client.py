"""guidellm by its command: chats and completions, several at once. Every request must succeed, with as many tokens as asked for."""

import json
import pathlib
import subprocess
import sys
import tempfile

url, model, tokenizer = sys.argv[1:4]
for path in ("/v1/chat/completions", "/v1/completions"):
    report = pathlib.Path(tempfile.mkdtemp()) / "report.json"
    command = [
        f"{sys.prefix}/bin/guidellm",
        "run",
        f"--backend=kind=openai_http,target={url},model={model},request_format={path}",
        f"--tokenizer=kind=huggingface_auto,model={tokenizer}",
        "--data=kind=synthetic_text,prompt_tokens=64,output_tokens=16",
        "--profile=kind=concurrent,streams=4",
        "--constraint=kind=max_requests,count=12",
        f"--output=kind=json,path={report}",
        "--disable-console",
    ]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        sys.exit(ran.stdout[-2000:] + ran.stderr[-2000:])
    benchmark = json.loads(report.read_text())["benchmarks"][0]
    assert benchmark["metrics"]["request_totals"]["successful"] >= 12, benchmark["metrics"]["request_totals"]
    assert not benchmark["requests"]["errored"], benchmark["requests"]["errored"][0]
    assert all(request["output_tokens"] == 16 for request in benchmark["requests"]["successful"])
print("guidellm", "done")
