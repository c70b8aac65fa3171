/*
 * librsvd: opening and closing a disk
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/librsvd/librsvd_private.h"
#include "lib/util/dlinklist.h"
#include "libcli/smb/smb2_create_blob.h"

static NTSTATUS librsvd_host_name_push(
	TALLOC_CTX *mem_ctx, const char *host_name,
	struct svhdx_open_device_context *context)
{
	char host[HOST_NAME_MAX + 1] = { 0 };
	uint8_t *utf16 = NULL;
	size_t length = 0;

	if (host_name == NULL) {
		if (gethostname(host, sizeof(host) - 1) != 0) {
			return map_nt_error_from_unix(errno);
		}
		host_name = host;
	}
	if (!convert_string_talloc(mem_ctx, CH_UTF8, CH_UTF16LE, host_name,
				   strlen(host_name), &utf16, &length)) {
		return NT_STATUS_INVALID_PARAMETER;
	}
	if (host_name == host) {
		/* Nobody chose it: better a part of it than no open. */
		length = MIN(length, sizeof(context->initiator_host_name));
	}
	if (length > sizeof(context->initiator_host_name)) {
		TALLOC_FREE(utf16);
		return NT_STATUS_INVALID_PARAMETER;
	}

	memcpy(context->initiator_host_name, utf16, length);
	context->initiator_host_name_length = length;
	TALLOC_FREE(utf16);
	return NT_STATUS_OK;
}

NTSTATUS librsvd_open_context_push(TALLOC_CTX *mem_ctx,
				   const struct librsvd_open_params *params,
				   uint64_t request_id, DATA_BLOB *blob)
{
	struct svhdx_open_device_context_v2 v2 = {
		.v1 = {
			.version = params->version,
			.flags = params->flags,
			.originator_flags = params->originator,
			.open_request_id = request_id,
		},
	};
	NTSTATUS status;

	if (params->initiator_id != NULL) {
		v2.v1.has_initiator_id = 1;
		v2.v1.initiator_id =
			librsvd_guid_to_ndr(params->initiator_id);
	}
	status = librsvd_host_name_push(mem_ctx, params->host_name, &v2.v1);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}

	switch (params->version) {
	case RSVD_ECP_CONTEXT_VERSION_1:
		return librsvd_push(mem_ctx, &v2.v1,
			(ndr_push_flags_fn_t)
			ndr_push_svhdx_open_device_context, blob);
	case RSVD_ECP_CONTEXT_VERSION_2:
		return librsvd_push(mem_ctx, &v2,
			(ndr_push_flags_fn_t)
			ndr_push_svhdx_open_device_context_v2, blob);
	}
	return NT_STATUS_INVALID_PARAMETER;
}

NTSTATUS librsvd_open_context_pull(TALLOC_CTX *mem_ctx, const DATA_BLOB *blob,
				   unsigned int version, uint64_t request_id,
				   struct librsvd_open_response *response)
{
	struct svhdx_open_device_context_v2 v2 = { .v1.version = 0 };
	char *host_name = NULL;
	size_t length = 0;
	NTSTATUS status;

	ZERO_STRUCTP(response);

	if (blob == NULL) {
		/* Windows Server 2012 R2 sends none (MS-RSVD 6 <11>). */
		if (version == RSVD_ECP_CONTEXT_VERSION_1) {
			return NT_STATUS_OK;
		}
		return NT_STATUS_NOT_SUPPORTED;
	}

	if (version == RSVD_ECP_CONTEXT_VERSION_1) {
		status = librsvd_pull(mem_ctx, blob, &v2.v1,
			(ndr_pull_flags_fn_t)
			ndr_pull_svhdx_open_device_context);
	} else {
		status = librsvd_pull(mem_ctx, blob, &v2,
			(ndr_pull_flags_fn_t)
			ndr_pull_svhdx_open_device_context_v2);
	}
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (v2.v1.version != version ||
	    v2.v1.has_initiator_id > 1 ||
	    v2.v1.open_request_id != request_id ||
	    v2.v1.initiator_host_name_length >
	    sizeof(v2.v1.initiator_host_name)) {
		return NT_STATUS_INVALID_NETWORK_RESPONSE;
	}

	if (!convert_string_talloc(mem_ctx, CH_UTF16LE, CH_UTF8,
				   v2.v1.initiator_host_name,
				   v2.v1.initiator_host_name_length,
				   &host_name, &length)) {
		return NT_STATUS_INVALID_NETWORK_RESPONSE;
	}

