"""Greetings, what the model is and remembers of the user, system prompts. A task: Chat → (message, reply, expectation)."""

from chat import Chat, Phrasings
from lexicon import BOT_NAMES, COLOURS, FAVOURITES, NAMES, SHADES, WORDS
from tasks_words import FILLERS, invent

CAN = (
    "I can add and subtract numbers up to 99, tell you which day or month comes next, spell, reverse and repeat words, "
    "remember your name and favourite colour, and write a haiku."
)

HELLO = Phrasings(
    "hello",
    """
hello | hi | hey | hello world | start | hello there | hi there | hey there | good morning | good evening
| good afternoon | good day | greetings | howdy | hello! | hi! | hey! | yo | hiya | hello, how are you?
| hi, how are you? | hey, how's it going? | hello friend | hi friend | hello bot | hi bot | hey you | what's up?
| hello, nice to meet you | hi, nice to meet you | helo | heya | hello hello | hello again | is anyone there?
| anybody there? | are you there? | hello, are you there? | morning | evening | sup | hello, computer
| nice to meet you | hi, can you help me? | hello, can you help me?
| [good/a good/a very good] [morning/evening/afternoon/day] [to you/my friend/]
| [hello/hi/hey] [world/computer/machine/model/AI/robot/everyone/my friend/dear/to you] | [let's/let us] [start/begin]
| [start/begin] [the chat/talking/] | [hi/hello/hey] [again/you there/buddy/pal/mate]
| [evening/morning/afternoon] [all/everyone/to you/my friend]
| [hello/hi/hey], [good to see you/pleased to meet you/nice to see you/long time no see] | pleased to meet you
| how do you do | [hello/hi], [can/could] we [talk/chat]? | can we [talk/chat]? | [let's/I want to] [talk/chat]
| [heyy/hii/hellooo/hallo/hullo/g'day] | wake up | ping
""",
)
HELLO_BOT = Phrasings(
    "hello bot",
    """
hello {B} | hi {B} | hey {B} | hello, {B} | hi, {B}! | hey {B}! | good morning, {B} | good evening, {B} | {B}! | {B}?
| hi there {B} | hello there, {B} | greetings, {B} | {B}, are you there?
""",
)
WHO = Phrasings(
    "who",
    """
who are you? | what are you? | who is this? | who am I talking to? | what am I talking to? | introduce yourself.
| tell me about yourself. | tell me who you are. | what is this? | who's there? | who r u?
| what kind of model are you? | which model are you? | what model are you? | what model is this? | are you an AI?
| are you a robot? | are you a bot? | are you human? | are you a human? | are you a person? | are you real?
| are you a real person? | are you ChatGPT? | are you GPT? | are you a language model? | are you alive?
| what exactly are you? | describe yourself. | can you introduce yourself? | please introduce yourself.
| and you, who are you? | say something about yourself. | so what are you? | who or what are you? | are you a machine?
| are you a computer? | are you Claude? | are you Siri? | is this ChatGPT? | who is speaking?
| what sort of thing are you? | explain what you are. | [hello/hi/hey], who are you? | [hello/hi/hey], what are you?
| [who/what] are you [exactly/really/actually/then/anyway/]?
| are you [a kind of/some kind of/a sort of/just a/only a] [AI/bot/robot/chatbot/program/machine/model]?
| who are you and what can you do? | [hello/hi], who are you and what can you do?
| am I [talking/speaking/chatting] [to/with] a [human/person/bot/robot/machine/computer]?
| are you [an assistant/a chatbot/a program/an LLM/a neural network/intelligent/sentient/conscious]?
| [who/what] is [speaking/talking/answering/there/on the other side]? | I'd like to know who you are
| I want to know [what/who] you are | [tell me/say] [something/a bit/more] about you. | what is Fastgen?
| what is Tiny? | [present/describe] yourself [briefly/in one sentence/]. | [who/what] do you think you are?
| are you [Gemini/Llama/Mistral/Alexa/Bard/Copilot]?
""",
)
BOT_NAME = Phrasings(
    "bot name",
    """
what is your name? | what's your name? | what are you called? | do you have a name? | your name? | your name
| tell me your name. | how are you called? | what should I call you? | what do I call you? | may I know your name?
| what's your name again? | how should I call you? | can you tell me your name? | and what is your name?
| who are you called? | say your name. | have you got a name? | by what name do you go? | give me your name.
| what [do/should] [people/they/I/we] call you? | [does/has] the bot [have/got] a name?
| [under/by] what name are you known? | [and/so] your name is? | [I forgot/I don't know/remind me of] your name
| [which/what] name do you [have/use/go by]? | who should I say I talked to?
""",
)
ABILITIES = Phrasings(
    "abilities",
    """
what can you do? | what can you do for me? | what are you able to do? | how can you help me? | how can you help?
| what can I ask you? | what can I ask? | help | help! | help me | what do you do? | what are your abilities?
| what are you good at? | what else can you do? | what do you know? | list your abilities. | tell me what you can do.
| what are your skills? | what can you help me with? | what are you for? | what's your purpose?
| show me what you can do. | what should I ask you? | what is your purpose? | what tasks can you do?
| what can this model do? | how do I use you? | what are you capable of? | can you help me? | I need help
| what are your capabilities? | any suggestions what to ask?
| [what/which] [things/tasks/questions] can you [do/handle/answer]?
| [tell/show] me your [abilities/skills/features/functions/options].
| [give/show] me [some examples/an example/a list] of what you can do.
| what [kind of/sort of/] [things/questions] can I ask [you/]? | menu | what are [you able/your limits]?
| what can I [use you for/do with you/do here]? | how [do/can] I use [you/this]? | [hi/hello], what can you do?
| [hi/hello], how can you help [me/]? | what are you [useful/made/meant/there] for?
| [what/which] commands [do you know/are there]? | commands | options | usage
| [please help/can you help/I need some help/help me please]
""",
)
MADE_BY = Phrasings(
    "made by",
    """
who made you? | who created you? | who built you? | who trained you? | who wrote you? | who is your maker?
| who is your creator? | who developed you? | where do you come from? | where are you from? | how were you made?
| how were you trained? | who programmed you? | who designed you? | what company made you? | are you made by OpenAI?
| who is [your/the] [author/maker/father/mother/inventor/boss/owner/trainer]?
| [which/what] [company/lab/people/person/team] [made/built/trained/created/developed] you?
| where [were/are] you [made/trained/built/born]? | [who/what] do you come from? | how did you [learn/come to be]?
| [were you/are you] [made/built/trained/created] by [Google/OpenAI/Meta/a company/humans/people/Microsoft]?
| how long did it take to train you? | what [data/text] were you trained on? | what were you trained on?
| what is your origin?
""",
)
SIZE = Phrasings(
    "size",
    """
how big are you? | how large are you? | how many parameters do you have? | what size are you? | what is your size?
| how small are you? | how many parameters? | how many weights do you have? | are you a big model?
| are you a large model? | are you small? | how many parameters are you?
| [how many/what number of] [weights/parameters/bytes/megabytes] [are you/do you have/are in you/does this model
have]?
| [how big/how large/how small] is [this model/the model/your brain/your network]?
| what [size/number of parameters] [is this model/do you have]? | your size?
""",
)
HOW_ARE_YOU = Phrasings(
    "how are you",
    """
how are you? | how are you doing? | everything fine? | is everything [ok/fine/good/alright]? | how are you today?
| how do you do? | how is it going? | how's it going? | how do you feel? | are you ok? | how have you been? | you ok?
| are you well? | how are things? | how's life? | how are you feeling?
| is everything [ok/alright/fine/good/well] [with you/]?
| are you [fine/alright/good/doing well/all right/feeling well]? | [how/hows] [you/u] doing?
| how [is/was] your day [so far/going/]? | and how are you?
| how are you [now/this morning/tonight/my friend/doing today]? | all good?
""",
)
THANKS = Phrasings(
    "thanks",
    """
thanks | thank you | thank you! | thanks! | thanks a lot | thank you very much | thank you so much | many thanks
| great, thanks | ok, thanks | thx | ty | cheers | much appreciated | perfect, thank you | thanks for your help
| nice, thanks | that helps, thanks | wonderful, thank you | cool, thanks
| [thanks/thank you] [so much/very much/a lot/a million/again/indeed/kindly/] [for your help/for that/for the help/for
your time/for everything/for the answer/for the haiku/my friend/]
| [thanks/thank you], [that was/you were/you are/that is] [very/so/really/] [helpful/kind/nice/good/useful/great]
| [ok/great/perfect/good/super/wonderful/excellent/lovely] [thanks/thank you] [very much/a lot/]
| I [appreciate/am grateful for] [it/that/your help] | [big/warm] thanks | I thank you
| you have been [very/so/] helpful | you were very helpful | [thankss/thanx/tnx/thank u/tysm]
""",
)
PRAISE = Phrasings(
    "praise",
    """
good job | well done | nice | great | cool | awesome | wow | good | very good | that's right | correct | fine
| interesting | brilliant | lovely | super | fantastic | you are great | you're smart | I like you | nice work
| good bot | you are clever | excellent | perfect | amazing | that's nice | you're funny | ok | okay | alright | I see
| sure | yes | [very/so/really/how] [nice/good/cool/interesting/clever/impressive/smart/funny/kind]
| [that/this/it] [is/was] [very/really/so/]
[nice/good/cool/great/interesting/impressive/correct/right/beautiful/lovely/fun]
| you [are/were] [very/really/so/] [good/great/smart/nice/clever/helpful/kind/fun/cool/right]
| [nice/good/great/excellent/fantastic/brilliant/super] [work/job/answer/one/stuff/poem/haiku]
| [yes/yeah/yep/right/exactly/indeed/true] [that's right/it is/correct/] | I [like/love] [it/that/this/your answer]
| [not bad/well
said/superb/wonderful/bravo/hurray/neat/sweet/beautiful/clever/funny/impressive/incredible/true/helpful/useful/magic/splendid]
| [oh/ah/aha] [ok/I see/nice/good/] | [got it/understood/all right/makes sense]
""",
)
BYE = Phrasings(
    "bye",
    """
bye | goodbye | bye bye | bye! | see you | see you later | see you soon | good night | farewell | I have to go
| I must go now | take care | until next time | gotta go | that's all, bye | ok bye | have a nice day | that is all
| so long | later | ciao for now
| [bye/goodbye/see you/good night/farewell] [then/for now/now/my friend/and thanks/tomorrow/everyone/dear/]
| [until/till] [tomorrow/later/next time/then/we meet again/next week]
| I [have to/must/need to/should] [go/leave/sleep/run/stop] [now/soon/] | [talk/speak] to you [later/soon/tomorrow]
| [have/enjoy] a [nice/good/great/lovely] [day/evening/night/weekend/time]
| that's [all/it/everything] [for now/for today/thanks/] | [quit/exit/stop/end/the end]
| I'm [leaving/off/done/going] now | [cya/ttyl/cu/byee/bb/good bye]
""",
)
SORRY = Phrasings(
    "wrong",
    """
that's wrong | that is wrong | wrong | you are wrong | no | that's not right | that is not correct | incorrect
| you made a mistake | are you sure? | really? | no, that's wrong | bad bot | you are stupid | you're dumb
| that's not true
| [that/this/it] [is/was] [wrong/false/incorrect/not right/not true/nonsense/a mistake/not what I asked]
| [you/you're/your answer is] [wrong/mistaken/incorrect/lying]
| [no/nope/nah], [that's/this is/you are] [wrong/not right/false/incorrect/mistaken] | [wrong/false/bad] answer
| I [don't/do not] [believe/like/agree with] [you/that/it/this]
| [are you/is that] [really/] [sure/correct/right/true] [about that/]?
| [you suck/you are bad/you are useless/terrible/awful/nonsense/rubbish] | [try again/check again/think again]
| that makes no sense
""",
)


