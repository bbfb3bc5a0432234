"""The mixin that all apps share, to be placed before MONAILabelApp.

    class CxrLungs(Shell, MONAILabelApp): ...

It reads the configuration, opens the pool's state, keeps it up to date in the background, and turns bad
requests into errors that say what to do. MONAI Label builds the app in the server and again in every child
process; only the server starts background work and writes to the datastore.
"""

from __future__ import annotations

import gc
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from sqlalchemy.exc import SQLAlchemyError

from bundle_configs import Bundle
from infers.encoders.pool_encoder import pool_reader
from infers.instant.model import FeatureMaker
from infers.instant.task import NAME as INSTANT
from infers.instant.task import InstantInfer
from infers.prediction import DIGEST
from infers.segmentation.task import SegmentationInfer
from pool.datastore.store import PoolDatastore
from pool.errors import PoolError
from pool.protocol import FetchesImages, PoolStore
from server import config
from server.auth import listening, warn_if_open
from server.background import Background, end_with_parent
from server.backups import Backups
from server.batch import BatchInfer
from server.checksums import Checksums
from server.desk.openings import Openings, is_on
from server.http.application import install
from server.http.parameters import checked, known
from server.http.sessions import Sessions, close_at_stop, open_sessions
from server.logs import bound_log, keep_log
from server.open_pool import is_url, open_datastore, open_pool, take_in_checks, trains_now
from server.places import PoolPlace
from server.plausibility import Plausibility
from server.recovery import complete_ledger, fold_from_now_on
from server.saved_labels import LabelsElsewhere, SavedLabels
from server.starting import check_start, refusing_in_one_line
from server.tasks import Task, Tasks
from server.welcome import greet
from server.worker import KIND, Worker
from strategies.measuring import decide_measures
from strategies.refresh.pipeline import Refresh
from strategies.stages import encoder_note, status_now, training_due
from strategies.strategy import all_strategies, preview, upcoming
from trainers.csal3d.task import Pretraining
from trainers.segmentation.task import SegmentationTrain

logger = logging.getLogger(__name__)
Datastore.register(PoolDatastore)  # it imports no MONAI Label itself
_PREFETCH_SERIES = 8  # series downloaded before they are handed out
_ORPHAN_SECONDS = 3.0  # the process of a training ends itself within a second of its server's death
_NOT_PARAMETERS = ("model", "bundle_path")  # keys of a recorded training request that are not parameters


