/*
 * vfs_rsvd: putting an image in order
 *
 * Only what can be put right without guessing: where the file itself says what
 * has to be there. What is left is for vhdx_check() to tell.
 *
 *  - a log that was left is replayed (MS-VHDX 2.3.3)
 *  - the bad one of two headers is written again from the good one (2.2.2)
 *  - so is the bad one of two region tables (2.2.3)
 *  - entries of the BAT lose what has to be zero: reserved bits, and sector
 *    bitmaps where there is no parent (2.5.1). Only if the whole table is
 *    right then; one that overlaps or leads out of the file stays as it is,
 *    somebody may know better what was there.
 *  - the file ends where the last thing in it does, and what belongs to nothing
 *    before that is a hole, where the file system has holes
 *
 * A power cut at any moment leaves each of these done or not done: a copy is
 * only written when the other one is good and stable, the log is named until
 * what it says is stable, an entry is 8 bytes, and nothing leaves the file
 * before the BAT is stable.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "librpc/ndr/libndr.h"
#include "modules/vhdx/vhdx_private.h"

#define BAT_PIECE_SIZE VHDX_MIB

struct repair_state {
	struct vhdx_findings *fixed;
	struct vhdx_findings *found;	/* what loading the image found */
	uint8_t *buf;			/* BAT_PIECE_SIZE */
	bool bat_is_right;		/* or has been made so */
	struct vhdx_space *used;	/* also by blocks that left it ... */
	uint64_t used_end;		/* ... but may want it again */
	vhdx_progress_fn progress;
	void *private_data;
	bool stopped;
};

static NTSTATUS log_repair(struct vhdx *image, struct vhdx_state *state,
			   struct repair_state *repair)
{
	size_t num = vhdx_log_num_entries(image);
	NTSTATUS status;

	if (image->overlay == NULL) {
		return NT_STATUS_OK;
	}
	status = vhdx_log_empty(image, state);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	vhdx_find(repair->fixed, false, "log", "LogGuid",
		  "%zu entries replayed", num);
	return NT_STATUS_OK;
}

static NTSTATUS headers_repair(struct vhdx *image, struct vhdx_state *state,
			       struct repair_state *repair)
{
	NTSTATUS status;
	unsigned bad;

	if (!vhdx_header_bad_copy(image, &bad)) {
		return NT_STATUS_OK;
	}
	/* Both get a new number; the good one is written second. */
	status = vhdx_header_write_both(image, state);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	vhdx_find(repair->fixed, false, "headers", "copies",
		  "header %u written again from the other", bad + 1);
	return NT_STATUS_OK;
}

static NTSTATUS regions_repair(struct vhdx *image,
			       struct repair_state *repair)
{
	unsigned bad;
	NTSTATUS status;

	status = vhdx_region_restore(image, &bad);
	if (NT_STATUS_EQUAL(status, NT_STATUS_NOT_FOUND)) {
		return NT_STATUS_OK;
	}
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	vhdx_find(repair->fixed, false, "region tables", "copies",
		  "region table %u written again from the other", bad + 1);
	return NT_STATUS_OK;
}

/* What an entry has to be, going by nothing but itself */
static uint64_t entry_right(const struct vhdx *image, uint64_t index,
			    uint64_t entry)
{
	uint64_t stride = (UINT64_C(1) << image->chunk_shift) + 1;

	if (index % stride == stride - 1) {
		return 0;
	}
	return entry & ~VHDX_BAT_RESERVED(entry);
}

static bool goes_on(struct repair_state *repair, uint64_t done, uint64_t total)
{
	if (repair->progress != NULL && !repair->stopped) {
		repair->stopped = !repair->progress(done, total,
						    repair->private_data);
	}
	return !repair->stopped;
}

/*
 * One look at all of the table as it has to be. Where *write is set, it is
 * also made so; *num_wrong are the entries that are not.
 */
static NTSTATUS bat_pass(struct vhdx *image, struct repair_state *repair,
			 bool write, struct vhdx_space *space,
			 struct vhdx_findings *errors, uint64_t *num_wrong)
{
	uint64_t num = vhdx_bat_num_entries(image);
	uint64_t piece = BAT_PIECE_SIZE / VHDX_BAT_ENTRY_SIZE;
	uint64_t first;
	uint64_t i;

