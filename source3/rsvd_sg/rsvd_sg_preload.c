/*
 * vfs_rsvd: let programs that send SCSI commands by SG_IO use an RSVD disk
 *
 * Preloaded (LD_PRELOAD) into a program, this answers for the device files
 * /dev/rsvdN as the Linux sg driver answers for /dev/sgN.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bsg.h>
#include <linux/fs.h>
#include <pthread.h>
#include <scsi/scsi.h>
#include <scsi/scsi_ioctl.h>
#include <scsi/sg.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>
#include "source3/rsvd_sg/rsvd_sg.h"

/* Linux Documentation/admin-guide/devices.txt */
#define SCSI_GENERIC_MAJOR 21

/* The version of the sg driver whose interface this is: 3.5.36 */
#define SG_DRIVER_VERSION 30536

#define DRIVER_SENSE 0x08
#define CHECK_CONDITION_STATUS 0x02

struct rsvd_sg_fd {
	int fd;
	unsigned path;
	void *handle;
};

static pthread_mutex_t rsvd_sg_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct rsvd_sg_fd rsvd_sg_fds[64];
static size_t rsvd_sg_num_fds;

/* The function that this one stands in front of */
#define NEXT(name) \
	static __typeof__(name) *next; \
	if (next == NULL) { \
		next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name); \
	}

static bool rsvd_sg_path(const char *name, unsigned *path)
{
	const size_t length = sizeof(RSVD_SG_DEVICE) - 1;
	char *end = NULL;
	unsigned long n;

	if (name == NULL || strncmp(name, RSVD_SG_DEVICE, length) != 0 ||
	    name[length] < '0' || name[length] > '9') {
		return false;
	}
	n = strtoul(name + length, &end, 10);
	if (*end != '\0' || n >= RSVD_SG_MAX_PATHS) {
		return false;
	}
	*path = n;
	return true;
}

/* Is it one that is there? To open another says ENODEV. */
static bool rsvd_sg_exists(const char *name, unsigned *path)
{
	return rsvd_sg_path(name, path) &&
	       *path < rsvd_sg_backend.num_paths();
}

static struct rsvd_sg_fd *rsvd_sg_find(int fd)
{
	size_t i;

	for (i = 0; i < rsvd_sg_num_fds; i++) {
		if (rsvd_sg_fds[i].fd == fd) {
			return &rsvd_sg_fds[i];
		}
	}
	return NULL;
}

/*
 * The program gets a descriptor so that no other can get its number. It is one
 * of the kind that can be neither read, written nor mapped: of /dev/null, it
 * would take what dd(1) writes to the device, and say that all is well.
 */
static int rsvd_sg_open_locked(unsigned path)
{
	struct rsvd_sg_fd *f = NULL;
	void *handle = NULL;
	int fd;

	if (rsvd_sg_num_fds ==
	    sizeof(rsvd_sg_fds) / sizeof(rsvd_sg_fds[0])) {
		errno = EMFILE;
		return -1;
	}
	handle = rsvd_sg_backend.open(path);
	if (handle == NULL) {
		return -1;
	}
	fd = epoll_create1(EPOLL_CLOEXEC);
	if (fd == -1) {
		rsvd_sg_backend.close(handle);
		return -1;
	}

	f = &rsvd_sg_fds[rsvd_sg_num_fds++];
	*f = (struct rsvd_sg_fd) {
		.fd = fd,
		.path = path,
		.handle = handle,
	};
	return fd;
}

static int rsvd_sg_open(unsigned path)
{
	int fd;

	pthread_mutex_lock(&rsvd_sg_mutex);
	fd = rsvd_sg_open_locked(path);
	pthread_mutex_unlock(&rsvd_sg_mutex);
	return fd;
}

static mode_t rsvd_sg_open_mode(int flags, va_list ap)
{
	if (flags & (O_CREAT | O_TMPFILE)) {
		return va_arg(ap, mode_t);
	}
	return 0;
}

int open(const char *name, int flags, ...)
{
	unsigned path;
	mode_t mode;
	va_list ap;
	NEXT(open);

	va_start(ap, flags);
	mode = rsvd_sg_open_mode(flags, ap);
	va_end(ap);

	if (rsvd_sg_path(name, &path)) {
		return rsvd_sg_open(path);
	}
	return next(name, flags, mode);
}

