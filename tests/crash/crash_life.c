/*
 * vfs_rsvd: several processes at one image, and what they did
 *
 * All of them are in this process, each with an image, an event loop and a
 * port to the disk of its own.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/dlinklist.h"
#include "libcli/util/ntstatus.h"
#include "modules/vhdx/vhdx_shared.h"
#include "tests/crash/crash_db.h"
#include "tests/crash/crash_life.h"
#include "tests/crash/crash_parent.h"

enum request_type { REQUEST_WRITE, REQUEST_READ, REQUEST_FLUSH };

/* Something that a writer has not got an answer to */
struct request {
	struct request *prev, *next;
	struct crash_writer *writer;
	enum request_type type;
	uint64_t offset;
	uint64_t length;
	uint64_t began;
	uint8_t *buf;
};

struct crash_writer {
	struct crash_life *life;
	uint32_t pid;
	struct tevent_context *ev;
	struct crash_port *port;
	struct crash_parent *parent;
	struct vhdx_shared *shared;
	struct vhdx *image;
	struct request *requests;
	size_t num_requests;
	/* For a call that may not return */
	struct request *calling;
};

static void life_fail(struct crash_life *life, const char *format, ...)
	PRINTF_ATTRIBUTE(2, 3);
static void life_fail(struct crash_life *life, const char *format, ...)
{
	va_list ap;

	if (life->failure != NULL) {
		return;
	}
	va_start(ap, format);
	life->failure = talloc_vasprintf(life, format, ap);
	va_end(ap);
}

static bool writer_is_alive(const struct server_id *id, void *private_data)
{
	struct crash_life *life = private_data;
	unsigned i;

	if (life->blind && life->in_io) {
		return false;
	}
	for (i = 0; i < life->plan->num_writers; i++) {
		if (life->writers[i] != NULL &&
		    life->writers[i]->pid == id->pid) {
			return true;
		}
	}
	return false;
}

static bool nobody_is_alive(struct crash_life *life)
{
	unsigned i;

	for (i = 0; i < life->plan->num_writers; i++) {
		if (life->writers[i] != NULL &&
		    life->writers[i]->image != NULL) {
			return false;
		}
	}
	return true;
}

/* Requests */

static struct request *request_new(struct crash_writer *writer,
				   enum request_type type, uint64_t offset,
				   uint64_t length)
{
	struct request *request = talloc_zero(writer, struct request);

	request->writer = writer;
	request->type = type;
	request->offset = offset;
	request->length = length;
	request->began = crash_disk_time(writer->life->disk);
	if (length > 0) {
		request->buf = talloc_size(request, length);
	}
	DLIST_ADD(writer->requests, request);
	writer->num_requests += 1;
	if (type == REQUEST_FLUSH) {
		crash_disk_user_flushes(writer->life->disk, true);
	}
	return request;
}

static void request_drop(struct request *request)
{
	struct crash_writer *writer = request->writer;

	if (request->type == REQUEST_FLUSH) {
		crash_disk_user_flushes(writer->life->disk, false);
	}
	DLIST_REMOVE(writer->requests, request);
	writer->num_requests -= 1;
	TALLOC_FREE(request);
}

static void request_done(struct request *request, NTSTATUS status)
{
	static const char * const names[] = { "write", "read", "flush" };
	struct crash_life *life = request->writer->life;
	uint64_t time = crash_disk_time(life->disk);
	const char *reason = NULL;

	if (!NT_STATUS_IS_OK(status)) {
		life_fail(life, "%s of %" PRIu64 " bytes at %" PRIu64 ": %s",
			  names[request->type], request->length,
			  request->offset, nt_errstr(status));
	}
	switch (request->type) {
	case REQUEST_WRITE:
		crash_oracle_end(life->oracle, request->offset,
				 request->length, time,
				 NT_STATUS_IS_OK(status));
		break;
	case REQUEST_READ:
		reason = crash_oracle_check(life->oracle, request->buf,
					    request->offset, request->length,
					    request->began, CRASH_NEVER,
					    NULL);
		if (reason != NULL) {
			life_fail(life, "process %u read: %s",
				  request->writer->pid, reason);
		}
		break;
	case REQUEST_FLUSH:
		life->flushed = talloc_realloc(life, life->flushed,
					       struct crash_flushed,
					       life->num_flushed + 1);
		life->flushed[life->num_flushed] = (struct crash_flushed) {
			.began = request->began,
			.ended = time,
		};
		life->num_flushed += 1;
		break;
	}
	request_drop(request);
}

