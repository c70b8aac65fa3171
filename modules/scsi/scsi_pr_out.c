/*
 * vfs_rsvd: PERSISTENT RESERVE OUT (SPC-4 5.13, 6.16)
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "modules/scsi/scsi_private.h"

#define SCSI_PR_REGISTER		0x00
#define SCSI_PR_RESERVE			0x01
#define SCSI_PR_RELEASE			0x02
#define SCSI_PR_CLEAR			0x03
#define SCSI_PR_PREEMPT			0x04
#define SCSI_PR_PREEMPT_AND_ABORT	0x05
#define SCSI_PR_REGISTER_AND_IGNORE	0x06
#define SCSI_PR_REGISTER_AND_MOVE	0x07

/* The basic parameter list: SPC-4 6.16.3 */
#define SCSI_PR_LIST_LENGTH 24
#define SCSI_PR_SPEC_I_PT 0x08
#define SCSI_PR_APTPL 0x01

/* Byte 17 of the one of REGISTER AND MOVE: SPC-4 6.16.4 */
#define SCSI_PR_MOVE_UNREG 0x02

/*
 * How a service action ended. It is found out under the lock of the state,
 * maybe more than once, and only told to the initiator after.
 */
enum scsi_pr_result {
	SCSI_PR_GOOD,
	SCSI_PR_CONFLICT,
	SCSI_PR_INVALID_CDB,		/* at byte, bit */
	SCSI_PR_INVALID_PARAMETER,	/* at byte, bit */
	SCSI_PR_INVALID_RELEASE,
	SCSI_PR_NO_RESOURCES,
};

struct scsi_pr_out {
	struct scsi_request *req;
	const struct GUID *self_id;
	uint8_t service_action;
	uint8_t scope;
	uint8_t type;
	uint64_t key;
	uint64_t sa_key;
	bool aptpl;
	bool spec_i_pt;
	bool unregister;		/* REGISTER AND MOVE */
	const uint8_t *transport_ids;
	uint32_t transport_ids_length;

	enum scsi_pr_result result;
	uint16_t byte;
	int8_t bit;
	uint32_t num_preempted;
	struct GUID preempted[SCSI_MAX_NEXUSES];
};

static void scsi_pr_invalid(struct scsi_pr_out *pr,
			    enum scsi_pr_result result, uint16_t byte,
			    int8_t bit)
{
	pr->result = result;
	pr->byte = byte;
	pr->bit = bit;
}

static bool scsi_pr_type_valid(uint8_t type)
{
	switch (type) {
	case SCSI_PR_WRITE_EXCLUSIVE:
	case SCSI_PR_EXCLUSIVE_ACCESS:
	case SCSI_PR_WRITE_EXCLUSIVE_REGISTRANTS_ONLY:
	case SCSI_PR_EXCLUSIVE_ACCESS_REGISTRANTS_ONLY:
	case SCSI_PR_WRITE_EXCLUSIVE_ALL_REGISTRANTS:
	case SCSI_PR_EXCLUSIVE_ACCESS_ALL_REGISTRANTS:
		return true;
	}
	return false;
}

/* The scope is always that of the logical unit, zero. */
static bool scsi_pr_check_scope_type(struct scsi_pr_out *pr)
{
	if (pr->scope != 0) {
		scsi_pr_invalid(pr, SCSI_PR_INVALID_CDB, 2, 7);
		return false;
	}
	if (!scsi_pr_type_valid(pr->type)) {
		scsi_pr_invalid(pr, SCSI_PR_INVALID_CDB, 2, 3);
		return false;
	}
	return true;
}

static void scsi_pr_set_holder(struct scsi_state *state, uint8_t type,
			       const struct GUID *holder)
{
	state->pr_type = type;
	state->pr_holder = *holder;
}

static void scsi_pr_release_reservation(struct scsi_state *state)
{
	state->pr_type = SCSI_PR_NONE;
	ZERO_STRUCT(state->pr_holder);
}

