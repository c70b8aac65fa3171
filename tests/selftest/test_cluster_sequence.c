/*
 * vfs_rsvd: what the nodes of a failover cluster do to a shared disk
 *
 * Three initiators, each with a connection and so with a smbd process of its
 * own: the steps of storage validation, and the ways a node can fail.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * selftest-options: --share='[slow]\npath = %LOCAL_PATH%\nread only = no\nvfs objects = rsvd slow_write\nslow_write:milliseconds = 100'
 */

#include <tevent.h>
#include "processes.h"

/* MS-RSVD 2.2.3 */
#define REGISTRATIONS_PREEMPTED NT_STATUS(0xC05CFF05)
#define RESERVATION_CONFLICT NT_STATUS(0xC05CFF07)

/* SAM-5 5.3.1 */
#define GOOD 0x00
#define CHECK_CONDITION 0x02
#define BUSY 0x08
#define CONFLICT 0x18

/* SPC-4 6.16.2 */
#define REGISTER 0x00
#define RESERVE 0x01
#define PREEMPT 0x04
#define PREEMPT_AND_ABORT 0x05

#define READ_KEYS 0x00
#define READ_RESERVATION 0x01

/* What a Windows cluster reserves with: write exclusive, registrants only */
#define CLUSTER_TYPE 5

#define BLOCK 4096
#define NUM_BLOCKS 32
#define NUM_BYTES (NUM_BLOCKS * BLOCK)

struct node {
	uint8_t key;
	struct librsvd_guid initiator;
	struct librsvd_conn *conn;
	struct librsvd_disk *disk;
};

struct cluster {
	struct tevent_context *ev;
	const char *image;
	const char *share;
	struct node owner, challenger, third;
};

static void node_connect(struct cluster *c, struct node *node)
{
	node->conn = attach_connect_share(c->ev, c->ev, attach_env("USERNAME"),
					  c->share);
}

static void node_attach(struct cluster *c, struct node *node)
{
	assert_ok(attach_open_as(c->ev, node->conn, c->image, 0,
				 &node->initiator, &node->disk));
}

static void node_init(struct cluster *c, struct node *node, uint8_t key)
{
	*node = (struct node) {
		.key = key,
		.initiator = librsvd_guid_random(),
	};
	node_connect(c, node);
	node_attach(c, node);
}

static void cluster_start_on(struct cluster *c, const char *image,
			     const char *share)
{
	*c = (struct cluster) {
		.ev = tevent_context_init(NULL),
		.image = image,
		.share = share,
	};
	attach_image(image, 8 * MIB);
	node_init(c, &c->owner, 0xA1);
	node_init(c, &c->challenger, 0xC2);
	node_init(c, &c->third, 0xB3);
}

static void cluster_start(struct cluster *c, const char *image)
{
	cluster_start_on(c, image, attach_env("SHARE"));
}

static void cluster_end(struct cluster *c)
{
	talloc_free(c->ev);
}

/*
 * Commands
 */

static struct librsvd_scsi_result scsi(struct node *node,
				       const struct librsvd_scsi_command *cmd)
{
	struct librsvd_scsi_result result = { .data_in = NULL };

	assert_ok(librsvd_scsi(node->disk, node->disk, cmd, &result));
	return result;
}

static uint8_t pr_out(struct node *node, uint8_t action, uint8_t key,
		      uint8_t action_key)
{
	uint8_t cdb[10] = { 0x5F, action, CLUSTER_TYPE, [8] = 24 };
	uint8_t parameters[24] = { [7] = key, [15] = action_key };
	struct librsvd_scsi_command command = {
		.cdb = cdb,
		.cdb_length = sizeof(cdb),
		.data_out = parameters,
		.data_out_length = sizeof(parameters),
	};

	if (action == REGISTER) {
		cdb[2] = 0;
	}
	return scsi(node, &command).sense.scsi_status;
}

static struct librsvd_scsi_result pr_in(struct node *node, uint8_t action)
{
	uint8_t cdb[10] = { 0x5E, action, [8] = 255 };
	struct librsvd_scsi_command command = {
		.cdb = cdb,
		.cdb_length = sizeof(cdb),
		.data_in_length = 255,
	};
	struct librsvd_scsi_result result = scsi(node, &command);

	assert_int_equal(result.sense.scsi_status, GOOD);
	return result;
}

