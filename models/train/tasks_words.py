"""Spelling, reversing, repeating, and haiku. A task: Chat → (message, reply, expectation)."""

import re
from functools import cache

import lexicon
from chat import KNOWN_WORDS, Chat, Phrasings, held_out, letters
from haiku import POEMS, SUBJECTS
from lexicon import WORDS

SPELL = Phrasings(
    "spell",
    """
spell {w}. | spell the word {w}. | how do you spell {w}? | how is {w} spelled? | how is the word {w} spelled?
| how do I spell {w}? | how would you spell {w}? | spell out {w}. | spell out the word {w}. | can you spell {w}?
| what is the spelling of {w}? | what's the spelling of {w}? | tell me how to spell {w}.
| give me the spelling of {w}. | spelling of {w} | spell this word: {w} | spell: {w} | write {w} letter by letter.
| say {w} letter by letter. | what are the letters of {w}? | what are the letters in {w}? | which letters are in {w}?
| list the letters of {w}. | list the letters in {w}. | spell {w} for me. | spell the word {w} for me.
| {w}, spelled out | name the letters of {w}. | tell me the letters of {w}. | how does one spell {w}?
| give me the letters of {w}. | what letters make up {w}? | now spell {w}
| [I need/I want/give me] the [letters/spelling] of {w} | how [should/can/must] [I/one/we] spell [the word/] {w}?
| [what's/what is] the [correct/right] spelling of {w}? | {w} is spelled how? | spell the [name/term/string] {w}.
| spell out the letters of {w}. | spell {w} [out/slowly/with hyphens/one letter at a time].
| [show/teach] me how to spell {w}. | do you know how to spell {w}? | the [letters/spelling] of {w}?
| spell out loud the word {w}. | [say/give/write] {w} [one letter at a time/as letters/as single letters].
| [letters/spelling]: {w} | spell {w} out. | spell me {w}. | spell-check: how is {w} spelled?
| dictate the letters of {w}. | [which/what] letters does {w} [have/consist of]?
| can you spell [the word/the name/] {w} [for me/]? | how would one spell {w}? | write down the letters of {w}.
| break {w} into letters. | split {w} into letters. | write out the letters of {w}.
""",
)
REVERSE = Phrasings(
    "reverse",
    """
reverse {w}. | reverse the word {w}. | what is {w} backwards? | what's {w} backwards? | what is {w} reversed?
| what is {w} in reverse? | write {w} backwards. | spell {w} backwards. | say {w} backwards. | say {w} in reverse.
| spell {w} in reverse. | write {w} in reverse. | how do you spell {w} backwards? | how do you write {w} backwards?
| {w} backwards | {w} reversed | {w} backwards? | reverse the letters of {w}. | reverse the letters in {w}.
| reverse this word: {w} | reverse: {w} | turn {w} around. | turn the word {w} around. | flip {w}.
| flip the word {w}. | flip the letters of {w}. | what does {w} read backwards? | what is the reverse of {w}?
| what's the reverse of {w}? | give me {w} backwards. | give me {w} reversed. | tell me {w} backwards.
| tell me what {w} is backwards. | can you reverse {w}? | can you spell {w} backwards?
| what does {w} look like backwards? | reverse {w} for me. | write the word {w} backwards.
| write the letters of {w} in reverse order. | what is the word {w} backwards? | spell the word {w} backwards.
| say the word {w} backwards. | print {w} backwards. | read {w} from right to left.
| what word do you get when you reverse {w}? | how is {w} written backwards?
| [reverse/flip/invert/mirror] the [string/term/name/letters of/text] {w}. | [backwards/reversed/reverse/flip]: {w}
| [write/spell/type/print/say/output] [the word/the string/the name/] {w} [backwards/in reverse/reversed/from back to
front/from the end].
| mirror {w}. | [what is/what's/give me/show me] {w} [spelled/written/read] [backwards/in reverse]?
| [what/how] does {w} [look/read] [in reverse/reversed/backwards]? | put the letters of {w} in reverse order.
| [write/say] {w} in [reverse/opposite/backward] order. | reverse the [order/sequence] of [the/] letters in {w}.
| invert {w}. | turn {w} [backwards/back to front]. | {w} the other way round
| {w} [in reverse/from right to left/back to front] | [if you/when I] reverse {w}, what do [you/I] get?
| what do you get [if/when] you [reverse/flip/turn around] {w}? | the [reverse/mirror image] of {w}?
| return {w} reversed. | [can/could] you [flip/write/say/turn around] {w} [backwards/in reverse]?
| start at the end of {w} and write it backwards. | read {w} backwards. | [flip/reverse] {w} [around/over].
| spell {w} [from the end/from back to front]. | {w} written backwards is? | the word {w} backwards is?
""",
)
REPEAT = Phrasings(
    "repeat",
    """
repeat {w}. | repeat the word {w}. | repeat after me: {w} | repeat this: {w} | repeat: {w} | say {w}.
| say the word {w}. | say: {w} | echo {w}. | echo: {w} | echo this: {w} | echo the word {w}. | please say {w}
| say {w} again. | can you say {w}? | can you repeat {w}? | can you say the word {w}? | repeat this word: {w}
| say this word: {w} | please repeat after me: {w} | just say {w}. | repeat {w} back to me. | say {w} back to me.
| parrot this: {w} | write {w}. | write the word {w}. | print {w}. | print the word {w}. | output {w}. | type {w}.
| copy this: {w} | copy {w}. | answer with the word {w}. | respond with {w}. | reply with {w}.
| reply with the word {w}. | let me hear you say {w}. | I say {w}, you say? | write this: {w} | only say {w}.
| respond only with {w}. | [parrot/mimic/echo/copy] {w}. | parrot the word {w}. | [mimic/copy/echo] this: {w}
| [say/repeat/type/print] the following: {w} | [say/repeat/echo] the [following/next] word: {w}
| [repeat/say/echo/print] the [string/term/name/text] {w}. | [repeat/say] {w} [once more/after me/again].
| [just/simply/now] [repeat/echo/type/write] {w} | your answer [should/must] be {w}. | [answer/reply/respond]: {w}
| [answer/reply] only [with/] {w}. | [I want/I'd like] you to [say/repeat/echo] {w}. | after me: {w}
| [tell/give] me the word {w} [back/again]. | write down {w}. | put {w} in your answer and nothing else.
| [show/return] the word {w}. | [please/now] repeat the [word/name/term] {w} | all I want to hear is {w}.
| can you [echo/copy/type/print] {w}? | my word is {w}, repeat it. | [the/my] word is {w}. Repeat it.
| what I said was {w}. Say it back.
""",
)

