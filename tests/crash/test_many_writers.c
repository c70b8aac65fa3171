/*
 * vfs_rsvd: many processes at one image, killed at any instruction
 *
 * Eight processes write, zero, read and flush one image in a real file, with
 * a real database between them. Every second one of them is killed and
 * another takes its place; now and then all are. Half of those that are
 * killed are killed by themselves around a write of metadata, which happens
 * under the lock and takes too little time to be hit by chance. What each sector may have
 * is in shared memory, so every read of anybody is checked, and in the end
 * the whole disk.
 *
 * Nobody may be held up by a death. A process beside them does nothing but
 * write and flush a file of its own, so that a slow machine is not taken for
 * a stuck engine.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * time-limit: 240
 */

#include "replace.h"
#include <getopt.h>
#include <sys/mman.h>
#include "system/filesys.h"
#include "system/time.h"
#include "system/wait.h"
#include <tdb.h>
#include "lib/util/debug.h"
#include "lib/dbwrap/dbwrap.h"
#include "lib/dbwrap/dbwrap_tdb.h"
#include "modules/vhdx/vhdx.h"
#include "modules/vhdx/vhdx_shared.h"
#include "tests/crash/crash_disk.h"

#define SECTOR 512
#define BLOCK_SIZE ((uint64_t)1 << 20)
#define NUM_BLOCKS 16000
#define WINDOW 32		/* sectors used at either end of a block */
#define PER_BLOCK (2 * WINDOW)
#define NUM_SECTORS (NUM_BLOCKS * PER_BLOCK)
#define METADATA_END ((off_t)4 << 20)	/* where vhdx_create() puts payload */
#define MAX_WRITERS 32
#define MAX_DEPTH 4
#define HOLD_UP_NSEC ((uint64_t)1000000000)

/*
 * A sector's writes are numbered from 1 on, and follow each other: whoever
 * writes owns it. A reader may find any of those between the last one that
 * was acknowledged before it began and the last one begun before it ended.
 */
struct sector {
	uint32_t owner;		/* 1 + index of the process, or 0 */
	uint32_t begun;
	uint32_t acknowledged;
	uint64_t zeros;		/* bit begun % 64: this one wrote zeros */
};

enum kind { KIND_WRITE, KIND_ZERO, KIND_READ, KIND_FLUSH, KIND_OPEN,
	    KIND_CLOSE, NUM_KINDS };

static const char * const kind_names[] = {
	"write", "zero", "read", "flush", "open", "close",
};

struct world {
	bool stop;
	uint32_t next_block;
	uint64_t longest_control;
	uint64_t longest[NUM_KINDS];
	uint64_t count[NUM_KINDS];
	uint32_t writes_to_live[MAX_WRITERS];	/* 0: for ever */
	char failure[512];
	struct sector sectors[NUM_SECTORS];
};

struct options {
	unsigned seconds;
	unsigned num_writers;
	uint64_t seed;
	const char *directory;
};

static struct world *world;

#define LOAD(x) __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define STORE(x, value) __atomic_store_n(&(x), value, __ATOMIC_RELEASE)

static uint64_t now_nsec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void took(uint64_t *longest, uint64_t began)
{
	uint64_t nsec = now_nsec() - began;
	uint64_t old = LOAD(*longest);

	while (nsec > old &&
	       !__atomic_compare_exchange_n(longest, &old, nsec, false,
					    __ATOMIC_ACQ_REL,
					    __ATOMIC_ACQUIRE)) {
		/* old is what it is now */
	}
}

static void fail(const char *format, ...) PRINTF_ATTRIBUTE(1, 2);
static void fail(const char *format, ...)
{
	char buf[sizeof(world->failure)];
	va_list ap;

	va_start(ap, format);
	vsnprintf(buf, sizeof(buf), format, ap);
	va_end(ap);
	if (world->failure[0] == '\0') {
		memcpy(world->failure, buf, sizeof(buf));
	}
	STORE(world->stop, true);
}

