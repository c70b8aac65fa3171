/*
 * vfs_rsvd: READ, WRITE and FLUSH of a shared virtual disk
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * MS-RSVD 3.2.5.3, 3.2.5.4. The fast path is: look at the cached disk record,
 * map the range, hand the read or write on with the translated offset. It
 * takes no lock and makes no system call of its own.
 */

#include "source3/modules/vfs_rsvd.h"
#include "source3/modules/vfs_rsvd_compat.h"
#include "lib/util/dlinklist.h"
#include "lib/util/tevent_unix.h"
#include "lib/util/tevent_ntstatus.h"
#include "lib/util/sys_rw.h"

enum rsvd_io_kind { RSVD_IO_READ, RSVD_IO_WRITE, RSVD_IO_FLUSH };

struct rsvd_io {
	struct rsvd_io *prev, *next;	/* rf->ios */
	struct tevent_req *req;
	struct tevent_context *ev;
	struct rsvd_fsp *rf;		/* NULL: no longer in rf->ios */
	enum rsvd_io_kind kind;
	void *buf;
	size_t n;
	off_t offset;
	struct tevent_req *subreq;	/* what works on it below us */
	struct vhdx_epoch *epoch;	/* on the file; or NULL */
	struct tevent_immediate *im;
	NTSTATUS status;
	ssize_t ret;
	struct vfs_aio_state aio_state;
};

bool rsvd_io_abandoned;

static void rsvd_io_forget(struct rsvd_io *io)
{
	if (io->rf != NULL) {
		DLIST_REMOVE(io->rf->ios, io);
		io->rf = NULL;
		rsvd_fence_io_ended();
	}
}

bool rsvd_fsp_has_io(const struct rsvd_fsp *rf)
{
	const struct rsvd_io *io = NULL;

	for (io = rf->ios; io != NULL; io = io->next) {
		if (io->subreq != NULL) {
			return true;
		}
	}
	return false;
}

/*
 * Freed before it was done: smbd does this when the last connection of the
 * client is gone.
 */
static int rsvd_io_destructor(struct rsvd_io *io)
{
	if (io->rf != NULL && io->subreq != NULL) {
		rsvd_io_abandoned = true;
	}
	rsvd_io_forget(io);
	return 0;
}

static void rsvd_io_count(struct rsvd_fsp *rf, enum rsvd_io_kind kind,
			  size_t n)
{
	switch (kind) {
	case RSVD_IO_READ:
		rf->counters.reads += 1;
		rf->counters.read_bytes += n;
		break;
	case RSVD_IO_WRITE:
		rf->counters.writes += 1;
		rf->counters.written_bytes += n;
		break;
	case RSVD_IO_FLUSH:
		rf->counters.flushes += 1;
		break;
	}
}

/*
 * What an errno can say of a status, for those paths of smbd on which nothing
 * else can be returned.
 */
static int rsvd_io_errno(NTSTATUS status)
{
	if (NT_STATUS_EQUAL(status, NT_STATUS_SVHDX_RESERVATION_CONFLICT)) {
		return EACCES;
	}
	if ((NT_STATUS_V(status) & 0xFFFF0000) == 0xC05C0000) {
		return EIO;
	}
	return map_errno_from_nt_status(status);
}

/*
 * Answer the client with a status of our own.
 *
 * A read or write hook of the VFS reports an error as an errno, and smbd maps
 * that to a status by a fixed table, in which there is no
 * STATUS_SVHDX_ERROR_STORED with its key, no STATUS_SVHDX_RESERVATION_CONFLICT
 * and no unit attention. An initiator that does not get these does not ask for
 * the sense data and does not know that it was fenced.
 *
 * So the VFS request ends with the errno that comes closest, and each module
 * above us, and smbd, hears of it as of any other. What they make of it is the
 * end of the SMB2 request with a status of smbd's table. Then this one takes
 * its place, before the answer is made of it. These points make it safe:
 *
 * - It runs from an immediate event. smbd has then returned from its _send()
 *   function and the SMB2 request is set up to be answered.
 * - Nothing below us works on the request any more.
 * - The callback of the SMB2 request, which answers and frees all of it, is
 *   deferred to another event: the request is still there when all others
 *   have been told. A tevent request may end once more until its callback
 *   has run, and nothing but the status of it is changed.
 * - Our own request is gone by then: it is a grandchild of the SMB2 request
 *   that smbd frees. If a module above us defers the end of its own, the
 *   SMB2 request is still in progress, and gets the errno.
 *
 * Compounded requests, and those where smbd did not choose the asynchronous
 * path, get the errno. With an NTSTATUS in struct vfs_aio_state none of this
 * would be needed.
 */
