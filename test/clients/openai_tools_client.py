"""OpenAI's client for Python where answers are data: parsed objects, tools, both streamed, and the answer to a tool's result."""

import json
import sys
from typing import Literal

import openai
from pydantic import BaseModel, Field

url, model = sys.argv[1:3]
client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


class Trip(BaseModel):
    """Plans a trip."""

    city: Literal["Bonn", "Rome"]
    days: int = Field(ge=1, le=9)


messages = [{"role": "user", "content": "Plan a trip."}]
options = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 400}

parsed = client.chat.completions.parse(response_format=Trip, **options)
assert isinstance(parsed.choices[0].message.parsed, Trip), parsed
with client.chat.completions.stream(response_format=Trip, **options) as stream:
    kinds = {event.type for event in stream}
    assert {"content.delta", "content.done"} <= kinds, kinds
    assert stream.get_final_completion().choices[0].message.parsed == parsed.choices[0].message.parsed
mode = client.chat.completions.create(response_format={"type": "json_object"}, n=2, seed=1, **{**options, "max_tokens": 30})
assert all(choice.message.content.lstrip().startswith("{") for choice in mode.choices), mode

tool = openai.pydantic_function_tool(Trip, name="plan_trip")
forced = client.chat.completions.parse(tools=[tool], tool_choice="required", parallel_tool_calls=False, **options)
(call,) = forced.choices[0].message.tool_calls
assert forced.choices[0].finish_reason == "tool_calls" and forced.choices[0].message.content is None
assert call.function.name == "plan_trip" and isinstance(call.function.parsed_arguments, Trip)
with client.chat.completions.stream(
    tools=[tool], tool_choice="required", parallel_tool_calls=False, **options
) as stream:
    deltas = [event for event in stream if event.type == "tool_calls.function.arguments.delta"]
    (streamed,) = stream.get_final_completion().choices[0].message.tool_calls
assert len(deltas) > 2 and streamed.function.arguments == call.function.arguments
assert streamed.function.parsed_arguments == call.function.parsed_arguments

named = {"type": "function", "function": {"name": "plan_trip"}}
chosen = client.chat.completions.create(tools=[tool], tool_choice=named, logprobs=True, **options).choices[0]
assert chosen.finish_reason == "stop" and Trip.model_validate_json(chosen.message.tool_calls[0].function.arguments)
assert chosen.logprobs.content

history = [*messages, forced.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": json.dumps({"price": 90})}]
answer = client.chat.completions.create(model=model, messages=history, tools=[tool], max_tokens=8)
assert answer.choices[0].message.content
for wrong in ({"tool_choice": {"type": "function", "function": {"name": "other"}}}, {"tools": [tool, tool]}):
    try:
        client.chat.completions.create(**{**options, "tools": [tool], **wrong})
        raise AssertionError(f"{wrong} was taken")
    except openai.BadRequestError as error:
        assert error.param.startswith(("tool_choice", "tools")), error
print("openai tools", "done")
