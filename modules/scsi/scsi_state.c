/*
 * vfs_rsvd: what the initiators of a disk share: who they are, what each is
 * still to be told, and whom a reservation holds back
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "modules/scsi/scsi_private.h"

/*
 * A node that lost its registration while it was away has to learn of it:
 * its open may have died with an smbd process and come back. Other
 * conditions end with the nexus (SAM-5 5.14).
 */
#define SCSI_UA_OUTLIVES_NEXUS \
	(SCSI_UA_REGISTRATIONS_PREEMPTED|SCSI_UA_RESERVATIONS_PREEMPTED)

bool scsi_nexus_equal(const struct GUID *a, const struct GUID *b)
{
	/* struct GUID has no padding. */
	return memcmp(a, b, sizeof(*a)) == 0;
}

struct scsi_nexus_state *scsi_state_find(const struct scsi_state *state,
					 const struct GUID *initiator_id)
{
	uint32_t i;

	for (i = 0; i < state->num_nexuses; i++) {
		if (scsi_nexus_equal(&state->nexuses[i].initiator_id,
				     initiator_id)) {
			return &state->nexuses[i];
		}
	}
	return NULL;
}

struct scsi_state *scsi_state_init(TALLOC_CTX *mem_ctx)
{
	struct scsi_state *state = talloc_zero(mem_ctx, struct scsi_state);

	if (state == NULL) {
		return NULL;
	}
	state->mode = SCSI_MODE_WCE;
	return state;
}

static bool scsi_nexus_is_needed(const struct scsi_nexus_state *nexus)
{
	return nexus->num_opens != 0 || nexus->key != 0 ||
		nexus->unit_attentions != 0;
}

/* Forget the nexuses that nothing keeps. */
void scsi_state_nexus_trim(struct scsi_state *state)
{
	uint32_t i, num = 0;

	for (i = 0; i < state->num_nexuses; i++) {
		if (!scsi_nexus_is_needed(&state->nexuses[i])) {
			continue;
		}
		state->nexuses[num] = state->nexuses[i];
		num += 1;
	}
	state->num_nexuses = num;
}

/* Make room: a unit attention for one who is away is the first to go. */
static void scsi_state_evict(struct scsi_state *state)
{
	uint32_t i;

	for (i = 0; i < state->num_nexuses; i++) {
		struct scsi_nexus_state *nexus = &state->nexuses[i];

		if (nexus->num_opens == 0 && nexus->key == 0) {
			nexus->unit_attentions = 0;
			break;
		}
	}
	scsi_state_nexus_trim(state);
}

/*
 * The entry of a nexus, made where there is none; trimming takes it away
 * again when nothing comes to keep it.
 */
NTSTATUS scsi_state_nexus_get(struct scsi_state *state,
			      const struct GUID *initiator_id,
			      const char *host_name,
			      struct scsi_nexus_state **_nexus)
{
	struct scsi_nexus_state *nexus = scsi_state_find(state, initiator_id);
	char *name = NULL;

	if (nexus != NULL) {
		*_nexus = nexus;
		return NT_STATUS_OK;
	}

	if (state->num_nexuses >= SCSI_MAX_NEXUSES) {
		scsi_state_evict(state);
	}
	if (state->num_nexuses >= SCSI_MAX_NEXUSES) {
		return NT_STATUS_INSUFFICIENT_RESOURCES;
	}

