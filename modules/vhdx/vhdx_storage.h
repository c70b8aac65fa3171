/*
 * vfs_rsvd: where an image lives
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _VHDX_STORAGE_H_
#define _VHDX_STORAGE_H_

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <talloc.h>
#include <tevent.h>

/**
 * The file below an image, as the engine sees it.
 *
 * smbd implements this on SMB_VFS_NEXT_*, the tools and tests on a POSIX
 * descriptor. Everything returns as the system call of the same name does:
 * -1 with errno set. A *_recv sets *err instead of errno. Short reads and
 * writes are allowed, the engine continues them; a read of 0 bytes is the
 * end of the file.
 */
struct vhdx_storage_ops {
	ssize_t (*pread)(void *private_data, void *buf, size_t length,
			 off_t offset);
	ssize_t (*pwrite)(void *private_data, const void *buf, size_t length,
			  off_t offset);
	int (*fsync)(void *private_data);
	/*
	 * As fsync, but of what was written only what is in a range has to be
	 * stable, with the size of the file. NULL where fsync is all there is.
	 */
	int (*fsync_range)(void *private_data, off_t offset, off_t length);
	int (*ftruncate)(void *private_data, off_t length);
	/* Bytes in the file, -1 on error. */
	off_t (*size)(void *private_data);
	/*
	 * Make a range read as zeros and give its space back, keeping the
	 * size: fallocate(FALLOC_FL_PUNCH_HOLE|FALLOC_FL_KEEP_SIZE).
	 * EOPNOTSUPP when the file system cannot.
	 */
	int (*punch_hole)(void *private_data, off_t offset, off_t length);
	/*
	 * lseek() with SEEK_DATA and SEEK_HOLE; NULL where nobody knows of
	 * holes.
	 */
	off_t (*seek)(void *private_data, off_t offset, int whence);

	/*
	 * Before a _send, whether it is worth one: what takes no time to speak
	 * of is done, as by pread and pwrite. -1 with EAGAIN: it may take some.
	 * NULL where nobody can tell.
	 */
	ssize_t (*pread_quick)(void *private_data, void *buf, size_t length,
			       off_t offset);
	ssize_t (*pwrite_quick)(void *private_data, const void *buf,
				size_t length, off_t offset);

	struct tevent_req *(*pread_send)(TALLOC_CTX *mem_ctx,
					 struct tevent_context *ev,
					 void *private_data, void *buf,
					 size_t length, off_t offset);
	ssize_t (*pread_recv)(struct tevent_req *req, int *err);
	struct tevent_req *(*pwrite_send)(TALLOC_CTX *mem_ctx,
					  struct tevent_context *ev,
					  void *private_data, const void *buf,
					  size_t length, off_t offset);
	ssize_t (*pwrite_recv)(struct tevent_req *req, int *err);
	struct tevent_req *(*fsync_send)(TALLOC_CTX *mem_ctx,
					 struct tevent_context *ev,
					 void *private_data);
	/* NULL with fsync_range; fsync_recv is for this one, too. */
	struct tevent_req *(*fsync_range_send)(TALLOC_CTX *mem_ctx,
					       struct tevent_context *ev,
					       void *private_data,
					       off_t offset, off_t length);
	int (*fsync_recv)(struct tevent_req *req, int *err);
};

struct vhdx_storage {
	const struct vhdx_storage_ops *ops;
	void *private_data;
};

/**
 * Open a POSIX file as storage; closed when *storage* is freed. Its _send
 * functions hand the call to a pool of threads.
 *
 * @param[in]  flags  as open(2): O_RDONLY, O_RDWR, O_CREAT, O_EXCL
 * @return 0 or an errno
 */
int vhdx_storage_posix_open(TALLOC_CTX *mem_ctx, const char *path, int flags,
			    struct vhdx_storage **storage);

/**
 * Make sure that nobody else of this machine has the file open, in whatever
 * way, and that who opens it now waits until *storage* is freed (at most for
 * /proc/sys/fs/lease-break-time): fcntl(2), F_SETLEASE. A file system without
 * leases is taken at its user's word.
 *
 * @return 0, EAGAIN when somebody has it open, EACCES when the caller neither
 *         owns the file nor has CAP_LEASE and so cannot know
 */
int vhdx_storage_posix_exclusive(struct vhdx_storage *storage);

/**
 * The same, but others may have it open for reading, and open it.
 *
 * @param[in]  storage  open for reading only
 */
int vhdx_storage_posix_unwritten(struct vhdx_storage *storage);

/** Does somebody wait for that to end? */
bool vhdx_storage_posix_is_wanted(struct vhdx_storage *storage);

/**
 * vhdx_storage_posix_open() of a file below a directory: no name of the path
 * may be a symbolic link, so nothing outside of the directory is ever opened.
 *
 * @param[in]  directory  a descriptor of it
 * @param[in]  path       names with '/' between them, none of them ".."
 */
int vhdx_storage_posix_open_below(TALLOC_CTX *mem_ctx, int directory,
				  const char *path, int flags,
				  struct vhdx_storage **storage);

#endif /* _VHDX_STORAGE_H_ */