/* Sectors: of the disk, and of the windows of it that are used */

static uint64_t disk_sector(uint32_t index)
{
	uint64_t per_block = BLOCK_SIZE / SECTOR;
	uint64_t in_block = index % PER_BLOCK;

	if (in_block >= WINDOW) {
		in_block += per_block - PER_BLOCK;
	}
	return index / PER_BLOCK * per_block + in_block;
}

static bool sectors_own(unsigned self, uint32_t first, uint32_t num)
{
	uint32_t i;

	for (i = 0; i < num; i++) {
		uint32_t nobody = 0;

		if (!__atomic_compare_exchange_n(
			    &world->sectors[first + i].owner, &nobody,
			    self + 1, false, __ATOMIC_ACQ_REL,
			    __ATOMIC_ACQUIRE)) {
			break;
		}
	}
	if (i == num) {
		return true;
	}
	while (i-- > 0) {
		STORE(world->sectors[first + i].owner, 0);
	}
	return false;
}

static void sector_begin(struct sector *sector, bool zero)
{
	uint32_t number = sector->begun + 1;
	uint64_t bit = UINT64_C(1) << (number % 64);

	STORE(sector->zeros, zero ? sector->zeros | bit :
				    sector->zeros & ~bit);
	STORE(sector->begun, number);
}

static void sector_fill(uint32_t index, uint8_t *buf)
{
	uint64_t *p = (uint64_t *)buf;
	uint64_t number = world->sectors[index].begun;
	uint64_t where = disk_sector(index);
	size_t i;

	for (i = 0; i < SECTOR / 16; i++) {
		*p++ = number;
		*p++ = where;
	}
}

static void sectors_end(uint32_t first, uint32_t num)
{
	uint32_t i;

	for (i = 0; i < num; i++) {
		struct sector *sector = &world->sectors[first + i];

		STORE(sector->acknowledged, sector->begun);
		STORE(sector->owner, 0);
	}
}

/* Was one of the writes from the first to the last one of zeros? */
static bool zeros_allowed(uint64_t zeros, uint32_t first, uint32_t last)
{
	uint32_t number;

	if (first == 0 || last - first >= 64) {
		return true;
	}
	for (number = first; number <= last; number++) {
		if ((zeros >> (number % 64)) & 1) {
			return true;
		}
	}
	return false;
}

static bool sector_check(uint32_t index, const uint8_t *buf,
			 uint32_t acknowledged)
{
	struct sector *sector = &world->sectors[index];
	uint32_t begun = LOAD(sector->begun);
	uint64_t zeros = LOAD(sector->zeros);
	const uint64_t *p = (const uint64_t *)buf;
	size_t i;

	for (i = 0; i < SECTOR / 16; i++) {
		uint64_t number = p[2 * i];
		uint64_t where = p[2 * i + 1];
		bool ok;

		if (number == 0) {
			ok = where == 0 &&
			     zeros_allowed(zeros, acknowledged, begun);
		} else {
			ok = where == disk_sector(index) &&
			     number >= acknowledged && number <= begun;
		}
		/* Only a write that goes on may be seen in part. */
		ok &= acknowledged < begun ||
		      (p[0] == number && p[1] == where);
		if (!ok) {
			fail("sector %" PRIu64 " (block %" PRIu32 ") has write "
			     "%" PRIu64 " of sector %" PRIu64 ", must have "
			     "%" PRIu32 " to %" PRIu32, disk_sector(index),
			     index / PER_BLOCK, number, where, acknowledged,
			     begun);
			return false;
		}
	}
	return true;
}

/* One process */

struct request {
	struct writer *writer;
	enum kind kind;
	uint32_t first;
	uint32_t num;
	uint64_t began;
	uint32_t acknowledged[PER_BLOCK];
	uint8_t buf[PER_BLOCK * SECTOR];
};

