"""A router in front of the server: vllm-router, smg or sglang-router, by their command. Chats, streams and completions pass unchanged."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

url, model, router = sys.argv[1:4]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


port, metrics = free_port(), free_port()
command = {
    "vllm-router": ["vllm-router", "--worker-urls", url, "--policy", "round_robin"],
    "smg": ["smg", "launch", "--worker-urls", url, "--policy", "cache_aware"],
    "sglang-router": ["sglang-router", "launch", "--worker-urls", url, "--policy", "cache_aware"],
}[router]
command[0] = f"{sys.prefix}/bin/{command[0]}"
process = subprocess.Popen(
    [*command, "--host", "127.0.0.1", "--port", str(port), "--prometheus-port", str(metrics)],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
)
base = f"http://127.0.0.1:{port}"


def post(path, body):
    data = json.dumps({"model": model, **body}).encode()
    request = urllib.request.Request(base + path, data, {"content-type": "application/json"})
    return urllib.request.urlopen(request, timeout=30).read().decode()


def ready():
    try:
        return "data" in urllib.request.urlopen(f"{base}/v1/models", timeout=5).read().decode()
    except OSError:
        return False


try:
    deadline = time.monotonic() + 60
    while not ready():
        assert process.poll() is None and time.monotonic() < deadline, "the router does not start"
        time.sleep(0.2)
    chat = {"messages": [{"role": "user", "content": "Say hello."}], "temperature": 0, "max_tokens": 8}
    whole = json.loads(post("/v1/chat/completions", chat))["choices"][0]["message"]["content"]
    events = post("/v1/chat/completions", {**chat, "stream": True}).split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""], events
    chunks = [json.loads(event[6:]) for event in events[:-2]]
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert text == whole, (text, whole)
    completion = json.loads(post("/v1/completions", {"prompt": "One, two,", "max_tokens": 4, "temperature": 0}))
    assert completion["usage"]["completion_tokens"] <= 4
except BaseException as error:
    process.kill()
    body = error.read().decode() if isinstance(error, urllib.error.HTTPError) else ""
    sys.exit(f"{error!r} {body}\n{process.communicate()[0][-3000:]}")
process.send_signal(signal.SIGKILL)
print(router, "done")
