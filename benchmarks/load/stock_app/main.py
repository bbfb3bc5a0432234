"""MONAI Label as shipped, with its own datastore and strategies: the baseline of `server_load`."""

from __future__ import annotations

from typing import Any

from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.tasks.activelearning.first import First
from monailabel.tasks.activelearning.random import Random


class Stock(MONAILabelApp):
    """The two strategies of MONAI Label that need no model."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, Any]) -> None:
        super().__init__(app_dir, studies, conf, labels={}, name="stock")

    def init_infers(self) -> dict[str, InferTask]:
        return {}

    def init_trainers(self) -> dict[str, TrainTask]:
        return {}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        return {}

    def init_strategies(self) -> dict[str, Strategy]:
        return {"random": Random(), "first": First()}
