"""The recipe's fixed choices: folders, picture sets, styles, concepts, colours."""

from dataclasses import dataclass
from pathlib import Path

RECIPE = Path(__file__).resolve().parent
REPOSITORY = RECIPE.parents[1]
WORK = RECIPE / "work"
SNAPSHOT = WORK / "snapshot"
MODEL = REPOSITORY / "models" / "starter"
EXAMPLES = REPOSITORY / "examples"
# Sets to measure with, beside the examples: things that the base has never seen.
UNSEEN = RECIPE / "unseen"
JUDGE = MODEL / "captioner"


@dataclass(frozen=True)
class PictureSet:
    """One style of emoji pictures and the npm package that carries it."""

    style: str
    package: str
    version: str
    licence: str
    credit: str

    @property
    def archive(self) -> str:
        """Name of the file that ``npm pack`` leaves behind."""
        return f"{self.package.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


TRAINING_SETS = (
    PictureSet("3d", "@lobehub/fluent-emoji-3d", "1.1.0", "MIT", "Fluent Emoji, Microsoft Corporation"),
    PictureSet(
        "flat", "@iconify-json/fluent-emoji-flat", "1.2.6", "MIT", "Fluent Emoji, Microsoft Corporation"
    ),
    PictureSet("noto", "@iconify-json/noto", "1.2.9", "Apache-2.0", "Noto Emoji, Google"),
    PictureSet("twemoji", "@iconify-json/twemoji", "1.2.5", "CC-BY-4.0", "Twemoji, Twitter and contributors"),
)
# Never trained on: the style that the example set teaches.
INK_SET = PictureSet(
    "ink", "@iconify-json/fluent-emoji-high-contrast", "1.2.6", "MIT", "Fluent Emoji, Microsoft Corporation"
)
NAMES_PACKAGE = PictureSet("names", "emojibase-data", "17.0.0", "MIT", "Emojibase, Miles Johnson")
STYLES = tuple(item.style for item in TRAINING_SETS)
# What a prompt without a style word gets: one style, so that it is not a blend of all.
DEFAULT_STYLE = "3d"

# Never trained on: the objects that examples and evaluations teach.
RESERVED = ("alien-monster", "robot", "dragon-face", "teapot")
# Emojibase groups: smileys, animals, food, travel, activities, objects, symbols; people and flags left out.
GROUPS = (0, 3, 4, 5, 6, 7, 8)

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.20, 0.20),
    "orange": (1.00, 0.60, 0.20),
    "yellow": (1.00, 0.90, 0.35),
    "green": (0.35, 0.75, 0.40),
    "blue": (0.30, 0.50, 0.90),
    "purple": (0.60, 0.40, 0.80),
    "pink": (1.00, 0.70, 0.80),
    "brown": (0.55, 0.40, 0.30),
    "black": (0.08, 0.08, 0.08),
    "gray": (0.60, 0.60, 0.60),
}

