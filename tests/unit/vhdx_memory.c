/*
 * vfs_rsvd: an image in memory, for tests, with power cuts
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "system/filesys.h"
#include "lib/util/samba_util.h"
#include "lib/util/tevent_unix.h"
#include "tests/unit/vhdx_memory.h"

#define PAGE 4096
#define TORN 512	/* what a disk writes as a whole */

/* Shared by the files that have the same in it */
struct page {
	unsigned num_users;
	uint8_t bytes[PAGE];
};

/* Sparse: what is NULL is zeros. A file of 64 TiB has 64 Ki chunks. */
#define CHUNK_PAGES ((uint64_t)256 * 1024)

struct file {
	struct page ***chunks;
	size_t num_chunks;
	uint64_t num_pages;	/* none is behind this */
	uint64_t size;
};

struct change {
	struct change *next;
	uint64_t number;
	uint64_t offset;
	uint64_t length;
	uint8_t *data;		/* NULL: zeros, or a new size */
	bool is_size;
};

struct vhdx_memory {
	struct vhdx_storage storage;
	struct file now;
	struct file stable;
	struct change *pending;
	struct change **pending_end;
	uint64_t num_changes;
	uint64_t num_flushes;
	int fail_err;
	uint64_t fail_after;
	void (*watch)(void *private_data);
	void *watch_data;
};

