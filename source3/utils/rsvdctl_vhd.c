/*
 * rsvdctl: VHD images, the format before VHDX, and chains of differencing ones
 *
 * "Virtual Hard Disk Image Format Specification", version 1.0: all numbers are
 * big endian.
 *
 * libvhdi reads this format, too, but not rightly: up to version 20240509 at
 * least, libvhdi_block_descriptor_read_sector_bitmap_data() does not mask the
 * bit it looks at, so that behind the first sector of a bitmap byte that is in
 * the file it takes those that are not for such as well. Of a differencing
 * image that loses what the parent has there; its callers cannot tell where.
 * Nor does it look at checksums or the copy of the footer, or tell what is
 * allocated. All of this that is right here would have to stay for it.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/utils/rsvdctl.h"
#include "lib/util/bytearray.h"
#include "system/filesys.h"

#define VHD_SECTOR 512
#define VHD_FOOTER_SIZE 512
#define VHD_HEADER_SIZE 1024

#define VHD_TYPE_FIXED 2
#define VHD_TYPE_DYNAMIC 3
#define VHD_TYPE_DIFFERENCING 4

#define VHD_UNUSED 0xFFFFFFFF

/* What a VHDX has room for. */
#define VHD_MAX_SIZE (64ULL << 40)

/* The table of the largest VHD has four million entries of 512 KiB. */
#define VHD_MAX_BLOCKS (8 * 1024 * 1024)
#define VHD_MAX_BLOCK_SIZE (256 * 1024 * 1024)

/* Each has a file and a table open. */
#define VHD_MAX_PARENTS 64

struct vhd {
	struct rsvdctl *ctl;
	const char *path;
	int fd;
	uint32_t type;
	uint64_t size;
	uint8_t id[16];
	/* not of a fixed one */
	uint32_t block_size;
	uint32_t num_blocks;
	uint32_t *blocks;	/* sector where each begins */
	uint32_t bitmap_size;	/* at its begin */
	/* of a differencing one */
	uint8_t parent_id[16];
	struct vhd *parent;
	const struct vhd *child;
	/* The bitmap of the block that was last looked at. */
	uint8_t *bitmap;
	uint32_t bitmap_block;
};

static bool vhd_pread(struct vhd *vhd, void *buf, size_t length, off_t offset)
{
	uint8_t *p = buf;

	while (length > 0) {
		ssize_t n = pread(vhd->fd, p, length, offset);

		if (n == -1 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			rsvdctl_error(vhd->ctl, "cannot read %s: %s",
				      vhd->path, n == 0 ?
				      "it ends too early" : strerror(errno));
			return false;
		}
		p += n;
		offset += n;
		length -= n;
	}
	return true;
}

static bool vhd_broken(const struct vhd *vhd, const char *what)
{
	rsvdctl_error(vhd->ctl, "%s is damaged: %s", vhd->path, what);
	return false;
}

/* The complement of the sum of all bytes, its own left out. */
static bool vhd_checksum_matches(const uint8_t *buf, size_t length,
				 size_t offset)
{
	uint32_t sum = 0;
	size_t i;

	for (i = 0; i < length; i++) {
		if (i < offset || i >= offset + 4) {
			sum += buf[i];
		}
	}
	return ~sum == PULL_BE_U32(buf, offset);
}

static bool vhd_is_footer(const uint8_t footer[VHD_FOOTER_SIZE])
{
	return memcmp(footer, "conectix", 8) == 0 &&
	       vhd_checksum_matches(footer, VHD_FOOTER_SIZE, 64);
}

