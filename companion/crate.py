"""RO-Crate metadata of the record: what it is, who made it with what, in a form that archives read.

RO-Crate 1.1 (https://w3id.org/ro/crate/1.1) is a JSON-LD file beside the data. It is made when it is needed, from the
records alone, and not kept: ``python -m companion crate``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from companion import records, study

__all__ = ["metadata", "write"]

_NAME = "ro-crate-metadata.json"


def metadata(folder: Path | None = None) -> dict[str, Any]:
    """The metadata of a folder of records.

    Parameters
    ----------
    folder : path, optional
        By default the committed record.

    Returns
    -------
    dict
        ``@context`` and ``@graph``: the folder, each study and stage in it, with its number of records, their dates,
        commits and processor time.

    Raises
    ------
    RecordError
        A record is damaged, or there is none.
    """
    folder = folder or records.results_folder()
    parts: list[dict[str, Any]] = []
    dates: set[str] = set()
    for name in study.names():
        own = study.load(name)
        results, stages = own.results(folder=folder), []
        for stage, words in own.stages.items():
            found = [record for _, record in results.recorded(stage)]
            if not found:
                continue
            made = [record.provenance for record in found]
            days = sorted({one["date"][:10] for one in made})
            dates |= set(days)
            stages.append(
                {
                    "@id": f"{name}/{stage}/",
                    "@type": "Dataset",
                    "name": f"{name}: {stage}",
                    "description": words,
                    "size": f"{len(found)} records",
                    "temporalCoverage": f"{days[0]}/{days[-1]}",
                    "version": ", ".join(sorted({one["commit"] for one in made})),
                    "measurementTechnique": f"{sum(record.cpu_seconds for record in found):.0f} s of processor time on "
                    + ", ".join(sorted({one["device"] for one in made})),
                }
            )
        if stages:
            papers = sorted({claim.paper for claim in own.claims})
            parts += [
                {
                    "@id": f"{name}/",
                    "@type": "Dataset",
                    "name": name.replace("_", " "),
                    "hasPart": [{"@id": stage["@id"]} for stage in stages],
                }
                | ({"citation": papers} if papers else {}),
                *stages,
            ]
    if not parts:
        raise records.RecordError(f"no record in {folder}; compute it: python -m companion run")
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": "Modules in Neural Networks: the record",
        "description": "What runs of four papers on modules in trained networks found, with its provenance.",
        "datePublished": max(dates),
        "license": {"@id": "https://spdx.org/licenses/MIT"},
        "hasPart": [{"@id": part["@id"]} for part in parts if part["@id"].count("/") == 1],
    }
    about = {
        "@id": _NAME,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
    }
    return {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": [about, root, *parts]}


def write(folder: Path | None = None) -> Path:
    """Write the metadata into the folder of the records, where RO-Crate has it; the file."""
    folder = folder or records.results_folder()
    target = folder / _NAME
    target.write_text(json.dumps(metadata(folder), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return target
