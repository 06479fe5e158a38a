"""What the tasks share: the state of one conversation, the ways people write, and what is held out of training.

A payload (a pair of numbers, a word, a name, a colour) or a phrasing is held out by a hash of itself, so training data
of any seed and size stays apart from the held-out set.
"""

import random
import re
import zlib
from functools import lru_cache

# Around text that the model writes letter by letter, whatever the tokenizer would merge; see data.py.
SPELL_OPEN, SPELL_CLOSE = "\x01", "\x02"

DEFAULT_BOT = "Tiny"


def held_out(kind: str, key: str, percent: int = 8) -> bool:
    return zlib.crc32(f"{kind}:{key}".encode()) % 100 < percent


def letters(text: str) -> str:
    return f"{SPELL_OPEN}{text}{SPELL_CLOSE}"


class Phrasings:
    """Ways to say one thing, '|' between them. Those that end in '?' are questions, in '.' requests or statements."""

    def __init__(self, name: str, text: str):
        ways = [" ".join(way.split()) for way in text.split("|")]
        assert len(set(ways)) == len(ways), f"{name}: a phrasing twice"
        ways.sort(key=lambda way: zlib.crc32(f"{name}:{way}".encode()))
        held = max(2, len(ways) // 8) if len(ways) >= 6 else 0
        self.held, self.train = ways[:held], ways[held:]


class Chat:
    """One conversation being made.

    held_payload / held_phrasing: draw those from the held-out side (tests) or from the training side.
    """

    def __init__(self, rng: random.Random, held_payload: bool = False, held_phrasing: bool = False):
        self.rng = rng
        self.held_payload = held_payload
        self.held_phrasing = held_phrasing
        self.bot = DEFAULT_BOT
        self.name: str | None = None
        self.favourites: dict[str, str] = {}
        self.total: int | None = None  # the newest sum, for "add 3 to that"
        self.haikus: set[str] = set()
        self.haiku_last = False  # whether "another one" asks for a haiku

    def pick(self, kind: str, draw, percent: int = 8):
        """draw() until it is on the side of the split this conversation wants; draw gives (value, key)."""
        while True:
            value, key = draw()
            if held_out(kind, key, percent) == self.held_payload:
                return value

    def say(self, phrasings: Phrasings, **slots: str) -> str:
        """One way to say it, written as people write. Slots in capitals are proper nouns: they may lose their capital."""
        rng = self.rng
        way = rng.choice(phrasings.held if self.held_phrasing and phrasings.held else phrasings.train)
        ending = way[-1] if way[-1] in "?." else ""
        literals, names = _segments(way[: len(way) - len(ending)])
        literals = list(literals)
        roll = rng.random()
        if ending and rng.random() < 0.2:
            opening, question = rng.choice(_QUESTION_OPENINGS if ending == "?" else _REQUEST_OPENINGS)
            if ending == "?" or phrasings.train is not None and way.split()[0].lower() in _IMPERATIVES:
                literals[0] = opening + literals[0]
                ending = "?" if question else ending
        if ending == "?" and rng.random() < 0.05 or ending == "." and way.split()[0].lower() in _IMPERATIVES and rng.random() < 0.1:
            literals[-1] += rng.choice((", please", " please"))
        if roll < 0.5 or roll >= 0.92:
            style = "normal"
            if literals[0]:
                literals[0] = literals[0][0].upper() + literals[0][1:]
            if roll >= 0.92:
                ending = rng.choice(("??", "!", " ?", "...", "..", ",", "!!", "", "."))
            elif rng.random() < 0.2:
                ending = ""
        elif roll < 0.88:
            style = "lower"
            literals = [part.lower() for part in literals]
            if rng.random() < 0.3:
                literals = [part.replace("'", "") for part in literals]
            if rng.random() < 0.65:
                ending = ""
        else:
            style = "upper"
            literals = [part.upper() for part in literals]
        if rng.random() < 0.07:
            k = rng.randrange(len(literals))
            literals[k] = _typo(rng, literals[k])
        out = [literals[0]]
        for name, literal in zip(names, literals[1:]):
            value = slots[name]
            if name.isupper():
                if style == "lower" and rng.random() < 0.75:
                    value = value.lower()
                elif style == "upper" and rng.random() < 0.5:
                    value = value.upper()
            out += (value, literal)
        return "".join(out) + ending

    def quote(self, word: str) -> str:
        roll = self.rng.random()
        return word if roll < 0.62 else f'"{word}"' if roll < 0.84 else f"'{word}'" if roll < 0.97 else f"“{word}”"


@lru_cache(maxsize=None)
def _segments(way: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    parts = re.split(r"\{(\w+)\}", way)
    return tuple(parts[0::2]), tuple(parts[1::2])


def _typo(rng: random.Random, text: str) -> str:
    spots = [m.start() for m in re.finditer(r"(?<=[a-zA-Z])[a-z](?=[a-z])", text)]
    if not spots:
        return text
    at = rng.choice(spots)
    roll = rng.random()
    if roll < 0.4:  # two letters swapped
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    if roll < 0.7:  # one left out
        return text[:at] + text[at + 1 :]
    return text[:at] + text[at] + text[at:]  # one twice


# (opening, whether the whole becomes a question)
_QUESTION_OPENINGS = [
    (opening, True)
    for opening in ("hey, ", "so, ", "ok, ", "and ", "now, ", "tell me, ", "tell me: ", "please tell me: ", "quick question: ",
                    "do you know: ", "great, ", "hi, ", "hello, ", "well, ", "thanks. ", "nice! ", "I have a question: ")
]  # fmt: skip
_REQUEST_OPENINGS = [
    ("please ", False), ("now ", False), ("ok, ", False), ("can you ", True), ("could you ", True), ("could you please ", True),
    ("can you please ", True), ("would you ", True), ("will you ", True), ("I want you to ", False), ("I'd like you to ", False),
    ("hey, ", False), ("next, ", False), ("go ahead and ", False), ("then ", False), ("please, ", False), ("hi, ", False),
    ("you should ", False), ("I need you to ", False), ("let's see: ", False), ("thanks, now ", False), ("try to ", False),
]  # fmt: skip
_IMPERATIVES = set(
    """add subtract take compute calculate work sum give tell name say spell write reverse repeat echo turn flip list count
    compose make show create explain describe translate recommend help draw play sing find sort solve summarize define teach read
    send call open book order buy convert multiply divide fix remind set plan design suggest compare imagine pretend remember
    recall introduce minus plus respond answer print output parrot copy return do""".split()
)
