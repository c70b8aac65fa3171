/*
 * vfs_rsvd: several processes write one image, and some are killed
 *
 * Every process owns every n-th piece of the disk, smaller than a block, so
 * that they allocate the same blocks and yet what has to be on the disk is
 * known. That is kept in memory that all share.
 *
 * time-limit: 400
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "system/filesys.h"
#include "system/wait.h"
#include <sys/mman.h>
#include <setjmp.h>
#include <sched.h>
#include <signal.h>
#include <cmocka.h>
#include "lib/dbwrap/dbwrap.h"
#include "lib/dbwrap/dbwrap_tdb.h"
#include "lib/util/tevent_ntstatus.h"
#include "modules/vhdx/vhdx_private.h"
#include "tests/unit/vhdx_memory.h"

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)

#define UNIT 4096
#define MAX_PROCESSES 8
#define MAX_DISK_SIZE (768 * MIB)
#define SMALL_DISK_SIZE (128 * MIB)
#define BLOCK_SIZE (2 * MIB)
#define NUM_UNITS (MAX_DISK_SIZE / UNIT)
#define MAX_IN_FLIGHT 8

/* What a unit of the disk has, and may have when its writer was killed */
struct unit {
	uint64_t done;
	uint64_t begun;
	bool doubtful;	/* ... and one before it at the same place, too */
};

struct board {
	struct unit units[NUM_UNITS];
	uint64_t num_writes[MAX_PROCESSES];
	volatile int go;
};

struct test {
	char dir[64];
	char *image_path;
	char *db_path;
	struct board *board;
	uint64_t disk_size;
	unsigned num_processes;
	uint64_t num_ranges;
};

struct user {
	struct db_context *db;
	struct vhdx_storage *storage;
	struct vhdx_shared *shared;
	struct vhdx *image;
};

#define assert_ok(status) \
	assert_int_equal(NT_STATUS_V(status), NT_STATUS_V(NT_STATUS_OK))

/* In a child there is no cmocka to tell. */
#define child_assert(condition) do { \
	if (!(condition)) { \
		fprintf(stderr, "%s:%d: %s\n", __func__, __LINE__, \
			#condition); \
		_exit(1); \
	} \
} while (0)

static bool pid_alive(const struct server_id *id, void *private_data)
{
	return kill(id->pid, 0) == 0;
}

static NTSTATUS user_open(TALLOC_CTX *mem_ctx, const struct test *test,
			  struct user *user)
{
	struct server_id self = { .pid = getpid() };
	TDB_DATA key = { .dptr = discard_const_p(uint8_t, "image"),
			 .dsize = 5 };
	int ret;

	*user = (struct user) { .db = NULL };
	user->db = db_open_tdb(mem_ctx, test->db_path, 0,
			       TDB_INCOMPATIBLE_HASH | TDB_SEQNUM,
			       O_RDWR | O_CREAT, 0600, DBWRAP_LOCK_ORDER_1,
			       DBWRAP_FLAG_NONE);
	if (user->db == NULL) {
		return NT_STATUS_INTERNAL_DB_ERROR;
	}
	ret = vhdx_storage_posix_open(mem_ctx, test->image_path, O_RDWR,
				      &user->storage);
	if (ret != 0) {
		return NT_STATUS_UNSUCCESSFUL;
	}
	user->shared = vhdx_shared_init(mem_ctx, user->db, key, self,
					pid_alive, NULL);
	return vhdx_open(mem_ctx, user->storage, user->shared, 0,
			 &user->image, NULL);
}

