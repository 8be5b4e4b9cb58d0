"""The paper's experiments: specs, store, execution, tables, figures, notebooks.

``PROFILES``: the names of the profiles, and whether each reads a data folder. Their sizes are in ``profiles``, which
takes seconds to import; this dictionary does not.
"""

PROFILES = {
    "tiny": "none",
    "embedded": "none",
    "laptop": "optional",
    "small": "required",
    "medium": "required",
    "paper": "optional",
}
