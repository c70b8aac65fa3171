/*
 * vfs_rsvd: the table of commands, and what happens to each before it runs
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "modules/scsi/scsi_private.h"

#define NO_SA SCSI_NO_SERVICE_ACTION

#define FF2 0xff, 0xff
#define FF4 FF2, FF2
#define FF8 FF4, FF4
#define Z2 0, 0
#define Z3 0, 0, 0
#define Z4 0, 0, 0, 0

#define DPO_FUA SCSI_CDB_DPO_FUA
/* DPO and BYTCHK */
#define DPO_BYTCHK 0x16
/* The group number */
#define GROUP 0x1f

#define MEDIUM_READ	SCSI_CMD_MEDIUM, SCSI_CONFLICT_READ
#define MEDIUM_WRITE	SCSI_CMD_MEDIUM | SCSI_CMD_WRITE, SCSI_CONFLICT_WRITE
#define THIN_WRITE	SCSI_CMD_MEDIUM | SCSI_CMD_WRITE | SCSI_CMD_THIN, \
			SCSI_CONFLICT_WRITE

/*
 * In order of opcode and service action. All of dispatch, the reservation
 * rules, the checks of reserved CDB bits and REPORT SUPPORTED OPERATION CODES
 * come from here.
 *
 * Bits left out of the usage data on purpose: RDPROTECT, WRPROTECT and
 * VRPROTECT (no protection information), ANCHOR (ANC_SUP is zero), NACA
 * (NORMACA is zero). A group number is taken although nothing is counted for
 * it: initiators set it without asking for GROUP_SUP.
 */
