"""SunGen (Gao et al., ICLR 2023): learned sample weights for PLM-written training data, without human labels.

Data flows one way, and a module imports only from those above it:

    show          what a cell shows: escaped tables, pictures that replace one another
    tasks         the eleven tasks: label names, prompts (Table 10), hub ids
    data          Examples; JSONL in and out; the data folder
    files         a user's own JSONL, CSV or Parquet file, in and out
    embedded/     the offline world: grammars, their oracle, and a tiny PLM trained on them
    hub           gold data from the Hugging Face hub, into a data folder
    losses        per-sample losses, robust ones among them (Eqn. 3)
    encode        vocabulary or tokenizer, length buckets, tensors on the device
    models        the tiny task models (TAMs): BiLSTM, DistilBERT, a bag of n-grams
    train         fit, evaluate
    generate      PLM -> synthetic Examples
    prompting     PLM -> zero-shot predictions
    reweight      Algorithm 1: meta_gradient (line 4), learn_weights (lines 1-6)
    subset        Bernoulli sampling to a budget; top and bottom k
    baselines/    one file a method
    methods       what sets the tables' methods apart: which rows they train on, and how
    quality       a first look at texts; Self-BLEU-4, oracle correctness (Table 5)
    explorer      read weighted texts: an interactive view, or a static table
    landscape     loss surfaces (figure 4)
    theory        Property 1, Theorems 2 and 3 on cases small enough to be exact
    profiles      tiny, embedded, small, paper: sizes only
    runs          Spec -> Record: computed once, stored under its hash
    archive       the records behind committed tables in one file
    execute       many specs, in order of need, by several processes
    cluster       the same on many machines (--ray)
    paper         the published numbers, the claims, verdicts
    report        records -> CSV, Markdown, LaTeX, figures
    experiments   what a notebook works with: parameters, the paper's methods as specs
    own_data      what the notebook your_data works with
    plan          what all notebooks would compute (--dry-run)
    suite         every notebook through papermill (python -m sungen_lib.suite)
"""

__version__ = "0.1.0"
