# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a person can give: the description of one parameter, and the recipe's parameters as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Parameter:
    """One parameter of the recipe or one platform setting.

    kind: string, integer, number, boolean, mapping (of text), list (of text), object (with `properties`) or objects
    (a list of such). Integers may be given as digit strings, since the published recipes do and surveys always do.
    wire: what the value becomes in the cloud, in Kubernetes or in vLLM's arguments.
    """

    name: str
    kind: str
    description: str
    wire: str = ""
    required: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    properties: tuple[Parameter, ...] = ()
    secret: bool = False


def _port(name: str, default: int, description: str, wire: str) -> Parameter:
    return Parameter(name, "integer", description, wire, default=default, minimum=1, maximum=65535)


OBJECT_STORAGE = (
    Parameter(
        "par",
        "string",
        "URL of a pre-authenticated request that may list and read the model's objects.",
        "Secret <deployment>-source, read by the pods when they stage",
        secret=True,
    ),
    Parameter(
        "mount_location",
        "string",
        "Folder in the container below which the objects lie.",
        "mountPath of the model volume",
        required=True,
    ),
    Parameter(
        "volume_size_in_gbs",
        "integer",
        "Size of the model volume of each node.",
        "storage request of the model volume in Gi (OCI block volumes hold at least 50)",
        required=True,
        minimum=50,
        maximum=32768,
    ),
    Parameter("include", "list", "Prefixes of object names to take.", "which objects are staged"),
    Parameter("exclude", "list", "Prefixes of object names to leave out.", "which objects are staged"),
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
        "Worker nodes: one less than recipe_node_pool_size.",
        "replicas of the worker group",
        required=True,
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

RECIPE = (
    Parameter("recipe_id", "string", "Name of the recipe.", "annotation on the RayCluster"),
    Parameter("recipe_mode", "string", "Always raycluster.", required=True, choices=("raycluster",)),
    Parameter(
        "deployment_name", "string", "Name of the deployment.", "names of all objects, as a DNS name", required=True
    ),
    Parameter(
        "recipe_node_shape",
        "string",
        "OCI shape of every node, with NVIDIA GPUs.",
        "nodeShape of the pool",
        required=True,
    ),
    Parameter(
        "recipe_node_pool_size",
        "integer",
        "Nodes to launch: the head and the workers.",
        "size of the node pool; pipeline stages",
        required=True,
        minimum=1,
        maximum=1000,
    ),
    Parameter(
        "recipe_nvidia_gpu_count",
        "integer",
        "GPUs of each node, as many as the shape has.",
        "--tensor-parallel-size",
        required=True,
        minimum=1,
    ),
    Parameter(
        "recipe_node_boot_volume_size_in_gbs",
        "integer",
        "Size of each node's boot volume.",
        "bootVolumeSizeInGBs of the pool",
        required=True,
        minimum=50,
        maximum=32768,
    ),
    Parameter(
        "recipe_ephemeral_storage_size",
        "integer",
        "Disk of the node that the Ray container may fill, in Gi.",
        "ephemeral-storage request and limit",
        required=True,
        minimum=1,
    ),
    Parameter(
        "recipe_container_port",
        "integer",
        "Port of the inference endpoint.",
        "vllm serve --port, port of the Service",
        required=True,
        minimum=1,
        maximum=65535,
    ),
    Parameter(
        "input_object_storage",
        "objects",
        "Where the model's files are.",
        "staging",
        required=True,
        properties=OBJECT_STORAGE,
    ),
    Parameter(
        "recipe_raycluster_params",
        "object",
        "Sizes of the pods and Ray's ports.",
        required=True,
        properties=RAYCLUSTER_PARAMS,
    ),
    Parameter(
        "recipe_image_uri",
        "string",
        "Container image with Ray and vLLM, by full name.",
        "image of head and workers",
    ),
    Parameter(
        "recipe_shared_memory_volume_size_limit_in_mb",
        "integer",
        "Size of /dev/shm, inside the pod's memory.",
        "sizeLimit of the memory volume at /dev/shm",
        minimum=64,
    ),
    Parameter(
        "recipe_node_image_ocid",
        "string",
        "Image of the nodes; without it the newest OKE GPU image that fits is taken.",
        "imageId of the pool",
    ),
    Parameter(
        "recipe_availability_domain",
        "string",
        "Availability domain of the nodes; without it the one of the cluster's other pools that has the shape.",
        "availabilityDomain of the pool's placement",
    ),
)