static const struct scsi_command scsi_commands[] = {
	{ 0x00, NO_SA, 6, 0, SCSI_CONFLICT_LEGACY,
	  "TEST UNIT READY", scsi_test_unit_ready,
	  { 0x00, Z3, 0, 0 } },
	{ 0x03, NO_SA, 6, SCSI_CMD_NO_UA, SCSI_CONFLICT_NEVER,
	  "REQUEST SENSE", scsi_request_sense,
	  { 0x03, 0x01, Z2, 0xff, 0 } },
	{ 0x08, NO_SA, 6, MEDIUM_READ,
	  "READ(6)", scsi_read,
	  { 0x08, 0x1f, FF2, 0xff, 0 } },
	{ 0x0a, NO_SA, 6, MEDIUM_WRITE,
	  "WRITE(6)", scsi_write,
	  { 0x0a, 0x1f, FF2, 0xff, 0 } },
	{ 0x12, NO_SA, 6, SCSI_CMD_NO_UA, SCSI_CONFLICT_NEVER,
	  "INQUIRY", scsi_inquiry,
	  { 0x12, 0x01, 0xff, FF2, 0 } },
	{ 0x15, NO_SA, 6, SCSI_CMD_CONTROL, SCSI_CONFLICT_WRITE,
	  "MODE SELECT(6)", scsi_mode_select,
	  { 0x15, 0x11, Z2, 0xff, 0 } },
	{ 0x16, NO_SA, 6, SCSI_CMD_CONTROL, SCSI_CONFLICT_OWN,
	  "RESERVE(6)", scsi_reserve,
	  { 0x16, Z3, 0, 0 } },
	{ 0x17, NO_SA, 6, SCSI_CMD_CONTROL, SCSI_CONFLICT_OWN,
	  "RELEASE(6)", scsi_release,
	  { 0x17, Z3, 0, 0 } },
	{ 0x1a, NO_SA, 6, 0, SCSI_CONFLICT_READ,
	  "MODE SENSE(6)", scsi_mode_sense,
	  { 0x1a, 0x08, FF2, 0xff, 0 } },
	{ 0x1b, NO_SA, 6, 0, SCSI_CONFLICT_OWN,
	  "START STOP UNIT", scsi_start_stop_unit,
	  { 0x1b, 0x01, 0, 0x0f, 0xf7, 0 } },
	{ 0x1d, NO_SA, 6, 0, SCSI_CONFLICT_WRITE,
	  "SEND DIAGNOSTIC", scsi_send_diagnostic,
	  { 0x1d, 0xf7, 0, FF2, 0 } },
	{ 0x1e, NO_SA, 6, 0, SCSI_CONFLICT_OWN,
	  "PREVENT ALLOW MEDIUM REMOVAL", scsi_prevent_allow,
	  { 0x1e, Z3, 0x03, 0 } },
	{ 0x25, NO_SA, 10, 0, SCSI_CONFLICT_NEVER,
	  "READ CAPACITY(10)", scsi_read_capacity_10,
	  { 0x25, 0, Z4, Z2, 0, 0 } },
	{ 0x28, NO_SA, 10, MEDIUM_READ,
	  "READ(10)", scsi_read,
	  { 0x28, DPO_FUA, FF4, GROUP, FF2, 0 } },
	{ 0x2a, NO_SA, 10, MEDIUM_WRITE,
	  "WRITE(10)", scsi_write,
	  { 0x2a, DPO_FUA, FF4, GROUP, FF2, 0 } },
	{ 0x2e, NO_SA, 10, MEDIUM_WRITE,
	  "WRITE AND VERIFY(10)", scsi_write_and_verify,
	  { 0x2e, DPO_BYTCHK, FF4, GROUP, FF2, 0 } },
	{ 0x2f, NO_SA, 10, MEDIUM_READ,
	  "VERIFY(10)", scsi_verify,
	  { 0x2f, DPO_BYTCHK, FF4, GROUP, FF2, 0 } },
	{ 0x34, NO_SA, 10, MEDIUM_READ,
	  "PRE-FETCH(10)", scsi_prefetch,
	  { 0x34, 0x02, FF4, GROUP, FF2, 0 } },
	{ 0x35, NO_SA, 10, SCSI_CMD_MEDIUM, SCSI_CONFLICT_WRITE,
	  "SYNCHRONIZE CACHE(10)", scsi_synchronize_cache,
	  { 0x35, 0x06, FF4, GROUP, FF2, 0 } },
	{ 0x37, NO_SA, 10, 0, SCSI_CONFLICT_READ,
	  "READ DEFECT DATA(10)", scsi_read_defect_data_10,
	  { 0x37, 0, 0x1f, Z4, FF2, 0 } },
	{ 0x41, NO_SA, 10, MEDIUM_WRITE,
	  "WRITE SAME(10)", scsi_write_same,
	  { 0x41, 0, FF4, GROUP, FF2, 0 } },
	{ 0x42, NO_SA, 10, THIN_WRITE,
	  "UNMAP", scsi_unmap,
	  { 0x42, 0, Z4, GROUP, FF2, 0 } },
	{ 0x48, 0x01, 10, SCSI_CMD_WRITE, SCSI_CONFLICT_WRITE,
	  "SANITIZE OVERWRITE", scsi_sanitize,
	  { 0x48, 0xa1, Z4, 0, FF2, 0 } },
	{ 0x48, 0x02, 10, SCSI_CMD_WRITE, SCSI_CONFLICT_WRITE,
	  "SANITIZE BLOCK ERASE", scsi_sanitize,
	  { 0x48, 0xa2, Z4, 0, FF2, 0 } },
	{ 0x48, 0x1f, 10, SCSI_CMD_WRITE, SCSI_CONFLICT_WRITE,
	  "SANITIZE EXIT FAILURE MODE", scsi_sanitize,
	  { 0x48, 0x9f, Z4, 0, FF2, 0 } },
	{ 0x4d, NO_SA, 10, 0, SCSI_CONFLICT_NEVER,
	  "LOG SENSE", scsi_log_sense,
	  { 0x4d, 0, FF2, 0, FF2, FF2, 0 } },
	{ 0x55, NO_SA, 10, SCSI_CMD_CONTROL, SCSI_CONFLICT_WRITE,
	  "MODE SELECT(10)", scsi_mode_select,
	  { 0x55, 0x11, Z4, 0, FF2, 0 } },
	{ 0x56, NO_SA, 10, SCSI_CMD_CONTROL, SCSI_CONFLICT_OWN,
	  "RESERVE(10)", scsi_reserve,
	  { 0x56, 0, Z4, Z2, 0, 0 } },
	{ 0x57, NO_SA, 10, SCSI_CMD_CONTROL, SCSI_CONFLICT_OWN,
	  "RELEASE(10)", scsi_release,
	  { 0x57, 0, Z4, Z2, 0, 0 } },
	{ 0x5a, NO_SA, 10, 0, SCSI_CONFLICT_READ,
	  "MODE SENSE(10)", scsi_mode_sense,
	  { 0x5a, 0x18, FF2, Z3, FF2, 0 } },
	{ 0x5e, 0x00, 10, 0, SCSI_CONFLICT_OWN,
	  "PERSISTENT RESERVE IN, READ KEYS", scsi_pr_in,
	  { 0x5e, 0x00, Z4, 0, FF2, 0 } },
	{ 0x5e, 0x01, 10, 0, SCSI_CONFLICT_OWN,
	  "PERSISTENT RESERVE IN, READ RESERVATION", scsi_pr_in,
	  { 0x5e, 0x01, Z4, 0, FF2, 0 } },
	{ 0x5e, 0x02, 10, 0, SCSI_CONFLICT_OWN,
	  "PERSISTENT RESERVE IN, REPORT CAPABILITIES", scsi_pr_in,
	  { 0x5e, 0x02, Z4, 0, FF2, 0 } },
	{ 0x5e, 0x03, 10, 0, SCSI_CONFLICT_OWN,
	  "PERSISTENT RESERVE IN, READ FULL STATUS", scsi_pr_in,
	  { 0x5e, 0x03, Z4, 0, FF2, 0 } },
	{ 0x5f, 0x00, 10, SCSI_CMD_CONTROL, SCSI_CONFLICT_OWN,
	  "PERSISTENT RESERVE OUT, REGISTER", scsi_pr_out,
	  { 0x5f, 0x00, 0xff, Z2, FF4, 0 } },
	{ 0x5f, 0x01, 10, SCSI_CMD_CONTROL, SCSI_CONFLICT_OWN,
	  "PERSISTENT RESERVE OUT, RESERVE", scsi_pr_out,
	  { 0x5f, 0x01, 0xff, Z2, FF4, 0 } },
	{ 0x5f, 0x02, 10, SCSI_CMD_CONTROL, SCSI_CONFLICT_OWN,
	  "PERSISTENT RESERVE OUT, RELEASE", scsi_pr_out,
	  { 0x5f, 0x02, 0xff, Z2, FF4, 0 } },
	{ 0x5f, 0x03, 10, SCSI_CMD_CONTROL, SCSI_CONFLICT_OWN,
	  "PERSISTENT RESERVE OUT, CLEAR", scsi_pr_out,
	  { 0x5f, 0x03, 0xff, Z2, FF4, 0 } },
	{ 0x5f, 0x04, 10, SCSI_CMD_CONTROL, SCSI_CONFLICT_OWN,
	  "PERSISTENT RESERVE OUT, PREEMPT", scsi_pr_out,
	  { 0x5f, 0x04, 0xff, Z2, FF4, 0 } },
	{ 0x5f, 0x05, 10, SCSI_CMD_CONTROL, SCSI_CONFLICT_OWN,
	  "PERSISTENT RESERVE OUT, PREEMPT AND ABORT", scsi_pr_out,
	  { 0x5f, 0x05, 0xff, Z2, FF4, 0 } },
	{ 0x5f, 0x06, 10, SCSI_CMD_CONTROL, SCSI_CONFLICT_OWN,
	  "PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY",
	  scsi_pr_out,
	  { 0x5f, 0x06, 0xff, Z2, FF4, 0 } },
	{ 0x5f, 0x07, 10, SCSI_CMD_CONTROL, SCSI_CONFLICT_OWN,
	  "PERSISTENT RESERVE OUT, REGISTER AND MOVE", scsi_pr_out,
	  { 0x5f, 0x07, 0xff, Z2, FF4, 0 } },
	{ 0x83, 0x00, 16, MEDIUM_WRITE,
	  "EXTENDED COPY", scsi_extended_copy,
	  { 0x83, 0x00, Z4, Z4, FF4, 0, 0 } },
	{ 0x84, 0x00, 16, 0, SCSI_CONFLICT_WRITE,
	  "RECEIVE COPY RESULTS, COPY STATUS", scsi_receive_copy_results,
	  { 0x84, 0x00, 0xff, Z3, Z4, FF4, 0, 0 } },
	{ 0x84, 0x03, 16, 0, SCSI_CONFLICT_WRITE,
	  "RECEIVE COPY RESULTS, OPERATING PARAMETERS",
	  scsi_receive_copy_results,
	  { 0x84, 0x03, 0xff, Z3, Z4, FF4, 0, 0 } },
	{ 0x84, 0x04, 16, 0, SCSI_CONFLICT_WRITE,
	  "RECEIVE COPY RESULTS, FAILED SEGMENT DETAILS",
	  scsi_receive_copy_results,
	  { 0x84, 0x04, 0xff, Z3, Z4, FF4, 0, 0 } },
	{ 0x88, NO_SA, 16, MEDIUM_READ,
	  "READ(16)", scsi_read,
	  { 0x88, DPO_FUA, FF8, FF4, GROUP, 0 } },
	{ 0x89, NO_SA, 16, MEDIUM_WRITE,
	  "COMPARE AND WRITE", scsi_compare_and_write,
	  { 0x89, DPO_FUA, FF8, Z3, 0xff, GROUP, 0 } },
	{ 0x8a, NO_SA, 16, MEDIUM_WRITE,
	  "WRITE(16)", scsi_write,
	  { 0x8a, DPO_FUA, FF8, FF4, GROUP, 0 } },
	{ 0x8b, NO_SA, 16, MEDIUM_WRITE,
	  "ORWRITE(16)", scsi_orwrite,
	  { 0x8b, DPO_FUA, FF8, FF4, GROUP, 0 } },
	{ 0x8e, NO_SA, 16, MEDIUM_WRITE,
	  "WRITE AND VERIFY(16)", scsi_write_and_verify,
	  { 0x8e, DPO_BYTCHK, FF8, FF4, GROUP, 0 } },
	{ 0x8f, NO_SA, 16, MEDIUM_READ,
	  "VERIFY(16)", scsi_verify,
	  { 0x8f, DPO_BYTCHK, FF8, FF4, GROUP, 0 } },
	{ 0x90, NO_SA, 16, MEDIUM_READ,
	  "PRE-FETCH(16)", scsi_prefetch,
	  { 0x90, 0x02, FF8, FF4, GROUP, 0 } },
	{ 0x91, NO_SA, 16, SCSI_CMD_MEDIUM, SCSI_CONFLICT_WRITE,
	  "SYNCHRONIZE CACHE(16)", scsi_synchronize_cache,
	  { 0x91, 0x06, FF8, FF4, GROUP, 0 } },
	{ 0x93, NO_SA, 16, MEDIUM_WRITE,
	  "WRITE SAME(16)", scsi_write_same,
	  { 0x93, 0x09, FF8, FF4, GROUP, 0 } },
	{ 0x9c, NO_SA, 16, MEDIUM_WRITE,
	  "WRITE ATOMIC(16)", scsi_write_atomic,
	  { 0x9c, DPO_FUA, FF8, FF2, FF2, GROUP, 0 } },
	{ 0x9e, 0x10, 16, 0, SCSI_CONFLICT_NEVER,
	  "READ CAPACITY(16)", scsi_read_capacity_16,
	  { 0x9e, 0x10, Z4, Z4, FF4, 0, 0 } },
	{ 0x9e, 0x12, 16, SCSI_CMD_MEDIUM, SCSI_CONFLICT_READ,
	  "GET LBA STATUS", scsi_get_lba_status,
	  { 0x9e, 0x12, FF8, FF4, 0, 0 } },
	{ 0xa0, NO_SA, 12, SCSI_CMD_NO_UA, SCSI_CONFLICT_NEVER,
	  "REPORT LUNS", scsi_report_luns,
	  { 0xa0, 0, 0xff, Z3, FF4, 0, 0 } },
	{ 0xa3, 0x0a, 12, 0, SCSI_CONFLICT_NEVER,
	  "REPORT TARGET PORT GROUPS", scsi_report_target_port_groups,
	  { 0xa3, 0xea, Z4, FF4, 0, 0 } },
	{ 0xa3, 0x0c, 12, 0, SCSI_CONFLICT_READ,
	  "REPORT SUPPORTED OPERATION CODES", scsi_report_supported_opcodes,
	  { 0xa3, 0x0c, 0x87, 0xff, FF2, FF4, 0, 0 } },
	{ 0xa3, 0x0d, 12, 0, SCSI_CONFLICT_READ,
	  "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS",
	  scsi_report_supported_task_management,
	  { 0xa3, 0x0d, 0x80, Z3, FF4, 0, 0 } },
	{ 0xa8, NO_SA, 12, MEDIUM_READ,
	  "READ(12)", scsi_read,
	  { 0xa8, DPO_FUA, FF4, FF4, GROUP, 0 } },
	{ 0xaa, NO_SA, 12, MEDIUM_WRITE,
	  "WRITE(12)", scsi_write,
	  { 0xaa, DPO_FUA, FF4, FF4, GROUP, 0 } },
	{ 0xae, NO_SA, 12, MEDIUM_WRITE,
	  "WRITE AND VERIFY(12)", scsi_write_and_verify,
	  { 0xae, DPO_BYTCHK, FF4, FF4, GROUP, 0 } },
	{ 0xaf, NO_SA, 12, MEDIUM_READ,
	  "VERIFY(12)", scsi_verify,
	  { 0xaf, DPO_BYTCHK, FF4, FF4, GROUP, 0 } },
	{ 0xb7, NO_SA, 12, 0, SCSI_CONFLICT_READ,
	  "READ DEFECT DATA(12)", scsi_read_defect_data_12,
	  { 0xb7, 0x1f, FF4, FF4, 0, 0 } },
};