	*response = (struct librsvd_open_response) {
		.version = v2.v1.version,
		.has_initiator_id = v2.v1.has_initiator_id != 0,
		.initiator_id = librsvd_guid_from_ndr(&v2.v1.initiator_id),
		.flags = v2.v1.flags,
		.originator = v2.v1.originator_flags,
		.open_request_id = v2.v1.open_request_id,
		.host_name = host_name,
		.properties_initialized =
			v2.virtual_disk_properties_initialized != 0,
		.server_version = v2.server_service_version,
		.sector_size = v2.virtual_sector_size,
		.physical_sector_size = v2.physical_sector_size,
		.virtual_size = v2.virtual_size,
	};
	return NT_STATUS_OK;
}

/*
 * One FILE_FULL_EA_INFORMATION (MS-FSCC 2.4.15) that names the snapshot,
 * MS-RSVD 3.1.4.24.
 */
static NTSTATUS librsvd_target_specifier_push(TALLOC_CTX *mem_ctx,
					      const struct librsvd_guid *id,
					      DATA_BLOB *blob)
{
	struct rsvd_block_device_target_specifier target = {
		.target_namespace = RSVD_TARGET_NAMESPACE_SNAPSHOT_ID,
		.target_information_snapshot = {
			.snapshot_type = SvhdxSnapshotTypeVM,
			.snapshot_id = librsvd_guid_to_ndr(id),
		},
	};
	const size_t name_length = strlen(RSVD_TARGET_SPECIFIER_EA);
	const uint8_t file_need_ea = 0x80;
	DATA_BLOB value = { .length = 0 };
	NTSTATUS status;

	status = librsvd_push(mem_ctx, &target, (ndr_push_flags_fn_t)
			      ndr_push_rsvd_block_device_target_specifier,
			      &value);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}

	*blob = data_blob_talloc_zero(mem_ctx,
				      8 + name_length + 1 + value.length);
	if (blob->data == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	SCVAL(blob->data, 4, file_need_ea);
	SCVAL(blob->data, 5, name_length);
	SSVAL(blob->data, 6, value.length);
	memcpy(blob->data + 8, RSVD_TARGET_SPECIFIER_EA, name_length);
	memcpy(blob->data + 8 + name_length + 1, value.data, value.length);
	return NT_STATUS_OK;
}

static int librsvd_disk_destructor(struct librsvd_disk *disk)
{
	if (disk->conn != NULL) {
		DLIST_REMOVE(disk->conn->disks, disk);
		disk->conn = NULL;
	}
	return 0;
}

struct librsvd_open_state {
	struct tevent_context *ev;
	struct librsvd_conn *conn;
	struct librsvd_ticket *ticket;
	struct librsvd_open_params params;
	char *name;
	uint64_t request_id;
	struct smb2_create_blobs blobs;
	struct librsvd_disk *disk;
};

static void librsvd_open_submit(void *private_data, NTSTATUS status,
				uint32_t granted);
static void librsvd_open_done(struct tevent_req *subreq);

