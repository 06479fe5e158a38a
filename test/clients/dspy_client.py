"""DSPy: a signature with typed fields, by its JSON adapter."""

import os
import sys
from typing import Literal

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import dspy  # noqa: E402

url, model = sys.argv[1:3]
served = dspy.LM(f"openai/{model}", api_base=f"{url}/v1", api_key="none", max_tokens=300, temperature=0, cache=False)


class Plan(dspy.Signature):
    """Plans a trip."""

    wish: str = dspy.InputField()
    city: Literal["Bonn", "Rome"] = dspy.OutputField()
    express: bool = dspy.OutputField()


dspy.configure(lm=served, adapter=dspy.JSONAdapter())
plan = dspy.Predict(Plan)(wish="somewhere warm")
assert plan.city in ("Bonn", "Rome") and isinstance(plan.express, bool), plan
print("dspy", "done")
