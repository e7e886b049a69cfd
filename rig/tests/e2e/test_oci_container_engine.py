# SPDX-License-Identifier: GPL-3.0-or-later
"""Contract of Container Engine: clusters, node pools and work requests, as the real SDK sees them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from typing import Any

import oci
import pytest
import yaml

from rig.fixtures import RunningRig
from rig.tests.e2e.oci_account import Account, error_of, open_account, pool_of

models = oci.container_engine.models


@pytest.fixture(scope="module")
def account(rig: RunningRig) -> Account:
    return open_account(rig)


@pytest.fixture(scope="module")
def pool(account: Account) -> Iterator[Any]:
    """A pool without machines: enough for what concerns pools only."""
    with account.node_pool("contract", size=0) as pool:
        yield pool


def test_a_cluster_names_its_compartment_network_and_version(account: Account) -> None:
    cluster = account.container_engine.get_cluster(account.cluster_id).data
    assert cluster.compartment_id == account.compartment_id
    assert cluster.kubernetes_version.startswith("v1.")
    assert cluster.lifecycle_state == "ACTIVE"
    assert cluster.cluster_pod_network_options[0].cni_type in ("FLANNEL_OVERLAY", "OCI_VCN_IP_NATIVE")
    host, port = (cluster.endpoints.private_endpoint or cluster.endpoints.public_endpoint).rsplit(":", 1)
    assert "/" not in host
    assert port.isdigit()


def test_what_is_not_there_and_what_is_not_yours_are_the_same_error(account: Account) -> None:
    missing = account.cluster_id[:-4] + "aaaa"
    assert error_of(account.container_engine.get_cluster, missing) == (404, "NotAuthorizedOrNotFound")
    if account.rig:
        other = open_account(account.rig)
        assert error_of(account.container_engine.get_cluster, other.cluster_id) == (404, "NotAuthorizedOrNotFound")


def test_a_kubeconfig_has_the_ca_and_mints_its_tokens(account: Account) -> None:
    details = models.CreateClusterKubeconfigContentDetails(token_version="2.0.0", endpoint="PRIVATE_ENDPOINT")
    answer = account.container_engine.create_kubeconfig(
        account.cluster_id, create_cluster_kubeconfig_content_details=details
    )
    kubeconfig = yaml.safe_load(answer.data.text)
    assert kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"]
    arguments = kubeconfig["users"][0]["user"]["exec"]["args"]
    assert arguments[:3] == ["ce", "cluster", "generate-token"]
    assert account.cluster_id in arguments


def test_creation_answers_with_a_work_request_that_names_the_pool(account: Account) -> None:
    answer = account.container_engine.create_node_pool(account.pool_details("named", size=0))
    assert answer.data is None
    work_request = account.container_engine.get_work_request(answer.headers["opc-work-request-id"]).data
    assert work_request.operation_type == "NODEPOOL_CREATE"
    assert work_request.status in ("ACCEPTED", "IN_PROGRESS")
    resource = next(one for one in work_request.resources if one.entity_type == "nodepool")
    assert resource.action_type == "IN_PROGRESS"
    work_request = account.wait(work_request.id)
    resource = next(one for one in work_request.resources if one.entity_type == "nodepool")
    assert (work_request.status, resource.action_type) == ("SUCCEEDED", "CREATED")
    assert account.container_engine.get_node_pool(resource.identifier).data.name == "named"
    account.delete(resource.identifier)


def test_a_pool_is_not_there_at_once(account: Account) -> None:
    answer = account.container_engine.create_node_pool(account.pool_details("later", size=0))
    work_request = account.container_engine.get_work_request(answer.headers["opc-work-request-id"]).data
    seen = []

    def active() -> bool:
        try:
            state = account.container_engine.get_node_pool(pool_of(work_request)).data.lifecycle_state
        except oci.exceptions.ServiceError as error:
            state = str(error.status)
        if state not in seen:
            seen.append(state)
        return state == "ACTIVE"

    account.eventually(active)
    assert set(seen) <= {"404", "CREATING", "ACTIVE"}
    account.delete(pool_of(work_request))


def test_the_same_retry_token_is_answered_with_the_same_work_request(account: Account) -> None:
    token = uuid.uuid4().hex[:30]
    details = account.pool_details("once", size=0)
    first = account.container_engine.create_node_pool(details, opc_retry_token=token)
    second = account.container_engine.create_node_pool(details, opc_retry_token=token)
    assert first.headers["opc-work-request-id"] == second.headers["opc-work-request-id"]
    other = account.pool_details("twice", size=0)
    status, code = error_of(account.container_engine.create_node_pool, other, opc_retry_token=token)
    assert (status, code) == (409, "InvalidatedRetryToken")
    pools = account.container_engine.list_node_pools(account.compartment_id, name="once")
    work_request = account.wait(first.headers["opc-work-request-id"])
    assert len(pools.data) <= 1
    account.delete(pool_of(work_request))


def test_a_pool_keeps_what_it_was_given(account: Account) -> None:
    details = account.pool_details(
        "kept",
        size=0,
        freeform_tags={"multinode-inference-deployment": "d"},
        initial_node_labels=[models.KeyValue(key="a/b", value="c")],
        node_metadata={"areLegacyImdsEndpointsDisabled": "true"},
        node_eviction_node_pool_settings=models.NodeEvictionNodePoolSettings(eviction_grace_duration="PT5M"),
        ssh_public_key="ssh-ed25519 AAAA test",
    )
    created = account.wait(account.container_engine.create_node_pool(details).headers["opc-work-request-id"])
    pool = account.container_engine.get_node_pool(pool_of(created)).data
    for name in ("freeform_tags", "initial_node_labels", "node_metadata", "ssh_public_key", "node_shape", "cluster_id"):
        assert getattr(pool, name) == getattr(details, name), name
    assert pool.node_source_details.boot_volume_size_in_gbs == 100
    assert pool.node_eviction_node_pool_settings.eviction_grace_duration == "PT5M"
    account.delete(pool.id)


def test_listed_pools_have_no_nodes(account: Account, pool: Any) -> None:
    listed = account.container_engine.list_node_pools(account.compartment_id, cluster_id=account.cluster_id).data
    assert pool.id in [one.id for one in listed]
    assert not any(hasattr(one, "nodes") for one in listed)
    if account.endpoint:
        path = f"/20180222/nodePools?compartmentId={account.compartment_id}"
        assert all("nodes" not in one for one in account.raw("GET", path).json())


def test_lists_come_in_pages(account: Account, pool: Any) -> None:
    with account.node_pool("page-two", size=0) as second:
        found, page = [], None
        for _ in range(100):
            answer = account.container_engine.list_node_pools(account.compartment_id, limit=1, page=page)
            assert len(answer.data) <= 1
            found += [one.id for one in answer.data]
            page = answer.next_page
            if not page:
                break
        assert {pool.id, second.id} <= set(found)
        assert len(found) == len(set(found))


@pytest.mark.parametrize("limit", [0, 1001])
def test_a_limit_out_of_bounds_is_refused(account: Account, limit: int) -> None:
    status, code = error_of(account.container_engine.list_node_pools, account.compartment_id, limit=limit)
    assert (status, code) == (400, "InvalidParameter")


def test_a_stale_etag_changes_nothing(account: Account, pool: Any) -> None:
    etag = account.container_engine.get_node_pool(pool.id).headers["etag"]
    update = models.UpdateNodePoolDetails(freeform_tags={"changed": "yes"})
    answer = account.container_engine.update_node_pool(pool.id, update, if_match=etag)
    account.wait(answer.headers["opc-work-request-id"])
    assert account.container_engine.get_node_pool(pool.id).data.freeform_tags == {"changed": "yes"}
    again = models.UpdateNodePoolDetails(freeform_tags={})
    assert error_of(account.container_engine.update_node_pool, pool.id, again, if_match=etag) == (412, "NoEtagMatch")


def test_a_pool_that_changes_takes_no_other_change(account: Account, pool: Any) -> None:
    update = models.UpdateNodePoolDetails(freeform_tags={"one": "1"})
    answer = account.container_engine.update_node_pool(pool.id, update)
    assert error_of(account.container_engine.update_node_pool, pool.id, update) == (409, "IncorrectState")
    assert error_of(account.container_engine.delete_node_pool, pool.id) == (409, "IncorrectState")
    work_request = account.wait(answer.headers["opc-work-request-id"])
    assert (work_request.operation_type, work_request.status) == ("NODEPOOL_UPDATE", "SUCCEEDED")


@pytest.mark.parametrize(
    "changes,expected",
    [
        ({"node_shape": "VM.GPU.A11.1"}, (400, "InvalidParameter")),
        ({"kubernetes_version": "v1.99.0"}, (400, "InvalidParameter")),
        ({"domains": ["XXXX:NOWHERE-AD-1"]}, (400, "InvalidParameter")),
        ({"cluster_id": None}, (400, "MissingParameter")),
        (
            {"node_source_details": models.NodeSourceViaImageDetails(image_id="ocid1.image.oc1.iad.aaaaaaaanone")},
            (400, "RelatedResourceNotAuthorizedOrNotFound"),
        ),
    ],
)
def test_what_cannot_be_is_refused_at_once(
    account: Account, changes: dict[str, Any], expected: tuple[int, str]
) -> None:
    details = account.pool_details("refused", size=0, **changes)
    assert error_of(account.container_engine.create_node_pool, details) == expected


def test_an_image_must_have_the_version_of_its_pool(account: Account) -> None:
    cluster = account.container_engine.get_cluster(account.cluster_id).data
    sources = account.container_engine.get_node_pool_options(account.cluster_id).data.sources
    other = next(
        one
        for one in sources
        if "-OKE-" in one.source_name and f"-OKE-{cluster.kubernetes_version[1:]}-" not in one.source_name
    )
    details = account.pool_details("refused", size=0, kubernetes_version=cluster.kubernetes_version)
    details.node_source_details.image_id = other.image_id
    assert error_of(account.container_engine.create_node_pool, details) == (400, "InvalidParameter")


def test_deleted_pools_are_remembered_for_a_while(account: Account) -> None:
    with account.node_pool("short-lived", size=0) as pool:
        pass
    listed = account.container_engine.list_node_pools(account.compartment_id, name="short-lived").data
    assert [one.lifecycle_state for one in listed] == ["DELETED"]
    alive = account.container_engine.list_node_pools(
        account.compartment_id, name="short-lived", lifecycle_state=["ACTIVE", "CREATING", "UPDATING"]
    ).data
    assert alive == []
    assert error_of(account.container_engine.delete_node_pool, pool.id)[0] in (404, 409)


def test_work_requests_are_found_by_their_pool(account: Account, pool: Any) -> None:
    found = account.container_engine.list_work_requests(account.compartment_id, resource_id=pool.id).data
    assert "NODEPOOL_CREATE" in [one.operation_type for one in found]
    created = next(one for one in found if one.operation_type == "NODEPOOL_CREATE")
    assert created.id.startswith("ocid1.clustersworkrequest.")
    assert created.time_accepted <= created.time_started <= created.time_finished
    logs = account.container_engine.list_work_request_logs(account.compartment_id, created.id).data
    assert logs
    assert logs[0].message
    assert account.container_engine.list_work_request_errors(account.compartment_id, created.id).data == []


def test_errors_of_a_work_request_need_the_compartment(account: Account, pool: Any) -> None:
    if not account.endpoint:
        pytest.skip("needs an endpoint for raw requests")
    found = account.container_engine.list_work_requests(account.compartment_id, resource_id=pool.id).data
    answer = account.raw("GET", f"/20180222/workRequests/{found[0].id}/errors")
    assert (answer.status_code, answer.json()["code"]) == (400, "MissingParameter")


def test_every_answer_bears_the_request_id_that_was_sent(account: Account) -> None:
    given = uuid.uuid4().hex
    answer = account.container_engine.get_cluster(account.cluster_id, opc_request_id=given)
    assert answer.headers["opc-request-id"].startswith(given)
    with pytest.raises(oci.exceptions.ServiceError) as raised:
        account.container_engine.get_cluster(account.cluster_id[:-4] + "aaaa", opc_request_id=given)
    assert raised.value.request_id.startswith(given)


def test_a_lost_answer_makes_one_pool(account: Account) -> None:
    client = account.client(oci.container_engine.ContainerEngineClient, retry_strategy=oci.retry.DEFAULT_RETRY_STRATEGY)
    with account.scenario({"operation": "CreateNodePool"}, lose_answer=True, times=1):
        answer = client.create_node_pool(account.pool_details("lost", size=0))
    pool_id = pool_of(account.wait(answer.headers["opc-work-request-id"]))
    pools = account.container_engine.list_node_pools(account.compartment_id, name="lost").data
    assert [one.id for one in pools] == [pool_id]
    assert len({call["retry_token"] for call in account.calls("CreateNodePool")[-2:]}) == 1
    account.delete(pool_id)


def test_too_many_requests_are_retried_by_the_sdk(account: Account) -> None:
    client = account.client(oci.container_engine.ContainerEngineClient, retry_strategy=oci.retry.DEFAULT_RETRY_STRATEGY)
    with account.scenario({"operation": "GetCluster"}, status=429, code="TooManyRequests", times=1):
        assert client.get_cluster(account.cluster_id).data.id == account.cluster_id
    assert [call["status"] for call in account.calls("GetCluster")[-2:]] == [429, 200]


def test_a_slow_answer_does_not_hold_up_others(account: Account) -> None:
    with account.scenario({"operation": "ListWorkRequests"}, delay_s=2):
        slow = threading.Thread(target=lambda: account.container_engine.list_work_requests(account.compartment_id))
        slow.start()
        account.container_engine.get_cluster(account.cluster_id)
        assert slow.is_alive()
        slow.join()
