/*
 * vfs_rsvd: SCSI commands through the tunnel
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/debug.h"
#include "modules/rsvd/rsvd_tunnel_private.h"

/* The largest response that carries no data. */
#define RSVD_TUNNEL_SCSI_OVERHEAD \
	(SVHDX_TUNNEL_OPERATION_HEADER_SIZE + SVHDX_TUNNEL_SCSI_RESPONSE_SIZE)

static enum ndr_err_code rsvd_tunnel_push_bytes(struct ndr_push *ndr,
						int ndr_flags, const void *p)
{
	const DATA_BLOB *blob = p;

	if (!(ndr_flags & NDR_SCALARS)) {
		return NDR_ERR_SUCCESS;
	}
	return ndr_push_bytes(ndr, blob->data, blob->length);
}

/*
 * A request that is not executed comes back as it was received, in the place
 * of the response. Windows fills what is left of MaxOutputResponse with zeros
 * (MS-RSVD 6 <19>).
 */
static NTSTATUS rsvd_tunnel_scsi_refuse(struct rsvd_tunnel_request *req,
					NTSTATUS status)
{
	NTSTATUS reply_status;
	DATA_BLOB blob;

	blob = data_blob_talloc_zero(
		req->mem_ctx,
		req->max_output - SVHDX_TUNNEL_OPERATION_HEADER_SIZE);
	if (blob.data == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	memcpy(blob.data, req->payload.data,
	       MIN(req->payload.length, SVHDX_TUNNEL_SCSI_RESPONSE_SIZE));

	reply_status = rsvd_tunnel_reply_struct(req, status, &blob,
						rsvd_tunnel_push_bytes);
	data_blob_free(&blob);
	return reply_status;
}

static bool rsvd_tunnel_scsi_request_is_valid(
	const struct svhdx_tunnel_scsi_request *request)
{
	if (request->length != SVHDX_TUNNEL_SCSI_REQUEST_SIZE) {
		return false;
	}
	if (request->sense_info_ex_length >
	    sizeof(request->cdb_buffer) + sizeof(request->reserved3))
	{
		return false;
	}
	if (request->cdb_length > sizeof(request->cdb_buffer)) {
		return false;
	}
	if ((request->disposition == RSVD_DISPOSITION_DATA_IN) &&
	    (request->data_transfer_length < request->data_buffer.length))
	{
		return false;
	}

	return true;
}

static uint8_t rsvd_tunnel_scsi_srb_status(const struct scsi_task *task)
{
	switch (task->status) {
	case SCSI_STATUS_GOOD:
		if (task->data_in_overrun) {
			/*
			 * MaxOutputResponse is less than DataTransferLength,
			 * and half a read must not pass for a whole one.
			 */
			return RSVD_SRB_STATUS_DATA_OVERRUN;
		}
		return RSVD_SRB_STATUS_SUCCESS;
	case SCSI_STATUS_CHECK_CONDITION:
		return RSVD_SRB_STATUS_ERROR | RSVD_SRB_STATUS_AUTOSENSE_VALID;
	default:
		return RSVD_SRB_STATUS_ERROR;
	}
}

static NTSTATUS rsvd_tunnel_scsi_reply(
	struct rsvd_tunnel_request *req,
	const struct svhdx_tunnel_scsi_request *request,
	const struct scsi_task *task)
{
	struct svhdx_tunnel_scsi_response response = {
		.length = SVHDX_TUNNEL_SCSI_RESPONSE_SIZE,
		.srb_status = rsvd_tunnel_scsi_srb_status(task),
		.scsi_status = task->status,
		.cdb_length = request->cdb_length,
		/*
		 * As Windows: that of the buffer, whether there is sense data
		 * in it or not (section 4.2, 6 <16>).
		 */
		.sense_info_ex_length = RSVD_SCSI_SENSE_BUFFER_SIZE,
		.disposition = request->disposition,
		.srb_flags = request->srb_flags,
		.data_transfer_length = task->data_in_length,
		.data_buffer = {
			.data = task->data_in,
			.length = task->data_in_length,
		},
	};

	if (task->data_in_length > request->data_transfer_length) {
		/*
		 * The text has this fail where Disposition 0 asks for data.
		 * Windows asks with 1; there the initiator gets what it has
		 * room for, and is told that there was more.
		 */
		if (request->disposition == RSVD_DISPOSITION_DATA_OUT) {
			return NT_STATUS_INVALID_PARAMETER;
		}
		response.srb_status = RSVD_SRB_STATUS_DATA_OVERRUN;
		response.data_transfer_length = request->data_transfer_length;
		response.data_buffer.length = request->data_transfer_length;
	}

	memcpy(response.sense_data_ex, task->sense,
	       sizeof(response.sense_data_ex));

	return rsvd_tunnel_reply(req, NT_STATUS_OK,
				 svhdx_tunnel_scsi_response, &response);
}

/* MS-RSVD 3.2.5.5.5 */
NTSTATUS rsvd_tunnel_scsi(struct rsvd_tunnel_request *req)
{
	struct rsvd_open *open = req->open;
	struct svhdx_tunnel_scsi_request request;
	struct scsi_task task = { .cdb_length = 0, };
	NTSTATUS status;

	if (!rsvd_open_has_initiator(open)) {
		return rsvd_tunnel_scsi_refuse(req, NT_STATUS_INVALID_HANDLE);
	}

	status = rsvd_tunnel_pull(req, &req->payload,
				  svhdx_tunnel_scsi_request, &request);
	if (!NT_STATUS_IS_OK(status) ||
	    !rsvd_tunnel_scsi_request_is_valid(&request))
	{
		return rsvd_tunnel_scsi_refuse(req,
					       NT_STATUS_INVALID_PARAMETER);
	}

	if (open->image == NULL) {
		return rsvd_tunnel_reply_status(req, RSVD_TUNNEL_NO_DISK);
	}

	/*
	 * Neither Disposition nor SrbFlags say for sure which way the data
	 * goes. So the command gets both: what came, and room for what it
	 * may return. More than DataTransferLength is let through to find out
	 * that there is more.
	 */
	task.cdb = request.cdb_buffer;
	task.cdb_length = request.cdb_length;
	task.data_out = request.data_buffer.data;
	task.data_out_length = MIN(request.data_buffer.length,
				   request.data_transfer_length);
	task.data_in_size = MIN(req->max_output - RSVD_TUNNEL_SCSI_OVERHEAD,
				SCSI_MAX_TRANSFER_LENGTH);
	task.data_in = talloc_array(req->mem_ctx, uint8_t, task.data_in_size);
	if (task.data_in == NULL) {
		return NT_STATUS_NO_MEMORY;
	}

	/* Another process may have changed it. */
	open->scsi_disk.size = vhdx_geometry(open->image)->virtual_size;

	scsi_execute(&open->scsi_disk, &open->nexus, &task);

	status = rsvd_tunnel_scsi_reply(req, &request, &task);
	TALLOC_FREE(task.data_in);
	data_blob_free(&request.data_buffer);
	return status;
}
