/*
 * vfs_rsvd: fuzz opening an image, the replay of its log, and its use
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "tests/fuzz/fuzz_image.h"

#define PIECE 8192

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The start, the end, and somewhere between */
static uint64_t piece_offset(uint64_t disk_size, unsigned i)
{
	switch (i) {
	case 0:
		return 0;
	case 1:
		return disk_size - MIN(disk_size, PIECE);
	default:
		return disk_size / 2 / PIECE * PIECE;
	}
}

struct pieces {
	uint8_t data[3][PIECE];
	bool ok[3];
};

static void image_read(struct vhdx *image, struct pieces *pieces)
{
	uint64_t disk_size = vhdx_geometry(image)->virtual_size;
	unsigned i;

	for (i = 0; i < 3; i++) {
		NTSTATUS status;

		memset(pieces->data[i], 0, PIECE);
		status = vhdx_read(image, pieces->data[i],
				   MIN(disk_size, PIECE),
				   piece_offset(disk_size, i));
		pieces->ok[i] = NT_STATUS_IS_OK(status);
	}
}

/*
 * The log applied in memory has to be the same as in the file. But what it
 * writes to a block is not read while it is in memory: see overlay_clip().
 */
static bool is_same(const struct pieces *with_log,
		    const struct pieces *without)
{
	unsigned i;

	for (i = 0; i < 3; i++) {
		if (with_log->ok[i] &&
		    (!without->ok[i] || memcmp(with_log->data[i],
					       without->data[i],
					       PIECE) != 0)) {
			return false;
		}
	}
	return true;
}

static void image_use(struct vhdx *image)
{
	uint64_t disk_size = vhdx_geometry(image)->virtual_size;
	static uint8_t buf[PIECE];
	static uint8_t back[PIECE];
	unsigned i;

	memset(buf, 0x5A, sizeof(buf));
	for (i = 0; i < 3; i++) {
		uint64_t offset = piece_offset(disk_size, i);
		size_t length = MIN(disk_size, PIECE);
		NTSTATUS status;

		status = vhdx_write(image, buf, length, offset);
		if (!NT_STATUS_IS_OK(status)) {
			continue;
		}
		status = vhdx_read(image, back, length, offset);
		if (!NT_STATUS_IS_OK(status) ||
		    memcmp(buf, back, length) != 0) {
			fprintf(stderr, "what was written is not there\n");
			abort();
		}
	}
	vhdx_zero(image, 0, MIN(disk_size, 4 * PIECE));
	vhdx_flush(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct pieces with_log, without;
	TALLOC_CTX *frame = talloc_new(NULL);
	struct crash_file *file = fuzz_image(data, size);
	struct vhdx_storage *storage = fuzz_storage(frame, file);
	struct vhdx *image = NULL;
	bool is_read = false;
	NTSTATUS status;

	status = vhdx_open(frame, storage, NULL, VHDX_OPEN_READ_ONLY, &image,
			   NULL);
	if (NT_STATUS_IS_OK(status)) {
		image_read(image, &with_log);
		vhdx_close(&image);
		is_read = true;
	}
	status = vhdx_open(frame, storage, NULL, 0, &image, NULL);
	if (NT_STATUS_IS_OK(status)) {
		image_read(image, &without);
		if (!is_read || !is_same(&with_log, &without)) {
			fprintf(stderr, "the replay shows something else\n");
			abort();
		}
		image_use(image);
		status = vhdx_close(&image);
		if (NT_STATUS_IS_OK(status)) {
			char *reason = NULL;

			status = vhdx_open(frame, storage, NULL, 0, &image,
					   &reason);
			if (!NT_STATUS_IS_OK(status)) {
				fprintf(stderr, "does not open again: %s\n",
					reason != NULL ? reason : "-");
				abort();
			}
			vhdx_close(&image);
		}
	}
	TALLOC_FREE(frame);
	crash_file_free(file);
	return 0;
}
