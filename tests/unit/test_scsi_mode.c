/*
 * vfs_rsvd: mode parameters, and what a change of them does to the others
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "tests/unit/scsi_test.h"

#define RECOVERY 0x01, 0x0a, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0
#define CACHING(b2) 0x08, 0x12, b2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, \
	0, 0, 0
#define CONTROL(b2, b4) 0x0a, 0x0a, b2, 0x10, b4, 0, 0, 0, 0, 0, 0, 0
#define EXCEPTIONS 0x1c, 0x0a, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0
/* 4096 blocks of 512 bytes */
#define DESCRIPTOR 0, 0, 0x10, 0, 0, 0, 2, 0

static void mode_sense_6_has_all_pages_in_order(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->a, 0x1a, 0, 0x3f, 0, 255, 0);
	assert_data(t, 67, 0, 0x10, 8, DESCRIPTOR, RECOVERY, CACHING(0x04),
		    CONTROL(0x02, 0), EXCEPTIONS);
	/* Without the block descriptor; all subpages are these, too. */
	scsi_send(t, &t->a, 0x1a, 0x08, 0x3f, 0xff, 255, 0);
	assert_data(t, 59, 0, 0x10, 0, RECOVERY, CACHING(0x04),
		    CONTROL(0x02, 0), EXCEPTIONS);
}

static void mode_sense_10_has_a_header_of_its_own(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->a, 0x5a, 0, 0x08, 0, 0, 0, 0, 1, 0, 0);
	assert_data(t, 0, 34, 0, 0x10, 0, 0, 0, 8, DESCRIPTOR, CACHING(0x04));
	/* LLBAA */
	scsi_send(t, &t->a, 0x5a, 0x10, 0x0a, 0, 0, 0, 0, 1, 0, 0);
	assert_data(t, 0, 34, 0, 0x10, 1, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0x10, 0,
		    0, 0, 0, 0, 0, 0, 2, 0, CONTROL(0x02, 0));
}

static void mode_sense_is_truncated_to_the_allocation_length(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->a, 0x1a, 0, 0x3f, 0, 4, 0);
	assert_data(t, 67, 0, 0x10, 8);
	assert_int_equal(t->in[4], 0xee);
}

static void changeable_values_are_ones_where_select_may_write(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->a, 0x1a, 0x08, 0x7f, 0, 255, 0);
	assert_data(t, 59, 0, 0x10, 0,
		    0x01, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		    0x08, 0x12, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		    0, 0, 0, 0,
		    0x0a, 0x0a, 0x24, 0, 0x08, 0, 0, 0, 0, 0, 0, 0,
		    0x1c, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
}

static void default_values_stay_when_the_current_ones_change(void **state)
{
	struct scsi_test *t = *state;

	t->disk->state->mode = SCSI_MODE_D_SENSE | SCSI_MODE_SWP |
		SCSI_MODE_TST;
	scsi_send(t, &t->a, 0x1a, 0x08, 0xbf, 0, 255, 0);
	assert_data(t, 59, 0, 0x90, 0, RECOVERY, CACHING(0x04),
		    CONTROL(0x02, 0), EXCEPTIONS);
	scsi_send(t, &t->a, 0x1a, 0x08, 0x3f, 0, 255, 0);
	assert_data(t, 59, 0, 0x90, 0, RECOVERY, CACHING(0),
		    CONTROL(0x26, 0x08), EXCEPTIONS);
}

static void saved_values_and_unknown_pages_are_refused(void **state)
{
	struct scsi_test *t = *state;

	scsi_send(t, &t->a, 0x1a, 0, 0xff, 0, 255, 0);
	assert_sense(t, 0x5, 0x3900);
	scsi_send(t, &t->a, 0x1a, 0, 0x02, 0, 255, 0);
	assert_invalid_cdb(t, 0xcd, 2);
	scsi_send(t, &t->a, 0x1a, 0, 0x0a, 0x01, 255, 0);
	assert_invalid_cdb(t, 0xc0, 3);
}

static void a_read_only_handle_sees_a_protected_disk(void **state)
{
	struct scsi_test *t = *state;

	t->a.may_write = false;
	scsi_send(t, &t->a, 0x1a, 0x08, 0x1c, 0, 255, 0);
	assert_data(t, 15, 0, 0x90, 0, EXCEPTIONS);
}

#define select_6(t, nexus, ...) \
	select_6_list(t, nexus, CDB(__VA_ARGS__))

static void select_6_list(struct scsi_test *t, struct scsi_nexus *nexus,
			  const uint8_t *list, size_t length)
{
	scsi_send_data(t, nexus, list, length, 0x15, 0x10, 0, 0, length, 0);
}

