/*
 * vfs_rsvd: many processes at one image, killed at any instruction
 *
 * Eight processes write, zero, read and flush one image in a real file, with
 * a real database between them. Every second one of them is killed and
 * another takes its place; now and then all are. Half of those that are
 * killed are killed by themselves around a write of metadata, which happens
 * under the lock and takes too little time to be hit by chance. What each sector may have
 * is in shared memory, so every read of anybody is checked, and in the end
 * the whole disk. After a dynamic image they do so with differencing ones,
 * where each sector that nobody has written yet has what the parent has.
 *
 * Nobody may be held up by a death. A process beside them does nothing but
 * write and flush a file of its own, so that a slow machine is not taken for
 * a stuck engine.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * time-limit: 300
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
#define MIB ((uint64_t)1 << 20)
#define WINDOW 32		/* sectors used at either end of a stripe */
#define PER_STRIPE (2 * WINDOW)
#define MAX_STRIPES 16000
#define MAX_SECTORS (MAX_STRIPES * PER_STRIPE)
#define PER_REQUEST (2 * PER_STRIPE)
#define METADATA_END ((off_t)4 << 20)	/* where vhdx_create() puts payload */
#define MAX_WRITERS 32
#define MAX_DEPTH 4
#define HOLD_UP_NSEC ((uint64_t)1000000000)
#define KILL_NSEC ((uint64_t)500000000)

/* What a sector of the parent has for a number; no write gets there. */
#define PARENT_NUMBER ((uint64_t)1 << 40)

/*
 * A disk. It is used at both ends of its stripes: blocks, but where a sector
 * of the bitmap (MS-VHDX 2.4) ends within a block that end is one, too.
 */
struct form {
	const char *name;
	unsigned percent;	/* of the time */
	uint32_t num_stripes;
	uint64_t stripe_size;
	uint32_t block_size;
	uint32_t sector_size;
	bool child;
};

static const struct form forms[] = {
	{
		.name = "a dynamic disk", .percent = 55,
		.num_stripes = MAX_STRIPES, .stripe_size = MIB,
		.block_size = MIB, .sector_size = 512,
	},
	{
		.name = "a child of small blocks", .percent = 15,
		.num_stripes = 4000, .stripe_size = MIB,
		.block_size = MIB, .sector_size = 512, .child = true,
	},
	{
		.name = "a child of 4 KiB sectors", .percent = 15,
		.num_stripes = 4000, .stripe_size = 2 * MIB,
		.block_size = 2 * MIB, .sector_size = 4096, .child = true,
	},
	{
		.name = "a child of large blocks", .percent = 15,
		.num_stripes = 4000, .stripe_size = 16 * MIB,
		.block_size = 32 * MIB, .sector_size = 512, .child = true,
	},
};

/*
 * A sector's writes are numbered from 1 on, and follow each other: whoever
 * writes owns it. A reader may find any of those between the last one that
 * was acknowledged before it began and the last one begun before it ended.
 * Number 0 is what it has to begin with: zeros, or what the parent has.
 */
struct sector {
	uint32_t owner;		/* 1 + index of the process, or 0 */
	uint32_t begun;
	uint32_t acknowledged;
	uint64_t zeros;		/* bit number % 64: this one wrote zeros */
};

enum kind { KIND_WRITE, KIND_ZERO, KIND_READ, KIND_FLUSH, KIND_OPEN,
	    KIND_CLOSE, NUM_KINDS };

static const char * const kind_names[] = {
	"write", "zero", "read", "flush", "open", "close",
};

struct world {
	bool stop;
	uint32_t next_stripe;
	uint64_t longest_control;
	uint64_t longest[NUM_KINDS];
	uint64_t count[NUM_KINDS];
	uint32_t writes_to_live[MAX_WRITERS];	/* 0: for ever */
	char failure[512];
	struct sector sectors[MAX_SECTORS];
};

struct options {
	unsigned seconds;
	unsigned num_writers;
	uint64_t seed;
	const char *directory;
	long form;		/* or -1: all of them */
};

static struct world *world;
static const struct form *form;

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
	uint64_t per_stripe = form->stripe_size / SECTOR;
	uint64_t in_stripe = index % PER_STRIPE;

	if (in_stripe >= WINDOW) {
		in_stripe += per_stripe - PER_STRIPE;
	}
	return index / PER_STRIPE * per_stripe + in_stripe;
}