static void test_new(struct test *test, TALLOC_CTX *mem_ctx,
		     uint64_t disk_size, unsigned num_processes,
		     uint64_t num_ranges)
{
	struct vhdx_create_params params = {
		.virtual_size = disk_size,
		.block_size = BLOCK_SIZE,
	};
	const char *tmp = getenv("TMPDIR");
	struct vhdx_storage *storage = NULL;

	/* Small and many: there a flush costs nothing. */
	if (disk_size == SMALL_DISK_SIZE && access("/dev/shm", W_OK) == 0) {
		tmp = "/dev/shm";
	}

	*test = (struct test) {
		.disk_size = disk_size,
		.num_processes = num_processes,
		.num_ranges = num_ranges,
	};
	snprintf(test->dir, sizeof(test->dir), "%s/vhdx.XXXXXX",
		 tmp != NULL && strlen(tmp) < 40 ? tmp : "/tmp");
	assert_non_null(mkdtemp(test->dir));
	test->image_path = talloc_asprintf(mem_ctx, "%s/image.vhdx",
					   test->dir);
	test->db_path = talloc_asprintf(mem_ctx, "%s/db.tdb", test->dir);
	assert_int_equal(vhdx_storage_posix_open(mem_ctx, test->image_path,
						 O_RDWR | O_CREAT | O_EXCL,
						 &storage), 0);
	assert_ok(vhdx_create(storage, &params));
	TALLOC_FREE(storage);
	test->board = mmap(NULL, sizeof(*test->board),
			   PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(test->board != MAP_FAILED);
}

static void test_end(struct test *test)
{
	munmap(test->board, sizeof(*test->board));
	unlink(test->image_path);
	unlink(test->db_path);
	rmdir(test->dir);
}

/* The piece of a block that a process owns, and a range in it */
static void pick_range(const struct test *test, unsigned self,
		       uint32_t *seed, uint64_t *offset, uint64_t *length)
{
	uint64_t piece = BLOCK_SIZE / 2 / test->num_processes * 2;
	uint64_t block = vhdx_memory_random(seed) %
			 (test->disk_size / BLOCK_SIZE);
	uint64_t units = MIN(piece, MIB) / UNIT;
	uint64_t first = vhdx_memory_random(seed) % units;
	uint64_t max = units - first;
	unsigned bits = vhdx_memory_random(seed) % 9;

	/* All sizes from 4 KiB to 1 MiB, small ones as often as large ones */
	max = MIN(max, (uint64_t)1 << bits);
	*length = (1 + vhdx_memory_random(seed) % max) * UNIT;
	*offset = block * BLOCK_SIZE + self * piece + first * UNIT;
}

static void fill(uint8_t *buf, uint64_t length, uint64_t stamp)
{
	uint64_t i;

	for (i = 0; i < length; i += 8) {
		memcpy(buf + i, &stamp, 8);
	}
}

static void board_begin(struct board *board, uint64_t offset,
			uint64_t length, uint64_t stamp)
{
	uint64_t i;

	for (i = offset / UNIT; i < (offset + length) / UNIT; i++) {
		struct unit *unit = &board->units[i];

		unit->doubtful |= unit->begun != unit->done;
		unit->begun = stamp;
	}
}

static void board_done(struct board *board, uint64_t offset, uint64_t length,
		       uint64_t stamp)
{
	uint64_t i;

	for (i = offset / UNIT; i < (offset + length) / UNIT; i++) {
		board->units[i].done = stamp;
		board->units[i].doubtful = false;
	}
}

struct writer;

struct flight {
	struct writer *writer;
	uint8_t *buf;
	uint64_t offset;
	uint64_t length;
	uint64_t stamp;
};

struct writer {
	const struct test *test;
	struct user user;
	struct tevent_context *ev;
	unsigned self;
	uint32_t seed;
	uint64_t num_begun;
	uint64_t num_done;
	struct flight flights[MAX_IN_FLIGHT];
};

static void flight_start(struct flight *flight);

static void flight_done(struct tevent_req *req)
{
	struct flight *flight = tevent_req_callback_data_void(req);
	struct writer *w = flight->writer;
	NTSTATUS status = vhdx_write_recv(req);

	TALLOC_FREE(req);
	child_assert(NT_STATUS_IS_OK(status));
	board_done(w->test->board, flight->offset, flight->length,
		   flight->stamp);
	flight->length = 0;
	w->num_done += 1;
	w->test->board->num_writes[w->self] = w->num_done;
	flight_start(flight);
}

static bool overlaps_another(const struct writer *w, uint64_t offset,
			     uint64_t length)
{
	size_t i;

	for (i = 0; i < MAX_IN_FLIGHT; i++) {
		const struct flight *f = &w->flights[i];

		if (f->length > 0 && f->offset < offset + length &&
		    offset < f->offset + f->length) {
			return true;
		}
	}
	return false;
}

static void flight_start(struct flight *flight)
{
	struct writer *w = flight->writer;
	struct tevent_req *req = NULL;
	uint64_t offset;
	uint64_t length;

	if (w->num_begun == w->test->num_ranges) {
		return;
	}
	do {
		pick_range(w->test, w->self, &w->seed, &offset, &length);
	} while (overlaps_another(w, offset, length));
	w->num_begun += 1;
	flight->offset = offset;
	flight->length = length;
	flight->stamp = (uint64_t)(w->self + 1) << 48 | w->num_begun;
	fill(flight->buf, length, flight->stamp);
	board_begin(w->test->board, offset, length, flight->stamp);

	req = vhdx_write_send(w->ev, w->ev, w->user.image, flight->buf,
			      length, offset);
	child_assert(req != NULL);
	tevent_req_set_callback(req, flight_done, flight);
}

static void writer_run(const struct test *test, unsigned self,
		       unsigned num_in_flight)
{
	TALLOC_CTX *mem_ctx = talloc_new(NULL);
	struct writer *w = talloc_zero(mem_ctx, struct writer);
	size_t i;

	w->test = test;
	w->self = self;
	w->seed = 20260722 + self * 7919;
	w->ev = tevent_context_init(w);
	child_assert(NT_STATUS_IS_OK(user_open(mem_ctx, test, &w->user)));
	for (i = 0; i < num_in_flight; i++) {
		w->flights[i].writer = w;
		w->flights[i].buf = talloc_array(w, uint8_t, MIB);
		flight_start(&w->flights[i]);
	}
	while (w->num_done < test->num_ranges) {
		child_assert(tevent_loop_once(w->ev) == 0);
	}
	child_assert(NT_STATUS_IS_OK(vhdx_close(&w->user.image)));
	TALLOC_FREE(mem_ctx);
}

static pid_t writer_fork(const struct test *test, unsigned self,
			 unsigned num_in_flight)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		writer_run(test, self, num_in_flight);
		_exit(0);
	}
	return pid;
}