static void mode_select_changes_the_disk_for_all(void **state)
{
	struct scsi_test *t = *state;

	select_6(t, &t->a, 0, 0, 0, 0, CACHING(0));
	assert_good(t);
	assert_true(scsi_write_through(t->disk->state));

	scsi_send(t, &t->b, 0x00, 0, 0, 0, 0, 0);
	assert_sense(t, 0x6, 0x2a01);
	scsi_send(t, &t->b, 0x1a, 0x08, 0x08, 0, 255, 0);
	assert_data(t, 23, 0, 0x10, 0, CACHING(0));
	/* No word to the one that did it */
	scsi_send(t, &t->a, 0x00, 0, 0, 0, 0, 0);
	assert_good(t);
}

static void mode_select_takes_back_what_mode_sense_gave(void **state)
{
	struct scsi_test *t = *state;

	select_6(t, &t->a, 0, 0, 0x10, 8, DESCRIPTOR, RECOVERY, CACHING(0x04),
		 CONTROL(0x02, 0), EXCEPTIONS);
	assert_good(t);
	assert_int_equal(t->disk->num_state_changes, 0);
	scsi_send(t, &t->b, 0x00, 0, 0, 0, 0, 0);
	assert_good(t);
}

static void a_change_that_is_undone_is_no_news(void **state)
{
	struct scsi_test *t = *state;

	select_6(t, &t->a, 0, 0, 0, 0, CONTROL(0x02, 0x08));
	assert_good(t);
	scsi_send(t, &t->b, 0x00, 0, 0, 0, 0, 0);
	assert_sense(t, 0x6, 0x2a01);
	select_6(t, &t->a, 0, 0, 0, 0, CONTROL(0x02, 0));
	assert_good(t);

	/* C has been told of neither, B must be told of the second. */
	scsi_send(t, &t->c, 0x00, 0, 0, 0, 0, 0);
	assert_good(t);
	scsi_send(t, &t->b, 0x00, 0, 0, 0, 0, 0);
	assert_sense(t, 0x6, 0x2a01);
}

static void mode_select_10_sets_several_pages_at_once(void **state)
{
	struct scsi_test *t = *state;
	const uint8_t list[] = {
		0, 0, 0, 0, 0, 0, 0, 8, DESCRIPTOR, CACHING(0),
		CONTROL(0x26, 0x08)
	};

	scsi_send_data(t, &t->a, list, sizeof(list), 0x55, 0x10, 0, 0, 0, 0,
		       0, 0, sizeof(list), 0);
	assert_good(t);
	assert_int_equal(t->disk->state->mode, SCSI_MODE_D_SENSE |
			 SCSI_MODE_SWP | SCSI_MODE_TST);
}

static void mode_select_10_takes_a_long_descriptor(void **state)
{
	struct scsi_test *t = *state;
	uint8_t list[] = {
		0, 0, 0, 0, 1, 0, 0, 16,
		0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 2, 0,
		CACHING(0)
	};

	scsi_send_data(t, &t->a, list, sizeof(list), 0x55, 0x10, 0, 0, 0, 0,
		       0, 0, sizeof(list), 0);
	assert_good(t);
	/* Another capacity: resizing is not for initiators */
	list[14] = 0x20;
	scsi_send_data(t, &t->a, list, sizeof(list), 0x55, 0x10, 0, 0, 0, 0,
		       0, 0, sizeof(list), 0);
	assert_invalid_parameter(t, 0x80, 8);
	list[14] = 0x10;
	list[22] = 0x10;
	scsi_send_data(t, &t->a, list, sizeof(list), 0x55, 0x10, 0, 0, 0, 0,
		       0, 0, sizeof(list), 0);
	assert_invalid_parameter(t, 0x80, 20);
}

static void what_is_not_changeable_is_pointed_at(void **state)
{
	struct scsi_test *t = *state;

	/* RCD of the caching page */
	select_6(t, &t->a, 0, 0, 0, 0, CACHING(0x05));
	assert_invalid_parameter(t, 0x80, 6);
	/* The second page is wrong: nothing of the first is taken. */
	select_6(t, &t->a, 0, 0, 0, 0, CACHING(0), CONTROL(0x02, 0x01));
	assert_invalid_parameter(t, 0x80, 4 + 20 + 4);
	assert_int_equal(t->disk->state->mode, SCSI_MODE_WCE);
	/* An unknown page, one of another length */
	select_6(t, &t->a, 0, 0, 0, 0, 0x02, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		 0);
	assert_invalid_parameter(t, 0x8d, 4);
	select_6(t, &t->a, 0, 0, 0, 0, 0x08, 0x0a, 0x04, 0, 0, 0, 0, 0, 0, 0,
		 0, 0);
	assert_invalid_parameter(t, 0x80, 5);
}