/* The footer, or the copy of it at the begin of one that is not fixed. */
static bool vhd_load_footer(struct vhd *vhd, uint64_t *header_offset)
{
	uint8_t footer[VHD_FOOTER_SIZE];
	off_t end = lseek(vhd->fd, 0, SEEK_END);

	if (end < VHD_FOOTER_SIZE) {
		return vhd_broken(vhd, "it is too short");
	}
	if (!vhd_pread(vhd, footer, sizeof(footer), end - sizeof(footer))) {
		return false;
	}
	if (!vhd_is_footer(footer)) {
		if (!vhd_pread(vhd, footer, sizeof(footer), 0)) {
			return false;
		}
		if (!vhd_is_footer(footer) ||
		    PULL_BE_U32(footer, 60) == VHD_TYPE_FIXED) {
			return vhd_broken(vhd, "it has no valid footer");
		}
	}

	*header_offset = PULL_BE_U64(footer, 16);
	vhd->size = PULL_BE_U64(footer, 48);
	vhd->type = PULL_BE_U32(footer, 60);
	memcpy(vhd->id, footer + 68, sizeof(vhd->id));

	if (vhd->type < VHD_TYPE_FIXED || vhd->type > VHD_TYPE_DIFFERENCING) {
		return vhd_broken(vhd, "it is of an unknown type");
	}
	if (vhd->size == 0 || vhd->size > VHD_MAX_SIZE ||
	    vhd->size % VHD_SECTOR != 0 ||
	    (vhd->type == VHD_TYPE_FIXED &&
	     vhd->size > (uint64_t)end - VHD_FOOTER_SIZE)) {
		return vhd_broken(vhd, "its size is not possible");
	}
	return true;
}

static bool vhd_load_header(struct vhd *vhd, uint64_t offset,
			    uint8_t header[VHD_HEADER_SIZE])
{
	uint64_t table_offset;
	uint32_t i;

	if (!vhd_pread(vhd, header, VHD_HEADER_SIZE, offset)) {
		return false;
	}
	if (memcmp(header, "cxsparse", 8) != 0 ||
	    !vhd_checksum_matches(header, VHD_HEADER_SIZE, 36)) {
		return vhd_broken(vhd, "it has no valid header");
	}
	table_offset = PULL_BE_U64(header, 16);
	vhd->num_blocks = PULL_BE_U32(header, 28);
	vhd->block_size = PULL_BE_U32(header, 32);
	memcpy(vhd->parent_id, header + 40, sizeof(vhd->parent_id));

	if (vhd->block_size < VHD_SECTOR ||
	    vhd->block_size > VHD_MAX_BLOCK_SIZE ||
	    (vhd->block_size & (vhd->block_size - 1)) != 0) {
		return vhd_broken(vhd, "its block size is not possible");
	}
	if (vhd->num_blocks > VHD_MAX_BLOCKS ||
	    vhd->num_blocks < (vhd->size + vhd->block_size - 1) /
	    vhd->block_size) {
		return vhd_broken(vhd, "its table has not the size it needs");
	}
	vhd->bitmap_size = vhd->block_size / VHD_SECTOR / 8;
	vhd->bitmap_size = MAX(VHD_SECTOR, vhd->bitmap_size);

	vhd->blocks = talloc_array(vhd, uint32_t, vhd->num_blocks);
	vhd->bitmap = talloc_array(vhd, uint8_t, vhd->bitmap_size);
	vhd->bitmap_block = VHD_UNUSED;
	if (vhd->blocks == NULL || vhd->bitmap == NULL) {
		rsvdctl_error(vhd->ctl, "out of memory");
		return false;
	}
	if (!vhd_pread(vhd, vhd->blocks,
		       (size_t)vhd->num_blocks * sizeof(uint32_t),
		       table_offset)) {
		return false;
	}
	for (i = 0; i < vhd->num_blocks; i++) {
		vhd->blocks[i] = PULL_BE_U32(vhd->blocks,
					     i * sizeof(uint32_t));
	}
	return true;
}

/*
 * The file that the header names, beside the child: where it was when the
 * child was made is of no use on another machine.
 */
