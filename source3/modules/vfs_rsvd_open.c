/*
 * vfs_rsvd: open and close
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * MS-RSVD 3.2.5.1 and 3.2.5.2, MS-SMB2 3.3.5.9.14.
 *
 * A client opens "disk.vhdx:SharedVirtualDisk" with a create context. To smbd
 * that is a stream. But it does no asynchronous I/O on streams, so the handle
 * that the client gets is one on the base file.
 */

#include "source3/modules/vfs_rsvd.h"
#include "source3/modules/vfs_rsvd_compat.h"
#include "lib/util/dlinklist.h"
#include "libcli/smb/smb2_create_blob.h"
#include "libcli/smb/smb2_constants.h"
#include "auth.h"
#include "lib/util/server_id.h"
#include "lib/tsocket/tsocket.h"
#include "librpc/gen_ndr/ndr_rsvd.h"

/* What a plain open must not ask for while the disk is attached. */
#define RSVD_EXCLUDED_ACCESS \
	(SEC_FILE_WRITE_DATA | SEC_FILE_APPEND_DATA | SEC_STD_DELETE)

/*
 * Our bit in the private_flags of an open. smbd keeps them in the share mode
 * entry, so everybody can tell an initiator from a plain writer: also one
 * that is not yet, or not any more, in the table of opens.
 */
#define RSVD_PRIVATE_FLAG_ATTACH 0x40000000

/* How often an open is tried when plain writers come and go meanwhile. */
#define RSVD_MAKE_ROOM_ATTEMPTS 3

struct rsvd_fsp *rsvd_fsps;

static bool rsvd_is_stream_name(const struct smb_filename *smb_fname)
{
	const char *name = smb_fname->stream_name;

	if (name == NULL) {
		return false;
	}
	return strequal(name, RSVD_STREAM_NAME) ||
	       strequal(name, RSVD_STREAM_NAME ":$DATA");
}

/*
 * Whether a name is that of a stream which nobody serves: our own, which exists
 * for create_file() only, or any one when there is no module for streams
 * behind us. Then smbd knows from us alone that streams exist, and the
 * default of the VFS takes their name for a bug (SMB_ASSERT).
 */
bool rsvd_stream_is_unknown(struct vfs_handle_struct *handle,
			    const struct smb_filename *smb_fname)
{
	struct rsvd_config *config = NULL;

	if (!is_named_stream(smb_fname)) {
		return false;
	}
	SMB_VFS_HANDLE_GET_DATA(handle,
				config,
				struct rsvd_config,
				return true);

	return !config->next_has_streams || rsvd_is_stream_name(smb_fname);
}

/*
 * smbd looks for the stream before it calls create_file().
 */
int rsvd_openat(struct vfs_handle_struct *handle,
		const struct files_struct *dirfsp,
		const struct smb_filename *smb_fname,
		struct files_struct *fsp,
		const struct vfs_open_how *how)
{
	if (rsvd_stream_is_unknown(handle, smb_fname)) {
		errno = ENOENT;
		return -1;
	}
	return SMB_VFS_NEXT_OPENAT(handle, dirfsp, smb_fname, fsp, how);
}

/*
 * Leave the disk. Whatever has been set up so far is undone; called at close
 * and, when there was none, when the fsp is freed.
 *
 * The entry in the table of opens goes last: until then nobody may write the
 * file in another way, and closing the image does write.
 */
