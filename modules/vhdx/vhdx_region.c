/*
 * vfs_rsvd: the region tables (MS-VHDX 2.2.3)
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "librpc/ndr/libndr.h"
#include "modules/vhdx/vhdx_private.h"

static const char *const table_names[2] = {
	"region table 1", "region table 2"
};

struct known_region {
	struct GUID guid;
	const char *name;
	size_t range;	/* where struct vhdx keeps it */
};

static const struct known_region known_regions[] = {
	{ VHDX_GUID_BAT, "BAT", offsetof(struct vhdx, bat) },
	{ VHDX_GUID_METADATA, "metadata", offsetof(struct vhdx, metadata) },
};

static const struct known_region *known_region(const struct GUID *guid)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(known_regions); i++) {
		if (GUID_equal(&known_regions[i].guid, guid)) {
			return &known_regions[i];
		}
	}
	return NULL;
}

static struct vhdx_range *known_range(struct vhdx *image,
				      const struct known_region *known)
{
	return (struct vhdx_range *)((uint8_t *)image + known->range);
}

static const char *table_fault(const uint8_t *buf, const char **field)
{
	*field = "Signature";
	if (PULL_LE_U32(buf, 0) != VHDX_REGION_SIGNATURE) {
		return "must be \"regi\"";
	}
	*field = "Checksum";
	if (PULL_LE_U32(buf, VHDX_REGION_CHECKSUM) !=
	    vhdx_checksum(buf, VHDX_REGION_TABLE_SIZE,
			  VHDX_REGION_CHECKSUM)) {
		return "must be the CRC-32C of the table";
	}
	return NULL;
}

/* Both are written through the log, so any valid one will do. */
static NTSTATUS table_read(struct vhdx *image, uint8_t *buf,
			   const char **name, struct vhdx_findings *findings)
{
	const char *fields[2];
	const char *faults[2];
	unsigned i;

	for (i = 0; i < 2; i++) {
		NTSTATUS status = vhdx_metadata_read(
			image, buf, VHDX_REGION_TABLE_SIZE,
			VHDX_REGION_TABLE_OFFSET(i));

		if (NT_STATUS_EQUAL(status, NT_STATUS_END_OF_FILE)) {
			fields[i] = "Signature";
			faults[i] = "the file ends before it";
			continue;
		}
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		faults[i] = table_fault(buf, &fields[i]);
		if (faults[i] == NULL) {
			if (i == 1) {
				vhdx_find(findings, false, table_names[0],
					  fields[0], "%s", faults[0]);
			}
			*name = table_names[i];
			return NT_STATUS_OK;
		}
	}
	for (i = 0; i < 2; i++) {
		vhdx_find(findings, true, table_names[i], fields[i], "%s",
			  faults[i]);
	}
	return NT_STATUS_FILE_CORRUPT_ERROR;
}

const char *vhdx_region_overlap(const struct vhdx *image, uint64_t offset,
				uint64_t length)
{
	uint64_t end = offset + length;
	size_t i;

	if (offset < VHDX_HEADER_SECTION_SIZE) {
		return "header section";
	}
	if (offset < image->log.offset + image->log.length &&
	    image->log.offset < end) {
		return "log";
	}
	for (i = 0; i < image->num_regions; i++) {
		const struct vhdx_range *r = &image->regions[i];

		if (offset < r->offset + r->length && r->offset < end) {
			return r->name;
		}
	}
	return NULL;
}

/* The regions found so far are in the way of the next. */
static void entry_check(struct vhdx *image, const char *table,
			const char *field, const struct vhdx_range *range,
			struct vhdx_findings *findings)
{
	uint64_t end = range->offset + range->length;
	const char *overlap = NULL;

	if (range->offset % VHDX_ALIGNMENT != 0 ||
	    range->offset < VHDX_HEADER_SECTION_SIZE) {
		vhdx_find(findings, true, table, field,
			  "FileOffset must be a multiple of 1 MiB and at "
			  "least 1 MiB, is %" PRIu64, range->offset);
		return;
	}
	if (range->length % VHDX_ALIGNMENT != 0 || range->length == 0) {
		vhdx_find(findings, true, table, field,
			  "Length must be a multiple of 1 MiB, is %" PRIu64,
			  range->length);
		return;
	}
	if (end < range->offset || end > image->file_size) {
		vhdx_find(findings, true, table, field,
			  "the region must be inside the file");
		return;
	}
	overlap = vhdx_region_overlap(image, range->offset, range->length);
	if (overlap != NULL) {
		vhdx_find(findings, true, table, field,
			  "the region must not overlap the %s", overlap);
	}
}

static void entry_load(struct vhdx *image, const uint8_t *buf, size_t i,
		       const char *table, struct vhdx_findings *findings)
{
	const uint8_t *entry = buf + VHDX_REGION_ENTRY(i);
	struct GUID guid = vhdx_guid_pull(entry + VHDX_REGION_ENTRY_GUID);
	const struct known_region *known = known_region(&guid);
	uint32_t required = PULL_LE_U32(entry, VHDX_REGION_ENTRY_REQUIRED);
	struct vhdx_range range = {
		.offset = PULL_LE_U64(entry, VHDX_REGION_ENTRY_FILE_OFFSET),
		.length = PULL_LE_U32(entry, VHDX_REGION_ENTRY_LENGTH),
		.name = (known != NULL) ? known->name : "unknown region",
	};
	char field[32];
	size_t j;

	snprintf(field, sizeof(field), "entry[%zu]", i);

	for (j = 0; j < i; j++) {
		const uint8_t *other = buf + VHDX_REGION_ENTRY(j);

		if (memcmp(other, entry, 16) == 0) {
			vhdx_find(findings, true, table, field,
				  "Guid must be unique, entry[%zu] has it",
				  j);
			return;
		}
	}
	if (known == NULL && (required & 1) != 0) {
		struct GUID_txt_buf txt;

		vhdx_find(findings, true, table, field,
			  "Required region %s is not known",
			  GUID_buf_string(&guid, &txt));
	}
	entry_check(image, table, field, &range, findings);
	if (known != NULL) {
		*known_range(image, known) = range;
	}
	image->regions[image->num_regions] = range;
	image->num_regions += 1;
}

