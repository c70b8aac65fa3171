/*
 * vfs_rsvd: SANITIZE (SBC-3, sanitize operations)
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "modules/scsi/scsi_block.h"

#define SCSI_SANITIZE_OVERWRITE		0x01
#define SCSI_SANITIZE_BLOCK_ERASE	0x02
#define SCSI_SANITIZE_EXIT_FAILURE_MODE	0x1f

#define SCSI_SANITIZE_AUSE 0x20

/* What a command that needs the medium is told; false: it is there. */
bool scsi_sanitize_sense(const struct scsi_state *state, uint8_t *key,
			 uint16_t *asc)
{
	switch (state->sanitize) {
	case SCSI_SANITIZE_NONE:
		return false;
	case SCSI_SANITIZE_RUNNING:
		*key = SCSI_SENSE_NOT_READY;
		*asc = SCSI_ASC_SANITIZE_IN_PROGRESS;
		return true;
	case SCSI_SANITIZE_FAILED:
	default:
		*key = SCSI_SENSE_MEDIUM_ERROR;
		*asc = SCSI_ASC_SANITIZE_FAILED;
		return true;
	}
}

/* During a SANITIZE, and after a failed one, nobody knows what is there. */
bool scsi_medium_undefined(struct scsi_request *req)
{
	const struct scsi_state *state = scsi_disk_state(req->disk);
	uint8_t key;
	uint16_t asc;

	if (state == NULL) {
		scsi_state_error(req, NT_STATUS_INTERNAL_DB_ERROR);
		return true;
	}
	if (!scsi_sanitize_sense(state, &key, &asc)) {
		return false;
	}
	scsi_check_condition(req, key, asc);
	return true;
}

struct scsi_sanitize {
	struct scsi_request *req;
	const uint8_t *pattern;
	uint32_t pattern_length;
	uint8_t count;
	bool invert;
	bool may_exit;

	/* What the medium is to be marked with, and what was found instead */
	enum scsi_sanitize_state mark;
	bool mark_may_exit;
	bool is_running;
	bool cannot_exit;
	bool is_given_up;

	/* Those whose writes may be on their way */
	uint32_t num_others;
	struct GUID others[SCSI_MAX_NEXUSES];
};

static void scsi_sanitize_find_others(struct scsi_sanitize *s,
				      const struct scsi_state *state)
{
	const struct GUID *self_id = &s->req->nexus->initiator_id;
	uint32_t i;

	s->num_others = 0;
	for (i = 0; i < state->num_nexuses; i++) {
		const struct scsi_nexus_state *nexus = &state->nexuses[i];

		if (nexus->num_opens != 0 &&
		    !scsi_nexus_equal(&nexus->initiator_id, self_id)) {
			s->others[s->num_others] = nexus->initiator_id;
			s->num_others += 1;
		}
	}
}

/* Before the first block is touched */
static NTSTATUS scsi_sanitize_begin_fn(struct scsi_state *state,
				       bool *changed, void *fn_data)
{
	struct scsi_sanitize *s = fn_data;

	s->is_running = state->sanitize == SCSI_SANITIZE_RUNNING;
	if (s->is_running) {
		return NT_STATUS_OK;
	}
	s->mark = state->sanitize;
	s->mark_may_exit = state->sanitize_may_exit;
	scsi_sanitize_find_others(s, state);

	state->sanitize = SCSI_SANITIZE_RUNNING;
	state->sanitize_may_exit = s->may_exit;
	*changed = true;
	return NT_STATUS_OK;
}

/* After the last one, or when it was not to be */
static NTSTATUS scsi_sanitize_end_fn(struct scsi_state *state,
				     bool *changed, void *fn_data)
{
	struct scsi_sanitize *s = fn_data;

	if (s->is_given_up) {
		return NT_STATUS_OK;
	}
	state->sanitize = s->mark;
	state->sanitize_may_exit = s->mark_may_exit;
	*changed = true;
	return NT_STATUS_OK;
}

/* Between two pieces, when the mark is another one */
static NTSTATUS scsi_sanitize_go_on_fn(struct scsi_state *state,
				       bool *changed, void *fn_data)
{
	struct scsi_sanitize *s = fn_data;

	s->is_given_up = state->sanitize == SCSI_SANITIZE_NONE;
	if (state->sanitize == SCSI_SANITIZE_FAILED) {
		state->sanitize = SCSI_SANITIZE_RUNNING;
		*changed = true;
	}
	return NT_STATUS_OK;
}