class Shell:
    """The parts of a MONAI Label app that are the same in all apps.

    :param bundle: name of the app's folder in `bundle_configs`
    """

    log: Path | None = None  # in the server, unless it writes no log file

    def __init__(
        self, app_dir: str, studies: str, conf: Mapping[str, Any], *, bundle: str, **names: Any
    ) -> None:
        self.in_server = "monailabel.app" in sys.modules
        with refusing_in_one_line():
            self._open(app_dir, studies, conf, bundle, names)

    def _open(
        self, app_dir: str, studies: str, conf: Mapping[str, Any], bundle: str, names: Mapping[str, Any]
    ) -> None:
        """Check the configuration, open the pool, and let MONAI Label build the app on it."""
        gc.freeze()  # a collection of all that was imported takes 300 ms
        if self.in_server:
            log = bound_log()
            check_start(studies)
        else:
            end_with_parent()
        given, conf = conf, config.with_dataset(conf, studies, Bundle(bundle))
        chosen = config.parse(conf, Bundle(bundle))
        pool = open_pool(app_dir, studies, bundle, chosen, self.in_server)
        self.bundle, self.state = pool.bundle, pool.context.state
        self.context = replace(pool.context, read=pool_reader(self.bundle) if self.in_server else None)
        self._locks = pool.locks
        if self.in_server:
            self.log = keep_log(log, self.state.folder) if log else None
        self._place = PoolPlace(app_dir, studies, dict(given), str(self.state.folder))
        self.tasks = Tasks()
        self.openings: Openings | None = None  # in a server that records who opens images
        self._background: Background | None = None
        self._worker: Worker | None = None  # in the server
        self._saved_labels = SavedLabels(self.state, self.datastore, self.wake)
        self._checksums = Checksums()
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,  # type: ignore[call-arg]
            labels=self.bundle.get("labels"),
            **names,
        )
        logger.info(
            "Settings: %s; state: %s; database: %s",
            config.text_of(chosen),
            self.state.folder,
            self.state.database,
        )
        if self.in_server:
            self.context.groups.check(self.datastore().list_images())
        if note := encoder_note(self.context):
            logger.warning("Encoder: %s", note)

    # parts of the app ---------------------------------------------------------------------------------

    def init_datastore(self) -> Datastore:
        """Open a checked local folder, or a DICOMweb server for a URL. Raises ConfigError."""
        store = open_datastore(
            self.studies.strip(),  # type: ignore[attr-defined]
            self.bundle,
            self.context.settings,
            self.state.folder,
            changed=self.wake,
            saved=self._saved_labels.saved,
            read_only=not self.in_server,
            judge=Plausibility(self) if self.in_server else None,
        )
        return cast(Datastore, store)

    def init_infers(self) -> dict[str, InferTask]:
        trained = SegmentationInfer(self.context.model_file, self.bundle)
        tasks: dict[str, InferTask] = {"segmentation": trained}
        if self.context.settings.instant:
            tasks[INSTANT] = self.instant
        return tasks

    @cached_property
    def instant(self) -> InstantInfer:
        """The instant model, which follows the newest head."""
        settings = self.context.settings
        maker = FeatureMaker(settings.encoder, settings.encoder_weights or None, self.bundle)
        return InstantInfer(self.state.heads.newest_blob, maker, self.bundle)

    def init_trainers(self) -> dict[str, TrainTask]:
        folder, seed = self.state.folder, self.context.settings.seed
        trainers: dict[str, TrainTask] = {
            "segmentation": SegmentationTrain(
                folder, self.bundle, seed, self.context.held_out, self.context.groups
            )
        }
        if self.bundle.pretrains:
            trainers["pretraining"] = Pretraining(folder, self.bundle, seed)
        return trainers

    def init_strategies(self) -> dict[str, Strategy]:
        return all_strategies(self.context)

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        return {"refresh": Refresh(self.context, self.bundle)}

    def init_batch_infer(self) -> BatchInfer:
        return BatchInfer()

    # background ---------------------------------------------------------------------------------------

    def on_init_complete(self) -> None:
        """Start the server's work: add routes, watch the pool, resume a training that a kill interrupted."""
        super().on_init_complete()  # type: ignore[misc]
        take_in_checks(self.state, self.datastore())
        complete_ledger(self.state, self.datastore())
        self.state.drafts.clean()
        decide_measures(self.state)
        install(sys.modules["monailabel.app"].app, self.context.settings, self.state.loss)
        warn_if_open()
        if is_on(self.context.settings.log_opened):
            self.openings = Openings(self.state.ledger)
            self.openings.start()
            close_at_stop(self.openings.close)
        if (sessions := self.sessions()) is not None:  # type: ignore[attr-defined]
            close_at_stop(sessions.close)
        max_bytes = int(self.context.settings.worker_memory * 2**30)
        self._worker = Worker(self.tasks, self.state.progress, max_bytes, self.wake)
        self._background = Background(
            self.state,
            self._look_at_pool,
            self._worker.wake,
            self._count_labelled,
            lambda last: training_due(self.context.settings, self._count_labelled(), last),
            self.tasks,
            LabelsElsewhere(self.state, self.datastore, self.wake).look,
            self._backups().look,
        )
        if interrupted := self._interrupted_training():
            self._background.expect(interrupted[0])
            self._resume_training(*interrupted)
        self.state.failures.forget()  # retry: settings may have changed, and series have no modification time
        self._background.start()
        close_at_stop(self._worker.close)
        close_at_stop(lambda: fold_from_now_on(self.state))
        self._worker.start()
        self.wake()
        if found := listening():
            greet(found, self._place, self.log, self.datastore())
        gc.freeze()

    def _look_at_pool(self) -> None:
        """Take in labels and images that came or went; fetch the images to be handed out next."""
        self._saved_labels.catch_up()
        store = self.datastore()
        store.take_over_changes()
        take_in_checks(self.state, store)
        images = upcoming(self.context, store, _PREFETCH_SERIES)
        if isinstance(store, FetchesImages):  # a click must not wait for a download
            store.prefetch(images)
        for image in images:
            self._checksum_of(image)
        self._checksums.catch_up()

    def _backups(self) -> Backups:
        settings, studies = self.context.settings, self.studies.strip()  # type: ignore[attr-defined]
        folder = None if is_url(studies) else Path(studies)
        return Backups(self.state, folder, settings.database, settings.backup_every, settings.backups_kept)

    def start_task(self, kind: str, request: Mapping[str, Any]) -> Task:
        """Start a checked task of a kind, and return it as clients see it."""
        if kind == KIND and self._worker:
            return self._worker.submit(request)
        task = self.tasks.start(kind, request)
        if self._background:
            self._background.record_training()
        return task

    def _interrupted_training(self) -> tuple[int, dict[str, Any]] | None:
        """Return the training that a killed server left, whose process may live for another second."""
        interrupted, end = self.state.trainings.newest_open(), time.monotonic() + _ORPHAN_SECONDS
        while interrupted and trains_now(self.state.folder):
            if time.monotonic() > end:  # it is another server's, at work
                return None
            time.sleep(0.1)
        return interrupted

    def _resume_training(self, number: int, request: dict[str, Any]) -> None:
        """Restart a training that a kill interrupted, or close its record when that is not possible."""
        logger.warning("The server stopped during a training; starting it again: %s", request)
        try:
            model = known("model", request.get("model"), self._trainers)  # type: ignore[attr-defined]
            parameters = {name: value for name, value in request.items() if name not in _NOT_PARAMETERS}
            parameters = checked(parameters, model.parameters(), "the training")
            self.check_trainable(request["model"])
        except PoolError as error:
            logger.error("The training cannot be started again: %s", error.text)
            self.state.trainings.end("LOST", number)
            return
        self.tasks.start("train", {**parameters, "model": request["model"]})

    def wake(self) -> None:
        """Look for background work now, as the pool has changed; does nothing outside the server."""
        if self._background:
            self._background.wake()

    def async_scoring(self, method: str | None, params: Any = None) -> dict[str, Any]:
        """Do nothing: MONAI Label requests all scoring methods at every click, but `Background` decides."""
        return {}

    # requests -----------------------------------------------------------------------------------------

    def datastore(self) -> PoolStore:
        return self._datastore  # type: ignore[attr-defined]

    def _count_labelled(self) -> int:
        """Count the final labels that models are trained on, so without the held-out ones."""
        store = self.datastore()
        return store.count_labelled() - sum(map(store.is_labelled, self.context.held_out()))

    def selection_status(self, failures: bool = False) -> dict[str, Any]:
        """Return the status of selection; with `failures`, also the unreadable images and the duplicates."""
        with self.database_errors():
            return status_now(self.context, self.datastore(), failures)

    @contextmanager
    def database_errors(self) -> Iterator[None]:
        """Turn database errors in the block into an answer that says what to do. Raises PoolError 503."""
        try:
            yield
        except SQLAlchemyError as error:
            raise PoolError(503, self.state.trouble(error)) from error

    def info(self) -> dict[str, Any]:
        labels: dict[str, int] = self.bundle.get("labels")
        extra = {
            "labels": sorted(labels, key=labels.__getitem__),  # OHIF needs a list; the values are in `models`
            "selection": self.selection_status(),
            "metric": self.bundle.get("metric"),
        }
        return super().info() | extra  # type: ignore[misc]

    def next_sample(self, request: dict[str, Any]) -> dict[str, Any]:
        strategies: dict[str, Strategy] = self._strategies  # type: ignore[attr-defined]
        known("strategy", request.get("strategy"), strategies)
        with self.database_errors():
            try:
                answer: dict[str, Any] = super().next_sample(request)  # type: ignore[misc]
            except PoolError:
                self.wake()  # it may wait for a plan
                raise
            block = answer.get("selection", {})
            if (block.get("role"), block.get("stage")) == ("farthest", "active"):
                self.wake()  # the round's plan is used up
            if answer and (checksum := self._checksum_of(answer["id"])):
                answer["checksum"] = checksum
            if self._checksums.is_behind:
                self.wake()
            return answer

    def _checksum_of(self, image: str) -> str:
        """Return the checksum of an image's file, "" while that of a large one is not known."""
        try:
            return self._checksums.quick(self.datastore().get_image_uri(image))
        except (OSError, PoolError):  # it is just being removed, or cannot be had from the DICOM server
            return ""

    def image_info(self, image: str) -> dict[str, Any]:
        """Return what is noted of an image, with the checksum of its file if that is here and known."""
        info: dict[str, Any] = self.datastore().get_image_info(image)  # type: ignore[attr-defined]
        here = Path(info.get("path", "")).is_file()  # a series may still be on the DICOM server
        checksum = self._checksum_of(image) if here else ""
        return {**info, "checksum": checksum} if checksum else info

    def training_stats(self) -> dict[str, Any]:
        """Return MONAI Label's statistics of the newest training; {} before the first."""
        return self._trainers["segmentation"].stats()  # type: ignore[attr-defined]

    def preview(self, strategy: str, count: int) -> list[dict[str, Any]]:
        """Return the answers a strategy would give next, without leasing. Raises PoolError."""
        strategies: dict[str, Any] = self._strategies  # type: ignore[attr-defined]
        with self.database_errors():
            return preview(self.context, self.datastore(), strategies, strategy, count)

    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Predict a label; MONAI Label's batch inference calls this too.

        `image` is an image id of the pool, or a Path that the server itself made for an upload or a session.
        A string is never taken for a path.
        """
        task = known("model", request.get("model"), self._infers)  # type: ignore[attr-defined]
        image, store = request.get("image"), self.datastore()
        is_file = isinstance(image, Path)
        if not is_file and not (isinstance(image, str) and store.has_image(image)):
            raise PoolError(404, f"there is no image {image!r} in this pool")
        path = str(image) if is_file else store.get_image_uri(str(image))
        file, params = task({**request, "image": path, "description": task.description})
        if (digest := params.pop(DIGEST, "")) and not is_file:
            with self.database_errors():
                self.state.predictions.add(str(image), digest, request["model"])
        label, tag = file, request.get("label_tag", DefaultLabelTag.ORIGINAL)
        if request.get("save_label") and not is_file:
            label = self._datastore.save_label(  # type: ignore[attr-defined]
                str(image), file, tag, {"model": request["model"], "params": params}
            )
        return {"label": label, "tag": tag, "file": file, "params": params}

    def check_trainable(self, model: str) -> None:
        """Raise PoolError 409 when there is nothing to train on."""
        with self.database_errors():
            is_empty = model != "pretraining" and not self._count_labelled()
        if is_empty:
            raise PoolError(409, "nothing is labelled yet: save at least one final label, then train")

    def _load_sessions(self, load: bool = False) -> Sessions | None:
        """Open the server's own sessions; MONAI Label's share one folder among all servers of a user."""
        return open_sessions(self.state.folder) if self.in_server else None
