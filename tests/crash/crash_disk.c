/*
 * vfs_rsvd: a file on a disk that remembers how it came to be
 *
 * The model of the disk: a flush makes stable what was completed before it
 * began, or as much of that as is in a range. What was written since is, after
 * a power cut, there or not, each 512 bytes for themselves; where something
 * was written twice, either version may be there. Changes of the file's size
 * are journalled by file systems, so they happen in order or not at all, but in
 * no order with the writes; what was written behind a size that got lost is
 * lost too.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "system/filesys.h"
#include "lib/util/dlinklist.h"
#include "tests/crash/crash_disk.h"

#define TORN 512

/* SplitMix64 (Steele, Lea, Flood 2014) */
uint64_t crash_random(struct crash_random *random, uint64_t below)
{
	uint64_t z;

	random->state += UINT64_C(0x9E3779B97F4A7C15);
	z = random->state;
	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	z ^= z >> 31;
	return (below == 0) ? z : z % below;
}

bool crash_chance(struct crash_random *random, unsigned percent)
{
	return crash_random(random, 100) < percent;
}

uint64_t crash_share(struct crash_random *random, uint64_t total,
		     uint64_t num)
{
	return total / num + (crash_random(random, num) < total % num);
}

struct change {
	uint64_t completed;	/* when; UINT64_MAX: not yet */
	uint64_t offset;
	uint64_t length;
	uint8_t *data;		/* NULL: zeros, or a new size */
	bool is_size;
	bool extends;		/* a write behind the end */
};

enum event_type {
	EVENT_CHANGE,
	EVENT_COMPLETED,
	EVENT_FLUSH_BEGINS,
	EVENT_FLUSHED,
};

struct event {
	enum event_type type;
	struct change *change;
	uint64_t flush_began;	/* EVENT_FLUSHED ... */
	uint64_t flush_end;	/* ... of what is before that in the file */
};

struct crash_disk {
	struct crash_file *first;
	struct crash_file *now;
	struct event *events;	/* a talloc array */
	uint64_t num_events;
	enum crash_flush flush;
	unsigned user_flushes;
	uint64_t last_flush;
};

static int disk_destructor(struct crash_disk *disk)
{
	crash_file_free(disk->first);
	crash_file_free(disk->now);
	return 0;
}

struct crash_disk *crash_disk_new(TALLOC_CTX *mem_ctx,
				  struct crash_file *file,
				  enum crash_flush flush)
{
	struct crash_disk *disk = talloc_zero(mem_ctx, struct crash_disk);

	disk->first = file;
	disk->now = crash_file_copy(file);
	disk->flush = flush;
	talloc_set_destructor(disk, disk_destructor);
	return disk;
}

uint64_t crash_disk_time(const struct crash_disk *disk)
{
	return disk->num_events;
}

const struct crash_file *crash_disk_now(const struct crash_disk *disk)
{
	return disk->now;
}

void crash_disk_user_flushes(struct crash_disk *disk, bool flushes)
{
	disk->user_flushes += flushes ? 1 : -1;
}

void crash_disk_print(const struct crash_disk *disk, FILE *out)
{
	uint64_t i;

	for (i = 0; i < disk->num_events; i++) {
		const struct event *event = &disk->events[i];
		const struct change *change = event->change;

		fprintf(out, "%" PRIu64 " ", i);
		switch (event->type) {
		case EVENT_CHANGE:
			if (change->is_size) {
				fprintf(out, "size %" PRIu64, change->length);
				break;
			}
			fprintf(out, "%s %" PRIu64 " at %" PRIu64,
				change->data != NULL ? "write" : "zero",
				change->length, change->offset);
			break;
		case EVENT_COMPLETED:
			fprintf(out, "completed %" PRIu64 " at %" PRIu64,
				change->length, change->offset);
			break;
		case EVENT_FLUSH_BEGINS:
			fprintf(out, "flush");
			break;
		case EVENT_FLUSHED:
			fprintf(out, "flushed as of %" PRIu64 " up to %"
				PRIu64, event->flush_began, event->flush_end);
			break;
		}
		fprintf(out, "\n");
	}
}

static struct event *event_add(struct crash_disk *disk, enum event_type type)
{
	struct event *event = NULL;