int open64(const char *name, int flags, ...)
{
	unsigned path;
	mode_t mode;
	va_list ap;
	NEXT(open64);

	va_start(ap, flags);
	mode = rsvd_sg_open_mode(flags, ap);
	va_end(ap);

	if (rsvd_sg_path(name, &path)) {
		return rsvd_sg_open(path);
	}
	return next(name, flags, mode);
}

int openat(int dirfd, const char *name, int flags, ...)
{
	unsigned path;
	mode_t mode;
	va_list ap;
	NEXT(openat);

	va_start(ap, flags);
	mode = rsvd_sg_open_mode(flags, ap);
	va_end(ap);

	if (rsvd_sg_path(name, &path)) {
		return rsvd_sg_open(path);
	}
	return next(dirfd, name, flags, mode);
}

int openat64(int dirfd, const char *name, int flags, ...)
{
	unsigned path;
	mode_t mode;
	va_list ap;
	NEXT(openat64);

	va_start(ap, flags);
	mode = rsvd_sg_open_mode(flags, ap);
	va_end(ap);

	if (rsvd_sg_path(name, &path)) {
		return rsvd_sg_open(path);
	}
	return next(dirfd, name, flags, mode);
}

/* What open() becomes in programs that are built with _FORTIFY_SOURCE */
int __open_2(const char *name, int flags);
int __open64_2(const char *name, int flags);

int __open_2(const char *name, int flags)
{
	return open(name, flags);
}

int __open64_2(const char *name, int flags)
{
	return open64(name, flags);
}

int close(int fd)
{
	struct rsvd_sg_fd *f = NULL;
	NEXT(close);

	pthread_mutex_lock(&rsvd_sg_mutex);
	f = rsvd_sg_find(fd);
	if (f != NULL) {
		rsvd_sg_backend.close(f->handle);
		*f = rsvd_sg_fds[--rsvd_sg_num_fds];
	}
	pthread_mutex_unlock(&rsvd_sg_mutex);
	return next(fd);
}

static void rsvd_sg_stat(unsigned path, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_mode = S_IFCHR | 0660;
	st->st_nlink = 1;
	st->st_uid = getuid();
	st->st_gid = getgid();
	st->st_rdev = makedev(SCSI_GENERIC_MAJOR, path);
	st->st_blksize = 4096;
}

int stat(const char *name, struct stat *st)
{
	unsigned path;
	NEXT(stat);

	if (rsvd_sg_exists(name, &path)) {
		rsvd_sg_stat(path, st);
		return 0;
	}
	return next(name, st);
}

int stat64(const char *name, struct stat64 *st)
{
	unsigned path;
	NEXT(stat64);

	if (rsvd_sg_exists(name, &path)) {
		/* On 64 bit systems the two are the same structure. */
		rsvd_sg_stat(path, (struct stat *)st);
		return 0;
	}
	return next(name, st);
}

int lstat(const char *name, struct stat *st)
{
	unsigned path;
	NEXT(lstat);

	if (rsvd_sg_exists(name, &path)) {
		rsvd_sg_stat(path, st);
		return 0;
	}
	return next(name, st);
}

int lstat64(const char *name, struct stat64 *st)
{
	unsigned path;
	NEXT(lstat64);

	if (rsvd_sg_exists(name, &path)) {
		rsvd_sg_stat(path, (struct stat *)st);
		return 0;
	}
	return next(name, st);
}

int fstatat(int dirfd, const char *name, struct stat *st, int flags)
{
	unsigned path;
	NEXT(fstatat);

	if (rsvd_sg_exists(name, &path)) {
		rsvd_sg_stat(path, st);
		return 0;
	}
	return next(dirfd, name, st, flags);
}

int fstatat64(int dirfd, const char *name, struct stat64 *st, int flags)
{
	unsigned path;
	NEXT(fstatat64);

	if (rsvd_sg_exists(name, &path)) {
		rsvd_sg_stat(path, (struct stat *)st);
		return 0;
	}
	return next(dirfd, name, st, flags);
}

/* What ls(1) and stat(1) ask with */
int statx(int dirfd, const char *name, int flags, unsigned mask,
	  struct statx *stx)
{
	struct stat st;
	unsigned path;
	NEXT(statx);

	if (!rsvd_sg_exists(name, &path)) {
		return next(dirfd, name, flags, mask, stx);
	}
	rsvd_sg_stat(path, &st);
	memset(stx, 0, sizeof(*stx));
	stx->stx_mask = STATX_BASIC_STATS;
	stx->stx_mode = st.st_mode;
	stx->stx_nlink = st.st_nlink;
	stx->stx_uid = st.st_uid;
	stx->stx_gid = st.st_gid;
	stx->stx_rdev_major = major(st.st_rdev);
	stx->stx_rdev_minor = minor(st.st_rdev);
	stx->stx_blksize = st.st_blksize;
	return 0;
}

