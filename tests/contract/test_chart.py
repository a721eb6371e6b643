"""charts/polyhead: rendered by Helm itself, checked against Kubernetes' schemas and our settings.

Helm 4 comes as a library in `helm-python-sdk`, the schemas in `kubernetes-validate` (the extra
`dev`); without them only what needs neither is checked.
"""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.metrics import Metrics
from app.settings import Settings
from scripts.chart_readme import CHART, documented, table, value_at
from tests.conftest import ROOT

VALUES_TEXT = (CHART / "values.yaml").read_text()
VALUES: dict[str, Any] = yaml.safe_load(VALUES_TEXT)
needs_helm = pytest.mark.skipif(
    importlib.util.find_spec("helm_python") is None, reason="needs helm-python-sdk (extra dev)"
)
needs_schemas = pytest.mark.skipif(
    importlib.util.find_spec("kubernetes_validate") is None,
    reason="needs kubernetes-validate (extra dev)",
)

KEYS = {"secrets": {"existingSecret": "keys"}}
SHARED = {"registry": {"url": "s3://bucket/prefix"}}
GPU = {"encoder": {"cpu": {"enabled": False}, "gpu": {"enabled": True}}}
EXTERNAL = {"redis": {"bundled": {"enabled": False}, "external": {"existingSecret": "redis"}}}
ALL = {
    "image": {"registry": "registry.example.com/team/", "tag": "1", "pullSecrets": ["pull"]},
    "registry": {
        "url": "s3://bucket/prefix",
        "envFrom": [{"secretRef": {"name": "aws"}}],
    },
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}},
    "settings": {"POLYHEAD_MAX_INPUTS": 256, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel:4318"},
    "api": {
        "replicas": 3,
        "autoscaling": {"enabled": True},
        "podAnnotations": {"a": "b"},
        "nodeSelector": {"pool": "api"},
        "tolerations": [{"key": "x", "operator": "Exists"}],
    },
    "encoder": {"autoscaling": {"enabled": True, "queuedTokens": 4000}},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "annotations": {"x": "y"},
        "tlsSecret": "tls",
    },
    "networkPolicy": {"extraEgress": [{"ports": [{"port": 4318, "protocol": "TCP"}]}]},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
}
COMBINATIONS = {
    "defaults": {},
    "shared registry": SHARED | {"api": {"replicas": 2}},
    "external redis": EXTERNAL,
    "gpu": GPU,
    "gpu scaled by tokens": {
        "encoder": GPU["encoder"]
        | {"autoscaling": {"enabled": True, "cpuPercent": 0, "queuedTokens": 9000}}
    },
    "nothing kept": {
        "api": {"persistence": {"enabled": False}},
        "networkPolicy": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "serviceAccount": {"create": False},
    },
    "own claim": {"api": {"persistence": {"existingClaim": "mine"}}},
    "everything": ALL,
    "everything, external redis": ALL | EXTERNAL,
}


def render(values: dict[str, Any], name: str = "polyhead") -> list[dict[str, Any]]:
    """The manifests that Helm makes of the chart, the notes left out."""
    import helm_python

    with helm_python.Chart.load(str(CHART)) as chart:
        rendered = chart.render(KEYS | values, name=name, namespace="ours")
    return [
        document
        for path, text in rendered.items()
        if path.endswith(".yaml")
        for document in yaml.safe_load_all(text)
        if document
    ]


