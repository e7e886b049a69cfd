# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The forms that a text can have: one table, from which checks, messages, the JSON Schema and the documentation follow.

A row of the parameters names one of them. What Kubernetes, Oracle Cloud, argparse or the programs in the pods would refuse
is refused here, before a node is paid for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..names import COLLECTION


@dataclass(frozen=True)
class Format:
    """The form of one text.

    code     of the fault when a text has another form
    pattern  that the whole text matches; in what Python and ECMAScript (JSON Schema) have in common
    words    what the text is, for `expected WORDS, such as EXAMPLE`
    example  a text that matches
    longest  how many characters it may have
    remedy   what to do about another text
    hidden   text in the wrong format is not shown: it may be a secret in the wrong place
    """

    code: str
    pattern: str
    words: str
    example: str
    longest: int = 4096
    remedy: str = "correct it"
    hidden: bool = False

    @property
    def expected(self) -> str:
        return f"{self.words}, such as {self.example}"

    def takes(self, text: str) -> bool:
        """Say whether the text has this form."""
        return len(text) <= self.longest and re.fullmatch(self.pattern, text) is not None


def _ocid(kind: str) -> Format:
    """OCI, "Resource Identifiers": at most 255 characters."""
    return Format("ocid", rf"ocid1\.{kind}\.[a-z0-9._-]+", "an OCID", f"ocid1.{kind}.oc1..aaaa", longest=255)


# Kubernetes, "Object Names and IDs", "Labels and Selectors", "Annotations".
_DNS_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DNS_NAME = rf"{_DNS_LABEL}(\.{_DNS_LABEL})*"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = rf"({_DNS_NAME}/)?{_LABEL}"
_OUR_PREFIX = re.escape(f"{COLLECTION}/")
# Of a path: no empty part, and none that leads upwards.
_PART = r"(?!\.{1,2}(/|$))"
_PRINTABLE = r"[^\x00-\x1f\x7f]"
# Names of images as container runtimes read them (distribution, "reference").
_REGISTRY = r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?"
_IMAGE_PART = r"[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*"
_IMAGE_PATH = rf"{_IMAGE_PART}(/{_IMAGE_PART})*"
_IMAGE_NAME = rf"({_REGISTRY}/)?{_IMAGE_PATH}"

LINE = Format("text", rf"{_PRINTABLE}*", "one line of text", "llama")
# Linux, MAX_ARG_STRLEN: a variable or an argument has at most 131072 bytes, and a character at most four.
_LONGEST_WORD = 131072 // 4
TEXT = Format("text", r"[^\x00]*", "text without a NUL", "INFO", longest=_LONGEST_WORD - 256)
ARGUMENT = Format("text", r"[^\x00]*", "text without a NUL", "--max-num-seqs", longest=_LONGEST_WORD - 1, hidden=True)