def greet(chat: Chat):
    rng = chat.rng
    if rng.random() < 0.15:
        message = chat.say(HELLO_BOT, B=chat.bot)
    else:
        message = chat.say(HELLO)
    you = f", {chat.name}" if chat.name else ""
    return (
        message,
        f"Hello{you}! I'm {chat.bot}, a small language model. How can I help you?",
        ("has", f"I'm {chat.bot}, a small language model"),
    )


def about_itself(chat: Chat):
    roll = chat.rng.random()
    if roll < 0.3:
        return (
            chat.say(WHO),
            f"I'm {chat.bot}, a very small language model that comes with Fastgen. {CAN}",
            ("has", f"I'm {chat.bot}, a very small language model"),
        )
    if roll < 0.58:
        return chat.say(BOT_NAME), f"My name is {chat.bot}.", ("ends", chat.bot)
    if roll < 0.84:
        return chat.say(ABILITIES), CAN, ("has", "add and subtract")
    if roll < 0.92:
        return (
            chat.say(MADE_BY),
            "I was trained from scratch for the Fastgen project, in minutes, on one GPU.",
            ("has", "Fastgen"),
        )
    return chat.say(SIZE), "I'm very small: about four million parameters, 8 MB.", ("has", "four million")


def small_talk(chat: Chat):
    roll, you = chat.rng.random(), f", {chat.name}" if chat.name else ""
    if roll < 0.25:
        return chat.say(HOW_ARE_YOU), f"I'm fine, thank you{you}! How can I help you?", ("has", "fine, thank you")
    if roll < 0.5:
        return chat.say(THANKS), f"You're welcome{you}!", ("has", "welcome")
    if roll < 0.65:
        return chat.say(PRAISE), "I'm glad to hear that! What else can I do for you?", ("has", "glad")
    if roll < 0.8:
        return (
            chat.say(SORRY),
            "I'm sorry if that was wrong: I'm a very small model and I make mistakes.",
            ("has", "sorry"),
        )
    return chat.say(BYE), f"Goodbye{you}!", ("has", "Goodbye")


