"""Sums, the calendar, counting and capitals. A task: Chat → (message, reply, expectation)."""

from chat import Chat, Phrasings
from lexicon import CAPITALS, DAYS, MONTH_DAYS, MONTHS, NUMBER_WORDS, OTHER_COUNTRIES, TENS

ADD = Phrasings(
    "add",
    """
{a} + {b} | {a}+{b} | {a} + {b} = | {a}+{b}= | {a} plus {b} | {a} + {b}? | {a} plus {b}? | {a}+{b}?
| what is {a} + {b}? | what is {a}+{b}? | what is {a} plus {b}? | what's {a} + {b}? | what's {a} plus {b}?
| how much is {a} + {b}? | how much is {a} plus {b}? | how much is {a} and {b}?
| what do you get when you add {a} and {b}? | what do {a} and {b} make? | what do {a} and {b} add up to?
| what is the sum of {a} and {b}? | what's the sum of {a} and {b}? | the sum of {a} and {b} | sum of {a} and {b}
| sum {a} and {b}. | add {a} and {b}. | add {a} to {b}. | add {b} to {a}. | add {a} + {b}. | add up {a} and {b}.
| add the numbers {a} and {b}. | add {a} and {b} together. | compute {a} + {b}. | compute {a} plus {b}.
| calculate {a} + {b}. | calculate {a} plus {b}. | calculate the sum of {a} and {b}. | compute the sum of {a} and {b}.
| work out {a} + {b}. | work out {a} plus {b}. | solve {a} + {b}. | give me the sum of {a} and {b}.
| tell me {a} + {b}. | tell me what {a} plus {b} is. | do {a} + {b}. | what does {a} + {b} equal?
| what does {a} plus {b} equal? | {a} plus {b} equals? | {a} + {b} equals what? | {a} plus {b} is what?
| {a} + {b} = ? | {a} and {b} together make? | what's {a} and {b}? | what is {a} added to {b}?
| what is {b} more than {a}? | how many is {a} and {b}? | I have {a} apples and get {b} more. How many do I have?
| I have {a} coins and find {b} more. How many coins do I have?
| there are {a} birds and {b} more arrive. How many birds are there? | if I have {a} and add {b}, what do I get?
| Tom has {a} books and buys {b}. How many books does he have? | what is the total of {a} and {b}?
| the total of {a} and {b}? | can you add {a} and {b}? | could you tell me what {a} + {b} is?
| do you know what {a} plus {b} is? | help me with {a} + {b}. | I need {a} + {b}.
| [Sara/Tom/Anna/He/She] has {a} [apples/books/euros/eggs/cards] and gets {b} more. How many [are there/in total/does
that make]?
| I have {a} [dollars/euros/apples/pens/books] and [get/buy/receive/find] {b} more. How [many/much] do I have [now/in
total/]?
| {a} [cats/dogs/birds/people] and {b} more [come/join/arrive]. How many now?
| I had {a} [dollars/sweets/marbles] and won {b}. How many do I have now? | [increase/raise] {a} by {b}.
| what is {a} increased by {b}? | [what is/what's/calculate] {a} [and then/plus another] {b}?
| put {a} and {b} together. | {a} and {b} [is/are/makes/make] | {a} and {b} is?
| what [number/result] is {a} plus {b}? | {a} add {b} | what's the [answer to/result of] {a} + {b}?
| [what is/give me/tell me] the [result/answer] of {a} plus {b}?
| how [many/much] do {a} and {b} make [together/in all/]? | {b} more than {a}? | [maths/math] question: {a} + {b}
| can you [help me/] [calculate/compute/work out/solve] {a} [+/plus] {b}? | [sum/total] of {a} and {b}?
| sum: {a} + {b} | add: {a} {b} | addition: {a} and {b} | evaluate {a} + {b}. | find {a} + {b}.
| find the sum of {a} and {b}. | answer {a} + {b}.
""",
)
SUBTRACT = Phrasings(
    "subtract",
    """
{a} - {b} | {a}-{b} | {a} - {b} = | {a}-{b}= | {a} minus {b} | {a} - {b}? | {a} minus {b}? | {a}-{b}?
| what is {a} - {b}? | what is {a}-{b}? | what is {a} minus {b}? | what's {a} - {b}? | what's {a} minus {b}?
| how much is {a} - {b}? | how much is {a} minus {b}? | {a} take away {b} | {a} take away {b}?
| what is {a} take away {b}? | what's {a} take away {b}? | subtract {b} from {a}. | take {b} from {a}.
| take {b} away from {a}. | take away {b} from {a}. | what do you get when you subtract {b} from {a}?
| what is left when you take {b} from {a}? | compute {a} - {b}. | compute {a} minus {b}. | calculate {a} - {b}.
| calculate {a} minus {b}. | work out {a} - {b}. | work out {a} minus {b}. | solve {a} - {b}. | tell me {a} - {b}.
| tell me what {a} minus {b} is. | do {a} - {b}. | what does {a} - {b} equal? | what does {a} minus {b} equal?
| {a} minus {b} equals? | {a} - {b} equals what? | {a} minus {b} is what? | {a} - {b} = ? | what is {b} less than {a}?
| if I have {a} and take away {b}, what is left? | if you take {b} from {a}, what do you get?
| what is {b} subtracted from {a}? | can you subtract {b} from {a}? | could you tell me what {a} - {b} is?
| do you know what {a} minus {b} is? | help me with {a} - {b}. | I need {a} - {b}. | {a} less {b}?
| [Sara/Tom/Anna/He/She] has {a} [apples/books/euros/eggs/cards] and [eats/loses/sells/gives away/uses] {b}. How many
are left?
| I had {a} [dollars/euros/apples/coins] and [spent/lost/ate/gave away/used] {b}. How [many/much] [do I have left/is
left/are left/remain]?
| I have {a} [dollars/apples/books] and [spend/lose/eat/give away] {b}. How many [are left/do I have now/remain]?
| there are {a} [birds/people/cats] and {b} [leave/fly away/go home]. How many [are left/stay/remain]?
| [decrease/reduce/lower] {a} by {b}. | what is {a} [reduced/decreased/lowered/diminished] by {b}?
| what is {a}, [reduced/decreased/lowered] by {b}? | {a} [reduced/decreased/lowered] by {b}
| what number is {a} minus {b}? | [what is/give me/tell me] the [result/answer] of {a} minus {b}?
| what's the [answer to/result of] {a} - {b}? | [maths/math] question: {a} - {b}
| what remains of {a} [after taking away/without/minus] {b}?
| can you [help me/] [calculate/compute/work out/solve] {a} [-/minus] {b}? | from {a} [take/subtract/take away] {b}.
| {a} subtract {b} | how much is left of {a} [if I take/when you take/after taking] {b}? | remove {b} from {a}.
| {b} less than {a}? | subtraction: {a} - {b} | evaluate {a} - {b}. | find {a} - {b}. | answer {a} - {b}.
| minus {b} from {a}. | start with {a} and subtract {b}.
""",
)
MORE = Phrasings(
    "more",
    """
add {b} to that. | now add {b}. | add {b}. | plus {b} | plus {b}? | and plus {b}? | add {b} more. | and {b} more?
| and if you add {b}? | what if I add {b}? | what is that plus {b}? | now plus {b}. | + {b} | add {b} to the result.
| add {b} to it. | that plus {b}? | then add {b}.
""",
)
LESS = Phrasings(
    "less",
    """
subtract {b} from that. | now subtract {b}. | subtract {b}. | minus {b} | minus {b}? | and minus {b}? | take away {b}.
| now take away {b}. | and if you take away {b}? | what is that minus {b}? | now minus {b}. | - {b}
| subtract {b} from the result. | take {b} from it. | that minus {b}? | then subtract {b}. | take {b} from that.
""",
)


