/*
 * vfs_rsvd: persistent reservations: every service action, what it does to the
 * others and what they are told
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "tests/unit/scsi_test.h"

/* Service actions of PERSISTENT RESERVE OUT */
#define REGISTER	0x00
#define RESERVE		0x01
#define RELEASE		0x02
#define CLEAR		0x03
#define PREEMPT		0x04
#define PREEMPT_ABORT	0x05
#define REGISTER_IGNORE	0x06
#define REGISTER_MOVE	0x07

/* Types */
#define WE	0x1
#define EA	0x3
#define WE_RO	0x5
#define EA_RO	0x6
#define WE_AR	0x7
#define EA_AR	0x8

#define APTPL 0x01

#define pr_out scsi_test_pr_out

static void read_keys(struct scsi_test *t, struct scsi_nexus *nexus)
{
	scsi_send(t, nexus, 0x5e, 0x00, 0, 0, 0, 0, 0, 0x10, 0, 0);
}

static void read_reservation(struct scsi_test *t, struct scsi_nexus *nexus)
{
	scsi_send(t, nexus, 0x5e, 0x01, 0, 0, 0, 0, 0, 0x10, 0, 0);
}

static void read_full_status(struct scsi_test *t, struct scsi_nexus *nexus)
{
	scsi_send(t, nexus, 0x5e, 0x03, 0, 0, 0, 0, 0, 0x10, 0, 0);
}

static void assert_no_attention(struct scsi_test *t, struct scsi_nexus *nexus)
{
	scsi_send(t, nexus, 0x00, 0, 0, 0, 0, 0);
	assert_good(t);
}

static void assert_one_attention(struct scsi_test *t,
				 struct scsi_nexus *nexus, uint16_t asc)
{
	scsi_send(t, nexus, 0x00, 0, 0, 0, 0, 0);
	assert_sense(t, 0x6, asc);
	assert_no_attention(t, nexus);
}

/* A and B registered with 0xa and 0xb, C not; A holds a reservation. */
static void reserve_by_a(struct scsi_test *t, uint8_t type)
{
	scsi_test_register(t, &t->a, 0xa);
	scsi_test_register(t, &t->b, 0xb);
	pr_out(t, &t->a, RESERVE, type, 0xa, 0, 0);
	assert_good(t);
}

static void assert_reserved(struct scsi_test *t, uint8_t key, uint8_t type)
{
	read_reservation(t, &t->c);
	assert_good(t);
	assert_int_equal(t->task.data_in_length, 24);
	assert_int_equal(t->in[15], key);
	assert_int_equal(t->in[21], type);
}

static void assert_not_reserved(struct scsi_test *t)
{
	read_reservation(t, &t->c);
	assert_good(t);
	assert_int_equal(t->task.data_in_length, 8);
}

static void a_new_disk_has_no_keys_and_no_reservation(void **state)
{
	struct scsi_test *t = *state;

	read_keys(t, &t->a);
	assert_data(t, 0, 0, 0, 0, 0, 0, 0, 0);
	read_reservation(t, &t->a);
	assert_data(t, 0, 0, 0, 0, 0, 0, 0, 0);
	read_full_status(t, &t->a);
	assert_data(t, 0, 0, 0, 0, 0, 0, 0, 0);
}

static void register_adds_a_key(void **state)
{
	struct scsi_test *t = *state;

	pr_out(t, &t->a, REGISTER, 0, 0, 0x0102030405060708, 0);
	assert_good(t);
	pr_out(t, &t->b, REGISTER, 0, 0, 0xb, 0);
	assert_good(t);

	read_keys(t, &t->c);
	assert_data(t, 0, 0, 0, 2, 0, 0, 0, 16,
		    1, 2, 3, 4, 5, 6, 7, 8,
		    0, 0, 0, 0, 0, 0, 0, 0xb);
	assert_no_attention(t, &t->b);
}

static void register_needs_the_key_that_is_registered(void **state)
{
	struct scsi_test *t = *state;

	/* Not registered, but says it were */
	pr_out(t, &t->a, REGISTER, 0, 0x1, 0xa, 0);
	assert_conflict(t);

	scsi_test_register(t, &t->a, 0xa);
	pr_out(t, &t->a, REGISTER, 0, 0, 0xb, 0);
	assert_conflict(t);
	pr_out(t, &t->a, REGISTER, 0, 0xb, 0xc, 0);
	assert_conflict(t);

	read_keys(t, &t->c);
	assert_data(t, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0xa);
}

static void register_changes_and_removes_a_key(void **state)
{
	struct scsi_test *t = *state;

	scsi_test_register(t, &t->a, 0xa);
	pr_out(t, &t->a, REGISTER, 0, 0xa, 0xaa, 0);
	assert_good(t);
	read_keys(t, &t->c);
	assert_data(t, 0, 0, 0, 2, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0xaa);

	pr_out(t, &t->a, REGISTER, 0, 0xaa, 0, 0);
	assert_good(t);
	read_keys(t, &t->c);
	assert_data(t, 0, 0, 0, 3, 0, 0, 0, 0);
}

static void register_and_ignore_needs_no_key(void **state)
{
	struct scsi_test *t = *state;

	pr_out(t, &t->a, REGISTER_IGNORE, 0, 0x123, 0xa, 0);
	assert_good(t);
	pr_out(t, &t->a, REGISTER_IGNORE, 0, 0x456, 0xaa, 0);
	assert_good(t);
	read_keys(t, &t->c);
	assert_data(t, 0, 0, 0, 2, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0xaa);

	pr_out(t, &t->a, REGISTER_IGNORE, 0, 0x789, 0, 0);
	assert_good(t);
	read_keys(t, &t->c);
	assert_data(t, 0, 0, 0, 3, 0, 0, 0, 0);
}

static void two_registrants_may_have_the_same_key(void **state)
{
	struct scsi_test *t = *state;

	scsi_test_register(t, &t->a, 0x5);
	scsi_test_register(t, &t->b, 0x5);
	read_keys(t, &t->c);
	assert_data(t, 0, 0, 0, 2, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 5,
		    0, 0, 0, 0, 0, 0, 0, 5);
}

static void read_keys_tells_of_keys_that_do_not_fit(void **state)
{
	struct scsi_test *t = *state;

	scsi_test_register(t, &t->a, 0xa);
	scsi_test_register(t, &t->b, 0xb);
	scsi_send(t, &t->c, 0x5e, 0x00, 0, 0, 0, 0, 0, 0, 12, 0);
	assert_data(t, 0, 0, 0, 2, 0, 0, 0, 16, 0, 0, 0, 0);
}

