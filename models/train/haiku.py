"""Haiku: lines of five, seven and five syllables. Any first, middle and last lines of one subject go together."""

# subject (and its other names): first lines / middle lines / last lines
_TEXT = """
autumn, fall, leaves, leaf
Red leaves drift and turn | Maple leaves let go | Cool wind, golden light
the path is a quiet stream | the old bench fills up with gold | a squirrel counts its acorns
all the way back home | autumn takes its time | one crow leaves the field
winter, ice, cold, frost
Frost upon the pane | The pond is a stone | Breath hangs in the air
someone has drawn a small heart | under the ice a fish waits | every branch holds its silence
winter morning light | for the spring to come | the long night begins
spring, blossom, growth
A green shoot pushes | Plum blossom at dawn | The ice lets go now
through the last of the old snow | a bee tries every flower | the brook remembers its song
the world starts again | petals on my sleeve | spring is at the door
summer, heat, sunshine, sun
Cicadas at noon | The long day lingers | Bare feet on warm stone
even the shadows are warm | a child chases its shadow | the sun sits on the rooftops
one cloud drifts away | ice melts in the glass | summer has no end
rain, storm, thunder, clouds
Rain taps on the roof | Clouds gather, then break | One drop, then thousands
each drop tells a short story | the street is a mirror now | the garden drinks and is still
and then starts again | umbrellas in bloom | sleep comes easily
snow, snowflakes, snowman
Snow falls without sound | White on every roof | One flake, then a sky
the whole town whispers tonight | footprints lead to the front door | my glove holds a tiny star
one street lamp glows gold | then the snow fills them | and it disappears
sea, ocean, waves, beach, water
Waves come and then go | A shell at low tide | Salt wind on my face
the sand forgets every step | holds the sound of the ocean | a gull rides the morning air
the sea keeps its time | and a grain of sand | blue beyond the blue
moon, moonlight, lunar
Moon over the lake | A thin silver moon | The full moon rises
two moons look at each other | hangs on the neighbour's chimney | the dog looks up and is still
then a fish leaps up | someone left it there | light on every stair
night, dark, darkness, sleep, dreams
The last lamp goes out | A train in the dark | Night folds up the day
an owl asks its old question | carries its windows away | crickets tell the same story
then the stars reply | sleep comes on soft feet | the dark is not cold
morning, dawn, sunrise, day
Steam above the cup | First light on the hill | A rooster, then birds
the day has not decided | the valley wakes up slowly | the window learns a new blue
to be good or bad | one lamp still burning | morning finds my face
mountain, mountains, hill, stone
The mountain says naught | Step after slow step | Clouds below my boots
a goat walks along its spine | the path climbs into the mist | the valley is far and small
snow on its shoulder | the peak keeps waiting | only wind up here
river, stream, lake, pond
The river runs on | Under the stone bridge | A leaf on the stream
it never reads the same page | the water is never still | passes through the whole village
stones grow round and smooth | yet the bridge remains | without a goodbye
tree, trees, forest, wood, woods
Deep in the old wood | A pine on the cliff | Roots hold the dark earth
light falls down in small pieces | bends but does not leave its place | while the branches hold the sky
the moss keeps it all | wind has been its guide | a hundred slow years
flower, flowers, garden, rose, roses
The rose opens up | Weeds between the stones | A bee in the thyme
as though it had a secret | also lift their heads to bloom | works without looking at me
and then told the wind | no one waters them | the garden hums on
bird, birds, sparrow, crow
Sparrow on the wire | One crow on a branch | Geese cross the grey sky
sings to no one but the wind | the whole field belongs to it | writing one long crooked line
and that is enough | until evening comes | that the wind rubs out
cat, cats, kitten
Cat on the warm sill | Soft paws on the stairs | A tail and two ears
the whole world moves, she does not | the dish was full at daybreak | watch the bird behind the glass
one ear turns, then rests | please fill it again | dreaming with eyes wide
dog, dogs, puppy
A dog at the gate | Wet nose on my hand | The leash is a bell
hears the bus two streets away | the whole day was spent waiting | it rings and the tail replies
his tail knows my name | for this one hello | out into the rain
love, heart, friendship, friend, friends
Two cups on the shelf | Your hand around mine | An old friend writes me
one chipped, the other repaired | we do not say anything | the letter smells of the sea
we drink from them both | the bench is still warm | we are young again
coffee, tea, cup, breakfast
Steam curls from the cup | Dark and bitter friend | The kettle sings out
the first sip wakes the morning | you and I against the dawn | two people look up and smile
now the day may come | one more cup, then work | tea leaves start to dance
computer, computers, code, programming, machine, ai, robot
One small bug tonight | The cursor still blinks | A fan hums all night
it hides behind a comma | patient as a heron's eye | numbers fall like quiet rain
dawn finds me awake | waiting for one word | the answer is one
city, town, street, home, house
Lights in the high flats | The last bus goes by | Key turns in the lock
each window keeps a story | one passenger fast asleep | the smell of bread on the stairs
the street hums along | the city breathes out | someone calls my name
wind, air, sky, kite
The wind has no hands | A kite and a boy | Grass bends all one way
yet it closes every door | hold a string between two worlds | the wind goes combing the hill
then it leaves the house | neither one lets go | and nobody sees
star, stars, space, universe
One star, then a crowd | Light left long ago | We look up and count
the sky sets its table now | tonight it reaches my eye | lose our place and start again
for the quiet night | it had far to come | stars do not mind us
frog, frogs, fish, turtle, animals, animal
The frog sits and waits | A fish turns to gold | Slow turtle, slow road
the pond is its whole kingdom | when the sun looks in the pond | the hare slept, the turtle walked
one splash, it is gone | then it turns to stone | who is laughing now
fire, candle, light
One match and a breath | The flame tells stories | A candle at dusk
the dark takes a small step back | that only the cat can hear | leans away from what I say
shadows start to dance | ash at break of day | then it stands up straight
time, life, years, age
The clock on the wall | Grey hair in the comb | My old winter coat
counts each minute, keeps not one | when did the mirror grow up | still holds a ticket from spring
nor does the river | yesterday I ran | where was I going
"""


def _parse() -> tuple[dict[str, int], list[tuple[list[str], list[str], list[str]]]]:
    lines = _TEXT.strip().splitlines()
    subjects, poems = {}, []
    for start in range(0, len(lines), 4):
        for name in lines[start].split(", "):
            subjects[name] = len(poems)
        poems.append(tuple([part.strip() for part in lines[start + k].split("|")] for k in (1, 2, 3)))
    return subjects, poems


# SUBJECTS: subject → index in POEMS. POEMS: (first lines, middle lines, last lines) of each subject.
SUBJECTS, POEMS = _parse()


def is_haiku(text: str) -> bool:
    """Whether `text` is a first, a middle and a last line of one subject."""
    lines = text.strip().split("\n")
    return len(lines) == 3 and any(all(lines[k] in poem[k] for k in range(3)) for poem in POEMS)