static void rsvd_io_answer(struct tevent_context *ev,
			   struct tevent_immediate *im,
			   void *private_data)
{
	struct rsvd_io *io = talloc_get_type_abort(private_data,
						   struct rsvd_io);
	struct tevent_req *smb2_req = rsvd_compat_aio_smb2_req(io->req);
	NTSTATUS status = io->status;

	if (smb2_req == NULL || !tevent_req_is_in_progress(smb2_req)) {
		tevent_req_error(io->req, rsvd_io_errno(status));
		return;
	}

	tevent_req_defer_callback(smb2_req, ev);
	tevent_req_error(io->req, rsvd_io_errno(status));
	/* io is gone. */
	if (!tevent_req_is_in_progress(smb2_req)) {
		tevent_req_defer_callback(smb2_req, ev);
		tevent_req_nterror(smb2_req, status);
	}
}

static void rsvd_io_fail(struct rsvd_io *io, NTSTATUS status)
{
	rsvd_io_forget(io);
	io->status = status;

	io->im = tevent_create_immediate(io);
	if (io->im == NULL) {
		tevent_req_oom(io->req);
		return;
	}
	tevent_schedule_immediate(io->im, io->ev, rsvd_io_answer, io);
}

/*
 * The disk failed: keep sense data for the initiator to ask for.
 */
static void rsvd_io_fail_stored(struct rsvd_io *io, NTSTATUS error)
{
	struct rsvd_fsp *rf = io->rf;

	DBG_NOTICE("%s of %zu bytes at %jd of %s: %s\n",
		   io->kind == RSVD_IO_WRITE ? "write" : "read",
		   io->n,
		   (intmax_t)io->offset,
		   fsp_str_dbg(rf->fsp),
		   nt_errstr(error));

	rsvd_io_fail(io,
		     rsvd_open_store_error(rf->open,
					   io->kind == RSVD_IO_WRITE,
					   error));
}

static void rsvd_io_flushed(struct tevent_req *subreq);

/*
 * The bytes have moved.
 */
static void rsvd_io_finish(struct rsvd_io *io)
{
	if (io->kind == RSVD_IO_WRITE &&
	    rsvd_open_write_through(io->rf->open))
	{
		io->subreq = vhdx_flush_send(io, io->ev, io->rf->image);
		if (io->subreq == NULL) {
			rsvd_io_fail_stored(io, NT_STATUS_NO_MEMORY);
			return;
		}
		tevent_req_set_callback(io->subreq, rsvd_io_flushed, io->req);
		return;
	}
	rsvd_io_count(io->rf, io->kind, io->n);
	rsvd_io_forget(io);
	io->ret = io->n;
	tevent_req_done(io->req);
}

static void rsvd_io_flushed(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(
		subreq, struct tevent_req);
	struct rsvd_io *io = tevent_req_data(req, struct rsvd_io);
	NTSTATUS status;

	status = vhdx_flush_recv(subreq);
	TALLOC_FREE(subreq);
	io->subreq = NULL;
	if (!NT_STATUS_IS_OK(status)) {
		rsvd_io_fail_stored(io, status);
		return;
	}
	rsvd_io_count(io->rf, io->kind, io->n);
	rsvd_io_forget(io);
	io->ret = io->n;
	tevent_req_done(req);
}

/*
 * The same, for rsvd_io_start(): what hears of it may free the next one that
 * rsvd_io_resume() goes on with.
 */
static void rsvd_io_finish_at_once(struct rsvd_io *io)
{
	tevent_req_defer_callback(io->req, io->ev);
	rsvd_io_finish(io);
}

static void rsvd_io_image_done(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(
		subreq, struct tevent_req);
	struct rsvd_io *io = tevent_req_data(req, struct rsvd_io);
	NTSTATUS status;

	if (io->kind == RSVD_IO_WRITE) {
		status = vhdx_write_recv(subreq);
	} else {
		status = vhdx_read_recv(subreq);
	}
	TALLOC_FREE(subreq);
	io->subreq = NULL;
	if (!NT_STATUS_IS_OK(status)) {
		rsvd_io_fail_stored(io, status);
		return;
	}
	rsvd_io_finish(io);
}

