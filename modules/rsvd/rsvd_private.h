/*
 * vfs_rsvd: what the files of the protocol core share
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _RSVD_PRIVATE_H_
#define _RSVD_PRIVATE_H_

#include "modules/rsvd/rsvd_disk.h"
#include "modules/rsvd/rsvd_open.h"
#include "modules/scsi/scsi.h"

/* MS-SMB2 2.2.13 CreateOptions */
#define RSVD_FILE_NO_INTERMEDIATE_BUFFERING 0x00000008

/* SenseError, MS-RSVD 3.2.1.3; its StatusKey is its place in the list. */
struct rsvd_sense_error {
	bool stored;
	uint8_t srb_status;	/* with RSVD_SRB_STATUS_AUTOSENSE_VALID */
	uint8_t scsi_status;
	uint8_t sense[RSVD_SCSI_SENSE_BUFFER_SIZE];
};

/* Open, MS-RSVD 3.2.1.2 */
struct rsvd_open {
	uint32_t server_version;
	struct rsvd_open_context context;
	uint32_t create_options;
	bool may_read;
	bool may_write;
	bool is_virtual_scsi_disk;
	bool is_vhd_set;

	struct rsvd_disk *disk;
	struct vhdx *image;
	struct vhdx_storage *storage;
	struct db_context *lock_db;
	bool in_exclusive;

	/* The list is a ring, so it is bounded by its index. */
	uint8_t sense_error_sequence;
	struct rsvd_sense_error sense_errors[256];

	struct scsi_disk scsi_disk;
	struct scsi_nexus nexus;

	/*
	 * What READ and WRITE have to answer, decided once for each state of
	 * the disk record.
	 */
	bool verdict_valid;
	uint64_t verdict_generation;
	enum scsi_io_verdict verdict_read;
	enum scsi_io_verdict verdict_write;
};

/* The client named itself; without that it may ask, but neither do I/O. */
bool rsvd_open_has_initiator(const struct rsvd_open *open);

/* rsvd_scsi.c: the engine and the shared state as the disk of scsi_execute() */
void rsvd_scsi_disk_init(struct rsvd_open *open);

#endif /* _RSVD_PRIVATE_H_ */
