/*
 * vfs_rsvd: every rule of an image
 *
 * The BAT is gone through in pieces, and the file in windows of which one
 * bitmap says what is taken: 64 TiB of file, 8 MiB of bitmap. A file with more
 * than that takes another pass for each window that something points into.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "librpc/ndr/libndr.h"
#include "modules/vhdx/vhdx_private.h"

#define WINDOW_SIZE (64 * VHDX_TIB)
#define BAT_PIECE_SIZE VHDX_MIB

struct check_state {
	struct vhdx *image;
	struct vhdx_findings *findings;
	struct vhdx_check_report *report;
	vhdx_progress_fn progress;
	void *private_data;
	uint8_t *buf;			/* BAT_PIECE_SIZE */
	uint64_t window;		/* where the window begins */
	uint64_t next_window;		/* UINT64_MAX: nothing behind it */
	struct vhdx_space *space;
};

static void entry_check(struct check_state *check, uint64_t index,
			uint64_t entry)
{
	struct vhdx *image = check->image;
	uint64_t offset = VHDX_BAT_FILE_OFFSET(entry);
	bool is_bitmap = vhdx_bat_is_bitmap(image, index);
	uint64_t length = is_bitmap ? VHDX_MIB : image->geometry.block_size;
	/* A sector bitmap is there in the state that has the same number. */
	bool mapped = VHDX_BAT_STATE(entry) == VHDX_PAYLOAD_FULLY_PRESENT ||
		      (VHDX_BAT_STATE(entry) ==
		       VHDX_PAYLOAD_PARTIALLY_PRESENT && !is_bitmap);

	if (mapped && offset >= check->window + WINDOW_SIZE &&
	    offset < image->file_size) {
		check->next_window = MIN(check->next_window,
					 offset - offset % WINDOW_SIZE);
	}
	if (check->window == 0) {
		/* The rules that are not about space are told once. */
		vhdx_bat_entry_check(image, index, entry, check->space,
				     check->findings);
		if (mapped && !is_bitmap) {
			check->report->num_allocated_blocks += 1;
		}
	} else if (mapped && offset >= check->window &&
		   offset < check->window + WINDOW_SIZE) {
		struct vhdx_findings *overlaps = check->findings;

		if (!vhdx_space_take(check->space, offset, length)) {
			char field[48];

			snprintf(field, sizeof(field), "entry[%" PRIu64 "]",
				 index);
			vhdx_find(overlaps, true, "BAT", field,
				  "FileOffsetMB must not overlap another "
				  "block");
		}
	}
}

/* As if each window took a pass; one that nothing points into is skipped. */
static bool goes_on(struct check_state *check, uint64_t first)
{
	uint64_t num = vhdx_bat_num_entries(check->image);
	uint64_t num_windows = (check->image->file_size - 1) / WINDOW_SIZE + 1;
	uint64_t done = check->window / WINDOW_SIZE * num + first;

	if (check->progress != NULL && !check->report->stopped) {
		check->report->stopped = !check->progress(
			done * VHDX_BAT_ENTRY_SIZE,
			num_windows * num * VHDX_BAT_ENTRY_SIZE,
			check->private_data);
	}
	return !check->report->stopped;
}

static NTSTATUS bat_pass(struct check_state *check)
{
	struct vhdx *image = check->image;
	uint64_t num = vhdx_bat_num_entries(image);
	uint64_t piece = BAT_PIECE_SIZE / VHDX_BAT_ENTRY_SIZE;
	uint64_t first;
	uint64_t i;

	for (first = 0; first < num && goes_on(check, first); first += piece) {
		NTSTATUS status;

		piece = MIN(piece, num - first);
		status = vhdx_metadata_read(
			image, check->buf, piece * VHDX_BAT_ENTRY_SIZE,
			image->bat.offset + first * VHDX_BAT_ENTRY_SIZE);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		for (i = 0; i < piece; i++) {
			entry_check(check, first + i,
				    PULL_LE_U64(check->buf,
						i * VHDX_BAT_ENTRY_SIZE));
		}
	}
	return NT_STATUS_OK;
}

static void structures_take(struct check_state *check)
{
	struct vhdx *image = check->image;
	size_t i;

	vhdx_space_take(check->space, 0, VHDX_HEADER_SECTION_SIZE);
	vhdx_space_take(check->space, image->log.offset, image->log.length);
	for (i = 0; i < image->num_regions; i++) {
		vhdx_space_take(check->space, image->regions[i].offset,
				image->regions[i].length);
	}
}

/*
 * Holes that belong to nothing are what trimmed blocks have left: they cost
 * nothing, and the next session uses them again. At the end of the file they
 * do make it larger.
 */