uint64_t crash_life_stable_since(const struct crash_life *life,
				 uint64_t time)
{
	uint64_t since = 0;
	size_t i;

	for (i = 0; i < life->num_flushed; i++) {
		if (life->flushed[i].ended <= time) {
			since = MAX(since, life->flushed[i].began);
		}
	}
	return since;
}

bool crash_life_size_is_possible(const struct crash_life *life,
				 uint64_t time, uint64_t size)
{
	uint64_t stable_size = life->first_size;
	uint64_t since = 0;
	size_t i;

	for (i = 0; i < life->num_resized; i++) {
		if (life->resized[i].ended <= time) {
			stable_size = life->resized[i].size;
			since = life->resized[i].began;
		}
	}
	if (size == stable_size) {
		return true;
	}
	/* One that was begun later, maybe by somebody who was killed */
	for (i = 0; i < life->num_resized; i++) {
		if (life->resized[i].began >= since &&
		    life->resized[i].began <= time &&
		    life->resized[i].size == size) {
			return true;
		}
	}
	return false;
}

/*
 * Memory only: the engine's destructors change no file, and the port has no
 * use for its jobs any more.
 */
static void writer_free(struct crash_writer *writer)
{
	while (writer->requests != NULL) {
		request_drop(writer->requests);
	}
	TALLOC_FREE(writer->image);
	TALLOC_FREE(writer);
}

/* The end of a process that leaves nothing in order */

static void writer_killed(struct crash_writer *writer)
{
	struct crash_life *life = writer->life;
	uint64_t time = crash_disk_time(life->disk);
	struct request *request = NULL;
	unsigned i;

	for (request = writer->requests; request != NULL;
	     request = request->next) {
		if (request->type == REQUEST_WRITE) {
			crash_oracle_end(life->oracle, request->offset,
					 request->length, time, false);
		}
	}
	crash_db_unlock(life->db);
	life->had_kill = true;
	for (i = 0; i < life->plan->num_writers; i++) {
		if (life->writers[i] == writer) {
			life->writers[i] = NULL;
		}
	}
	writer_free(writer);
	if (nobody_is_alive(life) && crash_chance(&life->random, 50)) {
		crash_db_clear(life->db);
	}
}

static void open_fn(struct crash_writer *writer);
static void close_fn(struct crash_writer *writer);

/*
 * Into the engine and back, or not: then the process is gone and this is
 * false.
 */
static bool enter(struct crash_writer *writer,
		  void (*fn)(struct crash_writer *writer))
{
	if (sigsetjmp(*crash_port_jump(writer->port), 0) != 0) {
		writer->life->in_io = false;
		writer_killed(writer);
		return false;
	}
	writer->life->in_io = fn != open_fn && fn != close_fn;
	fn(writer);
	writer->life->in_io = false;
	return true;
}

static void open_fn(struct crash_writer *writer)
{
	char *reason = NULL;
	NTSTATUS status;

	status = vhdx_open_chain(writer, crash_port_storage(writer->port),
				 writer->shared, 0,
				 crash_parents(writer->parent),
				 &writer->image, &reason);
	if (!NT_STATUS_IS_OK(status)) {
		writer->image = NULL;
		life_fail(writer->life, "open: %s: %s", nt_errstr(status),
			  reason != NULL ? reason : "-");
	}
}

static struct crash_writer *writer_new(struct crash_life *life)
{
	static uint32_t last_pid;
	static uint8_t key[] = { 'M' };
	struct crash_writer *writer = talloc_zero(life, struct crash_writer);
	struct server_id self = { .vnn = NONCLUSTER_VNN };

	last_pid += 1;
	writer->life = life;
	writer->pid = last_pid;
	self.pid = last_pid;
	writer->port = crash_port_new(writer, life->disk, &life->random);
	writer->parent = crash_parent_new(writer, life->parent);
	/* epoll would cost a descriptor, of which the killed keep theirs. */
	writer->ev = tevent_context_init_byname(writer, "poll");
	writer->shared = vhdx_shared_init(
		writer, life->db,
		(TDB_DATA) { .dptr = key, .dsize = sizeof(key) }, self,
		writer_is_alive, life);
	return writer;
}

