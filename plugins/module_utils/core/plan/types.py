# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The plan's parts and their keys. The table in docs/architecture.md is made of them (`python -m tests.tools.reference`).

Plain JSON. A key without a value is None, never absent, but where a class says `total=False`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypedDict, Union

from ..catalog.images import KnownImage
from ..catalog.limits import Limit
from ..sizing.costs import Cost
from .comparison.words import Part


class Deployment(TypedDict):
    """hash: of all that the objects in Kubernetes follow from. given: of what was given of which pods are made."""

    name: str
    deployment_name: str
    namespace: str
    recipe_name: str
    hash: str
    given: str


class Model(TypedDict):
    """source: of `model_info`, without what the revision names today. bytes: of all files."""

    source: dict[str, Any]
    path: str
    served_names: list[str]
    architecture: str
    bytes: int


class Parallelism(TypedDict):
    tensor: int
    pipeline: int
    layers_per_stage: list[int]


class Memory(TypedDict):
    """per_gpu: `sizing.stages.StageMemory` of each stage. What is sure to fit, and, as _high, what may."""

    per_gpu: list[dict[str, int]]
    kv_tokens: int
    kv_tokens_high: int
    max_context: int
    max_context_high: int
    context: int
    concurrent: float


class Nodes(TypedDict):
    shape: str
    count: int
    gpus: int
    ocpus: int
    memory_gb: int
    boot_volume_gb: int


class NodeSource(TypedDict):
    source_type: str
    image_id: str | None
    boot_volume_size_in_gbs: int


class OptionalNodeConfig(TypedDict, total=False):
    compute_cluster_id: str
    nsg_ids: list[str]
    node_pool_pod_network_option_details: dict[str, Any]


class NodeConfig(OptionalNodeConfig):
    size: int
    placement_configs: list[dict[str, Any]]
    freeform_tags: dict[str, str]


class OptionalNodePool(TypedDict, total=False):
    ssh_public_key: str


class NodePool(OptionalNodePool):
    """Fields of CreateNodePoolDetails of the Container Engine API, in the SDK's names."""

    name: str
    compartment_id: str | None
    cluster_id: str
    node_shape: str
    kubernetes_version: str | None
    node_source_details: NodeSource
    node_config_details: NodeConfig
    initial_node_labels: list[dict[str, str]]
    node_metadata: dict[str, str]
    node_eviction_node_pool_settings: dict[str, Any]
    freeform_tags: dict[str, str]


class BlockVolume(TypedDict):
    """A claim of each pod's own."""

    name: str
    kind: Literal["block"]
    mount: str
    size_gib: int
    storage_class: str | None


class FolderVolume(TypedDict):
    """A folder of the node."""

    name: str
    kind: Literal["folder"]
    mount: str
    path: str


class FileSystemVolume(TypedDict):
    """A file system of OCI File Storage, the same for all nodes."""

    name: str
    kind: Literal["file_system"]
    mount: str
    claim: str
    handle: str
    size_gib: int


# pylint of ansible-test takes `|` between TypedDicts for a sum.
Volume = Union[BlockVolume, FolderVolume, FileSystemVolume]  # noqa: UP007


class ModelCache(TypedDict):
    """What holds the model. outlives: container, pod or node. size_gib: 0 where it is no volume of the pod's own."""

    kind: Literal["volume", "node", "file_system"]
    outlives: str
    path: str | None
    size_gib: int


class SecretVariable(TypedDict):
    name: str
    secret: str
    key: str


class SecretKey(TypedDict):
    secret: str
    key: str


class Pod(TypedDict):
    """The same on every node.

    probes  what the recipe says of startup, liveness and readiness
    ports   api, gcs, dashboard, metrics, client
    """

    image: str
    user: int
    pull_secret: str | None
    ray_version: str
    secret_env: list[SecretVariable]
    source_token: SecretKey | None
    probes: dict[str, dict[str, int]]
    cpu: int
    memory_gib: int
    shared_memory_mib: int
    ephemeral_storage_gib: int
    gpus: int
    volumes: list[Volume]
    model_cache: ModelCache
    ports: dict[str, int]
    rdma: str
    tolerations: list[dict[str, str]]
    node_selector: dict[str, str]


class Image(KnownImage):
    name: str