static void reserve_takes_all_six_types(void **state)
{
	struct scsi_test *t = *state;
	const uint8_t types[] = { WE, EA, WE_RO, EA_RO, WE_AR, EA_AR };
	size_t i;

	scsi_test_register(t, &t->a, 0xa);
	for (i = 0; i < ARRAY_SIZE(types); i++) {
		bool all = types[i] == WE_AR || types[i] == EA_AR;

		pr_out(t, &t->a, RESERVE, types[i], 0xa, 0, 0);
		assert_good(t);
		read_reservation(t, &t->b);
		assert_data(t, 0, 0, 0, 1, 0, 0, 0, 16,
			    0, 0, 0, 0, 0, 0, 0, all ? 0 : 0xa,
			    0, 0, 0, 0, 0, types[i], 0, 0);
		pr_out(t, &t->a, RELEASE, types[i], 0xa, 0, 0);
		assert_good(t);
		assert_not_reserved(t);
	}
}

static void reserve_refuses_other_types_and_scopes(void **state)
{
	struct scsi_test *t = *state;
	const uint8_t types[] = { 0x0, 0x2, 0x4, 0x9, 0xf };
	size_t i;

	scsi_test_register(t, &t->a, 0xa);
	for (i = 0; i < ARRAY_SIZE(types); i++) {
		pr_out(t, &t->a, RESERVE, types[i], 0xa, 0, 0);
		assert_invalid_cdb(t, 0xcb, 2);
	}
	pr_out(t, &t->a, RESERVE, 0x10 | WE, 0xa, 0, 0);
	assert_invalid_cdb(t, 0xcf, 2);
	assert_not_reserved(t);
}

static void only_registrants_reserve(void **state)
{
	struct scsi_test *t = *state;

	pr_out(t, &t->a, RESERVE, WE, 0, 0, 0);
	assert_conflict(t);
	scsi_test_register(t, &t->a, 0xa);
	pr_out(t, &t->a, RESERVE, WE, 0xb, 0, 0);
	assert_conflict(t);
	assert_not_reserved(t);
}

static void reserve_again_is_fine_only_if_nothing_changes(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, WE);
	pr_out(t, &t->a, RESERVE, WE, 0xa, 0, 0);
	assert_good(t);
	pr_out(t, &t->a, RESERVE, EA, 0xa, 0, 0);
	assert_conflict(t);
	pr_out(t, &t->b, RESERVE, WE, 0xb, 0, 0);
	assert_conflict(t);
	assert_reserved(t, 0xa, WE);
}

static void all_registrants_hold_a_reservation_together(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, WE_AR);
	pr_out(t, &t->b, RESERVE, WE_AR, 0xb, 0, 0);
	assert_good(t);
	/* ... and any of them can release it. */
	pr_out(t, &t->b, RELEASE, WE_AR, 0xb, 0, 0);
	assert_good(t);
	assert_not_reserved(t);
	assert_one_attention(t, &t->a, 0x2a04);
	assert_no_attention(t, &t->c);
}

static void reserve_and_release_do_not_count_as_a_generation(void **state)
{
	struct scsi_test *t = *state;

	scsi_test_register(t, &t->a, 0xa);
	pr_out(t, &t->a, RESERVE, WE, 0xa, 0, 0);
	pr_out(t, &t->a, RELEASE, WE, 0xa, 0, 0);
	/* Nor do commands that fail */
	pr_out(t, &t->a, CLEAR, 0, 0xb, 0, 0);
	assert_conflict(t);
	read_keys(t, &t->a);
	assert_int_equal(t->in[3], 1);
}

static void release_tells_the_registrants_of_shared_types(void **state)
{
	struct scsi_test *t = *state;
	const struct {
		uint8_t type;
		bool told;
	} types[] = {
		{ WE, false }, { EA, false }, { WE_RO, true },
		{ EA_RO, true }, { WE_AR, true }, { EA_AR, true },
	};
	size_t i;

	scsi_test_register(t, &t->a, 0xa);
	scsi_test_register(t, &t->b, 0xb);
	for (i = 0; i < ARRAY_SIZE(types); i++) {
		pr_out(t, &t->a, RESERVE, types[i].type, 0xa, 0, 0);
		assert_good(t);
		pr_out(t, &t->a, RELEASE, types[i].type, 0xa, 0, 0);
		assert_good(t);

		if (types[i].told) {
			assert_one_attention(t, &t->b, 0x2a04);
		}
		assert_no_attention(t, &t->b);
		assert_no_attention(t, &t->a);
		assert_no_attention(t, &t->c);
	}
}

static void release_by_one_who_holds_nothing_does_nothing(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, WE);
	pr_out(t, &t->b, RELEASE, WE, 0xb, 0, 0);
	assert_good(t);
	assert_reserved(t, 0xa, WE);
	/* One who isn't registered at all */
	pr_out(t, &t->c, RELEASE, WE, 0, 0, 0);
	assert_conflict(t);
}

static void release_must_name_the_type(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, WE);
	pr_out(t, &t->a, RELEASE, EA, 0xa, 0, 0);
	assert_sense(t, 0x5, 0x2604);
	pr_out(t, &t->a, RELEASE, WE, 0xb, 0, 0);
	assert_conflict(t);
	assert_reserved(t, 0xa, WE);
}

static void unregistering_the_holder_releases(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, WE);
	pr_out(t, &t->a, REGISTER, 0, 0xa, 0, 0);
	assert_good(t);
	assert_not_reserved(t);
	assert_no_attention(t, &t->b);
}

static void unregistering_the_holder_tells_the_other_registrants(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, WE_RO);
	pr_out(t, &t->a, REGISTER, 0, 0xa, 0, 0);
	assert_good(t);
	assert_not_reserved(t);
	assert_one_attention(t, &t->b, 0x2a04);
	assert_no_attention(t, &t->c);
}

static void the_last_registrant_takes_a_shared_reservation_along(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, EA_AR);
	pr_out(t, &t->a, REGISTER, 0, 0xa, 0, 0);
	assert_good(t);
	assert_reserved(t, 0, EA_AR);
	pr_out(t, &t->b, REGISTER, 0, 0xb, 0, 0);
	assert_good(t);
	assert_not_reserved(t);
}

static void unregistering_another_leaves_the_reservation(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, WE_RO);
	pr_out(t, &t->b, REGISTER, 0, 0xb, 0, 0);
	assert_good(t);
	assert_reserved(t, 0xa, WE_RO);
}

static void changing_the_key_keeps_the_reservation(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, WE);
	pr_out(t, &t->a, REGISTER, 0, 0xa, 0xaa, 0);
	assert_good(t);
	assert_reserved(t, 0xaa, WE);
}

static void clear_removes_all_and_tells_the_others(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, WE);
	/* By any registrant */
	pr_out(t, &t->b, CLEAR, 0, 0xb, 0, 0);
	assert_good(t);

	read_keys(t, &t->b);
	assert_data(t, 0, 0, 0, 3, 0, 0, 0, 0);
	assert_not_reserved(t);
	assert_one_attention(t, &t->a, 0x2a03);
	assert_no_attention(t, &t->b);
	assert_no_attention(t, &t->c);
}

