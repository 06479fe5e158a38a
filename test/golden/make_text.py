"""Writes text.json: how transformers tokenizes texts and conversations, with the tokenizers that the tests use.

    python -m venv venv && venv/bin/pip install transformers==5.23.0 jinja2
    venv/bin/python test/golden/make_text.py

Run it from the root of the repository after `npm ci`. It needs no torch. SmolLM2 is read from FASTGEN_TEST_MODEL, or else
from .cache/models/SmolLM2-135M-Instruct, and left out when neither exists.
"""

import json
import os
from pathlib import Path

import transformers
from transformers import AutoTokenizer

ROOT = Path(__file__).resolve().parents[2]
SMOL = Path(os.environ.get("FASTGEN_TEST_MODEL") or ROOT / ".cache/models/SmolLM2-135M-Instruct")
NPM = ROOT / "node_modules/@lenml"
MODELS = {
    "llama3_1": NPM / "tokenizer-llama3_1/models",
    "qwen2_5": NPM / "tokenizer-qwen2_5/models",
    "mistral_nemo": NPM / "tokenizer-mistral_nemo/models",
    "smollm2": SMOL,
}

RAW = [
    "",
    " ",
    "Hello, world!",
    "  two spaces before, three after   ",
    "tabs\tand\nnew lines\r\n\r\n  \n end",
    "Grüße aus Köln, naïve café, Ångström",
    "cafe\u0301 (e + combining acute), \u1112\u1161\u11ab (jamo)",
    "日本語のテキストと한국어 그리고 中文。",
    "שלום עולם, مرحبا بالعالم, हिन्दी में",
    "👩‍👩‍👧‍👦 👍🏽 🇩🇪 \U0001f9d1\u200d\U0001f680 ☃️",
    "\ufeffbyte order mark, zero\u200bwidth, nul\u0000nul, \ufffd",
    "def f(x):\n    return {k: v**2 for k, v in x.items()}  # 100% \\n\n",
    "1234567890 3.14159 1e-10 0x7fff 1,000,000",
    "don't DON'T we'll I'm they've",
    "special <|im_start|>user<|im_end|> <|eot_id|> <s>[INST]</s> <unk> in the text",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
]

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city, \"now\" (°C)",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 1}},
                "required": ["city"],
            },
        },
    }
]

CONVERSATIONS = [
    {"messages": [{"role": "user", "content": "Write a haiku about the sea."}]},
    {
        "messages": [
            {"role": "system", "content": "Du bist höflich und knapp. 请用中文回答。"},
            {"role": "user", "content": "Wie heißt die Hauptstadt von Åland? 👩‍👩‍👧 🇫🇮"},
        ]
    },
    {
        "messages": [
            {"role": "user", "content": "  Leading and trailing spaces  "},
            {"role": "assistant", "content": "\nA new line first, and last.\n"},
            {"role": "user", "content": "日本語は？\n\n\tTab\r\nCRLF"},
        ]
    },
    {
        "messages": [
            {"role": "system", "content": "You write Python."},
            {"role": "user", "content": "Fix this:\n```python\ndef f(x):\n  return x +  1   # {{ not jinja }} {% raw %}\n```"},
            {"role": "assistant", "content": "```python\ndef f(x: int) -> int:\n    return x + 1\n```"},
            {"role": "user", "content": "Now with <|im_end|> and <|eot_id|> and </s> inside, and \"quotes\" & 'more'."},
        ],
    },
    {
        "messages": [
            {"role": "user", "content": "Count to three."},
            {"role": "assistant", "content": "One, two,"},
        ],
        "options": {"add_generation_prompt": False, "continue_final_message": True},
    },
    {
        "messages": [
            {"role": "user", "content": "Say it."},
            {"role": "assistant", "content": "It, with a space: "},
        ],
        "options": {"add_generation_prompt": False, "continue_final_message": True},
    },
    {
        "messages": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi."},
        ],
        "options": {"add_generation_prompt": False},
    },
    {"messages": [{"role": "user", "content": "Weather in Köln?"}], "options": {"tools": TOOLS}},
    # Mistral's template refuses this one.
    {"messages": [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]},
]


def conversation(tokenizer, case):
    options = {"add_generation_prompt": True, **case.get("options", {})}
    try:
        text = tokenizer.apply_chat_template(case["messages"], tokenize=False, **options)
    except Exception as error:  # raise_exception in a template
        return {**case, "error": str(error)}
    return {**case, "text": text, "ids": tokenizer.encode(text, add_special_tokens=False)}


def raw(tokenizer, text):
    ids = {str(add).lower(): tokenizer.encode(text, add_special_tokens=add) for add in (False, True)}
    return {"text": text, "ids": ids}


def main():
    models = {}
    for name, path in MODELS.items():
        if not (path / "tokenizer.json").exists():
            print(f"{name}: left out, no {path}")
            continue
        tokenizer = AutoTokenizer.from_pretrained(path)
        models[name] = {
            "class": type(tokenizer).__name__,
            "raw": [raw(tokenizer, text) for text in RAW],
            "conversations": [conversation(tokenizer, case) for case in CONVERSATIONS],
        }
        print(name, type(tokenizer).__name__)
    out = {"transformers": transformers.__version__, "models": models}
    with open(Path(__file__).parent / "text.json", "w", encoding="utf-8") as file:
        # ASCII, with one case per line, so that a diff shows which case changed
        text = json.dumps(out, separators=(",", ":"))
        file.write(text.replace('{"text"', '\n{"text"').replace('{"messages"', '\n{"messages"') + "\n")


main()
