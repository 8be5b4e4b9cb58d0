"""The eleven tasks of the paper: label names, prompts, where their texts come from. Data only.

Prompts follow Table 10 of the paper. Its slots are written ``<y>`` (label words), ``<c>`` (context: a movie,
restaurant or product name, or the first text of a pair) and ``<x>`` (the text). A prompt ends where the text
begins, inside an opened quotation mark that the PLM is expected to close.

A user task is a YAML file, named by its path wherever a task is named; ``define`` says what it may hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import yaml

from sungen_lib.storage import is_lfs_pointer


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


@dataclass(frozen=True)
class Task:
    """One classification task.

    ``labels`` are the label names in index order; ``label_words`` what stands for them in a prompt, same order.
    ``context_prompt`` is the first generation stage (``None`` where the paper has one stage only) and
    ``synthetic_from`` the task whose synthetic set this one uses (Table 10 has one prompt for all movie reviews; that
    they share the texts is ours).
    ``gold_train`` and ``gold_test`` are the paper's numbers of rows (Table 1; DBpedia's test set is a sample of
    5,000, Appendix F.1; GLUE tasks are tested on the validation split). ``files`` are a user task's gold splits, as
    (split, JSONL file). ``gold_as_in_paper``: whether the hub's set is the paper's.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    label_words: tuple[str, ...]
    prompting_prompt: str
    generation_prompt: str
    context_prompt: str | None
    synthetic_from: str
    hub: Hub | None
    gold_train: int | None
    gold_test: int | None
    pair: bool = False
    contexts: tuple[str, ...] = ()
    files: tuple[tuple[str, Path], ...] = ()
    gold_as_in_paper: bool = True

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
    _movie("imdb", "IMDb", Hub("stanfordnlp/imdb", None, "train", "test", ("text",), ("neg", "pos")), 25_000, 25_000),
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
        gold_as_in_paper=False,  # its reviews are of electronics (Elec), the hub's of everything
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
    """The task called ``name``, or described by the YAML file of that name.

    ``ValueError`` naming the known ones otherwise, or what is wrong with the file.
    """
    if name in TASKS:
        return TASKS[name]
    if not is_file(name):
        raise ValueError(f"unknown task {name!r}; known: {', '.join(TASKS)}, or the YAML file of a user task")
    if not Path(name).is_file():
        raise ValueError(f"{name}: no such file")
    return _read(Path(name), Path(name).stat().st_mtime_ns)


def is_file(name: str) -> bool:
    """Whether ``name`` is a YAML file's, not that of a task of the paper."""
    return name.endswith((".yaml", ".yml"))


def define(
    *,
    name: str,
    labels: Sequence[str],
    generation_prompt: str,
    prompting_prompt: str | None = None,
    label_words: Sequence[str] | None = None,
    context_prompt: str | None = None,
    contexts: Sequence[str] = (),
    pair: bool = False,
    train: str | Path | None = None,
    test: str | Path | None = None,
) -> Task:
    """A user task, beside the paper's.

    ``generation_prompt`` holds ``<y>`` and ends in ``"<x>``, the text after an opened quotation mark; where it holds
    ``<c>``, contexts come from ``contexts`` or are written by the PLM after ``context_prompt`` (of a ``pair``, the
    first text). ``prompting_prompt``, for zero-shot predictions, is the same where there is no context. ``label_words``
    stand for the labels in prompts, by default the labels themselves. ``train`` and ``test`` are JSONL files of gold
    rows, ``{"text", "label"}`` or ``{"text1", "text2", "label"}`` a line. Raises ``ValueError``, one sentence.
    """
    words = tuple(label_words or labels)
    if not name or "/" in name or len(set(labels)) < max(2, len(labels)) or len(words) != len(labels):
        raise ValueError("a task needs a name without '/', two or more different labels, and a label word for each")
    if name in TASKS or name == "average":
        raise ValueError(f"a user task cannot be called {name!r}: the paper's tables have that column")
    prompting = prompting_prompt or (generation_prompt if pair or "<c>" not in generation_prompt else None)
    if prompting is None:
        raise ValueError(f"task {name!r}: generation_prompt has a context <c>, so prompting_prompt is needed too")
    _check_prompts(name, generation_prompt, prompting, pair=pair, context=bool(contexts or context_prompt))
    files = {split: Path(file) for split, file in (("train", train), ("test", test)) if file is not None}
    return Task(
        name=name,
        title=name,
        labels=tuple(labels),
        label_words=words,
        prompting_prompt=prompting,
        generation_prompt=generation_prompt,
        context_prompt=context_prompt,
        synthetic_from=name,
        hub=None,
        gold_train=None,
        gold_test=None,
        pair=pair,
        contexts=tuple(contexts),
        files=tuple(files.items()),
    )


def _check_prompts(name: str, generation: str, prompting: str, *, pair: bool, context: bool) -> None:
    if pair and "<c>" not in generation:
        raise ValueError(f"task {name!r}: in a pair task, generation_prompt must hold <c>, the first text")
    for prompt in (generation, prompting):
        if "<y>" not in prompt or not prompt.endswith('"<x>'):
            raise ValueError(f"task {name!r}: a prompt must hold <y> and end in an opened quotation mark and <x>")
    if ("<c>" in generation) != context:
        raise ValueError(f"task {name!r}: <c> in generation_prompt and contexts or context_prompt need each other")


_FIELDS: Mapping[str, type] = {
    "name": str,
    "labels": list,
    "generation_prompt": str,
    "prompting_prompt": str,
    "label_words": list,
    "context_prompt": str,
    "contexts": list,
    "pair": bool,
    "train": str,
    "test": str,
}


@lru_cache(maxsize=64)
def _read(path: Path, modified: int) -> Task:
    """The task of a YAML file; its files' paths are relative to it."""
    try:
        if is_lfs_pointer(path):
            raise ValueError(f"{path}: this is a Git LFS pointer, not the file itself; fetch it (git lfs pull)")
        fields = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(fields, dict):
        raise ValueError(f"{path}: expected fields such as name, labels and generation_prompt")
    for name, value in fields.items():
        if name not in _FIELDS:
            raise ValueError(f"{path}: unknown field {name!r}; known: {', '.join(_FIELDS)}")
        items = value if isinstance(value, list) else []
        if not isinstance(value, _FIELDS[name]) or not all(isinstance(item, str) for item in items):
            wanted = {list: "a list of strings", str: "a string", bool: "true or false"}[_FIELDS[name]]
            quote = "; put quotation marks around yes, no and numbers" if any(type(i) is not str for i in items) else ""
            raise ValueError(f"{path}: {name} must be {wanted}, got {value!r}{quote}")
    missing = [name for name in ("name", "labels", "generation_prompt") if name not in fields]
    if missing:
        raise ValueError(f"{path}: no {' and no '.join(missing)}")
    files = {split: path.parent / fields[split] for split in ("train", "test") if split in fields}
    try:
        return replace(define(**{**fields, **files}), synthetic_from=str(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def fill(prompt: str, *, label_words: str, context: str = "") -> str:
    """``prompt`` with its ``<y>`` and ``<c>`` slots filled, cut where ``<x>``, the text, begins."""
    return prompt.replace("<y>", label_words).replace("<c>", context).removesuffix("<x>")