static void check_image(const struct test *test, TALLOC_CTX *mem_ctx,
			bool may_leak)
{
	struct vhdx_check_report *report = NULL;
	struct vhdx_storage *storage = NULL;
	size_t num = 0;
	size_t i;

	assert_int_equal(vhdx_storage_posix_open(mem_ctx, test->image_path,
						 O_RDONLY, &storage), 0);
	assert_ok(vhdx_check(mem_ctx, storage, NULL, NULL, &report));
	for (i = 0; i < report->num_findings; i++) {
		const struct vhdx_check_finding *f = &report->findings[i];

		if (may_leak && strcmp(f->structure, "file") == 0) {
			continue;
		}
		print_message("%s: %s: %s\n", f->structure, f->field,
			      f->rule);
		num += 1;
	}
	assert_int_equal(num, 0);
	TALLOC_FREE(storage);
	TALLOC_FREE(report);
}

/* Every 512 bytes are what was written last, or what a killed one began. */
static void check_data(const struct test *test, TALLOC_CTX *mem_ctx,
		       bool killed)
{
	struct vhdx_storage *storage = NULL;
	struct vhdx *image = NULL;
	uint64_t *buf = NULL;
	uint64_t offset;
	size_t i;

	assert_int_equal(vhdx_storage_posix_open(mem_ctx, test->image_path,
						 O_RDONLY, &storage), 0);
	assert_ok(vhdx_open(mem_ctx, storage, NULL, VHDX_OPEN_READ_ONLY,
			    &image, NULL));
	buf = talloc_array(mem_ctx, uint64_t, MIB / 8);
	for (offset = 0; offset < test->disk_size; offset += MIB) {
		assert_ok(vhdx_read(image, buf, MIB, offset));
		for (i = 0; i < MIB / 8; i++) {
			const struct unit *unit =
				&test->board->units[(offset + i * 8) / UNIT];

			if (buf[i] == unit->done ||
			    (killed && buf[i] == unit->begun) ||
			    (killed && unit->doubtful &&
			     buf[i] >> 48 == unit->begun >> 48)) {
				continue;
			}
			fail_msg("at %ju: %jx, wanted %jx or %jx",
				 (uintmax_t)(offset + i * 8),
				 (uintmax_t)buf[i], (uintmax_t)unit->done,
				 (uintmax_t)unit->begun);
		}
	}
	assert_ok(vhdx_close(&image));
	TALLOC_FREE(storage);
	TALLOC_FREE(buf);
}

static void wait_for(pid_t pid)
{
	int wstatus;

	assert_int_equal(waitpid(pid, &wstatus, 0), pid);
	assert_true(WIFEXITED(wstatus));
	assert_int_equal(WEXITSTATUS(wstatus), 0);
}

