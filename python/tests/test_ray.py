"""fastgen.ray on one machine, with real Ray: actors, a stage of Ray Data, and an app of Ray Serve, each of which loses a server."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Iterator

import httpx
import pytest

ray = pytest.importorskip("ray")

from ray import serve  # noqa: E402
from ray.serve.context import _get_global_client  # noqa: E402
from ray.serve.schema import ServeDeploySchema  # noqa: E402

from fastgen import RequestError  # noqa: E402
from fastgen.ray import FastgenActor, FastgenDeployment, FastgenStage  # noqa: E402

from .conftest import MODEL, is_alive, until  # noqa: E402
from .test_weights import other_weights  # noqa: E402

SUM = [{"role": "user", "content": "What is 17 + 25?"}]
#: Seconds. Replicas start on cores that many share.
PATIENCE = 120


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Workers say nothing here; each has a file below /tmp/ray.
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    yield
    ray.shutdown()


def servers_of(worker: str) -> list[int]:
    """The servers whose parent is a worker of this name, by the title that Ray gives its processes."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(b"fgserve\0"):
                parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[1]
                if worker in Path(f"/proc/{parent}/cmdline").read_text():
                    found.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


# Actors


def test_an_actor_answers_as_a_server_does() -> None:
    actor = FastgenActor.options(num_cpus=1).remote(max_num_seqs=8)
    assert ray.get(actor.chat.remote(SUM, temperature=0)).text == "17 + 25 = 42."
    pieces = [ray.get(piece) for piece in actor.stream.remote(SUM, temperature=0)]
    assert "".join(piece.text for piece in pieces) == "17 + 25 = 42."
    assert len(pieces) > 1
    results = [ray.get(result) for result in actor.generate_all.remote(["One", [1, 2], [-1]], max_tokens=3)]
    assert sorted(result.index for result in results) == [0, 1, 2]
    (bad,) = (result for result in results if result.error is not None)
    assert bad.index == 2 and isinstance(bad.error, RequestError) and bad.error.status == 400
    with pytest.raises(RequestError, match="max_tokens") as refused:
        ray.get(actor.generate.remote("One", max_tokens=-5))
    assert (refused.value.status, refused.value.param) == (400, "max_tokens")
    # Ray gave the actor one CPU and no GPU.
    flags = Path(f"/proc/{ray.get(actor.server_pid.remote())}/cmdline").read_text().split("\0")
    assert "--threads=1" in flags and "--device=cpu" in flags
    ray.get(actor.stop.remote())
    with pytest.raises(ray.exceptions.RayTaskError, match="has been stopped"):
        ray.get(actor.generate.remote("One"))


def test_a_server_ends_with_its_actor() -> None:
    killed, dropped = (FastgenActor.options(num_cpus=1).remote() for _ in range(2))
    pids = ray.get([killed.server_pid.remote(), dropped.server_pid.remote()])
    assert all(is_alive(pid) for pid in pids)
    ray.kill(killed)
    until(lambda: not is_alive(pids[0]))
    assert is_alive(pids[1])
    del dropped
    until(lambda: not is_alive(pids[1]))


def test_an_actor_ends_with_its_server() -> None:
    actor = FastgenActor.options(num_cpus=1).remote()
    os.kill(ray.get(actor.server_pid.remote()), signal.SIGKILL)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(actor.generate.remote("One"))


def test_ray_replaces_an_actor_and_repeats_its_calls() -> None:
    actor = FastgenActor.options(num_cpus=1, max_restarts=1, max_task_retries=1).remote()
    first = ray.get(actor.server_pid.remote())
    # Longer than it takes to kill the server.
    running = [actor.generate.remote("One", max_tokens=900, ignore_eos=True) for _ in range(16)]
    metrics = httpx.Client(base_url=ray.get(actor.address.remote())[0])
    until(lambda: "vllm:num_requests_running" in metrics.get("/metrics").text)
    os.kill(first, signal.SIGKILL)
    assert [len(completion.token_ids) for completion in ray.get(running)] == [900] * 16
    assert ray.get(actor.server_pid.remote()) != first


def test_an_actor_takes_new_weights() -> None:
    actor = FastgenActor.options(num_cpus=1).remote()
    before = ray.get(actor.chat.remote(SUM, temperature=0, max_tokens=8))
    weights = ray.put(dict(other_weights()))
    assert ray.get(actor.update_weights.remote(weights, weight_version="mine")) == "mine"
    after = ray.get(actor.chat.remote(SUM, temperature=0, max_tokens=8))
    assert after.weight_version == "mine" and after.token_ids != before.token_ids


def test_an_actor_that_cannot_start_says_why(tmp_path: Path) -> None:
    actor = FastgenActor.remote(tmp_path / "nothing")
    with pytest.raises(ray.exceptions.RayActorError, match="nothing"):
        ray.get(actor.server_pid.remote())


# Data