	if (talloc_array_length(disk->events) == disk->num_events) {
		disk->events = talloc_realloc(disk, disk->events,
					      struct event,
					      MAX(256, 2 * disk->num_events));
	}
	event = &disk->events[disk->num_events];
	*event = (struct event) { .type = type };
	disk->num_events += 1;
	return event;
}

static void completed(struct crash_disk *disk, struct change *change)
{
	event_add(disk, EVENT_COMPLETED)->change = change;
	change->completed = disk->num_events;
}

static struct change *change_add(struct crash_disk *disk,
				 const struct change *template,
				 const void *data)
{
	struct change *change = talloc(disk, struct change);
	uint64_t end = template->offset + template->length;

	*change = *template;
	change->completed = UINT64_MAX;
	if (change->is_size) {
		crash_file_resize(disk->now, change->length);
		event_add(disk, EVENT_CHANGE)->change = change;
		return change;
	}
	if (data != NULL) {
		change->data = talloc_memdup(change, data, change->length);
		change->extends = end > crash_file_size(disk->now);
		if (change->extends) {
			crash_file_resize(disk->now, end);
		}
	} else if (end > crash_file_size(disk->now)) {
		/* A hole does not make the file larger. */
		change->length = crash_file_size(disk->now) -
				 MIN(change->offset,
				     crash_file_size(disk->now));
	}
	crash_file_write(disk->now, change->data, change->length,
			 change->offset);
	event_add(disk, EVENT_CHANGE)->change = change;
	return change;
}

/* A change that takes no time: one event is enough. */
static void change_add_completed(struct crash_disk *disk,
				 const struct change *template,
				 const void *data)
{
	struct change *change = change_add(disk, template, data);

	change->completed = disk->num_events;
}

static uint64_t flush_begins(struct crash_disk *disk)
{
	event_add(disk, EVENT_FLUSH_BEGINS);
	return disk->num_events;
}

static void flushed(struct crash_disk *disk, uint64_t began, uint64_t end)
{
	uint64_t covers = began;
	struct event *event = NULL;

	if (disk->flush == CRASH_FLUSH_NEVER ||
	    (disk->flush == CRASH_FLUSH_ASKED && disk->user_flushes == 0)) {
		return;
	}
	if (disk->flush == CRASH_FLUSH_LATE) {
		covers = disk->last_flush;
		disk->last_flush = began;
	}
	event = event_add(disk, EVENT_FLUSHED);
	event->flush_began = covers;
	event->flush_end = end;
}

/* The storage */

enum job_type { JOB_READ, JOB_WRITE, JOB_FLUSH };

struct job {
	struct job *prev, *next;
	struct crash_port *port;
	struct tevent_req *req;
	enum job_type type;
	void *buf;
	size_t length;
	uint64_t offset;
	bool begun;
	struct change *change;	/* JOB_WRITE, begun */
	uint64_t flush_end;	/* JOB_FLUSH: of what is before that */
	uint64_t began;		/* JOB_FLUSH, begun */
	ssize_t ret;
};

struct crash_port {
	struct vhdx_storage storage;
	struct crash_disk *disk;
	struct crash_random *random;
	struct job *jobs;
	size_t num_jobs;
	bool dead;
	unsigned kill_in;
	sigjmp_buf jump;
};

/* Now and then less is done than was asked for. */
static size_t some_of(struct crash_port *port, size_t length)
{
	if (length > TORN && crash_chance(port->random, 2)) {
		return TORN * (1 + crash_random(port->random,
						(length - 1) / TORN));
	}
	return length;
}

/* Is this the call in which the process ends? */
static bool is_last_call(struct crash_port *port)
{
	if (port->kill_in == 0) {
		return false;
	}
	port->kill_in -= 1;
	return port->kill_in == 0;
}

static void die(struct crash_port *port)
{
	crash_port_kill(port);
	siglongjmp(port->jump, 1);
}

static ssize_t port_pread(void *private_data, void *buf, size_t length,
			  off_t offset)
{
	struct crash_port *port = private_data;
	uint64_t size = crash_file_size(port->disk->now);

	if (is_last_call(port)) {
		die(port);
	}
	if ((uint64_t)offset >= size) {
		return 0;
	}
	length = some_of(port, MIN(length, size - offset));
	crash_file_read(port->disk->now, buf, length, offset);
	return length;
}

/*
 * The kernel may have got as far as a page when it finds that the process is
 * to die.
 */
