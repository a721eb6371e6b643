"""What each process loads."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ServiceProcess

ROOT = Path(__file__).parent.parent.parent


def loaded_after(code: str) -> set[str]:
    """Top-level modules loaded after running `code` in a process of its own."""
    script = f"{code}\nimport sys; print(' '.join({{m.split('.')[0] for m in sys.modules}}))"
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


API = """
from app.settings import Settings
from app.main import create_app
app = create_app(Settings(role="api", encoder_url="http://127.0.0.1:9", data_dir="unused"))
app.openapi()
import app.tasks.trainer
"""


def test_the_api_process_loads_no_torch() -> None:
    loaded = loaded_after(API)
    assert "fastapi" in loaded
    assert loaded.isdisjoint(
        {"torch", "openvino", "transformers", "tokenizers", "sklearn", "scipy"}
    )


def test_a_registry_in_a_folder_loads_nothing_of_object_stores(tmp_path: Path) -> None:
    code = """
from pathlib import Path
from app.tasks.registry import Registry
from app.tasks.storage.opening import open_storage
for url in ("", "file://{0}/shared"):
    Registry(open_storage(url, Path("{0}")))
"""
    loaded = loaded_after(API + code.format(tmp_path))
    assert loaded.isdisjoint({"fsspec", "s3fs", "gcsfs", "adlfs", "boto3", "botocore", "aiohttp"})


def test_openvino_tells_nobody_that_it_is_used(tmp_path: Path) -> None:
    code = "import sys, models.openvino.encoder; print(sys.modules.get('openvino_telemetry'))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "None"
    assert not list(tmp_path.iterdir())  # its identifier would be here


def test_the_client_loads_httpx_and_nothing_heavy() -> None:
    loaded = loaded_after("import polyhead")
    assert "httpx" in loaded
    heavy = {"torch", "fastapi", "numpy", "pydantic", "pydantic_settings", "app", "models"}
    assert loaded.isdisjoint(heavy)


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("models", ("app", "bulk", "polyhead")),
        ("app", ("bulk", "polyhead")),
        ("bulk", ("polyhead",)),
        ("sdk/polyhead", ("app", "bulk", "models")),
    ],
)
def test_imports_run_one_way(folder: str, forbidden: tuple[str, ...]) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        for name in imports_of(path):
            assert name.split(".")[0] not in forbidden, f"{path} imports {name}"


@pytest.mark.parametrize(
    "path",
    [
        "app/encoding/queue.py",
        "app/encoding/addresses.py",
        "app/encoding/fleet.py",
        "app/cache/keys.py",
        "app/cache/commands.py",
        "app/cache/generations.py",
        "app/cache/packed_layout.py",
        "app/tasks/storage/index.py",
        "app/tasks/storage/url.py",
        "models/codes.py",
        "models/packing.py",
    ],
)
def test_pure_modules_know_no_loop_and_no_device(path: str) -> None:
    tops = {name.split(".")[0] for name in imports_of(ROOT / path)}
    assert tops.isdisjoint({"asyncio", "torch", "time", "httpx", "redis"})


def test_only_the_wiring_imports_what_runs_an_encoder() -> None:
    running = {"models.loading", "models.torch_encoder", "models.tokenization", "torch", "openvino"}
    for path in [*(ROOT / "app").rglob("*.py"), *(ROOT / "bulk").rglob("*.py")]:
        if path.name != "wiring.py":
            assert imports_of(path).isdisjoint(running), path


def test_the_cpu_service_encodes_without_torch(service: ServiceProcess) -> None:
    """The running process itself: what it has mapped, after encoding and predicting."""
    assert service.predict("a text that nobody has sent before: zebra")["usage"]["encoded"] == 1
    assert service.process is not None
    mapped = Path(f"/proc/{service.process.pid}/maps").read_text()
    assert "openvino" in mapped
    assert "libtorch" not in mapped
    assert "/transformers/" not in mapped


LOAD = """
from models.loading import load_encoder
from app.settings import DEFAULT_ENCODER
encoder = load_encoder(DEFAULT_ENCODER, device="cpu", backend="openvino", dtype={dtype!r})
encoder.forward([encoder.tokenize(["one text"])[0].windows[0]], 4)
"""


@pytest.mark.parametrize("dtype", ["int8", "bf16", "fp32"])
def test_the_openvino_backend_loads_no_torch(dtype: str) -> None:
    loaded = loaded_after(LOAD.format(dtype=dtype))
    assert {"openvino", "tokenizers"} <= loaded
    assert loaded.isdisjoint({"torch", "transformers", "sklearn", "scipy", "nncf"})
