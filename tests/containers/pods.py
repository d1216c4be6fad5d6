"""Runs what the manifests of deploy/ say, with podman in the place of ECS and of a kubelet: the same
users, volumes, mounts, variables, probes and entry points. boto3 is the app.

    pods.py NETWORK_NAMESPACE FOLDER PODMAN…
"""

import json
import os
import subprocess
import sys
import time

import yaml

NAMESPACE, FOLDER, *PODMAN = sys.argv[1:]
HERE = os.path.dirname(os.path.abspath(__file__))
DEPLOY = os.path.join(HERE, "../../deploy")
CREDD, APP = "localhost/credd:test", "localhost/app:test"

# Of this machine (safety: no container gets more than it needs, and limits that may be set here).
COMMON = [
    "--network", f"ns:/run/netns/{NAMESPACE}",
    "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024",
    "--security-opt", "no-new-privileges",
]  # fmt: skip

# Where the app's Python is: the host's own, which nobody in the container can write to.
HOST = [
    path
    for path in ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache", sys.base_prefix, sys.prefix, HERE)
    if os.path.exists(path) and not os.path.islink(path)
]
# Of every process: the emulator's, too.
MEMORY = "256m" if os.environ.get("CREDD_EMULATED") else "32m"
APP_COMMAND = [sys.executable, os.path.join(HERE, "app.py")]