static bool writer_begin(struct crash_life *life, unsigned i)
{
	struct crash_writer *writer = writer_new(life);

	life->writers[i] = writer;
	if (life->plan->kill > 0 && crash_chance(&life->random, 10)) {
		crash_port_kill_in(writer->port,
				   1 + crash_random(&life->random, 40));
	}
	return enter(writer, open_fn) && writer->image != NULL;
}

static void close_fn(struct crash_writer *writer)
{
	NTSTATUS status = vhdx_close(&writer->image);

	if (!NT_STATUS_IS_OK(status)) {
		life_fail(writer->life, "close: %s", nt_errstr(status));
	}
}

/* The event loop */

static void marker_fn(struct tevent_context *ev, struct tevent_immediate *im,
		      void *private_data)
{
	bool *reached = private_data;

	*reached = true;
}

/* All that is to be done now, without what that brings about */
static void loop_fn(struct crash_writer *writer)
{
	struct tevent_immediate *im = tevent_create_immediate(writer);
	bool reached = false;

	tevent_schedule_immediate(im, writer->ev, marker_fn, &reached);
	while (!reached) {
		tevent_loop_once(writer->ev);
	}
	TALLOC_FREE(im);
}

static void port_fn(struct crash_writer *writer)
{
	if (!crash_parent_step(writer->parent)) {
		crash_port_step(writer->port);
	}
}

/* The disk or the event loop of a writer goes on by one. */
static bool writer_move(struct crash_writer *writer)
{
	if (crash_chance(&writer->life->random, 50)) {
		return enter(writer, port_fn);
	}
	return enter(writer, loop_fn);
}

static bool writer_drain(struct crash_writer *writer)
{
	unsigned i;

	for (i = 0; writer->requests != NULL; i++) {
		if (!writer_move(writer)) {
			return false;
		}
		if (i == 100000) {
			life_fail(writer->life, "process %u waits for ever",
				  writer->pid);
			return false;
		}
	}
	/* What the engine does by itself */
	for (i = 0; i < 20; i++) {
		if (!writer_move(writer)) {
			return false;
		}
	}
	return true;
}

static bool writer_end(struct crash_writer *writer)
{
	struct crash_life *life = writer->life;
	unsigned i;

	if (!writer_drain(writer) || !enter(writer, close_fn)) {
		return false;
	}
	for (i = 0; i < life->plan->num_writers; i++) {
		if (life->writers[i] == writer) {
			life->writers[i] = NULL;
		}
	}
	writer_free(writer);
	return life->failure == NULL;
}

/* What a writer does */

static void write_done(struct tevent_req *req)
{
	struct request *request = tevent_req_callback_data(req,
							   struct request);
	NTSTATUS status = vhdx_write_recv(req);

	TALLOC_FREE(req);
	request_done(request, status);
}

static void write_fn(struct crash_writer *writer)
{
	struct request *request = writer->calling;
	struct tevent_req *req = vhdx_write_send(
		request, writer->ev, writer->image, request->buf,
		request->length, request->offset);

	tevent_req_set_callback(req, write_done, request);
}

static void write_wait_fn(struct crash_writer *writer)
{
	struct request *request = writer->calling;

	request_done(request, vhdx_write(writer->image, request->buf,
					 request->length, request->offset));
}

static void zero_fn(struct crash_writer *writer)
{
	struct request *request = writer->calling;

	request_done(request, vhdx_zero(writer->image, request->offset,
					request->length));
}

static void read_done(struct tevent_req *req)
{
	struct request *request = tevent_req_callback_data(req,
							   struct request);
	NTSTATUS status = vhdx_read_recv(req);

	TALLOC_FREE(req);
	request_done(request, status);
}

static void read_fn(struct crash_writer *writer)
{
	struct request *request = writer->calling;
	struct tevent_req *req = vhdx_read_send(
		request, writer->ev, writer->image, request->buf,
		request->length, request->offset);

	tevent_req_set_callback(req, read_done, request);
}