static uint64_t holes_in(struct check_state *check)
{
	struct vhdx *image = check->image;
	uint64_t offset = check->window;
	uint64_t holes = 0;
	uint64_t length;

	while (vhdx_space_next_free(check->space, &offset, &length)) {
		uint64_t end = offset + length;

		if (end >= image->file_size) {
			break;
		}
		while (offset < end) {
			bool is_data;

			length = end - offset;
			is_data = vhdx_file_has_data(image->storage, offset,
						     &length);
			holes += is_data ? 0 : length;
			offset += length;
		}
	}
	return holes;
}

static NTSTATUS space_check(struct check_state *check)
{
	struct vhdx *image = check->image;
	uint64_t leaked = image->file_size;
	NTSTATUS status;

	do {
		uint64_t length = MIN(image->file_size - check->window,
				      WINDOW_SIZE);
		uint64_t not_taken;

		check->next_window = UINT64_MAX;
		check->space = vhdx_space_new(check->buf, check->window,
					      length);
		if (check->space == NULL) {
			return NT_STATUS_NO_MEMORY;
		}
		structures_take(check);
		status = bat_pass(check);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		if (check->report->stopped) {
			return NT_STATUS_OK;
		}
		not_taken = vhdx_space_free(check->space);
		leaked -= length - MIN(not_taken, length);
		leaked -= holes_in(check);
		TALLOC_FREE(check->space);
		check->window = check->next_window;
	} while (check->window != UINT64_MAX);

	check->report->leaked_bytes = leaked;
	if (leaked > 0) {
		vhdx_find(check->findings, false, "file", "size",
			  "%" PRIu64 " bytes belong to nothing", leaked);
	}
	return NT_STATUS_OK;
}

static void log_check(struct check_state *check)
{
	const struct vhdx *image = check->image;

	if (!GUID_all_zero(&image->header.log_guid)) {
		vhdx_find(check->findings, false, "log", "LogGuid",
			  "the log is not empty: %zu entries wait to be "
			  "replayed", vhdx_log_num_entries(image));
	}
}

/* The copy that is not used has to be as good. */
static NTSTATUS second_region_table_check(struct check_state *check)
{
	struct vhdx *image = check->image;
	uint8_t *copy = check->buf + VHDX_REGION_TABLE_SIZE;
	NTSTATUS status;
	unsigned i;

	for (i = 0; i < 2; i++) {
		status = vhdx_metadata_read(
			image, check->buf + i * VHDX_REGION_TABLE_SIZE,
			VHDX_REGION_TABLE_SIZE, VHDX_REGION_TABLE_OFFSET(i));
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	if (memcmp(check->buf, copy, VHDX_REGION_TABLE_SIZE) != 0) {
		vhdx_find(check->findings, false, "region tables", "copies",
			  "must be the same");
	}
	return NT_STATUS_OK;
}

static NTSTATUS image_check(struct check_state *check)
{
	struct vhdx *image = check->image;
	struct vhdx_locator *locator = NULL;
	NTSTATUS status;

	status = vhdx_load(image, true, check->findings);
	check->report->file_size = image->file_size;
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	log_check(check);
	status = second_region_table_check(check);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	check->report->num_blocks = image->num_blocks;
	if (image->geometry.has_parent) {
		/* The parents have checks of their own. */
		status = vhdx_locator_load(image, check->report, &locator,
					   check->findings);
		TALLOC_FREE(locator);
		if (!NT_STATUS_IS_OK(status) &&
		    check->findings->num_errors == 0) {
			return status;
		}
	}
	return space_check(check);
}

NTSTATUS vhdx_check(TALLOC_CTX *mem_ctx, struct vhdx_storage *storage,
		    vhdx_progress_fn progress,
		    void *private_data, struct vhdx_check_report **report)
{
	struct check_state check = {
		.progress = progress, .private_data = private_data,
	};
	NTSTATUS status;

	check.report = talloc_zero(mem_ctx, struct vhdx_check_report);
	if (check.report == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	check.findings = talloc_zero(check.report, struct vhdx_findings);
	check.image = talloc_zero(check.report, struct vhdx);
	check.buf = talloc_size(check.report, BAT_PIECE_SIZE);
	if (check.findings == NULL || check.image == NULL ||
	    check.buf == NULL) {
		TALLOC_FREE(check.report);
		return NT_STATUS_NO_MEMORY;
	}
	check.image->storage = storage;
	check.image->read_only = true;

	status = image_check(&check);
	if (NT_STATUS_EQUAL(status, NT_STATUS_FILE_CORRUPT_ERROR) &&
	    check.findings->num_errors > 0) {
		/* As far as it can be looked at */
		status = NT_STATUS_OK;
	}
	if (!NT_STATUS_IS_OK(status)) {
		TALLOC_FREE(check.report);
		return status;
	}
	TALLOC_FREE(check.buf);
	TALLOC_FREE(check.image);
	check.report->findings = check.findings->list;
	check.report->num_findings = check.findings->num;
	*report = check.report;
	return NT_STATUS_OK;
}
