"""Instructor: objects by tools and by JSON schema, whole and as they grow."""

import sys
from typing import Literal

import instructor
import openai
from pydantic import BaseModel

url, model = sys.argv[1:3]
messages = [{"role": "user", "content": "Plan a trip."}]


class Trip(BaseModel, extra="forbid"):
    """Plans a trip."""

    city: Literal["Bonn", "Rome"]
    express: bool


options = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 300, "max_retries": 0}
for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
    client = instructor.from_openai(openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0), mode=mode)
    trip = client.chat.completions.create(response_model=Trip, **options)
    assert isinstance(trip, Trip), trip
    growing = list(client.chat.completions.create_partial(response_model=Trip, **options))
    assert len(growing) > 1 and growing[-1].city == trip.city and growing[-1].express == trip.express, growing
print("instructor", "done")
