"""Pydantic AI: output types by tools and by the server's own schemas, and an agent whose tool is called."""

import sys
from typing import Literal

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

url, model = sys.argv[1:3]
provider = OpenAIProvider(base_url=f"{url}/v1", api_key="none")


class Trip(BaseModel):
    """Plans a trip."""

    city: Literal["Bonn", "Rome"]
    express: bool


settings = {"temperature": 0, "max_tokens": 300}
for kind in (OpenAIChatModel, OpenAIResponsesModel):
    served = kind(model, provider=provider)
    for output in (ToolOutput(Trip), NativeOutput(Trip)):
        agent = Agent(served, output_type=output, model_settings=settings, retries=0)
        assert isinstance(agent.run_sync("Plan a trip.").output, Trip)
text = Agent(OpenAIChatModel(model, provider=provider), model_settings={"max_tokens": 8})


@text.tool_plain
def clock() -> str:
    """Tells the time."""
    return "noon"


assert text.run_sync("Hi").output
print("pydantic-ai", "done")