	name = talloc_strdup(state, host_name);
	if (name == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	nexus = talloc_realloc(state, state->nexuses, struct scsi_nexus_state,
			       state->num_nexuses + 1);
	if (nexus == NULL) {
		return NT_STATUS_NO_MEMORY;
	}
	state->nexuses = nexus;

	nexus = &state->nexuses[state->num_nexuses];
	*nexus = (struct scsi_nexus_state) {
		.initiator_id = *initiator_id,
		.host_name = name,
	};
	state->num_nexuses += 1;
	*_nexus = nexus;
	return NT_STATUS_OK;
}

NTSTATUS scsi_state_nexus_add(struct scsi_state *state,
			      const struct GUID *initiator_id,
			      const char *host_name)
{
	struct scsi_nexus_state *nexus = NULL;
	NTSTATUS status;

	status = scsi_state_nexus_get(state, initiator_id, host_name, &nexus);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	/*
	 * Others may have made it known before, by a TransportID, or it
	 * itself when it had another name.
	 */
	if (host_name[0] != '\0' &&
	    strcmp(nexus->host_name, host_name) != 0) {
		char *name = talloc_strdup(state, host_name);

		if (name == NULL) {
			return NT_STATUS_NO_MEMORY;
		}
		nexus->host_name = name;
	}
	if (nexus->num_opens == 0) {
		nexus->known_mode = state->mode;
	}
	nexus->num_opens += 1;
	return NT_STATUS_OK;
}

void scsi_state_nexus_remove(struct scsi_state *state,
			     const struct GUID *initiator_id)
{
	struct scsi_nexus_state *nexus = scsi_state_find(state, initiator_id);

	if (nexus == NULL || nexus->num_opens == 0) {
		return;
	}
	nexus->num_opens -= 1;
	if (nexus->num_opens != 0) {
		return;
	}

	nexus->unit_attentions &= SCSI_UA_OUTLIVES_NEXUS;
	if (state->reserved &&
	    scsi_nexus_equal(&state->reserve_holder, initiator_id)) {
		state->reserved = false;
	}
	scsi_state_nexus_trim(state);
}

void scsi_state_power_on(struct scsi_state *state)
{
	uint32_t i;

	/* SPC-4 5.13.5; PRGENERATION begins with zero. */
	state->pr_generation = 0;
	state->reserved = false;
	state->mode = SCSI_MODE_WCE;
	if (!state->aptpl) {
		state->pr_type = SCSI_PR_NONE;
	}
	for (i = 0; i < state->num_nexuses; i++) {
		struct scsi_nexus_state *nexus = &state->nexuses[i];

		nexus->num_opens = 0;
		nexus->unit_attentions = 0;
		if (!state->aptpl) {
			nexus->key = 0;
		}
	}
	scsi_state_nexus_trim(state);
}

void scsi_state_process_died(struct scsi_state *state)
{
	if (state->sanitize == SCSI_SANITIZE_RUNNING) {
		state->sanitize = SCSI_SANITIZE_FAILED;
	}
}

/* One who is away does not see a change of what it will find. */
void scsi_nexus_establish_ua(struct scsi_nexus_state *nexus, uint32_t ua)
{
	if (nexus->num_opens == 0) {
		ua &= SCSI_UA_OUTLIVES_NEXUS;
	}
	nexus->unit_attentions |= ua;
}

void scsi_state_establish_ua(struct scsi_state *state,
			     const struct GUID *except, uint32_t ua)
{
	uint32_t i;

	for (i = 0; i < state->num_nexuses; i++) {
		struct scsi_nexus_state *nexus = &state->nexuses[i];

		if (except == NULL ||
		    !scsi_nexus_equal(&nexus->initiator_id, except)) {
			scsi_nexus_establish_ua(nexus, ua);
		}
	}
}

struct scsi_take_ua {
	const struct GUID *initiator_id;
	uint32_t ua;
	uint8_t mode;
};

static NTSTATUS scsi_take_unit_attention_fn(struct scsi_state *state,
					    bool *changed, void *fn_data)
{
	struct scsi_take_ua *take = fn_data;
	struct scsi_nexus_state *nexus = NULL;

	take->ua = 0;
	take->mode = state->mode;

	nexus = scsi_state_find(state, take->initiator_id);
	if (nexus == NULL || nexus->unit_attentions == 0) {
		return NT_STATUS_OK;
	}

	/* The lowest bit set */
	take->ua = nexus->unit_attentions & -nexus->unit_attentions;
	nexus->unit_attentions &= ~take->ua;
	if (take->ua == SCSI_UA_MODE_PARAMETERS_CHANGED) {
		nexus->known_mode = state->mode;
	}
	scsi_state_nexus_trim(state);
	*changed = true;
	return NT_STATUS_OK;
}

NTSTATUS scsi_take_unit_attention(struct scsi_disk *disk,
				  const struct GUID *initiator_id,
				  uint32_t *ua,
				  uint8_t sense[SCSI_SENSE_SIZE])
{
	struct scsi_take_ua take = { .initiator_id = initiator_id };
	NTSTATUS status;

	*ua = 0;
	status = scsi_disk_update_state(disk, scsi_take_unit_attention_fn,
					&take);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}

	*ua = take.ua;
	if (sense != NULL) {
		scsi_sense_data(take.mode & SCSI_MODE_D_SENSE,
				SCSI_SENSE_UNIT_ATTENTION,
				scsi_ua_asc(take.ua), sense);
	}
	return NT_STATUS_OK;
}

