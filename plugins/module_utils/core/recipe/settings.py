# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The platform settings: what a person gives beside the recipe, and every default of the product.

Whatever names something outside this collection (a chart repository, an image, a version) is a setting, and stands here only.
"""

from __future__ import annotations

from ..catalog.images import RAY_LLM_USER
from . import formats
from .endpoint_settings import ENDPOINT, KEYS
from .measuring_settings import BENCHMARK, MONITORING
from .parameter import Parameter, of_no_pod
from .setting_rows.nodes import NODES

AUTHENTICATION_TYPES = ("api_key", "security_token", "instance_principal", "resource_principal", "workload_identity")

# The settings that are, by the same names, options of every module that signs in to Oracle Cloud.
SIGN_IN = ("auth_type", "config_file_location", "config_profile_name", "region", "oci_service_endpoint")


CLOUD = (
    of_no_pod(
        "oke_cluster_id", "string", "OCID of the OKE cluster; it names the region too.", format=formats.CLUSTER_OCID
    ),
    Parameter(
        "node_provisioner",
        "string",
        "oke: create a node pool. none: use the cluster's own GPU nodes.",
        default="oke",
        choices=("oke", "none"),
    ),
    of_no_pod("adopt_defaults", "boolean", "Use today's defaults, not those recorded at creation.", default=False),
    of_no_pod("region", "string", "OCI region; without it, that of the cluster's OCID.", format=formats.REGION),
    of_no_pod(
        "compartment_id",
        "string",
        "Compartment of the node pool; without it, that of the cluster.",
        format=formats.COMPARTMENT_OCID,
    ),
    of_no_pod(
        "auth_type",
        "string",
        "How to sign in to OCI; without it OCI_ANSIBLE_AUTH_TYPE or api_key.",
        choices=AUTHENTICATION_TYPES,
    ),
    of_no_pod("config_file_location", "string", "OCI configuration file; without it OCI_CONFIG_FILE or ~/.oci/config."),
    of_no_pod("config_profile_name", "string", "Profile in that file; without it OCI_CONFIG_PROFILE or DEFAULT."),
    of_no_pod(
        "oci_service_endpoint",
        "endpoint",
        "URL of the OCI services (private endpoints, other realms): one for all, or a mapping of service to URL.",
        format=formats.URL,
    ),
)

KUBERNETES = (
    of_no_pod(
        "kubeconfig",
        "string",
        "Path of a kubeconfig that reaches the cluster; without it K8S_AUTH_KUBECONFIG or KUBECONFIG, else the OCI sign-in.",
    ),
    of_no_pod("kubeconfig_context", "string", "Context in that file; without it its current one."),
    of_no_pod(
        "kubernetes_endpoint",
        "string",
        "Endpoint of the cluster that the OCI sign-in reaches; auto: the public one where there is one.",
        default="auto",
        choices=("auto", "public", "private"),
    ),
    of_no_pod(
        "kubernetes_strict_tls",
        "boolean",
        "Whether the API server's certificate is checked as strictly as Python 3.13 does. false: an authority without key "
        "identifiers counts too; signature, dates and name are checked all the same.",
        default=True,
    ),
    Parameter(
        "namespace",
        "string",
        "Namespace of the deployment; without it one of its own, named like it.",
        format=formats.DEPLOYMENT_NAMESPACE,
    ),
    Parameter(
        "image_user",
        "integer",
        "User (UID) that the pods' programs run as, never root: the one that the image's files are made for.",
        default=RAY_LLM_USER,
        minimum=1,
    ),
    Parameter(
        "image_registry",
        "string",
        "Registry that mirrors all images, the operator's included; it replaces theirs.",
        format=formats.REGISTRY,
    ),
    Parameter(
        "default_image",
        "string",
        "Image with Ray and vLLM if the recipe names none; default: the collection's choice for the shape's GPUs.",
        format=formats.IMAGE,
    ),
    Parameter(
        "image_contents",
        "object",
        "What an image holds that the collection does not know: `{vllm: 0.32.0, ray: 2.58.0, cuda: '12.8', python: '3.12'}`. "
        "Without vllm nothing that depends on its version is checked; without ray that of the collection's own image is assumed. "
        "See docs/images.md.",
        properties=(
            Parameter("vllm", "string", "Version of vLLM.", format=formats.VERSION),
            Parameter("ray", "string", "Version of Ray.", format=formats.RAY_VERSION),
            Parameter("cuda", "string", "Version of CUDA.", format=formats.SHORT_VERSION),
            Parameter("python", "string", "Version of Python.", format=formats.SHORT_VERSION),
        ),
    ),
    of_no_pod(
        "local_filesystem_folders",
        "list",
        "Folders of the nodes that a recipe's local_filesystem may use, with everything below them.",
        default=["/mnt"],
        format=formats.FOLDER,
    ),
    Parameter(
        "model_cache",
        "string",
        "Where a node keeps the model's files. volume: a block volume of the pod, gone with it. "
        "node: a folder of the node, which outlives the pod.",
        default="volume",
        choices=("volume", "node"),
    ),
    Parameter(
        "model_cache_folder",
        "string",
        "That folder; without it, on the local drives (below /mnt/nvme) of a node pool whose shape has them, else on "
        "the boot volume.",
        format=formats.FOLDER,
    ),
    Parameter(
        "model_storage_class",
        "string",
        "StorageClass of the model volumes.",
        default="oci-bv",
        format=formats.OBJECT_NAME,
    ),
    of_no_pod(
        "model_volume_vpus_per_gb",
        "integer",
        "Performance units per GB of that StorageClass; the plan's minutes and price follow from it.",
        default=10,
        minimum=0,
        maximum=120,
    ),
)

SOURCES = (
    Parameter(
        "hugging_face_endpoint",
        "string",
        "URL that repositories are read from, by deploy and by the pods: the Hub, or a mirror that speaks as it does.",
        default="https://huggingface.co",
        format=formats.URL,
    ),
    of_no_pod(
        "source_request_days",
        "integer",
        "Days that the pre-authenticated request for a bucket_name is valid; deploy renews it in time.",
        # A pod that is replaced months later reads through it.
        default=365,
        minimum=1,
    ),
)

KUBERAY = (
    of_no_pod(
        "kuberay_chart_ref",
        "string",
        "Chart of the KubeRay operator: a name in kuberay_chart_repository, a folder or a file.",
        default="kuberay-operator",
        format=formats.CHART,
    ),
    of_no_pod(
        "kuberay_chart_repository",
        "string",
        "Helm repository of the chart, when kuberay_chart_ref is a name.",
        default="https://ray-project.github.io/kuberay-helm",
        format=formats.CHART,
    ),
    of_no_pod(
        "kuberay_chart_version",
        "string",
        "Version of the chart that is installed.",
        default="1.7.1",
        format=formats.CHART_VERSION,
    ),
    of_no_pod(
        "kuberay_upgrade",
        "boolean",
        "Upgrade an older operator that deploy installed to that version. Without it an operator that can serve stays as it is.",
        default=False,
    ),
    of_no_pod(
        "kuberay_image",
        "string",
        "Image of the operator, without its tag; without it the chart's own, from image_registry where that is given.",
        format=formats.REPOSITORY_OF_IMAGE,
    ),
    of_no_pod(
        "kuberay_image_pull_secret",
        "string",
        "Secret of the operator's namespace to pull its image with, made before.",
        format=formats.SECRET_NAME,
    ),
    of_no_pod(
        "kuberay_namespace", "string", "Namespace of the operator.", default="kuberay-system", format=formats.NAMESPACE
    ),
    of_no_pod("helm_binary", "string", "Path of Helm 3, or 4 with kubernetes.core 6.5; without it, helm on PATH."),
)

ENGINE = (
    Parameter(
        "gpu_overhead_mib",
        "integer",
        "MiB of each GPU that vLLM needs beside weights and KV cache; without it an estimate by the GPU's size.",
        minimum=0,
    ),
    Parameter(
        "gpu_memory_mib",
        "integer",
        "MiB of memory of each GPU, as nvidia-smi shows it; without it what is known of the shape's GPUs.",
        minimum=1,
    ),
    of_no_pod(
        "vllm_python",
        "string",
        "Path of the Python of an environment here that has the image's vLLM, such as its build for CPU: plan and deploy ask that "
        "vLLM itself before money is spent. See docs/sizing.md.",
    ),
    Parameter(
        "max_queued_requests",
        "integer",
        "Requests that the engine holds at most, running and waiting together; one more is refused with 503 at once. Without it all "
        "wait. Needs an image with vLLM 0.29 or newer; pods of an older one leave it out.",
        minimum=1,
    ),
    Parameter(
        "restart_limit",
        "integer",
        "Restarts of the group within restart_window_minutes, or without a token in between.",
        default=5,
        minimum=1,
    ),
    Parameter("restart_window_minutes", "integer", "See restart_limit.", default=60, minimum=1),
)

OUTPUT = (
    of_no_pod(
        "prices",
        "mapping",
        "Your own US dollars in place of the list's: gpu_hour, volume_gb_month, volume_vpu_month, load_balancer_hour.",
    ),
    of_no_pod(
        "convert_to",
        "string",
        "File that the recipe is written to in today's spelling, its secrets too; only its owner may read it.",
    ),
    of_no_pod("html_file", "string", "File that the plan, or a benchmark, is written to as a page of HTML."),
    of_no_pod(
        "model_facts_file",
        "string",
        "File of the model's facts: plan reads it where it is there (no source is asked then); else it is written.",
    ),
    of_no_pod("result_file", "string", "File that the playbook writes its result to, as JSON."),
    of_no_pod(
        "failure_bundle",
        "string",
        "File (.tar.gz) that a failed deploy or status writes for support: objects, events, logs, plan and result, secrets masked.",
    ),
    of_no_pod(
        "logs_component",
        "string",
        "What the logs playbook shows.",
        default="head",
        choices=("head", "worker", "operator", "staging", "events"),
    ),
    of_no_pod("logs_worker", "integer", "Which worker, from 1.", default=1, minimum=1),
    of_no_pod("logs_lines", "integer", "How many lines, from the end.", default=200, minimum=1),
    of_no_pod("logs_follow", "boolean", "Show new lines of head, worker or operator as they come.", default=False),
    of_no_pod("logs_follow_minutes", "integer", "How long they are followed.", default=10, minimum=1, maximum=1440),
    of_no_pod("logs_previous", "boolean", "Show the container's former run.", default=False),
    of_no_pod("logs_raw", "boolean", "Show progress lines as the pods print them, as JSON.", default=False),
)

SETTINGS = (
    *CLOUD,
    *NODES,
    *KUBERNETES,
    *SOURCES,
    *KUBERAY,
    *ENDPOINT,
    *KEYS,
    *MONITORING,
    *BENCHMARK,
    *ENGINE,
    *OUTPUT,
)
# If one of these changes, the pods are rendered as they are today. A setting is one of them unless its row says
# that it reaches no pod: ignoring a change is worse than a restart.
OF_PODS = tuple(setting for setting in SETTINGS if setting.reaches_pods)
