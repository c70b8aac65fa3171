/*
 * vfs_rsvd: tunnel operations that ask about the disk and the open
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/debug.h"
#include "modules/rsvd/rsvd_tunnel_private.h"

/* MS-RSVD 3.2.5.5.1 */
NTSTATUS rsvd_tunnel_initial_info(struct rsvd_tunnel_request *req)
{
	const struct vhdx_geometry *geometry = NULL;
	struct svhdx_tunnel_initial_info_response response;

	if (req->open->image == NULL) {
		return rsvd_tunnel_reply_status(req, RSVD_TUNNEL_NO_DISK);
	}

	geometry = vhdx_geometry(req->open->image);
	response = (struct svhdx_tunnel_initial_info_response) {
		.server_version = req->open->server_version,
		.sector_size = geometry->logical_sector_size,
		.physical_sector_size = geometry->physical_sector_size,
		.virtual_size = geometry->virtual_size,
	};

	return rsvd_tunnel_reply(req, NT_STATUS_OK,
				 svhdx_tunnel_initial_info_response,
				 &response);
}

/* MS-RSVD 3.2.5.5.2 */
NTSTATUS rsvd_tunnel_check_connection(struct rsvd_tunnel_request *req)
{
	return rsvd_tunnel_reply_status(req, NT_STATUS_OK);
}

/* MS-RSVD 3.2.5.5.3 */
NTSTATUS rsvd_tunnel_srb_status(struct rsvd_tunnel_request *req)
{
	struct svhdx_tunnel_srb_status_request request;
	struct svhdx_tunnel_srb_status_response response;
	const struct rsvd_sense_error *error = NULL;
	NTSTATUS status;

	/*
	 * The text also compares SenseInfoExLength with the size of
	 * SenseDataEx here, which the request does not have.
	 */
	status = rsvd_tunnel_pull(req, &req->payload,
				  svhdx_tunnel_srb_status_request, &request);
	if (!NT_STATUS_IS_OK(status)) {
		return NT_STATUS_INVALID_PARAMETER;
	}

	error = &req->open->sense_errors[request.status_key];
	if (!error->stored) {
		return NT_STATUS_SVHDX_ERROR_NOT_AVAILABLE;
	}

	/* 6 <16>: the length is that of the buffer. */
	response = (struct svhdx_tunnel_srb_status_response) {
		.status_key = request.status_key,
		.srb_status = error->srb_status,
		.scsi_status = error->scsi_status,
		.sense_info_ex_length = RSVD_SCSI_SENSE_BUFFER_SIZE,
	};
	memcpy(response.sense_data_ex, error->sense,
	       sizeof(response.sense_data_ex));

	return rsvd_tunnel_reply(req, NT_STATUS_OK,
				 svhdx_tunnel_srb_status_response, &response);
}

/* MS-RSVD 3.2.5.5.4 */
NTSTATUS rsvd_tunnel_disk_info(struct rsvd_tunnel_request *req)
{
	struct rsvd_open *open = req->open;
	const struct vhdx_geometry *geometry = NULL;
	struct svhdx_tunnel_disk_info_response response;
	off_t file_size;

	if (open->image == NULL) {
		return rsvd_tunnel_reply_status(req, RSVD_TUNNEL_NO_DISK);
	}

	file_size = open->storage->ops->size(open->storage->private_data);
	if (file_size == -1) {
		DBG_WARNING("Cannot get the size of the file: %s\n",
			    strerror(errno));
		return rsvd_tunnel_reply_status(req,
						NT_STATUS_IO_DEVICE_ERROR);
	}

	/*
	 * LinkageID stays zero (6 <18>). Payload blocks of a VHDX lie on whole
	 * MiB (MS-VHDX 2.5), so they are aligned always.
	 */
	geometry = vhdx_geometry(open->image);
	response = (struct svhdx_tunnel_disk_info_response) {
		.disk_type = VHD_TYPE_DYNAMIC,
		.disk_format = VIRTUAL_STORAGE_TYPE_DEVICE_VHDX,
		.block_size = geometry->block_size,
		.is_mounted = 1,
		.is_4k_aligned = 1,
		.file_size = file_size,
		.virtual_disk_id = geometry->virtual_disk_id,
	};
	if (geometry->leave_blocks_allocated) {
		response.disk_type = VHD_TYPE_FIXED;
		response.block_size = 0; /* 6 <17> */
	}
	if (open->is_vhd_set &&
	    (open->server_version >= RSVD_PROTOCOL_VERSION_2))
	{
		response.disk_format = VIRTUAL_STORAGE_TYPE_DEVICE_VHDSET;
	}

	return rsvd_tunnel_reply(req, NT_STATUS_OK,
				 svhdx_tunnel_disk_info_response, &response);
}

/* MS-RSVD 3.2.5.5.6 */
NTSTATUS rsvd_tunnel_validate_disk(struct rsvd_tunnel_request *req)
{
	struct svhdx_tunnel_validate_disk_response response = {
		.is_valid_disk = 0,
	};

	if (req->open->image == NULL) {
		return rsvd_tunnel_reply(req, RSVD_TUNNEL_NO_DISK,
					 svhdx_tunnel_validate_disk_response,
					 &response);
	}

	/* An image that is not valid is never opened. */
	response.is_valid_disk = 1;
	return rsvd_tunnel_reply(req, NT_STATUS_OK,
				 svhdx_tunnel_validate_disk_response,
				 &response);
}

/* MS-RSVD 3.2.5.5.15 */
NTSTATUS rsvd_tunnel_safe_size(struct rsvd_tunnel_request *req)
{
	struct svhdx_tunnel_query_safe_size_response response = {
		.safe_virtual_size = 0,
	};
	NTSTATUS status;

	if (req->open->image == NULL) {
		return rsvd_tunnel_reply(req, RSVD_TUNNEL_NO_DISK,
					 svhdx_tunnel_query_safe_size_response,
					 &response);
	}

	/*
	 * Whatever has been written is user data, so the partition table (the
	 * copy of a GPT is in the last sectors) counts too.
	 */
	status = vhdx_safe_size(req->open->image, 0, NULL, NULL,
				&response.safe_virtual_size);
	if (!NT_STATUS_IS_OK(status)) {
		/* What it has is always safe. */
		response.safe_virtual_size =
			vhdx_geometry(req->open->image)->virtual_size;
	}
	return rsvd_tunnel_reply(req, NT_STATUS_OK,
				 svhdx_tunnel_query_safe_size_response,
				 &response);
}
