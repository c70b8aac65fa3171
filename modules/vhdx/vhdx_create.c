/*
 * vfs_rsvd: a new image
 *
 *     0             header section
 *     1 MiB         log
 *     1 MiB + log   metadata region, 1 MiB
 *     + 1 MiB       BAT region, as many MiB as it takes
 *     + BAT         the blocks of a fixed disk, in order
 *
 * The file identifier is written last, and everything else flushed before:
 * what looks like an image is one.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "librpc/ndr/libndr.h"
#include "modules/vhdx/vhdx_private.h"

#define DEFAULT_BLOCK_SIZE (32 * VHDX_MIB)
/* As Windows */
#define DEFAULT_CHILD_BLOCK_SIZE (2 * VHDX_MIB)
#define DEFAULT_LOGICAL_SECTOR_SIZE 512
#define DEFAULT_PHYSICAL_SECTOR_SIZE 4096
#define DEFAULT_LOG_SIZE VHDX_MIB

/* Of the parent locator, behind the metadata table */
#define LOCATOR_OFFSET VHDX_SECTOR_SIZE

static const char creator[] = "vfs_rsvd";

struct layout {
	struct vhdx_create_params params;	/* with the defaults */
	uint64_t num_blocks;
	uint64_t chunk_ratio;
	uint64_t num_bat_entries;
	uint64_t log_offset;
	uint64_t metadata_offset;
	uint64_t bat_offset;
	uint64_t bat_length;
	uint64_t payload_offset;
	uint64_t file_size;
	uint8_t *locator;		/* NULL: there is no parent */
	size_t locator_length;
};

static bool is_sector_size(uint32_t size)
{
	return size == 512 || size == 4096;
}

/* What is not told is as the parent has it. */
static bool parent_init(struct layout *l)
{
	struct vhdx_create_params *p = &l->params;
	const struct vhdx_geometry *g = &p->parent->geometry;

	p->virtual_size = p->virtual_size ? p->virtual_size :
			  g->virtual_size;
	p->block_size = p->block_size ? p->block_size :
			DEFAULT_CHILD_BLOCK_SIZE;
	p->logical_sector_size = p->logical_sector_size ?
		p->logical_sector_size : g->logical_sector_size;
	p->physical_sector_size = p->physical_sector_size ?
		p->physical_sector_size : g->physical_sector_size;
	p->virtual_disk_id = g->virtual_disk_id;
	return !p->fixed && p->parent_path != NULL &&
	       p->virtual_size >= g->virtual_size &&
	       p->logical_sector_size == g->logical_sector_size;
}

static bool layout_init(struct layout *l,
			const struct vhdx_create_params *params)
{
	struct vhdx_create_params *p = &l->params;
	uint64_t bat_bytes;

	*p = *params;
	if (p->parent != NULL && !parent_init(l)) {
		return false;
	}
	p->block_size = p->block_size ? p->block_size : DEFAULT_BLOCK_SIZE;
	p->logical_sector_size = p->logical_sector_size ?
		p->logical_sector_size : DEFAULT_LOGICAL_SECTOR_SIZE;
	p->physical_sector_size = p->physical_sector_size ?
		p->physical_sector_size : DEFAULT_PHYSICAL_SECTOR_SIZE;
	p->log_size = p->log_size ? p->log_size : DEFAULT_LOG_SIZE;
	if (GUID_all_zero(&p->virtual_disk_id)) {
		p->virtual_disk_id = GUID_random();
	}

	if (p->block_size < VHDX_MIN_BLOCK_SIZE ||
	    p->block_size > VHDX_MAX_BLOCK_SIZE ||
	    (p->block_size & (p->block_size - 1)) != 0) {
		return false;
	}
	if (!is_sector_size(p->logical_sector_size) ||
	    !is_sector_size(p->physical_sector_size)) {
		return false;
	}
	if (p->log_size % VHDX_ALIGNMENT != 0) {
		return false;
	}
	if (p->virtual_size == 0 || p->virtual_size > VHDX_MAX_VIRTUAL_SIZE ||
	    p->virtual_size % p->logical_sector_size != 0) {
		return false;
	}

	l->num_blocks = (p->virtual_size + p->block_size - 1) /
			p->block_size;
	l->chunk_ratio = VHDX_SECTORS_PER_BITMAP * p->logical_sector_size /
			 p->block_size;
	l->num_bat_entries = l->num_blocks +
			     (l->num_blocks - 1) / l->chunk_ratio;
	if (p->parent != NULL) {
		/* 2.5: up to the sector bitmap of the last chunk */
		l->num_bat_entries = ((l->num_blocks - 1) / l->chunk_ratio +
				      1) * (l->chunk_ratio + 1);
	}
	bat_bytes = l->num_bat_entries * VHDX_BAT_ENTRY_SIZE;

	l->log_offset = VHDX_HEADER_SECTION_SIZE;
	l->metadata_offset = l->log_offset + p->log_size;
	l->bat_offset = l->metadata_offset + VHDX_MIB;
	l->bat_length = (bat_bytes + VHDX_MIB - 1) & ~(VHDX_MIB - 1);
	l->payload_offset = l->bat_offset + l->bat_length;
	l->file_size = l->payload_offset;
	if (p->fixed) {
		l->file_size += l->num_blocks * p->block_size;
	}
	return true;
}