static void run_writers(void **state, unsigned num_processes,
			uint64_t num_ranges)
{
	struct test test;
	pid_t pids[MAX_PROCESSES];
	unsigned i;

	test_new(&test, *state, MAX_DISK_SIZE, num_processes, num_ranges);
	for (i = 0; i < num_processes; i++) {
		/* One at a time, a few at a time, ... */
		pids[i] = writer_fork(&test, i, i % 2 == 0 ? MAX_IN_FLIGHT :
				      1);
	}
	for (i = 0; i < num_processes; i++) {
		wait_for(pids[i]);
	}
	check_data(&test, *state, false);
	check_image(&test, *state, false);
	test_end(&test);
}

static void two_processes_leave_exactly_what_they_wrote(void **state)
{
	run_writers(state, 2, 20000);
}

static void eight_processes_leave_exactly_what_they_wrote(void **state)
{
	run_writers(state, 8, 1500);
}

/*
 * One process after the other is killed somewhere in its work, and another
 * takes its place; two go on all the time. Nobody is held up, and in the end
 * everything is there.
 */
static void killed_processes_hurt_nobody(void **state)
{
	struct test test;
	struct user user;
	pid_t survivors[2];
	unsigned round;
	unsigned i;

	test_new(&test, *state, MAX_DISK_SIZE, 4, 3000);
	for (i = 0; i < 2; i++) {
		survivors[i] = writer_fork(&test, i, MAX_IN_FLIGHT);
	}
	for (round = 0; round < 30; round++) {
		pid_t victims[2];

		for (i = 0; i < 2; i++) {
			test.board->num_writes[2 + i] = 0;
			victims[i] = writer_fork(&test, 2 + i, 1 + i * 7);
		}
		for (i = 0; i < 2; i++) {
			int wstatus;

			/* Somewhere in the first few dozen allocations */
			while (test.board->num_writes[2 + i] <
			       1 + round * 3) {
				if (waitpid(victims[i], &wstatus, WNOHANG) ==
				    victims[i]) {
					fail_msg("a writer failed");
				}
				sched_yield();
			}
			kill(victims[i], SIGKILL);
			assert_int_equal(waitpid(victims[i], &wstatus, 0),
					 victims[i]);
			assert_true(WIFSIGNALED(wstatus));
		}
	}
	for (i = 0; i < 2; i++) {
		wait_for(survivors[i]);
	}
	check_data(&test, *state, true);
	/* Where all were dead at the same time, this is the next one. */
	assert_ok(user_open(*state, &test, &user));
	assert_ok(vhdx_close(&user.image));
	check_data(&test, *state, true);
	check_image(&test, *state, true);
	test_end(&test);
}

/*
 * A storage that kills its process at a certain change of the file: before,
 * or right after it.
 */
struct deadly {
	struct vhdx_storage storage;
	struct vhdx_storage_ops ops;
	struct vhdx_storage *real;
	uint64_t changes_left;
	bool after;
};

static void deadly_change(struct deadly *deadly, bool is_after)
{
	if (deadly->changes_left == 0 && deadly->after == is_after) {
		kill(getpid(), SIGKILL);
	}
	if (is_after) {
		deadly->changes_left -= 1;
	}
}

static ssize_t deadly_pread(void *private_data, void *buf, size_t length,
			    off_t offset)
{
	struct deadly *d = private_data;

	return d->real->ops->pread(d->real->private_data, buf, length,
				   offset);
}

static ssize_t deadly_pwrite(void *private_data, const void *buf,
			     size_t length, off_t offset)
{
	struct deadly *d = private_data;
	ssize_t ret;

	deadly_change(d, false);
	ret = d->real->ops->pwrite(d->real->private_data, buf, length,
				   offset);
	deadly_change(d, true);
	return ret;
}

static int deadly_fsync(void *private_data)
{
	struct deadly *d = private_data;
	int ret;

	deadly_change(d, false);
	ret = d->real->ops->fsync(d->real->private_data);
	deadly_change(d, true);
	return ret;
}

static int deadly_fsync_range(void *private_data, off_t offset, off_t length)
{
	struct deadly *d = private_data;
	int ret;

	deadly_change(d, false);
	ret = d->real->ops->fsync_range(d->real->private_data, offset, length);
	deadly_change(d, true);
	return ret;
}

static int deadly_ftruncate(void *private_data, off_t length)
{
	struct deadly *d = private_data;
	int ret;

	deadly_change(d, false);
	ret = d->real->ops->ftruncate(d->real->private_data, length);
	deadly_change(d, true);
	return ret;
}

