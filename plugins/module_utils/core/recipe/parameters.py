# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The parameters of the recipe, as one table.

From it come validation, the JSON Schema for editors, the documentation's table and the survey for AWX.
"""

from __future__ import annotations

from . import formats
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
    Parameter(
        "recipe_mode", "string", "Always raycluster.", required=True, choices=("raycluster",), reaches_pods=False
    ),
    Parameter(
        "deployment_name",
        "string",
        "Name of the deployment.",
        "names of all objects, as a DNS name of at most 40 characters",
        required=True,
        format=formats.DEPLOYMENT_NAME,
        reaches_pods=False,
    ),
    Parameter(
        "recipe_node_shape",
        "string",
        "OCI shape of every node, with NVIDIA GPUs.",
        "nodeShape of the pool",
        required=True,
        format=formats.SHAPE,
    ),
    Parameter(
        "recipe_node_pool_size",
        "integer",
        "Nodes of the group, head and workers. `auto`: the fewest that serve the model.",
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
        "GPUs of each node: all that the shape has.",
        "--tensor-parallel-size",
        required=True,
        minimum=1,
        maximum=1024,
    ),
    Parameter(
        "recipe_node_boot_volume_size_in_gbs",
        "integer",
        "Size of each node's boot volume.",
        "bootVolumeSizeInGBs of the pool",
        required=True,
        minimum=50,
        maximum=32768,
        reaches_pods=False,
    ),
    Parameter(
        "recipe_ephemeral_storage_size",
        "integer",
        "Disk of the node that the Ray container may use, in Gi.",
        "ephemeral-storage request and limit of the Ray container",
        required=True,
        minimum=1,
        maximum=32768,
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
        "Pod sizes and Ray's ports.",
        "RayCluster",
        required=True,
        properties=RAYCLUSTER_PARAMS,
    ),
)

_MODEL = (
    Parameter(
        "input_object_storage",
        "objects",
        "Bucket with the model's files. Either this or `input_hugging_face` is required.",
        "staging",
        properties=OBJECT_STORAGE,
    ),
    Parameter(
        "input_hugging_face",
        "object",
        "Hugging Face repository with the model's files, instead of `input_object_storage`.",
        "staging",
        properties=HUGGING_FACE,
    ),
    Parameter(
        "input_file_system",
        "objects",
        "OCI file systems to mount into every pod. One mounted at the source's mount_location holds the model for all nodes.",
        "PersistentVolume of the driver fss.csi.oraclecloud.com",
        properties=FILE_SYSTEM,
    ),
    Parameter(
        "local_filesystem",
        "objects",
        "Folders of the nodes (NVMe) to mount into every pod. One mounted at the source's mount_location holds the model.",
        "hostPath volumes",
        properties=LOCAL_FILESYSTEM,
    ),
    Parameter(
        "recipe_max_model_length",
        "integer",
        "Longest context in tokens; default: the model's own, or what fits.",
        "--max-model-len",
        minimum=1,
        maximum=10**9,
    ),
    Parameter(
        "recipe_served_model_name",
        "string",
        "Model name for clients; default: the last part of the path. The path itself is served as a name too.",
        "--served-model-name",
        format=formats.SERVED_NAME,
    ),
    Parameter(
        "recipe_speculation",
        "string",
        "mtp: the model's own drafter (multi-token prediction) drafts tokens. off: no speculation, unless an argument asks for it.",
        "--speculative-config",
        default="off",
        choices=("off", "mtp"),
    ),
    Parameter(
        "recipe_tool_call_parser",
        "string",
        "How tool calls are read; off: they are not. Without it, as the model's family writes them.",
        "--tool-call-parser, --enable-auto-tool-choice",
        format=formats.PARSER,
    ),
    Parameter(
        "recipe_reasoning_parser",
        "string",
        "How reasoning is told from the answer; off: it is not. Without it, as the model's family writes it.",
        "--reasoning-parser",
        format=formats.PARSER,
    ),
    Parameter(
        "recipe_trust_remote_code",
        "boolean",
        "Run the Python code that comes with the model.",
        "--trust-remote-code",
        default=False,
    ),
)

_CONTAINER = (
    Parameter("recipe_id", "string", "Name of the recipe.", "annotation on the RayCluster", reaches_pods=False),
    Parameter(
        "recipe_image_uri",
        "string",
        "Container image with Ray and vLLM.",
        "image of head and workers",
        format=formats.IMAGE,
    ),
    Parameter(
        "recipe_container_secret_name",
        "string",
        "Image pull Secret in the deployment's namespace.",
        "imagePullSecrets",
        format=formats.SECRET_NAME,
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
        "Extra arguments for vLLM. Those that the recipe sets itself are refused.",
        "further arguments of vllm serve",
        format=formats.ARGUMENT,
    ),
    Parameter(
        "recipe_shared_memory_volume_size_limit_in_mb",
        "integer",
        "Size of /dev/shm, inside the pod's memory.",
        "sizeLimit of the memory volume at /dev/shm",
        minimum=64,
        maximum=64 * 2**20,
    ),
    *(
        Parameter(
            f"recipe_{name}_probe_params",
            "object",
            f"Timing of the head's {name} probe.",
            f"{name}Probe of the head container",
            properties=probe(f"{name}Probe"),
        )
        for name in ("startup", "liveness", "readiness")
    ),
    Parameter(
        "recipe_replica_count",
        "integer",
        "Engines of the deployment; only 1 is supported.",
        "one RayCluster",
        default=1,
        minimum=1,
        maximum=1,
        reaches_pods=False,
    ),
    Parameter(
        "service_endpoint_domain",
        "string",
        "Domain for the endpoint's host names.",
        "hosts <deployment>.<domain> and dashboard.<deployment>.<domain>; annotation for external-dns on the Service",
        format=formats.DOMAIN,
        reaches_pods=False,
    ),
)

_NODES = (
    Parameter(
        "recipe_use_shared_node_pool",
        "boolean",
        "Use the cluster's own GPU nodes; same as node_provisioner: none.",
        "no node pool is created",
        default=False,
    ),
    Parameter(
        "recipe_node_image_ocid",
        "string",
        "Image of the nodes; default: the newest OKE GPU image that fits.",
        "imageId of the pool",
        format=formats.IMAGE_OCID,
        reaches_pods=False,
    ),
    Parameter(
        "recipe_availability_domain",
        "string",
        "Availability domain of the nodes; default: one that offers the shape, those of the cluster's other pools first.",
        "availabilityDomain of the pool's placement",
        format=formats.AVAILABILITY_DOMAIN,
        reaches_pods=False,
    ),
    Parameter(
        "recipe_max_pods_per_node",
        "integer",
        "Pods per node, on clusters with VCN-native pod networking.",
        "maxPodsPerNode of the pool's pod network",
        minimum=1,
        # OCI Container Engine, service limits.
        maximum=110,
        reaches_pods=False,
    ),
    Parameter(
        "recipe_worker_subnet_nsg_ocid",
        "string",
        "Network security group of the nodes.",
        "nsgIds of the pool",
        format=formats.NSG_OCID,
        reaches_pods=False,
    ),
    Parameter(
        "recipe_pod_subnet_ocid",
        "string",
        "Subnet of the pods, on clusters with VCN-native pod networking.",
        "podSubnetIds of the pool's pod network",
        format=formats.SUBNET_OCID,
        reaches_pods=False,
    ),
    Parameter(
        "recipe_pod_subnet_nsg_ocid",
        "string",
        "Network security group of the pods, on clusters with VCN-native pod networking.",
        "podNsgIds of the pool's pod network",
        format=formats.NSG_OCID,
        reaches_pods=False,
    ),
    Parameter(
        "recipe_public_ssh_key",
        "string",
        "SSH public key for access to the nodes.",
        "sshPublicKey of the pool",
        format=formats.SSH_KEY,
        reaches_pods=False,
    ),
    Parameter(
        "skip_capacity_validation",
        "boolean",
        "Skip the capacity report.",
        "the node pool is requested even if capacity is reported as missing",
        default=False,
        reaches_pods=False,
    ),
    Parameter(
        "skip_quota_validation",
        "boolean",
        "Skip the check of service limits.",
        "the node pool is requested even if a limit is exceeded",
        default=False,
        reaches_pods=False,
    ),
)

RECIPE = (*_REQUIRED, *_MODEL, *_CONTAINER, *_NODES)
