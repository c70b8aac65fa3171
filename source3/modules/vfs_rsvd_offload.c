/*
 * vfs_rsvd: copies that the server makes
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * FSCTL_SRV_COPYCHUNK, FSCTL_DUP_EXTENTS_TO_FILE and, in a later smbd,
 * FSCTL_OFFLOAD_READ and _WRITE. They would move bytes of the image file under
 * offsets of the virtual disk, past the reservations, so a shared virtual disk
 * is neither source nor target (MS-RSVD 3.2.4).
 */

#include "source3/modules/vfs_rsvd.h"
#include "lib/util/tevent_ntstatus.h"

struct rsvd_offload_refused {
	uint8_t dummy;
};

static struct tevent_req *rsvd_offload_refuse(TALLOC_CTX *mem_ctx,
					      struct tevent_context *ev,
					      NTSTATUS status)
{
	struct rsvd_offload_refused *state = NULL;
	struct tevent_req *req = NULL;

	req = tevent_req_create(mem_ctx, &state, struct rsvd_offload_refused);
	if (req == NULL) {
		return NULL;
	}
	tevent_req_nterror(req, status);
	return tevent_req_post(req, ev);
}

struct tevent_req *rsvd_offload_read_send(TALLOC_CTX *mem_ctx,
					  struct tevent_context *ev,
					  struct vfs_handle_struct *handle,
					  struct files_struct *fsp,
					  uint32_t fsctl,
					  uint32_t ttl,
					  off_t offset,
					  size_t to_copy)
{
	if (rsvd_fsp_get_virtual(handle, fsp) != NULL) {
		return rsvd_offload_refuse(
			mem_ctx,
			ev,
			NT_STATUS_OFFLOAD_READ_FILE_NOT_SUPPORTED);
	}
	return SMB_VFS_NEXT_OFFLOAD_READ_SEND(mem_ctx,
					      ev,
					      handle,
					      fsp,
					      fsctl,
					      ttl,
					      offset,
					      to_copy);
}

/*
 * A request is either refused here or that of the module behind us: an error
 * is received alike for both, and what is no error is theirs.
 */
NTSTATUS rsvd_offload_read_recv(struct tevent_req *req,
				struct vfs_handle_struct *handle,
				TALLOC_CTX *mem_ctx,
				uint32_t *flags,
				uint64_t *xferlen,
				DATA_BLOB *token)
{
	NTSTATUS status;

	if (tevent_req_is_nterror(req, &status)) {
		tevent_req_received(req);
		return status;
	}
	return SMB_VFS_NEXT_OFFLOAD_READ_RECV(req,
					      handle,
					      mem_ctx,
					      flags,
					      xferlen,
					      token);
}

struct tevent_req *rsvd_offload_write_send(struct vfs_handle_struct *handle,
					   TALLOC_CTX *mem_ctx,
					   struct tevent_context *ev,
					   uint32_t fsctl,
					   DATA_BLOB *token,
					   off_t transfer_offset,
					   struct files_struct *dest_fsp,
					   off_t dest_off,
					   off_t to_copy)
{
	if (rsvd_fsp_get_virtual(handle, dest_fsp) != NULL) {
		return rsvd_offload_refuse(
			mem_ctx,
			ev,
			NT_STATUS_OFFLOAD_WRITE_FILE_NOT_SUPPORTED);
	}
	return SMB_VFS_NEXT_OFFLOAD_WRITE_SEND(handle,
					       mem_ctx,
					       ev,
					       fsctl,
					       token,
					       transfer_offset,
					       dest_fsp,
					       dest_off,
					       to_copy);
}

NTSTATUS rsvd_offload_write_recv(struct vfs_handle_struct *handle,
				 struct tevent_req *req,
				 off_t *copied)
{
	NTSTATUS status;

	if (tevent_req_is_nterror(req, &status)) {
		*copied = 0;
		tevent_req_received(req);
		return status;
	}
	return SMB_VFS_NEXT_OFFLOAD_WRITE_RECV(handle, req, copied);
}
