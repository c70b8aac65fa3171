/*
 * vfs_rsvd: serve VHDX files as shared virtual disks (MS-RSVD)
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The entry points. What a hook does is decided hook by hook; the table of
 * these decisions is in docs/hooks.md. Those that need more than a few
 * lines are in the vfs_rsvd_*.c files.
 */

#include "source3/modules/vfs_rsvd.h"
#include "source3/modules/vfs_rsvd_compat.h"
#include "lib/util/tevent_ntstatus.h"
#include "librpc/gen_ndr/rsvd.h"

/*
 * These do READ and WRITE, or FSCTL_DUP_EXTENTS_TO_FILE, by themselves. Above
 * us they would move bytes of the image file at offsets of the virtual disk,
 * past all reservations.
 */
static const char *const rsvd_must_not_be_above[] = {
	"aio_fork",
	"btrfs",
	"io_uring",
};

/*
 * Which of them smb.conf has in front of us. The modules of a share stand in
 * "vfs objects" in the order in which they are called.
 */
static const char *rsvd_wrong_module_above(struct vfs_handle_struct *handle)
{
	const char **objects = lp_vfs_objects(SNUM(handle->conn));
	struct vfs_handle_struct *above = handle->conn->vfs_handles;
	size_t i;

	if (objects == NULL) {
		return NULL;
	}
	for (i = 0; objects[i] != NULL && above != handle; i++) {
		/* "name:parameter" */
		size_t length = strcspn(objects[i], ":");
		size_t j;

		for (j = 0; j < ARRAY_SIZE(rsvd_must_not_be_above); j++) {
			const char *name = rsvd_must_not_be_above[j];

			if (strlen(name) == length &&
			    strncmp(objects[i], name, length) == 0)
			{
				return name;
			}
		}
		above = above->next;
	}
	return NULL;
}

static int rsvd_connect(struct vfs_handle_struct *handle,
			const char *service,
			const char *user)
{
	struct rsvd_config *config = NULL;
	const char *wrong_module = NULL;
	NTSTATUS status;
	int version;
	int ret;

	wrong_module = rsvd_wrong_module_above(handle);
	if (wrong_module != NULL) {
		DBG_ERR("Share %s: in 'vfs objects', %s must come after rsvd\n",
			service,
			wrong_module);
		errno = EINVAL;
		return -1;
	}

	config = talloc_zero(handle->conn, struct rsvd_config);
	if (config == NULL) {
		errno = ENOMEM;
		return -1;
	}

	version = lp_parm_int(SNUM(handle->conn), "rsvd",
			      "protocol version", 2);
	if (version != 1 && version != 2) {
		DBG_ERR("rsvd:protocol version = %d: 1 and 2 exist, using 2\n",
			version);
		version = 2;
	}
	config->protocol_version = version;

	ret = SMB_VFS_NEXT_CONNECT(handle, service, user);
	if (ret < 0) {
		TALLOC_FREE(config);
		return ret;
	}

	config->dbs = rsvd_databases_get();
	if (config->dbs != NULL) {
		status = rsvd_fence_init(handle->conn->sconn->msg_ctx);
		if (NT_STATUS_IS_OK(status)) {
			status = rsvd_counters_init(
				handle->conn->sconn->msg_ctx);
		}
		if (!NT_STATUS_IS_OK(status)) {
			config->dbs = NULL;
			errno = ENOMEM;
		}
	}
	if (config->dbs == NULL) {
		int err = errno;

		SMB_VFS_NEXT_DISCONNECT(handle);
		TALLOC_FREE(config);
		errno = err;
		return -1;
	}

	if (lp_min_receive_file_size() > 0) {
		DBG_WARNING("'min receivefile size' is set: writes to a shared "
			    "disk block, and reservation conflicts reach no "
			    "client that does not sign\n");
	}

	SMB_VFS_HANDLE_SET_DATA(handle,
				config,
				NULL,
				struct rsvd_config,
				return -1);
	return 0;
}