	*num_wrong = 0;
	for (first = 0; first < num; first += piece) {
		uint64_t offset = image->bat.offset +
				  first * VHDX_BAT_ENTRY_SIZE;
		uint64_t before = *num_wrong;
		NTSTATUS status;

		if (!goes_on(repair, first * VHDX_BAT_ENTRY_SIZE,
			     num * VHDX_BAT_ENTRY_SIZE)) {
			return NT_STATUS_OK;
		}
		piece = MIN(piece, num - first);
		status = vhdx_file_read(image->storage, repair->buf,
					piece * VHDX_BAT_ENTRY_SIZE, offset);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		for (i = 0; i < piece; i++) {
			uint8_t *p = repair->buf + i * VHDX_BAT_ENTRY_SIZE;
			uint64_t entry = PULL_LE_U64(p, 0);
			uint64_t right = entry_right(image, first + i, entry);

			*num_wrong += (entry != right) ? 1 : 0;
			if (write) {
				PUSH_LE_U64(p, 0, right);
				continue;
			}
			vhdx_bat_entry_check(image, first + i, right, space,
					     errors);
			if (right != 0) {
				/* Also what states without a place keep */
				vhdx_space_take(repair->used,
						VHDX_BAT_FILE_OFFSET(right),
						image->geometry.block_size);
				repair->used_end =
					MAX(repair->used_end,
					    VHDX_BAT_FILE_OFFSET(right) +
					    image->geometry.block_size);
			}
		}
		if (write && *num_wrong > before) {
			status = vhdx_file_write(image->storage, repair->buf,
						 piece * VHDX_BAT_ENTRY_SIZE,
						 offset);
			if (!NT_STATUS_IS_OK(status)) {
				return status;
			}
		}
	}
	return NT_STATUS_OK;
}

static NTSTATUS bat_repair(struct vhdx *image, struct repair_state *repair)
{
	struct vhdx_findings *errors = NULL;
	struct vhdx_space *space = NULL;
	uint64_t num_wrong;
	NTSTATUS status;

	errors = talloc_zero(repair->buf, struct vhdx_findings);
	space = vhdx_space_new(repair->buf, 0, image->file_size);
	repair->used = vhdx_space_new(repair->buf, 0, image->file_size);
	if (errors == NULL || space == NULL || repair->used == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	status = bat_pass(image, repair, false, space, errors, &num_wrong);
	TALLOC_FREE(space);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	repair->bat_is_right = errors->num_errors == 0 && !repair->stopped;
	if (!repair->bat_is_right || num_wrong == 0) {
		return NT_STATUS_OK;
	}
	status = bat_pass(image, repair, true, NULL, NULL, &num_wrong);
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_file_flush(image->storage);
	}
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (repair->stopped) {
		repair->bat_is_right = false;
		return NT_STATUS_OK;
	}
	vhdx_find(repair->fixed, false, "BAT", "entries",
		  "%" PRIu64 " had something that has to be 0", num_wrong);
	return NT_STATUS_OK;
}

static NTSTATUS end_repair(struct vhdx *image, struct repair_state *repair)
{
	uint64_t end = MAX(repair->used_end, vhdx_region_end(image));
	NTSTATUS status;

	if (!repair->bat_is_right || end >= image->file_size) {
		return NT_STATUS_OK;
	}
	status = vhdx_file_resize(image->storage, end);
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_file_flush(image->storage);
	}
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	vhdx_find(repair->fixed, false, "file", "size",
		  "%" PRIu64 " bytes at the end belonged to nothing",
		  image->file_size - end);
	image->file_size = end;
	return NT_STATUS_OK;
}

static NTSTATUS leaks_repair(struct vhdx *image, struct repair_state *repair)
{
	uint64_t offset = VHDX_HEADER_SECTION_SIZE;
	uint64_t leaked = 0;
	uint64_t length;
	size_t i;

	if (!repair->bat_is_right) {
		return NT_STATUS_OK;
	}
	vhdx_space_take(repair->used, image->log.offset, image->log.length);
	for (i = 0; i < image->num_regions; i++) {
		vhdx_space_take(repair->used, image->regions[i].offset,
				image->regions[i].length);
	}
	while (vhdx_space_next_free(repair->used, &offset, &length)) {
		uint64_t end = MIN(offset + length, image->file_size);

		while (offset < end) {
			NTSTATUS status;

			length = end - offset;
			if (vhdx_file_has_data(image->storage, offset,
					       &length)) {
				status = vhdx_file_punch(image->storage,
							 offset, length);
				if (NT_STATUS_EQUAL(status,
						    NT_STATUS_NOT_SUPPORTED)) {
					return NT_STATUS_OK;
				}
				if (!NT_STATUS_IS_OK(status)) {
					return status;
				}
				leaked += length;
			}
			offset += length;
		}
		if (end == image->file_size) {
			break;
		}
	}
	if (leaked > 0) {
		vhdx_find(repair->fixed, false, "file", "space",
			  "%" PRIu64 " bytes inside it belonged to nothing",
			  leaked);
	}
	return NT_STATUS_OK;
}