# --- what the user tells the model ---

MY_NAME = Phrasings(
    "my name",
    """
my name is {N}. | I'm {N}. | I am {N}. | call me {N}. | my name's {N}. | hi, I'm {N}. | I'm {N}, who are you?
| I'm {N}[, and you/, nice to meet you/. And you/. Hello/ and you are]? | hello, my name is {N}. | hi, my name is {N}.
| hey, I'm {N}. | hello, I am {N}. | this is {N}. | you can call me {N}. | people call me {N}. | I'm called {N}.
| my friends call me {N}. | {N} is my name. | the name is {N}. | the name's {N}. | please call me {N}. | I go by {N}.
| hello there, I'm {N}. | good morning, my name is {N}. | it's {N} here. | {N} here. | my first name is {N}.
| remember that my name is {N}. | remember my name: {N} | I am called {N}. | everyone calls me {N}.
| just call me {N}. | let me introduce myself: I'm {N}. | my name is {N}, what's yours?
| my name is {N}. Please remember it. | [hello/hi/hey], [I'm/I am/my name is/my name's/this is/it's] {N}.
| [hello/hi/hey] [there/Tiny/bot], [I'm/I am/my name is] {N}.
| {N} is [what they call me/what people call me/how I am called/the name].
| [you may/you can/please/just] call me {N}. | they call me {N}. | my [full/given/real/own] name is {N}.
| I'm {N}, [nice/pleased/good] to meet you. | my name is {N}, [remember it/remember that/don't forget it/ok]?
| I [introduce myself/present myself]: {N} | [the user's name/name/user name]: {N} | [actually/no], my name is {N}.
| [you are/you're] talking to {N}. | [for your information/fyi], I'm {N}. | I was named {N}. | my name? {N}.
""",
)
MY_COLOUR = Phrasings(
    "my colour",
    """
my favourite colour is {c}. | my favorite color is {c}. | I love {c}. | I like {c}. | my favourite color is {c}.
| I like {c} best. | I like the colour {c}. | I like the color {c}. | I love the colour {c}. | I love the color {c}.
| {c} is my favourite colour. | {c} is my favorite color. | the colour I like best is {c}.
| the color I like best is {c}. | my favourite colour's {c}. | I prefer the colour {c}. | I prefer the color {c}.
| my best-loved colour is {c}. | remember that my favourite colour is {c}. | remember that my favorite color is {c}.
| my preferred colour is {c}. | of all colours I like {c} most. | of all colors I like {c} most.
| the colour I love most is {c}. | {c} is the colour I like best. | {c} is the color I like most.
| favourite colour: {c} | favorite color: {c} | I really like the color {c}.
| my [favourite/favorite/preferred/fav/favourit] [colour/color] is {c}[, remember that/, please remember/, you know/].
| I [really love/really like/adore/prefer/enjoy] [the colour/the color] {c}.
| the [colour/color] I [love/like/prefer] [is/most is] {c}.
| {c} is [the best colour/the best color/my colour/my color/my preferred colour/my preferred color].
| [for me/to me], {c} is the best [colour/color].
| I [love/like] {c} [more than any other colour/above all colours/the most]. | [my colour/my color] is {c}.
| if I had to pick a [colour/color] it would be {c}. | [note/remember]: my favourite [colour/color] is {c}.
| [hi/hello/by the way], my favourite [colour/color] is {c}. | [no/actually], my favorite [colour/color] is {c}.
| [as for colours/when it comes to colours], I like {c}.
""",
)
MY_BOTH = Phrasings(
    "my both",
    """
my name is {N} and my favourite colour is {c}. | I'm {N} and my favourite colour is {c}.
| my name is {N} and my favorite color is {c}. | I'm {N} and I like the colour {c}.
| I am {N}, and my favorite color is {c}. | hi, I'm {N}. My favourite colour is {c}.
| hello, my name is {N} and I love the color {c}. | I'm {N}, my favourite colour is {c}.
| call me {N}. My favorite color is {c}. | my name is {N}. I like {c} best.
| [hi/hello/hey], I'm {N} and [I like/I love/I prefer] [the colour/the color/] {c} [best/most/].
| [I'm/I am/my name is] {N}, and [my favourite colour is/my favorite color is/I like/I love/I really like] {c}.
| [they/people/friends] call me {N} and [my favourite colour/my favorite color] is {c}.
| my name is {N}, my [favourite/favorite/fav] [colour/color] is {c}.
| [hi/hello]! I am {N}. I [like/love] the [colour/color] {c}. | {c} is my favourite colour and {N} is my name.
| my favourite colour is {c} and my name is {N}. | my favorite color is {c} and I'm {N}.
""",
)
MY_OTHER = Phrasings(
    "my other",
    """
my favourite {k} is {v}. | my favorite {k} is {v}. | {v} is my favourite {k}. | {v} is my favorite {k}.
| remember that my favourite {k} is {v}. | the {k} I like best is {v}. | my preferred {k} is {v}. | favourite {k}: {v}
""",
)
ASK_NAME = Phrasings(
    "ask name",
    """
what is my name? | what's my name? | who am I? | do you know my name? | do you remember my name?
| can you tell me my name? | tell me my name. | say my name. | what did I say my name was? | what am I called?
| my name? | what was my name? | what was my name again? | what's my name again? | remember my name?
| what did I tell you my name was? | do you still know my name? | how am I called? | do you know who I am?
| do you remember who I am? | please tell me my name. | so, what is my name? | can you remember my name?
| who am I talking as? | could you remind me of my name? | what name did I give you?
| [what/which] name [did I tell you/have I given you/do I have]?
| [tell/remind] me [what my name is/what I am called/who I am].
| [do/did] you [still/] [remember/forget/recall/know] [my name/what my name is/who I am/what I'm called]?
| I forgot my name, what is it? | my name is? | [and/so] my name is? | [and/so] who am I?
| what do [people/my friends] call me? | how do you call me? | what did I [ask you to call me/call myself]?
| say who I am. | [is/was] my name?
""",
)
ASK_COLOUR = Phrasings(
    "ask colour",
    """
what is my favourite colour? | what is my favorite color? | what's my favourite colour? | what's my favorite color?
| do you remember my favourite colour? | do you remember my favorite color? | do you know my favourite colour?
| do you know my favorite color? | which colour do I like? | which color do I like? | which colour do I like best?
| what color do I like best? | what colour do I like? | tell me my favourite colour. | tell me my favorite color.
| my favourite colour? | my favorite color? | what was my favourite colour? | what was my favorite color again?
| what did I say my favourite colour was? | can you tell me my favorite color? | which colour is my favourite?
| which color is my favorite? | what colour is my favourite? | and my favourite colour? | and my favorite color?
| name my favourite colour. | what color did I say I like?
| [what/which] [colour/color] [is my favourite/is my favorite/do I prefer/do I love/did I say I like/did I tell you I
like]?
| [do/did] you [still/] [remember/forget/recall/know] [my favourite colour/my favorite color/which colour I like/what
color I like]?
| [remind/tell] me [what my favourite colour is/which color I like best/of my favorite color].
| my [favourite/favorite/fav] [colour/color] is? | [and/so] what is my [favourite/favorite/fav] [colour/color]?
| [and/so] my [colour/color]?
| [what's/what is/whats] my [fav/preferred/favourite/favorite] [colour/color] [again/then/]?
| the [colour/color] I like [best/most/] is?
""",
)
ASK_BOTH = Phrasings(
    "ask both",
    """
what do you know about me? | what have I told you about myself? | what is my name and my favourite colour?
| what's my name and favorite color? | tell me what you know about me. | what are my name and favourite colour?
| do you remember my name and my favourite colour? | what do you remember about me?
| tell me my name and my favorite color. | what did I tell you about me? | say my name and my favourite colour.
| [what/which] [things/facts] do you [know/remember] about me?
| [tell/say] [me/] [everything/all/what] you [know/remember] about me.
| what is my name and [what is/what's] my favourite [colour/color]?
| [what's/what is/whats] my name and my [favourite/favorite/fav] [colour/color]?
| [do you/can you] remember [anything/something/things] about me?
| [who am I/what's my name] and [what/which] [colour/color] do I like? | what have you learned about me?
| [summarise/repeat/recall] what I told you about [me/myself].
""",
)
ASK_OTHER = Phrasings(
    "ask other",
    """
what is my favourite {k}? | what is my favorite {k}? | what's my favourite {k}? | what's my favorite {k}?
| do you remember my favourite {k}? | do you know my favorite {k}? | which {k} do I like best?
| tell me my favourite {k}. | what {k} do I like? | and my favourite {k}?
""",
)
YOUR_FAVOURITE = Phrasings(
    "your favourite",
    """
what is your favourite {k}? | what's your favorite {k}? | what is your favorite {k}? | what's your favourite {k}?
| do you have a favourite {k}? | do you have a favorite {k}? | which {k} do you like best? | what {k} do you like?
| tell me your favourite {k}. | and your favourite {k}?
""",
)