static char *vhd_parent_path(struct vhd *vhd,
			     const uint8_t header[VHD_HEADER_SIZE])
{
	const uint8_t *name16 = header + 64;
	const char *slash = strrchr(vhd->path, '/');
	const char *base = NULL;
	char *name = NULL, *path = NULL;
	size_t length = 0, converted;

	while (length < 512 && PULL_BE_U16(name16, length) != 0) {
		length += 2;
	}
	if (length == 0 ||
	    !convert_string_talloc(vhd, CH_UTF16BE, CH_UNIX, name16, length,
				   &name, &converted)) {
		vhd_broken(vhd, "it does not name its parent");
		return NULL;
	}
	name = talloc_strndup(vhd, name, converted);
	if (name == NULL) {
		return NULL;
	}
	string_replace(name, '\\', '/');
	base = strrchr(name, '/');
	base = base != NULL ? base + 1 : name;

	path = talloc_asprintf(vhd, "%.*s%s", slash != NULL ?
			       (int)(slash + 1 - vhd->path) : 0, vhd->path,
			       base);
	if (path != NULL && access(path, F_OK) != 0) {
		rsvdctl_error(vhd->ctl, "the parent of %s is missing: put %s "
			      "beside it", vhd->path, base);
		return NULL;
	}
	return path;
}

static int vhd_destructor(struct vhd *vhd)
{
	close(vhd->fd);
	return 0;
}

static struct vhd *vhd_open(struct rsvdctl *ctl, TALLOC_CTX *mem_ctx,
			    const char *path, const struct vhd *child);

static bool vhd_open_parent(struct vhd *vhd,
			    const uint8_t header[VHD_HEADER_SIZE])
{
	const struct vhd *child = NULL;
	unsigned int depth = 0;
	char *path = NULL;

	for (child = vhd; child != NULL; child = child->child) {
		if (memcmp(child->id, vhd->parent_id, sizeof(vhd->id)) == 0) {
			return vhd_broken(vhd, "it is its own parent");
		}
		depth += 1;
	}
	if (depth > VHD_MAX_PARENTS) {
		return vhd_broken(vhd, "it has too many parents");
	}
	path = vhd_parent_path(vhd, header);
	if (path == NULL) {
		return false;
	}
	vhd->parent = vhd_open(vhd->ctl, vhd, path, vhd);
	return vhd->parent != NULL;
}

/* Read together two that do not belong together are nobody's data. */
static bool vhd_is_parent(struct vhd *vhd)
{
	const struct vhd *child = vhd->child;

	if (child == NULL ||
	    memcmp(vhd->id, child->parent_id, sizeof(vhd->id)) == 0) {
		return true;
	}
	rsvdctl_error(vhd->ctl, "%s is not the parent that %s was made of",
		      vhd->path, child->path);
	return false;
}

static struct vhd *vhd_open(struct rsvdctl *ctl, TALLOC_CTX *mem_ctx,
			    const char *path, const struct vhd *child)
{
	struct vhd *vhd = talloc_zero(mem_ctx, struct vhd);
	uint8_t header[VHD_HEADER_SIZE];
	uint64_t header_offset = 0;
	bool ok;

	if (vhd == NULL) {
		rsvdctl_error(ctl, "out of memory");
		return NULL;
	}
	vhd->ctl = ctl;
	vhd->path = path;
	vhd->child = child;
	vhd->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (vhd->fd == -1) {
		rsvdctl_error(ctl, "cannot open %s: %s", path,
			      strerror(errno));
		TALLOC_FREE(vhd);
		return NULL;
	}
	talloc_set_destructor(vhd, vhd_destructor);

	/* In this order: what is no parent is not followed any further. */
	ok = vhd_load_footer(vhd, &header_offset) && vhd_is_parent(vhd);
	if (ok && vhd->type != VHD_TYPE_FIXED) {
		ok = vhd_load_header(vhd, header_offset, header);
	}
	if (ok && vhd->type == VHD_TYPE_DIFFERENCING) {
		ok = vhd_open_parent(vhd, header);
	}
	if (!ok) {
		TALLOC_FREE(vhd);
	}
	return vhd;
}

/*
 * Reading
 */

static bool vhd_read(struct vhd *vhd, uint8_t *buf, size_t length,
		     uint64_t offset);

/* What is not in the file of vhd. */
static bool vhd_read_below(struct vhd *vhd, uint8_t *buf, size_t length,
			   uint64_t offset)
{
	struct vhd *parent = vhd->parent;
	size_t n = 0;

	/* A child may be larger than its parent. */
	if (parent != NULL && offset < parent->size) {
		n = MIN(length, parent->size - offset);
		if (!vhd_read(parent, buf, n, offset)) {
			return false;
		}
	}
	memset(buf + n, 0, length - n);
	return true;
}