struct writer {
	unsigned self;
	struct crash_random random;
	struct tevent_context *ev;
	struct vhdx_storage *storage;
	struct vhdx_shared *shared;
	struct vhdx *image;
	unsigned num_running;
};

static bool is_alive(const struct server_id *id, void *private_data)
{
	return kill(id->pid, 0) == 0 || errno != ESRCH;
}

/* The engine's own writes, of headers, log and BAT */
static const struct vhdx_storage_ops *posix_ops;
static uint32_t *writes_to_live;

static void count_down(void)
{
	if (LOAD(*writes_to_live) != 0 &&
	    __atomic_sub_fetch(writes_to_live, 1, __ATOMIC_ACQ_REL) == 0) {
		raise(SIGKILL);
	}
}

/*
 * Now and then payload takes its time, when it has been said where it is:
 * others may trim the block meanwhile, and fill another one.
 */
static struct crash_random *slow_random;

static void take_time(off_t offset)
{
	if (offset >= METADATA_END && crash_random(slow_random, 200) == 0) {
		usleep(crash_random(slow_random, 300000));
	}
}

static ssize_t slow_pread(void *private_data, void *buf, size_t length,
			  off_t offset)
{
	take_time(offset);
	return posix_ops->pread(private_data, buf, length, offset);
}

static ssize_t mortal_pwrite(void *private_data, const void *buf,
			     size_t length, off_t offset)
{
	bool is_metadata = offset < METADATA_END;
	ssize_t ret;

	take_time(offset);

	if (is_metadata) {
		count_down();
	}
	ret = posix_ops->pwrite(private_data, buf, length, offset);
	if (is_metadata) {
		count_down();
	}
	return ret;
}

static void storage_make_mortal(struct writer *writer)
{
	struct vhdx_storage *storage = writer->storage;
	static struct vhdx_storage_ops ops;

	writes_to_live = &world->writes_to_live[writer->self];
	slow_random = &writer->random;
	posix_ops = storage->ops;
	ops = *storage->ops;
	ops.pread = slow_pread;
	ops.pwrite = mortal_pwrite;
	storage->ops = &ops;
}

static bool writer_open(struct writer *writer)
{
	uint64_t began = now_nsec();
	char *reason = NULL;
	NTSTATUS status;

	status = vhdx_open(writer, writer->storage, writer->shared, 0,
			   &writer->image, &reason);
	took(&world->longest[KIND_OPEN], began);
	world->count[KIND_OPEN] += 1;
	if (!NT_STATUS_IS_OK(status)) {
		fail("open: %s: %s", nt_errstr(status),
		     reason != NULL ? reason : "-");
		return false;
	}
	return true;
}

static bool writer_close(struct writer *writer)
{
	uint64_t began = now_nsec();
	NTSTATUS status;

	status = vhdx_close(&writer->image);
	took(&world->longest[KIND_CLOSE], began);
	world->count[KIND_CLOSE] += 1;
	if (!NT_STATUS_IS_OK(status)) {
		fail("close: %s", nt_errstr(status));
		return false;
	}
	return true;
}

static void request_end(struct request *request, NTSTATUS status)
{
	uint32_t i;

	took(&world->longest[request->kind], request->began);
	__atomic_add_fetch(&world->count[request->kind], 1,
			   __ATOMIC_RELAXED);
	request->writer->num_running -= 1;
	if (!NT_STATUS_IS_OK(status)) {
		fail("%s: %s", kind_names[request->kind], nt_errstr(status));
		return;
	}
	switch (request->kind) {
	case KIND_WRITE:
	case KIND_ZERO:
		sectors_end(request->first, request->num);
		break;
	case KIND_READ:
		for (i = 0; i < request->num; i++) {
			if (!sector_check(request->first + i,
					  request->buf + i * SECTOR,
					  request->acknowledged[i])) {
				break;
			}
		}
		break;
	default:
		break;
	}
	TALLOC_FREE(request);
}

static void write_done(struct tevent_req *req)
{
	struct request *request = tevent_req_callback_data(req,
							   struct request);
	request_end(request, vhdx_write_recv(req));
}

