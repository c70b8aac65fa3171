/*
 * librsvd: the tunnel, and the operations of version 1 in it
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/librsvd/librsvd_private.h"

/*
 * NDR, and what it makes of a message that is too short
 */

NTSTATUS librsvd_push(TALLOC_CTX *mem_ctx, const void *structure,
		      ndr_push_flags_fn_t push, DATA_BLOB *blob)
{
	enum ndr_err_code err;

	err = ndr_push_struct_blob(blob, mem_ctx, structure, push);
	return ndr_map_error2ntstatus(err);
}

NTSTATUS librsvd_pull(TALLOC_CTX *mem_ctx, const DATA_BLOB *blob,
		      void *structure, ndr_pull_flags_fn_t pull)
{
	enum ndr_err_code err;

	err = ndr_pull_struct_blob(blob, mem_ctx, structure, pull);
	if (!NDR_ERR_CODE_IS_SUCCESS(err)) {
		DBG_NOTICE("%s\n", ndr_map_error2string(err));
		return NT_STATUS_INVALID_NETWORK_RESPONSE;
	}
	return NT_STATUS_OK;
}

/*
 * FSCTL
 */

struct librsvd_fsctl_state {
	struct tevent_context *ev;
	struct librsvd_disk *disk;
	struct librsvd_ticket *ticket;
	uint32_t ctl_code;
	DATA_BLOB input;
	uint32_t max_output;
	DATA_BLOB output;
};

static void librsvd_fsctl_submit(void *private_data, NTSTATUS status,
				 uint32_t granted);
static void librsvd_fsctl_done(struct tevent_req *subreq);

struct tevent_req *librsvd_fsctl_send(TALLOC_CTX *mem_ctx,
				      struct librsvd_disk *disk,
				      uint32_t ctl_code, DATA_BLOB input,
				      uint32_t max_output)
{
	struct tevent_req *req = NULL;
	struct librsvd_fsctl_state *state = NULL;
	struct librsvd_conn *conn = disk->conn;
	size_t length = MAX(input.length, max_output);

	if (conn == NULL) {
		return NULL;
	}

	req = tevent_req_create(mem_ctx, &state, struct librsvd_fsctl_state);
	if (req == NULL) {
		return NULL;
	}
	*state = (struct librsvd_fsctl_state) {
		.ev = conn->ev,
		.disk = disk,
		.ctl_code = ctl_code,
		.max_output = max_output,
	};

	if (length > smb2cli_conn_max_trans_size(conn->cli->conn)) {
		tevent_req_nterror(req, NT_STATUS_INVALID_PARAMETER);
		return tevent_req_post(req, conn->ev);
	}
	state->input = data_blob_dup_talloc(state, input);
	if (input.length > 0 && tevent_req_nomem(state->input.data, req)) {
		return tevent_req_post(req, conn->ev);
	}

	if (!librsvd_ticket_take(state, conn, length, length,
				 librsvd_fsctl_submit, req, &state->ticket)) {
		tevent_req_oom(req);
	}
	if (!tevent_req_is_in_progress(req)) {
		return tevent_req_post(req, conn->ev);
	}
	return req;
}

static void librsvd_fsctl_submit(void *private_data, NTSTATUS status,
				 uint32_t granted)
{
	struct tevent_req *req =
		talloc_get_type_abort(private_data, struct tevent_req);
	struct librsvd_fsctl_state *state =
		tevent_req_data(req, struct librsvd_fsctl_state);
	struct tevent_req *subreq = NULL;

	if (!NT_STATUS_IS_OK(status)) {
		tevent_req_defer_callback(req, state->ev);
		tevent_req_nterror(req, status);
		return;
	}

	subreq = smb2cli_ioctl_send(
		state, state->ev, LIBRSVD_SMB2(state->disk->conn),
		state->disk->fid_persistent, state->disk->fid_volatile,
		state->ctl_code, 0, &state->input, state->max_output, NULL,
		SMB2_IOCTL_FLAG_IS_FSCTL);
	if (tevent_req_nomem(subreq, req)) {
		return;
	}
	tevent_req_set_callback(subreq, librsvd_fsctl_done, req);
}