static void clear_is_for_registrants(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, WE);
	pr_out(t, &t->c, CLEAR, 0, 0, 0, 0);
	assert_conflict(t);
	pr_out(t, &t->b, CLEAR, 0, 0xa, 0, 0);
	assert_conflict(t);
	assert_reserved(t, 0xa, WE);
}

static void preempt_takes_the_reservation_over(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, WE_RO);
	scsi_test_register(t, &t->c, 0xc);
	pr_out(t, &t->b, PREEMPT, WE_RO, 0xb, 0xa, 0);
	assert_good(t);

	read_keys(t, &t->b);
	assert_data(t, 0, 0, 0, 4, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0xb,
		    0, 0, 0, 0, 0, 0, 0, 0xc);
	assert_reserved(t, 0xb, WE_RO);
	assert_one_attention(t, &t->a, 0x2a05);
	assert_no_attention(t, &t->b);
	assert_no_attention(t, &t->c);
	/* What A has in flight has ended, although nothing was aborted. */
	assert_int_equal(t->disk->num_fenced, 1);
}

static void preempt_with_another_type_tells_who_stays(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, WE_RO);
	scsi_test_register(t, &t->c, 0xc);
	pr_out(t, &t->b, PREEMPT, EA, 0xb, 0xa, 0);
	assert_good(t);

	assert_one_attention(t, &t->a, 0x2a05);
	assert_one_attention(t, &t->c, 0x2a04);
	assert_no_attention(t, &t->b);
	assert_reserved(t, 0xb, EA);
}

static void preempt_removes_every_registration_with_the_key(void **state)
{
	struct scsi_test *t = *state;

	scsi_test_register(t, &t->a, 0x5);
	scsi_test_register(t, &t->b, 0xb);
	scsi_test_register(t, &t->c, 0x5);
	pr_out(t, &t->a, RESERVE, WE, 0x5, 0, 0);
	assert_good(t);

	pr_out(t, &t->b, PREEMPT, WE, 0xb, 0x5, 0);
	assert_good(t);
	read_keys(t, &t->b);
	assert_data(t, 0, 0, 0, 4, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0xb);
	assert_one_attention(t, &t->a, 0x2a05);
	assert_one_attention(t, &t->c, 0x2a05);
}

static void preempt_of_a_mere_registrant_leaves_the_reservation(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, WE);
	scsi_test_register(t, &t->c, 0xc);
	/* The type of the CDB doesn't matter then. */
	pr_out(t, &t->b, PREEMPT, EA, 0xb, 0xc, 0);
	assert_good(t);
	assert_one_attention(t, &t->c, 0x2a05);
	assert_no_attention(t, &t->a);
	assert_reserved(t, 0xa, WE);
}

static void preempt_without_a_reservation_removes_registrations(void **state)
{
	struct scsi_test *t = *state;

	scsi_test_register(t, &t->a, 0xa);
	scsi_test_register(t, &t->b, 0xb);
	pr_out(t, &t->a, PREEMPT, WE, 0xa, 0xb, 0);
	assert_good(t);
	read_keys(t, &t->a);
	assert_data(t, 0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0xa);
	assert_not_reserved(t);
	assert_one_attention(t, &t->b, 0x2a05);
}

static void preempt_of_a_key_nobody_has_conflicts(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, WE);
	pr_out(t, &t->b, PREEMPT, WE, 0xb, 0xdead, 0);
	assert_conflict(t);
	read_keys(t, &t->b);
	assert_int_equal(t->in[3], 2);
}

static void preempt_of_key_zero_is_invalid(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, WE);
	pr_out(t, &t->b, PREEMPT, WE, 0xb, 0, 0);
	assert_invalid_parameter(t, 0x80, 8);
	assert_reserved(t, 0xa, WE);
}

static void preempt_by_key_zero_takes_all_of_an_all_registrants(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, WE_AR);
	scsi_test_register(t, &t->c, 0xc);
	pr_out(t, &t->b, PREEMPT, EA, 0xb, 0, 0);
	assert_good(t);

	assert_one_attention(t, &t->a, 0x2a05);
	assert_one_attention(t, &t->c, 0x2a05);
	read_keys(t, &t->b);
	assert_data(t, 0, 0, 0, 4, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0xb);
	assert_reserved(t, 0xb, EA);
}

static void preempt_of_one_leaves_an_all_registrants(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, WE_AR);
	pr_out(t, &t->b, PREEMPT, EA, 0xb, 0xa, 0);
	assert_good(t);
	assert_one_attention(t, &t->a, 0x2a05);
	assert_reserved(t, 0, WE_AR);

	/* The last one goes by its own hand. */
	pr_out(t, &t->b, PREEMPT, EA, 0xb, 0xb, 0);
	assert_good(t);
	assert_not_reserved(t);
	assert_no_attention(t, &t->b);
}

static void the_holder_changes_its_type_by_preempting_itself(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, WE_RO);
	pr_out(t, &t->a, PREEMPT, EA_RO, 0xa, 0xa, 0);
	assert_good(t);
	assert_reserved(t, 0xa, EA_RO);
	assert_no_attention(t, &t->a);
	assert_one_attention(t, &t->b, 0x2a04);
}

static void preempt_checks_the_type_it_is_to_set(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, WE);
	pr_out(t, &t->b, PREEMPT, 0x2, 0xb, 0xa, 0);
	assert_invalid_cdb(t, 0xcb, 2);
	pr_out(t, &t->b, PREEMPT, 0x10 | WE, 0xb, 0xa, 0);
	assert_invalid_cdb(t, 0xcf, 2);
	assert_reserved(t, 0xa, WE);
	assert_no_attention(t, &t->a);
}

static void preempt_and_abort_waits_for_the_preempted(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, WE_RO);
	scsi_test_register(t, &t->c, 0xc);
	pr_out(t, &t->b, PREEMPT_ABORT, WE_RO, 0xb, 0xa, 0);
	assert_good(t);

	assert_reserved(t, 0xb, WE_RO);
	assert_one_attention(t, &t->a, 0x2a05);
	assert_int_equal(t->disk->num_fenced, 1);
	assert_memory_equal(&t->disk->fenced[0], &t->a.initiator_id,
			    sizeof(struct GUID));
}