def stage(dataset: Any, **arguments: Any) -> list[dict[str, Any]]:
    replicas = arguments.pop("replicas", 1)
    options = {"batch_size": 8, "concurrency": replicas, "num_cpus": 1, "fn_constructor_kwargs": arguments}
    rows: list[dict[str, Any]] = dataset.map_batches(FastgenStage, **options).take_all()
    return rows


def test_rows_get_answers_or_reasons() -> None:
    rows: list[dict[str, Any]] = [{"id": i, "messages": [{"role": "user", "content": f"What is {i} + 25?"}]} for i in range(20)]
    for row in rows:
        row["params"] = {"max_tokens": -3 if row["id"] == 7 else 16}
    answers = stage(ray.data.from_items(rows), params={"temperature": 0, "max_tokens": 1})
    assert sorted(row["id"] for row in answers) == list(range(20))
    for row in answers:
        if row["id"] == 7:
            assert row["error"].startswith("max_tokens") and row["text"] is None and row["token_ids"] is None
        else:
            assert row["text"] == f"{row['id']} + 25 = {row['id'] + 25}." and row["error"] is None
            assert len(row["token_ids"]) == row["completion_tokens"] and row["finish_reason"] == "stop"
            assert list(row["messages"]) == rows[row["id"]]["messages"]


def test_rows_without_parameters_have_the_others_and_the_file_can_be_read(tmp_path: Path) -> None:
    rows = [{"prompt": "Hello", "params": {"max_tokens": 2}}, {"prompt": "Hello"}, {"prompt": "Hello", "params": None}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = ray.data.read_json(str(tmp_path / "in.jsonl"), lines=True)
    arguments = {"params": {"max_tokens": 3, "ignore_eos": True}}
    answers = dataset.map_batches(FastgenStage, batch_size=8, concurrency=1, num_cpus=1, fn_constructor_kwargs=arguments)
    answers.write_parquet(str(tmp_path / "out"))
    written = ray.data.read_parquet(str(tmp_path / "out")).take_all()
    assert sorted((row["completion_tokens"], row["error"]) for row in written) == [(2, None), (3, None), (3, None)]
    assert [row["params"] for row in written if row["params"]] == [{"max_tokens": 2}]


def test_texts_and_token_ids_and_several_answers() -> None:
    dataset = ray.data.from_items([{"ids": [5, 6, 7 + i]} for i in range(3)])
    answers = stage(dataset, column="ids", params={"n": 2, "max_tokens": 4, "logprobs": 0, "ignore_eos": True})
    assert sorted(row["ids"][2] for row in answers) == [7, 7, 8, 8, 9, 9]
    assert all(row["prompt_tokens"] == 3 and len(row["logprobs"]) == 4 for row in answers)
    with pytest.raises(Exception, match="there is no column 'prompt' among"):
        stage(dataset, params={"max_tokens": 1})


def test_ray_data_replaces_a_replica_and_answers_its_rows() -> None:
    dataset = ray.data.from_items([{"prompt": f"Prompt {i}"} for i in range(256)], override_num_blocks=32)
    params = {"max_tokens": 200, "ignore_eos": True}
    answered: list[list[dict[str, Any]]] = []
    work = threading.Thread(target=lambda: answered.append(stage(dataset, params=params, replicas=2, max_num_seqs=4)))
    work.start()
    until(lambda: len(servers_of("MapWorker")) == 2, PATIENCE)
    time.sleep(1)
    os.kill(servers_of("MapWorker")[0], signal.SIGKILL)
    work.join(PATIENCE)
    (rows,) = answered
    assert sorted(row["prompt"] for row in rows) == sorted(f"Prompt {i}" for i in range(256))
    assert all(row["completion_tokens"] == 200 for row in rows)


# Serve


#: Two replicas at most, and one while little is asked.
OPTIONS = {
    "ray_actor_options": {"num_cpus": 1},
    "autoscaling_config": {
        "min_replicas": 1,
        "max_replicas": 2,
        "target_ongoing_requests": 4,
        "upscale_delay_s": 1,
        "downscale_delay_s": 600,
        "metrics_interval_s": 0.5,
        "look_back_period_s": 1,
    },
}


@pytest.fixture(scope="module")
def app() -> Iterator[httpx.Client]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    serve.start(http_options={"port": port})
    serve.run(FastgenDeployment.options(**OPTIONS).bind(max_num_seqs=4))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
        yield client
    serve.shutdown()


def sequences(app: httpx.Client, metric: str) -> float:
    """What a metric says of any one replica: where there are two, ask until it is the right one's turn."""
    lines = app.get("/metrics").text.split("\n")
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"vllm:{metric}"))