/* Tell every registrant but self. */
static void scsi_pr_establish_ua(struct scsi_state *state,
				 const struct GUID *self_id, uint32_t ua)
{
	uint32_t i;

	for (i = 0; i < state->num_nexuses; i++) {
		struct scsi_nexus_state *nexus = &state->nexuses[i];

		if (nexus->key != 0 &&
		    !scsi_nexus_equal(&nexus->initiator_id, self_id)) {
			scsi_nexus_establish_ua(nexus, ua);
		}
	}
}

static bool scsi_pr_any_registrant(const struct scsi_state *state)
{
	uint32_t i;

	for (i = 0; i < state->num_nexuses; i++) {
		if (state->nexuses[i].key != 0) {
			return true;
		}
	}
	return false;
}

/* SPC-4 5.13.11.3, Unregistering */
static void scsi_pr_unregister(struct scsi_state *state,
			       struct scsi_nexus_state *nexus)
{
	bool holder = scsi_pr_is_holder(state, nexus);

	nexus->key = 0;

	if (!holder) {
		return;
	}
	if (scsi_pr_is_all_registrants(state->pr_type)) {
		if (!scsi_pr_any_registrant(state)) {
			scsi_pr_release_reservation(state);
		}
		return;
	}
	if (scsi_pr_is_registrants_only(state->pr_type)) {
		scsi_pr_establish_ua(state, &nexus->initiator_id,
				     SCSI_UA_RESERVATIONS_RELEASED);
	}
	scsi_pr_release_reservation(state);
}

/* SPEC_I_PT: all of them, or none */
static NTSTATUS scsi_pr_register_others(struct scsi_pr_out *pr,
					struct scsi_state *state)
{
	uint32_t done = 0;

	while (done < pr->transport_ids_length) {
		char host_name[SCSI_HOST_NAME_SIZE];
		struct scsi_nexus_state *nexus = NULL;
		struct GUID id;
		size_t consumed = 0;
		NTSTATUS status;

		if (!scsi_transport_id_parse(pr->transport_ids + done,
					     pr->transport_ids_length - done,
					     &consumed, &id, host_name)) {
			scsi_pr_invalid(pr, SCSI_PR_INVALID_PARAMETER,
					SCSI_PR_LIST_LENGTH + 4 + done, -1);
			return NT_STATUS_OK;
		}
		status = scsi_state_nexus_get(state, &id, host_name, &nexus);
		if (!NT_STATUS_IS_OK(status)) {
			return status;
		}
		if (nexus->key != 0) {
			/* Registered, or here twice */
			scsi_pr_invalid(pr, SCSI_PR_INVALID_PARAMETER,
					SCSI_PR_LIST_LENGTH + 4 + done, -1);
			return NT_STATUS_OK;
		}
		nexus->key = pr->sa_key;
		done += consumed;
	}
	return NT_STATUS_OK;
}

/* SPC-4 5.13.7, Registering */
static NTSTATUS scsi_pr_register(struct scsi_pr_out *pr,
				 struct scsi_state *state)
{
	struct scsi_nexus_state *self = scsi_state_find(state, pr->self_id);
	bool ignore = pr->service_action == SCSI_PR_REGISTER_AND_IGNORE;
	bool registered = self != NULL && self->key != 0;
	NTSTATUS status;

	if (!ignore && pr->key != (registered ? self->key : 0)) {
		pr->result = SCSI_PR_CONFLICT;
		return NT_STATUS_OK;
	}
	if (pr->spec_i_pt && (ignore || registered || pr->sa_key == 0)) {
		scsi_pr_invalid(pr, SCSI_PR_INVALID_PARAMETER, 20, 3);
		return NT_STATUS_OK;
	}

	state->aptpl = pr->aptpl;
	state->pr_generation += 1;