static void librsvd_fsctl_done(struct tevent_req *subreq)
{
	struct tevent_req *req =
		tevent_req_callback_data(subreq, struct tevent_req);
	struct librsvd_fsctl_state *state =
		tevent_req_data(req, struct librsvd_fsctl_state);
	NTSTATUS status;

	status = smb2cli_ioctl_recv(subreq, state, NULL, &state->output);
	TALLOC_FREE(subreq);
	TALLOC_FREE(state->ticket);
	if (tevent_req_nterror(req, status)) {
		return;
	}
	if (state->output.length > state->max_output) {
		tevent_req_nterror(req, NT_STATUS_INVALID_NETWORK_RESPONSE);
		return;
	}
	tevent_req_done(req);
}

NTSTATUS librsvd_fsctl_recv(struct tevent_req *req, TALLOC_CTX *mem_ctx,
			    DATA_BLOB *output)
{
	struct librsvd_fsctl_state *state =
		tevent_req_data(req, struct librsvd_fsctl_state);
	NTSTATUS status;

	if (tevent_req_is_nterror(req, &status)) {
		tevent_req_received(req);
		return status;
	}
	/* The data is a part of a received packet: it cannot be stolen. */
	*output = data_blob_dup_talloc(mem_ctx, state->output);
	if (state->output.length > 0 && output->data == NULL) {
		tevent_req_received(req);
		return NT_STATUS_NO_MEMORY;
	}
	tevent_req_received(req);
	return NT_STATUS_OK;
}

/*
 * Any operation
 */

NTSTATUS librsvd_tunnel_parse(const DATA_BLOB *output, uint32_t operation,
			      uint64_t request_id, NTSTATUS *tunnel_status,
			      DATA_BLOB *payload)
{
	struct svhdx_tunnel_operation_header header = { .request_id = 0 };
	NTSTATUS status;

	status = librsvd_pull(NULL, output, &header, (ndr_pull_flags_fn_t)
			      ndr_pull_svhdx_tunnel_operation_header);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (header.operation_code != operation ||
	    header.request_id != request_id) {
		return NT_STATUS_INVALID_NETWORK_RESPONSE;
	}

	*tunnel_status = header.status;
	*payload = data_blob_const(
		output->data + SVHDX_TUNNEL_OPERATION_HEADER_SIZE,
		output->length - SVHDX_TUNNEL_OPERATION_HEADER_SIZE);
	return NT_STATUS_OK;
}

struct librsvd_tunnel_state {
	uint32_t operation;
	uint64_t request_id;
	DATA_BLOB output;
	DATA_BLOB payload;	/* inside output */
	NTSTATUS tunnel_status;
	uint32_t max_data_in;	/* of a SCSI command */
};

static void librsvd_tunnel_done(struct tevent_req *subreq);

struct tevent_req *librsvd_tunnel_send(TALLOC_CTX *mem_ctx,
				       struct librsvd_disk *disk,
				       uint32_t operation, uint32_t flags,
				       const uint8_t *payload,
				       size_t payload_length,
				       uint32_t max_output)
{
	struct tevent_req *req = NULL, *subreq = NULL;
	struct librsvd_tunnel_state *state = NULL;
	struct librsvd_conn *conn = disk->conn;
	struct svhdx_tunnel_operation_header header;
	DATA_BLOB input = { .length = 0 };
	NTSTATUS status;

	if (conn == NULL) {
		return NULL;
	}

	req = tevent_req_create(mem_ctx, &state, struct librsvd_tunnel_state);
	if (req == NULL) {
		return NULL;
	}
	state->operation = operation;
	state->request_id = ++conn->request_id;

	header = (struct svhdx_tunnel_operation_header) {
		.operation_code = operation,
		.status = NT_STATUS_OK,
		.request_id = state->request_id,
	};
	status = librsvd_push(state, &header, (ndr_push_flags_fn_t)
			      ndr_push_svhdx_tunnel_operation_header, &input);
	if (tevent_req_nterror(req, status)) {
		return tevent_req_post(req, conn->ev);
	}
	if (!data_blob_append(state, &input, payload, payload_length)) {
		tevent_req_oom(req);
		return tevent_req_post(req, conn->ev);
	}

	subreq = librsvd_fsctl_send(state, disk,
				    (flags & LIBRSVD_TUNNEL_ASYNC) ?
				    RSVD_FSCTL_ASYNC_TUNNEL :
				    RSVD_FSCTL_SYNC_TUNNEL,
				    input, max_output);
	data_blob_free(&input);
	if (tevent_req_nomem(subreq, req)) {
		return tevent_req_post(req, conn->ev);
	}
	tevent_req_set_callback(subreq, librsvd_tunnel_done, req);
	return req;
}

