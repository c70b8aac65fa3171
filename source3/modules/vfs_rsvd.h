/*
 * vfs_rsvd: what the files of the module share
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _VFS_RSVD_H_
#define _VFS_RSVD_H_

#include "includes.h"
#include "system/filesys.h"
#include "smbd/smbd.h"
#include "smbd/globals.h"
#include "lib/dbwrap/dbwrap.h"
#include "libcli/smb/smb_constants.h"
#include "librpc/gen_ndr/rsvd_counters.h"
#include "modules/rsvd/rsvd_disk.h"
#include "modules/rsvd/rsvd_open.h"
#include "modules/rsvd/rsvd_tunnel.h"
#include "modules/vhdx/vhdx.h"
#include "modules/vhdx/vhdx_shared.h"

#undef DBGC_CLASS
#define DBGC_CLASS DBGC_VFS

/* What a client appends to the name of the file (MS-RSVD 3.1.4.2). */
#define RSVD_STREAM_NAME ":SharedVirtualDisk"

/*
 * The databases of a process. tdb refuses to open a file a second time in one
 * process, so all tree connects use these.
 */
struct rsvd_databases {
	/*
	 * rsvd.tdb: who has which disk open, what the initiators share, and
	 * where the engine stands. Volatile.
	 */
	struct db_context *disks;
	/*
	 * rsvd_lock.tdb: record locks only, taken before those of rsvd.tdb.
	 * Volatile.
	 */
	struct db_context *locks;
	/* rsvd_reservations.tdb: what APTPL keeps over a restart. */
	struct db_context *reservations;
	/* Of this boot of the machine; zero when it can't be told. */
	struct GUID boot_id;
};

/* Of a tree connect; handle->data. */
struct rsvd_config {
	struct rsvd_databases *dbs;
	uint32_t protocol_version;	/* rsvd:protocol version */
	/*
	 * A module behind us serves named streams. When there is none, only
	 * our own stream name exists.
	 */
	bool next_has_streams;
};

struct rsvd_io;
struct rsvd_parent;

/* Is it worth to try without a thread? */
struct rsvd_quick {
	bool possible;
	unsigned int pause;	/* not for so many */
	unsigned int next_pause;	/* not for so many after the next failure */
};

/*
 * Of an fsp that was opened with a SVHDX_OPEN_DEVICE_CONTEXT. Its VFS
 * extension is a pointer to this, because an extension is no talloc context.
 */
struct rsvd_fsp {
	struct vfs_handle_struct *handle;
	struct files_struct *fsp;
	struct rsvd_disk *disk;
	uint64_t open_id;	/* in the disk's table of opens */
	struct vhdx_storage storage;
	struct rsvd_quick quick_read;
	struct rsvd_quick quick_write;
	struct vhdx *image;	/* NULL for a raw open */
	struct rsvd_parent *parents;	/* files of a differencing image */
	struct rsvd_open *open;	/* set last: READ and WRITE may come */
	struct GUID initiator_id;
	bool in_table;
	bool is_virtual;	/* offsets are those of the virtual disk */
	bool is_below;		/* in a call of the engine to the file */
	struct rsvd_io *ios;	/* in flight */
	struct rsvd_io_counters counters;
	/* All of this process: for fencing. */
	struct rsvd_fsp *prev, *next;
};

extern struct rsvd_fsp *rsvd_fsps;

/*
 * An I/O was given up while the system worked on it: it may still reach the
 * file. smbd does this on its way to exit, when the client is gone; nothing
 * is in flight for certain when the process has ended.
 */
extern bool rsvd_io_abandoned;

/* vfs_rsvd_db.c */

/**
 * Open the databases of this process, at the first tree connect.
 *
 * @return NULL, with errno set
 */
struct rsvd_databases *rsvd_databases_get(void);

/**
 * Tell whether the process of an entry in a database lives.
 */
bool rsvd_server_id_alive(const struct server_id *id, void *private_data);

/* vfs_rsvd_open.c */

/**
 * The state of a handle that was opened as a shared virtual disk.
 *
 * @return NULL for any other handle, and when a module behind us, which the
 *         engine has called, calls the first one again
 */