static void flush_done(struct tevent_req *req)
{
	struct request *request = tevent_req_callback_data(req,
							   struct request);
	NTSTATUS status = vhdx_flush_recv(req);

	TALLOC_FREE(req);
	request_done(request, status);
}

static void flush_fn(struct crash_writer *writer)
{
	struct request *request = writer->calling;
	struct tevent_req *req = vhdx_flush_send(request, writer->ev,
						 writer->image);

	tevent_req_set_callback(req, flush_done, request);
}

static void flush_wait_fn(struct crash_writer *writer)
{
	request_done(writer->calling, vhdx_flush(writer->image));
}

/* Sectors at the start or the end of a block, or over the end of one */
static void range_choose(struct crash_life *life, bool is_write,
			 uint64_t *offset, uint64_t *length)
{
	const struct crash_plan *plan = life->plan;
	struct crash_random *random = &life->random;
	uint64_t per_block = plan->params.block_size / CRASH_SECTOR;
	uint64_t sector_size = MAX(CRASH_SECTOR,
				   plan->params.logical_sector_size);
	uint64_t unit = sector_size / CRASH_SECTOR;
	uint64_t disk_end = plan->params.virtual_size / CRASH_SECTOR;
	uint64_t block = crash_random(random, plan->num_blocks);
	uint64_t start;
	uint64_t end;

	if (is_write && crash_chance(random, plan->fresh)) {
		/* Few blocks of many, so that they are new for long */
		block = life->next_block % plan->num_blocks;
		life->next_block += MAX(plan->stride, 1);
	}
	start = (plan->first_block + block) * per_block;
	switch (crash_random(random, 8)) {
	case 0:
		/* Over the end of a block, seldom over a whole one */
		end = start + per_block + unit +
		      crash_random(random, CRASH_WINDOW - unit);
		if (per_block <= 2048 && crash_chance(random, 5)) {
			end += per_block;
		}
		start += per_block - unit -
			 crash_random(random, CRASH_WINDOW - unit);
		break;
	default:
		if (crash_chance(random, 25)) {
			start += per_block - CRASH_WINDOW;
		}
		end = start + CRASH_WINDOW;
		start += crash_random(random, CRASH_WINDOW);
		end = MIN(end, start + unit +
			  crash_random(random, CRASH_WINDOW));
		break;
	}
	end = MIN(end, disk_end);
	start = MIN(start, disk_end - unit);
	start -= start % unit;
	end -= end % unit;
	end = MAX(end, start + unit);
	*offset = start * CRASH_SECTOR;
	*length = (end - start) * CRASH_SECTOR;
}

static bool do_change(struct crash_writer *writer,
		      void (*fn)(struct crash_writer *writer), bool is_zero)
{
	struct crash_life *life = writer->life;
	static uint64_t last_version;
	uint64_t version = 0;
	uint64_t offset;
	uint64_t length;

	range_choose(life, !is_zero, &offset, &length);
	if (is_zero && crash_chance(&life->random, life->plan->trim > 0 ?
						   life->plan->trim : 25)) {
		/* Whole blocks */
		uint64_t size = life->plan->params.block_size;

		offset -= offset % size;
		length = size * (1 + crash_random(&life->random, 3));
		length = MIN(length,
			     life->plan->params.virtual_size - offset);
	}
	if (crash_oracle_is_busy(life->oracle, offset, length)) {
		return true;
	}
	writer->calling = request_new(writer, REQUEST_WRITE, offset,
				      is_zero ? 0 : length);
	writer->calling->length = length;
	if (!is_zero) {
		last_version += 1;
		version = last_version;
		crash_oracle_fill(life->oracle, writer->calling->buf, offset,
				  length, version);
	}
	crash_oracle_begin(life->oracle, offset, length, version,
			   crash_disk_time(life->disk));
	return enter(writer, fn);
}

static bool do_write(struct crash_writer *writer)
{
	return do_change(writer, write_fn, false);
}

static bool do_write_wait(struct crash_writer *writer)
{
	return do_change(writer, write_wait_fn, false);
}

static bool do_zero(struct crash_writer *writer)
{
	return do_change(writer, zero_fn, true);
}