class Engine(TypedDict):
    """optional: options that are left out where the image's vLLM does not know them."""

    args: list[str]
    optional: list[list[str]]
    env: dict[str, str]
    ray_start: dict[str, dict[str, str]]


class Repository(TypedDict, total=False):
    endpoint: str
    repository: str
    commit: str


class Staging(Repository):
    """files: {name, size, md5, sha256}. shards_per_stage: empty where each node holds every file."""

    source: str
    prefix: str
    root: str
    files: list[dict[str, Any]]
    by_stage: bool
    shards_per_stage: list[list[str]]


class Issuer(TypedDict):
    kind: str
    name: str


class Gateway(TypedDict):
    namespace: str
    name: str
    listener: str | None


class Endpoint(TypedDict):
    """hosts: of API and dashboard, empty where they follow from the address. tls: where the certificate comes from."""

    exposure: str
    annotations: dict[str, str]
    hosts: dict[str, str]
    metrics_namespaces: list[str]
    monitoring: str | None
    tls: str | None
    tls_secret: str | None
    issuer: Issuer | None
    tls_to_pod: bool
    network: bool
    public: bool
    source_ranges: list[str]
    subnet: str | None
    nsgs: list[str]
    dashboard: bool
    ingress_class: str | None
    gateway: Gateway | None
    idle_seconds: int


class Restart(TypedDict):
    limit: int
    window_minutes: int


class Expected(TypedDict):
    """US dollars an hour, None where the GPU's price is not known; bytes that each node stages; minutes of each phase."""

    usd_per_hour: float | None
    cost: Cost
    bytes_per_node: list[int]
    minutes: dict[str, float]


class Choice(TypedDict):
    field: str
    value: Any
    why: str


class Answer(TypedDict):
    """vllm: its version. says: what it said itself. lacks: what it could not say, and why; empty where nothing."""

    vllm: str
    says: list[str]
    lacks: str


# `class` is no name of an attribute.
Change = TypedDict("Change", {"field": str, "class": str, "parts": list[Part]})


class Existing(TypedDict):
    """See `standing_deployment.effect_on`."""

    keep_pods: bool
    changes: list[Change]
    kept: list[Change]
    by_delete: bool
    failed: bool


class Plan(TypedDict):
    """All that follows from a recipe, its settings and the facts. No secret is in it."""

    schema: Annotated[int, "version of this form"]
    deployment: Annotated[Deployment, "who it is; the hash is of all that the objects follow from"]
    model: Annotated[Model, "where it comes from and where it lies"]
    parallelism: Annotated[Parallelism, "GPUs of a node, nodes, and the layers of each"]
    memory: Annotated[Memory | None, "what lies in each GPU ([sizing.md](sizing.md))"]
    nodes: Annotated[Nodes, "what a node is, and how many there are"]
    node_pool: Annotated[NodePool | None, "OCI's CreateNodePoolDetails; null with `node_provisioner: none`"]
    other_placements: Annotated[
        list[list[dict[str, Any]]], "where else the pool may be put when there are no hosts, best first"
    ]
    pod: Annotated[Pod, "the pod of each node"]
    image: Annotated[Image, "what the collection knows of the image"]
    engine: Annotated[Engine, "arguments of `vllm serve`, environment, parameters of `ray start`"]
    staging: Annotated[Staging, "the files, and the shards that each stage holds"]
    endpoint: Annotated[Endpoint, "how it is reached from outside"]
    expected: Annotated[Expected, "price an hour, bytes that each node reads, minutes"]
    limit: Annotated[
        Limit, "the service limit that counts the GPUs (null where it is not known), and how many it takes"
    ]
    restart: Annotated[Restart, "bounds of restarting"]
    choices: Annotated[list[Choice], "values that were not given: field, value and why"]
    answer: Annotated[
        Answer | None,
        "what vLLM itself said of the plan; null without the setting `vllm_python` ([sizing.md](sizing.md))",
    ]
    existing: Annotated[Existing | None, "what applying it means for the existing deployment (below)"]
    warnings: Annotated[list[dict[str, Any]], "what does not forbid the deployment"]
    change_class: Annotated[
        Mapping[str, str], "for each field what a change means: `live`, `restart` of the group's pods, or `new_pool`"
    ]
