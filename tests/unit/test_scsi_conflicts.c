/*
 * vfs_rsvd: which command a reservation holds back from whom: each cell of the
 * tables of SPC-4 5.13.1 and SBC-3, the legacy column of SPC-2, and RESERVE
 * and RELEASE
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "tests/unit/scsi_test.h"

/*
 * The columns, as in the standards, 'A' for allowed, 'C' for conflict:
 *   0  write exclusive, from any nexus but the holder
 *   1  exclusive access, from any nexus but the holder
 *   2  registrants only or all registrants, from a registered nexus
 *   3  write exclusive of these, from a nexus that isn't registered
 *   4  exclusive access of these, from a nexus that isn't registered
 *   5  RESERVE by another
 */
struct row {
	const char *name;
	const char *columns;
	uint8_t cdb[16];
	uint16_t data_length;
};

static const struct row rows[] = {
	/* SPC-4 */
	{ "TEST UNIT READY", "AAAAAC", { 0x00 }, 0 },
	{ "REQUEST SENSE", "AAAAAA", { 0x03, [4] = 18 }, 0 },
	{ "INQUIRY", "AAAAAA", { 0x12, [4] = 36 }, 0 },
	{ "MODE SELECT(6)", "CCACCC", { 0x15, 0x10 }, 0 },
	{ "MODE SENSE(6)", "ACAACC", { 0x1a, 0, 0x3f, [4] = 64 }, 0 },
	{ "SEND DIAGNOSTIC", "CCACCC", { 0x1d, 0x04 }, 0 },
	{ "PREVENT ALLOW, prevent", "CCACCC", { 0x1e, [4] = 1 }, 0 },
	{ "PREVENT ALLOW, allow", "AAAAAA", { 0x1e }, 0 },
	{ "LOG SENSE", "AAAAAA", { 0x4d, 0, 0x40, [8] = 64 }, 0 },
	{ "MODE SELECT(10)", "CCACCC", { 0x55, 0x10 }, 0 },
	{ "MODE SENSE(10)", "ACAACC", { 0x5a, 0, 0x3f, [8] = 64 }, 0 },
	{ "PERSISTENT RESERVE IN, READ KEYS", "AAAAAC", { 0x5e, 0 }, 0 },
	{ "PERSISTENT RESERVE IN, READ RESERVATION", "AAAAAC", { 0x5e, 1 },
	  0 },
	{ "PERSISTENT RESERVE IN, REPORT CAPABILITIES", "AAAAAC",
	  { 0x5e, 2 }, 0 },
	{ "PERSISTENT RESERVE IN, READ FULL STATUS", "AAAAAC", { 0x5e, 3 },
	  0 },
	{ "EXTENDED COPY", "CCACCC", { 0x83 }, 0 },
	{ "RECEIVE COPY RESULTS", "CCACCC", { 0x84, 3, [13] = 64 }, 0 },
	{ "REPORT LUNS", "AAAAAA", { 0xa0, [9] = 16 }, 0 },
	{ "REPORT TARGET PORT GROUPS", "AAAAAA", { 0xa3, 0x0a, [9] = 64 },
	  0 },
	{ "REPORT SUPPORTED OPERATION CODES", "ACAACC",
	  { 0xa3, 0x0c, [9] = 64 }, 0 },
	{ "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", "ACAACC",
	  { 0xa3, 0x0d, [9] = 64 }, 0 },
	/* SBC-3 */
	{ "READ(6)", "ACAACC", { 0x08, [4] = 1 }, 0 },
	{ "WRITE(6)", "CCACCC", { 0x0a, [4] = 1 }, 512 },
	{ "START STOP UNIT, start", "AAAAAA", { 0x1b, [4] = 1 }, 0 },
	{ "START STOP UNIT, stop", "CCACCC", { 0x1b, [4] = 0 }, 0 },
	{ "START STOP UNIT, power condition", "CCACCC",
	  { 0x1b, [4] = 0x11 }, 0 },
	{ "READ CAPACITY(10)", "AAAAAA", { 0x25 }, 0 },
	{ "READ(10)", "ACAACC", { 0x28, [8] = 1 }, 0 },
	{ "WRITE(10)", "CCACCC", { 0x2a, [8] = 1 }, 512 },
	{ "WRITE AND VERIFY(10)", "CCACCC", { 0x2e, [8] = 1 }, 512 },
	{ "VERIFY(10)", "ACAACC", { 0x2f, [8] = 1 }, 0 },
	{ "PRE-FETCH(10)", "ACAACC", { 0x34, [8] = 1 }, 0 },
	{ "SYNCHRONIZE CACHE(10)", "CCACCC", { 0x35 }, 0 },
	{ "READ DEFECT DATA(10)", "ACAACC", { 0x37, [8] = 8 }, 0 },
	{ "WRITE SAME(10)", "CCACCC", { 0x41, [8] = 1 }, 512 },
	{ "UNMAP", "CCACCC", { 0x42 }, 0 },
	{ "SANITIZE", "CCACCC", { 0x48, 0x1f }, 0 },
	{ "READ(16)", "ACAACC", { 0x88, [13] = 1 }, 0 },
	{ "COMPARE AND WRITE", "CCACCC", { 0x89, [13] = 1 }, 1024 },
	{ "WRITE(16)", "CCACCC", { 0x8a, [13] = 1 }, 512 },
	{ "ORWRITE(16)", "CCACCC", { 0x8b, [13] = 1 }, 512 },
	{ "WRITE AND VERIFY(16)", "CCACCC", { 0x8e, [13] = 1 }, 512 },
	{ "VERIFY(16)", "ACAACC", { 0x8f, [13] = 1 }, 0 },
	{ "PRE-FETCH(16)", "ACAACC", { 0x90, [13] = 1 }, 0 },
	{ "SYNCHRONIZE CACHE(16)", "CCACCC", { 0x91 }, 0 },
	{ "WRITE SAME(16)", "CCACCC", { 0x93, [13] = 1 }, 512 },
	{ "WRITE ATOMIC(16)", "CCACCC", { 0x9c, [13] = 1 }, 512 },
	{ "READ CAPACITY(16)", "AAAAAA", { 0x9e, 0x10, [13] = 32 }, 0 },
	{ "GET LBA STATUS", "ACAACC", { 0x9e, 0x12, [13] = 32 }, 0 },
	{ "READ(12)", "ACAACC", { 0xa8, [9] = 1 }, 0 },
	{ "WRITE(12)", "CCACCC", { 0xaa, [9] = 1 }, 512 },
	{ "WRITE AND VERIFY(12)", "CCACCC", { 0xae, [9] = 1 }, 512 },
	{ "VERIFY(12)", "ACAACC", { 0xaf, [9] = 1 }, 0 },
	{ "READ DEFECT DATA(12)", "ACAACC", { 0xb7, [9] = 8 }, 0 },
};

