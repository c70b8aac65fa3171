/*
 * vfs_rsvd: what comes through FSCTL
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/debug.h"
#include "modules/rsvd/rsvd_tunnel.h"
#include "modules/rsvd/rsvd_tunnel_private.h"

struct rsvd_tunnel_handler {
	uint32_t code;
	const char *name;
	/* Smallest MaxOutputResponse, and what a smaller one gets. */
	uint32_t min_output;
	NTSTATUS output_too_small;
	NTSTATUS (*fn)(struct rsvd_tunnel_request *req);
};

#define RSVD_TUNNEL_OUTPUT(size) (SVHDX_TUNNEL_OPERATION_HEADER_SIZE + (size))

/* MS-RSVD 2.2.2, 3.2.5.5.1 to 3.2.5.5.15 */
static const struct rsvd_tunnel_handler rsvd_tunnel_handlers[] = {
	{
		.code = RSVD_TUNNEL_GET_INITIAL_INFO_OPERATION,
		.name = "GET_INITIAL_INFO",
		.min_output = RSVD_TUNNEL_OUTPUT(
			SVHDX_TUNNEL_INITIAL_INFO_RESPONSE_SIZE),
		.output_too_small = NT_STATUS_BUFFER_TOO_SMALL,
		.fn = rsvd_tunnel_initial_info,
	},
	{
		.code = RSVD_TUNNEL_SCSI_OPERATION,
		.name = "SCSI",
		.min_output = RSVD_TUNNEL_OUTPUT(
			SVHDX_TUNNEL_SCSI_RESPONSE_SIZE),
		.output_too_small = NT_STATUS_INVALID_PARAMETER,
		.fn = rsvd_tunnel_scsi,
	},
	{
		.code = RSVD_TUNNEL_CHECK_CONNECTION_STATUS_OPERATION,
		.name = "CHECK_CONNECTION_STATUS",
		.min_output = RSVD_TUNNEL_OUTPUT(0),
		.output_too_small = NT_STATUS_BUFFER_OVERFLOW,
		.fn = rsvd_tunnel_check_connection,
	},
	{
		.code = RSVD_TUNNEL_SRB_STATUS_OPERATION,
		.name = "SRB_STATUS",
		.min_output = RSVD_TUNNEL_OUTPUT(
			SVHDX_TUNNEL_SRB_STATUS_RESPONSE_SIZE),
		.output_too_small = NT_STATUS_INVALID_PARAMETER,
		.fn = rsvd_tunnel_srb_status,
	},
	{
		.code = RSVD_TUNNEL_GET_DISK_INFO_OPERATION,
		.name = "GET_DISK_INFO",
		.min_output = RSVD_TUNNEL_OUTPUT(
			SVHDX_TUNNEL_DISK_INFO_RESPONSE_SIZE),
		.output_too_small = NT_STATUS_BUFFER_TOO_SMALL,
		.fn = rsvd_tunnel_disk_info,
	},
	{
		.code = RSVD_TUNNEL_VALIDATE_DISK_OPERATION,
		.name = "VALIDATE_DISK",
		.min_output = RSVD_TUNNEL_OUTPUT(
			SVHDX_TUNNEL_VALIDATE_DISK_RESPONSE_SIZE),
		.output_too_small = NT_STATUS_BUFFER_TOO_SMALL,
		.fn = rsvd_tunnel_validate_disk,
	},
	{
		.code = RSVD_TUNNEL_META_OPERATION_START,
		.name = "META_OPERATION_START",
		.min_output = RSVD_TUNNEL_OUTPUT(0),
		.output_too_small = NT_STATUS_BUFFER_TOO_SMALL,
		.fn = rsvd_tunnel_meta_start,
	},
	{
		.code = RSVD_TUNNEL_META_OPERATION_QUERY_PROGRESS,
		.name = "META_OPERATION_QUERY_PROGRESS",
		.min_output = RSVD_TUNNEL_OUTPUT(0),
		.output_too_small = NT_STATUS_BUFFER_TOO_SMALL,
		.fn = rsvd_tunnel_meta_progress,
	},
	{
		.code = RSVD_TUNNEL_VHDSET_QUERY_INFORMATION,
		.name = "VHDSET_QUERY_INFORMATION",
		.min_output = RSVD_TUNNEL_OUTPUT(0),
		.output_too_small = NT_STATUS_BUFFER_TOO_SMALL,
		.fn = rsvd_tunnel_vhdset_query,
	},
	{
		.code = RSVD_TUNNEL_DELETE_SNAPSHOT,
		.name = "DELETE_SNAPSHOT",
		.min_output = RSVD_TUNNEL_OUTPUT(0),
		.output_too_small = NT_STATUS_BUFFER_TOO_SMALL,
		.fn = rsvd_tunnel_delete_snapshot,
	},
	{
		.code = RSVD_TUNNEL_CHANGE_TRACKING_GET_PARAMETERS,
		.name = "CHANGE_TRACKING_GET_PARAMETERS",
		.min_output = RSVD_TUNNEL_OUTPUT(
			SVHDX_CHANGE_TRACKING_GET_PARAMETERS_RESPONSE_SIZE),
		.output_too_small = NT_STATUS_BUFFER_TOO_SMALL,
		.fn = rsvd_tunnel_tracking_get_parameters,
	},
	{
		.code = RSVD_TUNNEL_CHANGE_TRACKING_START,
		.name = "CHANGE_TRACKING_START",
		.min_output = RSVD_TUNNEL_OUTPUT(0),
		.output_too_small = NT_STATUS_BUFFER_TOO_SMALL,
		.fn = rsvd_tunnel_tracking_start,
	},
	{
		.code = RSVD_TUNNEL_CHANGE_TRACKING_STOP,
		.name = "CHANGE_TRACKING_STOP",
		.min_output = RSVD_TUNNEL_OUTPUT(
			SVHDX_CHANGE_TRACKING_STOP_RESPONSE_SIZE),
		.output_too_small = NT_STATUS_BUFFER_TOO_SMALL,
		.fn = rsvd_tunnel_tracking_stop,
	},
	{
		.code = RSVD_TUNNEL_QUERY_VIRTUAL_DISK_CHANGES,
		.name = "QUERY_VIRTUAL_DISK_CHANGES",
		.min_output = RSVD_TUNNEL_OUTPUT(0),
		.output_too_small = NT_STATUS_BUFFER_TOO_SMALL,
		.fn = rsvd_tunnel_query_changes,
	},
	{
		.code = RSVD_TUNNEL_QUERY_SAFE_SIZE,
		.name = "QUERY_SAFE_SIZE",
		.min_output = RSVD_TUNNEL_OUTPUT(
			SVHDX_TUNNEL_QUERY_SAFE_SIZE_RESPONSE_SIZE),
		.output_too_small = NT_STATUS_BUFFER_TOO_SMALL,
		.fn = rsvd_tunnel_safe_size,
	},
};

