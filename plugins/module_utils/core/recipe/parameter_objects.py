# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The objects inside a recipe, as tables: sources of the model, volumes, pods, probes."""

from __future__ import annotations

from . import formats
from .parameter import Parameter

# The images' user is not root, and may not listen on a lower one.
LEAST_PORT = 1024
# Where each pod tells the others its progress.
STATUS_PORT = 8081
# Ray's own in each pod, below the kernel's ephemeral ports (32768 to 60999): the range is for its worker processes, as by
# Ray's default, and its other processes have one each (`ray start`).
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
    "Folder in the container that the model's files are staged to.",
    "mountPath of the model volume",
    required=True,
    format=formats.FOLDER,
)
# A block volume of OCI holds at least 50 GB and at most 32 TB (OCI Block Volume).
_VOLUME_SIZE = Parameter(
    "volume_size_in_gbs",
    "integer",
    "Size of each node's model volume.",
    "storage request of the model volume in Gi (OCI block volumes hold at least 50)",
    required=True,
    minimum=50,
    maximum=32768,
)
_SELECTION = tuple(
    Parameter(name, "list", description, "which files are staged", format=formats.OBJECT_PATTERN)
    for name, description in (
        ("include", "Files, folders or shell patterns to stage; without it, everything that vLLM reads."),
        ("exclude", "Files, folders or shell patterns to leave out."),
    )
)

OBJECT_STORAGE = (
    Parameter(
        "par",
        "string",
        "URL of a pre-authenticated request that may list and read the model's objects; else `bucket_name`.",
        "Secret <deployment>-source, read by the pods when they stage",
        format=formats.PAR,
        secret=True,
    ),
    Parameter(
        "bucket_name",
        "string",
        "Bucket with the model's objects, instead of `par`: in the caller's tenancy and the cluster's region.",
        "a pre-authenticated request for the model's folder, created by deploy",
        format=formats.BUCKET,
    ),
    _MOUNT,
    _VOLUME_SIZE,
    *_SELECTION,
)

HUGGING_FACE = (
    Parameter("repository", "string", "Repository of the model.", "staging", required=True, format=formats.REPOSITORY),
    Parameter("revision", "string", "Branch, tag or commit.", "staging", default="main", format=formats.REVISION),
    Parameter(
        "token_secret_name",
        "string",
        "Secret with a token for a private or gated repository. deploy itself reads HF_TOKEN from its environment.",
        "mounted into the pods as a file; never read by the controller",
        format=formats.SECRET_NAME,
    ),
    Parameter(
        "token_secret_key",
        "string",
        "Key of the token in that Secret.",
        "see token_secret_name",
        default="token",
        format=formats.SECRET_KEY,
    ),
    _MOUNT,
    _VOLUME_SIZE,
    *_SELECTION,
)

FILE_SYSTEM = (
    Parameter(
        "file_system_ocid",
        "string",
        "OCID of the file system.",
        "volumeHandle",
        required=True,
        format=formats.FILE_SYSTEM_OCID,
    ),
    Parameter(
        "mount_target_ocid",
        "string",
        "OCID of the mount target.",
        "volumeHandle",
        required=True,
        format=formats.MOUNT_TARGET_OCID,
    ),
    Parameter(
        "mount_target_ip", "string", "Its address; looked up if not given.", "volumeHandle", format=formats.ADDRESS
    ),
    Parameter(
        "export_path",
        "string",
        "Path of the export; looked up if not given.",
        "volumeHandle",
        format=formats.EXPORT_PATH,
    ),
    Parameter(
        "mount_location", "string", "Folder in the container.", "mountPath", required=True, format=formats.FOLDER
    ),
    Parameter(
        "volume_size_in_gbs",
        "integer",
        "Size of the claim; File Storage does not enforce it.",
        "storage of the PersistentVolume in Gi",
        required=True,
        minimum=1,
        maximum=10**9,
    ),
)

LOCAL_FILESYSTEM = (
    Parameter(
        "node_directory_path",
        "string",
        "Folder of the node, in one of the folders that the setting local_filesystem_folders allows.",
        "hostPath",
        required=True,
        format=formats.FOLDER,
    ),
    Parameter(
        "mount_location", "string", "Folder in the container.", "mountPath", required=True, format=formats.FOLDER
    ),
)

ENVIRONMENT = (
    Parameter("key", "string", "Name of the variable.", "env[].name", required=True, format=formats.VARIABLE),
    Parameter("value", "string", "Its value.", "env[].value", required=True, format=formats.TEXT),
)