static void read_done(struct tevent_req *req)
{
	struct request *request = tevent_req_callback_data(req,
							   struct request);
	request_end(request, vhdx_read_recv(req));
}

static void flush_done(struct tevent_req *req)
{
	struct request *request = tevent_req_callback_data(req,
							   struct request);
	request_end(request, vhdx_flush_recv(req));
}

/*
 * Sectors that follow each other on the disk: inside a window, or from the
 * end of one block to the start of the next.
 */
static void range_choose(struct writer *writer, uint32_t *first,
			 uint32_t *num)
{
	struct crash_random *random = &writer->random;
	uint32_t block = LOAD(world->next_block);
	uint32_t start;

	if (crash_chance(random, 1)) {
		/* New ones, and everybody at the same ones */
		__atomic_add_fetch(&world->next_block, 1, __ATOMIC_RELAXED);
		block += crash_random(random, 4);
	} else {
		block = crash_random(random, block + 1);
	}
	block = MIN(block, NUM_BLOCKS - 2);
	start = crash_random(random, WINDOW);
	*num = 1 + crash_random(random, WINDOW - start);
	if (crash_chance(random, 40)) {
		start += WINDOW;
		if (crash_chance(random, 30)) {
			*num = WINDOW - (start - WINDOW) +
			       crash_random(random, WINDOW);
		}
	}
	*first = block * PER_BLOCK + start;
}

static void writer_request(struct writer *writer, enum kind kind)
{
	struct request *request = talloc(writer, struct request);
	bool wait = crash_chance(&writer->random, 30);
	bool trim = kind == KIND_ZERO && crash_chance(&writer->random, 50);
	struct tevent_req *req = NULL;
	uint64_t offset;
	size_t length;
	uint32_t i;

	request->writer = writer;
	request->kind = kind;
	range_choose(writer, &request->first, &request->num);
	if (trim) {
		/* A whole block: others get its place. */
		request->first -= request->first % PER_BLOCK;
		request->num = PER_BLOCK;
	}
	if ((kind == KIND_WRITE || kind == KIND_ZERO) &&
	    !sectors_own(writer->self, request->first, request->num)) {
		TALLOC_FREE(request);
		return;
	}
	offset = disk_sector(request->first) * SECTOR;
	length = trim ? BLOCK_SIZE : (size_t)request->num * SECTOR;
	for (i = 0; i < request->num; i++) {
		uint32_t index = request->first + i;

		if (kind == KIND_READ) {
			request->acknowledged[i] =
				LOAD(world->sectors[index].acknowledged);
		} else if (kind != KIND_FLUSH) {
			sector_begin(&world->sectors[index],
				     kind == KIND_ZERO);
			sector_fill(index, request->buf + i * SECTOR);
		}
	}
	writer->num_running += 1;
	request->began = now_nsec();
	switch (kind) {
	case KIND_WRITE:
		if (wait) {
			request_end(request,
				    vhdx_write(writer->image, request->buf,
					       length, offset));
			return;
		}
		req = vhdx_write_send(request, writer->ev, writer->image,
				      request->buf, length, offset);
		tevent_req_set_callback(req, write_done, request);
		return;
	case KIND_ZERO:
		request_end(request, vhdx_zero(writer->image, offset, length));
		return;
	case KIND_READ:
		if (wait) {
			request_end(request,
				    vhdx_read(writer->image, request->buf,
					      length, offset));
			return;
		}
		req = vhdx_read_send(request, writer->ev, writer->image,
				     request->buf, length, offset);
		tevent_req_set_callback(req, read_done, request);
		return;
	default:
		req = vhdx_flush_send(request, writer->ev, writer->image);
		tevent_req_set_callback(req, flush_done, request);
		return;
	}
}