/*
 * The whole way through the engine: blocks that are not mapped, ranges in
 * more than one piece.
 */
static void rsvd_io_image(struct rsvd_io *io)
{
	if (io->kind == RSVD_IO_WRITE) {
		io->subreq = vhdx_write_send(io,
					     io->ev,
					     io->rf->image,
					     io->buf,
					     io->n,
					     io->offset);
	} else {
		io->subreq = vhdx_read_send(io,
					    io->ev,
					    io->rf->image,
					    io->buf,
					    io->n,
					    io->offset);
	}
	if (io->subreq == NULL) {
		rsvd_io_fail_stored(io, NT_STATUS_NO_MEMORY);
		return;
	}
	tevent_req_set_callback(io->subreq, rsvd_io_image_done, io->req);
}

static void rsvd_io_file_done(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(
		subreq, struct tevent_req);
	struct rsvd_io *io = tevent_req_data(req, struct rsvd_io);
	ssize_t ret;

	if (io->kind == RSVD_IO_WRITE) {
		ret = SMB_VFS_PWRITE_RECV(subreq, &io->aio_state);
	} else {
		ret = SMB_VFS_PREAD_RECV(subreq, &io->aio_state);
	}
	TALLOC_FREE(subreq);
	io->subreq = NULL;
	vhdx_io_end(io->epoch);
	io->epoch = NULL;

	if (!io->rf->is_virtual) {
		/* A raw open: the file's own results and errors. */
		if (ret != -1) {
			rsvd_io_count(io->rf, io->kind, ret);
		}
		rsvd_io_forget(io);
		if (ret == -1) {
			tevent_req_error(req, io->aio_state.error);
			return;
		}
		io->ret = ret;
		tevent_req_done(req);
		return;
	}
	if (ret == -1) {
		rsvd_io_fail_stored(
			io,
			map_nt_error_from_unix_common(io->aio_state.error));
		return;
	}
	if ((size_t)ret != io->n) {
		/*
		 * The engine continues short reads and writes. That it moves
		 * the first bytes again is no harm.
		 */
		rsvd_io_image(io);
		return;
	}
	rsvd_io_finish(io);
}

static bool rsvd_io_quick(struct rsvd_io *io, off_t file_offset)
{
	const struct vhdx_storage *storage = &io->rf->storage;
	ssize_t n;

	if (io->kind == RSVD_IO_WRITE) {
		n = storage->ops->pwrite_quick(storage->private_data,
					       io->buf,
					       io->n,
					       file_offset);
	} else {
		n = storage->ops->pread_quick(storage->private_data,
					      io->buf,
					      io->n,
					      file_offset);
	}
	return n >= 0 && (size_t)n == io->n;
}

static void rsvd_io_file(struct rsvd_io *io, off_t file_offset)
{
	if (io->kind == RSVD_IO_WRITE) {
		io->subreq = SMB_VFS_NEXT_PWRITE_SEND(io,
						      io->ev,
						      io->rf->handle,
						      io->rf->fsp,
						      io->buf,
						      io->n,
						      file_offset);
	} else {
		io->subreq = SMB_VFS_NEXT_PREAD_SEND(io,
						     io->ev,
						     io->rf->handle,
						     io->rf->fsp,
						     io->buf,
						     io->n,
						     file_offset);
	}
	if (io->subreq == NULL) {
		vhdx_io_end(io->epoch);
		io->epoch = NULL;
		rsvd_io_fail_stored(io, NT_STATUS_NO_MEMORY);
		return;
	}
	tevent_req_set_callback(io->subreq, rsvd_io_file_done, io->req);
}

/*
 * Is the range on the disk? A disk does not read short at its end.
 */
static bool rsvd_io_on_disk(const struct rsvd_fsp *rf, size_t n, off_t offset)
{
	uint64_t size = vhdx_geometry(rf->image)->virtual_size;

	return offset >= 0 && (uint64_t)offset <= size &&
	       n <= size - (uint64_t)offset;
}

