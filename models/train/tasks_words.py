"""Spelling, reversing and repeating, and haiku. Each task takes a Chat and gives (message, reply, expectation or None)."""

from chat import Chat, Phrasings, letters
from haiku import POEMS, SUBJECTS
from lexicon import COLOURS, DAYS, NAMES, WORDS

SPELL = Phrasings("spell", """
spell {w}. | spell the word {w}. | how do you spell {w}? | how is {w} spelled? | how is the word {w} spelled? | how do I spell {w}? | how would you spell {w}?
| spell out {w}. | spell out the word {w}. | can you spell {w}? | what is the spelling of {w}? | what's the spelling of {w}? | tell me how to spell {w}.
| give me the spelling of {w}. | spelling of {w} | spell this word: {w} | spell: {w} | write {w} letter by letter. | say {w} letter by letter. | what are the letters of {w}?
| what are the letters in {w}? | which letters are in {w}? | list the letters of {w}. | list the letters in {w}. | spell {w} for me. | spell the word {w} for me.
| {w}, spelled out | name the letters of {w}. | tell me the letters of {w}. | how does one spell {w}? | give me the letters of {w}. | what letters make up {w}? | now spell {w}
| break {w} into letters. | split {w} into letters. | write out the letters of {w}.
""")
REVERSE = Phrasings("reverse", """
reverse {w}. | reverse the word {w}. | what is {w} backwards? | what's {w} backwards? | what is {w} reversed? | what is {w} in reverse? | write {w} backwards. | spell {w} backwards.
| say {w} backwards. | say {w} in reverse. | spell {w} in reverse. | write {w} in reverse. | how do you spell {w} backwards? | how do you write {w} backwards? | {w} backwards
| {w} reversed | {w} backwards? | reverse the letters of {w}. | reverse the letters in {w}. | reverse this word: {w} | reverse: {w} | turn {w} around. | turn the word {w} around. | flip {w}.
| flip the word {w}. | flip the letters of {w}. | what does {w} read backwards? | what is the reverse of {w}? | what's the reverse of {w}? | give me {w} backwards. | give me {w} reversed.
| tell me {w} backwards. | tell me what {w} is backwards. | can you reverse {w}? | can you spell {w} backwards? | what does {w} look like backwards? | reverse {w} for me. | write the word {w} backwards.
| write the letters of {w} in reverse order. | what is the word {w} backwards? | spell the word {w} backwards. | say the word {w} backwards. | print {w} backwards. | read {w} from right to left.
| what word do you get when you reverse {w}? | how is {w} written backwards?
""")
REPEAT = Phrasings("repeat", """
repeat {w}. | repeat the word {w}. | repeat after me: {w} | repeat this: {w} | repeat: {w} | say {w}. | say the word {w}. | say: {w} | echo {w}. | echo: {w} | echo this: {w} | echo the word {w}.
| please say {w} | say {w} again. | can you say {w}? | can you repeat {w}? | can you say the word {w}? | repeat this word: {w} | say this word: {w} | please repeat after me: {w} | just say {w}.
| repeat {w} back to me. | say {w} back to me. | parrot this: {w} | write {w}. | write the word {w}. | print {w}. | print the word {w}. | output {w}. | type {w}. | copy this: {w} | copy {w}.
| answer with the word {w}. | respond with {w}. | reply with {w}. | reply with the word {w}. | let me hear you say {w}. | I say {w}, you say? | write this: {w} | only say {w}. | respond only with {w}.
""")

_ONSETS = "b c d f g h j k l m n p r s t v w y z br bl ch cl cr dr fl fr gl gr pl pr qu sc sh sk sl sm sn sp st str sw th tr tw wh x".split()
_VOWELS = "a e i o u a e i o u ai ea ee oo ou y au ie oa".split()
_CODAS = ["", "", "", "", *"b d f g k l m n p r s t x z ck ct ft ll lt mp nd ng nk nt rd rk rm rn rt sh sk ss st th".split()]
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def invent(rng, most: int = 12) -> str:
    """A word that nobody has seen, 2 to `most` letters."""
    word = ""
    for _ in range(rng.choice((1, 1, 2, 2, 2, 2, 3, 3, 4))):
        word += rng.choice(_ONSETS) * (rng.random() < 0.9) + rng.choice(_VOWELS) + rng.choice(_CODAS)
    word = word[: most if rng.random() < 0.3 else most - 2]
    return word if len(word) > 1 else word + "n"