static const struct rsvd_tunnel_handler *rsvd_tunnel_find(uint32_t code)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rsvd_tunnel_handlers); i++) {
		if (rsvd_tunnel_handlers[i].code == code) {
			return &rsvd_tunnel_handlers[i];
		}
	}

	return NULL;
}

NTSTATUS rsvd_tunnel_pull_struct(struct rsvd_tunnel_request *req,
				 const DATA_BLOB *blob, void *p,
				 ndr_pull_flags_fn_t fn)
{
	enum ndr_err_code ndr_err;

	ndr_err = ndr_pull_struct_blob(blob, req->mem_ctx, p, fn);
	if (NDR_ERR_CODE_IS_SUCCESS(ndr_err)) {
		return NT_STATUS_OK;
	}
	if (ndr_err == NDR_ERR_BUFSIZE) {
		return NT_STATUS_BUFFER_TOO_SMALL;
	}

	return ndr_map_error2ntstatus(ndr_err);
}

NTSTATUS rsvd_tunnel_reply_struct(struct rsvd_tunnel_request *req,
				  NTSTATUS status, const void *p,
				  ndr_push_flags_fn_t fn)
{
	struct svhdx_tunnel_operation_header header = req->header;
	struct ndr_push *ndr = NULL;
	enum ndr_err_code ndr_err;
	DATA_BLOB blob;

	ndr = ndr_push_init_ctx(req->mem_ctx);
	if (ndr == NULL) {
		return NT_STATUS_NO_MEMORY;
	}

	header.status = status;
	ndr_err = ndr_push_svhdx_tunnel_operation_header(
		ndr, NDR_SCALARS|NDR_BUFFERS, &header);
	if (NDR_ERR_CODE_IS_SUCCESS(ndr_err) && (fn != NULL)) {
		ndr_err = fn(ndr, NDR_SCALARS|NDR_BUFFERS, p);
	}
	if (!NDR_ERR_CODE_IS_SUCCESS(ndr_err)) {
		TALLOC_FREE(ndr);
		return ndr_map_error2ntstatus(ndr_err);
	}

	blob = ndr_push_blob(ndr);
	if (blob.length > req->max_output) {
		DBG_NOTICE("No room for a response of %zu bytes\n",
			   blob.length);
		TALLOC_FREE(ndr);
		return NT_STATUS_BUFFER_TOO_SMALL;
	}

	talloc_steal(req->mem_ctx, blob.data);
	TALLOC_FREE(ndr);
	*req->output = blob;
	return NT_STATUS_OK;
}