/*
 * The bit of a sector is set when it was written, and so is in this file.
 * First is the highest.
 */
static bool vhd_has_sector(const struct vhd *vhd, uint32_t sector)
{
	return (vhd->bitmap[sector / 8] & (0x80 >> (sector % 8))) != 0;
}

/* A part of one block. */
static bool vhd_read_block(struct vhd *vhd, uint8_t *buf, size_t length,
			   uint32_t block, uint32_t within)
{
	uint64_t start = (uint64_t)vhd->blocks[block] * VHD_SECTOR;
	uint64_t offset = (uint64_t)block * vhd->block_size + within;
	uint32_t sector = within / VHD_SECTOR;
	uint32_t end = (within + length) / VHD_SECTOR;

	if (vhd->blocks[block] == VHD_UNUSED) {
		return vhd_read_below(vhd, buf, length, offset);
	}
	if (vhd->bitmap_block != block) {
		vhd->bitmap_block = VHD_UNUSED;
		if (!vhd_pread(vhd, vhd->bitmap, vhd->bitmap_size, start)) {
			return false;
		}
		vhd->bitmap_block = block;
	}
	while (sector < end) {
		bool here = vhd_has_sector(vhd, sector);
		uint32_t run = 1;
		size_t n;
		bool ok;

		while (sector + run < end &&
		       vhd_has_sector(vhd, sector + run) == here) {
			run += 1;
		}
		n = (size_t)run * VHD_SECTOR;
		ok = here ? vhd_pread(vhd, buf, n, start + vhd->bitmap_size +
				      (uint64_t)sector * VHD_SECTOR) :
		     vhd_read_below(vhd, buf, n,
				    (uint64_t)block * vhd->block_size +
				    (uint64_t)sector * VHD_SECTOR);
		if (!ok) {
			return false;
		}
		buf += n;
		sector += run;
	}
	return true;
}

static bool vhd_read(struct vhd *vhd, uint8_t *buf, size_t length,
		     uint64_t offset)
{
	if (vhd->type == VHD_TYPE_FIXED) {
		return vhd_pread(vhd, buf, length, offset);
	}
	while (length > 0) {
		uint32_t within = offset % vhd->block_size;
		size_t n = MIN(length, vhd->block_size - within);

		if (!vhd_read_block(vhd, buf, n, offset / vhd->block_size,
				    within)) {
			return false;
		}
		buf += n;
		offset += n;
		length -= n;
	}
	return true;
}

static bool vhd_source_read(struct rsvdctl_source *source, void *buf,
			    size_t length, uint64_t offset)
{
	struct vhd *vhd = talloc_get_type_abort(source->private_data,
						struct vhd);

	return vhd_read(vhd, buf, length, offset);
}

/* Up to the end of the block, whether any of the chain has it. */
static bool vhd_source_run(struct rsvdctl_source *source, uint64_t offset,
			   uint64_t *length, bool *has_data)
{
	struct vhd *vhd = talloc_get_type_abort(source->private_data,
						struct vhd);

	*length = source->size - offset;
	*has_data = false;

	for (; vhd != NULL; vhd = vhd->parent) {
		if (offset >= vhd->size) {
			continue;
		}
		if (vhd->type == VHD_TYPE_FIXED) {
			*length = MIN(*length, vhd->size - offset);
			*has_data = true;
			return true;
		}
		*length = MIN(*length, vhd->block_size -
			      offset % vhd->block_size);
		if (vhd->blocks[offset / vhd->block_size] != VHD_UNUSED) {
			*has_data = true;
			return true;
		}
	}
	return true;
}

bool rsvdctl_vhd_open(struct rsvdctl_source *source)
{
	struct vhd *vhd = vhd_open(source->ctl, source, source->name, NULL);

	if (vhd == NULL) {
		return false;
	}
	source->size = vhd->size;
	source->sector_size = VHD_SECTOR;
	source->run = vhd_source_run;
	source->read = vhd_source_read;
	source->private_data = vhd;
	return true;
}
