/*
 * vfs_rsvd: the sector bitmaps of a differencing image (MS-VHDX 2.4)
 *
 * Looked up in the file each time: bits are set by others (vhdx_child.c), and
 * a block can become a whole one.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "modules/vhdx/vhdx_private.h"

#define SECTOR VHDX_SECTOR_SIZE
#define SECTOR_BITS (SECTOR * UINT64_C(8))

static uint64_t bad_bitmap(struct vhdx_findings *findings, uint64_t chunk,
			   const char *rule)
{
	char field[48];

	if (findings != NULL) {
		snprintf(field, sizeof(field), "sector bitmap[%" PRIu64 "]",
			 chunk);
		vhdx_find(findings, true, "BAT", field, "%s", rule);
	}
	return VHDX_PLACE_BAD;
}

uint64_t vhdx_bitmap_entry_place(struct vhdx *image, uint64_t chunk,
				 uint64_t entry,
				 struct vhdx_findings *findings)
{
	uint64_t offset = VHDX_BAT_FILE_OFFSET(entry);

	if (VHDX_BAT_STATE(entry) == VHDX_BITMAP_NOT_PRESENT) {
		return VHDX_PLACE_NONE;
	}
	if (!image->geometry.has_parent) {
		return bad_bitmap(findings, chunk,
				  "State must be NOT_PRESENT without a "
				  "parent");
	}
	if (VHDX_BAT_RESERVED(entry) != 0) {
		return bad_bitmap(findings, chunk, "Reserved must be 0");
	}
	if (VHDX_BAT_STATE(entry) != VHDX_BITMAP_PRESENT) {
		return bad_bitmap(findings, chunk,
				  "State must be NOT_PRESENT or PRESENT");
	}
	if (offset > INT64_MAX - VHDX_MIB ||
	    !vhdx_bat_inside_file(image, offset + VHDX_MIB)) {
		return bad_bitmap(findings, chunk,
				  "FileOffsetMB must be inside the file");
	}
	if (vhdx_region_overlap(image, offset, VHDX_MIB) != NULL) {
		return bad_bitmap(findings, chunk,
				  "FileOffsetMB must not overlap a region");
	}
	return offset;
}

NTSTATUS vhdx_bitmap_place(struct vhdx *image, uint64_t chunk,
			   uint64_t *_place)
{
	uint64_t index = vhdx_bitmap_index(image, chunk);
	uint8_t buf[VHDX_BAT_ENTRY_SIZE];
	uint64_t place;
	NTSTATUS status;

	status = vhdx_metadata_read(image, buf, sizeof(buf),
				    image->bat.offset +
				    index * VHDX_BAT_ENTRY_SIZE);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	place = vhdx_bitmap_entry_place(image, chunk, PULL_LE_U64(buf, 0),
					NULL);
	*_place = place;
	return (place == VHDX_PLACE_BAD) ? NT_STATUS_FILE_CORRUPT_ERROR :
					   NT_STATUS_OK;
}

static bool bit_is_set(const uint8_t *buf, uint64_t bit)
{
	return (buf[bit / 8] >> (bit % 8) & 1) != 0;
}

NTSTATUS vhdx_bitmap_map(struct vhdx *image, uint64_t block,
			 uint64_t in_block, uint64_t length, uint64_t place,
			 struct vhdx_extent *extent)
{
	uint64_t sector_size = image->geometry.logical_sector_size;
	uint64_t chunk = block >> image->chunk_shift;
	uint64_t offset = (block << image->block_shift) + in_block;
	uint64_t bit = vhdx_bitmap_bit(image, offset);
	uint64_t first = bit - bit % SECTOR_BITS;
	uint64_t run = sector_size - offset % sector_size;
	uint8_t buf[SECTOR];
	uint64_t bitmap;
	bool present;
	NTSTATUS status;

	status = vhdx_bitmap_place(image, chunk, &bitmap);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (bitmap == VHDX_PLACE_NONE) {
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	status = vhdx_metadata_read(image, buf, sizeof(buf),
				    bitmap + first / 8);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	present = bit_is_set(buf, bit - first);
	for (bit += 1; run < length && bit < first + SECTOR_BITS; bit++) {
		if (bit_is_set(buf, bit - first) != present) {
			break;
		}
		run += sector_size;
	}
	*extent = (struct vhdx_extent) {
		.kind = VHDX_EXTENT_PARENT,
		.length = MIN(run, length),
	};
	if (present) {
		extent->kind = VHDX_EXTENT_FILE;
		extent->file_offset = place + in_block;
	}
	return NT_STATUS_OK;
}
