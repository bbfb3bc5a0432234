"""The whole loop over HTTP with MONAI Label's own client: preparing, cold start, bridging, active, done."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pytest
import requests
from PIL import Image

from benchmarks.annotator import Annotator
from benchmarks.server_process import Server
from pool.database.handouts import Client
from pool.database.state import State
from pool.imaging.labels import read_label
from strategies import selectors

Run = dict[str, Any]
# planned from features alone, from foreground, and for each model
METHODS = ("typiclust", "probcover", "usl", "foreground_random", "clasp_pe")
STRATEGIES = ("auto", "cold_start", "active", "entropy", "diversity", "random", "urds", *METHODS)


def peek(run: Run, strategy: str) -> dict[str, Any]:
    """Ask for the next sample, and release it at once."""
    answer = requests.post(f"{run['server'].url}/activelearning/{strategy}", json={}, timeout=30).json()
    run["state"].handouts.release(answer["id"], Client("anonymous"))
    return answer


@pytest.fixture(scope="module")
def run(phantoms: Path, start: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One pool, labelled from the first image to the last, with the answer of every step."""
    folder = tmp_path_factory.mktemp("loop")
    shutil.copytree(phantoms / "studies", folder / "studies")
    conf = {"preset": "paper", "strategies": ",".join(STRATEGIES), "allow": "reload", "instant": True}
    server = start(folder / "studies", folder / "state", **conf)
    annotator = Annotator(server.url, phantoms / "labels")
    answers: Run = {"server": server, "annotator": annotator, "state": State(folder / "state")}
    answers["first"] = peek(answers, "auto")
    annotator.wait_ready(rounds=0)
    answers["before"] = {name: peek(answers, name) for name in METHODS if name != "clasp_pe"}
    answers["cold"] = [annotator.label_next("auto") for _ in range(4)]
    answers["bridging"] = peek(answers, "auto")
    answers["labelled_when_trained"] = annotator.status()["labelled"]
    answers["stats"] = annotator.train(None)
    annotator.wait_ready(rounds=1)
    answers["info"] = annotator.client.info()
    answers["active"] = [annotator.label_next("auto") for _ in range(4)]
    answers["offers"] = {name: peek(answers, name) for name in STRATEGIES if name not in ("auto", "urds")}
    return answers


def test_a_client_never_waits_for_the_preparation(run: Run) -> None:
    block = run["first"]["selection"]
    assert run["first"]["path"].endswith(run["first"]["id"] + ".png")
    assert block["provisional"] == (block["stage"] == "preparing")
    assert block["reason"]


def test_cold_start_follows_the_rules(run: Run) -> None:
    """Compute the picks here from the stored map, by the selectors alone."""
    state: State = run["state"]
    layout = state.maps.get(1)
    labels = selectors.cluster_by_silhouette(layout.points, 4, 42).labels
    expected = [layout.images[row] for row in selectors.cold_start(layout.points, labels, 4).picks]
    assert [answer["id"] for answer in run["cold"]] == expected
    assert [answer["selection"]["rank"] for answer in run["cold"]] == [1, 2, 3, 4]
    assert {answer["selection"]["stage"] for answer in run["cold"]} == {"cold_start"}
    assert run["cold"][0]["selection"]["role"] == "medoid"


def test_bridging_waits_for_the_first_model(run: Run) -> None:
    block = run["bridging"]["selection"]
    assert (block["stage"], block["role"]) == ("bridging", "farthest")
    assert "first model" in block["reason"]
    layout = run["state"].maps.get(1)
    rows = [layout.images.index(answer["id"]) for answer in run["cold"]]
    gaps = np.linalg.norm(layout.points[:, None] - layout.points[rows], axis=-1).min(axis=1)
    assert layout.images[int(gaps.argmax())] == run["bridging"]["id"]


