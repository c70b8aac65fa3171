/*
 * vfs_rsvd: what must not happen to a file while it is attached
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * These hooks are reached by handles and names that are not of a shared
 * virtual disk, too. The file is looked up in the table of opens that all
 * smbd processes share.
 */

#include "source3/modules/vfs_rsvd.h"
#include "source3/modules/vfs_rsvd_compat.h"
#include "lib/util/server_id.h"

static struct rsvd_disk *rsvd_guard_disk(struct vfs_handle_struct *handle,
					 const struct file_id *id)
{
	struct rsvd_config *config = NULL;

	SMB_VFS_HANDLE_GET_DATA(handle,
				config,
				struct rsvd_config,
				return NULL);

	return rsvd_disk_init(talloc_tos(),
			      config->dbs->disks,
			      id,
			      rsvd_compat_self(handle->conn),
			      rsvd_server_id_alive,
			      NULL);
}

bool rsvd_file_is_attached(struct vfs_handle_struct *handle,
			   const struct file_id *id)
{
	struct rsvd_disk *disk = rsvd_guard_disk(handle, id);
	bool is_attached;

	if (disk == NULL) {
		/* Out of memory: do not let anybody harm a disk for that. */
		return true;
	}
	is_attached = rsvd_disk_is_attached(disk);
	TALLOC_FREE(disk);
	return is_attached;
}

/*
 * Find the regular file of a name. The stat of smb_fname is often not filled
 * in, and the name is one that smbd has looked at before.
 */
static bool rsvd_guard_file_id(struct vfs_handle_struct *handle,
			       struct files_struct *dirfsp,
			       const struct smb_filename *smb_fname,
			       struct file_id *id)
{
	SMB_STRUCT_STAT st;
	int ret;

	if (smb_fname->stream_name != NULL) {
		return false;
	}
	ret = SMB_VFS_NEXT_FSTATAT(handle,
				   dirfsp,
				   smb_fname,
				   &st,
				   AT_SYMLINK_NOFOLLOW);
	if (ret == -1 || !S_ISREG(st.st_ex_mode)) {
		return false;
	}
	*id = vfs_file_id_from_sbuf(handle->conn, &st);
	return true;
}

static bool rsvd_guard_name_is_attached(struct vfs_handle_struct *handle,
					struct files_struct *dirfsp,
					const struct smb_filename *smb_fname)
{
	struct file_id id;

	if (!rsvd_guard_file_id(handle, dirfsp, smb_fname, &id)) {
		return false;
	}
	return rsvd_file_is_attached(handle, &id);
}

/*
 * FileRenameInformation on a shared disk is STATUS_NOT_SUPPORTED (MS-RSVD
 * 3.2.5.9), which ENOTSUP becomes. Nobody else gets to rename the file: smbd
 * wants a handle with DELETE access for that. What is left is a rename of
 * another file onto the name.
 */
int rsvd_renameat(struct vfs_handle_struct *handle,
		  struct files_struct *src_dirfsp,
		  const struct smb_filename *smb_fname_src,
		  struct files_struct *dst_dirfsp,
		  const struct smb_filename *smb_fname_dst)
{
	if (rsvd_stream_is_unknown(handle, smb_fname_src) ||
	    rsvd_stream_is_unknown(handle, smb_fname_dst))
	{
		errno = ENOENT;
		return -1;
	}
	if (rsvd_guard_name_is_attached(handle, src_dirfsp, smb_fname_src)) {
		errno = ENOTSUP;
		return -1;
	}
	if (rsvd_guard_name_is_attached(handle, dst_dirfsp, smb_fname_dst)) {
		errno = EACCES;
		return -1;
	}
	return SMB_VFS_NEXT_RENAMEAT(handle,
				     src_dirfsp,
				     smb_fname_src,
				     dst_dirfsp,
				     smb_fname_dst);
}

/*
 * FileLinkInformation is STATUS_INVALID_PARAMETER (MS-RSVD 3.2.5.9).
 */