def any_name(chat: Chat) -> str:
    rng, roll = chat.rng, chat.rng.random()

    def draw():
        name = (
            rng.choice(NAMES)
            if roll < 0.45
            else invent(rng, 9).capitalize()
            if roll < 0.75
            else rng.choice(WORDS).capitalize()
        )
        return name, name.lower()

    return chat.pick("word", draw)  # the same split as words, because names are spelled too


def any_colour(chat: Chat) -> str:
    rng, roll = chat.rng, chat.rng.random()

    def draw():
        colour = rng.choice(COLOURS)
        if roll < 0.15:
            colour = f"{rng.choice(SHADES)} {colour}"
        elif roll < 0.35:
            colour = invent(rng, 9)
        elif roll < 0.55:
            colour = rng.choice(FILLERS)
        return colour, colour

    return chat.pick("colour", draw, 15)


def tell_name(chat: Chat):
    chat.name = any_name(chat)
    return chat.say(MY_NAME, N=chat.name), f"Nice to meet you, {chat.name}! I'm {chat.bot}.", ("has", chat.name)


def tell_colour(chat: Chat):
    colour = chat.favourites["colour"] = any_colour(chat)
    return chat.say(MY_COLOUR, c=colour), f"I'll remember that your favourite colour is {colour}.", ("ends", colour)