NTSTATUS rsvd_tunnel_reply_status(struct rsvd_tunnel_request *req,
				  NTSTATUS status)
{
	if (!NT_STATUS_IS_OK(status)) {
		DBG_INFO("Operation 0x%"PRIx32" answered with %s\n",
			 (uint32_t)req->header.operation_code,
			 nt_errstr(status));
	}

	return rsvd_tunnel_reply_struct(req, status, NULL, NULL);
}

/* The version that an operation belongs to is in its code. */
static bool rsvd_tunnel_version_served(uint32_t server_version, uint32_t code)
{
	switch (code & RSVD_TUNNEL_OPERATION_VERSION_MASK) {
	case RSVD_TUNNEL_OPERATION_VERSION_1:
		return true;
	case RSVD_TUNNEL_OPERATION_VERSION_2:
		return server_version >= RSVD_PROTOCOL_VERSION_2;
	default:
		return false;
	}
}

NTSTATUS rsvd_tunnel_dispatch(struct rsvd_open *open, TALLOC_CTX *mem_ctx,
			      const DATA_BLOB *input, uint32_t max_output,
			      DATA_BLOB *output)
{
	struct rsvd_tunnel_request req = {
		.open = open,
		.mem_ctx = mem_ctx,
		.max_output = max_output,
		.output = output,
	};
	const struct rsvd_tunnel_handler *op = NULL;
	uint32_t code;
	NTSTATUS status;

	if (open == NULL) {
		return NT_STATUS_INVALID_PARAMETER;
	}

	status = rsvd_tunnel_pull(&req, input, svhdx_tunnel_operation_header,
				  &req.header);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	req.payload = data_blob_const(
		input->data + SVHDX_TUNNEL_OPERATION_HEADER_SIZE,
		input->length - SVHDX_TUNNEL_OPERATION_HEADER_SIZE);

	code = req.header.operation_code;
	if ((code & RSVD_TUNNEL_OPERATION_MASK) != RSVD_TUNNEL_OPERATION) {
		return NT_STATUS_INVALID_DEVICE_REQUEST;
	}
	if (!rsvd_tunnel_version_served(open->server_version, code)) {
		return rsvd_tunnel_reply_status(
			&req, NT_STATUS_SVHDX_VERSION_MISMATCH);
	}

	op = rsvd_tunnel_find(code);
	if (op == NULL) {
		return rsvd_tunnel_reply_status(&req,
						NT_STATUS_INVALID_PARAMETER);
	}

	if (max_output < op->min_output) {
		return op->output_too_small;
	}

	status = op->fn(&req);
	DBG_DEBUG("%s, request %"PRIu64": %s\n", op->name,
		  req.header.request_id, nt_errstr(status));
	return status;
}

NTSTATUS rsvd_tunnel_query_support(struct rsvd_disk *disk,
				   const struct rsvd_open *open,
				   uint32_t server_version,
				   TALLOC_CTX *mem_ctx, uint32_t max_output,
				   DATA_BLOB *output)
{
	struct svhdx_shared_virtual_disk_support_response response = {
		.support = SharedVirtualDisksSupported,
		.handle_state = HandleStateNone,
	};
	enum ndr_err_code ndr_err;

	if (max_output < SVHDX_SHARED_VIRTUAL_DISK_SUPPORT_RESPONSE_SIZE) {
		return NT_STATUS_BUFFER_TOO_SMALL;
	}

	if (server_version >= RSVD_PROTOCOL_VERSION_2) {
		response.support = SharedVirtualDiskSnapshotsSupported;
	}
	if (open != NULL) {
		response.handle_state = HandleStateShared;
	} else if (rsvd_disk_is_attached(disk)) {
		response.handle_state = HandleStateFileShared;
	}

	ndr_err = ndr_push_struct_blob(
		output, mem_ctx, &response,
		(ndr_push_flags_fn_t)
		ndr_push_svhdx_shared_virtual_disk_support_response);
	return ndr_map_error2ntstatus(ndr_err);
}