static void nobody_is_told_that_the_preempted_has_ended_if_it_has_not(
	void **state)
{
	struct scsi_test *t = *state;

	t->disk->fence_status = NT_STATUS_IO_TIMEOUT;
	reserve_by_a(t, WE_RO);
	pr_out(t, &t->b, PREEMPT, WE_RO, 0xb, 0xa, 0);
	_scsi_assert_status(t, SCSI_STATUS_BUSY, __FILE__, __LINE__);
	scsi_test_clear_ua(t, &t->a);
	scsi_test_register(t, &t->a, 0xa);
	pr_out(t, &t->b, PREEMPT_ABORT, WE_RO, 0xb, 0xa, 0);
	_scsi_assert_status(t, SCSI_STATUS_BUSY, __FILE__, __LINE__);
}

static const struct scsi_disk_ops *memory_disk_ops;

/* Another process preempts initiator a while it writes the first piece. */
static NTSTATUS write_and_be_preempted(void *private_data, const void *buf,
				       size_t length, uint64_t offset)
{
	struct scsi_memory_disk *disk = private_data;
	struct scsi_state *s = disk->state;
	uint32_t i;

	for (i = 0; i < s->num_nexuses; i++) {
		struct scsi_nexus_state *nexus = &s->nexuses[i];

		if (nexus->key == 0xa) {
			nexus->key = 0;
		} else if (nexus->key == 0xb) {
			s->pr_holder = nexus->initiator_id;
		}
	}
	return memory_disk_ops->write(private_data, buf, length, offset);
}

static void a_preempted_write_ends_at_the_next_piece(void **state)
{
	static const uint8_t overwrite[6] = { 0x01, 0x00, 0x00, 0x02, 0x5a,
					      0x5a };
	struct scsi_test *t = *state;
	struct scsi_disk_ops ops = *t->disk->scsi.ops;

	reserve_by_a(t, WE_RO);
	memory_disk_ops = t->disk->scsi.ops;
	ops.write = write_and_be_preempted;
	t->disk->scsi.ops = &ops;

	scsi_send_data(t, &t->a, overwrite, sizeof(overwrite),
		       0x48, 0x01, 0, 0, 0, 0, 0, 0, sizeof(overwrite), 0);
	assert_sense(t, 0xb, 0x0000);
	assert_int_equal(t->disk->data[0], 0x5a);
	assert_int_equal(t->disk->data[TEST_NUM_BLOCKS * TEST_BLOCK - 1], 0);
	t->disk->scsi.ops = memory_disk_ops;
}

static void a_preempted_node_is_told_and_then_held_back(void **state)
{
	struct scsi_test *t = *state;
	const struct GUID *id = &t->a.initiator_id;
	uint32_t ua = 0;

	reserve_by_a(t, WE_RO);
	pr_out(t, &t->b, PREEMPT, WE_RO, 0xb, 0xa, 0);
	assert_good(t);

	assert_int_equal(scsi_check_io(t->disk->state, id, true),
			 SCSI_IO_UNIT_ATTENTION);
	scsi_take_unit_attention(&t->disk->scsi, id, &ua, NULL);
	assert_int_equal(ua, SCSI_UA_REGISTRATIONS_PREEMPTED);
	assert_int_equal(scsi_check_io(t->disk->state, id, true),
			 SCSI_IO_CONFLICT);
	assert_int_equal(scsi_check_io(t->disk->state, id, false),
			 SCSI_IO_ALLOWED);
}

static void a_registration_outlives_its_nexus(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, WE);
	scsi_memory_disk_close(t->disk, &t->a);
	assert_reserved(t, 0xa, WE);

	scsi_memory_disk_open(t->disk, &t->a);
	assert_no_attention(t, &t->a);
	scsi_send_data(t, &t->a, t->out, 512, 0x2a, 0, 0, 0, 0, 0, 0, 0, 1,
		       0);
	assert_good(t);
}

static void one_preempted_while_away_learns_of_it_when_back(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, WE);
	scsi_memory_disk_close(t->disk, &t->a);
	pr_out(t, &t->b, PREEMPT, WE, 0xb, 0xa, 0);
	assert_good(t);
	assert_int_equal(t->disk->state->num_nexuses, 3);

	scsi_memory_disk_open(t->disk, &t->a);
	assert_one_attention(t, &t->a, 0x2a05);
}

static void closing_the_disk_does_not_hide_that_one_was_preempted(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, WE);
	pr_out(t, &t->b, PREEMPT, WE, 0xb, 0xa, 0);
	assert_good(t);
	scsi_memory_disk_close(t->disk, &t->a);

	scsi_memory_disk_open(t->disk, &t->a);
	assert_one_attention(t, &t->a, 0x2a05);
}

static void a_release_while_away_is_no_news_when_back(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, WE_RO);
	scsi_memory_disk_close(t->disk, &t->b);
	pr_out(t, &t->a, RELEASE, WE_RO, 0xa, 0, 0);
	assert_good(t);
	scsi_memory_disk_open(t->disk, &t->b);
	assert_no_attention(t, &t->b);
}

static void aptpl_is_what_the_last_registration_said(void **state)
{
	struct scsi_test *t = *state;
	struct scsi_state *s = NULL;

	pr_out(t, &t->a, REGISTER, 0, 0, 0xa, APTPL);
	assert_good(t);
	scsi_send(t, &t->a, 0x5e, 0x02, 0, 0, 0, 0, 0, 0, 8, 0);
	assert_data(t, 0, 8, 0x1d, 0x91, 0xea, 0x01, 0, 0);

	pr_out(t, &t->a, RESERVE, WE, 0xa, 0, 0);
	assert_good(t);
	s = t->disk->state;
	scsi_state_power_on(s);
	assert_int_equal(s->num_nexuses, 1);
	assert_int_equal(s->pr_generation, 0);
	assert_int_equal(s->pr_type, WE);
	assert_int_equal(s->nexuses[0].key, 0xa);
	assert_int_equal(s->nexuses[0].num_opens, 0);
	scsi_memory_disk_open(t->disk, &t->a);
	scsi_memory_disk_open(t->disk, &t->c);
	assert_reserved(t, 0xa, WE);

	pr_out(t, &t->a, REGISTER, 0, 0xa, 0xa, 0);
	assert_good(t);
	scsi_send(t, &t->a, 0x5e, 0x02, 0, 0, 0, 0, 0, 0, 8, 0);
	assert_data(t, 0, 8, 0x1d, 0x90, 0xea, 0x01, 0, 0);
	scsi_state_power_on(t->disk->state);
	assert_int_equal(t->disk->state->num_nexuses, 0);
	assert_int_equal(t->disk->state->pr_type, 0);
}

/*
 * READ FULL STATUS of A: iSCSI initiator port, "node-a", with its NUL and
 * filled up 92 bytes.
 */
static const char name_a[] = "iqn.2013-08.org.samba:rsvd:node-a:"
	"11111111-2222-4333-8444-555555555501,i,0x800000000000";
static const char name_b[] = "iqn.2013-08.org.samba:rsvd:node-b.example.com:"
	"22222222-2222-4333-8444-555555555502,i,0x800000000000";
