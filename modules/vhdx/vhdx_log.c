/*
 * vfs_rsvd: the log (MS-VHDX 2.3)
 *
 * What always holds for the log in the file, whatever the order in which
 * unflushed writes reach the disk and wherever the power goes:
 *
 * L1 A header names a LogGuid only after an entry with it, an empty one that
 *    is its own tail, was flushed. From then on there is a valid and complete
 *    sequence.
 * L2 No byte is overwritten of the sequence that ends with the newest flushed
 *    entry. That entry's Tail is log_free; entries before it may be
 *    overwritten. So whatever becomes of entries written after the last
 *    flush, that sequence can be replayed.
 * L3 A new entry's Tail (log_tail) is the oldest entry that is not known to
 *    be both in place and flushed. Every entry is put in place before the
 *    record is stored, so a flush that begins later makes it so.
 * L4 There is always room for one more empty entry. It is what lets log_free
 *    move when the log has filled up: with all before it flushed it is its
 *    own tail, and once flushed itself everything before it is free.
 * L5 Sequence numbers go up by one and never come back under one LogGuid. A
 *    valid entry with the next number at log_head therefore is one whose
 *    writer died between writing it and storing the record.
 *
 * There is no flush between a log entry and putting it in place, as 2.3 has
 * it. It is not needed as long as entries only say "this block is now there",
 * with "there" being zeros, flushed, and nobody else's (A1 and A2 in
 * vhdx_alloc.c), or "this block is zeros", with its place not being another's
 * before that is stable (T2 in vhdx_release.c), or "this sector is now in the
 * child", with what is in it flushed (C1 in vhdx_child.c): any mix of old and
 * new 8-byte entries of the table, and bits, is then one that could have been.
 * Any other change (a region that moves) needs the flush, which
 * vhdx_log_append() does when asked to.
 *
 * Before the file may become smaller while the log is in use, an entry with
 * the new FlushedFileOffset has to be flushed; we do it only when the log is
 * no longer named.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/debug.h"
#include "librpc/ndr/libndr.h"
#include "modules/vhdx/vhdx_private.h"

#define SECTOR VHDX_SECTOR_SIZE

/*
 * What an entry of ours has at most: 64 KiB with the descriptors. The blocks
 * of a sector of the BAT are at least 512 MiB of disk, so a request seldom
 * needs two.
 */
#define MAX_UPDATES 15

/* Where an update of a log goes that is not replayed in the file */
struct log_descriptor {
	uint64_t file_offset;
	uint64_t length;
	size_t order;		/* later ones win */
	bool is_zero;
	uint32_t log_offset;	/* of the data sector, in the log */
	uint8_t leading[8];
	uint8_t trailing[4];
};

struct vhdx_log_overlay {
	struct log_descriptor *in_order;
	size_t num;
	struct log_descriptor *data;	/* by file offset, newest first */
	size_t num_data;
	size_t num_zero;
	size_t num_entries;
	uint64_t last_file_offset;
};

struct log_entry {
	uint32_t offset;
	uint32_t length;
	uint32_t tail;
	uint64_t sequence_number;
	uint32_t num_descriptors;
	uint64_t flushed_file_offset;
	uint64_t last_file_offset;
};

/* The ring */

static uint32_t log_wrap(const struct vhdx *image, uint64_t offset)
{
	return offset % image->log.length;
}

static NTSTATUS log_read(struct vhdx *image, uint8_t *buf, uint32_t length,
			 uint32_t offset)
{
	uint32_t first = MIN(length, image->log.length - offset);
	NTSTATUS status;

	status = vhdx_file_read(image->storage, buf, first,
				image->log.offset + offset);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	return vhdx_file_read(image->storage, buf + first, length - first,
			      image->log.offset);
}

static NTSTATUS log_write(struct vhdx *image, const uint8_t *buf,
			  uint32_t length, uint32_t offset)
{
	uint32_t first = MIN(length, image->log.length - offset);
	NTSTATUS status;

	status = vhdx_file_write(image->storage, buf, first,
				 image->log.offset + offset);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	return vhdx_file_write(image->storage, buf + first, length - first,
			       image->log.offset);
}

static uint32_t descriptor_sectors(uint32_t num_descriptors)
{
	uint64_t bytes = VHDX_LOG_ENTRY_HEADER_SIZE +
			 (uint64_t)num_descriptors * VHDX_LOG_DESCRIPTOR_SIZE;

	return (bytes + SECTOR - 1) / SECTOR;
}