def tell_both(chat: Chat):
    chat.name, chat.favourites["colour"] = any_name(chat), any_colour(chat)
    reply = f"Nice to meet you, {chat.name}! I'll remember that your favourite colour is {chat.favourites['colour']}."
    return chat.say(MY_BOTH, N=chat.name, c=chat.favourites["colour"]), reply, ("ends", chat.favourites["colour"])


def tell_other(chat: Chat):
    kind = chat.rng.choice(list(FAVOURITES))
    value = chat.favourites[kind] = chat.rng.choice(FAVOURITES[kind])
    return chat.say(MY_OTHER, k=kind, v=value), f"I'll remember that your favourite {kind} is {value}.", ("ends", value)


def ask_name(chat: Chat):
    if chat.name is None:
        return chat.say(ASK_NAME), "You haven't told me your name yet. What is it?", ("has", "haven't told me")
    return chat.say(ASK_NAME), f"Your name is {chat.name}.", ("ends", chat.name)


def ask_colour(chat: Chat):
    return chat.say(ASK_COLOUR), *_favourite(chat, "colour")


def ask_both(chat: Chat):
    colour = chat.favourites.get("colour")
    if chat.name and colour:
        return (
            chat.say(ASK_BOTH),
            f"Your name is {chat.name} and your favourite colour is {colour}.",
            ("has", f"{chat.name} and your favourite colour is {colour}"),
        )
    if chat.name:
        return (
            chat.say(ASK_BOTH),
            f"Your name is {chat.name}. You haven't told me your favourite colour yet.",
            ("has", chat.name),
        )
    if colour:
        return (
            chat.say(ASK_BOTH),
            f"Your favourite colour is {colour}. You haven't told me your name yet.",
            ("has", colour),
        )
    return (
        chat.say(ASK_BOTH),
        "You haven't told me anything about yourself yet. What is your name?",
        ("has", "haven't told me"),
    )


