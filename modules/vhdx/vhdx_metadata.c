/*
 * vfs_rsvd: the metadata region (MS-VHDX 2.6)
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "librpc/ndr/libndr.h"
#include "modules/vhdx/vhdx_private.h"

#define TABLE "metadata table"

struct metadata_item {
	struct GUID id;
	uint32_t offset;
	uint32_t length;
	uint32_t flags;
	size_t index;
};

struct known_item {
	struct GUID id;
	const char *name;
	uint32_t length;	/* 0: any */
	uint32_t flags;		/* as 2.6.2 has them */
	bool may_miss;
	void (*load)(struct vhdx *image, const uint8_t *data,
		     struct vhdx_findings *findings);
};

static bool is_power_of_two(uint64_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

static unsigned log2_of(uint64_t n)
{
	unsigned log2 = 0;

	while (n > 1) {
		n >>= 1;
		log2 += 1;
	}
	return log2;
}

/* 2.6.2.1 */
static void file_parameters_load(struct vhdx *image, const uint8_t *data,
				 struct vhdx_findings *findings)
{
	uint32_t block_size = PULL_LE_U32(data, 0);
	uint32_t flags = PULL_LE_U32(data, 4);

	if (!is_power_of_two(block_size) ||
	    block_size < VHDX_MIN_BLOCK_SIZE ||
	    block_size > VHDX_MAX_BLOCK_SIZE) {
		vhdx_find(findings, true, "file parameters", "BlockSize",
			  "must be a power of two from 1 MiB to 256 MiB, "
			  "is %" PRIu32, block_size);
	}
	if ((flags & ~(VHDX_FILE_PARAMETERS_LEAVE_BLOCKS_ALLOCATED |
		       VHDX_FILE_PARAMETERS_HAS_PARENT)) != 0) {
		vhdx_find(findings, true, "file parameters", "Reserved",
			  "must be 0");
	}
	image->geometry.block_size = block_size;
	image->geometry.has_parent =
		(flags & VHDX_FILE_PARAMETERS_HAS_PARENT) != 0;
	/* Means nothing in a differencing image. */
	image->geometry.leave_blocks_allocated =
		(flags & VHDX_FILE_PARAMETERS_LEAVE_BLOCKS_ALLOCATED) != 0 &&
		!image->geometry.has_parent;
}

/* 2.6.2.2; that it is a multiple of the sector is checked at the end */
static void virtual_disk_size_load(struct vhdx *image, const uint8_t *data,
				   struct vhdx_findings *findings)
{
	uint64_t size = PULL_LE_U64(data, 0);

	if (size == 0 || size > VHDX_MAX_VIRTUAL_SIZE) {
		vhdx_find(findings, true, "virtual disk size",
			  "VirtualDiskSize",
			  "must be from one sector to 64 TiB, is %" PRIu64,
			  size);
	}
	image->geometry.virtual_size = size;
}

/* 2.6.2.3 */
static void virtual_disk_id_load(struct vhdx *image, const uint8_t *data,
				 struct vhdx_findings *findings)
{
	image->geometry.virtual_disk_id = vhdx_guid_pull(data);
}

/* 2.6.2.4 */
static void logical_sector_size_load(struct vhdx *image, const uint8_t *data,
				     struct vhdx_findings *findings)
{
	uint32_t size = PULL_LE_U32(data, 0);

	if (size != 512 && size != 4096) {
		vhdx_find(findings, true, "logical sector size",
			  "LogicalSectorSize",
			  "must be 512 or 4096, is %" PRIu32, size);
	}
	image->geometry.logical_sector_size = size;
}

/* 2.6.2.5 */
static void physical_sector_size_load(struct vhdx *image, const uint8_t *data,
				      struct vhdx_findings *findings)
{
	uint32_t size = PULL_LE_U32(data, 0);

	if (size != 512 && size != 4096) {
		vhdx_find(findings, true, "physical sector size",
			  "PhysicalSectorSize",
			  "must be 512 or 4096, is %" PRIu32, size);
	}
	image->geometry.physical_sector_size = size;
}

#define REQUIRED VHDX_METADATA_IS_REQUIRED
#define DISK VHDX_METADATA_IS_VIRTUAL_DISK

static const struct known_item known_items[] = {
	{ VHDX_GUID_FILE_PARAMETERS, "file parameters", 8,
	  REQUIRED, false, file_parameters_load },
	{ VHDX_GUID_VIRTUAL_DISK_SIZE, "virtual disk size", 8,
	  REQUIRED | DISK, false, virtual_disk_size_load },
	{ VHDX_GUID_VIRTUAL_DISK_ID, "virtual disk ID", 16,
	  REQUIRED | DISK, false, virtual_disk_id_load },
	{ VHDX_GUID_LOGICAL_SECTOR_SIZE, "logical sector size", 4,
	  REQUIRED | DISK, false, logical_sector_size_load },
	{ VHDX_GUID_PHYSICAL_SECTOR_SIZE, "physical sector size", 4,
	  REQUIRED | DISK, false, physical_sector_size_load },
	{ VHDX_GUID_PARENT_LOCATOR, "parent locator", 0,
	  REQUIRED, true, NULL },
};

static struct metadata_item item_pull(const uint8_t *table, size_t i)
{
	const uint8_t *entry = table + VHDX_METADATA_ENTRY(i);

	return (struct metadata_item) {
		.id = vhdx_guid_pull(entry + VHDX_METADATA_ENTRY_ITEM_ID),
		.offset = PULL_LE_U32(entry, VHDX_METADATA_ENTRY_OFFSET),
		.length = PULL_LE_U32(entry, VHDX_METADATA_ENTRY_LENGTH),
		.flags = PULL_LE_U32(entry, VHDX_METADATA_ENTRY_FLAGS),
		.index = i,
	};
}

/* Which known item this is; user items are never one, whatever their id. */
static const struct known_item *item_known(const struct metadata_item *item)
{
	size_t i;

	if ((item->flags & VHDX_METADATA_IS_USER) != 0) {
		return NULL;
	}
	for (i = 0; i < ARRAY_SIZE(known_items); i++) {
		if (GUID_equal(&known_items[i].id, &item->id)) {
			return &known_items[i];
		}
	}
	return NULL;
}

static void item_check(struct vhdx *image, const uint8_t *table,
		       const struct metadata_item *item,
		       struct vhdx_findings *findings)
{
	const uint8_t *entry = table + VHDX_METADATA_ENTRY(item->index);
	const struct known_item *known = item_known(item);
	uint64_t end = (uint64_t)item->offset + item->length;
	uint32_t all = VHDX_METADATA_IS_USER | VHDX_METADATA_IS_VIRTUAL_DISK |
		       VHDX_METADATA_IS_REQUIRED;
	char field[32];

	snprintf(field, sizeof(field), "entry[%zu]", item->index);

	if ((item->flags & ~all) != 0 ||
	    PULL_LE_U32(entry, VHDX_METADATA_ENTRY_RESERVED2) != 0) {
		vhdx_find(findings, true, TABLE, field,
			  "Reserved must be 0");
	}
	if (item->length > VHDX_METADATA_MAX_ITEM_SIZE) {
		vhdx_find(findings, true, TABLE, field,
			  "Length must be at most 1 MiB, is %" PRIu32,
			  item->length);
	}
	if (item->length == 0 && item->offset != 0) {
		vhdx_find(findings, true, TABLE, field,
			  "Offset must be 0 as Length is");
	}
	if (item->length != 0 &&
	    item->offset < VHDX_METADATA_TABLE_SIZE) {
		vhdx_find(findings, true, TABLE, field,
			  "Offset must be at least 64 KiB, is %" PRIu32,
			  item->offset);
	}
	if (end > image->metadata.length) {
		vhdx_find(findings, true, TABLE, field,
			  "the item must be inside the region");
	}
	if (known == NULL && (item->flags & VHDX_METADATA_IS_REQUIRED) != 0) {
		struct GUID_txt_buf txt;

		vhdx_find(findings, true, TABLE, field,
			  "IsRequired item %s is not known",
			  GUID_buf_string(&item->id, &txt));
	}
	if (known != NULL && known->flags != item->flags) {
		/* Harmless to us, but others may go by it. */
		vhdx_find(findings, false, TABLE, field,
			  "the flags of a %s must be 0x%" PRIx32
			  ", are 0x%" PRIx32,
			  known->name, known->flags, item->flags);
	}
	if (known != NULL && known->length != 0 &&
	    known->length != item->length) {
		vhdx_find(findings, true, TABLE, field,
			  "Length of a %s must be %" PRIu32 ", is %" PRIu32,
			  known->name, known->length, item->length);
	}
}

static int item_compare_id(const void *p1, const void *p2)
{
	const struct metadata_item *i1 = p1;
	const struct metadata_item *i2 = p2;
	int cmp = GUID_compare(&i1->id, &i2->id);

	if (cmp != 0) {
		return cmp;
	}
	return (int)(i1->flags & VHDX_METADATA_IS_USER) -
	       (int)(i2->flags & VHDX_METADATA_IS_USER);
}

static int item_compare_offset(const void *p1, const void *p2)
{
	const struct metadata_item *i1 = p1;
	const struct metadata_item *i2 = p2;

	return NUMERIC_CMP(i1->offset, i2->offset);
}

/* The rules between the items; sorts them. */
static void items_check(struct metadata_item *items, size_t num,
			struct vhdx_findings *findings)
{
	size_t num_user = 0;
	uint64_t end = 0;
	char field[32];
	size_t i;

	qsort(items, num, sizeof(items[0]), item_compare_id);
	for (i = 0; i < num; i++) {
		num_user += items[i].flags & VHDX_METADATA_IS_USER;
		if (i == 0 || item_compare_id(&items[i - 1], &items[i]) != 0) {
			continue;
		}
		snprintf(field, sizeof(field), "entry[%zu]", items[i].index);
		vhdx_find(findings, true, TABLE, field,
			  "ItemId and IsUser must be unique, entry[%zu] "
			  "has them", items[i - 1].index);
	}
	if (num_user > VHDX_METADATA_MAX_USER_ENTRIES) {
		vhdx_find(findings, true, TABLE, "entries",
			  "there must be at most %u user items, are %zu",
			  VHDX_METADATA_MAX_USER_ENTRIES, num_user);
	}

	qsort(items, num, sizeof(items[0]), item_compare_offset);
	for (i = 0; i < num; i++) {
		if (items[i].length == 0) {
			continue;
		}
		if (items[i].offset < end) {
			snprintf(field, sizeof(field), "entry[%zu]",
				 items[i].index);
			vhdx_find(findings, true, TABLE, field,
				  "the item must not overlap another");
		}
		end = MAX(end, (uint64_t)items[i].offset + items[i].length);
	}
}

static NTSTATUS known_items_load(struct vhdx *image,
				 const struct metadata_item *items,
				 size_t num, struct vhdx_findings *findings)
{
	bool have[ARRAY_SIZE(known_items)] = { false };
	uint8_t data[16];
	size_t i;

	for (i = 0; i < num; i++) {
		const struct known_item *known = item_known(&items[i]);
		NTSTATUS status;

		if (known == NULL) {
			continue;
		}
		have[known - known_items] = true;
		if (known->load == NULL) {
			/* The parent locator, see vhdx_parent.c */
			image->locator.offset = image->metadata.offset +
						items[i].offset;
			image->locator.length = items[i].length;
			continue;
		}
		status = vhdx_metadata_read(image, data, known->length,
					    image->metadata.offset +
					    items[i].offset);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		known->load(image, data, findings);
		if (known->load == virtual_disk_size_load) {
			image->size_offset = image->metadata.offset +
					     items[i].offset;
		}
		if (known->load == file_parameters_load) {
			image->params_offset = image->metadata.offset +
					       items[i].offset;
		}
	}
	for (i = 0; i < ARRAY_SIZE(known_items); i++) {
		if (!have[i] && !known_items[i].may_miss) {
			vhdx_find(findings, true, TABLE, "entries",
				  "there must be a %s", known_items[i].name);
		}
	}
	if (image->geometry.has_parent &&
	    !have[ARRAY_SIZE(known_items) - 1]) {
		vhdx_find(findings, true, TABLE, "entries",
			  "there must be a parent locator as HasParent is "
			  "set");
	}
	return NT_STATUS_OK;
}

static NTSTATUS table_load(struct vhdx *image, const uint8_t *table,
			   struct vhdx_findings *findings)
{
	static const uint8_t zeros[VHDX_METADATA_RESERVED2_SIZE];
	size_t num_errors = findings->num_errors;
	struct metadata_item *items = NULL;
	NTSTATUS status;
	uint16_t count;
	size_t i;

	if (PULL_LE_U64(table, 0) != VHDX_METADATA_SIGNATURE) {
		vhdx_find(findings, true, TABLE, "Signature",
			  "must be \"metadata\"");
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	if (PULL_LE_U16(table, VHDX_METADATA_RESERVED) != 0) {
		vhdx_find(findings, true, TABLE, "Reserved", "must be 0");
	}
	if (memcmp(table + VHDX_METADATA_RESERVED2, zeros,
		   sizeof(zeros)) != 0) {
		vhdx_find(findings, true, TABLE, "Reserved2", "must be 0");
	}
	count = PULL_LE_U16(table, VHDX_METADATA_ENTRY_COUNT);
	if (count > VHDX_METADATA_MAX_ENTRIES) {
		vhdx_find(findings, true, TABLE, "EntryCount",
			  "must be at most %u, is %u",
			  VHDX_METADATA_MAX_ENTRIES, count);
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}

	items = talloc_array(image, struct metadata_item, MAX(count, 1));
	if (items == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	for (i = 0; i < count; i++) {
		items[i] = item_pull(table, i);
		item_check(image, table, &items[i], findings);
	}
	items_check(items, count, findings);
	if (findings->num_errors > num_errors) {
		TALLOC_FREE(items);
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	status = known_items_load(image, items, count, findings);
	TALLOC_FREE(items);
	return status;
}

/* What follows from the items, and the rules between them */
static void geometry_load(struct vhdx *image, struct vhdx_findings *findings)
{
	const struct vhdx_geometry *g = &image->geometry;
	uint64_t chunk_size;

	if (g->virtual_size % g->logical_sector_size != 0) {
		vhdx_find(findings, true, "virtual disk size",
			  "VirtualDiskSize",
			  "must be a multiple of the logical sector size "
			  "%" PRIu32 ", is %" PRIu64,
			  g->logical_sector_size, g->virtual_size);
		return;
	}
	chunk_size = VHDX_SECTORS_PER_BITMAP * g->logical_sector_size;
	image->block_shift = log2_of(g->block_size);
	image->chunk_shift = log2_of(chunk_size / g->block_size);
	image->num_blocks = (g->virtual_size + g->block_size - 1) >>
			    image->block_shift;

	if (vhdx_bat_num_entries(image) * VHDX_BAT_ENTRY_SIZE >
	    image->bat.length) {
		vhdx_find(findings, true, "BAT", "Length",
			  "must have room for %" PRIu64 " entries, is "
			  "%" PRIu64, vhdx_bat_num_entries(image),
			  image->bat.length);
	}
}

NTSTATUS vhdx_metadata_load(struct vhdx *image,
			    struct vhdx_findings *findings)
{
	size_t num_errors = findings->num_errors;
	uint8_t *table = NULL;
	NTSTATUS status;

	table = talloc_size(image, VHDX_METADATA_TABLE_SIZE);
	if (table == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	status = vhdx_metadata_read(image, table, VHDX_METADATA_TABLE_SIZE,
				    image->metadata.offset);
	if (NT_STATUS_IS_OK(status)) {
		status = table_load(image, table, findings);
	}
	TALLOC_FREE(table);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (findings->num_errors > num_errors) {
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	geometry_load(image, findings);
	if (findings->num_errors > num_errors) {
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	return NT_STATUS_OK;
}

/* Changing items */

struct metadata_table {
	uint8_t *buf;
	size_t num;
	struct metadata_item *items;	/* by their offset */
};

static struct metadata_table *table_read(struct vhdx *image)
{
	struct metadata_table *table = talloc_zero(image,
						   struct metadata_table);
	size_t i;

	if (table == NULL) {
		return NULL;
	}
	table->buf = talloc_size(table, VHDX_METADATA_TABLE_SIZE);
	if (table->buf == NULL ||
	    !NT_STATUS_IS_OK(vhdx_metadata_read(image, table->buf,
						VHDX_METADATA_TABLE_SIZE,
						image->metadata.offset))) {
		TALLOC_FREE(table);
		return NULL;
	}
	table->num = MIN(PULL_LE_U16(table->buf, VHDX_METADATA_ENTRY_COUNT),
			 VHDX_METADATA_MAX_ENTRIES);
	table->items = talloc_array(table, struct metadata_item,
				    MAX(table->num, 1));
	if (table->items == NULL) {
		TALLOC_FREE(table);
		return NULL;
	}
	for (i = 0; i < table->num; i++) {
		table->items[i] = item_pull(table->buf, i);
	}
	qsort(table->items, table->num, sizeof(table->items[0]),
	      item_compare_offset);
	return table;
}

static const struct metadata_item *table_find(
	const struct metadata_table *table, const struct GUID *id)
{
	size_t i;

	for (i = 0; i < table->num; i++) {
		if ((table->items[i].flags & VHDX_METADATA_IS_USER) == 0 &&
		    GUID_equal(&table->items[i].id, id)) {
			return &table->items[i];
		}
	}
	return NULL;
}

/* The first hole between the items, or behind them */
static uint64_t table_room(const struct metadata_table *table,
			   uint32_t length)
{
	uint64_t room = VHDX_METADATA_TABLE_SIZE;
	size_t i;

	for (i = 0; i < table->num; i++) {
		const struct metadata_item *item = &table->items[i];
		uint64_t end = (uint64_t)item->offset + item->length;

		if (item->length == 0) {
			continue;
		}
		if (room + length <= item->offset) {
			break;
		}
		/* No more sectors than have to be */
		end = (end + VHDX_SECTOR_SIZE - 1) &
		      ~(uint64_t)(VHDX_SECTOR_SIZE - 1);
		room = MAX(room, end);
	}
	return room;
}

NTSTATUS vhdx_metadata_replace(struct vhdx *image, struct vhdx_change *change,
			       const struct GUID *id, const uint8_t *data,
			       uint32_t length, struct vhdx_range *place)
{
	struct metadata_table *table = table_read(image);
	const struct metadata_item *item = NULL;
	uint8_t entry[8];
	uint64_t room;
	NTSTATUS status;

	if (table == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	item = table_find(table, id);
	room = table_room(table, length);
	if (item == NULL) {
		status = NT_STATUS_NOT_FOUND;
	} else if (room + length > image->metadata.length) {
		status = NT_STATUS_DISK_FULL;
	} else {
		PUSH_LE_U32(entry, 0, room);
		PUSH_LE_U32(entry, 4, length);
		status = vhdx_change_put(change, image->metadata.offset + room,
					 data, length);
		if (NT_STATUS_IS_OK(status)) {
			/* Length follows Offset. */
			status = vhdx_change_put(
				change, image->metadata.offset +
				VHDX_METADATA_ENTRY(item->index) +
				VHDX_METADATA_ENTRY_OFFSET, entry,
				sizeof(entry));
		}
		place->offset = image->metadata.offset + room;
		place->length = length;
	}
	TALLOC_FREE(table);
	return status;
}

/* The last entry takes the place of the one that goes. */
NTSTATUS vhdx_metadata_remove(struct vhdx *image, struct vhdx_change *change,
			      const struct GUID *id)
{
	static const uint8_t zeros[VHDX_METADATA_ENTRY(1) -
				   VHDX_METADATA_ENTRY(0)];
	struct metadata_table *table = table_read(image);
	const struct metadata_item *item = NULL;
	uint64_t offset = image->metadata.offset;
	uint8_t count[2];
	size_t last;
	NTSTATUS status;

	if (table == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	item = table_find(table, id);
	if (item == NULL) {
		TALLOC_FREE(table);
		return NT_STATUS_NOT_FOUND;
	}
	last = table->num - 1;
	PUSH_LE_U16(count, 0, last);
	status = vhdx_change_put(change, offset +
				 VHDX_METADATA_ENTRY(item->index),
				 table->buf + VHDX_METADATA_ENTRY(last),
				 sizeof(zeros));
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_change_put(change, offset +
					 VHDX_METADATA_ENTRY(last),
					 zeros, sizeof(zeros));
	}
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_change_put(change, offset +
					 VHDX_METADATA_ENTRY_COUNT,
					 count, sizeof(count));
	}
	TALLOC_FREE(table);
	return status;
}