static uint8_t *entry_descriptor(uint8_t *buf, uint32_t i)
{
	return buf + VHDX_LOG_ENTRY_HEADER_SIZE +
	       (size_t)i * VHDX_LOG_DESCRIPTOR_SIZE;
}

/* Reading entries, 2.3.1 */

/* What the header alone says; false when it is not one of this log */
static bool entry_header_pull(const struct vhdx *image,
			      const struct GUID *log_guid, uint32_t offset,
			      const uint8_t *buf, struct log_entry *entry)
{
	struct GUID guid = vhdx_guid_pull(buf + VHDX_LOG_ENTRY_LOG_GUID);

	if (PULL_LE_U32(buf, 0) != VHDX_LOG_ENTRY_SIGNATURE ||
	    !GUID_equal(&guid, log_guid)) {
		return false;
	}
	*entry = (struct log_entry) {
		.offset = offset,
		.length = PULL_LE_U32(buf, VHDX_LOG_ENTRY_LENGTH),
		.tail = PULL_LE_U32(buf, VHDX_LOG_ENTRY_TAIL),
		.sequence_number = PULL_LE_U64(
			buf, VHDX_LOG_ENTRY_SEQUENCE_NUMBER),
		.num_descriptors = PULL_LE_U32(
			buf, VHDX_LOG_ENTRY_DESCRIPTOR_COUNT),
		.flushed_file_offset = PULL_LE_U64(
			buf, VHDX_LOG_ENTRY_FLUSHED_FILE_OFFSET),
		.last_file_offset = PULL_LE_U64(
			buf, VHDX_LOG_ENTRY_LAST_FILE_OFFSET),
	};
	if (entry->length == 0 || entry->length % SECTOR != 0 ||
	    entry->length > image->log.length) {
		return false;
	}
	if (entry->tail % SECTOR != 0 || entry->tail >= image->log.length) {
		return false;
	}
	if (entry->sequence_number == 0 ||
	    PULL_LE_U32(buf, VHDX_LOG_ENTRY_RESERVED) != 0) {
		return false;
	}
	if (entry->flushed_file_offset % VHDX_ALIGNMENT != 0 ||
	    entry->last_file_offset % VHDX_ALIGNMENT != 0) {
		return false;
	}
	/* Any more cannot be in an entry that is inside the log. */
	return descriptor_sectors(entry->num_descriptors) <=
	       entry->length / SECTOR;
}

static bool descriptor_is_valid(const struct log_entry *entry,
				const uint8_t *descriptor)
{
	uint64_t offset = PULL_LE_U64(descriptor,
				      VHDX_LOG_DESCRIPTOR_FILE_OFFSET);

	if (PULL_LE_U64(descriptor, VHDX_LOG_DESCRIPTOR_SEQUENCE_NUMBER) !=
	    entry->sequence_number) {
		return false;
	}
	if (offset % SECTOR != 0) {
		return false;
	}
	switch (PULL_LE_U32(descriptor, 0)) {
	case VHDX_LOG_DATA_SIGNATURE:
		return true;
	case VHDX_LOG_ZERO_SIGNATURE:
		return PULL_LE_U32(descriptor, VHDX_LOG_ZERO_RESERVED) == 0 &&
		       PULL_LE_U64(descriptor, VHDX_LOG_ZERO_LENGTH) %
				SECTOR == 0;
	}
	return false;
}

static bool sector_is_valid(const struct log_entry *entry,
			    const uint8_t *sector)
{
	uint64_t sequence_number =
		(uint64_t)PULL_LE_U32(sector,
				      VHDX_LOG_SECTOR_SEQUENCE_HIGH) << 32 |
		PULL_LE_U32(sector, VHDX_LOG_SECTOR_SEQUENCE_LOW);

	return PULL_LE_U32(sector, 0) == VHDX_LOG_SECTOR_SIGNATURE &&
	       sequence_number == entry->sequence_number;
}

/* All of an entry whose header is good; the cheap rules first. */
static bool entry_is_valid(const struct log_entry *entry, uint8_t *buf)
{
	uint32_t num_sectors = descriptor_sectors(entry->num_descriptors);
	uint32_t i;

	for (i = 0; i < entry->num_descriptors; i++) {
		uint8_t *descriptor = entry_descriptor(buf, i);

		if (!descriptor_is_valid(entry, descriptor)) {
			return false;
		}
		if (PULL_LE_U32(descriptor, 0) == VHDX_LOG_ZERO_SIGNATURE) {
			continue;
		}
		if (num_sectors >= entry->length / SECTOR ||
		    !sector_is_valid(entry,
				     buf + (size_t)num_sectors * SECTOR)) {
			return false;
		}
		num_sectors += 1;
	}
	if (num_sectors != entry->length / SECTOR) {
		return false;
	}
	return PULL_LE_U32(buf, VHDX_LOG_ENTRY_CHECKSUM) ==
	       vhdx_checksum(buf, entry->length, VHDX_LOG_ENTRY_CHECKSUM);
}