DEPLOYMENT_NAME = Format(
    "name",
    r"_*[A-Za-z]([A-Za-z0-9_ -]*[A-Za-z0-9])?_*",
    "letters, digits, hyphens, underscores and spaces, a letter first and no hyphen last",
    "llama-70b",
    # It is the value of a tag (OCI, "Overview of Tagging").
    longest=256,
    remedy="choose another",
)
# The value of the node label node.kubernetes.io/instance-type.
SHAPE = Format("shape", _LABEL, "an OCI shape with GPUs", "BM.GPU.H100.8", remedy="choose another shape")
VARIABLE = Format(
    "variable", r"[A-Za-z_][A-Za-z0-9_]*", "letters, digits and underscores, no digit first", "NCCL_DEBUG"
)
SECRET_NAME = Format(
    "secret_name",
    _DNS_NAME,
    "the name of a Secret in the deployment's namespace",
    "hugging-face",
    longest=253,
    remedy="create the Secret and give its name here, never its value",
    hidden=True,
)
SECRET_KEY = Format(
    "secret_key",
    r"(?!\.\.)(?!\.$)[A-Za-z0-9._-]+",
    "a key of that Secret",
    "token",
    longest=253,
    remedy="give the key's name, never its value",
    hidden=True,
)
NAMESPACE = Format("namespace", _DNS_LABEL, "the name of a namespace", "monitoring")
DEPLOYMENT_NAMESPACE = Format(
    "namespace",
    rf"(?!default$|kube-){_DNS_LABEL}",
    "the name of a namespace, not default and not kube-*",
    "inference",
    remedy="choose another",
)
KEY_NAME = Format(
    "key_name",
    r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?",
    "lower-case letters, digits, hyphens and underscores",
    "team-a",
    longest=63,
)
ISSUER = Format(
    "issuer",
    rf"(Cluster)?Issuer/{_DNS_NAME}",
    "Issuer/<name> or ClusterIssuer/<name>",
    "ClusterIssuer/letsencrypt",
    longest=267,
)
GATEWAY = Format(
    "gateway",
    rf"({_DNS_LABEL}/)?{_DNS_NAME}|{_DNS_LABEL}/{_DNS_NAME}/{_DNS_NAME}",
    "<name>, <namespace>/<name> or <namespace>/<name>/<listener>",
    "gateways/main",
    longest=63 + 1 + 253 + 1 + 253,
)
OBJECT_NAME = Format("object_name", _DNS_NAME, "the name of a Kubernetes object", "oci-bv", longest=253)
TAINT = Format(
    "taint",
    rf"{_LABEL_KEY}(=({_LABEL})?)?:(NoSchedule|PreferNoSchedule|NoExecute)",
    "key=value:Effect, with NoSchedule, PreferNoSchedule or NoExecute",
    "dedicated=inference:NoSchedule",
    longest=253 + 1 + 63 + 1 + 63 + 1 + 16,
)
LABEL_KEY = Format(
    "label", rf"(?!{_OUR_PREFIX}){_LABEL_KEY}", f"the key of a label, not of {COLLECTION}", "team", longest=317
)
LABEL_VALUE = Format("label", rf"({_LABEL})?", "the value of a label", "search")
ANNOTATION_KEY = Format(
    "annotation",
    rf"(?!{_OUR_PREFIX}){_LABEL_KEY}",
    f"the key of an annotation, not of {COLLECTION}",
    "oci.oraclecloud.com/load-balancer-type",
    longest=317,
)
# OCI, "Overview of Tagging": a freeform key has at most 100 characters, a value at most 256.
TAG_KEY = Format(
    "tag",
    rf"(?!multinode-inference-){_PRINTABLE}+",
    "the key of a tag, not multinode-inference-*",
    "team",
    longest=100,
)
TAG_VALUE = Format("tag", rf"{_PRINTABLE}*", "the value of a tag", "search", longest=256)

IMAGE = Format(
    "image",
    rf"{_IMAGE_NAME}(:[A-Za-z0-9_][A-Za-z0-9._-]{{0,127}})?(@sha256:[0-9a-f]{{64}})?",
    "an image's name",
    "docker.io/rayproject/ray-llm:2.58.0-py312-cu130",
    longest=512,
)
VERSION = Format(
    "version", r"[0-9]{1,3}\.[0-9]{1,3}(\.[0-9]{1,3})?[A-Za-z0-9.+-]{0,40}", "a version", "0.32.0", longest=60
)
RAY_VERSION = Format("ray_version", r"[0-9]{1,2}\.[0-9]{1,3}\.[0-9]{1,3}", "a version", "2.58.0")
SHORT_VERSION = Format("version", r"[0-9]{1,2}\.[0-9]{1,2}(\.[0-9]{1,3})?", "a version", "12.8")
PARSER = Format("parser", r"[A-Za-z0-9][A-Za-z0-9._-]*", "the name of a parser, or off", "hermes", longest=100)
REPOSITORY_OF_IMAGE = Format("image", _IMAGE_NAME, "an image's name without a tag", "quay.io/kuberay/operator")
REGISTRY = Format("image", rf"{_REGISTRY}(/{_IMAGE_PATH})?/?", "a registry", "registry.example.com/mirror", longest=255)