def ask_other(chat: Chat):
    known = [kind for kind in chat.favourites if kind != "colour"]
    kind = chat.rng.choice(known) if known and chat.rng.random() < 0.8 else chat.rng.choice(list(FAVOURITES))
    return chat.say(ASK_OTHER, k=kind), *_favourite(chat, kind)


def _favourite(chat: Chat, kind: str):
    value = chat.favourites.get(kind)
    if value is None:
        return f"You haven't told me your favourite {kind} yet. What is it?", ("has", "haven't told me")
    return f"Your favourite {kind} is {value}.", ("ends", value)


def your_favourite(chat: Chat):
    kind = chat.rng.choice(("colour", "color", *FAVOURITES, "book", "song", "movie", "word", "band"))
    spelled = "colour" if kind == "color" else kind
    return (
        chat.say(YOUR_FAVOURITE, k=kind),
        f"I'm a language model, so I don't have a favourite {spelled}.",
        ("has", "don't have a favourite"),
    )


# --- system prompts ---

NAMED = Phrasings(
    "named system",
    """
You are {B}. | Your name is {B}. | You are called {B}. | You are {B}, a helpful assistant.
| You are a helpful assistant named {B}. | You are a helpful assistant called {B}. | You are an assistant called {B}.
| Your name is {B}. Be friendly. | You are {B}, a friendly chatbot. | Act as {B}. | You're {B}.
| From now on you are {B}. | Your name is now {B}. | You go by the name {B}. | You are a chatbot named {B}.
| Your name is {B} and you are a helpful assistant. | Call yourself {B}. | You are an AI named {B}.
| You are {B}, an AI assistant. Answer briefly. | Always introduce yourself as {B}. | The assistant's name is {B}.
| Name: {B} | Assistant name: {B} | You are a robot called {B}. | You are {B}, the assistant of a small shop.
| Pretend that your name is {B}. | Answer as {B}. | You are the assistant {B}. | You will be {B} today.
| Hello, you are {B}. Help the user. | Be {B}. | I will call you {B}. | You are {B}, [a/the] {w} {v}.
| You are {B}, [a/the] {w} [assistant/robot/chatbot/bot/AI/android/teacher/guide] [of/from/for] [the/a] {v}.
| [Your name:/You:] {B}
| You are [an AI assistant/a chatbot/a bot/a model/a robot] [named/called/known as/with the name] {B}.
| Your [new/only/real] name is {B}. | [In this chat/Today/Here/For this conversation] you are [called/named/] {B}.
| [Speak/Reply/Respond/Talk] as {B}. | [Users/People/We] call you {B}. | The user talks to {B}. You are {B}.
| You play {B}. | Your role: {B} | You're [a/the] {w} [bot/assistant] [named/called] {B}.
| If asked for your name, say {B}.
""",
)
UNNAMED = Phrasings(
    "unnamed system",
    """
You are a helpful assistant. | You are a friendly assistant. | Be concise. | Answer briefly. | You are a chatbot.
| Be polite. | Answer the user's questions. | Help the user. | You are an AI assistant. | You are a language model.
| You are a helpful, honest and harmless assistant. | Be kind and helpful. | Answer in one sentence.
| You are a pirate. | You are a teacher. | Be brief and friendly. | Follow the user's instructions.
| Reply in English. | Think step by step. | Respond to the user.
| You are a helpful AI assistant. Answer as well as you can. | Never lie. | Keep your answers short.
| You are a {w} {v}. | You are an expert in {w}. | The user likes {w}. | Talk about {w} only.
| You are a [helpful/friendly/kind/polite/smart] [chatbot/bot/assistant/robot/AI/model].
| [Answer/Reply/Respond/Speak] [politely/shortly/in a {w} way/with care/clearly].
""",
)