	if (pr->sa_key == 0) {
		if (registered) {
			scsi_pr_unregister(state, self);
		}
		return NT_STATUS_OK;
	}

	status = scsi_state_nexus_get(state, pr->self_id,
				      pr->req->nexus->host_name, &self);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	self->key = pr->sa_key;
	if (pr->spec_i_pt) {
		return scsi_pr_register_others(pr, state);
	}
	return NT_STATUS_OK;
}

/* SPC-4 5.13.9, Reserving */
static NTSTATUS scsi_pr_reserve(struct scsi_pr_out *pr,
				struct scsi_state *state)
{
	struct scsi_nexus_state *self = scsi_state_find(state, pr->self_id);

	if (!scsi_pr_check_scope_type(pr)) {
		return NT_STATUS_OK;
	}
	if (state->pr_type == SCSI_PR_NONE) {
		scsi_pr_set_holder(state, pr->type, pr->self_id);
		return NT_STATUS_OK;
	}
	if (!scsi_pr_is_holder(state, self) || state->pr_type != pr->type) {
		pr->result = SCSI_PR_CONFLICT;
	}
	return NT_STATUS_OK;
}

/* SPC-4 5.13.11.2, Releasing */
static NTSTATUS scsi_pr_release(struct scsi_pr_out *pr,
				struct scsi_state *state)
{
	struct scsi_nexus_state *self = scsi_state_find(state, pr->self_id);

	if (!scsi_pr_is_holder(state, self)) {
		/* Nothing to release is not an error. */
		return NT_STATUS_OK;
	}
	if (pr->scope != 0 || pr->type != state->pr_type) {
		pr->result = SCSI_PR_INVALID_RELEASE;
		return NT_STATUS_OK;
	}
	if (scsi_pr_is_registrants_only(state->pr_type)) {
		scsi_pr_establish_ua(state, pr->self_id,
				     SCSI_UA_RESERVATIONS_RELEASED);
	}
	scsi_pr_release_reservation(state);
	return NT_STATUS_OK;
}

/* SPC-4 5.13.11.6, Clearing */
static NTSTATUS scsi_pr_clear(struct scsi_pr_out *pr,
			      struct scsi_state *state)
{
	uint32_t i;

	scsi_pr_establish_ua(state, pr->self_id,
			     SCSI_UA_RESERVATIONS_PREEMPTED);
	for (i = 0; i < state->num_nexuses; i++) {
		state->nexuses[i].key = 0;
	}
	scsi_pr_release_reservation(state);
	state->pr_generation += 1;
	return NT_STATUS_OK;
}

/*
 * Remove the registrations with a key, or with every key when it is zero.
 * Returns how many there were.
 */
static uint32_t scsi_pr_remove_registrants(struct scsi_pr_out *pr,
					   struct scsi_state *state,
					   uint64_t key, bool spare_self)
{
	uint32_t i, num_removed = 0;

	for (i = 0; i < state->num_nexuses; i++) {
		struct scsi_nexus_state *nexus = &state->nexuses[i];
		bool is_self = scsi_nexus_equal(&nexus->initiator_id,
						pr->self_id);

		if (nexus->key == 0 || (key != 0 && nexus->key != key)) {
			continue;
		}
		if (is_self && spare_self) {
			continue;
		}
		nexus->key = 0;
		num_removed += 1;
		if (is_self) {
			continue;
		}
		scsi_nexus_establish_ua(nexus,
					SCSI_UA_REGISTRATIONS_PREEMPTED);
		pr->preempted[pr->num_preempted] = nexus->initiator_id;
		pr->num_preempted += 1;
	}
	return num_removed;
}

/* Preempting a reservation: put our reservation in the place of another's. */
static void scsi_pr_preempt_reservation(struct scsi_pr_out *pr,
					struct scsi_state *state)
{
	if (!scsi_pr_check_scope_type(pr)) {
		return;
	}

