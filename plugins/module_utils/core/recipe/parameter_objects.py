# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The objects inside a recipe, as tables: sources of the model, volumes, pods, probes."""

from __future__ import annotations

from .parameter import Parameter

# The images' user is not root, and may not take a lower one.
LEAST_PORT = 1024
# Where each pod tells the others how far it is.
STATUS_PORT = 8081
# Ray's own in each pod, below those that the kernel gives to connections (32768 to 60999): its worker processes take theirs from
# the first, as by its own default, and its other processes have one each (`ray start`).
WORKER_PORTS = range(10002, 19990)
RAY_PORTS = {
    "node-manager-port": 19990,
    "object-manager-port": 19991,
    "runtime-env-agent-port": 19992,
    "dashboard-agent-grpc-port": 19993,
    "dashboard-agent-listen-port": 19994,
}


def _port(name: str, default: int, description: str, wire: str) -> Parameter:
    return Parameter(name, "integer", description, wire, default=default, minimum=LEAST_PORT, maximum=65535)


_MOUNT = Parameter(
    "mount_location",
    "string",
    "Folder in the container below which the objects lie.",
    "mountPath of the model volume",
    required=True,
)
# A block volume of OCI holds at least 50 GB and at most 32 TB (OCI Block Volume).
_VOLUME_SIZE = Parameter(
    "volume_size_in_gbs",
    "integer",
    "Size of the model volume of each node.",
    "storage request of the model volume in Gi (OCI block volumes hold at least 50)",
    required=True,
    minimum=50,
    maximum=32768,
)
_SELECTION = (
    Parameter("include", "list", "Prefixes of object names to take.", "which objects are staged"),
    Parameter("exclude", "list", "Prefixes of object names to leave out.", "which objects are staged"),
)

OBJECT_STORAGE = (
    Parameter(
        "par",
        "string",
        "URL of a pre-authenticated request that may list and read the model's objects; else `bucket_name`.",
        "Secret <deployment>-source, read by the pods when they stage",
        secret=True,
    ),
    Parameter(
        "bucket_name",
        "string",
        "Bucket that holds the model's objects, in place of `par`; of the caller's own tenancy, in the cluster's region.",
        "a pre-authenticated request for the model's folder, made for the deployment",
    ),
    _MOUNT,
    _VOLUME_SIZE,
    *_SELECTION,
)

HUGGING_FACE = (
    Parameter("repository", "string", "Repository, as organization/name.", "what is staged", required=True),
    Parameter("revision", "string", "Branch, tag or commit.", "what is staged", default="main"),
    Parameter(
        "token_secret_name",
        "string",
        "Secret of the deployment's namespace that holds a token, for a private or gated repository; deploy itself "
        "takes one from HF_TOKEN.",
        "mounted into the pods as a file; never read by the controller",
    ),
    Parameter(
        "token_secret_key", "string", "Key of the token in that Secret.", "see token_secret_name", default="token"
    ),
    _MOUNT,
    _VOLUME_SIZE,
    *_SELECTION,
)

FILE_SYSTEM = (
    Parameter("file_system_ocid", "string", "OCID of the file system.", "volumeHandle", required=True),
    Parameter("mount_target_ocid", "string", "OCID of the mount target.", "volumeHandle", required=True),
    Parameter("mount_target_ip", "string", "Its address; without it, looked up.", "volumeHandle"),
    Parameter("export_path", "string", "Path of the export; without it, looked up.", "volumeHandle"),
    Parameter("mount_location", "string", "Folder in the container.", "mountPath", required=True),
    Parameter(
        "volume_size_in_gbs",
        "integer",
        "Size that is asked for; File Storage does not hold to it.",
        "storage of the PersistentVolume in Gi",
        required=True,
        minimum=1,
    ),
)

LOCAL_FILESYSTEM = (
    Parameter(
        "node_directory_path", "string", "Folder of the node, such as /mnt/nvme/models.", "hostPath", required=True
    ),
    Parameter("mount_location", "string", "Folder in the container.", "mountPath", required=True),
)

