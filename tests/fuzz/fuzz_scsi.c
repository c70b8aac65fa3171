/*
 * vfs_rsvd: fuzz SCSI commands
 *
 * An input is any number of commands to one small disk:
 *
 *   u8     bits 0-1 which of three initiators, bits 4-7 more room for the
 *          answer, in 256 bytes
 *   u8     length of the CDB, at most 16 (bit 7: a thin disk, of the first)
 *   u16    length of the data sent
 *   u8[]   CDB and data
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/bytearray.h"
#include "tests/unit/scsi_memory_disk.h"

#define NUM_BLOCKS 64
#define BLOCK 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In memory of the exact size, so that ASan sees every byte too many */
static void execute(struct scsi_memory_disk *disk, struct scsi_nexus *nexus,
		    const uint8_t *cdb, size_t cdb_length,
		    const uint8_t *data, size_t length, size_t room)
{
	struct scsi_task task = {
		.cdb = talloc_memdup(disk, cdb, cdb_length),
		.cdb_length = cdb_length,
		.data_out = talloc_memdup(disk, data, length),
		.data_out_length = length,
		.data_in = talloc_size(disk, room + 1),
		.data_in_size = room,
		.status = 0xEE,
	};

	scsi_execute(&disk->scsi, nexus, &task);
	if (task.data_in_length > room ||
	    task.sense_length > SCSI_SENSE_SIZE ||
	    (task.status != SCSI_STATUS_GOOD &&
	     task.status != SCSI_STATUS_CHECK_CONDITION &&
	     task.status != SCSI_STATUS_BUSY &&
	     task.status != SCSI_STATUS_RESERVATION_CONFLICT) ||
	    (task.status == SCSI_STATUS_CHECK_CONDITION &&
	     task.sense_length < 18)) {
		fprintf(stderr, "not an answer of SCSI: status %u, %u bytes of "
			"sense, %u of data in %zu\n", task.status,
			task.sense_length, task.data_in_length, room);
		abort();
	}
	talloc_free(discard_const(task.cdb));
	talloc_free(discard_const(task.data_out));
	talloc_free(task.data_in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	TALLOC_CTX *frame = talloc_new(NULL);
	struct scsi_memory_disk *disk = NULL;
	struct scsi_nexus nexuses[3];
	unsigned i;

	disk = scsi_memory_disk_init(frame, NUM_BLOCKS, BLOCK,
				     size > 1 && (data[1] & 0x80));
	for (i = 0; i < ARRAY_SIZE(nexuses); i++) {
		nexuses[i] = (struct scsi_nexus) {
			.initiator_id = { .time_low = i + 1 },
			.host_name = "host",
			.may_write = i != 2,
		};
		scsi_memory_disk_open(disk, &nexuses[i]);
	}
	while (size >= 5) {
		size_t room = ((data[0] >> 4) + 1) * 256;
		size_t cdb_length = 1 + (data[1] & 0x0F);
		size_t length = PULL_LE_U16(data, 2);
		struct scsi_nexus *nexus = &nexuses[(data[0] & 3) % 3];

		data += 4;
		size -= 4;
		cdb_length = MIN(cdb_length, size);
		length = MIN(length, size - cdb_length);
		execute(disk, nexus, data, cdb_length, data + cdb_length,
			length, room);
		data += cdb_length + length;
		size -= cdb_length + length;
	}
	TALLOC_FREE(frame);
	return 0;
}
