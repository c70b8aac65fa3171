/*
 * vfs_rsvd: PERSISTENT RESERVE IN (SPC-4 6.15)
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "modules/scsi/scsi_private.h"

#define SCSI_PR_READ_KEYS		0x00
#define SCSI_PR_READ_RESERVATION	0x01
#define SCSI_PR_REPORT_CAPABILITIES	0x02
#define SCSI_PR_READ_FULL_STATUS	0x03

/* 6.15.2 */
static void scsi_pr_read_keys(const struct scsi_state *state,
			      struct scsi_data_in *in)
{
	uint32_t i;

	scsi_data_in_put_be32(in, state->pr_generation);
	scsi_data_in_put_be32(in, 0);
	for (i = 0; i < state->num_nexuses; i++) {
		if (state->nexuses[i].key != 0) {
			scsi_data_in_put_be64(in, state->nexuses[i].key);
		}
	}
	scsi_data_in_patch_be32(in, 4, in->length - 8);
}

/* 6.15.3 */
static void scsi_pr_read_reservation(const struct scsi_state *state,
				     struct scsi_data_in *in)
{
	const struct scsi_nexus_state *holder = NULL;
	uint64_t key = 0;

	scsi_data_in_put_be32(in, state->pr_generation);
	if (state->pr_type == SCSI_PR_NONE) {
		scsi_data_in_put_be32(in, 0);
		return;
	}

	/* All registrants hold it together under the key zero. */
	if (!scsi_pr_is_all_registrants(state->pr_type)) {
		holder = scsi_state_find(state, &state->pr_holder);
		key = holder != NULL ? holder->key : 0;
	}
	scsi_data_in_put_be32(in, 16);
	scsi_data_in_put_be64(in, key);
	scsi_data_in_put_zeros(in, 5);
	scsi_data_in_put_u8(in, state->pr_type);
	scsi_data_in_put_zeros(in, 2);
}

/* 6.15.4 */
static void scsi_pr_report_capabilities(const struct scsi_state *state,
					struct scsi_data_in *in)
{
	uint8_t buf[8] = {
		[1] = sizeof(buf),
		[2] = 0x1d,	/* CRH, SIP_C, ATP_C, PTPL_C */
		/* TMV; ALLOW COMMANDS 001b: no reservation stops TEST UNIT READY */
		[3] = 0x90,
		[4] = 0xea,	/* WR_EX_AR, EX_AC_RO, WR_EX_RO, EX_AC, WR_EX */
		[5] = 0x01,	/* EX_AC_AR */
	};

	if (state->aptpl) {
		buf[3] |= 0x01;	/* PTPL_A */
	}
	scsi_data_in_put(in, buf, sizeof(buf));
}

/* 6.15.5 */
static void scsi_pr_read_full_status(const struct scsi_state *state,
				     struct scsi_data_in *in)
{
	uint32_t i;

	scsi_data_in_put_be32(in, state->pr_generation);
	scsi_data_in_put_be32(in, 0);
	for (i = 0; i < state->num_nexuses; i++) {
		const struct scsi_nexus_state *nexus = &state->nexuses[i];
		bool holder = scsi_pr_is_holder(state, nexus);

		if (nexus->key == 0) {
			continue;
		}
		scsi_data_in_put_be64(in, nexus->key);
		scsi_data_in_put_zeros(in, 4);
		scsi_data_in_put_u8(in, holder ? 0x01 : 0x00);
		scsi_data_in_put_u8(in, holder ? state->pr_type : 0);
		scsi_data_in_put_zeros(in, 4);
		scsi_data_in_put_be16(in, SCSI_TARGET_PORT);
		scsi_data_in_put_be32(in, scsi_transport_id_length(nexus));
		scsi_transport_id_put(in, nexus);
	}
	scsi_data_in_patch_be32(in, 4, in->length - 8);
}

void scsi_pr_in(struct scsi_request *req)
{
	const uint8_t *cdb = req->task->cdb;
	const struct scsi_state *state = scsi_disk_state(req->disk);
	struct scsi_data_in in;

	if (state == NULL) {
		scsi_state_error(req, NT_STATUS_INTERNAL_DB_ERROR);
		return;
	}
	if (state->reserved) {
		/* SPC-2: the two ways do not mix, whoever reserved. */
		scsi_reservation_conflict(req);
		return;
	}

	scsi_data_in_start(req, &in, scsi_get_be16(cdb + 7));
	switch (req->command->service_action) {
	case SCSI_PR_READ_KEYS:
		scsi_pr_read_keys(state, &in);
		break;
	case SCSI_PR_READ_RESERVATION:
		scsi_pr_read_reservation(state, &in);
		break;
	case SCSI_PR_REPORT_CAPABILITIES:
		scsi_pr_report_capabilities(state, &in);
		break;
	case SCSI_PR_READ_FULL_STATUS:
		scsi_pr_read_full_status(state, &in);
		break;
	}
	scsi_data_in_end(req, &in);
}
