"""SunGen (Gao et al., ICLR 2023): learned sample weights for PLM-written training data, without human labels.

    import sungen_lib as sungen
    texts = sungen.read("mine.csv")                      # Examples
    learned = sungen.learn_weights(texts, seed=0)        # LearnedWeights
    clean = texts.select(sungen.bernoulli_subset(learned.weights, len(texts) // 2, seed=0))

Users need the nine names below. Inside the package, a module imports only from modules above it in this list; a test
checks this:

    show storage seeds   what a cell shows; files that are never half written; seeds
    texts/               where texts come from: examples, noise, files, the data folder, the hub, tasks, PLMs
    embedded/            the offline world: grammars, their oracle, a tiny PLM
    losses encode encoder frozen models subset fast train   the task models (TAMs) and their training
    derivative reweight choice checkpoint learn     Algorithm 1; ``plain`` is the same on one page: read it first
    weigh estimator                                 weights for a file, and as a scikit-learn estimator
    baselines/           the methods that SunGen is compared with, one file each
    paper/               what the paper says: printed numbers, claims, theory; verdicts on them
    lab/                 the paper's experiments: specs, store, execution, tables, figures, notebooks
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # "as" says that they are for users
    from sungen_lib.estimator import SunGenWeights as SunGenWeights
    from sungen_lib.lab.experiment import Experiment as Experiment
    from sungen_lib.learn import LearnedWeights as LearnedWeights
    from sungen_lib.learn import learn_weights as learn_weights
    from sungen_lib.learn import load_weights as load_weights
    from sungen_lib.models import TamConfig as TamConfig
    from sungen_lib.subset import bernoulli_subset as bernoulli_subset
    from sungen_lib.texts.examples import Examples as Examples
    from sungen_lib.texts.files import read as read

__version__ = "0.1.0"

_WHERE = {
    "read": "texts.files",
    "Examples": "texts.examples",
    "TamConfig": "models",
    "learn_weights": "learn",
    "LearnedWeights": "learn",
    "load_weights": "learn",
    "bernoulli_subset": "subset",
    "SunGenWeights": "estimator",
    "Experiment": "lab.experiment",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, because torch and matplotlib take seconds to import."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
