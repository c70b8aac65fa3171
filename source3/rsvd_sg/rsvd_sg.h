/*
 * vfs_rsvd: a SCSI disk for programs that know only SG_IO
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _RSVD_SG_H_
#define _RSVD_SG_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The devices are /dev/rsvd0, /dev/rsvd1, ...: paths to one disk. */
#define RSVD_SG_DEVICE "/dev/rsvd"
#define RSVD_SG_MAX_PATHS 8

/* A longer transfer is a mistake of the program. */
#define RSVD_SG_MAX_TRANSFER (16 * 1024 * 1024)

/* Room that an initiator of SG_IO has for sense data, at most */
#define RSVD_SG_SENSE_SIZE 252

struct rsvd_sg_command {
	const uint8_t *cdb;
	uint8_t cdb_length;
	/* To or from the disk, or neither */
	bool is_write;
	bool is_read;
	uint8_t *data;
	uint32_t data_length;
	/* Filled by execute */
	uint32_t transferred;
	uint8_t status;
	uint8_t sense[RSVD_SG_SENSE_SIZE];
	uint8_t sense_length;
};

/*
 * What is behind the devices; one backend is linked into each preloaded
 * library. Called under a lock, one call at a time.
 */
struct rsvd_sg_backend {
	/* How many devices there are to be seen */
	unsigned (*num_paths)(void);
	/* Open a path to the disk; NULL with errno set */
	void *(*open)(unsigned path);
	/* 0, or -1 with errno set when the command got no answer */
	int (*execute)(void *handle, struct rsvd_sg_command *command);
	void (*close)(void *handle);
	uint32_t max_transfer_length;
};

extern const struct rsvd_sg_backend rsvd_sg_backend;

#endif /* _RSVD_SG_H_ */
