"""CT and MR volumes: the structures that --conf labels or a Decathlon task's dataset.json names.

monailabel start_server --app apps/volumes --studies <folder, Task folder's imagesTr, or DICOMweb URL> \\
    --host 127.0.0.1
"""

from __future__ import annotations

from typing import Any

from monailabel.interfaces.app import MONAILabelApp

from server.app import Shell


class Volumes(Shell, MONAILabelApp):
    """Selects, segments and learns with `bundle_configs/volumes`; all parts come from `Shell`."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, Any]) -> None:
        super().__init__(
            app_dir,
            studies,
            conf,
            bundle="volumes",
            name="CT and MR volumes",
            description="Tells which volume to label next and segments its structures",
            version="0.1.0",
        )
