"""The encoder: tokenizer, backbone, pooling, quantizer; and the heads that read its codes."""

import sys

# Importing OpenVINO (and NNCF) would report that to Google Analytics, under an identifier that it
# keeps in the home directory. Both do without where this package is missing.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