/* An underscore is no character of an iSCSI name. */
static const char name_c[] = "iqn.2013-08.org.samba:rsvd:node-c:"
	"33333333-2222-4333-8444-555555555503,i,0x800000000000";

static size_t put_transport_id(uint8_t *p, const char *name)
{
	size_t length = (strlen(name) + 1 + 3) / 4 * 4;

	memset(p, 0, 4 + length);
	p[0] = strstr(name, ",i,0x") != NULL ? 0x45 : 0x05;
	p[2] = length >> 8;
	p[3] = length & 0xff;
	memcpy(p + 4, name, strlen(name));
	return 4 + length;
}

static void read_full_status_names_the_registrants(void **state)
{
	struct scsi_test *t = *state;
	uint8_t expected[512] = {
		0, 0, 0, 2, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0xa, 0, 0, 0, 0,
		0x01, WE, 0, 0, 0, 0, 0x00, 0x01, 0, 0, 0, 92
	};
	size_t length = 8 + 24;
	size_t id_length;

	reserve_by_a(t, WE);
	read_full_status(t, &t->c);
	assert_good(t);

	id_length = put_transport_id(expected + length, name_a);
	assert_int_equal(id_length, 92);
	length += id_length;
	expected[length + 7] = 0xb;
	expected[length + 19] = 0x01;
	id_length = put_transport_id(expected + length + 24, name_b);
	expected[length + 23] = id_length;
	length += 24 + id_length;
	expected[7] = length - 8;

	assert_int_equal(t->task.data_in_length, length);
	assert_memory_equal(t->in, expected, length);
}

static void all_registrants_are_holders_in_full_status(void **state)
{
	struct scsi_test *t = *state;

	reserve_by_a(t, EA_AR);
	read_full_status(t, &t->c);
	assert_good(t);
	assert_int_equal(t->in[8 + 12], 0x01);
	assert_int_equal(t->in[8 + 13], EA_AR);
	assert_int_equal(t->in[8 + 24 + 92 + 12], 0x01);
	assert_int_equal(t->in[8 + 24 + 92 + 13], EA_AR);
}

/* REGISTER with SPEC_I_PT; returns the length of the list. */
static size_t spec_i_pt_list(uint8_t *list, uint8_t key, uint8_t sa_key,
			     const char *name, const char *name2)
{
	size_t length = 28;

	memset(list, 0, 28);
	list[7] = key;
	list[15] = sa_key;
	list[20] = 0x08;
	length += put_transport_id(list + length, name);
	if (name2 != NULL) {
		length += put_transport_id(list + length, name2);
	}
	list[26] = (length - 28) >> 8;
	list[27] = (length - 28) & 0xff;
	return length;
}

static void send_list(struct scsi_test *t, struct scsi_nexus *nexus,
		      uint8_t service_action, size_t length)
{
	scsi_send_data(t, nexus, t->out, length, 0x5f, service_action, 0, 0,
		       0, 0, 0, length >> 8, length & 0xff, 0);
}

static void spec_i_pt_registers_others(void **state)
{
	struct scsi_test *t = *state;
	size_t length = spec_i_pt_list(t->out, 0, 0x7, name_b, name_c);

	send_list(t, &t->a, REGISTER, length);
	assert_good(t);
	read_keys(t, &t->a);
	assert_data(t, 0, 0, 0, 1, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 7,
		    0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 7);
	/* C can use it. */
	pr_out(t, &t->c, RESERVE, WE, 0x7, 0, 0);
	assert_good(t);
}

static void spec_i_pt_takes_a_name_without_a_port(void **state)
{
	struct scsi_test *t = *state;
	size_t length = spec_i_pt_list(
		t->out, 0, 0x7, "iqn.2013-08.org.samba:rsvd:node-b:"
		"22222222-2222-4333-8444-555555555502", NULL);

	send_list(t, &t->a, REGISTER, length);
	assert_good(t);
	pr_out(t, &t->b, RESERVE, WE, 0x7, 0, 0);
	assert_good(t);
}

static void a_host_is_called_as_it_calls_itself(void **state)
{
	struct scsi_test *t = *state;
	uint8_t expected[128];
	size_t id_length = put_transport_id(expected, name_b);
	size_t length = spec_i_pt_list(
		t->out, 0, 0x7, "iqn.2013-08.org.samba:rsvd:somebody:"
		"22222222-2222-4333-8444-555555555502,i,0x800000000000",
		NULL);

	/* Registered by another while it was away, and by another name */
	scsi_memory_disk_close(t->disk, &t->b);
	send_list(t, &t->a, REGISTER, length);
	assert_good(t);
	scsi_memory_disk_open(t->disk, &t->b);

	read_full_status(t, &t->c);
	assert_good(t);
	assert_int_equal(t->task.data_in_length,
			 8 + 24 + 92 + 24 + id_length);
	assert_memory_equal(t->in + 8 + 24 + 92 + 24, expected, id_length);
}

static void a_host_name_of_no_letters_is_refused(void **state)
{
	static const char *const hosts[] = { "\xff\xfe", "a:b", "a b", "a_b" };
	struct scsi_test *t = *state;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(hosts); i++) {
		char name[128];
		size_t length;

		snprintf(name, sizeof(name), "iqn.2013-08.org.samba:rsvd:%s:"
			 "44444444-2222-4333-8444-555555555504,"
			 "i,0x800000000000", hosts[i]);
		length = spec_i_pt_list(t->out, 0, 0x7, name, NULL);
		send_list(t, &t->a, REGISTER, length);
		assert_invalid_parameter(t, 0x80, 28);
	}
}

static void spec_i_pt_registers_all_or_none(void **state)
{
	struct scsi_test *t = *state;
	size_t length = spec_i_pt_list(t->out, 0, 0x7, name_c, name_b);

	scsi_test_register(t, &t->b, 0xb);
	send_list(t, &t->a, REGISTER, length);
	assert_invalid_parameter(t, 0x80, 28 + 92);
	read_keys(t, &t->a);
	assert_data(t, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0xb);
}

static void spec_i_pt_is_for_a_first_registration(void **state)
{
	struct scsi_test *t = *state;
	size_t length;

	scsi_test_register(t, &t->a, 0xa);
	length = spec_i_pt_list(t->out, 0xa, 0x7, name_b, NULL);
	send_list(t, &t->a, REGISTER, length);
	assert_invalid_parameter(t, 0x8b, 20);

	length = spec_i_pt_list(t->out, 0, 0x7, name_b, NULL);
	send_list(t, &t->c, REGISTER_IGNORE, length);
	assert_invalid_parameter(t, 0x8b, 20);
	length = spec_i_pt_list(t->out, 0, 0, name_b, NULL);
	send_list(t, &t->c, REGISTER, length);
	assert_invalid_parameter(t, 0x8b, 20);
}