/*
 * The entry at an offset. *buf is a talloc child of mem_ctx with all of it,
 * NULL when there is no valid entry of this log.
 */
static NTSTATUS entry_read(struct vhdx *image, TALLOC_CTX *mem_ctx,
			   const struct GUID *log_guid, uint32_t offset,
			   struct log_entry *entry, uint8_t **_buf)
{
	uint8_t header[VHDX_LOG_ENTRY_HEADER_SIZE];
	uint8_t *buf = NULL;
	NTSTATUS status;

	*_buf = NULL;
	status = log_read(image, header, sizeof(header), offset);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (!entry_header_pull(image, log_guid, offset, header, entry)) {
		return NT_STATUS_OK;
	}
	buf = talloc_size(mem_ctx, entry->length);
	if (buf == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	status = log_read(image, buf, entry->length, offset);
	if (!NT_STATUS_IS_OK(status)) {
		TALLOC_FREE(buf);
		return status;
	}
	if (memcmp(buf, header, sizeof(header)) != 0 ||
	    !entry_is_valid(entry, buf)) {
		TALLOC_FREE(buf);
		return NT_STATUS_OK;
	}
	*_buf = buf;
	return NT_STATUS_OK;
}

/* Finding the active sequence, 2.3.3 */

struct log_sequence {
	struct log_entry *entries;	/* a talloc array */
	size_t num;
	size_t first;			/* the tail of the last one */
};

/* The entries that follow each other from start on */
static NTSTATUS sequence_read(struct vhdx *image, TALLOC_CTX *mem_ctx,
			      uint32_t start, struct log_sequence *sequence)
{
	struct log_entry entry;
	uint32_t offset = start;

	*sequence = (struct log_sequence) { .num = 0 };
	for (;;) {
		uint8_t *buf = NULL;
		NTSTATUS status;

		status = entry_read(image, mem_ctx, &image->header.log_guid,
				    offset, &entry, &buf);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		if (buf == NULL) {
			return NT_STATUS_OK;
		}
		TALLOC_FREE(buf);
		if (sequence->num > 0 &&
		    entry.sequence_number !=
		    sequence->entries[sequence->num - 1].sequence_number + 1) {
			return NT_STATUS_OK;
		}
		if (talloc_array_length(sequence->entries) ==
		    sequence->num) {
			sequence->entries = talloc_realloc(
				mem_ctx, sequence->entries, struct log_entry,
				MAX(16, sequence->num * 2));
			if (sequence->entries == NULL) {
				return NT_STATUS_NO_MEMORY;
			}
		}
		sequence->entries[sequence->num] = entry;
		sequence->num += 1;
		offset = log_wrap(image, (uint64_t)offset + entry.length);
	}
}

/* Is the last entry's tail among the entries? Then from there it counts. */
static bool sequence_is_valid(struct log_sequence *sequence)
{
	uint32_t tail;
	size_t i;

	if (sequence->num == 0) {
		return false;
	}
	tail = sequence->entries[sequence->num - 1].tail;
	for (i = sequence->num; i-- > 0;) {
		if (sequence->entries[i].offset == tail) {
			sequence->first = i;
			return true;
		}
	}
	return false;
}

static uint64_t sequence_number(const struct log_sequence *sequence)
{
	if (sequence->num == 0) {
		return 0;
	}
	return sequence->entries[sequence->num - 1].sequence_number;
}

/*
 * A sequence that is not valid is skipped as a whole where 2.3.3 goes on by
 * 4 KiB: none of the later sectors of an entry can be taken for the first of
 * one (their signatures differ), and what begins at one of its entries ends
 * with the same one, whose tail is not there either. So each entry is read
 * at most twice.
 */
static NTSTATUS sequence_find(struct vhdx *image, TALLOC_CTX *mem_ctx,
			      struct log_sequence *active)
{
	uint32_t start = 0;
	uint32_t next;

