/*
 * vfs_rsvd: the block allocation table (MS-VHDX 2.5)
 *
 * The table of a 64 TiB disk of 1 MiB blocks has 512 MiB, so it is read in
 * sectors of 4 KiB as they are needed, and a bounded number of them is kept.
 * The sector is also what the log counts in.
 *
 * A cached place of a mapped block is right until the map generation of the
 * shared state changes (then all is forgotten). That a block is not mapped
 * may have changed with no notice at all: another process has allocated it.
 * So that is believed only of a sector read during the same call.
 *
 * Of the transitions between block states only those to FULLY_PRESENT can do
 * without a new generation. One that takes a place away must store a new
 * generation *before* the place is used for anything else, and wait until no
 * other process can have I/O under way that was translated with the old one:
 * see vhdx_release.c.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/debug.h"
#include "modules/vhdx/vhdx_private.h"

#define SECTOR_ENTRIES (VHDX_SECTOR_SIZE / VHDX_BAT_ENTRY_SIZE)

/* 8 MiB of table: 1 TiB of disk in 1 MiB blocks, 32 TiB in 32 MiB blocks */
#define MAX_CACHED_SECTORS 2048

/* Tables up to this size are checked when the image is opened. */
#define EAGER_CHECK_SIZE VHDX_MIB
#define EAGER_CHECK_FILE_SIZE (16 * VHDX_TIB)

struct bat_sector {
	uint64_t index;
	bool used;	/* since the clock hand came by */
	uint64_t places[SECTOR_ENTRIES];
};

struct vhdx_bat_cache {
	struct bat_sector **sectors;	/* by index, NULL: not cached */
	uint64_t num_sectors;
	struct bat_sector *clock[MAX_CACHED_SECTORS];
	size_t num_cached;
	size_t hand;
};

uint64_t vhdx_bat_num_entries(const struct vhdx *image)
{
	uint64_t chunks = ((image->num_blocks - 1) >> image->chunk_shift) + 1;

	if (image->geometry.has_parent) {
		/* The bitmap of the last chunk is the last entry. */
		return (chunks << image->chunk_shift) + chunks;
	}
	return image->num_blocks + chunks - 1;
}