static void rsvd_fsp_detach(struct rsvd_fsp *rf, bool file_is_open)
{
	NTSTATUS status;

	TALLOC_FREE(rf->open);
	rf->is_virtual = false;

	if (rsvd_io_abandoned) {
		/* The entries that we leave die with this process. */
		TALLOC_FREE(rf->image);
		rf->in_table = false;
	}
	if (rf->image != NULL && file_is_open) {
		status = vhdx_close(&rf->image);
		if (!NT_STATUS_IS_OK(status)) {
			DBG_ERR("closing the image in %s: %s\n",
				fsp_str_dbg(rf->fsp),
				nt_errstr(status));
		}
	}
	TALLOC_FREE(rf->image);
	rsvd_parents_close(rf);

	if (rf->in_table) {
		status = rsvd_disk_remove_open(rf->disk, rf->open_id);
		if (!NT_STATUS_IS_OK(status)) {
			DBG_ERR("leaving the disk in %s: %s\n",
				fsp_str_dbg(rf->fsp),
				nt_errstr(status));
		}
		rf->in_table = false;
	}
	TALLOC_FREE(rf->disk);
}

static void rsvd_fsp_destroy(void *private_data)
{
	struct rsvd_fsp *rf = *(struct rsvd_fsp **)private_data;

	if (rf == NULL) {
		return;
	}
	DLIST_REMOVE(rsvd_fsps, rf);
	rsvd_fsp_detach(rf, false);
}

int rsvd_close(struct vfs_handle_struct *handle, struct files_struct *fsp)
{
	struct rsvd_fsp *rf = rsvd_fsp_get(handle, fsp);
	int ret;

	if (rf == NULL) {
		return SMB_VFS_NEXT_CLOSE(handle, fsp);
	}

	rsvd_fsp_detach(rf, true);
	ret = SMB_VFS_NEXT_CLOSE(handle, fsp);
	VFS_REMOVE_FSP_EXTENSION(handle, fsp);
	return ret;
}

/*
 * Refuse an open that succeeded. A refused open must not leave its wish to
 * delete the file behind.
 */
static NTSTATUS rsvd_refuse(struct smb_request *req,
			    struct files_struct **fsp,
			    NTSTATUS status)
{
	(*fsp)->fsp_flags.initial_delete_on_close = false;
	close_file_free(req, fsp, ERROR_CLOSE);
	return status;
}

struct rsvd_plain_writer {
	bool found;
	bool has_lease;
};

static bool rsvd_plain_writer_fn(struct share_mode_entry *e,
				 bool *modified,
				 void *private_data)
{
	struct rsvd_plain_writer *writer = private_data;

	if ((e->access_mask & RSVD_EXCLUDED_ACCESS) == 0) {
		return false;
	}
	if ((e->private_options & RSVD_PRIVATE_FLAG_ATTACH) != 0) {
		return false;
	}
	if (share_entry_stale_pid(e)) {
		return false;
	}
	writer->found = true;
	writer->has_lease = (e->op_type == LEASE_OPLOCK);
	return writer->has_lease;
}

/*
 * Has somebody the file open who may write to it, and not as a shared disk?
 *
 * Share modes do not tell: initiators share for writing with each other. Only
 * what is asked after the own open is in the table is certain, see
 * rsvd_ftruncate().
 */
static struct rsvd_plain_writer rsvd_plain_writer(const struct file_id *id)
{
	struct rsvd_plain_writer writer = { .found = false };

	rsvd_compat_share_modes_forall(*id, rsvd_plain_writer_fn, &writer);
	return writer;
}

static bool rsvd_plain_writer_exists(struct rsvd_fsp *rf)
{
	return rsvd_plain_writer(&rf->fsp->file_id).found;
}

/*
 * May a plain writer give up its handle when it is asked to? A client with a
 * lease keeps handles open that nobody uses any more: that of a file which it
 * has just copied to the share.
 */
static bool rsvd_plain_writer_may_yield(struct vfs_handle_struct *handle,
					const struct smb_filename *base)
{
	struct file_id id;

	if (!VALID_STAT(base->st)) {
		return false;
	}
	id = vfs_file_id_from_sbuf(handle->conn, &base->st);
	return rsvd_plain_writer(&id).has_lease;
}

/*
 * Every handle has an image of its own: what the engine reads and writes, its
 * log and tables included, it does with the rights of that handle. A handle
 * that may not write opens the image read-only.
 *
 * The task id keeps the handles of one process apart in the engine's list of
 * writers; that a process lives does not depend on it.
 */
