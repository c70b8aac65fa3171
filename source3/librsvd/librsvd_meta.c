/*
 * librsvd: the operations of version 2
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/librsvd/librsvd_private.h"

/*
 * What a list of snapshots may take: 4096 of them. MS-RSVD names no limit.
 */
#define LIBRSVD_MAX_LIST 65536

/*
 * 3.1.4.12 to 3.1.4.17, 3.1.4.25: starting a meta-operation
 */

/* A file name as UTF-16, its terminator included. */
static NTSTATUS librsvd_name_push(TALLOC_CTX *mem_ctx, const char *name,
				  DATA_BLOB *blob)
{
	if (name == NULL || name[0] == '\0') {
		return NT_STATUS_INVALID_PARAMETER;
	}
	if (!convert_string_talloc(mem_ctx, CH_UTF8, CH_UTF16LE, name,
				   strlen(name) + 1, &blob->data,
				   &blob->length)) {
		return NT_STATUS_INVALID_PARAMETER;
	}
	return NT_STATUS_OK;
}

static NTSTATUS librsvd_meta_resize_push(
	TALLOC_CTX *mem_ctx, const struct librsvd_meta_operation *operation,
	DATA_BLOB *blob)
{
	struct svhdx_meta_operation_resize_virtual_disk r = {
		.new_size = operation->resize.new_size,
		.expand_only = operation->resize.expand_only,
		.allow_unsafe_virtual_size =
			operation->resize.allow_unsafe_virtual_size,
		.shrink_to_minimum_safe_size =
			operation->resize.shrink_to_minimum_safe_size,
	};

	return librsvd_push(mem_ctx, &r, (ndr_push_flags_fn_t)
			    ndr_push_svhdx_meta_operation_resize_virtual_disk,
			    blob);
}

static NTSTATUS librsvd_meta_create_snapshot_push(
	TALLOC_CTX *mem_ctx, const struct librsvd_meta_operation *operation,
	DATA_BLOB *blob)
{
	struct svhdx_meta_operation_create_cdp_parameter cdp = {
		.log_file_name_offset =
			SVHDX_META_OPERATION_CREATE_CDP_PARAMETER_SIZE,
		.log_file_id = librsvd_guid_to_ndr(
			&operation->create_snapshot.log_file_id),
	};
	struct svhdx_meta_operation_create_snapshot r = {
		.snapshot_type = (enum svhdx_snapshot_type)
			operation->create_snapshot.snapshot_type,
		.flags = operation->create_snapshot.flags,
		.snapshot_id = librsvd_guid_to_ndr(
			&operation->create_snapshot.snapshot_id),
	};
	NTSTATUS status;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(r.stage); i++) {
		r.stage[i] = (enum svhdx_snapshot_stage)
			operation->create_snapshot.stages[i];
	}
	if (operation->create_snapshot.snapshot_type == LIBRSVD_SNAPSHOT_CDP) {
		status = librsvd_push(
			mem_ctx, &cdp, (ndr_push_flags_fn_t)
			ndr_push_svhdx_meta_operation_create_cdp_parameter,
			&r.parameters);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	return librsvd_push(mem_ctx, &r, (ndr_push_flags_fn_t)
			    ndr_push_svhdx_meta_operation_create_snapshot,
			    blob);
}

static NTSTATUS librsvd_meta_optimize_push(
	TALLOC_CTX *mem_ctx, const struct librsvd_meta_operation *operation,
	DATA_BLOB *blob)
{
	*blob = data_blob_null;
	return NT_STATUS_OK;
}

static NTSTATUS librsvd_meta_extract_push(
	TALLOC_CTX *mem_ctx, const struct librsvd_meta_operation *operation,
	DATA_BLOB *blob)
{
	struct svhdx_meta_operation_extract r = {
		.snapshot_type = (enum svhdx_snapshot_type)
			operation->extract.snapshot_type,
		.flags = operation->extract.flags,
		.source_snapshot_id = librsvd_guid_to_ndr(
			&operation->extract.source_snapshot_id),
		.source_limit_snapshot_id = librsvd_guid_to_ndr(
			&operation->extract.source_limit_snapshot_id),
	};
	NTSTATUS status;

	status = librsvd_name_push(mem_ctx, operation->extract.destination,
				   &r.destination_file_name);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	r.destination_file_name_length = r.destination_file_name.length;
	return librsvd_push(mem_ctx, &r, (ndr_push_flags_fn_t)
			    ndr_push_svhdx_meta_operation_extract, blob);
}

