"""Anthropic's own client: messages whole and streamed, tools and their runner, thinking, counting, sync and async, and errors."""

import asyncio
import json
import sys

import anthropic

url, model = sys.argv[1:3]
client = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)
messages = [{"role": "user", "content": "What is the capital of France?"}]
# The newest client has no arguments for these.
greedy = {"extra_body": {"temperature": 0}}
request = {"model": model, "max_tokens": 24, "messages": messages, **greedy}

# A whole message and its stream are the same text.
whole = client.messages.create(**request, system="Be brief.")
assert whole.content[0].text and whole.stop_reason in ("end_turn", "max_tokens"), whole
with client.messages.stream(**request, system="Be brief.") as stream:
    assert "".join(stream.text_stream) == whole.content[0].text
    final = stream.get_final_message()
assert final.usage.output_tokens == whole.usage.output_tokens and final.stop_reason == whole.stop_reason
total = lambda usage: usage.input_tokens + usage.cache_read_input_tokens
assert total(final.usage) == total(whole.usage), (final.usage, whole.usage)
counted = client.messages.count_tokens(model=model, messages=messages, system="Be brief.")
assert counted.input_tokens == total(whole.usage), counted
names = [event.type for event in client.messages.create(**request, stream=True)]
assert names[0] == "message_start" and names[-2:] == ["message_delta", "message_stop"], names

# Stop sequences, and an answer that was begun.
letter = whole.content[0].text[1]
stopped = client.messages.create(**request, system="Be brief.", stop_sequences=[letter])
assert stopped.stop_reason == "stop_sequence" and stopped.stop_sequence == letter, stopped
begun = client.messages.create(**{**request, "messages": [*messages, {"role": "assistant", "content": "The capital"}]})
assert begun.content, begun

# Every optional field at a value that a client sends by default.
full = client.beta.messages.create(
    model=model,
    max_tokens=8,
    messages=[{"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]}],
    system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    metadata={"user_id": "ann"},
    service_tier="auto",
    stop_sequences=[],
    thinking={"type": "disabled"},
    tools=[],
    extra_body={"temperature": 0.7, "top_k": 20, "top_p": 0.9},
    betas=["context-management-2025-06-27", "prompt-caching-2024-07-31"],
    context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
)
assert full.type == "message"

# Tools: a call that is asked for, in a whole message and in a stream, and its result sent back.
tool = {
    "name": "weather",
    "description": "The weather of a town.",
    "input_schema": {
        "type": "object",
        "properties": {"town": {"type": "string", "enum": ["Paris", "Rome"]}},
        "required": ["town"],
        "additionalProperties": False,
    },
}
asked = {
    "model": model,
    "max_tokens": 128,
    **greedy,
    "messages": [{"role": "user", "content": "How is the weather in Paris?"}],
    "tools": [tool],
    "tool_choice": {"type": "tool", "name": "weather"},
}
called = client.messages.create(**asked)
call = next(block for block in called.content if block.type == "tool_use")
assert called.stop_reason == "tool_use" and call.input["town"] in ("Paris", "Rome"), called
with client.messages.stream(**asked) as stream:
    pieces = [event.partial_json for event in stream if event.type == "input_json"]
    streamed = next(block for block in stream.get_final_message().content if block.type == "tool_use")
assert streamed.input == call.input and json.loads("".join(pieces)) == call.input, pieces
result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "Rain."}]}
answered = client.messages.create(
    model=model,
    max_tokens=16,
    messages=[
        *asked["messages"],
        {"role": "assistant", "content": called.content},
        {"role": "user", "content": [result, {"type": "text", "text": "So?"}]},
    ],
    tools=[tool],
)
assert answered.stop_reason in ("end_turn", "max_tokens", "tool_use"), answered


# Errors have the classes that programs look for, and Anthropic's body.
def refused(kind, call):
    try:
        call()
    except kind as error:
        assert error.body["type"] == "error" and error.body["error"]["message"], error
        return error
    raise AssertionError(f"no {kind.__name__}")


def create(**fields):
    return client.messages.create(**{**request, **fields})


long = refused(anthropic.BadRequestError, lambda: create(messages=[{"role": "user", "content": "word " * 100_000}]))
assert "maximum context length" in long.body["error"]["message"], long
image = {"type": "image", "source": {"type": "url", "url": "http://localhost/a.png"}}
assert "image" in str(refused(anthropic.BadRequestError, lambda: create(messages=[{"role": "user", "content": [image]}])))
search = {"type": "web_search_20250305", "name": "web_search"}
assert "web_search" in str(refused(anthropic.BadRequestError, lambda: create(tools=[search])))
refused(anthropic.NotFoundError, lambda: client.messages.batches.list())


async def concurrent():
    asynchronous = anthropic.AsyncAnthropic(base_url=url, auth_token="none", max_retries=0)
    replies = await asyncio.gather(*(asynchronous.messages.create(**request) for _ in range(8)))
    assert all(reply.usage.output_tokens <= 24 for reply in replies)
    async with asynchronous.messages.stream(**{**request, "max_tokens": 200}) as stream:
        async for _ in stream:
            break


asyncio.run(concurrent())
print("anthropic", anthropic.__version__)