static void assert_keys(struct node *node, const uint8_t *keys, size_t num)
{
	struct librsvd_scsi_result result = pr_in(node, READ_KEYS);
	size_t i, j;

	/* In whatever order */
	assert_int_equal(result.data_in_length, 8 + num * 8);
	for (i = 0; i < num; i++) {
		bool found = false;

		for (j = 0; j < num; j++) {
			found |= result.data_in[8 + j * 8 + 7] == keys[i];
		}
		assert_true(found);
	}
}

static void assert_holder(struct node *node, uint8_t key)
{
	struct librsvd_scsi_result result = pr_in(node, READ_RESERVATION);

	assert_int_equal(result.data_in_length, 24);
	assert_int_equal(result.data_in[15], key);
	assert_int_equal(result.data_in[21], CLUSTER_TYPE);
}

static uint8_t write_10(struct node *node, const uint8_t *data,
			uint32_t length)
{
	uint32_t sectors = length / 512;
	uint8_t cdb[10] = { 0x2A, [7] = sectors >> 8, [8] = sectors };
	struct librsvd_scsi_command command = {
		.cdb = cdb,
		.cdb_length = sizeof(cdb),
		.data_out = data,
		.data_out_length = length,
	};

	return scsi(node, &command).sense.scsi_status;
}

static NTSTATUS write_block(struct node *node, uint8_t byte)
{
	uint8_t data[BLOCK];

	memset(data, byte, sizeof(data));
	return librsvd_write(node->disk, data, sizeof(data), 0, 0);
}

static void assert_block(struct node *node, uint8_t byte)
{
	uint8_t data[BLOCK], expected[BLOCK];

	memset(expected, byte, sizeof(expected));
	assert_ok(librsvd_read(node->disk, data, sizeof(data), 0, NULL));
	assert_memory_equal(data, expected, sizeof(data));
}

/*
 * The steps
 */

static void owner_registers_and_reserves(struct cluster *c)
{
	assert_int_equal(pr_out(&c->owner, REGISTER, 0, c->owner.key), GOOD);
	assert_int_equal(pr_out(&c->owner, RESERVE, c->owner.key, 0), GOOD);
	assert_ok(write_block(&c->owner, 0x11));
}

static void assert_kept_out(struct cluster *c, struct node *node,
			    struct node *witness, uint8_t byte)
{
	uint8_t other[BLOCK];

	memset(other, byte ^ 0xFF, sizeof(other));
	assert_status(librsvd_write(node->disk, other, BLOCK, 0, 0),
		      RESERVATION_CONFLICT);
	assert_int_equal(write_10(node, other, BLOCK), CONFLICT);
	assert_block(witness, byte);
}

static void challenger_takes_over(struct cluster *c)
{
	struct node *challenger = &c->challenger;

	assert_int_equal(pr_out(challenger, REGISTER, 0, challenger->key),
			 GOOD);
	assert_keys(challenger,
		    (uint8_t []) { c->owner.key, challenger->key }, 2);
	assert_holder(challenger, c->owner.key);
	assert_int_equal(pr_out(challenger, PREEMPT, challenger->key,
				c->owner.key),
			 GOOD);
	assert_keys(challenger, &challenger->key, 1);
	assert_holder(challenger, challenger->key);
}

static void assert_owner_is_told_and_kept_out(struct cluster *c)
{
	assert_status(write_block(&c->owner, 0x22), REGISTRATIONS_PREEMPTED);
	assert_kept_out(c, &c->owner, &c->challenger, 0x11);
}

static void assert_challenger_owns(struct cluster *c)
{
	assert_ok(write_block(&c->challenger, 0x33));
	assert_block(&c->third, 0x33);
	assert_kept_out(c, &c->third, &c->challenger, 0x33);
}

/*
 * The tests
 */

static void a_challenger_takes_the_disk_from_a_living_owner(void **state)
{
	struct cluster c;

	cluster_start(&c, "living.vhdx");
	owner_registers_and_reserves(&c);
	assert_kept_out(&c, &c.third, &c.owner, 0x11);
	assert_kept_out(&c, &c.challenger, &c.owner, 0x11);

	challenger_takes_over(&c);

	assert_owner_is_told_and_kept_out(&c);
	assert_challenger_owns(&c);
	cluster_end(&c);
}

