"""OpenAI's own client: files and batches, from the upload to the answers, and what goes wrong."""

import io
import json
import sys
import time

import openai

url, model = sys.argv[1:3]
client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
ENDED = ("completed", "failed", "expired", "cancelled")


def line(custom_id, url="/v1/chat/completions", **body):
    if not body:
        body = {"model": model, "messages": [{"role": "user", "content": "Hello!"}], "max_completion_tokens": 8}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body})


def upload(*lines):
    return client.files.create(file=("requests.jsonl", io.BytesIO("\n".join(lines).encode())), purpose="batch")


def wait(batch):
    deadline = time.monotonic() + 120
    while batch.status not in ENDED:
        assert time.monotonic() < deadline, batch
        time.sleep(0.05)
        batch = client.batches.retrieve(batch.id)
    return batch


def create(file, endpoint="/v1/chat/completions", **others):
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **others)


def results(file_id):
    return {r["custom_id"]: r for r in map(json.loads, client.files.content(file_id).text.splitlines())}


# From the upload to the answers; one of the requests is refused.
names = [f"row-{i}" for i in range(40)]
file = upload(*map(line, names), line("bad", model=model, messages=[], temperature=-1))
assert file.object == "file" and file.purpose == "batch" and file.filename == "requests.jsonl" and file.bytes > 0
batch = create(file, metadata={"job": "nightly"})
assert batch.object == "batch" and batch.status in ("validating", "in_progress", "completed"), batch
batch = wait(batch)
assert batch.status == "completed" and batch.metadata == {"job": "nightly"}, batch
counts = batch.request_counts
assert (counts.total, counts.completed, counts.failed) == (41, 40, 1), counts
answers = results(batch.output_file_id)
assert sorted(answers) == sorted(names)
for answer in answers.values():
    assert answer["error"] is None and answer["response"]["status_code"] == 200
    completion = openai.types.chat.ChatCompletion.model_validate(answer["response"]["body"])
    assert completion.choices[0].message.content and completion.usage.completion_tokens > 0
errors = results(batch.error_file_id)
assert errors["bad"]["response"]["status_code"] == 400, errors
assert client.files.retrieve(batch.output_file_id).purpose == "batch_output"

# The other endpoints.
for endpoint, body in {
    "/v1/completions": {"model": model, "prompt": "Once", "max_tokens": 4},
    "/v1/responses": {"model": model, "input": "Hello!", "max_output_tokens": 4},
}.items():
    done = wait(create(upload(line("one", endpoint, **body)), endpoint))
    assert done.status == "completed" and done.error_file_id is None, done
    assert results(done.output_file_id)["one"]["response"]["body"]["usage"]

# Wrong lines fail the batch, and are named.
failed = wait(create(upload(line("a"), "{", line("a"))))
assert failed.status == "failed" and failed.output_file_id is None
assert [(e.line, e.code) for e in failed.errors.data] == [(2, "invalid_json_line"), (3, "duplicate_custom_id")], failed

# A batch that is cancelled keeps what it has.
long = {"model": model, "prompt": "Once", "max_tokens": 400, "ignore_eos": True}
running = create(upload(*(line(f"long-{i}", "/v1/completions", **long) for i in range(2000))), "/v1/completions")
cancelled = client.batches.cancel(running.id)
assert cancelled.status in ("cancelling", "cancelled"), cancelled
assert wait(cancelled).status == "cancelled"

# Lists, in pages.
assert [b.id for b in client.batches.list(limit=2)][-1] == batch.id
assert file.id in [f.id for f in client.files.list(purpose="batch", limit=3)]
assert client.files.delete(file.id).deleted
for call in (lambda: client.files.retrieve(file.id), lambda: client.files.content(file.id)):
    try:
        call()
        raise AssertionError("a file that was deleted is there")
    except openai.NotFoundError as error:
        assert error.code == "not_found"
try:
    client.batches.create(input_file_id="file-none", endpoint="/v1/completions", completion_window="24h")
    raise AssertionError("a batch without a file was created")
except openai.NotFoundError:
    pass
try:
    client.files.create(file=io.BytesIO(b"{}"), purpose="fine-tune")
    raise AssertionError("a file for another purpose was taken")
except openai.BadRequestError as error:
    assert error.param == "purpose"
