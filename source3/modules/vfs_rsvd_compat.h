/*
 * vfs_rsvd: what differs between versions of Samba
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Everything that is not part of the VFS interface proper, or that changes
 * with SMB_VFS_INTERFACE_VERSION, is reached through this header, so that a
 * port starts and ends here. Tried: 47 (Samba 4.17). Later versions (48 in
 * 4.18, 49 in 4.19, 50 in 4.22, 51 in 4.23, 52 in 4.24, 53 in 4.25) refuse to
 * build until somebody has looked at each function below.
 */

#ifndef _VFS_RSVD_COMPAT_H_
#define _VFS_RSVD_COMPAT_H_

#if SMB_VFS_INTERFACE_VERSION != 47
#error "source3/modules/vfs_rsvd_compat.h has to be adapted to this Samba"
#endif

#include "locking/share_mode_lock.h"
#include "locking/proto.h"
#include "librpc/gen_ndr/open_files.h"
#include "messages.h"
#include "serverid.h"

static inline enum protocol_types rsvd_compat_dialect(
	const struct smb_request *req)
{
	return req->xconn->protocol;
}

/*
 * A pathref on a name inside the share. Goes through non_widelink_open(), as
 * smbd's own opens do: a symlink that leaves the share is refused.
 */
static inline NTSTATUS rsvd_compat_pathref(struct connection_struct *conn,
					   struct smb_filename *smb_fname)
{
	return openat_pathref_fsp(conn->cwd_fsp, smb_fname);
}

/*
 * What smbd makes of the name that a client opens: case, vetoed names and
 * links, of which none leads out of the share. *dirfsp goes with mem_ctx; the
 * name has a pathref if there is such a file.
 */
static inline NTSTATUS rsvd_compat_client_name(
	TALLOC_CTX *mem_ctx,
	struct connection_struct *conn,
	const char *path,
	struct files_struct **dirfsp,
	struct smb_filename **smb_fname)
{
	return filename_convert_dirfsp(mem_ctx,
				       conn,
				       path,
				       0,	/* ucf_flags */
				       0,	/* twrp */
				       dirfsp,
				       smb_fname);
}

/*
 * Look at all share modes of a file. fn returns true to stop.
 */
static inline bool rsvd_compat_share_modes_forall(
	struct file_id id,
	bool (*fn)(struct share_mode_entry *e, bool *modified, void *data),
	void *data)
{
	struct share_mode_lock *lck = NULL;
	bool ok;

	lck = get_existing_share_mode_lock(talloc_tos(), id);
	if (lck == NULL) {
		return false;
	}
	ok = share_mode_forall_entries(lck, fn, data);
	TALLOC_FREE(lck);
	return ok;
}

/*
 * The SMB2 request that waits for an asynchronous read or write of ours, found
 * from the memory context that smbd gave us; NULL when it comes from elsewhere.
 * See rsvd_io_answer().
 */
static inline struct tevent_req *rsvd_compat_aio_smb2_req(TALLOC_CTX *ctx)
{
	struct aio_extra *aio_ex = NULL;

	aio_ex = talloc_find_parent_bytype(ctx, struct aio_extra);
	if (aio_ex == NULL ||
	    aio_ex->smbreq == NULL ||
	    aio_ex->smbreq->smb2req == NULL)
	{
		return NULL;
	}
	return aio_ex->smbreq->smb2req->subreq;
}

/*
 * Is this an SMB2 LOCK that waits? See rsvd_refuse_locks().
 */
static inline bool rsvd_compat_is_waiting_lock(struct tevent_req *req)
{
	return tevent_req_is_in_progress(req) &&
	       talloc_check_name(_tevent_req_data(req),
				 "struct smbd_smb2_lock_state") != NULL;
}

static inline bool rsvd_compat_fsp_is_stream(const struct files_struct *fsp)
{
	return fsp_is_alternate_stream(fsp);
}

static inline struct server_id rsvd_compat_self(
	const struct connection_struct *conn)
{
	return messaging_server_id(conn->sconn->msg_ctx);
}

#endif /* _VFS_RSVD_COMPAT_H_ */
