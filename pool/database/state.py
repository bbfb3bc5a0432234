"""The state of one pool: its database and the folder that also holds its models.

The datastore is the only source of truth for images and labels; everything computed can be rebuilt from them.
Every public method is one transaction, safe between the server and its child processes.
"""

from __future__ import annotations

from pathlib import Path

from pool.database.database import Database
from pool.database.drafts import Drafts
from pool.database.duplicates import Duplicates
from pool.database.embeddings import Embeddings, Failures
from pool.database.handouts import Handouts
from pool.database.heads import Heads
from pool.database.label_checks import LabelChecks
from pool.database.ledger import Ledger
from pool.database.maps import Maps
from pool.database.marks import Marks
from pool.database.models import Models, Validations
from pool.database.plans import Plans
from pool.database.predictions import Predictions
from pool.database.readers import Readers
from pool.database.reopened import Reopened
from pool.database.scores import Scores
from pool.database.traces import Traces
from pool.database.trainings import Progress, Trainings


class State:
    """The computed state of one pool, in `folder`; each attribute owns its tables."""

    def __init__(self, folder: Path, migrate: bool = False, url: str = "") -> None:
        database = Database(folder, migrate, url)
        self.database, self.exclusive, self.trouble = str(database), database.exclusive, database.trouble
        self.folder, self.loss, self.fold = folder, database.loss, database.fold
        self.serve, self.watch, self.pool_id = database.serve, database.watch, database.identity.read
        self.remember_pool = database.identity.remember
        self.failures, self.embeddings = Failures(database), Embeddings(database)
        self.maps, self.plans = Maps(database), Plans(database)
        self.models, self.validations, self.scores = Models(database), Validations(database), Scores(database)
        self.heads = Heads(database)
        self.handouts, self.marks, self.duplicates = Handouts(database), Marks(database), Duplicates(database)
        self.label_checks, self.predictions = LabelChecks(database), Predictions(database)
        self.reopened = Reopened(database)
        self.readers, self.drafts = Readers(database), Drafts(database, folder / "drafts")
        self.traces = Traces(database)
        self.ledger, self.trainings, self.progress = Ledger(database), Trainings(database), Progress(database)