def of_kind(manifests: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def pods(manifests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Pod templates by component."""
    found = of_kind(manifests, "Deployment", "StatefulSet")
    return {
        manifest["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]: manifest[
            "spec"
        ]["template"]
        for manifest in found
    }


@pytest.fixture(params=COMBINATIONS.values(), ids=COMBINATIONS.keys(), scope="module")
def manifests(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return render(request.param)


class TestFiles:
    """What can be told without Helm."""

    def test_the_readme_has_the_values_as_they_are(self) -> None:
        assert table(VALUES_TEXT) in (CHART / "README.md").read_text()

    def test_every_value_is_documented_and_in_the_schema(self) -> None:
        said = documented(VALUES_TEXT)
        schema = json.loads((CHART / "values.schema.json").read_text())

        def leaves(value: Any, path: str) -> list[str]:
            if path in said or not isinstance(value, dict) or not value:
                return [path]
            return [
                leaf for key in value for leaf in leaves(value[key], f"{path}.{key}".strip("."))
            ]

        for path in leaves(VALUES, ""):
            assert path in said, path
            place = schema
            for part in path.split("."):
                place = place["properties"][part]
        assert [value_at(VALUES, path) for path in said]

    def test_redis_has_the_settings_of_the_compose_file(self) -> None:
        def lines(path: Path) -> list[str]:
            return [line for line in path.read_text().splitlines() if line and line[0] != "#"]

        assert lines(CHART / "files" / "redis.conf") == lines(ROOT / "docker" / "redis.conf")

    def test_the_schema_knows_the_default_values(self) -> None:
        jsonschema = pytest.importorskip("jsonschema")
        schema = json.loads((CHART / "values.schema.json").read_text())
        values = VALUES | KEYS | {"secrets": VALUES["secrets"] | KEYS["secrets"]}
        jsonschema.validate(values, schema)
        for path, wrong in (
            ("registry.url", "http://x"),
            ("registry.url", "s3://user:password@bucket/x"),
            ("settings", {"POLYHEAD_API_KEYS": "predict:secret-in-values"}),
            ("settings", {"PATH": "x"}),
            ("secrets.existingSecret", ""),
            ("api.replicas", "2"),
        ):
            changed = json.loads(json.dumps(values))
            *parents, last = path.split(".")
            place = changed
            for part in parents:
                place = place[part]
            place[last] = wrong
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(changed, schema)


@needs_helm
class TestRendered:
    def test_helm_finds_nothing_to_complain_of(self) -> None:
        import helm_python

        for values in COMBINATIONS.values():
            report = helm_python.lint(str(CHART), KEYS | values, strict=True)
            # 1 is information: that a chart may have an icon.
            assert [m for m in report["messages"] if m["severity"] > 1] == []
            assert not report["errors"]

    @needs_schemas
    @pytest.mark.parametrize("version", ["1.30", "1.34", "1.37"])
    def test_kubernetes_knows_every_field(
        self, manifests: list[dict[str, Any]], version: str
    ) -> None:
        import kubernetes_validate

        for manifest in manifests:
            if manifest["kind"] != "ServiceMonitor":  # of the Prometheus operator
                kubernetes_validate.validate(manifest, version, strict=True)

    @needs_schemas
    def test_the_schemas_are_strict(self) -> None:
        """Or the test before would pass whatever is misspelled."""
        import kubernetes_validate

        (deployment, *_) = of_kind(render({}), "Deployment")
        deployment["spec"]["template"]["spec"]["terminationGracePeriod"] = 30
        with pytest.raises(kubernetes_validate.ValidationError, match="terminationGracePeriod"):
            kubernetes_validate.validate(deployment, "1.34", strict=True)

    def test_every_variable_is_a_setting(self, manifests: list[dict[str, Any]]) -> None:
        known = {f"POLYHEAD_{field.upper()}" for field in Settings.model_fields}
        known |= {"REDIS_URL", "OTEL_EXPORTER_OTLP_ENDPOINT"}
        for component in ("api", "encoder"):
            (container,) = pods(manifests)[component]["spec"]["containers"]
            names = [variable["name"] for variable in container["env"]]
            assert set(names) <= known
            assert len(set(names)) == len(names)
            for variable in container["env"]:
                assert ("value" in variable) != ("valueFrom" in variable)
                if "KEY" in variable["name"]:
                    assert variable.get("value", "predict:$(POLYHEAD_ENCODER_KEY)").endswith(
                        "$(POLYHEAD_ENCODER_KEY)"
                    )

    def test_the_settings_of_each_process_are_accepted(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As the kubelet would set them, beside what the image sets."""
        for values in COMBINATIONS.values():
            for component, port in (("api", "8080"), ("encoder", "8081")):
                (container,) = pods(render(values))[component]["spec"]["containers"]
                with monkeypatch.context() as patched:
                    patched.setenv("POLYHEAD_ROLE", component)
                    patched.setenv("POLYHEAD_HOST", "0.0.0.0")
                    for variable in container["env"]:
                        secret = "predict:some-key-1"
                        if variable["name"] == "REDIS_URL":
                            secret = "redis://somewhere:6379/0"
                        value = variable.get("value", secret)
                        patched.setenv(
                            variable["name"], value.replace("$(POLYHEAD_ENCODER_KEY)", "k" * 9)
                        )
                    settings = Settings()
                assert settings.role == component
                (listens,) = container["ports"]
                assert str(listens["containerPort"]) == port

    def test_ports_are_those_of_the_images(self) -> None:
        stages = (ROOT / "Dockerfile").read_text().split("\nFROM ")
        for component, pod in pods(render({})).items():
            if component == "redis":
                continue
            (container,) = pod["spec"]["containers"]
            (port,) = container["ports"]
            image = container["image"].partition(":")[0].removeprefix("polyhead-")
            (stage,) = [s for s in stages if s.startswith(f"runtime AS {image}\n")]
            assert f"EXPOSE {port['containerPort']}\n" in stage
            assert f"POLYHEAD_PORT={port['containerPort']}" in stage

    def test_probes_ask_routes_that_need_no_key(self, manifests: list[dict[str, Any]]) -> None:
        from app.routes.operations import open_router

        open_paths = {getattr(route, "path", "") for route in open_router.routes}
        for component in ("api", "encoder"):
            (container,) = pods(manifests)[component]["spec"]["containers"]
            probes = {
                kind: container[f"{kind}Probe"]["httpGet"]["path"]
                for kind in ("startup", "liveness", "readiness")
            }
            assert set(probes.values()) <= open_paths
            assert probes == {"startup": "/health", "liveness": "/health", "readiness": "/ready"}

    def test_pods_are_locked_down(self, manifests: list[dict[str, Any]]) -> None:
        for pod in pods(manifests).values():
            spec = pod["spec"]
            assert spec["automountServiceAccountToken"] is False
            # Or a service named polyhead would set POLYHEAD_PORT=tcp://...
            assert spec["enableServiceLinks"] is False
            assert spec["securityContext"]["runAsNonRoot"] is True
            assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            assert len(spec["topologySpreadConstraints"]) == 2
            for container in spec["containers"]:
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                }
                assert "memory" in container["resources"]["limits"]
                mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
                assert {"/data", "/tmp"} <= mounted

    def test_the_stop_is_longer_than_the_drain(self, manifests: list[dict[str, Any]]) -> None:
        drain = re.search(
            r"timeout_graceful_shutdown=(\d+)", (ROOT / "app/__main__.py").read_text()
        )
        assert drain is not None
        for component in ("api", "encoder"):
            spec = pods(manifests)[component]["spec"]
            (container,) = spec["containers"]
            pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            assert spec["terminationGracePeriodSeconds"] >= pause + int(drain[1]) + 5

    def test_selectors_find_their_pods(self, manifests: list[dict[str, Any]]) -> None:
        labels = {name: pod["metadata"]["labels"] for name, pod in pods(manifests).items()}
        for service in of_kind(manifests, "Service"):
            selector = service["spec"]["selector"]
            found = [name for name, own in labels.items() if selector.items() <= own.items()]
            assert found == [selector["app.kubernetes.io/component"]]
        for manifest in of_kind(manifests, "Deployment", "StatefulSet"):
            own = manifest["spec"]["template"]["metadata"]["labels"]
            assert manifest["spec"]["selector"]["matchLabels"].items() <= own.items()
        names = {(m["kind"], m["metadata"]["name"]) for m in manifests}
        assert len(names) == len(manifests)
        for scaler in of_kind(manifests, "HorizontalPodAutoscaler"):
            target = scaler["spec"]["scaleTargetRef"]
            assert (target["kind"], target["name"]) in names

    def test_the_encoders_service_gives_all_addresses(
        self, manifests: list[dict[str, Any]]
    ) -> None:
        (container,) = pods(manifests)["api"]["spec"]["containers"]
        (url,) = [v["value"] for v in container["env"] if v["name"] == "POLYHEAD_ENCODER_URL"]
        (service,) = [
            m
            for m in of_kind(manifests, "Service")
            if url == f"http://{m['metadata']['name']}:{m['spec']['ports'][0]['port']}"
        ]
        assert service["spec"]["clusterIP"] == "None"

    def test_metrics_that_scale_are_ours(self) -> None:
        (_, scaler) = of_kind(render(ALL), "HorizontalPodAutoscaler")
        names = [m["pods"]["metric"]["name"] for m in scaler["spec"]["metrics"] if "pods" in m]
        assert names == ["polyhead_queued_tokens"]
        exposed = Metrics().exposition().decode()
        assert re.search(r"^polyhead_queued_tokens\b", exposed, re.MULTILINE)
        assert "polyhead_queued_tokens" in (ROOT / "docs" / "kubernetes.md").read_text()

    def test_policies_let_through_what_is_needed_and_deny_the_rest(self) -> None:
        policies = {
            m["metadata"]["name"].rpartition("-")[2]: m["spec"]
            for m in of_kind(render(ALL), "NetworkPolicy")
        }
        assert set(policies) == {"deny", "api", "encoder", "redis"}
        assert "ingress" not in policies["deny"]
        assert "egress" not in policies["deny"]

        def callers(policy: str) -> list[Any]:
            return [
                peer["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/component")
                or peer["podSelector"]["matchExpressions"][0]["values"]
                for rule in policies[policy]["ingress"]
                for peer in rule["from"]
                if "podSelector" in peer
            ]

        assert callers("api") == []
        assert callers("encoder") == ["api"]
        assert callers("redis") == [["api", "encoder"]]
        scraped = [len(policies[name]["ingress"]) for name in ("api", "encoder", "redis")]
        assert scraped == [2, 2, 1]
        assert "Egress" not in policies["redis"]["policyTypes"]  # denied by the first one

    def test_nothing_secret_is_rendered(self, manifests: list[dict[str, Any]]) -> None:
        assert not of_kind(manifests, "Secret")

    def test_a_release_of_another_name(self) -> None:
        names = {m["metadata"]["name"] for m in render({}, name="mine")}
        assert "mine-polyhead-api" in names
        long = {m["metadata"]["name"] for m in render({}, name="m" * 53)}
        assert max(map(len, long)) <= 63

    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            ({"secrets": {"existingSecret": ""}}, "existingSecret"),
            ({"api": {"replicas": 2}}, "registry.url"),
            ({"api": {"autoscaling": {"enabled": True}}}, "registry.url"),
            ({"encoder": {"gpu": {"enabled": True}}}, "encoder.cpu or encoder.gpu"),
            ({"redis": {"bundled": {"enabled": False}}}, "redis.external"),
            ({"shutdown": {"preStopSeconds": 20}}, "graceSeconds"),
            (
                {"encoder": {"autoscaling": {"enabled": True, "cpuPercent": 0}}},
                "cpuPercent or queuedTokens",
            ),
            ({"settings": {"POLYHEAD_API_KEYS": "predict:12345678"}}, "POLYHEAD_API_KEYS"),
            ({"misspelled": 1}, "misspelled"),
        ],
        ids=str,
    )
    def test_what_would_not_work_is_refused(self, values: dict[str, Any], reason: str) -> None:
        import helm_python

        def install() -> None:
            with helm_python.Chart.load(str(CHART)) as chart:
                chart.validate_schema(KEYS | values)
                chart.render(KEYS | values, name="polyhead", namespace="ours")

        with pytest.raises(helm_python.HelmError, match=reason):
            install()
