/*
 * rsvdctl: make an image of what another format, or a disk elsewhere, holds
 *
 * A source says which runs of it have data, as far as its format tells; what
 * it has is read, and what of that is zeros is not written.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/utils/rsvdctl.h"
#include "modules/vhdx/vhdx.h"
#include "system/filesys.h"

/* What is read at once, and looked through for zeros in pieces. */
#define CONVERT_CHUNK (4 * 1024 * 1024)
#define CONVERT_PIECE (64 * 1024)

static struct {
	const char *format;
	const char *type;
	const char *block_size;
	const char *sector_size;
} convert_opts;

static struct poptOption convert_options[] = {
	{
		.longName = "format",
		.shortName = 'f',
		.argInfo = POPT_ARG_STRING,
		.arg = &convert_opts.format,
		.descrip = "What the source is; default what it looks like",
		.argDescrip = "raw|vhd|vhdx",
	},
	{
		.longName = "type",
		.argInfo = POPT_ARG_STRING,
		.arg = &convert_opts.type,
		.descrip = "Whether blocks are allocated where there is data "
			   "(the default) or all at once",
		.argDescrip = "dynamic|fixed",
	},
	{
		.longName = "block-size",
		.argInfo = POPT_ARG_STRING,
		.arg = &convert_opts.block_size,
		.descrip = "1M to 256M, a power of two; default 32M",
		.argDescrip = "SIZE",
	},
	{
		.longName = "sector-size",
		.argInfo = POPT_ARG_STRING,
		.arg = &convert_opts.sector_size,
		.descrip = "Logical sector size, 512 or 4096; default that of "
			   "the source",
		.argDescrip = "SIZE",
	},
	POPT_TABLEEND
};

/*
 * Raw files and block devices
 */

struct convert_raw {
	int fd;
};

static bool raw_run(struct rsvdctl_source *source, uint64_t offset,
		    uint64_t *length, bool *has_data)
{
	struct convert_raw *raw = talloc_get_type_abort(
		source->private_data, struct convert_raw);
	off_t data, hole;

	*has_data = true;
	*length = source->size - offset;

	data = lseek(raw->fd, offset, SEEK_DATA);
	if (data == -1) {
		/* ENXIO: a hole up to the end. Else: it can't be told. */
		*has_data = (errno != ENXIO);
		return true;
	}
	if ((uint64_t)data > offset) {
		*has_data = false;
		*length = MIN(*length, (uint64_t)data - offset);
		return true;
	}
	hole = lseek(raw->fd, offset, SEEK_HOLE);
	if (hole != -1 && (uint64_t)hole > offset) {
		*length = MIN(*length, (uint64_t)hole - offset);
	}
	return true;
}

static bool raw_read(struct rsvdctl_source *source, void *buf, size_t length,
		     uint64_t offset)
{
	struct convert_raw *raw = talloc_get_type_abort(
		source->private_data, struct convert_raw);
	uint8_t *p = buf;

	while (length > 0) {
		ssize_t n = pread(raw->fd, p, length, offset);

		if (n == -1 && errno == EINTR) {
			continue;
		}
		if (n == -1) {
			rsvdctl_error(source->ctl, "cannot read %s: %s",
				      source->name, strerror(errno));
			return false;
		}
		if (n == 0) {
			/* The last sector may be a part of one. */
			memset(p, 0, length);
			break;
		}
		p += n;
		offset += n;
		length -= n;
	}
	return true;
}

static int raw_destructor(struct convert_raw *raw)
{
	close(raw->fd);
	return 0;
}