static size_t before_death(struct crash_port *port, uint64_t offset,
			   size_t length)
{
	uint64_t first = CRASH_PAGE - offset % CRASH_PAGE;
	uint64_t num_pages = 1;

	if (length > first) {
		num_pages += (length - first + CRASH_PAGE - 1) / CRASH_PAGE;
	}
	num_pages = crash_random(port->random, num_pages + 1);
	if (num_pages == 0) {
		return 0;
	}
	return MIN(length, first + (num_pages - 1) * CRASH_PAGE);
}

static ssize_t port_pwrite(void *private_data, const void *buf,
			   size_t length, off_t offset)
{
	struct crash_port *port = private_data;
	struct change change = { .offset = offset };
	bool last = is_last_call(port);

	change.length = last ? before_death(port, offset, length) :
			       some_of(port, length);
	if (change.length > 0) {
		change_add_completed(port->disk, &change, buf);
	}
	if (last) {
		die(port);
	}
	return change.length;
}

static int port_fsync_range(void *private_data, off_t offset, off_t length)
{
	struct crash_port *port = private_data;
	bool last = is_last_call(port);

	if (!last || crash_chance(port->random, 50)) {
		flushed(port->disk, flush_begins(port->disk),
			offset + length);
	}
	if (last) {
		die(port);
	}
	return 0;
}

static int port_fsync(void *private_data)
{
	return port_fsync_range(private_data, 0, INT64_MAX);
}

static int port_change(struct crash_port *port, const struct change *change)
{
	bool last = is_last_call(port);

	if (!last || crash_chance(port->random, 50)) {
		change_add_completed(port->disk, change, NULL);
	}
	if (last) {
		die(port);
	}
	return 0;
}

static int port_ftruncate(void *private_data, off_t length)
{
	struct change change = { .length = length, .is_size = true };

	return port_change(private_data, &change);
}

static off_t port_size(void *private_data)
{
	struct crash_port *port = private_data;

	if (is_last_call(port)) {
		die(port);
	}
	return crash_file_size(port->disk->now);
}

static int port_punch_hole(void *private_data, off_t offset, off_t length)
{
	struct change change = { .offset = offset, .length = length };

	return port_change(private_data, &change);
}

/* Pages of zeros are holes, if that is how they came to be. */
static off_t port_seek(void *private_data, off_t offset, int whence)
{
	struct crash_port *port = private_data;
	uint64_t size = crash_file_size(port->disk->now);
	uint64_t page;

	for (page = offset / CRASH_PAGE; page * CRASH_PAGE < size; page++) {
		bool is_hole = crash_file_page(port->disk->now, page) == NULL;

		if (is_hole == (whence == SEEK_HOLE)) {
			return MAX((uint64_t)offset, page * CRASH_PAGE);
		}
	}
	if (whence == SEEK_HOLE && (uint64_t)offset < size) {
		return size;
	}
	errno = ENXIO;
	return -1;
}

static int job_destructor(struct job *job)
{
	if (job->port != NULL && !job->port->dead) {
		DLIST_REMOVE(job->port->jobs, job);
		job->port->num_jobs -= 1;
	}
	return 0;
}

static struct tevent_req *job_send(TALLOC_CTX *mem_ctx,
				   struct crash_port *port,
				   const struct job *template)
{
	struct job *job = NULL;
	struct tevent_req *req = tevent_req_create(mem_ctx, &job, struct job);
	bool last = is_last_call(port);

	*job = *template;
	job->port = port;
	job->req = req;
	DLIST_ADD_END(port->jobs, job);
	port->num_jobs += 1;
	talloc_set_destructor(job, job_destructor);
	if (last) {
		die(port);
	}
	return req;
}

static struct tevent_req *port_pread_send(TALLOC_CTX *mem_ctx,
					  struct tevent_context *ev,
					  void *private_data, void *buf,
					  size_t length, off_t offset)
{
	struct job job = {
		.type = JOB_READ, .buf = buf, .length = length,
		.offset = offset,
	};

	return job_send(mem_ctx, private_data, &job);
}

static struct tevent_req *port_pwrite_send(TALLOC_CTX *mem_ctx,
					   struct tevent_context *ev,
					   void *private_data,
					   const void *buf, size_t length,
					   off_t offset)
{
	struct job job = {
		.type = JOB_WRITE, .buf = discard_const(buf),
		.length = length, .offset = offset,
	};

	return job_send(mem_ctx, private_data, &job);
}

