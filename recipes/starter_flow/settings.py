"""The flow base's fixed choices; pictures, names and colours are the first base's."""

from recipes.starter import settings as first

WORK = first.WORK / "flow"
SNAPSHOT = WORK / "snapshot"
MODEL = first.REPOSITORY / "models" / "starter-flow"
CODEC = first.MODEL / "vae"
TOKENIZER = WORK / "tokenizer"
SHIFT = 1.5
STYLES = (first.DEFAULT_STYLE,)
# Half an hour of one core is too short for the first base's whole vocabulary.
CONCEPTS = (
    "red-apple", "banana", "strawberry", "watermelon", "pineapple", "lemon", "carrot", "pizza", "hamburger",
    "doughnut", "hot-beverage", "dog-face", "cat-face", "panda", "fox", "frog", "lion", "pig-face",
    "rabbit-face", "owl", "fish", "octopus", "butterfly", "penguin", "mushroom", "cactus", "deciduous-tree",
    "sunflower", "rocket", "automobile", "sailboat", "house", "sun", "crescent-moon", "star", "rainbow",
    "snowman-without-snow", "crown", "bell", "wrapped-gift", "light-bulb", "soccer-ball", "umbrella", "ghost",
    "jack-o-lantern", "red-heart", "blue-heart", "green-heart",
)  # fmt: skip
