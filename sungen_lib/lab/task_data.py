"""Which rows a task has at a profile: gold and synthetic sets as specs. Naming a set reads no data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sungen_lib import embedded
from sungen_lib.lab import profiles
from sungen_lib.lab.profiles import Profile
from sungen_lib.lab.sources import file_fingerprint, file_hash, folder_fingerprint
from sungen_lib.lab.specs import Gold, Synthetic
from sungen_lib.texts import data_folder, tasks
from sungen_lib.texts.examples import DataMissing


@dataclass(frozen=True)
class TaskData:
    """The data sets of ``profile``'s tasks; ``data_dir``: the data folder, where one is read.

    All methods raise ``DataMissing`` if the set is not available; the message says which file to put where.
    """

    profile: Profile
    data_dir: str | None

    def gold(self, task: str, split: str, *, rows: int | None = None) -> Gold:
        """The gold split at the profile's size, or at most ``rows`` of it."""
        profile, known = self.profile, tasks.get(task)
        sizes, of_paper = (profile.gold_train, profile.gold_test), (known.gold_train, known.gold_test)
        limit = rows or sizes[split == "test"]
        if limit is None and profile.source == "hub":  # Amazon's and DBpedia's sets are larger there than the paper's
            limit = of_paper[split == "test"]
        if known.files or (tasks.is_file(task) and self.data_dir is None):
            return Gold(task, split, "folder", limit, _user_gold(task, split))
        return Gold(task, split, profile.source, limit, self._fingerprint(task, data_folder.GOLD, split))

    def noisy_gold(self, task: str, *, rows: int, noise: str, rate: float) -> Gold:
        """Gold training rows with label flips planted (``sources.NOISES``)."""
        return replace(self.gold(task, "train", rows=rows), noise=noise, noise_rate=rate)

    def synthetic(self, task: str) -> Synthetic:
        """The PLM-written pool for ``task``, which may be another task's (``synthetic_from``)."""
        profile, origin, plm = self.profile, tasks.get(task).synthetic_from, self.plm
        if profile.source == "folder" and tasks.get(task).pair and plm == profiles.get(profile.name).plm:
            plm = "ctrl"  # the folder's pair texts were written by CTRL
        return Synthetic(
            task=origin,
            plm=plm,
            source=profile.source,
            rows=self.pool(task),
            fingerprint=self._fingerprint(origin, plm, "train"),
            sampling=None if profile.source == "folder" else profile.sampling,
        )

    def validation(self, task: str) -> Synthetic:
        """More synthetic rows, a quarter of the pool, for choosing among variants; nothing is trained on them."""
        pool = self.synthetic(task)
        return replace(pool, start=pool.rows, rows=pool.rows // 4)

    def pool(self, task: str) -> int:
        """Rows that weights are learned on."""
        return self.profile.pair_pool if tasks.get(task).pair else self.profile.pool

    @property
    def plm(self) -> str:
        """The PLM as specs name it: the shipped one with its fingerprint, which changes when it is trained again."""
        return f"embedded@{embedded.plm_fingerprint()}" if self.profile.plm == "embedded" else self.profile.plm

    def _fingerprint(self, task: str, source: str, split: str) -> str:
        """What identifies the set's content in a spec."""
        if self.profile.source == "embedded":
            return " ".join(filter(None, (embedded.fingerprint(), _user_task(task))))
        hub = tasks.get(task).hub
        if hub is not None and self.profile.source == "hub" and (self.data_dir is None or source != data_folder.GOLD):
            return hub.path  # texts are generated; gold comes from the hub, or from a folder
        if self.profile.source == "hub" and source != data_folder.GOLD:
            return _user_task(task)
        if self.data_dir is None:
            raise DataMissing(f"no data_dir was given to read {source} data for {task} from")
        return folder_fingerprint(self.data_dir, task, source, split)


def _user_gold(task: str, split: str) -> str:
    """Fingerprint of a user task's gold rows: the hashes of the data file and of the task file."""
    path = dict(tasks.get(task).files).get(split)
    if path is None or not path.is_file():
        raise DataMissing(f"no {path}" if path else f"{task} names no {split} file of gold rows")
    return file_fingerprint(path, task)


def _user_task(task: str) -> str:
    return file_hash(Path(task)) if tasks.is_file(task) else ""