	scsi_pr_remove_registrants(pr, state, pr->sa_key, true);
	if (state->pr_type != pr->type) {
		scsi_pr_establish_ua(state, pr->self_id,
				     SCSI_UA_RESERVATIONS_RELEASED);
	}
	scsi_pr_set_holder(state, pr->type, pr->self_id);
	state->pr_generation += 1;
}

/* Preempting registrations only */
static void scsi_pr_preempt_registrations(struct scsi_pr_out *pr,
					  struct scsi_state *state)
{
	if (scsi_pr_remove_registrants(pr, state, pr->sa_key, false) == 0) {
		pr->result = SCSI_PR_CONFLICT;
		return;
	}
	if (scsi_pr_is_all_registrants(state->pr_type) &&
	    !scsi_pr_any_registrant(state)) {
		scsi_pr_release_reservation(state);
	}
	state->pr_generation += 1;
}

/* SPC-4 5.13.11.4, Preempting: which of the two it is */
static NTSTATUS scsi_pr_preempt(struct scsi_pr_out *pr,
				struct scsi_state *state)
{
	const struct scsi_nexus_state *holder = NULL;

	if (scsi_pr_is_all_registrants(state->pr_type)) {
		if (pr->sa_key == 0) {
			scsi_pr_preempt_reservation(pr, state);
		} else {
			scsi_pr_preempt_registrations(pr, state);
		}
		return NT_STATUS_OK;
	}

	if (pr->sa_key == 0) {
		scsi_pr_invalid(pr, SCSI_PR_INVALID_PARAMETER, 8, -1);
		return NT_STATUS_OK;
	}
	if (state->pr_type != SCSI_PR_NONE) {
		holder = scsi_state_find(state, &state->pr_holder);
	}
	if (holder != NULL && holder->key == pr->sa_key) {
		scsi_pr_preempt_reservation(pr, state);
	} else {
		scsi_pr_preempt_registrations(pr, state);
	}
	return NT_STATUS_OK;
}

/* SPC-4 5.13.8, Registering and moving the reservation */
static NTSTATUS scsi_pr_register_and_move(struct scsi_pr_out *pr,
					  struct scsi_state *state)
{
	struct scsi_nexus_state *self = scsi_state_find(state, pr->self_id);
	struct scsi_nexus_state *target = NULL;
	char host_name[SCSI_HOST_NAME_SIZE];
	struct GUID id;
	size_t consumed = 0;
	NTSTATUS status;

	if (state->pr_type == SCSI_PR_NONE) {
		scsi_pr_invalid(pr, SCSI_PR_INVALID_CDB, 1, 4);
		return NT_STATUS_OK;
	}
	if (scsi_pr_is_all_registrants(state->pr_type) ||
	    !scsi_pr_is_holder(state, self)) {
		pr->result = SCSI_PR_CONFLICT;
		return NT_STATUS_OK;
	}
	if (pr->sa_key == 0) {
		scsi_pr_invalid(pr, SCSI_PR_INVALID_PARAMETER, 8, -1);
		return NT_STATUS_OK;
	}
	if (!scsi_transport_id_parse(pr->transport_ids,
				     pr->transport_ids_length, &consumed,
				     &id, host_name) ||
	    consumed != pr->transport_ids_length ||
	    scsi_nexus_equal(&id, pr->self_id)) {
		scsi_pr_invalid(pr, SCSI_PR_INVALID_PARAMETER,
				SCSI_PR_LIST_LENGTH, -1);
		return NT_STATUS_OK;
	}

	status = scsi_state_nexus_get(state, &id, host_name, &target);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	target->key = pr->sa_key;
	scsi_pr_set_holder(state, state->pr_type, &id);
	if (pr->unregister) {
		/* The array may have moved. */
		self = scsi_state_find(state, pr->self_id);
		self->key = 0;
	}
	state->aptpl = pr->aptpl;
	state->pr_generation += 1;
	return NT_STATUS_OK;
}

