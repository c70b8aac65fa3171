/*
 * vfs_rsvd: the file below an image, reached through the VFS
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Everything goes to SMB_VFS_NEXT_* on the handle of the client, so that the
 * module stacks on others and so that the engine can do to the file what this
 * user may do to it, and nothing more.
 */

#include "source3/modules/vfs_rsvd.h"
#include "lib/util/tevent_unix.h"
#include <sys/uio.h>

/*
 * A thread has to be woken, and has to wake us, which takes longer than to copy
 * as much from or to the page cache.
 */
#define RSVD_QUICK_LENGTH (128 * 1024)

/* So many go to threads at most before the next is tried at once */
#define RSVD_MAX_PAUSE 64

static ssize_t rsvd_storage_pread(void *private_data, void *buf, size_t length,
				  off_t offset)
{
	struct rsvd_fsp *rf = private_data;

	return SMB_VFS_NEXT_PREAD(rf->handle, rf->fsp, buf, length, offset);
}

static ssize_t rsvd_storage_pwrite(void *private_data, const void *buf,
				   size_t length, off_t offset)
{
	struct rsvd_fsp *rf = private_data;

	return SMB_VFS_NEXT_PWRITE(rf->handle, rf->fsp, buf, length, offset);
}

/*
 * The VFS has no blocking fsync any more. A private event context runs the
 * asynchronous one and nothing else, as smb_vfs_fsync_sync() does.
 *
 * vfs_io_uring gets its completions by an event on the event context of the
 * connection, whatever context it is given: a private one would wait for ever.
 * What it stacks on are plain descriptors, so that fsync() can be asked
 * directly.
 */
static int rsvd_storage_fsync(void *private_data)
{
	struct rsvd_fsp *rf = private_data;
	struct vfs_aio_state aio_state = { .error = 0 };
	struct tevent_context *ev = NULL;
	struct tevent_req *req = NULL;
	const char **objects = NULL;
	TALLOC_CTX *frame = NULL;
	int ret;

	objects = lp_vfs_objects(SNUM(rf->handle->conn));
	if (objects != NULL && str_list_check(objects, "io_uring")) {
		return fsync(fsp_get_io_fd(rf->fsp));
	}

	frame = talloc_stackframe();
	ev = samba_tevent_context_init(frame);
	if (ev == NULL) {
		TALLOC_FREE(frame);
		errno = ENOMEM;
		return -1;
	}
	req = SMB_VFS_NEXT_FSYNC_SEND(frame, ev, rf->handle, rf->fsp);
	if (req == NULL || !tevent_req_poll(req, ev)) {
		TALLOC_FREE(frame);
		errno = ENOMEM;
		return -1;
	}
	ret = SMB_VFS_FSYNC_RECV(req, &aio_state);
	TALLOC_FREE(frame);
	if (ret == -1) {
		errno = aio_state.error;
	}
	return ret;
}

/*
 * With "strict allocate" the default of the VFS asks for the size of the file,
 * and has space allocated, by calls that begin with the first module: they come
 * to us, and mean the file.
 */
static int rsvd_storage_ftruncate(void *private_data, off_t length)
{
	struct rsvd_fsp *rf = private_data;
	struct files_struct *fsp = rf->fsp;
	off_t size = fsp->fsp_name->st.st_ex_size;
	int ret;

	rf->is_below = true;
	ret = SMB_VFS_NEXT_FTRUNCATE(rf->handle, fsp, length);
	rf->is_below = false;

	/* What smbd remembers is the size of the disk. */
	fsp->fsp_name->st.st_ex_size = size;
	return ret;
}

static off_t rsvd_storage_size(void *private_data)
{
	struct rsvd_fsp *rf = private_data;
	SMB_STRUCT_STAT st;
	int ret;

	ret = SMB_VFS_NEXT_FSTAT(rf->handle, rf->fsp, &st);
	if (ret == -1) {
		return -1;
	}
	return st.st_ex_size;
}

static int rsvd_storage_punch_hole(void *private_data, off_t offset,
				   off_t length)
{
	struct rsvd_fsp *rf = private_data;

	return SMB_VFS_NEXT_FALLOCATE(rf->handle,
				      rf->fsp,
				      VFS_FALLOCATE_FL_PUNCH_HOLE |
				      VFS_FALLOCATE_FL_KEEP_SIZE,
				      offset,
				      length);
}

/* Nobody looks at the position: everything else says where. */
static off_t rsvd_storage_seek(void *private_data, off_t offset, int whence)
{
	struct rsvd_fsp *rf = private_data;

	return SMB_VFS_NEXT_LSEEK(rf->handle, rf->fsp, offset, whence);
}

/*
 * Do reads and writes go from here to the file, with no other module on their
 * way?
 */
static bool rsvd_storage_is_next(struct vfs_handle_struct *handle)
{
	const struct vfs_handle_struct *h = NULL;

	/* The last is smbd's default, which everything ends in. */
	for (h = handle->next; h->next != NULL; h = h->next) {
		if (h->fns->pread_fn != NULL ||
		    h->fns->pread_send_fn != NULL ||
		    h->fns->pwrite_fn != NULL ||
		    h->fns->pwrite_send_fn != NULL)
		{
			return false;
		}
	}
	return true;
}

/*
 * vfs_default hands each read and write to a thread, because it might have to
 * wait. What the page cache can do without is done here: RWF_NOWAIT. Not every
 * file system takes that, above all for writes: ext4 does not, XFS does.
 */