static NTSTATUS scsi_sanitize_exit_fn(struct scsi_state *state,
				      bool *changed, void *fn_data)
{
	struct scsi_sanitize *s = fn_data;

	s->is_running = state->sanitize == SCSI_SANITIZE_RUNNING;
	s->cannot_exit = state->sanitize == SCSI_SANITIZE_FAILED &&
		!state->sanitize_may_exit;
	if (state->sanitize != SCSI_SANITIZE_FAILED || s->cannot_exit) {
		return NT_STATUS_OK;
	}
	state->sanitize = SCSI_SANITIZE_NONE;
	state->sanitize_may_exit = false;
	*changed = true;
	return NT_STATUS_OK;
}

/* Returns false when it has ended the command with an error. */
static bool scsi_sanitize_update(struct scsi_sanitize *s, scsi_state_fn fn)
{
	struct scsi_request *req = s->req;
	NTSTATUS status;

	if (req->disk->ops->update_state == NULL) {
		return true;
	}
	status = scsi_disk_update_state(req->disk, fn, s);
	if (!NT_STATUS_IS_OK(status)) {
		scsi_state_error(req, status);
		return false;
	}
	if (s->is_running) {
		/* One whose end would be taken for that of both */
		scsi_check_condition(req, SCSI_SENSE_NOT_READY,
				     SCSI_ASC_SANITIZE_IN_PROGRESS);
		return false;
	}
	return true;
}

/*
 * The death of any process has the medium marked as if it had been ours. We
 * know better; but if somebody has used EXIT FAILURE MODE in between, what it
 * writes now must not be erased.
 */
static NTSTATUS scsi_sanitize_go_on(struct scsi_sanitize *s)
{
	struct scsi_disk *disk = s->req->disk;
	const struct scsi_state *state = NULL;
	NTSTATUS status;

	if (disk->ops->update_state == NULL) {
		return NT_STATUS_OK;
	}
	state = scsi_disk_state(disk);
	if (state == NULL) {
		return NT_STATUS_INTERNAL_DB_ERROR;
	}
	if (state->sanitize == SCSI_SANITIZE_RUNNING) {
		return NT_STATUS_OK;
	}
	status = scsi_disk_update_state(disk, scsi_sanitize_go_on_fn, s);
	if (NT_STATUS_IS_OK(status) && s->is_given_up) {
		return NT_STATUS_REQUEST_ABORTED;
	}
	return status;
}

static NTSTATUS scsi_sanitize_pass(struct scsi_sanitize *s, bool invert)
{
	const struct scsi_disk *disk = s->req->disk;
	uint8_t buf[SCSI_CHUNK_SIZE];
	uint64_t offset;
	size_t i;

	/* Each logical block starts the pattern anew. */
	for (i = 0; i < sizeof(buf); i++) {
		uint8_t byte = s->pattern[(i % disk->logical_sector_size) %
					  s->pattern_length];

		buf[i] = invert ? ~byte : byte;
	}

	for (offset = 0; offset < disk->size; offset += sizeof(buf)) {
		size_t chunk = MIN(disk->size - offset, sizeof(buf));
		NTSTATUS status = scsi_sanitize_go_on(s);

		if (NT_STATUS_IS_OK(status)) {
			status = scsi_block_write_piece(s->req, buf, chunk,
							offset);
		}
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
	}
	return disk->ops->flush(disk->private_data);
}

static NTSTATUS scsi_sanitize_overwrite_run(struct scsi_sanitize *s)
{
	bool invert = false;
	uint8_t i;

	for (i = 0; i < s->count; i++) {
		NTSTATUS status = scsi_sanitize_pass(s, invert);

		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		invert = s->invert && !invert;
	}
	return NT_STATUS_OK;
}

/* How much of a disk is zeroed before it is asked whether one still may */
#define SCSI_SANITIZE_ERASE_LENGTH (64 * 1024 * 1024)

static NTSTATUS scsi_sanitize_erase_run(struct scsi_sanitize *s)
{
	const struct scsi_disk *disk = s->req->disk;
	uint64_t offset = 0;

	while (offset < disk->size) {
		uint64_t length = MIN(disk->size - offset,
				      SCSI_SANITIZE_ERASE_LENGTH);
		NTSTATUS status = scsi_sanitize_go_on(s);

		if (NT_STATUS_IS_OK(status)) {
			status = scsi_block_zero_piece(s->req, offset,
						       length);
		}
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		offset += length;
	}
	return disk->ops->flush(disk->private_data);
}

