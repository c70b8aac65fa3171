/*
 * vfs_rsvd: PREEMPT waits for the writes of the preempted initiator
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * selftest-options: --share-option='vfs objects = rsvd slow_write' --share-option='slow_write:milliseconds = 400'
 */

#include <tevent.h>
#include "attach.h"

#define VICTIM_KEY 0xAA
#define WINNER_KEY 0xBB

#define PR_OUT_REGISTER 0x00
#define PR_OUT_RESERVE 0x01
#define PR_OUT_PREEMPT 0x04
#define PR_OUT_PREEMPT_AND_ABORT 0x05
#define PR_OUT_REGISTER_AND_IGNORE 0x06
#define PR_WRITE_EXCLUSIVE_REGISTRANTS_ONLY 0x05

#define SCSI_GOOD 0x00
#define SCSI_CHECK_CONDITION 0x02
#define SCSI_BUSY 0x08

struct fight {
	struct tevent_context *ev;
	struct librsvd_disk *victim;
	struct librsvd_disk *winner;
	uint8_t pattern[4096];
	NTSTATUS write_status;
	bool write_done;
};

static struct tevent_req *persistent_reserve_out_send(
	struct librsvd_disk *disk, uint8_t action, uint8_t key,
	uint8_t action_key)
{
	uint8_t cdb[10] = {
		0x5F, action,
		action == PR_OUT_REGISTER ? 0
					  : PR_WRITE_EXCLUSIVE_REGISTRANTS_ONLY,
		0, 0, 0, 0, 0, 24, 0
	};
	uint8_t parameters[24] = { [7] = key, [15] = action_key };
	struct librsvd_scsi_command command = {
		.cdb = cdb,
		.cdb_length = sizeof(cdb),
		.data_out = parameters,
		.data_out_length = sizeof(parameters),
	};
	struct tevent_req *req = librsvd_scsi_send(disk, disk, &command);

	assert_non_null(req);
	return req;
}

static uint8_t persistent_reserve_out_recv(struct tevent_context *ev,
					   struct tevent_req *req)
{
	struct librsvd_scsi_result result;

	assert_true(tevent_req_poll(req, ev));
	assert_ok(librsvd_scsi_recv(req, NULL, &result));
	talloc_free(req);
	return result.sense.scsi_status;
}

static uint8_t persistent_reserve_out(struct tevent_context *ev,
				      struct librsvd_disk *disk,
				      uint8_t action, uint8_t key,
				      uint8_t action_key)
{
	return persistent_reserve_out_recv(
		ev, persistent_reserve_out_send(disk, action, key,
						action_key));
}

static void fight_start(struct fight *fight, const char *name,
			bool same_connection)
{
	struct librsvd_conn *conn = NULL;

	*fight = (struct fight) { .ev = tevent_context_init(NULL) };
	memset(fight->pattern, 0x5A, sizeof(fight->pattern));
	attach_image(name, 8 * MIB);

	conn = attach_connect(fight->ev, fight->ev);
	assert_ok(attach_open(fight->ev, conn, name, 0, &fight->victim));
	if (!same_connection) {
		conn = attach_connect(fight->ev, fight->ev);
	}
	assert_ok(attach_open(fight->ev, conn, name, 0, &fight->winner));

	assert_int_equal(persistent_reserve_out(fight->ev, fight->victim,
						PR_OUT_REGISTER, 0, VICTIM_KEY),
			 SCSI_GOOD);
	assert_int_equal(persistent_reserve_out(fight->ev, fight->winner,
						PR_OUT_REGISTER, 0, WINNER_KEY),
			 SCSI_GOOD);
	assert_int_equal(persistent_reserve_out(fight->ev, fight->winner,
						PR_OUT_RESERVE, WINNER_KEY, 0),
			 SCSI_GOOD);
	/* Have the block allocated: the write to come is a simple one. */
	assert_ok(librsvd_write(fight->winner, (uint8_t[4096]) { 0 }, 4096, 0,
				0));
}

static void fight_end(struct fight *fight)
{
	assert_ok(librsvd_close(fight->victim));
	assert_ok(librsvd_close(fight->winner));
	talloc_free(fight->ev);
}

static void victim_write_done(struct tevent_req *req)
{
	struct fight *fight = tevent_req_callback_data_void(req);

	fight->write_status = librsvd_write_recv(req);
	fight->write_done = true;
	talloc_free(req);
}

