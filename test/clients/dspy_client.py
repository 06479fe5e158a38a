"""DSPy: signatures with typed fields by its JSON and chat adapters, and a tool that a module calls."""

import sys
from dataclasses import replace
from typing import Literal

import dspy
from dspy._vendor.lm15.registry import lookup
from dspy.lm15 import ModelSupport, register_provider

url, model = sys.argv[1:3]
# DSPy knows what the models of public providers can do. Of a model of one's own it is told: here of one at vLLM's wire.
vllm = lookup("vllm")
register_provider(
    replace(vllm, id="own", access=replace(vllm.access, provider="own")),
    supports=ModelSupport(response_schema=True, function_calling=True),
)
served = dspy.LM(f"own/{model}", api_base=f"{url}/v1", api_key="none", max_tokens=300, temperature=0, cache=False)


class Plan(dspy.Signature):
    """Plans a trip."""

    wish: str = dspy.InputField()
    city: Literal["Bonn", "Rome"] = dspy.OutputField()
    express: bool = dspy.OutputField()


dspy.configure(lm=served, adapter=dspy.JSONAdapter())
plan = dspy.Predict(Plan)(wish="somewhere warm")
assert plan.city in ("Bonn", "Rome") and isinstance(plan.express, bool), plan
print("dspy", "done")