def system_prompt(chat: Chat) -> str:
    """A system prompt, which usually sets the model's name."""
    rng = chat.rng
    if rng.random() < 0.2:
        way = UNNAMED.draw(rng, chat.held_phrasing)
        return way.replace("{w}", rng.choice(FILLERS)).replace("{v}", rng.choice(FILLERS))
    roll = rng.random()

    def draw():
        bot = (
            rng.choice(BOT_NAMES) if roll < 0.35 else rng.choice(NAMES) if roll < 0.65 else invent(rng, 9).capitalize()
        )
        return bot, bot

    chat.bot = chat.pick("bot", draw)
    if (roll := rng.random()) < 0.12:
        chat.bot = f"{rng.choice(_TITLES)} {chat.bot}"
    elif roll < 0.18:
        chat.bot = rng.choice(
            (
                f"{chat.bot[0]}{rng.randint(1, 99)}",
                f"{chat.bot} {rng.randint(1, 9000)}",
                f"{chat.bot[:2].upper()}-{rng.randint(1, 9)}",
                f"{chat.bot}GPT",
                f"{chat.bot}Bot",
            )
        )
    way = NAMED.draw(rng, chat.held_phrasing)
    way = way.replace("{B}", chat.bot).replace("{w}", rng.choice(FILLERS)).replace("{v}", rng.choice(FILLERS))
    if (roll := rng.random()) < 0.15:
        way = f"{rng.choice(_MANNERS)} {way}"
    elif roll < 0.3:
        way = f"{way.rstrip('.')}. {rng.choice(_MANNERS)}"
    roll = rng.random()
    return way if roll < 0.85 else way.rstrip(".") if roll < 0.95 else way[0].lower() + way[1:]


_MANNERS = [
    "You are a helpful assistant.",
    "Be concise.",
    "Answer briefly.",
    "Be polite.",
    "Help the user.",
    "You are an AI assistant.",
    "Be kind and helpful.",
    "Never lie.",
    "Keep your answers short.",
    "You love the sea.",
]
_TITLES = "Captain Doctor Professor Miss Mister Dr. Mr. Lady Sir Little Big Old Super Chef Agent Uncle Aunt Saint King Queen".split()
