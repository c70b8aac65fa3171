/*
 * vfs_rsvd: opening and closing an image
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/debug.h"
#include "lib/util/genrand.h"
#include "librpc/ndr/libndr.h"
#include "modules/vhdx/vhdx_private.h"

uint64_t vhdx_unique_number(void)
{
	uint64_t number;

	generate_nonce_buffer((uint8_t *)&number, sizeof(number));
	return number | 1;
}

NTSTATUS vhdx_load(struct vhdx *image, bool with_log,
		   struct vhdx_findings *findings)
{
	NTSTATUS status;

	status = vhdx_file_size(image->storage, &image->file_size);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	status = vhdx_file_identifier_load(image, findings);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	status = vhdx_header_load(image, findings);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (with_log) {
		/* 2.3.3: before anything else of the file is read */
		status = vhdx_log_load(image, findings);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	status = vhdx_region_load(image, findings);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	return vhdx_metadata_load(image, findings);
}

/*
 * What the log says goes to the file. Until all of that is flushed the
 * headers go on naming the log, so that it can be done again.
 */
NTSTATUS vhdx_log_empty(struct vhdx *image, struct vhdx_state *state)
{
	NTSTATUS status;

	state->file_write_guid = GUID_random();
	state->data_write_guid = image->header.data_write_guid;
	state->log_guid = image->header.log_guid;
	status = vhdx_header_write_both(image, state);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	status = vhdx_log_replay(image);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	status = vhdx_file_flush(image->storage);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	state->log_guid = GUID_zero();
	status = vhdx_header_write_both(image, state);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	TALLOC_FREE(image->overlay);
	return NT_STATUS_OK;
}

struct open_state {
	struct vhdx_findings *findings;
	bool has_parents;	/* or can have */
};

/* The first writer: from here on the file is what the state says it is. */
static NTSTATUS open_first(struct vhdx *image, struct vhdx_state *state)
{
	uint64_t keep_end = vhdx_log_last_file_offset(image);
	NTSTATUS status;

	/*
	 * What we have read may be what a killed process wrote: a power cut
	 * must not take it back once we build on it.
	 */
	status = vhdx_file_flush(image->storage);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	state->header_copy = image->header_copy;
	state->header_sequence = image->header.sequence_number;
	state->file_write_guid = image->header.file_write_guid;
	state->data_write_guid = image->header.data_write_guid;
	if (image->overlay != NULL) {
		status = vhdx_log_empty(image, state);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	return vhdx_session_start(image, state, keep_end);
}

static NTSTATUS open_locked(struct vhdx *image, struct vhdx_state *state,
			    bool *changed, void *private_data)
{
	struct open_state *open = private_data;
	bool has_writer = vhdx_state_has_writer(image, state);
	NTSTATUS status;

	/*
	 * With a writer at work the file is right without its log, and the
	 * log is no business of ours.
	 */
	status = vhdx_load(image, !has_writer, open->findings);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (image->geometry.has_parent && !open->has_parents) {
		vhdx_find(open->findings, true, "file parameters",
			  "HasParent", "is not supported here");
		return NT_STATUS_NOT_SUPPORTED;
	}
	status = vhdx_bat_init(image);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	status = vhdx_bat_load(image, open->findings);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}

	if (has_writer) {
		/* Before a dead one is taken off the list */
		status = vhdx_log_recover(image, state, changed);
		if (NT_STATUS_IS_OK(status)) {
			struct vhdx_shape shape = vhdx_state_shape(state);

			status = vhdx_shape_follow(image, &shape);
		}
	} else if (!image->read_only) {
		status = open_first(image, state);
	}
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	TALLOC_FREE(image->space);
	image->session = state->session;
	image->map_generation = state->map_generation;
	image->release_known = state->release_sequence;
	image->session_ready = !image->read_only &&
			       state->header_step == VHDX_HEADER_READY;
	/* Also who only reads: its I/O must not meet another block's bytes. */
	status = vhdx_state_join(image, state);
	*changed = true;
	return status;
}