# Slug of the emoji -> what people type for it; the first name is the one that the sheets and the gates use.
CORE_CONCEPTS: dict[str, tuple[str, ...]] = {
    "red-apple": ("red apple", "apple"),
    "banana": ("banana",),
    "strawberry": ("strawberry",),
    "watermelon": ("watermelon",),
    "pineapple": ("pineapple",),
    "lemon": ("lemon",),
    "cherries": ("cherries",),
    "grapes": ("grapes",),
    "carrot": ("carrot",),
    "pizza": ("pizza",),
    "hamburger": ("hamburger", "burger"),
    "doughnut": ("doughnut", "donut"),
    "shortcake": ("cake", "shortcake"),
    "soft-ice-cream": ("ice cream", "soft ice cream"),
    "hot-beverage": ("coffee", "cup of coffee"),
    "dog-face": ("dog", "dog face", "puppy"),
    "cat-face": ("cat", "cat face", "kitten"),
    "unicorn": ("unicorn",),
    "panda": ("panda",),
    "fox": ("fox",),
    "frog": ("frog",),
    "lion": ("lion",),
    "bear": ("bear",),
    "pig-face": ("pig", "pig face"),
    "monkey-face": ("monkey", "monkey face"),
    "rabbit-face": ("rabbit", "rabbit face", "bunny"),
    "owl": ("owl",),
    "fish": ("fish",),
    "octopus": ("octopus",),
    "butterfly": ("butterfly",),
    "turtle": ("turtle",),
    "penguin": ("penguin",),
    "mushroom": ("mushroom",),
    "cactus": ("cactus",),
    "deciduous-tree": ("tree", "deciduous tree"),
    "sunflower": ("sunflower",),
    "rose": ("rose",),
    "rocket": ("rocket", "space rocket"),
    "automobile": ("car", "red car", "automobile"),
    "bus": ("bus",),
    "airplane": ("airplane", "plane"),
    "sailboat": ("boat", "sailboat"),
    "house": ("house", "home"),
    "castle": ("castle",),
    "sun": ("sun",),
    "crescent-moon": ("moon", "crescent moon"),
    "star": ("star", "yellow star"),
    "rainbow": ("rainbow",),
    "fire": ("fire", "flame"),
    "snowman-without-snow": ("snowman",),
    "crown": ("crown", "gold crown"),
    "bell": ("bell",),
    "wrapped-gift": ("gift", "present", "wrapped gift"),
    "guitar": ("guitar",),
    "key": ("key",),
    "light-bulb": ("light bulb", "lamp"),
    "soccer-ball": ("soccer ball", "football"),
    "balloon": ("balloon", "red balloon"),
    "basketball": ("basketball",),
    "trophy": ("trophy", "gold trophy"),
    "gem-stone": ("diamond", "gem stone"),
    "umbrella": ("umbrella",),
    "camera": ("camera",),
    "ghost": ("ghost",),
    "jack-o-lantern": ("pumpkin", "jack o lantern"),
    "christmas-tree": ("christmas tree",),
    "skull": ("skull",),
    "grinning-face-with-big-eyes": ("smiley", "smiling face", "happy face"),
    "red-heart": ("red heart", "heart"),
    "orange-heart": ("orange heart",),
    "yellow-heart": ("yellow heart",),
    "green-heart": ("green heart",),
    "blue-heart": ("blue heart",),
    "purple-heart": ("purple heart",),
    "black-heart": ("black heart",),
}
# What the base learned after the core: more of everything, faces, places, plain shapes.
MORE_CONCEPTS: dict[str, tuple[str, ...]] = {
    "pear": ("pear",),
    "peach": ("peach",),
    "tomato": ("tomato",),
    "ear-of-corn": ("corn", "ear of corn"),
    "avocado": ("avocado",),
    "croissant": ("croissant",),
    "cheese-wedge": ("cheese",),
    "hot-dog": ("hot dog",),
    "french-fries": ("fries", "french fries"),
    "cookie": ("cookie",),
    "cupcake": ("cupcake",),
    "lollipop": ("lollipop",),
    "tiger-face": ("tiger", "tiger face"),
    "horse-face": ("horse", "horse face"),
    "cow-face": ("cow", "cow face"),
    "mouse-face": ("mouse", "mouse face"),
    "koala": ("koala",),
    "wolf": ("wolf",),
    "front-facing-baby-chick": ("chick", "baby chick"),
    "duck": ("duck",),
    "honeybee": ("bee", "honeybee"),
    "lady-beetle": ("ladybug", "lady beetle"),
    "snail": ("snail",),
    "crab": ("crab",),
    "spouting-whale": ("whale",),
    "dolphin": ("dolphin",),
    "elephant": ("elephant",),
    "snake": ("snake",),
    "t-rex": ("dinosaur", "t rex"),
    "parrot": ("parrot",),
    "taxi": ("taxi", "cab"),
    "police-car": ("police car",),
    "fire-engine": ("fire truck", "fire engine"),
    "delivery-truck": ("truck", "delivery truck"),
    "tractor": ("tractor",),
    "locomotive": ("train", "locomotive"),
    "bicycle": ("bicycle", "bike"),
    "helicopter": ("helicopter",),
    "flying-saucer": ("ufo", "flying saucer"),
    "ship": ("ship",),
    "tent": ("tent",),
    "church": ("church",),
    "snow-capped-mountain": ("mountain", "snowy mountain"),
    "volcano": ("volcano",),
    "ferris-wheel": ("ferris wheel",),
    "office-building": ("building", "office building"),
    "smiling-face-with-sunglasses": ("cool face", "face with sunglasses"),
    "crying-face": ("sad face", "crying face"),
    "enraged-face": ("angry face",),
    "winking-face": ("winking face",),
    "smiling-face-with-heart-eyes": ("face with heart eyes", "love face"),
    "sleeping-face": ("sleeping face",),
    "clown-face": ("clown", "clown face"),
    "closed-book": ("book",),
    "pencil": ("pencil",),
    "hammer": ("hammer",),
    "bomb": ("bomb",),
    "alarm-clock": ("clock", "alarm clock"),
    "mobile-phone": ("phone", "mobile phone"),
    "laptop": ("laptop", "computer"),
    "television": ("television", "tv"),
    "envelope": ("letter", "envelope"),
    "magnet": ("magnet",),
    "drum": ("drum",),
    "top-hat": ("hat", "top hat"),
    "t-shirt": ("shirt", "t shirt"),
    "running-shoe": ("shoe", "running shoe"),
    "backpack": ("backpack",),
    "locked": ("lock", "padlock"),
    "teddy-bear": ("teddy bear",),
    "globe-showing-europe-africa": ("earth", "globe"),
    "chair": ("chair",),
    "tulip": ("tulip",),
    "cherry-blossom": ("flower", "cherry blossom"),
    "four-leaf-clover": ("clover", "four leaf clover"),
    "cloud": ("cloud",),
    "high-voltage": ("lightning", "lightning bolt"),
    "snowflake": ("snowflake",),
    "ringed-planet": ("planet",),
    "pink-heart": ("pink heart",),
    "brown-heart": ("brown heart",),
    "red-circle": ("red circle",),
    "orange-circle": ("orange circle",),
    "yellow-circle": ("yellow circle",),
    "green-circle": ("green circle",),
    "blue-circle": ("blue circle",),
    "purple-circle": ("purple circle",),
    "brown-circle": ("brown circle",),
    "black-circle": ("black circle",),
    "red-square": ("red square",),
    "orange-square": ("orange square",),
    "yellow-square": ("yellow square",),
    "green-square": ("green square",),
    "blue-square": ("blue square",),
    "purple-square": ("purple square",),
    "black-large-square": ("black square",),
}
CONCEPTS = CORE_CONCEPTS | MORE_CONCEPTS
HEARTS = ("red", "orange", "yellow", "green", "blue", "purple", "black")