size_t scsi_num_commands(void)
{
	return ARRAY_SIZE(scsi_commands);
}

const struct scsi_command *scsi_command_by_index(size_t i)
{
	return &scsi_commands[i];
}

bool scsi_command_supported(const struct scsi_disk *disk,
			    const struct scsi_command *command)
{
	return disk->thin || (command->flags & SCSI_CMD_THIN) == 0;
}

/*
 * All commands with service actions of ours have them in the low bits of
 * byte 1.
 */
static const struct scsi_command *scsi_find_command(struct scsi_request *req)
{
	const struct scsi_task *task = req->task;
	bool opcode_known = false;
	uint8_t service_action = 0;
	size_t i;

	if (task->cdb_length == 0) {
		goto fail;
	}
	if (task->cdb_length > 1) {
		service_action = task->cdb[1] & 0x1f;
	}

	for (i = 0; i < ARRAY_SIZE(scsi_commands); i++) {
		const struct scsi_command *c = &scsi_commands[i];

		if (c->opcode != task->cdb[0] ||
		    !scsi_command_supported(req->disk, c)) {
			continue;
		}
		opcode_known = true;
		if (c->service_action == SCSI_NO_SERVICE_ACTION ||
		    c->service_action == service_action) {
			return c;
		}
	}

fail:
	if (opcode_known) {
		scsi_invalid_field_in_cdb(req, 1, 4);
	} else {
		scsi_check_condition(req, SCSI_SENSE_ILLEGAL_REQUEST,
				     SCSI_ASC_INVALID_OPCODE);
	}
	return NULL;
}

