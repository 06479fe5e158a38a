"""OpenAI's own client over the Responses API: whole, streamed, parsed, with tools, stored and continued, sync and async."""

import asyncio
import json
import sys
from typing import Literal

import openai
import pydantic

url, model = sys.argv[1:3]
client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
question = "What is the capital of France?"
request = {"model": model, "temperature": 0, "max_output_tokens": 24}

# A whole response and its stream are the same text.
whole = client.responses.create(**request, input=question, instructions="Be brief.")
assert whole.output_text and whole.usage.output_tokens > 0 and whole.status in ("completed", "incomplete"), whole
with client.responses.stream(**request, input=question, instructions="Be brief.") as stream:
    events = list(stream)
    final = stream.get_final_response()
assert final.output_text == whole.output_text, final
assert final.usage.output_tokens == whole.usage.output_tokens
assert [event.sequence_number for event in events] == list(range(len(events)))
assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text
raw = list(client.responses.create(**request, input=question, stream=True))
assert raw[0].type == "response.created" and raw[-1].type in ("response.completed", "response.incomplete"), raw[-1]

# A conversation: by its stored responses, and by sending all of it.
stored = client.responses.create(**request, input="And of Italy?", previous_response_id=whole.id)
assert client.responses.retrieve(stored.id).output_text == stored.output_text
items = client.responses.input_items.list(stored.id, order="asc").data
assert [item.role for item in items] == ["user", "assistant", "user"], items
sent = client.responses.create(
    **request,
    input=[{"role": "user", "content": question}, *whole.output, {"role": "user", "content": "And of Italy?"}],
    store=False,
)
assert sent.output_text == stored.output_text and sent.usage.input_tokens == stored.usage.input_tokens
client.responses.delete(whole.id)

# Every optional field at a value that a client sends by default.
full = client.responses.create(
    model=model,
    input=[
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
    ],
    background=False,
    include=["message.output_text.logprobs"],
    max_output_tokens=8,
    metadata={"run": "1"},
    parallel_tool_calls=True,
    prompt_cache_key="a",
    reasoning={"effort": "low", "summary": "auto"},
    safety_identifier="b",
    service_tier="auto",
    text={"format": {"type": "text"}, "verbosity": "medium"},
    tool_choice="auto",
    tools=[],
    top_logprobs=3,
    top_p=0.9,
    truncation="disabled",
    user="ann",
    extra_body={"top_k": 20},
)
text = next(item for item in full.output if item.type == "message").content[0]
assert len(text.logprobs) > 0 and all(len(token.top_logprobs) == 3 for token in text.logprobs), text


# Answers of a given shape.
class Town(pydantic.BaseModel):
    name: Literal["Paris", "Rome"]
    size: Literal["small", "large"]


parsed = client.responses.parse(model=model, input="Name a town.", text_format=Town, temperature=0, max_output_tokens=256)
assert isinstance(parsed.output_parsed, Town), parsed

# Tools: a call that is asked for, in a whole response and in a stream, and its result sent back.
tool = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a town.",
    "parameters": {
        "type": "object",
        "properties": {"town": {"type": "string", "enum": ["Paris", "Rome"]}},
        "required": ["town"],
        "additionalProperties": False,
    },
    "strict": True,
}
asked = {"model": model, "input": "How is the weather in Paris?", "tools": [tool], "tool_choice": "required", "temperature": 0}
called = client.responses.create(**asked)
call = next(item for item in called.output if item.type == "function_call")
assert call.name == "weather" and json.loads(call.arguments)["town"] in ("Paris", "Rome"), call
with client.responses.stream(**asked) as stream:
    events = list(stream)
    streamed = next(item for item in stream.get_final_response().output if item.type == "function_call")
assert streamed.arguments == call.arguments and streamed.name == call.name
pieces = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
assert "".join(pieces) == call.arguments, pieces
answered = client.responses.create(
    model=model,
    previous_response_id=called.id,
    input=[{"type": "function_call_output", "call_id": call.call_id, "output": "Rain."}],
    tools=[tool],
    max_output_tokens=16,
)
assert answered.output, answered


# Errors have the classes and the fields that programs look for.
def refused(kind, call):
    try:
        call()
    except kind as error:
        assert error.body and error.body["message"], error
        return error
    raise AssertionError(f"no {kind.__name__}")


long = refused(openai.BadRequestError, lambda: client.responses.create(model=model, input="word " * 100_000))
assert long.code == "context_length_exceeded", long
wrong = refused(openai.BadRequestError, lambda: client.responses.create(model=model, input="a", max_output_tokens=10**9))
assert wrong.param == "max_output_tokens", wrong
builtin = refused(openai.BadRequestError, lambda: client.responses.create(model=model, input="a", tools=[{"type": "web_search"}]))
assert "web_search" in builtin.message, builtin
refused(openai.BadRequestError, lambda: client.responses.create(model=model, input="a", background=True))
refused(openai.BadRequestError, lambda: client.responses.create(model=model, input="a", previous_response_id=whole.id))
refused(openai.NotFoundError, lambda: client.responses.retrieve(whole.id))
refused(openai.BadRequestError, lambda: client.responses.cancel(stored.id))


async def concurrent():
    asynchronous = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    replies = await asyncio.gather(*(asynchronous.responses.create(**request, input=f"Say {n}.") for n in range(8)))
    assert len({reply.id for reply in replies}) == 8
    stream = await asynchronous.responses.create(model=model, input=question, stream=True)
    async for _ in stream:
        break
    await stream.close()


asyncio.run(concurrent())
print("openai responses", openai.__version__)