static void rsvd_io_start(struct rsvd_io *io)
{
	struct rsvd_fsp *rf = io->rf;
	struct vhdx_extent extent;
	NTSTATUS status;

	if (rsvd_fence_holds_back(rf)) {
		/* rsvd_io_resume() */
		return;
	}

	status = rsvd_open_check_io(rf->open, io->kind == RSVD_IO_WRITE);
	if (!NT_STATUS_IS_OK(status)) {
		rsvd_io_fail(io, status);
		return;
	}
	if (!rf->is_virtual) {
		rsvd_io_file(io, io->offset);
		return;
	}
	if (!rsvd_io_on_disk(rf, io->n, io->offset)) {
		rsvd_io_fail_stored(io, NT_STATUS_INVALID_PARAMETER);
		return;
	}
	if (io->n == 0) {
		rsvd_io_finish_at_once(io);
		return;
	}

	/* If it is given up it stays counted: see rsvd_io_abandoned. */
	io->epoch = vhdx_io_begin(rf->image);
	if (io->kind == RSVD_IO_WRITE) {
		status = vhdx_map_write(rf->image, io->offset, io->n,
					&extent);
	} else {
		status = vhdx_map(rf->image, io->offset, io->n, &extent);
	}
	if (NT_STATUS_IS_OK(status) && extent.kind == VHDX_EXTENT_FILE &&
	    extent.length == io->n)
	{
		if (!rsvd_io_quick(io, extent.file_offset)) {
			rsvd_io_file(io, extent.file_offset);
			return;
		}
		vhdx_io_end(io->epoch);
		io->epoch = NULL;
		rsvd_io_finish_at_once(io);
		return;
	}
	vhdx_io_end(io->epoch);
	io->epoch = NULL;
	if (!NT_STATUS_IS_OK(status)) {
		rsvd_io_fail_stored(io, status);
		return;
	}
	rsvd_io_image(io);
}

void rsvd_io_resume(struct rsvd_fsp *rf)
{
	struct rsvd_io *io = NULL;
	struct rsvd_io *next = NULL;

	for (io = rf->ios; io != NULL; io = next) {
		next = io->next;
		if (io->subreq == NULL && io->kind != RSVD_IO_FLUSH) {
			rsvd_io_start(io);
		}
	}
}

static struct rsvd_io *rsvd_io_create(TALLOC_CTX *mem_ctx,
				      struct tevent_context *ev,
				      struct rsvd_fsp *rf,
				      enum rsvd_io_kind kind)
{
	struct tevent_req *req = NULL;
	struct rsvd_io *io = NULL;

	req = tevent_req_create(mem_ctx, &io, struct rsvd_io);
	if (req == NULL) {
		return NULL;
	}
	io->req = req;
	io->ev = ev;
	io->rf = rf;
	io->kind = kind;
	DLIST_ADD(rf->ios, io);
	talloc_set_destructor(io, rsvd_io_destructor);
	return io;
}

static struct tevent_req *rsvd_io_send(TALLOC_CTX *mem_ctx,
				       struct tevent_context *ev,
				       struct rsvd_fsp *rf,
				       enum rsvd_io_kind kind,
				       void *buf,
				       size_t n,
				       off_t offset)
{
	struct rsvd_io *io = NULL;

	io = rsvd_io_create(mem_ctx, ev, rf, kind);
	if (io == NULL) {
		return NULL;
	}
	io->buf = buf;
	io->n = n;
	io->offset = offset;

	rsvd_io_start(io);
	if (!tevent_req_is_in_progress(io->req)) {
		return tevent_req_post(io->req, ev);
	}
	return io->req;
}

/*
 * Requests of other handles are those of the module behind us, untouched: they
 * cost nothing here.
 */
static struct rsvd_io *rsvd_io_of(struct tevent_req *req)
{
	return talloc_get_type(_tevent_req_data(req), struct rsvd_io);
}

static ssize_t rsvd_io_recv(struct tevent_req *req,
			    struct rsvd_io *io,
			    struct vfs_aio_state *vfs_aio_state)
{
	ssize_t ret = io->ret;

	*vfs_aio_state = io->aio_state;
	if (tevent_req_is_unix_error(req, &vfs_aio_state->error)) {
		ret = -1;
	}
	tevent_req_received(req);
	return ret;
}

