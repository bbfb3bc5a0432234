"""`make app`: new apps pass the contract of all apps, and bad arguments are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import typer
import yaml

from server.cli.new_app import ROOT, app_source, check_name, code_of, make, parse_labels
from tests.forked import run


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Copy the files that an app is made from."""
    for part in ("apps", "bundle_configs"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("state", "logs", "model"))
    return tmp_path


def test_new_app_passes_the_contract_of_all_apps(checkout: Path) -> None:
    unused = shutil.ignore_patterns("results", "node_modules")
    for part in ("server", "strategies", "infers", "trainers", "pool", "benchmarks", "tests"):
        shutil.copytree(ROOT / part, checkout / part, ignore=unused)
    shutil.copy(ROOT / "setup.cfg", checkout)
    env, words = {"PYTHONPATH": str(checkout)}, ["--labels", "liver,spleen,thing 3"]
    run("-m", "server.cli.new_app", "my_app", "--from", "cxr_lungs", *words, cwd=checkout, env=env)
    contract = ["-q", "-p", "no:cacheprovider", "tests/apps", "-k", "my_app or each_app"]
    said = run("-m", "pytest", "-c", "setup.cfg", *contract, cwd=checkout, env=env)
    assert " passed" in said.stdout and "skipped" not in said.stdout


@pytest.mark.parametrize("source", ["cxr_lungs", "brain_mri", "volumes"])
def test_what_differs_is_in_the_new_folders(checkout: Path, source: str) -> None:
    """Known structures get a code, those of the source app keep theirs; comments and other keys stay."""
    labels = parse_labels("heart, Liver ,off")
    assert make("my_app", source, labels, checkout) == ["off"]
    folder = checkout / "bundle_configs"
    old, new = (folder / name / "configs" / "train.yaml" for name in (source, "my_app"))
    was, now = (yaml.safe_load(path.read_text()) for path in (old, new))
    assert now["labels"] == {"heart": 1, "Liver": 2, "off": 3} and set(now["colors"]) == set(labels)
    assert now["codes"]["Liver"] == ["10200004", "SCT", "Liver"]
    assert {key for key in was if was[key] != now[key]} == {"labels", "colors", "codes"}
    assert "# for NRRD headers and pictures" in new.read_text()
    main = (checkout / "apps" / "my_app" / "main.py").read_text()
    assert main.startswith('"""My app: heart 1, Liver 2, off 3.') and source not in main
    assert "class MyApp(Shell, MONAILabelApp)" in main and 'bundle="my_app"' in main
    compile(main, "main.py", "exec")


def test_structures_of_the_source_keep_their_code_and_colour(checkout: Path) -> None:
    assert make("one_lung", "cxr_lungs", parse_labels("Left Lung"), checkout) == []
    text = (checkout / "bundle_configs" / "one_lung" / "configs" / "train.yaml").read_text()
    assert "Left Lung: ['44029006', SCT, Left lung]" in text and "Left Lung: [111, 184, 210]" in text


def test_many_structures_are_counted_not_listed() -> None:
    labels = parse_labels(",".join(f"part {number}" for number in range(40)))
    source = (ROOT / "apps" / "cxr_lungs" / "main.py").read_text()
    text = app_source(source, "cxr_lungs", "many", labels)
    assert text.startswith('"""Many: 40 structures.') and max(map(len, text.splitlines())) <= 110


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cxr_lungs", "exists; choose another name"),
        ("checks", "checks.py exists"),
        ("My-App", "lower-case letters, digits and _"),
        ("1st", "starting with a letter"),
        ("class", "starting with a letter"),
        ("../x", "lower-case letters"),
        ("", "lower-case letters"),
    ],
)
def test_bad_names_are_refused(name: str, message: str) -> None:
    with pytest.raises(typer.BadParameter, match=message):
        check_name(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "separate names by commas"),
        ("liver,,spleen", "separate names by commas"),
        ("liver,$x", "separate names by commas"),
        ('li"ver', "separate names by commas"),
        ("liver,Liver ", "names a structure twice"),
        ("left lung,left_lung", "names a structure twice"),
        ("background,liver", "leave out background"),
        (",".join(f"s{n}" for n in range(256)), "at most 255"),
    ],
)
def test_bad_labels_are_refused(text: str, message: str) -> None:
    with pytest.raises(typer.BadParameter, match=message):
        parse_labels(text)


def test_codes_are_those_of_dicom() -> None:
    assert code_of("spleen") == ["78961009", "SCT", "Spleen"] and code_of("no such thing") is None
