/*
 * vfs_rsvd: control codes
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * MS-RSVD 3.2.4. What smbd handles without asking the VFS is in
 * docs/hooks.md.
 */

#include "source3/modules/vfs_rsvd.h"
#include "source3/modules/vfs_rsvd_compat.h"

static NTSTATUS rsvd_fsctl_output(const DATA_BLOB *output,
				  uint8_t **out_data,
				  uint32_t *out_len)
{
	*out_data = output->data;
	*out_len = output->length;
	return NT_STATUS_OK;
}

static NTSTATUS rsvd_fsctl_tunnel(struct rsvd_fsp *rf,
				  TALLOC_CTX *ctx,
				  const DATA_BLOB *input,
				  uint32_t max_out_len,
				  uint8_t **out_data,
				  uint32_t *out_len)
{
	DATA_BLOB output = { .data = NULL };
	NTSTATUS status;

	if (rf == NULL) {
		/* Open.IsSharedVHDX is FALSE: MS-SMB2 3.3.5.15.15 */
		return NT_STATUS_INVALID_DEVICE_REQUEST;
	}
	if (rsvd_fence_is_busy(rf, ctx, input, max_out_len, &output)) {
		return rsvd_fsctl_output(&output, out_data, out_len);
	}
	status = rsvd_tunnel_dispatch(rf->open,
				      ctx,
				      input,
				      max_out_len,
				      &output);
	rsvd_fence_command_done(rf);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	rf->counters.tunnel_requests += 1;
	return rsvd_fsctl_output(&output, out_data, out_len);
}

static NTSTATUS rsvd_fsctl_query_support(struct vfs_handle_struct *handle,
					 struct rsvd_fsp *rf,
					 const struct files_struct *fsp,
					 TALLOC_CTX *ctx,
					 uint32_t max_out_len,
					 uint8_t **out_data,
					 uint32_t *out_len)
{
	struct rsvd_config *config = NULL;
	struct rsvd_disk *disk = NULL;
	DATA_BLOB output = { .data = NULL };
	NTSTATUS status;

	SMB_VFS_HANDLE_GET_DATA(handle,
				config,
				struct rsvd_config,
				return NT_STATUS_INTERNAL_ERROR);

	if (rf != NULL) {
		disk = rf->disk;
	} else {
		disk = rsvd_disk_init(talloc_tos(),
				      config->dbs->disks,
				      &fsp->file_id,
				      rsvd_compat_self(handle->conn),
				      rsvd_server_id_alive,
				      NULL);
		if (disk == NULL) {
			return NT_STATUS_NO_MEMORY;
		}
	}
	status = rsvd_tunnel_query_support(disk,
					   rf != NULL ? rf->open : NULL,
					   config->protocol_version,
					   ctx,
					   max_out_len,
					   &output);
	if (rf == NULL) {
		TALLOC_FREE(disk);
	}
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	return rsvd_fsctl_output(&output, out_data, out_len);
}

NTSTATUS rsvd_fsctl(struct vfs_handle_struct *handle,
		    struct files_struct *fsp,
		    TALLOC_CTX *ctx,
		    uint32_t function,
		    uint16_t req_flags,
		    const uint8_t *in_data,
		    uint32_t in_len,
		    uint8_t **out_data,
		    uint32_t max_out_len,
		    uint32_t *out_len)
{
	struct rsvd_fsp *rf = rsvd_fsp_get(handle, fsp);
	DATA_BLOB input = data_blob_const(in_data, in_len);

	switch (function) {
	case RSVD_FSCTL_SYNC_TUNNEL:
	case RSVD_FSCTL_ASYNC_TUNNEL:
		return rsvd_fsctl_tunnel(rf,
					 ctx,
					 &input,
					 max_out_len,
					 out_data,
					 out_len);
	case RSVD_FSCTL_QUERY_SUPPORT:
		return rsvd_fsctl_query_support(handle,
						rf,
						fsp,
						ctx,
						max_out_len,
						out_data,
						out_len);
	case FSCTL_OFFLOAD_READ:
		if (rf != NULL) {
			return NT_STATUS_OFFLOAD_READ_FILE_NOT_SUPPORTED;
		}
		break;
	case FSCTL_OFFLOAD_WRITE:
		if (rf != NULL) {
			return NT_STATUS_OFFLOAD_WRITE_FILE_NOT_SUPPORTED;
		}
		break;
	default:
		break;
	}

	return SMB_VFS_NEXT_FSCTL(handle,
				  fsp,
				  ctx,
				  function,
				  req_flags,
				  in_data,
				  in_len,
				  out_data,
				  max_out_len,
				  out_len);
}
