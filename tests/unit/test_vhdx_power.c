/*
 * vfs_rsvd: two users of one image, killed and cut off from power
 *
 * Both are in this process, on a file in memory that knows what was flushed.
 * After a power cut, with any part of the unflushed writes lost or torn, the
 * image can be opened, has no error, and every sector has what it had at the
 * last flush or something that was written since.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include <setjmp.h>
#include <cmocka.h>
#include "lib/dbwrap/dbwrap.h"
#include "lib/dbwrap/dbwrap_rbt.h"
#include "lib/util/tevent_ntstatus.h"
#include "modules/vhdx/vhdx_private.h"
#include "tests/unit/vhdx_memory.h"

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)

/* 16 of them are reserved at a time, and a log of 1 MiB has room for 127. */
#define NUM_BLOCKS 300
#define BLOCK_SIZE (8 * MIB)
#define NUM_USERS 2
#define UNIT 4096
#define TORN 512
#define MAX_VALUES 4096

#define assert_ok(status) \
	assert_int_equal(NT_STATUS_V(status), NT_STATUS_V(NT_STATUS_OK))

/* The first 4 KiB of each block, and all they have ever been */
struct unit {
	uint32_t values[MAX_VALUES];
	size_t num;		/* written, or begun to be */
	size_t done;		/* how many are acknowledged */
	size_t stable;		/* the last one that a flush has covered */
	struct user *busy;	/* whose write is under way */
};

struct world;

struct user {
	struct world *world;
	TALLOC_CTX *mem_ctx;
	struct vhdx *image;
	uint64_t pid;
};

struct world {
	uint32_t seed;
	struct vhdx_memory *memory;
	struct db_context *db;
	struct tevent_context *ev;
	struct user users[NUM_USERS];
	uint64_t next_pid;
	uint32_t next_value;
	bool short_sessions;
	struct unit units[NUM_BLOCKS];
};

static unsigned chance(struct world *w, unsigned n)
{
	return vhdx_memory_random(&w->seed) % n;
}

static bool user_alive(const struct server_id *id, void *private_data)
{
	struct world *w = private_data;
	size_t i;

	for (i = 0; i < NUM_USERS; i++) {
		if (w->users[i].pid == id->pid) {
			return true;
		}
	}
	return false;
}

static void user_open(struct user *user)
{
	struct world *w = user->world;
	struct server_id self = { .pid = w->next_pid };
	TDB_DATA key = { .dptr = discard_const_p(uint8_t, "k"), .dsize = 1 };
	struct vhdx_shared *shared = NULL;
	char *reason = NULL;
	NTSTATUS status;

	user->pid = w->next_pid;
	w->next_pid += 1;
	user->mem_ctx = talloc_new(w);
	shared = vhdx_shared_init(user->mem_ctx, w->db, key, self,
				  user_alive, w);
	status = vhdx_open(user->mem_ctx, vhdx_memory_storage(w->memory),
			   shared, 0, &user->image, &reason);
	if (!NT_STATUS_IS_OK(status)) {
		fail_msg("open: %s", reason);
	}
}

/* All that it had under way goes with it. */
static void user_kill(struct user *user)
{
	size_t i;

	TALLOC_FREE(user->mem_ctx);
	user->image = NULL;
	user->pid = 0;
	for (i = 0; i < NUM_BLOCKS; i++) {
		struct unit *unit = &user->world->units[i];

		/* It may have arrived; the next write comes after it. */
		if (unit->busy == user) {
			unit->busy = NULL;
		}
	}
}

static struct world *world_new(void **state, uint32_t seed)
{
	struct vhdx_create_params params = {
		.virtual_size = NUM_BLOCKS * BLOCK_SIZE,
		.block_size = BLOCK_SIZE,
	};
	struct world *w = talloc_zero(*state, struct world);
	size_t i;