static void transport_ids_of_others_are_refused(void **state)
{
	struct scsi_test *t = *state;
	const char *names[] = {
		"iqn.1991-05.com.example:host",
		"iqn.2013-08.org.samba:rsvd:node-b:not-a-guid-at-all-but-"
		"as-long-as-it",
		"iqn.2013-08.org.samba:rsvd:22222222-2222-4333-8444-"
		"555555555502",
		"iqn.2013-08.org.samba:rsvd:node-b:"
		"22222222-2222-4333-8444-555555555502,i,0x123456789abc",
		"",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		size_t length = spec_i_pt_list(t->out, 0, 0x7, names[i],
					       NULL);

		/* No TransportID is shorter: fill up with NULs. */
		while (length < 28 + 24) {
			t->out[length++] = 0;
			t->out[27] += 1;
			t->out[31] += 1;
		}
		send_list(t, &t->a, REGISTER, length);
		assert_invalid_parameter(t, 0x80, 28);
	}
}

static void transport_ids_of_wrong_length_are_refused(void **state)
{
	struct scsi_test *t = *state;
	size_t length = spec_i_pt_list(t->out, 0, 0x7, name_b, NULL);

	/* Longer than the list, no multiple of four, without a NUL */
	t->out[31] += 4;
	send_list(t, &t->a, REGISTER, length);
	assert_invalid_parameter(t, 0x80, 28);
	t->out[31] -= 6;
	send_list(t, &t->a, REGISTER, length);
	assert_invalid_parameter(t, 0x80, 28);
	t->out[31] = 20;
	send_list(t, &t->a, REGISTER, length);
	assert_invalid_parameter(t, 0x80, 28);
	/* One byte of it is not one. */
	spec_i_pt_list(t->out, 0, 0x7, name_b, NULL);
	t->out[26] = 0;
	t->out[27] = 1;
	send_list(t, &t->a, REGISTER, 29);
	assert_invalid_parameter(t, 0x80, 28);

	read_keys(t, &t->a);
	assert_data(t, 0, 0, 0, 0, 0, 0, 0, 0);
}

static void all_tg_pt_means_the_one_port_there_is(void **state)
{
	struct scsi_test *t = *state;

	pr_out(t, &t->a, REGISTER, 0, 0, 0xa, 0x04);
	assert_good(t);
	read_keys(t, &t->a);
	assert_data(t, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0xa);
}

static void the_parameter_list_has_24_bytes(void **state)
{
	struct scsi_test *t = *state;

	scsi_send_data(t, &t->a, t->out, 23, 0x5f, 0, 0, 0, 0, 0, 0, 0, 23,
		       0);
	assert_sense(t, 0x5, 0x1a00);
	scsi_send_data(t, &t->a, t->out, 28, 0x5f, 0, 0, 0, 0, 0, 0, 0, 28,
		       0);
	assert_sense(t, 0x5, 0x1a00);
	/* It says 24, but there are fewer. */
	scsi_send_data(t, &t->a, t->out, 20, 0x5f, 0, 0, 0, 0, 0, 0, 0, 24,
		       0);
	assert_sense(t, 0x5, 0x1a00);
	scsi_send_data(t, &t->a, t->out, 24, 0x5f, 0, 0, 0, 0, 0xff, 0xff,
		       0xff, 0xff, 0);
	assert_sense(t, 0x5, 0x1a00);
	/* A length of TransportIDs that isn't theirs */
	t->out[20] = 0x08;
	t->out[15] = 1;
	t->out[27] = 0x55;
	scsi_send_data(t, &t->a, t->out, 64, 0x5f, 0, 0, 0, 0, 0, 0, 0, 64,
		       0);
	assert_sense(t, 0x5, 0x1a00);
}

static size_t move_list(uint8_t *list, uint8_t key, uint8_t sa_key,
			uint8_t flags, const char *name)
{
	size_t length = 24;

	memset(list, 0, 24);
	list[7] = key;
	list[15] = sa_key;
	list[17] = flags;
	list[19] = 0x01;
	length += put_transport_id(list + 24, name);
	list[22] = (length - 24) >> 8;
	list[23] = (length - 24) & 0xff;
	return length;
}

static void register_and_move_hands_the_reservation_over(void **state)
{
	struct scsi_test *t = *state;
	size_t length;

	reserve_by_a(t, WE);
	length = move_list(t->out, 0xa, 0xcc, 0, name_c);
	send_list(t, &t->a, REGISTER_MOVE, length);
	assert_good(t);

	read_keys(t, &t->b);
	assert_data(t, 0, 0, 0, 3, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0xa,
		    0, 0, 0, 0, 0, 0, 0, 0xb, 0, 0, 0, 0, 0, 0, 0, 0xcc);
	assert_reserved(t, 0xcc, WE);
	assert_no_attention(t, &t->b);
}

static void register_and_move_can_unregister_who_moves(void **state)
{
	struct scsi_test *t = *state;
	size_t length;

	reserve_by_a(t, EA_RO);
	length = move_list(t->out, 0xa, 0xbb, 0x02, name_b);
	send_list(t, &t->a, REGISTER_MOVE, length);
	assert_good(t);
	read_keys(t, &t->b);
	assert_data(t, 0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0xbb);
	assert_reserved(t, 0xbb, EA_RO);
	assert_no_attention(t, &t->a);
}

static void register_and_move_makes_an_unknown_nexus_known(void **state)
{
	struct scsi_test *t = *state;
	size_t length;

	reserve_by_a(t, WE);
	length = move_list(t->out, 0xa, 0xdd, 0x02,
			   "iqn.2013-08.org.samba:rsvd:node-d:"
			   "44444444-2222-4333-8444-555555555504,"
			   "i,0x800000000000");
	send_list(t, &t->a, REGISTER_MOVE, length);
	assert_good(t);
	assert_reserved(t, 0xdd, WE);
	assert_int_equal(t->disk->state->num_nexuses, 4);
}

static void register_and_move_is_for_the_holder(void **state)
{
	struct scsi_test *t = *state;
	size_t length = move_list(t->out, 0xb, 0xcc, 0, name_c);

	reserve_by_a(t, WE);
	send_list(t, &t->b, REGISTER_MOVE, length);
	assert_conflict(t);
	send_list(t, &t->c, REGISTER_MOVE, length);
	assert_conflict(t);

	/* Not for the holders of an all registrants type */
	pr_out(t, &t->a, PREEMPT, WE_AR, 0xa, 0xa, 0);
	assert_good(t);
	scsi_test_clear_ua(t, &t->b);
	length = move_list(t->out, 0xa, 0xcc, 0, name_c);
	send_list(t, &t->a, REGISTER_MOVE, length);
	assert_conflict(t);
}

