"""Jinja2 with the settings, the sandbox and the functions that transformers gives to chat templates.

Needs jinja2 (requirements.txt). Written after transformers/utils/chat_template_utils.py, which is not imported: it is slow
to load and wants numpy.
"""

import datetime
import json
import re

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = datetime.datetime(2026, 1, 5, 12, 0, 0)

# What every case sees, beside what it makes itself.
CONTEXT = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi\n  there", "n": 1},
        {"role": "assistant", "content": "yo", "tool_calls": [{"id": "a", "args": {"x": 1.5, "y": None}}]},
    ],
    "tools": None,
    "add_generation_prompt": True,
    "bos_token": "<s>",
    "s": " Héllo, Wörld! ",
    "wide": "a😀b👩‍👩‍👧c",
    "blank": "",
    "n": 7,
    "neg": -3,
    "zero": 0,
    "big": 12345678901234567890,
    "f": 2.5,
    "tiny": 1e-07,
    "t": True,
    "none_value": None,
    "l": [3, 1, 2],
    "words": ["pear", "Apple", "fig", "apple"],
    "d": {"b": 1, "a": [1, 2], "c d": "x", "items": 5},
    "nested": [{"k": "x", "v": 1}, {"k": "y", "v": 2}, {"k": "x", "v": 3}, {"v": None}],
    "empty": [],
    "no_keys": {},
}


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_write"), [], [], body).set_lineno(line)

    def _write(self, caller):
        return caller()


class Namespace(jinja2.utils.Namespace):
    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        attributes = dict(*args, **kwargs)
        for name in attributes:
            Namespace.check(name)
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name, value):
        Namespace.check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"private name {name!r}")


class TemplateDict:
    def __call__(self, *args, **kwargs):
        return dict(*args, **kwargs)

    def fromkeys(self, *args, **kwargs):
        return dict.fromkeys(*args, **kwargs)


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    made.filters["tojson"] = tojson
    made.globals.update(
        raise_exception=raise_exception,
        strftime_now=NOW.strftime,
        dict=TemplateDict(),
        namespace=Namespace,
    )
    return made


ENVIRONMENT = environment()


def answer(template):
    """{"ok": text} or {"error": [exception, message]}."""
    try:
        return {"ok": ENVIRONMENT.from_string(template).render(**json.loads(json.dumps(CONTEXT)))}
    except Exception as error:
        return {"error": [type(error).__name__, str(error)]}


# Texts that differ from run to run, or that only CPython writes.
MACHINE = re.compile(r" at 0x|<built-in|<function|<method|<bound|<class|<generator|<Macro|<jinja2|<dict_|<list_|<TemplateRef", re.I)


def is_stable(case):
    return "ok" not in case or not (MACHINE.search(case["ok"]) or re.search("[\ud800-\udfff]", case["ok"]))
