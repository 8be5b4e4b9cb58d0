"""The eleven tasks of the paper: label names, prompts, where their texts come from. Data only.

Prompts follow Table 10 of the paper. Its slots are written ``<y>`` (label words), ``<c>`` (context: a movie,
restaurant or product name, or the first text of a pair) and ``<x>`` (the text). A prompt ends where the text
begins, inside an opened quotation mark that the PLM is expected to close.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hub:
    """Where a gold data set lives on the Hugging Face hub, and what its columns are called.

    ``labels`` gives the hub's own label names in the hub's index order, as stored in its ``ClassLabel`` feature or,
    where there is none, in the ``label_text`` column; they are asserted at load time.
    """

    path: str
    config: str | None
    train: str
    test: str
    text: tuple[str, ...]
    labels: tuple[str, ...]
    label_column: str = "label"


@dataclass(frozen=True)
class Task:
    """One classification task.

    ``labels`` are the label names in index order; ``label_words`` what stands for them in a prompt, same order.
    ``context_prompt`` is the first generation stage (``None`` where the paper has one stage only) and
    ``synthetic_from`` the task whose synthetic set this one uses (Section 5.1: one prompt for all movie reviews).
    ``gold_train`` and ``gold_test`` are the paper's numbers of rows (Table 1; DBpedia's test set is a sample of
    5,000, Appendix F.1; GLUE tasks are tested on the validation split).
    """

    name: str
    title: str
    labels: tuple[str, ...]
    label_words: tuple[str, ...]
    prompting_prompt: str
    generation_prompt: str
    context_prompt: str | None
    synthetic_from: str
    hub: Hub
    gold_train: int
    gold_test: int
    pair: bool = False
    contexts: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        """Number of classes, K."""
        return len(self.labels)


POLARITY = ("negative", "positive")
MOVIE_PROMPTING = 'The movie review in <y> sentiment is: "<x>'
MOVIE_GENERATION = 'The movie review in <y> sentiment for movie "<c>" is: "<x>'
SENTENCE = 'Sentence: "'  # ours: the paper does not say where the first text of a pair comes from

# The paper took 41 electronics categories from Amazon's web site and does not list them; these are ours.
PRODUCTS = tuple(
    "keyboard,mouse,DVD player,CD player,camcorder,MP3 player,radio,printer,power adapter,memory card,cell phone,"
    "digital camera,headphones,computer,home theater,game console,GPS navigator,television,desktop PC,laptop,"
    "e-book reader,portable speaker,security camera,car stereo,smart watch,video projector,router,modem,hard drive,"
    "flash drive,monitor,webcam,scanner,microphone,battery charger,tablet,calculator,remote control,turntable,"
    "surge protector,USB hub".split(",")
)

NEWS = ("World", "Sports", "Business", "Sci/Tech")
ONTOLOGY = (
    "Company",
    "EducationalInstitution",
    "Artist",
    "Athlete",
    "OfficeHolder",
    "MeanOfTransportation",
    "Building",
    "NaturalPlace",
    "Village",
    "Animal",
    "Plant",
    "Album",
    "Film",
    "WrittenWork",
)
ONTOLOGY_WORDS = tuple(
    "Company,School,Artist,Athlete,Politician,Transportation,Building,Nature,Village,Animal,Plant,Album,Film,Book".split(
        ","
    )
)


def _movie(name: str, title: str, hub: Hub, gold_train: int, gold_test: int) -> Task:
    return Task(
        name=name,
        title=title,
        labels=POLARITY,
        label_words=POLARITY,
        prompting_prompt=MOVIE_PROMPTING,
        generation_prompt=MOVIE_GENERATION,
        context_prompt='Movie: "',
        synthetic_from="imdb",
        hub=hub,
        gold_train=gold_train,
        gold_test=gold_test,
    )


def _pair(
    name: str,
    title: str,
    labels: tuple[str, str],
    label_words: tuple[str, str],
    prompt: str,
    text: tuple[str, str],
    gold_train: int,
    gold_test: int,
) -> Task:
    return Task(
        name=name,
        title=title,
        labels=labels,
        label_words=label_words,
        prompting_prompt=prompt,
        generation_prompt=prompt,
        context_prompt=SENTENCE,
        synthetic_from=name,
        hub=Hub("nyu-mll/glue", name, "train", "validation", text, labels),
        gold_train=gold_train,
        gold_test=gold_test,
        pair=True,
    )


_ALL = (
    _movie(
        "imdb", "IMDb", Hub("stanfordnlp/imdb", None, "train", "test", ("text",), ("neg", "pos")), 25_000, 25_000
    ),
    _movie("sst2", "SST-2", Hub("SetFit/sst2", None, "train", "test", ("text",), POLARITY), 6_920, 1_821),
    _movie(
        "rotten_tomatoes",
        "Rotten",
        Hub("cornell-movie-review-data/rotten_tomatoes", None, "train", "test", ("text",), ("neg", "pos")),
        8_530,
        1_066,
    ),
    Task(
        name="amazon",
        title="Amazon",
        labels=POLARITY,
        label_words=POLARITY,
        prompting_prompt='The electronics product review in <y> sentiment is: "<x>',
        generation_prompt='The "<c>" product review in <y> sentiment is: "<x>',
        context_prompt=None,
        contexts=PRODUCTS,
        synthetic_from="amazon",
        hub=Hub("fancyzhx/amazon_polarity", None, "train", "test", ("title", "content"), POLARITY),
        gold_train=25_000,
        gold_test=25_000,
    ),
    Task(
        name="yelp",
        title="Yelp",
        labels=POLARITY,
        label_words=POLARITY,
        prompting_prompt='The restaurant review in <y> sentiment is: "<x>',
        generation_prompt='The "<c>" restaurant review in <y> sentiment is: "<x>',
        context_prompt='Restaurant: "',
        synthetic_from="yelp",
        hub=Hub("fancyzhx/yelp_polarity", None, "train", "test", ("text",), ("1", "2")),
        gold_train=560_000,
        gold_test=38_000,
    ),
    Task(
        name="subj",
        title="Subj",
        labels=("objective", "subjective"),
        label_words=("containing factual contents", "expressing opinions"),
        prompting_prompt='The movie review <y> is: "<x>',
        generation_prompt='The movie review <y> is: "<x>',
        context_prompt=None,
        synthetic_from="subj",
        hub=Hub("SetFit/subj", None, "train", "test", ("text",), ("objective", "subjective")),
        gold_train=8_000,
        gold_test=2_000,
    ),
    Task(
        name="ag_news",
        title="AGNews",
        labels=NEWS,
        label_words=("World", "Sports", "Business", "Technology"),
        prompting_prompt='The news article is in the category of <y>: "<x>',
        generation_prompt='The news article is in the category of <y>: "<x>',
        context_prompt=None,
        synthetic_from="ag_news",
        hub=Hub("fancyzhx/ag_news", None, "train", "test", ("text",), NEWS),
        gold_train=120_000,
        gold_test=7_600,
    ),
    Task(
        name="dbpedia",
        title="DBpedia",
        labels=ONTOLOGY,
        label_words=ONTOLOGY_WORDS,
        prompting_prompt='The article classified to the category of <y>: "<x>',
        generation_prompt='The article classified to the category of <y>: "<x>',
        context_prompt=None,
        synthetic_from="dbpedia",
        hub=Hub("fancyzhx/dbpedia_14", None, "train", "test", ("title", "content"), ONTOLOGY),
        gold_train=560_000,
        gold_test=5_000,
    ),
    # Pair tasks: prompts of ZeroGen (Ye et al. 2022a), since Table 10 has none; MRPC's is ours.
    _pair(
        "rte",
        "RTE",
        ("entailment", "not_entailment"),
        ("correct", "wrong"),
        '"<c>"\nBased on the above description, the following sentence is definitely <y>: "<x>',
        ("sentence1", "sentence2"),
        2_490,
        277,
    ),
    _pair(
        "qnli",
        "QNLI",
        ("entailment", "not_entailment"),
        ("in", "not in"),
        'Information: "<c>"\nQuestion (answer <y> above information): "<x>',
        ("sentence", "question"),
        104_743,
        5_463,
    ),
    _pair(
        "mrpc",
        "MRPC",
        ("not_equivalent", "equivalent"),
        ("something different", "the same thing"),
        '"<c>"\nThe following sentence means <y>: "<x>',
        ("sentence1", "sentence2"),
        3_668,
        408,
    ),
)

TASKS: dict[str, Task] = {task.name: task for task in _ALL}
CLASSIFICATION = tuple(task.name for task in _ALL if not task.pair)  # Table 1, in the paper's column order
PAIRS = tuple(task.name for task in _ALL if task.pair)  # Table 9


def get(name: str) -> Task:
    """The task called ``name``; ``ValueError`` naming the known ones otherwise."""
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}; known tasks: {', '.join(TASKS)}")
    return TASKS[name]


def fill(prompt: str, *, label_words: str, context: str = "") -> str:
    """``prompt`` with its ``<y>`` and ``<c>`` slots filled, cut where ``<x>``, the text, begins."""
    return prompt.replace("<y>", label_words).replace("<c>", context).removesuffix("<x>")