static inline struct rsvd_fsp *rsvd_fsp_get(struct vfs_handle_struct *handle,
					    const struct files_struct *fsp)
{
	/* The macro is older than const. */
	struct files_struct *f = discard_const_p(struct files_struct, fsp);
	struct rsvd_fsp **rf = NULL;

	rf = (struct rsvd_fsp **)VFS_FETCH_FSP_EXTENSION(handle, f);
	if (rf == NULL || *rf == NULL || (*rf)->is_below) {
		return NULL;
	}
	return *rf;
}

/**
 * The same, if READ and WRITE go to the virtual disk and not to the file.
 */
static inline struct rsvd_fsp *rsvd_fsp_get_virtual(
	struct vfs_handle_struct *handle,
	const struct files_struct *fsp)
{
	struct rsvd_fsp *rf = rsvd_fsp_get(handle, fsp);

	if (rf == NULL || !rf->is_virtual) {
		return NULL;
	}
	return rf;
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
			  struct smb2_create_blobs *out_context_blobs);
bool rsvd_stream_is_unknown(struct vfs_handle_struct *handle,
			    const struct smb_filename *smb_fname);
int rsvd_openat(struct vfs_handle_struct *handle,
		const struct files_struct *dirfsp,
		const struct smb_filename *smb_fname,
		struct files_struct *fsp,
		const struct vfs_open_how *how);
int rsvd_close(struct vfs_handle_struct *handle, struct files_struct *fsp);

/* vfs_rsvd_guard.c: files that are attached, reached in another way */

/**
 * Is this file in use as a shared virtual disk, by any process?
 */
bool rsvd_file_is_attached(struct vfs_handle_struct *handle,
			   const struct file_id *id);

int rsvd_renameat(struct vfs_handle_struct *handle,
		  struct files_struct *src_dirfsp,
		  const struct smb_filename *smb_fname_src,
		  struct files_struct *dst_dirfsp,
		  const struct smb_filename *smb_fname_dst);
int rsvd_linkat(struct vfs_handle_struct *handle,
		struct files_struct *src_dirfsp,
		const struct smb_filename *old_smb_fname,
		struct files_struct *dst_dirfsp,
		const struct smb_filename *new_smb_fname,
		int flags);
int rsvd_unlinkat(struct vfs_handle_struct *handle,
		  struct files_struct *dirfsp,
		  const struct smb_filename *smb_fname,
		  int flags);
int rsvd_ftruncate(struct vfs_handle_struct *handle,
		   struct files_struct *fsp,
		   off_t length);

/* vfs_rsvd_io.c */

ssize_t rsvd_pread(struct vfs_handle_struct *handle, struct files_struct *fsp,
		   void *data, size_t n, off_t offset);
struct tevent_req *rsvd_pread_send(struct vfs_handle_struct *handle,
				   TALLOC_CTX *mem_ctx,
				   struct tevent_context *ev,
				   struct files_struct *fsp,
				   void *data, size_t n, off_t offset);
ssize_t rsvd_pread_recv(struct tevent_req *req,
			struct vfs_aio_state *vfs_aio_state);
ssize_t rsvd_pwrite(struct vfs_handle_struct *handle, struct files_struct *fsp,
		    const void *data, size_t n, off_t offset);
struct tevent_req *rsvd_pwrite_send(struct vfs_handle_struct *handle,
				    TALLOC_CTX *mem_ctx,
				    struct tevent_context *ev,
				    struct files_struct *fsp,
				    const void *data, size_t n, off_t offset);
ssize_t rsvd_pwrite_recv(struct tevent_req *req,
			 struct vfs_aio_state *vfs_aio_state);
struct tevent_req *rsvd_fsync_send(struct vfs_handle_struct *handle,
				   TALLOC_CTX *mem_ctx,
				   struct tevent_context *ev,
				   struct files_struct *fsp);
int rsvd_fsync_recv(struct tevent_req *req,
		    struct vfs_aio_state *vfs_aio_state);
ssize_t rsvd_recvfile(struct vfs_handle_struct *handle, int fromfd,
		      struct files_struct *tofsp, off_t offset, size_t n);

/**
 * Is an I/O of this handle on its way to the file?
 */