static uint32_t num_sectors(void)
{
	return form->num_stripes * PER_STRIPE;
}

/*
 * Of three blocks one has nothing in
 * the parent, one has all that is used, and one has every second sector.
 */
static bool parent_has(uint32_t index)
{
	uint64_t sector = disk_sector(index) * SECTOR / form->sector_size;
	uint64_t block = disk_sector(index) * SECTOR / form->block_size;

	return form->child &&
	       (block % 3 == 1 || (block % 3 == 2 && sector % 2 == 0));
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

static void sector_fill(uint32_t index, uint64_t number, uint8_t *buf)
{
	uint64_t *p = (uint64_t *)buf;
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

	if (last - first >= 64) {
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
		} else if (number == PARENT_NUMBER) {
			ok = where == disk_sector(index) &&
			     parent_has(index) && acknowledged == 0;
		} else {
			ok = where == disk_sector(index) &&
			     number >= acknowledged && number <= begun;
		}
		/* Only a write that goes on may be seen in part. */
		ok &= acknowledged < begun ||
		      (p[0] == number && p[1] == where);
		if (!ok) {
			fail("sector %" PRIu64 " (stripe %" PRIu32 ") has "
			     "write %" PRIu64 " of sector %" PRIu64 ", must "
			     "have %" PRIu32 " to %" PRIu32 ", %s at first",
			     disk_sector(index), index / PER_STRIPE, number,
			     where, acknowledged, begun,
			     parent_has(index) ? "the parent's" : "zeros");
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
	uint32_t acknowledged[PER_REQUEST];
	uint8_t buf[PER_REQUEST * SECTOR];
};

struct writer {
	const char *directory;
	unsigned self;
	struct crash_random random;
	struct tevent_context *ev;
	struct vhdx_storage *storage;
	struct vhdx_shared *shared;
	TALLOC_CTX *files;	/* of the parent */
	struct vhdx *image;
	unsigned num_running;
};

static bool is_alive(const struct server_id *id, void *private_data)
{
	return kill(id->pid, 0) == 0 || errno != ESRCH;
}

/* The engine's own writes, of headers, log, BAT and sector bitmaps */
static bool is_metadata(size_t length, off_t offset)
{
	return offset < METADATA_END || (length == 4096 && offset % 4096 == 0);
}

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

static void take_time(size_t length, off_t offset)
{
	if (!is_metadata(length, offset) &&
	    crash_random(slow_random, 200) == 0) {
		usleep(crash_random(slow_random, 300000));
	}
}

static ssize_t slow_pread(void *private_data, void *buf, size_t length,
			  off_t offset)
{
	take_time(length, offset);
	return posix_ops->pread(private_data, buf, length, offset);
}

static ssize_t mortal_pwrite(void *private_data, const void *buf,
			     size_t length, off_t offset)
{
	ssize_t ret;

	take_time(length, offset);
	if (is_metadata(length, offset)) {
		count_down();
	}
	ret = posix_ops->pwrite(private_data, buf, length, offset);
	if (is_metadata(length, offset)) {
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

static NTSTATUS parent_open(TALLOC_CTX *mem_ctx, const char *path,
			    void *private_data, struct vhdx_storage **storage)
{
	const char *directory = private_data;
	char *full = talloc_asprintf(mem_ctx, "%s/%s", directory, path);

	if (vhdx_storage_posix_open(mem_ctx, full, O_RDONLY, storage) != 0) {
		return NT_STATUS_OBJECT_NAME_NOT_FOUND;
	}
	return NT_STATUS_OK;
}

static NTSTATUS image_open(TALLOC_CTX *mem_ctx, const char *directory,
			   struct vhdx_storage *storage,
			   struct vhdx_shared *shared, uint32_t flags,
			   struct vhdx **image, char **reason)
{
	struct vhdx_parents parents = {
		.path = "disk.vhdx",
		.open = parent_open,
		.private_data = discard_const(directory),
	};

	return vhdx_open_chain(mem_ctx, storage, shared, flags, &parents,
			       image, reason);
}

static bool writer_open(struct writer *writer)
{
	uint64_t began = now_nsec();
	char *reason = NULL;
	NTSTATUS status;

	writer->files = talloc_new(writer);
	status = image_open(writer->files, writer->directory, writer->storage,
			    writer->shared, 0, &writer->image, &reason);
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
	TALLOC_FREE(writer->files);
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
 * end of one stripe to the start of the next.
 */
static void range_choose(struct writer *writer, uint32_t *first,
			 uint32_t *num)
{
	struct crash_random *random = &writer->random;
	uint32_t unit = form->sector_size / SECTOR;
	uint32_t stripe = LOAD(world->next_stripe);
	uint32_t start;

	if (crash_chance(random, 1)) {
		/* New ones, and everybody at the same ones */
		__atomic_add_fetch(&world->next_stripe, 1, __ATOMIC_RELAXED);
		stripe += crash_random(random, 4);
	} else {
		stripe = crash_random(random, stripe + 1);
	}
	stripe = MIN(stripe, form->num_stripes - 2);
	start = crash_random(random, WINDOW);
	*num = 1 + crash_random(random, WINDOW - start);
	if (crash_chance(random, 40)) {
		start += WINDOW;
		if (crash_chance(random, 30)) {
			*num = WINDOW - (start - WINDOW) +
			       crash_random(random, WINDOW);
		}
	}
	/* Of whole sectors of the disk, which the windows are, too */
	*num += start % unit;
	start -= start % unit;
	*num += -*num % unit;
	*first = stripe * PER_STRIPE + start;
}

/* The whole of a block, but for the last one of the disk */
static void range_make_whole(uint32_t *first, uint32_t *num)
{
	uint32_t per_block = form->block_size / form->stripe_size *
			     PER_STRIPE;

	*first -= *first % per_block;
	*num = per_block;
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
		/* Others get its place. */
		range_make_whole(&request->first, &request->num);
	}
	if ((kind == KIND_WRITE || kind == KIND_ZERO) &&
	    !sectors_own(writer->self, request->first, request->num)) {
		TALLOC_FREE(request);
		return;
	}
	offset = disk_sector(request->first) * SECTOR;
	length = trim ? form->block_size : (size_t)request->num * SECTOR;
	for (i = 0; i < request->num; i++) {
		uint32_t index = request->first + i;

		if (kind == KIND_READ) {
			request->acknowledged[i] =
				LOAD(world->sectors[index].acknowledged);
		} else if (kind != KIND_FLUSH) {
			sector_begin(&world->sectors[index],
				     kind == KIND_ZERO);
			sector_fill(index, world->sectors[index].begun,
				    request->buf + i * SECTOR);
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

	writer->directory = options->directory;
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

/* Who starts and kills them */

struct supervisor {
	const struct options *options;
	struct crash_random random;
	struct db_context *db;
	pid_t pids[MAX_WRITERS];
	pid_t control;
	unsigned num_kills;
};

static pid_t start(struct supervisor *super, int self)
{
	uint64_t seed = crash_random(&super->random, 0);
	pid_t pid = fork();

	if (pid == -1) {
		fail("fork: %s", strerror(errno));
	}
	if (pid == 0) {
		if (self == -1) {
			control_main(super->options);
		} else {
			writer_main(super->options, self, seed);
		}
		_exit(0);
	}
	return pid;
}

static void reap(struct supervisor *super, unsigned i, bool killed)
{
	int status = 0;
	size_t j;

	waitpid(super->pids[i], &status, 0);
	super->pids[i] = 0;
	if (!killed && status != 0) {
		fail("a process ended with wait status %d", status);
	}
	/* Nothing of it can write any more. */
	for (j = 0; j < num_sectors(); j++) {
		if (world->sectors[j].owner == i + 1) {
			STORE(world->sectors[j].owner, 0);
		}
	}
}

static void kill_some(struct supervisor *super)
{
	unsigned num = super->options->num_writers;
	unsigned one = crash_random(&super->random, num);
	bool all = crash_chance(&super->random, 15);
	unsigned i;

	if (!all && crash_chance(&super->random, 50)) {
		STORE(world->writes_to_live[one],
		      1 + crash_random(&super->random, 12));
		for (i = 0; i < 300 &&
		     LOAD(world->writes_to_live[one]) != 0; i++) {
			usleep(1000);
		}
	}
	for (i = 0; i < num; i++) {
		if (all || i == one) {
			kill(super->pids[i], SIGKILL);
			STORE(world->writes_to_live[i], 0);
		}
	}
	for (i = 0; i < num; i++) {
		if (all || i == one) {
			reap(super, i, true);
			super->num_kills += 1;
		}
	}
	for (i = 0; i < num; i++) {
		if (all || i == one) {
			super->pids[i] = start(super, i);
		}
	}
}

static void disk_check(const char *directory)
{
	char *path = talloc_asprintf(NULL, "%s/disk.vhdx", directory);
	struct vhdx_check_report *report = NULL;
	struct vhdx_storage *storage = NULL;
	struct vhdx *image = NULL;
	uint8_t buf[WINDOW * SECTOR];
	NTSTATUS status;
	uint32_t index;
	size_t i;

	if (vhdx_storage_posix_open(path, path, O_RDONLY, &storage) != 0) {
		fail("%s: %s", path, strerror(errno));
		goto done;
	}
	status = vhdx_check(storage, storage, NULL, NULL, &report);
	if (!NT_STATUS_IS_OK(status)) {
		fail("check: %s", nt_errstr(status));
		goto done;
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
	status = image_open(storage, directory, storage, NULL,
			    VHDX_OPEN_READ_ONLY, &image, NULL);
	if (!NT_STATUS_IS_OK(status)) {
		fail("last open: %s", nt_errstr(status));
		goto done;
	}
	for (index = 0; index < num_sectors(); index += WINDOW) {
		status = vhdx_read(image, buf, sizeof(buf),
				   disk_sector(index) * SECTOR);
		if (!NT_STATUS_IS_OK(status)) {
			fail("last read: %s", nt_errstr(status));
			goto done;
		}
		for (i = 0; i < WINDOW; i++) {
			if (!sector_check(index + i, buf + i * SECTOR,
					  world->sectors[index +
							 i].acknowledged)) {
				goto done;
			}
		}
	}
	vhdx_close(&image);
done:
	TALLOC_FREE(path);
}

static bool is_ok(NTSTATUS status, const char *what)
{
	if (!NT_STATUS_IS_OK(status)) {
		fail("%s: %s", what, nt_errstr(status));
	}
	return NT_STATUS_IS_OK(status);
}

static bool parent_fill(struct vhdx *image)
{
	uint8_t buf[WINDOW * SECTOR];
	uint32_t first;
	uint32_t i;

	for (first = 0; first < num_sectors(); first += WINDOW) {
		bool is_empty = true;

		memset(buf, 0, sizeof(buf));
		for (i = 0; i < WINDOW; i++) {
			if (parent_has(first + i)) {
				sector_fill(first + i, PARENT_NUMBER,
					    buf + i * SECTOR);
				is_empty = false;
			}
		}
		if (!is_empty &&
		    !is_ok(vhdx_write(image, buf, sizeof(buf),
				      disk_sector(first) * SECTOR),
			   "write")) {
			return false;
		}
	}
	return true;
}

/* Blocks of the least size, so that a copy of one is small */
static bool parent_create(struct vhdx_storage *storage)
{
	struct vhdx_create_params params = {
		.virtual_size = form->num_stripes * form->stripe_size,
		.block_size = MIB,
		.logical_sector_size = form->sector_size,
	};
	struct vhdx *image = NULL;

	return is_ok(vhdx_create(storage, &params), "create") &&
	       is_ok(vhdx_open(storage, storage, NULL, 0, &image, NULL),
		     "open") &&
	       parent_fill(image) && is_ok(vhdx_close(&image), "close");
}

static struct vhdx_storage *file_new(TALLOC_CTX *mem_ctx,
				     const char *directory, const char *name)
{
	char *path = talloc_asprintf(mem_ctx, "%s/%s", directory, name);
	struct vhdx_storage *storage = NULL;

	if (vhdx_storage_posix_open(mem_ctx, path, O_RDWR | O_CREAT | O_TRUNC,
				    &storage) != 0) {
		fail("%s: %s", path, strerror(errno));
	}
	return storage;
}

static bool images_create(TALLOC_CTX *mem_ctx, const char *directory)
{
	struct vhdx_storage *storage = file_new(mem_ctx, directory,
						"disk.vhdx");
	struct vhdx_create_params params = {
		.virtual_size = form->num_stripes * form->stripe_size,
		.block_size = form->block_size,
		.logical_sector_size = form->sector_size,
	};
	struct vhdx_storage *below = NULL;
	struct vhdx *parent = NULL;

	if (form->child) {
		below = file_new(mem_ctx, directory, "parent.vhdx");
		if (below == NULL || !parent_create(below) ||
		    !is_ok(vhdx_open(below, below, NULL, VHDX_OPEN_READ_ONLY,
				     &parent, NULL), "open")) {
			return false;
		}
		params.parent = parent;
		params.parent_path = "parent.vhdx";
	}
	return storage != NULL &&
	       is_ok(vhdx_create(storage, &params), "create");
}

static void files_remove(const char *directory)
{
	static const char * const names[] = {
		"disk.vhdx", "parent.vhdx", "control",
	};
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		char *path = talloc_asprintf(NULL, "%s/%s", directory,
					     names[i]);

		unlink(path);
		TALLOC_FREE(path);
	}
}

static void world_begin(void)
{
	uint32_t i;

	memset(world, 0, sizeof(*world));
	for (i = 0; i < num_sectors(); i++) {
		world->sectors[i].zeros = parent_has(i) ? 0 : 1;
	}
}

static void run(struct supervisor *super)
{
	const struct options *options = super->options;
	TALLOC_CTX *frame = talloc_new(NULL);
	uint64_t next_kill;
	uint64_t end;
	unsigned i;

	/* In smbd, too, somebody keeps the database open. */
	super->db = database_open(frame, options->directory);
	if (super->db == NULL ||
	    !images_create(frame, options->directory)) {
		fail("cannot begin: %s", strerror(errno));
		goto done;
	}
	super->control = start(super, -1);
	for (i = 0; i < options->num_writers; i++) {
		super->pids[i] = start(super, i);
	}
	next_kill = now_nsec() + KILL_NSEC;
	end = now_nsec() + options->seconds * form->percent *
			   UINT64_C(10000000);
	while (!LOAD(world->stop)) {
		uint64_t now = now_nsec();

		if (now >= end) {
			STORE(world->stop, true);
		} else if (now >= next_kill) {
			kill_some(super);
			next_kill = now + KILL_NSEC;
		} else {
			usleep(1000 + crash_random(&super->random, 10000));
		}
	}
	for (i = 0; i < options->num_writers; i++) {
		reap(super, i, false);
	}
	waitpid(super->control, NULL, 0);
	if (world->failure[0] == '\0') {
		disk_check(options->directory);
	}
done:
	files_remove(options->directory);
	TALLOC_FREE(frame);
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

/* The tests of one form */
static bool form_run(struct supervisor *super, unsigned num_tests)
{
	uint64_t longest;
	bool correct;
	bool prompt;

	super->num_kills = 0;
	world_begin();
	run(super);

	printf("# %s:\n", form->name);
	longest = print_times();
	correct = world->failure[0] == '\0';
	if (!correct) {
		printf("# %s\n", world->failure);
	}
	printf("%sok %u - %u processes read what they wrote to %s while %u "
	       "of them are killed\n", correct ? "" : "not ", num_tests + 1,
	       super->options->num_writers, form->name, super->num_kills);
	/* On top of what the machine needs for a flush, and one in the way */
	prompt = longest <= HOLD_UP_NSEC + 2 * world->longest_control;
	printf("%sok %u - nobody waits for a second because of a death\n",
	       prompt ? "" : "not ", num_tests + 2);
	return correct && prompt;
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "seconds", required_argument, NULL, 's' },
		{ "writers", required_argument, NULL, 'w' },
		{ "seed", required_argument, NULL, 'r' },
		{ "directory", required_argument, NULL, 'd' },
		{ "form", required_argument, NULL, 'f' },
		{ NULL, 0, NULL, 0 },
	};
	struct options options = {
		.seconds = 80, .num_writers = 8, .seed = now_nsec(),
		.form = -1,
	};
	struct supervisor super = { .options = &options };
	unsigned num_tests = 0;
	bool ok = true;
	size_t i;
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
		case 'f':
			options.form = strtol(optarg, NULL, 0);
			break;
		default:
			fprintf(stderr, "usage: test_many_writers "
				"[--seconds=N] [--writers=N] [--seed=N] "
				"[--directory=DIR] [--form=0..%zu]\n",
				ARRAY_SIZE(forms) - 1);
			return 2;
		}
	}
	setup_logging("test_many_writers", DEBUG_STDERR);
	setlinebuf(stdout);
	printf("# seed %" PRIu64 "\n", options.seed);
	super.random.state = options.seed;
	world = mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (world == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	for (i = 0; i < ARRAY_SIZE(forms); i++) {
		form = &forms[i];
		if (options.form == -1 || options.form == (long)i) {
			ok &= form_run(&super, num_tests);
			num_tests += 2;
		}
	}
	printf("1..%u\n", num_tests);
	return ok ? 0 : 1;
}