static NTSTATUS librsvd_meta_convert_push(
	TALLOC_CTX *mem_ctx, const struct librsvd_meta_operation *operation,
	DATA_BLOB *blob)
{
	struct svhdx_meta_operation_convert_to_vhdset r = {
		.destination_vhd_set_name_length = 0,
	};
	NTSTATUS status;

	status = librsvd_name_push(mem_ctx,
				   operation->convert_to_vhdset.destination,
				   &r.destination_vhd_set_name);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	r.destination_vhd_set_name_length = r.destination_vhd_set_name.length;
	return librsvd_push(mem_ctx, &r, (ndr_push_flags_fn_t)
			    ndr_push_svhdx_meta_operation_convert_to_vhdset,
			    blob);
}

static NTSTATUS librsvd_meta_apply_snapshot_push(
	TALLOC_CTX *mem_ctx, const struct librsvd_meta_operation *operation,
	DATA_BLOB *blob)
{
	struct svhdx_apply_snapshot_params r = {
		.snapshot_type = (enum svhdx_snapshot_type)
			operation->apply_snapshot.snapshot_type,
		.snapshot_id = librsvd_guid_to_ndr(
			&operation->apply_snapshot.snapshot_id),
	};

	return librsvd_push(mem_ctx, &r, (ndr_push_flags_fn_t)
			    ndr_push_svhdx_apply_snapshot_params, blob);
}

static const struct {
	NTSTATUS (*push)(TALLOC_CTX *mem_ctx,
			 const struct librsvd_meta_operation *operation,
			 DATA_BLOB *blob);
} librsvd_meta_operations[] = {
	[LIBRSVD_META_RESIZE]		= { librsvd_meta_resize_push },
	[LIBRSVD_META_CREATE_SNAPSHOT]	= { librsvd_meta_create_snapshot_push },
	[LIBRSVD_META_OPTIMIZE]		= { librsvd_meta_optimize_push },
	[LIBRSVD_META_EXTRACT]		= { librsvd_meta_extract_push },
	[LIBRSVD_META_CONVERT_TO_VHDSET] = { librsvd_meta_convert_push },
	[LIBRSVD_META_APPLY_SNAPSHOT]	= { librsvd_meta_apply_snapshot_push },
};

NTSTATUS librsvd_meta_operation_push(
	TALLOC_CTX *mem_ctx, const struct librsvd_guid *transaction_id,
	const struct librsvd_meta_operation *operation, DATA_BLOB *blob)
{
	struct svhdx_meta_operation_start_request r = {
		.transaction_id = librsvd_guid_to_ndr(transaction_id),
		.operation_type = (enum svhdx_meta_operation_type)
			operation->type,
	};
	NTSTATUS status;

	if ((size_t)operation->type >= ARRAY_SIZE(librsvd_meta_operations) ||
	    LIBRSVD_IS_UNKNOWN(operation)) {
		return NT_STATUS_INVALID_PARAMETER;
	}
	status = librsvd_meta_operations[operation->type].push(
		mem_ctx, operation, &r.data);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	return librsvd_push(mem_ctx, &r, (ndr_push_flags_fn_t)
			    ndr_push_svhdx_meta_operation_start_request, blob);
}

struct tevent_req *librsvd_meta_operation_send(
	TALLOC_CTX *mem_ctx, struct librsvd_disk *disk,
	const struct librsvd_guid *transaction_id,
	const struct librsvd_meta_operation *operation)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct tevent_req *req = NULL;
	DATA_BLOB blob = { .length = 0 };
	NTSTATUS status;

	status = librsvd_meta_operation_push(frame, transaction_id, operation,
					     &blob);
	if (!NT_STATUS_IS_OK(status)) {
		TALLOC_FREE(frame);
		return librsvd_failed_send(mem_ctx, disk, status);
	}
	req = librsvd_tunnel_send(mem_ctx, disk, LIBRSVD_META_OPERATION_START,
				  LIBRSVD_TUNNEL_ASYNC, blob.data, blob.length,
				  SVHDX_TUNNEL_OPERATION_HEADER_SIZE +
				  SVHDX_META_OPERATION_REPLY_SIZE);
	TALLOC_FREE(frame);
	return req;
}

