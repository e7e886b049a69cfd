# Copyright: multinode.inference contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations


class ModuleDocFragment:
    """Options of every module that signs in to Oracle Cloud."""

    DOCUMENTATION = r"""
options:
  auth_type:
    description:
      - How to sign in to Oracle Cloud Infrastructure.
      - V(api_key) and V(security_token) read a profile of the configuration file; the second is what
        C(oci session authenticate) makes.
      - V(instance_principal) works on a compute instance, V(resource_principal) in a function or the like,
        V(workload_identity) in a pod of an enhanced OKE cluster.
      - Without it E(OCI_ANSIBLE_AUTH_TYPE).
    type: str
    choices: [api_key, security_token, instance_principal, resource_principal, workload_identity]
    default: api_key
  config_file_location:
    description:
      - Path of the OCI configuration file. Without it E(OCI_CONFIG_FILE), else C(~/.oci/config).
    type: path
  config_profile_name:
    description:
      - Profile of the configuration file. Without it E(OCI_CONFIG_PROFILE), else C(DEFAULT).
    type: str
  api_user:
    description:
      - OCID of the user, over the one of the profile. Without it E(OCI_USER_ID).
    type: str
  api_user_fingerprint:
    description:
      - Fingerprint of the user's API key, over the one of the profile. Without it E(OCI_USER_FINGERPRINT).
    type: str
  api_user_key_file:
    description:
      - Path of the user's private key, over the one of the profile. Without it E(OCI_USER_KEY_FILE).
    type: path
  api_user_key_pass_phrase:
    description:
      - Pass phrase of the private key, if it has one. Without it E(OCI_USER_KEY_PASS_PHRASE).
    type: str
  tenancy:
    description:
      - OCID of the tenancy, over the one of the profile. Without it E(OCI_TENANCY).
    type: str
  region:
    description:
      - Region whose services are asked, such as C(us-ashburn-1).
      - Without it the region named by the OCID that the module is given, else E(OCI_REGION), else that of the profile.
    type: str
  cert_bundle:
    description:
      - Path of a bundle of certificates of authorities to trust. Without it E(OCI_ANSIBLE_CERT_BUNDLE).
    type: path
  oci_service_endpoint:
    description:
      - URL of the services, for private endpoints and realms that the SDK does not know. One URL for all services, or a
        mapping of service to URL.
      - Services are C(container_engine), C(identity), C(compute), C(virtual_network), C(limits), C(file_storage) and
        C(object_storage). One that is not in the mapping has the address of its region.
    type: raw
requirements:
  - oci >= 2.150.0
"""
