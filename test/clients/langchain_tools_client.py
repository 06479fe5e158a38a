"""LangChain: structured output by its three methods, and bound tools, whole and streamed."""

import sys
from typing import Literal

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

url, model = sys.argv[1:3]
chat = ChatOpenAI(model=model, base_url=f"{url}/v1", api_key="none", temperature=0, max_tokens=400, max_retries=0)


class Trip(BaseModel, extra="forbid"):
    """Plans a trip."""

    city: Literal["Bonn", "Rome"]
    days: int = Field(ge=1, le=9)


for method in ("function_calling", "json_schema"):
    for strict in (None, True):
        planner = chat.with_structured_output(Trip, method=method, strict=strict)
        assert isinstance(planner.invoke("Plan a trip."), Trip)
    assert isinstance(list(planner.stream("Plan a trip."))[-1], Trip)
# An object of any kind: what follows its first name is the model's own, and may never end.
begun = ChatOpenAI(model=model, base_url=f"{url}/v1", api_key="none", max_tokens=60, max_retries=0, stop_sequences=['"'])
raw = begun.with_structured_output(None, method="json_mode", include_raw=True).invoke("Answer in JSON.")["raw"]
assert raw.content.strip() in ("{", "{}"), raw


@tool(args_schema=Trip)
def plan_trip(city: str, days: int) -> str:
    """Plans a trip."""
    return f"{city}, {days} days"


question = [HumanMessage("Plan a trip.")]
for choice in ("any", "plan_trip"):
    bound = chat.bind_tools([plan_trip], tool_choice=choice, strict=True, parallel_tool_calls=False)
    answer = bound.invoke(question)
    assert [call["name"] for call in answer.tool_calls] == ["plan_trip"] and not answer.invalid_tool_calls
    pieces = list(bound.stream(question))
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    assert [call["args"] for call in whole.tool_calls] == [call["args"] for call in answer.tool_calls]
result = plan_trip.invoke(answer.tool_calls[0])
assert isinstance(result, ToolMessage)
assert chat.bind(max_tokens=8).invoke([*question, answer, result]).content
print("langchain tools", "done")
