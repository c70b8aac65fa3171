/*
 * vfs_rsvd: tunnel operations on a VHD set, its snapshots and their changes
 *
 * VHD sets are not served yet: no disk has a snapshot, and none tracks its
 * changes. Requests are checked, and answered on that ground.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/debug.h"
#include "modules/rsvd/rsvd_tunnel_private.h"

static NTSTATUS rsvd_vhdset_check_query(
	const struct svhdx_tunnel_vhdset_query_information_request *request)
{
	switch (request->information_type) {
	case SvhdxVHDSetInformationTypeSnapshotEntry:
		switch (request->snapshot_type) {
		case SvhdxSnapshotTypeVM:
		case SvhdxSnapshotTypeCDP:
		case SvhdxSnapshotTypeWriteable:
			return NT_STATUS_OK;
		default:
			return NT_STATUS_INVALID_PARAMETER_1;
		}
	case SvhdxVHDSetInformationTypeSnapshotList:
		if (request->snapshot_type != SvhdxSnapshotTypeVM) {
			return NT_STATUS_INVALID_PARAMETER_1;
		}
		return NT_STATUS_OK;
	case SvhdxVHDSetInformationTypeOptimizeNeeded:
	case SvhdxVHDSetInformationTypeCdpSnapshotRoot:
	case SvhdxVHDSetInformationTypeCdpSnapshotActiveList:
	case SvhdxVHDSetInformationTypeCdpSnapshotInactiveList:
		if (request->snapshot_type != 0) {
			return NT_STATUS_INVALID_PARAMETER;
		}
		return NT_STATUS_OK;
	default:
		return NT_STATUS_INVALID_PARAMETER_1;
	}
}

/* MS-RSVD 3.2.5.5.9 */
NTSTATUS rsvd_tunnel_vhdset_query(struct rsvd_tunnel_request *req)
{
	struct svhdx_tunnel_vhdset_query_information_request request;
	NTSTATUS status;

	/* Too long is too small, too. */
	if (req->payload.length !=
	    SVHDX_TUNNEL_VHDSET_QUERY_INFORMATION_REQUEST_SIZE)
	{
		return NT_STATUS_BUFFER_TOO_SMALL;
	}
	status = rsvd_tunnel_pull(
		req, &req->payload,
		svhdx_tunnel_vhdset_query_information_request, &request);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}

	if (!req->open->is_vhd_set) {
		return NT_STATUS_INVALID_DEVICE_REQUEST;
	}

	status = rsvd_vhdset_check_query(&request);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}

	return rsvd_tunnel_reply_status(req, NT_STATUS_NOT_SUPPORTED);
}

/* MS-RSVD 3.2.5.5.10 */
NTSTATUS rsvd_tunnel_delete_snapshot(struct rsvd_tunnel_request *req)
{
	struct svhdx_tunnel_delete_snapshot_request request;
	NTSTATUS status;

	status = rsvd_tunnel_pull(req, &req->payload,
				  svhdx_tunnel_delete_snapshot_request,
				  &request);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}

	if ((request.persist_reference != 0) &&
	    (request.snapshot_type != SvhdxSnapshotTypeVM))
	{
		return NT_STATUS_INVALID_PARAMETER;
	}
	if (request.snapshot_type == SvhdxSnapshotTypeCDP) {
		/* No snapshot is inactive, nor the first active one. */
		return NT_STATUS_SHARING_VIOLATION;
	}

	if (!req->open->is_vhd_set) {
		return rsvd_tunnel_reply_status(
			req, NT_STATUS_INVALID_DEVICE_REQUEST);
	}
	return rsvd_tunnel_reply_status(req, NT_STATUS_NOT_SUPPORTED);
}

/* MS-RSVD 3.2.5.5.11 */
NTSTATUS rsvd_tunnel_tracking_get_parameters(struct rsvd_tunnel_request *req)
{
	struct svhdx_change_tracking_get_parameters_response response = {
		.change_tracking_status =
			SVHDX_TUNNEL_CHANGE_TRACKING_NOT_INITIALIZED,
	};

	return rsvd_tunnel_reply(req, NT_STATUS_OK,
				 svhdx_change_tracking_get_parameters_response,
				 &response);
}

/* MS-RSVD 3.2.5.5.12 */
NTSTATUS rsvd_tunnel_tracking_start(struct rsvd_tunnel_request *req)
{
	struct svhdx_change_tracking_start_request request;
	NTSTATUS status;

	status = rsvd_tunnel_pull(req, &req->payload,
				  svhdx_change_tracking_start_request,
				  &request);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (request.log_file_name_length != 0) {
		return NT_STATUS_INVALID_PARAMETER;
	}

	return rsvd_tunnel_reply_status(req, NT_STATUS_NOT_SUPPORTED);
}

/* MS-RSVD 3.2.5.5.13 */
NTSTATUS rsvd_tunnel_tracking_stop(struct rsvd_tunnel_request *req)
{
	struct svhdx_change_tracking_stop_response response = {
		.change_tracking_status =
			SVHDX_TUNNEL_CHANGE_TRACKING_NOT_INITIALIZED,
	};

	/* The same code is that of an NTSTATUS. */
	return rsvd_tunnel_reply(
		req, NT_STATUS(SVHDX_TUNNEL_CHANGE_TRACKING_NOT_INITIALIZED),
		svhdx_change_tracking_stop_response, &response);
}

/* MS-RSVD 3.2.5.5.14 */
NTSTATUS rsvd_tunnel_query_changes(struct rsvd_tunnel_request *req)
{
	struct svhdx_tunnel_query_virtual_disk_changes_request request;
	NTSTATUS status;

	status = rsvd_tunnel_pull(
		req, &req->payload,
		svhdx_tunnel_query_virtual_disk_changes_request, &request);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (request.snapshot_type != SvhdxSnapshotTypeVM) {
		return NT_STATUS_INVALID_PARAMETER;
	}

	/* The list of snapshots is empty. */
	return NT_STATUS_NOT_FOUND;
}