static bool raw_open(struct rsvdctl_source *source)
{
	struct convert_raw *raw = talloc_zero(source, struct convert_raw);
	off_t size;

	if (raw == NULL) {
		rsvdctl_error(source->ctl, "out of memory");
		return false;
	}
	raw->fd = open(source->name, O_RDONLY | O_CLOEXEC);
	if (raw->fd == -1) {
		rsvdctl_error(source->ctl, "cannot open %s: %s", source->name,
			      strerror(errno));
		return false;
	}
	talloc_set_destructor(raw, raw_destructor);
	/* Of a block device, too. */
	size = lseek(raw->fd, 0, SEEK_END);
	if (size == -1) {
		rsvdctl_error(source->ctl, "%s has no size: %s", source->name,
			      strerror(errno));
		return false;
	}
	source->size = size;
	source->sector_size = 512;
	source->run = raw_run;
	source->read = raw_read;
	source->private_data = raw;
	return true;
}

/*
 * VHDX, read by the engine; and disks on a server
 */

static bool vhdx_source_run(struct rsvdctl_source *source, uint64_t offset,
			    uint64_t *length, bool *has_data)
{
	struct vhdx *image = source->private_data;
	struct vhdx_extent extent;
	NTSTATUS status;

	status = vhdx_map(image, offset, source->size - offset, &extent);
	if (!NT_STATUS_IS_OK(status)) {
		rsvdctl_nterror(source->ctl, status, "cannot map %s",
				source->name);
		return false;
	}
	*length = extent.length;
	*has_data = (extent.kind != VHDX_EXTENT_ZERO);
	return true;
}

static bool vhdx_source_read(struct rsvdctl_source *source, void *buf,
			     size_t length, uint64_t offset)
{
	struct vhdx *image = source->private_data;
	NTSTATUS status;

	status = vhdx_read(image, buf, length, offset);
	if (!NT_STATUS_IS_OK(status)) {
		rsvdctl_nterror(source->ctl, status, "cannot read %s",
				source->name);
		return false;
	}
	return true;
}

static bool vhdx_source_open(struct rsvdctl_source *source)
{
	struct vhdx *image = rsvdctl_local_vhdx_unwritten(source->ctl,
							  source->name);

	if (image == NULL) {
		return false;
	}
	source->size = vhdx_geometry(image)->virtual_size;
	source->sector_size = vhdx_geometry(image)->logical_sector_size;
	source->run = vhdx_source_run;
	source->read = vhdx_source_read;
	source->private_data = image;
	return true;
}

static bool remote_run(struct rsvdctl_source *source, uint64_t offset,
		       uint64_t *length, bool *has_data)
{
	struct rsvdctl_disk *disk = talloc_get_type_abort(
		source->private_data, struct rsvdctl_disk);

	return rsvdctl_remote_run(disk, offset, length, has_data);
}

static bool remote_read(struct rsvdctl_source *source, void *buf,
			size_t length, uint64_t offset)
{
	struct rsvdctl_disk *disk = talloc_get_type_abort(
		source->private_data, struct rsvdctl_disk);
	NTSTATUS status;

	status = disk->ops->read(disk, buf, length, offset);
	if (!NT_STATUS_IS_OK(status)) {
		disk->ops->error(disk, status, "read");
		return false;
	}
	return true;
}

static bool remote_open(struct rsvdctl_source *source)
{
	struct rsvdctl_disk *disk = NULL;

	disk = rsvdctl_remote_open(source->ctl, source->name, false);
	if (disk == NULL) {
		return false;
	}
	source->size = disk->size;
	source->sector_size = disk->sector_size;
	source->run = remote_run;
	source->read = remote_read;
	source->private_data = disk;
	return true;
}

/*
 * Which is it?
 */

static const char *convert_format(struct rsvdctl *ctl, const char *path)
{
	char magic[8] = { 0 }, footer[8] = { 0 };
	off_t size;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1) {
		rsvdctl_error(ctl, "cannot open %s: %s", path,
			      strerror(errno));
		return NULL;
	}
	size = lseek(fd, 0, SEEK_END);
	if (pread(fd, magic, sizeof(magic), 0) == -1 ||
	    (size >= 512 &&
	     pread(fd, footer, sizeof(footer), size - 512) == -1)) {
		rsvdctl_error(ctl, "cannot read %s: %s", path,
			      strerror(errno));
		close(fd);
		return NULL;
	}
	close(fd);

	if (memcmp(magic, "vhdxfile", 8) == 0) {
		return "vhdx";
	}
	/* A fixed VHD has its only header at the end. */
	if (memcmp(magic, "conectix", 8) == 0 ||
	    memcmp(footer, "conectix", 8) == 0) {
		return "vhd";
	}
	return "raw";
}