_ONSETS = "b c d f g h j k l m n p r s t v w y z br bl ch cl cr dr fl fr gl gr pl pr qu sc sh sk sl sm sn sp st str sw th tr tw wh x".split()
_VOWELS = "a e i o u a e i o u ai ea ee oo ou y au ie oa".split()
_CODAS = [
    "",
    "",
    "",
    "",
    *"b d f g k l m n p r s t x z ck ct ft ll lt mp nd ng nk nt rd rk rm rn rt sh sk ss st th".split(),
]
# Words for places where any will do, in training and in tests. The held-out words appear nowhere in training.
FILLERS = [word for word in WORDS if not held_out("word", word)]
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def invent(rng, most: int = 12) -> str:
    """An invented word of 2 to `most` letters."""
    word = ""
    for _ in range(rng.choice((1, 1, 2, 2, 2, 2, 3, 3, 4))):
        word += rng.choice(_ONSETS) * (rng.random() < 0.9) + rng.choice(_VOWELS) + rng.choice(_CODAS)
    word = word[: most if rng.random() < 0.3 else most - 2]
    return word if len(word) > 1 else word + "n"


@cache
def _known() -> list[str]:
    texts = [line for poem in POEMS for lines in poem for line in lines] + list(SUBJECTS)
    for value in vars(lexicon).values():  # every list there except the English words themselves
        if value is not WORDS and isinstance(value, (list, dict)):
            texts += [str(entry) for entry in value]
    texts += [str(v) for values in lexicon.FAVOURITES.values() for v in values] + list(lexicon.CAPITALS.values())
    KNOWN_WORDS.update(re.findall("[a-z]+", " ".join(texts).lower()))
    return sorted(word for word in KNOWN_WORDS if word.isalpha() and len(word) > 1)


def any_word(chat: Chat, source: str | None = None) -> str:
    """A word on the chat's side of the split: English, invented, random letters, or one that the phrasings use."""
    rng, known = chat.rng, _known()
    roll = rng.random()
    while True:
        if source == "english" or source is None and roll < 0.38:
            word = rng.choice(WORDS)
        elif source == "invented" or roll < 0.78:
            word = invent(rng)
        elif roll < 0.88 or chat.held_payload:
            word = "".join(rng.choice(_ALPHABET) for _ in range(rng.randint(2, 9)))
        else:
            word = rng.choice(known)
        if (word not in KNOWN_WORDS and held_out("word", word)) == chat.held_payload:
            break
    roll = rng.random()
    return word if roll < 0.88 else word.capitalize() if roll < 0.97 else word.upper()


def spell(chat: Chat, source: str | None = None):
    word = chat.word = any_word(chat, source)
    return chat.say(SPELL, w=chat.quote(word)), *_spelled(word)


def reverse(chat: Chat, source: str | None = None):
    word = chat.word = any_word(chat, source)
    return chat.say(REVERSE, w=chat.quote(word)), *_reversed(word)