static void mode_select_checks_its_lengths(void **state)
{
	struct scsi_test *t = *state;

	/* Nothing is fine, half a header or page isn't. */
	scsi_send(t, &t->a, 0x15, 0x10, 0, 0, 0, 0);
	assert_good(t);
	select_6(t, &t->a, 0, 0, 0);
	assert_sense(t, 0x5, 0x1a00);
	select_6(t, &t->a, 0, 0, 0, 0, 0x08);
	assert_sense(t, 0x5, 0x1a00);
	select_6(t, &t->a, 0, 0, 0, 0, 0x08, 0x12, 0);
	assert_sense(t, 0x5, 0x1a00);
	/* A block descriptor that isn't there, one of a length there isn't */
	select_6(t, &t->a, 0, 0, 0, 8, 0, 0, 0, 0);
	assert_sense(t, 0x5, 0x1a00);
	select_6(t, &t->a, 0, 0, 0, 7, DESCRIPTOR);
	assert_invalid_parameter(t, 0x80, 3);
	/* Less data than the CDB says */
	scsi_send_data(t, &t->a, t->out, 4, 0x15, 0x10, 0, 0, 24, 0);
	assert_sense(t, 0x5, 0x1a00);
}

static void mode_select_saves_nothing_and_needs_the_page_format(void **state)
{
	struct scsi_test *t = *state;

	scsi_send_data(t, &t->a, t->out, 4, 0x15, 0x11, 0, 0, 4, 0);
	assert_invalid_cdb(t, 0xc8, 1);
	scsi_send_data(t, &t->a, t->out, 4, 0x15, 0x00, 0, 0, 4, 0);
	assert_invalid_cdb(t, 0xcc, 1);
}

static void switching_the_cache_off_flushes_it(void **state)
{
	struct scsi_test *t = *state;

	select_6(t, &t->a, 0, 0, 0, 0, CACHING(0));
	assert_good(t);
	assert_int_equal(t->disk->num_flushes, 1);

	/* Then each write is flushed, and no longer after. */
	scsi_send_data(t, &t->a, t->out, 512, 0x2a, 0, 0, 0, 0, 0, 0, 0, 1,
		       0);
	assert_good(t);
	assert_int_equal(t->disk->num_flushes, 2);
	select_6(t, &t->a, 0, 0, 0, 0, CACHING(0x04));
	assert_good(t);
	scsi_send_data(t, &t->a, t->out, 512, 0x2a, 0, 0, 0, 0, 0, 0, 0, 1,
		       0);
	assert_good(t);
	assert_int_equal(t->disk->num_flushes, 2);
}

static void swp_holds_back_writes_of_all(void **state)
{
	struct scsi_test *t = *state;

	select_6(t, &t->a, 0, 0, 0, 0, CONTROL(0x02, 0x08));
	assert_good(t);
	scsi_send_data(t, &t->a, t->out, 512, 0x2a, 0, 0, 0, 0, 0, 0, 0, 1,
		       0);
	assert_sense(t, 0x7, 0x2702);
	scsi_test_clear_ua(t, &t->b);
	assert_int_equal(scsi_check_io(t->disk->state, &t->b.initiator_id,
				       true), SCSI_IO_WRITE_PROTECTED);
	assert_int_equal(scsi_check_io(t->disk->state, &t->b.initiator_id,
				       false), SCSI_IO_ALLOWED);
	/* Reservations are not on the medium. */
	scsi_test_register(t, &t->b, 0xb);
	select_6(t, &t->b, 0, 0, 0, 0, CONTROL(0x02, 0));
	assert_good(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scsi_unit_test(mode_sense_6_has_all_pages_in_order),
		scsi_unit_test(mode_sense_10_has_a_header_of_its_own),
		scsi_unit_test(
			mode_sense_is_truncated_to_the_allocation_length),
		scsi_unit_test(
			changeable_values_are_ones_where_select_may_write),
		scsi_unit_test(
			default_values_stay_when_the_current_ones_change),
		scsi_unit_test(saved_values_and_unknown_pages_are_refused),
		scsi_unit_test(a_read_only_handle_sees_a_protected_disk),
		scsi_unit_test(mode_select_changes_the_disk_for_all),
		scsi_unit_test(mode_select_takes_back_what_mode_sense_gave),
		scsi_unit_test(a_change_that_is_undone_is_no_news),
		scsi_unit_test(mode_select_10_sets_several_pages_at_once),
		scsi_unit_test(mode_select_10_takes_a_long_descriptor),
		scsi_unit_test(what_is_not_changeable_is_pointed_at),
		scsi_unit_test(mode_select_checks_its_lengths),
		scsi_unit_test(
			mode_select_saves_nothing_and_needs_the_page_format),
		scsi_unit_test(switching_the_cache_off_flushes_it),
		scsi_unit_test(swp_holds_back_writes_of_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