NTSTATUS librsvd_meta_operation_recv(struct tevent_req *req,
				     uint32_t *change_tracking_status)
{
	struct svhdx_meta_operation_reply r = {
		.change_tracking_error_status =
			SVHDX_TUNNEL_CHANGE_TRACKING_STATUS_SUCCESS,
	};
	TALLOC_CTX *frame = talloc_stackframe();
	NTSTATUS status, tunnel_status;
	uint8_t *output = NULL;
	size_t length = 0;
	DATA_BLOB blob;

	status = librsvd_tunnel_recv(req, frame, &tunnel_status, &output,
				     &length);
	if (NT_STATUS_IS_OK(status)) {
		status = tunnel_status;
	}
	if (NT_STATUS_IS_OK(status) && length > 0) {
		/* Of a CDP snapshot only, 2.2.4.18. */
		blob = data_blob_const(output, length);
		status = librsvd_pull(frame, &blob, &r, (ndr_pull_flags_fn_t)
				      ndr_pull_svhdx_meta_operation_reply);
	}
	TALLOC_FREE(frame);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (change_tracking_status != NULL) {
		*change_tracking_status = r.change_tracking_error_status;
	}
	return NT_STATUS_OK;
}

NTSTATUS librsvd_meta_operation(struct librsvd_disk *disk,
				const struct librsvd_guid *transaction_id,
				const struct librsvd_meta_operation *operation,
				uint32_t *change_tracking_status)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct tevent_req *req = NULL;
	NTSTATUS status;

	req = librsvd_meta_operation_send(frame, disk, transaction_id,
					  operation);
	status = librsvd_wait(disk->conn, req);
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_meta_operation_recv(req,
						     change_tracking_status);
	}
	TALLOC_FREE(frame);
	return status;
}

/*
 * 3.1.4.18 Application Requests Querying Meta Operation Progress
 */

struct tevent_req *librsvd_meta_progress_send(
	TALLOC_CTX *mem_ctx, struct librsvd_disk *disk,
	const struct librsvd_guid *transaction_id)
{
	struct svhdx_meta_operation_query_progress_request r = {
		.transaction_id = librsvd_guid_to_ndr(transaction_id),
	};

	return librsvd_typed_send(
		mem_ctx, disk, LIBRSVD_META_OPERATION_QUERY_PROGRESS, 0, &r,
		(ndr_push_flags_fn_t)
		ndr_push_svhdx_meta_operation_query_progress_request,
		SVHDX_META_OPERATION_QUERY_PROGRESS_RESPONSE_SIZE);
}

NTSTATUS librsvd_meta_progress_recv(struct tevent_req *req, uint64_t *current,
				    uint64_t *complete)
{
	struct svhdx_meta_operation_query_progress_response r = {
		.complete_value = 0,
	};
	NTSTATUS status;

	status = librsvd_typed_recv(
		req, NULL, &r, (ndr_pull_flags_fn_t)
		ndr_pull_svhdx_meta_operation_query_progress_response);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	*current = r.current_progress_value;
	*complete = r.complete_value;
	return NT_STATUS_OK;
}

NTSTATUS librsvd_meta_progress(struct librsvd_disk *disk,
			       const struct librsvd_guid *transaction_id,
			       uint64_t *current, uint64_t *complete)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct tevent_req *req = NULL;
	NTSTATUS status;

	req = librsvd_meta_progress_send(frame, disk, transaction_id);
	status = librsvd_wait(disk->conn, req);
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_meta_progress_recv(req, current, complete);
	}
	TALLOC_FREE(frame);
	return status;
}

/*
 * 3.1.4.19 Application Requests Querying VHD Set Information
 */

struct tevent_req *librsvd_vhdset_query_send(
	TALLOC_CTX *mem_ctx, struct librsvd_disk *disk,
	enum librsvd_vhdset_information_type type,
	enum librsvd_snapshot_type snapshot_type,
	const struct librsvd_guid *snapshot_id)
{
	struct svhdx_tunnel_vhdset_query_information_request r = {
		.information_type = (enum svhdx_vhdset_information_type)type,
		.snapshot_type = (enum svhdx_snapshot_type)snapshot_type,
	};

	if (snapshot_id != NULL) {
		r.snapshot_id = librsvd_guid_to_ndr(snapshot_id);
	}
	return librsvd_typed_send(
		mem_ctx, disk, LIBRSVD_VHDSET_QUERY_INFORMATION, 0, &r,
		(ndr_push_flags_fn_t)
		ndr_push_svhdx_tunnel_vhdset_query_information_request,
		LIBRSVD_MAX_LIST);
}

