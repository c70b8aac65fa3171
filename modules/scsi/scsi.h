/*
 * vfs_rsvd: the SCSI device server
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _SCSI_H_
#define _SCSI_H_

#include <stdbool.h>
#include <stdint.h>
#include <talloc.h>
#include "libcli/util/ntstatus.h"
#include "librpc/gen_ndr/misc.h"

/* SAM-5 5.3.1 */
#define SCSI_STATUS_GOOD		 0x00
#define SCSI_STATUS_CHECK_CONDITION	 0x02
#define SCSI_STATUS_BUSY		 0x08
#define SCSI_STATUS_RESERVATION_CONFLICT 0x18

/* MS-RSVD 2.2.1 RSVD_SCSI_SENSE_BUFFER_SIZE */
#define SCSI_SENSE_SIZE 20

/* Largest transfer of one command, told in VPD page B0. */
#define SCSI_MAX_TRANSFER_LENGTH (1024 * 1024)

/*
 * The disk below. Offsets and lengths are bytes of the virtual disk, already
 * checked against its size.
 */
struct scsi_disk_ops {
	NTSTATUS (*read)(void *private_data, void *buf, size_t length,
			 uint64_t offset);
	NTSTATUS (*write)(void *private_data, const void *buf, size_t length,
			  uint64_t offset);
	NTSTATUS (*flush)(void *private_data);
	NTSTATUS (*zero)(void *private_data, uint64_t offset,
			 uint64_t length);
	/* The run from offset on: how long it is and whether it is mapped. */
	NTSTATUS (*lba_status)(void *private_data, uint64_t offset,
			       uint64_t length, uint64_t *run_length,
			       bool *mapped);
	/*
	 * Keep everybody else, in any process, from writing while fn runs:
	 * COMPARE AND WRITE, ORWRITE, WRITE ATOMIC.
	 */
	NTSTATUS (*exclusive)(void *private_data,
			      NTSTATUS (*fn)(void *fn_data), void *fn_data);
};

struct scsi_disk {
	uint64_t size;
	uint32_t logical_sector_size;
	uint32_t physical_sector_size;
	struct GUID virtual_disk_id;
	bool thin;	/* dynamic: unmap gives space back */
	const struct scsi_disk_ops *ops;
	void *private_data;
};

/*
 * One I_T nexus: an initiator, named by the InitiatorId of its open
 * (MS-RSVD 2.2.4.12), on this disk.
 */
struct scsi_nexus {
	struct GUID initiator_id;
	const char *host_name;	/* UTF-8 */
	bool may_write;		/* what smbd granted the handle */
};

/* One command. data_out is what the initiator sent, data_in what it gets. */
struct scsi_task {
	const uint8_t *cdb;
	uint8_t cdb_length;
	const uint8_t *data_out;
	uint32_t data_out_length;
	uint8_t *data_in;		/* room of the caller's */
	uint32_t data_in_size;
	/* filled by scsi_execute() */
	uint32_t data_in_length;
	uint8_t status;			/* SCSI_STATUS_* */
	uint8_t sense_length;
	uint8_t sense[SCSI_SENSE_SIZE];
};

/**
 * Execute one command and fill its status, sense and data. Never fails in
 * any other way: whatever the CDB says, the answer is a SCSI one.
 */
void scsi_execute(struct scsi_disk *disk, struct scsi_nexus *nexus,
		  struct scsi_task *task);

#endif /* _SCSI_H_ */