/*
 * A write that was let through before the medium was marked must not land on
 * what is sanitized already.
 */
static bool scsi_sanitize_fence(struct scsi_sanitize *s)
{
	const struct scsi_disk *disk = s->req->disk;
	NTSTATUS status;

	if (s->num_others == 0 || disk->ops->fence == NULL) {
		return true;
	}
	status = disk->ops->fence(disk->private_data, s->others,
				  s->num_others);
	if (NT_STATUS_IS_OK(status)) {
		return true;
	}
	/* Nothing has been touched yet. */
	if (scsi_sanitize_update(s, scsi_sanitize_end_fn)) {
		scsi_state_error(s->req, status);
	}
	return false;
}

/*
 * IMMED allows to end the command before the operation, it does not ask for
 * it: the command ends when the work is done, and there is no progress to
 * report.
 *
 * It may take hours, so nobody waits for it with a lock: the mark turns away
 * whoever comes to the medium in between, also by EXIT FAILURE MODE or with
 * another SANITIZE. A server that dies in between leaves it marked.
 */
static void scsi_sanitize_run(struct scsi_sanitize *s,
			      NTSTATUS (*fn)(struct scsi_sanitize *s))
{
	struct scsi_request *req = s->req;
	NTSTATUS status;

	s->may_exit = req->task->cdb[1] & SCSI_SANITIZE_AUSE;
	if (!scsi_sanitize_update(s, scsi_sanitize_begin_fn) ||
	    !scsi_sanitize_fence(s)) {
		return;
	}
	status = fn(s);
	s->mark = NT_STATUS_IS_OK(status) ? SCSI_SANITIZE_NONE :
		SCSI_SANITIZE_FAILED;
	s->mark_may_exit = s->may_exit && !NT_STATUS_IS_OK(status);
	if (scsi_sanitize_update(s, scsi_sanitize_end_fn) &&
	    !NT_STATUS_IS_OK(status)) {
		scsi_io_error(req, status, true);
	}
}

static void scsi_sanitize_overwrite(struct scsi_sanitize *s)
{
	struct scsi_request *req = s->req;
	const uint8_t *list = req->task->data_out;
	uint32_t lbs = req->disk->logical_sector_size;
	uint16_t list_length = scsi_get_be16(req->task->cdb + 7);

	if (list_length <= 4 || list_length > lbs + 4) {
		scsi_invalid_field_in_cdb(req, 7, -1);
		return;
	}
	if (req->task->data_out_length < list_length) {
		scsi_parameter_list_length_error(req);
		return;
	}

	s->invert = list[0] & 0x80;
	s->count = list[0] & 0x1f;
	s->pattern = list + 4;
	s->pattern_length = scsi_get_be16(list + 2);
	if (s->count == 0) {
		scsi_invalid_field_in_parameters(req, 0, 4);
		return;
	}
	if (s->pattern_length == 0 ||
	    s->pattern_length != list_length - 4U) {
		scsi_invalid_field_in_parameters(req, 2, -1);
		return;
	}
	scsi_sanitize_run(s, scsi_sanitize_overwrite_run);
}

static void scsi_sanitize_exit_failure_mode(struct scsi_sanitize *s)
{
	if (scsi_sanitize_update(s, scsi_sanitize_exit_fn) &&
	    s->cannot_exit) {
		scsi_invalid_field_in_cdb(s->req, 1, 4);
	}
}

void scsi_sanitize(struct scsi_request *req)
{
	struct scsi_sanitize s = { .req = req };
	uint8_t service_action = req->command->service_action;

	if (service_action != SCSI_SANITIZE_OVERWRITE &&
	    scsi_get_be16(req->task->cdb + 7) != 0) {
		scsi_invalid_field_in_cdb(req, 7, -1);
		return;
	}

	switch (service_action) {
	case SCSI_SANITIZE_OVERWRITE:
		scsi_sanitize_overwrite(&s);
		return;
	case SCSI_SANITIZE_BLOCK_ERASE:
		scsi_sanitize_run(&s, scsi_sanitize_erase_run);
		return;
	case SCSI_SANITIZE_EXIT_FAILURE_MODE:
		scsi_sanitize_exit_failure_mode(&s);
		return;
	}
}