static NTSTATUS repair_locked(struct vhdx *image, struct vhdx_state *state,
			      bool *changed, void *private_data)
{
	struct repair_state *repair = private_data;
	NTSTATUS status;

	if (vhdx_state_has_writer(image, state)) {
		return NT_STATUS_SHARING_VIOLATION;
	}
	status = vhdx_load(image, true, repair->found);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	/* What is copied from must not go away in a power cut. */
	status = vhdx_file_flush(image->storage);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	state->header_copy = image->header_copy;
	state->header_sequence = image->header.sequence_number;
	state->file_write_guid = image->header.file_write_guid;
	state->data_write_guid = image->header.data_write_guid;
	state->log_guid = image->header.log_guid;

	status = log_repair(image, state, repair);
	if (NT_STATUS_IS_OK(status)) {
		status = headers_repair(image, state, repair);
	}
	if (NT_STATUS_IS_OK(status)) {
		status = regions_repair(image, repair);
	}
	if (!NT_STATUS_IS_OK(status) || image->geometry.has_parent) {
		return status;
	}
	status = bat_repair(image, repair);
	if (NT_STATUS_IS_OK(status)) {
		status = end_repair(image, repair);
	}
	if (NT_STATUS_IS_OK(status)) {
		status = leaks_repair(image, repair);
	}
	return status;
}

static NTSTATUS repair_run(TALLOC_CTX *mem_ctx, struct vhdx_storage *storage,
			   struct vhdx_shared *shared,
			   struct repair_state *repair)
{
	struct vhdx *image = NULL;
	NTSTATUS status;

	repair->found = talloc_zero(mem_ctx, struct vhdx_findings);
	repair->buf = talloc_size(mem_ctx, BAT_PIECE_SIZE);
	image = talloc_zero(mem_ctx, struct vhdx);
	if (repair->found == NULL || repair->buf == NULL || image == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	image->storage = storage;
	image->shared = shared;
	image->own_state = talloc_zero(image, struct vhdx_state);
	if (image->own_state == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	image->own_state->version = VHDX_STATE_VERSION;

	status = vhdx_state_locked(image, repair_locked, repair);
	if (NT_STATUS_EQUAL(status, NT_STATUS_FILE_CORRUPT_ERROR) &&
	    repair->found->num_errors > 0) {
		/* Nothing to go by; the check says what is wrong. */
		return NT_STATUS_OK;
	}
	return status;
}

NTSTATUS vhdx_repair(TALLOC_CTX *mem_ctx, struct vhdx_storage *storage,
		     struct vhdx_shared *shared, vhdx_progress_fn progress,
		     void *private_data, struct vhdx_repair_report **_report)
{
	struct vhdx_repair_report *report = NULL;
	struct repair_state repair = {
		.progress = progress, .private_data = private_data,
	};
	TALLOC_CTX *frame = NULL;
	NTSTATUS status;

	report = talloc_zero(mem_ctx, struct vhdx_repair_report);
	if (report == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	frame = talloc_new(report);
	repair.fixed = talloc_zero(report, struct vhdx_findings);
	if (frame == NULL || repair.fixed == NULL) {
		TALLOC_FREE(report);
		return NT_STATUS_NO_MEMORY;
	}
	status = repair_run(frame, storage, shared, &repair);
	TALLOC_FREE(frame);
	if (NT_STATUS_IS_OK(status)) {
		status = vhdx_check(report, storage, progress, private_data,
				    &report->left);
	}
	if (!NT_STATUS_IS_OK(status)) {
		TALLOC_FREE(report);
		return status;
	}
	report->left->stopped |= repair.stopped;
	report->fixed = repair.fixed->list;
	report->num_fixed = repair.fixed->num;
	*_report = report;
	return NT_STATUS_OK;
}