def test_active_picks_are_the_papers_greedy(run: Run) -> None:
    """Compute section 3.2 step by step: first the highest entropy, then alpha * D + (1 - alpha) * H."""
    state: State = run["state"]
    model, layout = state.models.all()[0], state.maps.get(1)
    labelled = {answer["id"] for answer in run["cold"]}
    values = state.scores.entropies(model.fingerprint)
    pool = [i for i, image in enumerate(layout.images) if image not in labelled]
    raw = np.array([values[layout.images[i]] for i in pool])
    h = (raw - raw.min()) / (raw.max() - raw.min() + 1e-8)
    points = layout.points[pool]
    widest = np.linalg.norm(points[:, None] - points, axis=-1).max() + 1e-8
    chosen = [layout.points[layout.images.index(image)] for image in labelled]
    expected: list[str] = []
    while len(expected) < 4:
        d = np.linalg.norm(points[:, None] - np.array(chosen), axis=-1).min(axis=1) / widest
        score = h.copy() if not expected else 0.3 * d + 0.7 * h
        score[[layout.images[i] in expected for i in pool]] = -1
        best = int(score.argmax())
        expected.append(layout.images[pool[best]])
        chosen.append(points[best])
    assert [answer["id"] for answer in run["active"]] == expected
    blocks = [answer["selection"] for answer in run["active"]]
    assert [b["role"] for b in blocks] == ["most_uncertain", "combined", "combined", "combined"]
    assert {(b["stage"], b["round"], b["model"]) for b in blocks} == {("active", 1, model.fingerprint)}


def test_info_says_where_the_pool_stands(run: Run) -> None:
    info = run["info"]
    assert list(info["strategies"])[0] == "auto"
    assert list(info["trainers"]) == ["segmentation"] and list(info["models"]) == ["segmentation", "instant"]
    said = info["selection"]
    assert (said["stage"], said["round"], said["labelled"]) == ("active", 1, 4)
    assert said["encoder"] == "descriptor:1" and "weight-free" in said["encoder_note"]
    assert run["stats"]["train"]["metrics"].keys() >= {"train_loss", "train_mean_dice"}


def test_every_strategy_answers_with_its_reason(run: Run) -> None:
    for name, answer in run["offers"].items():
        assert answer["selection"]["reason"], name
        assert answer["selection"]["encoder_note"], name
    alphas = [run["offers"][name]["selection"]["alpha"] for name in ("entropy", "active", "diversity")]
    assert alphas == [0, 0.3, 1]
    values = run["state"].scores.entropies(run["info"]["selection"]["model"])
    labelled = {answer["id"] for answer in run["cold"] + run["active"]}
    left = {image: value for image, value in values.items() if image not in labelled}
    assert run["offers"]["entropy"]["id"] == max(left, key=lambda image: left[image])
    assert run["offers"]["random"]["selection"]["role"] == "random"


def test_every_method_on_offer_answers_in_its_own_words(run: Run) -> None:
    assert tuple(run["info"]["strategies"]) == STRATEGIES
    words = {
        "typiclust": "typicality",
        "probcover": "Its ball of radius",
        "usl": "density",
        "foreground_random": "of the image is foreground",
        "clasp_pe": "Drawn by the entropy of",
    }
    for name, answer in (*run["before"].items(), *((name, run["offers"][name]) for name in METHODS)):
        block = answer["selection"]
        if block["role"] != "farthest":  # its plan is used up
            assert block["method"] == name and words[name] in block["reason"], answer
    assert all(answer["selection"]["method"] for answer in run["before"].values())
    assert [run["before"][n]["selection"].get("model") for n in run["before"]] == [None] * 4
    model = run["info"]["selection"]["model"]
    assert {run["offers"][n]["selection"]["model"] for n in ("clasp_pe", "foreground_random")} == {model}


def test_a_method_that_lacks_something_says_what_to_do(run: Run) -> None:
    answer = requests.post(f"{run['server'].url}/activelearning/urds", json={}, timeout=30)
    assert answer.status_code == 409 and "/train/pretraining" in answer.json()["detail"]


def test_predictions_come_in_the_format_asked_for(run: Run, phantoms: Path) -> None:
    annotator: Annotator = run["annotator"]
    image = run["cold"][0]["id"]
    source = phantoms / "studies" / f"{image}.png"
    labels = annotator.client.info()["models"]["segmentation"]["labels"]
    results = {
        ext: annotator.client.infer("segmentation", image, {"result_extension": ext})[0]
        for ext in (".png", ".nii.gz", ".nrrd", ".seg.nrrd")
    }
    read = [read_label(path, labels, source) for path in results.values()]
    assert all((label == read[0]).all() and label.shape == (128, 128) for label in read)
    assert Image.open(results[".png"]).size == (128, 128)
    header = nrrd.read_header(results[".nrrd"])
    assert (header["Segment0_Name"], header["Segment1_Name"]) == ("right lung", "left lung")