static void librsvd_tunnel_done(struct tevent_req *subreq)
{
	struct tevent_req *req =
		tevent_req_callback_data(subreq, struct tevent_req);
	struct librsvd_tunnel_state *state =
		tevent_req_data(req, struct librsvd_tunnel_state);
	NTSTATUS status;

	status = librsvd_fsctl_recv(subreq, state, &state->output);
	TALLOC_FREE(subreq);
	if (tevent_req_nterror(req, status)) {
		return;
	}
	status = librsvd_tunnel_parse(&state->output, state->operation,
				      state->request_id,
				      &state->tunnel_status, &state->payload);
	if (tevent_req_nterror(req, status)) {
		return;
	}
	tevent_req_done(req);
}

NTSTATUS librsvd_tunnel_recv(struct tevent_req *req, TALLOC_CTX *mem_ctx,
			     NTSTATUS *tunnel_status, uint8_t **output,
			     size_t *output_length)
{
	struct librsvd_tunnel_state *state =
		tevent_req_data(req, struct librsvd_tunnel_state);
	NTSTATUS status;

	if (tevent_req_is_nterror(req, &status)) {
		tevent_req_received(req);
		return status;
	}

	*tunnel_status = state->tunnel_status;
	*output_length = state->payload.length;
	*output = NULL;
	if (state->payload.length > 0) {
		*output = talloc_memdup(mem_ctx, state->payload.data,
					state->payload.length);
		if (*output == NULL) {
			tevent_req_received(req);
			return NT_STATUS_NO_MEMORY;
		}
	}
	tevent_req_received(req);
	return NT_STATUS_OK;
}

NTSTATUS librsvd_tunnel(TALLOC_CTX *mem_ctx, struct librsvd_disk *disk,
			uint32_t operation, uint32_t flags,
			const uint8_t *payload, size_t payload_length,
			uint32_t max_output, NTSTATUS *tunnel_status,
			uint8_t **output, size_t *output_length)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct tevent_req *req = NULL;
	NTSTATUS status;

	req = librsvd_tunnel_send(frame, disk, operation, flags, payload,
				  payload_length, max_output);
	status = librsvd_wait(disk->conn, req);
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_tunnel_recv(req, mem_ctx, tunnel_status,
					     output, output_length);
	}
	TALLOC_FREE(frame);
	return status;
}

struct tevent_req *librsvd_failed_send(TALLOC_CTX *mem_ctx,
				       struct librsvd_disk *disk,
				       NTSTATUS status)
{
	struct tevent_req *req = NULL;
	struct librsvd_tunnel_state *state = NULL;

	if (disk->conn == NULL) {
		return NULL;
	}
	req = tevent_req_create(mem_ctx, &state, struct librsvd_tunnel_state);
	if (req == NULL) {
		return NULL;
	}
	tevent_req_nterror(req, status);
	return tevent_req_post(req, disk->conn->ev);
}

/*
 * Operations with one structure each way
 */

struct tevent_req *librsvd_typed_send(TALLOC_CTX *mem_ctx,
				      struct librsvd_disk *disk,
				      enum librsvd_operation operation,
				      uint32_t flags, const void *payload,
				      ndr_push_flags_fn_t push,
				      size_t max_payload)
{
	struct tevent_req *req = NULL;
	DATA_BLOB blob = { .length = 0 };
	NTSTATUS status;

	if (payload != NULL) {
		status = librsvd_push(NULL, payload, push, &blob);
		if (!NT_STATUS_IS_OK(status)) {
			return librsvd_failed_send(mem_ctx, disk, status);
		}
	}
	req = librsvd_tunnel_send(
		mem_ctx, disk, operation, flags, blob.data, blob.length,
		SVHDX_TUNNEL_OPERATION_HEADER_SIZE + max_payload);
	data_blob_free(&blob);
	return req;
}