def test_an_app_serves_the_apis(app: httpx.Client) -> None:
    chat = {"messages": SUM, "temperature": 0}
    reply = app.post("/v1/chat/completions", json=chat, headers={"authorization": "Bearer any", "x-request-id": "mine"})
    assert reply.json()["choices"][0]["message"]["content"] == "17 + 25 = 42."
    assert reply.headers.get_list("x-request-id") == ["mine"]
    with app.stream("POST", "/v1/chat/completions", json={**chat, "stream": True}) as stream:
        events = [line for line in stream.iter_lines() if line]
    assert stream.headers["content-type"].startswith("text/event-stream") and events[-1] == "data: [DONE]"
    text = "".join(json.loads(event[6:])["choices"][0]["delta"].get("content") or "" for event in events[:-1])
    assert text == "17 + 25 = 42."
    assert app.post("/v1/chat/completions", json={**chat, "max_tokens": -3}).status_code == 400
    assert app.post("/v1/messages", json={"messages": SUM, "max_tokens": 20}).json()["type"] == "message"
    # What would change one replica alone, or be there in one alone.
    assert app.post("/pause").status_code == 401
    assert app.post("/update_weights", json={}, headers={"authorization": "Bearer any"}).status_code == 401
    for path in ("/v1/files", "/batches"):
        assert "one replica alone" in app.get(path).json()["error"]["message"]
    # A path that looks like another server's address is this one's, and so is what it may not have.
    assert app.get(f"{app.base_url}//127.0.0.1:9/v1/models").status_code == 404
    assert app.get("/v1/models/a%3Fb%20ü").status_code == 404
    # Without a key nobody's web page may ask.
    assert app.get("/v1/models", headers={"origin": "https://pages.example"}).status_code == 403


def test_a_client_that_goes_away_ends_its_sequences(app: httpx.Client) -> None:
    body = {"prompt": "One", "n": 64, "max_tokens": 1000, "ignore_eos": True, "stream": True}
    with app.stream("POST", "/v1/completions", json=body) as stream:
        # An iterator that nobody holds any more closes the connection at once.
        next(stream.iter_raw())
    # Four at a time run. On a busy machine some have their 1000 tokens before the server knows.
    until(lambda: sequences(app, "num_requests_running{") == sequences(app, "num_requests_waiting{") == 0)
    until(lambda: sequences(app, 'request_success_total{finished_reason="abort"') > 0)


def test_other_deployments_call_a_replica(app: httpx.Client) -> None:
    handle = serve.get_app_handle("default")
    assert handle.chat.remote(SUM, temperature=0).result().text == "17 + 25 = 42."
    pieces = list(handle.options(stream=True).stream.remote(SUM, temperature=0))
    assert "".join(piece.text for piece in pieces) == "17 + 25 = 42."


def test_serve_adds_a_replica_and_replaces_one_that_is_lost(app: httpx.Client) -> None:
    stopping = threading.Event()

    def ask(client: int) -> list[int]:
        """Asks again where a replica was lost with the request, as OpenAI's clients do."""
        lost = []
        with httpx.Client(base_url=app.base_url, timeout=PATIENCE) as own:
            while not stopping.is_set():
                body = {"prompt": f"Client {client}", "max_tokens": 200, "ignore_eos": True}
                reply = own.post("/v1/completions", json=body)
                if reply.status_code >= 500:
                    lost.append(reply.status_code)
                else:
                    assert reply.json()["usage"]["completion_tokens"] == 200
        return lost

    with ThreadPoolExecutor(16) as pool:
        asking = [pool.submit(ask, client) for client in range(16)]
        try:
            until(lambda: len(servers_of("ServeReplica")) == 2, PATIENCE)
            first = servers_of("ServeReplica")[0]
            time.sleep(2)
            os.kill(first, signal.SIGKILL)
            until(lambda: len(servers_of("ServeReplica")) == 2, PATIENCE)
            time.sleep(2)
        finally:
            stopping.set()
        # Lost is what ran in the replica, and no more: not what came later.
        lost = [future.result() for future in asking]
    assert 0 < sum(map(len, lost)) and max(map(len, lost)) == 1


def test_new_weights_reach_every_replica(app: httpx.Client, tmp_path: Path) -> None:
    """As `serve deploy` gives a file to a cluster, and then a changed one."""
    (tmp_path / "model.safetensors").write_bytes((MODEL / "model.safetensors").read_bytes())

    def deploy(**changes: Any) -> list[int]:
        replicas = {"num_replicas": 2, "ray_actor_options": {"num_cpus": 1}}
        args = {"max_num_seqs": 4}
        application = {"import_path": "fastgen.ray:build_app", "args": args, "deployments": [{"name": "fastgen", **replicas, **changes}]}
        _get_global_client().deploy_apps(ServeDeploySchema(applications=[application]), _blocking=True)
        until(lambda: len(servers_of("ServeReplica")) == 2, PATIENCE)
        return sorted(servers_of("ServeReplica"))

    before = deploy()
    after = deploy(user_config={"weight_dir": str(tmp_path), "weight_version": "mine"})
    assert before == after
    assert {app.get("/weight_version").json()["weight_version"] for _ in range(20)} == {"mine"}