static struct tevent_req *port_fsync_send(TALLOC_CTX *mem_ctx,
					  struct tevent_context *ev,
					  void *private_data)
{
	struct job job = { .type = JOB_FLUSH, .flush_end = INT64_MAX };

	return job_send(mem_ctx, private_data, &job);
}

static struct tevent_req *port_fsync_range_send(TALLOC_CTX *mem_ctx,
						struct tevent_context *ev,
						void *private_data,
						off_t offset, off_t length)
{
	struct job job = { .type = JOB_FLUSH, .flush_end = offset + length };

	return job_send(mem_ctx, private_data, &job);
}

static ssize_t port_job_recv(struct tevent_req *req, int *err)
{
	struct job *job = tevent_req_data(req, struct job);

	*err = 0;
	return job->ret;
}

static int port_fsync_recv(struct tevent_req *req, int *err)
{
	*err = 0;
	return 0;
}

static const struct vhdx_storage_ops port_ops = {
	.pread = port_pread,
	.pwrite = port_pwrite,
	.fsync = port_fsync,
	.ftruncate = port_ftruncate,
	.size = port_size,
	.punch_hole = port_punch_hole,
	.seek = port_seek,
	.pread_send = port_pread_send,
	.pread_recv = port_job_recv,
	.pwrite_send = port_pwrite_send,
	.pwrite_recv = port_job_recv,
	.fsync_send = port_fsync_send,
	.fsync_recv = port_fsync_recv,
};

/* Not every storage has these. */
static const struct vhdx_storage_ops port_range_ops = {
	.pread = port_pread,
	.pwrite = port_pwrite,
	.fsync = port_fsync,
	.fsync_range = port_fsync_range,
	.ftruncate = port_ftruncate,
	.size = port_size,
	.punch_hole = port_punch_hole,
	.seek = port_seek,
	.pread_send = port_pread_send,
	.pread_recv = port_job_recv,
	.pwrite_send = port_pwrite_send,
	.pwrite_recv = port_job_recv,
	.fsync_send = port_fsync_send,
	.fsync_range_send = port_fsync_range_send,
	.fsync_recv = port_fsync_recv,
};

struct crash_port *crash_port_new(TALLOC_CTX *mem_ctx,
				  struct crash_disk *disk,
				  struct crash_random *random)
{
	struct crash_port *port = talloc_zero(mem_ctx, struct crash_port);

	port->storage.ops = crash_chance(random, 50) ? &port_ops :
							&port_range_ops;
	port->storage.private_data = port;
	port->disk = disk;
	port->random = random;
	return port;
}

struct vhdx_storage *crash_port_storage(struct crash_port *port)
{
	return &port->storage;
}

static void job_begin(struct job *job, size_t length)
{
	struct crash_disk *disk = job->port->disk;
	struct change change = { .offset = job->offset, .length = length };

	job->begun = true;
	switch (job->type) {
	case JOB_READ:
		break;
	case JOB_WRITE:
		job->ret = length;
		job->change = change_add(disk, &change, job->buf);
		break;
	case JOB_FLUSH:
		job->began = flush_begins(disk);
		break;
	}
}

static void job_end(struct job *job)
{
	struct crash_port *port = job->port;
	struct tevent_req *req = job->req;

	switch (job->type) {
	case JOB_READ:
		job->ret = port_pread(port, job->buf, job->length,
				      job->offset);
		break;
	case JOB_WRITE:
		completed(port->disk, job->change);
		break;
	case JOB_FLUSH:
		flushed(port->disk, job->began, job->flush_end);
		break;
	}
	DLIST_REMOVE(port->jobs, job);
	port->num_jobs -= 1;
	job->port = NULL;
	tevent_req_done(req);
}

bool crash_port_step(struct crash_port *port)
{
	struct job *job = port->jobs;
	uint64_t skip;

	if (job == NULL) {
		return false;
	}
	for (skip = crash_random(port->random, port->num_jobs); skip > 0;
	     skip--) {
		job = job->next;
	}
	if (!job->begun) {
		job_begin(job, some_of(port, job->length));
	} else {
		job_end(job);
	}
	return true;
}