static NTSTATUS librsvd_vhdset_list_parse(
	TALLOC_CTX *mem_ctx, const DATA_BLOB *blob,
	struct librsvd_vhdset_information *information)
{
	struct svhdx_tunnel_vhdset_query_information_snapshot_list_response r =
		{ .number_of_snapshots = 0 };
	TALLOC_CTX *frame = talloc_stackframe();
	NTSTATUS status;
	uint32_t i;

	status = librsvd_pull(frame, blob, &r, (ndr_pull_flags_fn_t)
		ndr_pull_svhdx_tunnel_vhdset_query_information_snapshot_list_response);
	if (!NT_STATUS_IS_OK(status)) {
		TALLOC_FREE(frame);
		return status;
	}
	information->complete = r.response_complete != 0;
	information->num_snapshots = r.number_of_snapshots;

	if (!information->complete || r.number_of_snapshots == 0) {
		TALLOC_FREE(frame);
		return NT_STATUS_OK;
	}
	information->snapshot_ids = talloc_array(
		mem_ctx, struct librsvd_guid, r.number_of_snapshots);
	if (information->snapshot_ids == NULL) {
		TALLOC_FREE(frame);
		return NT_STATUS_NO_MEMORY;
	}
	for (i = 0; i < r.number_of_snapshots; i++) {
		information->snapshot_ids[i] =
			librsvd_guid_from_ndr(&r.snapshot_ids[i]);
	}
	TALLOC_FREE(frame);
	return NT_STATUS_OK;
}

static NTSTATUS librsvd_vhdset_entry_parse(
	const DATA_BLOB *blob, struct librsvd_vhdset_information *information)
{
	struct svhdx_tunnel_vhdset_query_information_snapshot_entry_response r =
		{ .is_valid_snapshot = 0 };
	NTSTATUS status;

	status = librsvd_pull(NULL, blob, &r, (ndr_pull_flags_fn_t)
		ndr_pull_svhdx_tunnel_vhdset_query_information_snapshot_entry_response);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	information->creation_time = r.snapshot_creation_time;
	information->snapshot_type =
		(enum librsvd_snapshot_type)r.snapshot_type;
	information->is_valid = r.is_valid_snapshot != 0;
	information->snapshot_id = librsvd_guid_from_ndr(&r.snapshot_id);
	information->parent_snapshot_id =
		librsvd_guid_from_ndr(&r.parent_snapshot_id);
	information->log_file_id = librsvd_guid_from_ndr(&r.log_file_id);
	return NT_STATUS_OK;
}

static NTSTATUS librsvd_vhdset_optimize_parse(
	const DATA_BLOB *blob, struct librsvd_vhdset_information *information)
{
	struct svhdx_tunnel_vhdset_query_information_optimize_response r =
		{ .optimize_needed = 0 };
	NTSTATUS status;

	status = librsvd_pull(NULL, blob, &r, (ndr_pull_flags_fn_t)
		ndr_pull_svhdx_tunnel_vhdset_query_information_optimize_response);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	information->optimize_needed = r.optimize_needed != 0;
	return NT_STATUS_OK;
}

NTSTATUS librsvd_vhdset_parse(TALLOC_CTX *mem_ctx, const uint8_t *output,
			      size_t length,
			      struct librsvd_vhdset_information *information)
{
	DATA_BLOB blob = data_blob_const(output, length);

	ZERO_STRUCTP(information);

	/* All of them start with their type. */
	if (length < 4) {
		return NT_STATUS_INVALID_NETWORK_RESPONSE;
	}
	information->type =
		(enum librsvd_vhdset_information_type)PULL_LE_U32(output, 0);