	*active = (struct log_sequence) { .num = 0 };
	do {
		struct log_sequence sequence;
		NTSTATUS status;

		status = sequence_read(image, mem_ctx, start, &sequence);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		if (sequence.num == 0) {
			next = log_wrap(image, (uint64_t)start + SECTOR);
		} else {
			const struct log_entry *last =
				&sequence.entries[sequence.num - 1];
			next = log_wrap(image, (uint64_t)last->offset +
					last->length);
		}
		if (sequence_is_valid(&sequence) &&
		    sequence_number(&sequence) > sequence_number(active)) {
			TALLOC_FREE(active->entries);
			*active = sequence;
		} else {
			TALLOC_FREE(sequence.entries);
		}
		if (next <= start) {
			break;
		}
		start = next;
	} while (true);
	return NT_STATUS_OK;
}

/* The overlay: what the active sequence says, without doing it */

/*
 * The log is for metadata: neither the file identifier and the headers nor
 * the log itself can be behind an update.
 */
static bool target_is_allowed(const struct vhdx *image, uint64_t offset,
			      uint64_t length)
{
	uint64_t end = offset + length;

	if (end < offset || end > INT64_MAX) {
		return false;
	}
	if (offset < VHDX_REGION_TABLE_OFFSET(0)) {
		return false;
	}
	return end <= image->log.offset ||
	       offset >= image->log.offset + image->log.length;
}

static bool overlay_add_entry(struct vhdx *image,
			      struct vhdx_log_overlay *overlay,
			      const struct log_entry *entry, uint8_t *buf,
			      struct vhdx_findings *findings)
{
	uint32_t sector = descriptor_sectors(entry->num_descriptors);
	uint32_t i;

	for (i = 0; i < entry->num_descriptors; i++) {
		const uint8_t *p = entry_descriptor(buf, i);
		struct log_descriptor d = {
			.file_offset = PULL_LE_U64(
				p, VHDX_LOG_DESCRIPTOR_FILE_OFFSET),
			.length = SECTOR,
			.order = overlay->num,
		};

		if (PULL_LE_U32(p, 0) == VHDX_LOG_ZERO_SIGNATURE) {
			d.is_zero = true;
			d.length = PULL_LE_U64(p, VHDX_LOG_ZERO_LENGTH);
			overlay->num_zero += 1;
		} else {
			memcpy(d.leading, p + VHDX_LOG_DATA_LEADING_BYTES,
			       sizeof(d.leading));
			memcpy(d.trailing, p + VHDX_LOG_DATA_TRAILING_BYTES,
			       sizeof(d.trailing));
			d.log_offset = log_wrap(image,
						(uint64_t)entry->offset +
						(uint64_t)sector * SECTOR);
			overlay->num_data += 1;
			sector += 1;
		}
		if (!target_is_allowed(image, d.file_offset, d.length)) {
			vhdx_find(findings, true, "log", "FileOffset",
				  "entry %" PRIu64 " must not write to "
				  "%" PRIu64, entry->sequence_number,
				  d.file_offset);
			return false;
		}
		overlay->in_order[overlay->num] = d;
		overlay->num += 1;
	}
	return true;
}

static int descriptor_compare(const void *p1, const void *p2)
{
	const struct log_descriptor *d1 = p1;
	const struct log_descriptor *d2 = p2;

	if (d1->file_offset != d2->file_offset) {
		return NUMERIC_CMP(d1->file_offset, d2->file_offset);
	}
	return NUMERIC_CMP(d2->order, d1->order);
}

static bool overlay_sort(struct vhdx_log_overlay *overlay)
{
	size_t num = 0;
	size_t i;

	overlay->data = talloc_array(overlay, struct log_descriptor,
				     overlay->num_data + 1);
	if (overlay->data == NULL) {
		return false;
	}
	for (i = 0; i < overlay->num; i++) {
		if (!overlay->in_order[i].is_zero) {
			overlay->data[num] = overlay->in_order[i];
			num += 1;
		}
	}
	qsort(overlay->data, num, sizeof(overlay->data[0]),
	      descriptor_compare);
	return true;
}

static NTSTATUS overlay_build(struct vhdx *image,
			      const struct log_sequence *active,
			      struct vhdx_findings *findings)
{
	const struct log_entry *head = &active->entries[active->num - 1];
	struct vhdx_log_overlay *overlay = NULL;
	size_t num = 0;
	size_t i;