/*
 * "disk.vhdx:SharedVirtualDisk" is a stream name to smbd: without this the
 * open fails before any hook is reached.
 */
static uint32_t rsvd_fs_capabilities(struct vfs_handle_struct *handle,
				     enum timestamp_set_resolution *ts_res)
{
	uint32_t caps = SMB_VFS_NEXT_FS_CAPABILITIES(handle, ts_res);
	struct rsvd_config *config = NULL;

	SMB_VFS_HANDLE_GET_DATA(handle,
				config,
				struct rsvd_config,
				return caps);

	config->next_has_streams = (caps & FILE_NAMED_STREAMS) != 0;
	return caps | FILE_NAMED_STREAMS;
}

static int rsvd_stat(struct vfs_handle_struct *handle,
		     struct smb_filename *smb_fname)
{
	if (rsvd_stream_is_unknown(handle, smb_fname)) {
		errno = ENOENT;
		return -1;
	}
	return SMB_VFS_NEXT_STAT(handle, smb_fname);
}

static int rsvd_lstat(struct vfs_handle_struct *handle,
		      struct smb_filename *smb_fname)
{
	if (rsvd_stream_is_unknown(handle, smb_fname)) {
		errno = ENOENT;
		return -1;
	}
	return SMB_VFS_NEXT_LSTAT(handle, smb_fname);
}

static int rsvd_fstatat(struct vfs_handle_struct *handle,
			const struct files_struct *dirfsp,
			const struct smb_filename *smb_fname,
			SMB_STRUCT_STAT *sbuf,
			int flags)
{
	if (rsvd_stream_is_unknown(handle, smb_fname)) {
		errno = ENOENT;
		return -1;
	}
	return SMB_VFS_NEXT_FSTATAT(handle, dirfsp, smb_fname, sbuf, flags);
}

/*
 * MS-RSVD 3.2.5.8: the size is that of the virtual disk. What the file
 * takes up (st_blocks) stays what it is.
 */
static int rsvd_fstat(struct vfs_handle_struct *handle,
		      struct files_struct *fsp,
		      SMB_STRUCT_STAT *sbuf)
{
	struct rsvd_fsp *rf = NULL;
	int ret;

	ret = SMB_VFS_NEXT_FSTAT(handle, fsp, sbuf);
	if (ret == -1) {
		return -1;
	}
	rf = rsvd_fsp_get_virtual(handle, fsp);
	if (rf != NULL) {
		sbuf->st_ex_size = vhdx_geometry(rf->image)->virtual_size;
	}
	return 0;
}

/*
 * FSCTL_SET_ZERO_DATA, allocation information. An initiator has UNMAP and
 * WRITE SAME, which heed reservations.
 */
static int rsvd_fallocate(struct vfs_handle_struct *handle,
			  struct files_struct *fsp,
			  uint32_t mode,
			  off_t offset,
			  off_t len)
{
	if (rsvd_fsp_get_virtual(handle, fsp) != NULL) {
		errno = ENOTSUP;
		return -1;
	}
	return SMB_VFS_NEXT_FALLOCATE(handle, fsp, mode, offset, len);
}

/*
 * FSCTL_QUERY_ALLOCATED_RANGES: a disk is data from its first sector to the
 * last. GET LBA STATUS tells more.
 */
static off_t rsvd_lseek(struct vfs_handle_struct *handle,
			struct files_struct *fsp,
			off_t offset,
			int whence)
{
	struct rsvd_fsp *rf = rsvd_fsp_get_virtual(handle, fsp);
	off_t size;

	if (rf == NULL) {
		return SMB_VFS_NEXT_LSEEK(handle, fsp, offset, whence);
	}

	size = vhdx_geometry(rf->image)->virtual_size;
	switch (whence) {
	case SEEK_SET:
		return offset;
	case SEEK_END:
		return size + offset;
#ifdef HAVE_LSEEK_HOLE_DATA
	case SEEK_DATA:
	case SEEK_HOLE:
		if (offset < 0 || offset >= size) {
			errno = ENXIO;
			return -1;
		}
		return whence == SEEK_DATA ? offset : size;
#endif
	default:
		errno = EINVAL;
		return -1;
	}
}