struct tevent_req *librsvd_open_send(TALLOC_CTX *mem_ctx,
				     struct librsvd_conn *conn,
				     const struct librsvd_open_params *params)
{
	struct tevent_req *req = NULL;
	struct librsvd_open_state *state = NULL;
	DATA_BLOB blob = { .length = 0 };
	NTSTATUS status;

	req = tevent_req_create(mem_ctx, &state, struct librsvd_open_state);
	if (req == NULL) {
		return NULL;
	}
	state->ev = conn->ev;
	state->conn = conn;
	state->params = *params;
	if (state->params.version == 0) {
		state->params.version = RSVD_ECP_CONTEXT_VERSION_2;
	}
	if (state->params.originator == 0) {
		state->params.originator = SVHDX_ORIGINATOR_PVHDPARSER;
	}
	if (state->params.access_mask == 0) {
		state->params.access_mask =
			SEC_FILE_READ_DATA | SEC_FILE_WRITE_DATA |
			SEC_FILE_READ_ATTRIBUTE | SEC_STD_SYNCHRONIZE;
	}
	if (state->params.share_access == 0) {
		state->params.share_access =
			FILE_SHARE_READ | FILE_SHARE_WRITE;
	}

	if (state->params.path == NULL || LIBRSVD_IS_UNKNOWN(params)) {
		tevent_req_nterror(req, NT_STATUS_INVALID_PARAMETER);
		return tevent_req_post(req, conn->ev);
	}
	/* MS-SMB2 2.2.13: a name does not start with a separator. */
	state->params.path += strspn(state->params.path, "/\\");
	state->name = talloc_asprintf(state, "%s%s", state->params.path,
				      RSVD_STREAM_SUFFIX);
	if (tevent_req_nomem(state->name, req)) {
		return tevent_req_post(req, conn->ev);
	}
	string_replace(state->name, '/', '\\');

	state->request_id = ++conn->request_id;
	status = librsvd_open_context_push(state, &state->params,
					   state->request_id, &blob);
	if (tevent_req_nterror(req, status)) {
		return tevent_req_post(req, conn->ev);
	}
	status = smb2_create_blob_add(state, &state->blobs,
				      SVHDX_OPEN_DEVICE_CONTEXT, blob);
	if (tevent_req_nterror(req, status)) {
		return tevent_req_post(req, conn->ev);
	}

	if (params->snapshot_id != NULL) {
		status = librsvd_target_specifier_push(
			state, params->snapshot_id, &blob);
		if (tevent_req_nterror(req, status)) {
			return tevent_req_post(req, conn->ev);
		}
		status = smb2_create_blob_add(state, &state->blobs,
					      SMB2_CREATE_TAG_EXTA, blob);
		if (tevent_req_nterror(req, status)) {
			return tevent_req_post(req, conn->ev);
		}
	}

	state->disk = talloc_zero(state, struct librsvd_disk);
	if (tevent_req_nomem(state->disk, req)) {
		return tevent_req_post(req, conn->ev);
	}

	if (!librsvd_ticket_take(state, conn, 1, 1, librsvd_open_submit, req,
				 &state->ticket)) {
		tevent_req_oom(req);
	}
	if (!tevent_req_is_in_progress(req)) {
		return tevent_req_post(req, conn->ev);
	}
	return req;
}

static void librsvd_open_submit(void *private_data, NTSTATUS status,
				uint32_t granted)
{
	struct tevent_req *req =
		talloc_get_type_abort(private_data, struct tevent_req);
	struct librsvd_open_state *state =
		tevent_req_data(req, struct librsvd_open_state);
	struct tevent_req *subreq = NULL;
	uint32_t options = FILE_NON_DIRECTORY_FILE;

	if (!NT_STATUS_IS_OK(status)) {
		tevent_req_defer_callback(req, state->ev);
		tevent_req_nterror(req, status);
		return;
	}
	if (!state->params.buffered) {
		options |= FILE_NO_INTERMEDIATE_BUFFERING;
	}

	subreq = smb2cli_create_send(
		state, state->ev, LIBRSVD_SMB2(state->conn), state->name,
		SMB2_OPLOCK_LEVEL_NONE, SMB2_IMPERSONATION_IMPERSONATION,
		state->params.access_mask, FILE_ATTRIBUTE_NORMAL,
		state->params.share_access, FILE_OPEN, options,
		&state->blobs);
	if (tevent_req_nomem(subreq, req)) {
		return;
	}
	tevent_req_set_callback(subreq, librsvd_open_done, req);
}

static void librsvd_open_done(struct tevent_req *subreq)
{
	struct tevent_req *req =
		tevent_req_callback_data(subreq, struct tevent_req);
	struct librsvd_open_state *state =
		tevent_req_data(req, struct librsvd_open_state);
	struct librsvd_disk *disk = state->disk;
	struct smb2_create_blobs blobs = { .num_blobs = 0 };
	struct smb2_create_blob *blob = NULL;
	NTSTATUS status;

	status = smb2cli_create_recv(subreq, &disk->fid_persistent,
				     &disk->fid_volatile, NULL, state,
				     &blobs);
	TALLOC_FREE(subreq);
	TALLOC_FREE(state->ticket);
	if (tevent_req_nterror(req, status)) {
		return;
	}

	/* From here on there is something to close. */
	disk->conn = state->conn;
	DLIST_ADD(disk->conn->disks, disk);
	talloc_set_destructor(disk, librsvd_disk_destructor);

	blob = smb2_create_blob_find(&blobs, SVHDX_OPEN_DEVICE_CONTEXT);
	status = librsvd_open_context_pull(disk, blob ? &blob->data : NULL,
					   state->params.version,
					   state->request_id,
					   &disk->response);
	if (!NT_STATUS_IS_OK(status)) {
		/*
		 * We cannot use it, so do not leave it open; nobody waits
		 * for the answer.
		 */
		librsvd_close_send(disk->conn, disk);
		tevent_req_nterror(req, status);
		return;
	}
	tevent_req_done(req);
}