/* Point at the most significant reserved bit that is set. */
static bool scsi_check_cdb(struct scsi_request *req)
{
	const struct scsi_command *c = req->command;
	const struct scsi_task *task = req->task;
	uint8_t i;

	if (task->cdb_length < c->cdb_length) {
		scsi_invalid_field_in_cdb(req, task->cdb_length, -1);
		return false;
	}

	for (i = 1; i < c->cdb_length; i++) {
		uint8_t reserved = task->cdb[i] & ~c->usage[i];
		int8_t bit = 7;

		if (reserved == 0) {
			continue;
		}
		if (i == 1 && c->service_action != SCSI_NO_SERVICE_ACTION) {
			/* These bits are known to be the service action. */
			reserved &= 0xe0;
			if (reserved == 0) {
				continue;
			}
		}
		while ((reserved & (1 << bit)) == 0) {
			bit--;
		}
		scsi_invalid_field_in_cdb(req, i, bit);
		return false;
	}
	return true;
}

/* A disk without shared state has one initiator: tools on a local image. */
static const struct scsi_state scsi_unshared_state = {
	.mode = SCSI_MODE_WCE,
};

const struct scsi_state *scsi_disk_state(struct scsi_disk *disk)
{
	if (disk->ops->state == NULL) {
		return &scsi_unshared_state;
	}
	return disk->ops->state(disk->private_data);
}