/*
 * smbd does not come here for a handle that it reads asynchronously. If it
 * does, ENOSYS makes it read the data instead.
 */
static ssize_t rsvd_sendfile(struct vfs_handle_struct *handle,
			     int tofd,
			     files_struct *fromfsp,
			     const DATA_BLOB *header,
			     off_t offset,
			     size_t count)
{
	if (rsvd_fsp_get_virtual(handle, fromfsp) != NULL) {
		errno = ENOSYS;
		return -1;
	}
	return SMB_VFS_NEXT_SENDFILE(handle,
				     tofd,
				     fromfsp,
				     header,
				     offset,
				     count);
}

/*
 * `aio read size = 0` and the like: a blocking read can only return an errno,
 * see rsvd_io_answer().
 *
 * With the default, 1, all but empty requests are asynchronous anyway. To
 * force these ones makes smbd answer NO_MEMORY to an empty read.
 */
static bool rsvd_aio_force(struct vfs_handle_struct *handle,
			   struct files_struct *fsp)
{
	const int snum = SNUM(handle->conn);

	if (rsvd_fsp_get(handle, fsp) != NULL &&
	    (lp_aio_read_size(snum) != 1 || lp_aio_write_size(snum) != 1))
	{
		return true;
	}
	return SMB_VFS_NEXT_AIO_FORCE(handle, fsp);
}

/*
 * MS-RSVD 3.2.4: LOCK is STATUS_LOCK_NOT_GRANTED. So there are no byte range
 * locks to look for either.
 *
 * If the client was willing to wait, smbd does, for a lock that is never
 * granted. So these requests, which smbd keeps with the handle's, are
 * finished from an immediate event, when it has returned from its _send().
 */
static void rsvd_refuse_locks(struct tevent_context *ev,
			      struct tevent_immediate *im,
			      void *private_data)
{
	struct rsvd_fsp *rf = talloc_get_type_abort(private_data,
						    struct rsvd_fsp);
	struct files_struct *fsp = rf->fsp;
	unsigned int i;

	TALLOC_FREE(im);
	for (i = 0; i < fsp->num_aio_requests; i++) {
		/*
		 * smbd defers the callback of this request: nothing is freed
		 * and the array does not change here.
		 */
		if (rsvd_compat_is_waiting_lock(fsp->aio_requests[i])) {
			tevent_req_nterror(fsp->aio_requests[i],
					   NT_STATUS_LOCK_NOT_GRANTED);
		}
	}
}

static NTSTATUS rsvd_brl_lock_windows(struct vfs_handle_struct *handle,
				      struct byte_range_lock *br_lck,
				      struct lock_struct *plock)
{
	struct rsvd_fsp *rf = rsvd_fsp_get(handle, brl_fsp(br_lck));
	struct tevent_immediate *im = NULL;