static const struct {
	uint8_t service_action;
	/* For registrants who know their key; REGISTER has its own rule. */
	bool needs_key;
	NTSTATUS (*fn)(struct scsi_pr_out *pr, struct scsi_state *state);
} scsi_pr_actions[] = {
	{ SCSI_PR_REGISTER, false, scsi_pr_register },
	{ SCSI_PR_RESERVE, true, scsi_pr_reserve },
	{ SCSI_PR_RELEASE, true, scsi_pr_release },
	{ SCSI_PR_CLEAR, true, scsi_pr_clear },
	{ SCSI_PR_PREEMPT, true, scsi_pr_preempt },
	{ SCSI_PR_PREEMPT_AND_ABORT, true, scsi_pr_preempt },
	{ SCSI_PR_REGISTER_AND_IGNORE, false, scsi_pr_register },
	{ SCSI_PR_REGISTER_AND_MOVE, true, scsi_pr_register_and_move },
};

static NTSTATUS scsi_pr_out_fn(struct scsi_state *state, bool *changed,
			       void *fn_data)
{
	struct scsi_pr_out *pr = fn_data;
	const struct scsi_nexus_state *self = NULL;
	NTSTATUS status;
	size_t i = 0;

	pr->result = SCSI_PR_GOOD;
	pr->num_preempted = 0;

	if (state->reserved) {
		/* SPC-2: the two ways do not mix, whoever reserved. */
		pr->result = SCSI_PR_CONFLICT;
		return NT_STATUS_OK;
	}

	while (scsi_pr_actions[i].service_action != pr->service_action) {
		i++;
	}
	self = scsi_state_find(state, pr->self_id);
	if (scsi_pr_actions[i].needs_key &&
	    (self == NULL || self->key == 0 || self->key != pr->key)) {
		pr->result = SCSI_PR_CONFLICT;
		return NT_STATUS_OK;
	}

	status = scsi_pr_actions[i].fn(pr, state);
	if (NT_STATUS_EQUAL(status, NT_STATUS_INSUFFICIENT_RESOURCES)) {
		pr->result = SCSI_PR_NO_RESOURCES;
		return NT_STATUS_OK;
	}
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	if (pr->result == SCSI_PR_GOOD) {
		scsi_state_nexus_trim(state);
		*changed = true;
	}
	return NT_STATUS_OK;
}

/* The parameter lists: SPC-4 6.16.3, 6.16.4 */
static bool scsi_pr_parse(struct scsi_pr_out *pr)
{
	struct scsi_request *req = pr->req;
	const uint8_t *cdb = req->task->cdb;
	const uint8_t *list = req->task->data_out;
	uint32_t list_length = scsi_get_be32(cdb + 5);
	uint32_t ids_length = 0;
	bool is_move = pr->service_action == SCSI_PR_REGISTER_AND_MOVE;
	bool is_register = pr->service_action == SCSI_PR_REGISTER ||
		pr->service_action == SCSI_PR_REGISTER_AND_IGNORE;

	if (list_length < SCSI_PR_LIST_LENGTH ||
	    req->task->data_out_length < list_length) {
		goto fail;
	}

	pr->scope = cdb[2] >> 4;
	pr->type = cdb[2] & 0x0f;
	pr->key = scsi_get_be64(list);
	pr->sa_key = scsi_get_be64(list + 8);
	pr->transport_ids = list + SCSI_PR_LIST_LENGTH;

	if (is_move) {
		pr->aptpl = list[17] & SCSI_PR_APTPL;
		pr->unregister = list[17] & SCSI_PR_MOVE_UNREG;
		ids_length = scsi_get_be32(list + 20);
		if (ids_length != list_length - SCSI_PR_LIST_LENGTH) {
			goto fail;
		}
		pr->transport_ids_length = ids_length;
		if (scsi_get_be16(list + 18) != SCSI_TARGET_PORT) {
			scsi_invalid_field_in_parameters(req, 18, -1);
			return false;
		}
		return true;
	}

	if (is_register) {
		pr->aptpl = list[20] & SCSI_PR_APTPL;
		pr->spec_i_pt = list[20] & SCSI_PR_SPEC_I_PT;
	}
	if (!pr->spec_i_pt) {
		if (list_length != SCSI_PR_LIST_LENGTH) {
			goto fail;
		}
		return true;
	}

	/* Behind the basic list another length, then the TransportIDs */
	if (list_length < SCSI_PR_LIST_LENGTH + 4) {
		goto fail;
	}
	ids_length = scsi_get_be32(list + SCSI_PR_LIST_LENGTH);
	if (ids_length != list_length - SCSI_PR_LIST_LENGTH - 4) {
		goto fail;
	}
	pr->transport_ids = list + SCSI_PR_LIST_LENGTH + 4;
	pr->transport_ids_length = ids_length;
	return true;

fail:
	scsi_parameter_list_length_error(req);
	return false;
}