NTSTATUS librsvd_typed_recv(struct tevent_req *req, TALLOC_CTX *mem_ctx,
			    void *payload, ndr_pull_flags_fn_t pull)
{
	struct librsvd_tunnel_state *state =
		tevent_req_data(req, struct librsvd_tunnel_state);
	NTSTATUS status;

	if (tevent_req_is_nterror(req, &status)) {
		tevent_req_received(req);
		return status;
	}
	status = state->tunnel_status;
	if (NT_STATUS_IS_OK(status) && pull != NULL) {
		status = librsvd_pull(mem_ctx, &state->payload, payload, pull);
	}
	tevent_req_received(req);
	return status;
}

/*
 * 3.1.4.6 Application Requests Virtual Disk File Information
 */

struct tevent_req *librsvd_initial_info_send(TALLOC_CTX *mem_ctx,
					     struct librsvd_disk *disk)
{
	return librsvd_typed_send(mem_ctx, disk, LIBRSVD_GET_INITIAL_INFO, 0,
				  NULL, NULL,
				  SVHDX_TUNNEL_INITIAL_INFO_RESPONSE_SIZE);
}

NTSTATUS librsvd_initial_info_recv(struct tevent_req *req,
				   struct librsvd_initial_info *info)
{
	struct svhdx_tunnel_initial_info_response r = { .virtual_size = 0 };
	NTSTATUS status;

	status = librsvd_typed_recv(req, NULL, &r, (ndr_pull_flags_fn_t)
		ndr_pull_svhdx_tunnel_initial_info_response);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	/* Callers divide by it, and make room for it. */
	if (r.sector_size < LIBRSVD_MIN_SECTOR_SIZE ||
	    r.sector_size > LIBRSVD_MAX_SECTOR_SIZE ||
	    (r.sector_size & (r.sector_size - 1)) != 0 ||
	    r.virtual_size > INT64_MAX) {
		return NT_STATUS_INVALID_NETWORK_RESPONSE;
	}
	*info = (struct librsvd_initial_info) {
		.server_version = r.server_version,
		.sector_size = r.sector_size,
		.physical_sector_size = r.physical_sector_size,
		.virtual_size = r.virtual_size,
	};
	return NT_STATUS_OK;
}

NTSTATUS librsvd_initial_info(struct librsvd_disk *disk,
			      struct librsvd_initial_info *info)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct tevent_req *req = NULL;
	NTSTATUS status;

	req = librsvd_initial_info_send(frame, disk);
	status = librsvd_wait(disk->conn, req);
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_initial_info_recv(req, info);
	}
	TALLOC_FREE(frame);
	return status;
}

/*
 * 3.1.4.7 Application Requests Connection Status
 */

struct tevent_req *librsvd_check_connection_send(TALLOC_CTX *mem_ctx,
						 struct librsvd_disk *disk)
{
	return librsvd_typed_send(mem_ctx, disk,
				  LIBRSVD_CHECK_CONNECTION_STATUS, 0, NULL,
				  NULL, 0);
}

NTSTATUS librsvd_check_connection_recv(struct tevent_req *req)
{
	return librsvd_typed_recv(req, NULL, NULL, NULL);
}

NTSTATUS librsvd_check_connection(struct librsvd_disk *disk)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct tevent_req *req = NULL;
	NTSTATUS status;

	req = librsvd_check_connection_send(frame, disk);
	status = librsvd_wait(disk->conn, req);
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_check_connection_recv(req);
	}
	TALLOC_FREE(frame);
	return status;
}

/*
 * 3.1.5.3, 3.1.5.4: the sense of a read or write that failed
 */

static NTSTATUS librsvd_sense_fill(struct librsvd_sense *sense,
				   uint8_t srb_status, uint8_t scsi_status,
				   uint8_t length, const uint8_t *data)
{
	if (length > LIBRSVD_MAX_SENSE) {
		return NT_STATUS_INVALID_NETWORK_RESPONSE;
	}
	if (scsi_status != 0x02 /* CHECK CONDITION */ &&
	    (srb_status & RSVD_SRB_STATUS_AUTOSENSE_VALID) == 0)
	{
		/* The length is that of the buffer, nothing is in it. */
		length = 0;
	}
	*sense = (struct librsvd_sense) {
		.srb_status = srb_status & RSVD_SRB_STATUS_MASK,
		.scsi_status = scsi_status,
		.auto_generated = srb_status & RSVD_SRB_STATUS_AUTOSENSE_VALID,
		.length = length,
	};
	memcpy(sense->data, data, length);
	return NT_STATUS_OK;
}