int rsvd_linkat(struct vfs_handle_struct *handle,
		struct files_struct *src_dirfsp,
		const struct smb_filename *old_smb_fname,
		struct files_struct *dst_dirfsp,
		const struct smb_filename *new_smb_fname,
		int flags)
{
	if (rsvd_stream_is_unknown(handle, old_smb_fname) ||
	    rsvd_stream_is_unknown(handle, new_smb_fname))
	{
		errno = ENOENT;
		return -1;
	}
	if (rsvd_guard_name_is_attached(handle, src_dirfsp, old_smb_fname)) {
		errno = EINVAL;
		return -1;
	}
	if (rsvd_guard_name_is_attached(handle, dst_dirfsp, new_smb_fname)) {
		errno = EACCES;
		return -1;
	}
	return SMB_VFS_NEXT_LINKAT(handle,
				   src_dirfsp,
				   old_smb_fname,
				   dst_dirfsp,
				   new_smb_fname,
				   flags);
}

/*
 * The last handle of a disk may have been marked to delete the file when it is
 * closed. smbd unlinks before it closes the handle, and only when there is no
 * other: then the one open in the table is the one being closed.
 */
static bool rsvd_guard_may_unlink(struct vfs_handle_struct *handle,
				  const struct file_id *id)
{
	struct server_id self = rsvd_compat_self(handle->conn);
	struct rsvd_disk *disk = rsvd_guard_disk(handle, id);
	struct rsvd_disk_record *record = NULL;
	bool may_unlink = false;
	NTSTATUS status;

	if (disk == NULL) {
		return false;
	}
	if (!rsvd_disk_is_attached(disk)) {
		TALLOC_FREE(disk);
		return true;
	}
	status = rsvd_disk_get(disk, disk, &record);
	if (NT_STATUS_IS_OK(status)) {
		may_unlink = record->num_opens == 0 ||
			     (record->num_opens == 1 &&
			      server_id_equal(&record->opens[0].server_id,
					      &self));
	} else if (NT_STATUS_EQUAL(status, NT_STATUS_NOT_FOUND)) {
		may_unlink = true;
	}
	TALLOC_FREE(disk);
	return may_unlink;
}

int rsvd_unlinkat(struct vfs_handle_struct *handle,
		  struct files_struct *dirfsp,
		  const struct smb_filename *smb_fname,
		  int flags)
{
	struct file_id id;

	if (rsvd_stream_is_unknown(handle, smb_fname)) {
		errno = ENOENT;
		return -1;
	}
	if ((flags & AT_REMOVEDIR) == 0 &&
	    rsvd_guard_file_id(handle, dirfsp, smb_fname, &id) &&
	    !rsvd_guard_may_unlink(handle, &id))
	{
		errno = EACCES;
		return -1;
	}
	return SMB_VFS_NEXT_UNLINKAT(handle, dirfsp, smb_fname, flags);
}

/*
 * A plain handle that may write does not exist while the disk is attached. But
 * smbd truncates a file that is opened to be overwritten before create_file()
 * returns and the open can be refused: it holds the lock on the share modes
 * then, with its own entry among them. An initiator that attaches puts itself
 * into the table of opens first and then looks at the share modes. So one of
 * the two sees the other.
 */
int rsvd_ftruncate(struct vfs_handle_struct *handle,
		   struct files_struct *fsp,
		   off_t length)
{
	struct rsvd_fsp *rf = rsvd_fsp_get(handle, fsp);

	if (rf != NULL && rf->is_virtual) {
		/* A disk does not change its size by end-of-file. */
		errno = ENOTSUP;
		return -1;
	}
	if (rf == NULL &&
	    !rsvd_compat_fsp_is_stream(fsp) &&
	    rsvd_file_is_attached(handle, &fsp->file_id))
	{
		errno = ETXTBSY;
		return -1;
	}
	return SMB_VFS_NEXT_FTRUNCATE(handle, fsp, length);
}
