/*
 * vfs_rsvd: differencing images and their parents in memory, for tests
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _VHDX_FOLDER_H_
#define _VHDX_FOLDER_H_

#include "modules/vhdx/vhdx_private.h"
#include "tests/unit/vhdx_memory.h"

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)

#define DISK_SIZE (16 * MIB)
#define UNIT 4096

#define assert_ok(status) \
	assert_int_equal(NT_STATUS_V(status), NT_STATUS_V(NT_STATUS_OK))
#define assert_status(status, wanted) \
	assert_int_equal(NT_STATUS_V(status), NT_STATUS_V(wanted))

#define MAX_FILES 80

/* A directory */
struct folder {
	struct {
		const char *name;
		struct vhdx_memory *memory;
	} files[MAX_FILES];
	size_t num;
};

/* parent.vhdx: 'p' in the first unit of each of the first eight MiB */
struct folder *folder_new(void **state);
/* And child.vhdx, which is empty, of blocks of 1 MiB */
struct folder *folder_with_child(void **state);
/* An empty file */
struct vhdx_memory *folder_add(struct folder *folder, const char *name);
struct vhdx_memory *folder_file(struct folder *folder, const char *name);
/* A vhdx_open_parent_fn */
NTSTATUS folder_open(TALLOC_CTX *mem_ctx, const char *path,
		     void *private_data, struct vhdx_storage **storage);
struct vhdx_memory *add_child(struct folder *folder, const char *name,
			      const char *parent_name,
			      const char *parent_path, uint32_t block_size);
/*
 * What other programs write: block 1 of a child, of 1 MiB, is there in part.
 * Its second and fourth unit have 'c'.
 */
void make_partial(struct vhdx_memory *m);
/* Little-endian */
void poke(struct vhdx_memory *m, uint64_t offset, uint64_t value,
	  size_t length);

/*
 * folder_with_child(), but the child has something of every state that
 * MS-VHDX 2.5.1.1 knows, and whether it reads as that
 */
struct folder *folder_with_full_child(void **state);
void assert_full_child(struct vhdx *image);

/* All files after a power cut: vhdx_memory_cut(), the first with its own */
struct folder *folder_cut(struct folder *folder, unsigned keep,
			  unsigned keep_first, uint32_t *seed);
/* vhdx_memory_watch() of all */
void folder_watch(struct folder *folder, void (*watch)(void *private_data),
		  void *private_data);

NTSTATUS try_open(struct folder *folder, const char *path,
		  struct vhdx_shared *shared, uint32_t flags,
		  struct vhdx **image, char **reason);
struct vhdx *open_image(struct folder *folder, const char *path,
			uint32_t flags);
/* A unit full of a byte */
void put(struct vhdx *image, uint64_t offset, uint8_t byte);
void assert_bytes(struct vhdx *image, uint64_t offset, size_t length,
		  uint8_t byte);
void assert_check_finds_nothing(struct vhdx_memory *m);
/* But leaked space, say */
void assert_check_finds_no_error(struct vhdx_memory *m);

#endif /* _VHDX_FOLDER_H_ */