void crash_port_kill_in(struct crash_port *port, unsigned calls)
{
	port->kill_in = calls;
}

sigjmp_buf *crash_port_jump(struct crash_port *port)
{
	return &port->jump;
}

void crash_port_kill(struct crash_port *port)
{
	struct job *job = NULL;

	for (job = port->jobs; job != NULL; job = job->next) {
		size_t length;

		if (job->type != JOB_WRITE) {
			continue;
		}
		if (job->begun) {
			completed(port->disk, job->change);
			continue;
		}
		length = before_death(port, job->offset, job->length);
		if (length > 0) {
			job_begin(job, length);
			completed(port->disk, job->change);
		}
	}
	port->jobs = NULL;
	port->num_jobs = 0;
	port->dead = true;
}

/* Power cuts */

struct crash_cutter {
	const struct crash_disk *disk;
	struct crash_file *stable;
	uint64_t time;
	struct change **pending;
	size_t num_pending;
};

static int cutter_destructor(struct crash_cutter *cutter)
{
	crash_file_free(cutter->stable);
	return 0;
}

struct crash_cutter *crash_cutter_new(TALLOC_CTX *mem_ctx,
				      const struct crash_disk *disk)
{
	struct crash_cutter *cutter = talloc_zero(mem_ctx,
						  struct crash_cutter);

	cutter->disk = disk;
	cutter->stable = crash_file_copy(disk->first);
	cutter->pending = talloc_array(cutter, struct change *,
				       disk->num_events + 1);
	talloc_set_destructor(cutter, cutter_destructor);
	return cutter;
}

static void write_at(struct crash_file *file, const struct change *change,
		     uint64_t skip, uint64_t length)
{
	crash_file_write(file, change->data != NULL ? change->data + skip :
						      NULL,
			 length, change->offset + skip);
}

static void make_stable(struct crash_file *file, const struct change *change)
{
	if (change->is_size) {
		crash_file_resize(file, change->length);
		return;
	}
	if (change->offset + change->length > crash_file_size(file)) {
		crash_file_resize(file, change->offset + change->length);
	}
	write_at(file, change, 0, change->length);
}

/* A smaller file has lost what was written behind its end. */
static size_t pending_behind_lost(struct change **pending, size_t num,
				  uint64_t size)
{
	size_t kept = 0;
	size_t i;

	for (i = 0; i < num; i++) {
		if (pending[i]->offset < size) {
			pending[kept] = pending[i];
			kept += 1;
		}
	}
	return kept;
}

/* Of what is before *end*; the size is stable whatever has changed it. */
static void cutter_flush(struct crash_cutter *cutter, uint64_t began,
			 uint64_t end)
{
	size_t num = 0;
	size_t i;

	for (i = 0; i < cutter->num_pending; i++) {
		struct change *change = cutter->pending[i];
		uint64_t change_end = change->offset + change->length;
		bool is_covered = change->completed <= began;

		if (is_covered && (change->is_size || change->offset < end)) {
			make_stable(cutter->stable, change);
			if (change->is_size) {
				num = pending_behind_lost(cutter->pending, num,
							  change->length);
			}
			continue;
		}
		if (is_covered && change->extends &&
		    change_end > crash_file_size(cutter->stable)) {
			crash_file_resize(cutter->stable, change_end);
		}
		cutter->pending[num] = change;
		num += 1;
	}
	cutter->num_pending = num;
}

bool crash_cutter_next(struct crash_cutter *cutter)
{
	const struct event *event = NULL;

	if (cutter->time == cutter->disk->num_events) {
		return false;
	}
	event = &cutter->disk->events[cutter->time];
	cutter->time += 1;
	switch (event->type) {
	case EVENT_CHANGE:
		cutter->pending[cutter->num_pending] = event->change;
		cutter->num_pending += 1;
		break;
	case EVENT_COMPLETED:
	case EVENT_FLUSH_BEGINS:
		break;
	case EVENT_FLUSHED:
		cutter_flush(cutter, event->flush_began, event->flush_end);
		break;
	}
	return true;
}

uint64_t crash_cutter_time(const struct crash_cutter *cutter)
{
	return cutter->time;
}

size_t crash_cutter_num_pending(const struct crash_cutter *cutter)
{
	return cutter->num_pending;
}