/*
 * Return when the server has taken the write and works on it: smbd answers a
 * later request of the same connection when it has started the earlier one.
 */
static void victim_write_start(struct fight *fight)
{
	struct tevent_req *req = NULL;

	fight->write_done = false;
	req = librsvd_write_send(fight->ev, fight->victim, fight->pattern,
				 sizeof(fight->pattern), 0, 0);
	assert_non_null(req);
	tevent_req_set_callback(req, victim_write_done, fight);
	assert_ok(librsvd_check_connection(fight->victim));
	assert_false(fight->write_done);
}

static void assert_victim_is_fenced(struct fight *fight)
{
	uint8_t data[4096];

	/* What was on its way has landed, before the winner was answered. */
	assert_ok(librsvd_read(fight->winner, data, sizeof(data), 0, NULL));
	assert_memory_equal(data, fight->pattern, sizeof(data));

	while (!fight->write_done) {
		assert_int_equal(tevent_loop_once(fight->ev), 0);
	}
	assert_ok(fight->write_status);
	assert_status(librsvd_write(fight->victim, data, sizeof(data), 0, 0),
		      NT_STATUS(0xC05CFF05)); /* REGISTRATIONS_PREEMPTED */
	assert_status(librsvd_write(fight->victim, data, sizeof(data), 0, 0),
		      NT_STATUS(0xC05CFF07)); /* RESERVATION_CONFLICT */
}

static void preempt_and_abort_waits_for_a_write_in_another_process(void **state)
{
	struct fight fight;

	fight_start(&fight, "other.vhdx", false);
	victim_write_start(&fight);

	assert_int_equal(persistent_reserve_out(fight.ev, fight.winner,
						PR_OUT_PREEMPT_AND_ABORT,
						WINNER_KEY, VICTIM_KEY),
			 SCSI_GOOD);

	assert_victim_is_fenced(&fight);
	fight_end(&fight);
}

static void preempt_waits_for_a_write_in_another_process(void **state)
{
	struct fight fight;

	fight_start(&fight, "preempt.vhdx", false);
	victim_write_start(&fight);

	assert_int_equal(persistent_reserve_out(fight.ev, fight.winner,
						PR_OUT_PREEMPT, WINNER_KEY, VICTIM_KEY),
			 SCSI_GOOD);

	assert_victim_is_fenced(&fight);
	fight_end(&fight);
}

static void preempt_is_busy_until_a_write_in_the_same_process_has_ended(
	void **state)
{
	struct fight fight;
	unsigned int busy = 0;
	uint8_t status;

	fight_start(&fight, "same.vhdx", true);
	victim_write_start(&fight);

	do {
		status = persistent_reserve_out(fight.ev, fight.winner,
						PR_OUT_PREEMPT_AND_ABORT,
						WINNER_KEY, VICTIM_KEY);
		busy += (status == SCSI_BUSY);
	} while (status == SCSI_BUSY);

	assert_int_equal(status, SCSI_GOOD);
	assert_true(busy > 0);
	assert_victim_is_fenced(&fight);
	fight_end(&fight);
}

static void a_write_held_back_for_a_preempt_meets_the_conflict(void **state)
{
	struct fight fight;
	uint8_t status;

	fight_start(&fight, "held.vhdx", true);
	victim_write_start(&fight);
	status = persistent_reserve_out(fight.ev, fight.winner,
					PR_OUT_PREEMPT_AND_ABORT, WINNER_KEY, VICTIM_KEY);
	assert_int_equal(status, SCSI_BUSY);
	while (!fight.write_done) {
		assert_int_equal(tevent_loop_once(fight.ev), 0);
	}
	assert_ok(fight.write_status);

	/* Nothing is in flight, and this one must not be either. */
	victim_write_start(&fight);
	status = persistent_reserve_out(fight.ev, fight.winner,
					PR_OUT_PREEMPT_AND_ABORT, WINNER_KEY, VICTIM_KEY);
	assert_int_equal(status, SCSI_GOOD);

	while (!fight.write_done) {
		assert_int_equal(tevent_loop_once(fight.ev), 0);
	}
	assert_status(fight.write_status, NT_STATUS(0xC05CFF05));
	fight_end(&fight);
}

