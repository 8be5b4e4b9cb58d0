"""How a PLM's sampling is chosen for the profile ``laptop``: by its labels, under a judge that sees no test data.

    python -m benchmarks.settings DIR [--plm smollm2-135m] [--tasks imdb ag_news] [--texts 300] [--csv FILE]

For each task, and for plain and self-debiased sampling at two temperatures, through the PLM's chat template and without
it, the PLM writes some texts. The judge is TF-IDF with logistic regression on the task's gold training rows in the data
folder DIR. Reported: the share of labels that it agrees with, words a text, and CPU seconds a text.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from sungen_lib.baselines import tfidf_logreg
from sungen_lib.texts import data_folder, tasks
from sungen_lib.texts.generation import generate
from sungen_lib.texts.plms import load_plm
from sungen_lib.texts.writer import Sampling

DEBIASED = 200.0  # the authors' decay constant
SEED = 99  # not the one that the profile's texts are written with


def measured(directory: str, task: str, plm: str, texts: int) -> Iterator[dict[str, object]]:
    """One line per setting."""
    judge = tfidf_logreg.fit(data_folder.load(directory, task, data_folder.GOLD, "train"))
    model, tokenizer = load_plm(plm)
    template = tokenizer.chat_template
    for decay, temperature, chat in itertools.product((0.0, DEBIASED), (1.0, 0.7), (True, False)):
        if chat and not template:
            continue
        tokenizer.chat_template = template if chat else None
        sampling = Sampling(temperature=temperature, decay_constant=decay, batch_size=320, refill=240)
        start = time.process_time()
        size = texts * 23 // 20  # some are not closed in time
        written = generate(
            tasks.get(task), model=model, tokenizer=tokenizer, rows=texts, seed=SEED, sampling=sampling, shard_size=size
        )
        seconds = time.process_time() - start
        tokenizer.chat_template = template
        yield {
            "task": task,
            "debiased": bool(decay),
            "temperature": temperature,
            "chat": chat,
            "agreement": float((tfidf_logreg.predict(judge, written) == written.labels).mean()),
            "words": float(np.mean([len(text.split()) for text in written.texts])),
            "CPU s a text": seconds / texts,
        }


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line per task and setting."""
    parser = argparse.ArgumentParser(description="How often a gold-trained judge agrees with a PLM's labels.")
    parser.add_argument("directory", metavar="DIR")
    parser.add_argument("--plm", default="smollm2-135m")
    parser.add_argument("--tasks", nargs="+", default=["imdb", "ag_news"], choices=tasks.CLASSIFICATION)
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--csv", metavar="FILE")
    options = parser.parse_args(argv)
    lines = []
    for task in options.tasks:
        for line in measured(options.directory, task, options.plm, options.texts):
            told = (f"{key} {value:.2f}" if type(value) is float else f"{key} {value}" for key, value in line.items())
            print("  ".join(told))
            lines.append(line)
    if options.csv:
        pd.DataFrame(lines).to_csv(options.csv, index=False)


if __name__ == "__main__":
    main()