static NTSTATUS rsvd_open_image(struct rsvd_fsp *rf,
				struct rsvd_config *config,
				uint32_t flags,
				struct vhdx **image)
{
	static uint32_t last_task_id;
	struct server_id self = rsvd_compat_self(rf->handle->conn);
	uint8_t key_buf[RSVD_DISK_KEY_SIZE];
	struct vhdx_shared *shared = NULL;
	struct vhdx_parents parents = {
		.path = rf->fsp->fsp_name->base_name,
		.open = rsvd_parent_open,
		.private_data = rf,
	};
	char *reason = NULL;
	NTSTATUS status;

	self.task_id = ++last_task_id;
	shared = vhdx_shared_init(rf,
				  config->dbs->disks,
				  rsvd_disk_key(&rf->fsp->file_id,
						'M',
						key_buf),
				  self,
				  rsvd_server_id_alive,
				  NULL);
	if (shared == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	vhdx_shared_set_ask(shared,
			    rsvd_ask_to_catch_up,
			    rf->handle->conn->sconn->msg_ctx);
	status = vhdx_open_chain(rf,
				 &rf->storage,
				 shared,
				 flags,
				 &parents,
				 image,
				 &reason);
	if (!NT_STATUS_IS_OK(status)) {
		DBG_WARNING("%s is refused as a virtual disk: %s (%s)\n",
			    fsp_str_dbg(rf->fsp),
			    nt_errstr(status),
			    reason != NULL ? reason : "no reason given");
		TALLOC_FREE(reason);
		TALLOC_FREE(shared);
		return status;
	}
	talloc_steal(*image, shared);
	return NT_STATUS_OK;
}

/*
 * Reservations are kept under the id that is in the image. It must be known
 * before the disk is joined, and nothing may be written before that.
 */
static NTSTATUS rsvd_read_disk_id(struct rsvd_fsp *rf,
				  struct rsvd_config *config,
				  struct GUID *disk_id)
{
	struct vhdx *image = NULL;
	NTSTATUS status;