static void check_row(struct scsi_test *t, struct scsi_nexus *nexus,
		      const struct row *row, char expected)
{
	unsigned num_writes = t->disk->num_writes;
	bool conflict;

	scsi_test_out(t, nexus, row->cdb, 16, t->out, row->data_length);
	conflict = t->task.status == SCSI_STATUS_RESERVATION_CONFLICT;
	if (conflict != (expected == 'C')) {
		print_error("%s: status %02x, expected %c\n", row->name,
			    t->task.status, expected);
		fail();
	}
	if (conflict) {
		assert_int_equal(t->disk->num_writes, num_writes);
		return;
	}
	if (row->cdb[0] == 0x83) {
		return;
	}
	assert_good(t);
}

static void check_rows(struct scsi_test *t, struct scsi_nexus *nexus,
		       unsigned column)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		check_row(t, nexus, &rows[i], rows[i].columns[column]);
	}
}

/* C holds a reservation, B is registered, A is not. */
static void reserve_by_c(struct scsi_test *t, uint8_t type)
{
	scsi_test_register(t, &t->b, 0xb);
	scsi_test_register(t, &t->c, 0xc);
	scsi_test_pr_out(t, &t->c, 0x01, type, 0xc, 0, 0);
	assert_good(t);
}

static void check_holder(struct scsi_test *t)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		check_row(t, &t->c, &rows[i], 'A');
	}
}

static void nothing_conflicts_without_a_reservation(void **state)
{
	struct scsi_test *t = *state;
	size_t i;

	scsi_test_register(t, &t->b, 0xb);
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		check_row(t, &t->a, &rows[i], 'A');
		check_row(t, &t->b, &rows[i], 'A');
	}
}