struct tevent_req *librsvd_srb_status_send(TALLOC_CTX *mem_ctx,
					   struct librsvd_disk *disk,
					   uint8_t key)
{
	struct svhdx_tunnel_srb_status_request r = { .status_key = key };

	return librsvd_typed_send(mem_ctx, disk, LIBRSVD_SRB_STATUS, 0, &r,
				  (ndr_push_flags_fn_t)
				  ndr_push_svhdx_tunnel_srb_status_request,
				  SVHDX_TUNNEL_SRB_STATUS_RESPONSE_SIZE);
}

NTSTATUS librsvd_srb_status_recv(struct tevent_req *req,
				 struct librsvd_sense *sense)
{
	struct svhdx_tunnel_srb_status_response r = { .status_key = 0 };
	NTSTATUS status;

	status = librsvd_typed_recv(req, NULL, &r, (ndr_pull_flags_fn_t)
				    ndr_pull_svhdx_tunnel_srb_status_response);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	return librsvd_sense_fill(sense, r.srb_status, r.scsi_status,
				  r.sense_info_ex_length, r.sense_data_ex);
}

NTSTATUS librsvd_srb_status(struct librsvd_disk *disk, uint8_t key,
			    struct librsvd_sense *sense)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct tevent_req *req = NULL;
	NTSTATUS status;

	req = librsvd_srb_status_send(frame, disk, key);
	status = librsvd_wait(disk->conn, req);
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_srb_status_recv(req, sense);
	}
	TALLOC_FREE(frame);
	return status;
}

NTSTATUS librsvd_sense_of_status(struct librsvd_disk *disk, NTSTATUS status,
				 struct librsvd_sense *sense)
{
	uint8_t key;

	if (!librsvd_status_is_stored(status, &key)) {
		return NT_STATUS_INVALID_PARAMETER;
	}
	return librsvd_srb_status(disk, key, sense);
}

/*
 * 3.1.4.8 Application Requests Shared Virtual Disk Information
 */

struct tevent_req *librsvd_disk_info_send(TALLOC_CTX *mem_ctx,
					  struct librsvd_disk *disk)
{
	struct svhdx_tunnel_disk_info_request r = { .block_size = 0 };

	return librsvd_typed_send(mem_ctx, disk, LIBRSVD_GET_DISK_INFO, 0, &r,
				  (ndr_push_flags_fn_t)
				  ndr_push_svhdx_tunnel_disk_info_request,
				  SVHDX_TUNNEL_DISK_INFO_RESPONSE_SIZE);
}

NTSTATUS librsvd_disk_info_recv(struct tevent_req *req,
				struct librsvd_disk_info *info)
{
	struct svhdx_tunnel_disk_info_response r = { .block_size = 0 };
	NTSTATUS status;

	status = librsvd_typed_recv(req, NULL, &r, (ndr_pull_flags_fn_t)
				    ndr_pull_svhdx_tunnel_disk_info_response);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	*info = (struct librsvd_disk_info) {
		.type = r.disk_type,
		.format = r.disk_format,
		.block_size = r.block_size,
		.linkage_id = librsvd_guid_from_ndr(&r.linkage_id),
		.is_mounted = r.is_mounted != 0,
		.is_4k_aligned = r.is_4k_aligned != 0,
		.file_size = r.file_size,
		.virtual_disk_id = librsvd_guid_from_ndr(&r.virtual_disk_id),
	};
	return NT_STATUS_OK;
}

NTSTATUS librsvd_disk_info(struct librsvd_disk *disk,
			   struct librsvd_disk_info *info)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct tevent_req *req = NULL;
	NTSTATUS status;

	req = librsvd_disk_info_send(frame, disk);
	status = librsvd_wait(disk->conn, req);
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_disk_info_recv(req, info);
	}
	TALLOC_FREE(frame);
	return status;
}