static void register_and_move_needs_something_to_move(void **state)
{
	struct scsi_test *t = *state;
	size_t length = move_list(t->out, 0xa, 0xcc, 0, name_c);

	scsi_test_register(t, &t->a, 0xa);
	send_list(t, &t->a, REGISTER_MOVE, length);
	assert_invalid_cdb(t, 0xcc, 1);
}

static void register_and_move_checks_its_list(void **state)
{
	struct scsi_test *t = *state;
	size_t length;

	reserve_by_a(t, WE);
	/* To itself */
	length = move_list(t->out, 0xa, 0xcc, 0, name_a);
	send_list(t, &t->a, REGISTER_MOVE, length);
	assert_invalid_parameter(t, 0x80, 24);
	/* No new key */
	length = move_list(t->out, 0xa, 0, 0, name_c);
	send_list(t, &t->a, REGISTER_MOVE, length);
	assert_invalid_parameter(t, 0x80, 8);
	/* Through a port that isn't there */
	length = move_list(t->out, 0xa, 0xcc, 0, name_c);
	t->out[19] = 2;
	send_list(t, &t->a, REGISTER_MOVE, length);
	assert_invalid_parameter(t, 0x80, 18);
	/* Two TransportIDs, and none */
	length = move_list(t->out, 0xa, 0xcc, 0, name_c);
	memcpy(t->out + length, t->out + 24, length - 24);
	t->out[23] = 2 * (length - 24);
	send_list(t, &t->a, REGISTER_MOVE, 2 * length - 24);
	assert_invalid_parameter(t, 0x80, 24);
	t->out[23] = 0;
	send_list(t, &t->a, REGISTER_MOVE, 24);
	assert_invalid_parameter(t, 0x80, 24);
	t->out[23] = 92;
	send_list(t, &t->a, REGISTER_MOVE, 24);
	assert_sense(t, 0x5, 0x1a00);

	assert_reserved(t, 0xa, WE);
	assert_int_equal(t->disk->state->pr_generation, 2);
}

static void unknown_service_actions_are_refused(void **state)
{
	struct scsi_test *t = *state;
	uint8_t sa;

	for (sa = 0x08; sa < 0x20; sa++) {
		scsi_send_data(t, &t->a, t->out, 24, 0x5f, sa, 0, 0, 0, 0, 0,
			       0, 24, 0);
		assert_invalid_cdb(t, 0xcc, 1);
	}
	for (sa = 0x04; sa < 0x20; sa++) {
		scsi_send(t, &t->a, 0x5e, sa, 0, 0, 0, 0, 0, 0, 24, 0);
		assert_invalid_cdb(t, 0xcc, 1);
	}
}

static uint32_t data_be32(const struct scsi_test *t, size_t offset)
{
	return (uint32_t)t->in[offset] << 24 | t->in[offset + 1] << 16 |
	       t->in[offset + 2] << 8 | t->in[offset + 3];
}

/* A is the first; the keys are 1, 2, 3, ... */
static struct scsi_nexus register_a_thousand(struct scsi_test *t)
{
	struct scsi_nexus nexus = { .host_name = "host", .may_write = true };
	unsigned i;

	scsi_test_register(t, &t->a, 1);
	for (i = 2; i <= 1000; i++) {
		nexus.initiator_id.time_low = i;
		scsi_memory_disk_open(t->disk, &nexus);
		scsi_test_register(t, &nexus, i);
	}
	return nexus;
}

static void a_thousand_registrants_are_all_in_read_keys(void **state)
{
	struct scsi_test *t = *state;
	unsigned i;

	register_a_thousand(t);
	scsi_send(t, &t->b, 0x5e, 0x00, 0, 0, 0, 0, 0, 0xff, 0xff, 0);
	assert_good(t);
	assert_int_equal(t->task.data_in_length, 8 + 8000);
	assert_int_equal(data_be32(t, 0), 1000);
	assert_int_equal(data_be32(t, 4), 8000);
	for (i = 1; i <= 1000; i++) {
		assert_int_equal(data_be32(t, 8 * i), 0);
		assert_int_equal(data_be32(t, 8 * i + 4), i);
	}
}

/* Its ALLOCATION LENGTH is too small to have all of them. */
static void read_full_status_of_a_thousand_tells_how_many_there_are(
	void **state)
{
	/* Descriptor, TransportID header, iSCSI name and its padding */
	const size_t length = 24 + 4 + 88;
	struct scsi_test *t = *state;

	register_a_thousand(t);
	scsi_send(t, &t->b, 0x5e, 0x03, 0, 0, 0, 0, 0, 0xff, 0xff, 0);
	assert_good(t);
	assert_int_equal(t->task.data_in_length, 0xffff);
	assert_int_equal(data_be32(t, 4), 1000 * length);
	assert_int_equal(data_be32(t, 8 + length + 4), 2);
	assert_int_equal(data_be32(t, 8 + 501 * length + 4), 502);
}

static void one_of_a_thousand_preempts_all_others(void **state)
{
	struct scsi_test *t = *state;
	struct scsi_nexus last;

	last = register_a_thousand(t);
	pr_out(t, &t->a, RESERVE, WE_AR, 1, 0, 0);
	assert_good(t);
	/* Key zero: SPC-4 5.13.11.4, all registrants. */
	pr_out(t, &last, PREEMPT_ABORT, WE, 1000, 0, 0);
	assert_good(t);
	assert_int_equal(t->disk->num_fenced, 999);
	read_keys(t, &t->b);
	assert_data(t, 0, 0, 0x03, 0xe9, 0, 0, 0, 8,
		    0, 0, 0, 0, 0, 0, 0x03, 0xe8);
	assert_one_attention(t, &t->a, 0x2a05);
}

static void there_is_an_end_to_the_registrants_a_disk_takes(void **state)
{
	struct scsi_test *t = *state;
	unsigned i;

	for (i = 3; i < SCSI_MAX_NEXUSES; i++) {
		struct scsi_nexus nexus = {
			.initiator_id = { .time_low = i },
			.host_name = "host",
		};

		scsi_memory_disk_open(t->disk, &nexus);
	}
	send_list(t, &t->a, REGISTER, spec_i_pt_list(
			  t->out, 0, 0x7, "iqn.2013-08.org.samba:rsvd:d:"
			  "44444444-2222-4333-8444-555555555504", NULL));
	assert_sense(t, 0x5, 0x5504);
	read_keys(t, &t->a);
	assert_data(t, 0, 0, 0, 0, 0, 0, 0, 0);
}