NTSTATUS vhdx_open_image(TALLOC_CTX *mem_ctx, struct vhdx_storage *storage,
			 struct vhdx_shared *shared, uint32_t flags,
			 const struct vhdx_parents *parents,
			 struct vhdx *child, struct vhdx **_image,
			 char **reason)
{
	struct open_state open = { .has_parents = parents != NULL };
	struct vhdx *image = NULL;
	char *why = NULL;
	NTSTATUS status;

	if (reason != NULL) {
		*reason = NULL;
	}
	if ((flags & ~VHDX_OPEN_READ_ONLY) != 0) {
		return NT_STATUS_INVALID_PARAMETER;
	}
	image = talloc_zero(mem_ctx, struct vhdx);
	if (image == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	image->storage = storage;
	image->shared = shared;
	image->child = child;
	image->read_only = (flags & VHDX_OPEN_READ_ONLY) != 0;
	image->instance = vhdx_unique_number();
	image->own_state = talloc_zero(image, struct vhdx_state);
	open.findings = talloc_zero(image, struct vhdx_findings);
	if (image->own_state == NULL || open.findings == NULL) {
		TALLOC_FREE(image);
		return NT_STATUS_NO_MEMORY;
	}
	image->own_state->version = VHDX_STATE_VERSION;

	status = vhdx_release_init(image);
	if (!NT_STATUS_IS_OK(status)) {
		TALLOC_FREE(image);
		return status;
	}
	status = vhdx_state_locked(image, open_locked, &open);
	if (!NT_STATUS_IS_OK(status)) {
		why = vhdx_findings_reason(mem_ctx, open.findings);
		goto failed;
	}
	TALLOC_FREE(open.findings);
	if (image->geometry.has_parent) {
		/* Not under the lock: whoever opens files has its own. */
		status = vhdx_parents_open(image, mem_ctx, parents, &why);
		if (!NT_STATUS_IS_OK(status)) {
			goto failed_parents;
		}
	}
	image->child = NULL;
	*_image = image;
	return NT_STATUS_OK;
failed_parents:
	/* It has joined the users. */
	vhdx_close(&image);
failed:
	DBG_NOTICE("%s: %s\n", nt_errstr(status),
		   why != NULL ? why : "no more is known");
	if (reason != NULL) {
		*reason = why;
	} else {
		TALLOC_FREE(why);
	}
	TALLOC_FREE(image);
	return status;
}

NTSTATUS vhdx_open_chain(TALLOC_CTX *mem_ctx, struct vhdx_storage *storage,
			 struct vhdx_shared *shared, uint32_t flags,
			 const struct vhdx_parents *parents,
			 struct vhdx **image, char **reason)
{
	return vhdx_open_image(mem_ctx, storage, shared, flags, parents, NULL,
			       image, reason);
}

NTSTATUS vhdx_open(TALLOC_CTX *mem_ctx, struct vhdx_storage *storage,
		   struct vhdx_shared *shared, uint32_t flags,
		   struct vhdx **image, char **reason)
{
	return vhdx_open_image(mem_ctx, storage, shared, flags, NULL, NULL,
			       image, reason);
}

static NTSTATUS close_locked(struct vhdx *image, struct vhdx_state *state,
			     bool *changed, void *private_data)
{
	struct vhdx_shape shape;
	NTSTATUS status;

	if (image->read_only) {
		vhdx_state_leave(image, state);
		*changed = true;
		return NT_STATUS_OK;
	}
	if (!vhdx_state_is_user(image, state)) {
		/* Others took us for dead and have cleaned up. */
		return NT_STATUS_OK;
	}
	vhdx_mark_apply(image, state, changed);
	shape = vhdx_state_shape(state);
	status = vhdx_shape_follow(image, &shape);
	if (NT_STATUS_IS_OK(status)) {
		/* Before a dead one is taken off the list */
		status = vhdx_log_recover(image, state, changed);
	}
	vhdx_state_leave(image, state);
	*changed = true;
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (vhdx_state_has_writer(image, state)) {
		return NT_STATUS_OK;
	}
	return vhdx_session_end(image, state);
}

NTSTATUS vhdx_close(struct vhdx **_image)
{
	struct vhdx *image = *_image;
	NTSTATUS status;

	*_image = NULL;
	if (image == NULL) {
		return NT_STATUS_OK;
	}
	status = vhdx_state_locked(image, close_locked, NULL);
	TALLOC_FREE(image);
	return status;
}

const struct vhdx_geometry *vhdx_geometry(struct vhdx *image)
{
	/* Another process may have changed the size; an error shows later. */
	vhdx_state_refresh(image);
	return &image->geometry;
}