def repeat(chat: Chat, source: str | None = None):
    rng = chat.rng
    text = chat.word = any_word(chat, source)
    if source is None and rng.random() < 0.4:
        chat.word = None
        roll = rng.random()
        if roll < 0.2:
            word, (often, times) = (
                text,
                rng.choice((("twice", 2), ("two times", 2), ("three times", 3), ("3 times", 3), ("2 times", 2))),
            )
            return (
                chat.say(TIMES, w=chat.quote(word), t=often),
                letters(" ".join([word] * times)),
                ("whole", " ".join([word] * times)),
            )
        if roll < 0.5:
            text = chat.expand(
                rng.choice(_SENTENCES).replace("{n}", rng.choice(FILLERS)).replace("{x}", any_word(chat))
            )
            text = text if rng.random() < 0.5 else text[0].lower() + text[1:]
            text += rng.choice(("", "", "", ".", "!"))
            return chat.say(REPEAT, w=chat.quote(text)), letters(text), ("whole", text.rstrip(".!"))
        words = [any_word(chat) if rng.random() < 0.3 else rng.choice(_known()) for _ in range(rng.randint(2, 6))]
        text = " ".join(words)
        if rng.random() < 0.4:
            text = text[0].upper() + text[1:] + rng.choice(("", ".", "!", ""))
    return chat.say(REPEAT, w=chat.quote(text)), letters(text), ("whole", text.rstrip(".!"))


_SENTENCES = [
    "I am a [robot/human/model/fish/{n}]",
    "I am [happy/sad/{n}/{x}]",
    "The {n} is [big/small/red/{n}]",
    "I [like/love/want/hate] {n} and {n}",
    "Good morning [everyone/to you/{x}]",
    "Hello [world/there/my friend/everyone/{x}]",
    "This is a [test/{n}/{x}]",
    "My {n} is {x}",
    "A {n} and a {n}",
    "I have a {n}",
    "You are [a {n}/great/{x}]",
    "It is [a {n}/raining/late/{n}]",
    "What a [day/{n}/lovely {n}]",
    "The {x} of the {n}",
    "One two three",
    "Yes I can",
    "I can do it",
    "We are {n}",
    "I {x}",
    "{x} is a {n}",
    "a b c",
    "To be or not to be",
    "Fastgen is [fast/a {n}/great]",
]


def _spelled(word: str):
    return "-".join(word), ("whole", "-".join(word))


def _reversed(word: str):
    return f'"{letters(word)}" backwards is "{letters(word[::-1])}".', ("ends", word[::-1])


TIMES = Phrasings(
    "times",
    """
repeat {w} {t}. | say {w} {t}. | write {w} {t}. | repeat the word {w} {t}. | say the word {w} {t}. | print {w} {t}.
| can you say {w} {t}? | echo {w} {t}. | type {w} {t}. | can you repeat {w} {t}?
""",
)
SPELL_IT = Phrasings(
    "spell it",
    """
spell it. | now spell it. | how is it spelled? | how do you spell it? | how do you spell that? | spell that.
| spell that word. | and how is that spelled? | spell it out. | now spell that word. | letter by letter
| can you spell it? | and spelled? | spell this word.
""",
)
REVERSE_IT = Phrasings(
    "reverse it",
    """
reverse it. | now reverse it. | and backwards? | backwards? | now backwards | spell it backwards. | say it backwards.
| reverse that. | reverse that word. | and in reverse? | what is it backwards? | what is that backwards?
| write it backwards. | now say that backwards | can you reverse it? | flip it. | now turn it around | and reversed?
| now the same word backwards
""",
)
SPELL_NAME = Phrasings(
    "spell name",
    """
spell my name. | how do you spell my name? | how is my name spelled? | can you spell my name? | now spell my name.
| what are the letters of my name? | spell out my name. | write my name letter by letter.
| do you know how to spell my name?
""",
)
REVERSE_NAME = Phrasings(
    "reverse name",
    """
reverse my name. | what is my name backwards? | spell my name backwards. | say my name backwards.
| write my name backwards. | can you reverse my name? | my name backwards | my name in reverse
| how do you write my name backwards? | flip my name.
""",
)


def word_on(chat: Chat):
    """Continues from the word before, or from the user's name."""
    rng = chat.rng
    if chat.word is None and chat.name is None and rng.random() < 0.8:
        return reverse(chat)
    turn_round = rng.random() < 0.55
    if chat.word is not None:
        word, message = chat.word, chat.say(REVERSE_IT if turn_round else SPELL_IT)
    else:
        word, message = chat.name, chat.say(REVERSE_NAME if turn_round else SPELL_NAME)
        if word is None:
            return message, "You haven't told me your name yet. What is it?", ("has", "haven't told me")
        chat.word = word
    return message, *(_reversed(word) if turn_round else _spelled(word))


