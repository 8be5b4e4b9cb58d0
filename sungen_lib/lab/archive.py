"""The records behind committed tables in one file, so that the tables can be made again without a run:

    python -m sungen_lib pack tables/small      # store -> tables/small/records.tar.xz
    python -m sungen_lib unpack tables/small    # and back, into the store ($SUNGEN_STORE, else runs/)

Records hold numbers, weights, which test items were predicted correctly, and what a PLM wrote in a run; texts of a data
folder are not copied. The JSON beside a table lists the records it was made from (``records``).
"""

from __future__ import annotations

import io
import json
import lzma
import re
import tarfile
from pathlib import Path

from sungen_lib.lab import store
from sungen_lib.storage import atomic_path, store_root

NAME = "records.tar.xz"
_MEMBER = re.compile(r"[0-9a-f]{2}/[0-9a-f]{20}/[\w-]+\.(json|jsonl|safetensors)")


def pack(tables: str | Path) -> int:
    """Write every record that the tables' JSON files name into ``tables``/records.tar.xz; return their number.

    The same records give the same bytes. Raises ``ValueError`` for a record that the store lacks, or that is damaged
    there, and if there is none.
    """
    folder = Path(tables)
    ids = sorted({name for path in folder.glob("*.json") for name in json.loads(path.read_text()).get("records", [])})
    if not ids:
        raise ValueError(f"{folder} holds no tables that name records")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz", preset=9) as archive:
        for spec_id in ids:
            record = store.record_of(spec_id)
            if record is None:
                missing = f"{folder} names record {spec_id}, which is not in {store_root()}"
                raise ValueError(f"{missing}: run its notebook again")
            for name in sorted(["record.json", *record.files]):
                content = (record.folder / name).read_bytes()
                member = tarfile.TarInfo(f"{spec_id[:2]}/{spec_id}/{name}")  # time 0, no owner
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    with atomic_path(folder / NAME) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return len(ids)


def unpack(tables: str | Path) -> int:
    """Copy the records of ``tables``/records.tar.xz that the store lacks, or has damaged, into it; return their number.

    A record is written last, after its files. Raises ``ValueError`` if the file is not such an archive.
    """
    path = Path(tables) / NAME
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(path, mode="r:xz") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file is None or not _MEMBER.fullmatch(member.name):
                    raise ValueError(f"{path} holds {member.name!r}, which is not part of a record")
                contents[member.name] = file.read()
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    records = (name for name in contents if name.endswith("/record.json"))
    lacking = {name for name in records if store.record_of(Path(name).parent.name) is None}
    for name in sorted(contents, key=lambda name: name.endswith("/record.json")):
        if f"{Path(name).parent}/record.json" in lacking:
            with atomic_path(store_root() / name) as temporary:
                temporary.write_bytes(contents[name])
    return len(lacking)
