/*
 * vfs_rsvd: fuzz what comes through FSCTL
 *
 * An input is any number of messages to handles of one disk, which stays the
 * same from input to input:
 *
 *   u8     bits 0-1 which handle, bits 4-7 room for the answer
 *   u16    length of the message
 *   u8[]   the message, MS-RSVD 2.2.4.11 on
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/bytearray.h"
#include "librpc/ndr/libndr.h"
#include "librpc/gen_ndr/ndr_misc.h"
#include "librpc/gen_ndr/ndr_rsvd.h"
#include "tests/unit/rsvd_fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct rsvd_fixture *fixture;
static struct rsvd_open *opens[4];

static void finish(void)
{
	rsvd_fixture_free(fixture);
}

static void begin(void)
{
	unsigned i;

	fixture = rsvd_fixture_init(false);
	if (fixture == NULL) {
		fprintf(stderr, "no fixture: %s\n", strerror(errno));
		exit(1);
	}
	atexit(finish);
	for (i = 0; i < ARRAY_SIZE(opens); i++) {
		struct rsvd_fixture_open o = rsvd_fixture_default_open(i);

		switch (i) {
		case 1:
			o.context_version = RSVD_ECP_CONTEXT_VERSION_1;
			break;
		case 2:
			o.file_name = "dir/disk.vhds";
			break;
		case 3:
			o.may_write = false;
			break;
		}
		opens[i] = rsvd_fixture_open(fixture, &o);
		if (opens[i] == NULL) {
			fprintf(stderr, "cannot open handle %u\n", i);
			exit(1);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (fixture == NULL) {
		begin();
	}
	while (size >= 4) {
		static const uint32_t rooms[] = { 0, 16, 64, 4096, 1048576 };
		TALLOC_CTX *frame = talloc_new(NULL);
		uint32_t room = rooms[(data[0] >> 4) % ARRAY_SIZE(rooms)];
		struct rsvd_open *open = opens[data[0] & 3];
		size_t length = MIN(PULL_LE_U16(data, 1), size - 3);
		DATA_BLOB input = data_blob_talloc(frame, data + 3, length);
		DATA_BLOB output = data_blob_null;
		NTSTATUS status;

		status = rsvd_tunnel_dispatch(open, frame, &input, room,
					      &output);
		if (NT_STATUS_IS_OK(status) && output.length > room) {
			fprintf(stderr, "%zu bytes of answer in %u\n",
				output.length, room);
			abort();
		}
		TALLOC_FREE(frame);
		data += 3 + length;
		size -= 3 + length;
	}
	return 0;
}