struct tevent_req *rsvd_pread_send(struct vfs_handle_struct *handle,
				   TALLOC_CTX *mem_ctx,
				   struct tevent_context *ev,
				   struct files_struct *fsp,
				   void *data, size_t n, off_t offset)
{
	struct rsvd_fsp *rf = rsvd_fsp_get(handle, fsp);

	if (rf == NULL) {
		return SMB_VFS_NEXT_PREAD_SEND(mem_ctx,
					       ev,
					       handle,
					       fsp,
					       data,
					       n,
					       offset);
	}
	return rsvd_io_send(mem_ctx, ev, rf, RSVD_IO_READ, data, n, offset);
}

ssize_t rsvd_pread_recv(struct tevent_req *req,
			struct vfs_aio_state *vfs_aio_state)
{
	struct rsvd_io *io = rsvd_io_of(req);

	if (io == NULL) {
		return SMB_VFS_PREAD_RECV(req, vfs_aio_state);
	}
	return rsvd_io_recv(req, io, vfs_aio_state);
}

struct tevent_req *rsvd_pwrite_send(struct vfs_handle_struct *handle,
				    TALLOC_CTX *mem_ctx,
				    struct tevent_context *ev,
				    struct files_struct *fsp,
				    const void *data, size_t n, off_t offset)
{
	struct rsvd_fsp *rf = rsvd_fsp_get(handle, fsp);

	if (rf == NULL) {
		return SMB_VFS_NEXT_PWRITE_SEND(mem_ctx,
						ev,
						handle,
						fsp,
						data,
						n,
						offset);
	}
	return rsvd_io_send(mem_ctx,
			    ev,
			    rf,
			    RSVD_IO_WRITE,
			    discard_const(data),
			    n,
			    offset);
}

ssize_t rsvd_pwrite_recv(struct tevent_req *req,
			 struct vfs_aio_state *vfs_aio_state)
{
	struct rsvd_io *io = rsvd_io_of(req);

	if (io == NULL) {
		return SMB_VFS_PWRITE_RECV(req, vfs_aio_state);
	}
	return rsvd_io_recv(req, io, vfs_aio_state);
}

static void rsvd_fsync_done(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(
		subreq, struct tevent_req);
	struct rsvd_io *io = tevent_req_data(req, struct rsvd_io);
	NTSTATUS status;

	status = vhdx_flush_recv(subreq);
	TALLOC_FREE(subreq);
	io->subreq = NULL;
	if (NT_STATUS_IS_OK(status)) {
		rsvd_io_count(io->rf, io->kind, 0);
	}
	rsvd_io_forget(io);
	if (!NT_STATUS_IS_OK(status)) {
		tevent_req_error(req, map_errno_from_nt_status(status));
		return;
	}
	tevent_req_done(req);
}

struct tevent_req *rsvd_fsync_send(struct vfs_handle_struct *handle,
				   TALLOC_CTX *mem_ctx,
				   struct tevent_context *ev,
				   struct files_struct *fsp)
{
	struct rsvd_fsp *rf = rsvd_fsp_get_virtual(handle, fsp);
	struct rsvd_io *io = NULL;

	if (rf == NULL) {
		return SMB_VFS_NEXT_FSYNC_SEND(mem_ctx, ev, handle, fsp);
	}
	io = rsvd_io_create(mem_ctx, ev, rf, RSVD_IO_FLUSH);
	if (io == NULL) {
		return NULL;
	}
	io->subreq = vhdx_flush_send(io, ev, rf->image);
	if (tevent_req_nomem(io->subreq, io->req)) {
		rsvd_io_forget(io);
		return tevent_req_post(io->req, ev);
	}
	tevent_req_set_callback(io->subreq, rsvd_fsync_done, io->req);
	return io->req;
}

int rsvd_fsync_recv(struct tevent_req *req,
		    struct vfs_aio_state *vfs_aio_state)
{
	struct rsvd_io *io = rsvd_io_of(req);

	if (io == NULL) {
		return SMB_VFS_FSYNC_RECV(req, vfs_aio_state);
	}
	return rsvd_io_recv(req, io, vfs_aio_state);
}

/*
 * The blocking ways: compounded requests, and a payload that is still in the
 * socket.
 */