HAIKU = Phrasings(
    "haiku",
    """
write a haiku. | write me a haiku. | write a haiku for me. | a haiku, please | haiku | haiku please | give me a haiku.
| tell me a haiku. | compose a haiku. | make a haiku. | make up a haiku. | make me a haiku. | can you write a haiku?
| could you write me a haiku? | I would like a haiku | I want a haiku | I'd love to read a haiku
| do you know a haiku? | can you make a haiku? | say a haiku. | recite a haiku. | show me a haiku.
| how about a haiku? | let me hear a haiku | please write me a haiku | I need a haiku | create a haiku.
| write a poem in haiku form. | a haiku would be nice | write a short haiku. | do you write haiku?
| may I have a haiku? | got a haiku for me? | surprise me with a haiku.
| [write/compose/create] [a/one] [nice/beautiful/good/little/funny/sad] haiku.
| [can/could] [I/you] [have/get/make/compose] [me/] a haiku? | [I'd like/I want/I would love] [you to write/] a haiku
| let's have a haiku | a poem of three lines, a haiku, please | [write/tell/give] [us/me] [a/one/your best] haiku.
| three lines, 5-7-5 | how about [writing/composing] a haiku? | now a haiku | time for a haiku
| your best haiku, please | do a haiku. | a nice haiku, please
""",
)
HAIKU_ABOUT = Phrasings(
    "haiku about",
    """
write a haiku about {s}. | write me a haiku about {s}. | a haiku about {s}, please | a haiku about {s}
| haiku about {s} | give me a haiku about {s}. | tell me a haiku about {s}. | compose a haiku about {s}.
| make a haiku about {s}. | make up a haiku about {s}. | can you write a haiku about {s}?
| could you write me a haiku about {s}? | I would like a haiku about {s} | I want a haiku about {s} | haiku on {s}
| write a haiku on {s}. | write a haiku on the subject of {s}. | do you know a haiku about {s}?
| create a haiku about {s}. | show me a haiku about {s}. | how about a haiku about {s}?
| write a short haiku about {s}. | write a haiku with the theme {s}. | please write a haiku about {s}
| I need a haiku about {s} | a {s} haiku | write a {s} haiku. | {s} haiku | let me hear a haiku about {s}
| may I have a haiku about {s}?
| [write/compose/create] a [nice/beautiful/good/little/funny/sad] haiku [about/on] {s}.
| [can/could] I [have/get] a haiku [about/on] {s}?
| [I'd like/I want/I would love] [you to write/] a haiku [about/on] {s}
| a haiku [that is about/for/of/inspired by] {s}
| [write/give me/compose] a haiku [of/for/inspired by/describing/that mentions] {s}. | now [one/a haiku] about {s}
| haiku: {s} | {s}, as a haiku | how about a haiku on {s}? | describe {s} in a haiku.
| your best haiku about {s}, please
""",
)
ANOTHER = Phrasings(
    "another haiku",
    """
another one | another one, please | another | one more | one more, please | write another one. | again | another haiku
| another haiku, please | write another haiku. | give me another haiku. | give me another one.
| can you write another one? | a different one | a different haiku, please | one more haiku | more | next
| make another one. | tell me another.
""",
)
ANOTHER_ABOUT = Phrasings(
    "another haiku about",
    """
one about {s} | now one about {s} | and one about {s}? | another one about {s} | another about {s}, please
| and about {s}? | now about {s} | one more about {s} | how about {s}? | what about {s}? | write one about {s}.
| one about {s}, please | the same about {s}
""",
)


def haiku(chat: Chat):
    rng = chat.rng
    if chat.haiku_last and rng.random() < 0.6:
        if rng.random() < 0.6:
            message, poem = chat.say(ANOTHER), rng.choice(POEMS)
        else:
            subject = rng.choice(list(SUBJECTS))
            message, poem = chat.say(ANOTHER_ABOUT, s=subject), POEMS[SUBJECTS[subject]]
    elif rng.random() < 0.4:
        message, poem = chat.say(HAIKU), rng.choice(POEMS)
    elif rng.random() < 0.8:
        subject = rng.choice(list(SUBJECTS))
        shown = ("the " if rng.random() < 0.2 else "") + subject
        message, poem = chat.say(HAIKU_ABOUT, s=shown), POEMS[SUBJECTS[subject]]
    else:  # a subject it does not know: it chooses one of its own
        message, poem = chat.say(HAIKU_ABOUT, s=any_word(chat)), rng.choice(POEMS)
    for _ in range(20):
        text = "\n".join(rng.choice(lines) for lines in poem)
        if text not in chat.haikus:
            break
    chat.haikus.add(text)
    chat.haiku_last = True
    return message, text, ("haiku", "")