static NTSTATUS file_identifier_write(struct vhdx_storage *storage)
{
	uint8_t buf[VHDX_FILE_IDENTIFIER_SIZE] = { 0 };
	size_t i;

	PUSH_LE_U64(buf, 0, VHDX_FILE_SIGNATURE);
	for (i = 0; i < sizeof(creator) - 1; i++) {
		PUSH_LE_U16(buf, VHDX_FILE_CREATOR + 2 * i, creator[i]);
	}
	return vhdx_file_write(storage, buf, sizeof(buf),
			       VHDX_FILE_IDENTIFIER_OFFSET);
}

static NTSTATUS headers_write(struct vhdx_storage *storage,
			      const struct layout *l)
{
	struct vhdx_header header = {
		.file_write_guid = GUID_random(),
		.data_write_guid = GUID_random(),
		.version = 1,
		.log_length = l->params.log_size,
		.log_offset = l->log_offset,
	};
	uint8_t buf[VHDX_HEADER_SIZE];
	unsigned i;

	for (i = 0; i < 2; i++) {
		NTSTATUS status;

		header.sequence_number = i + 1;
		vhdx_header_push(buf, &header);
		status = vhdx_file_write(storage, buf, sizeof(buf),
					 VHDX_HEADER_OFFSET(i));
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	return NT_STATUS_OK;
}

static void region_push(uint8_t *table, size_t i, const struct GUID *guid,
			uint64_t offset, uint32_t length)
{
	uint8_t *entry = table + VHDX_REGION_ENTRY(i);

	vhdx_guid_push(entry + VHDX_REGION_ENTRY_GUID, guid);
	PUSH_LE_U64(entry, VHDX_REGION_ENTRY_FILE_OFFSET, offset);
	PUSH_LE_U32(entry, VHDX_REGION_ENTRY_LENGTH, length);
	PUSH_LE_U32(entry, VHDX_REGION_ENTRY_REQUIRED, 1);
}

static NTSTATUS region_tables_write(struct vhdx_storage *storage,
				    const struct layout *l, uint8_t *buf)
{
	static const struct GUID bat = VHDX_GUID_BAT;
	static const struct GUID metadata = VHDX_GUID_METADATA;
	NTSTATUS status = NT_STATUS_OK;
	unsigned i;

	memset(buf, 0, VHDX_REGION_TABLE_SIZE);
	PUSH_LE_U32(buf, 0, VHDX_REGION_SIGNATURE);
	PUSH_LE_U32(buf, VHDX_REGION_ENTRY_COUNT, 2);
	region_push(buf, 0, &bat, l->bat_offset, l->bat_length);
	region_push(buf, 1, &metadata, l->metadata_offset, VHDX_MIB);
	vhdx_checksum_push(buf, VHDX_REGION_TABLE_SIZE, VHDX_REGION_CHECKSUM);
	for (i = 0; i < 2 && NT_STATUS_IS_OK(status); i++) {
		status = vhdx_file_write(storage, buf, VHDX_REGION_TABLE_SIZE,
					 VHDX_REGION_TABLE_OFFSET(i));
	}
	return status;
}

static void item_push(uint8_t *table, size_t i, const struct GUID *id,
		      uint32_t offset, uint32_t length, uint32_t flags)
{
	uint8_t *entry = table + VHDX_METADATA_ENTRY(i);

	vhdx_guid_push(entry + VHDX_METADATA_ENTRY_ITEM_ID, id);
	PUSH_LE_U32(entry, VHDX_METADATA_ENTRY_OFFSET,
		    VHDX_METADATA_TABLE_SIZE + offset);
	PUSH_LE_U32(entry, VHDX_METADATA_ENTRY_LENGTH, length);
	PUSH_LE_U32(entry, VHDX_METADATA_ENTRY_FLAGS, flags);
}

static NTSTATUS metadata_write(struct vhdx_storage *storage,
			       const struct layout *l, uint8_t *table)
{
	static const struct GUID parameters = VHDX_GUID_FILE_PARAMETERS;
	static const struct GUID size = VHDX_GUID_VIRTUAL_DISK_SIZE;
	static const struct GUID id = VHDX_GUID_VIRTUAL_DISK_ID;
	static const struct GUID logical = VHDX_GUID_LOGICAL_SECTOR_SIZE;
	static const struct GUID physical = VHDX_GUID_PHYSICAL_SECTOR_SIZE;
	const struct vhdx_create_params *p = &l->params;
	uint32_t file_flags = VHDX_METADATA_IS_REQUIRED;
	uint32_t disk_flags = VHDX_METADATA_IS_REQUIRED |
			      VHDX_METADATA_IS_VIRTUAL_DISK;
	static const struct GUID locator = VHDX_GUID_PARENT_LOCATOR;
	uint32_t file_params = 0;
	uint8_t items[64] = { 0 };
	NTSTATUS status;

	memset(table, 0, VHDX_METADATA_TABLE_SIZE);
	PUSH_LE_U64(table, 0, VHDX_METADATA_SIGNATURE);
	PUSH_LE_U16(table, VHDX_METADATA_ENTRY_COUNT,
		    (l->locator != NULL) ? 6 : 5);
	if (p->fixed) {
		file_params |= VHDX_FILE_PARAMETERS_LEAVE_BLOCKS_ALLOCATED;
	}
	if (l->locator != NULL) {
		file_params |= VHDX_FILE_PARAMETERS_HAS_PARENT;
		item_push(table, 5, &locator, LOCATOR_OFFSET,
			  l->locator_length, file_flags);
	}

	item_push(table, 0, &parameters, 0, 8, file_flags);
	PUSH_LE_U32(items, 0, p->block_size);
	PUSH_LE_U32(items, 4, file_params);
	item_push(table, 1, &size, 8, 8, disk_flags);
	PUSH_LE_U64(items, 8, p->virtual_size);
	item_push(table, 2, &id, 16, 16, disk_flags);
	vhdx_guid_push(items + 16, &p->virtual_disk_id);
	item_push(table, 3, &logical, 32, 4, disk_flags);
	PUSH_LE_U32(items, 32, p->logical_sector_size);
	item_push(table, 4, &physical, 36, 4, disk_flags);
	PUSH_LE_U32(items, 36, p->physical_sector_size);

	status = vhdx_file_write(storage, table, VHDX_METADATA_TABLE_SIZE,
				 l->metadata_offset);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (l->locator != NULL) {
		status = vhdx_file_write(storage, l->locator,
					 l->locator_length,
					 l->metadata_offset +
					 VHDX_METADATA_TABLE_SIZE +
					 LOCATOR_OFFSET);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	return vhdx_file_write(storage, items, sizeof(items),
			       l->metadata_offset + VHDX_METADATA_TABLE_SIZE);
}

/* Block after block; the bitmap's entry between the chunks stays zero. */
static NTSTATUS bat_write(struct vhdx_storage *storage,
			  const struct layout *l, uint8_t *buf, size_t size)
{
	size_t num = size / VHDX_BAT_ENTRY_SIZE;
	uint64_t stride = l->chunk_ratio + 1;
	uint64_t first;
	size_t i;

	for (first = 0; first < l->num_bat_entries; first += num) {
		NTSTATUS status;

		num = MIN(num, l->num_bat_entries - first);
		for (i = 0; i < num; i++) {
			uint64_t index = first + i;
			uint64_t block = index - index / stride;
			uint64_t entry = 0;

			if (index % stride != stride - 1) {
				entry = VHDX_BAT_ENTRY(
					VHDX_PAYLOAD_FULLY_PRESENT,
					l->payload_offset +
					block * l->params.block_size);
			}
			PUSH_LE_U64(buf, i * VHDX_BAT_ENTRY_SIZE, entry);
		}
		status = vhdx_file_write(storage, buf,
					 num * VHDX_BAT_ENTRY_SIZE,
					 l->bat_offset +
					 first * VHDX_BAT_ENTRY_SIZE);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	return NT_STATUS_OK;
}

static NTSTATUS structures_write(struct vhdx_storage *storage,
				 const struct layout *l)
{
	size_t size = VHDX_REGION_TABLE_SIZE;
	uint8_t *buf = NULL;
	NTSTATUS status;

	buf = talloc_size(NULL, size);
	if (buf == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	status = vhdx_file_resize(storage, l->file_size);
	if (NT_STATUS_IS_OK(status) && l->params.fixed) {
		status = bat_write(storage, l, buf, size);
	}
	if (NT_STATUS_IS_OK(status)) {
		status = metadata_write(storage, l, buf);
	}
	if (NT_STATUS_IS_OK(status)) {
		status = region_tables_write(storage, l, buf);
	}
	if (NT_STATUS_IS_OK(status)) {
		status = headers_write(storage, l);
	}
	TALLOC_FREE(buf);
	return status;
}

NTSTATUS vhdx_create(struct vhdx_storage *storage,
		     const struct vhdx_create_params *params)
{
	struct layout layout = { .num_blocks = 0 };
	NTSTATUS status;
	uint64_t size;

	if (!layout_init(&layout, params)) {
		return NT_STATUS_INVALID_PARAMETER;
	}
	status = vhdx_file_size(storage, &size);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (size != 0) {
		return NT_STATUS_OBJECT_NAME_COLLISION;
	}
	if (params->parent != NULL) {
		layout.locator = vhdx_locator_push(
			NULL, &params->parent->header.data_write_guid,
			params->parent_path, &layout.locator_length);
		if (layout.locator == NULL) {
			return NT_STATUS_INVALID_PARAMETER;
		}
	}
	status = structures_write(storage, &layout);
	TALLOC_FREE(layout.locator);
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_file_flush(storage);
	}
	if (NT_STATUS_IS_OK(status)) {
		status = file_identifier_write(storage);
	}
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_file_flush(storage);
	}
	return status;
}
