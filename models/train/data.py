"""Training conversations for the small chat model: generated, tokenised, and kept apart from the held-out set.

    python data.py sample [N]     prints N conversations
    python data.py tokenizer DIR  trains the tokenizer and writes tokenizer.json and tokenizer_config.json there
    python data.py heldout FILE   writes the held-out cases, which training never sees (chat.py: held_out)

Everything follows from a seed: the same versions of Python and tokenizers (requirements.txt) make the same bytes.
"""

import json
import random
import re
import sys
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

import tasks_sums as sums
import tasks_talk as talk
import tasks_words as words
from chat import SPELL_CLOSE, SPELL_OPEN, Chat
from haiku import POEMS
from tasks_refuse import refuse

SPECIAL = PAD, SYSTEM, USER, ASSISTANT, END = "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"
VOCAB_SIZE = 2048
CONTEXT = 1024
TRAINED = 1 << 14  # added to a token that the model is trained to write

# How often each task opens a conversation, and how often it comes later.
TASKS = [
    (sums.sums, 20, 14), (sums.sums_on, 0, 6), (sums.calendar, 9, 9), (sums.calendar_facts, 2, 2), (sums.counting, 3, 3),
    (sums.capitals, 3, 3), (words.spell, 7, 7), (words.reverse, 13, 13), (words.repeat, 7, 7), (words.word_on, 0, 4), (words.haiku, 5, 5),
    (talk.greet, 8, 2), (talk.about_itself, 8, 5), (talk.small_talk, 4, 5), (talk.your_favourite, 1, 1),
    (talk.tell_name, 5, 3), (talk.tell_colour, 2, 3), (talk.tell_both, 1, 1), (talk.tell_other, 1, 2),
    (talk.ask_name, 1, 4), (talk.ask_colour, 1, 3), (talk.ask_both, 1, 2), (talk.ask_other, 1, 2), (refuse, 15, 14),
]  # fmt: skip
_FUNCTIONS = [task for task, _, _ in TASKS]
_FIRST = np.cumsum([first for _, first, _ in TASKS]).tolist()
_LATER = np.cumsum([later for _, _, later in TASKS]).tolist()

_ON_WORDS = (words.spell, words.reverse, words.repeat, words.word_on)


def turn(chat: Chat, task) -> tuple[str, str, tuple[str, str]]:
    """One exchange. It can continue only from the exchange right before it."""
    if task is not sums.sums_on:
        chat.total = None
    if task not in _ON_WORDS:
        chat.word = None
    if task is not words.haiku:
        chat.haiku_last = False
    return task(chat)


def conversation(chat: Chat, characters: int) -> list[tuple[str, str]]:
    """(role, text) pairs of about `characters` characters; text may hold letter-by-letter marks (chat.letters)."""
    rng, out, length = chat.rng, [], 0
    if rng.random() < 0.42:
        out.append((SYSTEM, talk.system_prompt(chat)))
    weights = _FIRST
    while length < characters:
        task = rng.choices(_FUNCTIONS, cum_weights=weights)[0]
        if rng.random() < 0.6:  # mostly ask for what the model was told
            if task is talk.ask_name and chat.name is None:
                task = talk.tell_name
            elif task is talk.ask_colour and "colour" not in chat.favourites:
                task = talk.tell_colour
            elif task is talk.ask_both and not (chat.name and chat.favourites):
                task = talk.tell_both
        message, reply, _ = turn(chat, task)
        out += ((USER, message), (ASSISTANT, reply))
        length += len(message) + len(reply) + 14
        weights = _LATER
    return out


# --- tokenizer ---

# Letters with the space before them; single digits; punctuation; other white space.
_PIECES = r"""'(?:s|t|re|ve|m|ll|d)\b| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('This model knows the roles system, user and assistant only.') }}"
    "{% endif %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] | trim + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train_tokenizer(directory: Path, seed: int = 0) -> Tokenizer:
    rng = random.Random(f"tokenizer:{seed}")
    marked = re.compile(f"{SPELL_OPEN}[^{SPELL_CLOSE}]*{SPELL_CLOSE}")

    def texts():
        for _ in range(6000):
            for _, text in conversation(Chat(rng), 1500):
                yield marked.sub("", text)

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    assert tokenizer.get_vocab_size() == VOCAB_SIZE
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
        "eos_token": END,
        "pad_token": PAD,
        "chat_template": CHAT_TEMPLATE,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    return tokenizer


class Encoder:
    """Conversations to token ids, as the chat template would, except for words written letter by letter."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self.special = {token: tokenizer.token_to_id(token) for token in SPECIAL}
        self.letter = {chr(c): tokenizer.token_to_id("Ġ" if c == 32 else chr(c)) for c in range(32, 127)}
        self.known: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        ids = self.known.get(text)
        if ids is None:
            ids = []
            for k, part in enumerate(re.split(f"[{SPELL_OPEN}{SPELL_CLOSE}]", text)):
                if k % 2:
                    ids += [self.letter[c] for c in part]
                elif part:
                    ids += self.tokenizer.encode(part).ids
            if len(self.known) < 200_000:
                self.known[text] = ids
        return ids

    def row(self, talked: list[tuple[str, str]], length: int) -> list[int]:
        """`length` tokens, cut or padded. What the assistant writes, including its end, is marked with TRAINED."""
        out: list[int] = []
        end = self.special[END]
        for role, text in talked:
            out.append(self.special[role])
            if role == ASSISTANT:
                out += [i + TRAINED for i in self.encode(text)]
                out.append(end + TRAINED)
            else:
                out += self.encode(text)
                out.append(end)
            if len(out) >= length:
                return out[:length]
        return out + [self.special[PAD]] * (length - len(out))