static bool do_read(struct crash_writer *writer)
{
	uint64_t offset;
	uint64_t length;

	range_choose(writer->life, false, &offset, &length);
	writer->calling = request_new(writer, REQUEST_READ, offset, length);
	return enter(writer, read_fn);
}

static bool do_flush(struct crash_writer *writer)
{
	writer->calling = request_new(writer, REQUEST_FLUSH, 0, 0);
	return enter(writer, flush_fn);
}

static bool do_flush_wait(struct crash_writer *writer)
{
	writer->calling = request_new(writer, REQUEST_FLUSH, 0, 0);
	return enter(writer, flush_wait_fn);
}

/*
 * A size of the disk that has the first blocks, which are compared, and maybe
 * a BAT of one or more MiB; with any number of sectors in the last block.
 */
static uint64_t size_choose(struct crash_life *life, uint64_t old_size)
{
	struct crash_random *random = &life->random;
	uint64_t block_size = life->plan->params.block_size;
	uint64_t unit = MAX(CRASH_SECTOR,
			    life->plan->params.logical_sector_size);
	uint64_t per_mib = (1 << 20) / 8;
	uint64_t blocks[] = {
		crash_random(random, 20),
		crash_random(random, 20),
		crash_random(random, 1000),
		per_mib - 1000 + crash_random(random, 1200),
		crash_random(random, 3 * per_mib),
	};
	uint64_t size = life->plan->params.virtual_size +
		blocks[crash_random(random, ARRAY_SIZE(blocks))] *
		block_size;

	if (crash_chance(random, 50)) {
		size += crash_random(random, block_size / unit) * unit;
	}
	if (crash_chance(random, 20)) {
		/* Just within the last block */
		size = old_size - crash_random(random, 10) * unit;
		size = MAX(size, life->plan->params.virtual_size);
	}
	return size;
}

static struct crash_resized *resize_begin(struct crash_life *life,
					  uint64_t size)
{
	struct crash_resized *resized = NULL;

	life->resized = talloc_realloc(life, life->resized,
				       struct crash_resized,
				       life->num_resized + 1);
	resized = &life->resized[life->num_resized];
	*resized = (struct crash_resized) {
		.size = size,
		.began = crash_disk_time(life->disk),
		.ended = CRASH_NEVER,
	};
	life->num_resized += 1;
	return resized;
}

/* Something in a sector that only resizes have to do with */
static void junk_fn(struct crash_writer *writer, uint64_t size)
{
	struct crash_life *life = writer->life;
	uint64_t floor = life->plan->params.virtual_size;
	uint64_t unit = MAX(CRASH_SECTOR,
			    life->plan->params.logical_sector_size);
	uint64_t num = (size - floor) / unit;
	uint8_t buf[4096];
	uint64_t sector;
	NTSTATUS status;

	if (num == 0) {
		return;
	}
	sector = crash_random(&life->random, num);
	if (crash_chance(&life->random, 50)) {
		sector = num - 1 - crash_random(&life->random, MIN(num, 8));
	}
	memset(buf, 0xEE, sizeof(buf));
	status = vhdx_write(writer->image, buf, unit, floor + sector * unit);
	if (NT_STATUS_EQUAL(status, NT_STATUS_INVALID_PARAMETER) &&
	    vhdx_geometry(writer->image)->virtual_size < size) {
		/* What a killed process had begun has just been finished. */
		return;
	}
	if (!NT_STATUS_IS_OK(status)) {
		life_fail(life, "write behind the end: %s",
			  nt_errstr(status));
	}
}

/* What a larger disk has more is zeros. */
static void grown_fn(struct crash_writer *writer, uint64_t old_size,
		     uint64_t size)
{
	struct crash_life *life = writer->life;
	uint64_t sectors = (size - old_size) / CRASH_SECTOR;
	uint64_t starts[] = {
		0, sectors - MIN(sectors, 8),
		crash_random(&life->random, sectors),
		crash_random(&life->random, MIN(sectors, 2048)),
	};
	uint8_t buf[8 * CRASH_SECTOR];
	size_t i;
	size_t j;

	for (i = 0; i < ARRAY_SIZE(starts); i++) {
		uint64_t num = MIN(8, sectors - starts[i]);
		NTSTATUS status;

		status = vhdx_read(writer->image, buf, num * CRASH_SECTOR,
				   old_size + starts[i] * CRASH_SECTOR);
		if (!NT_STATUS_IS_OK(status)) {
			life_fail(life, "read of what is new: %s",
				  nt_errstr(status));
			return;
		}
		for (j = 0; j < num * CRASH_SECTOR; j++) {
			if (buf[j] != 0) {
				life_fail(life, "what is new at %" PRIu64
					  " is not zeros",
					  old_size + starts[i] *
					  CRASH_SECTOR);
				return;
			}
		}
	}
}

