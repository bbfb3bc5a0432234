"""Brain MRI slices: 18 structures, left and right as one, numbered as in `bundle_configs/brain_mri`.

monailabel start_server --app apps/brain_mri --studies <folder or DICOMweb URL> --host 127.0.0.1
"""

from __future__ import annotations

from typing import Any

from monailabel.interfaces.app import MONAILabelApp

from server.app import Shell


class BrainMri(Shell, MONAILabelApp):
    """Selects, segments and learns with `bundle_configs/brain_mri`; all parts come from `Shell`."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, Any]) -> None:
        super().__init__(
            app_dir,
            studies,
            conf,
            bundle="brain_mri",
            name="Brain MRI slices",
            description="Tells which brain slice to label next and segments its structures",
            version="0.1.0",
        )
