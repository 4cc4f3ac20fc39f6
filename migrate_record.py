"""Run once: give every record an address of parameters alone, and every stage a witness. Deleted after it has run.

    python migrate_record.py OLD_TREE

OLD_TREE is a checkout of the last commit with the old addresses. Every old key is computed again by that tree's own
code; only where it agrees with the file's name does the record get the digest of that code's fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from modutils import records, witness
from modutils.fingerprint import below, fingerprint

KEYS = """
import json, sys
from modutils.records import Cell, code_parts
for line in sys.stdin:
    study, stage, params = json.loads(line)
    cell = Cell(study, stage, params)
    print(json.dumps([cell.key, cell.label]))
"""


def main() -> None:
    tree, folder = Path(sys.argv[1]).resolve(), Path("results").resolve()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tree, capture_output=True, text=True, check=True)
    paths = sorted(folder.glob("*/*/*.json"))
    contents = [json.loads(path.read_text()) for path in paths]
    lines = "\n".join(json.dumps([c["study"], c["stage"], c["params"]]) for c in contents)
    done = subprocess.run(
        [sys.executable, "-c", KEYS], cwd=tree, env={"PYTHONPATH": str(tree), "PATH": "/usr/bin"},
        input=lines, capture_output=True, text=True, check=True,
    )  # fmt: skip
    prints = {}
    stale = 0
    for path, content, line in zip(paths, contents, done.stdout.splitlines(), strict=True):
        key, label = json.loads(line)
        study, stage = content["study"], content["stage"]
        if path.name != f"{label}-{key}.json":
            stale += 1
            print("stale, left as it is:", path)
            continue
        if (study, stage) not in prints:
            found = fingerprint(f"modutils.studies.{study}.cells", stage, locate=below(tree))
            prints[study, stage] = found
            records.write_json(
                witness.path_of(study, stage, folder),
                {
                    "study": study,
                    "stage": stage,
                    "version": 1,
                    "fingerprints": {
                        found.digest: {
                            "commit": commit.stdout.strip(),
                            "module": f"modutils.studies.{study}.cells",
                            "packages": list(found.packages),
                            "definitions": found.definitions,
                        }
                    },
                    "checks": [],
                },
            )
        provenance = content["provenance"]
        if provenance["data"]:  # the same file names stand for two data sets
            provenance["data"] = {f"{content['params']['dataset']}/{f}": md5 for f, md5 in provenance["data"].items()}
        new = {
            "format": records.FORMAT, "study": study, "stage": stage, "params": content["params"], "version": 1,
            "code": prints[study, stage].digest, "provenance": provenance, "values": content["values"],
        }  # fmt: skip
        new["sha256"] = hashlib.sha256(json.dumps(new, sort_keys=True, allow_nan=False).encode()).hexdigest()
        target = path.with_name(f"{label}.json")
        assert not target.exists(), f"two cells have the address {target}"
        records.write_json(target, new)
        path.unlink()
    print(f"{len(paths)} records, {stale} stale, {len(prints)} stages")


main()