	status = rsvd_open_image(rf, config, VHDX_OPEN_READ_ONLY, &image);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	*disk_id = vhdx_geometry(image)->virtual_disk_id;
	status = vhdx_close(&image);
	rsvd_parents_close(rf);
	return status;
}

static NTSTATUS rsvd_join_disk(struct rsvd_fsp *rf,
			       struct rsvd_config *config,
			       const struct rsvd_open_context *context)
{
	struct files_struct *fsp = rf->fsp;
	struct connection_struct *conn = rf->handle->conn;
	struct rsvd_disk_open entry = {
		.open_id = rf->open_id,
		.initiator_id = context->initiator_id,
		.originator = context->originator,
		.protocol_version = context->version,
		.access_mask = fsp->access_mask,
		.raw = context->raw,
		.host_name = context->host_name,
		.client_address = tsocket_address_string(
			conn->sconn->remote_address, talloc_tos()),
		.user_name = conn->session_info->unix_info->unix_name,
	};
	struct GUID disk_id;
	NTSTATUS status;

	unix_to_nt_time(&entry.open_time, time(NULL));

	rf->disk = rsvd_disk_init(rf,
				  config->dbs->disks,
				  &fsp->file_id,
				  rsvd_compat_self(conn),
				  rsvd_server_id_alive,
				  NULL);
	if (rf->disk == NULL) {
		return NT_STATUS_NO_MEMORY;
	}

	rsvd_disk_set_fence(rf->disk, rsvd_fence, rf);

	if (!context->raw) {
		if (rsvd_plain_writer_exists(rf)) {
			return NT_STATUS_SHARING_VIOLATION;
		}
		status = rsvd_read_disk_id(rf, config, &disk_id);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		rsvd_disk_set_persistent(rf->disk,
					 config->dbs->reservations,
					 &disk_id,
					 GUID_all_zero(&config->dbs->boot_id)
						 ? NULL
						 : &config->dbs->boot_id);
	}

	status = rsvd_disk_add_open(rf->disk, &entry);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	rf->in_table = true;

	if (!context->raw && rsvd_plain_writer_exists(rf)) {
		return NT_STATUS_SHARING_VIOLATION;
	}
	return NT_STATUS_OK;
}

static NTSTATUS rsvd_attach(struct vfs_handle_struct *handle,
			    struct rsvd_config *config,
			    struct files_struct *fsp,
			    const struct rsvd_open_context *context,
			    uint32_t create_options,
			    TALLOC_CTX *mem_ctx,
			    DATA_BLOB *response)
{
	struct rsvd_fsp **extension = NULL;
	struct rsvd_fsp *rf = NULL;
	struct rsvd_open_params params;
	/* smbd's can_write is true for FILE_APPEND_DATA alone. */
	bool may_write = fsp->fsp_flags.can_write &&
			 (fsp->access_mask & SEC_FILE_WRITE_DATA) != 0;
	NTSTATUS status;

	extension = VFS_ADD_FSP_EXTENSION(handle,
					  fsp,
					  struct rsvd_fsp *,
					  rsvd_fsp_destroy);
	if (extension == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	rf = talloc(VFS_MEMCTX_FSP_EXTENSION(handle, fsp), struct rsvd_fsp);
	if (rf == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	*extension = rf;
	*rf = (struct rsvd_fsp) {
		.handle = handle,
		.fsp = fsp,
		.open_id = fh_get_gen_id(fsp->fh),
		.initiator_id = context->initiator_id,
	};
	DLIST_ADD(rsvd_fsps, rf);
	rsvd_storage_init(&rf->storage, rf);

	status = rsvd_join_disk(rf, config, context);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}

	if (!context->raw) {
		status = rsvd_open_image(rf,
					 config,
					 may_write ? 0 : VHDX_OPEN_READ_ONLY,
					 &rf->image);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		rf->is_virtual = true;
	}

	params = (struct rsvd_open_params) {
		.server_version = config->protocol_version,
		.context = context,
		.file_name = fsp->fsp_name->base_name,
		.create_options = create_options,
		.may_read = fsp->fsp_flags.can_read,
		.may_write = may_write,
		.disk = rf->disk,
		.image = rf->image,
		.storage = &rf->storage,
		.lock_db = config->dbs->locks,
	};
	rf->open = rsvd_open_init(rf, &params);
	if (rf->open == NULL) {
		return NT_STATUS_NO_MEMORY;
	}

	if (rf->image != NULL) {
		/*
		 * The size that the answer to the open shows (MS-RSVD
		 * 3.2.5.8).
		 */
		fsp->fsp_name->st.st_ex_size =
			vhdx_geometry(rf->image)->virtual_size;
	}
	return rsvd_open_response(rf->open, mem_ctx, response);
}

/*
 * What the open asks of the base file.
 */
static NTSTATUS rsvd_create_disposition(const struct smb_filename *base,
					bool raw,
					uint32_t *disposition)
{
	bool exists = VALID_STAT(base->st);

	if (raw) {
		return NT_STATUS_OK;
	}
	switch (*disposition) {
	case FILE_OPEN:
	case FILE_OPEN_IF:
		break;
	case FILE_CREATE:
		if (exists) {
			return NT_STATUS_OBJECT_NAME_COLLISION;
		}
		break;
	default:
		/* A disk is not there to be truncated. */
		if (exists) {
			return NT_STATUS_INVALID_PARAMETER;
		}
		break;
	}
	if (!exists && *disposition != FILE_OPEN) {
		/*
		 * Windows makes an empty file and then finds no disk in it
		 * (MS-RSVD 6 <9>). The same answer, and no empty file.
		 */
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	*disposition = FILE_OPEN;
	return NT_STATUS_OK;
}

/*
 * MS-RSVD 3.2.5.7: an open that names a snapshot must not get the disk as it
 * is now. There are no snapshots.
 */
static NTSTATUS rsvd_check_target_specifier(TALLOC_CTX *mem_ctx,
					    const struct ea_list *ea_list)
{
	struct rsvd_block_device_target_specifier target;
	const struct ea_list *ea = ea_list;
	enum ndr_err_code ndr_err;

	while (ea != NULL && !strequal(ea->ea.name, RSVD_TARGET_SPECIFIER_EA)) {
		ea = ea->next;
	}
	if (ea == NULL) {
		return NT_STATUS_OK;
	}

	ndr_err = ndr_pull_struct_blob(
		&ea->ea.value,
		mem_ctx,
		&target,
		(ndr_pull_flags_fn_t)
			ndr_pull_rsvd_block_device_target_specifier);
	if (!NDR_ERR_CODE_IS_SUCCESS(ndr_err)) {
		return NT_STATUS_INVALID_PARAMETER;
	}
	if (target.target_namespace != RSVD_TARGET_NAMESPACE_SNAPSHOT_ID) {
		return NT_STATUS_INVALID_PARAMETER;
	}
	switch (target.target_information_snapshot.snapshot_type) {
	case SvhdxSnapshotTypeVM:
	case SvhdxSnapshotTypeWriteable:
		return NT_STATUS_NOT_FOUND;
	default:
		return NT_STATUS_INVALID_PARAMETER;
	}
}

static NTSTATUS rsvd_create_shared(struct vfs_handle_struct *handle,
				   struct rsvd_config *config,
				   struct smb_request *req,
				   struct files_struct *dirfsp,
				   struct smb_filename *smb_fname,
				   uint32_t access_mask,
				   uint32_t share_access,
				   uint32_t create_disposition,
				   uint32_t create_options,
				   uint32_t file_attributes,
				   uint32_t private_flags,
				   const struct ea_list *ea_list,
				   struct files_struct **result,
				   int *pinfo,
				   const struct smb2_create_blob *blob,
				   const struct smb2_create_blobs *in_blobs,
				   struct smb2_create_blobs *out_blobs)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct rsvd_open_context *context = NULL;
	struct smb_filename *base = NULL;
	struct files_struct *fsp = NULL;
	const uint32_t grants_read = SEC_FILE_READ_DATA | SEC_GENERIC_READ |
				     SEC_GENERIC_ALL |
				     SEC_FLAG_MAXIMUM_ALLOWED;
	bool may_read = (access_mask & grants_read) != 0;
	unsigned int num_attempts = 0;
	bool make_room;
	DATA_BLOB response = { .data = NULL };
	NTSTATUS status;

	status = rsvd_open_context_parse(frame,
					 config->protocol_version,
					 &blob->data,
					 &context);
	if (!NT_STATUS_IS_OK(status)) {
		goto done;
	}

	status = rsvd_check_target_specifier(frame, ea_list);
	if (!NT_STATUS_IS_OK(status)) {
		goto done;
	}

	base = cp_smb_filename_nostream(frame, smb_fname);
	if (base == NULL) {
		status = NT_STATUS_NO_MEMORY;
		goto done;
	}
	status = rsvd_compat_pathref(handle->conn, base);
	if (!NT_STATUS_IS_OK(status) &&
	    !NT_STATUS_EQUAL(status, NT_STATUS_OBJECT_NAME_NOT_FOUND))
	{
		goto done;
	}
	status = rsvd_create_disposition(base,
					 context->raw,
					 &create_disposition);
	if (!NT_STATUS_IS_OK(status)) {
		goto done;
	}

	if (!context->raw) {
		/*
		 * The file is shared because the disk is. Windows opens it by
		 * itself for all initiators and does not compare what each
		 * of them shares; against others we have rsvd_check_plain().
		 */
		share_access |= FILE_SHARE_READ | FILE_SHARE_WRITE |
				FILE_SHARE_DELETE;
	}

again:
	/*
	 * It is smbd that asks for the handle of another client back, and has
	 * this open wait for it, but only when it sees a conflict.
	 */
	make_room = num_attempts < RSVD_MAKE_ROOM_ATTEMPTS &&
		    !context->raw &&
		    rsvd_plain_writer_may_yield(handle, base);
	num_attempts += 1;

	/*
	 * No oplock and no lease: several initiators write (MS-RSVD 3.2.5.1
	 * gives none, and breaking one would stop the disk). The engine must
	 * read the image, even for a client that only writes.
	 */
	status = SMB_VFS_NEXT_CREATE_FILE(
		handle,
		req,
		dirfsp,
		base,
		may_read ? access_mask : access_mask | SEC_FILE_READ_DATA,
		make_room ? FILE_SHARE_READ : share_access,
		create_disposition,
		create_options | FILE_NON_DIRECTORY_FILE,
		file_attributes,
		NO_OPLOCK,
		NULL,	/* lease */
		0,	/* allocation_size */
		private_flags | RSVD_PRIVATE_FLAG_ATTACH,
		NULL,	/* sd */
		NULL,	/* ea_list */
		&fsp,
		pinfo,
		in_blobs,
		out_blobs);
	if (!NT_STATUS_IS_OK(status)) {
		goto done;
	}
	if (make_room) {
		/*
		 * The writer is gone since we looked. Other initiators must
		 * not meet an open that shares less than theirs.
		 */
		rsvd_refuse(req, &fsp, NT_STATUS_SHARING_VIOLATION);
		goto again;
	}
	if (!may_read) {
		fsp->access_mask &= ~SEC_FILE_READ_DATA;
		fsp->fsp_flags.can_read = false;
	}

	status = rsvd_attach(handle,
			     config,
			     fsp,
			     context,
			     create_options,
			     frame,
			     &response);
	if (NT_STATUS_IS_OK(status) && response.length > 0) {
		status = smb2_create_blob_add(out_blobs,
					      out_blobs,
					      SVHDX_OPEN_DEVICE_CONTEXT,
					      response);
	}
	if (!NT_STATUS_IS_OK(status)) {
		status = rsvd_refuse(req, &fsp, status);
		goto done;
	}
	*result = fsp;
done:
	TALLOC_FREE(frame);
	return status;
}

/*
 * Is the context one of VHDMP, the driver that mounts an image?
 */
static bool rsvd_context_is_vhdmp(struct rsvd_config *config,
				  const struct smb2_create_blob *blob)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct rsvd_open_context *context = NULL;
	bool is_vhdmp = false;
	NTSTATUS status;

	status = rsvd_open_context_parse(frame,
					 config->protocol_version,
					 &blob->data,
					 &context);
	if (NT_STATUS_IS_OK(status)) {
		is_vhdmp = context->raw;
	}
	TALLOC_FREE(frame);
	return is_vhdmp;
}

/*
 * A plain open of a file that is attached may read it and see its attributes,
 * no more. This is asked after smbd made the open, because only then its
 * share mode entry is where the next initiator looks for it, and because only
 * then it is known what access MAXIMUM_ALLOWED came to.
 *
 * MS-SMB2 3.3.5.9.14 has VHDMP refused for every name without the suffix. Then
 * no image on this share could be mounted by Windows, shared or not; so it is
 * refused when the disk is in shared use, which is what STATUS_VHD_SHARED says.
 */
static NTSTATUS rsvd_check_plain(struct vfs_handle_struct *handle,
				 struct smb_request *req,
				 struct files_struct **fsp,
				 bool is_vhdmp)
{
	if ((*fsp)->fsp_flags.is_directory ||
	    rsvd_compat_fsp_is_stream(*fsp))
	{
		return NT_STATUS_OK;
	}
	if (((*fsp)->access_mask & RSVD_EXCLUDED_ACCESS) == 0 && !is_vhdmp) {
		return NT_STATUS_OK;
	}
	if (!rsvd_file_is_attached(handle, &(*fsp)->file_id)) {
		return NT_STATUS_OK;
	}
	return rsvd_refuse(req,
			   fsp,
			   is_vhdmp ? NT_STATUS_VHD_SHARED
				    : NT_STATUS_SHARING_VIOLATION);
}

NTSTATUS rsvd_create_file(struct vfs_handle_struct *handle,
			  struct smb_request *req,
			  struct files_struct *dirfsp,
			  struct smb_filename *smb_fname,
			  uint32_t access_mask,
			  uint32_t share_access,
			  uint32_t create_disposition,
			  uint32_t create_options,
			  uint32_t file_attributes,
			  uint32_t oplock_request,
			  const struct smb2_lease *lease,
			  uint64_t allocation_size,
			  uint32_t private_flags,
			  struct security_descriptor *sd,
			  struct ea_list *ea_list,
			  struct files_struct **result,
			  int *pinfo,
			  const struct smb2_create_blobs *in_context_blobs,
			  struct smb2_create_blobs *out_context_blobs)
{
	struct smb2_create_blob *blob = NULL;
	struct rsvd_config *config = NULL;
	bool may_be_shared = false;
	bool is_vhdmp = false;
	NTSTATUS status;