/*
 * 3.1.4.10 Application Requests to Validate a Shared Virtual Disk
 */

struct tevent_req *librsvd_validate_send(TALLOC_CTX *mem_ctx,
					 struct librsvd_disk *disk)
{
	struct svhdx_tunnel_validate_disk_request r = { .reserved = { 0 } };

	return librsvd_typed_send(mem_ctx, disk, LIBRSVD_VALIDATE_DISK, 0, &r,
				  (ndr_push_flags_fn_t)
				  ndr_push_svhdx_tunnel_validate_disk_request,
				  SVHDX_TUNNEL_VALIDATE_DISK_RESPONSE_SIZE);
}

NTSTATUS librsvd_validate_recv(struct tevent_req *req, bool *is_valid)
{
	struct svhdx_tunnel_validate_disk_response r = { .is_valid_disk = 0 };
	NTSTATUS status;

	status = librsvd_typed_recv(req, NULL, &r, (ndr_pull_flags_fn_t)
		ndr_pull_svhdx_tunnel_validate_disk_response);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	*is_valid = r.is_valid_disk != 0;
	return NT_STATUS_OK;
}

NTSTATUS librsvd_validate(struct librsvd_disk *disk, bool *is_valid)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct tevent_req *req = NULL;
	NTSTATUS status;

	req = librsvd_validate_send(frame, disk);
	status = librsvd_wait(disk->conn, req);
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_validate_recv(req, is_valid);
	}
	TALLOC_FREE(frame);
	return status;
}

/*
 * 3.1.4.9 Application Requests Execution of SCSI Command
 */

struct tevent_req *librsvd_scsi_send(
	TALLOC_CTX *mem_ctx, struct librsvd_disk *disk,
	const struct librsvd_scsi_command *command)
{
	struct svhdx_tunnel_scsi_request r = {
		.sense_info_ex_length = RSVD_SCSI_SENSE_BUFFER_SIZE,
		.disposition = RSVD_DISPOSITION_NONE,
	};
	struct tevent_req *req = NULL;
	struct librsvd_tunnel_state *state = NULL;
	DATA_BLOB zeros = { .length = 0 };

	if (command->cdb_length == 0 ||
	    command->cdb_length > sizeof(r.cdb_buffer) ||
	    LIBRSVD_IS_UNKNOWN(command) ||
	    (command->data_out_length > 0 && command->data_in_length > 0)) {
		return librsvd_failed_send(mem_ctx, disk,
					   NT_STATUS_INVALID_PARAMETER);
	}

	r.cdb_length = command->cdb_length;
	memcpy(r.cdb_buffer, command->cdb, command->cdb_length);

	if (command->data_out_length > 0) {
		r.disposition = RSVD_DISPOSITION_DATA_OUT;
		r.srb_flags = RSVD_SRB_FLAGS_DATA_OUT;
		r.data_transfer_length = command->data_out_length;
		r.data_buffer = data_blob_const(command->data_out,
						command->data_out_length);
	} else if (command->data_in_length > 0) {
		/*
		 * The room for the answer goes along, as Windows does it
		 * (MS-RSVD 4.2).
		 */
		zeros = data_blob_talloc_zero(NULL, command->data_in_length);
		if (zeros.data == NULL) {
			return NULL;
		}
		r.disposition = RSVD_DISPOSITION_DATA_IN;
		r.srb_flags = RSVD_SRB_FLAGS_DATA_IN;
		r.data_transfer_length = command->data_in_length;
		r.data_buffer = zeros;
	}

	req = librsvd_typed_send(mem_ctx, disk, LIBRSVD_SCSI, 0, &r,
				 (ndr_push_flags_fn_t)
				 ndr_push_svhdx_tunnel_scsi_request,
				 SVHDX_TUNNEL_SCSI_RESPONSE_SIZE +
				 (size_t)command->data_in_length);
	data_blob_free(&zeros);
	if (req == NULL) {
		return NULL;
	}
	state = tevent_req_data(req, struct librsvd_tunnel_state);
	state->max_data_in = command->data_in_length;
	return req;
}