ENVIRONMENT = (
    Parameter("key", "string", "Name of the variable.", "env[].name", required=True),
    Parameter("value", "string", "Its value.", "env[].value", required=True),
)

ENVIRONMENT_SECRETS = (
    Parameter("envvar_name", "string", "Name of the variable.", "env[].name", required=True),
    Parameter("secret_name", "string", "Secret of the deployment's namespace.", "secretKeyRef.name", required=True),
    Parameter("secret_key", "string", "Key in that Secret.", "secretKeyRef.key", required=True),
)

_PROBE_ASKS = "each probe runs the group's own check, which asks the engine for a token; only its times can be set"
# A look that is cut off leaves nothing of what it found; longer than the checks wait for an answer (ready.py, live.py).
LEAST_PROBE_SECONDS = {"startup": 20, "liveness": 20, "readiness": 60}


def probe(field: str) -> tuple[Parameter, ...]:
    """The parameters of the probe `field` of the head container."""
    least = LEAST_PROBE_SECONDS[field.removesuffix("Probe")]
    return (
        Parameter("endpoint_path", "string", "Path of an HTTP probe.", "", not_served=_PROBE_ASKS),
        Parameter("port", "integer", "Port of an HTTP probe.", "", not_served=_PROBE_ASKS),
        Parameter("scheme", "string", "Scheme of an HTTP probe.", "", not_served=_PROBE_ASKS),
        *(
            Parameter(name, "integer", text, f"{field}.{wire}", minimum=minimum, maximum=maximum)
            for name, text, wire, minimum, maximum in (
                ("initial_delay_seconds", "Seconds before the first look.", "initialDelaySeconds", 0, None),
                ("period_seconds", "Seconds from look to look.", "periodSeconds", 1, None),
                ("timeout_seconds", f"Seconds that a look may take, {least} at least.", "timeoutSeconds", 1, None),
                # Kubernetes takes nothing but 1 for liveness and startup.
                (
                    "success_threshold",
                    "Good looks in a row that count.",
                    "successThreshold",
                    1,
                    None if field == "readinessProbe" else 1,
                ),
                ("failure_threshold", "Bad looks in a row that count.", "failureThreshold", 1, None),
            )
        ),
    )


def _node_parameters(role: str) -> tuple[Parameter, ...]:
    return (
        Parameter(
            f"{role}_node_num_cpus",
            "integer",
            f"OCPUs of the {role} pod.",
            "CPU request: 2 per OCPU on x86, 1 on Arm",
            required=True,
            minimum=1,
        ),
        Parameter(
            f"{role}_node_num_gpus",
            "integer",
            f"GPUs of the {role} pod.",
            "nvidia.com/gpu request and limit",
            required=True,
            minimum=1,
        ),
        Parameter(
            f"{role}_node_cpu_mem_in_gbs",
            "integer",
            f"Memory of the {role} pod, shared memory included.",
            "memory request and limit in Gi",
            required=True,
            minimum=1,
        ),
    )


RAYCLUSTER_PARAMS = (
    Parameter(
        "model_path_in_container",
        "string",
        "Folder of the model in the container, below a mount_location.",
        "the model argument of vllm serve",
        required=True,
    ),
    *_node_parameters("head"),
    Parameter(
        "num_worker_nodes",
        "integer",
        "Worker nodes: one less than recipe_node_pool_size. Required, unless that is `auto`.",
        "replicas of the worker group",
        minimum=0,
    ),
    *_node_parameters("worker"),
    _port("redis_port", 6379, "Port of Ray's global control service inside the cluster.", "ray start --port"),
    _port("dashboard_port", 8265, "Port of the Ray dashboard inside the cluster.", "ray start --dashboard-port"),
    _port("metrics_export_port", 8080, "Port of Ray's metrics on every node.", "ray start --metrics-export-port"),
    _port(
        "rayclient_server_port",
        10001,
        "Port of the Ray client server, reached by port-forward only.",
        "ray start --ray-client-server-port",
    ),
)
