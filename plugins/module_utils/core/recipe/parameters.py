# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The parameters of the recipe, as one table.

From it come validation, the JSON Schema for editors, the documentation's table and the survey for AWX.
"""

from __future__ import annotations

from .parameter import Parameter
from .parameter_objects import (
    ENVIRONMENT,
    ENVIRONMENT_SECRETS,
    FILE_SYSTEM,
    HUGGING_FACE,
    LEAST_PORT,
    LOCAL_FILESYSTEM,
    OBJECT_STORAGE,
    RAYCLUSTER_PARAMS,
    probe,
)

__all__ = ["RECIPE", "Parameter"]

_REQUIRED = (
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
        "Nodes to launch: the head and the workers. `auto`: the fewest that serve the model.",
        "size of the node pool; --pipeline-parallel-size",
        required=True,
        minimum=1,
        # Nodes of one pool (OCI Container Engine, service limits).
        maximum=1000,
        words=("auto",),
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
        "ephemeral-storage request and limit of the Ray container",
        required=True,
        minimum=1,
    ),
    Parameter(
        "recipe_container_port",
        "integer",
        "Port of the inference endpoint.",
        "vllm serve --port, port of the Service",
        required=True,
        minimum=LEAST_PORT,
        maximum=65535,
    ),
    Parameter(
        "recipe_raycluster_params",
        "object",
        "Sizes of the pods and Ray's ports.",
        "RayCluster",
        required=True,
        properties=RAYCLUSTER_PARAMS,
    ),
)

_MODEL = (
    Parameter(
        "input_object_storage",
        "objects",
        "Where the model's files are. One of this and `input_hugging_face` is required.",
        "staging",
        properties=OBJECT_STORAGE,
    ),
    Parameter(
        "input_hugging_face",
        "object",
        "A Hugging Face repository that has the model's files, in place of `input_object_storage`.",
        "staging",
        properties=HUGGING_FACE,
    ),
    Parameter(
        "input_file_system",
        "objects",
        "OCI file systems to mount into every pod; one at the model's mount_location holds the model, once for all nodes.",
        "PersistentVolume of the driver fss.csi.oraclecloud.com",
        properties=FILE_SYSTEM,
    ),
    Parameter(
        "local_filesystem",
        "objects",
        "Folders of the nodes (NVMe) to mount into every pod; one at the model's mount_location holds the model.",
        "hostPath volumes",
        properties=LOCAL_FILESYSTEM,
    ),
    Parameter(
        "recipe_max_model_length",
        "integer",
        "Longest context in tokens; without it, the model's own or what fits.",
        "--max-model-len",
        minimum=1,
    ),
    Parameter(
        "recipe_served_model_name",
        "string",
        "Name that clients give; without it, the last part of the path. The path is served as a name too.",
        "--served-model-name",
    ),
    Parameter(
        "recipe_trust_remote_code",
        "boolean",
        "Run Python code that comes with the model.",
        "--trust-remote-code",
        default=False,
    ),
)

_CONTAINER = (
    Parameter("recipe_id", "string", "Name of the recipe.", "annotation on the RayCluster"),
    Parameter(
        "recipe_image_uri",
        "string",
        "Container image with Ray and vLLM, by full name.",
        "image of head and workers",
    ),
    Parameter(
        "recipe_container_secret_name",
        "string",
        "Secret of the deployment's namespace to pull the image with.",
        "imagePullSecrets",
    ),
    Parameter(
        "recipe_container_env",
        "objects",
        "Environment variables of the containers.",
        "env of the Ray containers",
        properties=ENVIRONMENT,
    ),
    Parameter(
        "recipe_environment_secrets",
        "objects",
        "Environment variables whose values are in Secrets.",
        "env of the Ray containers, valueFrom.secretKeyRef",
        properties=ENVIRONMENT_SECRETS,
    ),
    Parameter(
        "recipe_container_command_args",
        "list",
        "Further arguments of vLLM; those that follow from the recipe are refused or override it with a warning.",
        "further arguments of vllm serve",
    ),
    Parameter(
        "recipe_shared_memory_volume_size_limit_in_mb",
        "integer",
        "Size of /dev/shm, inside the pod's memory.",
        "sizeLimit of the memory volume at /dev/shm",
        minimum=64,
    ),
    *(
        Parameter(
            f"recipe_{name}_probe_params",
            "object",
            f"Times of the {name} probe of the head.",
            f"{name}Probe of the head container",
            properties=probe(f"{name}Probe"),
        )
        for name in ("startup", "liveness", "readiness")
    ),
    Parameter(
        "recipe_replica_count",
        "integer",
        "Copies of the engine; one is served.",
        "one RayCluster",
        default=1,
        minimum=1,
        maximum=1,
    ),
    Parameter(
        "service_endpoint_domain",
        "string",
        "Domain below which the endpoints get their names.",
        "hosts <deployment>.<domain> and dashboard.<deployment>.<domain>; annotation for external-dns on the Service",
    ),
)

_NODES = (
    Parameter(
        "recipe_use_shared_node_pool",
        "boolean",
        "Use GPU nodes that the cluster has; the same as node_provisioner: none.",
        "no node pool is made",
        default=False,
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
    Parameter(
        "recipe_max_pods_per_node",
        "integer",
        "Pods that a node may hold, on clusters with VCN-native pod networking.",
        "maxPodsPerNode of the pool's pod network",
        minimum=1,
        # OCI Container Engine, service limits.
        maximum=110,
    ),
    Parameter(
        "recipe_worker_subnet_nsg_ocid",
        "string",
        "Network security group of the nodes.",
        "nsgIds of the pool",
    ),
    Parameter(
        "recipe_pod_subnet_ocid",
        "string",
        "Subnet of the pods, on clusters with VCN-native pod networking.",
        "podSubnetIds of the pool's pod network",
    ),
    Parameter(
        "recipe_pod_subnet_nsg_ocid",
        "string",
        "Network security group of the pods, on clusters with VCN-native pod networking.",
        "podNsgIds of the pool's pod network",
    ),
    Parameter(
        "recipe_public_ssh_key",
        "string",
        "Public key that may sign in to the nodes.",
        "sshPublicKey of the pool",
    ),
    Parameter(
        "skip_capacity_validation",
        "boolean",
        "Ask for the node pool without a look at the capacity report.",
        "no capacity report",
        default=False,
    ),
    Parameter(
        "skip_quota_validation",
        "boolean",
        "Ask for the node pool without a look at the service limit.",
        "no look at the limit",
        default=False,
    ),
)

RECIPE = (*_REQUIRED, *_MODEL, *_CONTAINER, *_NODES)