NTSTATUS vhdx_region_load(struct vhdx *image, struct vhdx_findings *findings)
{
	size_t num_errors = findings->num_errors;
	const char *table = NULL;
	uint8_t *buf = NULL;
	uint32_t count;
	NTSTATUS status;
	size_t i;

	buf = talloc_size(image, VHDX_REGION_TABLE_SIZE);
	if (buf == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	status = table_read(image, buf, &table, findings);
	if (!NT_STATUS_IS_OK(status)) {
		TALLOC_FREE(buf);
		return status;
	}

	count = PULL_LE_U32(buf, VHDX_REGION_ENTRY_COUNT);
	if (count > VHDX_REGION_MAX_ENTRIES) {
		vhdx_find(findings, true, table, "EntryCount",
			  "must be at most %u, is %" PRIu32,
			  VHDX_REGION_MAX_ENTRIES, count);
		TALLOC_FREE(buf);
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	image->num_regions = 0;
	image->regions = talloc_array(image, struct vhdx_range,
				      MAX(count, 1));
	if (image->regions == NULL) {
		TALLOC_FREE(buf);
		return NT_STATUS_NO_MEMORY;
	}
	for (i = 0; i < count; i++) {
		entry_load(image, buf, i, table, findings);
	}
	TALLOC_FREE(buf);

	for (i = 0; i < ARRAY_SIZE(known_regions); i++) {
		const struct known_region *known = &known_regions[i];

		if (known_range(image, known)->length == 0) {
			vhdx_find(findings, true, table, "entries",
				  "there must be a %s region", known->name);
		}
	}
	if (findings->num_errors > num_errors) {
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	return NT_STATUS_OK;
}

uint64_t vhdx_region_end(const struct vhdx *image)
{
	uint64_t end = image->log.offset + image->log.length;
	size_t i;

	for (i = 0; i < image->num_regions; i++) {
		end = MAX(end, image->regions[i].offset +
			       image->regions[i].length);
	}
	return end;
}

NTSTATUS vhdx_region_restore(struct vhdx *image, unsigned *copy)
{
	uint8_t *bufs = NULL;
	const char *field = NULL;
	bool valid[2];
	NTSTATUS status = NT_STATUS_OK;
	unsigned i;

	bufs = talloc_size(image, 2 * VHDX_REGION_TABLE_SIZE);
	if (bufs == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	for (i = 0; i < 2; i++) {
		uint8_t *buf = bufs + i * VHDX_REGION_TABLE_SIZE;

		status = vhdx_file_read(image->storage, buf,
					VHDX_REGION_TABLE_SIZE,
					VHDX_REGION_TABLE_OFFSET(i));
		if (!NT_STATUS_IS_OK(status)) {
			goto done;
		}
		valid[i] = table_fault(buf, &field) == NULL;
	}
	if (valid[0] == valid[1]) {
		/* Which of two that are valid and differ is right? */
		status = NT_STATUS_NOT_FOUND;
		goto done;
	}
	*copy = valid[0] ? 1 : 0;
	status = vhdx_file_write(image->storage,
				 bufs + (1 - *copy) * VHDX_REGION_TABLE_SIZE,
				 VHDX_REGION_TABLE_SIZE,
				 VHDX_REGION_TABLE_OFFSET(*copy));
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_file_flush(image->storage);
	}
done:
	TALLOC_FREE(bufs);
	return status;
}

void vhdx_region_move_bat(struct vhdx *image, uint64_t offset,
			  uint64_t length)
{
	size_t i;

	for (i = 0; i < image->num_regions; i++) {
		struct vhdx_range *range = &image->regions[i];

		if (range->offset == image->bat.offset) {
			range->offset = offset;
			range->length = length;
		}
	}
	image->bat.offset = offset;
	image->bat.length = length;
}

NTSTATUS vhdx_region_table_move_bat(struct vhdx *image, unsigned copy,
				    uint64_t offset, uint64_t length,
				    uint8_t buf[VHDX_REGION_TABLE_SIZE])
{
	static const struct GUID bat = VHDX_GUID_BAT;
	const char *field = NULL;
	uint32_t count;
	NTSTATUS status;
	size_t i;

	status = vhdx_file_read(image->storage, buf, VHDX_REGION_TABLE_SIZE,
				VHDX_REGION_TABLE_OFFSET(copy));
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (table_fault(buf, &field) != NULL) {
		return NT_STATUS_FILE_CORRUPT_ERROR;
	}
	count = MIN(PULL_LE_U32(buf, VHDX_REGION_ENTRY_COUNT),
		    VHDX_REGION_MAX_ENTRIES);
	for (i = 0; i < count; i++) {
		uint8_t *entry = buf + VHDX_REGION_ENTRY(i);
		struct GUID guid = vhdx_guid_pull(entry);

		if (GUID_equal(&guid, &bat)) {
			PUSH_LE_U64(entry, VHDX_REGION_ENTRY_FILE_OFFSET,
				    offset);
			PUSH_LE_U32(entry, VHDX_REGION_ENTRY_LENGTH, length);
			vhdx_checksum_push(buf, VHDX_REGION_TABLE_SIZE,
					   VHDX_REGION_CHECKSUM);
			return NT_STATUS_OK;
		}
	}
	return NT_STATUS_FILE_CORRUPT_ERROR;
}
