/*
 * vfs_rsvd: the parents of a differencing image
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The engine gives us a path from the root of the share that does not lead
 * out of it, and the file is opened as smbd opens one for a client that asks
 * for that name: with the rights of the user, no symbolic link to elsewhere is
 * followed, and what is vetoed is not there. It is
 * shared for reading only, so nobody writes a parent while a child is
 * attached, plainly or as a shared disk, and the other way round.
 */

#include "source3/modules/vfs_rsvd.h"
#include "source3/modules/vfs_rsvd_compat.h"
#include "lib/util/dlinklist.h"

struct rsvd_parent {
	struct rsvd_parent *prev, *next;
	struct rsvd_fsp *child;
	struct vhdx_storage storage;
	struct vfs_handle_struct *handle;
	struct files_struct *fsp;	/* NULL: smbd has closed it */
};

/* Goes with the fsp of a parent, whoever closes that. */
struct rsvd_parent_guard {
	struct rsvd_parent *parent;
};

static int rsvd_parent_guard_destructor(struct rsvd_parent_guard *guard)
{
	if (guard->parent != NULL) {
		guard->parent->fsp = NULL;
	}
	return 0;
}

static ssize_t rsvd_parent_pread(void *private_data, void *buf, size_t length,
				 off_t offset)
{
	struct rsvd_parent *parent = private_data;

	if (parent->fsp == NULL) {
		errno = EBADF;
		return -1;
	}
	return SMB_VFS_NEXT_PREAD(parent->handle,
				  parent->fsp,
				  buf,
				  length,
				  offset);
}

static off_t rsvd_parent_size(void *private_data)
{
	struct rsvd_parent *parent = private_data;
	SMB_STRUCT_STAT st;

	if (parent->fsp == NULL) {
		errno = EBADF;
		return -1;
	}
	if (SMB_VFS_NEXT_FSTAT(parent->handle, parent->fsp, &st) == -1) {
		return -1;
	}
	return st.st_ex_size;
}

static struct tevent_req *rsvd_parent_pread_send(TALLOC_CTX *mem_ctx,
						 struct tevent_context *ev,
						 void *private_data,
						 void *buf, size_t length,
						 off_t offset)
{
	struct rsvd_parent *parent = private_data;

	if (parent->fsp == NULL) {
		return NULL;
	}
	return SMB_VFS_NEXT_PREAD_SEND(mem_ctx,
				       ev,
				       parent->handle,
				       parent->fsp,
				       buf,
				       length,
				       offset);
}

static ssize_t rsvd_parent_pread_recv(struct tevent_req *req, int *err)
{
	struct vfs_aio_state aio_state = { .error = 0 };
	ssize_t ret;

	ret = SMB_VFS_PREAD_RECV(req, &aio_state);
	*err = aio_state.error;
	return ret;
}

/* The engine never does these to an image that is open for reading only. */

static ssize_t rsvd_parent_pwrite(void *private_data, const void *buf,
				  size_t length, off_t offset)
{
	errno = EROFS;
	return -1;
}

static int rsvd_parent_fsync(void *private_data)
{
	errno = EROFS;
	return -1;
}

static int rsvd_parent_ftruncate(void *private_data, off_t length)
{
	errno = EROFS;
	return -1;
}

static int rsvd_parent_punch_hole(void *private_data, off_t offset,
				  off_t length)
{
	errno = EROFS;
	return -1;
}

static const struct vhdx_storage_ops rsvd_parent_ops = {
	.pread = rsvd_parent_pread,
	.pwrite = rsvd_parent_pwrite,
	.fsync = rsvd_parent_fsync,
	.ftruncate = rsvd_parent_ftruncate,
	.size = rsvd_parent_size,
	.punch_hole = rsvd_parent_punch_hole,
	.pread_send = rsvd_parent_pread_send,
	.pread_recv = rsvd_parent_pread_recv,
};

static NTSTATUS rsvd_parent_open_file(struct vfs_handle_struct *handle,
				      const char *path,
				      struct files_struct **fsp)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct smb_filename *smb_fname = NULL;
	struct files_struct *dirfsp = NULL;
	NTSTATUS status;

	status = rsvd_compat_client_name(frame,
					 handle->conn,
					 path,
					 &dirfsp,
					 &smb_fname);
	if (!NT_STATUS_IS_OK(status)) {
		TALLOC_FREE(frame);
		return status;
	}
	if (smb_fname->fsp == NULL) {
		/* A name that a new file could have */
		TALLOC_FREE(frame);
		return NT_STATUS_OBJECT_NAME_NOT_FOUND;
	}
	if (!S_ISREG(smb_fname->st.st_ex_mode)) {
		TALLOC_FREE(frame);
		return NT_STATUS_OBJECT_TYPE_MISMATCH;
	}
	status = SMB_VFS_NEXT_CREATE_FILE(handle,
					  NULL,	/* req */
					  dirfsp,
					  smb_fname,
					  SEC_FILE_READ_DATA,
					  FILE_SHARE_READ,
					  FILE_OPEN,
					  FILE_NON_DIRECTORY_FILE,
					  0,	/* file_attributes */
					  INTERNAL_OPEN_ONLY,
					  NULL,	/* lease */
					  0,	/* allocation_size */
					  0,	/* private_flags */
					  NULL,	/* sd */
					  NULL,	/* ea_list */
					  fsp,
					  NULL,	/* pinfo */
					  NULL,	/* in_context_blobs */
					  NULL);	/* out_context_blobs */
	TALLOC_FREE(frame);
	return status;
}

static void rsvd_parent_close(struct rsvd_parent *parent)
{
	DLIST_REMOVE(parent->child->parents, parent);
	if (parent->fsp != NULL) {
		/* The guard sees to it that it is NULL afterwards. */
		close_file_free(NULL, &parent->fsp, NORMAL_CLOSE);
	}
	TALLOC_FREE(parent);
}

NTSTATUS rsvd_parent_open(TALLOC_CTX *mem_ctx, const char *path,
			  void *private_data, struct vhdx_storage **storage)
{
	struct rsvd_fsp *rf = private_data;
	struct rsvd_parent_guard *guard = NULL;
	struct rsvd_parent *parent = NULL;
	NTSTATUS status;

	parent = talloc(rf, struct rsvd_parent);
	if (parent == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	*parent = (struct rsvd_parent) {
		.child = rf,
		.handle = rf->handle,
		.storage = {
			.ops = &rsvd_parent_ops,
			.private_data = parent,
		},
	};
	status = rsvd_parent_open_file(rf->handle, path, &parent->fsp);
	if (!NT_STATUS_IS_OK(status)) {
		TALLOC_FREE(parent);
		return status;
	}
	DLIST_ADD(rf->parents, parent);
	guard = talloc(parent->fsp, struct rsvd_parent_guard);
	if (guard == NULL) {
		rsvd_parent_close(parent);
		return NT_STATUS_NO_MEMORY;
	}
	guard->parent = parent;
	talloc_set_destructor(guard, rsvd_parent_guard_destructor);
	*storage = &parent->storage;
	return NT_STATUS_OK;
}

void rsvd_parents_close(struct rsvd_fsp *rf)
{
	while (rf->parents != NULL) {
		rsvd_parent_close(rf->parents);
	}
}