static uint8_t sanitize_block_erase(struct fight *fight)
{
	const uint8_t cdb[10] = { 0x48, 0x02 };
	struct librsvd_scsi_command command = {
		.cdb = cdb,
		.cdb_length = sizeof(cdb),
	};
	struct librsvd_scsi_result result;

	assert_ok(librsvd_scsi(fight->ev, fight->winner, &command, &result));
	return result.sense.scsi_status;
}

/* What was on its way has landed before, and is erased with the rest. */
static void assert_all_is_erased(struct fight *fight)
{
	const uint8_t zeros[4096] = {0};
	uint8_t data[4096];

	while (!fight->write_done) {
		assert_int_equal(tevent_loop_once(fight->ev), 0);
	}
	assert_ok(fight->write_status);
	assert_ok(librsvd_read(fight->winner, data, sizeof(data), 0, NULL));
	assert_memory_equal(data, zeros, sizeof(data));
	assert_ok(librsvd_write(fight->victim, fight->pattern, 4096, 0, 0));
}

static void sanitize_waits_for_a_write_in_another_process(void **state)
{
	struct fight fight;

	fight_start(&fight, "erased.vhdx", false);
	victim_write_start(&fight);
	assert_int_equal(sanitize_block_erase(&fight), SCSI_GOOD);
	assert_all_is_erased(&fight);
	fight_end(&fight);
}

static void sanitize_is_busy_until_a_write_in_the_same_process_has_ended(
	void **state)
{
	struct fight fight;
	unsigned int busy = 0;
	uint8_t status;

	fight_start(&fight, "erased-same.vhdx", true);
	victim_write_start(&fight);
	do {
		status = sanitize_block_erase(&fight);
		busy += (status == SCSI_BUSY);
	} while (status == SCSI_BUSY);

	assert_int_equal(status, SCSI_GOOD);
	assert_true(busy > 0);
	assert_all_is_erased(&fight);
	fight_end(&fight);
}

static void register_at_last(struct tevent_context *ev,
			     struct librsvd_disk *disk, uint8_t key)
{
	uint8_t status;

	do {
		status = persistent_reserve_out(
			ev, disk, PR_OUT_REGISTER_AND_IGNORE, 0, key);
	} while (status == SCSI_CHECK_CONDITION); /* unit attentions */
	assert_int_equal(status, SCSI_GOOD);
}

/*
 * Two hosts, each with two nodes of a cluster. Waiting for each other would
 * end after the timeout of a fence, and with BUSY.
 */
static void processes_that_preempt_at_once_do_not_wait_for_each_other(
	void **state)
{
	struct tevent_context *ev = tevent_context_init(NULL);
	struct librsvd_disk *preempting[2], *preempted[2];
	struct tevent_req *reqs[2];
	size_t round, i;

	attach_image("both.vhdx", 8 * MIB);
	for (i = 0; i < 2; i++) {
		struct librsvd_conn *conn = attach_connect(ev, ev);

		assert_ok(attach_open(ev, conn, "both.vhdx", 0,
				      &preempting[i]));
		assert_ok(attach_open(ev, conn, "both.vhdx", 0,
				      &preempted[i]));
		register_at_last(ev, preempting[i], 0xA0 + i);
	}

	for (round = 0; round < 20; round++) {
		for (i = 0; i < 2; i++) {
			register_at_last(ev, preempted[i], 0xB0 + i);
		}
		for (i = 0; i < 2; i++) {
			reqs[i] = persistent_reserve_out_send(
				preempting[i], PR_OUT_PREEMPT, 0xA0 + i,
				0xB0 + 1 - i);
		}
		for (i = 0; i < 2; i++) {
			assert_int_equal(
				persistent_reserve_out_recv(ev, reqs[i]),
				SCSI_GOOD);
		}
	}
	talloc_free(ev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			preempt_and_abort_waits_for_a_write_in_another_process),
		cmocka_unit_test(preempt_waits_for_a_write_in_another_process),
		cmocka_unit_test(
		preempt_is_busy_until_a_write_in_the_same_process_has_ended),
		cmocka_unit_test(
			a_write_held_back_for_a_preempt_meets_the_conflict),
		cmocka_unit_test(
			sanitize_waits_for_a_write_in_another_process),
		cmocka_unit_test(
		sanitize_is_busy_until_a_write_in_the_same_process_has_ended),
		cmocka_unit_test(
		processes_that_preempt_at_once_do_not_wait_for_each_other),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
