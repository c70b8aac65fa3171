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
#include "lib/util/data_blob.h"
#include "libcli/util/ntstatus.h"
#include "librpc/gen_ndr/misc.h"
#include "librpc/gen_ndr/scsi_pr.h"

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
 * Most I_T nexuses a disk remembers, see scsi_state_nexus_add(). All of them
 * are in one record that each change writes anew, so there has to be an end.
 */
#define SCSI_MAX_NEXUSES 1024

typedef NTSTATUS (*scsi_state_fn)(struct scsi_state *state, bool *changed,
				  void *fn_data);

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
	/* Afterwards the range reads as zeros; its space may be given back. */
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
	/*
	 * What the initiators share, as this process last saw it: at most as
	 * old as the last change that another process completed. Takes no
	 * lock; the result is good until the next call of an op. NULL when
	 * the state cannot be had.
	 */
	const struct scsi_state *(*state)(void *private_data);
	/*
	 * Run fn on the state under its lock. When it sets *changed and
	 * returns NT_STATUS_OK, the new state is in force for every process
	 * before this returns, and on stable storage when it says aptpl;
	 * otherwise the old one stays. fn allocates on the state.
	 */
	NTSTATUS (*update_state)(void *private_data, scsi_state_fn fn,
				 void *fn_data);
	/*
	 * Return when no I/O that these initiators started before the call
	 * can touch the disk any more, in any process: PREEMPT AND ABORT,
	 * SANITIZE.
	 */
	NTSTATUS (*fence)(void *private_data, const struct GUID *initiators,
			  size_t num_initiators);
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

/* How the last EXTENDED COPY of an open ended; RECEIVE COPY RESULTS asks. */
struct scsi_copy_result {
	bool held;
	bool failed;
	uint8_t list_id;
	uint16_t num_segments;
	uint32_t transferred;
};

/*
 * One I_T nexus: an initiator, named by the InitiatorId of its open
 * (MS-RSVD 2.2.4.12), on this disk.
 */
struct scsi_nexus {
	struct GUID initiator_id;
	const char *host_name;	/* UTF-8 */
	bool may_write;		/* what smbd granted the handle */
	struct scsi_copy_result copy;	/* ours; zeros at the open */
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
	bool data_in_overrun;		/* data_in was not room enough */
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

/* What stands in the way of an SMB2 READ or WRITE. */
enum scsi_io_verdict {
	SCSI_IO_ALLOWED,
	/* Report it: scsi_take_unit_attention(). */
	SCSI_IO_UNIT_ATTENTION,
	/* STATUS_SVHDX_RESERVATION_CONFLICT */
	SCSI_IO_CONFLICT,
	/* MODE SELECT set SWP; sense is scsi_sense_write_protected(). */
	SCSI_IO_WRITE_PROTECTED,
	/* Nobody knows what is there; scsi_sense_sanitize(). */
	SCSI_IO_SANITIZE,
};

/**
 * Decide on a read or write that comes without a CDB. The rules are those of
 * the READ and WRITE commands; nothing is allocated, locked or changed.
 *
 * @param[in]  state  from ops->state()
 */
enum scsi_io_verdict scsi_check_io(const struct scsi_state *state,
				   const struct GUID *initiator_id,
				   bool is_write);

/**
 * Whether a write must be on stable storage before it is acknowledged: the
 * WCE bit of the caching mode page is off.
 */
static inline bool scsi_write_through(const struct scsi_state *state)
{
	return (state->mode & SCSI_MODE_WCE) == 0;
}

/**
 * Report the first pending unit attention of an initiator: build its sense
 * data and strike it off the shared state, so that it is reported once.
 *
 * @param[out]  ua         which SCSI_UA_*; zero when none was pending (any more)
 * @param[out]  sense      sense data, then zeros; may be NULL
 * @return what ops->update_state() returned
 */
NTSTATUS scsi_take_unit_attention(struct scsi_disk *disk,
				  const struct GUID *initiator_id,
				  uint32_t *ua,
				  uint8_t sense[SCSI_SENSE_SIZE]);

/**
 * Build sense data for an SMB2 READ or WRITE that failed with
 * SCSI_IO_WRITE_PROTECTED or SCSI_IO_SANITIZE, or below us with *error*.
 *
 * @param[in]  state  from ops->state(): D_SENSE in it chooses the format.
 *                    NULL when it cannot be had
 * @return the length, at most SCSI_SENSE_SIZE
 */
uint8_t scsi_sense_write_protected(const struct scsi_state *state,
				   uint8_t sense[SCSI_SENSE_SIZE]);
uint8_t scsi_sense_sanitize(const struct scsi_state *state,
			    uint8_t sense[SCSI_SENSE_SIZE]);
uint8_t scsi_sense_io_error(const struct scsi_state *state, NTSTATUS error,
			    bool is_write, uint8_t sense[SCSI_SENSE_SIZE]);

/*
 * The stored state: scsi_pr.idl. These work on the structure alone, inside
 * update_state().
 */

/**
 * A disk nobody has used yet.
 *
 * @return NULL when out of memory
 */
struct scsi_state *scsi_state_init(TALLOC_CTX *mem_ctx);

/**
 * Turn a state that was on stable storage while the server was down into the
 * one after a power on: what APTPL keeps (SPC-4 5.13.5) stays, no nexus
 * has the disk open.
 */
void scsi_state_power_on(struct scsi_state *state);

/**
 * Count an open of an initiator. A new nexus owes no unit attention: opening
 * a shared disk is not the power on or reset that SAM-5 5.14 tells apart by
 * POWER ON, RESET, OR BUS DEVICE RESET OCCURRED, and a Windows initiator
 * would have its first I/O fail for nothing.
 *
 * @return NT_STATUS_INSUFFICIENT_RESOURCES  SCSI_MAX_NEXUSES are known
 */
NTSTATUS scsi_state_nexus_add(struct scsi_state *state,
			      const struct GUID *initiator_id,
			      const char *host_name);

/**
 * An open of an initiator is gone, closed or with its process. A registrant
 * stays (SPC-4 5.13.7: losing the nexus must not let a fenced node back in,
 * nor its registration end), a legacy reservation does not (SPC-2).
 */
void scsi_state_nexus_remove(struct scsi_state *state,
			     const struct GUID *initiator_id);

/**
 * A process that had the disk open has died, maybe in the middle of a
 * SANITIZE. Whose it was is not known; who still does one finds out and says
 * so.
 */
void scsi_state_process_died(struct scsi_state *state);

/**
 * Establish a unit attention condition for every nexus but *except* (may be
 * NULL), e.g. after a resize SCSI_UA_CAPACITY_DATA_CHANGED.
 */
void scsi_state_establish_ua(struct scsi_state *state,
			     const struct GUID *except,
			     uint32_t ua);

#endif /* _SCSI_H_ */