static void resize_fn(struct crash_writer *writer)
{
	struct crash_life *life = writer->life;
	uint32_t flags = VHDX_RESIZE_SHRINK;
	struct crash_resized *resized = NULL;
	uint64_t old_size;
	uint64_t size;
	NTSTATUS status;

	old_size = vhdx_geometry(writer->image)->virtual_size;
	if (crash_chance(&life->random, 60)) {
		junk_fn(writer, old_size);
		old_size = vhdx_geometry(writer->image)->virtual_size;
	}
	if (crash_chance(&life->random, 60)) {
		flags |= VHDX_RESIZE_DISCARD;
	}
	size = size_choose(life, old_size);
	resized = resize_begin(life, size);
	status = vhdx_resize(writer->image, size, flags, NULL, NULL);
	if (NT_STATUS_EQUAL(status,
			    NT_STATUS_VHD_RESIZE_WOULD_TRUNCATE_DATA) &&
	    size < old_size && (flags & VHDX_RESIZE_DISCARD) == 0) {
		life->num_resized -= 1;
		return;
	}
	if (!NT_STATUS_IS_OK(status)) {
		life_fail(life, "resize to %" PRIu64 ": %s", size,
			  nt_errstr(status));
		return;
	}
	resized->ended = crash_disk_time(life->disk);
	if (vhdx_geometry(writer->image)->virtual_size != size) {
		life_fail(life, "the size is not what it was set to");
	} else if (size > old_size) {
		grown_fn(writer, old_size, size);
	}
}

static bool do_resize(struct crash_writer *writer)
{
	return enter(writer, resize_fn);
}

static bool do_reopen(struct crash_writer *writer)
{
	return writer_end(writer);
}

static bool do_kill(struct crash_writer *writer)
{
	crash_port_kill_in(writer->port,
			   1 + crash_random(&writer->life->random, 12));
	return true;
}

struct operation {
	bool (*fn)(struct crash_writer *writer);
	size_t weight;		/* its offset in the plan */
};

static const struct operation operations[] = {
	{ do_write, offsetof(struct crash_plan, write) },
	{ do_write_wait, offsetof(struct crash_plan, write_wait) },
	{ do_zero, offsetof(struct crash_plan, zero) },
	{ do_read, offsetof(struct crash_plan, read) },
	{ do_flush, offsetof(struct crash_plan, flush) },
	{ do_flush_wait, offsetof(struct crash_plan, flush_wait) },
	{ do_reopen, offsetof(struct crash_plan, reopen) },
	{ do_kill, offsetof(struct crash_plan, kill) },
	{ do_resize, offsetof(struct crash_plan, resize) },
};

static unsigned weight_of(const struct crash_plan *plan, size_t i)
{
	return *(const unsigned *)((const char *)plan + operations[i].weight);
}

static void writer_act(struct crash_writer *writer)
{
	const struct crash_plan *plan = writer->life->plan;
	unsigned total = 0;
	uint64_t choice;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(operations); i++) {
		total += weight_of(plan, i);
	}
	choice = crash_random(&writer->life->random, total);
	for (i = 0; choice >= weight_of(plan, i); i++) {
		choice -= weight_of(plan, i);
	}
	operations[i].fn(writer);
}

#define MAX_REQUESTS 8

bool crash_life_go_on(struct crash_life *life, unsigned steps)
{
	struct crash_random *random = &life->random;

	for (; steps > 0 && life->failure == NULL; steps--) {
		unsigned i = crash_random(random, life->plan->num_writers);
		struct crash_writer *writer = life->writers[i];

		if (writer == NULL) {
			writer_begin(life, i);
			continue;
		}
		if (writer->num_requests < MAX_REQUESTS &&
		    crash_chance(random, 40)) {
			writer_act(writer);
		} else {
			writer_move(writer);
		}
	}
	return life->failure == NULL;
}