FOLDER = Format("path", rf"(/{_PART}[A-Za-z0-9._-]+)+/?", "an absolute folder", "/mnt/nvme/models", longest=1024)
# vLLM gets the path and its last part as words of their own: one that begins with a hyphen would be an option.
MODEL_PATH = Format(
    "model_path",
    rf"(/{_PART}(?!-)[^/\x00-\x1f\x7f]+)+/?",
    "a plain absolute path, no part of which begins with a hyphen",
    "/models/Qwen/Qwen3-32B",
    longest=1024,
)
EXPORT_PATH = Format("path", rf"/|(/{_PART}[A-Za-z0-9._-]+)+/?", "the path of an export", "/models", longest=1024)
OBJECT_PATTERN = Format(
    "pattern", rf"{_PRINTABLE}+", "a file, a folder or a shell pattern", "Qwen/Qwen3-32B", longest=1024
)
# The driver takes <file system>:<address>:<path>: an address with colons would be taken apart.
_OCTET = r"(25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})"
ADDRESS = Format("address", rf"{_OCTET}(\.{_OCTET}){{3}}", "an IPv4 address", "10.0.1.7", longest=15)
DOMAIN = Format(
    "domain",
    # A name that ends in a number is read as an address (WHATWG URL, host parsing).
    r"(?!([^.]*\.)*[0-9]+$)([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*",
    "a DNS name",
    "example.com",
    # Room for the names below it.
    longest=200,
)
URL = Format("url", r"https?://[^\s/?#@\\]+(/[^\s?#\\]*)?", "an https URL without credentials", "https://example.com")
# OCI Object Storage, "Using Pre-Authenticated Requests".
PAR = Format(
    "par",
    r"https?://[A-Za-z0-9.:-]+/p/[!-.0-~]+/n/[!-.0-~]+/b/[!-.0-~]+/o/[!-~]*",
    "the URL of a pre-authenticated request",
    "https://objectstorage.us-ashburn-1.oraclecloud.com/p/SECRET/n/NAMESPACE/b/BUCKET/o/",
    remedy=(
        "create one in the OCI console (Object Storage, bucket, Pre-Authenticated Requests): type `bucket` or `prefix`, "
        "read, with listing allowed"
    ),
    hidden=True,
)
# OCI, "Creating an Object Storage Bucket".
BUCKET = Format(
    "bucket",
    r"[A-Za-z0-9._-]+",
    "the name of a bucket",
    "models",
    longest=256,
    remedy="use letters, digits, -, _ and .",
)
# Names as the Hugging Face Hub takes them.
REPOSITORY = Format(
    "repository",
    r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*",
    "organization/name",
    "Qwen/Qwen3-32B",
    longest=200,
)
# git check-ref-format
REVISION = Format(
    "revision",
    r"(?!.*(\.\.|//))[^\s~^:?*\[\\/\x00-\x1f\x7f-][^\s~^:?*\[\\\x00-\x1f\x7f]*",
    "a branch, tag or commit",
    "main",
    longest=255,
)
SERVED_NAME = Format(
    "served_name",
    rf"(?!-){_PRINTABLE}+",
    "a name that does not begin with a hyphen",
    "qwen3-32b",
    longest=256,
    remedy="vLLM would read it as an option; choose another",
)

IMAGE_OCID = _ocid("image")
NSG_OCID = _ocid("networksecuritygroup")
SUBNET_OCID = _ocid("subnet")
FILE_SYSTEM_OCID = _ocid("filesystem")
MOUNT_TARGET_OCID = _ocid("mounttarget")
CLUSTER_OCID = _ocid("cluster")
COMPARTMENT_OCID = Format(
    "ocid", r"ocid1\.(compartment|tenancy)\.[a-z0-9._-]+", "an OCID", "ocid1.compartment.oc1..aaaa", longest=255
)
CAPACITY_RESERVATION_OCID = _ocid("capacityreservation")
COMPUTE_CLUSTER_OCID = _ocid("computecluster")
REGION = Format("region", r"[a-z0-9]+(-[a-z0-9]+)*", "an OCI region", "us-ashburn-1", longest=64)
AVAILABILITY_DOMAIN = Format(
    "availability_domain", r"[A-Za-z0-9:_-]+", "an availability domain", "Uocm:PHX-AD-1", longest=64
)
FAULT_DOMAIN = Format("fault_domain", r"FAULT-DOMAIN-[1-9]", "a fault domain", "FAULT-DOMAIN-1")
INTERFACE = Format(
    "interface",
    r"[=^]?[A-Za-z0-9._-]{1,15}(,[A-Za-z0-9._-]{1,15})*",
    "the name of a network interface",
    "eth0",
    longest=255,
)
# kubernetes.core makes Helm's command line of these as they stand: a space would begin an option, such as --post-renderer.
_WORD = r"(?!-)[^\s'\"\\\x00-\x1f\x7f]+"
CHART = Format("chart", _WORD, "a name, path or URL without spaces and quotes", "kuberay-operator", longest=1024)
CHART_VERSION = Format(
    "chart_version", r"v?[0-9]+(\.[0-9]+){0,2}([-+][A-Za-z0-9.+-]+)?", "a version", "1.7.1", longest=64
)
# Whoever mixes up the two halves of a key must not find the private one in a log.
SSH_KEY = Format(
    "ssh_key",
    rf"(ssh-(rsa|ed25519)|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/=]+( {_PRINTABLE}*)?",
    "a public key on one line",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",
    longest=16384,
    remedy="give the public half",
    hidden=True,
)