static off_t deadly_size(void *private_data)
{
	struct deadly *d = private_data;

	return d->real->ops->size(d->real->private_data);
}

/*
 * Open, write to blocks of its own and of the other, close; dies at the n-th
 * change. The other blocks are those that the survivor has not looked at.
 */
static void deadly_run(const struct test *test, uint64_t num_changes,
		       bool after)
{
	TALLOC_CTX *mem_ctx = talloc_new(NULL);
	struct deadly *d = talloc_zero(mem_ctx, struct deadly);
	uint8_t *buf = talloc_array(mem_ctx, uint8_t, UNIT);
	struct user user;
	uint64_t stamp = 0;
	uint64_t i;

	child_assert(NT_STATUS_IS_OK(user_open(mem_ctx, test, &user)));
	d->ops = *user.storage->ops;
	d->ops.pread = deadly_pread;
	d->ops.pwrite = deadly_pwrite;
	d->ops.fsync = deadly_fsync;
	d->ops.fsync_range = deadly_fsync_range;
	d->ops.ftruncate = deadly_ftruncate;
	d->ops.size = deadly_size;
	d->storage.ops = &d->ops;
	d->storage.private_data = d;
	d->real = user.storage;
	d->changes_left = num_changes;
	d->after = after;
	user.image->storage = &d->storage;

	for (i = 0; i < 6; i++) {
		uint64_t offset = (10 + i * 3) * BLOCK_SIZE;

		stamp += 1;
		fill(buf, UNIT, stamp);
		board_begin(test->board, offset, UNIT, stamp);
		child_assert(NT_STATUS_IS_OK(
			vhdx_write(user.image, buf, UNIT, offset)));
		board_done(test->board, offset, UNIT, stamp);
	}
	child_assert(NT_STATUS_IS_OK(vhdx_close(&user.image)));
	_exit(0);
}

/*
 * Is there a survivor that has the image open all the time, and had it
 * written, so that headers and log are done, before the other came?
 */
static bool deadly_round(void **state, uint64_t num_changes, bool after,
			 bool with_survivor, bool has_written)
{
	TALLOC_CTX *mem_ctx = talloc_new(*state);
	struct test test;
	struct user user;
	uint8_t *buf = talloc_array(mem_ctx, uint8_t, UNIT);
	uint64_t i;
	int wstatus;
	pid_t pid;

	test_new(&test, mem_ctx, SMALL_DISK_SIZE, 1, 0);
	if (with_survivor) {
		assert_ok(user_open(mem_ctx, &test, &user));
		if (has_written) {
			fill(buf, UNIT, 99);
			board_done(test.board, 0, UNIT, 99);
			assert_ok(vhdx_write(user.image, buf, UNIT, 0));
		}
	}
	pid = fork();
	if (pid == 0) {
		deadly_run(&test, num_changes, after);
	}
	assert_int_equal(waitpid(pid, &wstatus, 0), pid);

	if (!with_survivor) {
		assert_ok(user_open(mem_ctx, &test, &user));
	}
	for (i = 0; i < 8; i++) {
		/* Two blocks in three are also the dead one's. */
		uint64_t offset = (10 + i * 3 / 2) * BLOCK_SIZE + UNIT;

		fill(buf, UNIT, 1000 + i);
		board_begin(test.board, offset, UNIT, 1000 + i);
		board_done(test.board, offset, UNIT, 1000 + i);
		assert_ok(vhdx_write(user.image, buf, UNIT, offset));
	}
	assert_ok(vhdx_close(&user.image));
	check_data(&test, mem_ctx, true);
	check_image(&test, mem_ctx, !with_survivor);
	test_end(&test);
	TALLOC_FREE(mem_ctx);
	/* It got to its end: there are no more places to kill it at. */
	return WIFSIGNALED(wstatus);
}

static void process_killed_at_any_change_is_cleaned_up_after(void **state)
{
	unsigned kind;

	for (kind = 0; kind < 8; kind++) {
		uint64_t n = 0;

		while (deadly_round(state, n, kind & 1, kind & 2, kind & 4)) {
			n += 1;
		}
		/* Six blocks of three writes each, and then some */
		assert_true(n >= 18);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			process_killed_at_any_change_is_cleaned_up_after),
		cmocka_unit_test(two_processes_leave_exactly_what_they_wrote),
		cmocka_unit_test(
			eight_processes_leave_exactly_what_they_wrote),
		cmocka_unit_test(killed_processes_hurt_nobody),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
