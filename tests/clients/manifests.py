"""Judges what is in deploy/ by what others define: ECS by the model of its API that botocore has,
Kubernetes by its API's schemas, Compose by the Compose specification; and looks whether what one part
of a manifest names is in another. Prints, as JSON, each manifest's config for credd and what its apps
ask for.

    manifests.py FOLDER
"""

import json
import pathlib
import re
import sys

import botocore.session
import botocore.validate
import compose_spec
import kubernetes_validate
import yaml

FOLDER = pathlib.Path(sys.argv[1])
KUBERNETES = "1.37"


def named(place, names, there):
    for name in names:
        if name not in there:
            raise SystemExit(f"{place}: there is no {name}")


def found(path, config, identities, uris):
    return {"manifest": path.name, "config": config, "identities": identities, "uris": uris}


def ecs(path):
    model = botocore.session.get_session().get_service_model("ecs")
    shape = model.operation_model("RegisterTaskDefinition").input_shape
    definition = json.loads(path.read_text())
    botocore.validate.validate_parameters(definition, shape)
    # The validator lets words pass that an enumeration lacks.
    words(definition, shape, path.name)
    volumes = {it["name"] for it in definition["volumes"]}
    containers = {it["name"]: it for it in definition["containerDefinitions"]}
    identities = []
    for name, container in containers.items():
        mounts = container.get("mountPoints", [])
        named(path, [it["sourceVolume"] for it in mounts], volumes)
        named(path, [it["containerName"] for it in container.get("dependsOn", [])], containers)
        entry = container.get("entryPoint", [])
        if entry[1:2] == ["exec"]:
            identities.append(entry[2])
    (variable,) = containers["credd"]["environment"]
    return found(path, variable["value"], identities, [])


def words(value, shape, place):
    if shape.type_name == "structure":
        for key, inner in value.items():
            words(inner, shape.members[key], f"{place}.{key}")
    elif shape.type_name == "list":
        for index, inner in enumerate(value):
            words(inner, shape.member, f"{place}[{index}]")
    elif shape.type_name == "string" and shape.enum and value not in shape.enum:
        raise SystemExit(f"{place}: {value} is none of {shape.enum}")


def kubernetes(path):
    documents = list(yaml.safe_load_all(path.read_text()))
    for document in documents:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    by_kind = {it["kind"]: it for it in documents}
    pod = by_kind["Deployment"]["spec"]["template"]["spec"]
    volumes = {it["name"]: it for it in pod["volumes"]}
    config = by_kind["ConfigMap"]
    named(path, [volumes["config"]["configMap"]["name"]], [config["metadata"]["name"]])
    named(path, [pod["serviceAccountName"]], [by_kind["ServiceAccount"]["metadata"]["name"]])
    for container in pod["initContainers"] + pod["containers"]:
        named(path, [it["name"] for it in container["volumeMounts"]], volumes)
    (app,) = pod["containers"]
    uris = [it["value"] for it in app["env"] if it["name"].endswith("_FULL_URI")]
    return found(path, config["data"]["credd.toml"], [], uris)


def compose(path):
    # Variables are put in before a file is judged, here those that nobody has set.
    text = re.sub(r"\$\{HOME\}", "/home/you", path.read_text())
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    composed = compose_spec.PyCompose.from_yaml(text)
    composed.validate()
    composed.to_spec()
    services, volumes = yaml.safe_load(text)["services"], yaml.safe_load(text)["volumes"]
    for service in services.values():
        sources = [it.partition(":")[0] for it in service["volumes"]]
        named(path, [it for it in sources if "/" not in it], volumes)
        named(path, service.get("depends_on", {}), services)
    named(path, [services["app"]["network_mode"]], ["service:credd"])
    config = services["credd"]["environment"]["CREDD_CONFIG_CONTENT"]
    return found(path, config, [], [services["app"]["environment"]["AWS_CONTAINER_CREDENTIALS_FULL_URI"]])


judged = [ecs(path) for path in sorted(FOLDER.glob("ecs/*.json"))]
judged.append(kubernetes(FOLDER / "kubernetes.yaml"))
judged.append(compose(FOLDER / "compose.yaml"))
print(json.dumps(judged))