bool rsvd_fsp_has_io(const struct rsvd_fsp *rf);

/**
 * Start what rsvd_fence_holds_back() held back.
 */
void rsvd_io_resume(struct rsvd_fsp *rf);

/* vfs_rsvd_fence.c */

struct messaging_context;

/**
 * Be ready to be asked by other processes.
 */
NTSTATUS rsvd_fence_init(struct messaging_context *msg_ctx);

/**
 * A vhdx_ask_fn, private_data is the messaging context.
 */
void rsvd_ask_to_catch_up(const struct server_id *id, void *private_data);

/**
 * Wait for the I/O of preempted initiators: rsvd_disk_fence_fn, private_data
 * is the struct rsvd_fsp of the preempting handle.
 */
NTSTATUS rsvd_fence(const struct GUID *initiators, size_t num_initiators,
		    void *private_data);

/**
 * To be called when an I/O has ended, one way or another.
 */
void rsvd_fence_io_ended(void);

/**
 * Must new I/O of this handle wait for a moment?
 */
bool rsvd_fence_holds_back(const struct rsvd_fsp *rf);

/**
 * Answer BUSY to a command that preempts, when it would have to wait for I/O
 * of this process.
 *
 * @param[out] output  the response, when the result is true
 */
bool rsvd_fence_is_busy(struct rsvd_fsp *rf, TALLOC_CTX *mem_ctx,
			const DATA_BLOB *input, uint32_t max_output,
			DATA_BLOB *output);

/**
 * A command of this handle was executed: nobody is held back for it any more.
 */
void rsvd_fence_command_done(struct rsvd_fsp *rf);

/* vfs_rsvd_counters.c */

/**
 * Be ready to be asked by "rsvdctl status".
 */
NTSTATUS rsvd_counters_init(struct messaging_context *msg_ctx);

/* vfs_rsvd_offload.c */

struct tevent_req *rsvd_offload_read_send(TALLOC_CTX *mem_ctx,
					  struct tevent_context *ev,
					  struct vfs_handle_struct *handle,
					  struct files_struct *fsp,
					  uint32_t fsctl,
					  uint32_t ttl,
					  off_t offset,
					  size_t to_copy);
NTSTATUS rsvd_offload_read_recv(struct tevent_req *req,
				struct vfs_handle_struct *handle,
				TALLOC_CTX *mem_ctx,
				uint32_t *flags,
				uint64_t *xferlen,
				DATA_BLOB *token);
struct tevent_req *rsvd_offload_write_send(struct vfs_handle_struct *handle,
					   TALLOC_CTX *mem_ctx,
					   struct tevent_context *ev,
					   uint32_t fsctl,
					   DATA_BLOB *token,
					   off_t transfer_offset,
					   struct files_struct *dest_fsp,
					   off_t dest_off,
					   off_t to_copy);
NTSTATUS rsvd_offload_write_recv(struct vfs_handle_struct *handle,
				 struct tevent_req *req,
				 off_t *copied);

/* vfs_rsvd_fsctl.c */

NTSTATUS rsvd_fsctl(struct vfs_handle_struct *handle,
		    struct files_struct *fsp,
		    TALLOC_CTX *ctx,
		    uint32_t function,
		    uint16_t req_flags,
		    const uint8_t *in_data,
		    uint32_t in_len,
		    uint8_t **out_data,
		    uint32_t max_out_len,
		    uint32_t *out_len);

/* vfs_rsvd_storage.c */

/**
 * Make *storage* reach the file of fsp through the modules behind us, with
 * the rights of that handle.
 */
void rsvd_storage_init(struct vhdx_storage *storage, struct rsvd_fsp *rf);

/* vfs_rsvd_parent.c */

/**
 * A vhdx_open_parent_fn for an rsvd_fsp; the file is open until
 * rsvd_parents_close().
 */
NTSTATUS rsvd_parent_open(TALLOC_CTX *mem_ctx, const char *path,
			  void *private_data, struct vhdx_storage **storage);

/**
 * Close the files of the parents; the image is closed already.
 */
void rsvd_parents_close(struct rsvd_fsp *rf);

#endif /* _VFS_RSVD_H_ */