	w->seed = seed;
	w->memory = vhdx_memory_new(w);
	w->db = db_open_rbt(w);
	w->ev = tevent_context_init(w);
	w->next_pid = 1;
	w->short_sessions = seed % 2;
	assert_ok(vhdx_create(vhdx_memory_storage(w->memory), &params));
	for (i = 0; i < NUM_BLOCKS; i++) {
		w->units[i].num = 1;
		w->units[i].done = 1;
	}
	for (i = 0; i < NUM_USERS; i++) {
		w->users[i].world = w;
		user_open(&w->users[i]);
	}
	return w;
}

static void fill(uint8_t *buf, uint32_t value)
{
	size_t i;

	for (i = 0; i < UNIT; i += 4) {
		memcpy(buf + i, &value, 4);
	}
}

static struct unit *idle_unit(struct world *w, size_t *block)
{
	struct unit *unit = NULL;

	do {
		*block = chance(w, NUM_BLOCKS);
		unit = &w->units[*block];
	} while (unit->busy != NULL || unit->num == MAX_VALUES);
	return unit;
}

static void unit_begin(struct world *w, struct unit *unit, uint32_t value)
{
	unit->values[unit->num] = value;
	unit->num += 1;
}

static void do_write(struct world *w, struct user *user)
{
	uint8_t buf[UNIT];
	struct unit *unit = NULL;
	size_t block;

	unit = idle_unit(w, &block);
	w->next_value += 1;
	unit_begin(w, unit, w->next_value);
	fill(buf, w->next_value);
	assert_ok(vhdx_write(user->image, buf, sizeof(buf),
			     block * BLOCK_SIZE));
	unit->done = unit->num;
}

static void do_zero(struct world *w, struct user *user)
{
	/* A whole block gives its place to another one. */
	uint64_t length = (chance(w, 2) == 0) ? UNIT : BLOCK_SIZE;
	struct unit *unit = NULL;
	size_t block;

	unit = idle_unit(w, &block);
	unit_begin(w, unit, 0);
	assert_ok(vhdx_zero(user->image, block * BLOCK_SIZE, length));
	unit->done = unit->num;
}

/* Live, every user sees what any has been told is written. */
static void do_read(struct world *w, struct user *user)
{
	uint8_t expected[UNIT];
	uint8_t buf[UNIT];
	struct unit *unit = NULL;
	size_t block;

	unit = idle_unit(w, &block);
	if (unit->done != unit->num) {
		/* Its writer was killed. */
		return;
	}
	fill(expected, unit->values[unit->num - 1]);
	assert_ok(vhdx_read(user->image, buf, sizeof(buf),
			    block * BLOCK_SIZE));
	assert_memory_equal(buf, expected, sizeof(buf));
}

struct flight {
	struct unit *unit;
	uint8_t buf[UNIT];
};

static void write_done(struct tevent_req *req)
{
	struct flight *flight = tevent_req_callback_data(req, struct flight);

	assert_ok(vhdx_write_recv(req));
	flight->unit->busy = NULL;
	flight->unit->done = flight->unit->num;
	TALLOC_FREE(req);
	TALLOC_FREE(flight);
}

static void do_write_send(struct world *w, struct user *user)
{
	struct flight *flight = talloc(user->mem_ctx, struct flight);
	struct tevent_req *req = NULL;
	size_t block;

	flight->unit = idle_unit(w, &block);
	w->next_value += 1;
	unit_begin(w, flight->unit, w->next_value);
	flight->unit->busy = user;
	fill(flight->buf, w->next_value);
	req = vhdx_write_send(user->mem_ctx, w->ev, user->image, flight->buf,
			      UNIT, block * BLOCK_SIZE);
	tevent_req_set_callback(req, write_done, flight);
}

/* What was acknowledged when a flush was asked for */
struct promise {
	struct world *world;
	size_t done[NUM_BLOCKS];
};