ENVIRONMENT_SECRETS = (
    Parameter("envvar_name", "string", "Name of the variable.", "env[].name", required=True, format=formats.VARIABLE),
    Parameter(
        "secret_name",
        "string",
        "Secret in the deployment's namespace.",
        "secretKeyRef.name",
        required=True,
        format=formats.SECRET_NAME,
    ),
    Parameter(
        "secret_key",
        "string",
        "Key in that Secret.",
        "secretKeyRef.key",
        required=True,
        format=formats.SECRET_KEY,
    ),
)

_PROBE_ASKS = "each probe runs the group's own check, which asks the engine for a token; only its timing can be set"
# A check that is cut off reports nothing; longer than the checks wait for an answer (ready.py, live.py).
LEAST_PROBE_SECONDS = {"startup": 20, "liveness": 20, "readiness": 60}
# Kubernetes keeps them as 32-bit numbers.
_MOST_SECONDS = 2**31 - 1


def probe(field: str) -> tuple[Parameter, ...]:
    """The parameters of the probe `field` of the head container."""
    least = LEAST_PROBE_SECONDS[field.removesuffix("Probe")]
    # Kubernetes takes nothing but 1 for liveness and startup.
    most_good = _MOST_SECONDS if field == "readinessProbe" else 1
    return (
        Parameter("endpoint_path", "string", "Path of an HTTP probe.", "", not_served=_PROBE_ASKS),
        Parameter("port", "integer", "Port of an HTTP probe.", "", not_served=_PROBE_ASKS),
        Parameter("scheme", "string", "Scheme of an HTTP probe.", "", not_served=_PROBE_ASKS),
        *(
            Parameter(name, "integer", text, f"{field}.{wire}", minimum=minimum, maximum=maximum)
            for name, text, wire, minimum, maximum in (
                ("initial_delay_seconds", "Seconds before the first check.", "initialDelaySeconds", 0, _MOST_SECONDS),
                ("period_seconds", "Seconds between checks.", "periodSeconds", 1, _MOST_SECONDS),
                ("timeout_seconds", f"Seconds a check may take, at least {least}.", "timeoutSeconds", 1, _MOST_SECONDS),
                ("success_threshold", "Consecutive successes that count.", "successThreshold", 1, most_good),
                ("failure_threshold", "Consecutive failures that count.", "failureThreshold", 1, _MOST_SECONDS),
            )
        ),
    )


# More than any node has; a number beyond it is a typo.
_MOST_OF_A_NODE = 65536


def _node_parameters(role: str) -> tuple[Parameter, ...]:
    return (
        Parameter(
            f"{role}_node_num_cpus",
            "integer",
            f"OCPUs of the {role} pod.",
            "CPU request: 2 per OCPU on x86, 1 on Arm",
            required=True,
            minimum=1,
            maximum=_MOST_OF_A_NODE,
        ),
        Parameter(
            f"{role}_node_num_gpus",
            "integer",
            f"GPUs of the {role} pod.",
            "nvidia.com/gpu request and limit",
            required=True,
            minimum=1,
            maximum=_MOST_OF_A_NODE,
        ),
        Parameter(
            f"{role}_node_cpu_mem_in_gbs",
            "integer",
            f"Memory of the {role} pod, shared memory included.",
            "memory request and limit in Gi",
            required=True,
            minimum=1,
            maximum=_MOST_OF_A_NODE,
        ),
    )


RAYCLUSTER_PARAMS = (
    Parameter(
        "model_path_in_container",
        "string",
        "Folder of the model in the container: the source's mount_location or below it.",
        "the model argument of vllm serve",
        required=True,
        format=formats.MODEL_PATH,
    ),
    *_node_parameters("head"),
    Parameter(
        "num_worker_nodes",
        "integer",
        "Worker nodes: recipe_node_pool_size minus one. Required, unless that is `auto`.",
        "replicas of the worker group",
        minimum=0,
        maximum=999,
    ),
    *_node_parameters("worker"),
    _port("redis_port", 6379, "Port of Ray's global control service inside the cluster.", "ray start --port"),
    _port("dashboard_port", 8265, "Port of the Ray dashboard inside the cluster.", "ray start --dashboard-port"),
    _port("metrics_export_port", 8080, "Port of Ray's metrics on every node.", "ray start --metrics-export-port"),
    _port(
        "rayclient_server_port",
        10001,
        "Port of the Ray client server, reachable by port-forward only.",
        "ray start --ray-client-server-port",
    ),
)