	switch (information->type) {
	case LIBRSVD_VHDSET_SNAPSHOT_LIST:
	case LIBRSVD_VHDSET_CDP_SNAPSHOT_ROOT:
	case LIBRSVD_VHDSET_CDP_SNAPSHOT_ACTIVE_LIST:
	case LIBRSVD_VHDSET_CDP_SNAPSHOT_INACTIVE_LIST:
		return librsvd_vhdset_list_parse(mem_ctx, &blob, information);
	case LIBRSVD_VHDSET_SNAPSHOT_ENTRY:
		return librsvd_vhdset_entry_parse(&blob, information);
	case LIBRSVD_VHDSET_OPTIMIZE_NEEDED:
		return librsvd_vhdset_optimize_parse(&blob, information);
	}
	return NT_STATUS_INVALID_NETWORK_RESPONSE;
}

NTSTATUS librsvd_vhdset_query_recv(
	struct tevent_req *req, TALLOC_CTX *mem_ctx,
	struct librsvd_vhdset_information *information)
{
	TALLOC_CTX *frame = talloc_stackframe();
	NTSTATUS status, tunnel_status;
	uint8_t *output = NULL;
	size_t length = 0;

	status = librsvd_tunnel_recv(req, frame, &tunnel_status, &output,
				     &length);
	if (NT_STATUS_IS_OK(status)) {
		status = tunnel_status;
	}
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_vhdset_parse(mem_ctx, output, length,
					      information);
	}
	TALLOC_FREE(frame);
	return status;
}

NTSTATUS librsvd_vhdset_query(TALLOC_CTX *mem_ctx, struct librsvd_disk *disk,
			      enum librsvd_vhdset_information_type type,
			      enum librsvd_snapshot_type snapshot_type,
			      const struct librsvd_guid *snapshot_id,
			      struct librsvd_vhdset_information *information)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct tevent_req *req = NULL;
	NTSTATUS status;

	req = librsvd_vhdset_query_send(frame, disk, type, snapshot_type,
					snapshot_id);
	status = librsvd_wait(disk->conn, req);
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_vhdset_query_recv(req, mem_ctx, information);
	}
	TALLOC_FREE(frame);
	return status;
}

/*
 * 3.1.4.20 Application Requests Deleting a Snapshot
 */

struct tevent_req *librsvd_delete_snapshot_send(
	TALLOC_CTX *mem_ctx, struct librsvd_disk *disk,
	const struct librsvd_guid *snapshot_id,
	enum librsvd_snapshot_type snapshot_type, bool persist_reference)
{
	struct svhdx_tunnel_delete_snapshot_request r = {
		.snapshot_id = librsvd_guid_to_ndr(snapshot_id),
		.persist_reference = persist_reference,
		.snapshot_type = (enum svhdx_snapshot_type)snapshot_type,
	};

	return librsvd_typed_send(mem_ctx, disk, LIBRSVD_DELETE_SNAPSHOT, 0,
				  &r, (ndr_push_flags_fn_t)
				  ndr_push_svhdx_tunnel_delete_snapshot_request,
				  0);
}

NTSTATUS librsvd_delete_snapshot_recv(struct tevent_req *req)
{
	return librsvd_typed_recv(req, NULL, NULL, NULL);
}

NTSTATUS librsvd_delete_snapshot(struct librsvd_disk *disk,
				 const struct librsvd_guid *snapshot_id,
				 enum librsvd_snapshot_type snapshot_type,
				 bool persist_reference)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct tevent_req *req = NULL;
	NTSTATUS status;

	req = librsvd_delete_snapshot_send(frame, disk, snapshot_id,
					   snapshot_type, persist_reference);
	status = librsvd_wait(disk->conn, req);
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_delete_snapshot_recv(req);
	}
	TALLOC_FREE(frame);
	return status;
}

/*
 * 3.1.4.21 to 3.1.4.23: change tracking
 */

struct tevent_req *librsvd_change_tracking_get_send(TALLOC_CTX *mem_ctx,
						    struct librsvd_disk *disk)
{
	return librsvd_typed_send(
		mem_ctx, disk, LIBRSVD_CHANGE_TRACKING_GET_PARAMETERS, 0,
		NULL, NULL, SVHDX_CHANGE_TRACKING_GET_PARAMETERS_RESPONSE_SIZE);
}