bool scsi_pr_is_all_registrants(enum scsi_pr_type type)
{
	return type == SCSI_PR_WRITE_EXCLUSIVE_ALL_REGISTRANTS ||
		type == SCSI_PR_EXCLUSIVE_ACCESS_ALL_REGISTRANTS;
}

/* Whether every registrant may do what the holder may */
bool scsi_pr_is_registrants_only(enum scsi_pr_type type)
{
	return type == SCSI_PR_WRITE_EXCLUSIVE_REGISTRANTS_ONLY ||
		type == SCSI_PR_EXCLUSIVE_ACCESS_REGISTRANTS_ONLY ||
		scsi_pr_is_all_registrants(type);
}

static bool scsi_pr_is_write_exclusive(enum scsi_pr_type type)
{
	return type == SCSI_PR_WRITE_EXCLUSIVE ||
		type == SCSI_PR_WRITE_EXCLUSIVE_REGISTRANTS_ONLY ||
		type == SCSI_PR_WRITE_EXCLUSIVE_ALL_REGISTRANTS;
}

/* SPC-4 5.13.10: all registrants hold one of the all registrants types. */
bool scsi_pr_is_holder(const struct scsi_state *state,
		       const struct scsi_nexus_state *nexus)
{
	if (state->pr_type == SCSI_PR_NONE || nexus == NULL ||
	    nexus->key == 0) {
		return false;
	}
	return scsi_pr_is_all_registrants(state->pr_type) ||
		scsi_nexus_equal(&state->pr_holder, &nexus->initiator_id);
}

/* One row of the tables that enum scsi_conflict is about */
bool scsi_conflicts(const struct scsi_state *state,
		    const struct GUID *initiator_id,
		    enum scsi_conflict conflict)
{
	const struct scsi_nexus_state *nexus = NULL;

	if (conflict == SCSI_CONFLICT_NEVER || conflict == SCSI_CONFLICT_OWN) {
		return false;
	}
	if (state->reserved) {
		/* Excludes a persistent reservation, and the other way. */
		return !scsi_nexus_equal(&state->reserve_holder, initiator_id);
	}
	if (state->pr_type == SCSI_PR_NONE ||
	    conflict == SCSI_CONFLICT_LEGACY) {
		return false;
	}
	if (conflict == SCSI_CONFLICT_READ &&
	    scsi_pr_is_write_exclusive(state->pr_type)) {
		return false;
	}

	nexus = scsi_state_find(state, initiator_id);
	if (scsi_pr_is_holder(state, nexus)) {
		return false;
	}
	if (scsi_pr_is_registrants_only(state->pr_type)) {
		return nexus == NULL || nexus->key == 0;
	}
	return true;
}

/* End the command when it conflicts. */
bool scsi_request_conflicts(struct scsi_request *req,
			    enum scsi_conflict conflict)
{
	const struct scsi_state *state = NULL;

	if (conflict == SCSI_CONFLICT_NEVER || conflict == SCSI_CONFLICT_OWN) {
		return false;
	}

	state = scsi_disk_state(req->disk);
	if (state == NULL) {
		scsi_state_error(req, NT_STATUS_INTERNAL_DB_ERROR);
		return true;
	}
	if (!scsi_conflicts(state, &req->nexus->initiator_id, conflict)) {
		return false;
	}
	scsi_reservation_conflict(req);
	return true;
}

enum scsi_io_verdict scsi_check_io(const struct scsi_state *state,
				   const struct GUID *initiator_id,
				   bool is_write)
{
	const struct scsi_nexus_state *nexus =
		scsi_state_find(state, initiator_id);

	if (nexus != NULL && nexus->unit_attentions != 0) {
		return SCSI_IO_UNIT_ATTENTION;
	}
	if (scsi_conflicts(state, initiator_id,
			   is_write ? SCSI_CONFLICT_WRITE :
				      SCSI_CONFLICT_READ)) {
		return SCSI_IO_CONFLICT;
	}
	if (is_write && (state->mode & SCSI_MODE_SWP)) {
		return SCSI_IO_WRITE_PROTECTED;
	}
	if (state->sanitize != SCSI_SANITIZE_NONE) {
		return SCSI_IO_SANITIZE;
	}
	return SCSI_IO_ALLOWED;
}
