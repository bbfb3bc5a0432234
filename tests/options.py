"""Options of the tests. A plugin (`-p` in setup.cfg), since pytest reads a conftest.py too late for them:
in `pytest -c setup.cfg --real-data DIR` it would look for one in DIR, not in tests."""

import pytest

# Files that take more than 20 s, the slowest first; the others follow in their own order.
SLOWEST = (
    "tests/server/pages/test_desk.py",
    "tests/server/test_ohif.py",
    "tests/strategies/engine/test_ray.py",
    "tests/server/pages/test_map_page.py",
    "tests/server/end_to_end/test_strangers.py",
    "tests/benchmarks/experiments/test_simulated_annotator.py",
    "tests/server/end_to_end/test_crowd.py",
    "tests/server/end_to_end/test_state_notices.py",
    "tests/server/end_to_end/test_clock.py",
    "tests/server/http/test_attacks.py",
    "tests/test_former_version.py",
    "tests/server/cli/test_new_app.py",
    "tests/benchmarks/experiments/test_interrupted.py",
    "tests/server/end_to_end/test_faults.py",
    "tests/strategies/selectors/test_contract.py",
    "tests/trainers/segmentation/test_ddp.py",
    "tests/benchmarks/own_data/test_mine.py",
    "tests/benchmarks/experiments/test_suite.py",
    "tests/trainers/csal3d/test_task.py",
    "tests/benchmarks/speed/test_models.py",
    "tests/server/end_to_end/test_volumes.py",
    "tests/strategies/refresh/test_learning.py",
    "tests/server/end_to_end/test_instant.py",
    "tests/server/desk/test_orthanc.py",
    "tests/server/end_to_end/test_restart.py",
    "tests/apps/test_contract.py",
    "tests/server/end_to_end/test_loop.py",
    "tests/server/end_to_end/test_bad_input.py",
    "tests/server/end_to_end/test_dicomweb_server.py",
    "tests/server/end_to_end/test_several_servers.py",
    "tests/server/end_to_end/test_slicer_calls.py",
    "tests/server/end_to_end/test_real_xrays.py",
    "tests/server/end_to_end/test_pretraining_server.py",
    "tests/server/end_to_end/test_ray_server.py",
    "tests/server/end_to_end/test_patients.py",
    "tests/server/test_marks.py",
    "tests/server/cli/test_main.py",
    "tests/trainers/csal3d/test_real.py",
    "tests/bundle_configs/test_bundle_runs.py",
    "tests/server/http/test_odd_requests.py",
    "tests/server/http/test_sessions.py",
    "tests/server/http/test_fuzz.py",
    "tests/server/http/test_other_sites.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real-data",
        metavar="DIR",
        help="folder with montgomery/images and montgomery/labels, and weights/ beside it: "
        "tests on real images and weights run only with it",
    )
    parser.addoption(
        "--long",
        action="store_true",
        help="the long form: whole sizes, numbers and examples, and each server started as a command",
    )
    parser.addoption(
        "--require-services",
        action="store_true",
        help="fail, instead of skipping, where a service that tests need (such as Orthanc) is not installed",
    )
    parser.addoption(
        "--fuzz-seconds",
        metavar="SECONDS",
        type=int,
        help="how long test_fuzz.py sends generated requests to a server: 10 by default, 60 with --long",
    )
    parser.addoption(
        "--fuzz-files",
        metavar="COUNT",
        type=int,
        help="how many damaged files the tests of such files read: 100 by default, 1000 with --long",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.option.fuzz_files is None:
        config.option.fuzz_files = 1000 if config.option.long else 100
    starts_others = config.getoption("numprocesses", None) and not hasattr(config, "workerinput")
    if starts_others and not config.option.long:
        share_nursery(config)


def share_nursery(config: pytest.Config) -> None:
    """Start one nursery for all processes that run tests side by side."""
    from tests import forked

    forked.begin_nursery()
    config.add_cleanup(forked.end_nursery)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slowest files first, so that no process is left alone with one of them at the end."""
    place = {file: number for number, file in enumerate(SLOWEST)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(place)))


def missing_service(config: pytest.Config, reason: str) -> None:
    """End a test that needs a service which this machine does not have."""
    if config.getoption("--require-services"):
        pytest.fail(reason)
    pytest.skip(reason)