uint32_t vhdx_memory_random(uint32_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

static struct page **file_slot(struct file *file, uint64_t index, bool make)
{
	uint64_t chunk = index / CHUNK_PAGES;

	if (chunk >= file->num_chunks) {
		size_t size = (chunk + 1) * sizeof(file->chunks[0]);
		size_t i;

		if (!make) {
			return NULL;
		}
		file->chunks = realloc(file->chunks, size);
		for (i = file->num_chunks; i <= chunk; i++) {
			file->chunks[i] = NULL;
		}
		file->num_chunks = chunk + 1;
	}
	if (file->chunks[chunk] == NULL) {
		if (!make) {
			return NULL;
		}
		/* Memory that is not touched costs nothing. */
		file->chunks[chunk] = calloc(CHUNK_PAGES,
					     sizeof(struct page *));
	}
	if (make) {
		file->num_pages = MAX(file->num_pages, index + 1);
	}
	return &file->chunks[chunk][index % CHUNK_PAGES];
}

static const uint8_t *file_look(const struct file *file, uint64_t index)
{
	struct page **slot = file_slot(discard_const_p(struct file, file),
				       index, false);

	return (slot != NULL && *slot != NULL) ? (*slot)->bytes : NULL;
}

/* A page of its own, to be written to */
static uint8_t *file_page(struct file *file, uint64_t index)
{
	struct page **slot = file_slot(file, index, true);
	struct page *page = *slot;

	if (page != NULL && page->num_users == 1) {
		return page->bytes;
	}
	*slot = calloc(1, sizeof(struct page));
	(*slot)->num_users = 1;
	if (page != NULL) {
		memcpy((*slot)->bytes, page->bytes, PAGE);
		page->num_users -= 1;
	}
	return (*slot)->bytes;
}

static void file_free(struct file *file)
{
	size_t i;
	size_t k;

	for (i = 0; i < file->num_chunks; i++) {
		uint64_t used = file->num_pages;

		if (file->chunks[i] == NULL) {
			continue;
		}
		used -= MIN(used, i * CHUNK_PAGES);
		for (k = 0; k < MIN(used, CHUNK_PAGES); k++) {
			struct page *page = file->chunks[i][k];

			if (page == NULL) {
				continue;
			}
			page->num_users -= 1;
			if (page->num_users == 0) {
				free(page);
			}
		}
		free(file->chunks[i]);
	}
	free(file->chunks);
}

static void file_share(struct file *to, const struct file *from)
{
	uint64_t i;

	for (i = 0; i < from->num_pages; i++) {
		struct page **slot = NULL;

		if (i % CHUNK_PAGES == 0 &&
		    (i / CHUNK_PAGES >= from->num_chunks ||
		     from->chunks[i / CHUNK_PAGES] == NULL)) {
			i += CHUNK_PAGES - 1;
			continue;
		}
		if (file_look(from, i) == NULL) {
			continue;
		}
		slot = file_slot(to, i, true);
		*slot = from->chunks[i / CHUNK_PAGES][i % CHUNK_PAGES];
		(*slot)->num_users += 1;
	}
	to->size = from->size;
}

/* data NULL: zeros */
static void file_put(struct file *file, uint64_t offset, uint64_t length,
		     const uint8_t *data)
{
	while (length > 0) {
		size_t skip = offset % PAGE;
		size_t n = MIN(length, PAGE - skip);
		uint64_t index = offset / PAGE;

		if (data != NULL) {
			memcpy(file_page(file, index) + skip, data, n);
			data += n;
		} else if (file_look(file, index) != NULL) {
			memset(file_page(file, index) + skip, 0, n);
		}
		offset += n;
		length -= n;
	}
}

static void file_get(const struct file *file, uint64_t offset,
		     uint64_t length, uint8_t *data)
{
	while (length > 0) {
		size_t skip = offset % PAGE;
		size_t n = MIN(length, PAGE - skip);
		uint64_t index = offset / PAGE;

		const uint8_t *page = file_look(file, index);

		if (page != NULL) {
			memcpy(data, page + skip, n);
		} else {
			memset(data, 0, n);
		}
		data += n;
		offset += n;
		length -= n;
	}
}

static void file_resize(struct file *file, uint64_t size)
{
	if (size < file->size) {
		/* What was cut off does not come back when it grows. */
		file_put(file, size, file->size - size, NULL);
	}
	file->size = size;
}

static void change_apply(struct file *file, const struct change *change)
{
	if (change->is_size) {
		file_resize(file, change->length);
		return;
	}
	file_put(file, change->offset, change->length, change->data);
	if (change->data != NULL) {
		file->size = MAX(file->size, change->offset + change->length);
	}
}

static int change_add(struct vhdx_memory *m, const struct change *template,
		      const void *data)
{
	struct change *change = NULL;

	if (m->fail_err != 0) {
		if (m->fail_after == 0) {
			errno = m->fail_err;
			return -1;
		}
		m->fail_after -= 1;
	}
	change = talloc(m, struct change);
	*change = *template;
	if (data != NULL) {
		change->data = talloc_memdup(change, data, change->length);
	}
	m->num_changes += 1;
	change->number = m->num_changes;
	change->next = NULL;
	*m->pending_end = change;
	m->pending_end = &change->next;
	change_apply(&m->now, change);
	if (m->watch != NULL) {
		m->watch(m->watch_data);
	}
	return 0;
}

/* Changes up to a number are stable, those before a place in the file. */
static void changes_flush(struct vhdx_memory *m, uint64_t number, uint64_t end)
{
	struct change **link = &m->pending;

	if (m->watch != NULL) {
		m->watch(m->watch_data);
	}
	while (*link != NULL && (*link)->number <= number) {
		struct change *change = *link;

		if (!change->is_size && change->offset >= end) {
			link = &change->next;
			continue;
		}
		change_apply(&m->stable, change);
		*link = change->next;
		TALLOC_FREE(change);
	}
	if (*link == NULL) {
		m->pending_end = link;
	}
	m->num_flushes += 1;
}

struct vhdx_memory *vhdx_memory_cut(TALLOC_CTX *mem_ctx,
				    struct vhdx_memory *memory,
				    unsigned keep, uint32_t *seed)
{
	struct vhdx_memory *m = vhdx_memory_new(mem_ctx);
	const struct change *change = NULL;
	struct file *file = &m->stable;

	file_share(file, &memory->stable);
	for (change = memory->pending; change != NULL;
	     change = change->next) {
		uint64_t done;

		if (change->is_size) {
			if (vhdx_memory_random(seed) % 256 < keep) {
				file_resize(file, change->length);
			}
			continue;
		}
		for (done = 0; done < change->length;) {
			uint64_t offset = change->offset + done;
			uint64_t n = MIN(TORN - offset % TORN,
					 change->length - done);

			if (vhdx_memory_random(seed) % 256 < keep) {
				file_put(file, offset, n,
					 change->data != NULL ?
					 change->data + done : NULL);
				if (change->data != NULL) {
					file->size = MAX(file->size,
							 offset + n);
				}
			}
			done += n;
		}
	}
	/* What a disk has, it has: that is where the next life begins. */
	file_share(&m->now, file);
	return m;
}

/* The storage */

static ssize_t memory_pread(void *private_data, void *buf, size_t length,
			    off_t offset)
{
	struct vhdx_memory *m = private_data;

	if ((uint64_t)offset >= m->now.size) {
		return 0;
	}
	length = MIN(length, m->now.size - offset);
	file_get(&m->now, offset, length, buf);
	return length;
}

static ssize_t memory_pwrite(void *private_data, const void *buf,
			     size_t length, off_t offset)
{
	struct change change = { .offset = offset, .length = length };

	if (change_add(private_data, &change, buf) == -1) {
		return -1;
	}
	return length;
}

static int memory_fsync(void *private_data)
{
	struct vhdx_memory *m = private_data;

	changes_flush(m, m->num_changes, UINT64_MAX);
	return 0;
}

static int memory_fsync_range(void *private_data, off_t offset, off_t length)
{
	struct vhdx_memory *m = private_data;

	changes_flush(m, m->num_changes, offset + length);
	return 0;
}

static int memory_ftruncate(void *private_data, off_t length)
{
	struct change change = { .length = length, .is_size = true };

	return change_add(private_data, &change, NULL);
}

static off_t memory_size(void *private_data)
{
	struct vhdx_memory *m = private_data;

	return m->now.size;
}

static int memory_punch_hole(void *private_data, off_t offset, off_t length)
{
	struct change change = { .offset = offset, .length = length };

	return change_add(private_data, &change, NULL);
}

/* Nothing but zeros is a hole, however it came to be. */
static off_t memory_seek(void *private_data, off_t offset, int whence)
{
	struct vhdx_memory *m = private_data;
	uint64_t index;

	for (index = offset / PAGE; index * PAGE < m->now.size; index++) {
		const uint8_t *page = file_look(&m->now, index);
		bool is_hole = page == NULL || all_zero(page, PAGE);

		if (is_hole == (whence == SEEK_HOLE)) {
			return MAX((uint64_t)offset, index * PAGE);
		}
	}
	if (whence == SEEK_HOLE && (uint64_t)offset < m->now.size) {
		return m->now.size;
	}
	errno = ENXIO;
	return -1;
}

struct memory_job {
	struct vhdx_memory *m;
	ssize_t ret;
	int err;
	uint64_t number;
	uint64_t end;
};

static struct tevent_req *memory_pread_send(TALLOC_CTX *mem_ctx,
					    struct tevent_context *ev,
					    void *private_data, void *buf,
					    size_t length, off_t offset)
{
	struct memory_job *job = NULL;
	struct tevent_req *req = tevent_req_create(mem_ctx, &job,
						   struct memory_job);

	job->ret = memory_pread(private_data, buf, length, offset);
	tevent_req_done(req);
	return tevent_req_post(req, ev);
}

static struct tevent_req *memory_pwrite_send(TALLOC_CTX *mem_ctx,
					     struct tevent_context *ev,
					     void *private_data,
					     const void *buf, size_t length,
					     off_t offset)
{
	struct memory_job *job = NULL;
	struct tevent_req *req = tevent_req_create(mem_ctx, &job,
						   struct memory_job);

	job->ret = memory_pwrite(private_data, buf, length, offset);
	job->err = errno;
	tevent_req_done(req);
	return tevent_req_post(req, ev);
}

static ssize_t memory_job_recv(struct tevent_req *req, int *err)
{
	struct memory_job *job = tevent_req_data(req, struct memory_job);

	*err = job->err;
	return job->ret;
}

/* What is written between _send and _recv need not be in the flush. */
static struct tevent_req *memory_fsync_range_send(TALLOC_CTX *mem_ctx,
						  struct tevent_context *ev,
						  void *private_data,
						  off_t offset, off_t length)
{
	struct memory_job *job = NULL;
	struct tevent_req *req = tevent_req_create(mem_ctx, &job,
						   struct memory_job);

	job->m = private_data;
	job->number = job->m->num_changes;
	job->end = offset + length;
	tevent_req_done(req);
	return tevent_req_post(req, ev);
}

static struct tevent_req *memory_fsync_send(TALLOC_CTX *mem_ctx,
					    struct tevent_context *ev,
					    void *private_data)
{
	return memory_fsync_range_send(mem_ctx, ev, private_data, 0,
				       INT64_MAX);
}

static int memory_fsync_recv(struct tevent_req *req, int *err)
{
	struct memory_job *job = tevent_req_data(req, struct memory_job);

	changes_flush(job->m, job->number, job->end);
	return 0;
}

static const struct vhdx_storage_ops memory_ops = {
	.pread = memory_pread,
	.pwrite = memory_pwrite,
	.fsync = memory_fsync,
	.fsync_range = memory_fsync_range,
	.ftruncate = memory_ftruncate,
	.size = memory_size,
	.punch_hole = memory_punch_hole,
	.seek = memory_seek,
	.pread_send = memory_pread_send,
	.pread_recv = memory_job_recv,
	.pwrite_send = memory_pwrite_send,
	.pwrite_recv = memory_job_recv,
	.fsync_send = memory_fsync_send,
	.fsync_range_send = memory_fsync_range_send,
	.fsync_recv = memory_fsync_recv,
};

static int memory_destructor(struct vhdx_memory *m)
{
	file_free(&m->now);
	file_free(&m->stable);
	return 0;
}

struct vhdx_memory *vhdx_memory_new(TALLOC_CTX *mem_ctx)
{
	struct vhdx_memory *m = talloc_zero(mem_ctx, struct vhdx_memory);

	m->storage.ops = &memory_ops;
	m->storage.private_data = m;
	m->pending_end = &m->pending;
	talloc_set_destructor(m, memory_destructor);
	return m;
}

struct vhdx_storage *vhdx_memory_storage(struct vhdx_memory *memory)
{
	return &memory->storage;
}

void vhdx_memory_read(struct vhdx_memory *memory, void *buf, size_t length,
		      uint64_t offset)
{
	file_get(&memory->now, offset, length, buf);
}

void vhdx_memory_write(struct vhdx_memory *memory, const void *buf,
		       size_t length, uint64_t offset)
{
	memory_pwrite(memory, buf, length, offset);
	memory_fsync(memory);
}

void vhdx_memory_resize(struct vhdx_memory *memory, uint64_t size)
{
	memory_ftruncate(memory, size);
	memory_fsync(memory);
}

uint64_t vhdx_memory_size(const struct vhdx_memory *memory)
{
	return memory->now.size;
}

uint64_t vhdx_memory_num_changes(const struct vhdx_memory *memory)
{
	return memory->num_changes;
}

uint64_t vhdx_memory_num_flushes(const struct vhdx_memory *memory)
{
	return memory->num_flushes;
}

void vhdx_memory_watch(struct vhdx_memory *memory,
		       void (*watch)(void *private_data), void *private_data)
{
	memory->watch = watch;
	memory->watch_data = private_data;
}

void vhdx_memory_fail(struct vhdx_memory *memory, int err, uint64_t after)
{
	memory->fail_err = err;
	memory->fail_after = after;
}