static void the_unit_attention_comes_through_the_tunnel_too(void **state)
{
	struct cluster c;
	uint8_t cdb[6] = { 0 };
	struct librsvd_scsi_command test_unit_ready = {
		.cdb = cdb,
		.cdb_length = sizeof(cdb),
	};
	struct librsvd_scsi_result result;

	cluster_start(&c, "tunnel.vhdx");
	owner_registers_and_reserves(&c);
	challenger_takes_over(&c);

	result = scsi(&c.owner, &test_unit_ready);
	assert_int_equal(result.sense.scsi_status, CHECK_CONDITION);
	assert_int_equal(result.sense.data[0], 0x70);
	assert_int_equal(result.sense.data[2], 0x06); /* UNIT ATTENTION */
	assert_int_equal(result.sense.data[12], 0x2A);
	assert_int_equal(result.sense.data[13], 0x05);

	result = scsi(&c.owner, &test_unit_ready);
	assert_int_equal(result.sense.scsi_status, GOOD);
	assert_kept_out(&c, &c.owner, &c.challenger, 0x11);
	cluster_end(&c);
}

static void a_read_gets_the_unit_attention_and_then_the_data(void **state)
{
	struct cluster c;
	uint8_t data[BLOCK];

	cluster_start(&c, "read.vhdx");
	owner_registers_and_reserves(&c);
	challenger_takes_over(&c);

	assert_status(librsvd_read(c.owner.disk, data, BLOCK, 0, NULL),
		      REGISTRATIONS_PREEMPTED);
	/* Type 5 excludes writing alone. */
	assert_block(&c.owner, 0x11);
	cluster_end(&c);
}

static void owner_comes_back(struct cluster *c)
{
	TALLOC_FREE(c->owner.disk);
	TALLOC_FREE(c->owner.conn);
	node_connect(c, &c->owner);
	node_attach(c, &c->owner);
}

/* Give it a process that is not among those returned. */
static pid_t *owner_gets_a_process_of_its_own(struct cluster *c)
{
	pid_t *before = smbd_processes(c->ev);

	owner_comes_back(c);
	return before;
}

static void owner_is_killed(struct cluster *c)
{
	pid_t *before = owner_gets_a_process_of_its_own(c);

	owner_registers_and_reserves(c);
	kill_new_processes(c->ev, before);
	assert_false(NT_STATUS_IS_OK(write_block(&c->owner, 0x22)));
}

static void a_reservation_outlives_the_process_of_its_owner(void **state)
{
	struct cluster c;

	cluster_start(&c, "killed.vhdx");
	owner_is_killed(&c);

	assert_kept_out(&c, &c.challenger, &c.third, 0x11);
	assert_holder(&c.challenger, c.owner.key);

	owner_comes_back(&c);
	assert_ok(write_block(&c.owner, 0x44));
	assert_block(&c.challenger, 0x44);
	cluster_end(&c);
}

static void a_challenger_takes_the_disk_from_a_killed_owner(void **state)
{
	struct cluster c;

	cluster_start(&c, "killed-fenced.vhdx");
	owner_is_killed(&c);

	challenger_takes_over(&c);
	owner_comes_back(&c);

	assert_owner_is_told_and_kept_out(&c);
	assert_challenger_owns(&c);
	cluster_end(&c);
}

static void a_registration_outlives_the_close_of_its_owner(void **state)
{
	struct cluster c;

	cluster_start(&c, "closed.vhdx");
	owner_registers_and_reserves(&c);
	assert_ok(librsvd_close(c.owner.disk));
	TALLOC_FREE(c.owner.disk);

	assert_keys(&c.challenger, &c.owner.key, 1);
	assert_kept_out(&c, &c.challenger, &c.third, 0x11);

	owner_comes_back(&c);
	assert_ok(write_block(&c.owner, 0x44));
	cluster_end(&c);
}

static void a_reservation_outlives_smbd(void **state)
{
	struct cluster c;

	cluster_start(&c, "restart.vhdx");
	owner_registers_and_reserves(&c);
	restart_smbd();

	talloc_free(c.ev);
	c.ev = tevent_context_init(NULL);
	node_connect(&c, &c.challenger);
	node_attach(&c, &c.challenger);
	node_connect(&c, &c.third);
	node_attach(&c, &c.third);
	assert_kept_out(&c, &c.challenger, &c.third, 0x11);
	assert_holder(&c.challenger, c.owner.key);

	c.owner.conn = NULL;
	c.owner.disk = NULL;
	owner_comes_back(&c);
	assert_ok(write_block(&c.owner, 0x44));
	challenger_takes_over(&c);
	assert_status(write_block(&c.owner, 0x22), REGISTRATIONS_PREEMPTED);
	assert_kept_out(&c, &c.owner, &c.challenger, 0x44);
	cluster_end(&c);
}

