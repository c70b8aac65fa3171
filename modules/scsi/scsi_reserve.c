/*
 * vfs_rsvd: RESERVE and RELEASE, as they were before persistent reservations
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "modules/scsi/scsi_private.h"

struct scsi_reserve {
	const struct GUID *self_id;
	bool release;
	bool conflict;
};

/*
 * What registrations and persistent reservations mean to RESERVE and RELEASE,
 * with CRH set to one in REPORT CAPABILITIES (SPC-4 5.13.3): whoever the
 * persistent reservation allows everything gets what it wants by it. For all
 * others SPC-2 holds: as long as there are registrations, a conflict.
 */
static bool scsi_reserve_by_registrations(struct scsi_state *state,
					  struct scsi_reserve *reserve)
{
	const struct scsi_nexus_state *self =
		scsi_state_find(state, reserve->self_id);
	uint32_t i;

	if (state->pr_type != SCSI_PR_NONE) {
		reserve->conflict = scsi_conflicts(state, reserve->self_id,
						   SCSI_CONFLICT_WRITE) ||
			self == NULL || self->key == 0;
		return true;
	}
	for (i = 0; i < state->num_nexuses; i++) {
		if (state->nexuses[i].key != 0) {
			reserve->conflict = true;
			return true;
		}
	}
	return false;
}

static NTSTATUS scsi_reserve_fn(struct scsi_state *state, bool *changed,
				void *fn_data)
{
	struct scsi_reserve *reserve = fn_data;
	bool mine = state->reserved &&
		scsi_nexus_equal(&state->reserve_holder, reserve->self_id);

	reserve->conflict = false;
	if (scsi_reserve_by_registrations(state, reserve)) {
		return NT_STATUS_OK;
	}

	if (reserve->release) {
		/* One who holds nothing releases nothing. */
		if (mine) {
			state->reserved = false;
			*changed = true;
		}
		return NT_STATUS_OK;
	}
	if (state->reserved) {
		reserve->conflict = !mine;
		return NT_STATUS_OK;
	}
	state->reserved = true;
	state->reserve_holder = *reserve->self_id;
	*changed = true;
	return NT_STATUS_OK;
}

static void scsi_reserve_run(struct scsi_request *req, bool release)
{
	struct scsi_reserve reserve = {
		.self_id = &req->nexus->initiator_id,
		.release = release,
	};
	NTSTATUS status;

	status = scsi_disk_update_state(req->disk, scsi_reserve_fn, &reserve);
	if (!NT_STATUS_IS_OK(status)) {
		scsi_state_error(req, status);
		return;
	}
	if (reserve.conflict) {
		scsi_reservation_conflict(req);
	}
}

void scsi_reserve(struct scsi_request *req)
{
	scsi_reserve_run(req, false);
}

void scsi_release(struct scsi_request *req)
{
	scsi_reserve_run(req, true);
}