def test_a_prediction_goes_back_as_a_label(run: Run) -> None:
    """Act like Slicer: predict, correct, submit the NRRD."""
    annotator: Annotator = run["annotator"]
    image = annotator.ask("auto")["id"]
    path, _ = annotator.client.infer("segmentation", image, {"result_extension": ".seg.nrrd"})
    annotator.client.save_label(image, path, params={"empty": True})
    assert image in annotator.client.datastore()["objects"]
    assert "final" in annotator.client.datastore()["objects"][image]["labels"]


def test_the_ledger_tells_the_whole_story(run: Run) -> None:
    ledger = requests.get(f"{run['server'].url}/selection/ledger", timeout=30).json()
    events = [entry["event"] for entry in ledger]
    assert events.count("model") == 1
    assert {"map", "plan", "handout", "label", "training", "training_ended"} <= set(events)
    plan = next(entry["details"] for entry in ledger if entry["event"] == "plan")
    assert plan["details"]["versions"]["scikit-learn"] and plan["details"]["seed"] == 42
    assert [pick["image"] for pick in plan["picks"]] == [answer["id"] for answer in run["cold"]]


@pytest.mark.parametrize(
    "strategy, params, code, says",
    [
        ("best", {}, 404, ", ".join(STRATEGIES)),
        ("active", {"alpha": 2}, 400, "expected 0"),
        ("active", {"alpha": "much"}, 400, "expected 0"),
    ],
)
def test_a_wrong_request_says_what_to_do(
    run: Run, strategy: str, params: dict[str, Any], code: int, says: str
) -> None:
    answer = requests.post(f"{run['server'].url}/activelearning/{strategy}", json=params, timeout=30)
    assert answer.status_code == code and says in answer.json()["detail"]


@pytest.mark.parametrize(
    "path, code, says",
    [
        ("/infer/heart?image=phantom_000", 404, "segmentation"),
        ("/infer/segmentation?image=nobody", 404, "nobody"),
        ("/train/heart", 404, "segmentation"),
    ],
)
def test_unknown_models_and_images(run: Run, path: str, code: int, says: str) -> None:
    answer = requests.post(run["server"].url + path, timeout=30)
    assert answer.status_code == code and says in answer.json()["detail"]


def test_labels_that_do_not_fit_are_refused(run: Run, tmp_path: Path) -> None:
    image = run["offers"]["random"]["id"]
    wrong = {"size": np.ones((64, 64)), "value": np.full((128, 128), 7), "empty": np.zeros((128, 128))}
    for what, mask in wrong.items():
        Image.fromarray(mask.astype(np.uint8)).save(tmp_path / f"{what}.png")
    before = run["annotator"].status()["labelled"]
    for target, what, code in (
        (image, "size", 422),
        (image, "value", 422),
        (image, "empty", 422),
        ("nobody", "size", 404),
    ):
        with open(tmp_path / f"{what}.png", "rb") as file:
            answer = requests.put(
                f"{run['server'].url}/datastore/label?image={target}",
                files={"label": (f"{what}.png", file)},
                timeout=30,
            )
        assert answer.status_code == code and target in answer.json()["detail"], what
    assert run["annotator"].status()["labelled"] == before


def test_the_last_image_ends_the_pool(run: Run) -> None:
    annotator: Annotator = run["annotator"]
    left = annotator.status()["unlabelled"]
    seen = [annotator.label_next("auto")["id"] for _ in range(left)]
    assert len(set(seen)) == left
    assert annotator.client.next_sample("auto", {}) == {}
    assert requests.get(f"{annotator.url}/selection/handouts", timeout=30).json() == {
        "open": [],
        "skipped": {},
    }


def test_reload_neither_hangs_nor_makes_a_second_app(run: Run) -> None:
    log = run["server"].log
    before = log.read_text().count("Initializing App")  # those of the children
    assert requests.post(f"{run['server'].url}/reload", timeout=30).json() == {}
    answer = requests.post(f"{run['server'].url}/activelearning/auto", json={}, timeout=30)
    assert answer.json() == {} and log.read_text().count("Initializing App") == before