static struct rsvdctl_source *convert_source(struct rsvdctl *ctl,
					     const char *name)
{
	struct rsvdctl_source *source = NULL;
	const char *format = convert_opts.format;
	bool ok;

	source = talloc_zero(ctl->mem_ctx, struct rsvdctl_source);
	if (source == NULL) {
		rsvdctl_error(ctl, "out of memory");
		return NULL;
	}
	source->ctl = ctl;
	source->name = name;

	if (rsvdctl_is_remote(name)) {
		if (format != NULL) {
			rsvdctl_usage(ctl, "a disk on a server has no "
				      "--format");
			return NULL;
		}
		return remote_open(source) ? source : NULL;
	}
	if (format == NULL) {
		format = convert_format(ctl, name);
		if (format == NULL) {
			return NULL;
		}
	}
	if (strcmp(format, "raw") == 0) {
		ok = raw_open(source);
	} else if (strcmp(format, "vhdx") == 0) {
		ok = vhdx_source_open(source);
	} else if (strcmp(format, "vhd") == 0) {
		ok = rsvdctl_vhd_open(source);
	} else {
		rsvdctl_usage(ctl, "no such --format: %s", format);
		ok = false;
	}
	return ok ? source : NULL;
}

/*
 * Copying
 */

static bool convert_is_zero(const uint8_t *buf, size_t length)
{
	/* Each byte is equal to the one before it, the first is zero. */
	return buf[0] == 0 && memcmp(buf, buf + 1, length - 1) == 0;
}

static NTSTATUS convert_write(struct vhdx *image, const uint8_t *buf,
			      size_t length, uint64_t offset)
{
	size_t start = 0, end = 0;
	NTSTATUS status;

	while (start < length) {
		size_t piece = MIN(CONVERT_PIECE, length - end);

		if (end < length && !convert_is_zero(buf + end, piece)) {
			end += piece;
			continue;
		}
		if (end > start) {
			status = vhdx_write(image, buf + start, end - start,
					    offset + start);
			if (!NT_STATUS_IS_OK(status)) {
				return status;
			}
		}
		/* Past the zeros */
		end += piece;
		start = end;
	}
	return NT_STATUS_OK;
}

static int convert_copy(struct rsvdctl *ctl, struct rsvdctl_source *source,
			struct vhdx *image, const char *path)
{
	uint64_t size = vhdx_geometry(image)->virtual_size;
	uint64_t offset = 0;
	uint8_t *buf = NULL;
	NTSTATUS status;

	buf = talloc_array(ctl->mem_ctx, uint8_t, CONVERT_CHUNK);
	if (buf == NULL) {
		return rsvdctl_error(ctl, "out of memory");
	}
	rsvdctl_progress_start(ctl, "convert", size);

	while (offset < source->size) {
		uint64_t length;
		bool has_data;
		size_t n;

		if (!source->run(source, offset, &length, &has_data)) {
			return RSVDCTL_FAILED;
		}
		if (!has_data) {
			offset += length;
			rsvdctl_progress_update(ctl, offset);
			continue;
		}
		/* To the end of a chunk, so that the next one is aligned. */
		n = MIN(length, CONVERT_CHUNK - offset % CONVERT_CHUNK);
		if (!source->read(source, buf, n, offset)) {
			return RSVDCTL_FAILED;
		}
		status = convert_write(image, buf, n, offset);
		if (!NT_STATUS_IS_OK(status)) {
			return rsvdctl_nterror(ctl, status, "cannot write %s",
					       path);
		}
		offset += n;
		rsvdctl_progress_update(ctl, offset);
	}
	rsvdctl_progress_end(ctl);