/*
 * Writes on their way
 */

struct stream {
	struct cluster *c;
	uint8_t pattern[BLOCK];
	unsigned int in_flight;
	unsigned int landed;
	bool told;
	bool kept_out;
	bool cut_off;	/* its process is gone */
};

static void stream_done(struct tevent_req *req);

/* The next write of the victim, as soon as one has ended: always 32 of them */
static void stream_write(struct stream *s, unsigned int block)
{
	struct tevent_req *req = NULL;

	req = librsvd_write_send(s->c->ev, s->c->owner.disk, s->pattern, BLOCK,
				 (block % NUM_BLOCKS) * BLOCK, 0);
	assert_non_null(req);
	tevent_req_set_callback(req, stream_done, s);
	s->in_flight += 1;
}

static void stream_done(struct tevent_req *req)
{
	struct stream *s = tevent_req_callback_data_void(req);
	NTSTATUS status = librsvd_write_recv(req);

	talloc_free(req);
	s->in_flight -= 1;
	if (s->cut_off) {
		return;
	}
	if (NT_STATUS_EQUAL(status, RESERVATION_CONFLICT)) {
		s->kept_out = true;
		return;
	}
	if (NT_STATUS_EQUAL(status, REGISTRATIONS_PREEMPTED)) {
		assert_false(s->told);
		s->told = true;
	} else {
		assert_ok(status);
		s->landed += 1;
	}
	stream_write(s, s->landed);
}

static void stream_start(struct stream *s, struct cluster *c)
{
	unsigned int i;

	*s = (struct stream) { .c = c };
	memset(s->pattern, 0x5A, sizeof(s->pattern));
	for (i = 0; i < NUM_BLOCKS; i++) {
		stream_write(s, i);
	}
	/*
	 * smbd answers a later request of a connection when it has taken the
	 * earlier ones.
	 */
	assert_ok(librsvd_check_connection(c->owner.disk));
	assert_int_equal(s->in_flight, NUM_BLOCKS);
}

static bool expired(struct timeval since, int seconds)
{
	struct timeval now = tevent_timeval_current();

	return tevent_timeval_until(&since, &now).tv_sec >= seconds;
}

static uint8_t preempt(struct cluster *c, uint8_t action, unsigned int *busy)
{
	struct timeval start = tevent_timeval_current();
	uint8_t status;

	do {
		status = pr_out(&c->challenger, action, c->challenger.key,
				c->owner.key);
		if (status != BUSY) {
			break;
		}
		*busy += 1;
		/* Between two attempts the victim's writes go on. */
		assert_int_equal(tevent_loop_once(c->ev), 0);
	} while (!expired(start, 30));
	return status;
}

/*
 * The challenger owns the disk, it was told. Whatever the victim does, and
 * whatever it had on its way: not a byte of it lands any more.
 */
static void assert_nothing_lands(struct cluster *c, struct stream *s)
{
	uint8_t *mine = talloc_size(c->ev, NUM_BYTES);
	uint8_t *data = talloc_size(c->ev, NUM_BYTES);
	struct timeval start;

	memset(mine, 0xC3, NUM_BYTES);
	/* Not by SMB2 WRITE: the tunnel is not slow. */
	assert_int_equal(write_10(&c->challenger, mine, NUM_BYTES), GOOD);

	start = tevent_timeval_current();
	do {
		assert_ok(librsvd_read(c->challenger.disk, data, NUM_BYTES, 0,
				       NULL));
		assert_memory_equal(data, mine, NUM_BYTES);
	} while (s->in_flight > 0 || !expired(start, 1));
}

static void fence(const char *image, uint8_t action, bool same_connection)
{
	struct cluster c;
	struct stream s;
	unsigned int busy = 0;

	cluster_start_on(&c, image, "slow");
	if (same_connection) {
		assert_ok(librsvd_close(c.challenger.disk));
		c.challenger.conn = c.owner.conn;
		node_attach(&c, &c.challenger);
	}
	assert_int_equal(pr_out(&c.owner, REGISTER, 0, c.owner.key), GOOD);
	assert_int_equal(pr_out(&c.owner, RESERVE, c.owner.key, 0), GOOD);
	assert_int_equal(pr_out(&c.challenger, REGISTER, 0, c.challenger.key),
			 GOOD);
	stream_start(&s, &c);

	assert_int_equal(preempt(&c, action, &busy), GOOD);

	assert_nothing_lands(&c, &s);
	assert_true(s.told);
	assert_true(s.kept_out);
	assert_int_equal(busy > 0, same_connection);
	cluster_end(&c);
}