NTSTATUS scsi_disk_update_state(struct scsi_disk *disk, scsi_state_fn fn,
				void *fn_data)
{
	if (disk->ops->update_state == NULL) {
		return NT_STATUS_NOT_SUPPORTED;
	}
	return disk->ops->update_state(disk->private_data, fn, fn_data);
}

/*
 * Report a pending unit attention instead of running the command.
 *
 * It comes before a reservation conflict (SAM-5, status precedence): a fenced
 * initiator shall learn that it was preempted, then that it may not.
 */
static bool scsi_unit_attention_pending(struct scsi_request *req,
					const struct scsi_state *state)
{
	const struct GUID *id = &req->nexus->initiator_id;
	struct scsi_nexus_state *nexus = scsi_state_find(state, id);
	uint32_t ua = 0;
	NTSTATUS status;

	if (nexus == NULL || nexus->unit_attentions == 0) {
		return false;
	}

	status = scsi_take_unit_attention(req->disk, id, &ua, NULL);
	if (!NT_STATUS_IS_OK(status)) {
		scsi_state_error(req, status);
		return true;
	}
	if (ua == 0) {
		/* Another command of this initiator has reported it. */
		return false;
	}
	scsi_report_unit_attention(req, ua);
	return true;
}

static bool scsi_check_write_access(struct scsi_request *req)
{
	uint8_t flags = req->command->flags;

	if ((flags & (SCSI_CMD_WRITE|SCSI_CMD_CONTROL)) &&
	    !req->nexus->may_write) {
		scsi_check_condition(req, SCSI_SENSE_DATA_PROTECT,
				     SCSI_ASC_WRITE_PROTECTED);
		return false;
	}
	if ((flags & SCSI_CMD_WRITE) && (req->mode & SCSI_MODE_SWP)) {
		scsi_check_condition(req, SCSI_SENSE_DATA_PROTECT,
				     SCSI_ASC_SOFTWARE_WRITE_PROTECTED);
		return false;
	}
	return true;
}