static void write_exclusive(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_c(t, 0x1);
	check_rows(t, &t->a, 0);
	check_rows(t, &t->b, 0);
	check_holder(t);
}

static void exclusive_access(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_c(t, 0x3);
	check_rows(t, &t->a, 1);
	check_rows(t, &t->b, 1);
	check_holder(t);
}

static void write_exclusive_registrants_only(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_c(t, 0x5);
	check_rows(t, &t->a, 3);
	check_rows(t, &t->b, 2);
	check_holder(t);
}

static void exclusive_access_registrants_only(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_c(t, 0x6);
	check_rows(t, &t->a, 4);
	check_rows(t, &t->b, 2);
	check_holder(t);
}

static void write_exclusive_all_registrants(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_c(t, 0x7);
	check_rows(t, &t->a, 3);
	check_rows(t, &t->b, 2);
	check_holder(t);
}

static void exclusive_access_all_registrants(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_c(t, 0x8);
	check_rows(t, &t->a, 4);
	check_rows(t, &t->b, 2);
	check_holder(t);
}

static void a_stranger_is_held_back_like_one_who_is_not_registered(
	void **state)
{
	struct scsi_test *t = *state;
	/* Not even in the table of nexuses */
	struct GUID id = { .time_low = 0x77777777 };

	reserve_by_c(t, 0x5);
	assert_int_equal(scsi_check_io(t->disk->state, &id, true),
			 SCSI_IO_CONFLICT);
	assert_int_equal(scsi_check_io(t->disk->state, &id, false),
			 SCSI_IO_ALLOWED);
}

/* SMB2 READ and WRITE: what READ and WRITE have in the table */
static void smb2_io_follows_the_same_table(void **state)
{
	struct scsi_test *t = *state;
	const struct {
		uint8_t type;
		const char *read;	/* by A, B, C */
		const char *write;
	} types[] = {
		{ 0x1, "AAA", "CCA" },
		{ 0x3, "CCA", "CCA" },
		{ 0x5, "AAA", "CAA" },
		{ 0x6, "CAA", "CAA" },
		{ 0x7, "AAA", "CAA" },
		{ 0x8, "CAA", "CAA" },
	};
	const struct scsi_nexus *nexuses[] = { &t->a, &t->b, &t->c };
	size_t i, j;

	scsi_test_register(t, &t->b, 0xb);
	scsi_test_register(t, &t->c, 0xc);
	for (i = 0; i < ARRAY_SIZE(types); i++) {
		scsi_test_pr_out(t, &t->c, 0x01, types[i].type, 0xc, 0, 0);
		assert_good(t);
		for (j = 0; j < 3; j++) {
			const struct GUID *id = &nexuses[j]->initiator_id;

			assert_int_equal(
				scsi_check_io(t->disk->state, id, false),
				types[i].read[j] == 'C' ?
				SCSI_IO_CONFLICT : SCSI_IO_ALLOWED);
			assert_int_equal(
				scsi_check_io(t->disk->state, id, true),
				types[i].write[j] == 'C' ?
				SCSI_IO_CONFLICT : SCSI_IO_ALLOWED);
		}
		scsi_test_pr_out(t, &t->c, 0x02, types[i].type, 0xc, 0, 0);
		assert_good(t);
		scsi_test_clear_ua(t, &t->b);
	}
}

#define RESERVE_6 0x16, 0, 0, 0, 0, 0
#define RELEASE_6 0x17, 0, 0, 0, 0, 0
#define RESERVE_10 0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0
#define RELEASE_10 0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0

static void reserve_holds_back_all_others(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->c, RESERVE_6);
	assert_good(t);
	check_rows(t, &t->a, 5);
	assert_int_equal(scsi_check_io(t->disk->state, &t->a.initiator_id,
				       false), SCSI_IO_CONFLICT);
	assert_int_equal(scsi_check_io(t->disk->state, &t->c.initiator_id,
				       true), SCSI_IO_ALLOWED);
}

static void only_its_holder_ends_a_reserve(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->c, RESERVE_10);
	assert_good(t);
	scsi_send(t, &t->a, RESERVE_6);
	assert_conflict(t);
	/* SPC-2: not an error, but without effect */
	scsi_send(t, &t->a, RELEASE_6);
	assert_good(t);
	scsi_send(t, &t->a, 0x00, 0, 0, 0, 0, 0);
	assert_conflict(t);
	scsi_send(t, &t->c, RESERVE_6);
	assert_good(t);
	scsi_send(t, &t->c, RELEASE_10);
	assert_good(t);
	scsi_send(t, &t->a, RESERVE_6);
	assert_good(t);
}