static NTSTATUS rsvd_io_sync(struct rsvd_fsp *rf, bool is_write, void *buf,
			     size_t n, off_t offset)
{
	NTSTATUS status;

	status = rsvd_open_check_io(rf->open, is_write);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (!rsvd_io_on_disk(rf, n, offset)) {
		status = NT_STATUS_INVALID_PARAMETER;
	} else if (n == 0) {
		status = NT_STATUS_OK;
	} else if (is_write) {
		status = vhdx_write(rf->image, buf, n, offset);
		if (NT_STATUS_IS_OK(status) &&
		    rsvd_open_write_through(rf->open))
		{
			status = vhdx_flush(rf->image);
		}
	} else {
		status = vhdx_read(rf->image, buf, n, offset);
	}
	if (!NT_STATUS_IS_OK(status)) {
		return rsvd_open_store_error(rf->open, is_write, status);
	}
	rsvd_io_count(rf, is_write ? RSVD_IO_WRITE : RSVD_IO_READ, n);
	return NT_STATUS_OK;
}

ssize_t rsvd_pread(struct vfs_handle_struct *handle, struct files_struct *fsp,
		   void *data, size_t n, off_t offset)
{
	struct rsvd_fsp *rf = rsvd_fsp_get(handle, fsp);
	NTSTATUS status;

	if (rf != NULL && rf->is_virtual) {
		status = rsvd_io_sync(rf, false, data, n, offset);
		if (!NT_STATUS_IS_OK(status)) {
			errno = rsvd_io_errno(status);
			return -1;
		}
		return n;
	}
	if (rf != NULL) {
		status = rsvd_open_check_io(rf->open, false);
		if (!NT_STATUS_IS_OK(status)) {
			errno = rsvd_io_errno(status);
			return -1;
		}
	}
	return SMB_VFS_NEXT_PREAD(handle, fsp, data, n, offset);
}

ssize_t rsvd_pwrite(struct vfs_handle_struct *handle, struct files_struct *fsp,
		    const void *data, size_t n, off_t offset)
{
	struct rsvd_fsp *rf = rsvd_fsp_get(handle, fsp);
	NTSTATUS status;

	if (rf != NULL && rf->is_virtual) {
		status = rsvd_io_sync(rf,
				      true,
				      discard_const(data),
				      n,
				      offset);
		if (!NT_STATUS_IS_OK(status)) {
			errno = rsvd_io_errno(status);
			return -1;
		}
		return n;
	}
	if (rf != NULL) {
		status = rsvd_open_check_io(rf->open, true);
		if (!NT_STATUS_IS_OK(status)) {
			errno = rsvd_io_errno(status);
			return -1;
		}
	}
	return SMB_VFS_NEXT_PWRITE(handle, fsp, data, n, offset);
}

/*
 * `min receivefile size`: the bytes are still in the client's socket, which
 * may be non-blocking. As sys_recvfile(): return what was moved, -1 with
 * EAGAIN when nothing is there yet, and after an error leave no byte of the
 * payload in the socket.
 */
ssize_t rsvd_recvfile(struct vfs_handle_struct *handle, int fromfd,
		      struct files_struct *tofsp, off_t offset, size_t n)
{
	struct rsvd_fsp *rf = rsvd_fsp_get_virtual(handle, tofsp);
	uint8_t *buf = NULL;
	size_t done = 0;
	int err = 0;

	if (rf == NULL) {
		return SMB_VFS_NEXT_RECVFILE(handle, fromfd, tofsp, offset, n);
	}

	buf = talloc_array(talloc_tos(), uint8_t, MIN(n, 256 * 1024));
	if (buf == NULL) {
		err = ENOMEM;
		goto drain;
	}
	while (done < n) {
		size_t chunk = MIN(n - done, talloc_array_length(buf));
		ssize_t nread;
		NTSTATUS status;

		do {
			nread = read(fromfd, buf, chunk);
		} while (nread == -1 && errno == EINTR);

		if (nread == -1 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			TALLOC_FREE(buf);
			if (done == 0) {
				errno = EAGAIN;
				return -1;
			}
			return done;
		}
		if (nread <= 0) {
			/* The connection is gone. */
			TALLOC_FREE(buf);
			errno = (nread == 0) ? ECONNRESET : errno;
			return -1;
		}

		status = rsvd_io_sync(rf, true, buf, nread, offset + done);
		done += nread;
		if (!NT_STATUS_IS_OK(status)) {
			err = rsvd_io_errno(status);
			break;
		}
	}
	TALLOC_FREE(buf);
	if (err == 0) {
		return done;
	}
drain:
	if (drain_socket(fromfd, n - done) != (ssize_t)(n - done)) {
		DBG_WARNING("cannot drain the socket\n");
	}
	errno = err;
	return -1;
}
