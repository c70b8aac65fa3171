/*
 * vfs_rsvd: an image in a POSIX file
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "system/filesys.h"
#include "system/wait.h"
#include "system/time.h"
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include "lib/util/time.h"
#include "lib/pthreadpool/pthreadpool_tevent.h"
#include "modules/vhdx/vhdx_storage.h"

/* A system call each; more than a disk can do at the same time is waste. */
#define MAX_THREADS 16

/*
 * To wake a thread and be woken by it takes longer than to copy a few pages
 * from or to the page cache. So such calls are made at once, until one takes
 * long: then threads make the next ones, so that they can wait side by side.
 * A few, which cost about as much as the one that was slow, and twice as many
 * each time that it is no better after them. The call itself counts.
 */
#define QUICK_LENGTH (128 * 1024)
#define QUICK_NSEC 200000
#define MIN_SLOW_CALLS 8
#define MAX_SLOW_CALLS 64

struct posix_storage {
	struct vhdx_storage storage;
	struct pthreadpool_tevent *pool;
	unsigned slow_calls;	/* so many more are for threads */
	unsigned next_slow_calls;
	int fd;
	bool has_lease;
	int lease;		/* F_RDLCK or F_WRLCK */
};

static ssize_t posix_pread(void *private_data, void *buf, size_t length,
			   off_t offset)
{
	struct posix_storage *posix = private_data;

	return pread(posix->fd, buf, length, offset);
}

static ssize_t posix_pwrite(void *private_data, const void *buf,
			    size_t length, off_t offset)
{
	struct posix_storage *posix = private_data;

	return pwrite(posix->fd, buf, length, offset);
}

static int posix_fsync(void *private_data)
{
	struct posix_storage *posix = private_data;

	return fsync(posix->fd);
}

/*
 * msync() is the fsync() that takes a range, and in Linux it is fdatasync() of
 * that: with the size of the file, and after it the cache of the disk.
 */
#ifdef __linux__
static int fsync_range(int fd, off_t offset, off_t length)
{
	off_t page = sysconf(_SC_PAGESIZE);
	void *map = NULL;
	int ret;
	int err;

	length += offset % page;
	offset -= offset % page;
	map = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, offset);
	if (map == MAP_FAILED) {
		/* No such files here, or no room for it */
		return fsync(fd);
	}
	ret = msync(map, length, MS_SYNC);
	err = errno;
	munmap(map, length);
	errno = err;
	return ret;
}
#else
static int fsync_range(int fd, off_t offset, off_t length)
{
	return fsync(fd);
}
#endif

static int posix_fsync_range(void *private_data, off_t offset, off_t length)
{
	struct posix_storage *posix = private_data;

	return fsync_range(posix->fd, offset, length);
}

static int posix_ftruncate(void *private_data, off_t length)
{
	struct posix_storage *posix = private_data;

	return ftruncate(posix->fd, length);
}

static off_t posix_size(void *private_data)
{
	struct posix_storage *posix = private_data;
	struct stat st;

	if (fstat(posix->fd, &st) == -1) {
		return -1;
	}
	if (S_ISBLK(st.st_mode)) {
		return lseek(posix->fd, 0, SEEK_END);
	}
	return st.st_size;
}

static int posix_punch_hole(void *private_data, off_t offset, off_t length)
{
#if defined(HAVE_FALLOCATE) && defined(FALLOC_FL_PUNCH_HOLE)
	struct posix_storage *posix = private_data;

	return fallocate(posix->fd, FALLOC_FL_PUNCH_HOLE |
			 FALLOC_FL_KEEP_SIZE, offset, length);
#else
	errno = EOPNOTSUPP;
	return -1;
#endif
}

static off_t posix_seek(void *private_data, off_t offset, int whence)
{
	struct posix_storage *posix = private_data;

	return lseek(posix->fd, offset, whence);
}

/* One system call in a thread */
struct posix_job {
	int fd;
	void (*run)(struct posix_job *job);
	void *buf;
	size_t length;
	off_t offset;
	ssize_t ret;
	int err;
};