static int life_destructor(struct crash_life *life)
{
	unsigned i;

	for (i = 0; i < life->plan->num_writers; i++) {
		if (life->writers[i] != NULL) {
			crash_port_kill(life->writers[i]->port);
			writer_free(life->writers[i]);
		}
	}
	return 0;
}

struct crash_life *crash_life_new(TALLOC_CTX *mem_ctx,
				  const struct crash_plan *plan,
				  struct crash_disk *disk,
				  const struct crash_file *parent,
				  struct crash_oracle *oracle, uint64_t seed)
{
	struct crash_life *life = talloc_zero(mem_ctx, struct crash_life);

	life->plan = plan;
	life->disk = talloc_steal(life, disk);
	life->parent = parent;
	life->oracle = talloc_steal(life, oracle);
	life->random.state = seed;
	life->db = crash_db_new(life);
	talloc_set_destructor(life, life_destructor);
	return life;
}

bool crash_life_begin(struct crash_life *life, bool alone)
{
	life->writers[0] = writer_new(life);
	if (alone) {
		life->writers[0]->shared = NULL;
	}
	if (!enter(life->writers[0], open_fn) || life->failure != NULL) {
		return false;
	}
	life->first_size =
		vhdx_geometry(life->writers[0]->image)->virtual_size;
	return true;
}

bool crash_life_end(struct crash_life *life)
{
	unsigned i;

	for (i = 0; i < life->plan->num_writers; i++) {
		if (life->writers[i] != NULL) {
			writer_end(life->writers[i]);
		}
	}
	life->all_left_in_order = !life->had_kill;
	return life->failure == NULL;
}

/* Nothing but zeros is in the middle of a block, whoever had the place. */
static const char *image_compare_block(struct vhdx *image,
				       struct crash_oracle *oracle,
				       const struct crash_plan *plan,
				       uint64_t block, uint64_t since,
				       uint64_t time, uint64_t *versions)
{
	uint64_t size = plan->params.block_size;
	uint64_t disk_end = plan->params.virtual_size;
	uint64_t window = CRASH_WINDOW * CRASH_SECTOR;
	uint64_t starts[] = { block * size, (block + 1) * size - window };
	uint8_t buf[CRASH_WINDOW * CRASH_SECTOR];
	const char *reason = NULL;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(starts) && reason == NULL; i++) {
		uint64_t length = window;
		NTSTATUS status;

		/* The last block can be short. */
		length = MIN(length, disk_end - MIN(starts[i], disk_end));
		status = vhdx_read(image, buf, length, starts[i]);
		if (!NT_STATUS_IS_OK(status)) {
			return talloc_asprintf(oracle, "read of block "
					       "%" PRIu64 ": %s", block,
					       nt_errstr(status));
		}
		reason = crash_oracle_check(oracle, buf, starts[i], length,
					    since, time, versions);
	}
	return reason;
}

const char *crash_image_compare(struct vhdx *image,
				struct crash_oracle *oracle,
				const struct crash_plan *plan, uint64_t since,
				uint64_t time, uint64_t *versions)
{
	uint64_t end = plan->first_block + plan->num_blocks;
	const char *reason = NULL;
	uint64_t block;

	/* A write can go on into the next block. */
	end = MIN(end + 3, (plan->params.virtual_size - 1) /
			   plan->params.block_size + 1);
	for (block = plan->first_block; block < end && reason == NULL;
	     block++) {
		if (crash_oracle_is_touched(oracle, block)) {
			reason = image_compare_block(image, oracle, plan,
						     block, since, time,
						     versions);
		}
	}
	return reason;
}

bool crash_life_compare(struct crash_life *life, struct crash_oracle *oracle,
			uint64_t since, uint64_t time, uint64_t *versions)
{
	const char *reason = crash_image_compare(
		life->writers[0]->image, oracle, life->plan, since, time,
		versions);

	if (reason != NULL) {
		life_fail(life, "%s", reason);
	}
	return reason == NULL;
}