def run(*words, check=True):
    done = subprocess.run([*PODMAN, *words], capture_output=True, text=True)
    if check and done.returncode != 0:
        sys.exit(f"podman {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def eventually(what, ask, log=lambda: ""):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.05)
    sys.exit(f"waited in vain: {what}\n{log()}")


def say(text):
    print(f"containers: {text}", flush=True)


def expect(what, found, wanted):
    if found != wanted:
        sys.exit(f"{what}: {found!r} instead of {wanted!r}")
    say(f"{what}: {found}")


class Container:
    """One container: its name, and what podman is told of it."""

    def __init__(self, name, image, options, command):
        self.name, self.options, self.command = name, options, command
        self.image = image
        if image == APP:
            self.options = options + [
                part for path in HOST for part in ("--volume", f"{path}:{path}:ro")
            ]

    def words(self, *more):
        return ["run", "--name", self.name, *COMMON, *more, *self.options, self.image, *self.command]

    def result(self):
        """Runs it to its end: what it printed."""
        done = run(*self.words("--rm"))
        return done.stdout.strip()

    def start(self, probe):
        run(*self.words("--detach"))

        def is_healthy():
            state = run("inspect", "--format", "{{.State.Status}}", self.name).stdout.strip()
            if state != "running":
                sys.exit(f"{self.name} is {state}: {self.log()}")
            return run("exec", self.name, *probe, check=False).returncode == 0

        eventually(f"{self.name} is healthy", is_healthy, self.log)

    def log(self):
        done = run("logs", self.name, check=False)
        return done.stdout + done.stderr

    def first_process(self):
        return int(run("inspect", "--format", "{{.State.Pid}}", self.name).stdout)

    def stop(self):
        begun = time.monotonic()
        run("stop", "--time", "30", self.name)
        took = time.monotonic() - begun
        code = run("inspect", "--format", "{{.State.ExitCode}}", self.name).stdout.strip()
        expect(f"exit code of {self.name} on podman stop", code, "0")
        if took > 10:
            sys.exit(f"podman stop took {took:.1f} s")
        say(f"podman stop of {self.name}: {took:.2f} s")
        run("rm", "--volumes", self.name)


def secured(container, user, read_only):
    options = ["--user", user]
    if read_only:
        options.append("--read-only")
    if container:
        options += ["--cap-drop", "all"]
    return options


def ecs_container(definition, image, more, command):
    drop = definition.get("linuxParameters", {}).get("capabilities", {}).get("drop")
    is_read_only = definition.get("readonlyRootFilesystem", False)
    options = secured(drop == ["ALL"], definition["user"], is_read_only)
    # What the agent sets in every container of a task with a role.
    options += ["--env", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/v2/credentials/task"]
    for variable in definition.get("environment", []):
        options += ["--env", f"{variable['name']}={variable['value']}"]
    for mount in definition["mountPoints"]:
        mode = ":ro" if mount.get("readOnly") else ""
        options += ["--volume", f"{mount['sourceVolume']}:{mount['containerPath']}{mode}"]
    if "entryPoint" in definition:
        entry, *rest = definition["entryPoint"]
        # Where an app's image has it; this one's /usr is the host's.
        entry = entry.replace("/usr/local/bin/credd", "/credd")
        options += ["--entrypoint", entry]
        command = [*rest, *command]
    return Container(definition["name"], image, options + more, command)


def ecs(launch_type, sts):
    """The task definition for Fargate, or for EC2."""
    with open(os.path.join(DEPLOY, f"ecs/{launch_type}.json")) as file:
        task = json.load(file)
    containers = {it["name"]: it for it in task["containerDefinitions"]}
    for volume in task["volumes"]:
        docker = volume.get("dockerVolumeConfiguration", {})
        options = [f"--opt={name}={value}" for name, value in docker.get("driverOpts", {}).items()]
        run("volume", "create", *options, volume["name"])
    program = containers.get("credd-program")
    if program:
        ecs_container(program, CREDD, [], program["command"]).result()
    credd = containers["credd"]
    # Both names are this host's: one is in a file, one is known to a server alone.
    more = ["--env", f"AWS_ENDPOINT_URL_STS={sts}", "--env", "CREDD_LOG=debug"]
    more += ["--dns", "127.0.0.1", "--add-host", "sts.by-hosts.test:127.0.0.1"]
    sidecar = ecs_container(credd, CREDD, more, credd.get("command", []))
    sidecar.start(credd["healthCheck"]["command"][1:])
    return containers, sidecar


def ecs_by_each_name():
    for launch_type, way in (("fargate", "by-dns"), ("ec2", "by-hosts")):
        containers, sidecar = ecs(launch_type, f"http://sts.{way}.test:4566")
        say(f"ECS, {launch_type}: every identity is served, with STS found {way.replace('-', ' ')}")
        sidecar_health = run("healthcheck", "run", "credd", check=False).returncode
        expect("podman healthcheck run", sidecar_health, 0)
        ecs_apps(containers)
        sidecar.stop()
        run("volume", "rm", "--force", "credd", "credd-program")


def ecs_apps(containers):
    for name, key, user in (
        ("orders", "ASIAORDERS0000000000", 10001),
        ("mail", "ASIAMAIL000000000000", 10002),
    ):
        app = ecs_container(containers[name], APP, ["--read-only"], APP_COMMAND)
        expect(f"ECS: boto3 in {name}, by credd exec", app.result(), f"container-role {key} {user}")
    # What is not its own it does not get.
    other = dict(containers["mail"], entryPoint=containers["orders"]["entryPoint"])
    app = ecs_container(other, APP, ["--read-only"], APP_COMMAND)
    done = run(*app.words("--rm"), check=False)
    expect("ECS: mail asks for orders", (done.returncode, "no rule" in done.stderr), (1, True))
    # And without `exec`, the agent's variable wins.
    without = {key: value for key, value in containers["orders"].items() if key != "entryPoint"}
    app = ecs_container(without, APP, ["--read-only"], APP_COMMAND)
    task = "container-role ASIATASKROLE00000001 10001"
    expect("ECS: boto3 without credd exec gets the task's role", app.result(), task)


def kubernetes():
    """The pod of the Deployment."""
    with open(os.path.join(DEPLOY, "kubernetes.yaml")) as file:
        documents = {it["kind"]: it for it in yaml.safe_load_all(file)}
    pod = documents["Deployment"]["spec"]["template"]["spec"]
    # As a kubelet makes an emptyDir: open to all, and root's.
    places = {name: os.path.join(FOLDER, f"volume-{name}") for name in ("credd", "config", "sts")}
    for place in places.values():
        os.mkdir(place)
        os.chmod(place, 0o777)
    for place, name, text in (
        (places["config"], "credd.toml", documents["ConfigMap"]["data"]["credd.toml"]),
        (places["sts"], "token", "web-identity"),
    ):
        with open(os.path.join(place, name), "w") as file:
            file.write(text)
        os.chmod(os.path.join(place, name), 0o644)

    def container(spec, image, more, command):
        security = {**pod["securityContext"], **spec["securityContext"]}
        user = f"{security['runAsUser']}:{security['runAsGroup']}"
        is_read_only = security.get("readOnlyRootFilesystem", False)
        options = secured(security["capabilities"] == {"drop": ["ALL"]}, user, is_read_only)
        for group in security["supplementalGroups"]:
            options += ["--group-add", str(group)]
        for variable in spec["env"]:
            options += ["--env", f"{variable['name']}={variable['value']}"]
        for mount in spec["volumeMounts"]:
            source = os.path.join(places[mount["name"]], mount.get("subPath", "")).rstrip("/")
            mode = ":ro" if mount.get("readOnly") else ""
            options += ["--volume", f"{source}:{mount['mountPath']}{mode}"]
        return Container(f"pod-{spec['name']}", image, options + more, command)

    (spec,) = pod["initContainers"]
    more = ["--env", "AWS_ENDPOINT_URL_STS=http://sts.by-dns.test:4566", "--dns", "127.0.0.1"]
    sidecar = container(spec, CREDD, more, [])
    sidecar.start(spec["startupProbe"]["exec"]["command"])
    run("exec", sidecar.name, *spec["livenessProbe"]["exec"]["command"])
    (spec,) = pod["containers"]
    app = container(spec, APP, ["--read-only"], APP_COMMAND)
    wanted = "container-role ASIAORDERS0000000000 10001"
    expect("Kubernetes: boto3, by the token of a shared volume", app.result(), wanted)
    sidecar.stop()


def orphans():
    """A program of a `process` provider that leaves orphans to the first process."""
    config = '[identity.a]\nprovider = "process"\ncommand = ["/orphan"]\n'
    options = ["--read-only", "--cap-drop", "all", "--env", f"CREDD_CONFIG_CONTENT={config}"]
    options += ["--volume", f"{FOLDER}/orphan:/orphan:ro", "--pids-limit", "32", "--memory", MEMORY]
    sidecar = Container("orphans", CREDD, options, [])
    sidecar.start(["/credd", "health"])
    first = sidecar.first_process()

    def children():
        with open(f"/proc/{first}/task/{first}/children") as file:
            return file.read().split()

    for _ in range(20):
        run("exec", sidecar.name, "/credd", "refresh")
    eventually("orphans are reaped", lambda: len(children()) == 1)
    say("21 orphans of a program: all reaped, none left as a zombie")
    sidecar.stop()


def roots():
    """Without a certificate store in the image, TLS has roots all the same, and trusts no others."""
    config = (
        '[identity.a]\nprovider = "web-identity"\ntoken-file = "/token"\n'
        'role-arn = "arn:aws:iam::123456789012:role/a"\nregion = "eu-west-1"\n'
        'endpoint = "https://sts.by-dns.test:8443"\n'
    )
    options = ["--read-only", "--env", f"CREDD_CONFIG_CONTENT={config}", "--env", "CREDD_LOG=debug"]
    options += ["--dns", "127.0.0.1", "--volume", f"{FOLDER}/volume-sts/token:/token:ro"]
    sidecar = Container("roots", CREDD, options, [])
    sidecar.start(["/credd", "status"])
    # Whoever asks for its health has it begin.
    run("exec", sidecar.name, "/credd", "health", check=False)
    wanted = ("using Mozilla's roots", "UnknownIssuer")
    is_said = lambda: all(it in sidecar.log() for it in wanted)  # noqa: E731
    eventually(f"the log has {wanted}", is_said, sidecar.log)
    say("TLS in the image has Mozilla's roots, and refuses a certificate that nobody vouches for")
    sidecar.stop()


def names():
    """The image has no users; a config that names one is refused with what to do."""
    config = '[[allow]]\ncaller = { user = "app" }\nidentity = ["default"]\n'
    options = ["--read-only", "--env", f"CREDD_CONFIG_CONTENT={config}"]
    done = run(*Container("names", CREDD, options, ["check"]).words("--rm"), check=False)
    is_told = "write a number, without quotes" in done.stderr
    expect("a user's name where there are none", (done.returncode, is_told), (1, True))


kubernetes()
ecs_by_each_name()
orphans()
roots()
names()
