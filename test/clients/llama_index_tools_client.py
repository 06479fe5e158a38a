"""LlamaIndex's OpenAILike: structured predictions by function calls, and tools."""

import sys
from typing import Literal

from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

url, model = sys.argv[1:3]
options = {"model": model, "api_base": f"{url}/v1", "api_key": "none", "temperature": 0, "max_tokens": 300, "max_retries": 0}
chat = OpenAILike(is_chat_model=True, is_function_calling_model=True, **options)


class Trip(BaseModel, extra="forbid"):
    """Plans a trip."""

    city: Literal["Bonn", "Rome"]
    express: bool


prompt = PromptTemplate("Plan a trip to {place}.")
assert isinstance(chat.structured_predict(Trip, prompt, place="Rome"), Trip)
assert isinstance(chat.as_structured_llm(Trip).complete("Plan a trip.").raw, Trip)
# Where the object grows, LlamaIndex leaves it to the model whether it calls ("auto"): for one that knows tools, a grammar stands in.
call = r'<tool_call>\{"name": "Trip", "arguments": \{"city": "(Bonn|Rome)", "express": (true|false)\}\}</tool_call>'
extra = {"extra_body": {"structured_outputs": {"regex": call}}}
growing = list(chat.stream_structured_predict(Trip, prompt, llm_kwargs=extra, place="Rome"))
assert isinstance(growing[-1], Trip) and len(growing) > 2, growing


def plan_trip(city: Literal["Bonn", "Rome"], express: bool) -> str:
    """Plans a trip."""
    return f"{city}, {express}"


tool = FunctionTool.from_defaults(plan_trip)
reply = chat.chat_with_tools([tool], user_msg="Plan a trip.", tool_required=True, allow_parallel_tool_calls=False)
(call,) = chat.get_tool_calls_from_response(reply)
assert call.tool_name == "plan_trip" and call.tool_kwargs["city"] in ("Bonn", "Rome")
called = chat.predict_and_call([tool], user_msg="Plan a trip.", tool_required=True, allow_parallel_tool_calls=False)
assert str(called).startswith(("Bonn", "Rome")), called
print("llama-index tools", "done")
