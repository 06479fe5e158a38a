"""LiteLLM: tools and response formats through two of its providers, whole and streamed."""

import json
import os
import sys
from typing import Literal

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm  # noqa: E402
from pydantic import BaseModel  # noqa: E402

url, model = sys.argv[1:3]


class Trip(BaseModel, extra="forbid"):
    city: Literal["Bonn", "Rome"]
    express: bool


parameters = Trip.model_json_schema()
tools = [{"type": "function", "function": {"name": "plan_trip", "description": "Plans a trip.", "parameters": parameters}}]
messages = [{"role": "user", "content": "Plan a trip."}]
for provider in ("openai", "hosted_vllm"):
    options = {"model": f"{provider}/{model}", "api_base": f"{url}/v1", "api_key": "none", "num_retries": 0}
    options |= {"messages": messages, "temperature": 0, "max_tokens": 200}
    whole = litellm.completion(tools=tools, tool_choice="required", parallel_tool_calls=False, **options)
    calls = whole.choices[0].message.tool_calls
    assert whole.choices[0].finish_reason == "tool_calls" and calls
    pieces = list(litellm.completion(tools=tools, tool_choice="required", parallel_tool_calls=False, stream=True, **options))
    rebuilt = litellm.stream_chunk_builder(pieces).choices[0].message.tool_calls
    assert [call.function.arguments for call in rebuilt] == [call.function.arguments for call in calls]
    for call in calls:
        Trip.model_validate_json(call.function.arguments)
    structured = litellm.completion(response_format=Trip, **options)
    Trip.model_validate_json(structured.choices[0].message.content)
    schema = {"type": "json_schema", "json_schema": {"name": "trip", "strict": True, "schema": parameters}}
    again = litellm.completion(response_format=schema, **options)
    assert json.loads(again.choices[0].message.content)["city"] in ("Bonn", "Rome")
print("litellm tools", "done")