NTSTATUS vhdx_bat_init(struct vhdx *image)
{
	struct vhdx_bat_cache *cache = NULL;

	cache = talloc_zero(image, struct vhdx_bat_cache);
	if (cache == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	cache->num_sectors = (vhdx_bat_num_entries(image) +
			      SECTOR_ENTRIES - 1) / SECTOR_ENTRIES;
	cache->sectors = talloc_zero_array(cache, struct bat_sector *,
					   cache->num_sectors);
	if (cache->sectors == NULL) {
		TALLOC_FREE(cache);
		return NT_STATUS_NO_MEMORY;
	}
	image->bat_cache = cache;
	return NT_STATUS_OK;
}

void vhdx_bat_forget(struct vhdx *image)
{
	struct vhdx_bat_cache *cache = image->bat_cache;
	size_t i;

	if (cache == NULL) {
		return;
	}
	for (i = 0; i < cache->num_cached; i++) {
		cache->sectors[cache->clock[i]->index] = NULL;
		TALLOC_FREE(cache->clock[i]);
	}
	cache->num_cached = 0;
	cache->hand = 0;
}

uint64_t vhdx_bat_block_length(const struct vhdx *image, uint64_t block)
{
	uint64_t start = block << image->block_shift;
	uint64_t rest = image->geometry.virtual_size - start;

	/* Some writers end the file where the disk ends. */
	return MIN(rest, image->geometry.block_size);
}

bool vhdx_bat_inside_file(struct vhdx *image, uint64_t end)
{
	uint64_t size;

	if (end <= image->file_size) {
		return true;
	}
	if (NT_STATUS_IS_OK(vhdx_file_size(image->storage, &size))) {
		image->file_size = MAX(image->file_size, size);
	}
	return end <= image->file_size;
}

static uint64_t bad_place(struct vhdx_findings *findings, uint64_t block,
			  const char *rule, ...) PRINTF_ATTRIBUTE(3, 4);
/* Only now is there anything to format: tables have millions of entries. */
static uint64_t bad_place(struct vhdx_findings *findings, uint64_t block,
			  const char *rule, ...)
{
	char field[48];
	char buf[128];
	va_list ap;

	if (findings == NULL) {
		return VHDX_PLACE_BAD;
	}
	snprintf(field, sizeof(field), "payload[%" PRIu64 "]", block);
	va_start(ap, rule);
	vsnprintf(buf, sizeof(buf), rule, ap);
	va_end(ap);
	vhdx_find(findings, true, "BAT", field, "%s", buf);
	return VHDX_PLACE_BAD;
}

uint64_t vhdx_bat_entry_place(struct vhdx *image, uint64_t block,
			      uint64_t entry, struct vhdx_findings *findings)
{
	uint64_t offset = VHDX_BAT_FILE_OFFSET(entry);
	bool has_parent = image->geometry.has_parent;
	const char *overlap = NULL;

	if (entry == VHDX_PAYLOAD_NOT_PRESENT) {
		return has_parent ? VHDX_PLACE_PARENT : VHDX_PLACE_NONE;
	}
	if (VHDX_BAT_RESERVED(entry) != 0) {
		return bad_place(findings, block, "Reserved must be 0");
	}

	switch (VHDX_BAT_STATE(entry)) {
	case VHDX_PAYLOAD_NOT_PRESENT:
		if (has_parent) {
			return VHDX_PLACE_PARENT;
		}
		return VHDX_PLACE_NONE;
	case VHDX_PAYLOAD_UNDEFINED:
	case VHDX_PAYLOAD_ZERO:
	case VHDX_PAYLOAD_UNMAPPED:
		/* Zeros is one of the choices that 2.5.1.1 gives. */
		return VHDX_PLACE_NONE;
	case VHDX_PAYLOAD_FULLY_PRESENT:
		break;
	case VHDX_PAYLOAD_PARTIALLY_PRESENT:
		if (!has_parent) {
			return bad_place(findings, block,
					 "State PARTIALLY_PRESENT needs a "
					 "parent");
		}
		break;
	default:
		return bad_place(findings, block,
				 "State must not be %u",
				 VHDX_BAT_STATE(entry));
	}

	if (offset > INT64_MAX - VHDX_MAX_BLOCK_SIZE ||
	    !vhdx_bat_inside_file(
		    image, offset + vhdx_bat_block_length(image, block))) {
		return bad_place(findings, block,
				 "FileOffsetMB must be inside the file");
	}
	overlap = vhdx_region_overlap(image, offset,
				      image->geometry.block_size);
	if (overlap != NULL) {
		return bad_place(findings, block,
				 "FileOffsetMB must not overlap the %s",
				 overlap);
	}
	if (VHDX_BAT_STATE(entry) == VHDX_PAYLOAD_PARTIALLY_PRESENT) {
		return offset | VHDX_PLACE_PARTIAL;
	}
	return offset;
}

NTSTATUS vhdx_bat_sector_read(struct vhdx *image, uint64_t sector,
			      uint8_t buf[VHDX_SECTOR_SIZE])
{
	return vhdx_metadata_read(image, buf, VHDX_SECTOR_SIZE,
				  image->bat.offset +
				  sector * VHDX_SECTOR_SIZE);
}

/*
 * What an entry is about: every chunk's blocks are followed by the entry of
 * its sector bitmap. False for that one.
 */
static bool entry_block(const struct vhdx *image, uint64_t index,
			uint64_t *block)
{
	uint64_t stride = (UINT64_C(1) << image->chunk_shift) + 1;

	*block = index - index / stride;
	return index % stride != stride - 1;
}

bool vhdx_bat_is_bitmap(const struct vhdx *image, uint64_t index)
{
	uint64_t block;

	return !entry_block(image, index, &block);
}

static void sector_pull(struct vhdx *image, struct bat_sector *sector,
			const uint8_t *buf)
{
	uint64_t stride = (UINT64_C(1) << image->chunk_shift) + 1;
	uint64_t index = sector->index * SECTOR_ENTRIES;
	uint64_t chunk = index / stride;
	uint64_t in_chunk = index % stride;
	size_t i;

	for (i = 0; i < SECTOR_ENTRIES; i++) {
		uint64_t block = index + i - chunk;

		if (in_chunk == stride - 1) {
			sector->places[i] = VHDX_PLACE_NONE;
			in_chunk = 0;
			chunk += 1;
			continue;
		}
		in_chunk += 1;
		if (block >= image->num_blocks) {
			sector->places[i] = VHDX_PLACE_NONE;
			continue;
		}
		sector->places[i] = vhdx_bat_entry_place(
			image, block,
			PULL_LE_U64(buf, i * VHDX_BAT_ENTRY_SIZE), NULL);
	}
}

/* A free slot, or the one of a sector not used for longest (nearly). */
static struct bat_sector *sector_new(struct vhdx_bat_cache *cache,
				     uint64_t index)
{
	struct bat_sector *sector = NULL;

	if (cache->num_cached < MAX_CACHED_SECTORS) {
		sector = talloc(cache, struct bat_sector);
		if (sector == NULL) {
			return NULL;
		}
		cache->clock[cache->num_cached] = sector;
		cache->num_cached += 1;
	} else {
		while (cache->clock[cache->hand]->used) {
			cache->clock[cache->hand]->used = false;
			cache->hand = (cache->hand + 1) % MAX_CACHED_SECTORS;
		}
		sector = cache->clock[cache->hand];
		cache->hand = (cache->hand + 1) % MAX_CACHED_SECTORS;
		cache->sectors[sector->index] = NULL;
	}
	sector->index = index;
	sector->used = true;
	cache->sectors[index] = sector;
	return sector;
}

static NTSTATUS sector_load(struct vhdx *image, uint64_t index,
			    struct bat_sector **_sector)
{
	struct bat_sector *sector = image->bat_cache->sectors[index];
	uint8_t buf[VHDX_SECTOR_SIZE];
	NTSTATUS status;

	status = vhdx_bat_sector_read(image, index, buf);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (sector == NULL) {
		sector = sector_new(image->bat_cache, index);
		if (sector == NULL) {
			return NT_STATUS_NO_MEMORY;
		}
	}
	sector_pull(image, sector, buf);
	*_sector = sector;
	return NT_STATUS_OK;
}

static NTSTATUS bad_entry(struct vhdx *image, uint64_t block)
{
	uint64_t index = vhdx_bat_index(image, block);
	struct vhdx_findings *findings = NULL;
	uint8_t buf[VHDX_SECTOR_SIZE];
	NTSTATUS status;

	status = vhdx_bat_sector_read(image, index / SECTOR_ENTRIES, buf);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	findings = talloc_zero(NULL, struct vhdx_findings);
	if (findings == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	vhdx_bat_entry_place(image, block,
			     PULL_LE_U64(buf, (index % SECTOR_ENTRIES) *
					 VHDX_BAT_ENTRY_SIZE), findings);
	DBG_ERR("%s\n", vhdx_findings_reason(findings, findings));
	TALLOC_FREE(findings);
	return NT_STATUS_FILE_CORRUPT_ERROR;
}

NTSTATUS vhdx_bat_place(struct vhdx *image, uint64_t block,
			uint64_t *known_fresh, uint64_t *_place)
{
	uint64_t index = vhdx_bat_index(image, block);
	uint64_t sector_index = index / SECTOR_ENTRIES;
	struct bat_sector *sector = image->bat_cache->sectors[sector_index];
	uint64_t place = VHDX_PLACE_NONE;
	bool fresh;

	if (sector != NULL) {
		place = sector->places[index % SECTOR_ENTRIES];
		if (vhdx_place_is_mapped(place)) {
			sector->used = true;
			*_place = place;
			return NT_STATUS_OK;
		}
	}

	/* With nobody else there, what is cached is what is. */
	fresh = sector != NULL &&
		(*known_fresh == sector_index || image->shared == NULL);
	if (!fresh) {
		NTSTATUS status = sector_load(image, sector_index, &sector);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		*known_fresh = sector_index;
		place = sector->places[index % SECTOR_ENTRIES];
	}
	if (place == VHDX_PLACE_BAD) {
		return bad_entry(image, block);
	}
	*_place = place;
	return NT_STATUS_OK;
}

void vhdx_bat_sector_changed(struct vhdx *image, uint64_t index,
			     const uint8_t buf[VHDX_SECTOR_SIZE])
{
	struct vhdx_bat_cache *cache = image->bat_cache;

	/* A disk that has become smaller leaves some behind its last one. */
	if (index < cache->num_sectors && cache->sectors[index] != NULL) {
		sector_pull(image, cache->sectors[index], buf);
	}
}

void vhdx_bat_entry_check(struct vhdx *image, uint64_t index, uint64_t entry,
			  struct vhdx_space *space,
			  struct vhdx_findings *findings)
{
	uint64_t block;
	uint64_t place;
	char field[48];

	if (!entry_block(image, index, &block)) {
		uint64_t chunk = index - block;

		place = vhdx_bitmap_entry_place(image, chunk, entry, findings);
		if (vhdx_place_is_mapped(place) &&
		    !vhdx_space_take(space, place, VHDX_MIB)) {
			snprintf(field, sizeof(field),
				 "sector bitmap[%" PRIu64 "]", chunk);
			vhdx_find(findings, true, "BAT", field,
				  "FileOffsetMB must not overlap another "
				  "block");
		}
		return;
	}
	place = vhdx_bat_entry_place(image, block, entry, findings);
	if (vhdx_place_is_partial(place)) {
		uint64_t bitmap;
		NTSTATUS status;

		place -= VHDX_PLACE_PARTIAL;
		status = vhdx_bitmap_place(image, block >> image->chunk_shift,
					   &bitmap);
		if (!NT_STATUS_IS_OK(status) || bitmap == VHDX_PLACE_NONE) {
			snprintf(field, sizeof(field),
				 "payload[%" PRIu64 "]", block);
			vhdx_find(findings, true, "BAT", field,
				  "State PARTIALLY_PRESENT needs a sector "
				  "bitmap");
		}
	}
	if (!vhdx_place_is_mapped(place)) {
		return;
	}
	if (!vhdx_space_take(space, place, image->geometry.block_size)) {
		snprintf(field, sizeof(field), "payload[%" PRIu64 "]", block);
		vhdx_find(findings, true, "BAT", field,
			  "FileOffsetMB must not overlap another block");
	}
}

/* What nothing in the file has: for who is going to write, T6 there */
static void space_keep(struct vhdx *image, const uint8_t *bat, uint64_t num,
		       struct vhdx_space *space)
{
	size_t i;

	if (image->read_only || image->geometry.has_parent ||
	    image->geometry.leave_blocks_allocated) {
		return;
	}
	vhdx_space_take(space, 0, VHDX_HEADER_SECTION_SIZE);
	vhdx_space_take(space, image->log.offset, image->log.length);
	for (i = 0; i < image->num_regions; i++) {
		vhdx_space_take(space, image->regions[i].offset,
				image->regions[i].length);
	}
	for (i = 0; i < num; i++) {
		uint64_t entry = PULL_LE_U64(bat, i * VHDX_BAT_ENTRY_SIZE);

		/* Also what states without a place leave there */
		if (VHDX_BAT_FILE_OFFSET(entry) != 0) {
			vhdx_space_take(space, VHDX_BAT_FILE_OFFSET(entry),
					image->geometry.block_size);
		}
	}
	TALLOC_FREE(image->space);
	image->space = talloc_steal(image, space);
}

/*
 * A table of usual size costs next to nothing to look at, and it is better
 * to refuse a damaged image than to have its initiators find out.
 */
NTSTATUS vhdx_bat_load(struct vhdx *image, struct vhdx_findings *findings)
{
	uint64_t num = vhdx_bat_num_entries(image);
	size_t num_errors = findings->num_errors;
	struct vhdx_space *space = NULL;
	uint8_t *buf = NULL;
	NTSTATUS status;
	uint64_t i;

	if (num * VHDX_BAT_ENTRY_SIZE > EAGER_CHECK_SIZE ||
	    image->file_size > EAGER_CHECK_FILE_SIZE) {
		return NT_STATUS_OK;
	}
	buf = talloc_size(image, num * VHDX_BAT_ENTRY_SIZE);
	if (buf == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	space = vhdx_space_new(buf, 0, image->file_size);
	if (space == NULL) {
		TALLOC_FREE(buf);
		return NT_STATUS_NO_MEMORY;
	}
	status = vhdx_metadata_read(image, buf, num * VHDX_BAT_ENTRY_SIZE,
				    image->bat.offset);
	image->used_end = VHDX_HEADER_SECTION_SIZE;
	for (i = 0; NT_STATUS_IS_OK(status) && i < num; i++) {
		uint64_t entry = PULL_LE_U64(buf, i * VHDX_BAT_ENTRY_SIZE);

		vhdx_bat_entry_check(image, i, entry, space, findings);
		/* Also what states without a place leave there */
		image->used_end = MAX(image->used_end,
				      VHDX_BAT_FILE_OFFSET(entry) +
				      image->geometry.block_size);
	}
	if (NT_STATUS_IS_OK(status)) {
		space_keep(image, buf, num, space);
	}
	TALLOC_FREE(buf);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (findings->num_errors > num_errors) {
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	return NT_STATUS_OK;
}
