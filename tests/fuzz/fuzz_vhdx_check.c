/*
 * vfs_rsvd: fuzz what looks at images without changing them
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "tests/fuzz/fuzz_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool has_errors(const struct vhdx_check_report *report)
{
	size_t i;

	for (i = 0; i < report->num_findings; i++) {
		if (report->findings[i].is_error) {
			return true;
		}
	}
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	TALLOC_CTX *frame = talloc_new(NULL);
	struct crash_file *file = fuzz_image(data, size);
	struct vhdx_storage *storage = fuzz_storage(frame, file);
	struct vhdx_check_report *report = NULL;
	struct vhdx *image = NULL;
	char *reason = NULL;
	NTSTATUS checked;
	NTSTATUS opened;

	checked = vhdx_check(frame, storage, NULL, NULL, &report);
	opened = vhdx_open(frame, storage, NULL, VHDX_OPEN_READ_ONLY, &image,
			   &reason);
	if (NT_STATUS_IS_OK(checked) && !has_errors(report) &&
	    NT_STATUS_EQUAL(opened, NT_STATUS_FILE_CORRUPT_ERROR)) {
		fprintf(stderr, "check finds nothing, but: %s\n", reason);
		abort();
	}
	if (image != NULL) {
		vhdx_close(&image);
	}
	TALLOC_FREE(frame);
	crash_file_free(file);
	return 0;
}