NTSTATUS librsvd_open_recv(struct tevent_req *req, TALLOC_CTX *mem_ctx,
			   struct librsvd_disk **disk)
{
	struct librsvd_open_state *state =
		tevent_req_data(req, struct librsvd_open_state);
	NTSTATUS status;

	if (tevent_req_is_nterror(req, &status)) {
		tevent_req_received(req);
		return status;
	}
	*disk = talloc_move(mem_ctx, &state->disk);
	tevent_req_received(req);
	return NT_STATUS_OK;
}

NTSTATUS librsvd_open(TALLOC_CTX *mem_ctx, struct librsvd_conn *conn,
		      const struct librsvd_open_params *params,
		      struct librsvd_disk **disk)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct tevent_req *req = NULL;
	NTSTATUS status;

	req = librsvd_open_send(frame, conn, params);
	status = librsvd_wait(conn, req);
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_open_recv(req, mem_ctx, disk);
	}
	TALLOC_FREE(frame);
	return status;
}

const struct librsvd_open_response *librsvd_disk_open_response(
	const struct librsvd_disk *disk)
{
	return &disk->response;
}

struct librsvd_close_state {
	struct tevent_context *ev;
	struct librsvd_conn *conn;
	struct librsvd_ticket *ticket;
	uint64_t fid_persistent;
	uint64_t fid_volatile;
};

static void librsvd_close_submit(void *private_data, NTSTATUS status,
				 uint32_t granted);
static void librsvd_close_done(struct tevent_req *subreq);

struct tevent_req *librsvd_close_send(TALLOC_CTX *mem_ctx,
				      struct librsvd_disk *disk)
{
	struct tevent_req *req = NULL;
	struct librsvd_close_state *state = NULL;

	if (disk->conn == NULL) {
		return NULL;
	}

	req = tevent_req_create(mem_ctx, &state, struct librsvd_close_state);
	if (req == NULL) {
		return NULL;
	}
	state->ev = disk->conn->ev;
	state->conn = disk->conn;
	state->fid_persistent = disk->fid_persistent;
	state->fid_volatile = disk->fid_volatile;

	if (!librsvd_ticket_take(state, state->conn, 1, 1,
				 librsvd_close_submit, req, &state->ticket)) {
		tevent_req_oom(req);
	}
	if (!tevent_req_is_in_progress(req)) {
		return tevent_req_post(req, state->ev);
	}
	return req;
}

static void librsvd_close_submit(void *private_data, NTSTATUS status,
				 uint32_t granted)
{
	struct tevent_req *req =
		talloc_get_type_abort(private_data, struct tevent_req);
	struct librsvd_close_state *state =
		tevent_req_data(req, struct librsvd_close_state);
	struct tevent_req *subreq = NULL;

	if (!NT_STATUS_IS_OK(status)) {
		tevent_req_defer_callback(req, state->ev);
		tevent_req_nterror(req, status);
		return;
	}

	subreq = smb2cli_close_send(state, state->ev,
				    LIBRSVD_SMB2(state->conn), 0,
				    state->fid_persistent,
				    state->fid_volatile);
	if (tevent_req_nomem(subreq, req)) {
		return;
	}
	tevent_req_set_callback(subreq, librsvd_close_done, req);
}

static void librsvd_close_done(struct tevent_req *subreq)
{
	struct tevent_req *req =
		tevent_req_callback_data(subreq, struct tevent_req);
	struct librsvd_close_state *state =
		tevent_req_data(req, struct librsvd_close_state);
	NTSTATUS status;

	status = smb2cli_close_recv(subreq);
	TALLOC_FREE(subreq);
	TALLOC_FREE(state->ticket);
	if (tevent_req_nterror(req, status)) {
		return;
	}
	tevent_req_done(req);
}

NTSTATUS librsvd_close_recv(struct tevent_req *req)
{
	return tevent_req_simple_recv_ntstatus(req);
}

NTSTATUS librsvd_close(struct librsvd_disk *disk)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct tevent_req *req = NULL;
	NTSTATUS status;

	req = librsvd_close_send(frame, disk);
	status = librsvd_wait(disk->conn, req);
	if (NT_STATUS_IS_OK(status)) {
		status = librsvd_close_recv(req);
	}
	TALLOC_FREE(frame);
	return status;
}