typedef ssize_t (*rsvd_quick_fn)(int fd, const struct iovec *iov, int iovcnt,
				 off_t offset, int flags);

static ssize_t rsvd_storage_quick(struct rsvd_fsp *rf,
				  struct rsvd_quick *quick, rsvd_quick_fn fn,
				  void *buf, size_t length, off_t offset)
{
	struct iovec iov = { .iov_base = buf, .iov_len = length };
	ssize_t n;

	if (!quick->possible || length > RSVD_QUICK_LENGTH) {
		errno = EAGAIN;
		return -1;
	}
	if (quick->pause > 0) {
		quick->pause -= 1;
		errno = EAGAIN;
		return -1;
	}

	n = fn(fsp_get_io_fd(rf->fsp), &iov, 1, offset, RWF_NOWAIT);
	if (n > 0 && (size_t)n == length) {
		quick->next_pause = 1;
		return n;
	}
	if (n == -1 && errno == EOPNOTSUPP) {
		quick->possible = false;
	}
	quick->pause = quick->next_pause;
	quick->next_pause = MIN(2 * quick->next_pause, RSVD_MAX_PAUSE);

	/* What else there is to say who does the whole of it will be told. */
	errno = EAGAIN;
	return -1;
}

static ssize_t rsvd_storage_pread_quick(void *private_data, void *buf,
					size_t length, off_t offset)
{
	struct rsvd_fsp *rf = private_data;

	return rsvd_storage_quick(rf, &rf->quick_read, preadv2, buf, length,
				  offset);
}

static ssize_t rsvd_storage_pwrite_quick(void *private_data, const void *buf,
					 size_t length, off_t offset)
{
	struct rsvd_fsp *rf = private_data;

	return rsvd_storage_quick(rf, &rf->quick_write, pwritev2,
				  discard_const(buf), length, offset);
}

/*
 * SMB_VFS_NEXT_*_SEND returns a request that knows itself how to be received,
 * so that no state of our own is needed around it.
 */

static struct tevent_req *rsvd_storage_pread_send(TALLOC_CTX *mem_ctx,
						  struct tevent_context *ev,
						  void *private_data,
						  void *buf, size_t length,
						  off_t offset)
{
	struct rsvd_fsp *rf = private_data;

	return SMB_VFS_NEXT_PREAD_SEND(mem_ctx,
				       ev,
				       rf->handle,
				       rf->fsp,
				       buf,
				       length,
				       offset);
}

static ssize_t rsvd_storage_pread_recv(struct tevent_req *req, int *err)
{
	struct vfs_aio_state aio_state = { .error = 0 };
	ssize_t ret;

	ret = SMB_VFS_PREAD_RECV(req, &aio_state);
	*err = aio_state.error;
	return ret;
}

static struct tevent_req *rsvd_storage_pwrite_send(TALLOC_CTX *mem_ctx,
						   struct tevent_context *ev,
						   void *private_data,
						   const void *buf,
						   size_t length, off_t offset)
{
	struct rsvd_fsp *rf = private_data;

	return SMB_VFS_NEXT_PWRITE_SEND(mem_ctx,
					ev,
					rf->handle,
					rf->fsp,
					buf,
					length,
					offset);
}

static ssize_t rsvd_storage_pwrite_recv(struct tevent_req *req, int *err)
{
	struct vfs_aio_state aio_state = { .error = 0 };
	ssize_t ret;

	ret = SMB_VFS_PWRITE_RECV(req, &aio_state);
	*err = aio_state.error;
	return ret;
}

static struct tevent_req *rsvd_storage_fsync_send(TALLOC_CTX *mem_ctx,
						  struct tevent_context *ev,
						  void *private_data)
{
	struct rsvd_fsp *rf = private_data;

	return SMB_VFS_NEXT_FSYNC_SEND(mem_ctx, ev, rf->handle, rf->fsp);
}

static int rsvd_storage_fsync_recv(struct tevent_req *req, int *err)
{
	struct vfs_aio_state aio_state = { .error = 0 };
	int ret;

	ret = SMB_VFS_FSYNC_RECV(req, &aio_state);
	*err = aio_state.error;
	return ret;
}

static const struct vhdx_storage_ops rsvd_storage_ops = {
	.pread = rsvd_storage_pread,
	.pwrite = rsvd_storage_pwrite,
	.fsync = rsvd_storage_fsync,
	.ftruncate = rsvd_storage_ftruncate,
	.size = rsvd_storage_size,
	.punch_hole = rsvd_storage_punch_hole,
	.seek = rsvd_storage_seek,
	.pread_quick = rsvd_storage_pread_quick,
	.pwrite_quick = rsvd_storage_pwrite_quick,
	.pread_send = rsvd_storage_pread_send,
	.pread_recv = rsvd_storage_pread_recv,
	.pwrite_send = rsvd_storage_pwrite_send,
	.pwrite_recv = rsvd_storage_pwrite_recv,
	.fsync_send = rsvd_storage_fsync_send,
	.fsync_recv = rsvd_storage_fsync_recv,
};

void rsvd_storage_init(struct vhdx_storage *storage, struct rsvd_fsp *rf)
{
	*storage = (struct vhdx_storage) {
		.ops = &rsvd_storage_ops,
		.private_data = rf,
	};
	rf->quick_read.possible = rsvd_storage_is_next(rf->handle);
	rf->quick_read.next_pause = 1;
	rf->quick_write = rf->quick_read;
}