static void promise_make(struct world *w, struct promise *promise)
{
	size_t i;

	promise->world = w;
	for (i = 0; i < NUM_BLOCKS; i++) {
		promise->done[i] = w->units[i].done;
	}
}

static void promise_kept(const struct promise *promise)
{
	size_t i;

	for (i = 0; i < NUM_BLOCKS; i++) {
		struct unit *unit = &promise->world->units[i];

		if (promise->done[i] > 0) {
			unit->stable = MAX(unit->stable,
					   promise->done[i] - 1);
		}
	}
}

static void flush_done(struct tevent_req *req)
{
	struct promise *promise = tevent_req_callback_data(req,
							   struct promise);

	assert_ok(vhdx_flush_recv(req));
	promise_kept(promise);
	TALLOC_FREE(req);
	TALLOC_FREE(promise);
}

static void do_flush_send(struct world *w, struct user *user)
{
	struct promise *promise = talloc(user->mem_ctx, struct promise);
	struct tevent_req *req = NULL;

	promise_make(w, promise);
	req = vhdx_flush_send(user->mem_ctx, w->ev, user->image);
	tevent_req_set_callback(req, flush_done, promise);
}

static void do_flush(struct world *w, struct user *user)
{
	struct promise *promise = talloc(w, struct promise);

	promise_make(w, promise);
	assert_ok(vhdx_flush(user->image));
	promise_kept(promise);
	TALLOC_FREE(promise);
}

/* Let everything in flight arrive. */
static void settle(struct world *w)
{
	bool busy = true;
	size_t i;

	while (busy) {
		busy = false;
		for (i = 0; i < NUM_BLOCKS; i++) {
			busy |= w->units[i].busy != NULL;
		}
		if (busy) {
			assert_int_equal(tevent_loop_once(w->ev), 0);
		}
	}
}

static void do_reopen(struct world *w, struct user *user)
{
	settle(w);
	assert_ok(vhdx_close(&user->image));
	user_kill(user);
	user_open(user);
}

/* A sector has one of the values that are still possible. */
static void unit_check(const struct world *w, size_t block,
		       const uint8_t *buf, uint32_t seed)
{
	const struct unit *unit = &w->units[block];
	size_t i;
	size_t v;

	for (i = 0; i < UNIT; i += TORN) {
		uint32_t value;

		memcpy(&value, buf + i, 4);
		for (v = unit->stable; v < unit->num; v++) {
			if (unit->values[v] == value) {
				break;
			}
		}
		if (v == unit->num) {
			fail_msg("seed %u: block %zu sector %zu has %u, last "
				 "flushed %u", seed, block, i / TORN, value,
				 unit->values[unit->stable]);
		}
	}
}

static void do_cut(struct world *w)
{
	static const unsigned keeps[] = { 0, 16, 128, 240, 256 };
	uint32_t seed = w->seed;
	struct vhdx_check_report *report = NULL;
	struct vhdx_memory *after = NULL;
	struct vhdx *image = NULL;
	uint8_t buf[UNIT];
	char *reason = NULL;
	NTSTATUS status;
	size_t i;

	after = vhdx_memory_cut(w, w->memory,
				keeps[chance(w, ARRAY_SIZE(keeps))],
				&w->seed);
	status = vhdx_open(after, vhdx_memory_storage(after), NULL,
			   chance(w, 2) == 0 ? VHDX_OPEN_READ_ONLY : 0,
			   &image, &reason);
	if (!NT_STATUS_IS_OK(status)) {
		fail_msg("seed %u: %s", seed, reason);
	}
	for (i = 0; i < NUM_BLOCKS; i++) {
		assert_ok(vhdx_read(image, buf, sizeof(buf), i * BLOCK_SIZE));
		unit_check(w, i, buf, seed);
	}
	/* A new block is clean, whatever the file has been through. */
	if (!image->read_only) {
		uint8_t all[MIB / 16];

		for (i = 0; i < NUM_BLOCKS; i++) {
			struct vhdx_extent extent;
			size_t k;

			assert_ok(vhdx_map(image, i * BLOCK_SIZE, UNIT,
					   &extent));
			if (extent.kind == VHDX_EXTENT_FILE) {
				continue;
			}
			buf[0] = 1;
			assert_ok(vhdx_write(image, buf, 1,
					     i * BLOCK_SIZE + MIB - 1));
			assert_ok(vhdx_read(image, all, sizeof(all),
					    i * BLOCK_SIZE));
			for (k = 0; k < sizeof(all); k++) {
				assert_int_equal(all[k], 0);
			}
			break;
		}
	}
	assert_ok(vhdx_close(&image));
	assert_ok(vhdx_check(after, vhdx_memory_storage(after), NULL, NULL,
			     &report));
	for (i = 0; i < report->num_findings; i++) {
		if (report->findings[i].is_error) {
			fail_msg("seed %u: %s: %s", seed,
				 report->findings[i].field,
				 report->findings[i].rule);
		}
	}
	TALLOC_FREE(after);
}