def shard(encoder: Encoder, seed: int, number: int, shape: list[tuple[int, int]]) -> list[np.ndarray]:
    """Training rows: for each (rows, length) of `shape` an int16 array [rows, length], one conversation per row."""
    rng = random.Random(f"train:{seed}:{number}")
    return [
        np.array([encoder.row(conversation(Chat(rng), int(length * 3.3)), length) for _ in range(rows)], dtype=np.int16)
        for rows, length in shape
    ]


# --- held-out cases ---


def heldout_cases(seed: int = 0) -> list[dict]:
    rng, cases, seen = random.Random(f"heldout:{seed}"), [], set()

    def case(name: str, steps, system: bool = False, held_phrasing: bool | None = None):
        """One conversation of held-out payloads, all or every second one in held-out phrasings; none comes twice."""
        for _ in range(200):
            chat = Chat(
                rng, held_payload=True, held_phrasing=len(cases) % 2 == 1 if held_phrasing is None else held_phrasing
            )
            prompt = talk.system_prompt(chat) if system else None
            turns = []
            for step in steps:
                message, _, (kind, value) = turn(chat, step)
                turns.append({"user": message, kind: value})
            key = f"{prompt}|{[t['user'] for t in turns]}"
            if key not in seen:
                break
        seen.add(key)
        cases.append({"task": name} | ({"system": prompt} if prompt else {}) | {"turns": turns})

    pairs: set[str] = set()
    while len(pairs) < 500:
        plus = len(pairs) % 2 == 0
        chat = Chat(rng, held_payload=True, held_phrasing=len(pairs) % 4 > 1)
        message, reply, (kind, value) = sums.sums(chat, negative_operands=False, plus=plus)
        if reply not in pairs:
            pairs.add(reply)
            cases.append({"task": "sums", "turns": [{"user": message, kind: value}]})
    for _ in range(60):
        case("sums with negative numbers", [lambda chat: sums.sums(chat, negative_operands=True)])
    for source in ("english", "invented") * 50:
        case("spell", [lambda chat: words.spell(chat, source)])
        case("reverse", [lambda chat: words.reverse(chat, source)])
        case("repeat", [lambda chat: words.repeat(chat, source)])
    for name, task, number in (
        ("calendar", sums.calendar, 100), ("capitals", sums.capitals, 40), ("counting", sums.counting, 40),
        ("greet", talk.greet, 40), ("about itself", talk.about_itself, 60), ("small talk", talk.small_talk, 40),
        ("haiku", words.haiku, 50), ("refuse", refuse, 150),
    ):  # fmt: skip
        for _ in range(number):
            case(name, [task], held_phrasing=True)
    for _ in range(30):
        case("new name", [talk.greet, talk.about_itself], system=True)
        case("new name", [talk.about_itself, sums.sums, talk.greet], system=True)
    for k in range(40):
        case(
            "go on",
            (
                [words.reverse, words.word_on],
                [sums.sums, sums.sums_on],
                [words.haiku] * 3,
                [talk.tell_name, words.word_on],
            )[k % 4],
        )
        case("repeat", [words.repeat])
    for k in range(100):
        other = rng.choice((sums.sums, sums.calendar, words.spell, words.reverse, words.haiku, refuse, talk.small_talk))
        ask = rng.choice((talk.ask_name, talk.ask_colour, talk.ask_both))
        steps = (
            [talk.tell_name, talk.tell_colour, other, ask],
            [talk.tell_both, other, talk.ask_name, talk.ask_colour],
            [talk.tell_colour, talk.tell_name, talk.ask_colour, talk.ask_name],
            [talk.tell_name, other, talk.tell_colour, talk.ask_both],
        )[k % 4]
        case("remember", steps)
    mix = [
        sums.sums,
        sums.calendar,
        words.spell,
        words.reverse,
        words.repeat,
        words.haiku,
        refuse,
        talk.greet,
        talk.small_talk,
    ]
    for k in range(40):
        case("mixed", [talk.tell_both, *rng.sample(mix, 4), talk.ask_both], system=k % 2 == 0)
    return cases


def write_heldout(path: Path) -> None:
    """{"haiku": lines that make one, "cases": conversations whose turns say which answer is right (grade.py)}"""
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in heldout_cases())
    poems = ",\n".join(json.dumps(poem) for poem in POEMS)
    path.write_text(f'{{"haiku": [\n{poems}\n],\n"cases": [\n{lines}\n]}}\n')


def main() -> None:
    if sys.argv[1:2] == ["tokenizer"] and len(sys.argv) == 3:
        train_tokenizer(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["heldout"] and len(sys.argv) == 3:
        write_heldout(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["sample"]:
        rng = random.Random()
        for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 3):
            for role, text in conversation(Chat(rng), 500):
                print(f"{role:14} {text.replace(SPELL_OPEN, '[').replace(SPELL_CLOSE, ']')}")
            print()
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
