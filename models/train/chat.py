"""What the tasks share: the state of a conversation, the ways people write, and what is held out of training.

Whether a payload (a pair of numbers, a word, a name, a colour) or a phrasing is held out depends on its hash alone, so
training data of any seed and size stays apart from the held-out set.
"""

import random
import re
import zlib
from functools import lru_cache

# Marks around text that the model writes letter by letter, even where the tokenizer would merge letters; see data.py.
SPELL_OPEN, SPELL_CLOSE = "\x01", "\x02"

DEFAULT_BOT = "Tiny"


def held_out(kind: str, key: str, percent: int = 8) -> bool:
    return zlib.crc32(f"{kind}:{key}".encode()) % 100 < percent


def letters(text: str) -> str:
    return f"{SPELL_OPEN}{text}{SPELL_CLOSE}"


class Phrasings:
    """Ways to say one thing, separated by '|'. Those ending in '?' are questions, in '.' requests or statements.

    [a/b] in a way stands for either. The commonest ways come first: the first third is always trained. Of the rest, a
    sixth is held out, chosen by hash.
    """

    def __init__(self, name: str, text: str):
        ways = [" ".join(way.split()) for way in text.split("|")]
        assert len(set(ways)) == len(ways), f"{name}: a phrasing twice"
        rare = sorted(ways[len(ways) // 3 :], key=lambda way: zlib.crc32(f"{name}:{way}".encode()))
        self.held = rare[: max(2, len(rare) // 6)]
        self.train = [way for way in ways if way not in self.held]
        self.kept = {_plain(one) for way in self.held for one in _all_of(way)}
        KNOWN_WORDS.update(re.findall("[a-z]+", re.sub(r"\{\w+\}", " ", text).lower()))

    def draw(self, rng: random.Random, held: bool) -> str:
        """A way from one side of the split, with alternatives chosen. A training way never becomes a held-out one."""
        while True:
            way = rng.choice(self.held if held and self.held else self.train)
            if "[" in way:
                way = " ".join(_ALTERNATIVES.sub(lambda match: rng.choice(match[1].split("/")), way).split())
            if held or _plain(way) not in self.kept:
                return way


_ALTERNATIVES = re.compile(r"\[([^\]]*)\]")


@lru_cache(maxsize=100_000)
def _plain(way: str) -> str:
    return re.sub(r"[^\w{} ]", "", way).lower().strip()


def _all_of(way: str):
    """A way with every choice of its alternatives."""
    match = _ALTERNATIVES.search(way)
    if match is None:
        yield " ".join(way.split())
    else:
        for one in match[1].split("/"):
            yield from _all_of(way[: match.start()] + one + way[match.end() :])


# Words that the phrasings use. Many are one token, so they cannot stand for words that training has never seen.
KNOWN_WORDS: set[str] = set()


class Chat:
    """A conversation in the making.

    held_payload, held_phrasing: whether to draw payloads and phrasings from the held-out side (for tests) or from the
    training side.
    """

    def __init__(self, rng: random.Random, held_payload: bool = False, held_phrasing: bool = False):
        self.rng = rng
        self.held_payload = held_payload
        self.held_phrasing = held_phrasing
        self.bot = DEFAULT_BOT
        self.name: str | None = None
        self.favourites: dict[str, str] = {}
        self.total: int | None = None  # the newest sum, for "add 3 to that"
        self.word: str | None = None  # the newest word, for "now reverse it"
        self.haikus: set[str] = set()
        self.haiku_last = False  # whether "another one" asks for a haiku

    def pick(self, kind: str, draw, percent: int = 8):
        """Calls draw(), which returns (value, key), until the key is on this conversation's side of the split."""
        while True:
            value, key = draw()
            if held_out(kind, key, percent) == self.held_payload:
                return value

    def say(self, phrasings: Phrasings, **slots: str) -> str:
        """One way to say it, written as people write. Slots named in capitals are proper nouns, which may lose their capitals."""
        while True:
            text = self._say(phrasings, slots)
            if self.held_phrasing or _plain(text) not in phrasings.kept:
                return text

    def _say(self, phrasings: Phrasings, slots: dict[str, str]) -> str:
        rng = self.rng
        way = phrasings.draw(rng, self.held_phrasing)
        ending = way[-1] if way[-1] in "?." else ""
        segments, names = _segments(way[: len(way) - len(ending)])
        literals = list(segments)
        ending = self._dress(literals, ending)
        roll, style = rng.random(), "normal"
        if roll < 0.5 or roll >= 0.92:
            if literals[0]:
                literals[0] = literals[0][0].upper() + literals[0][1:]
            if roll >= 0.92:
                ending = rng.choice(_SLOPPY_ENDINGS)
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

    def _dress(self, literals: list[str], ending: str) -> str:
        """Puts openings before and courtesies after a question or request. Returns the new ending."""
        rng = self.rng
        imperative = ending == "." and literals[0].split(" ", 1)[0].lower() in _IMPERATIVES
        if ending != "?" and not imperative:
            return ending
        if rng.random() < 0.1:
            literals[-1] += rng.choice(_COURTESIES)
        if imperative and rng.random() < 0.25:
            opening = rng.choice(_ASKING)
            literals[0] = opening + literals[0]
            if opening.startswith(("can", "could", "would", "will")):
                ending = "?"
        if rng.random() < 0.15:
            opening = rng.choice(_OPENINGS) if rng.random() < 0.85 else f"{self.bot}, "
            if opening[-2] in ".!" and literals[0]:
                literals[0] = literals[0][0].upper() + literals[0][1:]
            literals[0] = opening + literals[0]
        return ending

    def expand(self, text: str) -> str:
        """The text with one alternative chosen from each [a/b]."""
        return _ALTERNATIVES.sub(lambda match: self.rng.choice(match[1].split("/")), text)

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


_SLOPPY_ENDINGS = ("??", "!", " ?", "...", "..", ",", "!!", "", ".")
_COURTESIES = (
    ", please",
    " please",
    ", please",
    " for me",
    " now",
    " right now",
    ", thanks",
    " thanks",
    " if you can",
    ", thank you",
    " quickly",
    ", my friend",
    " again",
)
_OPENINGS = (
    "hey, ",
    "so, ",
    "ok, ",
    "and ",
    "now, ",
    "tell me, ",
    "tell me: ",
    "please tell me: ",
    "quick question: ",
    "great, ",
    "hi, ",
    "hello, ",
    "well, ",
    "thanks. ",
    "nice! ",
    "I have a question: ",
    "Hello! ",
    "Hi! ",
    "Hi there! ",
    "Good morning. ",
    "Hello there. ",
    "then ",
    "next: ",
    "next, ",
    "um, ",
    "alright, ",
    "right, ",
    "but ",
    "I was wondering: ",
    "just curious: ",
    "one more thing: ",
    "my question is: ",
    "excuse me, ",
    "please, ",
    "good. ",
    "ok. ",
    "great! ",
    "cool. ",
    "now ",
    "let's see: ",
    "here is another: ",
    "another question: ",
    "dear bot, ",
    "hmm, ",
)
_ASKING = (
    "please ",
    "please ",
    "please ",
    "can you ",
    "can you ",
    "could you ",
    "could you please ",
    "can you please ",
    "would you ",
    "will you ",
    "I want you to ",
    "I'd like you to ",
    "go ahead and ",
    "you should ",
    "I need you to ",
    "try to ",
    "kindly ",
    "would you please ",
    "now please ",
    "help me: ",
    "I would like you to ",
    "let's ",
)
_IMPERATIVES = set(
    """add subtract take compute calculate work sum give tell name say spell write reverse repeat echo turn flip list count
    compose make show create explain flip spell parrot evaluate put do start break split type use describe translate recommend help draw play sing find sort solve summarize define teach read
    send call open book order buy convert multiply divide fix remind set plan design suggest compare imagine pretend remember
    recall introduce minus plus respond answer print output parrot copy return do""".split()
)
