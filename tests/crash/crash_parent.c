/*
 * vfs_rsvd: what a differencing image in a crash test is based on
 *
 * Of three blocks of the child one has
 * nothing in the parent, and zeros have been written to some that have; its
 * blocks are twice as large, so that what is to be copied of one begins and
 * ends anywhere.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "tests/crash/crash_parent.h"

struct crash_parent {
	struct crash_disk *disk;
	struct crash_port *port;	/* NULL: there is none */
	struct crash_random random;
	struct vhdx_parents parents;
};

bool crash_parent_has(const struct crash_plan *plan, uint64_t block)
{
	return plan->child && block % 3 != 0 &&
	       block < plan->first_block + plan->num_blocks;
}

static void ok(NTSTATUS status, const char *what)
{
	if (!NT_STATUS_IS_OK(status)) {
		fprintf(stderr, "parent: %s: %s\n", what, nt_errstr(status));
		exit(1);
	}
}

static void parent_fill(const struct crash_plan *plan, struct vhdx *image)
{
	uint64_t size = plan->params.block_size;
	uint64_t window = CRASH_WINDOW * CRASH_SECTOR;
	struct crash_oracle *oracle = crash_oracle_new(
		image, plan->params.virtual_size / size + 1, size);
	uint8_t buf[CRASH_WINDOW * CRASH_SECTOR];
	uint64_t block;

	for (block = plan->first_block;
	     block < plan->first_block + plan->num_blocks; block++) {
		uint64_t starts[] = { block * size,
				      (block + 1) * size - window };
		unsigned i;

		for (i = 0; i < 2 && crash_parent_has(plan, block); i++) {
			crash_oracle_fill(oracle, buf, starts[i], window,
					  CRASH_PARENT_VERSION);
			ok(vhdx_write(image, buf, window, starts[i]),
			   "write");
		}
	}
}

struct crash_file *crash_parent_make(const struct crash_plan *plan)
{
	struct crash_random random = { .state = 1 };
	struct crash_disk *disk = crash_disk_new(NULL, crash_file_new(),
						 CRASH_FLUSH_WORKS);
	struct crash_port *port = crash_port_new(disk, disk, &random);
	struct vhdx_create_params params = plan->params;
	struct crash_file *file = NULL;
	struct vhdx *image = NULL;

	params.block_size *= 2;
	ok(vhdx_create(crash_port_storage(port), &params), "create");
	ok(vhdx_open(disk, crash_port_storage(port), NULL, 0, &image, NULL),
	   "open");
	parent_fill(plan, image);
	ok(vhdx_close(&image), "close");
	file = crash_file_copy(crash_disk_now(disk));
	TALLOC_FREE(disk);
	return file;
}

static NTSTATUS parent_open(TALLOC_CTX *mem_ctx, const char *path,
			    void *private_data, struct vhdx_storage **storage)
{
	struct crash_parent *parent = private_data;

	if (strcmp(path, CRASH_PARENT_NAME) != 0) {
		return NT_STATUS_OBJECT_NAME_NOT_FOUND;
	}
	*storage = crash_port_storage(parent->port);
	return NT_STATUS_OK;
}

struct crash_parent *crash_parent_new(TALLOC_CTX *mem_ctx,
				      const struct crash_file *file)
{
	struct crash_parent *parent = talloc_zero(mem_ctx,
						  struct crash_parent);

	if (file == NULL) {
		return parent;
	}
	parent->random.state = 1;
	parent->disk = crash_disk_new(parent, crash_file_copy(file),
				      CRASH_FLUSH_WORKS);
	parent->port = crash_port_new(parent, parent->disk, &parent->random);
	parent->parents = (struct vhdx_parents) {
		.path = "child.vhdx",
		.open = parent_open,
		.private_data = parent,
	};
	return parent;
}

const struct vhdx_parents *crash_parents(const struct crash_parent *parent)
{
	return parent->port != NULL ? &parent->parents : NULL;
}

bool crash_parent_step(struct crash_parent *parent)
{
	return parent->port != NULL && crash_port_step(parent->port);
}

NTSTATUS crash_parent_create(const struct crash_plan *plan,
			     const struct crash_file *file,
			     struct vhdx_storage *storage)
{
	struct crash_parent *parent = crash_parent_new(NULL, file);
	struct vhdx_create_params params = plan->params;
	struct vhdx *image = NULL;
	NTSTATUS status;

	if (file == NULL) {
		TALLOC_FREE(parent);
		return vhdx_create(storage, &params);
	}
	status = vhdx_open(parent, crash_port_storage(parent->port), NULL,
			   VHDX_OPEN_READ_ONLY, &image, NULL);
	if (NT_STATUS_IS_OK(status)) {
		params.parent = image;
		params.parent_path = CRASH_PARENT_NAME;
		status = vhdx_create(storage, &params);
		vhdx_close(&image);
	}
	if (NT_STATUS_IS_OK(status) && crash_disk_time(parent->disk) > 0) {
		/* Others may have it as theirs. */
		status = NT_STATUS_DATA_ERROR;
	}
	TALLOC_FREE(parent);
	return status;
}
