"""Former app: lungs 1.

monailabel start_server --app apps/former_app --studies <folder or DICOMweb URL> --host 127.0.0.1
"""

from __future__ import annotations

from typing import Any

from monailabel.interfaces.app import MONAILabelApp
from server.shell import Shell


class FormerApp(Shell, MONAILabelApp):
    """Selects, segments and learns with `bundle_configs/former_app`; all parts come from the shell."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, Any]) -> None:
        super().__init__(
            app_dir,
            studies,
            conf,
            bundle="former_app",
            name="Former app",
            description="Tells which image to label next and segments lungs",
            version="0.1.0",
        )
