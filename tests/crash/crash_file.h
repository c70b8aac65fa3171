/*
 * vfs_rsvd: sparse files in memory that cost little to copy
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _CRASH_FILE_H_
#define _CRASH_FILE_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CRASH_PAGE 4096

struct crash_file;

/* All of these abort when out of memory. */
struct crash_file *crash_file_new(void);
/* Shares all pages with the original until one of the two is written. */
struct crash_file *crash_file_copy(const struct crash_file *file);
void crash_file_free(struct crash_file *file);

uint64_t crash_file_size(const struct crash_file *file);
/* What is cut off is zeros if the file grows again. */
void crash_file_resize(struct crash_file *file, uint64_t size);

/* Both inside the file; data NULL writes zeros. */
void crash_file_write(struct crash_file *file, const uint8_t *data,
		      uint64_t length, uint64_t offset);
void crash_file_read(const struct crash_file *file, uint8_t *data,
		     uint64_t length, uint64_t offset);

/* A page (by index), or NULL if nothing but zeros was ever put there */
const uint8_t *crash_file_page(const struct crash_file *file, uint64_t index);

/* Into a sparse file of the real world; 0 or an errno */
int crash_file_save(const struct crash_file *file, const char *path);

#endif /* _CRASH_FILE_H_ */
