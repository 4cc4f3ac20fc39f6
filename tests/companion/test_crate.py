"""RO-Crate metadata: made from the records, complete, and what the specification asks for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from companion import crate, records, study
from companion.__main__ import main


def test_every_folder_of_the_record_is_described() -> None:
    made = crate.metadata()
    entities = {entity["@id"]: entity for entity in made["@graph"]}
    assert len(entities) == len(made["@graph"])
    assert entities["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    root = entities["./"]
    assert {"name", "description", "datePublished", "license"} <= set(root)
    folders = [path for path in records.results_folder().iterdir() if path.is_dir()]
    assert {part["@id"] for part in root["hasPart"]} == {f"{path.name}/" for path in folders}
    for folder in folders:
        stages = {part["@id"] for part in entities[f"{folder.name}/"]["hasPart"]}
        assert stages == {f"{folder.name}/{path.name}/" for path in folder.iterdir() if path.is_dir()}
    for name in study.names():
        for stage in study.load(name).stages:
            if f"{name}/{stage}/" in entities:
                count = int(entities[f"{name}/{stage}/"]["size"].split()[0])
                assert 0 < count <= len(list((records.results_folder() / name / stage).glob("*.json")))


def test_the_command_writes_it_beside_the_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crate", "--output", str(tmp_path)]) == 1
    assert "no record in" in capsys.readouterr().err
    (tmp_path / "your_own_network").symlink_to(records.results_folder() / "your_own_network")
    assert main(["crate", "--output", str(tmp_path)]) == 0
    made = json.loads((tmp_path / "ro-crate-metadata.json").read_text(encoding="utf-8"))
    assert [entity["@id"] for entity in made["@graph"]][2] == "your_own_network/"
    assert made == crate.metadata(tmp_path)