def in_words(n: int) -> str:
    return NUMBER_WORDS[n] if n < 20 else TENS[n // 10 - 2] + ("-" + NUMBER_WORDS[n % 10] if n % 10 else "")


def sum_key(a: int, b: int, plus: bool) -> str:
    """The key of the split: a pair is held out in both orders of addition, also as part of a longer exchange."""
    return f"{min(a, b)}+{max(a, b)}" if plus else f"{a}-{b}"


def sums(chat: Chat, negative_operands: bool | None = None, plus: bool | None = None):
    rng = chat.rng
    signed = rng.random() < 0.15 if negative_operands is None else negative_operands
    plus = rng.random() < 0.45 if plus is None else plus

    def draw():
        if signed:
            a, b = rng.randint(-99, 99), rng.randint(-99, 99)
            if a >= 0 and b >= 0:
                a = -a - 1
        else:
            a, b = (rng.randint(0, 99) if rng.random() < 0.85 else rng.randint(0, 20) for _ in range(2))
        return (a, b), sum_key(a, b, plus)

    a, b = chat.pick("sum", draw)
    written = [str(a), str(b)]
    if not signed and rng.random() < 0.07:
        written = [in_words(a), in_words(b)]
    elif signed and rng.random() < 0.3:
        written = [f"({n})" if n < 0 else str(n) for n in (a, b)]
    message = chat.say(ADD if plus else SUBTRACT, a=written[0], b=written[1])
    if not plus and rng.random() < 0.03:
        message = message.replace(" - ", rng.choice((" − ", " – ")))
    return message, *_result(chat, a, b, plus)


def _result(chat: Chat, a: int, b: int, plus: bool):
    chat.total = a + b if plus else a - b
    second = f"({b})" if b < 0 else str(b)
    return f"{a} {'+' if plus else '-'} {second} = {chat.total}.", ("ends", str(chat.total))


def sums_on(chat: Chat):
    """Continues from the sum before."""
    if chat.total is None or abs(chat.total) > 99:
        return sums(chat)
    plus, total = chat.rng.random() < 0.5, chat.total

    def draw():
        b = chat.rng.randint(1, 99)
        return b, sum_key(total, b, plus)

    b = chat.pick("sum", draw)
    return chat.say(MORE if plus else LESS, b=str(b)), *_result(chat, total, b, plus)


AFTER = Phrasings(
    "after",
    """
what {u} comes after {D}? | what {u} follows {D}? | which {u} comes after {D}? | which {u} follows {D}?
| what comes after {D}? | what follows {D}? | what is the {u} after {D}? | what's the {u} after {D}?
| the {u} after {D}? | the {u} after {D} | what is the next {u} after {D}? | what's the next {u} after {D}?
| name the {u} after {D}. | name the {u} that follows {D}. | tell me the {u} after {D}.
| tell me which {u} follows {D}. | {D} is followed by which {u}? | {D} is followed by? | after {D} comes?
| after {D} comes what {u}? | what {u} is after {D}? | which {u} is after {D}? | what's after {D}?
| what is after {D}? | what {u} is next after {D}? | say the {u} after {D}. | next {u} after {D}
| the {u} following {D}? | do you know what {u} comes after {D}? | can you tell me what {u} follows {D}?
| give me the {u} after {D}. | what {u} comes right after {D}? | what {u} comes next after {D}?
| which {u} comes next after {D}? | if this {u} is {D}, which {u} is next? | what {u} does {D} come before?
| what {u} directly follows {D}? | what {u} will it be after {D}? | it is {D}. What {u} comes next? | {D}, and then?
| what's the {u} following {D}? | what is the {u} [right/just/immediately/directly] after {D}?
| which {u} [succeeds/is next to follow] {D}? | {D} [comes/is] before which {u}?
| [today/now] it is {D}, what is the next {u}? | [this/the] {u} is {D}. [What/Which] is the next [one/{u}]?
| what do we have after {D}? | after {D}, [what/which {u}] [comes/is next/follows]? | what {u} would be after {D}?
| {D}'s next {u}? | I know {D}. What {u} comes [next/after it]? | name the next {u} after {D}.
""",
)
BEFORE = Phrasings(
    "before",
    """
what {u} comes before {D}? | what {u} precedes {D}? | which {u} comes before {D}? | which {u} precedes {D}?
| what comes before {D}? | what is the {u} before {D}? | what's the {u} before {D}? | the {u} before {D}?
| the {u} before {D} | what is the previous {u} before {D}? | name the {u} before {D}.
| name the {u} that precedes {D}. | tell me the {u} before {D}. | tell me which {u} is before {D}.
| {D} comes after which {u}? | before {D} comes? | what {u} is before {D}? | which {u} is before {D}?
| what's before {D}? | what is before {D}? | say the {u} before {D}. | do you know what {u} comes before {D}?
| can you tell me what {u} precedes {D}? | give me the {u} before {D}. | what {u} comes right before {D}?
| what {u} comes just before {D}? | what {u} does {D} follow? | what {u} does {D} come after?
| which {u} is followed by {D}? | what {u} was it before {D}?
| what is the {u} [right/just/immediately/directly] before {D}? | {D} [comes/is] after which {u}?
| [today/now] it is {D}, what was the [previous/last] {u}? | what do we have before {D}?
| before {D}, [what/which {u}] [comes/was it/is there]? | what's the {u} preceding {D}?
| what is the previous {u} [to/of] {D}? | name the {u} just before {D}. | what {u} would be before {D}?
| previous {u} before {D} | the {u} preceding {D}?
""",
)
TOMORROW = Phrasings(
    "tomorrow",
    """
if today is {D}, what is tomorrow? | if today is {D}, what day is tomorrow? | today is {D}. What day is tomorrow?
| today is {D}, what is tomorrow? | it's {D} today. What day is it tomorrow?
| if it is {D} today, what day will it be tomorrow? | it is {D}. What is tomorrow? | if today is {D} then tomorrow is?
| today is {D}. Tomorrow is? | what day is tomorrow if today is {D}? | what is tomorrow if today is {D}?
| when today is {D}, what day is tomorrow?
""",
)
YESTERDAY = Phrasings(
    "yesterday",
    """
if today is {D}, what was yesterday? | if today is {D}, what day was yesterday?
| today is {D}. What day was yesterday? | today is {D}, what was yesterday?
| it's {D} today. What day was it yesterday? | if it is {D} today, what day was it yesterday?
| it is {D}. What was yesterday? | if today is {D} then yesterday was? | today is {D}. Yesterday was?
| what day was yesterday if today is {D}? | what was yesterday if today is {D}?
| when today is {D}, what day was yesterday?
""",
)
FROM_TOMORROW = Phrasings(
    "from tomorrow",
    """
if tomorrow is {D}, what is today? | if tomorrow is {D}, what day is [it today/today]?
| tomorrow is {D}. What day is [it today/today]? | tomorrow is {D}, what is today? | tomorrow is {D}. What is today?
| [what/which] day is it today if tomorrow is {D}? | tomorrow [will be/is] {D}, so today is?
| if tomorrow will be {D}, what day is it? | what is today if tomorrow is {D}?
""",
)
FROM_YESTERDAY = Phrasings(
    "from yesterday",
    """
if yesterday was {D}, what is today? | if yesterday was {D}, what day is [it today/today]?
| yesterday was {D}. What day is [it today/today]? | yesterday was {D}, what is today?
| yesterday was {D}. What is today? | [what/which] day is it today if yesterday was {D}?
| yesterday was {D}, so today is? | if yesterday was {D}, what day is it? | what is today if yesterday was {D}?
""",
)
IN_THREE = Phrasings(
    "in three",
    """
what {u} is [three/3] {u}s after {D}? | what {u} comes three {u}s after {D}? | three {u}s after {D}?
| which {u} is 3 {u}s after {D}? | what is three {u}s after {D}? | it is {D}. What {u} is it in three {u}s?
| tell me the {u} three {u}s after {D}. | what {u} will it be [3/three] {u}s after {D}?
| [if it is/today is] {D}, what {u} is it in [3/three] {u}s?
""",
)
IN_TWO = Phrasings(
    "in two",
    """
what {u} is two {u}s after {D}? | what {u} comes two {u}s after {D}? | two {u}s after {D}?
| which {u} is two {u}s after {D}? | what is two {u}s after {D}? | what {u} is 2 {u}s after {D}?
| it is {D}. What {u} is it in two {u}s? | tell me the {u} two {u}s after {D}.
| what {u} will it be [2/two] {u}s after {D}? | [if it is/today is] {D}, what {u} is it in [2/two] {u}s?
| two {u}s from {D}? | what {u} is it two {u}s from {D}?
""",
)


def calendar(chat: Chat):
    rng = chat.rng
    names, unit = (DAYS, "day") if rng.random() < 0.5 else (MONTHS, "month")
    at, roll = rng.randrange(len(names)), rng.random()
    day = unit == "day" and rng.random() < 0.3
    if roll < 0.45:
        shift, ways = 1, rng.choice((TOMORROW, TOMORROW, FROM_YESTERDAY)) if day else AFTER
    elif roll < 0.85:
        shift, ways = -1, rng.choice((YESTERDAY, YESTERDAY, FROM_TOMORROW)) if day else BEFORE
    else:
        shift, ways = rng.choice(((2, IN_TWO), (3, IN_THREE)))
    name, other = names[at], names[(at + shift) % len(names)]
    message = chat.say(ways, u=unit, D=name)
    if ways is TOMORROW or ways is YESTERDAY:
        reply = f"If today is {name}, {'tomorrow is' if shift == 1 else 'yesterday was'} {other}."
    elif ways is FROM_TOMORROW or ways is FROM_YESTERDAY:
        reply = f"If {'yesterday was' if shift == 1 else 'tomorrow is'} {name}, today is {other}."
    elif shift > 1:
        reply = (
            f"After {name} come {', '.join(names[(at + k) % len(names)] for k in range(1, shift))} and then {other}."
        )
    else:
        reply = f"The {unit} {'after' if shift == 1 else 'before'} {name} is {other}."
    return message, reply, ("ends", other)


LIST_DAYS = Phrasings(
    "list days",
    """
list the days of the week. | what are the days of the week? | name the days of the week.
| name all the days of the week. | tell me the days of the week. | days of the week | which days are in a week?
| what are the seven days of the week? | say the days of the week.
""",
)
LIST_MONTHS = Phrasings(
    "list months",
    """
list the months of the year. | what are the months of the year? | name the months of the year. | name all the months.
| tell me the months of the year. | months of the year | which months are in a year? | what are the twelve months?
| list the months. | say the months of the year.
""",
)
HOW_MANY = Phrasings(
    "how many",
    """
how many {u}s are in a {v}? | how many {u}s are there in a {v}? | how many {u}s in a {v}?
| how many {u}s does a {v} have? | a {v} has how many {u}s? | number of {u}s in a {v}
| what is the number of {u}s in a {v}? | tell me how many {u}s are in a {v}.
""",
)
MONTH_LENGTH = Phrasings(
    "month length",
    """
how many days are in {D}? | how many days are there in {D}? | how many days does {D} have? | how many days has {D}?
| how long is {D}? | days in {D}? | how many days in {D}? | tell me how many days {D} has.
| what is the number of days in {D}?
""",
)


def calendar_facts(chat: Chat):
    roll = chat.rng.random()
    if roll < 0.2:
        return chat.say(LIST_DAYS), ", ".join(DAYS[:-1]) + f" and {DAYS[-1]}.", ("has", ", ".join(DAYS[:-1]))
    if roll < 0.4:
        return chat.say(LIST_MONTHS), ", ".join(MONTHS[:-1]) + f" and {MONTHS[-1]}.", ("has", ", ".join(MONTHS[:-1]))
    if roll < 0.6:
        unit, whole, n = chat.rng.choice((("day", "week", 7), ("month", "year", 12), ("hour", "day", 24)))
        return chat.say(HOW_MANY, u=unit, v=whole), f"A {whole} has {n} {unit}s.", ("has", str(n))
    at = chat.rng.randrange(12)
    days = "28 days, or 29 in a leap year" if at == 1 else f"{MONTH_DAYS[at]} days"
    return chat.say(MONTH_LENGTH, D=MONTHS[at]), f"{MONTHS[at]} has {days}.", ("has", str(MONTH_DAYS[at]))


NEXT = Phrasings(
    "next",
    """
what {u} comes after {x}? | which {u} comes after {x}? | what is the {u} after {x}? | what's the next {u} after {x}?
| the {u} after {x}? | what {u} follows {x}? | tell me the {u} after {x}. | which {u} follows {x}?
| what's the {u} after {x}?
""",
)
PREVIOUS = Phrasings(
    "previous",
    """
what {u} comes before {x}? | which {u} comes before {x}? | what is the {u} before {x}? | what's the {u} before {x}?
| the {u} before {x}? | what {u} precedes {x}? | tell me the {u} before {x}. | which {u} precedes {x}?
""",
)
COUNT = Phrasings(
    "count",
    """
count from {a} to {b}. | count to {b} from {a}. | can you count from {a} to {b}? | list the numbers from {a} to {b}.
| count up from {a} to {b}. | say the numbers from {a} to {b}. | tell me the numbers from {a} to {b}.
| write the numbers from {a} to {b}.
""",
)
COUNT_TO = Phrasings(
    "count to",
    """
count to {b}. | can you count to {b}? | count up to {b}. | count from one to {b}. | say the numbers up to {b}.
| list the numbers up to {b}. | let me hear you count to {b}
""",
)


def counting(chat: Chat):
    rng = chat.rng
    if rng.random() < 0.4:
        b = rng.randint(2, 12)
        if rng.random() < 0.5:
            a, message = 1, chat.say(COUNT_TO, b=rng.choice((str(b), in_words(b))))
        else:
            a = rng.randint(1, 90)
            b = a + rng.randint(2, 9)
            message = chat.say(COUNT, a=str(a), b=str(b))
        numbers = ", ".join(map(str, range(a, b + 1)))
        return message, numbers + ".", ("has", numbers)
    after = rng.random() < 0.6
    if rng.random() < 0.6:
        unit, n = "number", rng.randint(1, 98)
        x, y = str(n), str(n + 1 if after else n - 1)
    else:
        unit, n = "letter", rng.randint(1, 24) + 65
        x, y = (chr(n), chr(n + 1 if after else n - 1))
    shown = x.lower() if unit == "letter" and rng.random() < 0.5 else x
    return (
        chat.say(NEXT if after else PREVIOUS, u=unit, x=shown),
        f"The {unit} {'after' if after else 'before'} {x} is {y}.",
        ("ends", y),
    )


CAPITAL = Phrasings(
    "capital",
    """
what is the capital of {C}? | what's the capital of {C}? | capital of {C}? | capital of {C} | the capital of {C}?
| which city is the capital of {C}? | what city is the capital of {C}? | name the capital of {C}.
| tell me the capital of {C}. | do you know the capital of {C}? | can you tell me the capital of {C}?
| what is {C}'s capital? | what's {C}'s capital? | what is the capital city of {C}? | give me the capital of {C}.
| {C}'s capital? | what's the capital city of {C}?
""",
)


def capitals(chat: Chat):
    if chat.rng.random() < 0.2:
        country = chat.rng.choice(OTHER_COUNTRIES)
        return (
            chat.say(CAPITAL, C=country),
            f"Sorry, I don't know the capital of {country}. I only know a few.",
            ("has", "don't know"),
        )
    country, city = chat.rng.choice(list(CAPITALS.items()))
    return chat.say(CAPITAL, C=country), f"The capital of {country} is {city}.", ("ends", city)