static void writer_work(struct writer *writer)
{
	while (!LOAD(world->stop)) {
		unsigned depth = 1 + crash_random(&writer->random, MAX_DEPTH);

		while (depth > 0 && !LOAD(world->stop)) {
			uint64_t choice = crash_random(&writer->random, 100);

			depth -= 1;
			writer_request(writer, choice < 50 ? KIND_WRITE :
					       choice < 60 ? KIND_ZERO :
					       choice < 98 ? KIND_READ :
							     KIND_FLUSH);
		}
		while (writer->num_running > 0) {
			tevent_loop_once(writer->ev);
		}
		if (crash_random(&writer->random, 2000) == 0 &&
		    (!writer_close(writer) || !writer_open(writer))) {
			return;
		}
	}
}

static struct db_context *database_open(TALLOC_CTX *mem_ctx,
					const char *directory)
{
	/* As smbd opens a volatile database */
	int flags = TDB_CLEAR_IF_FIRST | TDB_INCOMPATIBLE_HASH | TDB_SEQNUM;
	char *path = talloc_asprintf(mem_ctx, "%s/rsvd.tdb", directory);
	struct db_context *db = NULL;

	if (tdb_runtime_check_for_robust_mutexes()) {
		flags |= TDB_MUTEX_LOCKING;
	}
	db = db_open_tdb(mem_ctx, path, 0, flags, O_RDWR | O_CREAT, 0600,
			 DBWRAP_LOCK_ORDER_NONE, 0);
	TALLOC_FREE(path);
	return db;
}

static void writer_main(const struct options *options, unsigned self,
			uint64_t seed)
{
	struct writer *writer = talloc_zero(NULL, struct writer);
	struct server_id id = { .pid = getpid(), .vnn = NONCLUSTER_VNN };
	char *path = talloc_asprintf(writer, "%s/disk.vhdx",
				     options->directory);
	struct db_context *db = database_open(writer, options->directory);
	uint8_t key[] = { 'M' };

	writer->self = self;
	writer->random.state = seed;
	writer->ev = tevent_context_init(writer);
	if (db == NULL || vhdx_storage_posix_open(writer, path, O_RDWR,
						  &writer->storage) != 0) {
		fail("process %u cannot begin: %s", self, strerror(errno));
		return;
	}
	storage_make_mortal(writer);
	writer->shared = vhdx_shared_init(
		writer, db, (TDB_DATA) { .dptr = key, .dsize = sizeof(key) },
		id, is_alive, NULL);
	if (!writer_open(writer)) {
		return;
	}
	writer_work(writer);
	if (world->failure[0] == '\0') {
		writer_close(writer);
	}
}

/* How slow the machine is without us */
static void control_main(const struct options *options)
{
	char *path = talloc_asprintf(NULL, "%s/control", options->directory);
	uint8_t buf[4096] = { 0 };
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	while (!LOAD(world->stop)) {
		uint64_t began = now_nsec();

		if (pwrite(fd, buf, sizeof(buf), 0) != sizeof(buf) ||
		    fsync(fd) == -1) {
			fail("control: %s", strerror(errno));
		}
		took(&world->longest_control, began);
		usleep(1000);
	}
}

/* The parent */

struct parent {
	const struct options *options;
	struct crash_random random;
	struct db_context *db;
	pid_t pids[MAX_WRITERS];
	pid_t control;
	unsigned num_kills;
};

static pid_t start(struct parent *parent, int self)
{
	uint64_t seed = crash_random(&parent->random, 0);
	pid_t pid = fork();

	if (pid == -1) {
		fail("fork: %s", strerror(errno));
	}
	if (pid == 0) {
		if (self == -1) {
			control_main(parent->options);
		} else {
			writer_main(parent->options, self, seed);
		}
		_exit(0);
	}
	return pid;
}

static void reap(struct parent *parent, unsigned i, bool killed)
{
	int status = 0;
	size_t j;

	waitpid(parent->pids[i], &status, 0);
	parent->pids[i] = 0;
	if (!killed && status != 0) {
		fail("a process ended with wait status %d", status);
	}
	/* Nothing of it can write any more. */
	for (j = 0; j < NUM_SECTORS; j++) {
		if (world->sectors[j].owner == i + 1) {
			STORE(world->sectors[j].owner, 0);
		}
	}
}