static void scsi_pr_report(struct scsi_pr_out *pr)
{
	struct scsi_request *req = pr->req;

	switch (pr->result) {
	case SCSI_PR_GOOD:
		return;
	case SCSI_PR_CONFLICT:
		scsi_reservation_conflict(req);
		return;
	case SCSI_PR_INVALID_CDB:
		scsi_invalid_field_in_cdb(req, pr->byte, pr->bit);
		return;
	case SCSI_PR_INVALID_PARAMETER:
		scsi_invalid_field_in_parameters(req, pr->byte, pr->bit);
		return;
	case SCSI_PR_INVALID_RELEASE:
		scsi_check_condition(req, SCSI_SENSE_ILLEGAL_REQUEST,
				     SCSI_ASC_INVALID_RELEASE);
		return;
	case SCSI_PR_NO_RESOURCES:
		scsi_check_condition(
			req, SCSI_SENSE_ILLEGAL_REQUEST,
			SCSI_ASC_INSUFFICIENT_REGISTRATION_RESOURCES);
		return;
	}
}

/*
 * SPC-4 5.13.11.5, Preempting and aborting. The new state is in force
 * everywhere, so that nothing of a preempted initiator starts any more; what
 * has started must have ended before the winner is told that the disk is its
 * own.
 *
 * PREEMPT alone is not to touch the tasks of the preempted. But clusters
 * fence with it, because disks have long finished the writes they took when
 * the next command comes; a write that is delayed below us may come seconds
 * later. So PREEMPT waits too. An initiator that is told GOOD mounts the disk:
 * when the wait was in vain it must not be, although the preempted has lost its
 * registration.
 */
static void scsi_pr_fence_preempted(struct scsi_pr_out *pr)
{
	const struct scsi_disk *disk = pr->req->disk;
	NTSTATUS status;

	if (pr->num_preempted == 0 || disk->ops->fence == NULL) {
		return;
	}
	status = disk->ops->fence(disk->private_data, pr->preempted,
				  pr->num_preempted);
	if (!NT_STATUS_IS_OK(status)) {
		scsi_state_error(pr->req, status);
	}
}

void scsi_pr_out(struct scsi_request *req)
{
	struct scsi_pr_out pr = {
		.req = req,
		.self_id = &req->nexus->initiator_id,
		.service_action = req->command->service_action,
	};
	NTSTATUS status;

	if (!scsi_pr_parse(&pr)) {
		return;
	}
	status = scsi_disk_update_state(req->disk, scsi_pr_out_fn, &pr);
	if (!NT_STATUS_IS_OK(status)) {
		scsi_state_error(req, status);
		return;
	}
	scsi_pr_report(&pr);
	if (pr.result == SCSI_PR_GOOD) {
		scsi_pr_fence_preempted(&pr);
	}
}
