"""Word lists for the training conversations, written for them, except words.txt, which names its source."""

from pathlib import Path

_FILE = Path(__file__).with_name("words.txt")
WORDS = [word for line in _FILE.read_text().splitlines() if not line.startswith("#") for word in line.split()]

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()

NAMES = """
Ada Adam Agnes Ahmed Aisha Alan Alba Alex Alice Amara Amir Amy Ana Andre Andrew Anna Anton Arjun Arthur Asha Astrid
Aya Beatriz Ben Bianca Boris Brian Bruno Camila Carla Carlos Caroline Cecilia Chen Chiara Chloe Chris Clara Dan Daniel
David Deepa Diana Diego Dmitri Dora Edith Eli Elena Elias Emil Emily Emma Enzo Eric Erik Esther Eva Fatima Felix Fiona
Florence Frank Freya Gabriel George Grace Greta Gus Hana Hannah Hassan Helen Henry Hiro Hugo Ian Ibrahim Ida Igor Ines
Ingrid Irene Isaac Isabel Ivan Jack Jakob James Jamila Jane Jasmine Javier Jens Jin Joan Johan John Jonas Jorge Jose
Josef Julia Julian Kai Karen Karim Kate Keiko Kim Klaus Kofi Laila Lars Laura Lea Lena Leo Leon Liam Lily Lin Linda
Liu Louis Lucas Lucy Luis Luna Magnus Marco Maria Marie Mario Mark Marta Martin Mary Mateo Max Maya Mei Mia Michael
Miguel Mila Mina Mohammed Mona Nadia Nadine Naomi Nia Nico Nina Noah Nora Olga Oliver Olivia Omar Oscar Otto Pablo
Paul Paula Pedro Peter Petra Philip Pia Priya Quentin Rachel Rafael Rahul Ravi Rebecca Rosa Rose Ruth Ryan Sam Samir
Samuel Sana Sandra Sara Sasha Sean Selma Simon Sofia Sonia Stefan Steve Sven Tara Tariq Theo Thomas Tim Tina Tom Uma
Ursula Vera Victor Viktor Wanda Wei William Xavier Yara Yuki Yusuf Yves Zainab Zara Zoe
""".split()

BOT_NAMES = """
Bob Ada Rex Nova Max Iris Otto Luna Robo Pixel Byte Echo Atlas Sage Jarvis Friday Kit Nemo Pip Bolt Ziggy Coco Milo
Juno Orion Hal Marvin Dobby Buddy Sparky Ruby Pearl Basil Clippy Sunny Daisy Hugo Athena Apollo Gizmo Turbo Vega Lexi
Alfred Watson
""".split()

COLOURS = """
red green blue yellow orange purple pink brown black white grey teal turquoise violet indigo crimson scarlet maroon
beige ivory gold silver bronze navy cyan magenta lavender lilac olive mint peach coral salmon khaki amber emerald ruby
sapphire jade burgundy mustard charcoal cream plum rose aqua lime rust sand
""".split()
SHADES = ["dark", "light", "pale", "bright", "deep"]

# Other kinds of favourites that a user may have, with values to draw from.
FAVOURITES = {
    "food": "pizza pasta soup rice curry sushi bread cheese noodles salad pancakes tacos lentils dumplings".split(),
    "animal": "cat dog horse owl fox tiger whale penguin otter rabbit elephant bear frog dolphin".split(),
    "number": [str(n) for n in range(1, 100)],
    "city": "Paris London Rome Oslo Tokyo Lima Cairo Berlin Lisbon Madrid Vienna Sydney Toronto Nairobi".split(),
    "sport": "football tennis rugby cricket swimming chess running cycling hockey basketball skiing judo".split(),
    "drink": "tea coffee water milk juice lemonade cocoa".split(),
    "fruit": "apple banana mango pear peach cherry grape melon orange kiwi lemon plum".split(),
    "season": "spring summer autumn winter".split(),
}

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon",
    "England": "London", "the United Kingdom": "London", "Ireland": "Dublin", "Scotland": "Edinburgh",
    "Belgium": "Brussels", "the Netherlands": "Amsterdam", "Austria": "Vienna", "Switzerland": "Bern",
    "Denmark": "Copenhagen", "Norway": "Oslo", "Sweden": "Stockholm", "Finland": "Helsinki", "Iceland": "Reykjavik",
    "Poland": "Warsaw", "Hungary": "Budapest", "Greece": "Athens", "Turkey": "Ankara", "Russia": "Moscow",
    "Ukraine": "Kyiv", "Egypt": "Cairo", "Kenya": "Nairobi", "Morocco": "Rabat", "Nigeria": "Abuja",
    "the United States": "Washington", "the USA": "Washington", "Canada": "Ottawa", "Mexico": "Mexico City",
    "Cuba": "Havana", "Brazil": "Brasilia", "Argentina": "Buenos Aires", "Chile": "Santiago", "Peru": "Lima",
    "Colombia": "Bogota", "China": "Beijing", "Japan": "Tokyo", "India": "New Delhi", "South Korea": "Seoul",
    "Thailand": "Bangkok", "Vietnam": "Hanoi", "Indonesia": "Jakarta", "Iran": "Tehran", "Australia": "Canberra",
    "New Zealand": "Wellington",
}  # fmt: skip
OTHER_COUNTRIES = """
Albania Algeria Angola Armenia Bahrain Bangladesh Belarus Belize Benin Bhutan Bolivia Botswana Bulgaria Burundi
Cambodia Cameroon Chad Croatia Cyprus Djibouti Ecuador Eritrea Estonia Ethiopia Fiji Gabon Gambia Georgia Ghana
Guatemala Guinea Guyana Haiti Honduras Iraq Israel Jamaica Jordan Kazakhstan Kuwait Laos Latvia Lebanon Liberia Libya
Lithuania Luxembourg Madagascar Malawi Malaysia Maldives Mali Malta Mauritius Moldova Monaco Mongolia Mozambique
Myanmar Namibia Nepal Nicaragua Niger Oman Pakistan Panama Paraguay Qatar Romania Rwanda Samoa Senegal Serbia
Singapore Slovakia Slovenia Somalia Sudan Syria Taiwan Tanzania Togo Tunisia Uganda Uruguay Uzbekistan Venezuela Yemen
Zambia Zimbabwe Texas California Bavaria Atlantis Narnia Mars
""".split()