static void kill_some(struct parent *parent)
{
	unsigned num = parent->options->num_writers;
	unsigned one = crash_random(&parent->random, num);
	bool all = crash_chance(&parent->random, 15);
	unsigned i;

	if (!all && crash_chance(&parent->random, 50)) {
		STORE(world->writes_to_live[one],
		      1 + crash_random(&parent->random, 12));
		for (i = 0; i < 300 &&
		     LOAD(world->writes_to_live[one]) != 0; i++) {
			usleep(1000);
		}
	}
	for (i = 0; i < num; i++) {
		if (all || i == one) {
			kill(parent->pids[i], SIGKILL);
			STORE(world->writes_to_live[i], 0);
		}
	}
	for (i = 0; i < num; i++) {
		if (all || i == one) {
			reap(parent, i, true);
			parent->num_kills += 1;
		}
	}
	for (i = 0; i < num; i++) {
		if (all || i == one) {
			parent->pids[i] = start(parent, i);
		}
	}
}

static void disk_check(const char *path)
{
	struct vhdx_check_report *report = NULL;
	struct vhdx_storage *storage = NULL;
	struct vhdx *image = NULL;
	uint8_t buf[WINDOW * SECTOR];
	NTSTATUS status;
	uint32_t index;
	size_t i;

	if (vhdx_storage_posix_open(NULL, path, O_RDONLY, &storage) != 0) {
		fail("%s: %s", path, strerror(errno));
		return;
	}
	status = vhdx_check(storage, storage, &report);
	if (!NT_STATUS_IS_OK(status)) {
		fail("check: %s", nt_errstr(status));
		return;
	}
	for (i = 0; i < report->num_findings; i++) {
		const struct vhdx_check_finding *f = &report->findings[i];

		if (f->is_error || strcmp(f->structure, "log") == 0) {
			fail("check: %s, %s: %s", f->structure, f->field,
			     f->rule);
		}
	}
	printf("# %" PRIu64 " blocks in use, %" PRIu64 " bytes leaked\n",
	       report->num_allocated_blocks, report->leaked_bytes);
	status = vhdx_open(storage, storage, NULL, VHDX_OPEN_READ_ONLY,
			   &image, NULL);
	if (!NT_STATUS_IS_OK(status)) {
		fail("last open: %s", nt_errstr(status));
		return;
	}
	for (index = 0; index < NUM_SECTORS; index += WINDOW) {
		status = vhdx_read(image, buf, sizeof(buf),
				   disk_sector(index) * SECTOR);
		if (!NT_STATUS_IS_OK(status)) {
			fail("last read: %s", nt_errstr(status));
			return;
		}
		for (i = 0; i < WINDOW; i++) {
			if (!sector_check(index + i, buf + i * SECTOR,
					  world->sectors[index +
							 i].acknowledged)) {
				return;
			}
		}
	}
	vhdx_close(&image);
	TALLOC_FREE(storage);
}

static bool image_create(const char *path)
{
	struct vhdx_create_params params = {
		.virtual_size = NUM_BLOCKS * BLOCK_SIZE,
		.block_size = BLOCK_SIZE,
	};
	struct vhdx_storage *storage = NULL;
	NTSTATUS status;

	if (vhdx_storage_posix_open(NULL, path, O_RDWR | O_CREAT | O_TRUNC,
				    &storage) != 0) {
		fail("%s: %s", path, strerror(errno));
		return false;
	}
	status = vhdx_create(storage, &params);
	TALLOC_FREE(storage);
	if (!NT_STATUS_IS_OK(status)) {
		fail("create: %s", nt_errstr(status));
		return false;
	}
	return true;
}

