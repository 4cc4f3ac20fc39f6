"""The table of functions on the library's page says of each what its signature says."""

from __future__ import annotations

import importlib
import inspect
import re

from companion.records import ROOT

ROW = re.compile(r"\* - :func:`~(modutils\.\w+)\.(\w+)`\n +- (.+)\n +- (.+)\n +- (device|host)\n +- (.+)\n")


def test_every_row_is_a_function_with_the_units_that_it_states() -> None:
    text = (ROOT / "book" / "api.rst").read_text(encoding="utf-8")
    rows = ROW.findall(text)
    assert len(rows) == text.count("* - :func:")
    for module, name, _, units, _, _ in rows:
        parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
        stated = units.split(", ")
        if "units" in parameters:
            assert parameters["units"].default == stated[0], name
            assert set(stated) == {"element", "channel"}, name
        else:
            assert units in ("any", "channel"), name