LANGUAGES = (
    "French Spanish German Italian Japanese Chinese Russian Arabic Hindi Portuguese Latin Dutch Korean Greek".split()
)
CODE_LANGUAGES = "Python JavaScript C Rust Java TypeScript Go SQL HTML bash Haskell Ruby C++ CSS".split()
CODE_TASKS = (
    """
sorts a list|reads a file|prints hello world|reverses a string|parses JSON|computes primes|opens a socket
draws a circle|checks a palindrome|finds the largest number|counts words|downloads a page|connects to a database
computes Fibonacci numbers|merges two lists
""".strip()
    .replace("\n", "|")
    .split("|")
)
PLACES = """
Paris London Berlin Rome Tokyo Africa Asia Europe America China India Brazil Canada space Mars Venice Oslo
Texas Egypt Greece Spain Antarctica Australia Hawaii Iceland Russia Peru Scotland the_ocean the_desert the_Moon the_city the_jungle school town
""".split()
PEOPLE = """
Einstein Newton Shakespeare Mozart Beethoven Napoleon Caesar Cleopatra Darwin Picasso Leonardo Gandhi Mandela Lincoln
Churchill Plato Aristotle Socrates Galileo Tesla Edison Curie Turing Bach Homer Dante Columbus Washington Obama
Taylor_Swift Elvis Madonna Messi Ronaldo the_president the_king the_queen the_pope the_prime_minister
the_president_of_France the_first_man_on_the_Moon
""".split()
SUBJECTS = """
history physics chemistry biology geography politics economics philosophy religion music art football astronomy
psychology medicine law cooking gardening fashion cars movies books games mathematics algebra geometry calculus
quantum_mechanics relativity gravity evolution photosynthesis democracy inflation the_French_Revolution
the_Roman_Empire World_War_II the_Cold_War climate_change black_holes dinosaurs vaccines electricity magnetism
blockchain bitcoin the_stock_market machine_learning neural_networks transformers artificial_intelligence the_internet
volcanoes earthquakes the_solar_system DNA atoms love happiness life death money time dreams
""".split()
PLACES, PEOPLE, SUBJECTS = ([w.replace("_", " ") for w in words] for words in (PLACES, PEOPLE, SUBJECTS))

# Messages in other languages, and noise: a small English model should admit that it does not understand them.
FOREIGN = (
    """
Bonjour|Salut, ça va ?|Comment tu t'appelles ?|Parlez-vous français ?|Quelle heure est-il ?|Je m'appelle Pierre
Merci beaucoup|Raconte-moi une histoire|Où est la gare ?|Quel temps fait-il ?|Qu'est-ce que c'est ?
Combien font deux et deux ?|Hola|¿Cómo estás?|¿Cómo te llamas?|¿Hablas español?|¿Qué hora es?|Me llamo Juan
Muchas gracias|Cuéntame un chiste|Buenos días|¿Dónde está la biblioteca?|Guten Tag|Wie geht es dir?|Wie heißt du?
Sprichst du Deutsch?|Wie spät ist es?|Ich heiße Karl|Vielen Dank|Erzähl mir einen Witz|Was ist das?|Wo wohnst du?|Ciao
Come stai?|Come ti chiami?|Parli italiano?|Che ore sono?|Mi chiamo Luca|Grazie mille|Buongiorno|Olá|Como vai você?
Qual é o seu nome?|Hallo, hoe gaat het?|Hej, hur mår du?|Dzień dobry|Jak się masz?|你好|你叫什么名字？|こんにちは|お名前は何ですか|안녕하세요
Привет|Как дела?|Как тебя зовут?|مرحبا|كيف حالك|नमस्ते|Γεια σου|Merhaba, nasılsın?|שלום
""".strip()
    .replace("\n", "|")
    .split("|")
)
NOISE = "asdf|asdfgh|qwerty|jkl;|...|???|!!!|?|.|:)|:(|lol|haha|hmm|um|hm|ok then|x|123|42|test|testing|test 123|foo|foo bar|abc|blah blah|🙂|👍|😀😀|❤️".split(
    "|"
)
