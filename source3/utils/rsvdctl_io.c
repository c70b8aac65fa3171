/*
 * rsvdctl: info, read and write, on whatever the target is
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/utils/rsvdctl.h"
#include "lib/util/sys_rw.h"
#include "lib/util/sys_rw_data.h"
#include <poll.h>

/*
 * What is read or written at once. librsvd splits it, and has all the pieces
 * under way together.
 */
#define RSVDCTL_CHUNK (8 * 1024 * 1024)

static struct {
	const char *offset;
	const char *length;
	const char *file;
} io_opts;

#define RSVDCTL_OPTIONS_RANGE \
	{ \
		.longName = "offset", \
		.argInfo = POPT_ARG_STRING, \
		.arg = &io_opts.offset, \
		.descrip = "Where to start; default 0", \
		.argDescrip = "SIZE", \
	}, \
	{ \
		.longName = "length", \
		.argInfo = POPT_ARG_STRING, \
		.arg = &io_opts.length, \
		.descrip = "How much; default to the end", \
		.argDescrip = "SIZE", \
	}

static struct rsvdctl_disk *rsvdctl_disk_open(struct rsvdctl *ctl,
					      const char *target,
					      bool writable)
{
	if (rsvdctl_is_remote(target)) {
		return rsvdctl_remote_open(ctl, target, writable);
	}
	return rsvdctl_local_open(ctl, target, writable);
}

/* The one TARGET, or NULL. */
static const char *rsvdctl_target(struct rsvdctl *ctl)
{
	const char *target = poptGetArg(ctl->pc);

	if (target == NULL || poptPeekArg(ctl->pc) != NULL) {
		rsvdctl_usage(ctl, "name one image, or //server/share/path");
		return NULL;
	}
	return target;
}

/*
 * info
 */

static struct poptOption info_options[] = {
	RSVDCTL_OPTION_JSON,
	POPT_TABLEEND
};

static int rsvdctl_info_run(struct rsvdctl *ctl)
{
	const char *target = rsvdctl_target(ctl);

	if (target == NULL) {
		return RSVDCTL_FAILED;
	}
	if (rsvdctl_is_remote(target)) {
		return rsvdctl_remote_info(ctl, target);
	}
	return rsvdctl_local_info(ctl, target);
}

struct rsvdctl_command rsvdctl_info = {
	.name = "info",
	.args = "TARGET",
	.summary = "tell what a disk is",
	.options = info_options,
	.remote = true,
	.run = rsvdctl_info_run,
};

/*
 * read
 */

static struct poptOption read_options[] = {
	RSVDCTL_OPTIONS_RANGE,
	{
		.longName = "output",
		.shortName = 'o',
		.argInfo = POPT_ARG_STRING,
		.arg = &io_opts.file,
		.descrip = "File to write to; default standard output",
		.argDescrip = "FILE",
	},
	POPT_TABLEEND
};

static int rsvdctl_read_all(struct rsvdctl *ctl, struct rsvdctl_disk *disk,
			    int fd, uint64_t offset, uint64_t length)
{
	const uint64_t first = offset, end = offset + length;
	uint8_t *buf = NULL;
	NTSTATUS status;

	if (!isatty(fd)) {
		rsvdctl_progress_start(ctl, "read", length);
	}
	buf = talloc_array(ctl->mem_ctx, uint8_t, RSVDCTL_CHUNK);
	if (buf == NULL) {
		return rsvdctl_error(ctl, "out of memory");
	}

	while (offset < end) {
		/* Whole sectors are read, what was asked for is kept. */
		uint64_t start = offset - offset % disk->sector_size;
		size_t skip = offset - start;
		size_t n = MIN(end - start, RSVDCTL_CHUNK);
		size_t whole = n + disk->sector_size - 1;

		whole -= whole % disk->sector_size;

		status = disk->ops->read(disk, buf, whole, start);
		if (!NT_STATUS_IS_OK(status)) {
			return disk->ops->error(disk, status, "read");
		}
		if (write_data(fd, buf + skip, n - skip) !=
		    (ssize_t)(n - skip)) {
			return rsvdctl_error(ctl, "cannot write output: %s",
					     strerror(errno));
		}
		offset = start + n;
		rsvdctl_progress_update(ctl, offset - first);
	}
	rsvdctl_progress_end(ctl);
	return RSVDCTL_OK;
}