/* How what is pending is thinned out: chance alone seldom loses just one. */
enum cut_way {
	CUT_ALL_LOST,
	CUT_NONE_LOST,
	CUT_SECTORS,	/* each with the same chance */
	CUT_CHANGES,	/* as wholes */
	CUT_ALL_BUT_ONE,
	CUT_ONLY_ONE,
	CUT_FIRST,	/* in order, up to one that is torn */
	CUT_LAST,	/* only what comes after one that is torn */
	CUT_TORN,	/* one of them, nothing else lost */
	NUM_CUT_WAYS,
};

struct cut {
	enum cut_way way;
	size_t one;		/* the change that is the exception */
	unsigned percent;
	size_t sizes;		/* how many changes of size are there */
};

static struct cut cut_choose(const struct crash_cutter *cutter,
			     struct crash_random *random)
{
	static const unsigned percents[] = { 3, 15, 50, 85, 97 };
	struct cut cut = {
		.way = crash_random(random, NUM_CUT_WAYS),
		.one = crash_random(random, cutter->num_pending),
		.percent = percents[crash_random(random, 5)],
	};
	size_t num_sizes = 0;
	size_t i;

	for (i = 0; i < cutter->num_pending; i++) {
		num_sizes += cutter->pending[i]->is_size ||
			     cutter->pending[i]->extends;
	}
	switch (crash_random(random, 3)) {
	case 0:
		cut.sizes = 0;
		break;
	case 1:
		cut.sizes = num_sizes;
		break;
	default:
		cut.sizes = crash_random(random, num_sizes + 1);
		break;
	}
	if (cut.way == CUT_ALL_LOST) {
		cut.sizes = 0;
	} else if (cut.way == CUT_NONE_LOST) {
		cut.sizes = num_sizes;
	}
	return cut;
}

/* Of a change: 100 all of it, 0 nothing, or each sector by chance */
static unsigned cut_percent(const struct cut *cut, size_t i,
			    struct crash_random *random)
{
	bool is_one = i == cut->one;

	switch (cut->way) {
	case CUT_ALL_LOST:
		return 0;
	case CUT_NONE_LOST:
		return 100;
	case CUT_SECTORS:
		return cut->percent;
	case CUT_CHANGES:
		return crash_chance(random, cut->percent) ? 100 : 0;
	case CUT_ALL_BUT_ONE:
		return is_one ? 0 : 100;
	case CUT_ONLY_ONE:
		return is_one ? 100 : 0;
	case CUT_FIRST:
		return is_one ? 50 : (i < cut->one) ? 100 : 0;
	case CUT_LAST:
		return is_one ? 50 : (i > cut->one) ? 100 : 0;
	case CUT_TORN:
		return is_one ? 50 : 100;
	case NUM_CUT_WAYS:
		break;
	}
	return 100;
}

static void change_cut(struct crash_file *file, const struct change *change,
		       unsigned percent, struct crash_random *random)
{
	uint64_t size = crash_file_size(file);
	uint64_t length;
	uint64_t done;
	uint64_t n;

	if (percent == 0 || change->offset >= size) {
		return;
	}
	length = MIN(change->length, size - change->offset);
	if (percent == 100) {
		write_at(file, change, 0, length);
		return;
	}
	for (done = 0; done < length; done += n) {
		n = MIN(TORN - (change->offset + done) % TORN, length - done);
		if (crash_chance(random, percent)) {
			write_at(file, change, done, n);
		}
	}
}

struct crash_file *crash_cutter_cut(const struct crash_cutter *cutter,
				    struct crash_random *random)
{
	struct crash_file *file = crash_file_copy(cutter->stable);
	struct cut cut;
	size_t i;

	if (cutter->num_pending == 0) {
		return file;
	}
	cut = cut_choose(cutter, random);
	for (i = 0; i < cutter->num_pending; i++) {
		const struct change *change = cutter->pending[i];
		uint64_t end = change->offset + change->length;

		if (change->is_size) {
			end = change->length;
		}
		if ((change->is_size || change->extends) && cut.sizes > 0) {
			cut.sizes -= 1;
			if (change->is_size || end > crash_file_size(file)) {
				crash_file_resize(file, end);
			}
		}
		if (!change->is_size) {
			change_cut(file, change, cut_percent(&cut, i, random),
				   random);
		}
	}
	return file;
}
