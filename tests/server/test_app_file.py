"""Which apps are known from their main.py alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.app_file import bundle_of_app
from server.cli.new_app import ROOT, app_source, existing, parse_labels

SOURCE = (ROOT / "apps" / "cxr_lungs" / "main.py").read_text()


def bundle(tmp_path: Path, source: str) -> str | None:
    file = tmp_path / "main.py"
    file.write_text(source)
    return bundle_of_app(file)


@pytest.mark.parametrize("name", existing())
def test_all_our_apps_are_plain(name: str) -> None:
    assert bundle_of_app(ROOT / "apps" / name / "main.py") == name


def test_generated_apps_and_those_of_former_versions_are_plain(tmp_path: Path) -> None:
    assert bundle(tmp_path, app_source(SOURCE, "cxr_lungs", "liver_ct", parse_labels("liver"))) == "liver_ct"
    assert bundle_of_app(ROOT / "tests" / "former" / "app" / "main.py") is not None
    volumes = (ROOT / "apps" / "volumes" / "main.py").read_text()
    former = volumes.replace(
        "            conf,\n", '            {**task_settings(studies, conf.get("dataset", "")), **conf},\n'
    ).replace("from server.app", "from pool.imaging.decathlon import task_settings\nfrom server.shell")
    assert former != volumes and bundle(tmp_path, former) == "volumes"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('bundle="cxr_lungs"', "bundle=NAME"),
        ('            bundle="cxr_lungs",\n', ""),
        ("            conf,\n", '            conf | {"seed": "1"},\n'),
        ("            studies,\n", '            studies + "/images",\n'),
        ("(Shell, MONAILabelApp)", "(Own, Shell, MONAILabelApp)"),
        ("from server.app import Shell\n", "from server.app import Shell\nfrom own import thing\n"),
        ("from server.app import Shell\n", "from server.app import Shell\n\nShell.init_datastore = None\n"),
        ("        super().__init__(", "        studies = '/data'\n        super().__init__("),
        ("    def __init__(", "    def init_datastore(self):\n        return None\n\n    def __init__("),
        ("class CxrLungs", "@print\nclass CxrLungs"),
        ('version="0.1.0"', "**{}"),
    ],
)
def test_an_app_that_does_more_is_to_be_built(tmp_path: Path, before: str, after: str) -> None:
    assert before in SOURCE
    assert bundle(tmp_path, SOURCE.replace(before, after)) is None


def test_a_file_that_is_not_python_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="main.py: cannot be read as Python"):
        bundle(tmp_path, "class (")