static void job_pread(struct posix_job *job)
{
	job->ret = pread(job->fd, job->buf, job->length, job->offset);
}

static void job_pwrite(struct posix_job *job)
{
	job->ret = pwrite(job->fd, job->buf, job->length, job->offset);
}

static void job_fsync(struct posix_job *job)
{
	job->ret = fsync(job->fd);
}

static void job_fsync_range(struct posix_job *job)
{
	job->ret = fsync_range(job->fd, job->offset, job->length);
}

static uint64_t now_nsec(void)
{
	struct timespec ts;

	clock_gettime_mono(&ts);
	return (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Only what is in memory; -1 with EAGAIN for what is not */
static ssize_t pread_quick(const struct posix_job *job)
{
#ifdef RWF_NOWAIT
	struct iovec iov = { .iov_base = job->buf, .iov_len = job->length };

	return preadv2(job->fd, &iov, 1, job->offset, RWF_NOWAIT);
#else
	errno = EOPNOTSUPP;
	return -1;
#endif
}

static bool job_may_be_quick(const struct posix_job *job)
{
	return (job->run == job_pread || job->run == job_pwrite) &&
	       job->length <= QUICK_LENGTH;
}

/* Make the call if that is no waste of the caller's time. */
static bool job_quick(struct posix_storage *posix, struct posix_job *job)
{
	bool done = true;
	uint64_t began;

	if (!job_may_be_quick(job) || posix->slow_calls > 0) {
		return false;
	}
	began = now_nsec();
	if (job->run == job_pread) {
		job->ret = pread_quick(job);
		done = job->ret > 0;
	} else {
		/* No file system tells in advance whether it would wait. */
		job->ret = pwrite(job->fd, job->buf, job->length,
				  job->offset);
	}
	job->err = errno;
	if (!done || now_nsec() - began > QUICK_NSEC) {
		posix->slow_calls = posix->next_slow_calls;
		posix->next_slow_calls = MIN(2 * posix->next_slow_calls,
					     MAX_SLOW_CALLS);
	} else {
		posix->next_slow_calls = MIN_SLOW_CALLS;
	}
	return done;
}

/* In a thread: nothing of talloc here. */
static void job_run(void *private_data)
{
	struct posix_job *job = private_data;

	job->run(job);
	job->err = errno;
}

/* A job that a thread has cannot be taken back. */
static int job_destructor(struct posix_job *job)
{
	return -1;
}

static void job_done(struct tevent_req *subreq)
{
	struct tevent_req *req = tevent_req_callback_data(subreq,
							  struct tevent_req);
	struct posix_job *job = tevent_req_data(req, struct posix_job);
	int ret;

	ret = pthreadpool_tevent_job_recv(subreq);
	TALLOC_FREE(subreq);
	talloc_set_destructor(job, NULL);
	if (ret == EAGAIN) {
		/* No thread to be had: the caller has to wait for it. */
		job_run(job);
	} else if (ret != 0) {
		job->ret = -1;
		job->err = ret;
	}
	tevent_req_done(req);
}

static struct tevent_req *job_send(TALLOC_CTX *mem_ctx,
				   struct tevent_context *ev,
				   struct posix_storage *posix,
				   const struct posix_job *template)
{
	struct tevent_req *req = NULL;
	struct tevent_req *subreq = NULL;
	struct posix_job *job = NULL;

	req = tevent_req_create(mem_ctx, &job, struct posix_job);
	if (req == NULL) {
		return NULL;
	}
	*job = *template;
	job->fd = posix->fd;
	if (job_quick(posix, job)) {
		tevent_req_done(req);
		return tevent_req_post(req, ev);
	}
	if (job_may_be_quick(job) && posix->slow_calls > 0) {
		posix->slow_calls -= 1;
	}
	subreq = pthreadpool_tevent_job_send(job, ev, posix->pool, job_run,
					     job);
	if (tevent_req_nomem(subreq, req)) {
		return tevent_req_post(req, ev);
	}
	tevent_req_set_callback(subreq, job_done, req);
	talloc_set_destructor(job, job_destructor);
	return req;
}

static ssize_t job_recv(struct tevent_req *req, int *err)
{
	struct posix_job *job = tevent_req_data(req, struct posix_job);
	enum tevent_req_state state;
	uint64_t error;
	ssize_t ret;

	if (tevent_req_is_error(req, &state, &error)) {
		*err = ENOMEM;
		tevent_req_received(req);
		return -1;
	}
	ret = job->ret;
	if (ret == -1) {
		*err = job->err;
	}
	tevent_req_received(req);
	return ret;
}

static ssize_t quick(struct posix_storage *posix, struct posix_job *job)
{
	job->fd = posix->fd;
	if (!job_quick(posix, job)) {
		errno = EAGAIN;
		return -1;
	}
	errno = job->err;
	return job->ret;
}

static ssize_t posix_pread_quick(void *private_data, void *buf,
				 size_t length, off_t offset)
{
	struct posix_job job = {
		.run = job_pread,
		.buf = buf,
		.length = length,
		.offset = offset,
	};

	return quick(private_data, &job);
}

static ssize_t posix_pwrite_quick(void *private_data, const void *buf,
				  size_t length, off_t offset)
{
	struct posix_job job = {
		.run = job_pwrite,
		.buf = discard_const(buf),
		.length = length,
		.offset = offset,
	};

	return quick(private_data, &job);
}

static struct tevent_req *posix_pread_send(TALLOC_CTX *mem_ctx,
					   struct tevent_context *ev,
					   void *private_data, void *buf,
					   size_t length, off_t offset)
{
	struct posix_job job = {
		.run = job_pread,
		.buf = buf,
		.length = length,
		.offset = offset,
	};

	return job_send(mem_ctx, ev, private_data, &job);
}

static struct tevent_req *posix_pwrite_send(TALLOC_CTX *mem_ctx,
					    struct tevent_context *ev,
					    void *private_data,
					    const void *buf, size_t length,
					    off_t offset)
{
	struct posix_job job = {
		.run = job_pwrite,
		.buf = discard_const(buf),
		.length = length,
		.offset = offset,
	};

	return job_send(mem_ctx, ev, private_data, &job);
}

static struct tevent_req *posix_fsync_send(TALLOC_CTX *mem_ctx,
					   struct tevent_context *ev,
					   void *private_data)
{
	struct posix_job job = { .run = job_fsync };

	return job_send(mem_ctx, ev, private_data, &job);
}

static struct tevent_req *posix_fsync_range_send(TALLOC_CTX *mem_ctx,
						 struct tevent_context *ev,
						 void *private_data,
						 off_t offset, off_t length)
{
	struct posix_job job = {
		.run = job_fsync_range,
		.offset = offset,
		.length = length,
	};

	return job_send(mem_ctx, ev, private_data, &job);
}

static int posix_fsync_recv(struct tevent_req *req, int *err)
{
	return job_recv(req, err);
}

static const struct vhdx_storage_ops posix_ops = {
	.pread = posix_pread,
	.pwrite = posix_pwrite,
	.fsync = posix_fsync,
	.fsync_range = posix_fsync_range,
	.ftruncate = posix_ftruncate,
	.size = posix_size,
	.punch_hole = posix_punch_hole,
	.seek = posix_seek,
	.pread_quick = posix_pread_quick,
	.pwrite_quick = posix_pwrite_quick,
	.pread_send = posix_pread_send,
	.pread_recv = job_recv,
	.pwrite_send = posix_pwrite_send,
	.pwrite_recv = job_recv,
	.fsync_send = posix_fsync_send,
	.fsync_range_send = posix_fsync_range_send,
	.fsync_recv = posix_fsync_recv,
};

static int posix_storage_destructor(struct posix_storage *posix)
{
	close(posix->fd);
	return 0;
}

static int posix_storage_new(TALLOC_CTX *mem_ctx,
			     struct posix_storage **_posix)
{
	struct posix_storage *posix = NULL;
	int ret;

	posix = talloc_zero(mem_ctx, struct posix_storage);
	if (posix == NULL) {
		return ENOMEM;
	}
	ret = pthreadpool_tevent_init(posix, MAX_THREADS, &posix->pool);
	if (ret != 0) {
		TALLOC_FREE(posix);
		return ret;
	}
	*_posix = posix;
	return 0;
}

static void posix_storage_start(struct posix_storage *posix, int fd)
{
	posix->fd = fd;
	posix->next_slow_calls = MIN_SLOW_CALLS;
	posix->storage = (struct vhdx_storage) {
		.ops = &posix_ops,
		.private_data = posix,
	};
	talloc_set_destructor(posix, posix_storage_destructor);
}

int vhdx_storage_posix_open(TALLOC_CTX *mem_ctx, const char *path, int flags,
			    struct vhdx_storage **storage)
{
	struct posix_storage *posix = NULL;
	int ret;
	int fd;

	ret = posix_storage_new(mem_ctx, &posix);
	if (ret != 0) {
		return ret;
	}
	fd = open(path, flags | O_CLOEXEC, 0666);
	if (fd == -1) {
		ret = errno;
		TALLOC_FREE(posix);
		return ret;
	}
	posix_storage_start(posix, fd);
	*storage = &posix->storage;
	return 0;
}

/* A name at a time, so that the kernel follows no link on the way. */
static int open_below(int directory, char *path, int flags)
{
	int fd = directory;
	char *name = NULL;

	while ((name = strsep(&path, "/")) != NULL) {
		int how = (path != NULL) ? O_PATH | O_DIRECTORY : flags;
		int next;
		int err;

		if (name[0] == '\0' || strcmp(name, ".") == 0 ||
		    strcmp(name, "..") == 0) {
			next = -1;
			err = EINVAL;
		} else {
			next = openat(fd, name, how | O_NOFOLLOW | O_CLOEXEC,
				      0666);
			err = errno;
		}
		if (fd != directory) {
			close(fd);
		}
		if (next == -1) {
			errno = err;
			return -1;
		}
		fd = next;
	}
	return fd;
}

int vhdx_storage_posix_open_below(TALLOC_CTX *mem_ctx, int directory,
				  const char *path, int flags,
				  struct vhdx_storage **storage)
{
	struct posix_storage *posix = NULL;
	struct stat st;
	char *copy = NULL;
	int ret;
	int fd;

	ret = posix_storage_new(mem_ctx, &posix);
	if (ret != 0) {
		return ret;
	}
	copy = talloc_strdup(posix, path);
	if (copy == NULL) {
		TALLOC_FREE(posix);
		return ENOMEM;
	}
	/* A FIFO would hold us up. */
	fd = open_below(directory, copy, flags | O_NONBLOCK);
	TALLOC_FREE(copy);
	if (fd == -1) {
		ret = errno;
		TALLOC_FREE(posix);
		return ret;
	}
	if (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode)) {
		close(fd);
		TALLOC_FREE(posix);
		return EINVAL;
	}
	posix_storage_start(posix, fd);
	*storage = &posix->storage;
	return 0;
}

static int posix_lease(struct vhdx_storage *storage, int lease)
{
#ifdef F_SETLEASE
	struct posix_storage *posix = storage->private_data;

	/* Told when somebody wants it, but not by a signal that kills. */
	fcntl(posix->fd, F_SETSIG, SIGURG);
	if (fcntl(posix->fd, F_SETLEASE, lease) == 0) {
		posix->has_lease = true;
		posix->lease = lease;
		return 0;
	}
	if (errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS) {
		return errno;
	}
#endif
	return 0;
}

int vhdx_storage_posix_exclusive(struct vhdx_storage *storage)
{
	return posix_lease(storage, F_WRLCK);
}

int vhdx_storage_posix_unwritten(struct vhdx_storage *storage)
{
	return posix_lease(storage, F_RDLCK);
}

bool vhdx_storage_posix_is_wanted(struct vhdx_storage *storage)
{
#ifdef F_GETLEASE
	struct posix_storage *posix = storage->private_data;

	/* What the lease is going to be, or nothing where there are none */
	return posix->has_lease &&
	       fcntl(posix->fd, F_GETLEASE) != posix->lease;
#else
	return false;
#endif
}