	status = vhdx_flush(image);
	if (!NT_STATUS_IS_OK(status)) {
		return rsvdctl_nterror(ctl, status, "cannot flush %s", path);
	}
	return RSVDCTL_OK;
}

static int convert_into(struct rsvdctl *ctl, struct rsvdctl_source *source,
			struct vhdx_storage *storage, const char *path,
			const struct vhdx_create_params *params)
{
	struct vhdx *image = NULL;
	char *reason = NULL;
	NTSTATUS status;
	int ret;

	status = vhdx_create(storage, params);
	if (NT_STATUS_EQUAL(status, NT_STATUS_INVALID_PARAMETER)) {
		return rsvdctl_usage(ctl, "a VHDX cannot have these sizes");
	}
	if (!NT_STATUS_IS_OK(status)) {
		return rsvdctl_nterror(ctl, status, "cannot create %s", path);
	}
	status = vhdx_open(ctl->mem_ctx, storage, NULL, 0, &image, &reason);
	if (!NT_STATUS_IS_OK(status)) {
		return rsvdctl_nterror(ctl, status, "cannot open %s: %s", path,
				       reason != NULL ? reason : "");
	}
	ret = convert_copy(ctl, source, image, path);
	status = vhdx_close(&image);
	if (!NT_STATUS_IS_OK(status) && ret == RSVDCTL_OK) {
		ret = rsvdctl_nterror(ctl, status, "cannot close %s", path);
	}
	return ret;
}

static int rsvdctl_convert_run(struct rsvdctl *ctl)
{
	const char *name = poptGetArg(ctl->pc);
	const char *path = poptGetArg(ctl->pc);
	struct rsvdctl_source *source = NULL;
	struct vhdx_create_params params = { .fixed = false };
	struct vhdx_storage *storage = NULL;
	uint64_t block_size = 0, sector_size = 0;
	int ret;

	if (name == NULL || path == NULL || poptPeekArg(ctl->pc) != NULL) {
		return rsvdctl_usage(ctl, "name a source and one file to "
				     "create");
	}
	if (rsvdctl_is_remote(path)) {
		return rsvdctl_usage(ctl, "only a local file can be created; "
				     "\"write\" copies onto a disk");
	}
	if (!rsvdctl_size(ctl, "--block-size", convert_opts.block_size,
			  &block_size) ||
	    !rsvdctl_size(ctl, "--sector-size", convert_opts.sector_size,
			  &sector_size) ||
	    !rsvdctl_type(ctl, convert_opts.type, &params.fixed)) {
		return RSVDCTL_FAILED;
	}
	source = convert_source(ctl, name);
	if (source == NULL) {
		return RSVDCTL_FAILED;
	}
	if (sector_size == 0) {
		sector_size = source->sector_size;
	}
	params.block_size = MIN(block_size, UINT32_MAX);
	params.logical_sector_size = MIN(sector_size, UINT32_MAX);
	/* A file may end within a sector; a disk does not. */
	params.virtual_size = source->size + sector_size - 1;
	params.virtual_size -= params.virtual_size % MAX(sector_size, 1);

	storage = rsvdctl_create_begin(ctl, path);
	if (storage == NULL) {
		return RSVDCTL_FAILED;
	}
	ret = convert_into(ctl, source, storage, path, &params);
	TALLOC_FREE(storage);
	rsvdctl_create_end(path, ret == RSVDCTL_OK);
	return ret;
}

struct rsvdctl_command rsvdctl_convert = {
	.name = "convert",
	.args = "SOURCE FILE",
	.summary = "make an image of a raw disk, a VHD, another VHDX",
	.options = convert_options,
	.remote = true,
	.run = rsvdctl_convert_run,
};