NTSTATUS librsvd_change_tracking_get_recv(struct tevent_req *req,
					  uint32_t *change_tracking_status,
					  uint64_t *log_file_size)
{
	struct svhdx_change_tracking_get_parameters_response r = {
		.log_file_size = 0,
	};
	NTSTATUS status;

	status = librsvd_typed_recv(
		req, NULL, &r, (ndr_pull_flags_fn_t)
		ndr_pull_svhdx_change_tracking_get_parameters_response);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	*change_tracking_status = r.change_tracking_status;
	*log_file_size = r.log_file_size;
	return NT_STATUS_OK;
}

NTSTATUS librsvd_change_tracking_get(struct librsvd_disk *disk,
				     uint32_t *change_tracking_status,
				     uint64_t *log_file_size)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct tevent_req *req = NULL;
	NTSTATUS status;

	req = librsvd_change_tracking_get_send(frame, disk);
	status = librsvd_wait(disk->conn, req);
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_change_tracking_get_recv(
			req, change_tracking_status, log_file_size);
	}
	TALLOC_FREE(frame);
	return status;
}

struct tevent_req *librsvd_change_tracking_start_send(
	TALLOC_CTX *mem_ctx, struct librsvd_disk *disk,
	const struct librsvd_change_tracking_params *params)
{
	struct svhdx_change_tracking_start_request r = {
		.transaction_id = librsvd_guid_to_ndr(&params->transaction_id),
		.log_file_name_offset =
			SVHDX_CHANGE_TRACKING_START_REQUEST_SIZE,
		.log_file_id = librsvd_guid_to_ndr(&params->log_file_id),
		.max_log_file_size = params->max_log_file_size,
		.append_data = params->append_data,
	};

	if (LIBRSVD_IS_UNKNOWN(params)) {
		return librsvd_failed_send(mem_ctx, disk,
					   NT_STATUS_INVALID_PARAMETER);
	}
	return librsvd_typed_send(mem_ctx, disk, LIBRSVD_CHANGE_TRACKING_START,
				  0, &r, (ndr_push_flags_fn_t)
				  ndr_push_svhdx_change_tracking_start_request,
				  0);
}

NTSTATUS librsvd_change_tracking_start_recv(struct tevent_req *req)
{
	return librsvd_typed_recv(req, NULL, NULL, NULL);
}

NTSTATUS librsvd_change_tracking_start(
	struct librsvd_disk *disk,
	const struct librsvd_change_tracking_params *params)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct tevent_req *req = NULL;
	NTSTATUS status;

	req = librsvd_change_tracking_start_send(frame, disk, params);
	status = librsvd_wait(disk->conn, req);
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_change_tracking_start_recv(req);
	}
	TALLOC_FREE(frame);
	return status;
}

struct tevent_req *librsvd_change_tracking_stop_send(TALLOC_CTX *mem_ctx,
						     struct librsvd_disk *disk)
{
	return librsvd_typed_send(mem_ctx, disk, LIBRSVD_CHANGE_TRACKING_STOP,
				  0, NULL, NULL,
				  SVHDX_CHANGE_TRACKING_STOP_RESPONSE_SIZE);
}

NTSTATUS librsvd_change_tracking_stop_recv(struct tevent_req *req,
					   uint32_t *change_tracking_status)
{
	struct svhdx_change_tracking_stop_response r = {
		.change_tracking_status = 0,
	};
	NTSTATUS status;

	status = librsvd_typed_recv(
		req, NULL, &r, (ndr_pull_flags_fn_t)
		ndr_pull_svhdx_change_tracking_stop_response);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	*change_tracking_status = r.change_tracking_status;
	return NT_STATUS_OK;
}

NTSTATUS librsvd_change_tracking_stop(struct librsvd_disk *disk,
				      uint32_t *change_tracking_status)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct tevent_req *req = NULL;
	NTSTATUS status;

	req = librsvd_change_tracking_stop_send(frame, disk);
	status = librsvd_wait(disk->conn, req);
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_change_tracking_stop_recv(
			req, change_tracking_status);
	}
	TALLOC_FREE(frame);
	return status;
}

/*
 * 3.1.4.26 Application Requests Querying List of Changed Ranges
 */