/* Between any two changes of the file, also within one operation */
static void cut_sometimes(void *private_data)
{
	struct world *w = private_data;

	if (chance(w, 16) == 0) {
		do_cut(w);
	}
}

/* Nobody is left: the next one begins a session. */
static void do_end_session(struct world *w)
{
	size_t i;

	if (chance(w, 2) == 0) {
		settle(w);
		for (i = 0; i < NUM_USERS; i++) {
			assert_ok(vhdx_close(&w->users[i].image));
		}
	}
	for (i = 0; i < NUM_USERS; i++) {
		user_kill(&w->users[i]);
	}
	for (i = 0; i < NUM_USERS; i++) {
		user_open(&w->users[i]);
	}
}

static void step(struct world *w)
{
	struct user *user = &w->users[chance(w, NUM_USERS)];
	unsigned what = chance(w, 1000);

	if (what < 400) {
		do_write_send(w, user);
	} else if (what < 550) {
		do_write(w, user);
	} else if (what < 580) {
		do_zero(w, user);
	} else if (what < 900) {
		tevent_loop_once(w->ev);
	} else if (what < 930) {
		do_flush_send(w, user);
	} else if (what < 940) {
		do_flush(w, user);
	} else if (what < 942) {
		do_reopen(w, user);
	} else if (what < 950) {
		user_kill(user);
		user_open(user);
	} else if (what < 960 && w->short_sessions) {
		do_end_session(w);
	} else {
		do_read(w, user);
	}
}

/*
 * tevent_loop_once() waits when there is nothing: an event that is always
 * there.
 */
static void tick(struct tevent_context *ev, struct tevent_immediate *im,
		 void *private_data)
{
	tevent_schedule_immediate(im, ev, tick, private_data);
}

static void whatever_is_lost_the_image_is_one_that_could_have_been(
	void **state)
{
	const char *seeds = getenv("VHDX_SEED");
	uint32_t seed = seeds != NULL ? strtoul(seeds, NULL, 0) : 1;
	size_t round;
	size_t i;

	for (round = 0; round < 30; round++) {
		struct world *w = world_new(state, seed + round);

		tevent_schedule_immediate(tevent_create_immediate(w), w->ev,
					  tick, NULL);
		vhdx_memory_watch(w->memory, cut_sometimes, w);
		for (i = 0; i < 1000; i++) {
			step(w);
		}
		settle(w);
		for (i = 0; i < NUM_USERS; i++) {
			assert_ok(vhdx_close(&w->users[i].image));
		}
		do_cut(w);
		TALLOC_FREE(w);
	}
}

static int setup(void **state)
{
	*state = talloc_new(NULL);
	return 0;
}

static int teardown(void **state)
{
	talloc_free(*state);
	return 0;
}

/* What the dead had under way stays counted for ever: that is no leak. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			whatever_is_lost_the_image_is_one_that_could_have_been),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