static void no_byte_of_the_victim_lands_after_preempt(void **state)
{
	fence("fence.vhdx", PREEMPT, false);
}

static void no_byte_of_the_victim_lands_after_preempt_and_abort(void **state)
{
	fence("fence-abort.vhdx", PREEMPT_AND_ABORT, false);
}

static void no_byte_lands_after_preempt_of_one_on_the_same_connection(
	void **state)
{
	fence("same.vhdx", PREEMPT, true);
}

static void no_byte_lands_after_preempt_and_abort_on_the_same_connection(
	void **state)
{
	fence("same-abort.vhdx", PREEMPT_AND_ABORT, true);
}

static void command_done(struct tevent_req *req)
{
	bool *done = tevent_req_callback_data_void(req);

	*done = true;
}

static void signal_new_processes(TALLOC_CTX *mem_ctx, const pid_t *before,
				 int number)
{
	const pid_t *pids = smbd_processes(mem_ctx);
	size_t i, j;

	for (i = 0; pids[i] != 0; i++) {
		for (j = 0; before[j] != 0 && before[j] != pids[i]; j++) {
			;
		}
		if (before[j] == 0) {
			assert_int_equal(kill(pids[i], number), 0);
		}
	}
}

static void preempt_waits_for_a_hung_process_as_long_as_there_is_one(
	void **state)
{
	uint8_t cdb[10] = { 0x5F, PREEMPT, CLUSTER_TYPE, [8] = 24 };
	uint8_t parameters[24] = { 0 };
	struct librsvd_scsi_command command = {
		.cdb = cdb,
		.cdb_length = sizeof(cdb),
		.data_out = parameters,
		.data_out_length = sizeof(parameters),
	};
	struct librsvd_scsi_result result;
	struct tevent_req *req = NULL;
	struct timeval start;
	struct cluster c;
	struct stream s;
	pid_t *before = NULL;
	bool done = false;

	cluster_start_on(&c, "hung.vhdx", "slow");
	before = owner_gets_a_process_of_its_own(&c);
	owner_registers_and_reserves(&c);
	parameters[7] = c.challenger.key;
	parameters[15] = c.owner.key;
	assert_int_equal(pr_out(&c.challenger, REGISTER, 0, c.challenger.key),
			 GOOD);
	stream_start(&s, &c);
	signal_new_processes(c.ev, before, SIGSTOP);

	req = librsvd_scsi_send(c.ev, c.challenger.disk, &command);
	assert_non_null(req);
	tevent_req_set_callback(req, command_done, &done);
	start = tevent_timeval_current();
	do {
		struct tevent_req *tick = tevent_wakeup_send(
			c.ev, c.ev, tevent_timeval_current_ofs(0, 10000));

		assert_true(tevent_req_poll(tick, c.ev));
		talloc_free(tick);
	} while (!expired(start, 1));
	assert_false(done);

	s.cut_off = true;
	kill_new_processes(c.ev, before);
	while (!done) {
		assert_int_equal(tevent_loop_once(c.ev), 0);
	}
	assert_ok(librsvd_scsi_recv(req, c.ev, &result));
	assert_int_equal(result.sense.scsi_status, GOOD);
	assert_nothing_lands(&c, &s);
	cluster_end(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_challenger_takes_the_disk_from_a_living_owner),
		cmocka_unit_test(
			the_unit_attention_comes_through_the_tunnel_too),
		cmocka_unit_test(
			a_read_gets_the_unit_attention_and_then_the_data),
		cmocka_unit_test(
			a_reservation_outlives_the_process_of_its_owner),
		cmocka_unit_test(
			a_challenger_takes_the_disk_from_a_killed_owner),
		cmocka_unit_test(
			a_registration_outlives_the_close_of_its_owner),
		cmocka_unit_test(a_reservation_outlives_smbd),
		cmocka_unit_test(no_byte_of_the_victim_lands_after_preempt),
		cmocka_unit_test(
			no_byte_of_the_victim_lands_after_preempt_and_abort),
		cmocka_unit_test(
		preempt_waits_for_a_hung_process_as_long_as_there_is_one),
		cmocka_unit_test(
		no_byte_lands_after_preempt_of_one_on_the_same_connection),
		cmocka_unit_test(
		no_byte_lands_after_preempt_and_abort_on_the_same_connection),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