int fstat(int fd, struct stat *st)
{
	const struct rsvd_sg_fd *f = NULL;
	unsigned path = 0;
	NEXT(fstat);

	pthread_mutex_lock(&rsvd_sg_mutex);
	f = rsvd_sg_find(fd);
	if (f != NULL) {
		path = f->path;
	}
	pthread_mutex_unlock(&rsvd_sg_mutex);

	if (f != NULL) {
		rsvd_sg_stat(path, st);
		return 0;
	}
	return next(fd, st);
}

int fstat64(int fd, struct stat64 *st)
{
	return fstat(fd, (struct stat *)st);
}

int access(const char *name, int mode)
{
	unsigned path;
	NEXT(access);

	if (rsvd_sg_exists(name, &path)) {
		return 0;
	}
	return next(name, mode);
}

int faccessat(int dirfd, const char *name, int mode, int flags)
{
	unsigned path;
	NEXT(faccessat);

	if (rsvd_sg_exists(name, &path)) {
		return 0;
	}
	return next(dirfd, name, mode, flags);
}

/* Data that the program has in pieces, in one */
static int rsvd_sg_gather(const struct sg_iovec *iov, unsigned num,
			  uint8_t *buf, uint32_t length, bool to_disk)
{
	uint32_t done = 0;
	unsigned i;

	for (i = 0; i < num && done < length; i++) {
		size_t chunk = iov[i].iov_len;

		if (chunk > length - done) {
			chunk = length - done;
		}
		if (to_disk) {
			memcpy(buf + done, iov[i].iov_base, chunk);
		} else {
			memcpy(iov[i].iov_base, buf + done, chunk);
		}
		done += chunk;
	}
	return done == length ? 0 : -1;
}

static int rsvd_sg_execute(void *handle, struct rsvd_sg_command *command)
{
	if (command->data_length > RSVD_SG_MAX_TRANSFER) {
		errno = ENOMEM;
		return -1;
	}
	return rsvd_sg_backend.execute(handle, command);
}

static int rsvd_sg_io_v3(void *handle, struct sg_io_hdr *hdr)
{
	struct rsvd_sg_command command = {
		.cdb = hdr->cmdp,
		.cdb_length = hdr->cmd_len,
		.data = hdr->dxferp,
		.data_length = hdr->dxfer_len,
	};
	uint8_t *bounce = NULL;
	int ret = -1;

	/* As in the kernel, with nothing to transfer any direction will do. */
	switch (hdr->dxfer_len == 0 ? SG_DXFER_NONE : hdr->dxfer_direction) {
	case SG_DXFER_NONE:
		command.data_length = 0;
		break;
	case SG_DXFER_TO_DEV:
		command.is_write = true;
		break;
	case SG_DXFER_FROM_DEV:
	case SG_DXFER_TO_FROM_DEV:
		command.is_read = true;
		break;
	default:
		errno = EINVAL;
		return -1;
	}

	if (hdr->iovec_count != 0) {
		bounce = malloc(hdr->dxfer_len != 0 ? hdr->dxfer_len : 1);
		if (bounce == NULL) {
			errno = ENOMEM;
			return -1;
		}
		command.data = bounce;
	}
	if (bounce != NULL && command.is_write &&
	    rsvd_sg_gather(hdr->dxferp, hdr->iovec_count, bounce,
			   hdr->dxfer_len, true) != 0) {
		errno = EINVAL;
		goto done;
	}

	ret = rsvd_sg_execute(handle, &command);
	if (ret != 0) {
		goto done;
	}
	if (bounce != NULL && command.is_read) {
		rsvd_sg_gather(hdr->dxferp, hdr->iovec_count, bounce,
			       command.transferred, false);
	}

	hdr->status = command.status;
	hdr->masked_status = (command.status & 0x3e) >> 1;
	hdr->msg_status = 0;
	hdr->host_status = 0;
	hdr->driver_status =
		command.status == CHECK_CONDITION_STATUS ? DRIVER_SENSE : 0;
	hdr->resid = command.data_length - command.transferred;
	hdr->duration = 0;
	hdr->info = command.status == 0 ? SG_INFO_OK : SG_INFO_CHECK;
	hdr->sb_len_wr = 0;
	if (hdr->sbp != NULL && command.sense_length != 0) {
		hdr->sb_len_wr = command.sense_length < hdr->mx_sb_len ?
			command.sense_length : hdr->mx_sb_len;
		memcpy(hdr->sbp, command.sense, hdr->sb_len_wr);
	}
done:
	free(bounce);
	return ret;
}

