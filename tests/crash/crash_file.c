/*
 * vfs_rsvd: sparse files in memory that cost little to copy
 *
 * Tens of thousands of versions of a file of some GiB are looked at, which
 * differ in a few pages: pages are shared and counted, and so are groups of
 * them.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "system/filesys.h"
#include "tests/crash/crash_file.h"

#define GROUP 256	/* pages: 1 MiB */

struct page {
	unsigned users;
	uint8_t data[CRASH_PAGE];
};

struct group {
	unsigned users;
	struct page *pages[GROUP];
};

struct crash_file {
	uint64_t size;
	size_t num_groups;
	struct group **groups;
};

static void *must(void *p)
{
	if (p == NULL) {
		abort();
	}
	return p;
}

struct crash_file *crash_file_new(void)
{
	return must(calloc(1, sizeof(struct crash_file)));
}

struct crash_file *crash_file_copy(const struct crash_file *file)
{
	struct crash_file *copy = crash_file_new();
	size_t i;

	*copy = *file;
	copy->groups = must(malloc(file->num_groups *
				   sizeof(file->groups[0]) + 1));
	for (i = 0; i < file->num_groups; i++) {
		copy->groups[i] = file->groups[i];
		if (copy->groups[i] != NULL) {
			copy->groups[i]->users += 1;
		}
	}
	return copy;
}

static void page_drop(struct page *page)
{
	if (page == NULL) {
		return;
	}
	page->users -= 1;
	if (page->users == 0) {
		free(page);
	}
}

static void group_drop(struct group *group)
{
	size_t i;

	if (group == NULL) {
		return;
	}
	group->users -= 1;
	if (group->users > 0) {
		return;
	}
	for (i = 0; i < GROUP; i++) {
		page_drop(group->pages[i]);
	}
	free(group);
}

void crash_file_free(struct crash_file *file)
{
	size_t i;

	for (i = 0; i < file->num_groups; i++) {
		group_drop(file->groups[i]);
	}
	free(file->groups);
	free(file);
}

uint64_t crash_file_size(const struct crash_file *file)
{
	return file->size;
}

/* A group that is ours alone */
static struct group *group_own(struct crash_file *file, size_t i)
{
	struct group *group = file->groups[i];
	struct group *own = NULL;
	size_t j;

	if (group != NULL && group->users == 1) {
		return group;
	}
	own = must(calloc(1, sizeof(*own)));
	own->users = 1;
	if (group != NULL) {
		memcpy(own->pages, group->pages, sizeof(own->pages));
		for (j = 0; j < GROUP; j++) {
			if (own->pages[j] != NULL) {
				own->pages[j]->users += 1;
			}
		}
		group_drop(group);
	}
	file->groups[i] = own;
	return own;
}

static struct page *page_own(struct group *group, size_t i)
{
	struct page *page = group->pages[i];
	struct page *own = NULL;

	if (page != NULL && page->users == 1) {
		return page;
	}
	own = must(calloc(1, sizeof(*own)));
	own->users = 1;
	if (page != NULL) {
		memcpy(own->data, page->data, CRASH_PAGE);
		page_drop(page);
	}
	group->pages[i] = own;
	return own;
}

static void page_write(struct crash_file *file, const uint8_t *data,
		       uint64_t index, size_t skip, size_t length)
{
	size_t g = index / GROUP;
	struct group *group = NULL;
	struct page *page = NULL;

	if (data == NULL) {
		if (crash_file_page(file, index) == NULL) {
			return;
		}
		if (length == CRASH_PAGE) {
			group = group_own(file, g);
			page_drop(group->pages[index % GROUP]);
			group->pages[index % GROUP] = NULL;
			return;
		}
	}
	group = group_own(file, g);
	page = page_own(group, index % GROUP);
	if (data == NULL) {
		memset(page->data + skip, 0, length);
	} else {
		memcpy(page->data + skip, data, length);
	}
}

void crash_file_write(struct crash_file *file, const uint8_t *data,
		      uint64_t length, uint64_t offset)
{
	if (offset + length > file->size) {
		abort();
	}
	while (length > 0) {
		uint64_t skip = offset % CRASH_PAGE;
		uint64_t n = MIN(length, CRASH_PAGE - skip);
		uint64_t in_group = offset % (GROUP * CRASH_PAGE);

		if (data == NULL &&
		    file->groups[offset / (GROUP * CRASH_PAGE)] == NULL) {
			/* Holes can be large. */
			n = MIN(length, GROUP * CRASH_PAGE - in_group);
			offset += n;
			length -= n;
			continue;
		}
		page_write(file, data, offset / CRASH_PAGE, skip, n);
		if (data != NULL) {
			data += n;
		}
		offset += n;
		length -= n;
	}
}

void crash_file_resize(struct crash_file *file, uint64_t size)
{
	size_t num = (size + GROUP * CRASH_PAGE - 1) / (GROUP * CRASH_PAGE);
	size_t i;

	if (size < file->size) {
		crash_file_write(file, NULL, file->size - size, size);
	}
	for (i = num; i < file->num_groups; i++) {
		group_drop(file->groups[i]);
	}
	if (num != file->num_groups) {
		file->groups = must(realloc(file->groups, num *
					    sizeof(file->groups[0]) + 1));
		for (i = file->num_groups; i < num; i++) {
			file->groups[i] = NULL;
		}
		file->num_groups = num;
	}
	file->size = size;
}

const uint8_t *crash_file_page(const struct crash_file *file, uint64_t index)
{
	const struct group *group = NULL;

	if (index / GROUP >= file->num_groups) {
		return NULL;
	}
	group = file->groups[index / GROUP];
	if (group == NULL || group->pages[index % GROUP] == NULL) {
		return NULL;
	}
	return group->pages[index % GROUP]->data;
}

void crash_file_read(const struct crash_file *file, uint8_t *data,
		     uint64_t length, uint64_t offset)
{
	if (offset + length > file->size) {
		abort();
	}
	while (length > 0) {
		size_t skip = offset % CRASH_PAGE;
		size_t n = MIN(length, CRASH_PAGE - skip);
		const uint8_t *page = crash_file_page(file,
						      offset / CRASH_PAGE);

		if (page == NULL) {
			memset(data, 0, n);
		} else {
			memcpy(data, page + skip, n);
		}
		data += n;
		offset += n;
		length -= n;
	}
}

int crash_file_save(const struct crash_file *file, const char *path)
{
	uint64_t num = (file->size + CRASH_PAGE - 1) / CRASH_PAGE;
	uint64_t i;
	int fd;
	int ret = 0;

	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd == -1) {
		return errno;
	}
	for (i = 0; i < num && ret == 0; i++) {
		const uint8_t *page = crash_file_page(file, i);

		if (page != NULL &&
		    pwrite(fd, page, CRASH_PAGE, i * CRASH_PAGE) !=
		    CRASH_PAGE) {
			ret = (errno != 0) ? errno : EIO;
		}
	}
	if (ret == 0 && ftruncate(fd, file->size) == -1) {
		ret = errno;
	}
	close(fd);
	return ret;
}