static void who_waits_for_an_absent_one_makes_room_for_the_present(
	void **state)
{
	struct scsi_test *t = *state;
	struct scsi_nexus nexus = { .host_name = "host" };
	unsigned i;

	reserve_by_a(t, WE);
	scsi_memory_disk_close(t->disk, &t->a);
	pr_out(t, &t->b, PREEMPT, WE, 0xb, 0xa, 0);
	assert_good(t);
	for (i = 3; i <= SCSI_MAX_NEXUSES; i++) {
		nexus.initiator_id.time_low = i;
		scsi_memory_disk_open(t->disk, &nexus);
	}
	assert_int_equal(t->disk->state->num_nexuses, SCSI_MAX_NEXUSES);
	nexus.initiator_id.time_low = i;
	assert_true(NT_STATUS_EQUAL(
		scsi_state_nexus_add(t->disk->state, &nexus.initiator_id,
				     "host"),
		NT_STATUS_INSUFFICIENT_RESOURCES));
}

static void a_long_host_name_still_fits_a_transport_id(void **state)
{
	struct scsi_test *t = *state;
	char name[512];
	struct scsi_nexus nexus = {
		.initiator_id = { .time_low = 9 },
		.host_name = name,
		.may_write = true,
	};
	size_t length;

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	scsi_memory_disk_open(t->disk, &nexus);
	scsi_test_register(t, &nexus, 0x9);
	read_full_status(t, &t->a);
	assert_good(t);
	length = t->in[8 + 22] << 8 | t->in[8 + 23];
	assert_int_equal(t->task.data_in_length, 8 + 24 + length);
	assert_int_equal(t->in[8 + 24 + length - 1], 0);
	/* 223 characters of name, ",i,0x" and the ISID: RFC 7143 */
	assert_true(length <= 244);
	assert_string_equal((char *)t->in + 8 + 24 + 4 + 27 + 127,
			    ":00000009-0000-0000-0000-000000000000,"
			    "i,0x800000000000");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scsi_unit_test(a_new_disk_has_no_keys_and_no_reservation),
		scsi_unit_test(register_adds_a_key),
		scsi_unit_test(register_needs_the_key_that_is_registered),
		scsi_unit_test(register_changes_and_removes_a_key),
		scsi_unit_test(register_and_ignore_needs_no_key),
		scsi_unit_test(two_registrants_may_have_the_same_key),
		scsi_unit_test(read_keys_tells_of_keys_that_do_not_fit),
		scsi_unit_test(reserve_takes_all_six_types),
		scsi_unit_test(reserve_refuses_other_types_and_scopes),
		scsi_unit_test(only_registrants_reserve),
		scsi_unit_test(reserve_again_is_fine_only_if_nothing_changes),
		scsi_unit_test(all_registrants_hold_a_reservation_together),
		scsi_unit_test(
			reserve_and_release_do_not_count_as_a_generation),
		scsi_unit_test(release_tells_the_registrants_of_shared_types),
		scsi_unit_test(release_by_one_who_holds_nothing_does_nothing),
		scsi_unit_test(release_must_name_the_type),
		scsi_unit_test(unregistering_the_holder_releases),
		scsi_unit_test(
			unregistering_the_holder_tells_the_other_registrants),
		scsi_unit_test(
			the_last_registrant_takes_a_shared_reservation_along),
		scsi_unit_test(unregistering_another_leaves_the_reservation),
		scsi_unit_test(changing_the_key_keeps_the_reservation),
		scsi_unit_test(clear_removes_all_and_tells_the_others),
		scsi_unit_test(clear_is_for_registrants),
		scsi_unit_test(preempt_takes_the_reservation_over),
		scsi_unit_test(preempt_with_another_type_tells_who_stays),
		scsi_unit_test(
			preempt_removes_every_registration_with_the_key),
		scsi_unit_test(
			preempt_of_a_mere_registrant_leaves_the_reservation),
		scsi_unit_test(
			preempt_without_a_reservation_removes_registrations),
		scsi_unit_test(preempt_of_a_key_nobody_has_conflicts),
		scsi_unit_test(preempt_of_key_zero_is_invalid),
		scsi_unit_test(
			preempt_by_key_zero_takes_all_of_an_all_registrants),
		scsi_unit_test(preempt_of_one_leaves_an_all_registrants),
		scsi_unit_test(
			the_holder_changes_its_type_by_preempting_itself),
		scsi_unit_test(preempt_checks_the_type_it_is_to_set),
		scsi_unit_test(preempt_and_abort_waits_for_the_preempted),
		scsi_unit_test(
			nobody_is_told_that_the_preempted_has_ended_if_it_has_not),
		scsi_unit_test(a_preempted_write_ends_at_the_next_piece),
		scsi_unit_test(a_preempted_node_is_told_and_then_held_back),
		scsi_unit_test(a_registration_outlives_its_nexus),
		scsi_unit_test(
			one_preempted_while_away_learns_of_it_when_back),
		scsi_unit_test(
			closing_the_disk_does_not_hide_that_one_was_preempted),
		scsi_unit_test(a_release_while_away_is_no_news_when_back),
		scsi_unit_test(aptpl_is_what_the_last_registration_said),
		scsi_unit_test(read_full_status_names_the_registrants),
		scsi_unit_test(all_registrants_are_holders_in_full_status),
		scsi_unit_test(spec_i_pt_registers_others),
		scsi_unit_test(spec_i_pt_takes_a_name_without_a_port),
		scsi_unit_test(a_host_is_called_as_it_calls_itself),
		scsi_unit_test(a_host_name_of_no_letters_is_refused),
		scsi_unit_test(spec_i_pt_registers_all_or_none),
		scsi_unit_test(spec_i_pt_is_for_a_first_registration),
		scsi_unit_test(transport_ids_of_others_are_refused),
		scsi_unit_test(transport_ids_of_wrong_length_are_refused),
		scsi_unit_test(all_tg_pt_means_the_one_port_there_is),
		scsi_unit_test(the_parameter_list_has_24_bytes),
		scsi_unit_test(register_and_move_hands_the_reservation_over),
		scsi_unit_test(register_and_move_can_unregister_who_moves),
		scsi_unit_test(register_and_move_makes_an_unknown_nexus_known),
		scsi_unit_test(register_and_move_is_for_the_holder),
		scsi_unit_test(register_and_move_needs_something_to_move),
		scsi_unit_test(register_and_move_checks_its_list),
		scsi_unit_test(unknown_service_actions_are_refused),
		scsi_unit_test(a_thousand_registrants_are_all_in_read_keys),
		scsi_unit_test(
			read_full_status_of_a_thousand_tells_how_many_there_are),
		scsi_unit_test(one_of_a_thousand_preempts_all_others),
		scsi_unit_test(
			there_is_an_end_to_the_registrants_a_disk_takes),
		scsi_unit_test(
			who_waits_for_an_absent_one_makes_room_for_the_present),
		scsi_unit_test(a_long_host_name_still_fits_a_transport_id),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