static int rsvd_sg_io_v4(void *handle, struct sg_io_v4 *hdr)
{
	struct rsvd_sg_command command = {
		.cdb = (const uint8_t *)(uintptr_t)hdr->request,
		.cdb_length = hdr->request_len,
		.is_write = hdr->dout_xfer_len != 0,
		.is_read = hdr->din_xfer_len != 0,
	};
	uint32_t sense_length;

	if (hdr->dout_iovec_count != 0 || hdr->din_iovec_count != 0 ||
	    (command.is_write && command.is_read)) {
		errno = EINVAL;
		return -1;
	}
	if (command.is_write) {
		command.data = (uint8_t *)(uintptr_t)hdr->dout_xferp;
		command.data_length = hdr->dout_xfer_len;
	} else {
		command.data = (uint8_t *)(uintptr_t)hdr->din_xferp;
		command.data_length = hdr->din_xfer_len;
	}

	if (rsvd_sg_execute(handle, &command) != 0) {
		return -1;
	}

	hdr->driver_status = 0;
	hdr->transport_status = 0;
	hdr->device_status = command.status;
	hdr->retry_delay = 0;
	hdr->info = command.status == 0 ? 0 : SG_INFO_CHECK;
	hdr->duration = 0;
	hdr->din_resid = command.is_read ?
		command.data_length - command.transferred : 0;
	hdr->dout_resid = command.is_write ?
		command.data_length - command.transferred : 0;
	sense_length = command.sense_length;
	if (sense_length > hdr->max_response_len) {
		sense_length = hdr->max_response_len;
	}
	hdr->response_len = sense_length;
	memcpy((void *)(uintptr_t)hdr->response, command.sense, sense_length);
	return 0;
}

static int rsvd_sg_ioctl(struct rsvd_sg_fd *f, unsigned long request,
			 void *arg)
{
	switch (request) {
	case SG_IO:
		if (*(const int *)arg == 'S') {
			return rsvd_sg_io_v3(f->handle, arg);
		}
		if (*(const int *)arg == 'Q') {
			return rsvd_sg_io_v4(f->handle, arg);
		}
		errno = EINVAL;
		return -1;
	case SG_GET_VERSION_NUM:
		*(int *)arg = SG_DRIVER_VERSION;
		return 0;
	case SG_GET_SCSI_ID: {
		struct sg_scsi_id *id = arg;

		memset(id, 0, sizeof(*id));
		id->channel = f->path;
		id->h_cmd_per_lun = 1;
		id->d_queue_depth = 1;
		return 0;
	}
	case SCSI_IOCTL_GET_IDLUN:
		memset(arg, 0, 8);
		return 0;
	case SCSI_IOCTL_GET_BUS_NUMBER:
		*(int *)arg = f->path;
		return 0;
	case SG_GET_RESERVED_SIZE:
	case SG_GET_SG_TABLESIZE:
		*(int *)arg = rsvd_sg_backend.max_transfer_length;
		return 0;
	case BLKSECTGET:
		/* In sectors of 512 bytes, as block devices have it */
		*(unsigned short *)arg =
			rsvd_sg_backend.max_transfer_length / 512;
		return 0;
	case SG_SET_RESERVED_SIZE:
	case SG_SET_TIMEOUT:
		return 0;
	case SG_GET_TIMEOUT:
		/* The answer is the return value, in ticks. */
		return 60 * 100;
	case SG_EMULATED_HOST:
		*(int *)arg = 0;
		return 0;
	}
	errno = ENOTTY;
	return -1;
}

int ioctl(int fd, unsigned long request, ...)
{
	struct rsvd_sg_fd *f = NULL;
	void *arg = NULL;
	va_list ap;
	int ret = -1;
	NEXT(ioctl);

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);

	pthread_mutex_lock(&rsvd_sg_mutex);
	f = rsvd_sg_find(fd);
	if (f != NULL) {
		ret = rsvd_sg_ioctl(f, request, arg);
	}
	pthread_mutex_unlock(&rsvd_sg_mutex);

	if (f != NULL) {
		return ret;
	}
	return next(fd, request, arg);
}