	for (i = active->first; i < active->num; i++) {
		num += active->entries[i].num_descriptors;
	}
	overlay = talloc_zero(image, struct vhdx_log_overlay);
	if (overlay == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	overlay->in_order = talloc_array(overlay, struct log_descriptor,
					 num + 1);
	if (overlay->in_order == NULL) {
		TALLOC_FREE(overlay);
		return NT_STATUS_NO_MEMORY;
	}
	overlay->last_file_offset = head->last_file_offset;
	overlay->num_entries = active->num - active->first;

	for (i = active->first; i < active->num; i++) {
		struct log_entry entry;
		uint8_t *buf = NULL;
		NTSTATUS status;
		bool ok;

		status = entry_read(image, overlay, &image->header.log_guid,
				    active->entries[i].offset, &entry, &buf);
		if (!NT_STATUS_IS_OK(status)) {
			TALLOC_FREE(overlay);
			return status;
		}
		if (buf == NULL ||
		    entry.num_descriptors !=
		    active->entries[i].num_descriptors) {
			/* It was there a moment ago: somebody writes. */
			TALLOC_FREE(overlay);
			return NT_STATUS_SHARING_VIOLATION;
		}
		ok = overlay_add_entry(image, overlay, &entry, buf, findings);
		TALLOC_FREE(buf);
		if (!ok) {
			TALLOC_FREE(overlay);
			return NT_STATUS_FILE_CORRUPT_ERROR;
		}
	}
	if (!overlay_sort(overlay)) {
		TALLOC_FREE(overlay);
		return NT_STATUS_NO_MEMORY;
	}
	image->overlay = overlay;
	image->file_size = MAX(image->file_size, head->last_file_offset);
	return NT_STATUS_OK;
}

NTSTATUS vhdx_log_load(struct vhdx *image, struct vhdx_findings *findings)
{
	struct log_sequence active;
	TALLOC_CTX *frame = NULL;
	NTSTATUS status;

	if (GUID_all_zero(&image->header.log_guid)) {
		return NT_STATUS_OK;
	}
	frame = talloc_new(image);
	if (frame == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	status = sequence_find(image, frame, &active);
	if (!NT_STATUS_IS_OK(status)) {
		goto done;
	}
	if (active.num == 0) {
		vhdx_find(findings, true, "log", "entries",
			  "there must be a valid sequence as the header has "
			  "a LogGuid");
		status = NT_STATUS_FILE_CORRUPT_ERROR;
		goto done;
	}
	if (active.entries[active.num - 1].flushed_file_offset >
	    image->file_size) {
		vhdx_find(findings, true, "log", "FlushedFileOffset",
			  "the file must have %" PRIu64 " bytes, has "
			  "%" PRIu64 ": it was truncated",
			  active.entries[active.num - 1].flushed_file_offset,
			  image->file_size);
		status = NT_STATUS_FILE_CORRUPT_ERROR;
		goto done;
	}
	status = overlay_build(image, &active, findings);
done:
	TALLOC_FREE(frame);
	return status;
}

size_t vhdx_log_num_entries(const struct vhdx *image)
{
	return (image->overlay != NULL) ? image->overlay->num_entries : 0;
}

uint64_t vhdx_log_last_file_offset(const struct vhdx *image)
{
	return (image->overlay != NULL) ? image->overlay->last_file_offset : 0;
}

bool vhdx_log_covers(const struct vhdx *image, uint64_t offset,
		     uint64_t length)
{
	const struct vhdx_log_overlay *overlay = image->overlay;
	size_t i;

	if (overlay == NULL) {
		return false;
	}
	for (i = 0; i < overlay->num; i++) {
		const struct log_descriptor *d = &overlay->in_order[i];

		if (d->file_offset < offset + length &&
		    offset < d->file_offset + d->length) {
			return true;
		}
	}
	return false;
}

static NTSTATUS descriptor_data(struct vhdx *image,
				const struct log_descriptor *d,
				uint8_t sector[SECTOR])
{
	NTSTATUS status;

	status = log_read(image, sector, SECTOR, d->log_offset);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	memcpy(sector, d->leading, sizeof(d->leading));
	memcpy(sector + VHDX_LOG_SECTOR_SEQUENCE_LOW, d->trailing,
	       sizeof(d->trailing));
	return NT_STATUS_OK;
}

/* The newest descriptor for a sector of the file, or NULL */
static const struct log_descriptor *overlay_find(
	const struct vhdx_log_overlay *overlay, uint64_t offset)
{
	const struct log_descriptor *newest = NULL;
	size_t low = 0;
	size_t high = overlay->num_data;
	size_t i;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (overlay->data[middle].file_offset < offset) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	if (low < overlay->num_data &&
	    overlay->data[low].file_offset == offset) {
		newest = &overlay->data[low];
	}
	for (i = 0; overlay->num_zero > 0 && i < overlay->num; i++) {
		const struct log_descriptor *d = &overlay->in_order[i];

		if (d->is_zero && d->file_offset <= offset &&
		    offset - d->file_offset < d->length &&
		    (newest == NULL || newest->order < d->order)) {
			newest = d;
		}
	}
	return newest;
}

static NTSTATUS overlay_read_sector(struct vhdx *image,
				    uint8_t sector[SECTOR], uint64_t offset)
{
	const struct log_descriptor *d = overlay_find(image->overlay, offset);
	NTSTATUS status;

	if (d != NULL && !d->is_zero) {
		return descriptor_data(image, d, sector);
	}
	memset(sector, 0, SECTOR);
	if (d != NULL) {
		return NT_STATUS_OK;
	}
	status = vhdx_file_read(image->storage, sector, SECTOR, offset);
	if (NT_STATUS_EQUAL(status, NT_STATUS_END_OF_FILE) &&
	    offset < image->file_size) {
		/* The replay would have made the file larger. */
		return NT_STATUS_OK;
	}
	return status;
}

NTSTATUS vhdx_metadata_read(struct vhdx *image, void *buf, size_t length,
			    uint64_t offset)
{
	uint8_t *p = buf;

	if (image->overlay == NULL) {
		return vhdx_file_read(image->storage, buf, length, offset);
	}
	while (length > 0) {
		uint8_t sector[SECTOR];
		size_t skip = offset % SECTOR;
		size_t n = MIN(length, SECTOR - skip);
		NTSTATUS status;

		status = overlay_read_sector(image, sector, offset - skip);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		memcpy(p, sector + skip, n);
		p += n;
		offset += n;
		length -= n;
	}
	return NT_STATUS_OK;
}

static NTSTATUS descriptor_replay(struct vhdx *image,
				  const struct log_descriptor *d)
{
	uint8_t sector[SECTOR];
	uint64_t end = d->file_offset + d->length;
	uint64_t size;
	NTSTATUS status;

	if (!d->is_zero) {
		status = descriptor_data(image, d, sector);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		return vhdx_file_write(image->storage, sector, SECTOR,
				       d->file_offset);
	}
	status = vhdx_file_size(image->storage, &size);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (end > size) {
		status = vhdx_file_resize(image->storage, end);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	if (d->file_offset >= size) {
		return NT_STATUS_OK;
	}
	return vhdx_file_zero(image->storage, d->file_offset,
			      MIN(end, size) - d->file_offset, true);
}

NTSTATUS vhdx_log_replay(struct vhdx *image)
{
	struct vhdx_log_overlay *overlay = image->overlay;
	NTSTATUS status;
	uint64_t size;
	size_t i;

	for (i = 0; i < overlay->num; i++) {
		status = descriptor_replay(image, &overlay->in_order[i]);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	status = vhdx_file_size(image->storage, &size);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (size < overlay->last_file_offset) {
		status = vhdx_file_resize(image->storage,
					  overlay->last_file_offset);
	}
	return status;
}

/* Writing */

static uint32_t log_used(const struct vhdx *image,
			 const struct vhdx_state *state)
{
	return log_wrap(image, image->log.length + state->log_head -
			state->log_free);
}

static uint32_t entry_length(size_t num_updates)
{
	return (descriptor_sectors(num_updates) + num_updates) * SECTOR;
}

size_t vhdx_log_max_updates(const struct vhdx *image)
{
	/* The smallest log has 256 sectors: never more than a quarter of it */
	return MAX_UPDATES;
}

bool vhdx_log_wants_flush(const struct vhdx *image,
			  const struct vhdx_state *state)
{
	return log_used(image, state) > image->log.length / 2;
}

/* The header of an entry for the head, over all of the entry */
static void entry_finish(const struct vhdx *image,
			 const struct vhdx_state *state, uint8_t *buf,
			 uint32_t length, size_t num_descriptors)
{
	PUSH_LE_U32(buf, 0, VHDX_LOG_ENTRY_SIGNATURE);
	PUSH_LE_U32(buf, VHDX_LOG_ENTRY_LENGTH, length);
	PUSH_LE_U32(buf, VHDX_LOG_ENTRY_TAIL, state->log_tail);
	PUSH_LE_U64(buf, VHDX_LOG_ENTRY_SEQUENCE_NUMBER, state->log_sequence);
	PUSH_LE_U32(buf, VHDX_LOG_ENTRY_DESCRIPTOR_COUNT, num_descriptors);
	vhdx_guid_push(buf + VHDX_LOG_ENTRY_LOG_GUID, &state->log_guid);
	PUSH_LE_U64(buf, VHDX_LOG_ENTRY_FLUSHED_FILE_OFFSET,
		    state->stable_end);
	PUSH_LE_U64(buf, VHDX_LOG_ENTRY_LAST_FILE_OFFSET, state->next_free);
	vhdx_checksum_push(buf, length, VHDX_LOG_ENTRY_CHECKSUM);
}

static void head_move(const struct vhdx *image, struct vhdx_state *state,
		      uint32_t length, uint32_t tail)
{
	state->log_last = state->log_head;
	state->log_last_tail = tail;
	state->log_head = log_wrap(image, (uint64_t)state->log_head + length);
	state->log_sequence += 1;
}

/* An empty entry at the head */
static NTSTATUS empty_entry_write(struct vhdx *image,
				  struct vhdx_state *state)
{
	uint8_t buf[SECTOR] = { 0 };
	NTSTATUS status;

	entry_finish(image, state, buf, sizeof(buf), 0);
	status = log_write(image, buf, sizeof(buf), state->log_head);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	head_move(image, state, sizeof(buf), state->log_tail);
	return NT_STATUS_OK;
}

NTSTATUS vhdx_log_start(struct vhdx *image, struct vhdx_state *state)
{
	state->log_guid = GUID_random();
	state->log_sequence = 1;
	state->log_head = 0;
	state->log_tail = 0;
	state->log_free = 0;
	state->log_flushed = 1;
	return empty_entry_write(image, state);
}

NTSTATUS vhdx_log_make_room(struct vhdx *image, struct vhdx_state *state,
			    size_t num_updates, bool *changed)
{
	uint32_t used = log_used(image, state);
	NTSTATUS status;

	/*
	 * L4, and a sector between head and log_free so that a full log
	 * does not look like an empty one
	 */
	if (used + entry_length(num_updates) + 2 * SECTOR <=
	    image->log.length) {
		return NT_STATUS_OK;
	}
	if (state->log_flushed == state->log_sequence &&
	    state->log_free == state->log_last_tail &&
	    state->log_last_tail != state->log_last) {
		status = empty_entry_write(image, state);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		*changed = true;
	}
	return NT_STATUS_RETRY;
}

static void update_push(uint8_t *descriptor, uint8_t *sector,
			const struct vhdx_log_update *update,
			uint64_t sequence_number)
{
	const uint8_t *data = update->sector;

	PUSH_LE_U32(descriptor, 0, VHDX_LOG_DATA_SIGNATURE);
	memcpy(descriptor + VHDX_LOG_DATA_TRAILING_BYTES,
	       data + VHDX_LOG_SECTOR_SEQUENCE_LOW, 4);
	memcpy(descriptor + VHDX_LOG_DATA_LEADING_BYTES, data, 8);
	PUSH_LE_U64(descriptor, VHDX_LOG_DESCRIPTOR_FILE_OFFSET,
		    update->file_offset);
	PUSH_LE_U64(descriptor, VHDX_LOG_DESCRIPTOR_SEQUENCE_NUMBER,
		    sequence_number);

	memcpy(sector, data, SECTOR);
	PUSH_LE_U32(sector, 0, VHDX_LOG_SECTOR_SIGNATURE);
	PUSH_LE_U32(sector, VHDX_LOG_SECTOR_SEQUENCE_HIGH,
		    sequence_number >> 32);
	PUSH_LE_U32(sector, VHDX_LOG_SECTOR_SEQUENCE_LOW,
		    sequence_number & 0xFFFFFFFF);
}

NTSTATUS vhdx_log_append(struct vhdx *image, struct vhdx_state *state,
			 const struct vhdx_log_update *updates,
			 size_t num_updates, bool flush_first)
{
	uint32_t length = entry_length(num_updates);
	uint8_t *buf = NULL;
	uint8_t *sectors = NULL;
	NTSTATUS status;
	size_t i;

	buf = talloc_zero_size(image, length);
	if (buf == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	sectors = buf + (size_t)descriptor_sectors(num_updates) * SECTOR;
	for (i = 0; i < num_updates; i++) {
		update_push(entry_descriptor(buf, i), sectors + i * SECTOR,
			    &updates[i], state->log_sequence);
	}
	entry_finish(image, state, buf, length, num_updates);

	/*
	 * From the first byte on until the record is stored, the entry may
	 * be found there by vhdx_log_recover(), also by our own.
	 */
	image->log_unsure = true;
	status = log_write(image, buf, length, state->log_head);
	TALLOC_FREE(buf);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (flush_first) {
		status = vhdx_file_flush(image->storage);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	for (i = 0; i < num_updates; i++) {
		status = vhdx_file_write(image->storage, updates[i].sector,
					 SECTOR, updates[i].file_offset);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	head_move(image, state, length, state->log_tail);
	return NT_STATUS_OK;
}

static bool is_in_bat(const struct vhdx *image, uint64_t offset)
{
	return offset >= image->bat.offset &&
	       offset < image->bat.offset + image->bat.length;
}

/* Is it about something else than blocks and bitmaps, as a resize is? */
static bool entry_has_shape(const struct vhdx *image,
			    const struct log_entry *entry, uint8_t *buf)
{
	uint32_t i;

	for (i = 0; i < entry->num_descriptors; i++) {
		uint64_t offset = PULL_LE_U64(
			entry_descriptor(buf, i),
			VHDX_LOG_DESCRIPTOR_FILE_OFFSET);

		if (!is_in_bat(image, offset) &&
		    vhdx_region_overlap(image, offset, SECTOR) != NULL) {
			return true;
		}
	}
	return false;
}

/* Places that its dead writer had taken for blocks are not free any more. */
static void places_forget(struct vhdx *image, struct vhdx_state *state,
			  const uint8_t *sector)
{
	size_t i;

	for (i = 0; state->num_released > 0 && i < SECTOR;
	     i += VHDX_BAT_ENTRY_SIZE) {
		uint64_t entry = PULL_LE_U64(sector, i);

		if (VHDX_BAT_FILE_OFFSET(entry) != 0) {
			vhdx_release_forget(image, state,
					    VHDX_BAT_FILE_OFFSET(entry));
		}
	}
}

/* Put one entry in place, as its dead writer would have. */
static NTSTATUS entry_apply(struct vhdx *image, struct vhdx_state *state,
			    const struct log_entry *entry, uint8_t *buf,
			    bool has_shape)
{
	uint32_t sector = descriptor_sectors(entry->num_descriptors);
	NTSTATUS status;
	uint32_t i;

	if (has_shape) {
		/* As vhdx_log_append() does with flush_first */
		status = vhdx_file_flush(image->storage);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	for (i = 0; i < entry->num_descriptors; i++) {
		const uint8_t *d = entry_descriptor(buf, i);
		uint8_t *data = buf + (size_t)(sector + i) * SECTOR;
		uint64_t offset = PULL_LE_U64(d,
					      VHDX_LOG_DESCRIPTOR_FILE_OFFSET);

		if (PULL_LE_U32(d, 0) != VHDX_LOG_DATA_SIGNATURE ||
		    !target_is_allowed(image, offset, SECTOR)) {
			/* We write no such entry. */
			return NT_STATUS_FILE_CORRUPT_ERROR;
		}
		memcpy(data, d + VHDX_LOG_DATA_LEADING_BYTES, 8);
		memcpy(data + VHDX_LOG_SECTOR_SEQUENCE_LOW,
		       d + VHDX_LOG_DATA_TRAILING_BYTES, 4);
		status = vhdx_file_write(image->storage, data, SECTOR, offset);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		if (!has_shape && is_in_bat(image, offset)) {
			vhdx_bat_sector_changed(
				image, (offset - image->bat.offset) / SECTOR,
				data);
			places_forget(image, state, data);
		}
	}
	return NT_STATUS_OK;
}

NTSTATUS vhdx_log_recover(struct vhdx *image, struct vhdx_state *state,
			  bool *changed)
{
	struct log_entry entry;
	uint8_t *buf = NULL;
	bool has_shape;
	NTSTATUS status;

	if (state->log_step != VHDX_LOG_READY) {
		return NT_STATUS_OK;
	}
	if (!image->log_unsure && !state->releasing &&
	    !vhdx_state_is_shared(image, state)) {
		/* Nobody else can have been at it. */
		return NT_STATUS_OK;
	}
	status = entry_read(image, image, &state->log_guid, state->log_head,
			    &entry, &buf);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (buf == NULL || entry.sequence_number != state->log_sequence) {
		TALLOC_FREE(buf);
		vhdx_release_settle(image, state, changed);
		return NT_STATUS_OK;
	}
	DBG_NOTICE("finishing log entry %" PRIu64 "\n",
		   entry.sequence_number);
	has_shape = entry_has_shape(image, &entry, buf);
	status = entry_apply(image, state, &entry, buf, has_shape);
	TALLOC_FREE(buf);
	if (NT_STATUS_IS_OK(status) && has_shape) {
		status = vhdx_shape_reload(image);
	}
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (has_shape) {
		vhdx_shape_publish(image, state);
	}
	state->next_free = MAX(state->next_free, entry.last_file_offset);
	head_move(image, state, entry.length, entry.tail);
	*changed = true;
	vhdx_release_settle(image, state, changed);
	return NT_STATUS_OK;
}