/* As cp(1): what is read must not be cut to nothing first. */
static bool rsvdctl_is_same_file(const char *path, const char *other)
{
	struct stat st, other_st;

	return stat(path, &st) == 0 && stat(other, &other_st) == 0 &&
	       st.st_dev == other_st.st_dev && st.st_ino == other_st.st_ino;
}

static int rsvdctl_read_run(struct rsvdctl *ctl)
{
	const char *target = rsvdctl_target(ctl);
	struct rsvdctl_disk *disk = NULL;
	uint64_t offset = 0, length = UINT64_MAX;
	NTSTATUS status;
	int fd = STDOUT_FILENO;
	int ret;

	if (target == NULL ||
	    !rsvdctl_size(ctl, "--offset", io_opts.offset, &offset) ||
	    !rsvdctl_size(ctl, "--length", io_opts.length, &length)) {
		return RSVDCTL_FAILED;
	}

	disk = rsvdctl_disk_open(ctl, target, false);
	if (disk == NULL) {
		return RSVDCTL_FAILED;
	}
	if (offset > disk->size ||
	    (io_opts.length != NULL && length > disk->size - offset)) {
		return rsvdctl_error(ctl, "that is beyond the end of %s, "
				     "which has %"PRIu64" bytes", target,
				     disk->size);
	}
	length = MIN(length, disk->size - offset);

	if (io_opts.file != NULL && !rsvdctl_is_remote(target) &&
	    rsvdctl_is_same_file(target, io_opts.file)) {
		return rsvdctl_error(ctl, "%s and %s are the same file",
				     target, io_opts.file);
	}
	if (io_opts.file != NULL) {
		fd = open(io_opts.file, O_WRONLY | O_CREAT | O_TRUNC, 0666);
		if (fd == -1) {
			return rsvdctl_error(ctl, "cannot open %s: %s",
					     io_opts.file, strerror(errno));
		}
	}

	ret = rsvdctl_read_all(ctl, disk, fd, offset, length);

	if (fd != STDOUT_FILENO && close(fd) != 0 && ret == RSVDCTL_OK) {
		ret = rsvdctl_error(ctl, "cannot write %s: %s", io_opts.file,
				    strerror(errno));
	}
	status = disk->ops->close(disk);
	if (!NT_STATUS_IS_OK(status) && ret == RSVDCTL_OK) {
		ret = disk->ops->error(disk, status, "close");
	}
	return ret;
}

struct rsvdctl_command rsvdctl_read = {
	.name = "read",
	.args = "TARGET",
	.summary = "copy from a disk",
	.options = read_options,
	.remote = true,
	.run = rsvdctl_read_run,
};

/*
 * write
 */

static struct poptOption write_options[] = {
	RSVDCTL_OPTIONS_RANGE,
	{
		.longName = "input",
		.shortName = 'i',
		.argInfo = POPT_ARG_STRING,
		.arg = &io_opts.file,
		.descrip = "File to read from; default standard input",
		.argDescrip = "FILE",
	},
	POPT_TABLEEND
};

/*
 * Who wants to open a file that we write waits for us, but the kernel lets
 * nobody wait for more than a minute: then there would be two writers.
 */
#define RSVDCTL_WANTED_MSEC 1000

static bool rsvdctl_is_wanted(struct rsvdctl_disk *disk)
{
	return disk->ops->is_wanted != NULL && disk->ops->is_wanted(disk);
}

/* Whatever poll() says, reading from it tells more. */
static void rsvdctl_wait_input(struct rsvdctl_disk *disk, int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	while (disk->ops->is_wanted != NULL &&
	       !disk->ops->is_wanted(disk) &&
	       poll(&pfd, 1, RSVDCTL_WANTED_MSEC) == 0) {
		;
	}
}

/*
 * Fill the buffer, or come to the end. read_data() forgets what it has got
 * when the end comes first. When the disk is wanted by others it is left at
 * what there is.
 */
static ssize_t rsvdctl_read_input(struct rsvdctl_disk *disk, int fd,
				  uint8_t *buf, size_t length)
{
	size_t total = 0;
	ssize_t n;

	while (total < length) {
		rsvdctl_wait_input(disk, fd);
		if (rsvdctl_is_wanted(disk)) {
			break;
		}
		n = sys_read(fd, buf + total, length - total);
		if (n == -1) {
			return -1;
		}
		if (n == 0) {
			break;
		}
		total += n;
	}
	return total;
}