	if (rf == NULL) {
		return SMB_VFS_NEXT_BRL_LOCK_WINDOWS(handle, br_lck, plock);
	}
	im = tevent_create_immediate(rf);
	if (im == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	tevent_schedule_immediate(im,
				  handle->conn->sconn->ev_ctx,
				  rsvd_refuse_locks,
				  rf);
	return NT_STATUS_LOCK_NOT_GRANTED;
}

static bool rsvd_strict_lock_check(struct vfs_handle_struct *handle,
				   struct files_struct *fsp,
				   struct lock_struct *plock)
{
	if (rsvd_fsp_get_virtual(handle, fsp) != NULL) {
		return true;
	}
	return SMB_VFS_NEXT_STRICT_LOCK_CHECK(handle, fsp, plock);
}

static NTSTATUS rsvd_set_compression(struct vfs_handle_struct *handle,
				     TALLOC_CTX *mem_ctx,
				     struct files_struct *fsp,
				     uint16_t compression_fmt)
{
	if (rsvd_fsp_get_virtual(handle, fsp) != NULL) {
		return NT_STATUS_NOT_SUPPORTED;
	}
	return SMB_VFS_NEXT_SET_COMPRESSION(handle,
					    mem_ctx,
					    fsp,
					    compression_fmt);
}

/*
 * A handle that outlives its connection would keep a disk attached that nobody
 * uses, and its image open without a process. An initiator attaches again.
 */
static NTSTATUS rsvd_durable_cookie(struct vfs_handle_struct *handle,
				    struct files_struct *fsp,
				    TALLOC_CTX *mem_ctx,
				    DATA_BLOB *cookie)
{
	if (rsvd_fsp_get(handle, fsp) != NULL) {
		return NT_STATUS_NOT_SUPPORTED;
	}
	return SMB_VFS_NEXT_DURABLE_COOKIE(handle, fsp, mem_ctx, cookie);
}

static NTSTATUS rsvd_durable_disconnect(struct vfs_handle_struct *handle,
					struct files_struct *fsp,
					const DATA_BLOB old_cookie,
					TALLOC_CTX *mem_ctx,
					DATA_BLOB *new_cookie)
{
	if (rsvd_fsp_get(handle, fsp) != NULL) {
		return NT_STATUS_NOT_SUPPORTED;
	}
	return SMB_VFS_NEXT_DURABLE_DISCONNECT(handle,
					       fsp,
					       old_cookie,
					       mem_ctx,
					       new_cookie);
}

static struct vfs_fn_pointers vfs_rsvd_fns = {
	.connect_fn = rsvd_connect,
	.fs_capabilities_fn = rsvd_fs_capabilities,

	.openat_fn = rsvd_openat,
	.create_file_fn = rsvd_create_file,
	.close_fn = rsvd_close,

	.pread_fn = rsvd_pread,
	.pread_send_fn = rsvd_pread_send,
	.pread_recv_fn = rsvd_pread_recv,
	.pwrite_fn = rsvd_pwrite,
	.pwrite_send_fn = rsvd_pwrite_send,
	.pwrite_recv_fn = rsvd_pwrite_recv,
	.fsync_send_fn = rsvd_fsync_send,
	.fsync_recv_fn = rsvd_fsync_recv,
	.lseek_fn = rsvd_lseek,
	.sendfile_fn = rsvd_sendfile,
	.recvfile_fn = rsvd_recvfile,
	.aio_force_fn = rsvd_aio_force,

	.renameat_fn = rsvd_renameat,
	.linkat_fn = rsvd_linkat,
	.unlinkat_fn = rsvd_unlinkat,
	.ftruncate_fn = rsvd_ftruncate,
	.fallocate_fn = rsvd_fallocate,
	.stat_fn = rsvd_stat,
	.lstat_fn = rsvd_lstat,
	.fstatat_fn = rsvd_fstatat,
	.fstat_fn = rsvd_fstat,

	.offload_read_send_fn = rsvd_offload_read_send,
	.offload_read_recv_fn = rsvd_offload_read_recv,
	.offload_write_send_fn = rsvd_offload_write_send,
	.offload_write_recv_fn = rsvd_offload_write_recv,
	.set_compression_fn = rsvd_set_compression,
	.fsctl_fn = rsvd_fsctl,

	.brl_lock_windows_fn = rsvd_brl_lock_windows,
	.strict_lock_check_fn = rsvd_strict_lock_check,

	.durable_cookie_fn = rsvd_durable_cookie,
	.durable_disconnect_fn = rsvd_durable_disconnect,
};

static_decl_vfs;
NTSTATUS vfs_rsvd_init(TALLOC_CTX *ctx)
{
	return smb_register_vfs(SMB_VFS_INTERFACE_VERSION,
				"rsvd",
				&vfs_rsvd_fns);
}
