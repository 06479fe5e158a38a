"""Writes jinja.json: what Jinja2 makes of small templates that cover every construct (jinja_cases.py), and of a sample of
random ones (jinja_fuzz.py).

    python3 -m venv venv && venv/bin/pip install jinja2==3.1.6
    venv/bin/python test/golden/make_jinja.py
"""

import json
import warnings
from pathlib import Path

import jinja2

import jinja_cases
import jinja_fuzz
import jinja_reference

warnings.simplefilter("ignore")


def golden(name, templates):
    cases = [{"template": template, **jinja_reference.answer(template)} for template in templates]
    unstable = [case for case in cases if not jinja_reference.is_stable(case)]
    assert not unstable, f"{name}: answers that only CPython gives: {unstable}"
    return cases


def main():
    groups = {name: golden(name, templates) for name, templates in jinja_cases.GROUPS.items()}
    groups["random"] = list(jinja_fuzz.cases(seed=1, count=400))
    out = {"jinja2": jinja2.__version__, "context": jinja_reference.CONTEXT, "groups": groups}
    # ASCII, with one case a line, so that a change shows as one
    text = json.dumps(out, separators=(",", ":")).replace('{"template"', '\n{"template"')
    Path(__file__).with_name("jinja.json").write_text(text + "\n", encoding="ascii")
    print(f"{sum(map(len, groups.values()))} cases")


main()