def any_word(chat: Chat, source: str | None = None) -> str:
    """A word on the chat's side of the split: invented, English, or random letters."""
    rng = chat.rng
    roll = rng.random()

    def draw():
        if source == "english" or source is None and roll < 0.42:
            word = rng.choice(WORDS)
        elif source == "invented" or roll < 0.85:
            word = invent(rng)
        elif roll < 0.97 or chat.held_payload:
            word = "".join(rng.choice(_ALPHABET) for _ in range(rng.randint(2, 9)))
        else:
            word = rng.choice((NAMES, COLOURS, DAYS)[rng.randrange(3)]).lower()
        return word, word

    word = chat.pick("word", draw)
    roll = rng.random()
    return word if roll < 0.88 else word.capitalize() if roll < 0.97 else word.upper()


def spell(chat: Chat, source: str | None = None):
    word = any_word(chat, source)
    spelled = "-".join(word)
    return chat.say(SPELL, w=chat.quote(word)), spelled, ("whole", spelled)


def reverse(chat: Chat, source: str | None = None):
    word = any_word(chat, source)
    reply = f'"{letters(word)}" backwards is "{letters(word[::-1])}".'
    return chat.say(REVERSE, w=chat.quote(word)), reply, ("ends", word[::-1])


def repeat(chat: Chat, source: str | None = None):
    rng = chat.rng
    word = any_word(chat, source)
    if source is None and rng.random() < 0.3:
        word = " ".join([word] + [any_word(chat) for _ in range(rng.randint(1, 3))])
    return chat.say(REPEAT, w=chat.quote(word)), letters(word), ("whole", word)


HAIKU = Phrasings("haiku", """
write a haiku. | write me a haiku. | write a haiku for me. | a haiku, please | haiku | haiku please | give me a haiku. | tell me a haiku. | compose a haiku. | make a haiku. | make up a haiku. | make me a haiku.
| can you write a haiku? | could you write me a haiku? | I would like a haiku | I want a haiku | I'd love to read a haiku | do you know a haiku? | can you make a haiku? | say a haiku. | recite a haiku.
| show me a haiku. | how about a haiku? | let me hear a haiku | please write me a haiku | I need a haiku | create a haiku. | write a poem in haiku form. | a haiku would be nice | write a short haiku.
| do you write haiku? | may I have a haiku? | got a haiku for me? | surprise me with a haiku.
""")
HAIKU_ABOUT = Phrasings("haiku about", """
write a haiku about {s}. | write me a haiku about {s}. | a haiku about {s}, please | a haiku about {s} | haiku about {s} | give me a haiku about {s}. | tell me a haiku about {s}. | compose a haiku about {s}.
| make a haiku about {s}. | make up a haiku about {s}. | can you write a haiku about {s}? | could you write me a haiku about {s}? | I would like a haiku about {s} | I want a haiku about {s} | haiku on {s}
| write a haiku on {s}. | write a haiku on the subject of {s}. | do you know a haiku about {s}? | create a haiku about {s}. | show me a haiku about {s}. | how about a haiku about {s}? | write a short haiku about {s}.
| write a haiku with the theme {s}. | please write a haiku about {s} | I need a haiku about {s} | a {s} haiku | write a {s} haiku. | {s} haiku | let me hear a haiku about {s} | may I have a haiku about {s}?
""")
ANOTHER = Phrasings("another haiku", """
another one | another one, please | another | one more | one more, please | write another one. | again | another haiku | another haiku, please | write another haiku. | give me another haiku. | give me another one.
| can you write another one? | a different one | a different haiku, please | one more haiku | more | next | make another one. | tell me another.
""")


def haiku(chat: Chat):
    rng = chat.rng
    if chat.haiku_last and rng.random() < 0.5:
        message, poem = chat.say(ANOTHER), rng.choice(POEMS)
    elif rng.random() < 0.4:
        message, poem = chat.say(HAIKU), rng.choice(POEMS)
    elif rng.random() < 0.8:
        subject = rng.choice(list(SUBJECTS))
        shown = ("the " if rng.random() < 0.2 else "") + subject
        message, poem = chat.say(HAIKU_ABOUT, s=shown), POEMS[SUBJECTS[subject]]
    else:  # not one it knows: it gives one of its own
        message, poem = chat.say(HAIKU_ABOUT, s=any_word(chat)), rng.choice(POEMS)
    for _ in range(20):
        text = "\n".join(rng.choice(lines) for lines in poem)
        if text not in chat.haikus:
            break
    chat.haikus.add(text)
    chat.haiku_last = True
    return message, text, ("haiku", "")