NTSTATUS librsvd_scsi_parse(TALLOC_CTX *mem_ctx, const DATA_BLOB *payload,
			    uint32_t max_data_in,
			    struct librsvd_scsi_result *result)
{
	struct svhdx_tunnel_scsi_response r = { .length = 0 };
	TALLOC_CTX *frame = talloc_stackframe();
	NTSTATUS status;

	ZERO_STRUCTP(result);

	status = librsvd_pull(frame, payload, &r, (ndr_pull_flags_fn_t)
			      ndr_pull_svhdx_tunnel_scsi_response);
	if (!NT_STATUS_IS_OK(status)) {
		goto done;
	}
	status = librsvd_sense_fill(&result->sense, r.srb_status,
				    r.scsi_status, r.sense_info_ex_length,
				    r.sense_data_ex);
	if (!NT_STATUS_IS_OK(status)) {
		goto done;
	}

	/*
	 * A command that sends data may be answered with the length that it
	 * sent, and that data is not here.
	 */
	if (max_data_in == 0) {
		goto done;
	}
	if (r.data_transfer_length > max_data_in ||
	    r.data_transfer_length > r.data_buffer.length) {
		status = NT_STATUS_INVALID_NETWORK_RESPONSE;
		goto done;
	}
	result->data_in_length = r.data_transfer_length;
	result->data_in = talloc_memdup(mem_ctx, r.data_buffer.data,
					r.data_transfer_length);
	if (r.data_transfer_length > 0 && result->data_in == NULL) {
		status = NT_STATUS_NO_MEMORY;
	}
done:
	TALLOC_FREE(frame);
	return status;
}

NTSTATUS librsvd_scsi_recv(struct tevent_req *req, TALLOC_CTX *mem_ctx,
			   struct librsvd_scsi_result *result)
{
	struct librsvd_tunnel_state *state =
		tevent_req_data(req, struct librsvd_tunnel_state);
	NTSTATUS status;

	if (tevent_req_is_nterror(req, &status)) {
		tevent_req_received(req);
		return status;
	}
	status = state->tunnel_status;
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_scsi_parse(mem_ctx, &state->payload,
					    state->max_data_in, result);
	}
	tevent_req_received(req);
	return status;
}

NTSTATUS librsvd_scsi(TALLOC_CTX *mem_ctx, struct librsvd_disk *disk,
		      const struct librsvd_scsi_command *command,
		      struct librsvd_scsi_result *result)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct tevent_req *req = NULL;
	NTSTATUS status;

	req = librsvd_scsi_send(frame, disk, command);
	status = librsvd_wait(disk->conn, req);
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_scsi_recv(req, mem_ctx, result);
	}
	TALLOC_FREE(frame);
	return status;
}

/*
 * 3.1.4.11 Application Requests Querying Shared Virtual Disk Support
 */

struct tevent_req *librsvd_query_support_send(TALLOC_CTX *mem_ctx,
					      struct librsvd_disk *disk)
{
	return librsvd_fsctl_send(
		mem_ctx, disk, RSVD_FSCTL_QUERY_SUPPORT, data_blob_null,
		SVHDX_SHARED_VIRTUAL_DISK_SUPPORT_RESPONSE_SIZE);
}

NTSTATUS librsvd_query_support_recv(struct tevent_req *req,
				    struct librsvd_support *support)
{
	struct svhdx_shared_virtual_disk_support_response r = { .support = 0 };
	TALLOC_CTX *frame = talloc_stackframe();
	DATA_BLOB output = { .length = 0 };
	NTSTATUS status;

	status = librsvd_fsctl_recv(req, frame, &output);
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_pull(frame, &output, &r, (ndr_pull_flags_fn_t)
			ndr_pull_svhdx_shared_virtual_disk_support_response);
	}
	TALLOC_FREE(frame);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	*support = (struct librsvd_support) {
		.support = r.support,
		.handle_state = r.handle_state,
	};
	return NT_STATUS_OK;
}

NTSTATUS librsvd_query_support(struct librsvd_disk *disk,
			       struct librsvd_support *support)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct tevent_req *req = NULL;
	NTSTATUS status;

	req = librsvd_query_support_send(frame, disk);
	status = librsvd_wait(disk->conn, req);
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_query_support_recv(req, support);
	}
	TALLOC_FREE(frame);
	return status;
}
