/*
 * vfs_rsvd: initiators that come and go at the same time
 *
 * The nodes of a cluster do that after a loss of power. Each has a connection,
 * so that it is different processes that meet.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "tests/selftest/attach.h"

#define NUM_INITIATORS 4
#define NUM_ROUNDS 50

struct fixture {
	struct tevent_context *ev;
	struct librsvd_conn *conns[NUM_INITIATORS];
	struct librsvd_disk *disks[NUM_INITIATORS];
};

static int connected(void **state)
{
	struct fixture *fixture = talloc_zero(NULL, struct fixture);
	size_t i;

	fixture->ev = tevent_context_init(fixture);
	for (i = 0; i < NUM_INITIATORS; i++) {
		fixture->conns[i] = attach_connect(fixture, fixture->ev);
	}
	attach_image("disk.vhdx", 16 * MIB);
	*state = fixture;
	return 0;
}

static int disconnected(void **state)
{
	char *path = attach_path(NULL, "disk.vhdx");

	talloc_free(*state);
	unlink(path);
	talloc_free(path);
	return 0;
}

static struct tevent_req *open_send(struct fixture *fixture, size_t i)
{
	struct librsvd_guid initiator = librsvd_guid_random();
	struct librsvd_open_params params = {
		.path = "disk.vhdx",
		.initiator_id = &initiator,
	};

	return librsvd_open_send(fixture, fixture->conns[i], &params);
}

static void wait_for(struct fixture *fixture, struct tevent_req *req)
{
	assert_non_null(req);
	assert_true(tevent_req_poll(req, fixture->ev));
}

static void initiators_that_attach_at_once_all_succeed(void **state)
{
	struct fixture *fixture = *state;
	struct tevent_req *reqs[NUM_INITIATORS];
	size_t round, i;

	for (round = 0; round < NUM_ROUNDS; round++) {
		for (i = 0; i < NUM_INITIATORS; i++) {
			reqs[i] = open_send(fixture, i);
		}
		for (i = 0; i < NUM_INITIATORS; i++) {
			wait_for(fixture, reqs[i]);
			assert_ok(librsvd_open_recv(reqs[i], fixture,
						    &fixture->disks[i]));
			talloc_free(reqs[i]);
		}
		for (i = 0; i < NUM_INITIATORS; i++) {
			reqs[i] = librsvd_close_send(fixture,
						     fixture->disks[i]);
		}
		for (i = 0; i < NUM_INITIATORS; i++) {
			wait_for(fixture, reqs[i]);
			assert_ok(librsvd_close_recv(reqs[i]));
			talloc_free(reqs[i]);
			talloc_free(fixture->disks[i]);
		}
	}
}

static void one_attaches_while_another_detaches(void **state)
{
	struct fixture *fixture = *state;
	struct tevent_req *open_req = NULL, *close_req = NULL;
	size_t round;

	wait_for(fixture, (open_req = open_send(fixture, 0)));
	assert_ok(librsvd_open_recv(open_req, fixture, &fixture->disks[0]));
	talloc_free(open_req);

	for (round = 0; round < NUM_ROUNDS; round++) {
		size_t here = round % 2, there = 1 - here;

		close_req = librsvd_close_send(fixture, fixture->disks[here]);
		open_req = open_send(fixture, there);
		wait_for(fixture, open_req);
		assert_ok(librsvd_open_recv(open_req, fixture,
					    &fixture->disks[there]));
		talloc_free(open_req);
		wait_for(fixture, close_req);
		assert_ok(librsvd_close_recv(close_req));
		talloc_free(close_req);
		talloc_free(fixture->disks[here]);
	}
}

/*
 * With shares for nobody, and with the DELETE access of a handle with all
 * rights, which nobody shares.
 */
static void initiators_do_not_exclude_each_other_by_share_access(void **state)
{
	struct fixture *fixture = *state;
	size_t i;

	for (i = 0; i < NUM_INITIATORS; i++) {
		struct librsvd_guid initiator = librsvd_guid_random();
		struct librsvd_open_params params = {
			.path = "disk.vhdx",
			.initiator_id = &initiator,
			.access_mask = 0x02000000, /* MAXIMUM_ALLOWED */
			.share_access = 0x1,	   /* read */
		};

		assert_ok(librsvd_open(fixture, fixture->conns[i], &params,
				       &fixture->disks[i]));
	}
	for (i = 0; i < NUM_INITIATORS; i++) {
		assert_ok(librsvd_close(fixture->disks[i]));
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, connected, disconnected)
	const struct CMUnitTest tests[] = {
		TEST(initiators_that_attach_at_once_all_succeed),
		TEST(one_attaches_while_another_detaches),
		TEST(initiators_do_not_exclude_each_other_by_share_access),
	};
#undef TEST

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