static void run(struct parent *parent)
{
	const struct options *options = parent->options;
	char *path = talloc_asprintf(NULL, "%s/disk.vhdx",
				     options->directory);
	uint64_t end = now_nsec() + options->seconds * UINT64_C(1000000000);
	uint64_t next_kill = now_nsec() + UINT64_C(1000000000);
	unsigned i;

	/* In smbd, too, somebody keeps the database open. */
	parent->db = database_open(NULL, options->directory);
	if (parent->db == NULL || !image_create(path)) {
		fail("cannot begin: %s", strerror(errno));
		goto done;
	}
	parent->control = start(parent, -1);
	for (i = 0; i < options->num_writers; i++) {
		parent->pids[i] = start(parent, i);
	}
	while (!LOAD(world->stop)) {
		uint64_t now = now_nsec();

		if (now >= end) {
			STORE(world->stop, true);
		} else if (now >= next_kill) {
			kill_some(parent);
			next_kill = now + UINT64_C(1000000000);
		} else {
			usleep(1000 + crash_random(&parent->random, 10000));
		}
	}
	for (i = 0; i < options->num_writers; i++) {
		reap(parent, i, false);
	}
	waitpid(parent->control, NULL, 0);
	if (world->failure[0] == '\0') {
		disk_check(path);
	}
	unlink(path);
done:
	TALLOC_FREE(path);
}

static uint64_t print_times(void)
{
	uint64_t longest = 0;
	unsigned i;

	for (i = 0; i < NUM_KINDS; i++) {
		printf("# %8" PRIu64 " x %s, the longest %.3f s\n",
		       world->count[i], kind_names[i],
		       world->longest[i] / 1e9);
		longest = MAX(longest, world->longest[i]);
	}
	printf("# one page and a flush beside them: the longest %.3f s\n",
	       world->longest_control / 1e9);
	return longest;
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "seconds", required_argument, NULL, 's' },
		{ "writers", required_argument, NULL, 'w' },
		{ "seed", required_argument, NULL, 'r' },
		{ "directory", required_argument, NULL, 'd' },
		{ NULL, 0, NULL, 0 },
	};
	struct options options = {
		.seconds = 60, .num_writers = 8, .seed = now_nsec(),
	};
	struct parent parent = { .options = &options };
	uint64_t longest;
	bool correct;
	bool prompt;
	int opt;

	options.directory = getenv("TMPDIR") != NULL ? getenv("TMPDIR") :
						       "/tmp";
	while ((opt = getopt_long(argc, argv, "", long_options, NULL)) !=
	       -1) {
		switch (opt) {
		case 's':
			options.seconds = strtoul(optarg, NULL, 0);
			break;
		case 'w':
			options.num_writers = MIN(strtoul(optarg, NULL, 0),
						  MAX_WRITERS);
			break;
		case 'r':
			options.seed = strtoull(optarg, NULL, 0);
			break;
		case 'd':
			options.directory = optarg;
			break;
		default:
			fprintf(stderr, "usage: test_many_writers "
				"[--seconds=N] [--writers=N] [--seed=N] "
				"[--directory=DIR]\n");
			return 2;
		}
	}
	setup_logging("test_many_writers", DEBUG_STDERR);
	setlinebuf(stdout);
	printf("1..2\n# seed %" PRIu64 "\n", options.seed);
	parent.random.state = options.seed;
	world = mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (world == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	run(&parent);

	longest = print_times();
	correct = world->failure[0] == '\0';
	if (!correct) {
		printf("# %s\n", world->failure);
	}
	printf("%sok 1 - %u processes read what they wrote while %u of them "
	       "are killed\n", correct ? "" : "not ", options.num_writers,
	       parent.num_kills);
	/* On top of what the machine needs for a flush, and one in the way */
	prompt = longest <= HOLD_UP_NSEC + 2 * world->longest_control;
	printf("%sok 2 - nobody waits for a second because of a death\n",
	       prompt ? "" : "not ");
	return correct && prompt ? 0 : 1;
}