static int rsvdctl_write_all(struct rsvdctl *ctl, struct rsvdctl_disk *disk,
			     int fd, uint64_t offset, uint64_t length)
{
	const uint64_t first = offset;
	uint64_t total = length;
	uint8_t *buf = NULL;
	struct stat st;
	NTSTATUS status;
	ssize_t n;

	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		total = MIN(length, (uint64_t)st.st_size);
	}
	/* How much a pipe will bring nobody knows, unless --length does. */
	if (total != UINT64_MAX) {
		rsvdctl_progress_start(ctl, "write", total);
	}
	buf = talloc_array(ctl->mem_ctx, uint8_t, RSVDCTL_CHUNK);
	if (buf == NULL) {
		return rsvdctl_error(ctl, "out of memory");
	}

	while (length > 0) {
		n = rsvdctl_read_input(disk, fd, buf, MIN(length, RSVDCTL_CHUNK));
		if (n == -1) {
			return rsvdctl_error(ctl, "cannot read input: %s",
					     strerror(errno));
		}
		if (rsvdctl_is_wanted(disk)) {
			return rsvdctl_error(ctl, "%s is wanted by others: "
					     "stopped after %"PRIu64" bytes",
					     disk->name, offset - first);
		}
		if (n == 0) {
			break;
		}
		if (n % disk->sector_size != 0) {
			return rsvdctl_error(ctl, "the input is not a whole "
					     "number of sectors of %"PRIu32
					     " bytes", disk->sector_size);
		}
		if ((uint64_t)n > disk->size - offset) {
			return rsvdctl_error(ctl, "the input is longer than "
					     "what is left of %s", disk->name);
		}
		status = disk->ops->write(disk, buf, n, offset);
		if (!NT_STATUS_IS_OK(status)) {
			return disk->ops->error(disk, status, "write");
		}
		offset += n;
		length -= n;
		rsvdctl_progress_update(ctl, offset - first);
	}
	rsvdctl_progress_end(ctl);

	status = disk->ops->flush(disk);
	if (!NT_STATUS_IS_OK(status)) {
		return disk->ops->error(disk, status, "flush");
	}
	if (io_opts.length != NULL && length > 0) {
		/* Half of what was meant: who wrote the pipe may have died. */
		return rsvdctl_error(ctl, "the input ended after %"PRIu64
				     " bytes, before --length", offset - first);
	}
	return RSVDCTL_OK;
}

static int rsvdctl_write_run(struct rsvdctl *ctl)
{
	const char *target = rsvdctl_target(ctl);
	struct rsvdctl_disk *disk = NULL;
	uint64_t offset = 0, length = UINT64_MAX;
	NTSTATUS status;
	int fd = STDIN_FILENO;
	int ret;

	if (target == NULL ||
	    !rsvdctl_size(ctl, "--offset", io_opts.offset, &offset) ||
	    !rsvdctl_size(ctl, "--length", io_opts.length, &length)) {
		return RSVDCTL_FAILED;
	}
	if (io_opts.file != NULL) {
		fd = open(io_opts.file, O_RDONLY);
		if (fd == -1) {
			return rsvdctl_error(ctl, "cannot open %s: %s",
					     io_opts.file, strerror(errno));
		}
	}

	disk = rsvdctl_disk_open(ctl, target, true);
	if (disk == NULL) {
		return RSVDCTL_FAILED;
	}
	if (offset % disk->sector_size != 0) {
		return rsvdctl_error(ctl, "--offset is not a multiple of the "
				     "sector size, %"PRIu32" bytes",
				     disk->sector_size);
	}
	if (offset > disk->size) {
		return rsvdctl_error(ctl, "--offset is beyond the end of %s, "
				     "which has %"PRIu64" bytes", target,
				     disk->size);
	}

	ret = rsvdctl_write_all(ctl, disk, fd, offset, length);

	status = disk->ops->close(disk);
	if (!NT_STATUS_IS_OK(status) && ret == RSVDCTL_OK) {
		ret = disk->ops->error(disk, status, "close");
	}
	return ret;
}

struct rsvdctl_command rsvdctl_write = {
	.name = "write",
	.args = "TARGET",
	.summary = "copy onto a disk",
	.options = write_options,
	.remote = true,
	.run = rsvdctl_write_run,
};