struct tevent_req *librsvd_query_changes_send(
	TALLOC_CTX *mem_ctx, struct librsvd_disk *disk,
	const struct librsvd_guid *target_snapshot_id,
	const struct librsvd_guid *limit_snapshot_id,
	uint64_t offset, uint64_t length, uint32_t max_ranges)
{
	struct svhdx_tunnel_query_virtual_disk_changes_request r = {
		.target_snapshot_id = librsvd_guid_to_ndr(target_snapshot_id),
		.limit_snapshot_id = librsvd_guid_to_ndr(limit_snapshot_id),
		.snapshot_type = SvhdxSnapshotTypeVM,
		.byte_offset = offset,
		.byte_length = length,
	};

	return librsvd_typed_send(
		mem_ctx, disk, LIBRSVD_QUERY_VIRTUAL_DISK_CHANGES, 0, &r,
		(ndr_push_flags_fn_t)
		ndr_push_svhdx_tunnel_query_virtual_disk_changes_request,
		SVHDX_TUNNEL_QUERY_VIRTUAL_DISK_CHANGES_REPLY_SIZE +
		(size_t)max_ranges * SVHDX_VIRTUAL_DISK_CHANGED_RANGE_SIZE);
}

NTSTATUS librsvd_query_changes_recv(struct tevent_req *req,
				    TALLOC_CTX *mem_ctx, uint64_t *processed,
				    struct librsvd_range **_ranges,
				    size_t *num_ranges)
{
	struct svhdx_tunnel_query_virtual_disk_changes_reply r = {
		.range_count = 0,
	};
	TALLOC_CTX *frame = talloc_stackframe();
	struct librsvd_range *ranges = NULL;
	NTSTATUS status;
	uint32_t i;

	status = librsvd_typed_recv(
		req, frame, &r, (ndr_pull_flags_fn_t)
		ndr_pull_svhdx_tunnel_query_virtual_disk_changes_reply);
	if (!NT_STATUS_IS_OK(status)) {
		goto done;
	}
	ranges = talloc_array(mem_ctx, struct librsvd_range, r.range_count);
	if (ranges == NULL) {
		status = NT_STATUS_NO_MEMORY;
		goto done;
	}
	for (i = 0; i < r.range_count; i++) {
		ranges[i].offset = r.ranges[i].byte_offset;
		ranges[i].length = r.ranges[i].byte_length;
	}
	*processed = r.processed_byte_length;
	*_ranges = ranges;
	*num_ranges = r.range_count;
done:
	TALLOC_FREE(frame);
	return status;
}

NTSTATUS librsvd_query_changes(TALLOC_CTX *mem_ctx, struct librsvd_disk *disk,
			       const struct librsvd_guid *target_snapshot_id,
			       const struct librsvd_guid *limit_snapshot_id,
			       uint64_t offset, uint64_t length,
			       uint32_t max_ranges, uint64_t *processed,
			       struct librsvd_range **ranges,
			       size_t *num_ranges)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct tevent_req *req = NULL;
	NTSTATUS status;

	req = librsvd_query_changes_send(frame, disk, target_snapshot_id,
					 limit_snapshot_id, offset, length,
					 max_ranges);
	status = librsvd_wait(disk->conn, req);
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_query_changes_recv(req, mem_ctx, processed,
						    ranges, num_ranges);
	}
	TALLOC_FREE(frame);
	return status;
}

/*
 * 3.1.4.27 Application Requests Querying Safe Size
 */

struct tevent_req *librsvd_safe_size_send(TALLOC_CTX *mem_ctx,
					  struct librsvd_disk *disk)
{
	return librsvd_typed_send(mem_ctx, disk, LIBRSVD_QUERY_SAFE_SIZE, 0,
				  NULL, NULL,
				  SVHDX_TUNNEL_QUERY_SAFE_SIZE_RESPONSE_SIZE);
}

NTSTATUS librsvd_safe_size_recv(struct tevent_req *req, uint64_t *size)
{
	struct svhdx_tunnel_query_safe_size_response r = {
		.safe_virtual_size = 0,
	};
	NTSTATUS status;

	status = librsvd_typed_recv(req, NULL, &r, (ndr_pull_flags_fn_t)
		ndr_pull_svhdx_tunnel_query_safe_size_response);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	*size = r.safe_virtual_size;
	return NT_STATUS_OK;
}

NTSTATUS librsvd_safe_size(struct librsvd_disk *disk, uint64_t *size)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct tevent_req *req = NULL;
	NTSTATUS status;

	req = librsvd_safe_size_send(frame, disk);
	status = librsvd_wait(disk->conn, req);
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_safe_size_recv(req, size);
	}
	TALLOC_FREE(frame);
	return status;
}
