"""OpenAI's agents SDK: an agent with a tool over the Responses API, whole and streamed."""

import asyncio
import sys
from typing import Literal

from agents import Agent, ModelSettings, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI

url, model = sys.argv[1:3]
set_tracing_disabled(True)
client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
asked = []


@function_tool
def weather(town: Literal["Paris", "Rome"]) -> str:
    """The weather of a town."""
    asked.append(town)
    return "Rain."


def agent(**settings):
    return Agent(
        name="Reporter",
        instructions="You tell the weather.",
        model=OpenAIResponsesModel(model, openai_client=client),
        model_settings=ModelSettings(temperature=0, max_tokens=128, **settings),
        tools=[weather],
        tool_use_behavior="run_llm_again",
    )


async def main():
    # The first turn must call the tool; the SDK lets the second one answer.
    result = await Runner.run(agent(tool_choice="required"), "How is the weather in Paris?", max_turns=8)
    assert asked, result
    assert result.final_output is not None and result.raw_responses[-1].usage.output_tokens > 0, result
    streamed = Runner.run_streamed(agent(tool_choice="none"), "Say hello.", max_turns=8)
    kinds = {event.type async for event in streamed.stream_events()}
    assert "raw_response_event" in kinds and streamed.final_output, (kinds, streamed.final_output)


asyncio.run(main())
print("openai-agents done")
