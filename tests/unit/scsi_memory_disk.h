/*
 * vfs_rsvd: a SCSI disk in memory, for tests
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _SCSI_MEMORY_DISK_H_
#define _SCSI_MEMORY_DISK_H_

#include "modules/scsi/scsi.h"

struct scsi_memory_disk {
	struct scsi_disk scsi;
	uint8_t *data;
	bool *mapped;		/* one a logical block */
	struct scsi_state *state;

	/* What was asked for */
	unsigned num_reads;
	unsigned num_writes;
	unsigned num_flushes;
	unsigned num_exclusive;
	bool is_exclusive;
	unsigned num_state_changes;
	struct GUID fenced[SCSI_MAX_NEXUSES];
	size_t num_fenced;

	/* What is to fail */
	NTSTATUS read_status;
	NTSTATUS write_status;
	NTSTATUS flush_status;
	NTSTATUS state_status;
	NTSTATUS fence_status;
};

/* All zeros, unmapped. NULL when out of memory. */
struct scsi_memory_disk *scsi_memory_disk_init(TALLOC_CTX *mem_ctx,
					       uint64_t num_blocks,
					       uint32_t logical_sector_size,
					       bool thin);

/* Run something on the shared state as an open, close or resize would. */
void scsi_memory_disk_open(struct scsi_memory_disk *disk,
			   const struct scsi_nexus *nexus);
void scsi_memory_disk_close(struct scsi_memory_disk *disk,
			    const struct scsi_nexus *nexus);

#endif /* _SCSI_MEMORY_DISK_H_ */