static void a_reserve_ends_with_its_nexus(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->c, RESERVE_6);
	assert_good(t);
	scsi_memory_disk_close(t->disk, &t->c);
	scsi_send(t, &t->a, 0x00, 0, 0, 0, 0, 0);
	assert_good(t);
}

static void persistent_reservations_wait_for_a_reserve_to_end(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->c, RESERVE_6);
	assert_good(t);
	/* Even for the one that has it */
	scsi_test_pr_out(t, &t->c, 0x00, 0, 0, 0xc, 0);
	assert_conflict(t);
	scsi_send(t, &t->c, 0x5e, 0, 0, 0, 0, 0, 0, 0, 8, 0);
	assert_conflict(t);
	scsi_send(t, &t->c, RELEASE_6);
	assert_good(t);
	scsi_test_register(t, &t->c, 0xc);
}

/* CRH is one in REPORT CAPABILITIES. */
static void reserve_by_the_holder_of_a_reservation_is_empty(void **state)
{
	struct scsi_test *t = *state;
	const uint8_t types[] = { 0x1, 0x3, 0x5, 0x6, 0x7, 0x8 };
	size_t i;

	scsi_test_register(t, &t->b, 0xb);
	scsi_test_register(t, &t->c, 0xc);
	for (i = 0; i < ARRAY_SIZE(types); i++) {
		bool registrants_too = types[i] >= 0x5;

		scsi_test_pr_out(t, &t->c, 0x01, types[i], 0xc, 0, 0);
		assert_good(t);
		scsi_send(t, &t->c, RESERVE_6);
		assert_good(t);
		scsi_send(t, &t->c, RELEASE_6);
		assert_good(t);

		scsi_send(t, &t->b, RESERVE_10);
		if (registrants_too) {
			assert_good(t);
		} else {
			assert_conflict(t);
		}
		scsi_send(t, &t->a, RESERVE_6);
		assert_conflict(t);
		scsi_send(t, &t->a, RELEASE_6);
		assert_conflict(t);
		assert_false(t->disk->state->reserved);

		scsi_test_pr_out(t, &t->c, 0x02, types[i], 0xc, 0, 0);
		assert_good(t);
		scsi_test_clear_ua(t, &t->b);
	}
}

static void reserve_conflicts_as_long_as_there_are_registrations(
	void **state)
{
	struct scsi_test *t = *state;

	scsi_test_register(t, &t->c, 0xc);
	scsi_send(t, &t->a, RESERVE_6);
	assert_conflict(t);
	scsi_send(t, &t->c, RESERVE_6);
	assert_conflict(t);
	scsi_send(t, &t->c, RELEASE_10);
	assert_conflict(t);
}

static void third_party_reserve_is_refused(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->a, 0x16, 0x10, 0, 0, 0, 0);
	assert_invalid_cdb(t, 0xcc, 1);
	scsi_send(t, &t->a, 0x16, 0x01, 0, 0, 0, 0);
	assert_invalid_cdb(t, 0xc8, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scsi_unit_test(nothing_conflicts_without_a_reservation),
		scsi_unit_test(write_exclusive),
		scsi_unit_test(exclusive_access),
		scsi_unit_test(write_exclusive_registrants_only),
		scsi_unit_test(exclusive_access_registrants_only),
		scsi_unit_test(write_exclusive_all_registrants),
		scsi_unit_test(exclusive_access_all_registrants),
		scsi_unit_test(
			a_stranger_is_held_back_like_one_who_is_not_registered),
		scsi_unit_test(smb2_io_follows_the_same_table),
		scsi_unit_test(reserve_holds_back_all_others),
		scsi_unit_test(only_its_holder_ends_a_reserve),
		scsi_unit_test(a_reserve_ends_with_its_nexus),
		scsi_unit_test(
			persistent_reservations_wait_for_a_reserve_to_end),
		scsi_unit_test(
			reserve_by_the_holder_of_a_reservation_is_empty),
		scsi_unit_test(
			reserve_conflicts_as_long_as_there_are_registrations),
		scsi_unit_test(third_party_reserve_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