void scsi_execute(struct scsi_disk *disk, struct scsi_nexus *nexus,
		  struct scsi_task *task)
{
	struct scsi_request req = {
		.disk = disk,
		.nexus = nexus,
		.task = task,
	};
	const struct scsi_state *state = NULL;

	task->data_in_length = 0;
	task->data_in_overrun = false;
	task->status = SCSI_STATUS_GOOD;
	task->sense_length = 0;
	memset(task->sense, 0, sizeof(task->sense));

	state = scsi_disk_state(disk);
	if (state == NULL) {
		scsi_check_condition(&req, SCSI_SENSE_HARDWARE_ERROR,
				     SCSI_ASC_INTERNAL_TARGET_FAILURE);
		return;
	}
	req.mode = state->mode;

	req.command = scsi_find_command(&req);
	if (req.command == NULL) {
		return;
	}

	if ((req.command->flags & SCSI_CMD_NO_UA) == 0 &&
	    scsi_unit_attention_pending(&req, state)) {
		return;
	}
	if (scsi_request_conflicts(&req, req.command->conflict)) {
		return;
	}
	/*
	 * Whatever is wrong with a write to a protected disk, that it is one
	 * matters most to the initiator.
	 */
	if (!scsi_check_write_access(&req) || !scsi_check_cdb(&req)) {
		return;
	}
	if ((req.command->flags & SCSI_CMD_MEDIUM) &&
	    scsi_medium_undefined(&req)) {
		return;
	}

	req.command->fn(&req);
}