	SMB_VFS_HANDLE_GET_DATA(handle,
				config,
				struct rsvd_config,
				return NT_STATUS_INTERNAL_ERROR);

	/* The context came with SMB 3.0.2; before, it means nothing. */
	may_be_shared = req != NULL &&
			rsvd_compat_dialect(req) >= PROTOCOL_SMB3_02;
	if (may_be_shared) {
		blob = smb2_create_blob_find(in_context_blobs,
					     SVHDX_OPEN_DEVICE_CONTEXT);
	}

	if (rsvd_is_stream_name(smb_fname)) {
		if (blob == NULL && may_be_shared &&
		    config->protocol_version >= RSVD_PROTOCOL_VERSION_2)
		{
			/* MS-RSVD 3.1.4.24: the client sends this alone. */
			status = rsvd_check_target_specifier(talloc_tos(),
							     ea_list);
			if (!NT_STATUS_IS_OK(status)) {
				return status;
			}
		}
		if (blob == NULL) {
			return NT_STATUS_OBJECT_NAME_NOT_FOUND;
		}
		return rsvd_create_shared(handle,
					  config,
					  req,
					  dirfsp,
					  smb_fname,
					  access_mask,
					  share_access,
					  create_disposition,
					  create_options,
					  file_attributes,
					  private_flags,
					  ea_list,
					  result,
					  pinfo,
					  blob,
					  in_context_blobs,
					  out_context_blobs);
	}

	if (!config->next_has_streams && is_named_stream(smb_fname)) {
		/*
		 * Nobody behind us serves streams. smbd would say this if we
		 * had not told it otherwise; going on, it might create the
		 * base file and then find that it can't have the stream.
		 */
		return NT_STATUS_OBJECT_NAME_INVALID;
	}

	if (blob != NULL) {
		is_vhdmp = rsvd_context_is_vhdmp(config, blob);
	}

	status = SMB_VFS_NEXT_CREATE_FILE(handle,
					  req,
					  dirfsp,
					  smb_fname,
					  access_mask,
					  share_access,
					  create_disposition,
					  create_options,
					  file_attributes,
					  oplock_request,
					  lease,
					  allocation_size,
					  private_flags,
					  sd,
					  ea_list,
					  result,
					  pinfo,
					  in_context_blobs,
					  out_context_blobs);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	return rsvd_check_plain(handle, req, result, is_vhdmp);
}
